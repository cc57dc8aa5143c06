"""How much padding and batch size shift a log-probability on this machine, measured before the first answer.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.engines.transformers.loading import forward_at, pad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.engines.transformers.loading import Loaded

LIMIT = 1e-4
"""Nats; a larger shift in float32 is no rounding but a fault in how the model takes padding."""
_LIKELIEST = 20
"""Tokens compared per place, beside the one that follows."""
_TEXTS = (
    "Water is wet.",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen.",
    "A ship left the harbour in the morning. It carried salt and wool, and it came back in spring with timber.",
    "Yes",
    "def add(a, b):\n    return a + b\n",
)


def probes(tokenise: Callable[[str], Sequence[int]], *, vocabulary: int, context: int | None) -> list[list[int]]:
    """Return token ids of short texts of different lengths; of made-up tokens where the tokeniser knows no words."""
    found = []
    for text in _TEXTS:
        ids = list(tokenise(text)) or [(7919 * i + len(text)) % vocabulary for i in range(1 + len(text) // 4)]
        found.append(ids[:context])
    return found


def measure(loaded: Loaded, sequences: Sequence[Sequence[int]]) -> float:
    """Return the largest shift of a log-probability, in nats, between each sequence alone and all in one batch.

    Compared are the scoring path (padded right) at every place and the first step of generation (padded left).
    """
    alone = [_alone(loaded, sequence) for sequence in sequences]
    index = [(row, place) for row, sequence in enumerate(sequences) for place in range(len(sequence))]
    at = torch.tensor(index, device=loaded.device)
    ids, mask, positions = pad(sequences, loaded.device)
    right = forward_at(loaded, ids, at[:, 0], at[:, 1], mask=mask, positions=positions).log_softmax(-1)
    ids, mask, positions = pad(sequences, loaded.device, left=True)
    rows = torch.arange(len(sequences), device=loaded.device)
    ends = torch.full_like(rows, ids.shape[1] - 1)
    left = forward_at(loaded, ids, rows, ends, mask=mask, positions=positions, cache=loaded.cache()).log_softmax(-1)
    shift = 0.0
    for row, (sequence, expected) in enumerate(zip(sequences, alone, strict=True)):
        batched = right[at[:, 0] == row]
        shift = max(shift, _shift(expected, batched, sequence), _shift(expected[-1:], left[row : row + 1], ()))
    return shift


def _alone(loaded: Loaded, sequence: Sequence[int]) -> Tensor:
    ids, mask, positions = pad([sequence], loaded.device)
    if loaded.wide is None:
        # Without gathering, so that the gathering is checked as well.
        with torch.inference_mode():
            logits: Tensor = loaded.model(input_ids=ids, use_cache=False).logits[0]
        return logits.float().log_softmax(-1)
    places = torch.arange(len(sequence), device=loaded.device)
    return forward_at(loaded, ids, torch.zeros_like(places), places, mask=mask, positions=positions).log_softmax(-1)


def _shift(expected: Tensor, found: Tensor, sequence: Sequence[int]) -> float:
    """Return the largest difference at the likeliest tokens and the following one; NaN counts as infinite."""
    top = expected.topk(min(_LIKELIEST, expected.shape[-1]), dim=-1).indices
    if len(sequence) > 1:
        following = torch.tensor([*sequence[1:], sequence[0]], device=top.device)[:, None]
        top = torch.cat([top, following], dim=-1)
    difference = (expected.gather(-1, top) - found.gather(-1, top)).abs().max()
    return float(difference.nan_to_num(nan=float("inf")))
