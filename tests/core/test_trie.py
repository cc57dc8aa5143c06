"""The prefix tree against brute force: every distinct prefix once, and every token sees exactly its own prefix."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import trie as module
from harness.trie import Pack, Trie, cut, keys_of, pack

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    Ids = tuple[int, ...]

SEQUENCE = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
SEQUENCES = st.lists(SEQUENCE, min_size=1, max_size=14)
SOME = {"deadline": None, "max_examples": 60, "derandomize": True}


def prefixes(sequences: Iterable[Ids]) -> set[Ids]:
    """Return every distinct prefix that is not empty."""
    return {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}


def words(tree: Trie) -> list[Ids]:
    """Return what each node spells, from the parents alone."""
    spelt: list[Ids] = []
    for token, parent in zip(tree.tokens.tolist(), tree.parents.tolist(), strict=True):
        spelt.append((*(spelt[parent] if parent >= 0 else ()), token))
    return spelt


def same(one: Trie, other: Trie) -> bool:
    """Tell whether two trees are the same in every field."""
    arrays = ("tokens", "parents", "depths", "ends")
    return one.last == other.last and all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)


# --- the tree


@settings(**SOME)
@given(SEQUENCES)
def test_every_distinct_prefix_is_one_node(sequences: list[Ids]) -> None:
    """The nodes spell all distinct prefixes, each once, in lexicographic order."""
    tree = Trie.of(sequences)
    spelt = words(tree)
    assert len(tree) == len(spelt) == len(prefixes(sequences))
    assert spelt == sorted(prefixes(sequences))
    assert tree.depths.tolist() == [len(word) - 1 for word in spelt]


@settings(**SOME)
@given(SEQUENCES)
def test_chain_and_tail_spell_the_sequence(sequences: list[Ids]) -> None:
    """From the last node of a sequence back to its first token stands the sequence itself."""
    tree = Trie.of(sequences)
    assert tree.last.keys() == set(sequences)
    for sequence, node in tree.last.items():
        chain = tree.chain(node)
        assert tuple(tree.tokens[chain].tolist()) == sequence
        assert tree.depths[chain].tolist() == list(range(len(sequence)))
        for count in range(1, len(sequence) + 1):
            assert tree.tail(sequence, count) == chain[-count:]
    assert tree.chain(-1) == []


@settings(**SOME)
@given(SEQUENCES)
def test_a_subtree_is_a_range(sequences: list[Ids]) -> None:
    """Node j is node i or above it exactly if j <= i < ends[j], and parents lie on the path of the node before."""
    tree = Trie.of(sequences)
    spelt = words(tree)
    for i, word in enumerate(spelt):
        above = {j for j, other in enumerate(spelt) if word[: len(other)] == other}
        assert above == {j for j in range(len(tree)) if j <= i < tree.ends[j]}
        assert above == set(tree.chain(i))
    for node in range(1, len(tree)):
        assert tree.parents[node] in {-1, *tree.chain(node - 1)}


@settings(**SOME)
@given(SEQUENCES, st.randoms(use_true_random=False))
def test_order_and_doubles_do_not_matter(sequences: list[Ids], chance: random.Random) -> None:
    """The tree depends on the set of sequences alone; a prefix of another one adds a name and no node."""
    mixed = [*sequences, *chance.choices(sequences, k=5)]
    chance.shuffle(mixed)
    assert same(Trie.of(mixed), Trie.of(sequences))
    shorter = [sequence[: chance.randint(1, len(sequence))] for sequence in sequences]
    assert len(Trie.of([*sequences, *shorter])) == len(Trie.of(sequences))


def test_nothing_and_empty_sequences() -> None:
    """No sequences make an empty tree without packs; an empty sequence has no node and is refused."""
    assert len(Trie.of([])) == 0
    assert cut(Trie.of([]), 8) == []
    with pytest.raises(ValueError, match="without tokens"):
        Trie.of([(1,), ()])


def test_a_long_sequence_does_not_exhaust_the_stack() -> None:
    """Twenty thousand tokens in a row are one chain."""
    tree = Trie.of([tuple(range(20_000)), tuple(range(19_999))])
    assert len(tree) == 20_000
    assert tree.chain(19_999) == list(range(20_000))
    assert tree.tail(tuple(range(19_999)), 2) == [19_997, 19_998]


# --- cutting


LOADS = st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.integers(1, 9)), max_size=2)


@settings(**SOME)
@given(SEQUENCES, st.integers(1, 30), LOADS)
def test_a_cut_covers_all_in_order_and_keeps_its_limits(
    sequences: list[Ids], budget: int, loads: list[tuple[list[int], int]]
) -> None:
    """Ranges join without gap or overlap; only a single node may hold more than a range should."""
    tree = Trie.of(sequences)
    spread = [(np.resize(np.array(load), len(tree)), limit) for load, limit in loads]
    ranges = cut(tree, budget, loads=spread)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(tree)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    for start, stop in ranges:
        assert 1 <= stop - start <= budget
        for load, limit in spread:
            assert load[start:stop].sum() <= limit or stop - start == 1
    assert ranges == cut(Trie.of(reversed(sequences)), budget, loads=spread)


@settings(**SOME)
@given(SEQUENCES, st.integers(1, 30))
def test_a_cut_without_loads_is_even(sequences: list[Ids], budget: int) -> None:
    """As few ranges as the budget allows, and none much shorter than another but the last."""
    tree = Trie.of(sequences)
    sizes = [stop - start for start, stop in cut(tree, budget)]
    assert len(sizes) <= -(-len(tree) // budget)
    assert len(set(sizes[:-1])) <= 1
    assert sizes[-1] <= sizes[0]


def test_a_budget_below_one_passes_single_tokens() -> None:
    """A budget that not even one token fits still gets through the tree."""
    assert cut(Trie.of([(1, 2), (1, 3)]), 0) == [(0, 1), (1, 2), (2, 3)]


# --- packs


def check(tree: Trie, ranges: Sequence[tuple[int, int]]) -> None:
    """Walk the packs as an engine does, and compare what every token sees with what it spells."""
    spelt = words(tree)
    held: list[int] = []  # the nodes whose keys are kept
    for start, stop in ranges:
        current = pack(tree, start, stop)
        nodes = [*held, *range(start, stop)]
        assert (current.start, current.stop, current.path) == (start, stop, len(held))
        assert current.tokens.tolist() == tree.tokens[start:stop].tolist()
        assert current.positions.tolist() == [len(spelt[node]) - 1 for node in range(start, stop)]
        assert [tree.depths[node] for node in held] == list(range(len(held)))
        _check_blocks(current, nodes, spelt)
        for node in range(start, stop):
            assert [nodes[key] for key in keys_of(tree, start, node)] == tree.chain(node)
        held = [nodes[key] for key in current.keep.tolist()]
        assert held == (tree.chain(int(tree.parents[stop])) if stop < len(tree) else [])


def _check_blocks(current: Pack, nodes: Sequence[int], spelt: Sequence[Ids]) -> None:
    size = current.stop - current.start
    assert [i for block in current.blocks for i in range(block.start, block.stop)] == list(range(size))
    for block in current.blocks:
        keys = block.keys.tolist()
        assert 1 <= block.stop - block.start <= module.BLOCK
        assert keys == sorted(set(keys))
        seen, far = current.visible(block), current.distances(block)
        assert seen.shape == far.shape == (block.stop - block.start, len(keys))
        for line, token in enumerate(range(block.start, block.stop)):
            word = spelt[current.start + token]
            mine = [nodes[key] for key, shown in zip(keys, seen[line].tolist(), strict=True) if shown]
            assert [spelt[node] for node in mine] == [word[: i + 1] for i in range(len(word))]
            assert far[line][seen[line]].tolist() == list(range(len(word) - 1, -1, -1))


@settings(**SOME)
@given(SEQUENCES, st.integers(1, 40))
def test_every_token_of_an_even_cut_sees_its_own_prefix(sequences: list[Ids], budget: int) -> None:
    """Whatever the budget: path, own tokens and nothing of the neighbours, in order of position."""
    tree = Trie.of(sequences)
    check(tree, cut(tree, budget))


@settings(**SOME)
@given(SEQUENCES, st.sets(st.integers(1, 60), max_size=8))
def test_every_token_of_any_cut_sees_its_own_prefix(sequences: list[Ids], stops: set[int]) -> None:
    """A pack may end anywhere, as one does that was halved for want of memory."""
    tree = Trie.of(sequences)
    inner = sorted(stop for stop in stops if stop < len(tree))
    check(tree, list(pairwise([0, *inner, len(tree)])))


@settings(**SOME)
@given(SEQUENCES, st.integers(1, 40), st.sampled_from([1, 2, 3, 5]), st.sampled_from([0, 10, 60]))
def test_blocks_of_any_size_show_the_same(sequences: list[Ids], budget: int, block: int, call: int) -> None:
    """How tokens are put into blocks is a matter of speed alone."""
    tree = Trie.of(sequences)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "_CALL", call)
        check(tree, cut(tree, budget))


@pytest.mark.parametrize("lengths", [(255, 3), (256, 3), (257, 3), (600, 1)])
def test_chains_about_as_long_as_a_block(lengths: tuple[int, int]) -> None:
    """A chain is cut at the size of a block, and its branches hang where they belong."""
    trunk, branch = (tuple(range(length)) for length in lengths)
    tree = Trie.of([trunk + branch, (*trunk, 9, 9), trunk[:100] + branch, (trunk[0], 8, 8, 8, 8)])
    check(tree, [(0, len(tree))])
    check(tree, cut(tree, 130))
