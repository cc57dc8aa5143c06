"""One section of a report: plain data, which the page renders and markdown can say as well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.figures.drawing import Cells, Figure

_ANCHOR = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Sentences, tables and figures under one title."""

    anchor: str
    """Id in the page: lower-case letters, digits and single hyphens."""
    title: str
    said: tuple[str, ...] = ()
    """Plain sentences, each on one line."""
    tables: tuple[tuple[str, Cells], ...] = ()
    """Caption, and head and rows."""
    figures: tuple[Figure, ...] = ()
    """Each has a table that says the same."""

    def __post_init__(self) -> None:
        """Refuse what could not stand in a page.

        Raises:
            UsageError: the anchor is no id, the title is empty, or a row has not as many cells as its head.
        """
        if not _ANCHOR.fullmatch(self.anchor) or not self.title.strip():
            msg = (
                f"section {self.anchor!r} ({self.title!r}): no anchor or no title; expected [a-z0-9-]+ and words; "
                "mend what makes it"
            )
            raise UsageError(msg)
        for caption, (head, rows) in self.tables:
            if wrong := [len(row) for row in rows if len(row) != len(head)]:
                msg = f"section {self.anchor}, table {caption!r}: a row of {wrong[0]} cells; expected {len(head)}, as "
                msg += "many as the head has; mend what makes it"
                raise UsageError(msg)


def slug(text: str, most: int = 60) -> str:
    """Return `text` as part of an anchor: lower-case letters, digits and single hyphens; `x` of nothing usable."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:most].strip("-") or "x"
