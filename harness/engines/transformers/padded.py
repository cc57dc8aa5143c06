"""Log-probabilities without our attention: right for any model that takes a mask, padded and slower.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.engines.transformers.answers import normaliser, scores_of
from harness.engines.transformers.decoding import generate
from harness.engines.transformers.loading import forward_at, pad
from harness.planner import plan, rows
from harness.request import Generate
from harness.trie import Trie

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.engines.base import Encoded
    from harness.engines.transformers.answers import Decode
    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.memory import Room
    from harness.engines.transformers.streaming import Ledger
    from harness.request import Answer, Scores

    Ids = tuple[int, ...]

_CHUNK = 256
"""Places whose float32 log-probabilities are held at once."""


def stream(
    loaded: Loaded, items: Sequence[Encoded], *, room: Room, ledger: Ledger, ends: frozenset[int], decode: Decode,
    alone: bool,
    cached: bool,
) -> Iterator[tuple[int, Answer]]:  # fmt: skip
    """Answer all requests, batch by batch.

    Args:
        loaded: The model, with its own attention.
        items: Encoded requests of both kinds.
        room: How much may pass at once.
        ledger: Is kept up to date.
        ends: Token ids that end an answer.
        decode: Token ids to text without control tokens.
        alone: Pass one row at a time.
        cached: Keep keys and values while sampling.

    Raises:
        NumericError: NaN or infinity at a place that is read.
        MemoryError, torch.OutOfMemoryError: a batch is too large.
    """
    numbers: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        numbers.setdefault(id(item), []).append(number)
    batches = [(item,) for item in items] if alone else [batch.items for batch in plan(items, room.tokens)]
    for batch in batches:
        answers: list[Answer] = []
        fresh = 0
        if isinstance(batch[0].request, Generate):
            drawn = generate(loaded, batch, ends=ends, decode=decode, alone=alone, cached=cached)
            fresh = sum(len(one.token_ids) for answer in drawn for one in answer.completions)
            answers += drawn
        else:
            answers += score(loaded, batch, alone=alone)
        lengths = [len(row) for item in batch for row in rows(item)]
        ledger.passed += len(lengths) * max(lengths) + fresh
        ledger.minimum += len(Trie.of(row for item in batch for row in rows(item))) + fresh
        for item, answer in zip(batch, answers, strict=True):
            yield numbers[id(item)].pop(0), answer


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
    return [scores_of(item, [next(values) for _ in item.continuation_ids]) for item in batch]


def score_ids(loaded: Loaded, wanted: Sequence[tuple[Ids, Ids]], *, alone: bool = False) -> list[tuple[float, ...]]:
    """Return the log-probabilities, in nats, of the second ids of each pair after the first.

    Raises:
        NumericError: NaN or infinity at a scored position.
    """
    lines, row_of = pack([head + tail[:-1] for head, tail in wanted])
    groups = [[i] for i in range(len(lines))] if alone else [list(range(len(lines)))]
    targets: dict[tuple[int, int], set[int]] = {}
    for head, tail in wanted:
        row = row_of[head + tail[:-1]]
        for step, token in enumerate(tail):
            targets.setdefault((row, len(head) - 1 + step), set()).add(token)
    found: dict[tuple[int, int, int], float] = {}
    for group in groups:
        found |= _run(loaded, lines, group, targets)
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
        some = logits[start : start + _CHUNK]
        totals = normaliser(some)
        picks = [(i, *place, token) for i, place in enumerate(part) for token in sorted(targets[place])]
        at = torch.tensor([(pick[0], pick[3]) for pick in picks], device=loaded.device)
        for pick, value in zip(picks, (some[at[:, 0], at[:, 1]] - totals[at[:, 0]]).tolist(), strict=True):
            found[pick[1:]] = value
    return found
