"""Two runs on the same scenarios: non-inferiority, tests of pairs, means of clusters, and many findings at once.

Higher is worse throughout. Every number that comes in must be finite, or there is no number at all. numpy, scipy and
statsmodels are imported inside functions, as in `harness.stats`: importing this costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import MeasureError
from harness.estimates import count_of, number, vector
from harness.stats import LEAST_ITEMS, REPLICATES, Interval
from harness.verdict import Bound, Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

UNIT = 1.0
"""Difference that one scenario more could always have shown: the whole range of a share, a nat, a bit."""
FLIPS = 9_999
"""Random assignments of a permutation test, the observed one not counted; where there are fewer, all are tried."""
TIE = 1e-12
"""Share of the sum of sizes up to which two sums are equal: the order of adding moves them by about as much."""
LEAST_CLUSTERS = 2
LARGEST = 1e100
"""Size up to which a value is a measurement; sums of larger ones could overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """How much worse one run is than another on the same scenarios."""

    n: int
    """Scenarios that both have."""
    mean_new: float
    mean_old: float
    difference: Interval
    """Mean of new - old, with one-sided limits."""
    delta: float
    """Worsening that is tolerated."""
    verdict: Verdict
    """PASS when the upper limit is at most `delta`, FAIL when the lower one exceeds it, else INCONCLUSIVE."""
    p: float
    """One-sided permutation p: of so large a worsening, if new and old could be exchanged in every scenario. It is for
    the list of findings (see `holm`) and decides nothing here."""


def noninferiority(
    new: Sequence[float] | Array, old: Sequence[float] | Array, *, delta: float, confidence: float, seed: int = 0,
    band: float = 0.0,
) -> Paired:  # fmt: skip
    """Say whether `new` is no worse than `old` by more than `delta`; both in the same unit, higher is worse.

    Not finding a difference is no proof that there is none: PASS needs an upper limit of at most `delta`.

    Args:
        new: One value per scenario, binary or continuous.
        old: The same scenarios in the same order.
        delta: Worsening that is tolerated, 0 or more. For shares a `delta` of 1 or more holds for every model: refuse
            it where the unit is known.
        confidence: Of each limit.
        seed: Of the bootstrap and of the permutations.
        band: Added to both limits: how far numeric noise alone moves a value (`stats.NUMERIC_BAND` for nats).

    Raises:
        MeasureError: unequal numbers of scenarios, fewer than ten, a value that is not finite, or `delta`, `confidence`
            or `band` out of range.
    """
    now = vector(new, "values of the new run", -LARGEST, LARGEST)
    before = vector(old, "values of the old run", -LARGEST, LARGEST)
    if now.size != before.size:
        msg = f"{now.size} new and {before.size} old values; expected the same scenarios in both; pair them by id"
        raise MeasureError(msg)
    number(delta, "delta", 0.0)
    number(band, "band", 0.0)
    differences = now - before
    found = difference_limits(differences, confidence, seed)
    found = Interval(value=found.value, low=found.low - band, high=found.high + band)
    bound = Bound(op="at_most", value=float(delta), unit="", confidence=confidence)
    n = int(now.size)
    return Paired(
        n=n, mean_new=math.fsum(now) / n, mean_old=math.fsum(before) / n, difference=found, delta=float(delta),
        verdict=bound.judge(found.low, found.high), p=permutation_p(differences, seed),
    )  # fmt: skip


