"""An engine that plans a round itself and answers as it goes: whatever it does, each request gets one true response."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import broker as module
from harness.broker import Broker
from harness.engines.base import Streaming, Work
from harness.engines.scripted import ScriptedEngine
from harness.errors import ModelError, NumericError, StoreError
from harness.request import Completions, Failure, Generate, Loglikelihood, Scores
from harness.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.engines.base import Encoded
    from harness.request import Answer, Request, Response

    Told = Iterator[tuple[int, Answer]]

RUN = "run-1"
SOME: dict[str, Any] = {"deadline": None, "max_examples": 40, "derandomize": True}


def reply(request: Request, prompt: str) -> dict[str, Any]:
    """Echo the prompt."""
    del request
    return {"text": f"re {prompt}", "logprob": -1.0 - len(prompt)}


class Streamer(ScriptedEngine):
    """Streams what a scripted engine would answer; every request passes ten tokens, four of which are needed."""

    def __init__(self, **changes: Any) -> None:
        """Count rounds and tokens."""
        super().__init__(reply, **changes)
        self.rounds: list[list[str]] = []
        """Prompts of each call, as they were asked."""
        self.work = Work()

    def stream(self, requests: Sequence[Encoded]) -> Told:
        """Answer all, in order."""
        self.rounds.append([item.prompt for item in requests])
        for number, item in enumerate(requests):
            yield number, self.pass_one(item)

    def pass_one(self, item: Encoded) -> Answer:
        """Answer one request and count it."""
        self.work = Work(self.work.passed + 10, self.work.minimum + 4)
        return self._answer(item)

    def run(self, batch: Sequence[Encoded]) -> list[Answer]:
        """Never: the whole round is streamed."""
        pytest.fail(f"asked for a batch of {len(batch)}")


def ask(prompt: str, **changes: Any) -> Generate:
    """Return a request for one greedy completion."""
    return Generate(**{"messages": prompt, "max_tokens": 9, **changes})


def score(prompt: str) -> Loglikelihood:
    """Return a request for scores."""
    return Loglikelihood(messages=prompt, continuations=(" Yes", " No"))


def texts_of(responses: Sequence[Response]) -> list[str]:
    """Return the text of each response, the kind of each failure."""
    return [each.kind if isinstance(each, Failure) else each.completions[0].text for each in responses]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an open store."""
    with contextlib.closing(Store(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the broker's clock by a number that tests move."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def kept(store: Store) -> int:
    """Return the number of answers on disk, as another process sees them."""
    with contextlib.closing(Store(store.path)) as other:
        return sum(other.info()["answers"].values())


# --- the round


def test_the_whole_round_is_one_call_in_an_order_of_its_own() -> None:
    """All fresh requests come at once, in the same order whoever asked first, and answers go to who asked."""
    requests: list[Request] = [*[ask(str(n)) for n in range(9)], score("x")]
    one, other = Streamer(), Streamer()
    assert isinstance(one, Streaming)
    answers = Broker(one).answer(requests)
    assert Broker(other).answer([*requests[::-1], requests[3]])[:10][::-1] == answers
    assert one.rounds == other.rounds
    assert [sorted(asked) for asked in one.rounds] == [sorted([*map(str, range(9)), "x"])]
    assert texts_of(answers[:9]) == [f"re {n}" for n in range(9)]
    assert isinstance(answers[9], Scores)


@settings(**SOME)
@given(st.permutations(range(7)))
def test_answers_may_come_in_any_order(order: list[int]) -> None:
    """The number says which request an answer belongs to, not when it comes."""

    class Mixed(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            answers = dict(super().stream(requests))
            yield from ((number, answers[number]) for number in order)

    assert texts_of(Broker(Mixed()).answer([ask(str(n)) for n in range(7)])) == [f"re {n}" for n in range(7)]


def test_nothing_to_ask_is_not_asked(store: Store) -> None:
    """A round that the store answers never reaches the engine."""
    Broker(Streamer(), store, "one").answer([ask("a")])
    model = Streamer()
    broker = Broker(model, store, "two")
    assert texts_of(broker.answer([ask("a")])) == ["re a"]
    assert broker.answer([]) == []
    assert model.rounds == []


def test_the_tally_counts_tokens_as_the_engine_does(store: Store) -> None:
    """Passed and least tokens are the engine's own numbers, whatever was asked again; requests count once."""

    class Twice(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            for number, answer in super().stream(requests):
                if len(self.rounds) == 1 and number == 3:
                    msg = "boom"
                    raise RuntimeError(msg)
                yield number, answer

    model = Twice()
    broker = Broker(model, store, RUN)
    broker.answer([ask(str(n)) for n in range(8)])
    broker.answer([ask("later")])
    # Four answers were made in the first call, the fourth in vain; then the five missing ones, and the later one.
    assert [len(asked) for asked in model.rounds] == [8, 2, 3, 1]
    tally = broker.tally
    assert (tally.tokens, tally.minimum) == (10 * 10, 10 * 4) == (model.work.passed, model.work.minimum)
    assert (tally.requests, tally.unique, tally.asked, tally.failures) == (9, 9, 9, 0)


# --- an engine that breaks off


class Breaking(Streamer):
    """Raises after so many answers of every call, or when it comes to a bad request."""

    def __init__(self, *, after: int = 10**9, bad: frozenset[str] = frozenset(), error: Any = RuntimeError) -> None:
        """Set what goes wrong."""
        super().__init__()
        self.after, self.bad, self.error = after, bad, error

    def stream(self, requests: Sequence[Encoded]) -> Told:
        """Answer until it breaks."""
        for number, answer in super().stream(requests):
            if number >= self.after or requests[number].prompt in self.bad:
                raise self.error(requests[number].prompt)
            yield number, answer


@settings(**SOME)
@given(st.lists(st.booleans(), min_size=1, max_size=17))
def test_the_culprits_alone_fail(bad: list[bool]) -> None:
    """Whatever is left is asked again in halves until each culprit is alone; true answers are kept as they came."""
    prompts = [str(n) for n in range(len(bad))]
    culprits = frozenset(prompt for prompt, broken in zip(prompts, bad, strict=True) if broken)
    responses = Broker(Breaking(bad=culprits)).answer([ask(prompt) for prompt in prompts])
    for prompt, response in zip(prompts, responses, strict=True):
        if prompt in culprits:
            assert response == Failure("forward", f"RuntimeError: {prompt}")
        else:
            assert isinstance(response, Completions)
            assert response.completions[0].text == f"re {prompt}"


@settings(**SOME)
@given(st.integers(1, 40), st.integers(1, 12))
def test_an_engine_that_breaks_at_the_nth_answer_loses_none(count: int, after: int) -> None:
    """What came before is never asked again, and the rest is answered in smaller and smaller parts."""
    model = Breaking(after=after)
    assert texts_of(Broker(model).answer([ask(str(n)) for n in range(count)])) == [f"re {n}" for n in range(count)]
    assert len(model.rounds) <= 2 * count
    if after >= count:
        assert len(model.rounds) == 1


def test_an_engine_that_always_breaks_at_once_is_not_asked_for_ever() -> None:
    """Every request fails for itself, after a number of calls that is bounded by twice their number."""
    model = Breaking(after=0)
    responses = Broker(model).answer([ask(str(n)) for n in range(64)])
    assert responses == [Failure("forward", f"RuntimeError: {n}") for n in range(64)]
    assert len(model.rounds) == 2 * 64 - 1


@pytest.mark.parametrize(
    ("error", "kind"), [(NumericError, "numeric"), (MemoryError, "forward"), (StopIteration, "forward")]
)
def test_the_kind_of_an_error_reaches_the_request(error: Any, kind: str) -> None:
    """An error of ours keeps its kind; a stray StopIteration does not pass for the end of the stream."""
    assert texts_of(Broker(Breaking(bad=frozenset("b"), error=error)).answer([ask("a"), ask("b"), ask("c")])) == [
        "re a", kind, "re c",
    ]  # fmt: skip


def test_what_a_failed_call_held_is_let_go_before_the_next() -> None:
    """Asking again for want of memory must not find it taken by the call that failed."""
    held: list[weakref.ref[set[int]]] = []

    class Hungry(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            assert [ref() for ref in held] == [None] * len(held)
            keys = {1}
            held.append(weakref.ref(keys))
            for number, answer in super().stream(requests):
                if len(requests) > 1:
                    raise MemoryError
                yield number, answer

    assert texts_of(Broker(Hungry()).answer([ask(str(n)) for n in range(8)])) == [f"re {n}" for n in range(8)]
    assert len(held) == 15


# --- an engine that answers wrongly


def endless() -> Told:
    """Yield nothing."""
    yield from ()


WRONG: dict[str, Callable[[Told], Any]] = {
    "no answers": lambda _: endless(),
    "no stream": lambda _: None,
    "numbers unknown": lambda told: ((number + 1000, answer) for number, answer in told),
    "numbers below zero": lambda told: ((-1 - number, answer) for number, answer in told),
    "numbers as texts": lambda told: ((str(number), answer) for number, answer in told),
    "no numbers": lambda told: (answer for _, answer in told),
    "nothing": lambda told: ((number, None) for number, _ in told),
    "texts": lambda told: ((number, "re a") for number, _ in told),
    "empty answers": lambda told: ((number, Completions(completions=())) for number, _ in told),
    "scores for texts": lambda told: ((number, Scores(continuations=())) for number, _ in told),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_engine_that_answers_wrongly_has_not_answered(name: str, store: Store) -> None:
    """Each request is a failure of its own; nothing is stored, and the asking comes to an end."""

    class Sloppy(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Any:
            return WRONG[name](super().stream(requests))

    model = Sloppy()
    broker = Broker(model, store, RUN)
    responses = broker.answer([ask(letter) for letter in "abcde"])
    assert {type(response) for response in responses} == {Failure}
    assert {response.kind for response in responses if isinstance(response, Failure)} == {"forward"}
    assert kept(store) == 0
    assert len(model.rounds) <= 9
    assert (broker.tally.asked, broker.tally.failures) == (5, 5)


def test_a_stream_that_ends_early_is_taken_up_again() -> None:
    """Requests without an answer are asked anew; one that is alone and stays without is a failure that says so."""

    class Short(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            yield from ((n, a) for n, a in super().stream(requests) if requests[n].prompt != "mute")

    model = Short()
    answers = Broker(model).answer([ask("a"), ask("mute"), ask("b"), ask("c")])
    assert texts_of(answers) == ["re a", "forward", "re b", "re c"]
    assert isinstance(answers[1], Failure)
    assert "without an answer" in answers[1].detail
    assert [len(asked) for asked in model.rounds] == [4, 1]


def test_a_number_answered_twice_keeps_its_first_answer(store: Store) -> None:
    """The second answer to a request is an error of the engine, and no harm to any request."""

    class Double(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            for number, answer in super().stream(requests):
                yield number, answer
                assert isinstance(answer, Completions)
                false = dataclasses.replace(answer.completions[0], text="false")
                yield number, Completions(completions=(false,))

    broker = Broker(Double(), store, RUN)
    assert texts_of(broker.answer([ask(letter) for letter in "abcdefg"])) == [f"re {letter}" for letter in "abcdefg"]
    assert kept(store) == 7
    assert broker.tally.failures == 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("request_of", [ask, score])
def test_numbers_that_are_none_are_refused_alone_and_not_stored(
    number: float, request_of: Callable[[str], Request], store: Store
) -> None:
    """NaN and infinity in an answer that was streamed never get past the broker."""

    class Rotten(Streamer):
        def pass_one(self, item: Encoded) -> Answer:
            answer = super().pass_one(item)
            if item.prompt != "b":
                return answer
            name = "completions" if isinstance(answer, Completions) else "continuations"
            first, *rest = getattr(answer, name)
            first = dataclasses.replace(first, token_logprobs=(number, *first.token_logprobs[1:]))
            return dataclasses.replace(answer, **{name: (first, *rest)})

    model = Rotten()
    answers = Broker(model, store, RUN).answer([request_of("a"), request_of("b"), request_of("c")])
    assert [getattr(each, "kind", "") for each in answers] == ["", NumericError.kind, ""]
    assert kept(store) == 2
    assert len(model.rounds) == 1


# --- an end to the asking


@pytest.mark.parametrize("after", [0, 3])
def test_a_model_error_ends_the_asking_at_once(after: int, store: Store) -> None:
    """What came before it counts; the rest, and every later round, fails without another call."""
    model = Breaking(after=after, error=ModelError)
    broker = Broker(model, store, RUN)
    kinds = texts_of(broker.answer([ask(str(n)) for n in range(8)]))
    assert kinds.count("model") == 8 - after
    assert texts_of(broker.answer([ask("later")])) == ["model"]
    assert len(model.rounds) == 1
    assert kept(store) == after
    assert (broker.tally.asked, broker.tally.failures) == (9, 9 - after)


@pytest.mark.parametrize("period", [0.0, 1000.0])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_and_what_came_before_it_is_kept(
    interrupt: type[BaseException], period: float, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither halved nor a failure; a next run asks only for what is missing."""
    monkeypatch.setattr(module, "PERIOD", period)
    requests = [ask(str(n)) for n in range(8)]
    model = Breaking(after=5, error=interrupt)
    broker = Broker(model, store, RUN)
    with pytest.raises(interrupt):
        broker.answer(requests)
    assert len(model.rounds) == 1
    assert kept(store) == 5
    assert (broker.tally.asked, broker.tally.failures) == (5, 0)
    again = Streamer()
    assert texts_of(Broker(again, store, "next").answer(requests)) == [f"re {n}" for n in range(8)]
    assert [len(asked) for asked in again.rounds] == [3]


class Full:
    """A store that takes so many answers at most."""

    def __init__(self, store: Store, puts: int) -> None:
        """Count what is put."""
        self.store, self.puts = store, puts

    def __getattr__(self, name: str) -> Any:
        """Work as the other store does, until it is full."""
        return getattr(self.store, name)

    def put(self, answers: Any, **where: Any) -> None:
        """Keep answers, or fail."""
        self.puts -= 1
        if self.puts < 0:
            msg = "disk full"
            raise StoreError(msg)
        self.store.put(answers, **where)


def test_a_store_that_takes_no_more_stops_the_asking(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is spent on answers that could not be kept, in this round or later."""
    monkeypatch.setattr(module, "PERIOD", 0.0)
    model = Streamer()
    broker = Broker(model, Full(store, 2), RUN)
    kinds = texts_of(broker.answer([ask(str(n)) for n in range(8)]))
    assert kinds.count("store") == 6
    assert kept(store) == 2
    assert model.work.passed == 3 * 10
    assert texts_of(broker.answer([ask("later")])) == ["store"]
    assert len(model.rounds) == 1


# --- keeping answers as they come


def test_answers_are_kept_about_once_a_second(store: Store, clock: list[float]) -> None:
    """Not each by itself, which would cost more than the answer, and not all at the end."""
    seen = []

    class Slow(Streamer):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            for number, answer in super().stream(requests):
                clock[0] += 0.4
                yield number, answer
                seen.append(kept(store))

    broker = Broker(Slow(), store, RUN)
    broker.answer([ask(str(n)) for n in range(8)])
    assert seen == [0, 0, 3, 3, 3, 6, 6, 6]
    assert kept(store) == 8
    assert broker.tally.seconds == pytest.approx(3.2)
    assert broker.tally.asked == 8


def test_progress_is_told_as_answers_are_kept(clock: list[float]) -> None:
    """Every request is told once, in the end all of them, also after an error."""
    told: list[Any] = []

    class Log:
        def start(self, requests: int, tokens: int) -> None:
            told.append(("start", requests, tokens))

        def advance(self, requests: int, tokens: int, passed: int) -> None:
            assert passed >= 0
            told.append((requests, tokens))

        def stored(self, requests: int) -> None:
            raise AssertionError(requests)  # there is no store

        def stop(self) -> None:
            told.append("stop")

    class Slow(Breaking):
        def stream(self, requests: Sequence[Encoded]) -> Told:
            for number, answer in super().stream(requests):
                clock[0] += 0.6
                yield number, answer

    Broker(Slow(after=3), progress=Log()).answer([ask(str(n)) for n in range(8)])
    assert told[0] == ("start", 8, 80)
    assert told[-1] == "stop"
    assert all(tokens == 10 * requests for requests, tokens in told[1:-1])
    assert sum(requests for requests, _ in told[1:-1]) == 8
    assert told[1] == (2, 20)


def test_failures_are_shared_within_a_run_and_retried_by_the_next(store: Store) -> None:
    """A culprit found by halving is kept as a failure of this run only."""
    Broker(Breaking(bad=frozenset("b")), store, "one").answer([ask("a"), ask("b")])
    sibling, mended = Streamer(), Streamer()
    assert texts_of(Broker(sibling, store, "one").answer([ask("b")])) == ["forward"]
    assert sibling.rounds == []
    assert texts_of(Broker(mended, store, "two").answer([ask("a"), ask("b")])) == ["re a", "re b"]
    assert mended.rounds == [["b"]]
