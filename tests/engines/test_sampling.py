"""Tokens from distributions against numpy in float64: the inverse of the cumulative distribution, in order of ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.engines.transformers.answers import Sample, advance, normaliser
from harness.engines.transformers.sampling import Draw, choose, stream
from harness.errors import NumericError
from harness.request import Generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZES = (1, 2, 511, 512, 513, 1025)
"""Vocabularies about the block of tokens that are summed at once."""
TOP = math.nextafter(1.0, 0.0)
NEAR = 1e-5
"""Share by which a cumulative distribution from float32 weights may differ from one in float64."""
SOME: dict[str, Any] = {"deadline": None, "max_examples": 60, "derandomize": True}


def asked(**changes: Any) -> Generate:
    """Return a request to sample."""
    return Generate(**{"messages": "x", "max_tokens": 1, "temperature": 1.0, **changes})


def logits_of(seed: int, size: int, rows: int = 1, spread: float = 3.0) -> torch.Tensor:
    """Return random logits, no two of a row alike, shape (rows, size)."""
    numbers = np.random.default_rng(seed).permuted(np.tile(np.linspace(-spread, spread, size), (rows, 1)), axis=1)
    return torch.from_numpy(numbers.astype(np.float32))


def shares(logits: torch.Tensor, request: Generate) -> NDArray[np.float64]:
    """Return the probabilities of one row in float64: temperature, then top-k, then top-p."""
    scaled = logits.double().numpy() / request.temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")
    if request.top_k:
        weights[order[request.top_k :]] = 0.0
    probs: NDArray[np.float64] = weights / weights.sum()
    if request.top_p < 1.0:
        before = np.concatenate([[0.0], np.cumsum(probs[order])[:-1]])
        probs[order[before >= request.top_p]] = 0.0
    return probs / probs.sum()


def fits(token: int, probs: NDArray[np.float64], uniform: float) -> bool:
    """Tell whether `token` is where the cumulative distribution passes `uniform`, but for rounding."""
    upper = np.cumsum(probs)
    lower = upper[token] - probs[token]
    return bool(probs[token] > 0 and lower - NEAR <= uniform <= upper[token] + NEAR)


@settings(**SOME)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from(SIZES),
    temperature=st.floats(0.05, 20.0),
    top_k=st.sampled_from([0, 0, 1, 2, 40, 512, 2000]),
    uniforms=st.lists(st.floats(0.0, TOP), min_size=1, max_size=5),
)
def test_a_token_is_where_the_distribution_passes_the_number(
    seed: int, size: int, temperature: float, top_k: int, uniforms: list[float]
) -> None:
    """Temperature and top-k, whatever the vocabulary and the number."""
    logits, request = logits_of(seed, size), asked(temperature=temperature, top_k=top_k)
    probs = shares(logits[0], request)
    for token, uniform in zip(choose(logits, [Draw(0, request, u) for u in uniforms]), uniforms, strict=True):
        assert fits(token, probs, uniform)


@settings(**SOME)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from(SIZES),
    heat=st.tuples(st.floats(0.2, 5.0), st.sampled_from([0, 3, 40])),
    top_p=st.floats(0.01, 1.0),
    uniform=st.floats(0.0, TOP),
)
def test_a_token_is_of_the_nucleus(seed: int, size: int, heat: tuple[float, int], top_p: float, uniform: float) -> None:
    """Top-p after top-k; a token at the very edge of the nucleus may be in or out by rounding."""
    logits, (temperature, top_k) = logits_of(seed, size), heat
    [token] = choose(logits, [Draw(0, asked(temperature=temperature, top_k=top_k, top_p=top_p), uniform)])
    edges = {max(1e-9, top_p - NEAR), top_p, min(1.0, top_p + NEAR)}
    nuclei = [shares(logits[0], asked(temperature=temperature, top_k=top_k, top_p=edge)) for edge in edges]
    assert any(fits(token, probs, uniform) for probs in nuclei)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("changes", [{}, {"top_p": 0.9}, {"top_k": 7}, {"temperature": 0.01}, {"temperature": 1e30}])
def test_the_ends_of_the_interval_give_the_ends_of_the_support(size: int, changes: dict[str, Any]) -> None:
    """Zero gives the first token with a share, the number just below one the last; outside of it there is none."""
    logits, request = logits_of(3, size), asked(**changes)
    probs = shares(logits[0], request)
    low, high = choose(logits, [Draw(0, request, 0.0), Draw(0, request, TOP)])
    assert probs[low] > 0
    assert probs[high] > 0
    if request.temperature >= 1.0:  # colder ones have tokens whose shares float32 does not know
        assert (low, high) == (np.flatnonzero(probs)[0], np.flatnonzero(probs)[-1])


@settings(**SOME)
@given(seed=st.integers(0, 10_000), size=st.sampled_from(SIZES), alive=st.integers(1, 3), uniform=st.floats(0.0, TOP))
def test_a_token_without_weight_is_never_drawn(seed: int, size: int, alive: int, uniform: float) -> None:
    """Whole blocks of the vocabulary that underflow to nothing are passed over, before, between and behind."""
    living = np.random.default_rng(seed).choice(size, size=min(size, alive), replace=False)
    logits = torch.full((1, size), -1000.0)
    logits[0, living] = torch.linspace(0.0, 1.0, len(living))
    assert set(choose(logits, [Draw(0, asked(), u) for u in (0.0, uniform, TOP)])) <= set(living.tolist())


def test_equal_logits_fall_by_number_of_the_token() -> None:
    """In a flat distribution the number is the token, at and between the borders."""
    logits = torch.zeros(1, 1024)
    uniforms = [0.0, 511.5 / 1024, 512 / 1024, math.nextafter(0.5, 0.0), 1023 / 1024, TOP]
    assert choose(logits, [Draw(0, asked(), u) for u in uniforms]) == [0, 511, 512, 511, 1023, 1023]
    assert choose(logits, [Draw(0, asked(top_k=2), u) for u in (0.0, TOP)]) == [0, 1]
    assert choose(logits, [Draw(0, asked(temperature=0.0), TOP)]) == [0]


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7, "top_k": 30}, {"temperature": 1.5, "top_p": 0.8}])
def test_many_draws_have_the_shares_of_the_distribution(changes: dict[str, Any]) -> None:
    """Chi-square over the tokens of a vocabulary of two blocks."""
    count, logits, request = 20_000, logits_of(11, 513, spread=2.0), asked(**changes)
    numbers = stream(7, 0)
    tokens = choose(logits, [Draw(0, request, float(numbers.random())) for _ in range(count)])
    probs = shares(logits[0], request)
    found = np.bincount(tokens, minlength=len(probs))
    assert not found[probs == 0].any()
    kept = probs > 0
    assert stats.chisquare(found[kept], count * probs[kept] / probs[kept].sum()).pvalue > 1e-3


@settings(**SOME)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from(SIZES),
    order=st.permutations(range(6)),
    extra=st.lists(st.integers(0, 5), max_size=9),
)
def test_rows_and_their_order_do_not_matter(seed: int, size: int, order: list[int], extra: list[int]) -> None:
    """A draw gives the same token alone, in another place, and beside draws of other rows and settings."""
    logits = logits_of(seed, size, rows=6)
    kinds = (asked(), asked(temperature=0.0), asked(temperature=0.8, top_k=5), asked(top_p=0.7), asked(temperature=2.0))
    numbers = stream(seed, 0)
    draws = [Draw(row, kinds[(row + i) % 5], float(numbers.random())) for i, row in enumerate([*range(6), *extra])]
    together = choose(logits, draws)
    assert together == [choose(logits[d.row : d.row + 1], [Draw(0, d.request, d.uniform)])[0] for d in draws]
    place = {row: i for i, row in enumerate(order)}
    moved = [Draw(place[d.row], d.request, d.uniform) for d in draws]
    assert choose(logits[list(order)], moved[::-1]) == together[::-1]


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-30, 1e-10, 1e30, 1e300])
def test_extreme_temperatures_are_greedy_or_flat(temperature: float) -> None:
    """The coldest is the likeliest token, the hottest all alike; neither overflows."""
    logits = torch.tensor([[1.0, 5.0, 2.0, 0.0]])
    found = choose(logits, [Draw(0, asked(temperature=temperature), u) for u in (0.1, 0.4, 0.6, 0.9)])
    assert found == ([1] * 4 if temperature < 1 else [0, 1, 2, 3])


def test_the_numbers_of_a_sample_are_its_own() -> None:
    """Seed and index decide the random numbers; neighbours, large and negative seeds are told apart."""
    drawn = {
        (seed, index): tuple(stream(seed, index).random(4)) for seed in (-1, 0, 1, 2**63, 2**64 - 2) for index in (0, 1)
    }
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[0, 1] == tuple(stream(0, 1).random(4))
    assert all(0.0 <= number < 1.0 for numbers in drawn.values() for number in numbers)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(spoilt: float) -> None:
    """One bad logit anywhere in any row is an error, whatever would have been drawn."""
    logits = logits_of(5, 513, rows=3)
    assert normaliser(logits) == pytest.approx(np.logaddexp.reduce(logits.double().numpy(), axis=-1), abs=1e-5)
    logits[1, 512] = spoilt
    with pytest.raises(NumericError, match="NaN or infinity"):
        normaliser(logits)


def _taken(texts: Sequence[str], **changes: Any) -> Sample:
    """Return a sample that has taken tokens of these texts until it was done."""
    sample = Sample(item=0, number=0, request=asked(temperature=0.0, **changes), numbers=None)
    for token in range(len(texts)):
        if sample.reason is None:
            row = torch.zeros(1, len(texts) + 1)
            row[0, token] = 9.0
            advance([[sample]], row, frozenset({len(texts)}), lambda ids: "".join(texts[i] for i in ids))
    return sample


@pytest.mark.parametrize(
    ("texts", "stop", "text", "count"),
    [
        (["a", "b", "c", "d"], ("c",), "ab", 3),
        (["a", "bc", "d"], ("cd",), "ab", 3),
        (["a", "bcd", "e"], ("d", "b"), "a", 2),
        (["x"] * 30 + ["s", "t", "o", "p", "y"], ("stop",), "x" * 30, 34),
        (["st", "op", "!"], ("stop",), "", 2),
        (["a", "b"], ("z",), "ab", 2),
    ],
)
def test_a_stop_string_ends_a_sample_wherever_it_falls(
    texts: list[str], stop: tuple[str, ...], text: str, count: int
) -> None:
    """Within a token, across tokens, at once, never; the first of several cuts."""
    sample = _taken(texts, max_tokens=len(texts), stop=stop)
    done = sample.completion(lambda ids: "".join(texts[i] for i in ids))
    assert (done.text, len(done.token_ids)) == (text, count)
    assert done.finish_reason == ("length" if stop == ("z",) else "stop")


def test_tokens_masked_with_the_least_number_are_no_error() -> None:
    """Their sum overflows, they do not."""
    least = torch.finfo(torch.float32).min
    assert normaliser(torch.tensor([[0.0, least, least, least], [0.0, 0.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [0.0, math.log(4)]
    )
