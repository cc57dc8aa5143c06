"""Token sequences to a prefix tree, and the tree to packs: which tokens pass through the network, once each.

All sequences of a round become one tree whose nodes are numbered in depth-first order, branches in the order of their
token ids. Two facts carry everything else. The subtree of a node is a contiguous range of numbers, so node `j` is an
ancestor of node `i` (or `i` itself) exactly if `j <= i < ends[j]`. And the parent of a node is an ancestor of the node
before it (or that node itself), so whoever passes the nodes in order needs to keep the keys and values of one path
only, and may stop and go on anywhere: no token is ever passed twice.

Pure data, no torch. The result depends on the set of sequences and on the budgets alone, never on who asked first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Ids = tuple[int, ...]
    Ints = NDArray[np.int64]

BLOCK = 256
"""Tokens that attend together at most: a longer chain would spend half its scores on keys it must not see."""
GRAIN = 64
"""Packs hold multiples of this where they can: a matrix library prepares itself anew for each new size."""
_CALL = 1000
"""What one more block costs, in query-key pairs: short branches are cheaper together with their neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trie:
    """A prefix tree of token ids in depth-first order."""

    tokens: Ints
    """Token id of each node, shape (N,)."""
    parents: Ints
    """Number of each node's parent, -1 for the first tokens of sequences, shape (N,)."""
    depths: Ints
    """Tokens before each node in its sequence, which is its position, shape (N,)."""
    ends: Ints
    """First number behind each node's subtree, shape (N,)."""
    last: dict[Ids, int]
    """Node of the last token of each sequence."""

    @classmethod
    def of(cls, sequences: Iterable[Ids]) -> Trie:
        """Build the tree of `sequences`, none of them empty; duplicates and prefixes of others add nothing.

        Raises:
            ValueError: a sequence is empty.
        """
        tokens: list[int] = []
        parents: list[int] = []
        depths: list[int] = []
        ends: list[int] = []
        last: dict[Ids, int] = {}
        path: list[int] = []
        before: Ids = ()
        for sequence in sorted(set(sequences)):
            if not sequence:
                msg = "a sequence without tokens has no node"
                raise ValueError(msg)
            shared = _shared(before, sequence)
            fresh = range(len(tokens), len(tokens) + len(sequence) - shared)
            for node in path[shared:]:
                ends[node] = len(tokens)
            tokens += sequence[shared:]
            parents += [path[shared - 1] if shared else -1, *fresh[:-1]] if fresh else []
            depths += range(shared, len(sequence))
            ends += [0] * len(fresh)
            path[shared:] = fresh
            last[sequence] = path[-1]
            before = sequence
        for node in path:
            ends[node] = len(tokens)
        return cls(
            tokens=np.array(tokens, np.int64),
            parents=np.array(parents, np.int64),
            depths=np.array(depths, np.int64),
            ends=np.array(ends, np.int64),
            last=last,
        )

    def __len__(self) -> int:
        """Return the number of nodes: the tokens that pass through the network after perfect sharing."""
        return len(self.tokens)

    def chain(self, node: int) -> list[int]:
        """Return the nodes from the first token of a sequence to `node`; empty for -1."""
        found = []
        while node >= 0:
            found.append(node)
            node = int(self.parents[node])
        return found[::-1]

    def tail(self, sequence: Ids, count: int) -> list[int]:
        """Return the nodes of the last `count` tokens of a sequence, in order."""
        found = [self.last[sequence]]
        while len(found) < count:
            found.append(int(self.parents[found[-1]]))
        return found[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Tokens of a pack that attend together: a contiguous range, whose ancestors outside are one chain."""

    start: int
    """First token, counted within the pack."""
    stop: int
    keys: Ints
    """What the block may see, in the pack's key numbers: the chain above `start`, then the block itself; shape (K,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Nodes `start` to `stop` of a tree, passed in one go after the path above them.

    Key numbers count the kept path first, then the pack's own tokens: 0 ... P-1 and P ... P+T-1.
    """

    start: int
    stop: int
    path: int
    """Tokens P of the path that was kept from the packs before."""
    tokens: Ints
    """Shape (T,)."""
    positions: Ints
    """Of the pack's tokens, shape (T,). The token with key number k < P has position k."""
    ends: Ints
    """First key number, within this pack, behind the subtree of each key, shape (P+T,)."""
    blocks: tuple[Block, ...]
    keep: Ints
    """Key numbers of the path that the next pack needs."""

    def visible(self, block: Block) -> NDArray[np.bool_]:
        """Return which key each token of a block sees: itself and its ancestors; shape (tokens, keys)."""
        queries = np.arange(block.start, block.stop)[:, None] + self.path
        keys = block.keys[None, :]
        seen: NDArray[np.bool_] = (keys <= queries) & (queries < self.ends[keys])
        return seen

    def distances(self, block: Block) -> Ints:
        """Return how many positions each key lies before each token of a block; shape (tokens, keys)."""
        positions = np.concatenate([np.arange(self.path), self.positions])
        found: Ints = self.positions[block.start : block.stop, None] - positions[block.keys][None, :]
        return found


def cut(trie: Trie, budget: int, *, loads: Sequence[tuple[NDArray[np.int64], int]] = ()) -> list[tuple[int, int]]:
    """Cut a tree into ranges of at most `budget` nodes, evenly.

    Args:
        trie: The tree.
        budget: Nodes per range.
        loads: Further limits: what each node adds, shape (N,), and how much a range may hold; a single node may exceed.
    """
    if not len(trie):
        return []
    budget = max(1, budget)
    even = -(-len(trie) // -(-len(trie) // budget))
    even = min(budget, -(-even // GRAIN) * GRAIN)
    sums = [(np.concatenate([[0], np.cumsum(load)]), limit) for load, limit in loads]
    ranges = []
    start = 0
    while start < len(trie):
        stop = min(len(trie), start + even)
        for total, limit in sums:
            stop = min(stop, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        if stop < len(trie) and stop - start > GRAIN:
            stop -= (stop - start) % GRAIN
        stop = max(stop, start + 1)
        ranges.append((start, stop))
        start = stop
    return ranges


def keys_of(trie: Trie, start: int, node: int) -> list[int]:
    """Return the key numbers of `node` and all above it in a pack that begins at node `start`."""
    path = 0 if start >= len(trie) else int(trie.depths[start])
    return [one - start + path if one >= start else place for place, one in enumerate(trie.chain(node))]


def pack(trie: Trie, start: int, stop: int) -> Pack:
    """Lay out the nodes `start` to `stop` of a tree."""
    above = trie.chain(int(trie.parents[start]))
    path = len(above)
    blocks = tuple(
        Block(
            start=a,
            stop=b,
            keys=np.array([*keys_of(trie, start, int(trie.parents[start + a])), *range(path + a, path + b)], np.int64),
        )
        for a, b in _ranges(trie, start, stop)
    )
    below = int(trie.parents[stop]) if stop < len(trie) else -1
    return Pack(
        start=start,
        stop=stop,
        path=path,
        tokens=trie.tokens[start:stop],
        positions=trie.depths[start:stop],
        ends=np.minimum(np.concatenate([trie.ends[np.array(above, np.int64)], trie.ends[start:stop]]), stop)
        - start
        + path,
        blocks=blocks,
        keep=np.array(keys_of(trie, start, below), np.int64),
    )


def _ranges(trie: Trie, start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a pack into blocks: chains, short ones together with their neighbours where that is cheaper."""
    parents, depths = trie.parents[start:stop], trie.depths[start:stop]
    heads = np.flatnonzero(parents != np.arange(start - 1, stop - 1)).tolist()
    heads = sorted({0, *heads})
    pieces = [
        (a, min(a + BLOCK, end))
        for head, end in zip(heads, [*heads[1:], stop - start], strict=True)
        for a in range(head, end, BLOCK)
    ]
    blocks = [pieces[0]]
    for a, b in pieces[1:]:
        first, _ = blocks[-1]
        above, before, own = int(depths[first]), a - first, b - a
        apart = before * (above + before) + own * (int(depths[a]) + own) + _CALL
        if b - first <= BLOCK and (b - first) * (above + b - first) <= apart:
            blocks[-1] = (first, b)
        else:
            blocks.append((a, b))
    return blocks


def _shared(one: Ids, other: Ids) -> int:
    """Return how many tokens two sequences begin with alike."""
    count = min(len(one), len(other))
    if one[:count] == other[:count]:
        return count
    return next(i for i in range(count) if one[i] != other[i])
