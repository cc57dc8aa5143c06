"""One pack of a prefix tree through the network, after the keys and values of the path above it.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.engines.transformers import attention
from harness.engines.transformers.loading import forward_at
from harness.trie import Block, Pack, Trie, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.engines.transformers.attention import Rules
    from harness.engines.transformers.loading import Loaded

    Keep = Callable[[int, Tensor, Tensor], None]
    """Takes layer, keys and values, each of shape (K, P+T, D), while a pack passes."""


_SLACK = 16
"""Tokens by which blocks in one call may differ whatever their size."""


@dataclass(slots=True)
class Path:
    """Keys and values of the path above the next pack, by layer, each of shape (K, P, D)."""

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Group:
    """Blocks that attend in one call: one alone, or several filled up to one shape."""

    blocks: list[Block]
    queries: Tensor
    """Token of each query within the pack, shape (S, Q); padding repeats the last one."""
    real: Tensor
    """Which queries are no padding, shape (S, Q)."""
    keys: Tensor
    """Key number of each key, shape (S, L); padding repeats the last one and is not seen."""
    bias: dict[int | None, Tensor] = field(default_factory=dict)
    """By window, shape (S, 1, Q*G, L)."""

    def to(self, device: torch.device) -> _Group:
        """Return the group with its tensors on another device."""
        bias = {window: tensor.to(device) for window, tensor in self.bias.items()}
        return replace(
            self, queries=self.queries.to(device), real=self.real.to(device), keys=self.keys.to(device), bias=bias
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What the layers on one device go by."""

    groups: list[_Group]
    fetch: Tensor
    """Keys of all groups, one group after the other, shape (sum of S*L,)."""
    keep: Tensor
    """Key numbers of the path that the next pack needs."""

    def to(self, device: torch.device) -> _Place:
        """Return the same on another device."""
        return _Place(
            groups=[group.to(device) for group in self.groups], fetch=self.fetch.to(device), keep=self.keep.to(device)
        )


class PackLayout:
    """Who sees whom within one pack; keeps the keys and values that the next pack needs.

    Index and bias tensors follow each layer to its device: the layers of a large model may lie on several.
    """

    def __init__(self, pack: Pack, path: Path, *, dtype: torch.dtype, device: torch.device, keep: Keep | None) -> None:
        """Group the blocks: on a GPU by size, since a kernel for each of many small blocks would leave it idle."""
        self._pack = pack
        self._path = path
        self._dtype = dtype
        self._store = keep
        groups = [self._group(blocks, device) for blocks in _groups(pack, alone=device.type == "cpu")]
        fetch = torch.cat([group.keys.flatten() for group in groups])
        place = _Place(groups=groups, fetch=fetch, keep=torch.from_numpy(pack.keep).to(device))
        # By the device that a tensor names: `cuda` and `cuda:0` may be one.
        self._places = {fetch.device: place}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """See `attention.Layout`."""
        heads, length, size = q.shape
        kinds = k.shape[0]
        each = heads // kinds
        here = self._here(k.device)
        if self._pack.path:
            k = torch.cat([self._path.keys[layer], k], 1)
            v = torch.cat([self._path.values[layer], v], 1)
        # Queries of one key-value head one below the other: token by token, then head by head.
        q = q.view(kinds, each, length, size).transpose(1, 2).contiguous()
        near, far = k.index_select(1, here.fetch), v.index_select(1, here.fetch)
        out = q.new_empty(kinds, length, each, v.shape[-1])
        place = 0
        for group in here.groups:
            count, width = group.keys.shape
            span = slice(place, place := place + count * width)
            some_k, some_v = (x[:, span].view(kinds, count, width, -1).transpose(0, 1) for x in (near, far))
            self._fill(out, group, (q, some_k, some_v), rules)
        if self._store is not None:
            self._store(layer, k, v)
        self._path.keys[layer] = k.index_select(1, here.keep)
        self._path.values[layer] = v.index_select(1, here.keep)
        return out.permute(1, 0, 2, 3).reshape(length, heads, -1)

    def _fill(self, out: Tensor, group: _Group, qkv: tuple[Tensor, Tensor, Tensor], rules: Rules) -> None:
        """Write what the queries of a group take from what they see."""
        q, k, v = qkv
        kinds, _, each, size = q.shape
        bias = self._bias(group, rules.window, each)
        if len(group.blocks) == 1:
            block = group.blocks[0]
            asked = q[:, block.start : block.stop].reshape(1, kinds, -1, size)
            found = attention.attend(asked, k, v, bias, rules)
            out[:, block.start : block.stop] = found.view(kinds, -1, each, v.shape[-1])
            return
        count, width = group.queries.shape
        asked = q[:, group.queries].transpose(0, 1).reshape(count, kinds, width * each, size)
        found = attention.attend(asked, k, v, bias, rules)
        out[:, group.queries[group.real]] = found.view(count, kinds, width, each, -1).transpose(0, 1)[:, group.real]

    def _here(self, device: torch.device) -> _Place:
        """Return what the layers on a device go by; moved there once."""
        if device not in self._places:
            self._places[device] = next(iter(self._places.values())).to(device)
        return self._places[device]

    @staticmethod
    def _group(blocks: list[Block], device: torch.device) -> _Group:
        width = max(block.stop - block.start for block in blocks)
        length = max(len(block.keys) for block in blocks)
        wide = np.stack([np.arange(block.start, block.start + width) for block in blocks])
        stops = np.array([block.stop for block in blocks])[:, None]
        keys = np.stack([np.pad(block.keys, (0, length - len(block.keys)), mode="edge") for block in blocks])
        return _Group(
            blocks=blocks,
            queries=torch.from_numpy(np.minimum(wide, stops - 1)).to(device),
            real=torch.from_numpy(wide < stops).to(device),
            keys=torch.from_numpy(keys).to(device),
        )

    def _bias(self, group: _Group, window: int | None, each: int) -> Tensor:
        # A window that reaches back to the first position is none.
        deepest = int(self._pack.positions.max())
        window = window if window is not None and window <= deepest else None
        if window not in group.bias:
            width, length = group.queries.shape[1], group.keys.shape[1]
            seen = np.zeros((len(group.blocks), width, length), bool)
            for line, block in enumerate(group.blocks):
                own, count = self._pack.visible(block), block.stop - block.start
                if window is not None:
                    own &= self._pack.distances(block) < window
                seen[line, :count, : len(block.keys)] = own
                seen[line, count:] = seen[line, count - 1]
            bias = torch.zeros(seen.shape, dtype=self._dtype)
            bias.masked_fill_(torch.from_numpy(~seen), -math.inf)
            spread = bias.repeat_interleave(each, 1)[:, None]
            group.bias[window] = spread.to(group.keys.device)
        return group.bias[window]


