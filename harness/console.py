"""How wide the terminal is, whether it shows colours, and tables that fit it.

Colours are never the only sign: what is painted begins with a letter or a symbol. The escapes that stand here are the
only ones that the project writes; whatever others wrote has gone through `harness.escape` before.
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 100
"""Columns where nobody says how many there are, as in the log of a build."""
QUIET = -2
"""Verbosity of pytest from which on it is as silent as it can be: `-q` twice."""
LEAST = 40
"""Columns below which lines are cut by the terminal and not here."""
MARGIN = "  | "
"""Before lines that were wrapped: what a build system obeys at the start of a line must not come to stand there."""
GAP, HINT = "  ", "hint"
LEAST_HINT = len(HINT) + 2
"""Columns without which hints stand below; tabulate underlines a header and two columns more."""
EMPTY = {"", "-"}
"""Cells that a block of lines does without."""
RESET = "\x1b[0m"
COLOURS = {"red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m", "magenta": "\x1b[35m", "cyan": "\x1b[36m"}
OFF = {"", "0", "false"}
"""Values of `CI` that stand for no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How output is to look: by default as in a log."""

    width: int = WIDTH
    """Columns."""
    colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """Return `text` in one of `COLOURS`; as it is where there are none, or for another word."""
        return f"{COLOURS[colour]}{text}{RESET}" if self.colour and text and colour in COLOURS else text


PLAIN = Look()


def look_of(stream: TextIO) -> Look:
    """Return how output to `stream` is to look: in colours on a terminal that nobody told otherwise.

    `NO_COLOR` (https://no-color.org), `TERM=dumb` and `CI` turn them off.
    """
    return Look(width=width(stream), colour=moves(stream) and not os.environ.get("NO_COLOR") and not _in_ci())


def look_of_pytest(config: Any) -> Look:
    """Return how pytest's own output is to look: as its `--color` decides; a log where pytest prints nothing."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return PLAIN
    writer = config.get_terminal_writer()
    columns = writer.fullwidth if getattr(reporter, "isatty", False) else _said_columns() or WIDTH
    return Look(width=max(LEAST, columns), colour=bool(writer.hasmarkup))


def quiet_in_pytest(config: Any) -> bool:
    """Tell whether pytest is to say nothing while it works: in a worker of xdist, under `-qq`, without a terminal."""
    silent = config.pluginmanager.get_plugin("terminalreporter") is None or hasattr(config, "workerinput")
    return silent or config.option.verbose <= QUIET


def column_in_pytest(config: Any) -> int:
    """Return the column in which pytest's own output stands."""
    if config.pluginmanager.get_plugin("terminalreporter") is None:
        return 0
    writer = config.get_terminal_writer()
    writer.flush()
    return int(writer.width_of_current_line)


def moves(stream: TextIO) -> bool:
    """Tell whether `stream` is a terminal on which a line can be written again, as no dumb one can."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # closed, or no file at all
        return False


def width(stream: TextIO) -> int:
    """Return the columns of `stream`: `COLUMNS`, or what a terminal says of itself, or `WIDTH`; at least `LEAST`."""
    columns = _said_columns()
    if not columns:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (AttributeError, OSError, ValueError):  # no terminal
            columns = 0
    return max(LEAST, columns or WIDTH)


def _said_columns() -> int:
    """Return what `COLUMNS` says; 0 where it says nothing that is a number."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isascii() and said.isdigit() else 0


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    cells: tuple[str, ...]
    """The first begins with what tells apart without colour."""
    hint: str = ""
    """In the last column where there is room, else below."""
    colour: str = ""
    """Of the first cell."""


def table(headers: Sequence[str], rows: Sequence[Row], look: Look = PLAIN, *, breaks: Mapping[int, str] | None = None,
          optional: Sequence[int] = ()) -> str:  # fmt: skip
    """Return a table as wide as `look` has columns, where the words in it allow.

    Tried in this order: every row on one line; cells broken behind a mark; columns that can be done without left out;
    every row as a block of lines. Hints stand beside their row where there is room, else below it.

    Args:
        headers: Names of the columns, without that of the hints.
        rows: As many cells as headers each, every cell on one line.
        look: Columns and colours.
        breaks: Column -> mark behind which its cells may be broken, e.g. `::`.
        optional: Columns that may be left out, the first to go first.
    """
    if not rows:
        return ""
    left = list(range(len(headers)))
    for gone in (None, *optional):
        left = [column for column in left if column != gone]
        for broken in ({}, breaks or {}):
            cells = [[_broken(row.cells[at], broken.get(at)) for at in left] for row in rows]
            names = [headers[at] for at in left]
            lines = _lines(names, cells)
            if not _fits(lines, look):
                continue
            room = look.width - max(map(len, lines)) - len(GAP)
            beside = [row.hint if len(row.hint) <= room else "" for row in rows]
            if room >= LEAST_HINT and any(beside):
                lines = _lines([*names, HINT], [[*one, short] for one, short in zip(cells, beside, strict=True)])
                below = [row.hint if not short else "" for row, short in zip(rows, beside, strict=True)]
            else:
                below = [row.hint for row in rows]
            return _joined(lines, rows, [max(cell.count("\n") + 1 for cell in one) for one in cells], below, look)
    return "\n".join(part for row in rows for part in _block(headers, row, look))


def _lines(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    from tabulate import tabulate  # noqa: PLC0415 - only what prints tables needs it

    made = tabulate(cells, headers=headers, tablefmt="simple", disable_numparse=True)
    return [line.rstrip() for line in made.split("\n")]


def _fits(lines: Sequence[str], look: Look) -> bool:
    return max(map(len, lines)) <= look.width


def _broken(cell: str, mark: str | None) -> str:
    """Return a cell on two lines, divided behind the first `mark`; as it is where there is none, or nothing behind."""
    first, _, rest = cell.partition(mark) if mark else (cell, "", "")
    return f"{first}{mark}\n{leading(rest)}" if rest else cell


def _joined(
    lines: Sequence[str], rows: Sequence[Row], heights: Sequence[int], below: Sequence[str], look: Look
) -> str:  # fmt: skip
    """Return the lines of a table, the first cells painted, and below each row the hint that had no room beside it."""
    made, at = list(lines[:2]), 2
    for row, height, hint in zip(rows, heights, below, strict=True):
        first = row.cells[0]
        made.append(look.paint(first, row.colour) + lines[at].removeprefix(first))
        made += [*lines[at + 1 : at + height], *wrapped(hint, look)]
        at += height
    return "\n".join(made)


def _block(headers: Sequence[str], row: Row, look: Look) -> list[str]:
    """Return one row as a block: the first two cells, the others by name, the hint."""
    first = f"{look.paint(row.cells[0], row.colour)}  {row.cells[1]}"
    others = list(zip(headers, row.cells, strict=True))[2:]
    named = ", ".join(f"{name} {cell}" for name, cell in others if cell not in EMPTY)
    return [first, *wrapped(named, look), *wrapped(row.hint, look)]


def wrapped(text: str, look: Look = PLAIN) -> list[str]:
    """Return `text` as lines behind a margin, no wider than `look` has columns where its words allow."""
    return textwrap.wrap(
        text, look.width, initial_indent=MARGIN, subsequent_indent=MARGIN, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def leading(text: str) -> str:
    """Return `text`, which may be foreign, so that it can begin a line that no build system obeys."""
    return f"| {text}" if text.lstrip().startswith(("::", "##")) else text
