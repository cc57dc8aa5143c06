"""The step summary: small enough, worst first, and no text of the model acts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.verdict import Verdict
from harness.writers import markdown
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record, make_suite, sample_record
from tests.writers.test_html import poisoned

if TYPE_CHECKING:
    from pathlib import Path

OWN_HEADING = re.compile(r"#{1,3} (Tells: [A-Z ]+|What ran|Suite .*|Examples|[PF?!W] [A-Z]+ .*)")


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_a_payload_in_every_field_stays_text(payload: str) -> None:
    """No command, no heading, no fence and no tag comes from outside."""
    fence = ""
    for shown in markdown.render(poisoned(sample_record(), payload)).split("\n"):
        assert not shown.lstrip().startswith("::")
        assert not re.search(r"##[A-Za-z]*\[", shown)
        if fence:
            assert shown == fence or shown[:2] in {"| ", "$ "}
            fence = "" if shown == fence else fence
        elif shown.startswith("```"):
            fence = re.match(r"`+", shown).group()  # type: ignore[union-attr]
        else:
            assert not shown.startswith("#") or OWN_HEADING.fullmatch(shown), shown
            assert not re.search(r"[<>]", shown)
            assert "https://" not in shown
    assert not fence


def test_a_table_row_keeps_its_cells() -> None:
    """A bar in a text does not make another cell."""
    text = markdown.render(make_record(make_item(reference="a|b", cause="c|d")))
    row = next(shown for shown in text.split("\n") if shown.startswith("| P PASS"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 10


def test_three_thousand_items_fit() -> None:
    """A summary over 1 MiB is thrown away whole; the worst items are in what is kept."""
    long = "why " * 200
    items = [make_item(f"case-{place}", Verdict.PASS, cause=long, reference=long) for place in range(2990)]
    items += [make_item(f"bad-{place}", Verdict.FAIL, exchanges=(make_exchange("x" * 50_000),)) for place in range(10)]
    text = markdown.render(make_record(*items))
    assert len(text.encode()) < markdown.MAX_BYTES
    assert text.count("| F FAIL") == 10
    assert re.search(r"Left out for size: \d+ rows or examples", text)


def test_it_says_what_ran_and_what_did_not() -> None:
    """In numbers, before any table."""
    item = make_item()
    record = make_record(item, planned=(item.node_id, "a", "b"), partial=True)
    text = markdown.render(record)
    assert text.startswith("# Tells: PARTIAL\n\nVerdict: This run is no verdict on the model, and no pass: only 1 of 3")
    assert "3 planned, 1 selected, 1 with a result (2 not selected, 0 without a result)" in text


def test_a_run_that_passes_has_no_empty_list_of_examples() -> None:
    """A heading over nothing reads like a loss."""
    assert "## Examples" not in markdown.render(make_record(make_item()))
    assert "## Examples" in markdown.render(sample_record())


def test_worst_first() -> None:
    """INVALID before FAIL before INCONCLUSIVE before PASS, as the gate does."""
    text = markdown.render(sample_record())
    rows = re.findall(r"^\| ([PF?!W] [A-Z]+) \|", text, re.MULTILINE)
    assert rows == ["! INVALID", "F FAIL", "F FAIL", "? INCONCLUSIVE", "P PASS", "P PASS"]


@pytest.mark.parametrize("hazard", ["internal", "restricted"])
def test_texts_of_closed_suites_are_not_shown(hazard: str) -> None:
    """A step summary is public."""
    leaky = make_exchange("the planted canary")
    cause = "row said 'the planted canary'"
    item = make_item("x", Verdict.INVALID, hazard=hazard, exchanges=(leaky,), cause=cause)
    text = markdown.render(make_record(item, suites=(make_suite(hazard=hazard),)))
    assert "canary" not in text
    assert f"the suite is {hazard}" in text


def test_the_file_is_written(tmp_path: Path) -> None:
    """Under its name."""
    assert markdown.write(sample_record(), tmp_path).name == "report.md"
