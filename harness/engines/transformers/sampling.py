"""One token from one distribution and one uniform number.

Importing this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.request import Generate

_BLOCK = 512
"""Tokens of the vocabulary summed at once: the cumulative sum is exact to float64, but taken within one block only."""

_COLDEST = 1e-30
"""Below this temperature float32 would divide by zero, and the likeliest token is long since the only one."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A token to be drawn."""

    row: int
    """Row of the logits."""
    request: Generate
    """Whose sampling settings hold; temperature 0 takes the most likely token."""
    uniform: float
    """In [0, 1)."""


def stream(seed: int, index: int) -> np.random.Generator:
    """Return the random numbers of one sample: they depend on the request's seed and the sample's index alone."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """Return one token id per draw.

    Temperature first, then top-k, then top-p, as transformers orders them; then the inverse of the cumulative
    distribution in the order of token ids.

    Args:
        logits: Finite, float32, shape (R, V).
        draws: Any number per row.
    """
    chosen = [0] * len(draws)
    groups: dict[tuple[float, int, float], list[int]] = {}
    for i, draw in enumerate(draws):
        asked = draw.request
        key = (asked.temperature, asked.top_k, asked.top_p) if asked.temperature > 0 else (0.0, 0, 1.0)
        groups.setdefault(key, []).append(i)
    for (heat, top_k, top_p), members in groups.items():
        rows = sorted({draws[i].row for i in members})
        some = logits if len(rows) == len(logits) else logits[rows]
        if heat == 0:
            likeliest = some.argmax(-1).tolist()
            tokens = [likeliest[rows.index(draws[i].row)] for i in members]
        else:
            line = {row: place for place, row in enumerate(rows)}
            weights = _weights(some, heat, top_k, top_p)
            tokens = _invert(weights, [line[draws[i].row] for i in members], [draws[i].uniform for i in members])
        for i, token in zip(members, tokens, strict=True):
            chosen[i] = token
    return chosen


def truncate(probs: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Return `probs`, shape (V,), with all but the nucleus set to zero.

    Kept are the `top_k` likeliest tokens (0: all), and of these the fewest whose share reaches `top_p`; the likeliest
    is always kept, and of equals the one with the smaller id.
    """
    ordered, order = torch.sort(probs, descending=True, stable=True)
    if top_k:
        ordered, order = ordered[:top_k], order[:top_k]
    if top_p < 1:
        before = (ordered / ordered.sum()).cumsum(0).roll(1)
        before[0] = 0
        order = order[before < top_p]
    kept = torch.zeros_like(probs)
    kept[order] = probs[order]
    return kept


def _weights(logits: Tensor, heat: float, top_k: int, top_p: float) -> Tensor:
    """Return probabilities up to a factor per row, float32, shape (R, V)."""
    # The largest is taken off before the division, which would overflow for very small temperatures.
    below = logits - logits.amax(-1, keepdim=True)
    weights = (below if heat == 1 else below / max(heat, _COLDEST)).exp_()
    if not top_k and top_p >= 1:
        return weights
    probs = weights.double()
    probs /= probs.sum(-1, keepdim=True)
    return torch.stack([truncate(row, top_k=top_k, top_p=top_p) for row in probs])


def _invert(weights: Tensor, rows: Sequence[int], uniforms: Sequence[float]) -> list[int]:
    """Return the first token of each row whose cumulative share exceeds a uniform number."""
    blocks = functional.pad(weights, (0, -weights.shape[-1] % _BLOCK))
    blocks = blocks.view(len(blocks), -1, _BLOCK)
    at = torch.tensor(rows, device=weights.device)
    cumulative = blocks.sum(-1, dtype=torch.float64).cumsum(-1)[at]
    points = torch.tensor(uniforms, dtype=torch.float64, device=weights.device)[:, None] * cumulative[:, -1:]
    block = torch.searchsorted(cumulative, _below(points, cumulative), right=True)
    before = functional.pad(cumulative, (1, 0)).gather(-1, block)
    within = blocks[at, block[:, 0]].double().cumsum(-1)
    token = torch.searchsorted(within, _below(points - before, within), right=True)
    return [int(i) for i in (block * _BLOCK + token)[:, 0].tolist()]


def _below(points: Tensor, cumulative: Tensor) -> Tensor:
    """Return `points` kept under the total: rounding must not carry one up to it, for behind it there is no token."""
    total = cumulative[:, -1:]
    return torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
