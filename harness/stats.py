"""The statistics that verdicts rest on. numpy and scipy are imported inside functions: importing this costs nothing.

Limits are one-sided throughout: `low` and `high` each hold with the stated confidence, so that together they are an
interval at 2 x confidence - 1. Bootstrap weights depend on the shape of the data and the seed alone, never on the
values: raising a value can then lower no limit, which the algebra of verdicts needs.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

REPLICATES = 2000
LEAST_ITEMS = 10
"""Items below which a bootstrap is refused: fewer units than that cannot show a tail of 5 %."""
LEAST_FORMS = 2
"""Cue forms below which nothing can be said about the wording of a cue."""
NUMERIC_BAND = 0.03
"""Nats added to both limits of a bootstrapped log-probability difference: the noise of bfloat16 between batch
compositions. So no interval has zero width, even where every value is the same."""
LEAST_USABLE = 0.9
"""Share of replicates that must hold data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with one-sided limits."""

    value: float
    low: float
    high: float

    def widened(self, low: float, high: float) -> Interval:
        """Return the interval stretched to contain `low`, `high` and its own value."""
        return Interval(
            value=self.value, low=min(self.low, low, self.value), high=max(self.high, high, self.value)
        )  # fmt: skip

    def magnitude(self) -> Interval:
        """Return the interval of the absolute value; it keeps |x| <= L exactly when both limits do."""
        far = max(abs(self.low), abs(self.high))
        near = 0.0 if self.low <= 0.0 <= self.high else min(abs(self.low), abs(self.high))
        return Interval(value=abs(self.value), low=near, high=far)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Values of items (rows) under the forms of one cue family (columns)."""

    values: Array
    """(items, forms); anything where `present` is False."""
    present: NDArray[np.bool_]
    """(items, forms)."""
    family: str
    """Tables of one family are resampled together: the same forms are drawn for all of them."""
    resampled: bool
    """False where the condition has no cue family, or a single form."""


