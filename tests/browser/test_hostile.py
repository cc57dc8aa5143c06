"""Whatever a text of a run tries, in whichever field or in the address: it stands there to read and does nothing."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from harness.escape import line, visible
from harness.writers import html
from harness.writers.sections import Section
from tests.browser import chromium, records
from tests.browser.payloads import PAYLOADS
from tests.figures.test_figures import FIGURES
from tests.writers.test_html import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

    from harness.record import RunRecord

HARMLESS = "h"
"""As often as a payload has characters, so that as much of what stands behind it has room."""
TAG = re.compile(r"k[0-9a-f]{7}k")
CUT = "…"
"""Where a long text is cut."""
LONG = 2_000
"""Characters from which a payload is no address."""
LEAST = 20
"""Characters of a payload that show that a text which is cut without a mark was shown as it is."""
PROBE = """() => {
  document.querySelectorAll('details').forEach((one) => { one.open = true; });
  const all = [...document.querySelectorAll('*')];
  const inert = document.body.cloneNode(true);
  inert.querySelectorAll('script, style').forEach((one) => one.remove());
  const made = {
    title: document.title,
    tags: all.reduce((sums, one) => { sums[one.localName] = (sums[one.localName] || 0) + 1; return sums; }, {}),
    attributes: [...new Set(all.flatMap((one) => one.getAttributeNames()))],
    links: all.flatMap((one) => ['href', 'src', 'xlink:href', 'action', 'formaction', 'data', 'srcdoc']
      .filter((name) => one.hasAttribute(name)).map((name) => one.getAttribute(name))),
    ids: all.map((one) => one.id).filter((id) => id),
    names: all.map((one) => one.getAttribute('name')).filter((name) => name),
    scripts: document.scripts.length,
    text: inert.textContent,
  };
  // What is below the window may be laid out only when it is scrolled to, and would count as unseen.
  const style = document.createElement('style');
  style.textContent = '* { content-visibility: visible !important }';
  document.head.append(style);
  made.seen = document.body.innerText;
  style.remove();
  return made;
}"""
KINDS = ("run", "certification")
LENGTHS = (8, 16, 32, 48, 64, 80, 96, 128, 256, 10_000, 100_000)
"""Of harmless texts. With the next longer one no more fields find room than with the payload."""


def render(kind: str, payload: str) -> str:
    """Return the report on a run with `payload` in every text of it, of what judges it, and of sections beside it."""
    if kind == "certification":
        return html.render(records.hostile_certification(payload))
    record, payload = records.hostile_run(payload), as_read(payload)
    cells = ((f"head{payload}", "b"), ((f"cell{payload}", "x"),))
    section = Section(
        anchor="foreign", title=f"title{payload}", said=(f"said{payload}",), tables=((f"caption{payload}", cells),)
    )  # fmt: skip
    return html.render(record, records.hostile_standing(payload), sections=(section,))


def as_read(text: str) -> str:
    """Return `text` as it is in a record that was written and read: halves of a pair side by side are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@pytest.fixture(scope="module")
def ground(browser: Browser) -> Iterator[tuple[Tab, chromium.Watch]]:
    """Return one page in which all hostile ones are opened, one after another."""
    # Small: there are many, and what is outside of the window need not be painted.
    with chromium.blank(browser, viewport={"width": 480, "height": 320}) as both:
        yield both


