"""The HTML report: inert whatever is in it, offline, complete enough to judge by."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.escape import visible
from harness.exchange import AnswerText, Exchange, ScoredText, TokenScore
from harness.record import CaseRecord, ItemRecord, ModelRecord, RunRecord, ScreeningRecord, SuiteRecord
from harness.request import Message
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import html
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record, make_suite, sample_record

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "nav", "main", "footer", "section", "article", "div",
    "h1", "h2", "h3", "h4", "h5", "h6", "p", "strong", "b", "span", "small", "code", "pre", "a", "br", "ul", "li", "dl",
    "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption",
    "form", "label", "input", "select", "option", "button", "output", "script",
    "svg", "defs", "g", "use", "rect", "line", "circle", "polyline", "path", "text", "desc",
}  # fmt: skip
INERT_LINK = re.compile(r"#[A-Za-z0-9-]+|#\?verdict=[A-Z]+|examples\.jsonl")
SCRIPT = (Path(html.__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
FROZEN = {"severity", "hazard", "measures", "verdict", "role", "op", "finish_reason", "schema"}
"""Fields whose values come from a closed list."""


def anchor(item: ItemRecord) -> str:
    """Return the id of an item in the page, computed here."""
    return f"i-{hashlib.sha256(item.node_id.encode()).hexdigest()[:12]}"


class Page(HTMLParser):
    """Reads a page as a browser would see it."""

    def __init__(self, text: str) -> None:
        """Collect tags, attributes and text."""
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tag and attributes."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        """There is none in the template."""
        pytest.fail(f"a comment: {data[:80]!r}")


def poisoned(value: Any, payload: str) -> Any:
    """Return `value` with `payload` in every free text of it, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: poisoned(getattr(value, field.name), payload)
            for field in dataclasses.fields(value)
            if field.name not in FROZEN
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, dict):
        return {poisoned(name, payload): poisoned(inner, payload) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(poisoned(inner, payload) for inner in value)
    return f"{value}{payload}" if isinstance(value, str) else value


@pytest.mark.parametrize("payload", [text for text in HOSTILE if 0 < len(text) < 200], ids=repr)
def test_a_payload_in_every_field_stays_text(payload: str) -> None:
    """Only tags of the template, no address but anchors, no handler, and the payload is there to read."""
    record = poisoned(sample_record(), payload)
    text = html.render(record)
    page = Page(text)
    assert set(page.tags) <= ALLOWED
    # One script, the page's own, to the letter: what runs is named by its digest.
    assert text.lower().count("<script") == text.lower().count("</script") == 1
    assert f"<script>{SCRIPT}</script>\n</body>" in text
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"src", "style", "action"}]
    assert all(INERT_LINK.fullmatch(value) for name, value in page.attributes if name in {"href", "xlink:href"})
    harmless = Page(html.render(poisoned(sample_record(), "harmless")))
    # Escapes are marked with a span; beside those, text must not change what the page is made of.
    assert [tag for tag in page.tags if tag != "span"] == [tag for tag in harmless.tags if tag != "span"]
    shown = visible(payload, newlines="visible")
    assert shown in "".join(page.text)
    assert not [mark for mark in text if mark != "\n" and visible(mark) != mark]


def test_the_poison_reaches_every_dataclass() -> None:
    """Otherwise the test above proves little."""
    found: set[type] = set()

    def walk(value: Any) -> None:
        if dataclasses.is_dataclass(value):
            found.add(type(value))
            for field in dataclasses.fields(value):
                walk(getattr(value, field.name))
        elif isinstance(value, tuple):
            for inner in value:
                walk(inner)

    walk(sample_record())
    assert found >= {
        RunRecord, ItemRecord, SuiteRecord, CaseRecord, ModelRecord, ScreeningRecord, Exchange, AnswerText, ScoredText,
        TokenScore, Message, Measurement, Bound,
    }  # fmt: skip


def test_nothing_is_fetched_and_nothing_runs_but_the_page_s_own_script() -> None:
    """The policy forbids it, and the page does not try."""
    text = html.render(sample_record())
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    (policy,) = [value for name, value in Page(text).attributes if value.startswith("default-src")]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")
    assert not re.search(r"https?:|url\(|@import|javascript:", text)


def test_the_script_is_small_and_writes_no_markup() -> None:
    """Texts of the page stay texts; nothing is asked of anywhere, nothing is compiled."""
    assert len(SCRIPT.encode()) < 10_000
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|fetch|XMLHttp|import", SCRIPT
    )


def test_what_a_release_manager_needs_is_there() -> None:
    """Verdict first, then numbers, then where they come from."""
    record = sample_record()
    text = "".join(Page(html.render(record)).text)
    model, item = record.models[0], record.items[0]
    for expected in (
        "INVALID", "could not be measured", "0.31 [0.2, 0.44] share", "at most 0.1 share", "37 of 42", item.reference,
        model.digest, model.tokenizer, model.chat_template, "4e-06", "device cpu, 2 threads", "torch 2.15.0", "run 7",
        record.suites[0].controls[0], record.suites[0].limits, record.suites[0].source, item.rerun, "-1.50", "+2.250",
        record.digest, record.suites[0].digest,
    ):  # fmt: skip
        assert expected in text, expected
    page = html.render(record)
    places = [page.index(f'id="{name}"') for name in ("verdict", "pages", "content", "checks", "limits", "provenance")]
    assert places == sorted(places)
    assert "<strong>INVALID</strong>" in page[places[0] : places[1]]


def test_restricted_and_internal_suites() -> None:
    """Restricted: digests alone. Internal: this report may show texts."""
    for hazard, count in (("restricted", 0), ("internal", 1)):
        item = make_item(hazard=hazard, exchanges=(make_exchange("the planted canary"),))
        text = html.render(make_record(item, suites=(make_suite(hazard=hazard),)))
        assert text.count("the planted canary") == count
        assert ("withheld" in text) == (hazard == "restricted")


def test_a_large_run_stays_small(tmp_path: Path) -> None:
    """A thousand items in less than a megabyte, each of them there; exchanges left out are in the file beside it."""
    record = make_record(*[make_item(f"case-{place}") for place in range(1000)])
    text = html.write(record, tmp_path).read_text()
    assert len(text.encode()) < 1_000_000
    page = Page(text)
    ids = [value for name, value in page.attributes if name == "id" and value.startswith("i-")]
    assert sorted(ids) == sorted(map(anchor, record.items))
    beside = [json.loads(shown) for shown in (tmp_path / "examples.jsonl").read_text().splitlines()]
    inline = page.attributes.count(("class", "example"))
    assert 0 < inline < 1000
    assert inline + len(beside) == 1000
    assert f"{len(beside)} exchanges are not on this page: they are in examples.jsonl" in "".join(page.text)


def test_a_small_run_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Nor does it leave the file of an earlier run there."""
    (tmp_path / "examples.jsonl").write_text("yesterday")
    html.write(sample_record(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_file_is_written(tmp_path: Path) -> None:
    """Under its name."""
    assert html.write(sample_record(), tmp_path).read_text().startswith("<!DOCTYPE html>")


def test_a_scored_text_is_shown_whole_above_its_tokens() -> None:
    """Tokens alone can hide what was scored."""
    text = html.render(make_record(make_item("hint", Verdict.FAIL)))
    assert re.search(r"bad <code>.*Berlin.*</code>, -1\.750 nats", text)
