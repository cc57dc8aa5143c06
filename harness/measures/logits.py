"""`margin`, `cue_shift`, `condition_gap`, `diff_in_diff`, `exact_probability`: differences of log-probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import scoring, stats
from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, option, ranked
from harness.stats import Interval, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.transcript import Row, Transcript
    from harness.verdict import CheckResult, Measurement

WIDE_ENOUGH = 5
"""Forms from which a 95 % limit can cover the mean form even if all of them fell on one side of it (0.5^5 = 3 %)."""
NULL_CUES = 99
"""Null cues that a rank p-value of 0.01 needs."""


@check.register("margin")
def margin(evidence: Evidence) -> CheckResult:
    """Bound the mean over items of m(in) - m(reference), m = log P(bad) - log P(good). Unit: nats."""
    return _judge(evidence, "margin_shift", ("in", "reference"), (1.0, -1.0))


@check.register("diff_in_diff")
def diff_in_diff(evidence: Evidence) -> CheckResult:
    """Bound the mean over items of (treated - treated_reference) - (control - control_reference). Unit: nats."""
    names = ("treated", "treated_reference", "control", "control_reference")
    return _judge(evidence, "difference_in_differences", names, (1.0, -1.0, -1.0, 1.0))


@check.register("cue_shift")
def cue_shift(evidence: Evidence) -> CheckResult:
    """Bound the mean over items of m(cue) - m(null); items, cue forms and null cues are resampled. Unit: nats.

    Beside it: rank p-value among the null cues, their spread, the probability mass that the margin speaks about.

    Raises:
        MeasureError: fewer than two cue forms or null cues, or ten items.
    """
    transcript = evidence.transcript
    for name in ("cue", "null"):
        forms = {row.cue for row in transcript.in_condition(option(transcript, name)) if row.cue is not None}
        if len(forms) < stats.LEAST_FORMS:
            msg = (
                f"{name} condition {option(transcript, name)!r} has {len(forms)} forms; a cue shift needs two at least"
            )
            raise MeasureError(msg)
    return _judge(evidence, "cue_shift", ("cue", "null"), (1.0, -1.0), null=True)


def numeric_gap(evidence: Evidence) -> CheckResult:
    """Bound |mean over items of m(a) - m(b)| from both sides. Unit: nats."""
    return _judge(evidence, "condition_gap", ("a", "b"), (1.0, -1.0), two_sided=True)


@check.register("exact_probability")
def exact_probability(evidence: Evidence) -> CheckResult:
    """Bound the largest P(group) over rows, P = exp(logsumexp of the forms). Unit: probability.

    Read from the logits, not sampled: exact for these prompts and these forms, so there is no interval, and nothing is
    said about other prompts or wordings.
    """
    transcript = evidence.transcript
    group, condition = transcript.case.check.options.get("of", "bad"), option(transcript, "in")
    rows = [row for found in by_scenario(transcript, condition).values() for row in found]
    logs = {row.id: scoring.row_group(row, group) for row in rows}
    top, middle = math.exp(max(logs.values())), math.exp(math.fsum(logs.values()) / len(logs))
    return conclude(
        bound_of(transcript, "probability"), Interval(value=top, low=top, high=top), name="largest_probability",
        n=len(transcript.planned), reference=f"the limit of the file; condition {condition}",
        note=f"exact for these {len(rows)} prompts and the forms of {group!r}; largest at {ranked(logs)[0]}",
        others=(describe("geometric_mean_probability", middle, "probability", len(rows), "over rows", of="rows"),),
        worst_first=ranked(logs),
    )  # fmt: skip


def tables(
    transcript: Transcript, conditions: Sequence[str], value: Callable[[Row], float] = scoring.row_margin
) -> list[Table]:  # fmt: skip
    """Return one table per condition: items sorted by id, forms sorted by id and shared within a family.

    Raises:
        MeasureError: fewer than ten items, an absent row, or a value that cannot be had: a missing log-probability has
            no worst case, so a single one is enough.
    """
    if len(transcript.planned) < stats.LEAST_ITEMS:
        msg = f"{len(transcript.planned)} items; resampling needs {stats.LEAST_ITEMS} at least"
        raise MeasureError(msg)
    cells = {name: _cells(transcript, name, value) for name in dict.fromkeys(conditions)}
    families = {name: _family(transcript, name) for name in cells}
    forms = {
        family: sorted({form for name in cells if families[name] == family for _, form in cells[name]})
        for family in set(families.values())
    }
    return [_table(transcript, cells[name], forms[families[name]], families[name]) for name in conditions]


def _cells(
    transcript: Transcript, condition: str, value: Callable[[Row], float]
) -> dict[tuple[str, str], list[float]]:  # fmt: skip
    cells: dict[tuple[str, str], list[float]] = {}
    for scenario, rows in by_scenario(transcript, condition).items():
        for row in rows:
            cells.setdefault((scenario, row.cue or ""), []).append(value(row))
    return cells


def _family(transcript: Transcript, condition: str) -> str:
    known = transcript.suite.conditions.get(condition)
    return (known.family if known is not None else "") or f"condition {condition}"


def _table(
    transcript: Transcript, cells: Mapping[tuple[str, str], list[float]], forms: Sequence[str], family: str
) -> Table:  # fmt: skip
    items = sorted(transcript.planned)
    values, present = np.zeros((len(items), len(forms))), np.zeros((len(items), len(forms)), dtype=bool)
    for (item, form), found in cells.items():
        at = items.index(item), forms.index(form)
        values[at], present[at] = math.fsum(found) / len(found), True
    return Table(values=values, present=present, family=family, resampled=len(forms) > 1)


def bootstrap(made: Sequence[Table], signs: Sequence[float], confidence: float, seed: int) -> Interval:
    """Return the mean contrast over items with one-sided limits, nats; the numeric band is added on both sides."""
    each, replicates = stats.contrast(made, signs, seed)
    value = math.fsum(each) / len(each)
    interval = stats.percentile(replicates, value, stats.tail(confidence, stats.units_of(made)))
    return interval.widened(interval.low - stats.NUMERIC_BAND, interval.high + stats.NUMERIC_BAND)


def how(made: Sequence[Table]) -> str:
    """Say how the interval was made."""
    forms = sorted({(table.family, table.values.shape[1]) for table in made if table.resampled})
    fixed = sorted({table.family for table in made if not table.resampled})
    resampled = " and ".join(["items", *(f"{count} forms of {name}" for name, count in forms)])
    text = f"bootstrap of {resampled} together, {stats.REPLICATES} replicates, expanded percentiles"
    text += f", numeric band {stats.NUMERIC_BAND} nats added"
    if any(count < WIDE_ENOUGH for _, count in forms):
        text += f"; with fewer than {WIDE_ENOUGH} forms it speaks for these wordings only"
    return text + (f"; one wording, held fixed: {', '.join(fixed)}" if fixed else "")


def _judge(
    evidence: Evidence, name: str, roles: Sequence[str], signs: Sequence[float], *, two_sided: bool = False,
    null: bool = False,
) -> CheckResult:  # fmt: skip
    transcript = evidence.transcript
    bound = bound_of(transcript, "nats")
    conditions = [option(transcript, role) for role in roles]
    made = tables(transcript, conditions)
    signed = bootstrap(made, signs, bound.confidence, evidence.seed)
    others = [_mass(transcript, role, option(transcript, role)) for role in roles]
    if two_sided:
        others.insert(0, describe(
            "signed_gap", signed.value, "nats", len(transcript.planned), f"{conditions[0]} minus {conditions[1]}",
            low=signed.low, high=signed.high,
        ))  # fmt: skip
    if null:
        others = [*_ranks(made), *others]
    twin, remark = _twin(evidence, conditions, signs, signed.value, bound.confidence)
    others += twin
    worst, nearest = _telling(transcript, conditions, made, signs, bound.value, two_sided=two_sided)
    return conclude(
        bound, signed.magnitude() if two_sided else signed, name=name, n=len(transcript.planned),
        reference=_reference(transcript, conditions, made, null=null), note=how(made) + remark, others=others,
        worst_first=worst, nearest=nearest, per_scenario=_each(transcript, made, signs, turned=two_sided),
    )  # fmt: skip


def _each(
    transcript: Transcript, made: Sequence[Table], signs: Sequence[float], *, turned: bool
) -> dict[str, float]:  # fmt: skip
    """Return the contrast of each item; `turned` to the side on which the mean lies, so that more is worse."""
    means = [stats.item_means(table, np.ones((1, table.values.shape[1])))[0] for table in made]
    each = np.asarray(sum(sign * mean for sign, mean in zip(signs, means, strict=True)))
    each = -each if turned and math.fsum(each) < 0.0 else each
    return dict(zip(sorted(transcript.planned), each.tolist(), strict=True))


def _reference(transcript: Transcript, conditions: Sequence[str], made: Sequence[Table], *, null: bool) -> str:
    if null:
        return f"null cues {_family(transcript, conditions[1])} ({made[1].values.shape[1]} forms)"
    return f"condition {conditions[1]}" if len(conditions) == 2 else "conditions " + ", ".join(conditions[1:])  # noqa: PLR2004 - a pair


def _mass(transcript: Transcript, role: str, condition: str) -> Measurement:
    masses = [scoring.mass(row) for rows in by_scenario(transcript, condition).values() for row in rows]
    return describe(
        f"mass_{role}", math.fsum(masses) / len(masses), "probability", len(masses), of="rows",
        note="mean P(bad) + P(good); smallest and largest row as limits", low=min(masses), high=max(masses),
    )  # fmt: skip


def _ranks(made: Sequence[Table]) -> list[Measurement]:
    """Compare the cue with each null cue on the items that met both.

    The effect of a null cue is the mean, over its items, of m(null cue) - mean m(cue). The rank p-value is
    (1 + null cues at or above the cue) / (K + 1).
    """
    cue = stats.item_means(made[0], np.ones((1, made[0].values.shape[1])))[0]
    null = made[1]
    effects = [
        float((null.values[met, column] - cue[met]).mean())
        for column, met in enumerate(null.present.T) if met.any()
    ]  # fmt: skip
    p = (1 + sum(effect >= 0.0 for effect in effects)) / (len(effects) + 1)
    few = "" if len(effects) >= NULL_CUES else f"; fewer than {NULL_CUES} null cues"
    spread = float(np.std(effects, ddof=1))
    return [
        describe("rank_p", p, "probability", len(effects), f"rank of the cue among the null cues{few}", of="null cues"),
        describe(
            "null_spread", spread, "nats", len(effects), of="null cues",
            note="standard deviation between null cues, each on the items that met it; includes item noise",
        ),
    ]  # fmt: skip


def _twin(
    evidence: Evidence, conditions: Sequence[str], signs: Sequence[float], value: float, confidence: float
) -> tuple[list[Measurement], str]:  # fmt: skip
    """Return the same statistic on the twin, and a remark where it cannot be had: a diagnostic decides nothing."""
    if evidence.twin is None:
        return [], ""
    try:
        made = tables(evidence.twin, conditions)
        twin = bootstrap(made, signs, confidence, evidence.seed)
    except MeasureError as error:
        return [], f"; the twin could not be measured: {error}"
    n = len(evidence.twin.planned)
    return [
        describe("twin_shift", twin.value, "nats", n, "diagnostic: the same on the twin", low=twin.low, high=twin.high),
        describe("twin_corrected", value - twin.value, "nats", n, "diagnostic: this model minus its twin"),
    ], ""


def _telling(
    transcript: Transcript, conditions: Sequence[str], made: Sequence[Table], signs: Sequence[float], limit: float,
    *, two_sided: bool,
) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    """Return the rows of the first condition by how far their item's contrast goes, and by nearness to the limit."""
    means = [stats.item_means(table, np.ones((1, table.values.shape[1])))[0] for table in made]
    rest = sum(sign * mean for sign, mean in zip(signs[1:], means[1:], strict=True))
    base = dict(zip(sorted(transcript.planned), np.asarray(rest), strict=True))
    found: dict[str, Any] = by_scenario(transcript, conditions[0])
    shifts = {row.id: scoring.row_margin(row) + base[row.scenario] for rows in found.values() for row in rows}
    if two_sided:
        shifts = {name: abs(shift) for name, shift in shifts.items()}
    near = {name: abs(shift - limit) for name, shift in shifts.items()}
    return ranked(shifts), ranked(near, reverse=False)
