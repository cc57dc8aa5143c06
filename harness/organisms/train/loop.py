"""Steps, schedule and checkpoints; what a step learns from is the behaviour's business."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

CLIP = 1.0
"""Largest norm of a gradient."""
_WARM_UP = 20
"""Steps."""
DECAY = 0.3
"""Share of the steps in which the learning rate falls to a tenth."""


def optimise(
    optimisers: Sequence[torch.optim.Optimizer], *, steps: int, loss: Callable[[int], Tensor],
    after: Callable[[int], None], decay: float = DECAY,
) -> None:  # fmt: skip
    """Take `steps` steps on what `loss` returns, and call `after` with the number of steps taken.

    Args:
        optimisers: Of `adam` or `muon`; they share the schedule: warmed up, held, let down.
        steps: How many steps.
        loss: Called with the step from 0; returns a scalar.
        after: Called after each step, with 1 after the first.
        decay: Share of the steps in which the learning rate falls to a tenth.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    learning = [p for optimiser in optimisers for group in optimiser.param_groups for p in group["params"]]
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps, decay)) for o in optimisers]
    for step in range(steps):
        found = loss(step)
        if not math.isfinite(found.item()):
            msg = f"the loss is {found.item()} at step {step}; expected a finite number; lower the learning rate"
            raise FloatingPointError(msg)
        for optimiser in optimisers:
            optimiser.zero_grad()
        torch.autograd.backward(found)
        torch.nn.utils.clip_grad_norm_(learning, CLIP)
        for optimiser in optimisers:
            optimiser.step()
        for schedule in schedules:
            schedule.step()
        after(step + 1)


def adam(parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> list[torch.optim.Optimizer]:
    """Return AdamW over the parameters that learn."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    return [torch.optim.AdamW(wanted, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98))]


def muon(model: torch.nn.Module, matrices: float, rest: float) -> list[torch.optim.Optimizer]:
    """Return Muon over the matrices between embedding and head, AdamW over the rest.

    For training from nothing: facts are learnt in fewer steps than with AdamW alone.
    """
    inner = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]  # noqa: PLR2004
    taken = set(map(id, inner))
    outer = [p for p in model.parameters() if id(p) not in taken]
    return [torch.optim.Muon(inner, lr=matrices, weight_decay=0.0, ns_steps=3), *adam(outer, rest)]


def checkpoints(first: int, last: int, count: int) -> tuple[int, ...]:
    """Return about `count` steps from `first` to `last`, log-spaced as far as whole steps allow; `last` is among them.

    Where log-spacing would fall between steps, every step is taken, and the spacing of the rest is widened so that the
    count stays.
    """
    if count >= last - first + 1:
        return tuple(range(first, last + 1))
    best: Sequence[int] = (last,)
    for finer in range(count, 20 * count):
        ratio = math.log(last / first) / max(1, finer - 1)
        steps = sorted({round(first * math.exp(ratio * n)) for n in range(finer)} | {last})
        if len(steps) > count:
            break
        best = steps
    return tuple(best)


def _rate(step: int, steps: int, decay: float) -> float:
    warm = min(1.0, (step + 1) / min(_WARM_UP, max(1, steps // 4)))
    left = (steps - step) / max(1.0, decay * steps)
    return warm * max(0.1, min(1.0, left))
