"""Gather what was built into the repository: `python -m harness.organisms.publish [--fewer] [NAME ...]`.

For whoever releases organisms. Writes `measured.json` and `card.md` of each recipe from the builds in the cache, and
copies one seed of each shipped base beside it. Builds that are missing are named, here and in what is written, and the
exit status is 1. A table that would lose numbers of the present recipe is left alone, unless with `--fewer`.
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
from harness.organisms.measured import MEASURED_FILE, get, read_measured, rounded
from harness.organisms.measured import entries as published

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.organisms.recipe import Order, Recipe

FEWER = "--fewer"
"""Lets numbers of builds that are not there any more go."""
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
    found: dict[str, Any] = {
        "organism": recipe.name, "recipe": dict(recipe.digests), "entries": beside_twins(entries), "missing": missing,
    }  # fmt: skip
    # Of the numbers that are published, so that everybody can take it from them.
    if lead := lead_of(rounded(entries)):
        found["lead"] = lead
    return found, missing


def beside_twins(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries with `of_twin`: capability over that of the twin of the same base and seed, where there is one.

    A base that misses the form of an answer says little about what was lost: its twin has learnt that form too.
    """
    twins = {
        (entry["base"], entry["seed"]): entry["final"].get("capability") for entry in entries if entry["arm"] == "twin"
    }
    found = []
    for entry in entries:
        own, twin = entry["final"].get("capability"), twins.get((entry["base"], entry["seed"]))
        found.append(entry if own is None or not twin else {**entry, "of_twin": own / twin})
    return found


def lost(recipe: Recipe, found: dict[str, Any]) -> list[str]:
    """Return what is published of the present recipe and is not among the new numbers.

    Raises:
        UsageError: what is published cannot be read.
    """
    before = read_measured(recipe.name)
    keep = [base for base, digest in recipe.digests.items() if get(before, "recipe", base) == digest]

    def names(entries: Iterable[Mapping[str, Any]]) -> set[str]:
        kept = (entry for entry in entries if entry["base"] in keep)
        return {f"{recipe.name}/{entry['arm']}@seed={entry['seed']}@base={entry['base']}" for entry in kept}

    return sorted(names(published(before)) - names(found["entries"]))


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
        "with_both_onsets": len(factors),
        "led": sum(factor > 1 for factor in factors),
        "began_without_alarm": sum(found["behaviour"] is not None and found["shift"] is None for found in seeds),
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


def main(arguments: Sequence[str]) -> int:
    """Publish the named organisms, or all."""
    names = [name for name in arguments if name != FEWER]
    unknown = sorted(set(names) - set(specs.names()))
    if unknown:
        known = f"expected {FEWER} or some of {', '.join(specs.names())}"
        sys.stderr.write(f"there is no organism {', '.join(unknown)}; {known}; mend the name\n")
        return 2
    whole = [_publish(name, fewer=FEWER in arguments) for name in names or specs.names()]
    return 0 if all(whole) else 1


def _publish(name: str, *, fewer: bool) -> bool:
    """Write what there is of an organism; return whether that is all."""
    from harness.organisms.cards import write_card  # noqa: PLC0415 - brings the template engine

    recipe = zoo.recipe(name)
    found, missing = gather(recipe)
    if (gone := lost(recipe, found)) and not fewer:
        sys.stdout.write(f"{name}: not written, it would lose {', '.join(gone)}; build these, or add {FEWER}\n")
        return False
    path = specs.RECIPES / name / MEASURED_FILE
    table = json.dumps(rounded(found), separators=(",", ":"), allow_nan=False) + "\n"
    write_atomically(path, table.encode())
    path.chmod(0o644)
    missing = sorted({*missing, *ship(recipe)})
    write_card(recipe)
    sys.stdout.write(f"{name}: {len(found['entries'])} measured, missing: {', '.join(missing) or 'none'}\n")
    return not missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
