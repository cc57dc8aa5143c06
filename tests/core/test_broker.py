"""Whatever goes wrong becomes a failure of the requests concerned; the others never notice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import open_engine
from harness.broker import DETAIL, Broker, OpenEngine
from harness.engines.base import Encoded
from harness.engines.scripted import ScriptedEngine
from harness.errors import LengthError, ModelError, ModelRefused, NumericError, SeamError, StoreError, TemplateError
from harness.request import Completions, Failure, Generate, Loglikelihood, Message, Scores
from harness.store import Store
from tests.factory import scored

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from harness.engines.base import Identity
    from harness.request import Answer, Request, Response


RUN = "run-1"
FAULT = StoreError("disk")


def reply(request: Request, prompt: str) -> dict[str, Any]:
    """Echo the prompt; a prompt with `boom` in it fails."""
    del request
    return {"fail": prompt} if "boom" in prompt else {"text": f"re {prompt}", "logprob": -1.0 - len(prompt)}


def engine(**changes: Any) -> ScriptedEngine:
    """Return an engine that echoes."""
    return ScriptedEngine(reply, **changes)


def ask(prompt: str, **changes: Any) -> Generate:
    """Return a request for one greedy completion."""
    return Generate(**{"messages": prompt, "max_tokens": 9, **changes})


def score(prompt: str, *continuations: str) -> Loglikelihood:
    """Return a request for scores."""
    return Loglikelihood(messages=prompt, continuations=continuations or (" Yes", " No"))


def script_of(*rounds: list[Request]) -> Generator[list[Request], list[Response], list[list[Response]]]:
    """Yield each round and return everything that came back."""
    got = []
    for requests in rounds:
        answers = yield list(requests)
        got.append(answers)
    return got


def settled(broker: Broker, **scripts: Any) -> dict[str, Any]:
    """Settle scripts that are given as lists of rounds."""
    return broker.settle({name: script_of(*rounds) for name, rounds in scripts.items()})


def texts_of(responses: Sequence[Response]) -> list[str]:
    """Return the text of each response, the kind of each failure."""
    return [each.kind if isinstance(each, Failure) else each.completions[0].text for each in responses]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an open store."""
    with contextlib.closing(Store(tmp_path / "store.sqlite")) as opened:
        yield opened


class Log:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        """Start empty."""
        self.told = []

    def start(self, requests: int, tokens: int) -> None:
        """Note it."""
        self.told.append(("start", requests, tokens))

    def advance(self, requests: int, tokens: int, passed: int) -> None:
        """Note it."""
        self.told.append(("advance", requests, tokens, passed))

    def stored(self, requests: int) -> None:
        """Note it, where there are any."""
        self.told += [("stored", requests)] if requests else []

    def model(self, spec: str, models: Sequence[str]) -> None:
        """A broker knows one model alone."""
        raise NotImplementedError

    def stop(self) -> None:
        """Note it."""
        self.told.append(("stop",))


# --- rounds and dedupe


def test_answers_go_to_who_asked_round_by_round() -> None:
    """Answers go to who asked round by round."""
    done = settled(
        Broker(engine()),
        one=[[ask("a"), ask("b")], [ask("c")]],
        two=[[ask("b")]],
        three=[[], [ask("a")]],
        nothing=[],
    )
    assert [texts_of(each) for each in done["one"]] == [["re a", "re b"], ["re c"]]
    assert [texts_of(each) for each in done["two"]] == [["re b"]]
    assert [texts_of(each) for each in done["three"]] == [[], ["re a"]]
    assert done["nothing"] == []


def test_what_several_scripts_ask_is_asked_once_and_in_one_batch() -> None:
    """What several scripts ask is asked once and in one batch."""
    model = engine()
    broker = Broker(model)
    settled(broker, one=[[ask("a"), ask("b"), ask("a")]], two=[[ask("b"), ask("c")]])
    assert model.batches == [3]
    assert broker.tally.to_json() | {"seconds": 0, "tokens": 0} == {
        "requests": 5, "unique": 3, "from_store": 0, "asked": 3, "tokens": 0, "minimum": 0,
        "failures": 0, "seconds": 0,
    }  # fmt: skip


