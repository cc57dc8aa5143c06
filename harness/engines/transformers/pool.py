"""Decoding: rows that share what they have in common and leave when they are done.

A row is a state of the network: one prompt and one sampled prefix. Samples that have drawn the same tokens so far are
one row. Keys and values of a prompt are held once, whatever the number of its samples; those of the sampled tokens are
held per row.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from harness.engines.transformers import attention
from harness.engines.transformers.answers import Sample, advance
from harness.engines.transformers.loading import forward_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from harness.engines.transformers.answers import Decode
    from harness.engines.transformers.attention import Rules
    from harness.engines.transformers.loading import Loaded

_STEPS = 32
"""Sampled tokens for which room is made at first; doubled as needed."""
_DEAD = 0.7
"""Share of prompts still in use at which the others' keys are dropped."""


@dataclass(slots=True, kw_only=True, eq=False)
class Cohort:
    """Prompts that were passed in one pack, with their keys and values by layer, shape (P, K, L, D)."""

    lengths: Tensor
    """Tokens of each prompt, shape (P,)."""
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def catch(
        cls, chains: Sequence[Sequence[int]], device: torch.device
    ) -> tuple[Cohort, Callable[[int, Tensor, Tensor], None]]:
        """Return an empty cohort and what fills it while the pack passes; `chains` are the prompts' key numbers."""
        longest = max(map(len, chains))
        index = np.stack([np.pad(np.array(chain), (0, longest - len(chain)), mode="edge") for chain in chains])
        flat = torch.from_numpy(index.reshape(-1)).to(device)
        cohort = cls(lengths=torch.tensor([len(chain) for chain in chains], device=device))

        def fill(layer: int, keys: Tensor, values: Tensor) -> None:
            for held, given in ((cohort.keys, keys), (cohort.values, values)):
                rows = given.index_select(1, flat).view(given.shape[0], len(chains), longest, -1)
                held[layer] = rows.transpose(0, 1).contiguous()

        return cohort, fill

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return next(iter(self.keys.values())).shape[2]

    def select(self, prompts: Tensor) -> None:
        """Keep these prompts only."""
        self.lengths = self.lengths[prompts]
        longest = int(self.lengths.max())
        for held in (self.keys, self.values):
            for layer, tensor in held.items():
                held[layer] = tensor[:, :, :longest].index_select(0, prompts)


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One state: a prompt and what was sampled after it."""

    cohort: Cohort
    prompt: int
    """Number within the cohort."""
    length: int
    """Tokens of the prompt."""
    samples: list[Sample]
    """All with the same tokens so far."""

    @property
    def time(self) -> int:
        """Sampled tokens."""
        return len(self.samples[0].ids)


@dataclass(slots=True, kw_only=True)
class _Slice:
    """Rows of one cohort."""

    cohort: Cohort
    start: int
    stop: int
    spread: tuple[Tensor, Tensor] | None
    """Prompt and place of each row where several share a prompt; None where they stand one to one."""
    width: int
    """Rows of a prompt at most."""

    def scores(self, q: Tensor, layer: int, longest: int) -> Tensor:
        """Return raw scores over the prompts' keys, filled up with zeros to (rows, K, G, longest)."""
        keys = self.cohort.keys[layer].transpose(-1, -2)
        asked = q[self.start : self.stop]
        found = asked @ keys if self.spread is None else self._gather(self._scatter(asked) @ keys)
        return functional.pad(found, (0, longest - found.shape[-1]))

    def values(self, weights: Tensor, layer: int) -> Tensor:
        """Return what the rows take from the prompts' values, shape (rows, K, G, E)."""
        values = self.cohort.values[layer]
        share = weights[self.start : self.stop, :, :, : values.shape[2]]
        return share @ values if self.spread is None else self._gather(self._scatter(share) @ values)

    def _scatter(self, rows: Tensor) -> Tensor:
        """Stack the rows of each prompt: (rows, K, G, X) to (P, K, width*G, X)."""
        _, kinds, each, size = rows.shape
        stacked = rows.new_zeros(len(self.cohort.lengths), self.width, kinds, each, size)
        stacked[self.spread] = rows
        return stacked.transpose(1, 2).reshape(len(stacked), kinds, self.width * each, size)

    def _gather(self, stacked: Tensor) -> Tensor:
        """Undo `_scatter`."""
        count, kinds, _, size = stacked.shape
        return stacked.view(count, kinds, self.width, -1, size).transpose(1, 2)[self.spread]


