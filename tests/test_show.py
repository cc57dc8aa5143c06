"""`tells show RUN ITEM`: which items a word names, and what is said where it names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import cli, restricted
from harness.commands.show import matching
from harness.errors import UsageError
from harness.record_file import write_record
from harness.verdict import Verdict
from tests.certify.make import control, planted
from tests.record_factory import make_exchange, make_item, make_record, make_suite

if TYPE_CHECKING:
    from pathlib import Path

FILE, SUITE = "evals/deception/deployment.eval.yaml", "deployment-defection"
ITEMS = [
    make_item("hint"),
    make_item("hint", Verdict.FAIL, node_id=f"{FILE}::{SUITE}::hint[other]", model="other"),
    make_item("hint-in-the-logits", Verdict.INCONCLUSIVE),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (f"{FILE}::{SUITE}::hint[smollm2]", ["hint[smollm2]"]),
        (f"{SUITE}::hint[other]", ["hint[other]"]),
        (f"{SUITE}::hint", ["hint[other]", "hint[smollm2]"]),
        (f"{SUITE}::hint-in-the-logits", ["hint-in-the-logits[smollm2]"]),
        ("hint", ["hint[other]", "hint-in-the-logits[smollm2]", "hint[smollm2]"]),
        ("logits[", ["hint-in-the-logits[smollm2]"]),
        ("[other]", ["hint[other]"]),
        ("", ["hint[other]", "hint-in-the-logits[smollm2]", "hint[smollm2]"]),
    ],
)
def test_what_a_word_names(wanted: str, found: list[str]) -> None:
    """A node id one item, SUITE::CASE the case on every model, anything else all that hold it; worst first."""
    assert [item.node_id.rpartition("::")[2] for item in matching(ITEMS, wanted)] == found


def test_findings_are_named_alike() -> None:
    """Of a certification."""
    found = [planted(), control()]
    assert matching(found, found[1].node_id) == [found[1]]
    assert len(matching(found, found[0].node_id.partition("[")[0])) == 2


def test_where_nothing_matches_the_nearest_are_named() -> None:
    """In four parts: where, what, what was expected, what to do."""
    with pytest.raises(UsageError) as caught:
        matching(ITEMS, f"{SUITE}::hnit")
    assert str(caught.value) == (
        f"ITEM '{SUITE}::hnit': no item's node id holds it; expected a node id of the run, SUITE::CASE, or a part of "
        f"one; did you mean {SUITE}::hint? near it too: {SUITE}::hint-in-the-logits"
    )
    with pytest.raises(UsageError, match="show without ITEM lists them"):
        matching(ITEMS, "zzzzzzzzzzzzzzzz")
    with pytest.raises(UsageError, match="show without ITEM lists them"):
        matching([], "hint")


def test_all_that_match_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five pages, and the others by name and verdict, one on a line."""
    items = [make_item(f"c{n}", Verdict.FAIL if n == 7 else Verdict.PASS) for n in range(9)]
    write_record(tmp_path / "run.json", make_record(*items))
    assert cli.main(["show", str(tmp_path / "run.json"), "::c"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"F FAIL  {SUITE}::c7[smollm2]")
    pages, _, others = said.partition("and 4 more items match ::c; name more of the id:\n")
    assert pages.count("\n  claim ") == 5
    assert others.splitlines() == [f"  PASS          {FILE}::{SUITE}::c{n}[smollm2]" for n in (4, 5, 6, 8)]
    assert cli.main(["show", str(tmp_path / "run.json")]) == 0
    shown = capsys.readouterr().out
    assert f"tells show {tmp_path / 'run.json'} {SUITE}::c7" in " ".join(shown.replace("  | ", "").split())


@pytest.mark.parametrize(("hazard", "seen"), [("open", True), ("internal", False), ("restricted", False)])
def test_closed_suites_show_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hazard: str, *, seen: bool
) -> None:
    """Neither in the table nor in a page."""
    item = make_item("x", Verdict.FAIL, hazard=hazard, exchanges=(make_exchange("the planted canary"),))
    write_record(tmp_path / "run.json", make_record(item, suites=(make_suite(hazard=hazard),)))
    for words in ((), ("x",)):
        assert cli.main(["show", str(tmp_path / "run.json"), *words]) == 0
    assert ("the planted canary" in capsys.readouterr().out) is seen


def test_restricted_texts_need_the_option_and_a_run_that_kept_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And then the banner says so."""
    item = make_item("x", hazard="restricted", shown=True, exchanges=(make_exchange("the planted canary"),))
    suites = (make_suite(hazard="restricted"),)
    write_record(tmp_path / "run.json", make_record(item, suites=suites, shown=True))
    assert cli.main(["show", str(tmp_path / "run.json"), "x"]) == 0
    assert "canary" not in capsys.readouterr().out
    assert cli.main(["show", str(tmp_path / "run.json"), "x", "--show-restricted"]) == 0
    said = capsys.readouterr().out
    assert "the planted canary" in said
    assert restricted.BANNER in said
    write_record(tmp_path / "run.json", make_record(make_item("x", hazard="restricted"), suites=suites))
    assert cli.main(["show", str(tmp_path / "run.json"), "x", "--show-restricted"]) == 0
    assert capsys.readouterr().out.startswith("Of restricted suites the record keeps tags alone")
