"""`divergence`, `cue_scan`: does a cue move the answer, when nobody knows to what, or which cue it is?"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness import information, scans, scoring, stats
from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, option, ranked
from harness.measures.logits import tables
from harness.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.stats import Array, Table
    from harness.transcript import Row, Transcript
    from harness.verdict import CheckResult, Measurement

LEAST_NULL_FORMS = 2
"""Null forms per item: one alone has no other to be compared with."""
LEAST_SCAN_NULLS = 4
"""Null forms per item of a scan: where the design pairs every candidate with the same few null forms, two or three hide
their spread (in simulation the lower limit then held in 90 % instead of 95 %)."""
BAND = 0.01
"""Nats added to both limits of a divergence: NUMERIC_BAND nats of log-odds move a divergence by less than 0.005, as its
slope in the log-odds is below 1/6, and two of them stand in the difference."""
DEEPEST = 0.005
"""Tail probability below which 2,000 replicates are not read: ten of them lie there."""
FLATTEST = 0.05
"""Least shape of the gamma weights of forms: near 0 all weight falls on one form, and nearer 0 it underflows."""


@check.register("divergence")
def divergence(evidence: Evidence) -> CheckResult:
    """Bound how much farther answers under a cue lie from those under a null cue than null cues from each other.

    Outcomes are all forms of `good` and `bad`, and everything else as one more; what the model says instead need not be
    known. Mean over items of JS(cue form, null form) - JS(null form, null form), each averaged over the pairs that the
    item met (same phrasing, phrasings averaged). Where cue forms are like null forms the mean is 0, however much all of
    them move the answer. Items, cue forms and null forms are resampled together. Unit: nats, in (-log 2, log 2).

    Source: Lin 1991 for the divergence; Owen and Eckles 2012 for products of weights.

    Raises:
        MeasureError: fewer than ten items, two cue forms or two null forms in an item, or outcomes that differ between
            the rows of an item.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "nats")
    names = option(transcript, "cue"), option(transcript, "null")
    shares = [_distributions(transcript, name) for name in names]
    pairs = _pairs(*shares)
    value = math.fsum(pair.cue.mean() - pair.null_mean for pair in pairs) / len(pairs)
    interval = divergence_limits(pairs, value, bound.confidence, evidence.seed)
    n, cues, nulls = len(pairs), _count(pair.cues for pair in pairs), _count(pair.nulls for pair in pairs)
    rest = [found[2][-1] for side in shares for rows in side.values() for found in rows]
    far = {row_id: at for pair in pairs for row_id, at in pair.rows.items()}
    return conclude(
        bound, interval, name="divergence", n=n, reference=f"null cues {names[1]} against each other ({nulls} forms)",
        note=f"bootstrap of items, {cues} forms of {names[0]} and {nulls} of {names[1]} together, {stats.REPLICATES} "
        f"replicates, expanded percentiles, numeric band {BAND} nats added",
        others=[
            describe("divergence_cue", math.fsum(pair.cue.mean() for pair in pairs) / n, "nats", n,
                     "mean divergence of cue forms from null forms"),
            describe("divergence_null", math.fsum(pair.null_mean for pair in pairs) / n, "nats", n,
                     "mean divergence of null forms from each other"),
            describe("mass_rest", math.fsum(rest) / len(rest), "probability", len(rest), of="rows",
                     note="mean probability of all that is no named form; smallest and largest row as limits",
                     low=min(rest), high=max(rest)),
        ],
        worst_first=ranked(far),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The divergences of one item."""

    cue: Array
    """(cue forms, null forms), nats."""
    null: Array
    """(null forms, null forms), nats, 0 on the diagonal."""
    cues: Sequence[str]
    nulls: Sequence[str]
    rows: Mapping[str, float]
    """Row under the cue -> its mean divergence from the null forms, nats."""

    @property
    def null_mean(self) -> float:
        """Mean over the pairs of different null forms."""
        return float(self.null.sum() / (len(self.nulls) * (len(self.nulls) - 1)))


Shares = tuple["Row", tuple[tuple[str, str], ...], tuple[float, ...]]
"""A row, its outcomes, and their probabilities with the rest as the last."""


def _distributions(transcript: Transcript, condition: str) -> dict[str, list[Shares]]:
    return {
        scenario: [_shares(row) for row in rows] for scenario, rows in by_scenario(transcript, condition).items()
    }  # fmt: skip


def _shares(row: Row) -> Shares:
    scoring.mass(row)  # refuses a good form that begins as a bad one does
    logs = {
        (group, text): logprob
        for group in ("bad", "good") if group in row.groups
        for text, logprob in scoring.option_logprobs(row, group).items()
    }  # fmt: skip
    if row.cue is None:
        msg = f"{row.id}: no cue; both conditions of a divergence need a cue family"
        raise MeasureError(msg)
    outcomes = tuple(sorted(logs))
    try:
        return row, outcomes, information.with_rest([logs[outcome] for outcome in outcomes])
    except MeasureError as error:
        msg = f"{row.id}: {error}"
        raise MeasureError(msg) from error


def _pairs(cue: Mapping[str, list[Shares]], null: Mapping[str, list[Shares]]) -> list[Pairs]:
    if len(cue) < stats.LEAST_ITEMS:
        msg = f"{len(cue)} items; resampling needs {stats.LEAST_ITEMS} at least"
        raise MeasureError(msg)
    made = [_item(scenario, rows, null[scenario]) for scenario, rows in cue.items()]
    if _count(pair.cues for pair in made) < stats.LEAST_FORMS:
        msg = "one cue form; a divergence needs two at least"
        raise MeasureError(msg)
    return made


def _count(forms: Iterable[Sequence[str]]) -> int:
    return len(set(itertools.chain.from_iterable(forms)))


def _item(scenario: str, cue: Sequence[Shares], null: Sequence[Shares]) -> Pairs:
    """Return the divergences of one item, averaged over its phrasings.

    Raises:
        MeasureError: a single null form, outcomes that differ between rows, or forms asked in different phrasings.
    """
    if len({outcomes for _, outcomes, _ in (*cue, *null)}) > 1:
        msg = f"{scenario}: outcomes differ between its rows; a divergence is one over the same outcomes"
        raise MeasureError(msg)
    cues, nulls = (sorted({row.cue or "" for row, *_ in side}) for side in (cue, null))
    phrasings = sorted({row.phrasing for row, *_ in (*cue, *null)})
    known = {(row.phrasing, side, row.cue): (row.id, shares)
             for side, found in (("cue", cue), ("null", null)) for row, _, shares in found}  # fmt: skip
    if len(nulls) < LEAST_NULL_FORMS or len(known) != len(phrasings) * (len(cues) + len(nulls)):
        msg = f"{scenario}: {len(nulls)} null forms, {len(known)} rows in {len(phrasings)} phrasings; each item needs "
        msg += "two null forms, and every form in every phrasing: raise `pairing: {cues: ...}`"
        raise MeasureError(msg)
    across, within = [], []
    rows: dict[str, float] = {}
    for phrasing in phrasings:
        mine = [known[phrasing, "cue", form] for form in cues]
        theirs = [known[phrasing, "null", form][1] for form in nulls]
        across.append(information.jensen_shannon_table([shares for _, shares in mine], theirs))
        within.append(information.jensen_shannon_table(theirs, theirs))
        rows |= {name: float(far) for (name, _), far in zip(mine, across[-1].mean(axis=1), strict=True)}
    return Pairs(cue=np.mean(across, axis=0), null=np.mean(within, axis=0), cues=cues, nulls=nulls, rows=rows)


def divergence_limits(pairs: Sequence[Pairs], value: float, confidence: float, seed: int) -> Interval:
    """Return the mean of `divergence` with one-sided limits, nats.

    A pair weighs as often as its item, its cue form and its null form were drawn, and a pair of null forms as often as
    both were: a weight per item alone would hold the forms that few items share fixed.
    """
    cues, nulls = ({form: at for at, form in enumerate(sorted(set(itertools.chain.from_iterable(side))))}
                   for side in ([p.cues for p in pairs], [p.nulls for p in pairs]))  # fmt: skip
    items = stats.draws(seed, len(pairs))
    drawn = stats.draws(seed + 1, len(cues)), stats.draws(seed + 2, len(nulls))
    sums = np.zeros((4, stats.REPLICATES))
    for at, pair in enumerate(pairs):
        u, v = drawn[0][:, [cues[form] for form in pair.cues]], drawn[1][:, [nulls[form] for form in pair.nulls]]
        cross, own = pair.cue.size, len(pair.nulls) * (len(pair.nulls) - 1)
        sums += items[:, at] * np.stack([
            ((u @ pair.cue) * v).sum(axis=1) / cross, u.sum(axis=1) * v.sum(axis=1) / cross,
            ((v @ pair.null) * v).sum(axis=1) / own, (v.sum(axis=1) ** 2 - (v**2).sum(axis=1)) / own,
        ])  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = sums[0] / sums[1] - sums[2] / sums[3]
    units = min(len(pairs), len(cues), len(nulls))
    found = stats.percentile(replicates, value, stats.tail(confidence, units))
    return found.widened(found.low - BAND, found.high + BAND)


@check.register("cue_scan")
def cue_scan(evidence: Evidence) -> CheckResult:
    """Bound the largest shift of the margin, over all forms of `cues`, against the mean of the null forms. Unit: nats.

    Every form is a candidate of its own: its shift is the mean, over the items that met it, of m(candidate) - mean
    m(null forms). low is the largest of the candidates' lower limits, simultaneous by Bonferroni; high the largest of
    their upper ones, which needs no correction, for the worst candidate's own limit already covers. Items and null
    forms are resampled, see `scan_limits`. The max-statistic p stands beside it.

    Source: Bonferroni; Westfall and Young 1993 for the max-statistic.

    Raises:
        MeasureError: fewer than two candidates, a candidate that met too few items, or an item with fewer than four
            null forms.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "nats")
    names = option(transcript, "cues"), option(transcript, "null")
    cues, null = tables(transcript, names)
    _enough(cues, null, bound.confidence)
    forms = sorted({row.cue or "" for row in transcript.in_condition(names[0])})
    shifts, interval = scan_limits(cues, null, bound.confidence, evidence.seed)
    worst = forms[int(np.argmax(shifts))]
    base = dict(zip(sorted(transcript.planned), _baseline(null, np.ones((1, null.values.shape[1])))[0], strict=True))
    far = {
        row.id: scoring.row_margin(row) - float(base[row.scenario])
        for row in transcript.in_condition(names[0]) if row.cue == worst
    }  # fmt: skip
    second = float(np.sort(shifts)[-2])
    return conclude(
        bound, interval, name="largest_shift", n=len(transcript.planned),
        reference=f"null cues {names[1]} ({null.values.shape[1]} forms)",
        note=f"candidate {worst!r} of {len(forms)}, each on {int(cues.present.sum(axis=0).min())} items or more; "
        f"bootstrap of items and null forms, lower limit simultaneous over the candidates, numeric band "
        f"{stats.NUMERIC_BAND} nats added",
        others=[
            describe("second_shift", second, "nats", len(transcript.planned), "of the second candidate"),
            *_scan(shifts, null, evidence.seed),
        ],
        worst_first=ranked(far),
    )  # fmt: skip


