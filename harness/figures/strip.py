"""One dot per model beside a limit, in lanes, and the curve of what other limits would have caught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.figures import drawing
from harness.figures.sketch import FAINT, INK, RULE, Scale, Sketch, across, label, scale_of, upright, wide

if TYPE_CHECKING:
    from harness.figures.points import Value

_WIDTH, _ROC, _NAMES = 420.0, 170.0, 30
_STEP = 9.0
"""Between dots of one lane, pixels."""
_BAD = "#fbeadf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One model."""

    name: str
    value: Value | None
    """None where it gave no number: it is counted beside its lane, and named in the table."""
    said: str = ""
    """Its verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Models of one kind, told by symbol, colour and place."""

    name: str
    symbol: str
    """One of `drawing.SYMBOLS`."""
    colour: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StripFigure(drawing.Figure):
    """What was measured on each model, lane by lane, the limit, and the receiver operating characteristic."""

    title: str
    x_name: str
    """Quantity and unit."""
    lanes: tuple[Lane, ...]
    limit: float | None
    side: Literal["at_most", "at_least"] = "at_most"
    """Of the limit on which a model passes."""
    curve: tuple[tuple[float, float], ...] = ()
    """(share of controls beyond a threshold, share of planted models beyond it), over all thresholds, strictest first;
    empty where one of the two has no number."""
    at_limit: tuple[float, float] | None = None
    """The same at the limit."""
    note: str = ""

    def svg(self) -> str:
        """Return the figure; of lanes without any number a sentence that says so."""
        numbers = [end for lane in self.lanes for dot in lane.dots if dot.value for end in _ends(dot.value)]
        left = 18 + max((wide(_named(lane), _NAMES) for lane in self.lanes), default=0.0)
        heights = [max(24.0, _STEP * sum(dot.value is not None for dot in lane.dots) + 10) for lane in self.lanes]
        bottom = 22 + max(sum(heights), _ROC if self.curve else 24.0)
        full = left + _WIDTH + 30 + ((_ROC + 60) if self.curve else 0)
        sketch = Sketch(full, bottom + 36)
        if numbers:
            more = [] if self.limit is None else [self.limit]
            self._strip(sketch, scale_of([*numbers, *more], left, left + _WIDTH), heights, bottom)
        else:
            sketch.text(left, 40, "No model gave a number.")
        if self.curve:
            self._roc(sketch, left + _WIDTH + 70, bottom - _ROC)
        return sketch.svg(self.title, self.note or f"{self.x_name}: one dot per model")

    def cells(self) -> drawing.Cells:
        """Return what is drawn as a table: its head, and its rows."""
        none = ("no number", "", "")
        rows = [
            (lane.name, dot.name, *(dot.value.cells if dot.value else none), dot.said)
            for lane in self.lanes
            for dot in lane.dots
        ]
        rows += [("limit", "pass " + self.side.replace("_", " "), drawing.number(self.limit), "", "", "")]
        rows += [
            (what, "planted beyond / controls beyond", f"{caught:.4g} / {alarms:.4g}", "", "", "")
            for what, (alarms, caught) in (
                *((("at the limit", self.at_limit),) if self.at_limit else ()),
                *(("curve", point) for point in self.curve),
            )
        ]
        return ("kind", "model", self.x_name, "low", "high", "verdict"), rows

    def _strip(self, sketch: Sketch, scale: Scale, heights: list[float], bottom: float) -> None:
        if self.limit is not None:
            at, top = scale.at(self.limit), 22.0
            bad = (at, scale.end) if self.side == "at_most" else (scale.start, at)
            sketch.boxes([(bad[0], top, bad[1] - bad[0], bottom - top)], fill=_BAD)
        across(sketch, scale, 22, bottom, self.x_name)
        y = 22.0
        for lane, height in zip(self.lanes, heights, strict=True):
            self._lane(sketch, scale, lane, (y, height))
            y += height
            sketch.line(scale.start, y, scale.end, y, stroke=RULE)
        if self.limit is not None:
            at = scale.at(self.limit)
            sketch.line(at, 22, at, bottom, stroke=INK, stroke_width=1.5, stroke_dasharray="5 3")
            anchor = "end" if at > (scale.start + scale.end) / 2 else "start"
            said = f"limit {label(self.limit)}; fails where shaded"
            sketch.text(at, 17, said, text_anchor=anchor, font_size=11)

    def _lane(self, sketch: Sketch, scale: Scale, lane: Lane, place: tuple[float, float]) -> None:
        top, height = place
        shown = [dot.value for dot in lane.dots if dot.value is not None]
        first = top + height / 2 - _STEP * (len(shown) - 1) / 2
        rows = [(value, first + _STEP * number) for number, value in enumerate(shown)]
        sketch.text(scale.start - 8, top + height / 2 + 4, _named(lane), most=_NAMES, text_anchor="end")
        with sketch.group(stroke=lane.colour, stroke_opacity="0.6"):
            for value, y in rows:
                sketch.line(scale.at(value.low), y, scale.at(value.high), y)
        with sketch.group(fill=lane.colour):
            for value, y in rows:
                sketch.mark(lane.symbol, scale.at(value.value), y, 3.6)

    def _roc(self, sketch: Sketch, left: float, top: float) -> None:
        x = Scale(low=0.0, high=1.0, start=left, end=left + _ROC)
        y = Scale(low=0.0, high=1.0, start=top + _ROC, end=top)
        across(sketch, x, top, top + _ROC, "controls beyond the threshold")
        upright(sketch, y, left, left + _ROC)
        sketch.line(x.at(0), y.at(0), x.at(1), y.at(1), stroke=FAINT, stroke_dasharray="2 3")
        points = [(0.0, 0.0), *self.curve, (1.0, 1.0)]
        sketch.polyline([(x.at(alarms), y.at(caught)) for alarms, caught in points], stroke=drawing.COLOURS[0],
                        stroke_width=2)  # fmt: skip
        if self.at_limit:
            sketch.mark("D", x.at(self.at_limit[0]), y.at(self.at_limit[1]), 5, fill=drawing.COLOURS[1], stroke="#fff")
        sketch.text(left, top - 8, "planted beyond; diamond: at the limit", font_size=11, fill=FAINT)


def _named(lane: Lane) -> str:
    lost = sum(dot.value is None for dot in lane.dots)
    return f"{lane.name} {len(lane.dots)}{f', {lost} no number' if lost else ''}"


def _ends(value: Value) -> tuple[float, float]:
    return value.low, value.high