class Walk:
    """Passes a tree pack by pack, in order; every node goes through the network once."""

    def __init__(self, loaded: Loaded, trie: Trie) -> None:
        """Start at the first node."""
        self.at = 0
        """The node that is passed next."""
        self._loaded = loaded
        self._trie = trie
        self._path = Path()

    def step(self, stop: int, places: Sequence[int], *, keep: Keep | None = None, verify: bool = False) -> Tensor:
        """Pass the nodes from `at` to `stop`. After an exception the same nodes may be tried again.

        Args:
            stop: Behind the last node.
            places: Nodes whose logits are read.
            keep: Called at each layer with all keys and values of the pack.
            verify: See `attention.use`.

        Returns:
            Float32 logits, shape (places, V).
        """
        loaded, trie = self._loaded, self._trie
        current = pack(trie, self.at, stop)
        path = Path(dict(self._path.keys), dict(self._path.values))
        layout = PackLayout(current, path, dtype=loaded.model.dtype, device=loaded.device, keep=keep)
        with attention.use(layout, verify=verify):
            logits = forward_at(
                loaded,
                torch.from_numpy(current.tokens)[None].to(loaded.device),
                torch.zeros(max(1, len(places)), dtype=torch.long, device=loaded.device),
                torch.tensor([place - current.start for place in places] or [0], device=loaded.device),
                mask=torch.ones(1, stop - current.start, dtype=torch.long, device=loaded.device) if verify else None,
                positions=torch.from_numpy(current.positions)[None].to(loaded.device),
            )
        # Only now: a pack that failed, for want of memory say, is tried again in parts, below the same path.
        self._path, self.at = path, stop
        return logits[: len(places)]


def _groups(pack: Pack, *, alone: bool) -> list[list[Block]]:
    """Return blocks that attend in one call; on a GPU those of similar size."""
    if alone:
        return [[block] for block in pack.blocks]
    groups: list[list[Block]] = []
    for block in sorted(pack.blocks, key=lambda block: (block.stop - block.start, len(block.keys))):
        width, length = block.stop - block.start, len(block.keys)
        if groups:
            first = groups[-1][0]
            least, most = len(first.keys), max(len(other.keys) for other in groups[-1])
            fits = width <= 1.25 * (first.stop - first.start) + _SLACK
            if fits and max(most, length) <= 1.5 * min(least, length) + _SLACK:
                groups[-1].append(block)
                continue
        groups.append([block])
    return groups
