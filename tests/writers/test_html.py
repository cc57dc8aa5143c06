"""The HTML report: inert whatever is in it, offline, complete enough to judge by."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from harness.escape import visible
from harness.exchange import AnswerText, Exchange, ScoredText, TokenScore
from harness.record import CaseRecord, ItemRecord, ModelRecord, RunRecord, ScreeningRecord, SuiteRecord
from harness.request import Message
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import html
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record, make_suite, sample_record

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "div", "p", "strong", "b", "span",
    "small", "code", "pre", "a", "br", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "section", "footer", "svg", "rect", "line",
}  # fmt: skip
FROZEN = {"severity", "hazard", "measures", "verdict", "role", "op", "finish_reason", "schema"}
"""Fields whose values come from a closed list."""


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
    assert "<script" not in text.lower()
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in {"src", "style", "action"}]
    assert all(re.fullmatch(r"#item-\d+", value) for name, value in page.attributes if name == "href")
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


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """The policy forbids it, and the page does not try."""
    text = html.render(sample_record())
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert not re.search(r"https?:|url\(|@import|javascript:", text)


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
    assert text.index("INVALID") < text.index("Checks, worst first") < text.index("Provenance")


def test_restricted_and_internal_suites() -> None:
    """Restricted: digests alone. Internal: this report may show texts."""
    for hazard, count in (("restricted", 0), ("internal", 1)):
        item = make_item(hazard=hazard, exchanges=(make_exchange("the planted canary"),))
        text = html.render(make_record(item, suites=(make_suite(hazard=hazard),)))
        assert text.count("the planted canary") == count
        assert ("withheld" in text) == (hazard == "restricted")


def test_a_large_run_stays_small() -> None:
    """A thousand items in less than two megabytes, and the page says what it leaves out."""
    text = html.render(make_record(*[make_item(f"case-{place}") for place in range(1000)]))
    assert len(text.encode()) < 2_000_000
    assert "The other 800 checks are in the table above and in run.json." in text


@pytest.mark.parametrize(
    ("low", "value", "high", "op", "bound"),
    [(0.0, 0.0, 0.0, "at_most", 0.0), (-3.0, 1.0, 9.0, "at_least", 2.0), (5.0, 5.5, 6.0, "at_most", 1e-9)],
)
def test_the_drawing_stays_in_its_frame(low: float, value: float, high: float, op: Any, bound: float) -> None:
    """Whatever the numbers; the bad side is the one that the bound names."""
    measurement = Measurement(name="m", value=value, unit="nats", n=3, low=low, high=high)
    item = make_item(measurements=(measurement,), bound=Bound(op=op, value=bound, unit="nats", confidence=0.95))
    drawn = html.plot(item)
    assert drawn is not None
    assert 0 <= drawn.low <= drawn.value <= drawn.high <= 100
    assert (drawn.bad_from, drawn.bad_to) == ((drawn.bound, 100.0) if op == "at_most" else (0.0, drawn.bound))


def test_without_a_number_there_is_no_drawing() -> None:
    """An INVALID item is not drawn at zero."""
    assert html.plot(make_item(verdict=Verdict.INVALID)) is None


@pytest.mark.parametrize(("logprob", "shade"), [(-0.05, 0), (-0.5, 1), (-2.0, 2), (-5.0, 3), (-20.0, 4)])
def test_shades(logprob: float, shade: int) -> None:
    """The less likely, the darker."""
    assert html.shade(logprob) == shade


def test_the_file_is_written(tmp_path: Path) -> None:
    """Under its name."""
    assert html.write(sample_record(), tmp_path).read_text().startswith("<!DOCTYPE html>")


def test_a_scored_text_is_shown_whole_above_its_tokens() -> None:
    """Tokens alone can hide what was scored."""
    text = html.render(make_record(make_item("hint", Verdict.FAIL)))
    assert re.search(r"bad <code>.*Berlin.*</code>, -1\.750 nats", text)
