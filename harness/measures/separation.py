"""`auroc`: do the scores of two conditions' cue forms lie apart?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness import scoring, stats
from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, option, ranked

if TYPE_CHECKING:
    from harness.stats import Interval
    from harness.transcript import Transcript
    from harness.verdict import CheckResult

LEAST_CUES = 5
"""Cue forms per condition: fewer cannot bound an AUROC below 0.95 at 95 % even when it is 0 (1 - 0.05^(1/4) = 0.53)."""


@check.register("auroc")
def auroc(evidence: Evidence) -> CheckResult:
    """Bound the probability that a cue form of `positive` has a larger mean margin than one of `negative`.

    Scores are margins, in nats, averaged over items (each item's rows first); the unit of evidence is the cue form.
    0.5 is no separation. Unit: AUROC.

    Raises:
        MeasureError: fewer than five cue forms in a condition.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "AUROC")
    names = option(transcript, "positive"), option(transcript, "negative")
    positive, negative = (_scores(transcript, name) for name in names)
    up, down = list(positive.values()), list(negative.values())
    area = stats.auroc(up, down)
    fewest = min(len(up), len(down))
    interval = limits(up, down, bound.confidence, evidence.seed)
    half = _normal(bound.confidence) * stats.delong_se(up, down)
    offsets = {
        row.id: scoring.row_margin(row) for found in by_scenario(transcript, names[0]).values() for row in found
    }  # fmt: skip
    return conclude(
        bound, interval, name="auroc", n=len(up) + len(down), of="cue forms", reference=f"condition {names[1]}",
        note=(
            f"bootstrap of {len(up)} and {len(down)} cue forms, expanded percentiles; never narrower at an end than "
            f"the exact limit of 0 in {fewest}, since at perfect separation bootstrap and DeLong have no width"
        ),
        others=(
            describe(
                "auroc_delong", area, "AUROC", len(up) + len(down), "DeLong limits, one-sided", of="cue forms",
                low=max(0.0, area - half), high=min(1.0, area + half),
            ),
        ),
        worst_first=ranked(offsets),
    )  # fmt: skip


def limits(positive: list[float], negative: list[float], confidence: float, seed: int) -> Interval:
    """Return the AUROC with the one-sided limits that decide.

    Not DeLong's: raising a positive score can lower DeLong's upper limit (the variance falls faster than the area
    rises), so that a worse model would pass. Bootstrap weights do not depend on the scores, and no replicate falls.
    """
    fewest = min(len(positive), len(negative))
    replicates = stats.auroc_replicates(positive, negative, seed)
    interval = stats.percentile(replicates, stats.auroc(positive, negative), stats.tail(confidence, fewest))
    edge = stats.exact_limits(0, fewest, confidence).high
    return interval.widened(1.0 - edge, edge)


def _normal(confidence: float) -> float:
    from scipy.stats import norm  # noqa: PLC0415 - lazy by contract

    return float(norm.ppf(confidence))


def _scores(transcript: Transcript, condition: str) -> dict[str, float]:
    cells: dict[str, dict[str, list[float]]] = {}
    for scenario, rows in by_scenario(transcript, condition).items():
        for row in rows:
            if row.cue is not None:
                cells.setdefault(row.cue, {}).setdefault(scenario, []).append(scoring.row_margin(row))
    if len(cells) < LEAST_CUES:
        msg = f"condition {condition!r} has {len(cells)} cue forms; an AUROC needs {LEAST_CUES} in each condition"
        raise MeasureError(msg)
    return {
        cue: math.fsum(math.fsum(found) / len(found) for found in items.values()) / len(items)
        for cue, items in sorted(cells.items())
    }
