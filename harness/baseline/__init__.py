"""Baselines: is a model worse than an earlier release, check by check, and by how much at most?

The baseline is the record of an earlier run. Two runs are compared only where they measured the same: the same suites
and data, bounds, package version, dtype, numerics, profile and seeds; the model is what differs. Each check is judged
by non-inferiority with a declared margin, `delta`, in the unit of its bound: FAIL when the one-sided lower limit of the
worsening exceeds delta, PASS when the upper limit does not, else INCONCLUSIVE. See `harness.baseline.judged`.

A comparison says nothing of the limits themselves: that is what the gate does.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness import gate
from harness.baseline.comparable import BaselineError, by_case, declared, margins_of, pair_up, whole
from harness.baseline.compared import Comparison, ItemComparison, Side, told
from harness.baseline.judged import CONFIDENCE, adjusted, compare_item, gone, looser
from harness.console import PLAIN, Look
from harness.errors import TellsError
from harness.escape import line
from harness.record_file import read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.record import RunRecord

__all__ = [
    "BaselineError", "Comparison", "ItemComparison", "Side", "against", "beside", "compare", "loosened", "opened",
    "said", "told", "update",
]  # fmt: skip


def compare(
    new: RunRecord, old: RunRecord, *, delta: Mapping[str, float] | None = None, confidence: float = CONFIDENCE
) -> Comparison:  # fmt: skip
    """Compare `new` with the baseline `old`, whose model is another one.

    Args:
        new: A whole run; each of its models is compared, and what one does not hold of the baseline is INVALID.
        old: The baseline, a whole run of everything that was planned, on one model.
        delta: Unit -> the worsening that is still no regression; units that it leaves out have `comparable.DELTA`.
        confidence: Of each one-sided limit.

    Raises:
        BaselineError: a run is torn or a certification, the baseline is PARTIAL or of several models; or they differ
            in what makes numbers comparable.
        UsageError: delta or confidence is no usable number, or a unit has no delta.
    """
    margins = margins_of(delta, confidence)
    here, there = pair_up(new, old)
    declared(margins, delta, [item for mine in here.values() for key, item in mine.items() if key in there])
    items = []
    for model, mine in zip(names_of(new), here.values(), strict=True):
        found = [compare_item(item, there.get(key), margins, confidence) for key, item in mine.items()]
        found += [gone(item) for key, item in there.items() if key not in mine]
        items += [dataclasses.replace(item, model=model) for item in found]
    return Comparison(new=_side(new), old=_side(old), confidence=confidence, items=adjusted(items))


def opened(path: Path) -> RunRecord:
    """Return the record in `path`, if it can be a baseline.

    Raises:
        RecordError: it is torn, PARTIAL, of several models or a certification.
    """
    old = read_record(path)
    whole(old, "baseline")
    by_case(old, "baseline")
    return old


def beside(run: RunRecord, path: Path, *, delta: Mapping[str, float] | None = None) -> Comparison | str:
    """Return `run` beside the baseline in `path`, or in words why that cannot be; raises nothing.

    A run that cannot be compared has reports all the same, and one without a comparison is no pass.
    """
    try:
        return compare(run, opened(path), delta=delta)
    except TellsError as error:
        return line(str(error))
    except Exception as error:  # noqa: BLE001 - a bug in the comparison must not cost the reports
        return f"the comparison broke: {type(error).__name__}: {line(str(error))}"


def said(found: Comparison | str, look: Look = PLAIN) -> tuple[str, int]:
    """Return what to say of a comparison, and the exit code."""
    if isinstance(found, str):
        return f"no comparison with the baseline: {found}", gate.BROKEN
    return told(found, look), found.code


def against(run: RunRecord, path: Path, *, delta: Mapping[str, float] | None = None) -> tuple[str, int]:
    """Return what to say of `run` beside the baseline in `path`, and the exit code; raises nothing of the project's."""
    return said(beside(run, path, delta=delta))


def loosened(new: RunRecord, old: RunRecord, *, delta: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Return why `new` would be a looser baseline than `old`: checks gone, or limits worse by more than delta.

    Raises:
        BaselineError, UsageError: as `compare`.
    """
    margins = margins_of(delta, CONFIDENCE)
    by_case(new, "new run")
    (here,), there = pair_up(new, old)[0].values(), by_case(old, "baseline")
    declared(margins, delta, [item for key, item in here.items() if key in there])
    return tuple(text for key, item in there.items() for text in looser(here.get(key), item, margins))


def update(new: RunRecord, target: Path, *, delta: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Make `new` the baseline in `target` and return nothing; or return why it would loosen it, and leave it alone.

    Raises:
        BaselineError: `new` is not green by the gate or cannot be a baseline, or cannot be compared with the one there.
        RecordError: the file there cannot be read, or not be written.
    """
    whole(new, "baseline")
    by_case(new, "baseline")
    if new.shown:
        msg = (
            f"new run {line(new.run_id)}: it shows restricted text, and baselines are committed; expected "
            "one that does not; run the evals again without --show-restricted"
        )
        raise BaselineError(msg)
    result = gate.judge_run(new)
    if result.code != gate.PASS:
        msg = (
            f"new run {line(new.run_id)}: {result.word} ({line(result.reasons[0], 300)}); expected a run that the gate "
            "passes; a baseline records what a release achieved, mend the model or keep the old baseline"
        )
        raise BaselineError(msg)
    if target.exists():
        old = opened(target)
        if old.digest == new.digest:
            return ()
        if found := loosened(new, old, delta=delta):
            return found
    write_record(target, new)
    return ()


def names_of(record: RunRecord) -> tuple[str, ...]:
    """Return what tells the models of a run apart: nothing of one alone, else names, or SPECs where names agree."""
    if len(record.models) == 1:
        return ("",)
    names = [model.name for model in record.models]
    return tuple(names if len(set(names)) == len(names) else [model.spec for model in record.models])


def _side(record: RunRecord) -> Side:
    names, digests = ([getattr(model, field) for model in record.models] for field in ("name", "digest"))
    return Side(run_id=record.run_id, model=", ".join(names), model_digest=", ".join(digests), digest=record.digest)
