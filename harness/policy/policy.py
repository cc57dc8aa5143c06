"""Policies: which failures block, what must have been run, and how much may be missing.

A policy makes a gate stricter, or says out loud where it is not: critical checks always block, a severity can be raised
and never lowered, and an error is never cheaper than a failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from harness.case import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.case import Severity
    from harness.policy.waivers import Waiver
    from harness.record import ItemRecord

Effect = Literal["block", "warn", "report"]
DEFAULT = "default"
"""Entry of `effects` for every failure mode that has none of its own."""
USUAL: Mapping[str, Effect] = {"critical": "block", "high": "block", "medium": "report", "low": "report"}
"""Without a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many checks of one severity may be missing an answer: a count, or a share of them."""

    count: int = 0
    share: float | None = None

    def of(self, n: int) -> int:
        """Return how many of `n` checks; whatever is no number allows none."""
        if self.share is None:
            return self.count
        # As written: 0.29 of 100 is 29, and in binary floats it is 28.99.
        return math.floor(Fraction(str(self.share)) * n) if math.isfinite(self.share) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What is asked of the certificates of suites that can block."""

    level: Literal["required", "warn"]
    min_bound: float = 0.0
    """Lower bound of the sensitivity."""
    min_base_seeds: int = 1
    """Base seeds on which every planted model was caught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a release requires. The default is what the gate does without a policy."""

    effects: Mapping[str, Mapping[str, Effect]] = field(default_factory=dict)
    """Failure mode or `default` -> severity -> effect."""
    invalid: Mapping[str, Allowance] = field(default_factory=dict)
    """Severity -> how many checks that do not block may be INVALID."""
    inconclusive: Mapping[str, Allowance] = field(default_factory=dict)
    """Severity -> how many checks that block may be INCONCLUSIVE."""
    require: tuple[str, ...] = ()
    """Suite ids."""
    certificate: Certificates | None = None
    severities: Mapping[str, Severity] = field(default_factory=dict)
    """`SUITE` or `SUITE::CASE` -> severity."""
    waivers: tuple[Waiver, ...] = ()
    path: str = ""
    digest: str = ""
    """Of the policy file and its waiver files."""

    def severity(self, item: ItemRecord) -> str:
        """Return the severity of an item, raised where the policy says so and never lowered."""
        named = (self.severities.get(item.suite), self.severities.get(f"{item.suite}::{item.case}"))
        return min([item.severity, *filter(None, named)], key=rank)

    def effect(self, item: ItemRecord) -> Effect:
        """Return what a failure of an item does. What the policy has no word for blocks."""
        severity = self.severity(item)
        if severity not in SEVERITIES or severity == SEVERITIES[0]:
            return "block"
        own = self.effects.get(item.failure_mode, {})
        common = self.effects.get(DEFAULT, {})
        found = own.get(severity) or common.get(severity) or USUAL[severity]
        return found if found in {"warn", "report"} else "block"

    def blocks(self, item: ItemRecord) -> bool:
        """Tell whether a failure of an item shuts the gate."""
        return self.effect(item) == "block"


def rank(severity: str) -> float:
    """Return the place of a severity, the worst first; an unknown one is worse than all."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -math.inf
