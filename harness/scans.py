"""Scans of candidate cues: the largest shift of many, judged against null cues. Pure: no model, no file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import MeasureError
from harness.estimates import number, vector
from harness.stats import REPLICATES, Interval

if TYPE_CHECKING:
    from harness.estimates import Array

LEAST_NULLS = 19
"""Null shifts below which not even a single candidate could reach p = 0.05."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The largest shift among many candidate cues, and how far that is from what as many null cues show."""

    largest: float
    """In the unit of the shifts."""
    at: int
    """0-based place of the candidate with the largest shift."""
    candidates: int
    """C."""
    nulls: int
    """K."""
    p: float
    """min(1, C (1 + nulls at or above) / (K + 1)): the p-value that is judged; never below 1 / (K + 1)."""
    least_p: float
    """min(1, C / (K + 1)), the smallest `p` that this scan could have shown."""
    p_bootstrap: float
    """Among `null_largest`, not below 1 / (K + 1). Diagnostic."""
    null_largest: Interval
    """Median, 5 % and 95 % of the largest of C nulls drawn with replacement: a size to compare `largest` with."""


def scan(candidates: Array, nulls: Array, seed: int, *, level: float | None = None) -> Scan:
    """Return the max-statistic of a scan: the largest candidate shift against the largest of as many null shifts.

    Args:
        candidates: (C,), one shift per candidate cue.
        nulls: (K,), one shift per null cue of the same kind, in the same unit.
        seed: Of the bootstrap.
        level: The p-value that a caller judges by. A scan that could not reach it is refused: it would pass always.

    Source: Westfall and Young 1993 for the max-statistic; Bonferroni over rank p-values.

    Raises:
        MeasureError: no candidate, fewer than 19 nulls, a shift that is NaN or infinite, or nulls too few for `level`.
    """
    import numpy as np  # noqa: PLC0415 - lazy by contract

    tried, known = vector(candidates, "candidate shifts"), np.sort(vector(nulls, "null shifts"))
    c, k = tried.size, known.size
    least = min(1.0, c / (k + 1))
    if k < LEAST_NULLS or (level is not None and least > number(level, "level", math.nextafter(0.0, 1.0), 1.0)):
        wanted = LEAST_NULLS if level is None else max(LEAST_NULLS, math.ceil(c / level) - 1)
        msg = f"{k} null shifts for {c} candidates: p could not fall below {least:.3g}; expected {wanted} null shifts "
        msg += "at least; ask more null cues or scan fewer candidates"
        raise MeasureError(msg)
    largest = float(tried.max())
    # Judged is the rank: it is valid for any distribution of shifts, however the candidates hang together. Drawing C of
    # K nulls with replacement never exceeds the largest null, so it takes the tail to end there: with candidates that
    # are nulls themselves, p_bootstrap <= 0.05 came up in 10 % of scans at C = 10, K = 99, in 50 % at 99 and 99, in
    # 66 % at 200 and 99. The price of the rank is that C > K / 20 can show nothing at 5 %: hence `least_p` and `level`.
    # The largest of C uniform draws is distributed as U^(1/C): no need to draw them all.
    places = np.random.default_rng(seed).random(REPLICATES) ** (1.0 / c)
    maxima = known[np.minimum((k * places).astype(np.int64), k - 1)]
    low, middle, high = (float(np.quantile(maxima, at)) for at in (0.05, 0.5, 0.95))
    return Scan(
        largest=largest, at=int(tried.argmax()), candidates=c, nulls=k,
        p=min(1.0, c * (1 + int((known >= largest).sum())) / (k + 1)), least_p=least,
        p_bootstrap=max((1 + int((maxima >= largest).sum())) / (REPLICATES + 1), 1.0 / (k + 1)),
        null_largest=Interval(value=middle, low=low, high=high),
    )  # fmt: skip
