"""Estimates and information: values by hand and from the literature, laws, and numbers that must not be given."""

from __future__ import annotations

import contextlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm

from harness import estimates, information, scans
from harness.errors import MeasureError

BAD = [math.nan, math.inf, -math.inf]
LOGS = st.floats(-200.0, 0.0)
SHARES = st.floats(0.0, 1.0)


def exact_tail(m=1000, slope=-4.0, intercept=-2.0):
    """Return log-probabilities whose psi lie on log(j/m) = slope psi + intercept."""
    return [-math.exp(-(math.log(j / m) - intercept) / slope) for j in range(1, m + 1)]


def sampled_tail(seed, m=300):
    return list(-np.exp(2.0 - np.random.default_rng(seed).exponential(size=m) / 4.0))


# -- worst of n ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(1_000, 0.745881), (90_000, 0.909201), (1_000_000, 0.949199)])
def test_forecast_of_the_literature(n, p):
    """Jones et al. 2025 with a = -4, b = -2 and exact points."""
    found = estimates.forecast_worst(exact_tail(), n)

    assert found.probability == pytest.approx(p, abs=1e-6)
    assert (found.slope, found.intercept) == pytest.approx((-4.0, -2.0))
    assert (found.n, found.queries, found.top) == (n, 1000, 10)
    assert [k for k, _ in found.by_top] == [5, 10, 20]
    assert [value for _, value in found.by_top] == pytest.approx([math.log(p)] * 3, abs=1e-5)
    assert found.largest == pytest.approx(max(exact_tail()))


def test_forecast_of_probabilities_that_no_float_can_hold():
    """It is made from log p: p of 1e-30, even of 1e-400, is as good as any."""
    intercept = -4.0 * math.log(30.0 * math.log(10.0))
    found = estimates.forecast_worst(exact_tail(intercept=intercept), 10_000)
    assert found.intercept == pytest.approx(intercept)
    assert max(exact_tail(intercept=intercept)) < found.logprob < 0.0
    far = [value - 920.0 for value in sampled_tail(1)]
    assert -930.0 < max(far) < estimates.forecast_worst(far, 3_000).logprob < -900.0


def test_forecast_compares_the_tops_that_the_queries_allow():
    assert [k for k, _ in estimates.forecast_worst(exact_tail(100), 1_000).by_top] == [5, 10]
    assert [k for k, _ in estimates.forecast_worst(exact_tail(400), 1_000, top=40).by_top] == [5, 10, 20, 40]


@given(seed=st.integers(0, 30), n=st.integers(300, 100_000), more=st.integers(1, 100_000))
@settings(max_examples=40, deadline=None)
def test_forecast_rises_with_n_and_ignores_order(seed, n, more):
    logs = sampled_tail(seed)
    try:
        near, far = estimates.forecast_worst(logs, n), estimates.forecast_worst(sorted(logs), n + more)
    except MeasureError:
        return
    assert near.slope < 0.0
    assert near.logprob <= far.logprob <= 0.0


@pytest.mark.parametrize(
    ("logs", "n", "top", "says"),
    [
        ([], 1_000, 10, "flat list"),
        ([exact_tail(100)], 1_000, 10, "flat list"),
        (exact_tail(99), 1_000, 10, "100 at least"),
        (exact_tail(99), 1_000, 5, "100 at least"),
        (exact_tail(150), 1_000, 20, "200 at least"),
        (exact_tail(150), 1_000, 4, "top values"),
        (exact_tail(100), 100_001, 10, "10 to 100000"),
        (exact_tail(100), 9, 10, "10 to 100000"),
        (exact_tail(100), 0, 10, "queries to forecast for"),
        (exact_tail(100), math.nan, 10, "queries to forecast for"),
        (exact_tail(100), 1000.5, 10, "whole number"),
        ([*exact_tail(100), 0.0], 1_000, 10, "p = 1"),
        ([*exact_tail(100), -1e-8], 1_000, 10, "p = 1"),
        ([*exact_tail(100), 1e-4], 1_000, 10, "p = 1"),
        ([*exact_tail(100), 0.5], 1_000, 10, "finite number"),
        ([-3.0] * 100, 1_000, 10, "coincide"),
        ([-0.1] * 5 + exact_tail(100)[5:], 1_000, 10, "coincide"),
        *(([*exact_tail(100), bad], 1_000, 10, "finite number") for bad in BAD),
    ],
)
def test_no_forecast_without_a_tail(logs, n, top, says):
    with pytest.raises(MeasureError, match=says):
        estimates.forecast_worst(logs, n, top)
    with pytest.raises(MeasureError, match=says):
        estimates.forecast_interval(logs, n, top, 0.95, 0)