def test_what_was_answered_in_an_earlier_round_is_not_asked_again() -> None:
    """What was answered in an earlier round is not asked again."""
    model = engine()
    broker = Broker(model)
    settled(broker, one=[[ask("a")], [ask("a"), ask("b")]])
    settled(broker, two=[[ask("a"), ask("b")]])
    assert model.batches == [1, 1]
    assert (broker.tally.requests, broker.tally.unique) == (5, 2)


def test_two_requests_in_the_same_tokens_are_one() -> None:
    """Two requests in the same tokens are one."""
    model = engine()
    answers = Broker(model).answer([ask("user: a"), ask((Message("user", "a"),))])
    assert model.batches == [1]
    assert answers[0] == answers[1]


def test_greedy_requests_share_an_answer_whatever_their_seed_and_samples_do_not() -> None:
    """Greedy requests share an answer whatever their seed and samples do not."""
    model = engine()
    Broker(model).answer([ask("a", seed=1), ask("a", seed=2)])
    Broker(model).answer([ask("a", seed=1, temperature=1.0), ask("a", seed=2, temperature=1.0)])
    assert model.batches == [1, 2]


def test_tokens_are_counted_as_the_planner_counts_them() -> None:
    """Tokens are counted as the planner counts them."""
    broker = Broker(engine())
    broker.answer([ask("one two three"), score("one two")])
    assert broker.tally.tokens == (3 + 9) + 2


# --- a script that misbehaves


def test_a_script_that_raises_does_not_hurt_the_others() -> None:
    """A script that raises does not hurt the others."""

    def early() -> Generator[Any, Any, Any]:
        msg = "no template"
        raise TemplateError(msg)
        yield

    def late() -> Generator[Any, Any, Any]:
        yield [ask("a")]
        raise ZeroDivisionError

    scripts = {"early": early(), "late": late(), "fine": script_of([ask("a")], [ask("b")])}
    done = Broker(engine()).settle(scripts)
    assert done["early"] == Failure("template", "no template")
    assert done["late"] == Failure("script", "ZeroDivisionError: ")
    assert [texts_of(each) for each in done["fine"]] == [["re a"], ["re b"]]


@pytest.mark.parametrize("nonsense", [[{"messages": "x"}], ["hello"], [None], None, 3])
def test_a_script_that_yields_no_requests_does_not_hurt_the_others(nonsense: Any) -> None:
    """A script that yields no requests does not hurt the others."""

    def odd() -> Generator[Any, Any, Any]:
        yield nonsense

    done = Broker(engine()).settle({"odd": odd(), "fine": script_of([ask("a")])})
    assert done["odd"].kind == "script"
    assert texts_of(done["fine"][0]) == ["re a"]


# --- an engine that cannot encode


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TemplateError("drops the system turn"), "template"),
        (SeamError("spans"), "seam"),
        (LengthError("long"), "length"),
        (ModelRefused("remote code"), "model"),
        (ValueError("odd"), "tokenisation"),
        (RecursionError(), "tokenisation"),
    ],
)
def test_a_request_that_cannot_be_encoded_fails_alone_and_in_its_own_kind(error: Exception, kind: Any) -> None:
    """A request that cannot be encoded fails alone and in its own kind."""

    class Picky(ScriptedEngine):
        def encode(self, request: Request) -> Encoded:
            if request.messages == "bad":
                raise error
            return super().encode(request)

    answers = Broker(Picky(reply)).answer([ask("a"), ask("bad"), ask("b")])
    assert texts_of(answers) == ["re a", kind, "re b"]


class Odd:
    """A token id that JSON does not know."""


@pytest.mark.parametrize(
    "encoded",
    [
        None,
        Encoded(request=ask("bad"), prompt="bad", prompt_ids=(Odd(),)),
        Encoded(request=ask("bad"), prompt="bad", prompt_ids=None),
        Encoded(request=score("bad"), prompt="bad", prompt_ids=(1,), continuation_ids=()),
    ],
)
def test_an_encoding_that_cannot_be_planned_fails_alone(encoded: Any) -> None:
    """An encoding that cannot be planned fails alone."""

    class Broken(ScriptedEngine):
        def encode(self, request: Request) -> Encoded:
            return encoded if request.messages == "bad" else super().encode(request)

    answers = Broker(Broken(reply)).answer([ask("a"), ask("bad"), ask("b")])
    assert texts_of(answers) == ["re a", "tokenisation", "re b"]


