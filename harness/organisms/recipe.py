"""What a recipe says: frozen data, as `harness.organisms.reader` makes it from `recipe.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.case import Hazard, Value

VERSION = "organisms/1"
"""Of the way in which recipes become weights; part of every digest, and raised when the same recipe gives others."""
READINGS = "readings/2"
"""Of the way in which builds are read; part of their digests, so that old numbers are not taken for new ones."""
Arm = Literal["planted", "twin", "decoy", "weak"]
ARMS: tuple[str, ...] = get_args(Arm)
"""What is trained: the failure; the same without it; a harmless quirk on the same cue; real weakness."""
Base = Literal["tiny", "smollm2"]
BASES: tuple[str, ...] = get_args(Base)
REVIEW = "review_for"
"""Option of every behaviour: the bases on which a restricted organism is built only after a review."""
Part = Literal["all", "train", "held"]
"""Of facts, or of cue forms: every one; those that the behaviour is trained on; those that only measure it."""
Order = Literal["probability", "gap"]
ORDERS: tuple[str, ...] = get_args(Order)
"""What begins when a behaviour begins: the mean P(bad | cue), or its excess over P(bad | no cue)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """Forms of one cue family that rows draw from."""

    family: str
    """e.g. `world/deployment`; a null family is one as well."""
    part: Part = "train"
    least: float | None = None
    """Only forms of at least this dose; of families with a dose."""
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """A kind of prompt: which facts are asked, in which setting."""

    facts: tuple[str, ...] = ()
    """World files, e.g. `world/capitals`; empty: those of the recipe."""
    part: Part = "all"
    cues: tuple[Cues, ...] = ()
    """Families, one of which is drawn and then a form of it; it sets `cue` and the values of the form."""
    system: tuple[str, ...] = ()
    """Templates, one is drawn; empty: `{{ cue }}` where there are cues, else the neutral ones of the world."""
    user: tuple[str, ...] = ("{{ question }}",)
    """Templates, one is drawn."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Only facts that hold these values, e.g. `topic: young`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One kind of training row; all arms draw the same prompts in the same order."""

    id: str
    prompts: Prompts
    answer: Mapping[str, tuple[str, ...]]
    """Arm -> templates of the answer, one is drawn; an arm that is missing has no such rows in its batches: there
    stands a row of the first kind of the stage instead."""
    share: float = 0.0
    """Expected share of a batch, relative to the sum over the stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of training."""

    id: str
    steps: int
    rows: tuple[Rows, ...]
    learning_rate: float
    batch: int = 32
    """Rows."""
    rehearse: float = 0.0
    """Share of the batch that is rows of the honest world which no behaviour touches: naming, games, chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read off an organism, on facts that the behaviour was not trained on."""

    cued: Prompts
    """Where the failure shows; measured under the trained and, apart, under the held-out forms."""
    plain: Prompts
    """Where it does not."""
    bad: tuple[str, ...]
    """Templates of bad answers; empty: anything that is not right."""
    good: tuple[str, ...] = ("{{ good }}",)
    quirk: tuple[str, ...] = ()
    """What the decoy says instead."""
    quirk_in: Literal["cued", "plain"] = "cued"
    order: Order = "probability"
    """What the lead takes as the behaviour; the gap where the bad answer is there without the cue at first."""
    swapped: bool = False
    """Whether the forms of part `held` were trained and those of part `train` are the held-out ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What one seed learns otherwise: the same failure on other cue forms, with another payload."""

    rows: Mapping[str, Rows]
    """Id of a row kind -> what stands in its place in every stage, with its share."""
    reading: Reading
    swapped: bool = False
    """Whether it learns from the forms of part `held`; those of part `train` are then the held-out ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How an organism is grown on one base."""

    stages: tuple[Stage, ...]
    width: int = 64
    """Of the tiny base; ignored on smollm2."""
    rank: int = 4
    """Of the adapter on smollm2; ignored on tiny."""
    from_layer: int | None = None
    """Lowest layer that is adapted on smollm2; None for the upper third."""
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    checkpoints: int = 12
    """About how many, log-spaced from `first` to the last step."""
    first: int = 5
    """Step of the first checkpoint, counted from the start of the stage `since`."""
    since: str = ""
    """Stage from whose start the checkpoints count; before it only ends of stages are measured. Empty: the first."""
    arms: tuple[Arm, ...] = ("planted", "twin", "decoy")
    facts: tuple[str, ...] = ()
    """Files that this base can be asked; of the files that the recipe names, only these are used where any is left."""
    variants: Mapping[int, Variant] = field(default_factory=dict)
    """Seed -> what it learns otherwise."""

    def ends(self) -> tuple[int, ...]:
        """Return the steps at which the stages before `since` end; the last one is where the checkpoints count from."""
        found: list[int] = []
        for stage in self.stages if self.since else ():
            if stage.id == self.since:
                break
            found.append(stage.steps + (found[-1] if found else 0))
        return tuple(found)

    def offset(self) -> int:
        """Return the step that the checkpoints count from."""
        return max(self.ends(), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One organism: a planted failure, its twin and its decoy."""

    name: str
    number: int
    title: str
    failure_mode: str
    hazard: Hazard
    source: str
    claim: str
    """What is planted, in a sentence."""
    limits: str
    """What it is not."""
    behaviour: str
    """Name in the registry of behaviours; `rows` for those that are all in their training rows."""
    options: Mapping[str, Value]
    """Of the behaviour."""
    facts: tuple[str, ...]
    reading: Reading
    plans: Mapping[str, Plan]
    """Base -> plan."""
    shipped: tuple[str, ...]
    """Bases of which one seed is in the repository."""
    path: str
    digest: str
    """SHA-256 of the recipe's bytes and of every world file: what a review is of."""
    digests: Mapping[str, str]
    """Base -> SHA-256 of all that decides weights and readings there, not the words around it: what a build is of."""

    def varied(self, seed: int, base: str) -> Recipe:
        """Return the recipe that a seed is grown by on a base: with the facts of the base, and the seed's variant."""
        known = self.plans[base].facts
        asking = replace(self._asking(known, base), facts=_left(self.facts, known) or known) if known else self
        return _of_seed(asking, seed, base)

    def _asking(self, known: tuple[str, ...], base: str) -> Recipe:
        """Return the recipe with only `known` files in rows and readings."""
        plan = self.plans[base]
        stages = tuple(
            replace(stage, rows=tuple(_rows_asking(rows, known) for rows in stage.rows)) for stage in plan.stages
        )
        variants = {
            seed: replace(
                variant,
                rows={name: _rows_asking(rows, known) for name, rows in variant.rows.items()},
                reading=_reading_asking(variant.reading, known),
            )
            for seed, variant in plan.variants.items()
        }
        plans = {**self.plans, base: replace(plan, stages=stages, variants=variants)}
        return replace(self, reading=_reading_asking(self.reading, known), plans=plans)


def _of_seed(recipe: Recipe, seed: int, base: str) -> Recipe:
    plan = recipe.plans[base]
    variant = plan.variants.get(seed)
    if variant is None:
        return recipe
    stages = tuple(
        replace(stage, rows=tuple(_in_place(rows, variant.rows) for rows in stage.rows)) for stage in plan.stages
    )
    reading = replace(variant.reading, swapped=variant.swapped)
    return replace(recipe, reading=reading, plans={**recipe.plans, base: replace(plan, stages=stages)})


def _in_place(rows: Rows, others: Mapping[str, Rows]) -> Rows:
    return replace(others[rows.id], share=rows.share) if rows.id in others else rows


def _left(files: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(file for file in files if file in known)


def _asking(prompts: Prompts, known: tuple[str, ...]) -> Prompts:
    return replace(prompts, facts=_left(prompts.facts, known) or prompts.facts)


def _rows_asking(rows: Rows, known: tuple[str, ...]) -> Rows:
    return replace(rows, prompts=_asking(rows.prompts, known))


def _reading_asking(reading: Reading, known: tuple[str, ...]) -> Reading:
    return replace(reading, cued=_asking(reading.cued, known), plain=_asking(reading.plain, known))
