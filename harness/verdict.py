"""Verdicts and the numbers behind them: plain data, JSON both ways, and the one rule for combining them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Verdict(enum.StrEnum):
    """What a check says. Only PASS and WAIVED are green."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    WAIVED = "WAIVED"

    @property
    def green(self) -> bool:
        """Tell whether a gate may let it through."""
        return self in {Verdict.PASS, Verdict.WAIVED}


PRECEDENCE = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WAIVED, Verdict.PASS)
"""Worst first. A run in which something could not be measured is broken before it is failed."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of `verdicts`; of none at all, INVALID: nothing measured is not success."""
    found = set(verdicts)
    return next((verdict for verdict in PRECEDENCE if verdict in found), Verdict.INVALID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number with unit, n and interval."""

    name: str
    value: float
    unit: str
    """`share`, `nats`, `probability`, `AUROC`, `tokens`, ..."""
    n: int
    """Units of evidence behind it (scenarios unless `of` says otherwise)."""
    low: float
    """Lower confidence limit."""
    high: float
    """Upper confidence limit."""
    of: str = "scenarios"
    note: str = ""
    """`descriptive`, how the interval was made, what else must be known."""

    def __post_init__(self) -> None:
        """Refuse NaN and infinity: they are no measurement.

        Raises:
            MeasureError: a field is not finite, or the value lies outside its interval.
        """
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high)):
            msg = f"{self.name} = {self.value} [{self.low}, {self.high}] is not finite"
            raise MeasureError(msg)
        if not self.low <= self.value <= self.high:
            msg = f"{self.name} = {self.value} lies outside its own interval [{self.low}, {self.high}]"
            raise MeasureError(msg)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "n": self.n,
            "low": self.low,
            "high": self.high,
            "of": self.of,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The limit that a measurement is held against."""

    op: Literal["at_most", "at_least"]
    value: float
    unit: str
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"op": self.op, "value": self.value, "unit": self.unit, "confidence": self.confidence}

    def judge(self, low: float, high: float) -> Verdict:
        """Return PASS when the whole of [low, high] keeps the bound, FAIL when none of it does, else INCONCLUSIVE.

        `low` and `high` are one-sided limits at `confidence`. A limit that is not a number is INVALID.
        """
        if math.isnan(low) or math.isnan(high) or math.isnan(self.value) or low > high:
            return Verdict.INVALID
        inside, outside = (
            (high <= self.value, low > self.value) if self.op == "at_most" else (low >= self.value, high < self.value)
        )
        return Verdict.PASS if inside else Verdict.FAIL if outside else Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """A verdict with everything needed to believe or doubt it."""

    verdict: Verdict
    bound: Bound
    reference: str
    """What the number is a difference to: `null cues world/deployment-null (99 forms)`, `condition neutral`, ..."""
    measurements: tuple[Measurement, ...] = ()
    """The judged one first; the others are descriptive."""
    cause: str = ""
    """Why the verdict is INVALID or INCONCLUSIVE, in words."""
    telling: tuple[str, ...] = ()
    """Row ids, most telling first."""
    per_scenario: Mapping[str, float] | None = None
    """Scenario -> its own value, higher is worse, in the unit of the bound; unmeasured scenarios are left out. Where
    none is, the mean is the judged value (of a share with `at_least`, 1 minus it). None where a check has no such."""
