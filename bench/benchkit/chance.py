"""Are samples drawn from the model's distribution, and each on its own numbers?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
import torch

from benchkit.engine import answer, generating, tokens
from harness.engines.transformers.sampling import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from benchkit.engine import Ours
    from benchkit.reference import Reference
    from benchkit.workloads import Ask

EDGE = 1e-4
"""A uniform number this close to an edge of the cumulative distribution may go either way by rounding."""
_POOLED = 5.0
"""Cells with a smaller expected count are taken together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodness:
    """Counts of first tokens against exact probabilities."""

    p_values: tuple[float, ...]
    """One per prompt whose distribution leaves at least two cells."""
    uniform_p: float
    """Kolmogorov-Smirnov test of the p-values against the uniform distribution."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The p-values at 0, 5, 25, 50, 75, 95 and 100 percent."""
        return tuple(float(q) for q in np.quantile(self.p_values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """Samples of one request, alone and among others."""

    samples: int
    draws: int
    near: int
    """Draws whose number lies within `EDGE` of an edge of the exact distribution."""
    changed: int
    """Samples that differ when other requests are added."""
    unexplained: int
    """Of these, whose first differing draw does not lie near an edge."""


def first_tokens(ours: Ours, reference: Reference, asks: Sequence[Ask], samples: int) -> Goodness:
    """Draw first tokens of every prompt, each with a seed of its own, and test their counts."""
    encoded = [
        item
        for seed, ask in enumerate(asks)
        for item in generating([replace(ask, n=samples, max_new=1)], 1.0, seed=seed + 1)
    ]
    drawn = tokens(answer(ours.engine, encoded))
    found = []
    for ask, completions in zip(asks, drawn, strict=True):
        exact = reference.distributions(ask.context_ids)[0]
        p_value = chi_square(Counter(ids[0] for ids in completions), exact)
        if p_value is not None:
            found.append(p_value)
    return Goodness(p_values=tuple(found), uniform_p=float(scipy.stats.kstest(found, "uniform").pvalue))


def chi_square(counts: Counter[int], exact: Tensor) -> float | None:
    """Return the p-value of counts given exact probabilities, shape (V,); None if all falls into one cell."""
    total = counts.total()
    kept = torch.nonzero(exact * total >= _POOLED)[:, 0].tolist()
    expected = [float(exact[token]) * total for token in kept]
    seen = [float(counts[token]) for token in kept]
    rest = total - sum(expected)
    if rest >= _POOLED or not kept:
        expected.append(rest)
        seen.append(total - sum(seen))
    else:  # too small for a cell of its own
        expected[-1] += rest
        seen[-1] += total - sum(seen)
    if len(expected) == 1:
        return None
    return float(scipy.stats.chisquare(seen, expected).pvalue)


def isolation(ours: Ours, reference: Reference, asks: Sequence[Ask]) -> Isolation:
    """Sample the first request alone and among the others; explain every sample that changed."""
    among = tokens(answer(ours.engine, generating(asks, 1.0)))[0]
    alone = tokens(answer(ours.engine, generating(asks[:1], 1.0)))[0]
    prompt = asks[0].context_ids
    draws = near = changed = unexplained = 0
    for index, (one, other) in enumerate(zip(alone, among, strict=True)):
        exact = reference.distributions([*prompt, *one[:-1]], first=len(prompt) - 1)
        close = [gap < EDGE for gap in gaps(exact, stream(0, index).random(len(one)).tolist())]
        draws += len(close)
        near += sum(close)
        if one != other:
            changed += 1
            place = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            unexplained += not close[place]
    return Isolation(samples=len(alone), draws=draws, near=near, changed=changed, unexplained=unexplained)


def gaps(exact: Tensor, numbers: Sequence[float]) -> list[float]:
    """Return how far each number lies from the nearest edge of its row's cumulative distribution.

    Args:
        exact: Probabilities, shape (N, V).
        numbers: Uniform, one per row.
    """
    edges = exact.cumsum(-1)
    points = torch.tensor(numbers, dtype=exact.dtype)[:, None]
    return [float(gap) for gap in (edges - points).abs().amin(-1)]
