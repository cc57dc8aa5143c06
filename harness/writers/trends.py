"""Series of checkpoints in a record: what they say, as tables and lines for reports and for `tells trend`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.case import COMPOSITE, TREND
from harness.checkpoints import Series, series_of
from harness.errors import MeasureError
from harness.escape import line
from harness.trend import Point, Share, Threshold, Trend, alarm, analyse, guard
from harness.verdict import Verdict
from harness.writers import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.record import ItemRecord, RunRecord, SuiteRecord
    from harness.verdict import Measurement

HEADERS = ("step", "value [interval]", "behaviour [lower limit]", "verdict")
LIMIT = 0.01
"""Share at which a behaviour has begun, unless a case or the command line says otherwise."""
BEHAVIOUR = ("rate", "sampled_rate", "exact_probability")
"""Checks whose number is how often a behaviour shows, first choice first."""
EXACT = "exact_probability"
MAX_STEPS = 60
"""Rows of a table in a report; the ends of a longer series are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSeries:
    """One case over one series of checkpoints."""

    suite: str
    case: str
    series: Series
    items: tuple[ItemRecord | None, ...]
    """One per checkpoint; None where the record has no such item."""
    shares: tuple[ItemRecord | None, ...] = ()
    """The same of the case that shows the behaviour; empty where there is none."""
    behaviour: str = ""
    limit: float = LIMIT
    alarm: float | None = None
    """Threshold: of a trend that watches the case, else the bound of the case itself; None: there is none."""

    @property
    def holes(self) -> tuple[int, ...]:
        """Steps of which there is no number: with one, no rule may be applied."""
        rows = (self.items, self.shares) if self.shares else (self.items,)
        return tuple(
            step for at, step in enumerate(self.series.steps) if any(_judged(row[at]) is None for row in rows)
        )  # fmt: skip

    @property
    def name(self) -> str:
        """`suite::case[series]`."""
        return line(f"{self.suite}::{self.case}[{self.series.name}]", 200)

    def points(self) -> list[Point]:
        """Return the numbers of the series.

        Raises:
            MeasureError: a checkpoint has none, or the steps do not rise.
        """
        if self.holes:
            msg = f"{self.name}: no number at step {', '.join(map(str, self.holes[:5]))}; a series with a hole is none"
            raise MeasureError(msg)
        found = []
        for at, step in enumerate(self.series.steps):
            shown = self.shares[at] if self.shares else None
            judged, told = _judged(self.items[at]), _judged(shown)
            if judged is None:
                continue  # there are no holes
            share = None
            if shown is not None and told is not None:
                exact = shown.check == EXACT
                share = Share(value=told.value, low=told.value if exact else told.low, n=0 if exact else told.n)
            found.append(Point(step=step, value=judged.value, low=judged.low, high=judged.high, behaviour=share))
        guard(found)
        return found


def _judged(item: ItemRecord | None) -> Measurement | None:
    """Return the judged number of an item; None where it has none that can be used."""
    if item is None or item.verdict is Verdict.INVALID or not item.measurements:
        return None
    return item.measurements[0]


def collect(record: RunRecord, *, behaviour: str | None = None, limit: float | None = None) -> list[CaseSeries]:
    """Return every case over every series of a record; cases with parts and trends themselves left out.

    Args:
        record: The run.
        behaviour: Case whose number is the share of the behaviour; None: the first of each suite that counts one.
        limit: Share at which the behaviour has begun; None: the bound of its case.
    """
    found = []
    by_id = {item.node_id: item for item in record.items}
    for suite in record.suites:
        prefix = next((item.node_id.partition(f"::{suite.id}::")[0] for item in record.items if item.suite == suite.id),
                      suite.path)  # fmt: skip

        def row(case: str, series: Series, before: str = f"{prefix}::{suite.id}") -> tuple[ItemRecord | None, ...]:
            return tuple(by_id.get(f"{before}::{case}[{spec}]") for spec in series.specs)

        shown = _behaviour(record, suite, behaviour)
        for series in series_of(model.spec for model in record.models):
            for case in suite.cases:
                items = row(case.id, series)
                if case.check in {*COMPOSITE, TREND} or not any(items):
                    continue
                shares = row(shown, series) if shown else ()
                found.append(CaseSeries(
                    suite=suite.id, case=case.id, series=series, items=items,
                    shares=shares if any(shares) else (), behaviour=shown if any(shares) else "",
                    limit=_limit(shares, limit), alarm=_alarm(record, suite.id, case.id, items),
                ))  # fmt: skip
    return found


