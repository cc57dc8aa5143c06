"""A forest plot: all checks of a suite in one unit on one axis, and how they go over the models of a run.

Everything horizontal is in per cent of the width, so that a drawing is as wide as the page lets it be and its dots stay
round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.writers import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.record import ItemRecord
    from harness.verdict import Measurement

MARGIN = 0.04
"""Of the width, free on both sides."""
TICKS = 4
"""About so many."""
STEPS = (1.0, 2.0, 5.0, 10.0)
TWIN, CORRECTED = "twin_", "twin_corrected"
"""How a measurement of the twin begins, and the one that is a difference to it."""
WIDTH, HEIGHT, PAD = 132.0, 34.0, 5.0
"""Of a sparkline, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale that several drawings share."""

    unit: str
    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return where a value lies, in per cent of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 1)

    @property
    def labels(self) -> tuple[tuple[float, str], ...]:
        """Place and label of each tick."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 0.0
        return tuple((self.at(tick), words.number(0.0 if abs(tick) < step / 1e6 else tick)) for tick in self.ticks)

    @property
    def zero(self) -> float | None:
        """Where zero lies, if it is on the axis."""
        return self.at(0.0) if self.low <= 0 <= self.high else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A value with its interval, in per cent of the width."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """An interval against its bound, in per cent of the width."""

    judged: Span
    bound: float
    bad_from: float
    bad_width: float
    twin: Span | None
    """The same number of the twin."""


def twin_of(item: ItemRecord) -> Measurement | None:
    """Return the judged number as it is on the twin; None where nobody measured it there."""
    if not item.measurements:
        return None
    unit = item.measurements[0].unit
    return next(
        (one for one in item.measurements[1:]
         if one.name.startswith(TWIN) and one.name != CORRECTED and one.unit == unit),
        None,
    )  # fmt: skip


def unit_of(item: ItemRecord) -> str:
    """Return the unit of what is drawn of an item; empty where nothing can be."""
    return item.measurements[0].unit if item.measurements and item.bound is not None else ""


def axis_of(items: Iterable[ItemRecord]) -> Axis | None:
    """Return the scale that holds every interval, bound and twin, and zero if it is near; None of nothing."""
    unit, points = "", []
    for item in items:
        if not item.measurements or item.bound is None:
            continue
        unit = unit or item.measurements[0].unit
        drawn = [item.measurements[0], twin_of(item)]
        points += [item.bound.value, *(end for one in drawn if one is not None for end in (one.low, one.high))]
    points = [point for point in points if math.isfinite(point)]
    if not points:
        return None
    if min(map(abs, points)) <= max(points) - min(points):
        points.append(0.0)
    left, right = min(points), max(points)
    span = right - left
    if not 0.0 < span < math.inf or left + span * MARGIN == left:
        # One point, or two that float64 can hardly tell apart or hold apart: an axis around them.
        span = max(abs(left), abs(right)) * 0.1 or 1.0
    left, right = left - span * MARGIN, right + span * MARGIN
    if not math.isfinite(right - left):
        return None
    return Axis(unit=unit, low=left, high=right, ticks=ticks(left, right))


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Return about `TICKS` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((lead * power for lead in STEPS if lead * power >= rough), 10 * power)
    first, last = math.ceil(low / step), math.floor(high / step)
    return tuple(place * step for place in range(first, last + 1)) if last - first <= 2 * TICKS else ()


def plot(item: ItemRecord, axis: Axis | None) -> Plot | None:
    """Return what is drawn of an item on an axis that holds it; None where there is nothing to draw."""
    if axis is None or not item.measurements or item.bound is None:
        return None
    limit = axis.at(item.bound.value)
    bad_from, bad_to = (limit, 100.0) if item.bound.op == "at_most" else (0.0, limit)
    twin = twin_of(item)
    return Plot(
        judged=_span(item.measurements[0], axis), bound=limit, bad_from=bad_from,
        bad_width=round(bad_to - bad_from, 1), twin=_span(twin, axis) if twin else None,
    )  # fmt: skip


def _span(found: Measurement, axis: Axis) -> Span:
    return Span(low=axis.at(found.low), value=axis.at(found.value), high=axis.at(found.high))


def distance(item: ItemRecord) -> float:
    """Return how far the deciding confidence limit keeps from the bound, as a share of the larger of the two.

    Negative where it breaks the bound; the smallest number, -1, where nothing was measured, as nothing is worse.
    """
    if not item.measurements or item.bound is None:
        return -1.0
    found, bound = item.measurements[0], item.bound
    room = bound.value - found.high if bound.op == "at_most" else found.low - bound.value
    size = max(abs(bound.value), abs(found.high), abs(found.low))
    return max(-1.0, min(1.0, room / size)) if size else 0.0


# --- over models


@dataclass(frozen=True, slots=True, kw_only=True)
class Spark:
    """One case over the models of a run: what is drawn, in pixels, and the same as a table."""

    case: str
    line: str
    """Points of a polyline."""
    spans: tuple[tuple[float, float, float], ...]
    """Place, and the two ends of the interval."""
    dots: tuple[tuple[float, float, str], ...]
    """Place, height, verdict."""
    limit: float
    bad_top: float
    bad_height: float
    rows: tuple[tuple[str, ...], ...]
    """Model, value with interval, verdict."""
    said: str


SPARK_HEADS = ("model", "measured [interval]", "limit", "verdict")


def sparks(items: Sequence[ItemRecord], models: Sequence[str]) -> list[Spark]:
    """Return one sparkline for each case that two models or more have a number of.

    Args:
        items: Of one suite.
        models: Names, in the order of the command line: of checkpoints, by step.
    """
    order = {name: place for place, name in enumerate(models)}
    cases: dict[str, list[ItemRecord]] = {}
    for item in items:
        cases.setdefault(item.case, []).append(item)
    found = []
    for case, mine in cases.items():
        mine.sort(key=lambda item: order.get(item.model, len(order)))
        drawn = [item for item in mine if item.measurements and item.bound is not None]
        if len(drawn) > 1 and len({(item.measurements[0].unit, item.bound) for item in drawn}) == 1:
            found += [one for one in (_spark(case, drawn, mine),) if one is not None]
    return found


def _spark(case: str, drawn: list[ItemRecord], mine: list[ItemRecord]) -> Spark | None:
    axis, bound = axis_of(drawn), drawn[0].bound
    if axis is None or bound is None:
        return None

    def across(place: int) -> float:
        return round(PAD + place * (WIDTH - 2 * PAD) / (len(mine) - 1), 1)

    def down(value: float) -> float:
        return round(HEIGHT - HEIGHT * axis.at(value) / 100, 1)

    at = [(across(place), item) for place, item in enumerate(mine) if item.measurements and item.bound is not None]
    limit = down(bound.value)
    top, foot = (0.0, limit) if bound.op == "at_most" else (limit, HEIGHT)
    return Spark(
        case=case, limit=limit, bad_top=top, bad_height=round(foot - top, 1),
        line=" ".join(f"{x:g},{down(item.measurements[0].value):g}" for x, item in at),
        spans=tuple((x, down(item.measurements[0].low), down(item.measurements[0].high)) for x, item in at),
        dots=tuple((x, down(item.measurements[0].value), item.verdict.value) for x, item in at),
        rows=tuple(
            (item.model, words.judged(item), words.bounded(item), words.letter_word(item.verdict)) for item in mine
        ),
        said=f"{words.judged(mine[0])} at first, {words.judged(mine[-1])} at last, limit {words.bounded(mine[-1])}",
    )  # fmt: skip
