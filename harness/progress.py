"""How far the asking is: one line that moves on a terminal, a line now and then in a log, nothing where nobody watches.

What is shown are numbers and the SPECs of models; nothing that a model or a suite wrote. A time left is only told once
a rate was measured: tokens still to be asked in this round over tokens answered per second, counted from the first
answer on, so that loading the weights is no part of it. Later rounds, and models that come after, are not in it: what
they will ask is not known before they are there.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from harness import console
from harness.escape import line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

EVERY = 30.0
"""Seconds between two lines of a log, at least."""
STEP = 0.1
"""Share of the requests between two lines of a log, at least."""
REDRAWN = 0.1
"""Seconds between two drawings on a terminal, at least."""
BAR = 16
"""Cells of the bar."""
NAME, CUT = 40, ".."
MINUTE, HOUR = 60, 3600


@dataclass(slots=True)
class Standing:
    """How far the asking is."""

    name: str = ""
    """SPEC of the model."""
    place: int = 0
    """Of the model among those of the run, from 1 on; 0 where it is not one of several."""
    models: int = 1
    rounds: int = 0
    """Of this model."""
    requests: int = 0
    """Of all rounds of this model that began."""
    done: int = 0
    stored: int = 0
    """Answers of this model that came from the store."""
    before: int = 0
    """Tokens of the rounds before, all of them asked."""
    planned: int = 0
    """Tokens of this round, new ones at their limit."""
    answered: int = 0
    """Of those."""
    passed: int = 0
    """Tokens of this round that went through the network."""
    first: tuple[float, int, int] | None = None
    """When the first answers of this round were there, with `answered` and `passed` then."""
    now: float = 0.0

    def rates(self) -> tuple[float, float] | None:
        """Return tokens per second, as planned and as passed; None before there is anything to measure by."""
        if self.first is None:
            return None
        since, answered, passed = self.first
        seconds = self.now - since
        if seconds <= 0.0 or self.answered <= answered:
            return None
        return (self.answered - answered) / seconds, (self.passed - passed) / seconds

    def who(self, most: int = NAME) -> str:
        """Return the model and which one of how many, its name by its end, `most` long; empty of a single one."""
        if self.models == 1 and not self.place:
            return ""
        of = f" ({self.place} of {self.models})" if self.place else ""
        name = line(self.name)
        return f"{name if len(name) <= most else CUT + name[len(name) - most + len(CUT) :]}{of}"

    def parts(self) -> list[str]:
        """Return requests, speed, time left and answers from the store, in words; what is not known is left out."""
        said = [f"{self.done}/{self.requests} requests"]
        if (rates := self.rates()) is not None:
            said.append(f"{rates[1]:.0f} tokens/s")
            if (left := self.planned - self.answered) > 0:
                said.append(f"{clock(left / rates[0])} left of round {self.rounds}")
        return [*said, *([f"{self.stored} from the store"] if self.stored else [])]


class Shown(Protocol):
    """Where it is told."""

    def tell(self, standing: Standing, *, asked: bool) -> None:
        """Show how far it is; `asked` when a round begins."""

    def close(self, total: Total) -> None:
        """Leave nothing that is not true any more."""


@dataclass(slots=True)
class Total:
    """What all models of a session came to."""

    asked: int = 0
    stored: int = 0
    passed: int = 0
    seconds: float = 0.0
    """Spent asking, the loading of weights included."""


class Bar:
    """Progress of one process; `harness.tally.Progress` for brokers."""

    def __init__(self, *, quiet: bool = False, now: Callable[[], float] = time.perf_counter) -> None:
        """Show nothing yet.

        Args:
            quiet: Never show anything, as in a worker of xdist or under `-qq`.
            now: Seconds of a clock.
        """
        self._quiet, self._now = quiet, now
        self._shown: Shown | None = None
        self._total = Total()
        self._standing = Standing()
        self._since = 0.0

    @contextlib.contextmanager
    def shown(self, stream: TextIO | None = None, *, column: int = 0) -> Generator[None]:
        """Show progress on `stream` until this is left, and then take it away; elsewhere nothing is shown.

        Args:
            stream: Standard error as it is now where it is left out.
            column: Of the cursor: more than 0 where another wrote the beginning of a line, which is kept.
        """
        if self._quiet or self._shown is not None:
            yield
            return
        stream = stream or sys.stderr
        self._total = Total()
        if console.moves(stream):
            # What is written elsewhere does not move the cursor of this terminal.
            self._shown = Line(stream, column if console.moves(sys.stdout) else 0, self._now)
        else:
            self._shown = Log(stream, column, self._now)
        try:
            yield
        finally:
            shown, self._shown = self._shown, None
            shown.close(self._total)

    def model(self, spec: str, models: Sequence[str]) -> None:
        """Say which model is asked from now on, and which ones are asked in all."""
        if tuple(models) == (spec,) and self._standing.name == spec:
            return  # one of several to whoever said so before
        place = list(models).index(spec) + 1 if spec in models and len(models) > 1 else 0
        self._standing = Standing(name=spec, place=place, models=len(models))

    def stored(self, requests: int) -> None:
        """Say that answers came from the store."""
        self._standing.stored += requests
        self._total.stored += requests

    def start(self, requests: int, tokens: int) -> None:
        """Begin a round."""
        here, self._since = self._standing, self._now()
        here.rounds += 1
        here.requests += requests
        here.before += here.planned
        here.planned, here.answered, here.passed, here.first = tokens, 0, 0, None
        self._tell(asked=True)

    def advance(self, requests: int, tokens: int, passed: int) -> None:
        """Note that a batch is answered."""
        here = self._standing
        here.done += requests
        here.answered += tokens
        here.passed += passed
        self._total.asked += requests
        self._total.passed += passed
        if here.first is None:
            here.first = self._now(), here.answered, here.passed
        self._tell(asked=False)

    def stop(self) -> None:
        """End a round."""
        self._total.seconds += self._now() - self._since

    def _tell(self, *, asked: bool) -> None:
        self._standing.now = self._now()
        if self._shown is not None:
            self._shown.tell(self._standing, asked=asked)


@dataclass(slots=True)
class Line:
    """One line of a terminal, written again and again, and taken away in the end."""

    stream: TextIO
    column: int
    now: Callable[[], float]
    _print: Callable[[str], None] | None = None
    _drawn: float = 0.0

    def tell(self, standing: Standing, *, asked: bool) -> None:
        """Draw, unless it was just drawn; a terminal that is gone is no reason to stop asking."""
        if self._print is not None and not asked and self.now() - self._drawn < REDRAWN:
            return
        with contextlib.suppress(OSError, ValueError):
            if self._print is None:
                self._print = self._begun()
            self._drawn = self.now()
            self._print(drawn(standing, console.width(self.stream) - 1, unicode=_has_blocks(self.stream)))

    def _begun(self) -> Callable[[str], None]:
        from tqdm import tqdm  # noqa: PLC0415 - only terminals need it

        sys.stdout.flush()
        if self.column:
            self.stream.write("\n")
        printer: Callable[[str], None] = tqdm.status_printer(self.stream)
        return printer

    def close(self, total: Total) -> None:
        """Wipe the line, and put the cursor back to where it was."""
        del total
        if self._print is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._print("")
            self.stream.write(f"\r\x1b[A\x1b[{self.column}C" if self.column else "\r")
            self.stream.flush()


@dataclass(slots=True)
class Log:
    """Lines for a log: when it begins, then at most every `EVERY` seconds and `STEP` of the requests, when it ends."""

    stream: TextIO
    column: int
    now: Callable[[], float]
    _last: float | None = None
    _share: float = 0.0
    _who: str = ""

    def tell(self, standing: Standing, *, asked: bool) -> None:
        """Write a line where one is due."""
        who = standing.who()
        if who != self._who:
            self._who, self._share = who, 0.0
        share = standing.done / max(standing.requests, 1)
        self._share = min(self._share, share)  # a new round makes it less
        about = f"{who}: " if who else ""
        if self._last is None:
            told = f", {standing.stored} answers from the store" if standing.stored else ""
            self._say(f"{about}asking {standing.requests} requests, at most {standing.planned} tokens{told}")
            return
        if self.now() - self._last >= EVERY and (asked or share - self._share >= STEP):
            self._share = share
            self._say(f"{about}{', '.join(standing.parts())}")

    def close(self, total: Total) -> None:
        """Say what it came to, unless nothing was needed."""
        if not total.asked:
            if total.stored:
                self._say(f"all {total.stored} answers came from the store")
            return
        rate = f", {total.passed / total.seconds:.0f} tokens/s" if total.seconds > 0.0 else ""
        stored = f", {total.stored} from the store" if total.stored else ""
        self._say(f"{total.asked} requests asked in {clock(total.seconds)}{rate}{stored}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            self.stream.write(f"{chr(10) if self.column else ''}tells: {text}\n")
            self.stream.flush()
        self._last, self.column = self.now(), 0


def drawn(standing: Standing, columns: int, *, unicode: bool = True) -> str:
    """Return the line of a terminal, without what there is no room for: the bar goes first, then store, rate and time.

    Args:
        standing: How far it is.
        columns: That there are.
        unicode: Draw the bar in blocks, else in signs of ASCII.
    """
    from tqdm import tqdm  # noqa: PLC0415 - only terminals need it

    parts = standing.parts()
    whole = max(standing.before + standing.planned, 1)
    so_far = min(standing.before + standing.answered, whole)
    who = standing.who(columns // 3)
    percent = f"{who} {so_far / whole:4.0%}" if who else f"{so_far / whole:4.0%}"
    # The name goes in as a value: braces in it are no fields.
    widest = tqdm.format_meter(
        so_far, whole, 0.0, ascii=not unicode, prefix=percent,
        bar_format=f"{{desc}} |{{bar:{BAR}}}| {', '.join(parts)}",
    )  # fmt: skip
    shorter = [widest, f"{percent}, {', '.join(parts)}"]
    for word in ("from the store", "tokens/s", "left of round"):
        parts = [part for part in parts if word not in part]
        shorter.append(f"{percent}, {', '.join(parts)}")
    return next((text for text in shorter if len(text) <= columns), shorter[-1][:columns])


def clock(seconds: float) -> str:
    """Return seconds as `0:42`, `12:05` or `1:02:03`."""
    whole = round(max(seconds, 0.0))
    minutes, hours = whole // MINUTE % MINUTE, whole // HOUR
    return f"{hours}:{minutes:02}:{whole % MINUTE:02}" if hours else f"{minutes}:{whole % MINUTE:02}"


def _has_blocks(stream: TextIO) -> bool:
    try:
        "█▏".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
