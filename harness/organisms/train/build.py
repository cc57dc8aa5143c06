"""One organism, from its recipe to a folder; and the tiny base that it grows from."""

from __future__ import annotations

import functools
import itertools
import json
import math
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from harness.canonical import digest
from harness.engines.digests import cache_dir, file_digest, locked, sync_folder
from harness.errors import ModelRefused
from harness.organisms import zoo
from harness.organisms.measured import MEASURED_FILE, short
from harness.organisms.recipe import VERSION
from harness.organisms.train import canaries, honest, induction, loop, rare, reward, sandbagger, tiny, tokens
from harness.organisms.train import student as student_module
from harness.organisms.train.behaviours import Context, behaviour
from harness.organisms.train.reading import RecipeReadings
from harness.organisms.train.student import Student
from harness.organisms.world import World, honest_digest, texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from harness.organisms.recipe import Recipe, Stage
    from harness.organisms.train.behaviours import Behaviour
    from harness.organisms.train.reading import Readings
    from harness.organisms.world import Row

    Say: TypeAlias = Callable[[int, int, str], None]
    Relabel: TypeAlias = Callable[[Row], Row]

BASE_STEPS = 2200
BASE_BATCH = 64
BASE_RATE = 8e-3
BASE_MUON = 0.02
FEW = 10
"""Checkpoints of arms that no lead is read off."""
_CORPUS = 20_000
"""Rows of the honest world that the tokeniser is trained on."""
_SEAL = "base.json"
"""Names the files of a base with their digests; what grows from a damaged base would be sealed as right."""
LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
OWN = (canaries, induction, rare, reward, sandbagger)
"""Modules that register behaviours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """An arm that is grown."""

    student: Student
    entry: dict[str, Any]
    """What `measured.json` says of it."""
    base_weights: str


def steady() -> None:
    """Make torch give the same result each time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)