@pytest.fixture(scope="module")
def plain(ground: tuple[Tab, chromium.Watch], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the pages are made of when no text of them tries anything."""
    folder = tmp_path_factory.mktemp("plain")
    return {kind: look(ground, written(folder / f"{kind}.html", render(kind, HARMLESS * 8))) for kind in KINDS}


def written(path: Path, text: str) -> Path:
    """Write a page; what cannot be written in UTF-8 was not escaped."""
    path.write_text(text, encoding="utf-8")
    return path


def look(ground: tuple[Tab, chromium.Watch], path: Path, fragment: str = "") -> dict[str, Any]:
    """Open a page, let it do what it can, and return what it is made of."""
    page, watch = ground
    if fragment:
        # Else the file may be open already, and only its address would change.
        page.goto("about:blank")
    watch.forget()
    page.goto(path.as_uri() + fragment)
    found: dict[str, Any] = page.evaluate(PROBE)
    # What waits for the mouse, the keyboard or a moment gets them.
    page.mouse.move(200, 200)
    page.keyboard.press("Tab")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    watch.assert_quiet(path)
    assert page.title() == found["title"]
    return found


@functools.cache
def fields_shown(kind: str, length: int) -> frozenset[str]:
    """Return the tags of the fields that the page shows when their texts are harmless and have so many characters."""
    return frozenset(followers("".join(Page(render(kind, HARMLESS * length)).text)))


def squeezed(text: str) -> str:
    """Return `text` without white space, which pages fold."""
    return re.sub(r"\s+", "", text)


def followers(text: str) -> dict[str, list[str]]:
    """Return what stands behind each tag of a field in a page, without white space, up to the next one."""
    found: dict[str, list[str]] = {}
    parts = re.split(f"({TAG.pattern})", squeezed(text))
    for tag, behind in zip(parts[1::2], parts[2::2], strict=True):
        found.setdefault(tag, []).append(behind)
    return found


@functools.cache
def shown_forms(payload: str) -> frozenset[str]:
    """Return the forms in which a page may show a payload: on one line, with its line feeds, or quoted in a message."""
    ways = (line, visible, functools.partial(visible, newlines="visible"), lambda text: line(repr(text)[1:-1]))
    return frozenset(squeezed(way(one)) for one in (payload, as_read(payload)) for way in ways)


def reads(behind: str, payload: str) -> bool:
    """Tell whether what stands behind a tag begins with the payload, or with as much of it as has room."""
    for form in shown_forms(payload):
        both = enumerate(zip(behind, form, strict=False))
        same = next((at for at, (one, other) in both if one != other), min(len(behind), len(form)))
        if same == len(form) or same >= LEAST or behind[same : same + 1] == CUT:
            return True
    return False


def assert_inert(found: dict[str, Any], plain: dict[str, Any], *, long: bool = False) -> None:
    """Assert that a page is made of what the harmless one is made of, but for the marks of what is invisible."""
    ours, theirs = ({name: count for name, count in one["tags"].items() if name != "span"} for one in (found, plain))
    assert ours.keys() <= theirs.keys() if long else ours == theirs
    assert set(found["attributes"]) <= {*plain["attributes"], "class", "hidden"}
    assert not [name for name in found["attributes"] if name.startswith("on")]
    # To places in the page, and to no file but the one beside it.
    assert {link for link in found["links"] if not link.startswith("#")} <= {"examples.jsonl"}
    assert len(found["ids"]) == len(set(found["ids"])), [one for one, n in Counter(found["ids"]).items() if n > 1]
    assert all(re.fullmatch(r"[A-Za-z][\w-]*", one) for one in found["ids"])
    assert found["names"] == plain["names"]
    assert found["scripts"] <= 1
    assert found["title"] == plain["title"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_in_every_text_is_read_and_does_nothing(ground, plain, tmp_path: Path, name: str, kind: str) -> None:
    payload = PAYLOADS[name]
    text = render(kind, payload)
    assert not {mark for mark in set(text) if mark != "\n" and visible(mark) != mark}, "something invisible is there"

    found = look(ground, written(tmp_path / "report.html", text))

    # Exchanges for which there is no room are left out of the page.
    assert_inert(found, plain[kind], long=len(payload) > LONG)
    wanted = fields_shown(kind, next(length for length in LENGTHS if length >= len(payload)))
    for where in ("text", "seen"):
        got = followers(found[where])
        assert wanted - set(got) == set(), "fields are gone"
        wrong = {tag: behind[:80] for tag in wanted for behind in got[tag] if not reads(behind, payload)}
        assert not wrong, shown_forms(payload)


def test_there_are_thirty_and_more_and_each_is_its_own() -> None:
    assert len(PAYLOADS) == len(set(PAYLOADS.values())) >= 30


def test_the_payload_reaches_every_text_of_a_record() -> None:
    """A field that is added to a record has to be filled here; what comes from a closed list is left alone."""
    reached = {*records.filled(records.whole()), *records.filled(records.certification())}
    assert records.text_fields() - reached == set()

    probes = records.poison(records.whole(), "zzz"), records.poison(records.certification(), "zzz")
    left = {
        (type(owner).__name__, name)
        for probe in probes
        for owner, name, text in texts(probe)
        if text and not TAG.match(text)
    }
    assert left == {
        ("RunRecord", "schema"), ("ItemRecord", "severity"), ("ItemRecord", "hazard"), ("ItemRecord", "measures"),
        ("ItemRecord", "verdict"), ("SuiteRecord", "severity"), ("SuiteRecord", "hazard"), ("Bound", "op"),
        ("CertificateState", "state"), ("Rescored", "verdict"), ("Rescored", "again"), ("Message", "role"),
        ("Finding", "verdict"), ("Finding", "expected"), ("CaseFinding", "verdict"),
    }  # fmt: skip


def texts(value: Any, owner: Any = None, name: str = "") -> Iterator[tuple[Any, str, str]]:
    """Yield every text within plain data, with the dataclass and the field that it stands in."""
    if hasattr(value, "__dataclass_fields__"):
        for one in value.__dataclass_fields__:
            yield from texts(getattr(value, one), value, one)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key, owner, name)
            yield from texts(inner, owner, name)
    elif isinstance(value, tuple):
        for inner in value:
            yield from texts(inner, owner, name)
    elif isinstance(value, str):
        yield owner, name, value


def test_the_page_shows_what_the_payloads_stand_in(plain: dict[str, Any]) -> None:
    """Of the run and of an item: who reads a report judges by these, and the test above by what is shown."""

    def shown(kind: str, record: RunRecord, fields: set[tuple[str, str]]) -> None:
        seen = set(followers(plain[kind]["seen"]))
        for owner, name, text in texts(record):
            if text and (type(owner).__name__, name) in fields:
                assert records.tag(text) in seen, (kind, type(owner).__name__, name, text)

    shown("run", records.whole(), {
        ("RunRecord", "run_id"), ("RunRecord", "command"), ("RunRecord", "store"), ("RunRecord", "profile"),
        ("RunRecord", "exit_reason"), ("RunRecord", "versions"), ("RunRecord", "seeds"), ("ModelRecord", "name"),
        ("ModelRecord", "spec"), ("ModelRecord", "weights"), ("ModelRecord", "tokenizer"), ("ModelRecord", "numerics"),
        ("ModelRecord", "digest"), ("ModelRecord", "notes"), ("SuiteRecord", "source"), ("SuiteRecord", "controls"),
        ("SuiteRecord", "limits"), ("SuiteRecord", "path"), ("SuiteRecord", "digest"), ("ItemRecord", "suite"),
        ("ItemRecord", "case"), ("ItemRecord", "model"), ("ItemRecord", "failure_mode"), ("ItemRecord", "claim"),
        ("ItemRecord", "cause"), ("ItemRecord", "check"), ("ItemRecord", "reference"), ("ItemRecord", "rerun"),
        ("Measurement", "name"), ("Measurement", "note"), ("Message", "content"), ("AnswerText", "text"),
        ("ScoredText", "text"), ("TokenScore", "token"), ("Exchange", "failure"), ("Exchange", "prompt"),
    })  # fmt: skip
    shown(
        "certification", records.certification(), {("Finding", "organism"), ("Finding", "base"), ("Finding", "suite")}
    )


def test_what_is_copied_is_one_line_that_hides_nothing(ground, tmp_path: Path) -> None:
    """It goes into a shell: a line feed in it would run the half before it."""
    for name in ("carriage return", "ANSI", "bidi override", "workflow command on a new line", "separators"):
        look(ground, written(tmp_path / "report.html", render("run", PAYLOADS[name])))
        copied = ground[0].eval_on_selector_all("[data-copy]", "(all) => all.map((one) => one.dataset.copy)")
        assert copied
        assert [text for text in copied if visible(text, newlines="visible") != text] == []


@pytest.mark.parametrize("form", ["#{}", "#i-{}", "#?q={}&verdict={}&sort={}&mode={}&{}=x&__proto__={}"])
def test_a_payload_in_the_address_does_nothing(ground, browser: Browser, tmp_path: Path, form: str) -> None:
    """At the start, and when the address changes under the open page."""
    path = written(tmp_path / "report.html", html.render(records.varied()))
    bare = look(ground, path)
    first = form.replace("{}", quote(PAYLOADS["image that fails"]))
    assert_inert(look(ground, path, first), bare)

    short = [text for text in PAYLOADS.values() if len(text) < LONG]
    # As a browser sends them; and, where it would change nothing else, as they stand. JSON carries them in ASCII.
    texts_ = (
        [quote(text.encode("utf-8", "replace"), safe="") for text in short] + short[::2] + ["%", "%E0%A4%A", "=&&=="]
    )
    addresses = json.dumps([form.replace("{}", text) for text in texts_])
    # In a page of its own: browsers put up with two hundred changes of address in ten seconds.
    with chromium.opened(browser, path) as (page, watch):
        page.evaluate(
            f"async () => {{ for (const one of {addresses}) {{ location.hash = one;"
            " await new Promise((done) => setTimeout(done, 0)); } }"
        )
        assert_inert(page.evaluate(PROBE), bare)
        watch.assert_quiet(path)


@pytest.mark.parametrize("name", FIGURES)
def test_a_hostile_figure_is_drawn_and_does_nothing(ground, tmp_path: Path, name: str) -> None:
    """In a section of the report; its texts come from files."""
    title = f"<script>{PAYLOADS['address that runs']}</script>\u202e"
    section = Section(anchor="drawn", title=title, said=(title,), figures=(FIGURES[name](),))
    bare = look(ground, written(tmp_path / "bare.html", html.render(records.varied())))
    found = look(ground, written(tmp_path / "report.html", html.render(records.varied(), sections=(section,))))

    assert found["tags"]["svg"] == bare["tags"]["svg"] + 1
    assert squeezed(visible(title)) in squeezed(found["seen"])
    assert found["scripts"] <= 1
    assert {link for link in found["links"] if not link.startswith(("#", "data:image/png;"))} <= {"examples.jsonl"}
    assert not [one for one, n in Counter(found["ids"]).items() if n > 1]
