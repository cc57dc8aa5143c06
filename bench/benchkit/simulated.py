"""What `coverage.py` simulates with: a thing that is offered, a line of its table, and data in clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.stats import Interval

CONFIDENCE, ERROR, BAND = 0.95, 0.05, 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    name: str
    design: str
    replications: int
    wrong: int
    """Data sets whose limit missed, or that passed (failed) wrongly."""
    tolerated: float = ERROR
    contrast: bool = False

    @property
    def most(self) -> int:
        """Wrong data sets at the upper end of the band."""
        return int(binom.ppf(1.0 - (1.0 - BAND) / 2.0, self.replications, self.tolerated))

    @property
    def violated(self) -> bool:
        """Tell whether this line speaks against what is promised."""
        return self.replications == 0 or (self.wrong > self.most) is not self.contrast

    def cells(self) -> tuple[str, ...]:
        """Return the line as text."""
        n = max(self.replications, 1)
        said = "VIOLATED" if self.violated else "contrast" if self.contrast else "holds"
        return (
            self.name, self.design, str(self.replications), f"{self.wrong / n:.3f}", f"{self.most / n:.3f}",
            f"{self.tolerated:g}", said,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Something to simulate: one data set at a time, a limit or a decision each."""

    name: str
    design: str
    once: Callable[[np.random.Generator, int], tuple[bool, ...] | None]
    """Rng and number of the data set -> for each of `said`, whether it went wrong; None where no limit was given."""
    said: tuple[str, ...] = ("upper", "lower")
    tolerated: tuple[float, float] = (ERROR, ERROR)
    """Error of each of `said`."""
    contrast: bool = False

    def lines(self, replications: int) -> Iterator[Line]:
        """Yield one line for each thing that can go wrong."""
        rng = np.random.default_rng(len(self.name) + 1000 * len(self.design))
        found = [one for one in (self.once(rng, at) for at in range(replications)) if one is not None]
        for at, what in enumerate(self.said):
            yield Line(
                name=f"{self.name}, {what}", design=self.design, replications=len(found),
                wrong=sum(one[at] for one in found), tolerated=self.tolerated[at], contrast=self.contrast,
            )  # fmt: skip


def missed(interval: Interval, truth: float) -> tuple[bool, bool]:
    """Tell whether the upper and the lower limit missed the truth."""
    return interval.high < truth, interval.low > truth


def hits(rng: np.random.Generator, scenarios: int, rows: int, mean: float, icc: float) -> np.ndarray:
    """Return how many of the rows of each scenario show an event, (scenarios,); beta-binomial."""
    if icc == 0.0:
        return rng.binomial(rows, mean, scenarios)
    scale = (1.0 - icc) / icc
    return rng.binomial(rows, rng.beta(mean * scale, (1.0 - mean) * scale, scenarios))


def any_of(rows: int, mean: float, icc: float) -> float:
    """Return the probability that any row of a scenario shows the event."""
    if icc == 0.0:
        return -math.expm1(rows * math.log1p(-mean))
    scale = (1.0 - icc) / icc
    logs = [math.log((1.0 - mean) * scale + j) - math.log(scale + j) for j in range(rows)]
    return -math.expm1(math.fsum(logs))
