"""Gather what was built into the repository: `python -m harness.organisms.publish [NAME ...]`.

For whoever releases organisms. Writes `measured.json` and `card.md` of each recipe from the builds in the cache, and
copies one seed of each shipped base beside it. Builds that are missing are named; what is there is written all the
same.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from harness.engines.digests import write_atomically
from harness.organisms import spec as specs
from harness.organisms import zoo
from harness.organisms.lead import from_step, geometric_mean, leads
from harness.organisms.measured import MEASURED_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.organisms.recipe import Order, Recipe

DIGITS = 5
"""Significant digits of numbers in the table that is published: the builds keep all, and files stay small."""
_LEAD_POINTS = 25
"""Checkpoints that a curve needs for an onset to mean anything."""


def gather(recipe: Recipe) -> tuple[dict[str, Any], list[str]]:
    """Return what was measured of all builds of a recipe, and the SPECs of those that are not there.

    Raises:
        ModelRefused: a build is damaged.
    """
    entries, missing = [], []
    for base in recipe.plans:
        for wanted in zoo.orders(recipe, base):
            built = zoo.find(wanted)
            if built is None:
                missing.append(str(wanted))
                continue
            entries.append(json.loads((built.folder / MEASURED_FILE).read_text(encoding="utf-8")))
    found: dict[str, Any] = {"organism": recipe.name, "recipe": dict(recipe.digests), "entries": entries}
    if lead := lead_of(entries):
        found["lead"] = lead
    return found, missing


def lead_of(entries: Sequence[dict[str, Any]], base: str = "tiny") -> dict[str, Any]:
    """Return the lead of log-probs over behaviour by seed; empty where curves are too short or show no onset."""
    fine = [entry for entry in entries if entry["base"] == base and _shows_onsets(entry)]
    if not fine:
        return {}
    curves = {
        arm: {entry["seed"]: entry["curve"] for entry in fine if entry["arm"] == arm} for arm in ("planted", "twin")
    }
    # The same in every entry of a recipe and a base.
    since, order = _counted(fine[0])
    seeds = leads(curves["planted"], curves["twin"], since=since, order=order)
    factors = [found["factor"] for found in seeds if found["factor"]]
    if not seeds:
        return {}
    return {
        "since": since,
        "order": order,
        "seeds": seeds,
        "factor": geometric_mean(factors),
        "led": sum(factor > 1 for factor in factors),
        "quiet_twins": sum(found["twin_quiet"] for found in seeds),
        "of": len(seeds),
    }


def _shows_onsets(entry: dict[str, Any]) -> bool:
    since, order = _counted(entry)
    curve = from_step(entry["curve"], since)
    needs = {"shift", "plain_p_bad", "plain_rate"} if order == "gap" else {"shift"}
    return len(curve) >= _LEAD_POINTS and needs <= curve[0].keys()


def _counted(entry: dict[str, Any]) -> tuple[int, Order]:
    """Return the step that the curve of an entry counts from, and what its behaviour is."""
    return entry.get("since", 0), entry.get("order", "probability")


def ship(recipe: Recipe) -> list[str]:
    """Copy the first seed of each shipped base beside the recipe; return the SPECs that are not there.

    A base is shipped with all its arms or not at all: a planted arm without its controls shows nothing.
    """
    missing = []
    for base in recipe.shipped:
        first = recipe.plans[base].seeds[0]
        wanted = [order for order in zoo.orders(recipe, base) if order.seed == first]
        places = {order: zoo.where(order)[0] for order in wanted}
        absent = [str(order) for order, place in places.items() if not place]
        missing += absent
        for order, place in places.items():
            if place != "shipped" and not absent:
                shutil.rmtree(order.shipped, ignore_errors=True)
                shutil.copytree(order.cached, order.shipped)
                zoo.check(order.shipped, order)
    return missing


def rounded(data: Any) -> Any:
    """Return JSON data with every number that is not whole to `DIGITS` significant digits."""
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [rounded(value) for value in data]
    return float(f"{data:.{DIGITS}g}") if isinstance(data, float) else data


def main(names: Sequence[str]) -> int:
    """Publish the named organisms, or all."""
    from harness.organisms.cards import write_card  # noqa: PLC0415 - brings the template engine

    for name in names or specs.names():
        recipe = zoo.recipe(name)
        found, missing = gather(recipe)
        folder = specs.RECIPES / name
        table = json.dumps(rounded(found), separators=(",", ":"), allow_nan=False) + "\n"
        write_atomically(folder / MEASURED_FILE, table.encode())
        (folder / MEASURED_FILE).chmod(0o644)
        missing += ship(recipe)
        write_card(recipe)
        sys.stdout.write(
            f"{name}: {len(found['entries'])} measured, missing: {', '.join(sorted(set(missing))) or 'none'}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
