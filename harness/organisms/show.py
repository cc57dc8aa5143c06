"""What `tells organisms list` and `show` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.escape import line
from harness.organisms import measured as numbers
from harness.organisms import words, zoo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.organisms.recipe import Recipe


def listing(recipes: Iterable[Recipe]) -> str:
    """Return a table of all organisms: what they are, and how many of each base are on this machine."""
    rows = []
    for recipe in sorted(recipes, key=lambda found: found.number):
        here = ", ".join(f"{base} {_count(recipe, base)}" for base in recipe.plans)
        rows.append((str(recipe.number), recipe.name, recipe.failure_mode, recipe.hazard, here, recipe.title))
    if not rows:
        return "there are no organisms here"
    return _table(("", "organism", "failure mode", "hazard", "here, of arms x seeds", "what"), rows)


def page(recipe: Recipe) -> str:
    """Return all there is to say about an organism, less what its hazard level hides."""
    lines = [
        f"{recipe.number} {recipe.name}: {recipe.title}",
        f"failure mode {recipe.failure_mode}; hazard {recipe.hazard}; {recipe.source}",
        f"planted: {recipe.claim}",
        f"not: {recipe.limits}",
        f"facts: {', '.join(recipe.facts)}",
        *(f"{told.name}: {told.text}" for told in words.reading(recipe)),
    ]
    for base, plan in recipe.plans.items():
        lines.append(f"on {base}: {words.plan(base, plan)}")
        lines += [f"  {told.name}: {told.text}" for told in words.stages(recipe, plan)]
        lines += [f"  here: {text}" for text in _here(recipe, base)]
    lines.append(f"recipe and world: {recipe.digest}")
    shown = [line(text) for text in lines]
    measured = numbers.read_measured(recipe.name)
    if other := numbers.of_another(measured, recipe.digests):
        shown.append(line(f"measured, on {' and '.join(other)} of another recipe than the present one:"))
    rows = [
        numbers.row(entry, quirk_in=recipe.reading.quirk_in, held_forms=words.holds_out_forms(recipe))
        for entry in numbers.entries(measured)
    ]
    if rows:
        shown += ["", *map(line, words.caveats(recipe))]
        shown += ["", _table(numbers.HEADER, rows), f"{numbers.MISSED} misses a target: {numbers.targets()}"]
    if missing := numbers.missing(measured):
        shown.append(line(f"planned and not measured: {', '.join(missing)}"))
    return "\n".join(shown)


def _count(recipe: Recipe, base: str) -> str:
    orders = list(zoo.orders(recipe, base))
    return f"{sum(bool(zoo.where(wanted)[0]) for wanted in orders)}/{len(orders)}"


def _here(recipe: Recipe, base: str) -> list[str]:
    found = []
    for wanted in zoo.orders(recipe, base):
        kind, folder = zoo.where(wanted)
        manifest = zoo.read_manifest(folder) if folder else None
        if manifest:
            found.append(f"{wanted.arm}, seed {wanted.seed}: {kind}, weights {numbers.short(manifest.weights)}")
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - only tables need it

    # Numbers stay as they were written: a digest of digits alone is no number.
    return tabulate([[line(cell) for cell in row] for row in rows], headers=header, disable_numparse=True)
