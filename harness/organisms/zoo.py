"""Where organisms lie, and what a folder must hold to be one.

    RECIPES/NAME/BASE/ARM                         shipped: one seed, the end of training
    CACHE/organisms/NAME-DIGEST/BASE/ARM-SEED     built here; DIGEST is the recipe's
    CACHE/organisms/NAME-DIGEST/BASE/ARM-SEED-step-N

A folder holds a whole model (base `tiny`) or an adapter of peft (base `smollm2`), and a manifest that names every file
with its digest. The manifest is written last and the folder is made under another name, so that a build which is
interrupted leaves nothing that loads. A folder whose manifest is missing, or is of another recipe, is no organism.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.canonical import canonical_json
from harness.engines.digests import cache_dir, file_digest, locked, sync_folder, write_atomically
from harness.errors import ModelRefused, ModelUnavailable, SpecError
from harness.organisms import spec as specs
from harness.organisms.building import Builder, Quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.organisms.building import Watch
    from harness.organisms.recipe import Plan, Recipe
    from harness.organisms.spec import OrganismSpec

MANIFEST = "organism.json"
FORMAT = 1
NEEDED = {"tiny": ("config.json", "model.safetensors"), "smollm2": ("adapter_config.json", "adapter_model.safetensors")}
"""Files without which a folder cannot be what its manifest says."""
Where = Literal["shipped", "built", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One organism to be had: everything that decides its weights."""

    name: str
    arm: str
    base: str
    seed: int
    step: int | None
    """None: the end of training."""
    recipe: str
    """Digest."""

    @property
    def cached(self) -> Path:
        """Where it lies once it is built here."""
        recipe = self.recipe.removeprefix("sha256:")[:12]
        step = "" if self.step is None else f"-step-{self.step}"
        return cache_dir() / "organisms" / f"{self.name}-{recipe}" / self.base / f"{self.arm}-{self.seed}{step}"

    @property
    def shipped(self) -> Path:
        """Where it lies if it came with the project."""
        return specs.RECIPES / self.name / self.base / self.arm

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the training command is asked."""
        step = () if self.step is None else ("--step", str(self.step))
        return (self.name, "--base", self.base, "--arm", self.arm, "--seed", str(self.seed), *step)

    def __str__(self) -> str:
        """Write it as a SPEC in full."""
        step = "" if self.step is None else f"@step={self.step}"
        return f"{specs.SCHEME}:{self.name}/{self.arm}@seed={self.seed}{step}@base={self.base}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a folder says of itself."""

    order: Order
    base_weights: str
    """Digest of the weights that training began from; an adapter is of use on these alone."""
    weights: str
    """Digest over names, shapes and bytes of the tensors, however the file is laid out."""
    versions: Mapping[str, str]
    """Of the libraries that trained it."""
    files: Mapping[str, str]
    """Name -> digest, of every file but the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An organism that is there, and is what its manifest says."""

    folder: Path
    manifest: Manifest


def recipe(name: str) -> Recipe:
    """Return the recipe of an organism; it is read once per process.

    Raises:
        CaseFileError: it is not valid.
    """
    return _recipe(specs.RECIPES / name / specs.RECIPE_FILE)


def root_of(recipe: Recipe) -> Path:
    """Return the folder that the recipe's world is looked for in, before the packaged one."""
    return _root(specs.RECIPES / recipe.name)


def _root(folder: Path) -> Path:
    return folder.parents[2]


@functools.cache
def _recipe(path: Path) -> Recipe:
    from harness.organisms.reader import load_recipe  # noqa: PLC0415 - brings YAML and the schema validator

    return load_recipe(path, _root(path.parent))


def order(spec: OrganismSpec) -> Order:
    """Fill in what the user left open.

    Raises:
        SpecError: the recipe knows no such base, arm or step.
        CaseFileError: the recipe is not valid.
    """
    found = recipe(spec.name)
    plan = plan_of(found, spec.base)
    if spec.arm not in plan.arms:
        raise _unknown(spec, f"has no arm {spec.arm!r} on {spec.base}", "/" + ", /".join(plan.arms))
    last = sum(stage.steps for stage in plan.stages)
    if spec.step is not None and spec.step > last:
        raise _unknown(spec, f"has no step {spec.step} on {spec.base}", f"0 to {last}")
    step = None if spec.step == last else spec.step
    seed = plan.seeds[0] if spec.seed is None else spec.seed
    return Order(name=spec.name, arm=spec.arm, base=spec.base, seed=seed, step=step, recipe=found.digests[spec.base])


def plan_of(found: Recipe, base: str) -> Plan:
    """Return how an organism is grown on `base`.

    Raises:
        SpecError: it is not grown there.
    """
    if base not in found.plans:
        raise _unknown(specs.OrganismSpec(name=found.name, base=base), f"has no base {base!r}", ", ".join(found.plans))
    return found.plans[base]


def where(wanted: Order) -> tuple[Where, Path | None]:
    """Say where an organism is found, by its manifest alone; its files are not read."""
    if wanted.step is None and _manifest_of(wanted.shipped, wanted):
        return "shipped", wanted.shipped
    if _manifest_of(wanted.cached, wanted):
        return "built", wanted.cached
    return "", None


def find(wanted: Order) -> Built | None:
    """Return an organism that is there, shipped or built before.

    Raises:
        ModelRefused: it is there and its files are not those of its manifest.
    """
    _, folder = where(wanted)
    return None if folder is None else Built(folder=folder, manifest=check(folder, wanted))


def locate(spec: OrganismSpec, *, watch: Watch | None = None, builder: Builder | None = None) -> Built:
    """Return the organism that a SPEC names; build it if it is not there.

    Raises:
        SpecError: there is no such organism.
        As `locate_order`.
    """
    return locate_order(order(spec), watch=watch, builder=builder)


