"""`card.md` of an organism: what is planted, how, what it is not, and what was measured. Written from data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.engines.digests import write_atomically
from harness.escape import markdown
from harness.organisms import measured as numbers
from harness.organisms import spec as specs
from harness.organisms import words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.organisms.recipe import Recipe

CARD_FILE = "card.md"


def render(recipe: Recipe, measured: Mapping[str, Any] | None) -> str:
    """Return the card of an organism as Markdown.

    Args:
        recipe: Of the organism.
        measured: What `measured.json` holds; None if nothing was measured.
    """
    import jinja2  # noqa: PLC0415 - only cards need it

    environment = jinja2.Environment(  # noqa: S701 - Markdown; the filter `md` escapes
        loader=jinja2.PackageLoader("harness.organisms", "."),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["md"] = markdown
    environment.filters["short"] = numbers.short
    found = numbers.entries(measured)
    return environment.get_template("card.md.j2").render(
        recipe=recipe, shows_payload=words.shows_payload(recipe), hidden=words.HIDDEN, reading=words.reading(recipe),
        plans=[(base, words.plan(base, plan), words.stages(recipe, plan)) for base, plan in recipe.plans.items()],
        header=numbers.HEADER, targets=numbers.targets(), entries=found,
        rows=[
            numbers.row(entry, quirk_in=recipe.reading.quirk_in, held_forms=words.holds_out_forms(recipe))
            for entry in found
        ], caveats=words.caveats(recipe),
        lead=numbers.lead_lines(measured), missing=numbers.missing(measured),
        other=numbers.of_another(measured, recipe.digests),
        spec=f"{specs.SCHEME}:{recipe.name}", first={base: plan.seeds[0] for base, plan in recipe.plans.items()},
    )  # fmt: skip


def write_card(recipe: Recipe) -> Path:
    """Write the card of an organism beside its recipe and return its path.

    Raises:
        UsageError: the measured numbers are not valid.
        OSError: the folder cannot be written.
    """
    path = specs.RECIPES / recipe.name / CARD_FILE
    write_atomically(path, render(recipe, numbers.read_measured(recipe.name)).encode())
    path.chmod(0o644)
    return path