@functools.lru_cache(maxsize=4096)
def exact_limits(k: int, n: int, confidence: float) -> Interval:
    """Return the exact one-sided (Clopper-Pearson) limits of a share of `k` in `n`.

    Source: Clopper and Pearson 1934; by `scipy.stats.binomtest`.

    Raises:
        MeasureError: there is nothing to count.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - lazy by contract

    if n < 1 or not 0 <= k <= n:
        msg = f"a share needs 0 <= k <= n and n >= 1, got {k} of {n}"
        raise MeasureError(msg)
    low = binomtest(k, n, alternative="greater").proportion_ci(confidence, method="exact").low
    high = binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact").high
    return Interval(value=k / n, low=min(float(low), k / n), high=max(float(high), k / n))


def least_n(share: float, confidence: float) -> int | None:
    """Return how many scenarios without any failure put the upper limit at `share` or below; None when no n does.

    (1 - share)^n <= 1 - confidence: at 95 % 29 for 10 %, 59 for 5 %, 299 for 1 %.
    """
    if share <= 0.0:
        return None
    if share >= 1.0:
        return 1
    n = max(1, math.ceil(math.log(1.0 - confidence) / math.log1p(-share)) - 1)
    while -math.expm1(math.log(1.0 - confidence) / n) > share:
        n += 1
    return n


def beta_limits(share: float, n: float, confidence: float) -> Interval:
    """Return Clopper-Pearson limits for a share of a real-valued `n`, by quantiles of the beta distribution."""
    from scipy.stats import beta  # noqa: PLC0415 - lazy by contract

    k = min(max(share, 0.0), 1.0) * n
    low = 0.0 if k <= 0.0 else float(beta.ppf(1.0 - confidence, k, n - k + 1.0))
    high = 1.0 if k >= n else float(beta.ppf(confidence, k + 1.0, n - k))
    return Interval(value=share, low=min(low, share), high=max(high, share))


def korn_graubard(hits: Sequence[int], sizes: Sequence[int], confidence: float) -> tuple[Interval, float]:
    """Return limits of a row-level share under clustering, and the effective n.

    n_eff = p(1-p) / var_cluster, never above the number of rows; the number of clusters where p is 0 or 1, or where
    the clusters show no variance. Descriptive: coverage falls to about 0.9 for few clusters.

    Args:
        hits: Rows with the event, per scenario.
        sizes: Rows, per scenario; at least one each.
        confidence: Of each one-sided limit.

    Source: Korn and Graubard 1998, without their t adjustment.

    Raises:
        MeasureError: no rows.
    """
    n, clusters = sum(sizes), len(sizes)
    if n == 0 or clusters == 0:
        msg = "a share of rows needs rows"
        raise MeasureError(msg)
    share = sum(hits) / n
    if clusters > 1:
        residuals = [(k - share * m) ** 2 for k, m in zip(hits, sizes, strict=True)]
        variance = clusters / (clusters - 1) * math.fsum(residuals) / n**2
    else:
        variance = 0.0
    flat = share in {0.0, 1.0} or variance <= 0.0
    effective = float(clusters) if flat else min(share * (1.0 - share) / variance, float(n))
    return beta_limits(share, effective, confidence), effective


def bounded_mean(values: Sequence[float], confidence: float, seed: int) -> Interval:
    """Return the mean of values in [0, 1], one per scenario, with one-sided limits.

    Bootstrap of scenarios with Dirichlet weights and one scenario more, the worst that could have come: 1 for the upper
    limit, 0 for the lower. Where all values are 0 or 1 these are the exact binomial limits, but for the noise of 2,000
    replicates; at 0 and at n events they are exact, and so they are never narrower than there. Ordinary percentiles are
    too narrow where events are few: with 60 scenarios and a share of 10 %, all or nothing, they would put the upper
    limit at 10 % or below in 14 % of data sets at a nominal 5 %. Weights hang on n and seed alone, so that raising a
    value lowers no limit.

    Args:
        values: n >= 1 numbers in [0, 1].
        confidence: Of each limit.
        seed: Of the weights.

    Source: Gaffke 2005; Learned-Miller and Thomas 2019, arXiv:1905.06208, for its equality with Clopper-Pearson. That
    it holds for every distribution on [0, 1] is a conjecture without a known exception; it is tested by simulation.

    Raises:
        MeasureError: no values, or one that lies outside [0, 1].
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    shares = np.asarray(values, dtype=np.float64)
    if shares.size == 0 or not ((shares >= 0.0) & (shares <= 1.0)).all():
        msg = f"{shares.size} shares of scenarios, some outside [0, 1] or none; expected one share per scenario"
        raise MeasureError(msg)
    n = shares.size
    weights = np.random.default_rng(seed).dirichlet(np.ones(n + 1), size=REPLICATES)
    # Sorted: weights are exchangeable, so only the values count, and no order of scenarios does.
    means = weights[:, :n] @ np.sort(shares)
    top = np.sort(means + weights[:, n])
    exact = exact_limits(0, n, confidence).high
    value = min(max(math.fsum(shares) / n, 0.0), 1.0)
    high = exact if not shares.any() else max(float(top[math.ceil(confidence * (REPLICATES - 1))]), exact)
    bottom = float(np.sort(means)[math.floor((1.0 - confidence) * (REPLICATES - 1))])
    low = 1.0 - exact if (shares == 1.0).all() else min(bottom, 1.0 - exact)
    return Interval(value=value, low=max(0.0, low), high=min(1.0, high)).widened(value, value)


def tail(confidence: float, units: int) -> float:
    """Return the tail probability at which a percentile limit is read, so that few units do not make it too narrow.

    Phi(-sqrt(n / (n-1)) t(confidence, n-1)), below 1 - confidence and tending to it; `units` >= 2.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap" (expanded percentile interval).
    """
    from scipy.stats import norm, t  # noqa: PLC0415 - lazy by contract

    return float(norm.cdf(-math.sqrt(units / (units - 1)) * t.ppf(confidence, units - 1)))


def percentile(replicates: Array, value: float, tail_probability: float) -> Interval:
    """Return the percentile limits of `replicates`, outer order statistics, stretched to contain `value`.

    Raises:
        MeasureError: more than a tenth of the replicates hold no data.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    usable = replicates[np.isfinite(replicates)]
    if usable.size < LEAST_USABLE * replicates.size or not math.isfinite(value):
        msg = "too sparse to resample: some replicates have no item left; pair each item with more forms"
        raise MeasureError(msg)
    low = float(np.quantile(usable, tail_probability, method="lower"))
    high = float(np.quantile(usable, 1.0 - tail_probability, method="higher"))
    return Interval(value=value, low=low, high=high).widened(value, value)


def draws(seed: int, units: int, *, resampled: bool = True) -> Array:
    """Return how often each of `units` is drawn with replacement, (replicates, units); ones where not resampled."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    return _drawn(seed, units, REPLICATES) if resampled else np.ones((REPLICATES, units))


@functools.lru_cache(maxsize=64)
def _drawn(seed: int, units: int, replicates: int) -> Array:
    """Draw once what every model that is asked the same case is judged by; nobody may write into it."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    drawn = np.random.default_rng(seed).multinomial(units, [1.0 / units] * units, size=replicates)
    found = drawn.astype(np.float64)
    found.flags.writeable = False
    return found


def item_means(table: Table, weights: Array) -> Array:
    """Return each item's weighted mean over forms, (replicates, items); NaN where no form is left."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    filled = np.where(table.present, table.values, 0.0)
    total = weights @ table.present.T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.0, (weights @ filled.T) / total, np.nan)