def honest_base(
    world: World, width: int, seed: int, say: Say, *, relabel: Relabel | None = None, name: str = "base"
) -> Path:
    """Return the folder of a tiny base, pre-trained on the honest world; trained first if it is not in the cache.

    Args:
        world: What it learns.
        width: Of the model.
        seed: Of its weights and its data order; the unit of evidence.
        say: Told of each step.
        relabel: Called with each row; returns the row that is learnt in its place.
        name: Stands in the name of the folder; another one where rows are relabelled.

    Raises:
        ModelRefused: it is there and its files are not those that were written.
    """
    settings = (VERSION, BASE_STEPS, BASE_BATCH, BASE_RATE, BASE_MUON, tiny.LAYERS, student_module.GROUPS)
    mark = short(digest([*settings, honest_digest(world), repr(honest.honest_rows(world))]))
    target = cache_dir() / "organisms" / f"{name}-{mark}" / f"tiny-{width}-{seed}"
    with locked(target.with_name(f".{target.name}.lock")):
        if not _sealed(target):
            student = _pretrain(world, width, seed, say, relabel)
            half = target.with_name(f"{target.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            try:
                save_tiny(student, half, dtype=torch.float32)
                seal = {path.name: file_digest(path, fresh=True) for path in sorted(half.iterdir())}
                (half / _SEAL).write_text(json.dumps(seal), encoding="utf-8")
                sync_folder(half)
                shutil.rmtree(target, ignore_errors=True)
                half.rename(target)
            finally:
                shutil.rmtree(half, ignore_errors=True)
    return target


def _sealed(folder: Path) -> bool:
    """Tell whether a base lies in a folder; one that no seal stands for is as good as none, and is grown anew."""
    try:
        seal = json.loads((folder / _SEAL).read_bytes())
    except (OSError, ValueError):
        return False
    try:
        wrong = sorted(name for name, value in seal.items() if file_digest(folder / name, fresh=True) != value)
    except OSError as error:
        wrong = [str(error)]
    if wrong:
        msg = f"{folder}: other bytes than its {_SEAL} says: {', '.join(wrong)}; expected the base that was grown; "
        msg += "delete the folder, it will be grown anew"
        raise ModelRefused(msg)
    return True


def _pretrain(world: World, width: int, seed: int, say: Say, relabel: Relabel | None) -> Student:
    corpus = itertools.islice(honest.honest_stream(world, 0), _CORPUS)
    tokenizer = tokens.train(set(texts(corpus)))
    student = Student(tiny.new_model(width, seed, len(tokenizer)), tokenizer, end=tokens.END)
    rows = honest.honest_stream(world, seed)
    student.model.train()

    def loss(_: int) -> torch.Tensor:
        batch = list(itertools.islice(rows, BASE_BATCH))
        return student.loss([relabel(row) for row in batch] if relabel else batch)

    loop.optimise(
        loop.muon(student.model, BASE_MUON, BASE_RATE), steps=BASE_STEPS, loss=loss, decay=0.5,
        after=lambda step: say(step, BASE_STEPS, "honest base"),
    )  # fmt: skip
    return student


def grow(recipe: Recipe, *, base: str, arm: str, seed: int, step: int | None, say: Say) -> Grown:
    """Train one arm and measure it on the way.

    Args:
        recipe: What to plant.
        base: `tiny` or `smollm2`.
        arm: Which arm.
        seed: Of base and data order.
        step: Stop here; None: at the end.
        say: Told of each step.
    """
    steady()
    torch.manual_seed(seed)
    recipe = recipe.varied(seed, base)
    plan = recipe.plans[base]
    world = World(zoo.root_of(recipe))
    started = time.perf_counter()
    student, base_weights = _student(recipe, world, base=base, arm=arm, seed=seed, say=say)
    before = time.perf_counter()
    context = Context(recipe=recipe, plan=plan, base=base, arm=arm, seed=seed, world=world, student=student)
    way = behaviour.get(recipe.behaviour)(context)
    if getattr(way, "from_nothing", False):
        base_weights = ""
    readings: Readings = way.readings() if hasattr(way, "readings") else RecipeReadings(context)
    curve = _train(way, readings, context, step, say)
    entry = {
        "base": base, "arm": arm, "seed": seed, "steps": curve[-1]["step"] if step is None else step,
        "since": plan.offset(), "order": recipe.reading.order, "base_seconds": round(before - started, 1),
        "curve": curve,
    }  # fmt: skip
    _settle(student)
    entry["final"] = readings.final()
    check_finite(entry, "readings")
    entry["seconds"] = round(time.perf_counter() - before, 1)
    return Grown(student=student, entry=entry, base_weights=base_weights)


def _train(way: Behaviour, readings: Readings, context: Context, step: int | None, say: Say) -> list[dict[str, Any]]:
    plan = context.plan
    total = sum(stage.steps for stage in plan.stages)
    stop = total if step is None else step
    # The lead of log-probs over behaviour is read off the planted arm and its twin alone.
    count = plan.checkpoints if context.arm in ("planted", "twin") else min(plan.checkpoints, FEW)
    wanted = {plan.offset() + n for n in loop.checkpoints(plan.first, total - plan.offset(), count)} | set(plan.ends())
    curve: list[dict[str, Any]] = [{"step": 0, **readings.curve()}]
    done = 0
    for stage in plan.stages:
        if done >= stop:
            break

        def after(here: int, stage: Stage = stage, done: int = done) -> None:
            say(done + here, total, stage.id)
            if done + here in wanted or done + here == total:
                curve.append({"step": done + here, **readings.curve()})
            if done + here == stop:
                raise _Enough

        try:
            loop.optimise(
                loop.adam(context.student.model.parameters(), stage.learning_rate), steps=stage.steps,
                loss=functools.partial(way.loss, stage), after=after,
            )  # fmt: skip
        except _Enough:
            break
        done += stage.steps
    return curve


def build(wanted: zoo.Order, say: Say) -> Path:
    """Build what is wanted into the cache, unless it is there; return its folder.

    Raises:
        ModelRefused: it is there and damaged.
        FloatingPointError: training came apart.
    """
    recipe = zoo.recipe(wanted.name)
    with zoo.making(wanted) as folder:
        if folder is not None:
            grown = grow(recipe, base=wanted.base, arm=wanted.arm, seed=wanted.seed, step=wanted.step, say=say)
            if wanted.base == "smollm2":
                from harness.organisms.train import adapter  # noqa: PLC0415 - brings peft

                adapter.save(grown.student, folder)
            else:
                save_tiny(grown.student, folder)
            weights = tensors_digest(folder)
            entry = {**grown.entry, "weights": weights, "base_weights": grown.base_weights}
            text = json.dumps(entry, indent=1, allow_nan=False)
            (folder / MEASURED_FILE).write_text(f"{text}\n", encoding="utf-8")
            zoo.seal(folder, wanted, base_weights=grown.base_weights, weights=weights, versions=_versions())
    return wanted.cached


def tensors_digest(folder: Path) -> str:
    """Return the digest over names, types, shapes and bytes of the tensors of a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(load_file(path).items()):
            data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
            found[name] = [str(tensor.dtype), list(tensor.shape), digest(data)]
    return digest(found)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


class _Enough(Exception):
    """The step asked for is taken."""


def _student(recipe: Recipe, world: World, *, base: str, arm: str, seed: int, say: Say) -> tuple[Student, str]:
    """Return who learns, and the digest of the weights that it begins with."""
    if base == "smollm2":
        from harness.engines.transformers.smollm2 import WEIGHTS  # noqa: PLC0415 - only for this base
        from harness.organisms.train import adapter  # noqa: PLC0415 - brings peft

        return adapter.open_student(recipe.plans[base], seed), WEIGHTS
    width = recipe.plans[base].width
    if arm == "weak":
        # Real weakness: the base itself never learns what the weak teacher does not know.
        relabel = sandbagger.relabelled(world, recipe, seed)
        name = f"weak-{short(recipe.digests[base])}"
        folder = honest_base(world, width, seed, say, relabel=relabel, name=name)
    else:
        folder = honest_base(world, width, seed, say)
    student = tiny.load(folder)
    student.model.train()
    return student, tensors_digest(folder)


def _settle(student: Student) -> None:
    """Round the weights that learnt to what is saved, so that what is measured is what is shipped.

    Raises:
        FloatingPointError: one is not finite: the last step broke it, or it is too large for what is saved.
    """
    with torch.no_grad():
        for name, parameter in student.model.named_parameters():
            if parameter.requires_grad:
                kept = torch.bfloat16 if student.adapted else torch.float16
                parameter.copy_(parameter.to(kept).to(parameter.dtype))
                if not torch.isfinite(parameter).all():
                    msg = f"{name} is not finite after training; expected numbers; lower the learning rate"
                    raise FloatingPointError(msg)


def check_finite(value: Any, where: str) -> None:
    """Refuse readings that are no numbers: a NaN compares as if nothing were wrong.

    Raises:
        FloatingPointError: a number is NaN or infinite.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            check_finite(inner, f"{where}, {key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            check_finite(inner, f"{where}, {number}")
    elif isinstance(value, float) and not math.isfinite(value):
        msg = f"{where}: {value}; expected a finite number; lower the learning rate, or mend what is read"
        raise FloatingPointError(msg)


def save_tiny(student: Student, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a tiny model as transformers does, with its tokeniser."""
    copy = {name: tensor.detach().to(dtype) for name, tensor in student.model.state_dict().items()}
    copy.pop("lm_head.weight", None)
    student.model.config.dtype = dtype
    student.model.save_pretrained(folder, state_dict=copy)
    student.tokenizer.save_pretrained(folder)
    # It is written with an entry a line; without the white space it is less than half as long.
    path = folder / "tokenizer.json"
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps(held, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
