"""A round through one prefix tree on tiny models: the same answers in any company and room, nothing passed twice."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.broker import Broker
from harness.engines.base import Encoded, EngineOptions, Streaming
from harness.engines.transformers import TransformersEngine, open_transformers, packs, pool, streaming
from harness.engines.transformers.memory import Room
from harness.engines.transformers.streaming import Ledger
from harness.errors import NumericError
from harness.request import Completions, Failure, Generate, Loglikelihood, Scores
from harness.trie import Trie
from tests.tiny_models import build_tiny
from tests.tiny_requests import LIMIT, Plain, generating, scoring, shifts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.request import Answer

    Ids = tuple[int, ...]

NEAR = 1e-4
"""Nats by which packs of another size may shift a log-probability."""
WIDE = Room(tokens=4096, places=1000, rows=1000)
CONTEXT = 400
STEM = tuple(range(10, 30))
"""A prefix longer than the window of gemma2."""
ENDS = ((41,), (41, 42), (41, 42, 43), (44, 45))
TAILS = ((50,), (50, 51), (50, 51, 52, 53), (60, 61, 62), (50, 70))


@dataclass(slots=True)
class Result:
    """What came of a round."""

    answers: dict[int, Answer] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def ids(self) -> list[list[Ids]]:
        """Sampled tokens by request and sample."""
        return [[part.token_ids for part in _parts(self.answers[n])] for n in sorted(self.answers)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """An engine whose weights are loaded, and the stock model."""

    engine: TransformersEngine
    plain: Plain

    def ask(self, items: Sequence[Encoded], room: Room = WIDE, *, ends: Iterable[int] = ()) -> Result:
        """Answer a round; each request exactly once."""
        result = Result()
        for number, answer in self.begin(items, room, result, ends=ends):
            assert number not in result.answers
            result.answers[number] = answer
            result.order.append(number)
        assert sorted(result.answers) == list(range(len(items)))
        return result

    def begin(self, items: Sequence[Encoded], room: Room, result: Result, *, ends: Iterable[int] = ()) -> Any:
        """Return the stream of a round."""
        loaded = self.engine._loaded
        assert loaded is not None
        decode = self.engine._prompts().text
        limits = {"room": room, "ledger": result.ledger, "ends": frozenset(ends), "decode": decode}
        return streaming.stream(loaded, items, **limits)


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A plain model; and one with windows, capped scores and capped logits."""
    return _load(tmp_path_factory.mktemp("tiny") / request.param, request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """One model, where the architecture does not matter."""
    return _load(tmp_path_factory.mktemp("tiny") / "llama", "llama")


def _load(folder: Path, architecture: str) -> Tiny:
    build_tiny(folder, architecture, context=CONTEXT)
    engine = open_transformers(str(folder), EngineOptions(device="cpu"))
    assert isinstance(engine, TransformersEngine)
    assert isinstance(engine, Streaming)
    engine.run([score((5,), (6,))])
    assert engine.policy == "trie"
    return Tiny(engine=engine, plain=Plain.load(folder))


def score(prompt: Ids, *continuations: Ids) -> Encoded:
    """Return a request to score."""
    request = Loglikelihood(messages="x", continuations=tuple(f" {i}" for i in range(len(continuations))))
    return Encoded(request=request, prompt="x", prompt_ids=prompt, continuation_ids=continuations)


def generate(prompt: Ids, **asked: Any) -> Encoded:
    """Return a request to generate."""
    request = Generate(**{"messages": "x", "max_tokens": 6, **asked})
    return Encoded(request=request, prompt="x", prompt_ids=prompt)


def mixed() -> list[Encoded]:
    """Return requests of both kinds: prompts within prompts, equal ones, one prompt scored and sampled."""
    warm = {"n": 3, "temperature": 1.0, "seed": 4}
    scored = [score(STEM + tail, *ENDS) for tail in TAILS]
    drawn = [generate(STEM + tail, **warm) for tail in TAILS[:3]]
    greedy = [generate(STEM[:1]), generate(STEM + TAILS[1], n=2), generate(STEM, max_tokens=1)]
    return [*scored, score(STEM, (50, 51, 52), (50,)), score((7,), (8,)), *drawn, *greedy]


def least(items: Sequence[Encoded], answers: dict[int, Answer]) -> int:
    """Return the tokens that must pass: distinct prefixes of what is read, and of what was sampled but for its end."""
    rows = [item.prompt_ids + ids[:-1] for item in items for ids in (item.continuation_ids or ((),))]
    nodes = {row[:length] for row in rows for length in range(1, len(row) + 1)}
    sampled = {
        (items[number].prompt_ids, part.token_ids[:length])
        for number, answer in answers.items()
        if isinstance(answer, Completions)
        for part in answer.completions
        for length in range(1, len(part.token_ids))
    }
    return len(nodes) + len(sampled)


def _parts(answer: Answer) -> Sequence[Any]:
    return answer.continuations if isinstance(answer, Scores) else answer.completions


def apart(one: dict[int, Answer], other: dict[int, Answer]) -> float:
    """Return how far two rounds lie apart in nats; infinitely if they have other tokens."""
    found = [0.0]
    for number, answer in one.items():
        for a, b in zip(_parts(answer), _parts(other[number]), strict=True):
            if a.token_ids != b.token_ids:
                return math.inf
            found += [abs(x - y) for x, y in zip(a.token_logprobs, b.token_logprobs, strict=True)]
    return max(found)


# --- the same answers


def test_answers_are_those_of_a_plain_forward(tiny: Tiny) -> None:
    """Scores and samples carry the log-probabilities of each sequence alone; greedy ones take the likeliest token."""
    items = mixed()
    found = tiny.ask(items).answers
    assert max(shifts(tiny.plain, found.values())) < LIMIT
    for number in (10, 11):
        answer = found[number]
        assert isinstance(answer, Completions)
        ids = answer.completions[0].token_ids
        assert tiny.plain.after(answer.prompt_ids, ids).argmax(-1).tolist() == list(ids)


@pytest.mark.parametrize("room", [WIDE, Room(tokens=16, places=9, rows=1000)])
def test_scores_do_not_depend_on_order_or_doubles_by_a_single_bit(tiny: Tiny, room: Room) -> None:
    """In one room, shuffled and repeated requests to score have equal numbers, not only close ones."""
    items = scoring(200)[::2]
    expected = tiny.ask(items, room).answers
    mix = [*range(len(items)), 3, 3, 0, 11]
    random.Random(5).shuffle(mix)  # noqa: S311 - an order, not a secret
    found = tiny.ask([items[i] for i in mix], room)
    assert [found.answers[place] for place in range(len(mix))] == [expected[i] for i in mix]
    assert found.ledger.passed == least(items, {})


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize(("tokens", "places"), [(1, 5), (7, 1), (7, 5), (64, 1), (64, 5), (4096, 1)])
def test_answers_do_not_depend_on_the_room(tiny: Tiny, tokens: int, places: int, rows: int) -> None:
    """One token at a time or all at once: the same tokens are sampled, with the same log-probabilities."""
    items = mixed()
    expected = tiny.ask(items).answers
    found = tiny.ask(items, Room(tokens=tokens, places=places, rows=rows)).answers
    assert apart(expected, found) < NEAR


def test_no_pack_exceeds_the_room(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, places that are read, and rows that are decoded keep to what there is room for."""
    seen: list[tuple[int, int]] = []
    stepped: list[int] = []
    _watch(monkeypatch, packs, lambda ids, places: seen.append((ids.shape[1], len(places))))
    _watch(monkeypatch, pool, lambda ids, _: stepped.append(ids.shape[1]))
    llama.ask(mixed(), Room(tokens=9, places=2, rows=4))
    assert max(tokens for tokens, _ in seen) <= 9
    assert max(places for _, places in seen) <= 2
    assert max(stepped) <= 4
    assert len(stepped) > 6


def _watch(monkeypatch: pytest.MonkeyPatch, module: Any, tell: Callable[..., Any]) -> None:
    """Tell of every pass through the network that a module makes, before it is made."""
    plain = module.forward_at

    def forward(loaded: Any, ids: torch.Tensor, rows: torch.Tensor, places: torch.Tensor, **more: Any) -> torch.Tensor:
        tell(ids, places)
        return plain(loaded, ids, rows, places, **more)

    monkeypatch.setattr(module, "forward_at", forward)


@pytest.mark.parametrize("tokens", [13, 4096])
def test_blocks_filled_up_to_one_shape_give_the_same(tiny: Tiny, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks in one call, as on a GPU, show no token more or less than blocks one by one."""
    items = scoring(200)[::2]
    expected = tiny.ask(items).answers
    grouped: list[int] = []
    plain = packs._groups

    def groups(pack: Any, *, alone: bool) -> Any:
        assert alone
        found = plain(pack, alone=False)
        grouped.extend(map(len, found))
        return found

    monkeypatch.setattr(packs, "_groups", groups)
    monkeypatch.setattr("harness.trie.BLOCK", 8)
    assert apart(expected, tiny.ask(items, Room(tokens=tokens, places=1000, rows=8)).answers) < NEAR
    assert max(grouped) > 1


# --- nothing twice


@pytest.mark.parametrize("room", [WIDE, Room(tokens=7, places=3, rows=1000)])
def test_every_distinct_prefix_passes_once(tiny: Tiny, room: Room) -> None:
    """What was passed is the least there is: the nodes of the tree and the distinct sampled prefixes."""
    items = mixed()
    result = tiny.ask(items, room)
    assert result.ledger.passed == result.ledger.minimum == least(items, result.answers)
    assert result.ledger.notes == []


def test_a_prompt_that_is_scored_and_sampled_passes_once(llama: Tiny) -> None:
    """Scores need the prompt and all but the last token; samples of the same prompt begin at its end."""
    prompt = STEM[:10]
    assert llama.ask([score(prompt, (5, 6), (5, 7), (8,))]).ledger.passed == 10 + 1
    assert llama.ask([generate(prompt, max_tokens=1)]).ledger.passed == 10
    assert llama.ask([generate(prompt, max_tokens=4)]).ledger.passed == 10 + 3
    both = [score(prompt, (5, 6), (5, 7), (8,)), generate(prompt, max_tokens=4), generate(prompt, max_tokens=4, n=5)]
    assert llama.ask(both).ledger.passed == 10 + 1 + 3


def test_prompts_that_begin_other_prompts_pass_within_them(llama: Tiny) -> None:
    """A chain of prompts costs as many tokens as the longest, scored or sampled."""
    items = [score(STEM[:length], (5,), (6,)) for length in range(1, 21)]
    items += [generate(STEM[:length], max_tokens=1) for length in range(1, 21)]
    result = llama.ask(items)
    assert result.ledger.passed == len(STEM)
    assert max(shifts(llama.plain, result.answers.values())) < LIMIT


def test_samples_that_agree_so_far_are_one_row(llama: Tiny) -> None:
    """Requests of one prompt that draw the same tokens share them, whatever their settings; greedy is drawn once."""
    prompt = STEM[:5]
    narrow = [generate(prompt, temperature=1.0, top_k=1, seed=seed, n=4, max_tokens=5) for seed in range(3)]
    result = llama.ask([*narrow, generate(prompt, n=3, max_tokens=5), generate(prompt, max_tokens=3)])
    assert result.ledger.passed == 5 + 4
    assert len({ids[:3] for own in result.ids for ids in own}) == 1
    assert [len(own) for own in result.ids] == [4, 4, 4, 3, 1]


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 40])
def test_more_samples_than_rows_are_drawn_in_parts(llama: Tiny, rows: int) -> None:
    """In order of the sample's number and with the tokens that they have when drawn together."""
    items = [score(STEM, *ENDS), generate(STEM[:6], n=13, temperature=1.0, seed=2, max_tokens=4), generate(STEM[:3])]
    expected, found = llama.ask(items), llama.ask(items, Room(tokens=4096, places=100, rows=rows))
    assert found.ids == expected.ids
    assert len(set(found.ids[1])) > 8
    assert apart(expected.answers, found.answers) < NEAR


