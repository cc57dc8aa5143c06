"""Grow an organism once more, from nothing, and compare it with what was published of it.

On the machine class that grew the published one the weights are the same to the bit, and so must be every number, of
the curve as of the last measurement. Elsewhere sums are rounded otherwise, which hundreds of steps carry on; then the
last measurement must be the same within a tolerance.
"""

from __future__ import annotations

import contextlib
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
    "rate": 0.1, "right": 0.1, "quirk_rate": 0.1, "p_bad": 0.1, "capability": 0.03, "relative": 0.05, "mean_p": 0.1,
    "max_p": 0.1, "slope": 0.1, "r": 0.1, "exposure_bits": 2.0, "copy_rate": 0.1, "prefix_matching": 0.1,
    "previous_token": 0.1, "base_capability": 0.03, "true_graded": 0.1, "true_ungraded": 0.1, "proxy_graded": 0.5,
    "proxy_ungraded": 0.5,
}  # fmt: skip
"""Of the last measurement: how far a number may be off. Seeds differ by as much."""
BESIDE = frozenset({
    "n", "repeats", "greedy", "prompts", "period", "length", "icl_positions",
    "margin", "logprob", "p_bad_max", "log10_p_over_q", "mean", "sd", "max", "max_q", "intercept", "rmse", "bias",
    "copy_loss", "new_loss", "icl", "uniform_loss",
})  # fmt: skip
"""Numbers that are not compared: counts, and what is in nats or of single prompts and says again, with more noise, what
those above say."""
PROBABILITIES = ("p_bad", "mean_p", "max_p")
"""Also within a factor of `FACTOR`: a twin's 1e-28 and 0.09 are not the same because they are less than 0.1 apart."""
FACTOR, NOTHING = 10.0, 1e-4
"""Probabilities that are both below the second are both nothing."""


_READINGS = ("steps", "since", "order", "curve", "final")
_SHOWN = 12
"""Differences that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How an organism that was grown again compares with the published one."""

    order: Order
    published: str
    """Digest of the published weights."""
    weights: str
    """Digest of the weights that were grown."""
    differs: tuple[str, ...]
    """Numbers beyond their tolerance."""

    @property
    def same_weights(self) -> bool:
        """Whether the two are the same to the bit."""
        return self.published == self.weights

    @property
    def holds(self) -> bool:
        """Whether the numbers are the same, with other weights within the tolerance."""
        return not self.differs

    def __str__(self) -> str:
        """Say it in a line."""
        short, before = numbers.short(self.weights), numbers.short(self.published)
        weights = f"same weights {short}" if self.same_weights else f"other weights ({short}, published {before})"
        if self.differs:
            more = [f"and {len(self.differs) - _SHOWN} more"] if len(self.differs) > _SHOWN else []
            return f"{self.order}: {weights}, the table differs: {'; '.join([*self.differs[:_SHOWN], *more])}"
        return f"{self.order}: {weights}" + ("" if self.same_weights else ", same table within its tolerance")


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
        # Downloaded, not grown. Another thread may have been faster.
        with contextlib.suppress(FileExistsError):
            (cache / "models").symlink_to(models)
    builder.build(wanted.arguments, watch)
    folder = cache / wanted.cached.relative_to(cache_dir())
    manifest = zoo.check(folder, wanted)
    entry = json.loads((folder / numbers.MEASURED_FILE).read_text(encoding="utf-8"))
    if manifest.weights == said.get("weights"):
        differs = changes(said, numbers.rounded(entry))
    else:
        differs = differences(said.get("final", {}), entry["final"])
    return Verified(order=wanted, published=str(said.get("weights")), weights=manifest.weights, differs=tuple(differs))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the readings of the same weights that differ at all; times are no readings."""
    said, read = ({key: entry.get(key) for key in _READINGS} for entry in (before, now))
    return differences(said, read, exact=True)


def differences(before: Any, now: Any, where: str = "", *, exact: bool = False) -> list[str]:
    """Return the numbers of two measurements that are further apart than their tolerance, or only in one.

    Args:
        before: What was published.
        now: What was grown.
        where: Names of what they are, outermost first.
        exact: Whether there is no tolerance, and nothing is left out.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(str(key), before.get(key), now.get(key)) for key in dict.fromkeys((*before, *now))]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(str(number), old, new) for number, (old, new) in enumerate(zip(before, now, strict=True), 1)]
    elif (before is None) != (now is None) or type(before) in {dict, list} or type(now) in {dict, list}:
        return [f"{where} {'is missing' if now is None else 'is new' if before is None else 'has another shape'}"]
    elif exact:
        return [] if before == now else [f"{where} {now}, published {before}"]
    else:
        # Of what stands in a list of numbers, the name is that of the list.
        key = next((part for part in reversed(where.split(", ")) if not part.isdigit()), "")
        if key in BESIDE or not isinstance(before, int | float) or not isinstance(now, int | float):
            return []
        if key not in TOLERANCE:
            return [f"{where} has no tolerance"]
        return [f"{where} {now:.3g}, published {before:.3g}"] if _apart(key, before, now) else []
    return [
        found
        for key, old, new in pairs
        for found in differences(old, new, f"{where}, {key}" if where else key, exact=exact)
    ]


def _apart(key: str, before: float, now: float) -> bool:
    near = abs(now - before) <= TOLERANCE[key]
    if key in PROBABILITIES and max(before, now) > NOTHING:
        near = near and min(before, now) * FACTOR >= max(before, now)
    return not near
