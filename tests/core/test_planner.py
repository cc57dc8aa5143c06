"""The planner loses nothing, doubles nothing, keeps the budget, and does not care who asked first."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import planner
from harness.engines.base import Encoded
from harness.request import Generate, Loglikelihood

if TYPE_CHECKING:
    from collections.abc import Sequence


def scored(prompt: Sequence[int], *continuations: tuple[int, ...]) -> Encoded:
    """Return an encoded `Loglikelihood` with these token ids."""
    names = tuple(f"c{index}" for index in range(len(continuations)))
    request = Loglikelihood(messages="x", continuations=names)
    return Encoded(request=request, prompt="x", prompt_ids=tuple(prompt), continuation_ids=continuations)


def generated(prompt: Sequence[int], max_tokens: int = 4, n: int = 1, seed: int = 0) -> Encoded:
    """Return an encoded `Generate` with these token ids."""
    request = Generate(messages="x", max_tokens=max_tokens, n=n, seed=seed, temperature=1.0)
    return Encoded(request=request, prompt="x", prompt_ids=tuple(prompt))


IDS = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)
ENCODED = st.one_of(
    st.builds(lambda prompt, rest: scored(prompt, *rest), IDS, st.lists(IDS, min_size=1, max_size=4)),
    st.builds(generated, IDS, st.integers(1, 5), st.integers(1, 3), st.integers(0, 9)),
)
REQUESTS = st.lists(ENCODED, max_size=20, unique_by=lambda item: item.fingerprint)


def test_continuations_of_one_token_share_the_row_of_their_prompt() -> None:
    """Continuations of one token share the row of their prompt."""
    assert planner.rows(scored((7, 8), (1,), (2,), (3,))) == ((7, 8),)


def test_a_row_that_opens_another_is_left_out() -> None:
    """A row that opens another is left out."""
    item = scored((7, 8), (1,), (1, 2), (1, 2, 3), (4, 5))
    # The scores of (1,) and (1, 2) are read off the row of (1, 2, 3); the last token is never put in.
    assert planner.rows(item) == ((7, 8, 1, 2), (7, 8, 4))


def test_a_row_is_not_left_out_for_a_number_that_only_begins_alike() -> None:
    """A row is not left out for a number that only begins alike."""
    assert planner.rows(scored((7,), (1, 0), (10, 0))) == ((7, 1), (7, 10))


def test_an_empty_prompt_has_its_own_row() -> None:
    """An empty prompt has its own row."""
    assert planner.rows(scored((), (5,))) == ((),)
    assert planner.rows(scored((), (5,), (6, 7))) == ((6,),)


@given(IDS, st.lists(IDS, min_size=1, max_size=6))
def test_every_continuation_can_be_read_off_some_row_and_no_row_is_idle(
    prompt: tuple[int, ...], continuations: list[tuple[int, ...]]
) -> None:
    """Every continuation can be read off some row and no row is idle."""
    rows = planner.rows(scored(prompt, *continuations))
    needed = [prompt + ids[:-1] for ids in continuations]
    assert all(any(row[: len(need)] == need for row in rows) for need in needed)
    assert set(rows) <= set(needed)
    assert not [row for row in rows for other in rows if row is not other and other[: len(row)] == row]


def test_tokens_count_new_tokens_at_their_limit() -> None:
    """Tokens count new tokens at their limit."""
    assert planner.tokens(generated((1, 2, 3), max_tokens=10, n=4)) == 3 + 40
    assert planner.tokens(scored((1, 2), (3, 4), (5,))) == 3


def test_cost_tells_what_was_asked_and_what_was_left_of_it() -> None:
    """Cost tells what was asked and what was left of it."""
    cost = planner.cost(9, iter([generated((1, 2)), scored((1,), (2,))]))
    assert (cost.requests, cost.unique, cost.tokens, cost.alone) == (9, 2, 6, 7)
    assert cost.seconds(3.0) == pytest.approx(2.0)


@settings(deadline=None)
@given(REQUESTS, st.integers(1, 60))
def test_nothing_is_lost_nothing_doubled_and_batches_are_homogeneous(requests: list[Encoded], budget: int) -> None:
    """Nothing is lost nothing doubled and batches are homogeneous."""
    batches = planner.plan(requests, budget)
    planned = [item.fingerprint for batch in batches for item in batch.items]
    assert sorted(planned) == sorted(item.fingerprint for item in requests)
    for batch in batches:
        assert len({type(item.request) for item in batch.items}) == 1


def padded(items: Sequence[Encoded]) -> int:
    """Return rows times the longest row, counted in the slow and plain way."""
    lengths = []
    for item in items:
        if isinstance(item.request, Generate):
            lengths += [len(item.prompt_ids) + item.request.max_tokens] * item.request.n
        else:
            lengths += [len(row) for row in planner.rows(item)]
    return len(lengths) * max(lengths)


@settings(deadline=None)
@given(REQUESTS, st.integers(1, 60))
def test_the_budget_is_kept_and_used(requests: list[Encoded], budget: int) -> None:
    """The budget is kept and used."""
    batches = planner.plan(requests, budget)
    for batch in batches:
        assert batch.padded_tokens == padded(batch.items)
        assert batch.padded_tokens <= budget or len(batch.items) == 1
    for batch, after in itertools.pairwise(batches):
        if type(batch.items[0].request) is type(after.items[0].request):
            assert padded([*batch.items, after.items[0]]) > budget


@settings(deadline=None)
@given(REQUESTS, st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_plan_does_not_hang_on_the_order_of_asking(
    requests: list[Encoded], budget: int, shuffler: random.Random
) -> None:
    """The plan does not hang on the order of asking."""
    shuffled = list(requests)
    shuffler.shuffle(shuffled)
    assert planner.plan(shuffled, budget) == planner.plan(requests, budget)


def test_the_widest_batch_comes_first() -> None:
    """The widest batch comes first."""
    requests = [generated(range(length)) for length in range(1, 30)]
    random.Random(1).shuffle(requests)  # noqa: S311 - an order, no secret
    widths = [len(batch.items[0].prompt_ids) for batch in planner.plan(requests, 100)]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_halves_are_the_whole_and_neither_is_empty(count: int) -> None:
    """Halves are the whole and neither is empty."""
    [batch] = planner.plan([generated((1, index)) for index in range(count)], 10_000)
    first, second = batch.halves()
    assert first.items + second.items == batch.items
    assert abs(len(first.items) - len(second.items)) <= 1
    assert first.items
    assert second.items


def test_nothing_is_planned_for_nothing() -> None:
    """Nothing is planned for nothing."""
    assert planner.plan([], 10) == ()
    assert planner.cost(0, []) == planner.Cost()


def test_a_large_plan_looks_at_each_request_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large plan looks at each request a few times only."""
    # Quadratic work here is felt first by those with the largest devices, whose batches hold thousands of requests.
    seen = []
    true_rows = planner.rows
    monkeypatch.setattr(planner, "rows", lambda item: seen.append(item) or true_rows(item))
    requests = [scored((index, 1), (2,), (3, 4)) for index in range(500)]
    planner.plan(requests, 10**9)
    assert len(seen) <= 8 * len(requests)