# --- in any company


def test_a_sample_does_not_depend_on_what_else_is_asked(tiny: Tiny) -> None:
    """Alone, among other requests, among more samples of its own prompt."""
    asked = [generate(STEM[:k], n=3, temperature=0.9, top_p=0.95, seed=k, max_tokens=9) for k in (1, 8, 20)]
    together = tiny.ask([*mixed(), *asked, *generating(200, temperature=1.0, n=2)]).ids[len(mixed()) :][:3]
    assert together == [tiny.ask([item]).ids[0] for item in asked]
    more = [generate(STEM[:k], n=7, temperature=0.9, top_p=0.95, seed=k, max_tokens=9) for k in (1, 8, 20)]
    assert [own[:3] for own in tiny.ask(more).ids] == together


def test_a_long_answer_outgrows_its_buffers(tiny: Tiny) -> None:
    """Three hundred tokens, beside samples that end early and prompts that leave."""
    long = [generate(STEM[:8], max_tokens=300), generate(STEM[:2], max_tokens=70, temperature=1.0, n=3)]
    result = tiny.ask([*long, *(generate(STEM[:k], max_tokens=k) for k in range(3, 20))])
    assert [len(own[0]) for own in result.ids] == [300, 70, *range(3, 20)]
    assert max(shifts(tiny.plain, result.answers.values())) < LIMIT