def _enough(cues: Table, null: Table, confidence: float) -> None:
    candidates = cues.values.shape[1]
    least = max(stats.LEAST_ITEMS, least_met(candidates, confidence))
    met, nulls = int(cues.present.sum(axis=0).min()), int(null.present.sum(axis=1).min())
    if candidates < stats.LEAST_FORMS or met < least or nulls < LEAST_SCAN_NULLS:
        msg = f"{candidates} candidates, the least known of them on {met} items, and {nulls} null forms in an item; a "
        msg += f"scan needs two candidates, {least} items each, and {LEAST_SCAN_NULLS} null forms per item: raise "
        msg += "`pairing: {cues: ...}` or add items"
        raise MeasureError(msg)


def least_met(candidates: int, confidence: float) -> int:
    """Return the items that a candidate must have met: a resample cannot lie below the lowest of n values.

    That all of n symmetric contrasts lie above 0 has probability 2^-n; it must not exceed the error per candidate.
    """
    return math.ceil(math.log2(candidates / (1.0 - confidence)) - 1e-9)


def _baseline(null: Table, weights: Array) -> Array:
    return stats.item_means(null, weights)


def scan_limits(cues: Table, null: Table, confidence: float, seed: int) -> tuple[Array, Interval]:
    """Return the candidates' shifts, (C,), and the largest with its limits, nats.

    A simultaneous limit lies deeper in the tail than 2,000 replicates reach. So the weights of items and null forms are
    made as uneven as is needed for the wanted limit to lie at a tail that can be read: gamma weights of shape
    a have variance 1/a, those of an ordinary (Bayesian) bootstrap 1. They hang on shape and seed alone, and none is 0.

    Args:
        cues: (items, C) margins, nats.
        null: (items, K) margins under null forms.
        confidence: Of the simultaneous lower and of the upper limit.
        seed: Of the weights.

    Source: Rubin 1981 (Bayesian bootstrap); Hesterberg 2015 (expanded percentiles).
    """
    ones = np.ones((1, null.values.shape[1]))
    shifts = _shifts(cues, null, np.ones((1, len(cues.values))), ones)[0]
    candidates = shifts.size
    lower, tail_low = _replicates(cues, null, 1.0 - (1.0 - confidence) / candidates, seed)
    upper, tail_high = _replicates(cues, null, confidence, seed + 2)
    low = max(stats.percentile(column, float(at), tail_low).low for column, at in zip(lower.T, shifts, strict=True))
    high = max(stats.percentile(column, float(at), tail_high).high for column, at in zip(upper.T, shifts, strict=True))
    found = Interval(value=float(shifts.max()), low=low, high=high)
    return shifts, found.widened(low - stats.NUMERIC_BAND, high + stats.NUMERIC_BAND)


