"""Formulas against hand-computed values, other libraries, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness import stats
from harness.errors import MeasureError
from harness.measures.separation import limits


@pytest.mark.parametrize(
    ("share", "confidence", "n"),
    [(0.10, 0.95, 29), (0.05, 0.95, 59), (0.01, 0.95, 299), (0.001, 0.95, 2995), (0.01, 0.99, 459), (1.0, 0.95, 1)],
)
def test_least_n_of_the_literature(share: float, confidence: float, n: int) -> None:
    """Zero failures in n meet the limit, in n - 1 they do not."""
    assert stats.least_n(share, confidence) == n
    assert stats.exact_limits(0, n, confidence).high <= share
    assert n == 1 or stats.exact_limits(0, n - 1, confidence).high > share


def test_no_n_shows_zero() -> None:
    """A limit of 0 cannot be met by counting."""
    assert stats.least_n(0.0, 0.95) is None


def test_exact_limits_by_hand() -> None:
    """0 of n: 1 - 0.05^(1/n); n of n: 0.05^(1/n)."""
    assert stats.exact_limits(0, 30, 0.95).high == pytest.approx(1 - 0.05 ** (1 / 30))
    assert stats.exact_limits(30, 30, 0.95).low == pytest.approx(0.05 ** (1 / 30))
    with pytest.raises(MeasureError):
        stats.exact_limits(0, 0, 0.95)


def test_beta_limits_agree_with_the_exact_ones() -> None:
    """For whole counts they are the same interval."""
    exact, beta = stats.exact_limits(3, 40, 0.95), stats.beta_limits(3 / 40, 40, 0.95)

    assert (beta.low, beta.high) == pytest.approx((exact.low, exact.high))


def test_korn_graubard_by_hand() -> None:
    """Four scenarios of two rows, hits 2, 0, 0, 0: p = 1/4, residuals 1.5, -.5, -.5, -.5, var = 4/3 x 3/64 = 1/16."""
    interval, effective = stats.korn_graubard([2, 0, 0, 0], [2, 2, 2, 2], 0.95)

    assert interval.value == 0.25
    assert effective == pytest.approx(0.25 * 0.75 * 16)
    assert stats.korn_graubard([0, 0, 0], [5, 5, 5], 0.95)[1] == 3
    assert stats.korn_graubard([1, 1, 1, 1, 0, 0, 0, 0], [1] * 8, 0.95)[1] <= 8


def test_expanded_tail() -> None:
    """Wider than nominal for few units, nominal in the limit; a limit below 1e-15 stays a probability."""
    assert 0.0 <= stats.tail(0.95, 2) < stats.tail(0.95, 10) < stats.tail(0.95, 100) < 0.05
    assert stats.tail(0.95, 10**6) == pytest.approx(0.05, abs=1e-4)


def test_auroc_and_delong_by_hand() -> None:
    """Positives 1, 3; negatives 0, 2: placements (1/2, 1) and (1, 1/2), variances 1/8 each, se = sqrt(1/16 + 1/16)."""
    assert stats.auroc([1, 3], [0, 2]) == 0.75
    assert stats.delong_se([1, 3], [0, 2]) == pytest.approx(math.sqrt(1 / 8))
    assert stats.delong_se([2, 3], [0, 1]) == 0.0
    assert stats.auroc([1, 1], [1, 1]) == 0.5


def test_delong_can_reward_a_worse_score_and_the_judged_limit_cannot() -> None:
    """One outlying positive score raised to the others: the area rises, DeLong's upper limit falls, ours does not."""
    negative = [-1.0, 1.0] * 500
    before, after = [0.0] * 9 + [-2.0], [0.0] * 10

    def delong(positive: list[float]) -> float:
        return stats.auroc(positive, negative) + 1.645 * stats.delong_se(positive, negative)

    assert stats.auroc(before, negative) < stats.auroc(after, negative)
    assert delong(before) > delong(after)
    assert limits(before, negative, 0.95, 1).high <= limits(after, negative, 0.95, 1).high


def test_delong_against_a_simulation() -> None:
    """The mean standard error matches the spread of the AUROC over simulated data."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(0.7, 1, 30), rng.normal(0, 1, 40)) for _ in range(300)]
    areas = [stats.auroc(list(up), list(down)) for up, down in pairs]
    errors = [stats.delong_se(list(up), list(down)) for up, down in pairs]

    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.12)


def test_slope_by_hand_and_against_a_fixed_effects_fit() -> None:
    """Two items with offsets 0 and 10 and a slope of 2; then random data against least squares with dummies."""
    table = stats.Table(
        values=np.array([[0.0, 2.0, 0.0], [0.0, 12.0, 14.0]]),
        present=np.array([[True, True, False], [False, True, True]]),
        family="f", resampled=True,
    )  # fmt: skip
    doses = np.array([0.0, 1.0, 2.0])
    assert stats.slopes(table, doses, np.ones((1, 3)), np.ones((1, 2)))[0] == pytest.approx(2.0)

    rng = np.random.default_rng(1)
    present = rng.random((20, 5)) < 0.6
    values = rng.normal(size=(20, 5)) + rng.normal(size=(20, 1)) * 5
    i, d = np.nonzero(present)
    design = np.column_stack([np.eye(20)[i], np.arange(5.0)[d]])
    expected = np.linalg.lstsq(design, values[i, d], rcond=None)[0][-1]
    made = stats.Table(values=values, present=present, family="f", resampled=True)
    assert stats.slopes(made, np.arange(5.0), np.ones((1, 5)), np.ones((1, 20)))[0] == pytest.approx(expected)


def test_item_means_weigh_forms() -> None:
    """Weights 2 and 1 on 3 and 6 give 4; an item without a drawn form has none."""
    table = stats.Table(
        values=np.array([[3.0, 6.0], [1.0, 0.0]]), present=np.array([[True, True], [True, False]]), family="f",
        resampled=True,
    )  # fmt: skip
    means = stats.item_means(table, np.array([[2.0, 1.0], [0.0, 2.0]]))

    assert means[0].tolist() == [4.0, 1.0]
    assert means[1, 0] == 6.0
    assert np.isnan(means[1, 1])


def test_percentile_refuses_sparse_replicates() -> None:
    """More than a tenth without data is no interval."""
    with pytest.raises(MeasureError, match="sparse"):
        stats.percentile(np.array([1.0] * 8 + [np.nan] * 2), 1.0, 0.05)


def test_magnitude_keeps_the_two_sided_rule() -> None:
    """|x| lies in the image of the interval."""
    assert stats.Interval(value=-1, low=-2, high=0.5).magnitude() == stats.Interval(value=1, low=0, high=2)
    assert stats.Interval(value=-2, low=-3, high=-1).magnitude() == stats.Interval(value=2, low=1, high=3)
