"""Steps, their schedule, and where checkpoints lie."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.organisms.train import loop, tiny

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(deadline=None)
@given(first=st.integers(1, 60), more=st.integers(0, 4000), count=st.integers(1, 80))
def test_checkpoints(first: int, more: int, count: int) -> None:
    """In order, within, the last among them, never more than asked for."""
    last = first + more
    steps = loop.checkpoints(first, last, count)

    assert list(steps) == sorted(set(steps))
    assert steps[-1] == last
    assert first <= steps[0]
    assert len(steps) <= count
    if count >= more + 1:
        assert steps == tuple(range(first, last + 1))
    elif count > 2:
        assert steps[0] == first
        assert len(steps) == count


@settings(deadline=None)
@given(first=st.integers(1, 60), factor=st.integers(20, 200), count=st.integers(5, 80))
def test_checkpoints_are_log_spaced(first: int, factor: int, count: int) -> None:
    """As far as whole steps allow: no ratio is far below the widest one, but for rounding."""
    wide = [(a, b) for a, b in itertools.pairwise(loop.checkpoints(first, first * factor, count)) if b - a > 1]
    ratio = max((b / a for a, b in wide), default=1.0)

    assert all(b + 1 >= math.sqrt(ratio) * a for a, b in wide)


def rates(steps: int, decay: float = loop.DECAY) -> list[float]:
    """Return the learning rate of each step, relative to the highest."""
    weight = torch.nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    seen = []

    def loss(_: int) -> torch.Tensor:
        seen.append(optimiser.param_groups[0]["lr"])
        return weight.sum()

    loop.optimise([optimiser], steps=steps, loss=loss, after=lambda _: None, decay=decay)
    return seen


def test_the_rate_rises_holds_and_falls() -> None:
    """Over 20 steps up, over the last tenths down, to a tenth at least."""
    seen = rates(200)

    assert seen[:20] == pytest.approx([(n + 1) / 20 for n in range(20)])
    assert seen[20:140] == pytest.approx([1.0] * 120)
    assert seen[170] == pytest.approx(0.5)
    assert seen[-1] == pytest.approx(0.1)
    assert rates(200, decay=0.5)[120] == pytest.approx(0.8)


@settings(deadline=None)
@given(st.integers(1, 60))
def test_the_rate_of_few_steps(steps: int) -> None:
    seen = rates(steps)

    assert len(seen) == steps
    assert all(0 < rate <= 1 for rate in seen)


def test_steps_are_counted_and_clipped() -> None:
    """`loss` from 0, `after` from 1; however steep, a step has the length of its rate at most."""
    weight = torch.nn.Parameter(torch.zeros(4))
    told: list[tuple[str, int]] = []

    def loss(step: int) -> torch.Tensor:
        told.append(("loss", step))
        return 1e6 * weight.sum()

    optimiser = torch.optim.SGD([weight], lr=1.0)
    loop.optimise([optimiser], steps=2, loss=loss, after=lambda step: told.append(("after", step)))

    assert told == [("loss", 0), ("after", 1), ("loss", 1), ("after", 2)]
    assert float(weight.detach().norm()) <= 2.0 + 1e-4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite(value: float) -> None:
    """Before anything is learnt from it."""
    weight = torch.nn.Parameter(torch.ones(1))
    rest: Callable[[int], torch.Tensor] = lambda step: weight.sum() * (value if step == 3 else 0.0)  # noqa: E731
    taken: list[int] = []
    with pytest.raises(FloatingPointError, match="at step 3; expected a finite number; lower the learning rate"):
        loop.optimise(loop.adam([weight], 1e-3), steps=9, loss=rest, after=taken.append)

    assert taken == [1, 2, 3]
    assert weight.item() == 1.0


def test_adam_takes_what_learns() -> None:
    learns, still = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    (optimiser,) = loop.adam([learns, still], 0.5)

    assert [id(p) for group in optimiser.param_groups for p in group["params"]] == [id(learns)]
    assert optimiser.param_groups[0]["lr"] == 0.5


def test_muon_takes_the_matrices_between_embedding_and_head() -> None:
    """And every weight is taken once."""
    model = tiny.new_model(16, 1, 40)
    names = {id(p): name for name, p in model.named_parameters()}
    inner, outer = (
        {names[id(p)] for group in optimiser.param_groups for p in group["params"]}
        for optimiser in loop.muon(model, 0.02, 1e-3)
    )

    assert inner | outer == set(names.values())
    assert not inner & outer
    assert all(".layers." in name and name.endswith("proj.weight") for name in inner)
    assert "model.embed_tokens.weight" in outer
