"""Differences as forests, one figure per unit, and their table: what a baseline, a model or a run differs by."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from harness.escape import line
from harness.figures.forest import Entry, ForestFigure, Group
from harness.figures.points import Value
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.baseline import ItemComparison
    from harness.record import ItemRecord
    from harness.stats import Interval

MAX_DRAWN = 40
"""Checks in one figure, the largest change first; the others stand in the table."""
MAX_ROWS = 300
"""Of a table in a report."""
HEADS = ("check", "baseline", "now", "worse by [limits]", "tolerated", "verdict", "p (Holm)", "n", "why")


def size_of(difference: Interval | None, delta: float | None) -> float:
    """Return how large a change is, in what is tolerated of its unit; of one that nobody could tell, without end."""
    if difference is None:
        return math.inf
    if not delta:
        return math.inf if difference.value else 0.0
    return abs(difference.value) / delta


def value_of(item: ItemRecord | None) -> Value | None:
    """Return the judged number of an item for a figure; None of what was not measured."""
    if item is None or item.verdict is Verdict.INVALID or not item.measurements:
        return None
    found = item.measurements[0]
    return Value(value=found.value, low=found.low, high=found.high)


def change_of(difference: Interval | None) -> Value | None:
    """Return a difference for a figure."""
    return None if difference is None else Value(value=difference.value, low=difference.low, high=difference.high)


def forests(title: str, groups: Iterable[tuple[str, Group]], series: Sequence[str], change: str) -> list[ForestFigure]:
    """Return a figure for each unit that has a number.

    Args:
        title: Of all figures; the unit is added.
        groups: Unit and checks, in the order in which they are to be drawn.
        series: Whose numbers they are.
        change: What the right panel shows.
    """
    by_unit: dict[str, list[Group]] = defaultdict(list)
    for unit, group in groups:
        if any(entry.value or entry.change for entry in group.entries):
            by_unit[line(unit, 20) or "no unit"].append(group)
    found = []
    for unit, mine in by_unit.items():
        more = f": {MAX_DRAWN} largest of {len(mine)}" if len(mine) > MAX_DRAWN else ""
        drawn = tuple(mine[:MAX_DRAWN])
        found.append(
            ForestFigure(title=f"{title}, {unit}{more}", unit=unit, series=tuple(series), groups=drawn,
                         change_name=change)
        )  # fmt: skip
    return found


def interval(difference: Interval | None) -> str:
    """Return a difference with its limits, for a table."""
    if difference is None:
        return "not known"
    return f"{difference.value:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}]"


def entry_of(item: ItemComparison, series: str) -> Group:
    """Return a check beside its baseline as a group of one row."""
    said = "not compared" if item.verdict is None else f"{item.verdict}{'' if item.paired else ' *'}"
    one = Entry(series=series, change=change_of(item.difference), said=said)
    return Group(name=item.name, entries=(one,), delta=item.delta)


def row_of(item: ItemComparison) -> tuple[str, ...]:
    """Return a check beside its baseline as a row under `HEADS`."""
    numbers = ["none" if value is None else f"{value:.3g}" for value in (item.old, item.new)]
    tolerated = "" if item.delta is None else f"{item.delta:g} {line(item.unit, 20)}"
    verdict = "not compared" if item.verdict is None else f"{item.verdict}{'' if item.blocking else ' (reported)'}"
    chance = "" if item.p_holm is None else f"{item.p_holm:.3g}"
    how = "" if item.difference is None else f"{interval(item.difference)}{'' if item.paired else ' *'}"
    return (item.name, *numbers, how or "not known", tolerated, verdict, chance, str(item.n or ""),
            line(item.cause, 300))  # fmt: skip