def difference_limits(differences: Sequence[float] | Array, confidence: float, seed: int) -> Interval:
    """Return the mean of paired differences with one-sided limits.

    Bootstrap of scenarios with Dirichlet weights and one scenario more, the worst that could have come: for the upper
    limit `UNIT`, or the largest difference, or `UNIT` above the smallest, whichever is largest; for the lower limit the
    mirror image. For shares that is `stats.bounded_mean` on the scale [-1, 1], which is exact where nothing differs: no
    difference in n scenarios leaves 1 - (1 - confidence)^(1/n). So no interval has zero width. Weights hang on n and
    seed alone and the added scenario never falls when a value rises: raising a difference lowers no limit.

    Args:
        differences: n >= 10 finite numbers, one per scenario.
        confidence: Of each limit.
        seed: Of the weights.

    Source: Gaffke 2005; Learned-Miller and Thomas 2019, arXiv:1905.06208. Beyond [-1, 1] the added scenario is not the
    worst possible, and the limits are those of a bootstrap: `bench/coverage.py` measures them.

    Raises:
        MeasureError: too few differences, one that is not finite, or a confidence outside (0.5, 1).
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    number(confidence, "confidence", math.nextafter(0.5, 1.0), math.nextafter(1.0, 0.0))
    found = np.sort(vector(differences, "differences", -2.0 * LARGEST, 2.0 * LARGEST))
    n = int(found.size)
    if n < LEAST_ITEMS:
        msg = f"{n} scenarios in both runs; expected {LEAST_ITEMS} at least; compare runs of a larger suite"
        raise MeasureError(msg)
    least, most = float(found[0]), float(found[-1])
    top, bottom = max(UNIT, most, least + UNIT), min(-UNIT, least, most - UNIT)
    # The weight of the added scenario is Beta(1, n) and independent of how the others share the rest. Its quantiles are
    # taken evenly instead of at random, which leaves the noise of the replicates to the others alone.
    added = -np.expm1(np.log1p(-(np.arange(REPLICATES) + 0.5) / REPLICATES) / n)
    means = (1.0 - added) * (np.random.default_rng(seed).dirichlet(np.ones(n), size=REPLICATES) @ found)
    highs, lows = np.sort(means + added * top), np.sort(means + added * bottom)
    # The exact limit of no event in n: where all scenarios would be if all were like the best (worst) one.
    edge = -math.expm1(math.log1p(-confidence) / n)
    high = max(float(highs[math.ceil(confidence * (REPLICATES - 1))]), least + edge * (top - least))
    low = min(float(lows[math.floor((1.0 - confidence) * (REPLICATES - 1))]), most + edge * (bottom - most))
    value = math.fsum(found) / n
    return Interval(value=value, low=low, high=high).widened(value, value)


def permutation_p(differences: Sequence[float] | Array, seed: int) -> float:
    """Return the one-sided p of the mean difference under exchange of new and old within scenarios.

    All 2^n signs are tried where they are at most `FLIPS`; else `FLIPS` random ones and the observed one, so that p is
    never 0. Raising a difference never raises p. `scipy.stats.permutation_test` gives the same where it tries all.

    Source: Fisher 1935; Phipson and Smyth 2010 for counting the observed one.

    Raises:
        MeasureError: no differences, or one that is not finite.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    found = vector(differences, "differences")
    n, slack = int(found.size), TIE * float(np.abs(found).sum())
    if 2**n <= FLIPS:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        # Flipping takes away twice the flipped differences: as large a mean is one that loses nothing.
        return float((flipped @ found <= slack).mean())
    flipped = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, n), dtype=np.int8)
    return (1.0 + float((flipped @ found <= slack).sum())) / (1.0 + FLIPS)


def mcnemar(b: int, c: int) -> float:
    """Return the exact two-sided p of `b` pairs with the event in one run alone and `c` in the other alone.

    1 where no pair differs.

    Source: McNemar 1947; by `statsmodels.stats.contingency_tables.mcnemar`, exact.

    Raises:
        MeasureError: a negative or broken count.
    """
    first, second = count_of(b, "pairs", 0), count_of(c, "pairs", 0)
    if first + second == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar as exact  # noqa: PLC0415 - lazy by contract

    return float(exact([[0, first], [second, 0]], exact=True).pvalue)


def clustered_mean(
    values: Sequence[float] | Array, groups: Sequence[Hashable], confidence: float
) -> Interval:  # fmt: skip
    """Return the mean of rows with one-sided limits from the variance between clusters; t with G - 1 degrees.

    Descriptive, never judged: its width hangs on the values, so that one worse row can lower the upper limit, and on
    rare events it is far too narrow. Of equal clusters it is the t interval of their means.

    Args:
        values: One per row.
        groups: The cluster of each row, two different ones at least.
        confidence: Of each limit.

    Source: Liang and Zeger 1986; Miller 2024, arXiv:2411.00640; by `statsmodels` OLS with cluster-robust covariance.

    Raises:
        MeasureError: labels that are not one per row, one cluster, or clusters whose means do not differ, which would
            give an interval of no width.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    number(confidence, "confidence", math.nextafter(0.5, 1.0), math.nextafter(1.0, 0.0))
    found = vector(values, "values")
    places = {name: at for at, name in enumerate(dict.fromkeys(groups))}
    if len(groups) != found.size or len(places) < LEAST_CLUSTERS:
        msg = f"{found.size} values in {len(places)} clusters, {len(groups)} labels; expected a label each and "
        msg += f"{LEAST_CLUSTERS} clusters at least; one cluster says nothing about others"
        raise MeasureError(msg)
    from statsmodels.regression.linear_model import OLS  # noqa: PLC0415 - lazy by contract

    labels = np.asarray([places[name] for name in groups])
    fit = OLS(found, np.ones((found.size, 1))).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    if not float(fit.bse[0]) > TIE * max(1.0, float(np.abs(found).max())):
        msg = "the clusters do not differ at all; expected some variance; an interval of no width is none"
        raise MeasureError(msg)
    low, high = fit.conf_int(alpha=2.0 * (1.0 - confidence))[0]
    return Interval(value=float(fit.params[0]), low=float(low), high=float(high))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted so that the chance of any false finding keeps its level; for the blocking list.

    Source: Holm 1979; by `statsmodels.stats.multitest.multipletests`.

    Raises:
        MeasureError: a p-value outside [0, 1].
    """
    if not len(p_values):
        return ()
    found = vector(p_values, "p-values", 0.0, 1.0)
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - lazy by contract

    return tuple(float(p) for p in multipletests(found, method="holm")[1])


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for the share of false findings; for the exploratory list, never to block.

    Source: Benjamini and Hochberg 1995; by `scipy.stats.false_discovery_control`.

    Raises:
        MeasureError: a p-value outside [0, 1].
    """
    if not len(p_values):
        return ()
    found = vector(p_values, "p-values", 0.0, 1.0)
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - lazy by contract

    return tuple(float(p) for p in false_discovery_control(found, method="bh"))
