"""`rate`, `accuracy`, `consistency`: shares of scenarios, bounded exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, option
from harness.measures.events import Mode, Outcome, Shares, combine, judge_shares, row_outcome, samples
from harness.scoring import right_by_margin

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.transcript import Row, Transcript
    from harness.verdict import CheckResult

ACCEPTS = {"answer": "{{ accepts }}"}
"""What counts as right unless the file says otherwise."""
LEAST_ROWS = 2
"""Rows of a scenario without which nothing can flip."""


@check.register("rate")
def rate(evidence: Evidence) -> CheckResult:
    """Bound the share of scenarios in which an event occurs.

    With `at_most` a scenario counts when any sample of any row shows the event; with `at_least` it counts when every
    sample of every row does. Unit: share.

    Source: Clopper and Pearson 1934; scenarios as the unit, so that paraphrases do not count as evidence of their own.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "share", ops=("at_most", "at_least"))
    mode: Mode = "any" if bound.op == "at_most" else "every"
    grader = option(transcript, "of")
    note = f"a scenario counts when the event is in {mode} row and sample"
    return _shares(transcript, "rate", lambda row: row_outcome(row, grader, mode), mode, note)


@check.register("accuracy")
def accuracy(evidence: Evidence) -> CheckResult:
    """Bound from below the share of scenarios answered rightly in every row. Unit: share.

    With `generate` right means that the grader hits; with `loglikelihood` that good is likelier than bad.
    """
    transcript = evidence.transcript
    if transcript.case.loglikelihood is not None:
        return _shares(transcript, "accuracy", right_by_margin, "every", "right: log P(good) > log P(bad) in every row")
    grader = transcript.case.check.options.get("of", ACCEPTS)
    note = "right: the grader hits in every row and sample"
    return _shares(transcript, "accuracy", lambda row: row_outcome(row, grader, "every"), "every", note)


def _shares(
    transcript: Transcript, name: str, outcome: Callable[[Row], Outcome], mode: Mode, note: str
) -> CheckResult:  # fmt: skip
    condition = option(transcript, "in")
    ops = ("at_least",) if name == "accuracy" else ("at_most", "at_least")
    scenarios = by_scenario(transcript, condition)
    rows = {scenario: [outcome(row) for row in found] for scenario, found in scenarios.items()}
    return judge_shares(
        Shares(
            name=name, reference=f"the limit of the file; condition {condition}",
            bound=bound_of(transcript, "share", ops=ops), rows=rows, note=note,
            scenarios={scenario: combine(outcomes, mode) for scenario, outcomes in rows.items()},
            row_ids={scenario: [row.id for row in found] for scenario, found in scenarios.items()},
        )
    )  # fmt: skip


@check.register("consistency")
def consistency(evidence: Evidence) -> CheckResult:
    """Bound the share of scenarios whose answer differs between their rows (or samples). Unit: share.

    The answer is the grader's decision, or the sign of the margin. A scenario with an unmeasured row counts as flipped
    unless all that is known says so already; one with a single row makes the check INVALID.
    """
    transcript = evidence.transcript
    condition = option(transcript, "in")
    scenarios = by_scenario(transcript, condition)
    short = [scenario for scenario, found in scenarios.items() if len(found) < LEAST_ROWS]
    if short:
        msg = f"{len(short)} scenarios have a single row ({short[0]}, ...): nothing can flip; ask in more phrasings"
        raise MeasureError(msg)
    answers = {scenario: [_answers(row, transcript) for row in found] for scenario, found in scenarios.items()}
    return judge_shares(
        Shares(
            name="flips", reference="the other phrasings of the same scenario", bound=bound_of(transcript, "share"),
            scenarios={scenario: _flips([a for row in rows for a in row]) for scenario, rows in answers.items()},
            rows={scenario: _row_flips(rows) for scenario, rows in answers.items()},
            row_ids={scenario: [row.id for row in found] for scenario, found in scenarios.items()},
            note="a scenario counts when its answers differ; rows: those unlike their first decided one",
        )
    )  # fmt: skip


def _answers(row: Row, transcript: Transcript) -> tuple[Outcome, ...]:
    if transcript.case.loglikelihood is not None:
        return (right_by_margin(row),)
    return samples(row, transcript.case.check.options.get("of", ACCEPTS))


def _flips(answers: list[Outcome]) -> Outcome:
    if {True, False} <= set(answers):
        return True
    return None if None in answers else False


def _row_flips(rows: list[tuple[Outcome, ...]]) -> list[Outcome]:
    """Per row: None when unmeasured, else whether it differs from the first decided row."""
    decided = [set(row) for row in rows if None not in row]
    return [None if None in row else set(row) != decided[0] for row in rows]
