"""All requests of a round through one prefix tree: what is scored is read as it passes, what is sampled goes on below.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.engines.transformers.answers import Sample, completions, normaliser, samples_of, scores_of
from harness.engines.transformers.buckets import open_pool
from harness.engines.transformers.memory import is_out_of_memory, trim_heap
from harness.engines.transformers.packs import Walk
from harness.engines.transformers.pool import Cohort
from harness.request import Generate, Loglikelihood
from harness.trie import Trie, cut, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from harness.engines.base import Encoded
    from harness.engines.transformers.answers import Decode
    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.memory import Room
    from harness.request import Answer


_STRETCH = 2.5
"""Longest to shortest prompt among those that are held together: padding costs less than one more group does."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What was passed, for the record."""

    passed: int = 0
    """Tokens put through the network, padding included."""
    minimum: int = 0
    """Tokens after perfect prefix sharing; each distinct sampled prefix counts once."""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Graph:
    """The requests of a round as one tree."""

    trie: Trie
    wanted: dict[int, list[tuple[int, int, int, int]]]
    """By node: item, continuation, step and token whose log-prob is read there."""
    prompts: dict[int, list[int]]
    """By node: the items that are sampled from there."""
    lengths: dict[int, int]
    """By item: how many log-probs it wants."""


def stream(
    loaded: Loaded, items: Sequence[Encoded], *, room: Room, ledger: Ledger, ends: frozenset[int], decode: Decode
) -> Iterator[tuple[int, Answer]]:
    """Answer all requests, each as soon as it is known.

    Args:
        loaded: The model, its attention set to ours.
        items: Encoded requests of both kinds.
        room: How much may pass at once.
        ledger: Is kept up to date.
        ends: Token ids that end an answer.
        decode: Token ids to text without control tokens.

    Yields:
        Number of the item, and its answer.

    Raises:
        NumericError: NaN or infinity at a place that is read.
        MemoryError, torch.OutOfMemoryError: not even one token fits.
    """
    round_ = _Round(loaded, items, room=room, ledger=ledger, ends=ends, decode=decode)
    for stop in round_.ranges:
        while round_.crowded(stop):
            yield from round_.sample()
        yield from round_.advance(stop)
    while round_.pool:
        yield from round_.sample()


