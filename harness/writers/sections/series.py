"""Series of checkpoints as a section: what is watched and the behaviour over one axis of steps, with both onsets."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from harness.errors import MeasureError
from harness.escape import line
from harness.figures.curves import Curve, Mark, Panel
from harness.figures.steps import StepsFigure
from harness.trend import analyse
from harness.verdict import Verdict
from harness.writers import trends
from harness.writers.sections.base import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.record import ItemRecord, RunRecord
    from harness.trend import Onset
    from harness.verdict import Measurement
    from harness.writers.trends import CaseSeries

MAX_FIGURES = 12
"""Series with a figure of their own: those with an alarm first, then those that nobody could judge."""
_HOW = (
    "Bands are intervals; an onset lies between its step and the checkpoint before, which is the shaded part. A step "
    "without a number is marked with an exclamation mark, and no line crosses it."
)


def of_checkpoints(record: RunRecord) -> tuple[Section, ...]:
    """Return the section of the series in a record; nothing where no models are checkpoints of one training."""
    found = sorted(
        ((_rank(one), place, one) for place, one in enumerate(trends.collect(record))), key=lambda at: at[:2]
    )
    if not found:
        return ()
    every = [one for _, _, one in found]
    drawn = [figure for one in every if (figure := _figure(one)) is not None][:MAX_FIGURES]
    said = [f"{len(every)} series of numbers over checkpoints of one training.", _HOW]
    if len(drawn) < len(every):
        said.append(f"{len(drawn)} of them are drawn, those with an alarm first; the table has all.")
    rows = [(one.name, " ".join(trends.lines(one, trends.threshold_of(one)))) for one in every]
    return (Section(anchor="lead-time", title="Over training: shift, behaviour and lead time", said=tuple(said),
                    tables=(("What each series says", (("series", "onsets, lead and forecast"), rows)),),
                    figures=tuple(drawn)),)  # fmt: skip


def _rank(one: CaseSeries) -> int:
    threshold = trends.threshold_of(one)
    if threshold is None or one.behaviour == one.case:
        return 3
    try:
        return 0 if trends.called(one, threshold) else 2
    except MeasureError:
        return 1


def _figure(one: CaseSeries) -> StepsFigure | None:
    """Return the figure of a series; None where no checkpoint gave a number, or the steps do not rise."""
    steps = one.series.steps
    if not one.series.rising or not any(_measured(item) for item in one.items):
        return None
    threshold = trends.threshold_of(one)
    level, unit = threshold.value if threshold else None, line(min(one.units, default=""), 20)
    panels = [Panel(title=one.case, unit=unit, curves=_curves(one.case, steps, one.items), level=level)]
    lost = [float(step) for step, item in zip(steps, one.items, strict=True) if _measured(item) is None]
    if one.shares and one.behaviour != one.case:
        curves = _curves(one.behaviour, steps, one.shares)
        lost += [float(step) for step, item in zip(steps, one.shares, strict=True) if _measured(item) is None]
        if curves:
            panels.append(Panel(title=f"behaviour: {one.behaviour}", unit="share", curves=curves, level=one.limit))
    return StepsFigure(
        title=one.name, panels=tuple(panels), marks=tuple(_marks(one)), lost=tuple(dict.fromkeys(lost)),
        note=" ".join(trends.lines(one, threshold)),
    )  # fmt: skip


def _curves(name: str, steps: Sequence[int], items: Sequence[ItemRecord | None]) -> tuple[Curve, ...]:
    """Return the stretches of a series between its holes."""
    found = []
    pairs = zip(steps, map(_measured, items), strict=True)
    for there, stretch in itertools.groupby(pairs, key=lambda pair: pair[1] is not None):
        known = [(float(step), seen) for step, seen in stretch if seen is not None]
        if there:
            found.append(
                Curve(name=name, x=tuple(step for step, _ in known), y=tuple(seen.value for _, seen in known),
                      low=tuple(seen.low for _, seen in known), high=tuple(seen.high for _, seen in known))
            )  # fmt: skip
    return tuple(found)


def _measured(item: ItemRecord | None) -> Measurement | None:
    if item is None or item.verdict is Verdict.INVALID or not item.measurements:
        return None
    return item.measurements[0]


def _marks(one: CaseSeries) -> Iterator[Mark]:
    threshold = trends.threshold_of(one)
    if threshold is None:
        return
    try:
        trend = analyse(one.judged(threshold), threshold, one.limit)
    except MeasureError:
        return  # the title of the figure and the table say why it is not judged
    for name, onset in (("onset of the shift, alarm called", trend.shift), ("onset of the behaviour", trend.behaviour)):
        if onset is not None:
            yield _mark(name, onset)


def _mark(name: str, onset: Onset) -> Mark:
    if onset.before is None:
        return Mark(name=f"{name} (at the first checkpoint, or before)", at=onset.step)
    return Mark(name=name, at=onset.step, low=onset.before, high=onset.step)
