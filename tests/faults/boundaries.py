"""Where a run meets what can fail, what can happen there, and how to make the N-th call meet it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib
import json
import os
import signal
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from harness.request import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """One place at which calls can fail."""

    name: str
    target: str
    """`module:attribute`, the attribute looked up as the code under test does."""
    when: Literal["before", "after"] = "before"
    """After: the call has done its work, and whoever called never hears of it."""
    shape: Literal["function", "property", "context", "connect"] = "function"
    room: Literal["run", "verdict"] = "run"
    """In which process: the run, or `tells verdict` on a run that went well."""


def _at(name: str, target: str, **more: Any) -> Boundary:
    return Boundary(name=name, target=target, **more)


RUN = (
    _at("collection", "harness.items:load_suite"),
    _at("node ids", "harness.items:EvalItem.__init__"),
    _at("seal of the plan", "harness.plan_file:sealed"),
    _at("write of the plan", "harness.plan_file:write"),
    _at("opening a model", "harness.session:open_spec"),
    _at("identity of a model", "harness.engines.scripted:ScriptedEngine.identity", shape="property"),
    _at("script of a case", "harness.session:case_script"),
    _at("planning batches", "harness.planner:plan"),
    _at("tokenising", "harness.engines.scripted:ScriptedEngine.encode"),
    _at("forward", "harness.engines.scripted:ScriptedEngine.run"),
    _at("forward, answered", "harness.engines.scripted:ScriptedEngine.run", when="after"),
    _at("scoring", "harness.engines.scripted:ScriptedEngine._scores"),
    _at("decoding", "harness.engines.scripted:ScriptedEngine._completions"),
    _at("opening the store", "harness.session:Store"),
    _at("store, read", "harness.store:Store.get"),
    _at("store, write", "harness.store:Store.put"),
    _at("store, written", "harness.store:Store.put", when="after"),
    _at("store, lock", "harness.store:Store.owner", shape="context"),
    _at("store, statement", "sqlite3:connect", shape="connect"),
    _at("store, statement done", "sqlite3:connect", shape="connect", when="after"),
    _at("grading", "harness.measures.events:grade"),
    _at("margin", "harness.scoring:row_margin"),
    _at("limits", "harness.measures.events:exact_limits"),
    _at("check", "harness.checks:run_check"),
    _at("evidence", "harness.exchange:exchange_from_row"),
    _at("record of an item", "harness.session:Run._item"),
    _at("record to a report", "harness.record:item_to_json"),
    _at("record from a report", "harness.record:item_from_json"),
    _at("page of a failure", "harness.writers.terminal:item_page"),
    _at("facts of the run", "harness.session:Run.facts"),
    _at("seal of the record", "harness.record:sealed"),
    _at("judging", "harness.gate:judge_run"),
    _at("plan beside the record", "harness.plan_file:faults"),
    _at("summary", "harness.writers.terminal:summary"),
    _at("temporary file", "tempfile:NamedTemporaryFile"),
    _at("fsync", "os:fsync"),
    _at("fsync done", "os:fsync", when="after"),
    _at("rename", "os:replace"),
    _at("renamed", "os:replace", when="after"),
    _at("run.json", "harness.writers.json:write_record"),
    _at("report.md", "harness.writers.markdown:render"),
    _at("report.html", "harness.writers.html:render"),
    _at("release.md", "harness.writers.release:render"),
    _at("test-result.intoto.json", "harness.writers.release_statement:write_atomic"),
    _at("results.sarif", "harness.writers.sarif:render"),
    _at("JUnit properties", "harness.items:junit_properties"),
    _at("junit.xml", "_pytest.junitxml:LogXML.pytest_sessionfinish"),
    _at("end of the session", "harness.reporting:Reporting.pytest_sessionfinish"),
    _at("freeing the model", "harness.engines.scripted:ScriptedEngine.close"),
)
VERDICT = (
    _at("verdict: reading the record", "harness.record_file:_parse", room="verdict"),
    _at("verdict: its seal", "harness.record_file:seal_of", room="verdict"),
    _at("verdict: its schema", "harness.record_file:_validate", room="verdict"),
    _at("verdict: its order", "harness.gate:_disorder", room="verdict"),
    _at("verdict: reading the plan", "harness.plan_file:read", room="verdict"),
    _at("verdict: comparing them", "harness.plan_file:differences", room="verdict"),
    _at("verdict: judging", "harness.gate:judge_run", room="verdict"),
    _at("verdict: annotations", "harness.writers.github:tell", room="verdict"),
    _at("verdict: words", "harness.writers.words:plain_words", room="verdict"),
    _at("verdict: saying it", "harness.cli:_say", room="verdict"),
)
BOUNDARIES = (*RUN, *VERDICT)


class OutOfMemory(RuntimeError):
    """As torch names it: a RuntimeError of its own class."""


class Cancelled(BaseException):
    """As asyncio's: no `Exception`, so that code which catches those does not see it."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "I/O error": lambda: OSError(errno.EIO, "Input/output error"),
    "database is full": lambda: sqlite3.OperationalError("database or disk is full"),
    "MemoryError": lambda: MemoryError("no memory"),
    "CUDA out of memory": lambda: OutOfMemory("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "RuntimeError": lambda: RuntimeError("synthetic"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "TimeoutError": lambda: TimeoutError("timed out"),
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"),
    "StopIteration": lambda: StopIteration("PASS"),
    "AssertionError": AssertionError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit(0)": lambda: SystemExit(0),
    "GeneratorExit": GeneratorExit,
    "cancelled": lambda: Cancelled("cancelled"),
    "pytest.skip": lambda: pytest.skip.Exception("skipped", allow_module_level=True),
    "pytest.xfail": lambda: pytest.xfail.Exception("expected"),
    "pytest.exit(0)": lambda: pytest.exit.Exception("enough", 0),
}
"""What can be raised, by name."""