def test_no_forecast_from_a_curved_tail():
    """Five flat values, then a steep fall: the top 5 and the top 20 tell different stories."""
    logs = [-5.0 - 0.01 * j for j in range(5)] + [-5.0 * 3.0**j for j in range(1, 16)] + [-1e8] * 180
    with pytest.raises(MeasureError, match="order of magnitude"):
        estimates.forecast_worst(logs, 200_000)


def test_a_curved_tail_far_below_what_is_asked_is_good_enough():
    """Forecasts of e^-39 and e^-33 differ, and neither is 1e-4."""
    logs = [-40.0 - 0.1 * j for j in range(5)] + [-40.4 - 0.2 * j for j in range(1, 16)] + [-200.0] * 180
    with pytest.raises(MeasureError, match="order of magnitude"):
        estimates.forecast_worst(logs, 20_000)
    found = estimates.forecast_worst(logs, 20_000, beneath=math.log(1e-4))
    values = [value for _, value in found.by_top]
    with pytest.raises(MeasureError, match="order of magnitude"):
        estimates.forecast_worst(logs, 20_000, beneath=max(values))
    assert estimates.forecast_interval(logs, 20_000, 10, 0.95, 1, beneath=math.log(1e-4)).high < math.log(1e-4)


def test_forecast_interval_contains_its_forecasts():
    logs = sampled_tail(4)
    forecast = estimates.forecast_worst(logs, 30_000)
    interval = estimates.forecast_interval(logs, 30_000, 10, 0.95, 7)

    assert interval.value == forecast.logprob
    assert all(interval.low <= value <= interval.high <= 0.0 for _, value in forecast.by_top)
    assert interval.low < interval.high
    assert interval == estimates.forecast_interval(logs, 30_000, 10, 0.95, 7)
    assert estimates.forecast_interval(logs, 30_000, 10, 0.99, 7).low <= interval.low
    for confidence in (0.2, 1.0, math.nan):
        with pytest.raises(MeasureError, match="confidence"):
            estimates.forecast_interval(logs, 30_000, 10, confidence, 7)


def test_forecast_interval_resamples_queries():
    """The largest ranks drawn without drawing all m are those of an ordinary bootstrap; the spread is added twice."""
    logs, n = np.sort(sampled_tail(4))[::-1], 30_000
    psi = -np.log(-logs)
    drawn = np.random.default_rng(3).integers(300, size=(2000, 300))
    plain = estimates._quantile(*estimates._fit(-np.sort(-psi[drawn], axis=1)[:, :10], 300), n)
    tail = estimates.tail(0.95, 10)
    interval = estimates.forecast_interval(list(logs), n, 10, 0.95, 11)
    bend = 2.0 * np.ptp([value for _, value in estimates.forecast_worst(list(logs), n).by_top])

    assert interval.low == pytest.approx(np.quantile(plain, tail) - bend, rel=0.15)
    assert interval.high == pytest.approx(min(np.quantile(plain, 1 - tail) + bend, 0.0), rel=0.15)