class _Suffixes:
    """Keys and values of the sampled tokens, by layer, each of shape (capacity, K, steps, D)."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Tensor] = {}
        self._rows = 0
        self._steps = _STEPS

    def room(self, rows: int, steps: int) -> None:
        """Make room."""
        while self._steps < steps:
            self._steps *= 2
        self._rows = max(self._rows, rows)

    def put(self, which: int, layer: int, rows: Tensor, times: Tensor, new: Tensor) -> Tensor:
        """Write one token per row, `new` of shape (K, R, D); return the buffer of the rows."""
        held = self._held.get((which, layer))
        if held is None or held.shape[0] < self._rows or held.shape[2] < self._steps:
            # Zeros, not whatever lies there: a NaN behind a mask is still a NaN.
            larger = new.new_zeros(self._rows, new.shape[0], self._steps, new.shape[-1])
            if held is not None:
                larger[: held.shape[0], :, : held.shape[2]] = held
            held = self._held[which, layer] = larger
        held[rows, :, times] = new.transpose(0, 1)
        return held[: len(rows)]

    def move(self, parents: Sequence[int], steps: int) -> None:
        """Let row i go on from where row parents[i] was."""
        moved = [row for row, parent in enumerate(parents) if row != parent]
        if not moved:
            return
        first, count = moved[0], len(parents)
        for key, held in self._held.items():
            source = torch.tensor(parents[first:], device=held.device)
            larger = held
            if count > held.shape[0]:
                larger = held.new_zeros(max(count, self._rows), *held.shape[1:])
                larger[: held.shape[0]] = held
                self._held[key] = larger
            larger[first:count, :, :steps] = held[:, :, :steps].index_select(0, source)


class PoolLayout:
    """Who sees whom in one step: every row its prompt and its own sampled tokens."""

    def __init__(self, rows: Sequence[Row], suffixes: _Suffixes, device: torch.device) -> None:
        """Lay out the rows; those of one cohort stand together."""
        self._suffixes = suffixes
        self._rows = torch.arange(len(rows), device=device)
        times = [row.time - 1 for row in rows]
        self._times = torch.tensor(times, device=device)
        self._lengths = torch.tensor([row.length for row in rows], device=device)
        self._steps = max(times) + 1
        self._longest = max(row.cohort.longest for row in rows)
        self._slices = list(_slices(rows, device))
        self._biases: dict[int | None, Tensor] = {}

    @property
    def positions(self) -> Tensor:
        """Position of the token of each row, shape (R,)."""
        return self._lengths + self._times

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """See `attention.Layout`; one token per row. Scores stand in two parts: over the prompt, over what followed."""
        heads, count, size = q.shape
        kinds = k.shape[0]
        own_k = self._suffixes.put(0, layer, self._rows, self._times, k)[:, :, : self._steps]
        own_v = self._suffixes.put(1, layer, self._rows, self._times, v)[:, :, : self._steps]
        q = q.view(kinds, heads // kinds, count, size).permute(2, 0, 1, 3).contiguous()
        parts = [some.scores(q, layer, self._longest) for some in self._slices]
        scores = torch.cat([torch.cat(parts), q @ own_k.transpose(-1, -2)], -1)
        weights = attention.weights(scores, self._bias(rules.window), rules).to(v.dtype)
        prompts = [some.values(weights, layer) for some in self._slices]
        return (weights[..., self._longest :] @ own_v + torch.cat(prompts)).reshape(count, heads, -1)

    def _bias(self, window: int | None) -> Tensor:
        """Return 0 where a row sees a key and -inf where not, shape (R, 1, 1, longest + steps)."""
        if window not in self._biases:
            device = self._times.device
            prompt = torch.arange(self._longest, device=device).expand(len(self._times), -1)
            own = self._lengths[:, None] + torch.arange(self._steps, device=device)
            real = torch.cat([prompt < self._lengths[:, None], own <= self.positions[:, None]], -1)
            if window is not None:
                real &= self.positions[:, None] - torch.cat([prompt, own], -1) < window
            bias = torch.zeros(real.shape, device=device).masked_fill_(~real, -math.inf)
            self._biases[window] = bias[:, None, None, :]
        return self._biases[window]


class Pool:
    """All rows that are being decoded."""

    def __init__(self, loaded: Loaded, *, ends: frozenset[int], decode: Decode) -> None:
        """Start without rows."""
        self.passed = 0
        """Rows put through the network so far, one token each."""
        self._loaded = loaded
        self._ends = ends
        self._decode = decode
        self._rows: list[Row] = []
        self._suffixes = _Suffixes()

    def __len__(self) -> int:
        """Return the number of samples on their way."""
        return sum(len(row.samples) for row in self._rows)

    @torch.inference_mode()
    def admit(self, cohort: Cohort, samples: Sequence[list[Sample]], logits: Tensor) -> list[Sample]:
        """Draw the first tokens after prompts, in the order of the cohort; return the samples that are done.

        Args:
            cohort: The prompts.
            samples: Of each prompt; may be empty.
            logits: After each prompt, float32, shape (P, V).
        """
        lengths = cohort.lengths.tolist()
        rows = [
            Row(cohort=cohort, prompt=i, length=lengths[i], samples=list(own)) for i, own in enumerate(samples) if own
        ]
        which = [row.prompt for row in rows]
        fresh, _, done = self._split(rows, logits if len(which) == len(logits) else logits[which])
        self._rows += fresh
        self._suffixes.room(len(self), 1)
        self._shrink(cohort)
        return done

    @torch.inference_mode()
    def step(self) -> list[Sample]:
        """Pass one token of every row; return the samples that are done."""
        rows, loaded = self._rows, self._loaded
        self._suffixes.room(len(rows), max(row.time for row in rows))
        layout = PoolLayout(rows, self._suffixes, loaded.device)
        tokens = torch.tensor([[row.samples[0].ids[-1] for row in rows]], device=loaded.device)
        every = torch.arange(len(rows), device=loaded.device)
        with attention.use(layout):
            logits = forward_at(
                loaded, tokens, torch.zeros_like(every), every, mask=None, positions=layout.positions[None]
            )
        self.passed += len(rows)
        fresh, parents, done = self._split(rows, logits)
        self._suffixes.move(parents, max((row.time for row in rows), default=0))
        self._rows = fresh
        for cohort in {id(row.cohort): row.cohort for row in rows}.values():
            self._shrink(cohort)
        return done

    def _split(self, rows: Sequence[Row], logits: Tensor) -> tuple[list[Row], list[int], list[Sample]]:
        """Draw a token per sample; return the rows that go on, the row that each comes from, and what is done."""
        fresh: list[Row] = []
        parents: list[int] = []
        done: list[Sample] = []
        advance([row.samples for row in rows], logits, self._ends, self._decode)
        for number, row in enumerate(rows):
            by_token: dict[int, list[Sample]] = {}
            for sample in row.samples:
                if sample.reason is None:
                    by_token.setdefault(sample.ids[-1], []).append(sample)
                else:
                    done.append(sample)
            for same in by_token.values():
                fresh.append(Row(cohort=row.cohort, prompt=row.prompt, length=row.length, samples=same))
                parents.append(number)
        return fresh, parents, done

    def _shrink(self, cohort: Cohort) -> None:
        """Drop the keys of prompts that nobody uses any more."""
        rows = [row for row in self._rows if row.cohort is cohort]
        live = sorted({row.prompt for row in rows})
        if live and len(live) <= _DEAD * len(cohort.lengths):
            cohort.select(torch.tensor(live, device=cohort.lengths.device))
            place = {prompt: i for i, prompt in enumerate(live)}
            for row in rows:
                row.prompt = place[row.prompt]


def _slices(rows: Sequence[Row], device: torch.device) -> Iterator[_Slice]:
    start = 0
    for _, group in groupby(rows, key=lambda row: id(row.cohort)):
        some = list(group)
        used: dict[int, int] = {}
        places = []
        for row in some:
            places.append(used.get(row.prompt, 0))
            used[row.prompt] = places[-1] + 1
        prompts = [row.prompt for row in some]
        spread = None
        if prompts != list(range(len(some[0].cohort.lengths))):
            spread = (torch.tensor(prompts, device=device), torch.tensor(places, device=device))
        stop = start + len(some)
        yield _Slice(cohort=some[0].cohort, start=start, stop=stop, spread=spread, width=max(used.values()))
        start = stop