class _Round:
    """One walk over the tree of a round."""

    def __init__(
        self, loaded: Loaded, items: Sequence[Encoded], *, room: Room, ledger: Ledger, ends: frozenset[int],
        decode: Decode,
    ) -> None:  # fmt: skip
        self._items = items
        self._room = room
        self._ledger = ledger
        self._decode = decode
        self._device = loaded.device
        self._most = max(1, room.tokens)
        self._graph = _graph(items)
        self._samples = {
            number: samples_of(number, items[number]) for node in self._graph.prompts.values() for number in node
        }
        self._open = {number: len(samples) for number, samples in self._samples.items()}
        self._done: dict[int, list[Sample]] = {}
        self._values: dict[int, dict[tuple[int, int], float]] = {}
        self._walk = Walk(loaded, self._graph.trie)
        self.pool = open_pool(loaded, ends=ends, decode=decode, notes=ledger.notes)
        trie = self._graph.trie
        ledger.minimum += len(trie)
        places, rows = np.zeros(len(trie), np.int64), np.zeros(len(trie), np.int64)
        places[list(self._graph.wanted)] = 1
        for node, numbers in self._graph.prompts.items():
            places[node] = 1
            rows[node] = self.pool.apart + sum(self._open[number] for number in numbers)
        self._rows = rows
        loads = ((places, room.places), (rows, max(1, room.rows // 2)))
        self.ranges = [stop for _, stop in cut(trie, room.tokens, loads=loads)]

    def crowded(self, stop: int) -> bool:
        """Tell whether samples on their way must end before the nodes up to `stop` can be passed."""
        coming = int(self._rows[self._walk.at : stop].sum())
        return bool(self.pool) and coming > 0 and self.pool.load + coming > self._room.rows

    def advance(self, stop: int) -> Iterator[tuple[int, Answer]]:
        """Pass the nodes up to `stop`, in halves where they do not fit."""
        start = self._walk.at
        if stop - start <= self._most:
            try:
                read, cohort, logits = self._pass(stop)
            except Exception as error:
                if not is_out_of_memory(error) or stop - start < 2:  # noqa: PLR2004 - one node cannot be halved
                    raise
            else:
                yield from self._read(read, cohort, logits)
                return
            self._ledger.notes.append(f"out of memory at {stop - start} tokens: passed in halves")
            self._most = -(-(stop - start) // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()  # only now: the exception held on to what the failed pass had taken
        yield from self.advance((start + stop) // 2)
        yield from self.advance(stop)

    def sample(self) -> Iterator[tuple[int, Answer]]:
        """Draw one more token of every sample on its way."""
        before = self.pool.passed
        done = self.pool.step()
        self._count(self.pool.passed - before)
        self._ledger.minimum += self.pool.passed - before
        yield from self._finish(done)

    def _pass(self, stop: int) -> tuple[list[int], list[tuple[Cohort, list[int]]], Tensor]:
        """Pass the nodes up to `stop`; return those that are read, the prompts that end there, and the logits."""
        start, graph = self._walk.at, self._graph
        read = [node for node in range(start, stop) if node in graph.wanted or node in graph.prompts]
        cohorts, fills = [], []
        for nodes in _alike([node for node in read if node in graph.prompts], graph.trie):
            chains = [keys_of(graph.trie, start, node) for node in nodes]
            cohort, fill = Cohort.catch(chains, self._device, apart=self.pool.apart)
            cohorts.append((cohort, nodes))
            fills.append(fill)

        def keep(layer: int, keys: Tensor, values: Tensor) -> None:
            for fill in fills:
                fill(layer, keys, values)

        if self._device.type == "cpu":
            trim_heap()
        logits = self._walk.step(stop, read, keep=keep if fills else None)
        self._count(stop - start)
        return read, cohorts, logits

    def _read(
        self, read: Sequence[int], cohorts: Sequence[tuple[Cohort, list[int]]], logits: Tensor
    ) -> Iterator[tuple[int, Answer]]:
        """Answer what the logits at some nodes answer, and begin the samples of the prompts that end there."""
        line, graph = {node: i for i, node in enumerate(read)}, self._graph
        yield from self._score([node for node in read if node in graph.wanted], line, logits)
        for cohort, nodes in cohorts:
            yield from self._admit(cohort, nodes, logits[[line[node] for node in nodes]])

    def _score(self, nodes: Sequence[int], line: dict[int, int], logits: Tensor) -> Iterator[tuple[int, Answer]]:
        """Read the log-probs that are wanted at some nodes, and answer the requests that are complete."""
        wanted = [(line[node], *one) for node in nodes for one in self._graph.wanted[node]]
        if not wanted:
            return
        totals = normaliser(logits)
        at = torch.tensor([(row, token) for row, *_, token in wanted], device=self._device)
        picked = (logits[at[:, 0], at[:, 1]] - totals[at[:, 0]]).tolist()
        for (_, number, which, step, _), value in zip(wanted, picked, strict=True):
            values = self._values.setdefault(number, {})
            values[which, step] = value
            if len(values) == self._graph.lengths[number]:
                yield number, self._scores(number)

    def _scores(self, number: int) -> Answer:
        item, values = self._items[number], self._values.pop(number)
        read = [[values[i, j] for j in range(len(ids))] for i, ids in enumerate(item.continuation_ids)]
        return scores_of(item, read)

    def _admit(self, cohort: Cohort, nodes: Sequence[int], logits: Tensor) -> Iterator[tuple[int, Answer]]:
        """Begin the samples of the prompts that end at some nodes, as many at a time as there is room for."""
        queues = [[s for number in self._graph.prompts[node] for s in self._samples.pop(number)] for node in nodes]
        if len(queues) > 1:  # cut so that they fit
            yield from self._finish(self.pool.admit(cohort, queues, logits))
            return
        room = max(1, self._room.rows)
        for first in range(0, len(queues[0]), room):
            part = queues[0][first : first + room]
            while self.pool and len(self.pool) + len(part) > room:
                yield from self.sample()
            yield from self._finish(self.pool.admit(cohort, [part], logits))

    def _finish(self, done: Sequence[Sample]) -> Iterator[tuple[int, Answer]]:
        for sample in done:
            samples = self._done.setdefault(sample.item, [])
            samples.append(sample)
            if len(samples) == self._open[sample.item]:
                item = self._items[sample.item]
                samples.sort(key=lambda one: one.number)
                yield sample.item, completions(item, self._done.pop(sample.item), self._decode)

    def _count(self, tokens: int) -> None:
        self._ledger.passed += tokens


def _alike(nodes: Sequence[int], trie: Trie) -> list[list[int]]:
    """Group prompts by length, so that filling them up to one length wastes little."""
    groups: list[list[int]] = []
    for node in sorted(nodes, key=lambda node: (int(trie.depths[node]), node)):
        if groups and trie.depths[node] <= _STRETCH * trie.depths[groups[-1][0]]:
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _graph(items: Sequence[Encoded]) -> _Graph:
    """Join the requests to one tree.

    Raises:
        TypeError: a request of an unknown kind.
    """
    rows: dict[tuple[int, int], tuple[int, ...]] = {}
    for number, item in enumerate(items):
        if isinstance(item.request, Loglikelihood):
            rows |= {(number, i): item.prompt_ids + ids[:-1] for i, ids in enumerate(item.continuation_ids)}
        elif isinstance(item.request, Generate):
            rows[number, 0] = item.prompt_ids
        else:
            msg = f"cannot answer a {type(item.request).__name__}"
            raise TypeError(msg)
    trie = Trie.of(rows.values())
    graph = _Graph(trie=trie, wanted={}, prompts={}, lengths={})
    for (number, which), row in rows.items():
        if isinstance(items[number].request, Generate):
            graph.prompts.setdefault(trie.last[row], []).append(number)
            continue
        ids = items[number].continuation_ids[which]
        graph.lengths[number] = graph.lengths.get(number, 0) + len(ids)
        for step, (node, token) in enumerate(zip(trie.tail(row, len(ids)), ids, strict=True)):
            graph.wanted.setdefault(node, []).append((number, which, step, token))
    return graph
