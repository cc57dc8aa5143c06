"""Small figures drawn without a library: a few kilobytes each, the same bytes for the same data.

matplotlib's figures weigh 11 to 17 kB, so that a report of forty of them would be heavy. What is drawn here has no
ids, so that any number of figures can stand in one page, and a background of its own, so that it can be read in dark
pages too. Positions are in pixels, x to the right and y downward.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from harness.figures import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

INK, FAINT, RULE = "#1a1a1a", "#555555", "#d9d9d9"
"""Of text, of what explains, of lines that only guide the eye; the first two have a contrast above 7 on white."""
SIZE = 12
"""Of text, pixels."""
EM = 0.56
"""Width of a character over its height, roughly: there is nobody to measure text."""
_LEADS = (1.0, 2.0, 5.0, 10.0)
_APART = 0.1
"""Share of an axis between 0 and the least number above it, where there are ratios beyond that."""
_WIDE = 10.0
"""Ratio of the largest to the least step from which ratios are drawn."""
_AXIS, _MARK = "an axis", "a mark"
_LONG = 400
"""Characters of a label that are looked at."""


class Sketch:
    """An `svg` element in the making."""

    def __init__(self, width: float, height: float) -> None:
        """Start with a white ground of so many pixels."""
        self._width, self._height = width, height
        self._parts: list[str] = []

    @contextlib.contextmanager
    def group(self, **attributes: object) -> Iterator[None]:
        """Give attributes to everything that is drawn within; `_` stands for `-` in their names."""
        self._parts.append(f"<g{_attributes(attributes)}>")
        yield
        self._parts.append("</g>")

    def line(self, x1: float, y1: float, x2: float, y2: float, **attributes: object) -> None:
        """Draw a line; it has the stroke of its group."""
        self._parts.append(f'<path d="M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}"{_attributes(attributes)}/>')

    def polyline(self, points: Sequence[tuple[float, float]], **attributes: object) -> None:
        """Draw a line through points."""
        path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._parts.append(f'<path d="M{path}" fill="none"{_attributes(attributes)}/>')

    def area(self, points: Sequence[tuple[float, float]], **attributes: object) -> None:
        """Fill the area that points surround."""
        path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._parts.append(f'<path d="M{path}z" stroke="none"{_attributes(attributes)}/>')

    def boxes(self, places: Sequence[tuple[float, float, float, float]], **attributes: object) -> None:
        """Draw rectangles (x, y, width, height) that look alike, as one element."""
        path = "".join(f"M{_n(x)} {_n(y)}h{_n(w)}v{_n(h)}h{_n(-w)}z" for x, y, w, h in places)
        if path:
            self._parts.append(f'<path d="{path}"{_attributes(attributes)}/>')

    def mark(self, symbol: str, x: float, y: float, radius: float = 4.0, **attributes: object) -> None:
        """Draw one of `drawing.SYMBOLS` around a place."""
        self._parts.append(f'<path d="{_mark(symbol, x, y, radius)}"{_attributes(attributes)}/>')

    def text(self, x: float, y: float, content: str, *, most: int = 80, **attributes: object) -> None:
        """Write one line of text that stands on `y`, cut after `most` characters."""
        said = escape(short(content, most))
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{_attributes(attributes)}>{said}</text>')

    def svg(self, title: str, description: str) -> str:
        """Return the element, titled and described for screen readers."""
        width, height = _n(self._width), _n(self._height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{SIZE}" fill="{INK}" role="img">'
        )
        name, about = escape(drawing.text(title, 300)), escape(drawing.text(description, 2000))
        ground = f'<path d="M0 0h{width}v{height}h-{width}z" fill="#ffffff"/>'
        return f"{head}<title>{name}</title><desc>{about}</desc>{ground}{''.join(self._parts)}</svg>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers along one axis of a figure."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    least: float = 0.0
    """Above 0: equal ratios are equal distances from this number on; 0, where it is `low`, stands apart before it."""

    def at(self, value: float) -> float:
        """Return the pixel of a number; one beyond the axis stands at its end."""
        inside = min(max(value, self.low), self.high)
        if not self.least:
            return self._between(self.start, (inside - self.low) / (self.high - self.low))
        if inside < self.least:
            return self.start
        first = self._between(self.start, _APART) if self.low < self.least else self.start
        return self._between(first, math.log(inside / self.least) / math.log(self.high / self.least))

    def _between(self, start: float, share: float) -> float:
        return start + share * (self.end - start)

    def ticks(self) -> list[float]:
        """Return about five round numbers along the axis."""
        if not self.least:
            return round_numbers(self.low, self.high)
        shown = drawing.ticks(self.least, self.high) or [self.least, self.high]
        return [0.0, *shown] if self.low < self.least else shown


def scale_of(values: Iterable[float], start: float, end: float, *, edge: float = 0.05) -> Scale:
    """Return an even axis that holds all values, with some room at both ends.

    Raises:
        UsageError: a value is NaN or infinite, or there is none.
    """
    found = drawing.finite(values, _AXIS)
    if not found:
        raise drawing.odd(_AXIS, "no values", "one at least")
    low, high = min(found), max(found)
    room = (high - low) * edge or abs(high) * edge or 1.0
    return Scale(low=low - room, high=high + room, start=start, end=end)


def steps_of(values: Iterable[float], start: float, end: float) -> Scale:
    """Return an axis of steps of training or other counts: by ratios where they span a factor of ten or more.

    Raises:
        UsageError: a value is NaN, infinite or below 0, or there is none.
    """
    found = drawing.finite(values, _AXIS)
    if not found or min(found) < 0:
        raise drawing.odd(_AXIS, "no steps, or one below 0", "counts")
    positive = [value for value in found if value > 0]
    if positive and max(positive) >= _WIDE * min(positive):
        return Scale(low=min(found), high=max(found), start=start, end=end, least=min(positive))
    return scale_of(found, start, end, edge=0.02)


def round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten from `low` to `high`, `about` so many."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(lead * power for lead in _LEADS if lead * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [place * step + 0.0 for place in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """Return a number as an axis shows it."""
    return f"{value:.6g}"


def short(text: str, most: int) -> str:
    """Return a label of at most `most` characters on one line; of a longer one its two ends."""
    shown = drawing.text(text, _LONG)
    if len(shown) <= most:
        return shown
    tail = max(1, most // 2 - 1)
    return f"{shown[: most - tail - 1]}…{shown[-tail:]}"


def wide(text: str, most: int = 80) -> float:
    """Return how wide a label is, in pixels, roughly."""
    return len(short(text, most)) * SIZE * EM


def across(sketch: Sketch, scale: Scale, top: float, bottom: float, name: str = "", *, numbers: bool = True) -> None:
    """Draw a horizontal axis: faint upright lines at round numbers, the numbers beneath, and its name."""
    with sketch.group(stroke=RULE):
        for tick in scale.ticks():
            sketch.line(scale.at(tick), top, scale.at(tick), bottom)
    if not numbers:
        return
    with sketch.group(fill=FAINT, text_anchor="middle", font_size=11):
        for tick in scale.ticks():
            sketch.text(scale.at(tick), bottom + 13, label(tick))
        if name:
            sketch.text((scale.start + scale.end) / 2, bottom + 28, name)


def upright(sketch: Sketch, scale: Scale, left: float, right: float) -> None:
    """Draw a vertical axis: faint lines across at round numbers, the numbers to the left of them."""
    with sketch.group(stroke=RULE):
        for tick in scale.ticks():
            sketch.line(left, scale.at(tick), right, scale.at(tick))
    with sketch.group(fill=FAINT, text_anchor="end", font_size=11):
        for tick in scale.ticks():
            sketch.text(left - 5, scale.at(tick) + 4, label(tick))


def _mark(symbol: str, x: float, y: float, r: float) -> str:
    """Return the path of a symbol, about equally large for all of them."""
    if symbol == "o":
        return f"M{_n(x - r)} {_n(y)}a{_n(r)} {_n(r)} 0 1 0 {_n(2 * r)} 0a{_n(r)} {_n(r)} 0 1 0 {_n(-2 * r)} 0z"
    corners = {
        "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "^": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)), "v": ((0, 1.2), (1.1, -0.9), (-1.1, -0.9)),
        "D": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        "P": ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
              (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
        "X": ((-1.1, -0.6), (-0.6, -1.1), (0, -0.5), (0.6, -1.1), (1.1, -0.6), (0.5, 0), (1.1, 0.6), (0.6, 1.1),
              (0, 0.5), (-0.6, 1.1), (-1.1, 0.6), (-0.5, 0)),
    }  # fmt: skip
    if symbol not in corners:
        raise drawing.odd(_MARK, f"the symbol {symbol!r}", f"one of {', '.join(drawing.SYMBOLS)}")
    return "M" + "L".join(f"{_n(x + r * right)} {_n(y + r * down)}" for right, down in corners[symbol]) + "z"


def _n(value: float) -> str:
    """Return a coordinate: to a tenth of a pixel, and never NaN, which would draw nothing without a word."""
    if not math.isfinite(value):
        raise drawing.odd(_MARK, f"the coordinate {value}", "finite numbers")
    # Adding 0 makes of -0.0 a 0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _attributes(given: dict[str, object]) -> str:
    return "".join(f" {name.replace('_', '-')}={quoteattr(str(value))}" for name, value in given.items())
