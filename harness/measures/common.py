"""What all measures share: the options of a check, its rows by scenario, and how a number becomes a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.errors import MeasureError
from harness.verdict import Bound, CheckResult, Measurement, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.stats import Interval
    from harness.transcript import Row, Transcript

CONFIDENCE = 0.95
TELLING = 20
"""Row ids named at most."""


def bound_of(transcript: Transcript, unit: str, *, ops: Sequence[str] = ("at_most",)) -> Bound:
    """Return the bound of the check.

    Raises:
        MeasureError: not exactly one limit, or a limit or confidence that is no usable number.
    """
    options = transcript.case.check.options
    given = [op for op in ("at_most", "at_least") if op in options]
    if len(given) != 1 or given[0] not in ops:
        msg = f"a {transcript.case.check.kind} check has exactly one limit ({' or '.join(ops)}), got {given or 'none'}"
        raise MeasureError(msg)
    limit, confidence = options[given[0]], options.get("confidence", CONFIDENCE)
    for name, number in ((given[0], limit), ("confidence", confidence)):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            msg = f"{name} must be a finite number, got {number!r}"
            raise MeasureError(msg)
    if not 0.5 < confidence < 1.0:  # noqa: PLR2004 - at a half or below the limits cross
        msg = f"confidence must lie between 0.5 and 1, got {confidence}"
        raise MeasureError(msg)
    op: Any = given[0]
    return Bound(op=op, value=float(limit), unit=unit, confidence=float(confidence))


def option(transcript: Transcript, name: str) -> Any:
    """Return one option of the check.

    Raises:
        MeasureError: it is not there.
    """
    try:
        return transcript.case.check.options[name]
    except KeyError:
        msg = f"a {transcript.case.check.kind} check needs {name!r}"
        raise MeasureError(msg) from None


def by_scenario(transcript: Transcript, condition: str) -> dict[str, tuple[Row, ...]]:
    """Return the rows of one condition by scenario, both sorted by id, so that no order of rows matters.

    Raises:
        MeasureError: a planned scenario has no row.
    """
    rows: dict[str, list[Row]] = {scenario: [] for scenario in sorted(transcript.planned)}
    for row in transcript.in_condition(condition):
        rows[row.scenario].append(row)
    absent = [scenario for scenario, found in rows.items() if not found]
    if absent or not rows:
        msg = f"{len(absent)} of {len(rows)} planned scenarios have no row in condition {condition!r}: {absent[:5]}"
        raise MeasureError(msg)
    return {scenario: tuple(sorted(found, key=lambda row: row.id)) for scenario, found in rows.items()}


def describe(name: str, value: float, unit: str, n: int, note: str, **more: Any) -> Measurement:
    """Return a descriptive measurement; without `low` and `high` it carries no interval and says so."""
    if "low" not in more:
        more, note = {**more, "low": value, "high": value}, f"{note}; no interval"
    return Measurement(name=name, value=value, unit=unit, n=n, note=f"descriptive: {note}", **more)


def conclude(
    bound: Bound, interval: Interval, *, name: str, n: int, reference: str, note: str, of: str = "scenarios",
    others: Sequence[Measurement] = (), worst_first: Sequence[str] = (), nearest: Sequence[str] | None = None,
    per_scenario: Mapping[str, float] | None = None,
) -> CheckResult:  # fmt: skip
    """Judge `interval` by `bound`.

    Args:
        bound: The limit.
        interval: One-sided limits at the bound's confidence.
        name: Of the judged measurement.
        n: Its units of evidence.
        reference: What it is a difference to.
        note: How the interval was made.
        of: What `n` counts.
        others: Descriptive measurements.
        worst_first: Row ids, farthest on the wrong side first: shown with a FAIL.
        nearest: Row ids nearest to the bound, shown otherwise; None: the same.
        per_scenario: As `CheckResult.per_scenario`.
    """
    judged = Measurement(
        name=name, value=interval.value, unit=bound.unit, n=n, low=interval.low, high=interval.high, of=of,
        note=f"judged by one-sided limits at {bound.confidence:g} each; {note}",
    )  # fmt: skip
    verdict = bound.judge(interval.low, interval.high)
    cause = ""
    if verdict is Verdict.INCONCLUSIVE:
        cause = (
            f"[{interval.low:.4g}, {interval.high:.4g}] {bound.unit} spans the limit {bound.value:g}: too little data"
        )
    shown = worst_first if verdict is Verdict.FAIL or nearest is None else nearest
    return CheckResult(
        verdict=verdict, bound=bound, reference=reference, measurements=(judged, *others), cause=cause,
        telling=tuple(shown[:TELLING]), per_scenario=per_scenario,
    )  # fmt: skip


def invalid(bound: Bound, cause: str, *, reference: str = "", like: CheckResult | None = None) -> CheckResult:
    """Return INVALID with its cause, and with the numbers and rows of `like` for whoever looks into it."""
    return CheckResult(
        verdict=Verdict.INVALID, bound=bound, cause=cause, reference=like.reference if like else reference,
        measurements=like.measurements if like else (), telling=like.telling if like else (),
    )  # fmt: skip


def ranked(scores: Mapping[str, float], *, reverse: bool = True) -> tuple[str, ...]:
    """Return the keys by falling (or rising) score, ties by name."""
    return tuple(sorted(scores, key=lambda key: (-scores[key] if reverse else scores[key], key)))
