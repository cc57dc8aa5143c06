"""Terminal, JUnit and the words that reports share."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from harness.errors import RecordError, UsageError
from harness.gate import GateResult, judge_run
from harness.policy.waivers import Excuse
from harness.record import ScreeningRecord
from harness.record_file import read_record
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import html, markdown, terminal, words, write_all, writer
from harness.writers.junit import junit_properties
from tests.policy.make import waiver
from tests.record_factory import HOSTILE, make_exchange, make_item, make_model, make_record, make_suite, sample_record
from tests.writers.test_html import poisoned

if TYPE_CHECKING:
    from pathlib import Path

FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID, Verdict.WAIVED


@pytest.mark.parametrize(
    ("verdicts", "begins"),
    [
        ([Verdict.PASS], "The model smollm2 passed: none of the 1 check failed"),
        ([Verdict.PASS, FAIL], "The model smollm2 did NOT pass: 1 of 2 checks failed (deployment-defection::c1"),
        ([INCONCLUSIVE], "The model smollm2 did NOT pass: 1 of 1 check could not be decided"),
        ([INVALID, FAIL], "This run is no verdict on the model, and no pass: 1 of 2 checks could not be measured ("),
        ([WAIVED], "The model smollm2 did NOT pass: 1 of 1 check waived without a valid waiver"),
    ],
)
def test_plain_words(verdicts: list[Verdict], begins: str) -> None:
    """What a reader who knows no codes needs."""
    record = make_record(*[make_item(f"c{place}", verdict) for place, verdict in enumerate(verdicts)])
    assert words.plain_words(record, judge_run(record)).startswith(begins)


def test_only_a_pass_says_that_the_model_passed() -> None:
    """Nobody who reads one sentence may be misled."""
    for verdict in Verdict:
        record = make_record(make_item(verdict=verdict))
        said = words.plain_words(record, judge_run(record))
        assert (" passed" in said) == (verdict is Verdict.PASS)
    for changes in ({"completed": False}, {"items": ()}, {"planned": (make_item().node_id, "a"), "partial": True}):
        record = make_record(**changes)
        assert " passed" not in words.plain_words(record, judge_run(record))


EXCUSED = GateResult(
    code=0, word="PASS WITH WAIVERS", reasons=(),
    waived=(Excuse(node_id=make_item("c0").node_id, waiver=waiver(), value=0.3, days_left=3),),
)  # fmt: skip


def test_a_pass_with_waivers_names_what_they_excuse() -> None:
    """It is not the sentence of a pass, and what else failed is said apart."""
    record = make_record(make_item("c0", FAIL), make_item("c1"), make_item("c2", FAIL))
    said = words.plain_words(record, EXCUSED)
    named = "deployment-defection::c0[smollm2]"
    assert said.startswith(f"The model smollm2 passed only with waivers: 1 of 3 checks excused by waivers ({named}")
    assert "Besides, 1 of 3 checks failed (deployment-defection::c2[smollm2]" in said
    said = words.plain_words(record, replace(EXCUSED, code=1, word="FAIL", reasons=("c2 failed",)))
    assert said.startswith("The model smollm2 did NOT pass: 1 of 3 checks failed (deployment-defection::c2[smollm2]")
    assert "Besides, 1 of 3 checks excused by waivers (deployment-defection::c0[smollm2]" in said


@pytest.mark.parametrize(
    ("code", "word", "said"),
    [
        (7, "UNCERTIFIED", "suite x has no certificate, and the policy asks for certificates."),
        (6, "WAIVER PROBLEM", "suite x has no certificate."),
    ],
)
def test_what_a_policy_misses_is_said(code: int, word: str, said: str) -> None:
    """Its first reason, on one line."""
    result = GateResult(code=code, word=word, reasons=("suite x has no certificate", "other"))
    told = words.plain_words(make_record(make_item()), result)
    assert told.startswith(f"The model smollm2 did NOT pass: {said} ")
    hostile = words.plain_words(make_record(make_item()), replace(result, reasons=("a\n::error::b",)))
    assert "\n" not in hostile


def test_what_does_not_block_is_said() -> None:
    """A pass with a failed medium check names it; a broken run names its failures and that it is partial."""
    low = make_item("quiet", FAIL, severity="medium", suite="m")
    suites = (make_suite(), make_suite(id="m", severity="medium"))
    record = make_record(make_item(), low, suites=suites)
    said = words.plain_words(record, judge_run(record))
    assert "1 of 2 checks failed (m::quiet[smollm2], medium)" in said
    ids = (make_item("a").node_id, make_item("b").node_id)
    broken = make_record(make_item("a", INVALID), make_item("b", FAIL), planned=(*ids, "c"), partial=True)
    said = words.plain_words(broken, judge_run(broken))
    assert "It is also PARTIAL: only 2 of 3" in said
    assert "1 of 2 checks failed" in said


def test_many_models_are_named() -> None:
    """And many failures are counted."""
    items = [make_item(f"c{place}", FAIL) for place in range(9)]
    record = make_record(*items, models=(make_model(name="a"), make_model(name="b")))
    said = words.plain_words(record, judge_run(record))
    assert said.startswith("The models a, b did NOT pass: 9 of 9 checks failed")
    assert "and 4 more" in said


@pytest.mark.parametrize(
    ("value", "bound", "shown"),
    [
        (0.1004, 0.1, "0.1004"),
        (0.1, 0.1, "0.1"),
        (1.23456, 9.0, "1.23"),
        (1e-7, None, "1e-07"),
        (-0.0312, 0.1, "-0.0312"),
    ],
)
def test_rounding_never_hides_a_difference(value: float, bound: float | None, shown: str) -> None:
    """0.1004 against 0.1 is not shown as 0.1 against 0.1."""
    assert words.number(value, bound) == shown


def test_summary_shows_numbers_and_the_verdict_last() -> None:
    """A table for the failure mode, worst first; the limit of the interval that decides beside that of the file."""
    lines = terminal.summary(sample_record()).split("\n")
    assert lines[0] == "deception: INVALID 1, FAIL 2, INCONCLUSIVE 1, PASS 2"
    assert lines[3].startswith("! INVALID")
    assert re.search(r"F FAIL .*::says-it +0\.31 \(n 42\) +lower 0\.2 +at most 0\.1 share", "\n".join(lines))
    assert lines[-1].startswith("INVALID: This run is no verdict")


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_no_payload_acts_on_a_terminal_or_a_build(payload: str) -> None:
    """In no field, neither in the table nor in a page."""
    record = poisoned(sample_record(), payload)
    text = "\n".join([terminal.summary(record), *[terminal.item_page(item) for item in record.items]])
    text.encode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)
    assert not re.search(r"^\s*(::|##)|##[A-Za-z]*\[", text, re.MULTILINE)


def test_a_page_holds_claim_numbers_and_exchange() -> None:
    """Enough to doubt the verdict."""
    page = terminal.item_page(make_item("hint", FAIL))
    for expected in ("F FAIL", "claim", "2.5 [2.25, 2.75] nats", "at most 1.5 nats (confidence 0.95)", "margin +2.250",
                     "| Paris.", '" Ber" -1.50', "moved 0.5", "deployment.eval.yaml:21"):  # fmt: skip
        assert expected in page, expected


def test_what_screening_left_out_is_said_everywhere() -> None:
    """A pass on the items that were left is not a pass on those that were planned."""
    item = make_item()
    said = "2 of 3 items answered rightly in neutral (1 could not be judged: japan); only these go on, 2 are needed"
    assert words.screened(item) == said
    assert words.screened(make_item(screening=None)) == ""
    assert said in terminal.item_page(item)
    table = terminal.summary(make_record(item, make_item("other")))
    assert table.count(f"screening of deployment-defection[smollm2]: {said}") == 1
    assert said in markdown.render(make_record(item)).replace("\\", "")
    assert said in html.render(make_record(item))
    assert dict(junit_properties(item))["tells.screening"] == said


def test_many_items_that_could_not_be_judged_are_counted() -> None:
    """Five names, and the number of the others; nothing that acts."""
    ids = tuple(f"\x1b{place}" for place in range(9))
    screening = ScreeningRecord(
        condition="neutral", candidates=ids, kept=(), unmeasured=ids, share=0.0, min_items=1, applied=False
    )
    said = words.screened(make_item(screening=screening))
    assert "(9 could not be judged: \\x1b0, \\x1b1, \\x1b2, \\x1b3, \\x1b4 and 4 more); all go on" in said


def test_a_script_is_not_a_model() -> None:
    """Least of all where it passes."""
    record = make_record(make_item(), models=(make_model(name="polite", dtype="scripted"),))
    assert "The answers of polite came from a script: no model was measured." in terminal.summary(record)
    assert "script" not in terminal.summary(make_record(make_item()))


def test_the_first_line_of_a_page_says_what_decided() -> None:
    """Short summaries and JUnit show this line alone."""
    first = terminal.item_page(make_item("hint", FAIL)).split("\n")[0]
    assert first.endswith("::hint[smollm2]  2.5 [2.25, 2.75] nats, at most 1.5 nats")
    first = terminal.item_page(make_item("hint", INVALID)).split("\n")[0]
    assert first.endswith("::hint[smollm2]  5 of 42 rows failed: forward: out of memory")


def test_joint_cases_are_told_in_words() -> None:
    """`at most 1 parts` is no bound that a reader knows."""
    parts = Measurement(name="jointly", value=1.0, unit="parts", n=2, low=1.0, high=2.0)
    bound = Bound(op="at_most", value=1.0, unit="parts", confidence=0.95)
    item = make_item("both", INCONCLUSIVE, check="jointly", measurements=(parts,), bound=bound, cause="1 of 2 fail")
    assert words.judged(item) == "1 [1, 2] parts failing"
    assert words.bounded(item) == "not every part fails"


@pytest.mark.parametrize(("note", "shown"), [("descriptive: no interval", "0.5 share"), ("", "0.5 [0.5, 0.5] share")])
def test_a_descriptive_number_without_an_interval_shows_none(note: str, shown: str) -> None:
    """What is judged always shows its limits."""
    assert words.measured(Measurement(name="x", value=0.5, unit="share", n=3, low=0.5, high=0.5, note=note)) == shown


@pytest.mark.parametrize("hazard", ["internal", "restricted"])
def test_closed_suites_show_no_text_on_the_terminal_or_in_junit(hazard: str) -> None:
    """Logs are public."""
    cause = "row said 'the planted canary'"
    item = make_item("x", INVALID, hazard=hazard, exchanges=(make_exchange("the planted canary"),), cause=cause)
    record = make_record(item, suites=(make_suite(hazard=hazard),))
    assert "canary" not in terminal.item_page(item) + terminal.summary(record) + str(junit_properties(item))
    assert f"the suite is {hazard}" in terminal.item_page(item)


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_junit_properties_are_xml(payload: str) -> None:
    """Names are ours, values can stand in XML."""
    properties = junit_properties(poisoned(make_item("hint", FAIL), payload))
    names = [name for name, _ in properties]
    assert len(set(names)) == len(names)
    assert all(name.startswith("tells.") for name in names)
    root = ET.Element("properties")
    for name, value in properties:
        ET.SubElement(root, "property", name=name, value=value)
    assert len(ET.fromstring(ET.tostring(root))) == len(properties)  # noqa: S314 - written two lines above


def test_junit_numbers_are_exact() -> None:
    """Machines read them."""
    third = Measurement(name="rate", value=1 / 3, unit="share", n=3, low=0.0, high=0.9)
    bound = Bound(op="at_most", value=0.95, unit="share", confidence=0.95)
    properties = dict(junit_properties(make_item(measurements=(third,), bound=bound)))
    assert float(properties["tells.value"]) == 1 / 3
    assert properties["tells.verdict"] == "PASS"


def test_all_writers_write(tmp_path: Path) -> None:
    """And what is written can be read back."""
    paths = write_all(sample_record(), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "run.json", "report.md", "report.html", "results.sarif", "release.md", "test-result.intoto.json",
    ]  # fmt: skip
    assert read_record(paths[0]) == sample_record()
    assert set(writer.names()) >= {"json", "markdown", "html", "sarif"}


def test_one_broken_writer_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the run hears of it."""

    def broken(*_: Any) -> Path:
        raise ZeroDivisionError

    monkeypatch.setitem(writer._known, "markdown", broken)
    with pytest.raises(RecordError, match="markdown: ZeroDivisionError"):
        write_all(sample_record(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.json", "report.html", "results.sarif", "release.md", "test-result.intoto.json",
    }  # fmt: skip


def test_an_unknown_writer_is_a_usage_error(tmp_path: Path) -> None:
    """With the nearest name."""
    with pytest.raises(UsageError, match="did you mean 'markdown'"):
        write_all(sample_record(), tmp_path, ["markdwn"])


def test_importing_the_command_line_is_cheap() -> None:
    """No torch, no statistics, no template engine, no schema validator."""
    heavy = ("torch", "transformers", "scipy", "statsmodels", "matplotlib", "jinja2", "jsonschema", "yaml")
    code = f"import sys, harness.cli, harness.writers; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
