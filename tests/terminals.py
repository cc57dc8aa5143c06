"""Pseudo-terminals for tests: run something on one, and see what is on its screen in the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SGR = re.compile(r"\x1b\[[0-9;]*m")
PLAIN_NAMES = ("NO_COLOR", "CI", "BUILD_NUMBER", "COLUMNS", "PY_COLORS", "FORCE_COLOR", "GITHUB_ACTIONS",
               "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")  # fmt: skip
"""Taken out of the environment: each changes what a terminal is sent."""


class Terminal:
    """A pseudo-terminal, and what it was sent."""

    def __init__(self, columns: int) -> None:
        """Open it, and read along so that nobody waits for a reader."""
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # the last writer is gone
            while chunk := os.read(self.master, 65_536):
                self._read.append(chunk)

    def closed(self) -> str:
        """Return all that was sent, once nobody writes any more."""
        self._reader.join(timeout=60)
        os.close(self.master)
        return b"".join(self._read).decode()


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment as an ordinary terminal has it."""
    kept = {name: value for name, value in os.environ.items() if name not in PLAIN_NAMES}
    return {**kept, "TERM": "xterm-256color", **changes}


def on_terminal(
    command: Sequence[str], folder: Path, columns: int = 100, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command with both streams on a terminal; return its exit code and all that it sent."""
    terminal = Terminal(columns)
    done = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=terminal.slave, stderr=terminal.slave,
        env=dict(env or environment()),
    )  # fmt: skip
    os.close(terminal.slave)
    code = done.wait(timeout=120)
    return code, terminal.closed()


@contextlib.contextmanager
def stream(columns: int = 100) -> Iterator[tuple[TextIO, list[str]]]:
    """Yield a stream into a terminal, and a list that holds all that was sent once this is left."""
    terminal, sent = Terminal(columns), list[str]()
    with os.fdopen(terminal.slave, "w", encoding="utf-8") as opened:
        yield opened, sent
    sent.append(terminal.closed())


def screen(text: str, columns: int) -> list[str]:
    """Return the lines that a terminal shows after `text`, as far as this project and pytest move its cursor.

    Raises:
        AssertionError: a control character or sequence that neither has a reason to send.
    """
    lines, row, column, at = [""], 0, 0, 0
    while at < len(text):
        character = text[at]
        if character == "\x1b":
            found = re.compile(r"\x1b\[(\d*(?:;\d+)*)([mACK])").match(text, at)
            assert found, f"an unknown sequence: {text[at : at + 12]!r}"
            count = int(found[1]) if found[1].isdigit() else 1
            if found[2] == "A":
                row -= count
            elif found[2] == "C":
                column += count
            elif found[2] == "K":
                lines[row] = lines[row][:column]
            at = found.end()
            continue
        at += 1
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            assert character >= " ", f"an unknown control character: {character!r}"
            if column == columns:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]
