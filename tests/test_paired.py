"""Pairs, clusters and many findings: hand-computed values, agreement with libraries, nulls, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test, ttest_1samp
from statsmodels.stats.multitest import multipletests

from harness import paired, stats
from harness.errors import MeasureError
from harness.paired import noninferiority
from harness.verdict import Verdict

FAST = settings(max_examples=40, deadline=None, derandomize=True)
VALUES = st.floats(-20, 20, allow_nan=False).map(lambda x: round(x, 3)) | st.sampled_from([0.0, 1.0])
BAD = [math.nan, math.inf, -math.inf, 1e200]


def judged(new, old, delta=0.05, **more):
    return noninferiority(new, old, delta=delta, confidence=0.95, **more)


# -- non-inferiority --------------------------------------------------------------------------------------------------


def test_ten_pairs_by_hand():
    found = judged([1] * 10, [0] * 5 + [0.5] * 5, delta=0.2)
    assert (found.n, found.mean_new, found.mean_old, found.difference.value) == (10, 1.0, 0.25, 0.75)
    # Of the 1,024 ways to exchange, one gives as large a difference.
    assert found.p == 1 / 1024
    assert found.verdict is Verdict.FAIL


@pytest.mark.parametrize("n", [10, 60, 299])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_difference_leaves_what_no_event_leaves(n, value):
    """1 - 0.05^(1/n) on both sides: 0.259 for 10, 0.0487 for 60, 0.00997 for 299."""
    found = judged([value] * n, [value] * n).difference
    rest = 1 - 0.05 ** (1 / n)
    assert (found.low, found.value, found.high) == (pytest.approx(-rest, rel=2e-3), 0.0, pytest.approx(rest, rel=2e-3))
    assert found.high >= rest - 1e-12
    assert found.low <= -rest + 1e-12


def test_three_verdicts_and_the_band():
    same = [0.0, 1.0] * 30
    assert judged(same, same, delta=0.05).verdict is Verdict.PASS
    assert judged(same, same, delta=0.04).verdict is Verdict.INCONCLUSIVE
    assert judged([1.0] * 60, same, delta=0.3).verdict is Verdict.FAIL
    wide = judged(same, same, delta=0.05, band=0.03)
    assert wide.verdict is Verdict.INCONCLUSIVE
    assert wide.difference.high == pytest.approx(judged(same, same).difference.high + 0.03, abs=1e-12)


def test_no_significant_difference_is_no_pass():
    """Three of twenty got worse: p is large, and so is what may have been lost."""
    found = judged([1.0] * 3 + [0.0] * 17, [0.0] * 20, delta=0.05)
    assert found.p == pytest.approx(1 / 8, abs=0.014)
    assert found.verdict is Verdict.INCONCLUSIVE


def test_limits_of_shares_are_those_of_a_bounded_mean_on_another_scale():
    rng = np.random.default_rng(3)
    differences = rng.choice([1.0, 0.0, -1.0], 80, p=[0.15, 0.75, 0.1])
    found = paired.difference_limits(differences, 0.95, 1)
    scaled = stats.bounded_mean((differences + 1) / 2, 0.95, 1)
    assert (found.low, found.high) == pytest.approx((2 * scaled.low - 1, 2 * scaled.high - 1), abs=0.01)


@FAST
@given(data=st.data())
def test_a_worse_scenario_lowers_no_limit_and_raises_no_p(data):
    """Nor does a better old value: whatever was not green stays so."""
    n = data.draw(st.integers(10, 25))
    new, old = (data.draw(st.lists(VALUES, min_size=n, max_size=n)) for _ in range(2))
    before = judged(new, old, delta=0.5)
    at, more = data.draw(st.integers(0, n - 1)), data.draw(st.floats(1e-6, 30, allow_nan=False))
    side = data.draw(st.sampled_from(["new", "old"]))
    worse = [value + more if k == at and side == "new" else value for k, value in enumerate(new)]
    kept = [value - more if k == at and side == "old" else value for k, value in enumerate(old)]
    after = judged(worse, kept, delta=0.5)

    slack = 1e-9
    assert after.difference.low >= before.difference.low - slack
    assert after.difference.high >= before.difference.high - slack
    assert after.p <= before.p
    assert before.verdict is Verdict.PASS or after.verdict is not Verdict.PASS
    assert before.verdict is not Verdict.FAIL or after.verdict is Verdict.FAIL


@FAST
@given(value=VALUES, n=st.integers(10, 40))
def test_no_interval_without_width(value, n):
    found = judged([value] * n, [0.0] * n).difference
    assert found.low + 1e-3 < found.value < found.high - 1e-3


@FAST
@given(data=st.data())
def test_the_order_of_scenarios_does_not_matter_for_the_limits(data):
    values = data.draw(st.lists(VALUES, min_size=10, max_size=20))
    mixed = data.draw(st.permutations(values))
    first, second = (paired.difference_limits(each, 0.95, 5) for each in (values, mixed))
    assert (first.low, first.high) == (second.low, second.high)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_synthetic_null_rarely_fails_and_a_loss_of_delta_rarely_passes(kind):
    """At no difference FAIL in at most 5 %, at a true difference of delta PASS in at most 5 %; 3 errors above."""
    rng, sets = np.random.default_rng(11), 200
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / sets)
    fails = passes = 0
    for at in range(sets):
        if kind == "binary":
            old, new, worse = (rng.random(60) < p for p in (0.1, 0.1, 0.2))
        else:
            item = rng.normal(0, 3, 60)
            old, new, worse = (item + rng.normal(shift, 0.7, 60) for shift in (0.0, 0.0, 0.1))
        fails += judged(new, old, delta=0.0, seed=at).verdict is Verdict.FAIL
        passes += judged(worse, old, delta=0.1, seed=at).verdict is Verdict.PASS
    assert fails / sets <= most
    assert passes / sets <= most


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("side", [0, 1])
def test_no_number_no_limit(bad, side):
    runs = [[0.0] * 20, [0.0] * 20]
    runs[side][7] = bad
    with pytest.raises(MeasureError, match="number 8 of 20"):
        judged(*runs)


@pytest.mark.parametrize(
    ("new", "old", "more", "said"),
    [
        ([], [], {}, "flat list"),
        ([0.0], [0.0], {}, "1 scenarios"),
        ([0.0] * 9, [0.0] * 9, {}, "10 at least"),
        ([0.0] * 20, [0.0] * 19, {}, "20 new and 19 old"),
        ([0.0] * 20, [0.0] * 20, {"delta": -0.1}, "delta"),
        ([0.0] * 20, [0.0] * 20, {"delta": math.nan}, "delta"),
        ([0.0] * 20, [0.0] * 20, {"band": math.inf}, "band"),
    ],
)
def test_what_cannot_be_paired_is_refused(new, old, more, said):
    with pytest.raises(MeasureError, match=said):
        judged(new, old, **more)


@pytest.mark.parametrize("confidence", [0.5, 0.0, 1.0, math.nan])
def test_a_confidence_at_which_limits_cross_is_refused(confidence):
    with pytest.raises(MeasureError, match="confidence"):
        noninferiority([0.0] * 20, [0.0] * 20, delta=0.1, confidence=confidence)


# -- tests of pairs ---------------------------------------------------------------------------------------------------


def test_permutation_p_agrees_with_scipy():
    """All 4,096 signs of twelve differences, with ties."""
    differences = np.array([0.5, 0.5, -0.2, 1.0, 0.0, 0.3, -0.3, 0.7, 0.1, -0.1, 0.4, 0.2])
    theirs = permutation_test(
        (differences, np.zeros(12)), lambda x, y: np.mean(x - y), permutation_type="samples", alternative="greater",
        n_resamples=np.inf, vectorized=False,
    )  # fmt: skip
    assert paired.permutation_p(differences, 0) == pytest.approx(theirs.pvalue, abs=1e-10)


def test_permutation_p_of_binary_pairs_is_the_sign_test():
    """Of 40 pairs 9 got worse and 2 better: P(at least 9 of 11) = 67 / 2048, by 9,999 draws."""
    differences = [1.0] * 9 + [-1.0] * 2 + [0.0] * 29
    assert paired.permutation_p(differences, 1) == pytest.approx(67 / 2048, abs=4 * math.sqrt(0.033 * 0.967 / 9_999))
    assert paired.permutation_p([1.0] * 60, 1) == 1 / 10_000
    assert paired.permutation_p([0.0] * 60, 1) == 1.0


@pytest.mark.parametrize(("b", "c"), [(1, 7), (0, 5), (6, 6), (12, 3), (0, 1)])
def test_mcnemar_agrees_with_the_binomial_test(b, c):
    assert paired.mcnemar(b, c) == pytest.approx(binomtest(b, b + c).pvalue, abs=1e-10)
    assert paired.mcnemar(c, b) == paired.mcnemar(b, c)


def test_mcnemar_by_hand():
    assert paired.mcnemar(0, 5) == pytest.approx(2 / 32, abs=1e-12)
    assert paired.mcnemar(0, 0) == 1.0


@pytest.mark.parametrize(("b", "c"), [(-1, 3), (3, -1), (1.5, 2), (math.nan, 2)])
def test_no_p_of_broken_counts(b, c):
    with pytest.raises(MeasureError):
        paired.mcnemar(b, c)


# -- clusters ---------------------------------------------------------------------------------------------------------


def test_mean_of_equal_clusters_is_the_t_interval_of_their_means():
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (8, 4)) + rng.normal(0, 1, (8, 1))
    found = paired.clustered_mean(values.ravel(), np.repeat(np.arange(8), 4).tolist(), 0.95)
    theirs = ttest_1samp(values.mean(axis=1), 0.0).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-10)
    assert found.value == pytest.approx(values.mean(), abs=1e-12)


def test_two_clusters_by_hand():
    """Means 1 and 3: 2 -+ t(0.95, 1) * 1, t = 6.3138; the order of rows does not matter."""
    found = paired.clustered_mean([3.0, 1.0, 1.0, 3.0], ["b", "a", "a", "b"], 0.95)
    assert (found.low, found.value, found.high) == pytest.approx((2 - 6.3137515, 2.0, 2 + 6.3137515), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        ([1.0, 2.0, 3.0], ["a"] * 3, "1 clusters"),
        ([0.0] * 6, list("aabbcc"), "do not differ"),
        ([1.0, 3.0, 3.0, 1.0], list("aabb"), "do not differ"),
        ([1.0, 2.0, 3.0], list("ab"), "2 labels"),
        ([1.0, math.nan], list("ab"), "finite"),
        ([], [], "flat list"),
    ],
)
def test_no_interval_of_clusters_that_say_nothing(values, groups, said):
    with pytest.raises(MeasureError, match=said):
        paired.clustered_mean(values, groups, 0.95)


# -- many findings ----------------------------------------------------------------------------------------------------


def test_adjusted_p_by_hand():
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06), abs=1e-12)
    assert paired.benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.04, 0.04), abs=1e-12)
    assert (paired.holm([]), paired.benjamini_hochberg([])) == ((), ())
    assert (paired.holm([0.2]), paired.benjamini_hochberg([0.2])) == ((0.2,), (0.2,))


@settings(FAST, max_examples=12)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_agree_with_statsmodels_and_are_never_smaller(raw):
    assert paired.benjamini_hochberg(raw) == pytest.approx(tuple(multipletests(raw, method="fdr_bh")[1]), abs=1e-10)
    each = zip(raw, paired.benjamini_hochberg(raw), paired.holm(raw), strict=True)
    assert all(p <= bh + 1e-12 <= h + 2e-12 for p, bh, h in each)


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_no_adjustment_of_what_is_no_p(bad):
    for adjust in (paired.holm, paired.benjamini_hochberg):
        with pytest.raises(MeasureError):
            adjust([0.1, bad])
