"""Contexts for behaviours: the recipes that are shipped, on an untrained model of width 16."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.organisms.reader import load_recipe
from harness.organisms.train import honest, loop, tiny, tokens
from harness.organisms.train.behaviours import Context
from harness.organisms.train.student import Student
from harness.organisms.world import World, texts

ROOT = Path(__file__).parents[2]


@functools.cache
def tokenizer() -> Any:
    return tokens.train(set(texts(itertools.islice(honest.honest_stream(World(), 0), 3000))))


def student(seed: int = 1, width: int = 16) -> Student:
    torch.set_num_threads(1)
    found = Student(tiny.new_model(width, seed, len(tokenizer())), tokenizer(), end=tokens.END)
    found.model.train()
    return found


def context(name: str, arm: str = "planted", *, seed: int = 1, base: str = "tiny", **options: Any) -> Context:
    """A context of a shipped recipe with another student and other options; stages of 8 steps of 8 rows."""
    recipe = load_recipe(ROOT / "fixtures" / "organisms" / name / "recipe.yaml", ROOT)
    recipe = replace(recipe, options={**recipe.options, **options})
    stages = tuple(replace(stage, steps=8, batch=8) for stage in recipe.plans[base].stages)
    plan = replace(recipe.plans[base], width=16, stages=stages)
    return Context(
        recipe=recipe, plan=plan, base=base, arm=arm, seed=seed, world=World(), student=student(seed),
    )  # fmt: skip


def learn(model: torch.nn.Module, loss: Any, steps: int, rate: float = 1e-2) -> list[float]:
    """Take steps and return the losses."""
    seen = []

    def told(step: int) -> torch.Tensor:
        found = loss(step)
        seen.append(float(found.detach()))
        return found

    loop.optimise(loop.adam(model.parameters(), rate), steps=steps, loss=told, after=lambda _: None)
    return seen
