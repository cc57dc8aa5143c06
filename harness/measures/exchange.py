"""`exchangeability`: is one of several interchangeable options preferred?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness import scoring, stats
from harness.errors import MeasureError
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, conclude, describe, option, ranked
from harness.measures.logits import how, tables

if TYPE_CHECKING:
    from harness.stats import Array, Table
    from harness.transcript import Row, Transcript
    from harness.verdict import CheckResult

LEAST_ENTITIES = 2


@check.register("exchangeability")
def exchangeability(evidence: Evidence) -> CheckResult:
    """Bound the largest, over entities, of the mean over items of centred log-probability shifts. Unit: nats.

    d(e) = log p(e | in) - log p(e | reference) per item, centred over the entities; exchangeable entities all have
    mean 0. The maximum is taken anew in every replicate, so that its choice is paid for in the upper limit; the lower
    limit is the largest of the entities' own, each at the error divided by their number, since the maximum of noise is
    above 0 in every replicate.

    With the option `least` probabilities below it count as it: what a model is not going to say has no preference.

    Raises:
        MeasureError: options differ between rows, there are fewer than two, or `least` hides every preference that the
            limit would show.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "nats")
    conditions = option(transcript, "in"), option(transcript, "reference")
    entities = _entities(transcript, conditions)
    floor = _floor(transcript, len(entities), bound.value)
    made = [tables(transcript, conditions, value=_centred(entity, floor)) for entity in entities]
    drawn = [stats.contrast(pair, (1.0, -1.0), evidence.seed) for pair in made]
    means = [float(each.mean()) for each, _ in drawn]
    top = int(np.argmax(means))
    interval = _limits(made[0], [replicates for _, replicates in drawn], means, bound.confidence)
    items = len(transcript.planned)
    shifts = _rows(transcript, conditions[0], _centred(entities[top], floor))
    return conclude(
        bound, interval, name="largest_preference", n=items, reference=f"condition {conditions[1]}",
        note=f"entity {entities[top]!r} of {len(entities)}; {how(made[0])}; maximum recomputed in every replicate",
        others=[
            describe(f"preference[{name}]", mean, "nats", items, "centred mean shift")
            for name, mean in zip(entities, means, strict=True)
        ],
        worst_first=shifts,
    )  # fmt: skip


def _entities(transcript: Transcript, conditions: tuple[str, str]) -> tuple[str, ...]:
    seen = {
        tuple(sorted(scoring.option_logprobs(row)))
        for row in transcript.rows if row.condition in conditions
    }  # fmt: skip
    if len(seen) != 1:
        msg = f"options differ between rows ({len(seen)} sets); entities are exchangeable only where all are on offer"
        raise MeasureError(msg)
    entities = seen.pop()
    if len(entities) < LEAST_ENTITIES:
        msg = f"{len(entities)} option; a preference is one among several"
        raise MeasureError(msg)
    return entities


def _floor(transcript: Transcript, entities: int, limit: float) -> float:
    """Return the least log-probability that counts, minus infinity where no `least` is given."""
    least = transcript.case.check.options.get("least")
    if least is None:
        return -math.inf
    reach = -math.log(least) * (entities - 1) / entities if 0.0 < least < 1.0 else 0.0
    if not reach > limit:
        msg = f"with least {least} no preference can exceed {reach:.3g} nats, and the limit is {limit:g}; lower one"
        raise MeasureError(msg)
    return math.log(least)


def _centred(entity: str, floor: float) -> scoring.RowNumber:
    def value(row: Row) -> float:
        logprobs = {name: max(found, floor) for name, found in scoring.option_logprobs(row).items()}
        return logprobs[entity] - sum(logprobs.values()) / len(logprobs)

    return value


def _limits(pair: list[Table], replicates: list[Array], means: list[float], confidence: float) -> stats.Interval:
    units, largest = stats.units_of(pair), max(means)
    upper = stats.percentile(np.max(replicates, axis=0), largest, stats.tail(confidence, units)).high
    each = stats.tail(1.0 - (1.0 - confidence) / len(means), units)
    lower = max(
        stats.percentile(one, mean, each).low for one, mean in zip(replicates, means, strict=True)
    )  # fmt: skip
    found = stats.Interval(value=largest, low=min(lower, largest), high=upper)
    return found.widened(found.low - stats.NUMERIC_BAND, found.high + stats.NUMERIC_BAND)


def _rows(transcript: Transcript, condition: str, value: scoring.RowNumber) -> tuple[str, ...]:
    return ranked({row.id: value(row) for row in transcript.in_condition(condition)})
