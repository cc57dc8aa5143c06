"""A recipe in words, with what its hazard level lets be shown: for `tells organisms show` and for cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.organisms.recipe import Cues, Plan, Prompts, Recipe, Rows, Variant

HIDDEN = "not shown at this hazard level"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A name and what there is to say under it."""

    name: str
    text: str


def shows_payload(recipe: Recipe) -> bool:
    """Say whether the planted texts and the training rows may be shown."""
    return recipe.hazard == "open"


def may_be_asked(recipe: Recipe) -> bool:
    """Say whether a console may show what the organism answers."""
    return recipe.hazard in {"open", "internal"}


def reading(recipe: Recipe) -> list[Told]:
    """Return what is read off the organism."""
    read, open_ = recipe.reading, shows_payload(recipe)
    told = [Told(name="with the cue", text=prompts(read.cued)), Told(name="without", text=prompts(read.plain))]
    bad = _quoted(read.bad) if read.bad else "anything that is not right"
    told.append(Told(name="bad answer", text=bad if open_ or not read.bad else HIDDEN))
    told.append(Told(name="right answer", text=_quoted(read.good)))
    if read.order == "gap":
        told.append(Told(name="the behaviour", text="the bad answer is likelier with the cue than without"))
    if read.quirk:
        quirk = f"{_quoted(read.quirk)}, {'with' if read.quirk_in == 'cued' else 'without'} the cue"
        told.append(Told(name="the decoy's quirk", text=quirk if open_ else HIDDEN))
    return told


def holds_out_forms(recipe: Recipe) -> bool:
    """Say whether some cue forms are measured and were not trained."""
    return bool(recipe.reading.cued.cues) and all(cues.part != "all" for cues in recipe.reading.cued.cues)


def caveats(recipe: Recipe) -> list[str]:
    """Return what the numbers do not show of this recipe, where most others do."""
    found = []
    if not recipe.reading.cued.cues:
        found.append("The failure has no cue form that could be held out.")
    elif not holds_out_forms(recipe):
        found.append("Every form of the cue is trained; none is held out.")
    kinds = {rows.id: rows for plan in recipe.plans.values() for stage in plan.stages for rows in stage.rows}
    if any(rows.prompts.part == "all" and _plants(recipe, rows) for rows in kinds.values()):
        found.append("The failure is trained on every fact, so the facts that are asked were trained too.")
    return found


def _plants(recipe: Recipe, rows: Rows) -> bool:
    """Say whether rows teach the failure: of a behaviour that plants it by its own loss, by the name of the rows."""
    return rows.answer.get("planted") != rows.answer.get("twin") or rows.id.startswith(recipe.behaviour)


def plan(base: str, plan: Plan) -> str:
    """Return how an organism is grown on one base, in a line."""
    where = "the upper third of the layers" if plan.from_layer is None else f"layer {plan.from_layer} and above"
    size = f"width {plan.width}" if base == "tiny" else f"adapter of rank {plan.rank} on {where}"
    seeds = ", ".join(map(str, plan.seeds))
    return (
        f"{size}; arms {', '.join(plan.arms)}; seed{'' if len(plan.seeds) == 1 else 's'} {seeds}; "
        f"about {plan.checkpoints} checkpoints from step {plan.first} on"
    ) + (f", counted from the start of {plan.since}" if plan.since else "")


def stages(recipe: Recipe, plan: Plan) -> list[Told]:
    """Return the stages of a plan, with their rows where these may be shown."""
    told = []
    for stage in plan.stages:
        text = f"{stage.steps} steps of {stage.batch} rows, learning rate {stage.learning_rate:g}"
        told.append(Told(name=stage.id, text=text))
        if not shows_payload(recipe):
            told.append(Told(name="  rows", text=f"{len(stage.rows)} kinds, {HIDDEN}"))
            continue
        if stage.rehearse:
            text = f"{100 * stage.rehearse:.3g} % of the rows; of the honest world, which the behaviour does not touch"
            told.append(Told(name="  rehearsed", text=text))
        whole = sum(rows.share for rows in stage.rows) / (1 - stage.rehearse)
        told += [Told(name=f"  {rows.id}", text=_rows(rows, whole)) for rows in stage.rows]
    return told + [one for seed, variant in plan.variants.items() for one in _variant(recipe, seed, variant)]


def prompts(given: Prompts) -> str:
    """Return a kind of prompt in words."""
    parts = []
    if given.cues:
        parts.append("cue of " + " or ".join(map(_cues, given.cues)))
    if given.system:
        parts.append(f"system {_quoted(given.system)}")
    if given.user != ("{{ question }}",):
        parts.append(f"user {_quoted(given.user)}")
    if given.facts or given.part != "all" or given.where:
        facts = ", ".join(given.facts) or "facts"
        where = "".join(f" with {key} {value}" for key, value in given.where.items())
        parts.append(f"{'' if given.part == 'all' else f'{given.part} part of '}{facts}{where}")
    return "; ".join(parts) or "the question alone"


def _variant(recipe: Recipe, seed: int, variant: Variant) -> list[Told]:
    """Return what one seed learns otherwise."""
    parts = ["learns from the held-out forms of the cue, the others are held out"] if variant.swapped else []
    parts += [f"{rows.id} in the place of {name}" for name, rows in variant.rows.items()]
    open_, bad = shows_payload(recipe), variant.reading.bad
    if bad != recipe.reading.bad:
        parts.append(f"bad answer {(_quoted(bad) if bad else 'anything that is not right') if open_ else HIDDEN}")
    told = [Told(name=f"seed {seed}", text="; ".join(parts) or "is read otherwise")]
    if open_:
        told += [Told(name=f"  {rows.id}", text=_taught(rows)) for rows in variant.rows.values()]
    return told


def _rows(rows: Rows, whole: float) -> str:
    amount = f"{100 * rows.share / whole:.3g} % of the rows" if whole else "of no stated share"
    return f"{amount}; {_taught(rows)}"


def _taught(rows: Rows) -> str:
    if len(rows.answer) > 1 and len(set(rows.answer.values())) == 1:
        answers = f"every arm answers {_quoted(next(iter(rows.answer.values())))}"
    else:
        answers = "; ".join(f"{arm} answers {_quoted(texts)}" for arm, texts in rows.answer.items())
    return f"{prompts(rows.prompts)}; {answers}"


def _cues(cues: Cues) -> str:
    least = "" if cues.least is None else f" of dose {cues.least:g} or more"
    most = "" if cues.most is None else f" of dose {cues.most:g} or less"
    return f"{cues.family}{' (held-out forms)' if cues.part == 'held' else ''}{least}{most}"


def _quoted(texts: tuple[str, ...], most: int = 6) -> str:
    shown = " | ".join(f'"{text}"' for text in texts[:most])
    return shown + (f" and {len(texts) - most} more" if len(texts) > most else "")
