"""Every number that is worked out here and that scipy or statsmodels know too, to 1e-10; and the degenerate cases.

The rows are those questions of a gate that a library can be asked as well. What is a bootstrap of ours has no twin
there; its coverage is simulated (`bench/coverage.py`).
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as theirs
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness import estimates, information, paired, power, stats
from harness.errors import MeasureError

CLOSE = {"abs": 1e-10, "rel": 1e-10}
FAST = settings(deadline=None, max_examples=40, derandomize=True)
COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.sampled_from([0.9, 0.95, 0.975, 0.99])
SCORES = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=12)


# --- agreement


@FAST
@given(COUNTS, LEVELS)
def test_limits_of_a_share(counts: tuple[int, int], confidence: float) -> None:
    """Clopper-Pearson by two libraries; a two-sided interval at twice the error has the same ends."""
    k, n = counts
    found = stats.exact_limits(k, n, confidence)
    low, high = proportion_confint(k, n, alpha=2 * (1 - confidence), method="beta")
    assert (found.low, found.high) == pytest.approx((low, high), **CLOSE)
    above, below = (theirs.binomtest(k, n, alternative=side) for side in ("greater", "less"))
    assert found.low == pytest.approx(above.proportion_ci(confidence, method="exact").low, **CLOSE)
    assert found.high == pytest.approx(below.proportion_ci(confidence, method="exact").high, **CLOSE)
    real = stats.beta_limits(k / n, float(n), confidence)
    assert (real.low, real.high) == pytest.approx((low, high), **CLOSE)


@FAST
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=2, max_size=12))
def test_the_effective_number_of_rows(drawn: list[tuple[int, int]]) -> None:
    """Korn and Graubard's variance is the cluster-robust one of the mean; and n that of a binomial with it."""
    hits, sizes = [min(k, m) for k, m in drawn], [m for _, m in drawn]
    values = np.concatenate([[1.0] * k + [0.0] * (m - k) for k, m in zip(hits, sizes, strict=True)])
    if len(set(values)) == 1:
        return
    groups = np.repeat(np.arange(len(sizes)), sizes)
    fit = OLS(values, np.ones((values.size, 1))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    share, variance = float(values.mean()), float(fit.bse[0]) ** 2
    found, effective = stats.korn_graubard(hits, sizes, 0.95)
    if variance < 1e-20:
        assert effective == len(sizes)
        return
    assert effective == pytest.approx(min(share * (1 - share) / variance, float(values.size)), rel=1e-9)
    low, high = proportion_confint(share * effective, effective, alpha=0.1, method="beta")
    assert (found.low, found.high) == pytest.approx((low, high), **CLOSE)


@FAST
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(0, 100))
def test_how_often_a_plan_passes(plan: tuple[int, int], percent: int) -> None:
    """By scipy, and by adding up fractions."""
    (failures, n), rate = plan, Fraction(percent, 100)
    whole = sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(failures + 1))
    found = power.passing(n, failures, percent / 100)
    assert found == pytest.approx(float(whole), **CLOSE)
    assert found == pytest.approx(theirs.binom.cdf(failures, n, percent / 100), **CLOSE)


@pytest.mark.parametrize(("limit", "confidence"), [(0.1, 0.95), (0.05, 0.95), (0.01, 0.95), (0.01, 0.99), (0.3, 0.9)])
def test_how_many_scenarios_a_bound_needs(limit: float, confidence: float) -> None:
    """The first n at which the library's upper limit keeps the bound; for no failures that of the loader too."""
    for failures in range(3):
        n = power.scenarios_for(limit, confidence, failures)
        assert n is not None
        highs = [proportion_confint(failures, at, alpha=2 * (1 - confidence), method="beta")[1] for at in (n - 1, n)]
        assert highs[1] <= limit < highs[0]
    assert power.scenarios_for(limit, confidence) == stats.least_n(limit, confidence)


