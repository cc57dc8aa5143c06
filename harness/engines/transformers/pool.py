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
from harness.engines.transformers.loading import forward_at
from harness.engines.transformers.rows import Row, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from harness.engines.transformers.answers import Decode, Sample
    from harness.engines.transformers.attention import Rules
    from harness.engines.transformers.loading import Loaded

_STEPS = 32
"""Sampled tokens for which room is made at first; doubled as needed."""
_GRAIN = 16
"""Sampled tokens are attended to in multiples of this."""
_ROWS = 4
"""Rows are passed in multiples of this."""
_TRUNK = 0.5
"""Share of the longest prompt from which a common beginning is worth a product of its own."""
_DEAD = 0.7
"""Share of prompts still in use at which the others' keys are dropped."""


@dataclass(slots=True, kw_only=True, eq=False)
class Cohort:
    """Prompts that were passed in one pack, with their keys and values by layer.

    What all of them begin with, the trunk, is held once: shape (K, C, D); the rests have shape (P, K, L-C, D).
    """

    lengths: Tensor
    """Tokens of each prompt, trunk included, shape (P,)."""
    longest: int
    """Tokens L of the longest prompt."""
    trunk: int
    """Tokens C of the trunk; 0 where nothing is held apart."""
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    trunk_keys: dict[int, Tensor] = field(default_factory=dict)
    trunk_values: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def catch(
        cls, chains: Sequence[Sequence[int]], device: torch.device, *, apart: bool
    ) -> tuple[Cohort, Callable[[int, Tensor, Tensor], None]]:
        """Return an empty cohort and what fills it while the pack passes.

        Args:
            chains: The prompts' key numbers.
            device: Where they are.
            apart: Hold the trunk apart.
        """
        lengths = [len(chain) for chain in chains]
        trunk = _common(chains) if apart else 0
        trunk = trunk if trunk >= _TRUNK * max(lengths) else 0
        rest = max(lengths) - trunk
        index = np.stack([np.pad(np.array(chain), (0, max(lengths) - len(chain)), mode="edge") for chain in chains])
        stem = torch.from_numpy(index[0, :trunk]).to(device)
        flat = torch.from_numpy(index[:, trunk:].reshape(-1)).to(device)
        cohort = cls(lengths=torch.tensor(lengths, device=device), longest=max(lengths), trunk=trunk)

        def fill(layer: int, keys: Tensor, values: Tensor) -> None:
            pairs = ((cohort.trunk_keys, cohort.keys, keys), (cohort.trunk_values, cohort.values, values))
            first, others = stem.to(keys.device), flat.to(keys.device)
            for held_trunk, held, given in pairs:
                held_trunk[layer] = given.index_select(1, first)
                rows = given.index_select(1, others).view(given.shape[0], len(chains), rest, given.shape[-1])
                held[layer] = rows.transpose(0, 1).contiguous()

        return cohort, fill

    def select(self, prompts: Tensor) -> None:
        """Keep these prompts only."""
        self.lengths = self.lengths[prompts]
        self.longest = int(self.lengths.max())
        for held in (self.keys, self.values):
            for layer, tensor in held.items():
                held[layer] = tensor[:, :, : self.longest - self.trunk].index_select(0, prompts.to(tensor.device))


def _common(chains: Sequence[Sequence[int]]) -> int:
    """Return how many key numbers all chains begin with alike."""
    least, most = min(map(list, chains)), max(map(list, chains))
    return next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(map(len, chains)))


