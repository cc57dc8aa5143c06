"""A matrix of verdicts: a letter and a number in each cell, and a mark beside the colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from harness.figures import drawing
from harness.figures.sketch import FAINT, INK, Sketch, wide

if TYPE_CHECKING:
    from collections.abc import Mapping

Tone = Literal["met", "unmet", "open", "quiet", "lost"]
FILLS: dict[Tone, str] = {
    "met": "#cfe6f5", "unmet": "#f7c6a5", "open": "#f3e5a8", "quiet": "#efefef", "lost": "#ffffff",
}  # fmt: skip
MEANINGS: dict[Tone, str] = {
    "met": "as expected", "unmet": "NOT as expected (triangle)", "open": "FAIL without a claim, to be explained",
    "quiet": "no FAIL, none claimed", "lost": "could not be measured (dashed)",
}  # fmt: skip
_WIDTH, _HEIGHT, _NAMES = 62.0, 36.0, 34
"""Of a cell, and how many characters of the name of a row are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What stands in one cell."""

    letter: str
    """Of the verdict: tells it without colour."""
    said: str = ""
    """A number beneath, as short as it can be."""
    tone: Tone
    note: str = ""
    """What the table says besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixFigure(drawing.Figure):
    """Verdicts by row and column."""

    title: str
    row_name: str
    column_name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells_at: Mapping[tuple[str, str], Cell]
    """(row, column) -> what stands there; a cell that is missing is drawn empty."""
    apart: int = 0
    """Columns at the end that stand apart from the others."""
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse cells that have no place, and tones that no legend explains.

        Raises:
            UsageError: either, or there is no cell at all.
        """
        wrong = [place for place in self.cells_at if place[0] not in self.rows or place[1] not in self.columns]
        if wrong or not self.cells_at:
            raise drawing.odd(self.title, f"a cell at {wrong[0]}" if wrong else "no cells", "rows x columns")
        if tones := {one.tone for one in self.cells_at.values()} - set(get_args(Tone)):
            raise drawing.odd(self.title, f"the tone {min(tones)!r}", f"one of {', '.join(FILLS)}")

    def svg(self) -> str:
        """Return the figure."""
        left = 12 + max(wide(row, _NAMES) for row in self.rows)
        top = 16 + 0.72 * max(wide(column, 26) for column in self.columns)
        right = self._x(left, len(self.columns) - 1) + _WIDTH
        bottom = top + _HEIGHT * len(self.rows)
        lean = 0.72 * wide(self.columns[-1], 26)
        tones = [tone for tone in FILLS if any(one.tone == tone for one in self.cells_at.values())]
        across = max(right + lean, left + 260)
        sketch = Sketch(across, bottom + 14 + 18 * len(tones))
        self._names(sketch, left, top)
        self._cells(sketch, left, top)
        with sketch.group(font_size=11, fill=FAINT):
            for place, tone in enumerate(tones):
                y = bottom + 10 + 18 * place
                _box(sketch, tone, (left, y, 20, 13))
                sketch.text(left + 27, y + 11, MEANINGS[tone])
        return sketch.svg(self.title, self.note or f"{self.row_name} by {self.column_name}")

    def cells(self) -> drawing.Cells:
        """Return what is drawn as a table: its head, and its rows."""
        rows = [
            (row, column, f"{one.letter} {one.said}".strip(), MEANINGS[one.tone].partition(" (")[0], one.note)
            for row in self.rows
            for column in self.columns
            if (one := self.cells_at.get((row, column))) is not None
        ]
        return (self.row_name, self.column_name, "cell", "meaning", "details"), rows

    def _x(self, left: float, place: int) -> float:
        return left + place * _WIDTH + (14 if place >= len(self.columns) - self.apart else 0)

    def _names(self, sketch: Sketch, left: float, top: float) -> None:
        with sketch.group(text_anchor="end"):
            for place, row in enumerate(self.rows):
                sketch.text(left - 6, top + _HEIGHT * (place + 0.5) + 4, row, most=_NAMES)
        for place, column in enumerate(self.columns):
            x, y = self._x(left, place) + _WIDTH / 2, top - 6
            with sketch.group(transform=f"translate({x:.0f} {y:.0f})rotate(-45)"):
                sketch.text(0, 0, column, most=26)

    def _cells(self, sketch: Sketch, left: float, top: float) -> None:
        places = {
            (row, column): (self._x(left, x) + 1, top + y * _HEIGHT + 1, _WIDTH - 2, _HEIGHT - 2)
            for y, row in enumerate(self.rows)
            for x, column in enumerate(self.columns)
        }
        for tone in FILLS:
            _box(sketch, tone, *(places[at] for at, one in self.cells_at.items() if one.tone == tone))
        with sketch.group(text_anchor="middle"):
            with sketch.group(font_weight="bold", font_size=13):
                for at, one in self.cells_at.items():
                    x, y, width, _ = places[at]
                    sketch.text(x + width / 2, y + 15, one.letter, most=8)
            with sketch.group(font_size=10):
                for at, one in self.cells_at.items():
                    x, y, width, _ = places[at]
                    sketch.text(x + width / 2, y + 28, one.said, most=12)


def _box(sketch: Sketch, tone: Tone, *places: tuple[float, float, float, float]) -> None:
    """Draw boxes of one tone; what matters most is told by a line or a triangle as well."""
    edge = {"stroke": FAINT, "stroke_dasharray": "3 2"} if tone == "lost" else {}
    sketch.boxes(places, fill=FILLS[tone], **edge)
    if tone == "unmet":
        for x, y, width, _ in places:
            sketch.area(((x + width - 9, y), (x + width, y), (x + width, y + 9)), fill="#a23b00")
    if tone == "open":
        sketch.boxes([(x, y, 4, height) for x, y, _, height in places], fill=INK)
