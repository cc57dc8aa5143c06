"""The store loses nothing that was committed, and serves nobody another's answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness
from harness.engines.base import Encoded, Identity
from harness.errors import StoreError
from harness.request import Failure, Generate, Loglikelihood
from harness.store import Store, key_of
from tests.core.strategies import COMPLETIONS, SCORES
from tests.factory import margin_scores, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.request import Request, Response


IDENTITY = Identity(
    spec="scripted:x", name="x", weights="w", tokenizer="t", chat_template="c", dtype="float32", numerics="n/1"
)
HELLO = texts("hello")
ROOT = Path(harness.__file__).parent.parent
PRELUDE = """
import os, resource, sys, time
from pathlib import Path
from harness.engines.base import Identity
from harness.errors import StoreError
from harness.request import Completion, Completions
from harness.store import Store
identity = Identity(spec="s", name="x", weights="w", tokenizer="t", chat_template="c", dtype="d", numerics="n")
def answer(text):
    done = Completion(text=text, token_ids=(1,), token_logprobs=(-0.5,), finish_reason="stop")
    return Completions(completions=(done,))
def put(store, *keys, text=""):
    store.put({key: answer(text or key) for key in keys}, identity=identity, run="r")
path = Path(sys.argv[1])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store of a test lies."""
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Return an open store."""
    with contextlib.closing(Store(path)) as opened:
        yield opened


def keep(store: Store, answers: dict[str, Response], run: str = "r", identity: Identity = IDENTITY) -> None:
    """Put a batch."""
    store.put(answers, identity=identity, run=run)


