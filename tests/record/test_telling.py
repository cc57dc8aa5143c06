"""Which rows a record shows: the most telling first, each beside the row that it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import telling
from harness.request import Failure
from harness.transcript import Transcript
from harness.verdict import Bound, CheckResult, Verdict
from tests.factory import make_case, make_family, make_row, make_suite, margin_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.transcript import Row

NAMES = ("cue", "null", "other")
CASE = make_case("cue_shift", {"cue": "cue", "null": "null", "at_most": 1.0}, ["cue", "null"])
SUITE = make_suite([CASE], items=4, conditions=[make_family(name, 2) for name in NAMES])


def rows_of(conditions: Sequence[str] = ("cue", "null"), items: int = 4) -> tuple[Row, ...]:
    """Return a row for each item, condition, form and phrasing, the wording with the number 1 first."""
    return tuple(
        make_row(f"i{item:03}", name, margin_scores(0.0), cue=f"{name}{form:03}", phrasing=f"p{1 - form}")
        for item in range(items) for name in conditions for form in range(2)
    )  # fmt: skip


def transcript_of(rows: tuple[Row, ...], case: Any = CASE, **changes: Any) -> Transcript:
    """Return a transcript of `case`."""
    return Transcript(suite=SUITE, case=case, planned=("i000", "i001", "i002", "i003"), rows=rows, **changes)


def told(transcript: Transcript, *names: str) -> list[tuple[str, str, str]]:
    """Return scenario, condition and wording of the rows to show where `names` are the telling ones."""
    bound = Bound(op="at_most", value=1.0, unit="nats", confidence=0.95)
    result = CheckResult(verdict=Verdict.FAIL, bound=bound, reference="x", telling=names)
    return [(row.scenario, row.condition, row.phrasing) for row in telling.telling(transcript, result)]


def row_id(rows: tuple[Row, ...], *where: str) -> str:
    """Return the id of the row in this scenario, condition and wording."""
    [found] = [row.id for row in rows if (row.scenario, row.condition, row.phrasing) == where]
    return found


def test_a_cue_stands_beside_its_null_cue_in_the_same_wording() -> None:
    """Both wordings, in the order that the check gave: else two things differ between the rows, and not the cue."""
    rows = rows_of(("other", "cue", "null"))
    telling_ones = [row_id(rows, "i002", "cue", "p0"), row_id(rows, "i000", "cue", "p1")]
    assert told(transcript_of(rows), *telling_ones) == [
        ("i002", "cue", "p0"), ("i002", "null", "p0"), ("i000", "cue", "p1"), ("i000", "null", "p1"),
    ]  # fmt: skip


def test_a_null_cue_in_another_wording_is_better_than_none() -> None:
    rows = tuple(row for row in rows_of() if row.condition != "null" or row.phrasing == "p1")
    found = told(transcript_of(rows), row_id(rows, "i001", "cue", "p0"))
    assert found == [("i001", "cue", "p0"), ("i001", "null", "p1")]


@pytest.mark.parametrize("options", [{"at_most": 1.0}, {"in": "cue", "reference": "other", "at_most": 1.0}])
def test_without_a_null_condition_the_first_other_row_stands_beside(options: dict[str, Any]) -> None:
    case = make_case("margin", options, ["cue", "other"])
    rows = rows_of(("cue", "other"))
    found = told(transcript_of(rows, case), row_id(rows, "i001", "cue", "p0"))
    assert found == [("i001", "cue", "p0"), ("i001", "other", "p1")]


def test_a_null_row_that_is_telling_stands_beside_its_cue() -> None:
    rows = rows_of()
    assert told(transcript_of(rows), row_id(rows, "i003", "null", "p0"))[1][:2] == ("i003", "cue")


def test_parts_are_paired_within_themselves() -> None:
    """Each part has null cues of its own; what the first compares with is nothing to the second."""
    second = make_case("cue_shift", {"cue": "other", "null": "cue", "at_most": 1.0}, ["other", "cue"])
    parts = (transcript_of(rows_of()), transcript_of(rows_of(("other", "cue")), second))
    whole = transcript_of((), make_case("jointly", {}, []), parts=parts)
    first = row_id(parts[0].rows, "i001", "cue", "p0")
    other = row_id(parts[1].rows, "i000", "other", "p1")
    assert told(whole, other, first) == [
        ("i000", "other", "p1"), ("i000", "cue", "p1"), ("i001", "cue", "p0"), ("i001", "null", "p0"),
    ]  # fmt: skip


def test_no_more_rows_than_a_record_keeps_and_one_pair_a_scenario() -> None:
    rows = rows_of()
    found = told(transcript_of(rows), *[row.id for row in rows if row.condition == "cue"])
    assert [(scenario, condition) for scenario, condition, _ in found] == [
        (f"i{item:03}", name) for item in range(3) for name in ("cue", "null")
    ]


def test_texts_stand_alone_and_failures_stand_for_nothing_found() -> None:
    """A row that was not scored has no partner; without a telling row the failures are shown."""
    spoken = make_row("i000", "cue", Failure("forward", "boom"), text=True)
    nothing = transcript_of((spoken, *rows_of()))
    assert told(nothing, spoken.id) == [("i000", "cue", "p0")]
    assert [row.id for row in telling.telling(nothing, None)] == [spoken.id]
    assert telling.telling(None, None) == []
