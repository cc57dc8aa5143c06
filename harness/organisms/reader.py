"""`recipe.yaml` to a `Recipe`: strict, with every problem at its line and column, all at once.

The route is that of case files: the loader's `reader` and `validate`, then `checks` and `prompts` of this room.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from harness import canonical
from harness.case import FAILURE_MODES
from harness.errors import CaseFileError
from harness.loader.draft import Draft
from harness.loader.files import read_inside
from harness.loader.reader import MAX_BYTES, read_yaml
from harness.loader.schema import expected_types, load
from harness.loader.validate import validate
from harness.organisms import spec as specs
from harness.organisms.checks import NOT_RIGHT, answers_of, check
from harness.organisms.prompts import Setting, prompts_of, texts
from harness.organisms.recipe import READINGS, VERSION, Plan, Reading, Recipe, Rows, Stage, Variant
from harness.organisms.world import honest_digest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FAILURES", "load_recipe", "schema"]

FAILURES = tuple(sorted({*FAILURE_MODES, "none", "unfaithful-explanation"}))
"""What an organism may be planted with: the failures that suites look for and a few more; `none` is a control."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of recipes, a copy of `recipe.schema.json`."""
    return copy.deepcopy(load("recipe"))


def load_recipe(path: Path, root: Path) -> Recipe:
    """Return the recipe in the file `path`.

    Args:
        path: the file, below `root` or among those that come with the package.
        root: the project's root; world files are looked up below it, and in the packaged world.

    Raises:
        CaseFileError: the file cannot be used; all its problems, each with line and column.
    """
    root = root.resolve()
    name, data = read_inside(path, root, MAX_BYTES, specs.RECIPES)
    report = read_yaml(data, name, lambda place: expected_types("recipe", place), "organism")
    validate(report, "recipe")
    setting = Setting(Draft(report=report, root=root))
    if isinstance(report.data, dict):
        _folder(setting, path.absolute().parent.name)
        check(setting)
    if report.problems:
        raise CaseFileError((*report.problems, *dict.fromkeys(setting.draft.elsewhere)))
    # World files by name and not by path: an installed package keeps them elsewhere than a checkout.
    world = {**setting.digests, "honest": honest_digest(setting.world)}
    digest = canonical.digest({"version": VERSION, "recipe": canonical.digest(data), "world": world})
    return _recipe(report.data, name, digest, _digests(report.data, world))


def _digests(data: dict[str, Any], world: dict[str, str]) -> dict[str, str]:
    """Return the digest of each base's builds: of what is drawn, learnt and read, not of titles, claims and seeds."""
    common = {key: data.get(key) for key in ("organism", "behaviour", "options", "facts", "reading")}
    common |= {"version": VERSION, "readings": READINGS, "world": world}
    found = {}
    for base, plan in data["plans"].items():
        kept = {key: value for key, value in plan.items() if key not in ("seeds", "arms")}
        # The order of row kinds decides what is drawn, and a mapping in canonical JSON has none.
        stages = plan.get("stages", ())
        kept["stages"] = [{**stage, "rows": [list(pair) for pair in stage.get("rows", {}).items()]} for stage in stages]
        taken = {name for stage in stages for name in stage.get("rows", {})}
        taken |= {name for own in plan.get("variants", {}).values() for name in own.get("rows", {}).values()}
        rows = {name: data["rows"][name] for name in sorted(taken)}
        found[base] = canonical.digest({**common, "plan": kept, "rows": rows})
    return found


def _folder(setting: Setting, folder: str) -> None:
    report = setting.draft.report
    name = report.data.get("organism")
    if report.clean("organism") and name is not None and name != folder:
        message = f"the folder is called {folder} and the organism {name}; make them one"
        report.add(("organism",), message)


def _recipe(data: dict[str, Any], path: str, digest: str, digests: dict[str, str]) -> Recipe:
    options = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.get("options", {}).items()
    }
    reading = _reading(data["reading"])
    return Recipe(
        name=data["organism"], number=int(data["number"]), title=data["title"], failure_mode=data["failure_mode"],
        hazard=data["hazard"], source=data["source"], claim=data["claim"], limits=data["limits"],
        behaviour=data["behaviour"], options=options, facts=texts(data["facts"]), reading=reading,
        plans={base: _plan(plan, data.get("rows", {}), reading) for base, plan in data["plans"].items()},
        shipped=tuple(data.get("shipped", ())), path=path, digest=digest, digests=digests,
    )  # fmt: skip


def _reading(raw: dict[str, Any]) -> Reading:
    given: dict[str, Any] = {key: texts(raw[key]) for key in ("good", "quirk") if key in raw}
    return Reading(
        cued=prompts_of(raw["cued"]), plain=prompts_of(raw["plain"]),
        bad=tuple(text for text in texts(raw["bad"]) if text != NOT_RIGHT),
        quirk_in=raw.get("quirk_in", "cued"), order=raw.get("order", "probability"), **given,
    )  # fmt: skip


def _plan(raw: dict[str, Any], kinds: dict[str, Any], reading: Reading) -> Plan:
    numbers = ("width", "rank", "from_layer", "checkpoints", "first")
    given: dict[str, Any] = {key: int(raw[key]) for key in numbers if key in raw}
    if "seeds" in raw:
        given["seeds"] = tuple(map(int, raw["seeds"]))
    if "arms" in raw:
        given["arms"] = tuple(raw["arms"])
    if "since" in raw:
        given["since"] = raw["since"]
    if "facts" in raw:
        given["facts"] = tuple(raw["facts"])
    given["variants"] = {int(seed): _variant(own, kinds, reading) for seed, own in raw.get("variants", {}).items()}
    return Plan(stages=tuple(_stage(stage, kinds) for stage in raw.get("stages", ())), **given)


def _variant(raw: dict[str, Any], kinds: dict[str, Any], reading: Reading) -> Variant:
    return Variant(
        rows={name: _rows(other, kinds) for name, other in raw.get("rows", {}).items()},
        reading=_reading(raw["reading"]) if "reading" in raw else reading, swapped=raw.get("swapped", False),
    )  # fmt: skip


def _rows(name: str, kinds: dict[str, Any], share: float = 0.0) -> Rows:
    kind = kinds[name]
    return Rows(id=name, prompts=prompts_of(kind), answer=answers_of(kind["answer"]), share=share)


def _stage(raw: dict[str, Any], kinds: dict[str, Any]) -> Stage:
    rows = tuple(_rows(name, kinds, float(share)) for name, share in raw.get("rows", {}).items())
    given: dict[str, Any] = {"batch": int(raw["batch"])} if "batch" in raw else {}
    if "rehearse" in raw:
        given["rehearse"] = float(raw["rehearse"])
    return Stage(id=raw["id"], steps=int(raw["steps"]), rows=rows, learning_rate=float(raw["learning_rate"]), **given)