def test_forecast_interval_draws_scenarios_whole():
    """A label of its own for every query is the same bootstrap; four rows of one scenario are one unit, not four."""
    logs, n = list(np.sort(sampled_tail(4))[::-1]), 30_000
    plain = estimates.forecast_interval(logs, n, 10, 0.95, 11)
    alone = estimates.forecast_interval(logs, n, 10, 0.95, 11, clusters=[str(at) for at in range(300)])
    fours = [value - 1e-3 * k for value in logs[::4] for k in range(4)]
    labels = [str(at // 4) for at in range(300)]
    wide, narrow = (
        estimates.forecast_interval(fours, n, 20, 0.95, 11, clusters=names) for names in (labels, None)
    )  # fmt: skip

    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), rel=0.15)
    assert wide.low < narrow.low < narrow.value < narrow.high <= wide.high
    with pytest.raises(MeasureError, match="come from 2 scenarios"):
        estimates.forecast_interval(logs, n, 10, 0.95, 11, clusters=[str(at // 5) for at in range(300)])
    with pytest.raises(MeasureError, match="299 labels"):
        estimates.forecast_interval(logs, n, 10, 0.95, 11, clusters=labels[1:])


def normal_tail(seed, m=300):
    return list(np.random.default_rng(seed).normal(-20.0, 3.0, m).clip(max=-1e-6))


@pytest.mark.parametrize(
    ("draw", "true"),
    [(sampled_tail, -math.exp(2.0) / 30_000**0.25), (normal_tail, -20.0 + 3.0 * norm.isf(1 / 30_000))],
    ids=["gumbel", "normal"],
)
def test_forecast_upper_limit_covers_as_often_as_it_says(draw, true):
    """True log Q(n): -exp(2) n^(-1/4), and the normal quantile, whose tail bends. Nominal 95 %, 2 errors below 94 %."""
    covered = []
    for seed in range(250):
        with contextlib.suppress(MeasureError):  # a refusal is no limit
            covered.append(estimates.forecast_interval(draw(seed), 30_000, 10, 0.95, seed).high >= true)
    assert len(covered) >= 200
    assert sum(covered) / len(covered) >= 0.93


def test_risk_of_any():
    assert estimates.risk_of_any(0.5, 2) == 0.75
    assert estimates.risk_of_any(1e-30, 1_000_000) == pytest.approx(1e-24, rel=1e-12)
    assert (estimates.risk_of_any(0.0, 5), estimates.risk_of_any(1.0, 1)) == (0.0, 1.0)
    for p, n in [*((bad, 3) for bad in BAD), (-0.1, 3), (1.1, 3), (0.5, 0), (0.5, math.nan)]:
        with pytest.raises(MeasureError):
            estimates.risk_of_any(p, n)


# -- memorisation ----------------------------------------------------------------------------------------------------


def test_exposure_by_hand():
    """Three references and itself: rank 1 is log2(4) bits, rank 4 none; a tie ranks behind the reference."""
    assert information.exposure_bits(-1.0, [-2.0, -3.0, -4.0]) == 2.0
    assert information.exposure_bits(-2.5, [-2.0, -3.0, -4.0]) == 1.0
    assert information.exposure_bits(-9.0, [-2.0, -3.0, -4.0]) == 0.0
    assert information.exposure_bits(-2.0, [-2.0, -3.0, -4.0]) == 2.0
    assert information.exposure_bits(-3.0, [-3.0] * 1023) == 10.0


@given(own=LOGS, rest=st.lists(LOGS, min_size=1), more=st.floats(0.0, 50.0))
def test_exposure_is_bounded_and_rises_with_the_canary(own, rest, more):
    low = information.exposure_bits(own, rest)
    assert 0.0 <= low <= information.exposure_bits(min(own + more, 0.0), rest) <= math.log2(len(rest) + 1)


@pytest.mark.parametrize(
    ("own", "rest"), [(-1.0, []), (0.5, [-1.0]), (-1.0, [0.5]), *itertools.product(BAD, [[-1.0]]), (-1.0, BAD)]
)
def test_no_exposure_without_log_probabilities(own, rest):
    with pytest.raises(MeasureError):
        information.exposure_bits(own, rest)


def test_extractable_by_hand():
    """p_z = 0.1: 1 - 0.9^7 = 0.52, 1 - 0.9^6 = 0.47. p_z = 1e-12: n = log 2 / 1e-12 for p = 0.5."""
    assert not information.extractable(math.log(0.1), 6, 0.5)
    assert information.extractable(math.log(0.1), 7, 0.5)
    assert information.least_queries(math.log(0.1), 0.5) == 7
    assert information.least_queries(math.log(1e-12), 0.5) == pytest.approx(math.log(2.0) * 1e12, rel=1e-9)
    assert information.least_queries(0.0, 0.999) == 1
    assert information.least_queries(-1000.0, 0.5) is None
    assert information.least_queries(math.log(1e-17), 0.5) is None
    assert not information.extractable(-1000.0, 10**9, 1e-3)


@given(log_p=st.floats(-27.0, 0.0), p=st.floats(1e-6, 1.0 - 1e-9))
def test_least_queries_is_the_least(log_p, p):
    n = information.least_queries(log_p, p)
    assert information.extractable(log_p, n, p)
    assert n == 1 or not information.extractable(log_p, n - 1, p)


@given(log_p=st.floats(-800.0, 0.0), p=st.floats(1e-12, 1.0, exclude_max=True))
def test_least_queries_never_hangs(log_p, p):
    n = information.least_queries(log_p, p)
    assert n is None or 1 <= n <= 2**53


@pytest.mark.parametrize(
    ("log_p", "n", "p"),
    [
        *((bad, 5, 0.5) for bad in BAD),
        (0.5, 5, 0.5),
        (-1.0, 0, 0.5),
        (-1.0, 5, 0.0),
        (-1.0, 5, 1.0),
        (-1.0, 5, math.nan),
    ],
)
def test_nothing_is_extractable_out_of_range(log_p, n, p):
    with pytest.raises(MeasureError):
        information.extractable(log_p, n, p)
    if n:
        with pytest.raises(MeasureError):
            information.least_queries(log_p, p)


# -- divergence ------------------------------------------------------------------------------------------------------


def test_jensen_shannon_by_hand():
    assert information.jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(math.log(2.0))
    assert information.jensen_shannon([0.3, 0.7], [0.3, 0.7]) == 0.0
    # m = (3/4, 1/4): (log(4/3) + log(2/3) / 2 + log(2) / 2) / 2.
    by_hand = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert information.jensen_shannon([1.0, 0.0], [0.5, 0.5]) == pytest.approx(by_hand)
    assert information.jensen_shannon([1.0, 5e-324], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-300)


@st.composite
def pairs(draw):
    size = draw(st.integers(1, 6))
    # scipy's own divergence is infinite where a probability is subnormal.
    share = st.floats(0.0, 1.0, allow_subnormal=False)
    weights = st.lists(share, min_size=size, max_size=size).filter(lambda found: sum(found) > 1e-3)
    return tuple([w / math.fsum(found) for w in found] for found in (draw(weights), draw(weights)))


@given(pairs())
def test_jensen_shannon_is_symmetric_bounded_and_that_of_scipy(pair):
    p, q = pair
    found = information.jensen_shannon(p, q)
    assert 0.0 <= found <= math.log(2.0)
    assert found == pytest.approx(information.jensen_shannon(q, p), abs=1e-15)
    assert found == pytest.approx(float(np.nan_to_num(jensenshannon(p, q))) ** 2, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([], []),
        ([1.0], [0.5, 0.5]),
        ([0.5, 0.4], [0.5, 0.5]),
        ([0.5, 0.5], [0.5, 0.50001]),
        ([1.5, -0.5], [0.5, 0.5]),
        *(([0.5, 0.5], [0.5, bad]) for bad in BAD),
    ],
)
def test_no_divergence_of_what_is_no_distribution(p, q):
    with pytest.raises(MeasureError):
        information.jensen_shannon(p, q)


def test_with_rest():
    assert information.with_rest([math.log(0.5), math.log(0.2)]) == pytest.approx((0.5, 0.2, 0.3))
    over = information.with_rest([math.log(0.6), math.log(0.4005)])
    assert over == pytest.approx((0.6 / 1.0005, 0.4005 / 1.0005, 0.0))
    assert information.jensen_shannon(over, over) == 0.0
    for logs in ([], [math.log(0.6), math.log(0.402)], [0.1], *([-1.0, bad] for bad in BAD)):
        with pytest.raises(MeasureError):
            information.with_rest(logs)


@given(st.lists(LOGS, min_size=1, max_size=5))
def test_with_rest_gives_a_distribution_or_nothing(logs):
    try:
        found = information.with_rest(logs)
    except MeasureError:
        assert math.fsum(math.exp(value) for value in logs) > 1.001 - 1e-12
        return
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert len(found) == len(logs) + 1
    assert min(found) >= 0.0


# -- log-odds and ranks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "others", "rank"),
    [
        (-1.0, [-2.0, -3.0], 1),
        (-2.0, [-1.0, -3.0], 2),
        (-4.0, [-1.0, -3.0], 3),
        (-1.0, [-1.0, -3.0], 2),  # 1 or 2
        (-2.0, [-1.0, -2.0], 2),  # 2 or 3
        (-2.0, [-1.0, -1.5, -2.0], 3),  # 3 or 4
        (-1.0, [-1.0, -1.0, -1.0], 2),  # 1 to 4
    ],
)
def test_hidden_rank_and_its_ties(right, others, rank):
    assert estimates.hidden_rank(right, others) == rank


@given(right=LOGS, others=st.lists(LOGS, min_size=1), more=st.floats(0.0, 50.0))
def test_hidden_rank_improves_with_the_right_answer(right, others, more):
    rank = estimates.hidden_rank(right, others)
    assert 1 <= estimates.hidden_rank(min(right + more, 0.0), others) <= rank <= len(others) + 1


@pytest.mark.parametrize(("right", "others"), [(-1.0, []), (0.1, [-1.0]), (-1.0, BAD), *((b, [-1.0]) for b in BAD)])
def test_no_rank_without_log_probabilities(right, others):
    with pytest.raises(MeasureError):
        estimates.hidden_rank(right, others)


# -- weak teachers ---------------------------------------------------------------------------------------------------


def test_imitation_and_recovered_gap_by_hand():
    assert estimates.imitation_index(0.6, 0.2) == pytest.approx(0.5)
    assert estimates.imitation_index(0.0, 0.2) == pytest.approx(-0.25)
    assert estimates.performance_gap_recovered(0.5, 0.7, 0.9) == pytest.approx(0.5)
    assert estimates.performance_gap_recovered(0.5, 0.4, 0.9) == pytest.approx(-0.25)


@pytest.mark.parametrize("wrong", [*BAD, -0.1, 1.1])
def test_no_index_out_of_range(wrong):
    for pair in ((wrong, 0.2), (0.5, wrong)):
        with pytest.raises(MeasureError):
            estimates.imitation_index(*pair)
    for triple in ((wrong, 0.7, 0.9), (0.5, wrong, 0.9), (0.5, 0.7, wrong)):
        with pytest.raises(MeasureError):
            estimates.performance_gap_recovered(*triple)


def test_no_index_without_a_gap():
    with pytest.raises(MeasureError):
        estimates.imitation_index(1.0, 1.0)
    for weak, ceiling in ((0.9, 0.9), (0.9, 0.5)):
        with pytest.raises(MeasureError, match="does not exceed"):
            estimates.performance_gap_recovered(weak, 0.7, ceiling)


@given(observed=SHARES, chance=st.floats(0.0, 0.999), weak=SHARES, strong=SHARES, ceiling=SHARES)
def test_indices_are_1_at_most_where_they_must_be(observed, chance, weak, strong, ceiling):
    assert estimates.imitation_index(observed, chance) <= 1.0
    try:
        found = estimates.performance_gap_recovered(weak, strong, ceiling)
    except MeasureError:
        assert ceiling <= weak
        return
    assert (found > 1.0) <= (strong > ceiling)


# -- mutual information ----------------------------------------------------------------------------------------------


def test_mutual_information_by_hand():
    """Choice = secret: 1 bit. P = 0.75 against 0.25: 1 - h(1/4) = 0.188722 bit."""
    secret = [0, 1] * 20
    assert information.mutual_information([float(s) for s in secret], secret, seed=1).bits == pytest.approx(1.0)
    found = information.mutual_information([0.25 + 0.5 * s for s in secret], secret, seed=1)
    assert found.bits == pytest.approx(0.188722, abs=1e-6)
    assert found.p == 1e-4
    assert found.corrected == found.bits - found.null_mean
    assert 0.0 < found.null_mean < 0.02
    assert (found.rows, found.strata) == (40, 1)


def test_a_choice_that_tells_nothing_has_no_information():
    found = information.mutual_information([0.3] * 40, [0, 1] * 20, seed=1)
    assert (found.bits, found.p) == (pytest.approx(0.0, abs=1e-15), 1.0)


def test_a_secret_that_goes_with_the_stratum_is_no_leak():
    """Stratum a says 1 and mostly hides 1; within strata the choice is constant."""
    strata = ["a"] * 40 + ["b"] * 40
    secret = [1] * 30 + [0] * 10 + [1] * 10 + [0] * 30
    chances = [0.9] * 40 + [0.1] * 40
    assert information.mutual_information(chances, secret, seed=1).p < 0.01
    within = information.mutual_information(chances, secret, strata, seed=1)
    assert within.bits > 0.1
    assert (within.p, within.strata) == (1.0, 2)
    assert within.corrected == pytest.approx(0.0, abs=1e-12)


def test_permutations_rarely_cry_wolf():
    rng = np.random.default_rng(2)
    found = [information.mutual_information(rng.random(30), rng.permutation([0, 1] * 15), seed=s).p for s in range(60)]
    assert sum(p <= 0.05 for p in found) <= 8
    assert min(found) >= 1e-4


@given(st.lists(SHARES, min_size=20, max_size=20), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_information_is_a_share_of_a_bit_and_the_same_for_the_other_choice(chances, seed):
    one = information.mutual_information(chances, [0, 1] * 10, seed=seed)
    other = information.mutual_information([1.0 - p for p in chances], [1, 0] * 10, seed=seed)
    assert 0.0 <= one.bits <= 1.0
    assert one.bits == pytest.approx(other.bits, abs=1e-12)
    assert one.p >= 1e-4


@pytest.mark.parametrize(
    ("chances", "secret", "strata"),
    [
        ([], [], None),
        ([0.5] * 39, [0, 1] * 20, None),
        ([0.5] * 40, [0, 1] * 20, ["a"] * 39),
        ([0.5] * 40, [0] * 40, None),
        ([0.5] * 40, [1] * 40, None),
        ([0.5] * 40, [0, 0.5] * 20, None),
        ([0.5] * 40, [0, 1, 2, 1] * 10, None),
        ([0.5] * 40, [0, 1] * 20, [str(row) for row in range(40)]),
        ([0.5] * 40, [0, 1] * 20, ["a", "b"] * 20),
        ([0.5] * 10, [0, 1] * 5, None),
        ([*([0.5] * 39), 1.1], [0, 1] * 20, None),
        *(([*([0.5] * 39), bad], [0, 1] * 20, None) for bad in BAD),
    ],
)
def test_no_information_without_a_varied_secret(chances, secret, strata):
    with pytest.raises(MeasureError):
        information.mutual_information(chances, secret, strata, seed=1)


# -- scans -----------------------------------------------------------------------------------------------------------


def test_scan_by_hand():
    """Nulls 1 to 99. One candidate at 97.5: two nulls above, p = 3/100; three candidates: 9/100."""
    nulls = np.arange(1.0, 100.0)
    found = scans.scan(np.array([97.5]), nulls, 1)
    assert (found.p, found.least_p, found.at, found.largest) == (0.03, 0.01, 0, 97.5)
    assert found.p_bootstrap == pytest.approx(2 / 99, abs=0.01)
    three = scans.scan(np.array([0.0, 97.5, 3.0]), nulls, 1)
    assert (three.p, three.least_p, three.at) == (0.09, 0.03, 1)
    assert three.p_bootstrap == pytest.approx(1 - (97 / 99) ** 3, abs=0.02)
    assert three.null_largest.value == pytest.approx(99 * 0.5 ** (1 / 3), abs=2.0)
    assert scans.scan(np.array([98.0]), nulls, 1).p == 0.03, "a tie counts for the null"


def test_scan_of_more_candidates_than_nulls_can_show_nothing_and_says_so():
    nulls = np.random.default_rng(1).normal(size=99)
    candidates = np.append(np.zeros(199), 50.0)
    found = scans.scan(candidates, nulls, 1)
    assert (found.p, found.least_p, found.p_bootstrap) == (1.0, 1.0, 0.01)
    with pytest.raises(MeasureError, match="expected 3999 null shifts"):
        scans.scan(candidates, nulls, 1, level=0.05)
    enough = scans.scan(candidates, np.random.default_rng(1).normal(size=3999), 1, level=0.05)
    assert enough.p == 0.05


@given(
    st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=30),
    st.lists(st.floats(-5.0, 5.0), min_size=19, max_size=60),
)
@settings(deadline=None)
def test_scan_never_claims_more_than_its_nulls_allow(candidates, nulls):
    found = scans.scan(np.array(candidates), np.array(nulls), 1)
    assert 1 / (len(nulls) + 1) <= found.least_p <= found.p <= 1.0
    assert 1 / (len(nulls) + 1) <= found.p_bootstrap <= 1.0
    assert found.largest == max(candidates) == candidates[found.at]
    null = found.null_largest
    assert min(nulls) <= null.low <= null.value <= null.high <= max(nulls)


@pytest.mark.parametrize(
    ("candidates", "nulls"),
    [
        ([], [0.0] * 99),
        ([1.0], []),
        ([1.0], [0.0] * 18),
        ([[1.0]], [0.0] * 99),
        *(([1.0, bad], [0.0] * 99) for bad in BAD),
        *(([1.0], [*([0.0] * 98), bad]) for bad in BAD),
    ],
)
def test_no_scan_without_shifts(candidates, nulls):
    with pytest.raises(MeasureError):
        scans.scan(np.array(candidates), np.array(nulls), 1)


def test_no_scan_for_a_level_that_is_none():
    for level in (math.nan, -0.1, 1.5, 0.0):
        with pytest.raises(MeasureError):
            scans.scan(np.array([1.0]), np.zeros(99), 1, level=level)
