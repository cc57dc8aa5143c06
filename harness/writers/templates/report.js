(function () {
'use strict';
var $ = function (id) { return document.getElementById(id); };
var all = function (what, where) { return Array.prototype.slice.call((where || document).querySelectorAll(what)); };
var items = all('article.item'), form = $('filters'), count = $('count'), live = $('token-value');
var fields = ['mode', 'severity', 'verdict', 'model'], known = fields.concat(['q', 'sort']);
var texts = null;

items.forEach(function (item, place) { item.place = place; });

function search(item) {
  if (!texts) {
    texts = items.map(function (one) {
      var suite = one.closest('.suite'), head = suite && suite.querySelector('.claim');
      return (one.dataset.name + ' ' + (head ? head.textContent : '') + ' ' + one.textContent).toLowerCase();
    });
  }
  return texts[item.place];
}

function apply() {
  var words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
  items.forEach(function (item) {
    var fits = fields.every(function (name) {
      var wanted = form.elements[name].value;
      return !wanted || item.dataset[name] === wanted;
    }) && words.every(function (word) { return search(item).indexOf(word) >= 0; });
    item.hidden = !fits;
    shown += fits;
  });
  var narrow = shown < items.length;
  all('.unit, .suite, .mode').forEach(function (box) {
    box.hidden = narrow && !box.querySelector('article.item:not([hidden])');
  });
  count.textContent = shown + ' of ' + items.length + ' checks';
}

var KEYS = {
  worst: function (item) { return item.place; },
  name: function (item) { return item.dataset.name; },
  distance: function (item) { return +item.dataset.distance; },
  mode: function (item) { return item.dataset.mode; }
};
var sorted = 'worst';

function least(box, key) {
  var found = box.matches('article.item') ? [box] : all('article.item', box);
  return found.map(key).reduce(function (a, b) { return b < a ? b : a; });
}

function sort() {
  var how = form.elements.sort.value;
  if (how === sorted) { return; }
  sorted = how;
  ['article.item', '.unit', '.suite', '.mode'].forEach(function (kind) {
    var homes = [];
    all(kind).forEach(function (box) { if (homes.indexOf(box.parentNode) < 0) { homes.push(box.parentNode); } });
    homes.forEach(function (home) {
      var mine = Array.prototype.filter.call(home.children, function (box) { return box.matches(kind); });
      var end = mine[mine.length - 1].nextSibling;
      var order = mine.map(function (box) { return [least(box, KEYS[how]), least(box, KEYS.worst), box]; });
      order.sort(function (a, b) { return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]; });
      // Moving is dear, and many groups are in order already.
      if (order.some(function (one, at) { return one[2] !== mine[at]; })) {
        order.forEach(function (one) { home.insertBefore(one[2], end); });
      }
    });
  });
}

function remember() {
  var parts = known.map(function (name) {
    var value = form.elements[name].value;
    return value && !(name === 'sort' && value === 'worst') ? name + '=' + encodeURIComponent(value) : '';
  }).filter(Boolean);
  var bare = location.href.split('#')[0];
  history.replaceState(null, '', parts.length ? bare + '#?' + parts.join('&') : bare);
}

function changed() { sort(); apply(); remember(); }

function clear() {
  known.forEach(function (name) { form.elements[name].value = name === 'sort' ? 'worst' : ''; });
}

function set(name, text) {
  var field = form.elements[name], value = text;
  try { value = decodeURIComponent(text); } catch (error) { return; }
  if (!field.options || Array.prototype.some.call(field.options, function (one) { return one.value === value; })) {
    field.value = value;
  }
}

function go(hash) {
  if (hash.indexOf('#?') === 0) {
    clear();
    hash.slice(2).split('&').forEach(function (part) {
      var at = part.indexOf('='), name = part.slice(0, at);
      if (known.indexOf(name) >= 0) { set(name, part.slice(at + 1)); }
    });
    sort();
    apply();
    $('checks').scrollIntoView();
    return;
  }
  var item = /^#i-[0-9a-f]{12}$/.test(hash) && $(hash.slice(1));
  if (!item) { return; }
  if (item.hidden) { clear(); sort(); apply(); }
  item.querySelector('details.more').open = true;
  item.scrollIntoView();
  item.tabIndex = -1;
  item.focus({preventScroll: true});
}

function toggle(open) {
  items.forEach(function (item) {
    if (!item.hidden) { item.querySelector('details.more').open = open; }
  });
}

if (form) {
  form.hidden = false;
  form.addEventListener('submit', function (event) { event.preventDefault(); });
  form.addEventListener('input', changed);
  $('reset').addEventListener('click', function () { clear(); changed(); });
  $('expand-all').addEventListener('click', function () { toggle(true); });
  $('collapse-all').addEventListener('click', function () { toggle(false); });
  form.elements.q.addEventListener('keydown', function (event) {
    if (event.key === 'Escape') { event.target.value = ''; changed(); }
  });
  document.addEventListener('keydown', function (event) {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { return; }
    event.preventDefault();
    form.elements.q.focus();
  });
  window.addEventListener('hashchange', function () { go(location.hash); });
  apply();
  go(location.hash);
}

// A link to the check that is open already changes no address, and has to work all the same.
document.addEventListener('click', function (event) {
  var link = event.target.closest('a[href^="#i-"]');
  if (link && link.hash === location.hash) { event.preventDefault(); go(link.hash); }
});

all('button.copy').forEach(function (button) {
  var said = button.textContent;
  function done(word) {
    button.textContent = word;
    setTimeout(function () { button.textContent = said; }, 1500);
  }
  function select() {
    var range = document.createRange();
    range.selectNodeContents(button.parentNode.querySelector('code'));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    done('selected');
  }
  button.hidden = false;
  button.addEventListener('click', function () {
    if (!navigator.clipboard) { select(); return; }
    navigator.clipboard.writeText(button.dataset.copy).then(function () { done('copied'); }, select);
  });
});

function say(group, token) {
  all('.token.at', group).forEach(function (one) { one.classList.remove('at'); });
  if (!token) { return; }
  token.classList.add('at');
  var number = token.querySelector('small'), text = token.textContent;
  live.textContent = (number ? text.slice(0, -number.textContent.length) : text) + ': ' + token.dataset.v + ' nats' +
    (token.dataset.d ? ', ' + token.dataset.d + ' against the other' : '');
}
document.addEventListener('keydown', function (event) {
  var group = event.target, step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (!step || !group.matches('.tokens')) { return; }
  var tokens = all('.token', group), at = tokens.indexOf(group.querySelector('.token.at')) + step;
  event.preventDefault();
  say(group, tokens[at < 0 ? (step < 0 && at === -2 ? tokens.length - 1 : 0) : Math.min(at, tokens.length - 1)]);
});
document.addEventListener('focusout', function (event) {
  if (event.target.matches('.tokens')) { say(event.target, null); }
});

var opened = [];
window.addEventListener('beforeprint', function () {
  opened = all('.release details, .item.FAIL > .more, .item.INVALID > .more').filter(function (one) { return !one.open; });
  opened.forEach(function (one) { one.open = true; });
});
window.addEventListener('afterprint', function () {
  opened.forEach(function (one) { one.open = false; });
});
})();
