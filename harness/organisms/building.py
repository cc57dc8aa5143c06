"""Have organisms built: each in a process of its own with one thread, which says how far it is.

The process takes the lock of what it builds (`zoo.making`), so that two that want the same do the work once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import ModelUnavailable
from harness.escape import line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = (sys.executable, "-m", "harness.organisms.train", "build")
"""What builds; the name of the organism and its settings follow."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_TAIL = 30
"""Lines of a failed build that are kept."""
_GRACE = 2
"""Seconds in which builds may end by themselves, since Ctrl-C reaches them too and they then tidy up."""
_PATIENCE = 10
"""Seconds that a build may take to end after it was asked to."""


class BuildFailed(ModelUnavailable):
    """A build that ended without a model."""

    def __init__(self, message: str, said: tuple[str, ...]) -> None:
        """Keep the last lines that the build said."""
        super().__init__(message)
        self.said = said


class Watch(Protocol):
    """Told how far a build is."""

    def step(self, done: int, of: int, what: str) -> None:
        """Step `done` of `of`; `what` is done meanwhile, e.g. the id of a stage."""

    def close(self) -> None:
        """The build is over, done or not."""


class Quiet:
    """Nobody watches."""

    def step(self, done: int, of: int, what: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


class Bar:
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self, name: str, place: int = 0) -> None:
        """Draw nothing before the first step.

        Args:
            name: Of what is built.
            place: Lines below the first bar.
        """
        self._name = name
        self._place = place
        self._bar: Any = None

    def step(self, done: int, of: int, what: str) -> None:
        """Move the bar."""
        if not sys.stderr.isatty():
            return
        from tqdm import tqdm  # noqa: PLC0415 - only terminals need it

        if self._bar is None:
            layout = "{desc} {percentage:3.0f}% |{bar:24}| {n}/{total} {postfix} [{elapsed}<{remaining}]"
            self._bar = tqdm(
                total=of, desc=f"building {line(self._name)}", file=sys.stderr, leave=False, position=self._place,
                bar_format=layout, dynamic_ncols=True,
            )  # fmt: skip
        if self._bar.total != of or done < self._bar.n:
            self._bar.reset(total=of)
        self._bar.set_postfix_str(line(what), refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@dataclass(slots=True)
class Builder:
    """Runs builds and ends them all when asked to."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """What builds find in their environment besides that of this process."""
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def build(self, arguments: Sequence[str], watch: Watch) -> None:
        """Build what `arguments` of the training command name; return when it is there.

        Raises:
            BuildFailed: it could not be built.
        """
        process = self._start(arguments)
        tail: deque[str] = deque(maxlen=_TAIL)
        try:
            for said in process.stdout or ():
                if not _told(said, watch):
                    tail.append(said.rstrip())
            code = process.wait()
        finally:
            self._end(process)
            if process.stdout:
                process.stdout.close()
            watch.close()
        if code:
            words = tuple(said for said in tail if said.strip())
            last = line(words[-1], 300) if words else "silently"
            msg = (
                f"organism {arguments[0]}: the build ended with {code} ({last}); expected a built model; mend that and "
                f"run `tells organisms build {' '.join(arguments)}`, which shows more"
            )
            raise BuildFailed(msg, words)

    def stop(self) -> None:
        """End all builds; nothing of them is left that could be taken for a model."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        until = time.monotonic() + _GRACE
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            self._end(process)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopped:
                msg = f"organism {arguments[0]}: not built; expected time to build it; start the build again"
                raise BuildFailed(msg, ())
            process = subprocess.Popen(  # noqa: S603 - our own command; name and settings are checked
                [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, encoding="utf-8", errors="backslashreplace",
                env={**os.environ, **self.environment, **ONE_THREAD},
            )  # fmt: skip
            self._running.add(process)
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with self._lock:
            self._running.discard(process)


def _told(said: str, watch: Watch) -> bool:
    """Pass on a line that says how far the build is; say whether it was one."""
    try:
        event = json.loads(said)
        if event["event"] == "step":
            watch.step(int(event["step"]), int(event["of"]), str(event.get("stage", "")))
    except (ValueError, KeyError, TypeError):
        return False
    return True
