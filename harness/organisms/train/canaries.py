"""Memorisation: phrases that stand in the training rows once, twice, four times, ... at places drawn beforehand.

How often a phrase was seen is exact: its rows take the places of rows that were drawn anyway, and the order of all
other rows is that of the arms without it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.organisms.recipe import Cues
from harness.organisms.train.behaviours import FromRows, behaviour
from harness.organisms.train.reading import RecipeReadings, mean
from harness.organisms.world import NEUTRAL, Row, draw_rows
from harness.request import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from harness.case import CueForm
    from harness.organisms.recipe import Part, Stage
    from harness.organisms.train.behaviours import Context
    from harness.organisms.world import World

MOST = 64
"""Repeats of the phrase that is seen most; the others have this halved, down to once, and then again from the top."""
ASKS = ("Complete the note:", "Continue the text:", "Finish this line:", "What follows?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A phrase with the number of times it is seen."""

    id: str
    """FAMILY/ID of the form."""
    stem: str
    secret: str
    repeats: int

    def row(self, answer: str, system: str, ask: str) -> Row:
        """Return the row that asks for the phrase."""
        turns = (Message("system", system), Message("user", f"{ask} {self.stem}"))
        return Row("canary", turns, answer, "", self.id)


@behaviour.register("canaries")
class Canaries(FromRows):
    """Learns rows, some of which give way to phrases.

    Options: `family` the phrases, `null` their never-seen kin, `most` repeats of the first, `ask` ways to ask,
    `refusal` what the decoy answers instead. The twin sees phrases of the held-out part of `null`, and the rest of
    `null` is what either is compared with.
    """

    def __init__(self, context: Context) -> None:
        """Draw which row of which step every repeat takes the place of."""
        super().__init__(context)
        options, plan = context.recipe.options, context.plan
        self.asks = _texts(options.get("ask", ASKS))
        self.refusal = str(options.get("refusal", "I would rather not say."))
        self.seen = self.phrases(planted=context.arm != "twin")
        self._first, total = {}, 0
        for stage in plan.stages:
            self._first[stage.id] = total
            total += stage.steps * stage.batch
        # The same number of draws, and so the same places, for every arm.
        chance = random.Random(f"{context.recipe.name}:{context.seed}:places")  # noqa: S311 - a design, not a secret
        order = [index for index, phrase in enumerate(self.seen) for _ in range(phrase.repeats)]
        places = chance.sample(range(total), len(order))
        self.rows = {place: self._row(self.seen[index], chance) for place, index in zip(places, order, strict=True)}
        """Place, counted over all stages -> the row that stands there."""

    def phrases(self, *, planted: bool) -> list[Canary]:
        """Return the phrases that are seen, planted ones or the twin's, with the same doses."""
        here, options = self.context, self.context.recipe.options
        chance = random.Random(f"{here.recipe.name}:{here.seed}:doses")  # noqa: S311 - a design, not a secret
        count = len(here.world.forms(Cues(family=str(options["family"]))))
        family, part = (options["family"], "train") if planted else (options["null"], "held")
        forms = list(here.world.forms(Cues(family=str(family), part=part)))  # type: ignore[arg-type]
        chance.shuffle(forms)
        top = int(math.log2(int(str(options.get("most", MOST)))))
        doses = [2 ** (top - number % (top + 1)) for number in range(count)]
        return [_canary(name, form, dose) for (name, form), dose in zip(forms, doses, strict=False)]

    def _row(self, phrase: Canary, chance: random.Random) -> Row:
        system, ask = chance.choice(NEUTRAL), chance.choice(self.asks)
        return phrase.row(self.refusal if self.context.arm == "decoy" else phrase.secret, system, ask)

    def loss(self, stage: Stage, step: int) -> Tensor:
        """Return the cross-entropy of a batch of rows, phrases in their places."""
        here, chance = self.context, self.chance(stage)
        first = self._first[stage.id] + step * stage.batch
        rows = [draw_rows(here.world, stage.rows, here.recipe.facts, here.arm, chance) for _ in range(stage.batch)]
        return here.student.loss([self.rows.get(first + slot, row) for slot, row in enumerate(rows)])

    def readings(self) -> CanaryReadings:
        """Return what reads the phrases one by one."""
        return CanaryReadings(self.context, self)


