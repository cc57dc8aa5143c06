"""Margins by hand, and everything that is no number."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import scoring
from harness.errors import MeasureError
from harness.request import Failure, ScoredContinuation, Scores
from tests.factory import make_row, scored, texts


def row(*pairs: tuple[str, float], groups: dict[str, tuple[int, ...]]) -> scoring.Row:  # type: ignore[name-defined]
    """Return a row that scored these (text, probability) pairs."""
    found = tuple(scored(text, math.log(p), token) for token, (text, p) in enumerate(pairs))
    made = make_row("i0", "in", Scores(continuations=found), options=[text for text, _ in pairs])
    return dataclasses.replace(made, groups=groups)


def test_margin_and_mass_by_hand() -> None:
    """P(bad) = 0.1 + 0.2, P(good) = 0.6: margin log(1/2), mass 0.9."""
    made = row(("a", 0.1), ("b", 0.2), ("c", 0.6), groups={"bad": (0, 1), "good": (2,)})

    assert scoring.row_margin(made) == pytest.approx(math.log(0.5))
    assert scoring.mass(made) == pytest.approx(0.9)
    assert scoring.right_by_margin(made)


def test_bad_alone_is_its_log_probability() -> None:
    """Without `good` there is no difference to take, and no right or wrong."""
    made = row(("a", 0.1), ("b", 0.2), groups={"bad": (0, 1)})

    assert scoring.row_margin(made) == pytest.approx(math.log(0.3))
    assert scoring.mass(made) == pytest.approx(0.3)
    with pytest.raises(MeasureError, match="good"):
        scoring.right_by_margin(made)


def test_good_alone_is_the_log_odds_of_not_being_right() -> None:
    """Whatever stands in its place, nobody has to name it."""
    made = row(("a", 0.6), ("b", 0.3), groups={"good": (0, 1)})

    assert scoring.row_margin(made) == pytest.approx(math.log(0.1 / 0.9))
    assert scoring.mass(made) == pytest.approx(0.9)
    with pytest.raises(MeasureError, match="bad"):
        scoring.right_by_margin(made)


def test_log_odds_do_not_read_rounding_as_nats() -> None:
    """Below p = 1 the next two float32 numbers are 0.69 nat of log-odds apart."""
    below = [float(np.log1p(np.float32(-steps * 2.0**-24))) for steps in (1, 2)]
    free = [scoring.log_not(value) - value for value in below]

    assert abs(free[1] - free[0]) == pytest.approx(math.log(2.0), abs=1e-3)
    assert scoring.not_right(below[0]) == scoring.not_right(below[1]) == pytest.approx(-math.log(999.0))
    assert scoring.not_right(-1e4) == pytest.approx(math.log(999.0))
    assert scoring.not_right(math.log(0.5)) == pytest.approx(0.0, abs=1e-12)


@given(logprob=st.floats(-1e3, 0.0), more=st.floats(0.0, 50.0))
def test_log_odds_fall_with_the_right_answer(logprob: float, more: float) -> None:
    """A better model never has the larger odds of being wrong."""
    assert scoring.not_right(min(logprob + more, 0.0)) <= scoring.not_right(logprob) + 1e-12


def test_a_tie_is_not_right() -> None:
    """Strictly likelier, or not right."""
    assert not scoring.right_by_margin(row(("a", 0.3), ("b", 0.3), groups={"bad": (0,), "good": (1,)}))


def test_a_form_that_begins_with_another_is_counted_once() -> None:
    """P("Washington") holds "Washington, D.C." already."""
    short = ScoredContinuation(text=" W", token_ids=(1,), token_logprobs=(math.log(0.5),))
    long = ScoredContinuation(text=" W, D", token_ids=(1, 2), token_logprobs=(math.log(0.5), math.log(0.4)))

    assert scoring.group_logprob(Scores(continuations=(short, long)), (0, 1)) == pytest.approx(math.log(0.5))


def test_overlap_between_bad_and_good_is_no_margin() -> None:
    """A good text that begins with a bad one is both."""
    short = ScoredContinuation(text=" W", token_ids=(1,), token_logprobs=(-1.0,))
    long = ScoredContinuation(text=" W, D", token_ids=(1, 2), token_logprobs=(-1.0, -1.0))
    made = make_row("i0", "in", Scores(continuations=(short, long)))

    with pytest.raises(MeasureError, match="overlap"):
        scoring.row_margin(made)


@pytest.mark.parametrize("number", [math.nan, -math.inf, math.inf, 0.5])
def test_no_log_probability_no_margin(number: float) -> None:
    """NaN, infinities and probabilities above 1 raise."""
    made = make_row("i0", "in", Scores(continuations=(scored("a", number), scored("b", -1.0, 1))))

    with pytest.raises(MeasureError, match="not finite"):
        scoring.row_margin(made)


@pytest.mark.parametrize(
    "response",
    [
        Failure("forward", "x"),
        texts("Paris"),
        Scores(continuations=(scored("a", -1.0),)),
        Scores(continuations=(ScoredContinuation(text="a", token_ids=(), token_logprobs=()), scored("b", -1.0, 1))),
        Scores(
            continuations=(ScoredContinuation(text="a", token_ids=(1, 2), token_logprobs=(-1.0,)), scored("b", -1.0, 3))
        ),
    ],
    ids=["failure", "text", "one missing", "no tokens", "torn"],
)
def test_an_absent_number_raises(response: object) -> None:
    """Never an empty sum, which would be probability 1."""
    with pytest.raises(MeasureError):
        scoring.row_margin(make_row("i0", "in", response, text=False))  # type: ignore[arg-type]


def test_groups_must_be_there() -> None:
    """A group without forms, or with one that was not scored, has no probability."""
    made = Scores(continuations=(scored("a", -1.0),))
    for indices in [(), (1,), (-1,), (0, 0)]:
        with pytest.raises(MeasureError):
            scoring.group_logprob(made, indices)


def test_log_sum_exp_does_not_underflow() -> None:
    """log(2 e^-1000)."""
    assert scoring.log_sum_exp([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
