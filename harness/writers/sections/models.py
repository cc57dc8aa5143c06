"""Several models of one run beside each other: every check on one axis, and paired differences to the first model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.baseline import names_of
from harness.baseline.comparable import DELTA, by_model
from harness.baseline.judged import CONFIDENCE, compare_item
from harness.case import OVER_SERIES
from harness.checkpoints import series_of
from harness.escape import line
from harness.figures.forest import Entry, Group
from harness.verdict import Verdict
from harness.writers import words
from harness.writers.sections import changes
from harness.writers.sections.base import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.baseline import ItemComparison
    from harness.figures.forest import ForestFigure
    from harness.record import ItemRecord, RunRecord
    from harness.stats import Interval

MAX_PAIRED = 150
"""Checks of which paired differences are made, those whose numbers differ most first: each costs a bootstrap."""
LEAST = 2
_HOW = (
    "Left: measured, with intervals and the limit of the check. Right: by how much worse than the first model, paired "
    "by scenario, or where marked * by the limits of both. Sorted by the largest difference, counted in what a "
    "baseline tolerates; what could not be compared comes first."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model of one run, with what was found on it."""

    name: str
    items: Mapping[tuple[str, str], ItemRecord]
    """By suite and case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One check on several sides."""

    suite: str
    case: str
    unit: str
    items: tuple[ItemRecord | None, ...]
    """One per side; None where it has no such check."""
    differences: tuple[ItemComparison | None, ...] = ()
    """To the first side, one per other side; None where one of the two has no such check, or where none was made."""

    @property
    def name(self) -> str:
        """Suite and case."""
        return line(f"{self.suite}::{self.case}", 120)

    @property
    def size(self) -> float:
        """The largest difference to the first side, in what is tolerated."""
        return max(
            (changes.size_of(one.difference, one.delta) for one in self.differences if one is not None), default=0.0
        )


def of_models(record: RunRecord) -> tuple[Section, ...]:
    """Return the section of the models of a run that are no checkpoints; nothing where there are fewer than two."""
    if record.certification is not None or len(record.models) < LEAST:
        return ()
    steps = {spec for series in series_of(model.spec for model in record.models) for spec in series.specs}
    found = by_model(record, "run")
    sides = [
        Side(name=line(name, 60), items=found[model.spec])
        for name, model in zip(names_of(record), record.models, strict=True)
        if model.spec not in steps
    ]
    if len(sides) < LEAST:
        return ()
    made = lines(sides)
    said = [f"{len(sides)} models on {len(made)} checks; the first, {sides[0].name}, is what others are held against.",
            *_unlike(record), _HOW]  # fmt: skip
    return (Section(anchor="models", title="The models beside each other", said=(*said, *left_out(made)),
                    figures=tuple(figures("Models", made, [side.name for side in sides])),
                    tables=(table(made, [side.name for side in sides]),)),)  # fmt: skip


def lines(sides: Sequence[Side]) -> list[Line]:
    """Return every check of any side, with its differences to the first side, the largest first."""
    keys = dict.fromkeys(key for side in sides for key, item in side.items.items() if item.check not in OVER_SERIES)
    found = []
    for suite, case in keys:
        items = tuple(side.items.get((suite, case)) for side in sides)
        unit = next((item.bound.unit for item in items if item is not None and item.bound), "")
        found.append(Line(suite=suite, case=case, unit=unit, items=items))
    # By what is cheap to know, to choose of what the dear part is made.
    found.sort(key=lambda one: (-_rough(one), one.name))
    made = [_with_differences(one) for one in found[:MAX_PAIRED]]
    made.sort(key=lambda one: (-one.size, one.name))
    return [*made, *found[MAX_PAIRED:]]


def figures(title: str, made: Sequence[Line], names: Sequence[str]) -> Sequence[ForestFigure]:
    """Return the forests of checks, one for each unit."""
    return changes.forests(title, ((one.unit, _group(one, names)) for one in made), names, "worse than the first by")