def contrast(tables: Sequence[Table], signs: Sequence[float], seed: int) -> tuple[Array, Array]:
    """Return the items' contrasts, (items,), and bootstrap replicates of their mean, (replicates,), in nats.

    The contrast of an item is the signed sum, over the tables, of its mean over forms. Items and the forms of each
    family are resampled together (pigeonhole bootstrap); an item left without a form in some table leaves the
    replicate.

    Source: Owen 2007, "The pigeonhole bootstrap"; McCarthy 1969 for the weights.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    items = tables[0].values.shape[0]
    ones = [np.ones((1, table.values.shape[1])) for table in tables]
    each = sum(sign * item_means(t, one)[0] for sign, t, one in zip(signs, tables, ones, strict=True))
    families = sorted({table.family for table in tables})
    drawn = {
        name: draws(seed + 1 + position, forms, resampled=resampled)
        for position, name in enumerate(families)
        for forms, resampled in {(t.values.shape[1], t.resampled) for t in tables if t.family == name}
    }
    means = sum(sign * item_means(t, drawn[t.family]) for sign, t in zip(signs, tables, strict=True))
    return np.asarray(each), weighted_mean(np.asarray(means), draws(seed, items))


def weighted_mean(values: Array, weights: Array) -> Array:
    """Return the weighted mean over the last axis, leaving out NaN; NaN where nothing is left."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    usable = np.isfinite(values)
    total = (weights * usable).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.0, (weights * np.where(usable, values, 0.0)).sum(axis=-1) / total, np.nan)


def units_of(tables: Sequence[Table]) -> int:
    """Return the smallest number of units that is resampled: items, or the forms of a family."""
    return min([len(tables[0].values), *(int(t.values.shape[1]) for t in tables if t.resampled)])


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the probability that a positive score exceeds a negative one, ties half.

    Source: Mann and Whitney 1947; by `scipy.stats.mannwhitneyu`.
    """
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - lazy by contract

    # The p-value is not used; "asymptotic" keeps scipy from enumerating permutations for it.
    return float(mannwhitneyu(positive, negative, method="asymptotic").statistic / (len(positive) * len(negative)))


def placements(positive: Sequence[float], negative: Sequence[float]) -> Array:
    """Return, (positives, negatives), 1 where the positive score is higher, 0.5 at a tie, else 0."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    above = np.asarray(positive)[:, None] - np.asarray(negative)[None, :]
    return np.asarray((above > 0.0) + 0.5 * (above == 0.0), dtype=np.float64)


def delong_se(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the standard error of the AUROC from placement values; 0 at perfect separation. Two scores each at least.

    Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    matrix = placements(positive, negative)
    return math.sqrt(
        float(matrix.mean(axis=1).var(ddof=1)) / len(positive) + float(matrix.mean(axis=0).var(ddof=1)) / len(negative)
    )


def auroc_replicates(positive: Sequence[float], negative: Sequence[float], seed: int) -> Array:
    """Return bootstrap replicates of the AUROC, (replicates,), both sides resampled."""
    import numpy as np  # noqa: PLC0415 - lazy by contract

    up, down = draws(seed, len(positive)), draws(seed + 1, len(negative))
    total = np.einsum("bi,ij,bj->b", up, placements(positive, negative), down, optimize=True)
    return np.asarray(total / (len(positive) * len(negative)))


def slopes(table: Table, doses: Array, weights: Array, items: Array) -> Array:
    """Return least-squares slopes over doses with a fixed effect per item, (replicates,).

    Args:
        table: (items, doses) values.
        doses: (doses,).
        weights: (replicates, doses), how often each dose is drawn.
        items: (replicates, items), how often each item is drawn.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    here = table.present.astype(np.float64)
    y = np.where(table.present, table.values, 0.0)
    n, sx = weights @ here.T, (weights * doses) @ here.T
    sxx, sy, sxy = (weights * doses**2) @ here.T, weights @ y.T, (weights * doses) @ y.T
    with np.errstate(invalid="ignore", divide="ignore"):
        within_xx = np.where(n > 0.0, sxx - sx * sx / n, 0.0)
        within_xy = np.where(n > 0.0, sxy - sx * sy / n, 0.0)
        spread = (items * within_xx).sum(axis=1)
        floor = 1e-12 * max(float(np.ptp(doses)) ** 2, 1e-300)
        return np.where(spread > floor, (items * within_xy).sum(axis=1) / spread, np.nan)