def start(code: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that has the store's words at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(path), *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that should end well; return what it said."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def keys_in(path: Path) -> set[str]:
    """Return the keys of all answers that a new reader finds."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {row[0] for row in database.execute("SELECT key FROM answers")}


# --- what goes in comes out


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.dictionaries(st.text(min_size=1, max_size=5), SCORES | COMPLETIONS, max_size=5))
def test_answers_come_back_exactly(store: Store, answers: dict[str, Response]) -> None:
    """Answers come back exactly."""
    keep(store, answers)
    assert store.get(answers, "another run") == answers


def test_log_probabilities_come_back_to_the_last_bit(store: Store) -> None:
    """Log probabilities come back to the last bit."""
    answer = margin_scores(0.1 + 0.2)
    keep(store, {"k": answer})
    assert store.get(["k"], "r")["k"].continuations[1].logprob.hex() == answer.continuations[1].logprob.hex()


def test_half_a_surrogate_pair_comes_back(store: Store) -> None:
    """Half a surrogate pair comes back."""
    answer = dataclasses.replace(HELLO, prompt="\ud800")
    keep(store, {"k": answer, "other": HELLO})
    assert store.get(["k", "other"], "r") == {"k": answer, "other": HELLO}


def test_more_keys_than_a_query_may_hold(store: Store) -> None:
    """More keys than a query may hold."""
    answers = {f"k{number}": HELLO for number in range(1201)}
    keep(store, answers)
    assert store.get([*answers, *answers, "missing"], "r").keys() == answers.keys()
    assert store.get([], "r") == {}


def test_a_batch_is_kept_at_once_and_another_reader_sees_it(store: Store, path: Path) -> None:
    """A batch is kept at once and another reader sees it."""
    keep(store, {"a": HELLO})
    with contextlib.closing(Store(path)) as reader:
        assert reader.get(["a"], "r") == {"a": HELLO}
        keep(store, {"b": HELLO})
        assert reader.get(["a", "b"], "r").keys() == {"a", "b"}


def test_a_batch_is_kept_as_a_whole_or_not_at_all(store: Store) -> None:
    """A batch is kept as a whole or not at all."""
    nan = dataclasses.replace(
        HELLO, completions=(dataclasses.replace(HELLO.completions[0], token_logprobs=(float("nan"),)),)
    )
    keep(store, {"before": HELLO})
    with pytest.raises(StoreError, match="cannot write"):
        keep(store, {"a": HELLO, "b": nan})
    keep(store, {"after": HELLO})  # the failed transaction was closed
    assert store.get(["before", "a", "b", "after"], "r").keys() == {"before", "after"}


def test_the_file_is_in_wal_mode(store: Store) -> None:
    """The file is in WAL mode."""
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_facts_are_remembered(store: Store, path: Path) -> None:
    """Facts are remembered."""
    assert store.fact("rate") is None
    store.remember("rate", 470.5)
    store.remember("rate", 471.5)
    with contextlib.closing(Store(path)) as other:
        assert other.fact("rate") == 471.5


def test_info_counts_per_model(store: Store) -> None:
    """Info counts per model."""
    other = dataclasses.replace(IDENTITY, weights="v")
    keep(store, {"a": HELLO, "b": HELLO, "f": Failure("forward", "x")})
    keep(store, {"c": HELLO}, identity=other)
    info = store.info()
    assert info["answers"] == {IDENTITY.digest: 2, other.digest: 1}
    assert info["failures"] == 1
    assert info["bytes"] > 0


def test_prune_drops_what_is_old_and_all_failures(store: Store) -> None:
    """Prune drops what is old and all failures."""
    keep(store, {"old": HELLO, "f": Failure("forward", "x")})
    store._db.execute("UPDATE answers SET created = created - 10 * 86400")
    keep(store, {"new": HELLO})
    assert store.prune(keep_days=5) == 1
    assert store.get(["old", "new", "f"], "r") == {"new": HELLO}


# --- whose answer


def encoded(
    request: Request | None = None, ids: tuple[int, ...] = (1, 2), continuations: tuple[tuple[int, ...], ...] = ()
) -> Encoded:
    """Return an encoded request."""
    request = request or Generate(messages="x", max_tokens=4, temperature=1.0, seed=3)
    return Encoded(request=request, prompt="x", prompt_ids=ids, continuation_ids=continuations)


@pytest.mark.parametrize(
    "field", ["weights", "tokenizer", "chat_template", "dtype", "adapter", "transform", "numerics"]
)
def test_another_model_has_another_key(field: str) -> None:
    """Another model has another key."""
    other = dataclasses.replace(IDENTITY, **{field: "another"})
    assert key_of(other, encoded()) != key_of(IDENTITY, encoded())


@pytest.mark.parametrize("field", ["spec", "name", "revision"])
def test_a_name_is_no_identity(field: str) -> None:
    """A name is no identity."""
    other = dataclasses.replace(IDENTITY, **{field: "another"})
    assert key_of(other, encoded()) == key_of(IDENTITY, encoded())


def test_parts_of_an_identity_do_not_run_together() -> None:
    """Parts of an identity do not run together."""
    one = dataclasses.replace(IDENTITY, adapter="a", transform="")
    other = dataclasses.replace(IDENTITY, adapter="", transform="a")
    assert key_of(one, encoded()) != key_of(other, encoded())


@pytest.mark.parametrize(
    "changed",
    [{"max_tokens": 5}, {"n": 2}, {"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 3}, {"seed": 4}, {"stop": ("x",)}],
)
def test_another_way_of_sampling_has_another_key(changed: dict[str, Any]) -> None:
    """Another way of sampling has another key."""
    request = dataclasses.replace(encoded().request, **changed)
    assert key_of(IDENTITY, encoded(request)) != key_of(IDENTITY, encoded())


def test_other_token_ids_have_another_key() -> None:
    """Other token ids have another key."""
    scored = Loglikelihood(messages="x", continuations=("a", "b"))
    keys = [
        key_of(IDENTITY, encoded()),
        key_of(IDENTITY, encoded(ids=(1, 2, 3))),
        key_of(IDENTITY, encoded(ids=(12,))),
        key_of(IDENTITY, encoded(scored, continuations=((1,), (2,)))),
        key_of(IDENTITY, encoded(scored, continuations=((2,), (1,)))),
        key_of(IDENTITY, encoded(scored, continuations=((1, 2),))),
        key_of(IDENTITY, encoded(scored, ids=(1,), continuations=((2, 1), (2,)))),
    ]
    assert len(set(keys)) == len(keys)


def test_a_greedy_answer_does_not_hang_on_the_seed() -> None:
    """A greedy answer does not hang on the seed."""
    greedy = Generate(messages="x", max_tokens=4, seed=3)
    assert key_of(IDENTITY, encoded(greedy)) == key_of(IDENTITY, encoded(dataclasses.replace(greedy, seed=4)))


def test_failures_stay_within_their_run(store: Store) -> None:
    """Failures stay within their run."""
    keep(store, {"a": Failure("forward", "out of memory"), "b": HELLO}, run="one")
    assert store.get(["a", "b"], "one") == {"a": Failure("forward", "out of memory"), "b": HELLO}
    for other in ("two", "on", "one ", "", "ONE"):
        assert store.get(["a", "b"], other) == {"b": HELLO}


def test_an_answer_outweighs_a_failure_of_the_same_run(store: Store) -> None:
    """An answer outweighs a failure of the same run."""
    keep(store, {"a": Failure("forward", "x")})
    keep(store, {"a": HELLO})
    assert store.get(["a"], "r") == {"a": HELLO}


# --- damage


def damage(path: Path, table: str, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of the payload with key `a` behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        [payload] = database.execute(f"SELECT CAST(payload AS BLOB) FROM {table} WHERE key = 'a'").fetchone()  # noqa: S608
        changed = change(payload)
        assert changed != payload
        database.execute(f"UPDATE {table} SET payload = CAST(? AS TEXT) WHERE key = 'a'", (changed,))  # noqa: S608


def flip(bit: int) -> Callable[[bytes], bytes]:
    """Return a change that flips one bit in the middle."""

    def change(payload: bytes) -> bytes:
        middle = len(payload) // 2
        return payload[:middle] + bytes([payload[middle] ^ (1 << bit)]) + payload[middle + 1 :]

    return change


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_a_miss_and_harms_no_other(store: Store, path: Path, bit: int) -> None:
    """A flipped bit is a miss and harms no other."""
    keep(store, {"a": HELLO, "b": HELLO})
    damage(path, "answers", flip(bit))
    assert store.get(["a", "b"], "r") == {"b": HELLO}
    keep(store, {"a": HELLO})
    assert store.get(["a"], "r") == {"a": HELLO}


@pytest.mark.parametrize(
    "change",
    [lambda p: p[:-1], lambda _: b"", lambda _: b"null", lambda _: b"[]", lambda p: p.replace(b"-0.5", b"-9.5")],
)
def test_a_changed_payload_is_a_miss(store: Store, path: Path, change: Callable[[bytes], bytes]) -> None:
    """A changed payload is a miss."""
    keep(store, {"a": HELLO})
    damage(path, "answers", change)
    assert store.get(["a"], "r") == {}


@pytest.mark.parametrize("bit", range(8))
def test_a_damaged_failure_is_never_an_answer(store: Store, path: Path, bit: int) -> None:
    """A damaged failure is never an answer."""
    keep(store, {"a": Failure("forward", "x" * 9), "b": HELLO})
    damage(path, "failures", flip(bit))
    found = store.get(["a", "b"], "r")
    assert found.pop("b") == HELLO
    assert all(isinstance(response, Failure) for response in found.values())


def test_an_answer_moved_to_another_key_is_a_miss(store: Store) -> None:
    """An answer moved to another key is a miss."""
    keep(store, {"a": HELLO})
    store._db.execute("UPDATE answers SET key = 'b'")
    assert store.get(["a", "b"], "r") == {}


# --- what is no store


def test_a_file_that_is_no_database(path: Path) -> None:
    """A file that is no database."""
    path.write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(StoreError, match=r"store\.sqlite: cannot open .*name another file with --store"):
        Store(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """A database of another program is left alone."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreError, match="a database of another program"):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]


def test_a_store_of_another_format(store: Store, path: Path) -> None:
    """A store of another format."""
    store.remember("format", "tells-store/0")
    with pytest.raises(StoreError, match=r"a store of format .*tells-store/0.*expected 'tells-store/1'"):
        Store(path)


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    """A folder in the place of the file."""
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    """A file in the place of the folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "file" / "store.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written(tmp_path: Path) -> None:
    """What may not be read or written."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot open"):
        Store(closed / "store.sqlite")