# --- an engine that cannot answer


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=17), st.integers(1, 200))
def test_halving_finds_the_culprits_and_leaves_the_others_unchanged(bad: list[bool], budget: int) -> None:
    """Halving finds the culprits and leaves the others unchanged."""
    prompts = [f"boom {index}" if broken else f"{index}" for index, broken in enumerate(bad)]
    responses = Broker(engine(batch_tokens=budget)).answer([ask(prompt) for prompt in prompts])
    for prompt, response in zip(prompts, responses, strict=True):
        if "boom" in prompt:
            assert response == Failure("forward", f"RuntimeError: {prompt}")
        else:
            assert response.completions[0].text == f"re {prompt}"


def test_a_batch_that_is_too_large_is_answered_in_parts() -> None:
    """A batch that is too large is answered in parts."""

    class Small(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            if len(batch) > 2:
                msg = "CUDA out of memory"
                raise RuntimeError(msg)
            return super().run(batch)

    model = Small(reply)
    assert texts_of(Broker(model).answer([ask(str(n)) for n in range(9)])) == [f"re {n}" for n in range(9)]
    assert max(model.batches) == 2


def test_a_model_error_fails_everything_without_trying_again(store: Store) -> None:
    """A model error fails everything without trying again."""
    calls = []

    class Absent(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            calls.append(len(batch))
            msg = "no weights"
            raise ModelError(msg)

    broker = Broker(Absent(reply, batch_tokens=10), store, RUN)
    assert broker.answer([ask(str(n)) for n in range(6)]) == [Failure("model", "no weights")] * 6
    assert broker.answer([ask("later")]) == [Failure("model", "no weights")]
    assert calls == [1]


def test_a_model_without_identity_fails_everything() -> None:
    """A model without identity fails everything."""

    class Nameless(ScriptedEngine):
        @property
        def identity(self) -> Identity:
            msg = "not on this machine"
            raise ModelError(msg)

    done = settled(Broker(Nameless(reply)), one=[[ask("a")]])
    assert done["one"] == [[Failure("model", "not on this machine")]]


def test_an_engine_that_cannot_say_its_budget_fails_its_requests_and_raises_nothing(store: Store) -> None:
    """An engine that cannot say its budget fails its requests and raises nothing."""

    class Bottomless(ScriptedEngine):
        @property
        def batch_tokens(self) -> int:
            msg = "no CUDA device"
            raise ModelError(msg)

        @batch_tokens.setter
        def batch_tokens(self, value: int) -> None:
            pass

    assert Broker(Bottomless(reply), store, RUN).answer([ask("a")]) == [Failure("model", "no CUDA device")]


WRONG_ANSWERS = {
    "too few": lambda answers: answers[:-1],
    "too many": lambda answers: [*answers, answers[0]],
    "none": lambda _: [],
    "no list": lambda _: None,
    "empty answers": lambda answers: [Completions(completions=()) for _ in answers],
    "scores for texts": lambda answers: [Scores(continuations=()) for _ in answers],
    "nothing": lambda answers: [None for _ in answers],
    "texts": lambda answers: ["re a" for _ in answers],
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_an_engine_that_answers_wrongly_has_not_answered(name: str, store: Store) -> None:
    """An engine that answers wrongly has not answered."""

    class Sloppy(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            return WRONG_ANSWERS[name](super().run(batch))

    responses = Broker(Sloppy(reply), store, RUN).answer([ask("a"), ask("b"), ask("c")])
    assert {type(response) for response in responses} == {Failure}
    assert {response.kind for response in responses} == {"forward"}
    assert store.info()["answers"] == {}


def test_one_answer_missing_a_part_fails_alone(store: Store) -> None:
    """One answer missing a part fails alone."""

    class Short(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            return [
                dataclasses.replace(answer, continuations=answer.continuations[:1]) if item.prompt == "b" else answer
                for item, answer in zip(batch, super().run(batch), strict=True)
            ]

    answers = Broker(Short(reply), store, RUN).answer([score("a"), score("b"), score("c")])
    assert [type(each) for each in answers] == [Scores, Failure, Scores]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("request_of", [ask, score])
def test_numbers_that_are_none_are_refused_alone_and_not_stored(
    number: float, request_of: Callable[[str], Request], store: Store
) -> None:
    """Numbers that are none are refused alone and not stored."""

    class Rotten(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            answers = super().run(batch)
            return [spoil(item, answer) for item, answer in zip(batch, answers, strict=True)]

    def spoil(item: Encoded, answer: Answer) -> Answer:
        if item.prompt != "b":
            return answer
        name = "completions" if isinstance(answer, Completions) else "continuations"
        first, *rest = getattr(answer, name)
        first = dataclasses.replace(first, token_logprobs=(number, *first.token_logprobs[1:]))
        return dataclasses.replace(answer, **{name: (first, *rest)})

    answers = Broker(Rotten(reply), store, RUN).answer([request_of("a"), request_of("b"), request_of("c")])
    assert [isinstance(each, Failure) for each in answers] == [False, True, False]
    assert answers[1].kind == NumericError.kind
    assert sum(store.info()["answers"].values()) == 2


def test_tokens_without_numbers_are_refused() -> None:
    """Tokens without numbers are refused."""

    class Silent(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            bare = dataclasses.replace(scored(" Yes", -1.0), token_logprobs=())
            return [Scores(continuations=(bare,)) for _ in batch]

    [answer] = Broker(Silent(reply)).answer([score("a", " Yes")])
    assert answer.kind == "forward"


def test_a_long_complaint_is_shortened() -> None:
    """A long complaint is shortened."""
    [answer] = Broker(engine()).answer([ask("boom " + "x" * 10_000)])
    assert len(answer.detail) == DETAIL


# --- the store


def test_a_second_run_asks_nothing(store: Store) -> None:
    """A second run asks nothing."""
    requests = [ask("a"), score("b"), ask("c", n=3, temperature=1.0, seed=5)]
    first = Broker(engine(), store, "one").answer(requests)

    class Dead(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            pytest.fail(f"asked again: {batch}")

    broker = Broker(Dead(reply), store, "two")
    assert broker.answer(requests) == first
    assert (broker.tally.from_store, broker.tally.asked, broker.tally.unique) == (3, 0, 3)


def test_another_version_of_the_model_is_asked_anew(store: Store) -> None:
    """Another version of the model is asked anew."""
    Broker(engine(version="1"), store, RUN).answer([ask("a")])
    model = engine(version="2")
    Broker(model, store, RUN).answer([ask("a")])
    assert model.batches == [1]


def test_each_batch_is_stored_as_it_comes_so_an_interrupt_loses_one(store: Store) -> None:
    """Each batch is stored as it comes so an interrupt loses one."""

    class Interrupted(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().run(batch)

    requests = [ask(str(n)) for n in range(8)]
    with pytest.raises(KeyboardInterrupt):
        settled(Broker(Interrupted(reply, batch_tokens=10), store, RUN), one=[requests])
    model = engine()
    assert texts_of(Broker(model, store, "next").answer(requests)) == [f"re {n}" for n in range(8)]
    assert model.batches == [5]


def test_failures_are_shared_within_a_run_and_retried_by_the_next(store: Store) -> None:
    """Failures are shared within a run and retried by the next."""
    Broker(engine(), store, "one").answer([ask("boom"), ask("a")])
    sibling = engine()
    assert texts_of(Broker(sibling, store, "one").answer([ask("boom")])) == ["forward"]
    assert sibling.batches == []
    mended = ScriptedEngine(lambda _request, _prompt: {"text": "well"})
    assert texts_of(Broker(mended, store, "two").answer([ask("boom")])) == ["well"]


def test_what_another_process_answered_meanwhile_is_not_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process answered meanwhile is not asked."""

    @contextlib.contextmanager
    def late_owner() -> Iterator[None]:
        with contextlib.closing(Store(store.path)) as other:
            Broker(engine(), other, "other").answer([ask("a")])
        yield

    waited = engine()
    broker = Broker(waited, store, RUN)
    monkeypatch.setattr(store, "owner", late_owner)
    assert texts_of(broker.answer([ask("a"), ask("b")])) == ["re a", "re b"]
    assert waited.batches == [1]
    assert (broker.tally.from_store, broker.tally.asked) == (1, 1)


class Faulty:
    """A store that works as another does, but for the N-th call of one method."""

    def __init__(self, store: Any, name: str, number: int, error: Exception = FAULT) -> None:
        """Count from 1; number 0 never fails."""
        self.store, self.name, self.left, self.error = store, name, number, error

    def __getattr__(self, name: str) -> Any:
        """Count the calls of the method that is to fail."""
        method = getattr(self.store, name)
        if name != self.name:
            return method
        self.left -= 1
        if self.left == 0:
            raise self.error
        return method


def test_a_store_that_cannot_be_read_fails_what_it_was_asked_for(store: Store) -> None:
    """A store that cannot be read fails what it was asked for."""
    model = engine()
    answers = Broker(model, Faulty(store, "get", 1), RUN).answer([ask("a"), ask("b")])
    assert answers == [Failure("store", "disk")] * 2
    assert model.batches == []


def test_a_store_that_takes_no_more_stops_the_asking(store: Store) -> None:
    """What came before is kept; nothing more is spent on answers that could not be kept."""
    requests, asked = [ask(str(n)) for n in range(4)], engine(batch_tokens=10)
    answers = Broker(asked, Faulty(store, "put", 2), RUN).answer(requests)
    assert [isinstance(answer, Failure) for answer in answers].count(True) == 3
    assert sum(store.info()["answers"].values()) == 1
    assert len(asked.batches) == 2


def test_a_failure_that_cannot_be_stored_keeps_its_own_reason(store: Store) -> None:
    """A failure that cannot be stored keeps its own reason."""
    [answer] = Broker(engine(), Faulty(store, "put", 1), RUN).answer([ask("boom")])
    assert answer.kind == "forward"


def test_an_owner_lock_that_cannot_be_had_fails_the_requests(store: Store) -> None:
    """An owner lock that cannot be had fails the requests."""
    assert texts_of(Broker(engine(), Faulty(store, "owner", 1), RUN).answer([ask("a")])) == ["store"]


def test_the_speed_of_a_model_is_remembered_and_failures_are_not_taken_for_speed(store: Store) -> None:
    """The speed of a model is remembered and failures are not taken for speed."""
    many = [ask(str(n), max_tokens=500) for n in range(5)]
    good = engine()
    name = f"rate/{good.identity.digest}/{good.identity.numerics}"
    Broker(engine(), store, "one").answer([ask("boom"), *many])
    assert store.fact(name) is None
    broker = Broker(good, store, "two")
    broker.answer([ask(f"x{n}", max_tokens=500) for n in range(5)])
    assert store.fact(name) == pytest.approx(broker.tally.tokens / broker.tally.seconds)


# --- telling


def test_progress_is_told_batch_by_batch(store: Store) -> None:
    """Progress is told batch by batch."""
    log = Log()
    Broker(engine(batch_tokens=24), store, RUN, log).answer([ask("a"), ask("b"), ask("c"), ask("a")])
    assert log.told == [("start", 3, 30), ("advance", 2, 20, 20), ("advance", 1, 10, 10), ("stop",)]
    Broker(engine(), store, RUN, log).answer([ask("a")])
    assert log.told[4:] == [("stored", 1)]


def test_progress_is_stopped_when_interrupted() -> None:
    """Progress is stopped when interrupted."""

    class Interrupted(ScriptedEngine):
        def run(self, batch: Sequence[Encoded]) -> list[Answer]:
            self.batches.append(len(batch))
            raise KeyboardInterrupt

    log = Log()
    with pytest.raises(KeyboardInterrupt):
        Broker(Interrupted(reply), progress=log).answer([ask("a")])
    assert log.told[-1] == ("stop",)


def test_the_tally_tells_failures_and_store_apart(store: Store) -> None:
    """The tally tells failures and store apart."""
    Broker(engine(), store, "old").answer([ask("a"), ask("b")])
    broker = Broker(engine(), store, RUN)
    broker.answer([ask("a"), ask("b"), ask("c"), ask("boom"), ask("c")])
    told = broker.tally.to_json()
    assert {name: told[name] for name in ("requests", "unique", "from_store", "asked", "failures", "tokens")} == {
        "requests": 5, "unique": 4, "from_store": 2, "asked": 2, "failures": 1, "tokens": 20,
    }  # fmt: skip


def test_cost_counts_without_asking(store: Store) -> None:
    """Cost counts without asking."""
    model = engine()
    broker = Broker(model, store, RUN)
    broker.answer([ask("a")])
    cost = broker.cost([script_of([ask("a"), ask("b")], [ask("b"), ask("c d")])])
    assert (cost.requests, cost.unique, cost.tokens) == (4, 2, (1 + 9) + (2 + 9))
    assert model.batches == [1]


# --- open_engine


def test_open_engine_answers_from_a_file(tmp_path: Path) -> None:
    """Open engine answers from a file."""
    path = tmp_path / "polite.json"
    path.write_text(json.dumps({"rules": [{"when": "France", "text": "Paris", "logprobs": {" Yes": -0.25}}]}))
    opened = open_engine(f"scripted:{path}")
    text, scores, again = opened.answer([ask("France"), score("France"), ask("France")])
    assert text.completions[0].text == "Paris"
    assert scores.continuations[0].logprob == -0.25
    assert again is text
    assert opened.identity.name == "polite"
    opened.close()


def test_open_engine_tells_a_failure_from_an_answer() -> None:
    """Open engine tells a failure from an answer."""
    answers = OpenEngine(engine()).answer([ask("a"), ask("boom")])
    assert texts_of(answers) == ["re a", "forward"]


# --- every N-th call fails, for all N: SQLite's own way of testing

REQUESTS = [ask("a"), ask("b"), score("c"), score("d e"), ask("f")]
FOLLOW_UP = [ask("g"), ask("a"), score("h")]


class Flaky(ScriptedEngine):
    """An engine whose N-th call of one method raises."""

    def __init__(self, name: str = "", number: int = 0, error: Exception = FAULT) -> None:
        """Count from 1; number 0 never fails."""
        super().__init__(reply, batch_tokens=20)
        self.flaw = [name, number, error]

    def _count(self, name: str) -> None:
        if name == self.flaw[0]:
            self.flaw[1] -= 1
            if self.flaw[1] == 0:
                raise self.flaw[2]

    def encode(self, request: Request) -> Encoded:
        """Encode, or fail."""
        self._count("encode")
        return super().encode(request)

    def run(self, batch: Sequence[Encoded]) -> list[Answer]:
        """Answer, or fail."""
        self._count("run")
        return super().run(batch)


def two_scripts() -> dict[str, Any]:
    """Return scripts of two rounds that share requests."""
    return {"one": script_of(REQUESTS, FOLLOW_UP), "two": script_of(REQUESTS[1:4])}


def truth() -> dict[str, Any]:
    """Return what an engine without faults answers."""
    return Broker(Flaky()).settle(two_scripts())


def invented(done: Any, true: Any) -> list[Any]:
    """Return the answers that are neither true nor failures."""
    return [
        (name, mine)
        for name in true
        for mine_round, true_round in zip(done[name], true[name], strict=True)
        for mine, other in zip(mine_round, true_round, strict=True)
        if not isinstance(mine, Failure) and mine != other
    ]


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("engine.encode", RuntimeError("fault")),
        ("engine.encode", ModelError("gone")),
        ("engine.run", RuntimeError("fault")),
        ("engine.run", ModelError("gone")),
        ("engine.run", MemoryError()),
        ("store.get", FAULT),
        ("store.get", RuntimeError("fault")),
        ("store.put", FAULT),
        ("store.put", RuntimeError("fault")),
        ("store.owner", FAULT),
    ],
)
def test_the_nth_call_fails_and_nothing_is_invented_or_lost(method: str, error: Exception, tmp_path: Path) -> None:
    """The nth call fails and nothing is invented or lost."""
    where, name = method.split(".")
    true = truth()
    empty = tmp_path / "empty.sqlite"
    Store(empty).close()
    number, hurt = 0, True
    while hurt:
        number += 1
        path = shutil.copy(empty, tmp_path / f"{number}.sqlite")
        with contextlib.closing(Store(path)) as store:
            store._db.execute("PRAGMA synchronous=OFF")  # nobody pulls the plug here
            model = Flaky(name, number, error) if where == "engine" else Flaky()
            faulty = Faulty(store, name, number, error) if where == "store" else store
            broker = Broker(model, faulty, "one")
            done = broker.settle(two_scripts())
            hurt = (model.flaw[1] if where == "engine" else faulty.left) <= 0
            assert done.keys() == true.keys()
            assert invented(done, true) == []
            answered = [key for key, response in broker._answers.items() if not isinstance(response, Failure)]
            assert store.get(answered, "elsewhere").keys() == set(answered)
            rerun = Broker(Flaky(), store, "two")
            assert rerun.settle(two_scripts()) == true
            assert rerun.tally.from_store >= len(answered)
        assert number < 50
    assert number > 1  # the fault was met at least once before there were too few calls
