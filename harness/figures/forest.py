"""Intervals of many checks on one axis: what was measured, and by how much one side differs from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.figures import drawing
from harness.figures.sketch import FAINT, INK, RULE, Scale, Sketch, across, scale_of, wide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.figures.points import Value

_PANEL, _GAP, _ROW, _NAMES, _SAID = 330.0, 28.0, 17.0, 44, 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One interval: a check on one model or in one run."""

    series: str
    value: Value | None = None
    change: Value | None = None
    """Difference to what it is compared with; above 0 is worse."""
    said: str = ""
    """Verdict, or why there is no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One check."""

    name: str
    entries: tuple[Entry, ...]
    limit: float | None = None
    delta: float | None = None
    """Worsening that is tolerated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestFigure(drawing.Figure):
    """Checks in one unit, a row per model; the panel of changes is there where there are changes."""

    title: str
    unit: str
    series: tuple[str, ...]
    """Each has a colour and a symbol."""
    groups: tuple[Group, ...]
    change_name: str = "worse by"
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a series that no legend names.

        Raises:
            UsageError: there is one, or nothing to draw.
        """
        if wrong := {entry.series for group in self.groups for entry in group.entries} - set(self.series):
            raise drawing.odd(self.title, f"the series {min(wrong)!r}", f"one of {self.series}")
        if not self.groups:
            raise drawing.odd(self.title, "nothing to draw", "one check at least")

    def svg(self) -> str:
        """Return the figure."""
        names = [name for name, _, _ in self._rows()]
        said = max((wide(entry.said, _SAID) for group in self.groups for entry in group.entries), default=0.0)
        left = 26 + max(wide(name, _NAMES) for name in names)
        panels = self._panels(left)
        right = max(scale.end for scale in panels.values()) if panels else left
        bottom = 24 + _ROW * len(names)
        sketch = Sketch(right + 20 + said, bottom + 38)
        for part, scale in panels.items():
            name = self.unit if part == "value" else f"{self.change_name}, {self.unit}"
            across(sketch, scale, 24, bottom, name)
            if part == "change":
                sketch.line(scale.at(0), 24, scale.at(0), bottom, stroke=INK)
        looks = dict(zip(self.series, drawing.cycle(len(self.series)), strict=True))
        for place, (name, group, entry) in enumerate(self._rows()):
            y = 24 + _ROW * (place + 0.5)
            self._row(sketch, (name, group, entry), y, panels)
            if entry is not None:
                colour, symbol, _ = looks[entry.series]
                sketch.mark(symbol, 10, y, 4, fill=colour)
                for part, scale in panels.items():
                    _interval(sketch, scale, getattr(entry, part), y, (colour, symbol))
                sketch.text(right + 12, y + 4, entry.said, most=_SAID, font_size=11)
        return sketch.svg(self.title, self.note or f"intervals of {len(self.groups)} checks, {self.unit}")

    def cells(self) -> drawing.Cells:
        """Return what is drawn as a table: its head, and its rows."""
        head = ("check", "of", f"value ({self.unit})", "low", "high", "limit", self.change_name, "low", "high",
                "tolerated", "said")  # fmt: skip
        none = ("", "", "")
        rows = [
            (group.name, entry.series, *(entry.value.cells if entry.value else none), drawing.number(group.limit),
             *(entry.change.cells if entry.change else none), drawing.number(group.delta), entry.said)
            for group in self.groups
            for entry in group.entries
        ]  # fmt: skip
        return head, rows

    def _rows(self) -> Iterator[tuple[str, Group, Entry | None]]:
        """Yield what stands in each row: with several series the name of a check has one of its own."""
        for group in self.groups:
            if len(self.series) == 1 and len(group.entries) == 1:
                yield group.name, group, group.entries[0]
                continue
            yield group.name, group, None
            for entry in group.entries:
                yield f"  {entry.series}", group, entry

    def _panels(self, left: float) -> dict[str, Scale]:
        found: dict[str, Scale] = {}
        for part, line in (("value", "limit"), ("change", "delta")):
            values = [one for group in self.groups for entry in group.entries if (one := getattr(entry, part))]
            if values:
                lines = [limit for group in self.groups if (limit := getattr(group, line)) is not None]
                ends = [end for one in values for end in (one.low, one.high)]
                start = left + (_PANEL + _GAP) * len(found)
                found[part] = scale_of([*ends, *lines, *([0.0] if part == "change" else [])], start, start + _PANEL)
        return found

    def _row(
        self, sketch: Sketch, row: tuple[str, Group, Entry | None], y: float, panels: dict[str, Scale]
    ) -> None:  # fmt: skip
        """Draw the name of a row, the line over a new check, and its limits as short upright lines."""
        name, group, entry = row
        start = entry is None or entry is group.entries[0]
        if entry is None:
            end = max((scale.end for scale in panels.values()), default=200.0)
            sketch.line(4, y - _ROW / 2, end, y - _ROW / 2, stroke=RULE)
        weight = {"font_weight": "bold"} if entry is None else {"fill": INK if start else FAINT}
        sketch.text(18, y + 4, name, most=_NAMES, **weight)
        if entry is None:
            return
        for part, limit in (("value", group.limit), ("change", group.delta)):
            if limit is not None and part in panels:
                at = panels[part].at(limit)
                sketch.line(at, y - _ROW / 2, at, y + _ROW / 2, stroke=INK, stroke_dasharray="2 2")


def _interval(sketch: Sketch, scale: Scale, value: Value | None, y: float, look: tuple[str, str]) -> None:
    if value is None:
        return
    colour, symbol = look
    sketch.line(scale.at(value.low), y, scale.at(value.high), y, stroke=colour, stroke_width=2)
    sketch.mark(symbol, scale.at(value.value), y, 3.8, fill=colour, stroke="#fff", stroke_width="0.6")