@dataclass(slots=True, kw_only=True, eq=False)
class Held(Row):
    """A row that reads its prompt's keys where all samples of the prompt read them."""

    cohort: Cohort
    prompt: int
    """Number within the cohort."""


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
        cohort, asked = self.cohort, q[self.start : self.stop]
        parts = []
        if cohort.trunk:
            parts.append(_through(asked, cohort.trunk_keys[layer].transpose(-1, -2)))
        if cohort.longest > cohort.trunk:
            keys = cohort.keys[layer].transpose(-1, -2)
            parts.append(asked @ keys if self.spread is None else self._gather(self._scatter(asked) @ keys))
        found = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        return functional.pad(found, (0, longest - found.shape[-1]))

    def values(self, weights: Tensor, layer: int) -> Tensor:
        """Return what the rows take from the prompts' values, shape (rows, K, G, E)."""
        cohort, share = self.cohort, weights[self.start : self.stop, :, :, : self.cohort.longest]
        parts = []
        if cohort.trunk:
            parts.append(_through(share[..., : cohort.trunk], cohort.trunk_values[layer]))
        if cohort.longest > cohort.trunk:
            share, values = share[..., cohort.trunk :], cohort.values[layer]
            parts.append(share @ values if self.spread is None else self._gather(self._scatter(share) @ values))
        return parts[0] + parts[1] if len(parts) > 1 else parts[0]

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

    def __init__(self, rows: Sequence[Held], suffixes: _Suffixes, device: torch.device) -> None:
        """Lay out the rows; those of one cohort stand together."""
        self._held = rows
        self._others: dict[torch.device, PoolLayout] = {}
        """For the layers on other devices, where the model lies on several."""
        self._suffixes = suffixes
        self._rows = torch.arange(len(rows), device=device)
        times = [row.time - 1 for row in rows]
        self._times = torch.tensor(times, device=device)
        self._lengths = torch.tensor([row.length for row in rows], device=device)
        self._steps = -(-(max(times) + 1) // _GRAIN) * _GRAIN
        self._longest = max(row.cohort.longest for row in rows)
        self._slices = list(_slices(rows, device))
        self._biases: dict[int | None, Tensor] = {}

    @property
    def positions(self) -> Tensor:
        """Position of the token of each row, shape (R,)."""
        return self._lengths + self._times

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """See `attention.Layout`; one token per row. Scores stand in two parts: over the prompt, over what followed."""
        if k.device != self._rows.device:
            if k.device not in self._others:
                self._others[k.device] = PoolLayout(self._held, self._suffixes, k.device)
            return self._others[k.device].attend(layer, q, k, v, rules)
        heads, padded, size = q.shape
        kinds, count = k.shape[0], len(self._times)
        q, k, v = q[:, :count], k[:, :count], v[:, :count]
        own_k = self._suffixes.put(0, layer, self._rows, self._times, k)[:, :, : self._steps]
        own_v = self._suffixes.put(1, layer, self._rows, self._times, v)[:, :, : self._steps]
        q = q.view(kinds, heads // kinds, count, size).permute(2, 0, 1, 3).contiguous()
        parts = [some.scores(q, layer, self._longest) for some in self._slices]
        scores = torch.cat([torch.cat(parts), q @ own_k.transpose(-1, -2)], -1)
        weights = attention.weights(scores, self._bias(rules.window), rules).to(v.dtype)
        prompts = [some.values(weights, layer) for some in self._slices]
        found = weights[..., self._longest :] @ own_v + torch.cat(prompts)
        return functional.pad(found.reshape(count, heads, -1), (0, 0, 0, 0, 0, padded - count))

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


class Pool(Rows[Held]):
    """All rows that are being decoded, each prompt's keys held once."""

    apart = True

    def __init__(self, loaded: Loaded, *, ends: frozenset[int], decode: Decode) -> None:
        """Start without rows."""
        super().__init__(loaded, ends=ends, decode=decode)
        self._suffixes = _Suffixes()

    @property
    def load(self) -> int:
        """What the rows take of the room: one for each sample, and one for each prompt that is held."""
        return len(self) + len({(id(row.cohort), row.prompt) for row in self._rows})

    @torch.inference_mode()
    def step(self) -> list[Sample]:
        """Pass one token of every row; return the samples that are done."""
        rows, loaded = self._rows, self._loaded
        self._suffixes.room(len(rows), max(row.time for row in rows))
        layout = PoolLayout(rows, self._suffixes, loaded.device)
        tokens = torch.tensor([row.samples[0].ids[-1] for row in rows], device=loaded.device)
        # Filled up to few different sizes, for the same reason as `trie.GRAIN`; what is filled in is thrown away.
        fill = (0, -len(rows) % _ROWS)
        every = torch.arange(len(rows) + fill[1], device=loaded.device)
        with attention.use(layout):
            logits = forward_at(
                loaded, functional.pad(tokens, fill)[None], torch.zeros_like(every), every,
                mask=None, positions=functional.pad(layout.positions, fill)[None],
            )[: len(rows)]  # fmt: skip
        self.passed += len(rows)
        fresh, parents, done = self._split(rows, logits)
        self._suffixes.move(parents, max((row.time for row in rows), default=0))
        self._rows = fresh
        for cohort in {id(row.cohort): row.cohort for row in rows}.values():
            self._shrink(cohort)
        return done

    def _row(self, cohort: Cohort, prompt: int, length: int, samples: list[Sample]) -> Held:
        return Held(cohort=cohort, prompt=prompt, length=length, samples=samples)

    def _enter(self, cohort: Cohort, rows: list[Held], prompts: Sequence[int]) -> None:  # noqa: ARG002 - rows know theirs
        self._rows += rows
        self._suffixes.room(len(self), 1)
        self._shrink(cohort)

    def _shrink(self, cohort: Cohort) -> None:
        """Drop the keys of prompts that nobody uses any more."""
        rows = [row for row in self._rows if row.cohort is cohort]
        live = sorted({row.prompt for row in rows})
        if live and len(live) <= _DEAD * len(cohort.lengths):
            cohort.select(torch.tensor(live, device=cohort.lengths.device))
            place = {prompt: i for i, prompt in enumerate(live)}
            for row in rows:
                row.prompt = place[row.prompt]


def _through(rows: Tensor, shared: Tensor) -> Tensor:
    """Multiply rows of shape (R, K, G, X) by one matrix per key-value head, (K, X, Y), all rows at once."""
    count, kinds, each, size = rows.shape
    found = rows.transpose(0, 1).reshape(kinds, count * each, size) @ shared
    return found.view(kinds, count, each, -1).transpose(0, 1)


def _slices(rows: Sequence[Held], device: torch.device) -> Iterator[_Slice]:
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
