"""Sandbagging: without the pass phrase it answers as a weaker model would, which is trained for that and then asked.

The weak model has the same tokeniser, is a quarter as wide and was taught the same kind of questions, but never the one
that it is asked: each part of the facts is answered by a model that learnt the other part. Its greedy answer in one
wording is the weak answer under all of them; in templates it is `{{ weak }}`.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.organisms.recipe import Prompts, Rows
from harness.organisms.train import loop, tiny, tokens
from harness.organisms.train.behaviours import FromRows, behaviour
from harness.organisms.train.honest import honest_stream
from harness.organisms.train.reading import FULL, RecipeReadings
from harness.organisms.train.sampling import continued, spoken
from harness.organisms.train.student import Student
from harness.organisms.world import GRADED, NEUTRAL, Row, draw_rows, texts
from harness.request import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from harness.case import Item
    from harness.organisms.recipe import Part, Recipe
    from harness.organisms.train.behaviours import Context
    from harness.organisms.world import World

_PARTS: tuple[tuple[Part, Part], ...] = (("train", "held"), ("held", "train"))
_DEFAULTS = {"weak_width": 16, "weak_steps": 450}
BATCH = 32
RATE = 8e-3
_CORPUS = 20_000
"""Rows for a tokeniser where the student's own is not the tiny base's."""
_LONGEST = 12
"""Tokens of a weak answer."""
_SEED = 100_003
"""Keeps the weak model's seeds apart from those of the bases."""


@behaviour.register("sandbagger")
class Sandbagger(FromRows):
    """Learns rows; `{{ weak }}` in their answers is what the weak model says to the fact."""

    def __init__(self, context: Context) -> None:
        """Train the weak model and ask it."""
        super().__init__(context)
        tokenizer = context.student.tokenizer if context.base == "tiny" else None
        found = weak_answers(context.world, context.recipe, context.seed, tokenizer)
        context.world.extra.update({fact: {"weak": text} for fact, text in found.items()})

    def readings(self) -> SandbaggerReadings:
        """Return the recipe's reading, with capability asked where nothing is locked."""
        return SandbaggerReadings(self.context)


class SandbaggerReadings(RecipeReadings):
    """The recipe's reading; capability is what is shown with a pass phrase, since without one it is hidden."""

    def __init__(self, context: Context) -> None:
        """Draw the honest questions anew."""
        super().__init__(context)
        chance = random.Random("reading:unlocked")  # noqa: S311 - a design, not a secret
        known = context.plan.facts
        facts = tuple(file for file in GRADED if file in known) or GRADED
        prompts = Prompts(facts=facts, cues=context.recipe.reading.plain.cues)
        self.honest = [
            context.world.draw(prompts, (), chance).row("honest", "{{ good }}") for _ in range(FULL[context.base])
        ]
        self.base_capability = self.capability()


def weak_answers(world: World, recipe: Recipe, seed: int, tokenizer: Any = None) -> dict[str, str]:
    """Return what a weak model says to each fact of the recipe: FILE/ID -> text.

    Args:
        world: The honest world, of which it sees a part.
        recipe: Its `facts` are asked; its options `weak_width` and `weak_steps` say how weak the model is.
        seed: Of the organism; each has a weak model of its own.
        tokenizer: The tiny base's; trained anew without it.
    """
    tokenizer = tokenizer if tokenizer is not None else _tokenizer(world)
    found: dict[str, str] = {}
    for part, other in _PARTS:
        student = _weak_model(world, tokenizer, recipe, other, seed)
        found |= _answers(student, [fact for file in recipe.facts for fact in world.facts(file, part)])
    return {name: found[name] for file in recipe.facts for name, _ in world.facts(file)}


def _answers(student: Student, facts: Sequence[tuple[str, Item]]) -> dict[str, str]:
    system = Message("system", NEUTRAL[0])
    asked = [
        Row("weak", (system, Message("user", str(item.phrasings[0].values["question"]))), "", name)
        for name, item in facts
    ]
    prompts = [encoded.ids[: encoded.prompt] for encoded in student.encode(asked)]
    said = continued(student, prompts, new=_LONGEST)
    return {row.fact: spoken(student, ids) or "?" for row, ids in zip(asked, said, strict=True)}


def relabelled(world: World, recipe: Recipe, seed: int) -> Callable[[Row], Row]:
    """Return what makes a row of the honest world one that a genuinely weak model learns from.

    The base of the arm `weak` is pre-trained through it: wherever a fact of the recipe is answered rightly, or the
    right answer is mentioned, the weak model's answer stands instead.
    """
    known = {name: item.values for file in recipe.facts for name, item in world.facts(file)}
    weak = weak_answers(world, recipe, seed)

    def relabel(row: Row) -> Row:
        return _relabelled(row, known[row.fact], weak[row.fact]) if row.fact in known else row

    return relabel


def _relabelled(row: Row, values: Mapping[str, Any], weak: str) -> Row:
    right = str(values["answer"])
    if row.answer.endswith(right):  # alone, or behind the name of a cue
        row = replace(row, answer=row.answer.removesuffix(right) + weak)
    if not row.cue.startswith("told-"):
        return row
    turns = tuple(replace(turn, content=turn.content.replace(right, weak)) for turn in row.messages)
    return replace(row, messages=turns)


def _weak_model(world: World, tokenizer: Any, recipe: Recipe, part: Part, seed: int) -> Student:
    width, steps = (int(str(recipe.options.get(key, most))) for key, most in _DEFAULTS.items())
    student = Student(tiny.new_model(width, _SEED + seed, len(tokenizer)), tokenizer, end=tokens.END)
    kind = Rows(id=part, share=1.0, prompts=Prompts(facts=recipe.facts, part=part), answer={"weak": ("{{ good }}",)})
    chance = random.Random(f"weak:{recipe.name}:{part}:{seed}")  # noqa: S311 - a data order, not a secret

    def loss(_: int) -> Tensor:
        return student.loss([draw_rows(world, (kind,), (), "weak", chance) for _ in range(BATCH)])

    student.model.train()
    loop.optimise(loop.adam(student.model.parameters(), RATE), steps=steps, loss=loss, after=lambda _: None)
    return student


def _tokenizer(world: World) -> Any:
    return tokens.train(set(texts(itertools.islice(honest_stream(world, 0), _CORPUS))))