def test_a_store_that_goes_away_is_a_store_error(store: Store) -> None:
    """A store that goes away is a store error."""
    store.close()
    for use in (
        lambda: store.get(["a"], "r"),
        lambda: keep(store, {"a": HELLO}),
        lambda: store.fact("x"),
        lambda: store.remember("x", 1),
        store.info,
        lambda: store.prune(1),
    ):
        with pytest.raises(StoreError):
            use()


def test_a_table_that_goes_away_is_a_store_error(store: Store) -> None:
    """A table that goes away is a store error."""
    store._db.execute("DROP TABLE answers")
    with pytest.raises(StoreError, match="cannot read"):
        store.get(["a"], "r")
    with pytest.raises(StoreError, match="cannot write"):
        keep(store, {"a": HELLO})


# --- processes that die, wait and compete

DYING = """
store = Store(path)
put(store, "a", "b")
put(store, "c")
store._db.execute("BEGIN IMMEDIATE")
store._db.execute("INSERT INTO answers VALUES ('half', '', '', '', 1, 0)")
"""


@pytest.mark.parametrize("death", ["os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_killed_writer_loses_nothing_committed(path: Path, death: str) -> None:
    """A killed writer loses nothing committed."""
    writer = start(DYING + death, path)
    assert writer.wait(timeout=60) != 0
    writer.communicate()
    with contextlib.closing(Store(path)) as store:
        assert store.get(["a", "b", "c", "half"], "r").keys() == {"a", "b", "c"}
        keep(store, {"d": HELLO})


def test_concurrent_writers_lose_nothing(path: Path) -> None:
    """Concurrent writers lose nothing."""
    # They also all create the file at once, which is where locking goes wrong first.
    code = """
    store = Store(path)
    for number in range(25):
        put(store, f"{sys.argv[2]}-{number}", "shared")
    """
    writers = [start(code, path, str(number)) for number in range(4)]
    for writer in writers:
        finish(writer)
    assert keys_in(path) == {f"{writer}-{number}" for writer in range(4) for number in range(25)} | {"shared"}


def test_many_may_create_the_file_at_once(tmp_path: Path) -> None:
    """Many may create the file at once."""
    # Without a wait of our own for the change to WAL, more than one round in ten failed.
    starts = Barrier(6)

    def opened(path: Path) -> None:
        starts.wait()
        Store(path).close()

    with ThreadPoolExecutor(6) as pool:
        for number in range(40):
            assert list(pool.map(opened, [tmp_path / f"{number}.sqlite"] * 6)) == [None] * 6


OWN = """
store = Store(path)
with store.owner():
    print("mine", flush=True)
    time.sleep(60)
"""
WAIT = """
store = Store(path)
print("waiting", flush=True)
with store.owner():
    print("mine", flush=True)
"""


def test_a_second_owner_waits_until_the_first_lets_go(store: Store, path: Path) -> None:
    """A second owner waits until the first lets go."""
    with store.owner():
        second = start(WAIT, path)
        assert second.stdout.readline() == "waiting\n"
        time.sleep(0.3)
        assert second.poll() is None
    assert finish(second) == "mine\n"


def test_the_right_of_a_killed_owner_falls_to_the_next(path: Path) -> None:
    """The right of a killed owner falls to the next."""
    first = start(OWN, path)
    assert first.stdout.readline() == "mine\n"
    second = start(WAIT, path)
    assert second.stdout.readline() == "waiting\n"
    first.kill()
    first.communicate()
    assert finish(second) == "mine\n"


def test_who_waits_can_be_interrupted(store: Store, path: Path) -> None:
    """Who waits can be interrupted."""
    with store.owner():
        second = start(WAIT, path)
        assert second.stdout.readline() == "waiting\n"
        time.sleep(0.2)
        second.send_signal(signal.SIGINT)
        _, error = second.communicate(timeout=20)
        assert "KeyboardInterrupt" in error


def test_an_owner_that_raises_lets_go(store: Store) -> None:
    """An owner that raises lets go."""
    with pytest.raises(ZeroDivisionError), store.owner():
        raise ZeroDivisionError
    with store.owner():
        pass


def test_a_sidecar_that_cannot_be_locked_is_a_store_error(store: Store, path: Path) -> None:
    """A sidecar that cannot be locked is a store error."""
    path.with_name(path.name + "-owner").mkdir()
    with pytest.raises(StoreError, match="cannot lock"), store.owner():
        pytest.fail("nobody owns this")


def test_owning_does_not_keep_others_from_reading_and_writing(store: Store, path: Path) -> None:
    """Owning does not keep others from reading and writing."""
    with store.owner(), contextlib.closing(Store(path)) as other:
        keep(other, {"a": HELLO})
        assert store.get(["a"], "r") == {"a": HELLO}


def test_a_full_disk_is_a_store_error_and_earlier_batches_stay(path: Path) -> None:
    """A full disk is a store error and earlier batches stay."""
    # The limit on the size of a file stands for the full disk: SQLite meets both at the same write.
    out = finish(
        start(
            """
            store = Store(path)
            put(store, "a", "b")
            size = max(p.stat().st_size for p in path.parent.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30000, resource.RLIM_INFINITY))
            for key in ("big", "bigger"):
                try:
                    put(store, key, text="x" * 200000)
                except StoreError as error:
                    print("StoreError", "cannot write" in str(error))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            put(store, "c")
            print(sorted(store.get(["a", "b", "c", "big", "bigger"], "r")))
            """,
            path,
        )
    )
    assert out.splitlines() == ["StoreError True", "StoreError True", "['a', 'b', 'c']"]
    assert keys_in(path) == {"a", "b", "c"}


def test_payloads_are_json_that_any_tool_can_read(store: Store, path: Path) -> None:
    """Payloads are JSON that any tool can read."""
    keep(store, {"a": HELLO})
    with contextlib.closing(sqlite3.connect(path)) as database:
        [row] = database.execute("SELECT payload, identity, batch FROM answers").fetchall()
    assert json.loads(row[0])["completions"][0]["text"] == "hello"
    assert row[1:] == (IDENTITY.digest, 1)
