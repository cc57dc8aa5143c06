"""One check in two runs: paired by scenario, or by the limits of both.

Checks that keep a value per scenario are paired by scenario, see `harness.paired`. Of the others the limits of the two
runs are subtracted: the worsening lies in [low - high', high - low']. Of estimates that are roughly normal this holds
at the confidence of the limits under any correlation, since z (s + s') is at least z times the standard error of the
difference; without that assumption at twice the error. It is wide.

Scenarios that a run could not measure have no value of their own. They are imputed at their worst, bad now and good
before, and where that alone decides, the comparison is INVALID.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from harness import gate
from harness.baseline.compared import ItemComparison
from harness.canonical import derive_seed
from harness.errors import MeasureError
from harness.escape import line
from harness.stats import NUMERIC_BAND, Interval
from harness.verdict import Bound, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.baseline.compared import State
    from harness.paired import Paired
    from harness.record import ItemRecord

CONFIDENCE = 0.95
LEAST_SHARED = 0.9
"""Share of the scenarios of either run that both must have measured."""
SIGNED = frozenset({"condition_gap", "faithfulness_gap", "hidden_rank"})
"""Checks in shares whose scenarios reach from -1 to 1; those of the others from 0."""
AGREEMENT = 1e-5
"""Relative: values are kept with six digits."""


def compare_item(
    new: ItemRecord, old: ItemRecord | None, margins: Mapping[str, float], confidence: float
) -> ItemComparison:  # fmt: skip
    """Compare one check; whatever keeps it from being compared makes it INVALID."""
    blank = ItemComparison(
        suite=new.suite, case=new.case, node_id=new.node_id, blocking=gate.blocks(new), verdict=None, state="new",
        unit=new.bound.unit if new.bound else "", new=_value(new), cause="the baseline has no such check",
        failure_mode=new.failure_mode, now=new.verdict,
    )  # fmt: skip
    if old is None:
        return blank
    blank = dataclasses.replace(
        blank, blocking=gate.blocks(new) or gate.blocks(old), old=_value(old), was=old.verdict, cause="",
    )  # fmt: skip
    try:
        found = _judged(blank, new, old, margins, confidence)
    except MeasureError as error:
        found = dataclasses.replace(blank, verdict=Verdict.INVALID, cause=str(error))
    return dataclasses.replace(found, state=_state(new, old, found.difference))


def gone(old: ItemRecord) -> ItemComparison:
    """Return the comparison of a check that the new run does not have."""
    return ItemComparison(
        suite=old.suite, case=old.case, node_id=old.node_id, blocking=gate.blocks(old), verdict=Verdict.INVALID,
        unit=old.bound.unit if old.bound else "", cause="the new run has no such check", state="absent",
        old=_value(old), failure_mode=old.failure_mode, was=old.verdict,
    )  # fmt: skip


def adjusted(items: Sequence[ItemComparison]) -> tuple[ItemComparison, ...]:
    """Return `items` with p adjusted over the blocking ones: a list of findings, which decides no verdict."""
    from harness.paired import holm  # noqa: PLC0415 - lazy, like all that measures

    tested = {at: item.p for at, item in enumerate(items) if item.blocking and item.p is not None}
    known = dict(zip(tested, holm(list(tested.values())), strict=True))
    return tuple(dataclasses.replace(item, p_holm=known.get(at)) for at, item in enumerate(items))


def looser(new: ItemRecord | None, old: ItemRecord, margins: Mapping[str, float]) -> Iterable[str]:
    """Yield why `new` would be a looser baseline of this check than `old`."""
    name = line(f"{old.suite}::{old.case}", 120)
    if new is None:
        yield f"{name}: it would be gone"
    elif new.bound is None or not new.measurements:
        yield f"{name}: it was not measured"
    elif old.measurements:
        now, then, delta = new.measurements[0], old.measurements[0], margins[new.bound.unit]
        above = new.bound.op == "at_most"
        end, start = (now.high, then.high) if above else (now.low, then.low)
        worse = end - start if above else start - end
        if not worse <= delta:
            moved = f"its limit goes from {start:.4g} to {end:.4g} {line(now.unit, 20)}"
            yield f"{name}: {moved}, worse by {worse:.4g}; {delta:g} is allowed"


def _value(item: ItemRecord) -> float | None:
    return item.measurements[0].value if item.measurements else None


def _state(new: ItemRecord, old: ItemRecord, difference: Interval | None) -> State:
    if old.verdict.green and not new.verdict.green:
        return "new"
    if difference is None:
        return "unchanged" if new.verdict is old.verdict is Verdict.INVALID else "updated"
    same = new.verdict is old.verdict and difference.low <= 0.0 <= difference.high
    return "unchanged" if same else "updated"


def _judged(
    blank: ItemComparison, new: ItemRecord, old: ItemRecord, margins: Mapping[str, float], confidence: float
) -> ItemComparison:  # fmt: skip
    bound = new.bound
    if bound is None or old.bound is None or Verdict.INVALID in {new.verdict, old.verdict} or not old.measurements:
        which = "new run" if bound is None or new.verdict is Verdict.INVALID else "baseline"
        msg = f"the {which} could not measure it"
        raise MeasureError(msg)
    delta = margins[bound.unit]
    if new.scenarios is None and old.scenarios is None:
        difference = _subtracted(new, old, bound, confidence)
        limit = Bound(op="at_most", value=delta, unit=bound.unit, confidence=confidence)
        found = dataclasses.replace(blank, n=new.measurements[0].n, difference=difference, delta=delta)
        return _with_verdict(found, limit.judge(difference.low, difference.high))
    seed = derive_seed(0, blank.suite, blank.case, "baseline") % 2**31
    result, n = _by_scenario(new, old, delta=delta, confidence=confidence, seed=seed)
    found = dataclasses.replace(blank, paired=True, n=n, difference=result.difference, delta=delta, p=result.p)
    return _with_verdict(found, result.verdict)


def _with_verdict(item: ItemComparison, verdict: Verdict) -> ItemComparison:
    cause, found = "", item.difference
    if found is not None and verdict is Verdict.FAIL:
        cause = f"worse by {found.low:.4g} {item.unit} at least; {item.delta:g} is allowed"
    elif found is not None and verdict is Verdict.INCONCLUSIVE:
        cause = f"worse by [{found.low:.4g}, {found.high:.4g}] {item.unit} spans {item.delta:g}: too little data"
    return dataclasses.replace(item, verdict=verdict, cause=cause)


def _subtracted(new: ItemRecord, old: ItemRecord, bound: Bound, confidence: float) -> Interval:
    if confidence > bound.confidence:
        msg = f"its limits hold at {bound.confidence:g}, and it has no values per scenario to compare at {confidence:g}"
        raise MeasureError(msg)
    now, then = new.measurements[0], old.measurements[0]
    more, less = (now, then) if bound.op == "at_most" else (then, now)
    return Interval(value=more.value - less.value, low=more.low - less.high, high=more.high - less.low)


def _by_scenario(
    new: ItemRecord, old: ItemRecord, *, delta: float, confidence: float, seed: int
) -> tuple[Paired, int]:  # fmt: skip
    """Return the comparison over the scenarios of both runs, and their number.

    Raises:
        MeasureError: too few are shared, values and judged number disagree, the unmeasured alone decide, or as
            `noninferiority`.
    """
    from harness.paired import noninferiority  # noqa: PLC0415 - lazy, like all that measures

    unmeasured = _unmeasured(new, "new run") + _unmeasured(old, "baseline")
    mine, theirs = new.scenarios or {}, old.scenarios or {}
    shared, either = sorted(set(mine) & set(theirs)), set(mine) | set(theirs)
    if len(shared) < LEAST_SHARED * len(either):
        msg = f"{len(shared)} of {len(either)} scenarios are in both runs; {LEAST_SHARED:.0%} must be"
        raise MeasureError(msg)
    band = NUMERIC_BAND if new.measurements[0].unit == "nats" else 0.0

    def judged(imputed: int) -> Paired:
        now = [*(mine[name] for name in shared), *[1.0] * imputed]
        then = [*(theirs[name] for name in shared), *[_best(new)] * imputed]
        return noninferiority(now, then, delta=delta, confidence=confidence, seed=seed, band=band)

    result = judged(0)
    worst = judged(unmeasured) if unmeasured else result
    if worst.verdict is not result.verdict:
        msg = f"the {unmeasured} unmeasured scenarios alone decide: {result.verdict} without, {worst.verdict} with them"
        raise MeasureError(msg)
    return worst, len(shared)


def _best(item: ItemRecord) -> float:
    """Return the best that a scenario of a share can be."""
    return -1.0 if item.check in SIGNED else 0.0


def _unmeasured(item: ItemRecord, which: str) -> int:
    """Return how many scenarios of the judged number have no value of their own.

    Raises:
        MeasureError: values and judged number disagree, or there is no worst case to impute.
    """
    if item.scenarios is None:
        msg = f"the {which} kept no values per scenario; record it again with this version"
        raise MeasureError(msg)
    judged, values = item.measurements[0], item.scenarios.values()
    missing, share = judged.n - len(values), judged.unit == "share"
    if missing < 0 or (missing and not share):
        msg = f"the {which} has {len(values)} values for {judged.n} scenarios"
        raise MeasureError(msg)
    if share and not all(_best(item) <= value <= 1.0 for value in values):
        msg = f"the {which} has a scenario whose share is none"
        raise MeasureError(msg)
    wanted = judged.value
    if item.bound is not None and item.bound.op == "at_least":
        wanted = 1.0 - wanted if share else -wanted
    if not missing and not abs(math.fsum(values) / len(values) - wanted) <= AGREEMENT * max(1.0, *map(abs, values)):
        msg = f"the {which} judged {judged.value:.6g}, which is not the mean of its scenarios"
        raise MeasureError(msg)
    return missing
