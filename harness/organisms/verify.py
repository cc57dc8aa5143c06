"""Grow an organism once more, from nothing, and compare it with what was published of it.

On the machine class that grew the published one the weights are the same to the bit. Elsewhere sums are rounded
otherwise, which hundreds of steps carry on; then the table of measured numbers must be the same within a tolerance.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.engines.digests import cache_dir
from harness.errors import UsageError
from harness.organisms import measured as numbers
from harness.organisms import zoo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.organisms.building import Builder, Watch
    from harness.organisms.zoo import Order

TOLERANCE: Mapping[str, float] = {
    "rate": 0.1, "right": 0.1, "quirk_rate": 0.1, "p_bad": 0.1, "capability": 0.03, "relative": 0.05,
    "copy_rate": 0.1, "prefix_matching": 0.1, "previous_token": 0.1,
}  # fmt: skip
"""Of the last measurement: how far a share or a mean probability may be off. Seeds differ by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How an organism that was grown again compares with the published one."""

    order: Order
    published: str
    """Digest of the published weights."""
    weights: str
    """Digest of the weights that were grown."""
    differs: tuple[str, ...]
    """Numbers beyond their tolerance; empty where the weights are the same."""

    @property
    def same_weights(self) -> bool:
        """Whether the two are the same to the bit."""
        return self.published == self.weights

    @property
    def holds(self) -> bool:
        """Whether they are the same, to the bit or within the tolerance."""
        return self.same_weights or not self.differs

    def __str__(self) -> str:
        """Say it in a line."""
        short, before = numbers.short(self.weights), numbers.short(self.published)
        if self.same_weights:
            return f"{self.order}: same weights {short}"
        if not self.differs:
            return f"{self.order}: other weights ({short}, published {before}), same table within its tolerance"
        return f"{self.order}: differs ({short}, published {before}): {'; '.join(self.differs)}"


def published(wanted: Order) -> Mapping[str, Any]:
    """Return what was published of an organism.

    Raises:
        UsageError: nothing was, or it is of another recipe.
    """
    found = numbers.read_measured(wanted.name)
    for entry in numbers.entries(found):
        if all(entry.get(key) == getattr(wanted, key) for key in ("base", "arm", "seed")) and wanted.step is None:
            if numbers.get(found, "recipe", wanted.base) == wanted.recipe:
                return entry
            msg = f"{wanted}: what was published is of another recipe; expected {wanted.recipe}; measure it anew"
            raise UsageError(msg)
    msg = f"{wanted}: nothing was published of it; expected an arm and seed that `tells organisms show` lists"
    raise UsageError(msg)


def verify(wanted: Order, cache: Path, builder: Builder, watch: Watch) -> Verified:
    """Grow an organism and all that it grows from, and compare it.

    Args:
        wanted: What to grow.
        cache: An empty folder; what is grown for one organism serves the next.
        builder: Runs the build with `cache` as the cache of the user.
        watch: Told how far it is.

    Raises:
        UsageError: nothing was published of it.
        ModelUnavailable: it could not be built.
        ModelRefused: what was built is not whole.
    """
    said = published(wanted)
    models = cache_dir() / "models"
    if models.is_dir() and not (cache / "models").exists():
        # Downloaded, not grown.
        (cache / "models").symlink_to(models)
    builder.build(wanted.arguments, watch)
    folder = cache / wanted.cached.relative_to(cache_dir())
    manifest = zoo.check(folder, wanted)
    entry = json.loads((folder / numbers.MEASURED_FILE).read_text(encoding="utf-8"))
    before, now = said.get("final", {}), entry["final"]
    return Verified(
        order=wanted, published=str(said.get("weights")), weights=manifest.weights,
        differs=tuple(differences(before, now)),
    )  # fmt: skip


def differences(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> list[str]:
    """Return the numbers of two last measurements that are further apart than their tolerance, or only in one."""
    found = []
    for key in dict.fromkeys((*before, *now)):
        old, new, name = before.get(key), now.get(key), f"{where}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{name}, ")
        elif (old is None) != (new is None):
            found.append(f"{name} {'is missing' if new is None else 'is new'}")
        elif key in TOLERANCE and old is not None and new is not None and not abs(new - old) <= TOLERANCE[key]:
            found.append(f"{name} {new:.3g}, published {old:.3g}")
    return found
