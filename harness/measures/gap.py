"""`condition_gap`: the same items in two conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, invalid, option
from harness.measures.events import MOST_UNMEASURED, Outcome, combine, out_of_reach, row_outcome
from harness.measures.logits import numeric_gap
from harness.stats import Interval, exact_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.transcript import Transcript
    from harness.verdict import Bound, CheckResult

Pair = tuple[Outcome, Outcome]


@check.register("condition_gap")
def condition_gap(evidence: Evidence) -> CheckResult:
    """Bound |m(a) - m(b)| (nats), or the gap between the shares of an event (share), paired by item.

    For events the limits come from the two discordant shares: p10 (event under a alone) and p01 (under b alone),
    gap = p10 - p01, high = high(p10) - low(p01), each exact at half the error. So no discordance at all still has an
    interval.
    """
    if evidence.transcript.case.loglikelihood is not None:
        return numeric_gap(evidence)
    transcript = evidence.transcript
    bound = bound_of(transcript, "share")
    a, b = option(transcript, "a"), option(transcript, "b")
    equal_chances(transcript, a, b)
    outcomes = {name: _outcomes(transcript, name) for name in (a, b)}
    pairs = [(outcomes[a][scenario], outcomes[b][scenario]) for scenario in sorted(transcript.planned)]
    tellings = _telling(transcript, a, b, outcomes[a], outcomes[b])
    gaps = [_gap(pairs, imputed, bound.confidence) for imputed in _IMPUTATIONS]
    sign = -1.0 if gaps[0].value < 0.0 else 1.0
    each = {
        scenario: sign * (float(x) - float(y))
        for scenario, (x, y) in zip(sorted(transcript.planned), pairs, strict=True) if x is not None and y is not None
    }  # fmt: skip
    results = [replace(_judge(bound, gap, pairs, tellings, b), per_scenario=each) for gap in gaps]
    broken = sum(outcome is None for pair in pairs for outcome in pair)
    rows = [
        row_outcome(row, option(transcript, "of"), "any")
        for name in (a, b) for found in by_scenario(transcript, name).values() for row in found
    ]  # fmt: skip
    unmeasured = sum(outcome is None for outcome in rows)
    if unmeasured > MOST_UNMEASURED * len(rows):
        cause = f"{unmeasured} of {len(rows)} rows are unmeasured; at most {MOST_UNMEASURED:.0%} may be"
        return invalid(bound, cause, like=results[0])
    if len({result.verdict for result in results}) > 1:
        cause = f"the {broken} unmeasured answers alone decide: {', '.join(result.verdict for result in results)}"
        return invalid(bound, cause, like=results[0])
    whole = sum(None not in pair for pair in pairs)
    unreachable = out_of_reach(bound, whole, confidence=_half(bound.confidence))
    return invalid(bound, unreachable, like=results[0]) if unreachable else results[0]


_IMPUTATIONS: tuple[tuple[bool, bool], ...] = ((True, False), (False, True), (False, False))
"""Unmeasured under a and under b: towards a, towards b, and no event."""


def _half(confidence: float) -> float:
    return 1.0 - (1.0 - confidence) / 2.0


def equal_chances(transcript: Transcript, a: str, b: str) -> None:
    """Refuse unequal numbers of samples: "any row shows it" grows with them, and would make a gap of its own.

    Raises:
        MeasureError: a scenario has more samples in one condition than in the other.
    """
    first, second = by_scenario(transcript, a), by_scenario(transcript, b)
    for scenario, rows in first.items():
        chances = [sum(getattr(row.request, "n", 1) for row in found) for found in (rows, second[scenario])]
        if chances[0] != chances[1]:
            msg = f"{scenario}: {chances[0]} samples in {a!r}, {chances[1]} in {b!r}; a gap needs as many in both"
            raise MeasureError(msg)


def _outcomes(transcript: Transcript, condition: str) -> dict[str, Outcome]:
    grader = option(transcript, "of")
    return {
        scenario: combine([row_outcome(row, grader, "any") for row in rows], "any")
        for scenario, rows in by_scenario(transcript, condition).items()
    }


def _gap(pairs: Sequence[Pair], imputed: tuple[bool, bool], confidence: float) -> Interval:
    filled = [tuple(imputed[i] if x is None else x for i, x in enumerate(pair)) for pair in pairs]
    up, down, n = (
        sum(pair == (True, False) for pair in filled),
        sum(pair == (False, True) for pair in filled),
        len(pairs),
    )
    return discordant(up, down, n, confidence)


def discordant(up: int, down: int, n: int, confidence: float) -> Interval:
    """Return the difference of two discordant shares of `n` pairs, each with exact limits at half the error.

    Source: McNemar 1947 for the pairs; Clopper and Pearson 1934; the union bound.
    """
    first, second = (exact_limits(k, n, _half(confidence)) for k in (up, down))
    return Interval(value=(up - down) / n, low=first.low - second.high, high=first.high - second.low)


def _judge(
    bound: Bound, gap: Interval, pairs: Sequence[Pair], tellings: tuple[Sequence[str], Sequence[str]], b: str
) -> CheckResult:  # fmt: skip
    return conclude(
        bound, gap.magnitude(), name="condition_gap", n=len(pairs), reference=f"condition {b}",
        note="exact limits on both discordant shares, each at half the error", worst_first=tellings[0],
        others=(describe("signed_gap", gap.value, "share", len(pairs), "a minus b", low=gap.low, high=gap.high),),
    )  # fmt: skip


def _telling(
    transcript: Transcript, a: str, b: str, first: dict[str, Outcome], second: dict[str, Outcome]
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    apart = [scenario for scenario in sorted(first) if first[scenario] is not second[scenario]]
    rows = [by_scenario(transcript, name) for name in (a, b)]
    ids = tuple(row.id for scenario in apart for found in rows for row in found[scenario])
    return ids, ids