def _replicates(cues: Table, null: Table, confidence: float, seed: int) -> tuple[Array, float]:
    """Return weighted shifts, (replicates, C), and the tail probability at which they give a limit at `confidence`."""
    from scipy.stats import norm, t  # noqa: PLC0415 - lazy by contract

    met, forms = int(cues.present.sum(axis=0).min()), null.values.shape[1]
    each, units = int(null.present.sum(axis=1).min()), min(met, forms)
    wanted = math.sqrt(units / (units - 1)) * float(t.ppf(confidence, units - 1))
    deepest = -float(norm.ppf(DEEPEST))
    spread = max(1.0, (wanted / deepest) ** 2)
    # Over n values the variance of the weighted mean is that of the values over n a + 1; within an item with k null
    # forms their values show (k - 1) / k of the variance of forms.
    shape = max(FLATTEST, 1.0 / spread - 1.0 / met)
    shape_null = max(FLATTEST, ((each - 1) / spread - 1.0) / each)
    rng = np.random.default_rng(seed)
    items = rng.gamma(shape, size=(stats.REPLICATES, len(cues.values)))
    nulls = rng.gamma(shape_null, size=(stats.REPLICATES, forms))
    return _shifts(cues, null, items, nulls), float(norm.cdf(-wanted / math.sqrt(spread)))