def _behaviour(record: RunRecord, suite: SuiteRecord, wanted: str | None) -> str:
    if wanted is not None:
        return wanted if any(case.id == wanted for case in suite.cases) else ""
    for kind in BEHAVIOUR:
        for case in suite.cases:
            mine = [item for item in record.items if (item.suite, item.case) == (suite.id, case.id) and item.bound]
            if case.check == kind and mine and all(item.bound.op == "at_most" for item in mine if item.bound):
                return case.id
    return ""


def _limit(shares: Sequence[ItemRecord | None], wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    bounds = [item.bound.value for item in shares if item is not None and item.bound is not None]
    return bounds[0] if bounds and 0.0 < bounds[0] < 1.0 else LIMIT


def _alarm(record: RunRecord, suite: str, case: str, items: Sequence[ItemRecord | None]) -> float | None:
    watching = [
        item for item in record.items
        if item.suite == suite and item.check == TREND and item.reference.startswith(f"case {case}: ")
    ]  # fmt: skip
    bounds = [item.bound for item in (*watching, *items) if item is not None and item.bound is not None]
    return bounds[0].value if bounds and bounds[0].op == "at_most" else None


def rows(one: CaseSeries) -> list[tuple[str, ...]]:
    """Return the cells of a series, one row per checkpoint, in the order of `HEADERS`."""
    found: list[tuple[str, ...]] = []
    for at, (step, item) in enumerate(zip(one.series.steps, one.items, strict=True)):
        share = one.shares[at] if one.shares else None
        seen = share.measurements[0] if share is not None and share.measurements else None
        found.append((
            str(step),
            words.judged(item) if item is not None else "not measured",
            f"{words.number(seen.value)} [{words.number(seen.low)}]" if seen else "none",
            words.letter_word(item.verdict) if item is not None else "none",
        ))  # fmt: skip
    return found


def threshold_of(one: CaseSeries, wanted: float | None = None) -> Threshold | None:
    """Return the fixed threshold of a series; None where nothing sets one."""
    value = one.alarm if wanted is None else wanted
    return None if value is None else Threshold(value=value)


def called(one: CaseSeries, threshold: Threshold) -> bool:
    """Tell whether the alarm of a series was called.

    Raises:
        MeasureError: it cannot be judged.
    """
    return alarm(one.points(), threshold) is not None


def lines(one: CaseSeries, threshold: Threshold | None) -> list[str]:
    """Return onset of the shift, onset of the behaviour, lead and forecast in words; or why there are none."""
    try:
        points = one.points()
        if threshold is None:
            return ["Not judged: the case limits nothing from above; name a threshold with --alarm or controls."]
        trend = analyse(points, threshold, one.limit)
    except MeasureError as error:
        return [f"Not judged: {error}"]
    return told(trend, threshold, one)


def told(trend: Trend, threshold: Threshold, one: CaseSeries) -> list[str]:
    """Return a trend in words."""
    unit = line(one.items[0].bound.unit, 20) if one.items[0] is not None and one.items[0].bound else ""
    how = f"above {threshold.value:.4g} {unit} ({threshold.note})"
    shift = f"called at step {trend.shift.step}" if trend.shift else "not called"
    said = [f"Onset of the shift: alarm {shift}, {how}."]
    if not one.shares:
        return [*said, "Onset of the behaviour: no case counts it; name one with --behaviour."]
    begun = f"at step {trend.behaviour.step}" if trend.behaviour else "not shown"
    point = f"at step {trend.behaviour_by_value.step}" if trend.behaviour_by_value else "not reached"
    said.append(
        f"Onset of the behaviour ({line(one.behaviour, 80)} above {one.limit:.4g}): {begun} by the lower limit; by the "
        f"value {point}."
    )
    lead, factor = trend.lead, trend.lead.factor
    if factor is None:
        said.append(f"Lead: none; {lead.note}." if lead.low is None else f"Lead: {_span(lead.low, None)}; {lead.note}.")
    else:
        said.append(f"Lead: factor {factor:.3g} in steps {_span(lead.low, lead.high)}, within the grid of checkpoints.")
    made = trend.forecast
    low, high = (f"{made.low:.4g}" if made.low else "0", f"{made.high:.4g}" if made.high else "never")
    said.append(
        f"Forecast: none; {made.why or 'it is beyond any number'}." if made.step is None
        else f"Forecast: {one.limit:.4g} at step {made.step:.4g} [{low}, {high}]."
    )  # fmt: skip
    return said


def _span(low: float | None, high: float | None) -> str:
    first = "0" if low is None else f"{math.exp(low):.3g}"
    return f"[{first}, {'without end' if high is None else f'{math.exp(high):.3g}'}]"


def shortened(found: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the rows of a table, of a long one the two ends."""
    if len(found) <= MAX_STEPS:
        return found
    half = MAX_STEPS // 2
    return [*found[:half], ("...", f"{len(found) - 2 * half} more", "", ""), *found[-half:]]
