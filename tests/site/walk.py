"""Pages that are walked: what they tell a reader to write is written, what they tell him to run is run.

In a page, `<!-- run -->` stands before a block of shell or Python that is run in the folder of the walk;
`<!-- run: exit 2 -->` where it must end with another code, `<!-- run: model -->` where it takes weights;
`<!-- run: skip -->` is what nothing is done with (an installation). `<!-- prints -->` stands before what the run before
it printed: `...` on a line of its own is any number of lines, at the end of a line the rest of it. A block with a title
is a file.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>run|prints)(?:: (?P<how>[^>]*?))? -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
NEAR, LEAST = 0.02, 0.02
"""Another machine rounds otherwise: numbers with a point may differ by this share, and those above LEAST by LEAST."""
SECONDS = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    mark: str = ""
    """run, prints, or neither."""
    how: tuple[str, ...] = ()
    language: str = ""
    title: str = ""
    text: str = ""

    @property
    def model(self) -> bool:
        """Whether it takes weights."""
        return "model" in self.how

    @property
    def code(self) -> int:
        """The exit code that it must have."""
        return next((int(word.removeprefix("exit ")) for word in self.how if word.startswith("exit ")), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a block that was run came to."""

    block: Block
    code: int
    said: str
    expected: str | None
    """What the page shows of it; None where it shows nothing."""

    def complaint(self) -> str:
        """Return what is not as the page says, empty where all is."""
        told = f"{self.block.text}\n--- printed ---\n{self.said}\n--- exit code {self.code}"
        if self.code != self.block.code:
            return f"the page says exit code {self.block.code}\n{told}"
        if self.expected is not None and (missing := differs(self.expected, self.said)):
            return f"the page shows a line that was not printed there: {missing}\n{told}"
        return ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for found in BLOCK.finditer(page):
        how = tuple(word.strip() for word in (found["how"] or "").split(",") if word.strip())
        yield Block(
            mark=found["mark"] or "",
            how=how,
            language=found["language"],
            title=found["title"] or "",
            text=found["text"],
        )


def walk(page: str, folder: Path, *, models: bool) -> Iterator[Done]:
    """Write the files of a page and run its commands, in its order.

    Args:
        page: Markdown.
        folder: Where it is walked.
        models: Whether blocks that take weights are run; otherwise they are left out, and what they print.
    """
    found = list(blocks(page))
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.mark != "run" or "skip" in block.how or (block.model and not models):
            continue
        shown = after.text if after is not None and after.mark == "prints" else None
        code, said = run(block, folder)
        yield Done(block=block, code=code, said=said, expected=shown)


def run(block: Block, folder: Path) -> tuple[int, str]:
    """Return the exit code of a block, and what it prints on both streams."""
    shells = {"sh": ["bash", "-eu", "-o", "pipefail", "-c", block.text], "python": [sys.executable, "-c", block.text]}
    done = subprocess.run(
        shells[block.language], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    return done.returncode, done.stdout


def environment() -> dict[str, str]:
    """Return the environment of a reader who has activated the one in which this runs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GITHUB_", "PYTEST_", "TELLS_NEED", "COV_")) and name not in {"COLUMNS", "VIRTUAL_ENV"}
    }
    folder = str(Path(sys.executable).parent)
    path = f"{folder}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}


def differs(expected: str, said: str) -> str:
    """Return the first line that a page shows and that was not printed in its place; empty where all were."""
    printed, place = _lines(said), 0
    pieces = _pieces(_lines(expected))
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        end = len(printed) - len(piece)
        starts = [0] if first else [end] if last else range(place, end + 1)
        if first and last and len(printed) != len(piece):
            return f"(nothing but these lines) {' / '.join(piece)}"
        found = [start for start in starts if start >= place and not _missing(piece, printed[start:])]
        if not found:
            return _missing(piece, printed[max(starts, default=0) :]) or f"(in this place) {' / '.join(piece)}"
        place = found[0] + len(piece)
    return ""


def _pieces(lines: list[str]) -> list[list[str]]:
    """Return the lines between one `...` and the next."""
    pieces: list[list[str]] = [[]]
    for line in lines:
        if line == "...":
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def _missing(piece: list[str], printed: list[str]) -> str:
    """Return the first line of a piece that is not the one printed there; empty where all are."""
    for line, other in itertools.zip_longest(piece, printed[: len(piece)], fillvalue=""):
        if not same(line, other):
            return line
    return ""


def same(line: str, other: str) -> bool:
    """Tell whether two lines say the same, numbers with a point within what machines differ by.

    A line that ends in ` ...` says how the other one begins.
    """
    begin = line.removesuffix(" ...")
    wanted, found = NUMBER.sub("#", begin), NUMBER.sub("#", other)
    if wanted != found and not (begin != line and found.startswith(f"{wanted} ")):
        return False
    return all(map(_near, NUMBER.findall(begin), NUMBER.findall(other)))


def _near(number: str, other: str) -> bool:
    if not any(mark in number + other for mark in ".e"):
        return number == other
    a, b = (float(text.replace(",", "")) for text in (number, other))
    return math.isclose(a, b, rel_tol=NEAR, abs_tol=LEAST if min(abs(a), abs(b)) > LEAST else 0.0)


def _lines(text: str) -> list[str]:
    """Return the lines of an output, with one space for each stretch of spaces or dashes, without empty ones."""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:...", text)
    lines = (re.sub(r"-{3,}", "---", re.sub(r"\s+", " ", line)).strip() for line in text.splitlines())
    return [line for line in lines if line]
