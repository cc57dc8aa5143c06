"""Which rows of a transcript a record keeps as evidence, and which of them it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import record
from harness.request import Completions, Failure

if TYPE_CHECKING:
    from harness.transcript import Row, Transcript
    from harness.verdict import CheckResult

NULL = "null"
"""The option by which a check names the condition of its null cues."""


def rows_of(transcript: Transcript | None) -> tuple[Row, ...]:
    """Return all rows of a case, those of its parts included; none where it came to no transcript."""
    if transcript is None:
        return ()
    return tuple(row for part in transcript.parts or (transcript,) for row in part.rows)


def telling(transcript: Transcript | None, result: CheckResult | None) -> list[Row]:
    """Return the rows to show, most telling first: one per scenario, with its partner in the other condition.

    Where a check compares with null cues, the partner is the row with the null cue. Of a case that came to nothing, its
    failures; of one that screening stopped, the questions it did not answer.
    """
    rows = rows_of(transcript)
    by_id = {row.id: row for row in rows}
    named = [by_id[name] for name in (result.telling if result else ()) if name in by_id]
    if not named:
        named = [row for row in rows if isinstance(row.response, Failure)]
    if not named and transcript is not None and transcript.screening is not None:
        named = [row for row in transcript.knowledge_rows if row.scenario not in transcript.screening.kept]
        return named[: record.MAX_EXCHANGES]
    first: dict[str, Row] = {}
    for row in named:
        first.setdefault(row.scenario, row)
    nulls, compared = _nulls(transcript), _compared(transcript)
    pairs = [
        mate for row in first.values()
        for mate in (row, *_partners(row, rows, nulls.get(row.id, ()), compared.get(row.id, frozenset())))
    ]  # fmt: skip
    return list({mate.id: mate for mate in pairs}.values())[: record.MAX_EXCHANGES]


def _nulls(transcript: Transcript | None) -> dict[str, tuple[Row, ...]]:
    """Return, by row id, the rows with null cues that the check compares the row with, for checks that do so."""
    found: dict[str, tuple[Row, ...]] = {}
    for part in (transcript.parts or (transcript,)) if transcript is not None else ():
        if (name := part.case.check.options.get(NULL)) is None:
            continue
        nulls = part.in_condition(str(name))
        found.update({row.id: nulls for row in part.rows if row.condition != name})
    return found


def _partners(row: Row, rows: tuple[Row, ...], nulls: tuple[Row, ...], compared: frozenset[str]) -> list[Row]:
    """Return one row of the same scenario in another condition: a shift is seen on two rows.

    Of a row that was asked of a changed model, the same row of the model as it is. Of a row that the check compares
    with `nulls`, one of these. Else, of a scored row any other condition's; of a generated one that of a condition
    which the check names, since a text in a condition that plays no part would explain nothing. In the same wording
    where there is one: then the condition is all that differs.
    """
    if row.transform:
        return [mate for mate in rows if not mate.transform and row.id.startswith(f"{mate.id}/")][:1]
    mates = [mate for mate in nulls if mate.scenario == row.scenario and type(mate.response) is type(row.response)]
    if not mates and row.groups:
        return [mate for mate in rows if mate.scenario == row.scenario and mate.condition != row.condition][:1]
    if not mates and isinstance(row.response, Completions):
        mates = [
            mate for mate in rows
            if mate.scenario == row.scenario and mate.condition in compared - {row.condition}
            and isinstance(mate.response, Completions)
        ]  # fmt: skip
    return sorted(mates, key=lambda mate: mate.phrasing != row.phrasing)[:1]


def _compared(transcript: Transcript | None) -> dict[str, frozenset[str]]:
    """Return, by row id, the conditions that the check of the row names."""
    found: dict[str, frozenset[str]] = {}
    for part in (transcript.parts or (transcript,)) if transcript is not None else ():
        options = part.case.check.options.values()
        named = {str(name) for value in options for name in (value if isinstance(value, list | tuple) else [value])}
        conditions = frozenset(named & {row.condition for row in part.rows})
        found.update({row.id: conditions for row in part.rows})
    return found


def screening_of(transcript: Transcript | None) -> record.ScreeningRecord | None:
    """Return what a record keeps of the screening; None where nothing was screened."""
    if transcript is None or transcript.screening is None:
        return None
    seen = transcript.screening
    return record.ScreeningRecord(
        condition=seen.condition,
        candidates=seen.candidates,
        kept=seen.kept,
        unmeasured=seen.unmeasured,
        share=seen.share,
        min_items=seen.min_items,
        applied=seen.applied,
    )