def table(made: Sequence[Line], names: Sequence[str]) -> tuple[str, tuple[Sequence[str], Sequence[Sequence[str]]]]:
    """Return the table of checks: what each side says, and by how much the others are worse than the first."""
    head = ("check", "limit", *names, *(f"worse by: {name}" for name in names[1:]))
    rows = []
    for one in made[: changes.MAX_ROWS]:
        limit = next((words.bounded(item) for item in one.items if item is not None and item.bound), "none")
        differences = one.differences or (None,) * (len(names) - 1)
        told = [
            _told(difference, (name, names[0]), made=bool(one.differences))
            for name, difference in zip(names[1:], differences, strict=True)
        ]
        rows.append((one.name, limit, *map(_said, one.items), *told))
    return "Check by check, the largest difference first", (head, rows)


def left_out(made: Sequence[Line]) -> list[str]:
    """Say what is not in the table, and of what no paired difference was made."""
    said = []
    if len(made) > MAX_PAIRED:
        said.append(
            f"Paired differences are made of the {MAX_PAIRED} checks whose numbers differ most; of the others `tells "
            "compare` makes them."
        )
    if len(made) > changes.MAX_ROWS:
        said.append(f"The table has {changes.MAX_ROWS} of {len(made)} checks; all are in run.json.")
    return said


def _unlike(record: RunRecord) -> list[str]:
    """Say in what the models of a run differ besides their weights."""
    return [
        f"The models differ in {what} ({', '.join(found)}): part of a difference may come from that."
        for what in ("dtype", "numerics")
        if len(found := sorted({getattr(model, what) for model in record.models})) > 1
    ]


def _rough(one: Line) -> float:
    """Return how far numbers lie apart, in what is tolerated; of what could not be measured on a side, without end."""
    values = [changes.value_of(item) for item in one.items if item is not None]
    known = [value.value for value in values if value is not None]
    if len(values) < LEAST:
        return -1.0  # there is nothing to pair
    if len(known) < len(values):
        return math.inf
    return (max(known) - min(known)) / (DELTA.get(one.unit) or 1.0)


def _with_differences(one: Line) -> Line:
    first, *others = one.items
    return dataclasses.replace(one, differences=tuple(_compared(other, first) for other in others))


def _compared(item: ItemRecord | None, first: ItemRecord | None) -> ItemComparison | None:
    if item is None or first is None:
        return None
    unit = item.bound.unit if item.bound else ""
    return compare_item(item, first, {**DELTA, unit: DELTA.get(unit, 0.0)}, CONFIDENCE)


def _group(one: Line, names: Sequence[str]) -> Group:
    entries = []
    for place, (name, item) in enumerate(zip(names, one.items, strict=True)):
        difference = one.differences[place - 1] if place and one.differences else None
        change: Interval | None = None if difference is None else difference.difference
        mark = " *" if difference is not None and change is not None and not difference.paired else ""
        verdict = "! no such check" if item is None else words.letter_word(item.verdict)
        entries.append(
            Entry(series=name, value=changes.value_of(item), change=changes.change_of(change), said=f"{verdict}{mark}")
        )
    bound = next((item.bound for item in one.items if item is not None and item.bound), None)
    return Group(name=one.name, entries=tuple(entries), limit=bound.value if bound else None,
                 delta=DELTA.get(one.unit))  # fmt: skip


def _said(item: ItemRecord | None) -> str:
    if item is None:
        return "no such check"
    number = "" if item.verdict is Verdict.INVALID else f", {words.judged(item)}"
    return f"{words.letter_word(item.verdict)}{number}"


def _told(difference: ItemComparison | None, names: tuple[str, str], *, made: bool) -> str:
    if difference is None:
        return "in one of them alone" if made else "not made here"
    if difference.difference is None:
        # Said of a run and its baseline; here they are two models.
        why = difference.cause.replace("the new run", names[0]).replace("the baseline", names[1])
        return f"not known: {line(why, 200)}"
    return f"{changes.interval(difference.difference)}{'' if difference.paired else ' *'}"
