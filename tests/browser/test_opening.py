"""Opened from a file: nothing is said, loaded or run beside its own script, and without that it is all there."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from harness.writers import html
from tests.browser import chromium, records
from tests.browser.conftest import RUNS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

SCRIPT_LIMIT = 10_000
PAGE_LIMIT = 1_000_000
"""Bytes."""


def policy_of(page: Page) -> dict[str, list[str]]:
    """Return the policy of a page: directive -> sources."""
    (text,) = page.eval_on_selector_all(
        "meta[http-equiv='Content-Security-Policy']", "(all) => all.map((one) => one.content)"
    )
    return {name: rest for name, *rest in (part.split() for part in text.split(";") if part.strip())}


@pytest.mark.parametrize("name", RUNS)
def test_it_opens_and_says_nothing(visit: Callable[..., Page], report: Callable[[str], Path], name: str) -> None:
    """`visit` watches console, errors, dialogs and requests; here everything is opened, moved over and pressed."""
    page = visit(report(name))
    title = page.title()
    chromium.open_all(page)
    page.mouse.move(300, 300)
    page.mouse.wheel(0, 2_000)
    for button in page.locator("#filters button").all():
        button.click()
    assert page.title() == title
    assert title.startswith("Tells report: ")


@pytest.mark.parametrize("name", RUNS)
def test_the_policy_lets_its_own_script_run_and_no_other(
    visit: Callable[..., Page], report: Callable[[str], Path], name: str
) -> None:
    page = visit(report(name))
    scripts = page.eval_on_selector_all("script", "(all) => all.map((one) => [one.textContent, one.attributes.length])")
    (text, attributes) = scripts[0]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert len(scripts) == 1
    assert attributes == 0
    assert 0 < len(text.encode()) < SCRIPT_LIMIT
    assert policy_of(page) == {
        "default-src": ["'none'"], "style-src": ["'unsafe-inline'"], "img-src": ["data:"],
        "script-src": [f"'sha256-{digest}'"], "base-uri": ["'none'"], "form-action": ["'none'"],
    }  # fmt: skip
    assert page.evaluate("() => document.body.lastElementChild.tagName") == "SCRIPT"
    before = page.evaluate("() => [...document.head.children].map((one) => one.tagName)")
    assert before.index("META") < before.index("STYLE")
    source = report(name).read_text(encoding="utf-8")
    assert source.index("Content-Security-Policy") < min(source.index("<style"), source.index("<script"))
    names = page.evaluate("() => [...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]


ATTACKS = {
    "handler": "() => { const b = document.createElement('b'); b.setAttribute('onclick', 'window.ran = 1');"
    " document.body.append(b); b.click(); }",
    "handler in markup": "() => { const b = document.createElement('b');"
    ' b.innerHTML = \'<img src="data:," onerror="window.ran = 1">\'; document.body.append(b); }',
    "script": "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
    " document.body.append(s); }",
    "script of data": "() => { const s = document.createElement('script'); s.src = 'data:text/javascript,window.ran=1';"
    " document.body.append(s); }",
    "script elsewhere": "() => { const s = document.createElement('script'); s.src = 'https://example.invalid/x.js';"
    " document.body.append(s); }",
    "address that runs": "() => { const a = document.createElement('a'); a.href = 'javascript:window.ran=1';"
    " document.body.append(a); a.click(); }",
    "timer of text": "() => { setTimeout('window.ran = 1', 0); }",
    "image elsewhere": "() => { new Image().src = 'https://example.invalid/x.png'; }",
    "fetch": "() => { fetch('https://example.invalid/').catch(() => 0); }",
    "beacon": "() => { navigator.sendBeacon('https://example.invalid/', 'x'); }",
    "style sheet elsewhere": "() => { const l = document.createElement('link'); l.rel = 'stylesheet';"
    " l.href = 'https://example.invalid/x.css'; document.head.append(l); }",
    "style import": "() => { const s = document.createElement('style');"
    " s.textContent = '@import \"https://example.invalid/x.css\";'; document.head.append(s); }",
    "frame": "() => { const f = document.createElement('iframe'); f.src = 'https://example.invalid/';"
    " document.body.append(f); }",
    "form": "() => { const f = document.createElement('form'); f.action = 'https://example.invalid/';"
    " document.body.append(f); f.submit(); }",
    "base": "() => { const b = document.createElement('base'); b.href = 'https://example.invalid/';"
    " document.head.append(b); window.moved = document.baseURI.includes('example.invalid'); }",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_policy_stops_what_would_get_past_the_escaping(
    browser: Browser, report: Callable[[str], Path], name: str
) -> None:
    """The second wall: here each attack is put into the page by force, and the browser says that it refused."""
    path = report("varied")
    with chromium.opened(browser, path) as (page, watch):
        page.evaluate(
            "() => { window.refused = 0;"
            " document.addEventListener('securitypolicyviolation', () => { window.refused += 1; }); }"
        )
        page.evaluate(ATTACKS[name])
        page.wait_for_function("() => window.refused > 0")
        page.evaluate("() => new Promise((done) => setTimeout(done, 20))")

        assert page.evaluate("() => window.ran") is None
        assert not page.evaluate("() => Boolean(window.moved)")
        assert not watch.dialogs
        assert page.url.startswith(path.as_uri())


def test_the_policy_stops_text_that_becomes_code(browser: Browser, report: Callable[[str], Path]) -> None:
    with chromium.opened(browser, report("varied")) as (page, _):
        got = page.evaluate(
            """() => new Promise((done) => {
              document.addEventListener('securitypolicyviolation', () => done('refused'));
              setTimeout(() => done('ran'), 1000);
              setTimeout(() => { try { new Function('')(); } catch (error) { done('refused'); } }, 0); })"""
        )
        assert got == "refused"


def test_without_script_everything_is_there_to_read(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    """Only what the script does is not offered: filters and copy buttons."""
    page = visit(report("varied"), java_script_enabled=False)
    items = records.varied().items

    assert page.locator("article.item:visible").count() == len(items)
    assert page.locator("#filters").count() == 1
    assert not page.locator("#filters").is_visible()
    assert page.locator("button.copy").count() >= len(items)
    assert page.locator("button.copy:visible").count() == 0
    last = page.locator("article.item").last
    assert not last.locator("pre").first.is_visible()
    last.locator("details.more > summary").click()
    assert last.locator("pre").first.is_visible()
    command = last.locator("button.copy").first.get_attribute("data-copy")
    assert command in {item.rerun for item in items}
    assert command in last.inner_text()


@pytest.mark.parametrize("name", ["varied", "example", "certification", "hostile"])
def test_every_chart_has_a_name_and_says_the_same_in_text(
    visit: Callable[..., Page], report: Callable[[str], Path], name: str
) -> None:
    """As a table in a fold beside it, or, of a check's own row, in the numbers of that row."""
    page = visit(report(name))
    charts = page.evaluate(
        """() => [...document.querySelectorAll('svg')].filter((it) => !it.closest('[aria-hidden=true]')).map((one) => {
          const named = (one.getAttribute('aria-labelledby') || '').split(/\\s+/).filter(Boolean)
            .map((id) => document.getElementById(id)?.textContent || '').join(' ');
          const item = one.closest('article.item'), box = one.closest('figure, .chart, .figure, .spark, section');
          return {
            role: one.getAttribute('role'),
            name: (one.getAttribute('aria-label') || named || one.querySelector('title')?.textContent || '').trim(),
            numbers: Boolean(item) && /\\d/.test(item.innerText),
            twin: Boolean(box?.querySelector('details.twin table td')),
          };
        })"""
    )
    assert charts or name != "varied"
    said = [one for one in charts if one["role"] == "img" and one["name"] and (one["twin"] or one["numbers"])]
    assert said == charts


def test_a_thousand_checks_are_one_small_file_that_can_be_searched(visit: Callable[..., Page], tmp_path: Path) -> None:
    """The exchanges that found no room lie beside it."""
    path = html.write(records.many(1_000), tmp_path)
    assert path.stat().st_size < PAGE_LIMIT
    assert (tmp_path / "examples.jsonl").stat().st_size > 0

    page = visit(path)
    assert page.locator("article.item").count() == 1_000
    page.fill("#filters [name=q]", "alpha-2-8")
    found = int(page.inner_text("#count").split()[0])
    assert 0 < found < 1_000
    assert page.locator("article.item:visible").count() == found