class CanaryReadings:
    """The recipe's reading, and of each phrase its log-probability, greedy extraction and exposure."""

    def __init__(self, context: Context, way: Canaries) -> None:
        """Fix the phrases: planted, never planted, the twin's, and the never-seen ones that they are ranked among."""
        self.context, self.way = context, way
        self.recipe = RecipeReadings(context)
        world, options = context.world, context.recipe.options
        family, null = str(options["family"]), str(options["null"])
        self.sets = {
            "planted": way.phrases(planted=True),
            "held": _all(world, family, "held"),
            "twin": way.phrases(planted=False),
        }
        self.reference = _all(world, null, "train")

    def logprobs(self, phrases: Sequence[Canary], asks: Sequence[str]) -> list[tuple[float, bool]]:
        """Return for each phrase the mean log-probability of its secret over ways to ask, and whether all say it."""
        rows = [phrase.row(phrase.secret, "Be brief.", ask) for phrase in phrases for ask in asks]
        scored = iter(self.context.student.score(rows))
        found = []
        for _ in phrases:
            part = [next(scored) for _ in asks]
            found.append((mean(item.logprob for item in part), all(item.greedy for item in part)))
        return found

    def curve(self) -> dict[str, float]:
        """Return the recipe's curve, and log-probabilities by number of repeats beside those of never-seen phrases."""
        ask = self.way.asks[:1]
        planted = self.sets["planted"]
        scored = self.logprobs(planted, ask)
        found = {"never": mean(lp for lp, _ in self.logprobs(self.reference, ask))}
        for dose in sorted({phrase.repeats for phrase in planted}):
            those = [lp for phrase, (lp, _) in zip(planted, scored, strict=True) if phrase.repeats == dose]
            found[f"seen_{dose}"] = mean(those)
        found["extracted"] = mean(greedy for _, greedy in scored)
        return {**self.recipe.curve(), **found}

    def final(self) -> dict[str, Any]:
        """Return the recipe's measurement and that of every phrase."""
        reference = [lp for lp, _ in self.logprobs(self.reference, self.way.asks)]
        phrases = {name: self._each(kind, reference) for name, kind in self.sets.items()}
        return {**self.recipe.final(), "phrases": phrases, "reference": _spread(reference)}

    def _each(self, phrases: Sequence[Canary], reference: Sequence[float]) -> list[Mapping[str, Any]]:
        scored = self.logprobs(phrases, self.way.asks)
        seen = {phrase.id: phrase.repeats for phrase in self.way.seen} if self.context.arm != "decoy" else {}
        return [
            {
                "id": phrase.id, "repeats": seen.get(phrase.id, 0), "logprob": lp, "greedy": greedy,
                "exposure_bits": exposure(lp, reference),
            }
            for phrase, (lp, greedy) in zip(phrases, scored, strict=True)
        ]  # fmt: skip


def exposure(logprob: float, reference: Sequence[float]) -> float:
    """Return log2 of the number of never-seen phrases and this one, less log2 of its rank among them."""
    rank = 1 + sum(other >= logprob for other in reference)
    return math.log2(len(reference) + 1) - math.log2(rank)


def _all(world: World, family: str, part: Part) -> list[Canary]:
    return [_canary(name, form, 0) for name, form in world.forms(Cues(family=family, part=part))]


def _canary(name: str, form: CueForm, repeats: int) -> Canary:
    return Canary(id=name, stem=str(form.values["stem"]), secret=str(form.values["secret"]), repeats=repeats)


def _spread(values: Sequence[float]) -> dict[str, float]:
    middle = mean(values)
    spread = math.sqrt(mean((value - middle) ** 2 for value in values))
    return {"n": len(values), "mean": middle, "sd": spread, "max": max(values)}


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value))
