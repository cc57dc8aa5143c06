"""Numbers of scenarios, power and detection: the published numbers, and agreement with the limits that judge."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import power
from harness.errors import MeasureError
from harness.loader.kinds import needed
from harness.stats import exact_limits, least_n

FAST = settings(max_examples=60, deadline=None, derandomize=True)
LIMITS = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9])


@pytest.mark.parametrize(
    ("limit", "confidence", "n"),
    [
        (0.01, 0.95, (299, 473, 628, 773)),
        (0.001, 0.95, (2995, 4742, 6294, 7752)),
        (0.0001, 0.95, (29956,)),
        (0.01, 0.99, (459,)),
        (0.001, 0.99, (4603,)),
        (0.1, 0.95, (29,)),
        (0.05, 0.95, (59,)),
    ],
)
def test_scenarios_that_a_bound_needs(limit, confidence, n):
    assert tuple(power.scenarios_for(limit, confidence, failures) for failures in range(len(n))) == n


@FAST
@given(limit=LIMITS, confidence=st.sampled_from([0.9, 0.95, 0.99]), failures=st.integers(0, 6))
def test_a_plan_is_the_smallest_whose_exact_limit_keeps_the_bound(limit, confidence, failures):
    n = power.scenarios_for(limit, confidence, failures)
    assert n is not None
    assert exact_limits(failures, n, confidence).high <= limit + 1e-9
    assert n - 1 == failures or exact_limits(failures, n - 1, confidence).high > limit - 1e-9
    assert power.allowed(n, limit, confidence) == failures
    if failures == 0:
        assert n == least_n(limit, confidence) == needed(confidence, at_most=limit)


@FAST
@given(n=st.integers(1, 800), limit=LIMITS)
def test_what_may_fail_is_what_the_exact_limit_lets_pass(n, limit):
    most = power.allowed(n, limit, 0.95)
    assert most is None or exact_limits(most, n, 0.95).high <= limit
    more = 0 if most is None else most + 1
    assert more > n or exact_limits(more, n, 0.95).high > limit


def test_edges_of_the_limit():
    assert power.scenarios_for(0.0, 0.95) is None
    assert power.allowed(100, 0.0, 0.95) is None
    assert power.allowed(100, 1.0, 0.95) == 100
    assert power.allowed(298, 0.01, 0.95) is None
    assert power.allowed(299, 0.01, 0.95) == 0


@pytest.mark.parametrize(
    ("n", "failures", "half", "tenth"), [(299, 0, 0.22, 0.74), (1000, 4, 0.44, 0.996)]
)  # fmt: skip
def test_a_plan_without_failures_measures_luck_near_its_limit(n, failures, half, tenth):
    found = power.characteristic(n, failures, 0.01, 0.95)
    assert (found.at_half, found.at_tenth) == pytest.approx((half, tenth), abs=0.005)
    assert found.at_limit <= 0.05


def test_power_by_hand():
    """No failure in 3 at 0.5: 1/8; at most one: 1/8 + 3/8."""
    assert power.passing(3, 0, 0.5) == pytest.approx(1 / 8)
    assert power.passing(3, 1, 0.5) == pytest.approx(1 / 2)
    assert (power.passing(3, 0, 0.0), power.passing(3, 2, 1.0)) == (1.0, 0.0)


@pytest.mark.parametrize(("part", "wanted"), [(0.5, 0.9), (0.1, 0.9), (0.1, 0.9947)])
def test_the_plan_for_a_power_is_the_first_that_has_it(part, wanted):
    found = power.plan_for(0.01, 0.95, rate=0.01 * part, power=wanted)
    assert found is not None
    assert found.at_limit <= 0.05
    assert power.passing(found.n, found.failures, 0.01 * part) >= wanted
    smaller = power.scenarios_for(0.01, 0.95, found.failures - 1)
    assert smaller is not None
    assert power.passing(smaller, found.failures - 1, 0.01 * part) < wanted


def test_no_plan_for_a_rate_next_to_the_limit():
    assert power.plan_for(0.5, 0.95, rate=0.499, power=0.9) is None
    with pytest.raises(MeasureError, match="does not keep the limit"):
        power.plan_for(0.01, 0.95, rate=0.01, power=0.9)


def test_joint_power():
    """20 of power 0.9 pass together in 12 %; for 0.9 together each needs 0.9947."""
    assert power.joint_power([0.9] * 20) == pytest.approx(0.1216, abs=1e-4)
    assert power.each_for_joint(0.9, 20) == pytest.approx(0.9947, abs=1e-4)
    assert power.joint_power([power.each_for_joint(0.9, 20)] * 20) == pytest.approx(0.9)
    assert power.joint_power([0.9, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("caught", "seeds", "lower"),
    [(3, 3, 0.37), (5, 5, 0.55), (10, 10, 0.74), (14, 14, 0.81), (29, 29, 0.90), (59, 59, 0.95), (0, 5, 0.0)],
)
def test_what_a_certificate_promises(caught, seeds, lower):
    assert power.detection_lower(caught, seeds) == pytest.approx(lower, abs=0.005)


@pytest.mark.parametrize(
    ("upper", "sensitivity", "rate"),
    [(0.01, 1.0, 0.01), (0.01, 0.5, 0.02), (0.3, 0.2, 1.0), (0.01, 0.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.5, 0.0)],
)
def test_a_useless_grader_is_no_perfect_one(upper, sensitivity, rate):
    assert power.corrected_upper(upper, sensitivity) == pytest.approx(rate)


@FAST
@given(upper=st.floats(0, 1), low=st.floats(0, 1), more=st.floats(0, 1))
def test_a_worse_grader_or_rate_never_lowers_the_corrected_limit(upper, low, more):
    here = power.corrected_upper(upper, low)
    assert upper <= here <= 1.0
    assert power.corrected_upper(upper, low * more) >= here
    assert power.corrected_upper(min(1.0, upper + more), low) >= here


def test_the_two_statements_are_never_one():
    within, across = power.statements(0.0295, grader=(10, 10), seeds=(5, 5))
    # 0.0295 / 0.7411, and 0.05^(1/5)
    assert "at most 3.98%" in within
    assert "confidence 90%" in within
    assert "55% or more (confidence 95%)" in across
    assert all("if failures in the wild resemble the planted ones" in text for text in (within, across))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: power.passing(0, 0, 0.1),
        lambda: power.passing(10, -1, 0.1),
        lambda: power.passing(10, 0, math.nan),
        lambda: power.scenarios_for(math.nan, 0.95),
        lambda: power.scenarios_for(0.1, 0.5),
        lambda: power.scenarios_for(0.1, 0.95, -1),
        lambda: power.scenarios_for(1.1, 0.95),
        lambda: power.allowed(0, 0.1, 0.95),
        lambda: power.allowed(10, 0.1, 1.0),
        lambda: power.plan_for(0.1, 0.95, rate=0.01, power=1.0),
        lambda: power.joint_power([]),
        lambda: power.joint_power([0.9, math.nan]),
        lambda: power.each_for_joint(0.9, 0),
        lambda: power.detection_lower(6, 5),
        lambda: power.detection_lower(0, 0),
        lambda: power.corrected_upper(math.nan, 0.5),
        lambda: power.corrected_upper(0.1, 1.5),
    ],
)
def test_no_number_from_what_is_none(ask):
    with pytest.raises(MeasureError):
        ask()