def test_prompts_leave_the_pool_when_nobody_uses_them(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of prompts whose samples are done are dropped, the longest too, and the others go on unharmed."""
    kept: list[tuple[int, int]] = []
    plain = pool.Cohort.select

    def select(cohort: pool.Cohort, prompts: torch.Tensor) -> None:
        before = cohort.longest
        plain(cohort, prompts)
        kept.append((before, cohort.longest))

    monkeypatch.setattr(pool.Cohort, "select", select)
    warm = {"temperature": 1.0, "n": 2}
    items = [generate((k, *STEM[: 20 - k]), max_tokens=3 * k, seed=k, **warm) for k in range(1, 9)]
    result = tiny.ask(items)
    assert len(kept) >= 3
    assert any(after < before for before, after in kept)
    assert max(shifts(tiny.plain, result.answers.values())) < LIMIT
    assert [tiny.ask([item]).ids[0] for item in items[::3]] == result.ids[::3]


def test_samples_end_at_end_tokens_and_stop_strings(llama: Tiny) -> None:
    """Some end and others go on; the end is the same alone."""
    open_ = llama.ask([generate(STEM[:4], max_tokens=12)]).ids[0][0]
    decode = llama.engine._prompts().text
    end, stop = open_[5], decode(open_[8:9])
    items = [generate(STEM[:4], max_tokens=12), generate(STEM[:4], max_tokens=12, stop=(stop,))]
    result = llama.ask([*items, generate(STEM[:4], max_tokens=2), generate(STEM[:9], max_tokens=12)], ends=[end])
    first = open_.index(end)
    assert result.ids[0][0] == open_[: first + 1]
    assert result.ids[2][0] == open_[:2]
    stopped = llama.ask(items[1:]).answers[0]
    assert isinstance(stopped, Completions)
    completion = stopped.completions[0]
    assert completion.finish_reason == "stop"
    assert completion.token_ids == open_[: len(completion.token_ids)]
    assert completion.text == decode(open_).partition(stop)[0]


# --- as soon as it is known


def test_early_answers_come_before_the_last_pack_has_passed(llama: Tiny) -> None:
    """The first answer is there after the packs that it needs, while most of the round is still to come."""
    items = [score((k, *STEM), (5,), (6, 7)) for k in range(30, 50)]
    result = Result()
    passed = [
        (number, result.ledger.passed) for number, _ in llama.begin(items, Room(tokens=32, places=50, rows=8), result)
    ]
    assert [number for number, _ in passed] == list(range(20))
    assert passed[0][1] <= 32
    assert passed[10][1] <= result.ledger.passed * 0.6
    assert result.ledger.minimum == 20 * 22


def test_scores_do_not_wait_for_samples_of_the_same_pack(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from a pack is answered before samples go on, also where they are more than there is room for."""
    steps: list[int] = []
    _watch(monkeypatch, pool, lambda ids, _: steps.append(ids.shape[1]))
    items = [score((5, 6), (7,)), generate((5, 6), n=9, temperature=1.0), generate((5, 6), max_tokens=1)]
    came = [(number, len(steps)) for number, _ in llama.begin(items, Room(tokens=4096, places=100, rows=3), Result())]
    assert came[0] == (0, 0)
    assert sorted(number for number, _ in came) == [0, 1, 2]


def test_a_stream_that_is_dropped_leaves_nothing_behind(llama: Tiny) -> None:
    """Who stops listening halfway may ask again."""
    items = mixed()
    expected = llama.ask(items)
    stream = llama.begin(items, Room(tokens=9, places=9, rows=4), Result())
    next(stream)
    stream.close()
    assert llama.ask(items).answers == expected.answers


def test_two_rounds_may_be_listened_to_in_turns(llama: Tiny) -> None:
    """Nothing of one round lies where another one would find it."""
    rooms = (Room(tokens=5, places=9, rows=4), Room(tokens=11, places=9, rows=2))
    expected = [llama.ask(mixed(), room).answers for room in rooms]
    streams = [llama.begin(mixed(), room, Result()) for room in rooms]
    found: list[dict[int, Answer]] = [{}, {}]
    for pairs in zip(*streams, strict=True):
        for one, (number, answer) in zip(found, pairs, strict=True):
            one[number] = answer
    assert found == expected


# --- out of memory

ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "python": MemoryError,
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_pack_that_does_not_fit_is_passed_in_halves(tiny: Tiny, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers, no token counted twice, and a note for each pack that was halved."""
    items = mixed()
    expected = tiny.ask(items)
    most = -(-len(_trie(items)) // 2)

    def small(ids: torch.Tensor, _: Any) -> None:
        if ids.shape[1] > most:
            error = ERRORS[kind]()
            raise error

    _watch(monkeypatch, packs, small)
    found = tiny.ask(items)
    assert apart(expected.answers, found.answers) < NEAR
    assert found.ledger.passed == expected.ledger.passed
    assert found.ledger.minimum == expected.ledger.minimum
    assert len(found.ledger.notes) == 1
    assert "out of memory" in found.ledger.notes[0]


def _trie(items: Sequence[Encoded]) -> Trie:
    return Trie.of(item.prompt_ids + ids[:-1] for item in items for ids in (item.continuation_ids or ((),)))


def test_what_did_not_fit_once_is_not_tried_again(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that failed fails for the next pack too: later packs are cut before they are passed, not after."""
    items = [score((k, *STEM), (5,), (6, 7)) for k in range(30, 50)]
    sizes: list[int] = []

    def small(ids: torch.Tensor, _: Any) -> None:
        sizes.append(ids.shape[1])
        if ids.shape[1] > 40:
            raise MemoryError

    _watch(monkeypatch, packs, small)
    result = llama.ask(items, Room(tokens=128, places=100, rows=8))
    assert [size for size in sizes if size > 40] == [128, 64]
    assert result.ledger.passed == 20 * 22
    assert len(result.ledger.notes) == 2


def test_memory_that_ends_amid_a_pass_leaves_no_trace(tiny: Tiny) -> None:
    """The path below which a pack is tried again is the one before it, whatever layers had begun."""
    items = mixed()
    room = Room(tokens=16, places=100, rows=100)
    expected = tiny.ask(items, room)
    calls: list[int] = []
    layer = tiny.engine._loaded.model.model.layers[1]

    def hook(*_: Any) -> None:
        calls.append(1)
        if len(calls) in {2, 4}:
            raise MemoryError

    handle = layer.self_attn.register_forward_hook(hook)
    try:
        found = tiny.ask(items, room)
    finally:
        handle.remove()
    assert apart(expected.answers, found.answers) < NEAR
    assert len(found.ledger.notes) == 2


@pytest.mark.parametrize("tokens", [1, 4096])
def test_what_does_not_fit_at_all_is_an_error(llama: Tiny, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single token that does not fit cannot be halved; other errors are not tried again."""
    calls: list[int] = []

    def none(ids: torch.Tensor, _: Any) -> None:
        calls.append(ids.shape[1])
        raise MemoryError

    _watch(monkeypatch, packs, none)
    with pytest.raises(MemoryError):
        llama.ask(mixed(), Room(tokens=tokens, places=100, rows=8))
    assert calls[-1] == 1
    assert len(calls) <= 10


def test_memory_that_ends_while_logits_are_read_is_told_as_such(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that have passed cannot pass again; through the broker the round is asked anew in halves."""
    plain, calls = streaming.normaliser, []

    def full(logits: torch.Tensor) -> torch.Tensor:
        calls.append(len(logits))
        if len(logits) > 6:
            raise MemoryError
        return plain(logits)

    expected = Broker(llama.engine).answer(texts())
    monkeypatch.setattr(streaming, "normaliser", full)
    with pytest.raises(MemoryError):
        llama.ask(mixed())
    assert calls == [max(calls)]
    found = Broker(llama.engine).answer(texts())
    assert apart(dict(enumerate(expected)), dict(enumerate(found))) < NEAR


# --- through the broker


def texts() -> list[Generate | Loglikelihood]:
    """Return requests in words; the tilde stands for a token that is spoilt."""
    prompts = ["Is water wet?", "Is water ~ wet?", "Is water warm?", "The capital", "The capital of France", "Hi ~"]
    found: list[Generate | Loglikelihood] = [Loglikelihood(messages=p, continuations=(" Yes", " No")) for p in prompts]
    found += [Generate(messages=p, max_tokens=5, n=2, temperature=1.0) for p in prompts]
    return [*found, Generate(messages="~", max_tokens=2), Loglikelihood(messages="Well", continuations=(" ~", " no ~"))]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_spoilt_token_fails_the_requests_that_hold_it_and_no_others(tiny: Tiny, value: float) -> None:
    """A number that is none at one place spreads to its neighbours in a pack; asked apart, they are answered."""
    expected = Broker(tiny.engine).answer(texts())
    [bad] = tiny.engine._prompts().tokenizer("~", add_special_tokens=False)["input_ids"]

    def spoil(_: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        return out.masked_fill((given[0] == bad)[..., None], value)

    handle = tiny.engine._loaded.model.get_input_embeddings().register_forward_hook(spoil)
    try:
        found = Broker(tiny.engine).answer(texts())
    finally:
        handle.remove()
    for request, answer, true in zip(texts(), found, expected, strict=True):
        assert not isinstance(true, Failure)
        if "~" in str(request.messages):
            assert isinstance(answer, Failure)
            assert answer.kind == NumericError.kind
        else:
            assert not isinstance(answer, Failure)
            assert apart({0: true}, {0: answer}) < NEAR


def test_a_spoilt_logit_fails_the_requests_that_read_it(llama: Tiny) -> None:
    """A NaN behind one place only, where a prompt is scored and sampled."""
    expected = Broker(llama.engine).answer(texts())
    loaded = llama.engine._loaded
    assert loaded is not None
    assert loaded.head is not None
    states: list[torch.Tensor] = []
    handle = loaded.head.register_forward_pre_hook(lambda _, given: states.append(given[0][0, -1].clone()))
    Broker(llama.engine).answer(texts()[:1])
    handle.remove()

    def spoil(_: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        near = (given[0] - states[0]).abs().amax(-1, keepdim=True) < 1e-3
        return out.masked_fill(near, math.nan)

    handle = loaded.head.register_forward_hook(spoil)
    try:
        found = Broker(llama.engine).answer(texts())
    finally:
        handle.remove()
    assert [i for i, answer in enumerate(found) if isinstance(answer, Failure)] == [0, 6]
    others = [i for i in range(len(found)) if i not in {0, 6}]
    assert apart({i: expected[i] for i in others}, {i: found[i] for i in others}) < NEAR


@pytest.mark.parametrize("most", [4, 12])
def test_memory_that_ends_while_sampling_leads_to_smaller_rounds(
    llama: Tiny, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many rows at once: the broker asks again in halves, and every request is answered as before."""
    requests = [Generate(messages=f"Hello {k}", max_tokens=6, n=3, temperature=1.0, seed=k) for k in range(9)]
    expected = Broker(llama.engine).answer(requests)

    def small(ids: torch.Tensor, _: Any) -> None:
        if ids.shape[1] > most:
            raise MemoryError

    _watch(monkeypatch, pool, small)
    found = Broker(llama.engine).answer(requests)
    assert not any(isinstance(answer, Failure) for answer in found)
    assert apart(dict(enumerate(expected)), dict(enumerate(found))) < NEAR


def test_the_broker_counts_what_the_network_passed(llama: Tiny) -> None:
    """The tally's tokens are the ledger's, and at the least where there is room for all."""
    before = llama.engine.work
    broker = Broker(llama.engine)
    broker.answer([*texts(), *texts()])
    after = llama.engine.work
    assert broker.tally.tokens == after.passed - before.passed
    assert broker.tally.minimum == after.minimum - before.minimum == broker.tally.tokens
    assert broker.tally.asked == len(texts())