def _segfault() -> None:
    ctypes.string_at(0)


DEATHS: dict[str, Callable[[], None]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "os._exit(0)": lambda: os._exit(0),
    "segfault": _segfault,
}
"""How a process can end without another word."""
FAULTS = (*ERRORS, *DEATHS)


@dataclass(slots=True)
class Trap:
    """Counts the calls at a boundary and lets the N-th meet a fault; files tell of it, since a process may be gone."""

    fault: str
    number: int
    """Counted from 1."""
    notes: Path
    calls: int = 0

    def reached(self) -> None:
        """Count a call; fail or die in the N-th."""
        self.calls += 1
        if self.calls == self.number:
            self.note("fired", self.fault)
            if self.fault in DEATHS:
                DEATHS[self.fault]()
            raise ERRORS[self.fault]()  # noqa: RSE102 - not a class but what makes one

    def note(self, name: str, text: str) -> None:
        """Append a line to a file at once."""
        handle = os.open(self.notes / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{text}\n".encode())
        os.close(handle)


def install(boundary: Boundary, trap: Trap) -> None:
    """Put `trap` at a boundary of this process, for good: the process is a fork that lives for one run."""
    watch_store(trap)
    place, name = _resolve(boundary.target)
    real = vars(place)[name] if isinstance(place, type) else getattr(place, name)
    make: Mapping[str, Callable[..., Any]] = {
        "function": _function, "property": _property, "context": _context, "connect": _connect,
    }  # fmt: skip
    setattr(place, name, make[boundary.shape](real, trap, boundary.when))


def watch_store(trap: Trap) -> None:
    """Note the key of every answer that a call of `put` has said to be kept."""
    from harness.store import Store  # noqa: PLC0415 - patched here alone

    real = Store.put

    def put(self: Any, answers: Any, **named: Any) -> None:
        real(self, answers, **named)
        trap.note("kept", json.dumps([key for key, found in answers.items() if not isinstance(found, Failure)]))

    Store.put = put  # type: ignore[method-assign]


def _resolve(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    place: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        place = getattr(place, parent)
    return place, name


def _function(real: Any, trap: Trap, when: str) -> Any:
    if isinstance(real, type):  # a class that is called to open something
        return _opening(real, trap)

    @functools.wraps(real)
    def call(*given: Any, **named: Any) -> Any:
        if when == "before":
            trap.reached()
        found = real(*given, **named)
        if when == "after":
            trap.reached()
        return found

    return call


def _opening(real: type, trap: Trap) -> Any:
    def opened(*given: Any, **named: Any) -> Any:
        trap.reached()
        return real(*given, **named)

    return opened


def _property(real: property, trap: Trap, _when: str) -> property:
    def get(self: Any) -> Any:
        trap.reached()
        return real.__get__(self)

    return property(get)


def _context(real: Any, trap: Trap, _when: str) -> Any:
    @contextlib.contextmanager
    def entered(*given: Any, **named: Any) -> Any:
        trap.reached()
        with real(*given, **named) as found:
            yield found

    return entered


def _connect(real: Any, trap: Trap, when: str) -> Any:
    class Connection(sqlite3.Connection):
        """Every statement of SQL is a call."""

        def execute(self, *given: Any) -> sqlite3.Cursor:
            if when == "before":
                trap.reached()
            found = super().execute(*given)
            if when == "after":
                trap.reached()
            return found

    return lambda *given, **named: real(*given, **{"factory": Connection, **named})