@FAST
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-5, 5)), min_size=4, max_size=30))
def test_means_of_clusters(rows: list[tuple[int, float]]) -> None:
    """Of unequal size: Liang and Zeger's sandwich written out, and a t distribution with one degree less."""
    groups, values = [group for group, _ in rows], np.asarray([value for _, value in rows])
    mean, names = float(values.mean()), sorted(set(groups))
    sums = [float(sum(value - mean for group, value in rows if group == name)) for name in names]
    variance = math.fsum(one**2 for one in sums) / values.size**2
    if len(names) < 2 or variance < 1e-12:
        return
    wide = len(names) / (len(names) - 1) * variance
    reach = float(theirs.t.ppf(0.95, len(names) - 1)) * math.sqrt(wide)
    found = paired.clustered_mean(values, groups, 0.95)
    assert (found.low, found.value, found.high) == pytest.approx((mean - reach, mean, mean + reach), rel=1e-8, abs=1e-9)


@FAST
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_binary_pairs(both: int, only_new: int, only_old: int) -> None:
    if only_new + only_old:
        table = [[both, only_new], [only_old, 3]]
        assert paired.mcnemar(only_new, only_old) == pytest.approx(mcnemar(table, exact=True).pvalue, **CLOSE)


@FAST
@given(st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=9))
def test_permutations_of_pairs(differences: list[float]) -> None:
    """All of them, where they are few."""
    found = theirs.permutation_test(
        (np.asarray(differences), np.zeros(len(differences))), lambda a, b, axis: np.sum(a - b, axis=axis),
        permutation_type="samples", alternative="greater", n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert paired.permutation_p(differences, 0) == pytest.approx(found.pvalue, **CLOSE)


@FAST
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_many_findings(raw: list[float]) -> None:
    assert paired.holm(raw) == pytest.approx(tuple(multipletests(raw, method="holm")[1]), **CLOSE)
    assert paired.benjamini_hochberg(raw) == pytest.approx(tuple(multipletests(raw, method="fdr_bh")[1]), **CLOSE)
    assert paired.benjamini_hochberg(raw) == pytest.approx(tuple(theirs.false_discovery_control(raw)), **CLOSE)
    for adjusted in (paired.holm(raw), paired.benjamini_hochberg(raw)):
        assert all(a >= p - 1e-15 for a, p in zip(adjusted, raw, strict=True))


@FAST
@given(SCORES, SCORES)
def test_separation(positive: list[float], negative: list[float]) -> None:
    """The area by its definition and by ranks; DeLong's variance by the covariance of structural components."""
    wins = [1.0 if p > q else 0.5 if p == q else 0.0 for p in positive for q in negative]
    area = math.fsum(wins) / len(wins)
    ranks = theirs.rankdata([*positive, *negative])[: len(positive)].sum()
    by_ranks = (ranks - len(positive) * (len(positive) + 1) / 2) / len(wins)
    assert stats.auroc(positive, negative) == pytest.approx(area, **CLOSE)
    assert area == pytest.approx(by_ranks, **CLOSE)
    table = np.asarray(wins).reshape(len(positive), len(negative))
    parts = [np.cov(table.mean(axis=axis)) / table.shape[1 - axis] for axis in (1, 0)]
    assert stats.delong_se(positive, negative) ** 2 == pytest.approx(float(sum(parts)), **CLOSE)


@settings(FAST, max_examples=10)
@given(st.lists(st.floats(0.01, 0.99), min_size=20, max_size=24), st.integers(8, 10))
def test_information_in_bits(chances: list[float], ones: int) -> None:
    """Of the entropies that scipy works out."""
    secret = [1] * ones + [0] * (len(chances) - ones)
    found = information.mutual_information(chances, secret, seed=0)
    whole, sides = math.fsum(chances) / len(chances), (chances[:ones], chances[ones:])
    inside = [
        len(side) / len(chances) * theirs.entropy([q := math.fsum(side) / len(side), 1 - q], base=2) for side in sides
    ]
    assert found.bits == pytest.approx(theirs.entropy([whole, 1 - whole], base=2) - sum(inside), abs=1e-10)


@pytest.mark.parametrize("units", [2, 3, 10, 60, 1000])
def test_expanded_percentiles(units: int) -> None:
    """A normal interval from this percentile of the bootstrap of a mean is the t interval."""
    z = -float(theirs.norm.ppf(stats.tail(0.95, units)))
    assert z * math.sqrt((units - 1) / units) == pytest.approx(theirs.t.ppf(0.95, units - 1), **CLOSE)


# --- degenerate cases


@pytest.mark.parametrize("n", [1, 2, 30, 299])
def test_no_event_and_nothing_else(n: int) -> None:
    """At 0 and at n the ends are 0 and 1, and the other limit is that of a power: never a point."""
    none, every = stats.exact_limits(0, n, 0.95), stats.exact_limits(n, n, 0.95)
    rest = 1 - 0.05 ** (1 / n)
    assert (none.low, none.value, none.high) == (0.0, 0.0, pytest.approx(rest, **CLOSE))
    assert (every.low, every.value, every.high) == (pytest.approx(1 - rest, **CLOSE), 1.0, 1.0)
    mean, whole = (stats.bounded_mean([value] * n, 0.95, 0) for value in (0.0, 1.0))
    assert (mean.low, mean.high) == (0.0, pytest.approx(rest, **CLOSE))
    assert (whole.low, whole.high) == (pytest.approx(1 - rest, **CLOSE), 1.0)


def test_one_unit_never_makes_a_point() -> None:
    assert stats.exact_limits(1, 1, 0.95).low == pytest.approx(0.05, **CLOSE)
    one, effective = stats.korn_graubard([3], [10], 0.95)
    assert effective == 1.0
    assert one.high - one.low > 0.9
    half = stats.bounded_mean([0.5], 0.95, 0)
    assert half.low < 0.5 < half.high
    for values, groups in (([1.0, 2.0], ["a", "a"]), ([1.0], ["a"]), ([2.0, 2.0, 2.0], ["a", "b", "c"])):
        with pytest.raises(MeasureError):
            paired.clustered_mean(values, groups, 0.95)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_values_that_are_all_equal_keep_a_width(value: float) -> None:
    assert (found := stats.bounded_mean([value] * 20, 0.95, 0)).high - found.low > 0.05
    assert (found := paired.difference_limits([value] * 20, 0.95, 0)).high - found.low > 0.05
    flat, effective = stats.korn_graubard([round(value * 10)] * 20, [10] * 20, 0.95)
    assert effective == 20
    assert flat.high - flat.low > 0.05


NOTHING = [
    lambda: stats.exact_limits(0, 0, 0.95),
    lambda: stats.exact_limits(-1, 5, 0.95),
    lambda: stats.exact_limits(6, 5, 0.95),
    lambda: stats.korn_graubard([], [], 0.95),
    lambda: stats.bounded_mean([], 0.95, 0),
    lambda: paired.difference_limits([], 0.95, 0),
    lambda: paired.noninferiority([], [], delta=0.1, confidence=0.95),
    lambda: paired.clustered_mean([], [], 0.95),
    lambda: power.passing(0, 0, 0.1),
    lambda: power.joint_power([]),
    lambda: estimates.forecast_worst([], 1000),
    lambda: information.exposure_bits(-1.0, []),
]


@pytest.mark.parametrize("ask", NOTHING)
def test_of_nothing_there_is_no_number(ask) -> None:
    with pytest.raises(MeasureError):
        ask()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_of_what_is_no_number_there_is_none(bad: float) -> None:
    good = [0.25] * 19
    for ask in (
        lambda: stats.bounded_mean([*good, bad], 0.95, 0),
        lambda: paired.difference_limits([*good, bad], 0.95, 0),
        lambda: paired.noninferiority([*good, bad], [*good, 0.0], delta=0.1, confidence=0.95),
        lambda: paired.clustered_mean([*good, bad], list(range(20)), 0.95),
        lambda: paired.holm([0.5, bad]),
        lambda: paired.benjamini_hochberg([0.5, bad]),
        lambda: power.passing(10, 1, bad),
        lambda: power.scenarios_for(bad, 0.95),
        lambda: power.corrected_upper(bad, 0.5),
        lambda: estimates.forecast_worst([-1.0] * 200 + [bad], 1000),
        lambda: information.exposure_bits(bad, [-1.0] * 99),
        lambda: information.jensen_shannon([bad, 1.0], [0.5, 0.5]),
    ):
        with pytest.raises(MeasureError):
            ask()


def test_more_evidence_narrows() -> None:
    """The same share of ten times as many."""
    wide = [stats.exact_limits(k, n, 0.95) for k, n in ((1, 10), (10, 100), (100, 1000))]
    assert all(a.low < b.low < b.high < a.high for a, b in pairwise(wide))
