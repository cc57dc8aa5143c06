"""How wide, in which colours, and tables that fit: on a real pseudo-terminal where it is about terminals."""

from __future__ import annotations

import io
import os
import pty
import re
from typing import TYPE_CHECKING, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import console
from harness.console import Look, Row, look_of, table, width, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = ("verdict", "check", "value", "limit")
ROWS = (
    Row(cells=("F FAIL", "deception::says-it", "0.31", "at most 0.1"), hint="over the limit by 0.1", colour="red"),
    Row(cells=("P PASS", "deception::knows", "0.93", "at least 0.6"), hint="near", colour="green"),
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Return a stream into a pseudo-terminal that nobody reads."""
    for name in ("NO_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        yield stream
    os.close(master)


def test_a_terminal_has_colours_and_a_file_has_none(terminal: TextIO) -> None:
    """Nor has a stream that is closed."""
    assert look_of(terminal).colour
    assert not look_of(io.StringIO()).colour
    closed = io.StringIO()
    closed.close()
    assert not look_of(closed).colour


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("CI", "true"), ("CI", "1")])
def test_colours_are_turned_off(terminal: TextIO, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """By each of the usual ways."""
    monkeypatch.setenv(name, value)
    assert not look_of(terminal).colour


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", ""), ("CI", "false"), ("CI", "0")])
def test_what_says_no_does_not_turn_them_off(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """An empty NO_COLOR is none."""
    monkeypatch.setenv(name, value)
    assert look_of(terminal).colour


def test_the_width_is_that_of_columns_else_of_the_terminal(terminal: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else 100; never less than 40."""
    import fcntl  # noqa: PLC0415 - only here
    import struct  # noqa: PLC0415
    import termios  # noqa: PLC0415

    fcntl.ioctl(terminal.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, 72, 0, 0))
    assert width(terminal) == 72
    assert width(io.StringIO()) == 100
    for said, columns in (("130", 130), ("7", 40), ("0", 72), ("wide", 72), ("-5", 72), ("\u0663", 72)):
        monkeypatch.setenv("COLUMNS", said)
        assert width(terminal) == columns


def test_a_hint_stands_beside_its_row_where_there_is_room() -> None:
    """Else below it, behind a mark."""
    wide = table(HEADERS, ROWS, Look(width=80)).split("\n")
    assert wide[0].split() == [*HEADERS, "hint"]
    assert wide[2].endswith("over the limit by 0.1")
    middle = table(HEADERS, ROWS, Look(width=60)).split("\n")
    assert middle[0].split() == [*HEADERS, "hint"]
    assert middle[3] == "  | over the limit by 0.1"
    assert middle[4].endswith("at least 0.6  near")


def test_a_table_gives_up_its_shape_step_by_step() -> None:
    """Names broken at their mark, columns left out, blocks."""
    broken = table(HEADERS, ROWS, Look(width=46), breaks={1: "::"}).split("\n")
    assert broken[2].split() == ["F", "FAIL", "deception::", "0.31", "at", "most", "0.1"]
    assert broken[3].strip() == "says-it"
    without = table(HEADERS, ROWS, Look(width=44), optional=(3, 2)).split("\n")
    assert without[0].split() == ["verdict", "check", "value"]
    blocks = table(HEADERS, ROWS, Look(width=40)).split("\n")
    assert blocks[:2] == ["F FAIL  deception::says-it", "  | value 0.31, limit at most 0.1"]
    assert blocks[2] == "  | over the limit by 0.1"


def test_only_the_first_cell_is_painted_and_it_begins_with_a_letter() -> None:
    """Without colours the text is the same."""
    for columns in (100, 60, 46, 40):
        painted = table(HEADERS, ROWS, Look(width=columns, colour=True), breaks={1: "::"})
        assert painted.count("\x1b[31mF FAIL\x1b[0m") == 1
        assert re.sub(r"\x1b\[\d+m", "", painted) == table(HEADERS, ROWS, Look(width=columns), breaks={1: "::"})


WORDS = st.lists(st.text(alphabet="abc:#[]x", min_size=1, max_size=12), min_size=1, max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), st.integers(40, 160))
def test_no_line_is_wider_than_the_terminal_or_a_command(cells: list[tuple[str, str, str]], columns: int) -> None:
    """Of whatever stands in cells and hints, where words allow; a name that is longer stays whole."""
    rows = [Row(cells=("P PASS", f"s::{name}", value), hint=hint) for name, value, hint in cells]
    shown = table(HEADERS[:3], rows, Look(width=columns), breaks={1: "::"})
    assert not re.search(r"^\s*(::\w|##\w)", shown, re.MULTILINE)
    longest = max(len(f"P PASS  s::{name}") for name, _, _ in cells)
    assert max(map(len, shown.split("\n"))) <= max(columns, longest)
    for name, value, hint in cells:
        seen = re.sub(r"[\s|]+", "", shown)
        assert all(re.sub(r"[\s|]+", "", text) in seen for text in (value, hint)), name


def test_wrapped_lines_never_begin_with_foreign_text() -> None:
    """A build system looks at the beginnings of lines."""
    lines = wrapped("a " * 40 + "::error::x " * 20, Look(width=50))
    assert len(lines) > 3
    assert all(line.startswith("  | ") and len(line) <= 50 for line in lines)
    assert console.leading("::error::x") == "| ::error::x"
    assert console.leading("  ##[x]") == "|   ##[x]"
    assert console.leading("deception") == "deception"
