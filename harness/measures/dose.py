"""`dose_response`: how far a graded cue moves the margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness import scoring, stats
from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, option, ranked
from harness.stats import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.transcript import Transcript
    from harness.verdict import CheckResult, Measurement

LEAST_DOSES = 3
"""Doses below which a slope is a mere difference."""


@check.register("dose_response")
def dose_response(evidence: Evidence) -> CheckResult:
    """Bound |slope| x (largest dose - smallest dose), the slope by least squares with a fixed effect per item.

    Items and doses are resampled together. Unit: nats over the range of the family.

    Raises:
        MeasureError: fewer than three doses, or ten items that each met two doses (raise `pairing: {cues: ...}`).
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "nats")
    condition = option(transcript, "in")
    table, doses = _table(transcript, condition)
    items, forms = table.values.shape
    reach = float(np.ptp(doses))
    ones = stats.slopes(table, doses, np.ones((1, forms)), np.ones((1, items)))
    drawn = stats.draws(evidence.seed + 1, forms), stats.draws(evidence.seed, items)
    replicates = stats.slopes(table, doses, *drawn) * reach
    value = float(ones[0]) * reach
    signed = stats.percentile(replicates, value, stats.tail(bound.confidence, min(items, forms)))
    signed = signed.widened(signed.low - stats.NUMERIC_BAND, signed.high + stats.NUMERIC_BAND)
    steepest = describe(
        "signed_dose_effect", value, "nats", items, f"slope x range, doses {doses[0]:g} to {doses[-1]:g}",
        low=signed.low, high=signed.high,
    )  # fmt: skip
    margins = {
        row.id: scoring.row_margin(row) for found in by_scenario(transcript, condition).values() for row in found
    }
    return conclude(
        bound, signed.magnitude(), name="dose_effect", n=items,
        reference=f"the other doses of {condition} ({forms} doses)",
        note=f"bootstrap of items and {forms} doses together, {stats.REPLICATES} replicates, expanded percentiles, "
        f"numeric band {stats.NUMERIC_BAND} nats added",
        others=(steepest, _step(table, doses)), worst_first=ranked(margins),
    )  # fmt: skip


def _table(transcript: Transcript, condition: str) -> tuple[Table, stats.Array]:
    cells: dict[tuple[str, float], list[float]] = {}
    for scenario, rows in by_scenario(transcript, condition).items():
        for row in rows:
            if row.dose is None or not math.isfinite(row.dose):
                msg = f"{row.id}: no dose; every form of the family needs one"
                raise MeasureError(msg)
            cells.setdefault((scenario, row.dose), []).append(scoring.row_margin(row))
    items, doses = sorted({item for item, _ in cells}), sorted({dose for _, dose in cells})
    met = [sum((item, dose) in cells for dose in doses) for item in items]
    several = sum(count > 1 for count in met)
    if len(doses) < LEAST_DOSES or several < stats.LEAST_ITEMS:
        msg = (
            f"{len(doses)} doses, and {several} items that met two or more; a dose response needs {LEAST_DOSES} doses "
            f"and {stats.LEAST_ITEMS} such items: raise `pairing: {{cues: ...}}`"
        )
        raise MeasureError(msg)
    values, present = np.zeros((len(items), len(doses))), np.zeros((len(items), len(doses)), dtype=bool)
    for (item, dose), found in cells.items():
        at = items.index(item), doses.index(dose)
        values[at], present[at] = math.fsum(found) / len(found), True
    return Table(values=values, present=present, family=condition, resampled=True), np.asarray(doses, dtype=np.float64)


def _step(table: Table, doses: Sequence[float] | stats.Array) -> Measurement:
    """Return the largest change between neighbouring doses, each dose's mean taken about the items' means."""
    ones = np.ones((1, table.values.shape[1]))
    centred = np.where(table.present, table.values - stats.item_means(table, ones)[0][:, None], 0.0)
    effects = centred.sum(axis=0) / table.present.sum(axis=0)
    steps = np.abs(np.diff(effects))
    at = int(steps.argmax())
    return describe(
        "largest_step", float(steps[at]), "nats", len(table.values),
        f"between doses {doses[at]:g} and {doses[at + 1]:g}, a place chosen after the fact",
    )  # fmt: skip