def locate_order(wanted: Order, *, watch: Watch | None = None, builder: Builder | None = None) -> Built:
    """Return an organism; build it if it is not there.

    Raises:
        UsageError: it may not be built without a review.
        ModelUnavailable: it could not be built.
        ModelRefused: it is there and its files are not those of its manifest.
    """
    found = find(wanted)
    if found is None:
        from harness.organisms.review import check_review  # noqa: PLC0415 - brings YAML

        check_review(recipe(wanted.name), wanted.base)
        (builder or Builder()).build(wanted.arguments, watch or Quiet())
        found = find(wanted)
    if found is None:
        msg = (
            f"{wanted}: the build ended well and {wanted.cached} holds no such model; expected one made from recipe "
            f"{wanted.recipe}; was the recipe changed meanwhile? build again with "
            f"`tells organisms build {' '.join(wanted.arguments)}`"
        )
        raise ModelUnavailable(msg)
    return found


def check(folder: Path, wanted: Order) -> Manifest:
    """Return the manifest of a folder after comparing every file with it.

    Raises:
        ModelRefused: it has no manifest of this organism, or a file is missing, left over or differs.
    """
    manifest = _manifest_of(folder, wanted)
    if manifest is None:
        raise _differs(folder, f"no {MANIFEST} of {wanted}")
    here = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {MANIFEST}
    if odd := sorted(here ^ manifest.files.keys()):
        raise _differs(folder, f"missing or left over: {', '.join(odd)}")
    if missing := sorted(set(NEEDED[wanted.base]) - here):
        raise _differs(folder, f"no {' and no '.join(missing)}")
    try:
        wrong = sorted(name for name, value in manifest.files.items() if file_digest(folder / name) != value)
    except OSError as error:
        raise _differs(folder, str(error)) from error
    if wrong:
        raise _differs(folder, f"other bytes than the manifest says: {', '.join(wrong)}")
    return manifest


@contextlib.contextmanager
def making(wanted: Order) -> Iterator[Path | None]:
    """Hold the right to build an organism; for the training command.

    Another process that wants the same waits here and then finds it done. The folder is moved into place at the end of
    the block, if it was sealed; otherwise, and when the block is left by an error, nothing of it stays.

    Yields:
        An empty folder to write into and to `seal`; None if the organism is there already.

    Raises:
        ModelRefused: it is there and damaged, or the new folder is not what it should be.
    """
    target = wanted.cached
    with locked(target.parent / f".{target.name}.lock"):
        if _manifest_of(target, wanted):
            check(target, wanted)
            yield None
            return
        for left in target.parent.glob(f".{target.name}.*/"):
            # Of a build that was killed: whoever holds the lock is the only one here.
            shutil.rmtree(left, ignore_errors=True)
        work = target.parent / f".{target.name}.{os.getpid()}"
        work.mkdir()
        try:
            yield work
            check(work, wanted)
            sync_folder(work)
            if target.exists():  # not a model: it has no manifest, or that of another recipe
                target.rename(work.with_name(f"{work.name}.old"))
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(work.with_name(f"{work.name}.old"), ignore_errors=True)


def seal(folder: Path, wanted: Order, *, base_weights: str, weights: str, versions: Mapping[str, str]) -> Manifest:
    """Write the manifest of a folder, as the last of its files.

    Args:
        folder: Where the model lies.
        wanted: What it is.
        base_weights: Digest of the weights that training began from; on smollm2 that of its converted tensors.
        weights: Digest of the tensors.
        versions: Of the libraries that trained it.

    Raises:
        OSError: the folder cannot be read or written.
    """
    files = {path.name: file_digest(path, fresh=True) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest = Manifest(order=wanted, base_weights=base_weights, weights=weights, versions=versions, files=files)
    data = {"format": FORMAT, **asdict(wanted), **{k: v for k, v in asdict(manifest).items() if k != "order"}}
    write_atomically(folder / MANIFEST, canonical_json(data).encode())
    (folder / MANIFEST).chmod(0o644)
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None if it has none that can be read."""
    try:
        data: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if data["format"] != FORMAT:
            return None
        step = data["step"]
        return Manifest(
            order=Order(
                **{key: str(data[key]) for key in ("name", "arm", "base", "recipe")},
                seed=int(data["seed"]),
                step=None if step is None else int(step),
            ),
            base_weights=str(data["base_weights"]),
            weights=str(data["weights"]),
            versions=dict(data["versions"]),
            files={str(name): str(value) for name, value in data["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def orders(found: Recipe, base: str) -> Iterator[Order]:
    """Yield every arm and seed of a recipe's plan; seeds of one arm first, whose bases can be grown side by side.

    Raises:
        SpecError: it is not grown on `base`.
    """
    plan = plan_of(found, base)
    first = Order(name=found.name, arm="", base=base, seed=0, step=None, recipe=found.digests[base])
    yield from (replace(first, arm=arm, seed=seed) for arm in plan.arms for seed in plan.seeds)


def _manifest_of(folder: Path, wanted: Order) -> Manifest | None:
    """Return the manifest of a folder if it is that of `wanted`."""
    manifest = read_manifest(folder)
    return manifest if manifest is not None and manifest.order == wanted else None


def _unknown(spec: OrganismSpec, what: str, known: str) -> SpecError:
    return SpecError(f"model {str(spec)!r}: {spec.name} {what}; expected one of: {known}; change the SPEC")


def _differs(folder: Path, what: str) -> ModelRefused:
    return ModelRefused(
        f"{folder}: {what}; expected the files that its {MANIFEST} names; delete the folder, it will be built anew, "
        f"or restore it where it was shipped"
    )
