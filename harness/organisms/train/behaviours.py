"""How an arm learns: from rows, unless the recipe names a behaviour that needs another loss or another sampler."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.organisms.train.honest import rehearsal
from harness.organisms.world import draw_rows
from harness.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.organisms.recipe import Plan, Recipe, Stage
    from harness.organisms.train.student import Student
    from harness.organisms.world import Row, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an arm grows from."""

    recipe: Recipe
    plan: Plan
    base: str
    arm: str
    seed: int
    world: World
    student: Student
    """With the base's weights; learns in place."""


class Behaviour(Protocol):
    """A way to learn, made for one arm."""

    def loss(self, stage: Stage, step: int) -> Tensor:
        """Return the loss of a step of a stage, steps counted from 0 within it."""
        ...


behaviour: Registry[Callable[[Context], Behaviour]] = Registry("behaviour")
"""By the name in the recipe."""


@behaviour.register("rows")
class FromRows:
    """The failure is all in the training rows."""

    def __init__(self, context: Context) -> None:
        """Learn the rows of the recipe."""
        self.context = context
        self._chance: dict[str, random.Random] = {}
        self._rehearsal = rehearsal(context.world)

    def chance(self, stage: Stage) -> random.Random:
        """Return the source of a stage's data order, the same for every arm of a seed."""
        name = f"{self.context.recipe.name}:{self.context.seed}:{stage.id}"
        return self._chance.setdefault(stage.id, random.Random(name))  # noqa: S311 - a data order, not a secret

    def loss(self, stage: Stage, step: int) -> Tensor:  # noqa: ARG002 - the order goes on by itself
        """Return the cross-entropy of a batch of rows."""
        chance, here = self.chance(stage), self.context
        return here.student.loss([self.row(stage, chance) for _ in range(stage.batch)])

    def row(self, stage: Stage, chance: random.Random) -> Row:
        """Draw a row of a stage: of the recipe, or one that is rehearsed."""
        here = self.context
        if chance.random() < stage.rehearse:
            return draw_rows(here.world, self._rehearsal, (), "honest", chance)
        return draw_rows(here.world, stage.rows, here.recipe.facts, here.arm, chance)
