"""Quantities over the steps of a training, one above the other on one axis, with the onsets of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.figures import drawing
from harness.figures.sketch import FAINT, INK, Scale, Sketch, across, label, scale_of, steps_of, upright, wide

if TYPE_CHECKING:
    from harness.figures.curves import Curve, Mark, Panel

_LEFT, _WIDTH, _HEIGHT, _GAP = 64.0, 600.0, 130.0, 30.0
_MARKED = 10
"""Points of a curve that have a symbol, about: more would lie on each other."""
_DASHES = ("6 3", "2 3", "8 3 2 3")
_INKS = ("#a23b00", "#0b5a8a", "#3d3d3d")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsFigure(drawing.Figure):
    """Panels that share the axis of steps, and marks that run through all of them."""

    title: str
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...] = ()
    """Onsets, each with the steps between which it lies."""
    lost: tuple[float, ...] = ()
    """Steps of which there is no number: each is drawn as `!`."""
    x_name: str = "step of training"
    note: str = ""

    def svg(self) -> str:
        """Return the figure."""
        steps = [x for panel in self.panels for curve in panel.curves for x in curve.x]
        scale = steps_of([*steps, *self.lost], _LEFT, _LEFT + _WIDTH)
        bottom = 26 + (_HEIGHT + _GAP) * len(self.panels) - _GAP
        sketch = Sketch(_LEFT + _WIDTH + 20, bottom + 40 + 18 * len(self.marks))
        for place, panel in enumerate(self.panels):
            top = 26 + (_HEIGHT + _GAP) * place
            name = self.x_name if place == len(self.panels) - 1 else ""
            self._panel(sketch, panel, scale, (top, name))
        for place, mark in enumerate(self.marks):
            _mark(sketch, mark, scale, place, bottom)
        with sketch.group(text_anchor="middle", font_weight="bold", fill=_INKS[0]):
            for step in self.lost:
                sketch.text(scale.at(step), 22, "!")
        return sketch.svg(self.title, self.note or "; ".join(panel.title for panel in self.panels))

    def cells(self) -> drawing.Cells:
        """Return what is drawn as a table: its head, and its rows."""
        rows = []
        for panel in self.panels:
            several = len({curve.name for curve in panel.curves}) > 1
            for curve in panel.curves:
                name = f"{panel.title}, {curve.name}" if several else panel.title
                for at, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
                    limits = (curve.low[at], curve.high[at]) if curve.low else (None, None)
                    rows.append((name, label(x), *map(drawing.number, (y, *limits))))
            if panel.level is not None:
                rows.append((f"{panel.title}: limit", "", drawing.number(panel.level), "", ""))
        rows += [
            (mark.name, label(mark.at), "", *("" if end is None else label(end) for end in (mark.low, mark.high)))
            for mark in self.marks
        ]
        rows += [("no number", label(step), "", "", "") for step in self.lost]
        return ("quantity", self.x_name, "value", "low", "high"), rows

    def _panel(self, sketch: Sketch, panel: Panel, scale: Scale, place: tuple[float, str]) -> None:
        top, name = place
        values = [y for curve in panel.curves for part in (curve.y, curve.low, curve.high) for y in part]
        bounds = panel.bounds or ()
        level = [] if panel.level is None else [panel.level]
        up = scale_of([*values, *bounds, *level], top + _HEIGHT, top)
        upright(sketch, up, scale.start, scale.end)
        across(sketch, scale, top, top + _HEIGHT, name, numbers=bool(name))
        sketch.text(scale.start, top - 7, f"{panel.title} ({panel.unit})", most=90, font_weight="bold")
        if panel.level is not None:
            y = up.at(panel.level)
            sketch.line(scale.start, y, scale.end, y, stroke=INK, stroke_dasharray="2 2")
            with sketch.group(text_anchor="end", font_size=11, fill=FAINT):
                sketch.text(scale.end, y - 4, f"limit {label(panel.level)}")
        # What a hole parts is one series all the same.
        names = list(dict.fromkeys(curve.name for curve in panel.curves))
        looks = dict(zip(names, drawing.cycle(len(names)), strict=True))
        for curve in panel.curves:
            _curve(sketch, curve, (scale, up), looks[curve.name][:2])
        right = scale.end
        for name in reversed(names if len(names) > 1 else []):
            colour, symbol, _ = looks[name]
            sketch.text(right, top - 7, name, most=24, text_anchor="end", font_size=11)
            right -= wide(name, 24) + 8
            sketch.mark(symbol, right, top - 11, fill=colour)
            right -= 14


def _curve(sketch: Sketch, curve: Curve, scales: tuple[Scale, Scale], look: tuple[str, str]) -> None:
    (x, y), (colour, symbol) = scales, look
    if curve.low:
        there = [(x.at(u), y.at(v)) for u, v in zip(curve.x, curve.high, strict=True)]
        back = [(x.at(u), y.at(v)) for u, v in zip(curve.x, curve.low, strict=True)]
        sketch.area([*there, *reversed(back)], fill=colour, fill_opacity="0.18")
    points = [(x.at(u), y.at(v)) for u, v in zip(curve.x, curve.y, strict=True)]
    sketch.polyline(points, stroke=colour, stroke_width="1.6")
    with sketch.group(fill=colour):
        for at in points[:: max(1, len(points) // _MARKED)]:
            sketch.mark(symbol, *at, 2.6)


def _mark(sketch: Sketch, mark: Mark, scale: Scale, place: int, bottom: float) -> None:
    """Draw where something began: a line, the steps between which it lies as a band, and its name beneath."""
    ink, dashes = _INKS[place % len(_INKS)], _DASHES[place % len(_DASHES)]
    x = scale.at(mark.at)
    if mark.low is not None and mark.high is not None:
        first, last = scale.at(mark.low), scale.at(mark.high)
        sketch.boxes([(first, 26, last - first, bottom - 26)], fill=ink, fill_opacity="0.10")
    sketch.line(x, 26, x, bottom, stroke=ink, stroke_width="1.6", stroke_dasharray=dashes)
    y = bottom + 44 + 18 * place
    sketch.line(_LEFT, y - 4, _LEFT + 28, y - 4, stroke=ink, stroke_width="1.6", stroke_dasharray=dashes)
    between = "" if mark.low is None or mark.high is None else f" ({label(mark.low)} to {label(mark.high)})"
    sketch.text(_LEFT + 34, y, f"{mark.name}: {label(mark.at)}{between}", most=110)
