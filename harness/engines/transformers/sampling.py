"""One token from one distribution and one uniform number.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.request import Generate

_CHUNK = 64
"""Rows whose float64 probabilities are held at once."""


def stream(seed: int, index: int) -> np.random.Generator:
    """Return the random numbers of one sample: they depend on the request's seed and the sample's index alone."""
    key = np.array([seed % 2**64, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def choose(logits: Tensor, requests: Sequence[Generate], uniforms: Sequence[float]) -> list[int]:
    """Return one token id per row.

    Temperature first, then top-k, then top-p, as transformers orders them; then the inverse of the cumulative
    distribution in the order of token ids, in float64.

    Args:
        logits: Finite, float32, shape (R, V).
        requests: Whose sampling settings hold, one per row; temperature 0 takes the most likely token.
        uniforms: In [0, 1), one per row.
    """
    chosen = logits.argmax(-1).tolist()
    sampled = [i for i, request in enumerate(requests) if request.temperature > 0]
    for start in range(0, len(sampled), _CHUNK):
        part = sampled[start : start + _CHUNK]
        heat = torch.tensor([requests[i].temperature for i in part], dtype=torch.float64, device=logits.device)
        probs = (logits[part].double() / heat[:, None]).softmax(-1)
        for line, i in enumerate(part):
            if requests[i].top_k or requests[i].top_p < 1:
                probs[line] = truncate(probs[line], top_k=requests[i].top_k, top_p=requests[i].top_p)
        cumulative = probs.cumsum(-1)
        total = cumulative[:, -1:]
        points = torch.tensor([uniforms[i] for i in part], dtype=torch.float64, device=logits.device)[:, None] * total
        # Rounding must not carry a point up to the total, behind which there is no token.
        points = torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
        for i, token in zip(part, torch.searchsorted(cumulative, points, right=True)[:, 0].tolist(), strict=True):
            chosen[i] = token
    return [int(token) for token in chosen]


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
