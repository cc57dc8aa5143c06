"""Markdown out of plain values: cells, code, tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTE = "<!-- Written by `python -m tests.make_docs`. Do not edit: a test compares it with what the code says. -->"


def cell(text: str) -> str:
    """Return `text` as the cell of a table: one line, no bar that would end it, no tag."""
    return prose(re.sub(r"\s+", " ", text)).replace("|", "\\|").strip()


def code(text: str) -> str:
    """Return `text` as code in a cell."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|") if text else ""


def prose(text: str) -> str:
    """Return `text` with what looks like a tag written out, but for that in code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if n % 2 else piece.replace("<", "&lt;") for n, piece in enumerate(pieces))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def shown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table without the columns in which nothing stands."""
    kept = [n for n in range(len(head)) if any(row[n] for row in rows)]
    return table([head[n] for n in kept], [[row[n] for n in kept] for row in rows])


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join([f"# {title}", NOTE, *(part for part in parts if part)]) + "\n"
