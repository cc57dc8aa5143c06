"""Restricted organisms: on the bases that the recipe names, none is built without a review by a person.

`review.yaml` beside the recipe is the record. It names the recipe by digest, so that a change of the recipe, or of the
world that it draws on, asks for another look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.organisms import spec as specs
from harness.organisms.recipe import REVIEW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.organisms.recipe import Recipe

REVIEW_FILE = "review.yaml"
KEYS = ("reviewer", "date", "reason", "recipe")


def needs_review(recipe: Recipe, base: str) -> bool:
    """Say whether a build on `base` asks for a review record."""
    given = recipe.options.get(REVIEW, ())
    return recipe.hazard == "restricted" and base in (given if isinstance(given, tuple) else (given,))


def check_review(recipe: Recipe, base: str) -> None:
    """Refuse a build that was not reviewed.

    Raises:
        UsageError: the record is missing, not whole, or of another recipe.
    """
    if not needs_review(recipe, base):
        return
    path = specs.RECIPES / recipe.name / REVIEW_FILE
    if problem := _problem(_read(recipe.name), recipe.digest):
        msg = (
            f"organism {recipe.name}: restricted, and on {base} it is built only after a review; {path}: {problem}; "
            f"expected `reviewer: NAME`, `date: YYYY-MM-DD`, `reason: WHY IT IS NEEDED` and `recipe: {recipe.digest}`; "
            f"have somebody read the recipe and write that file"
        )
        raise UsageError(msg)


def _read(name: str) -> Mapping[str, object] | str:
    """Return what the record says, or in words why it says nothing."""
    import yaml  # noqa: PLC0415 - needed for restricted organisms only

    try:
        data = yaml.safe_load((specs.RECIPES / name / REVIEW_FILE).read_bytes())
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, yaml.YAMLError, ValueError) as error:
        return f"it cannot be read ({type(error).__name__})"
    return data if isinstance(data, dict) else "it holds no mapping"


def _problem(data: Mapping[str, object] | str, digest: str) -> str:
    if isinstance(data, str):
        return data
    if unknown := sorted(map(str, data.keys() - set(KEYS))):
        return f"unknown keys: {', '.join(unknown)}"
    if empty := [key for key in KEYS if not str(data.get(key) or "").strip()]:
        return f"it says nothing under {', '.join(empty)}"
    if data["recipe"] != digest:
        return f"it reviews the recipe {data['recipe']}, the present one is another"
    return ""
