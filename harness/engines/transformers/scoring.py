"""Log-probabilities of given continuations, in as few rows as the requests share prefixes.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.engines.transformers.loading import forward_at, pad
from harness.errors import NumericError
from harness.request import Loglikelihood, ScoredContinuation, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.engines.base import Encoded
    from harness.engines.transformers.loading import Loaded

    Ids = tuple[int, ...]

_CHUNK = 256
"""Places whose float32 log-probabilities are held at once."""


def score(loaded: Loaded, batch: Sequence[Encoded], *, alone: bool = False) -> list[Scores]:
    """Score every continuation of every request.

    Args:
        loaded: The model.
        batch: Encoded `Loglikelihood`s.
        alone: Pass one row at a time, without padding.

    Raises:
        NumericError: NaN or infinity at a scored position.
    """
    wanted = [(item.prompt_ids, ids) for item in batch for ids in item.continuation_ids]
    values = iter(score_ids(loaded, wanted, alone=alone))
    return [_scores(item, [next(values) for _ in item.continuation_ids]) for item in batch]


def score_ids(loaded: Loaded, wanted: Sequence[tuple[Ids, Ids]], *, alone: bool = False) -> list[tuple[float, ...]]:
    """Return the log-probabilities, in nats, of the second ids of each pair after the first.

    Raises:
        NumericError: NaN or infinity at a scored position.
    """
    rows, row_of = pack([head + tail[:-1] for head, tail in wanted])
    groups = [[i] for i in range(len(rows))] if alone else [list(range(len(rows)))]
    targets: dict[tuple[int, int], set[int]] = {}
    for head, tail in wanted:
        row = row_of[head + tail[:-1]]
        for step, token in enumerate(tail):
            targets.setdefault((row, len(head) - 1 + step), set()).add(token)
    found: dict[tuple[int, int, int], float] = {}
    for group in groups:
        found |= _run(loaded, rows, group, targets)
    return [
        tuple(found[row_of[head + tail[:-1]], len(head) - 1 + step, token] for step, token in enumerate(tail))
        for head, tail in wanted
    ]


def pack(sequences: Sequence[Ids]) -> tuple[list[Ids], dict[Ids, int]]:
    """Return the sequences that are no prefix of another one, and for every sequence the row that holds it."""
    rows: list[Ids] = []
    row_of: dict[Ids, int] = {}
    # In lexicographic order a prefix stands right before the sequences that it begins.
    for sequence in sorted(set(sequences), reverse=True):
        if not rows or rows[-1][: len(sequence)] != sequence:
            rows.append(sequence)
        row_of[sequence] = len(rows) - 1
    return rows, row_of


def log_softmax(logits: Tensor) -> Tensor:
    """Return log-probabilities, shape (N, V), of float32 logits.

    Raises:
        NumericError: a logit is not finite.
    """
    if not torch.isfinite(logits).all():
        msg = (
            "logits: NaN or infinity in the model's output; expected finite numbers at every position that is read; "
            "use float32, or another model"
        )
        raise NumericError(msg)
    return logits.log_softmax(-1)


def _run(
    loaded: Loaded, rows: Sequence[Ids], group: Sequence[int], targets: dict[tuple[int, int], set[int]]
) -> dict[tuple[int, int, int], float]:
    """Pass one group of rows and return log-probabilities by (row, place, token)."""
    ids, mask, positions = pad([rows[i] for i in group], loaded.device)
    line = {row: i for i, row in enumerate(group)}
    places = sorted((row, place) for row, place in targets if row in line)
    index = torch.tensor([(line[row], place) for row, place in places], device=loaded.device)
    logits = forward_at(loaded, ids, index[:, 0], index[:, 1], mask=mask, positions=positions)
    found: dict[tuple[int, int, int], float] = {}
    for start in range(0, len(places), _CHUNK):
        part = places[start : start + _CHUNK]
        logprobs = log_softmax(logits[start : start + _CHUNK])
        picks = [(i, *place, token) for i, place in enumerate(part) for token in sorted(targets[place])]
        at = torch.tensor([(pick[0], pick[3]) for pick in picks], device=loaded.device)
        for pick, value in zip(picks, logprobs[at[:, 0], at[:, 1]].tolist(), strict=True):
            found[pick[1:]] = value
    return found


def _scores(item: Encoded, values: list[tuple[float, ...]]) -> Scores:
    if not isinstance(item.request, Loglikelihood):
        msg = f"cannot score a {type(item.request).__name__}"
        raise TypeError(msg)
    scored = tuple(
        ScoredContinuation(text=text, token_ids=ids, token_logprobs=logprobs)
        for text, ids, logprobs in zip(item.request.continuations, item.continuation_ids, values, strict=True)
    )
    return Scores(continuations=scored, prompt=item.prompt, prompt_ids=item.prompt_ids)
