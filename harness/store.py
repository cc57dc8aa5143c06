"""Remember answers: one SQLite file in WAL mode, committed per batch.

The key is a digest of model identity, numerics version and request fingerprint, so that no model is ever served
another's answers. Every payload carries its own digest: a flipped byte is a miss, not an answer. Failures are kept
under the run that met them and never served to another run, which asks again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json, digest
from harness.errors import StoreError
from harness.request import Failure, response_from_json, response_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from harness.engines.base import Encoded, Identity
    from harness.request import Response

FORMAT = "tells-store/1"
CHUNK = 500
"""Keys per query, under SQLite's limit on variables."""
BUSY_SECONDS = 60.0
PAUSE_SECONDS = 0.01
"""Between two tries of what SQLite does not wait for by itself."""
PRIMARY = 0xFF
"""The bits of an error code of SQLite that say which error it is; those above say where it was met."""
LOCK_SECONDS = 24 * 3600.0
"""How long another process may own the model before waiting for it is given up."""
LOCK_STEP = 0.5
"""Seconds between two looks at the lock. SQLite waits in C, where Ctrl-C is not heard."""
OWNER_ALONE = 0o600
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite writes beside a file, by the ending of its name."""
TABLES = frozenset({"answers", "failures", "facts"})

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, identity TEXT NOT NULL, payload TEXT NOT NULL, digest TEXT NOT NULL,
    batch INTEGER NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    run TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (run, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def key_of(identity: Identity, encoded: Encoded) -> str:
    """Return the store key of one request to one model."""
    return digest([FORMAT, identity.digest, identity.numerics, encoded.fingerprint])


class Store:
    """Answers on disk."""

    def __init__(self, path: Path, *, private: bool = False) -> None:
        """Open or create the file.

        Args:
            path: The file.
            private: It holds restricted text: mode 0600, and refused where group or world have access.

        Raises:
            StoreError: the folder cannot be written, the file is no store, or a private one is open to others.
        """
        self.path = path
        self.private = private
        with self._guard("open"):
            if private:
                _keep_private(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            # A damaged byte must come out as a wrong digest of one row, not as an error for all rows asked with it.
            self._db.text_factory = _lenient
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, keys: Iterable[str], run: str) -> dict[str, Response]:
        """Return what is known of `keys`: answers, and failures met in the same run.

        Raises:
            StoreError: the file cannot be read.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Response] = {}
        with self._guard("read"):
            for start in range(0, len(wanted), CHUNK):
                chunk = wanted[start : start + CHUNK]
                marks = ",".join("?" * len(chunk))
                # Only question marks are pasted in; the keys travel as parameters.
                query = f"SELECT key, payload FROM failures WHERE run = ? AND key IN ({marks})"  # noqa: S608
                for key, payload in self._db.execute(query, [run, *chunk]):
                    failure = _decoded(payload)
                    if isinstance(failure, Failure):
                        found[key] = failure
                query = f"SELECT key, payload, digest FROM answers WHERE key IN ({marks})"  # noqa: S608
                for key, payload, seal in self._db.execute(query, chunk):
                    answer = _decoded(payload) if digest([key, payload]) == seal else None
                    # A failure among answers was put there by another hand.
                    if answer is not None and not isinstance(answer, Failure):
                        found[key] = answer
        return found

    def put(self, answers: Mapping[str, Response], *, identity: Identity, run: str) -> None:
        """Keep a batch of answers, all or none.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._guard("write"), self._transaction():
            for key, response in answers.items():
                payload = _encoded(response)
                if isinstance(response, Failure):
                    self._db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (run, key, payload))
                    continue
                row = (key, identity.digest, payload, digest([key, payload]), len(answers), time.time())
                self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)

    @contextlib.contextmanager
    def owner(self) -> Iterator[None]:
        """Hold the right to ask the model; others wait. A dead owner's right falls to the next by itself.

        Raises:
            StoreError: the sidecar cannot be locked.
        """
        with self._guard("lock"):
            sidecar = self.path.with_name(self.path.name + "-owner")
            if self.private:
                _keep_private(sidecar)
            lock = sqlite3.connect(sidecar, timeout=LOCK_STEP, isolation_level=None)
            try:
                _lock(lock)
            except BaseException:
                lock.close()
                raise
        try:
            yield
        finally:
            lock.close()

    def fact(self, name: str) -> Any:
        """Return a remembered fact (such as tokens per second of a model on this machine), None if unknown."""
        with self._guard("read"):
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def remember(self, name: str, value: Any) -> None:
        """Keep a fact."""
        with self._guard("write"):
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, canonical_json(value)))

    def info(self) -> dict[str, Any]:
        """Return how much is kept, per model identity."""
        with self._guard("read"):
            models = dict(self._db.execute("SELECT identity, COUNT(*) FROM answers GROUP BY identity"))
            failures = self._db.execute("SELECT COUNT(*) FROM failures").fetchone()[0]
        return {"path": str(self.path), "bytes": self.path.stat().st_size, "answers": models, "failures": failures}

    def prune(self, keep_days: float) -> int:
        """Drop answers older than `keep_days` and all failures; return how many answers went."""
        with self._guard("write"):
            gone = self._db.execute(
                "DELETE FROM answers WHERE created < ?", (time.time() - keep_days * 86400,)
            ).rowcount
            self._db.execute("DELETE FROM failures")
            self._db.execute("VACUUM")
        return gone

    def _prepare(self) -> None:
        found = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if found - TABLES:
            msg = f"{self.path}: a database of another program, expected a store; name another file with --store"
            raise StoreError(msg)
        self._write_ahead()
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)
        self._check_format()

    def _write_ahead(self) -> None:
        # SQLite asks no busy handler for this change: two processes that open a new store at once would collide.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def _check_format(self) -> None:
        row = self._db.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
        if row is None:
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('format', ?)", (canonical_json(FORMAT),))
        elif json.loads(row[0]) != FORMAT:
            msg = f"{self.path}: a store of format {row[0]}, expected {FORMAT!r}; name another file with --store"
            raise StoreError(msg)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already, or have left the transaction open at COMMIT.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _guard(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"{self.path}: cannot {verb} the store of answers ({type(error).__name__}: {error}); "
                "check the disk, or name another file with --store"
            )
            raise StoreError(msg) from error


def _encoded(response: Response) -> str:
    # Plain ASCII: half a surrogate pair in a text has no UTF-8 form that SQLite would take.
    return json.dumps(response_to_json(response), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _decoded(payload: str) -> Response | None:
    """Return the response in `payload`, None where there is none to be read: then it is asked again."""
    try:
        return response_from_json(json.loads(payload))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep_private(path: Path) -> None:
    """Create `path` for its owner alone, or see that it is so; SQLite gives its other files the same mode.

    Raises:
        StoreError: it or a file beside it is a link, no plain file, another user's, or open to group or world.
    """
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ALONE)
        try:
            os.fchmod(handle, OWNER_ALONE)  # a umask can only have taken away from it
        finally:
            os.close(handle)
    for place in (path, *(path.with_name(path.name + ending) for ending in BESIDE)):
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        mine = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not mine or stat.S_IMODE(found.st_mode) & ~OWNER_ALONE:
            msg = (
                f"{place}: it is open to others or no file of this user (mode {stat.S_IMODE(found.st_mode):04o}); "
                "expected mode 0600; take the file away, or `chmod 600` it where nobody can have read it"
            )
            raise StoreError(msg)


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _lock(lock: sqlite3.Connection) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
