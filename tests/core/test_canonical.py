"""Canonical JSON, digests and seeds depend on what is said, not on how it lies in memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import canonical_json, derive_seed, digest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_the_order_of_keys_does_not_matter(data: Any) -> None:
    """The order of keys does not matter."""
    backwards = dict(reversed(data.items()))
    assert canonical_json(data) == canonical_json(backwards)
    assert digest(data) == digest(backwards)


def test_lists_and_tuples_are_the_same_and_their_order_matters() -> None:
    """Lists and tuples are the same and their order matters."""
    assert digest([1, 2]) == digest((1, 2))
    assert digest([1, 2]) != digest([2, 1])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_word_for_is_refused(number: float) -> None:
    """What JSON has no word for is refused."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": [number]})


def test_digests_name_their_algorithm_and_are_the_published_ones() -> None:
    """Digests name their algorithm and are the published ones."""
    assert digest(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    # printf '{"a":1,"b":[true,null]}' | sha256sum
    assert digest({"b": [True, None], "a": 1}) == digest(b'{"a":1,"b":[true,null]}')


def test_half_a_surrogate_pair_can_be_digested() -> None:
    """Half a surrogate pair can be digested."""
    assert digest("\ud800") != digest("\ud801")


@given(st.integers(), st.lists(st.text(), max_size=3))
def test_seeds_fit_63_bits_and_repeat(run_seed: int, parts: list[str]) -> None:
    """Seeds fit 63 bits and repeat."""
    seed = derive_seed(run_seed, *parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(run_seed, *parts)


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    """Records of old runs can be repeated: printf '[7,"suite","item"]' | sha256sum, the first 63 bits."""
    assert derive_seed(7, "suite", "item") == 0x6B77EF58F71B7106 >> 1


def test_seeds_hang_on_every_part_and_on_where_parts_end() -> None:
    """Seeds hang on every part and on where parts end."""
    seeds = [
        derive_seed(0, "suite", "case"),
        derive_seed(1, "suite", "case"),
        derive_seed(0, "suitecase"),
        derive_seed(0, "suite", "case", ""),
        derive_seed(0, "case", "suite"),
        derive_seed(0, "suit", "ecase"),
    ]
    assert len(set(seeds)) == len(seeds)