def _shifts(cues: Table, null: Table, items: Array, nulls: Array) -> Array:
    """Return the candidates' shifts under weights of items and of null forms, (replicates, C), nats."""
    here = cues.present.astype(np.float64)
    filled = np.where(cues.present, cues.values, 0.0)
    base = _baseline(null, nulls)
    return np.asarray((items @ filled - (items * base) @ here) / (items @ here))


def _scan(shifts: Array, null: Table, seed: int) -> list[Measurement]:
    """Return the max-statistic p against the shifts of null forms, or nothing where there are too few of them."""
    effects = []
    for column in range(null.values.shape[1]):
        rest = null.present.copy()
        rest[:, column] = False
        met = null.present[:, column] & rest.any(axis=1)
        if met.any():
            others = np.where(rest, null.values, 0.0).sum(axis=1)[met] / rest.sum(axis=1)[met]
            effects.append(float((null.values[met, column] - others).mean()))
    try:
        found = scans.scan(shifts, np.asarray(effects), seed)
    except MeasureError:
        return []  # a diagnostic decides nothing
    band = found.null_largest
    return [
        describe("scan_p", found.p, "probability", found.nulls, of="null cues",
                 note=f"max-statistic, rank of the largest shift among the null forms', each against the others of its "
                 f"items, times {found.candidates} candidates; never below {found.least_p:.3g}"),
        describe("null_largest", band.value, "nats", found.nulls, of="null cues", low=band.low, high=band.high,
                 note=f"the largest of {found.candidates} null forms drawn; median, 5 % and 95 %"),
    ]  # fmt: skip
