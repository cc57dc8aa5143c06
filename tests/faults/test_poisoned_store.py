"""A store that was tampered with or damaged answers rightly or not at all: never another answer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from harness.broker import Broker
from harness.canonical import digest
from harness.engines.scripted import ScriptedEngine
from harness.errors import StoreError
from harness.request import Completions, Failure, Generate, Loglikelihood, response_to_json
from harness.store import Store, key_of
from tests.faults.sweeps import flip_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.request import Request, Response

ASKED: tuple[Request, ...] = (
    Generate(messages="Is it safe?", max_tokens=4),
    Generate(messages="Is it open?", max_tokens=4),
    Loglikelihood(messages="It is", continuations=(" safe", " open")),
)


def engine(**changes: Any) -> ScriptedEngine:
    """Return a model that says what it was asked."""

    def reply(_request: Request, prompt: str) -> dict[str, Any]:
        return {"text": f"about {prompt.rsplit(maxsplit=1)[-1]}", "logprobs": {" safe": -1.0, " open": -2.0}}

    return ScriptedEngine(reply, **{"name": "m", **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store that holds the answers of a run, in one file."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(Store(path)) as store:
        answers = Broker(engine(), store, run="one").answer(ASKED)
        assert not any(isinstance(answer, Failure) for answer in answers)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def truth() -> list[Response]:
    """Return the right answers."""
    return Broker(engine()).answer(ASKED)


def answered(path: Path, **changes: Any) -> tuple[list[Response], Broker]:
    """Return what another run gets with this store beneath it."""
    with contextlib.closing(Store(path)) as store:
        broker = Broker(engine(**changes), store, run="two")
        return broker.answer(ASKED), broker


def change(path: Path, *statements: str) -> None:
    """Change the store behind its back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def test_untouched_it_serves_all_and_asks_nothing(path: Path, truth: list[Response]) -> None:
    """The control."""
    found, broker = answered(path)
    assert found == truth
    assert broker.tally.asked == 0


def test_any_bit_of_any_row_that_is_flipped_is_asked_again(path: Path) -> None:
    """Every bit of every seventh byte of every payload, and of its digest."""
    injected, served = flip_rows(path, step=7)
    assert injected > 500
    assert served == 0


def test_a_flipped_byte_anywhere_in_the_file_is_never_another_answer(path: Path, truth: list[Response]) -> None:
    """Headers, pages, free space: an answer is right, or asked again, or the store says that it cannot be read."""
    whole = path.read_bytes()
    ends: dict[str, int] = {}
    for place in [*range(100), *range(100, len(whole), 97)]:
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        try:
            found, broker = answered(path)
        except StoreError:
            ends["refused"] = ends.get("refused", 0) + 1
            continue
        wrong = [f for f, t in zip(found, truth, strict=True) if f != t and not isinstance(f, Failure)]
        assert wrong == [], place
        kind = "failed" if found != truth else "asked" if broker.tally.asked else "served"
        ends[kind] = ends.get(kind, 0) + 1
    assert ends.keys() >= {"refused", "served"}


def test_a_file_cut_anywhere_is_never_another_answer(path: Path, truth: list[Response]) -> None:
    whole = path.read_bytes()
    for size in range(0, len(whole), 503):
        path.write_bytes(whole[:size])
        with contextlib.suppress(StoreError):
            found, _ = answered(path)
            assert [f for f, t in zip(found, truth, strict=True) if f != t and not isinstance(f, Failure)] == []
        for file in path.parent.iterdir():
            file.unlink()


SWAP = (
    "UPDATE answers SET key = 'x' || key",
    "UPDATE answers SET payload = (SELECT payload FROM answers ORDER BY key LIMIT 1)",
    """UPDATE answers SET payload = (SELECT payload FROM answers ORDER BY key LIMIT 1),
    digest = (SELECT digest FROM answers ORDER BY key LIMIT 1)""",
    "UPDATE answers SET digest = ''",
    "UPDATE answers SET payload = ''",
    "DELETE FROM answers",
)


@pytest.mark.parametrize("statement", SWAP)
def test_rows_that_were_swapped_or_emptied_are_asked_again(path: Path, truth: list[Response], statement: str) -> None:
    change(path, statement)
    found, broker = answered(path)
    assert found == truth
    assert broker.tally.asked >= len(ASKED) - 1


def test_an_error_never_stands_in_for_an_answer(path: Path, truth: list[Response]) -> None:
    """A failure put among the answers, whole digest and all."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for (key,) in database.execute("SELECT key FROM answers").fetchall():
            payload = json.dumps(response_to_json(Failure("forward", "HTTP 429")))
            database.execute(
                "UPDATE answers SET payload = ?, digest = ? WHERE key = ?", (payload, digest([key, payload]), key)
            )
    found, broker = answered(path)
    assert found == truth
    assert broker.tally.asked == len(ASKED)


@pytest.mark.parametrize("failure", [Failure("forward", "429"), Failure("store", "full")])
def test_failures_of_another_run_are_asked_again(path: Path, truth: list[Response], failure: Failure) -> None:
    change(path, "DELETE FROM answers")
    with contextlib.closing(Store(path)) as store:
        identity = engine().identity
        keys = [key_of(identity, engine().encode(request)) for request in ASKED]
        store.put(dict.fromkeys(keys, failure), identity=identity, run="one")
    found, broker = answered(path)
    assert found == truth
    assert broker.tally.asked == len(ASKED)


@pytest.mark.parametrize("changed", [{"name": "other"}, {"version": "2"}])
def test_another_model_is_served_nothing(path: Path, changed: dict[str, Any]) -> None:
    assert answered(path, **changed)[1].tally.from_store == 0


KEYS: dict[str, Callable[[Request], Request]] = {
    "more tokens": lambda _: Generate(messages="Is it safe?", max_tokens=5),
    "warmer": lambda _: Generate(messages="Is it safe?", max_tokens=4, temperature=0.5, seed=1),
    "two samples": lambda _: Generate(messages="Is it safe?", max_tokens=4, n=2, temperature=1.0),
    "a stop": lambda _: Generate(messages="Is it safe?", max_tokens=4, stop=("x",)),
    "another text": lambda _: Generate(messages="Is it safe", max_tokens=4),
    "scores": lambda _: Loglikelihood(messages="Is it safe?", continuations=(" safe",)),
}


@pytest.mark.parametrize("name", KEYS)
def test_another_question_is_served_nothing(path: Path, name: str) -> None:
    with contextlib.closing(Store(path)) as store:
        broker = Broker(engine(), store, run="two")
        [found] = broker.answer([KEYS[name](ASKED[0])])
    assert broker.tally.from_store == 0
    assert isinstance(found, Completions) == (name != "scores")
