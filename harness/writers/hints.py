"""What to do about one check, on a line: how near a PASS is, by how much a FAIL missed, what would decide the rest."""

from __future__ import annotations

import functools
import math
import shlex
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from harness.escape import line
from harness.gate import blocks
from harness.verdict import Verdict
from harness.writers import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.policy.waivers import Excuse
    from harness.record import ItemRecord
    from harness.verdict import Bound, Measurement

ONE_AT_MOST = frozenset({"share", "probability", "AUROC"})
"""Units in which nothing exceeds 1, so that a limit from below leaves 1 minus itself to use."""
POWER = 0.8
"""Probability of a decision that further scenarios are planned for."""
MOST = 100_000
"""Further units of evidence that a hint speaks of; what needs more lies too near the limit."""
CAUSE = 300
TOO_NEAR = "too near the limit for any number of {} to decide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the hints of one run have in common."""

    run: str = ""
    """Path of `run.json`; empty where none was written."""
    models: int = 1
    """Models of the run."""
    excused: Mapping[str, Excuse]
    """Node id -> the waiver that the gate let excuse it."""


def hint(item: ItemRecord, context: Context) -> str:
    """Return what a reader of the table may want to do next; everything foreign in it is escaped."""
    if (excuse := context.excused.get(item.node_id)) is not None:
        return f"excused by {line(excuse.waiver.name, 80)}, {excuse.days_left} days left"
    match item.verdict:
        case Verdict.PASS:
            return _near(item)
        case Verdict.FAIL:
            light = "" if blocks(item) else f" ({line(item.severity, 20)}: does not block)"
            return "; ".join(part for part in (_missed(item) + light, _look(item, context)) if part)
        case Verdict.INCONCLUSIVE:
            return _undecided(item)
        case Verdict.INVALID:
            return f"not measured: {line(words.public_cause(item), CAUSE)}"
        case _:
            return "waived here, and no policy that was given vouches for it"


def _near(item: ItemRecord) -> str:
    """Return how much of its limit a PASS uses up."""
    found, bound = (item.measurements or (None,))[0], item.bound
    if found is None or bound is None:
        return ""
    if item.check in words.PARTS:
        return f"{found.high:g} of {found.n} parts may fail"
    above = bound.op == "at_most"
    used = found.high / bound.value if above and bound.value > 0.0 else None
    if not above and bound.unit in ONE_AT_MOST and bound.value < 1.0:
        used = (1.0 - found.low) / (1.0 - bound.value)
    if used is not None:
        return f"{max(0.0, used):.0%} of the limit used"
    apart = bound.value - found.high if above else found.low - bound.value
    return f"{words.number(apart)} {line(bound.unit, 20)} inside the limit"


def _missed(item: ItemRecord) -> str:
    """Return by how much a FAIL missed its limit, at least."""
    found, bound = (item.measurements or (None,))[0], item.bound
    if found is None or bound is None:
        return f"failed: {line(words.public_cause(item), CAUSE)}" if item.cause else "failed"
    if item.check in words.PARTS:
        return f"{found.low:g} of {found.n} parts fail"
    apart, how = (
        (found.low - bound.value, "over") if bound.op == "at_most" else (bound.value - found.high, "short of")
    )  # fmt: skip
    return f"{how} the limit by {words.number(apart)} {line(bound.unit, 20)} or more"


def _look(item: ItemRecord, context: Context) -> str:
    if not context.run:
        return "see its page above; --report DIR keeps it"
    name = f"{item.suite}::{item.case}"
    # Of several models, the one that failed: what stands in the brackets of its node id.
    name += item.node_id.partition(name)[2] if context.models > 1 else ""
    return f"see: tells show {line(shlex.quote(context.run), 200)} {line(shlex.quote(name), 200)}"


def _undecided(item: ItemRecord) -> str:
    """Return how many more units of evidence would decide, or what is missing."""
    found, bound = (item.measurements or (None,))[0], item.bound
    cause = line(words.public_cause(item), CAUSE) or "the evidence does not decide"
    if found is None or bound is None or item.check in words.PARTS or item.rescored is not None:
        return cause
    if bound.judge(found.low, found.high) is not Verdict.INCONCLUSIVE:
        return cause  # its limits would decide; something else keeps it open
    of = line(found.of, 40)
    # What every measure says of limits on both sides of the file's is said better by how much more there must be.
    first = "" if cause.endswith("too little data") else f"{cause}; "
    if (counts := words.count(item)) is not None:
        needed, about = planned(*counts, bound.op, bound.value, bound.confidence), "about"
        given = f"the share stays {words.number(found.value, bound.value)}"
    else:
        needed, about, given = _resampled(found, bound), "at least about", f"value and spread among {of} stay"
    if needed is None:
        return first + TOO_NEAR.format(of)
    more = max(1, needed - found.n)
    decide = f"would decide with probability {POWER:g} if {given}"
    return f"{first}{about} {more} more {of} ({found.n + more} in all) {decide}"


@functools.lru_cache(maxsize=256)
def planned(k: int, n: int, op: str, limit: float, confidence: float) -> int | None:
    """Return the units of evidence after which k in n, if that is the true share, decides with probability `POWER`.

    Of a share beneath its limit that is a plan which passes, as `tells plan` makes them; of one above it, of the other
    share, whose exact upper limit shows that this one exceeds its limit. None where more than `MOST` more are needed.
    The power of exact plans rises in a saw-tooth: the n returned has it, and a slightly smaller one may.
    """
    from harness import power  # noqa: PLC0415 - brings scipy, which only undecided shares need

    # In terms of what must stay small: the failing share for a PASS, the other share for a FAIL.
    bad, most = (k / n, limit) if op == "at_most" else (1.0 - k / n, 1.0 - limit)
    if bad > most:
        bad, most = 1.0 - bad, 1.0 - most
    if not bad < most < 1.0:
        return None

    def decides(units: int) -> bool:
        allowed = power.allowed(units, most, confidence)
        return allowed is not None and power.passing(units, allowed, bad) >= POWER

    least, enough = n, n + 1
    while not decides(enough):
        if enough - n >= MOST:
            return None
        least, enough = enough, min(n + 2 * (enough - n), n + MOST)
    while enough - least > 1:
        middle = (least + enough) // 2
        least, enough = (least, middle) if decides(middle) else (middle, enough)
    return enough


def _resampled(found: Measurement, bound: Bound) -> int | None:
    """Return the units after which limits that shrink with the root of n decide with probability `POWER`.

    The one-sided limit lies z(confidence) standard errors from the value; it has to come nearer than the limit of the
    file, and z(power) standard errors are kept for chance. Spread among cue forms does not shrink with scenarios, so
    that this is the least.

    Source: the usual sample size for one mean, e.g. Chow, Shao and Wang 2008, chapter 3.
    """
    apart = abs(bound.value - found.value)
    # The limit on the side on which the file's lies.
    reach = found.high - found.value if found.value < bound.value else found.value - found.low
    sure, lucky = NormalDist().inv_cdf(bound.confidence), NormalDist().inv_cdf(POWER)
    if not (apart > 0.0 and reach > 0.0 and sure > 0.0):
        return None
    needed = found.n * (reach / apart * (1.0 + lucky / sure)) ** 2
    return math.ceil(needed) if needed <= found.n + MOST else None
