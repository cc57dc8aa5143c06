"""Collect the problems of one file, each with its place."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.errors import CaseFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

DataPath: TypeAlias = "tuple[str | int, ...]"
"""Where in the document: keys and 0-based positions from the root."""

KNOWN_SHOWN = 12
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Node:
    """One value of a document, with its place and its parts."""

    __slots__ = ("children", "column", "data", "height", "line", "size")

    def __init__(self, line: int, column: int, data: Any, children: Any = None) -> None:
        """Start as a leaf at 1-based `line` and `column`; `children` is a list of nodes, or key -> (node, place)."""
        self.line = line
        self.column = column
        self.data = data
        self.children: list[Node] | dict[str, tuple[Node, int, int]] | None = children
        self.size = 1
        self.height = 1


class Report:
    """A file, the place of everything in it, and what is wrong with it."""

    def __init__(self, path: str, root: Node | None = None, problems: Iterable[tuple[DataPath, Problem]] = ()) -> None:
        """Begin with what the reader found."""
        self.path = path
        self.root = root or Node(1, 1, None)
        self._found: list[tuple[DataPath, Problem]] = list(problems)

    @property
    def data(self) -> Any:
        """The document as plain data."""
        return self.root.data

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems so far, doubles dropped, in the order found."""
        return tuple(dict.fromkeys(problem for _, problem in self._found))

    def add(self, path: DataPath, message: str, *, key: bool = False) -> None:
        """Note a problem at the value that `path` leads to, or at its key.

        Where the document ends before the path does (a missing key), the last place on the way is named.
        """
        line, column = self.place(path, key=key)
        self._found.append((path, Problem(self.path, line, column, message, pointer(path))))

    def add_at(self, line: int, column: int, message: str) -> None:
        """Note a problem at a line and column of a file that is no YAML document."""
        self._found.append(((), Problem(self.path, line, column, message)))

    def place(self, path: DataPath, *, key: bool = False) -> tuple[int, int]:
        """Return the 1-based line and column of a value, or of its key where it has one."""
        node, here = self.root, (self.root.line, self.root.column)
        for step in path:
            children = node.children
            if isinstance(children, dict) and isinstance(step, str) and step in children:
                node, line, column = children[step]
                here = (line, column) if key else (node.line, node.column)
            elif isinstance(children, list) and isinstance(step, int) and step < len(children):
                node = children[step]
                here = (node.line, node.column)
            else:
                break
        return here

    def clean(self, *prefix: str | int) -> bool:
        """Tell whether nothing is wrong at or below `prefix`."""
        return not any(path[: len(prefix)] == prefix for path, _ in self._found)

    def stop(self) -> None:
        """Raise all problems, if there are any.

        Raises:
            CaseFileError: with every problem found so far.
        """
        if self._found:
            raise CaseFileError(self.problems)


def pointer(path: DataPath) -> str:
    """Return `path` as `$.cases[2].check.rate`; a key that is no plain word stands in quotes."""
    parts = ["$"]
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}")
        else:
            parts.append(f"[{shown(step)}]")
    return "".join(parts)


def shown(value: object, limit: int = 60) -> str:
    """Return `value` for a message: in quotes if text, on one line, cut at `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def near(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'? known: a, b, x` for a name that is not among `known`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if len(names) > KNOWN_SHOWN:
        listed = [*difflib.get_close_matches(name, names, n=KNOWN_SHOWN, cutoff=0.0)]
        known_text = f"{', '.join(sorted(listed))} and {len(names) - len(listed)} more"
    else:
        known_text = ", ".join(names) or "none"
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {known_text}"
