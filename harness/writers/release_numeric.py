"""Which verdicts numeric noise could turn: items whose limits lie within the measured tolerance of their bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from harness.verdict import Verdict
from harness.writers import words
from harness.writers.outcomes import restricted
from harness.writers.release_page import Block, few
from harness.writers.release_table import WITHHELD

if TYPE_CHECKING:
    from harness.record import ItemRecord, ModelRecord, RunRecord

MAX_NAMED = 8
PER_NAT: Final = {"nats": 1.0, "bits": 1.0 / math.log(2.0)}
"""Unit -> how far a number in it moves when a log-probability moves by one nat."""


def numerics(record: RunRecord) -> Block:
    """Return dtype and tolerance of each model, the items near their bound, and those that were scored again."""
    said = [_tolerance(model) for model in record.models]
    if record.twin:
        said.append(_tolerance(record.twin))
    models = {model.name: model for model in record.models}
    near = [item for item in record.items if near_bound(item, models.get(item.model))]
    if near:
        names = ", ".join(few([f"{item.suite}::{item.case}" for item in near], MAX_NAMED, "report.html"))
        said.append(f"Within the tolerance of their bound, so that noise alone could turn them: {names}")
    elif any(model.tolerance is not None for model in record.models):
        said.append("No number in nats, bits or probability lies within the tolerance of its bound")
    again = [f"{item.suite}::{item.case}: {text}" for item in record.items if (text := scored_again(item))]
    said += [f"Scored again: {text}" for text in few(again, MAX_NAMED, "run.json")]
    return Block(heading="Numerics", lines=tuple(few(said, 2 * MAX_NAMED, "run.json")))


def near_bound(item: ItemRecord, model: ModelRecord | None) -> bool:
    """Tell whether a limit of the judged number lies within the tolerance of the bound; not told of shares of texts."""
    if item.bound is None or not item.measurements or model is None or model.tolerance is None:
        return False
    if item.verdict is Verdict.INVALID:
        return False
    found, limit = item.measurements[0], item.bound.value
    # A probability p moves by p (exp(t) - 1) when its logarithm moves by t nats.
    moved = limit * math.expm1(model.tolerance) if found.unit == "probability" else None
    reach = PER_NAT.get(found.unit, -math.inf) * model.tolerance if moved is None else moved
    return min(abs(found.low - limit), abs(found.high - limit)) <= reach


def scored_again(item: ItemRecord) -> str:
    """Return what came of scoring an item again in float32; empty where that was not asked."""
    found = item.rescored
    if found is None:
        return ""
    if restricted(item.hazard):
        return WITHHELD
    first = f"{words.letter_word(found.verdict)} in {found.dtype} within {_nats(found.tolerance)}"
    if found.again is None:
        return f"{first}; float32 alone gave nothing"
    return f"{first}; {words.letter_word(found.again)} in float32 alone, {_nats(found.band)}"


def _nats(tolerance: float | None) -> str:
    return "an unknown tolerance" if tolerance is None else f"{words.number(tolerance)} nats per token"


def _tolerance(model: ModelRecord) -> str:
    head = f"{model.name}: {model.dtype}"
    if model.tolerance is None:
        return f"{head}, tolerance unknown: the self-check was not run"
    moved = f"at most {words.number(model.tolerance)} nats between batches"
    return f"{head}, log-probs move by {moved} (measured at start-up)"
