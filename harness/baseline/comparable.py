"""Which runs may be compared, and with what margins. Whatever differs besides the model is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from harness.errors import RecordError, UsageError
from harness.escape import line
from harness.record import disorder
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.record import ItemRecord, RunRecord

DELTA: Final[dict[str, float]] = {
    "share": 0.05, "nats": 0.5, "AUROC": 0.05, "probability": 0.02, "bits": 0.5, "parts": 0.0, "score": 0.05,
    "depth": 0.05, "1 - cos": 0.1,
}  # fmt: skip
"""Unit -> how much worse is still no regression, where nobody declares another one."""
WITHIN_ONE = frozenset({"share", "AUROC", "probability"})
"""Units in which nothing can get worse by 1 or more: such a delta would hold for every model."""
NAMED = 4
UNKNOWN = "unknown"
"""Dtype and the like of a model that was never opened."""

Key = tuple[str, str]
"""Suite and case."""


class BaselineError(RecordError):
    """Two runs that cannot be compared, or a run that cannot be a baseline."""

    kind = "baseline"


def margins_of(delta: Mapping[str, float] | None, confidence: float) -> dict[str, float]:
    """Return the margin of every unit that has one.

    Raises:
        UsageError: a margin or the confidence is no usable number.
    """
    for unit, number in (delta or {}).items():
        top = 1.0 if unit in WITHIN_ONE else math.inf
        if not 0.0 <= number < top:
            wanted = "of 0 or more, below 1" if unit in WITHIN_ONE else "of 0 or more"
            msg = f"--delta {number:g}{line(unit)}: no margin; expected a finite number {wanted}; e.g. 0.02share"
            raise UsageError(msg)
    if not 0.5 < confidence < 1.0:  # noqa: PLR2004 - at a half or below the limits cross
        msg = f"--confidence {confidence:g}: no confidence; expected a number between 0.5 and 1; e.g. 0.95"
        raise UsageError(msg)
    return {**DELTA, **(delta or {})}


def declared(margins: Mapping[str, float], delta: Mapping[str, float] | None, items: Sequence[ItemRecord]) -> None:
    """Refuse a unit without a margin, and a margin without a unit, as of a misspelt one.

    Raises:
        UsageError: either.
    """
    units = {item.bound.unit for item in items if item.bound is not None and item.verdict is not Verdict.INVALID}
    if missing := sorted(units - set(margins)):
        msg = (
            f"--delta: none for {', '.join(map(line, missing))}; expected one for each unit that is compared; add "
            f"--delta NUMBER{line(missing[0])}"
        )
        raise UsageError(msg)
    if items and (idle := sorted(set(delta or {}) - units)):
        has = ", ".join(map(line, sorted(units))) or "none"
        msg = f"--delta: nothing is measured in {line(idle[0])}; expected a unit of these runs ({has}); mend the unit"
        raise UsageError(msg)


def whole(record: RunRecord, which: str) -> None:
    """Refuse a record that cannot be compared at all.

    Args:
        record: Of a run.
        which: `baseline`, which must hold everything that was planned, or `new run`.

    Raises:
        BaselineError: it is torn, a certification, PARTIAL or empty.
    """
    where = f"{which} {line(record.run_id)}"
    if found := _unusable(record, which):
        raise _refuse(where, *found)


def _unusable(record: RunRecord, which: str) -> tuple[str, str, str] | None:
    """Return what is wrong, what was expected and what to do."""
    if found := disorder(record):
        return f"not a whole run: {line(found[0], 300)}", "a sealed one", "run the evals again"
    if record.certification is not None:
        return "a certification", "a run on a model", "run the evals with --model"
    if which == "baseline" and record.partial:
        return "PARTIAL", "a run of everything that was planned", "run the evals without -k, -m and the like"
    if not record.items:
        return "nothing was evaluated", "results", "run the evals with --model"
    return None


def by_case(record: RunRecord, which: str) -> dict[Key, ItemRecord]:
    """Return the items by suite and case: the model is what differs between two runs, so its name is no part of that.

    Raises:
        BaselineError: the run has several models.
    """
    found: dict[Key, ItemRecord] = {}
    for item in record.items:
        found[item.suite, item.case] = item
    if len(record.models) != 1 or len(found) != len(record.items):
        what = f"{len(record.models)} models, {len(record.items)} results of {len(found)} checks"
        where = f"{which} {line(record.run_id)}"
        raise _refuse(where, what, "one model and one result per check", "run each model alone")
    return found


def by_model(record: RunRecord, which: str) -> dict[str, dict[Key, ItemRecord]]:
    """Return the items by the SPEC of their model, and then by suite and case.

    Raises:
        BaselineError: an item is of no model of the run, or two of one model are of one check.
    """
    if len(record.models) == 1:
        return {record.models[0].spec: by_case(record, which)}
    where = f"{which} {line(record.run_id)}"
    found: dict[str, dict[Key, ItemRecord]] = {model.spec: {} for model in record.models}
    if len(found) != len(record.models):
        what = f"{len(record.models)} models under {len(found)} SPECs"
        raise _refuse(where, what, "a SPEC of its own for each", "run it again")
    for item in record.items:
        # Names of models need not differ; SPECs do, and the node id ends in one.
        specs = [spec for spec in found if item.node_id.endswith(f"::{item.case}[{spec}]")]
        if len(specs) != 1 or (item.suite, item.case) in found[specs[0]]:
            what = f"{line(item.node_id, 200)} is of no model of the run, or there twice"
            raise _refuse(where, what, "one result per check and model", "run it again")
        found[specs[0]][item.suite, item.case] = item
    return found


def pair_up(new: RunRecord, old: RunRecord) -> tuple[dict[str, dict[Key, ItemRecord]], dict[Key, ItemRecord]]:
    """Return the items of `new` by model and check, and those of `old` by check, if only models differ.

    Raises:
        BaselineError: more differs, or one cannot be compared at all.
    """
    whole(new, "new run")
    whole(old, "baseline")
    here, there = by_model(new, "new run"), by_case(old, "baseline")
    where = f"baseline {line(old.run_id)}"
    if new.digest == old.digest:
        raise _refuse(where, "it is the new run itself", "an earlier one", "name another file")
    _alike(new, old, where, "run the baseline's model again as the new one was run, and make that the baseline in a "
           "new file")  # fmt: skip
    return here, there


def side_by_side(records: Sequence[RunRecord]) -> None:
    """Refuse runs that cannot stand beside each other: they may differ in their models and in what was selected.

    Raises:
        BaselineError: one is torn, empty or a certification, is there twice, or was measured in another way.
    """
    for record in records:
        whole(record, "run")
    for place, record in enumerate(records):
        where = f"run {line(record.run_id)}"
        if any(record.digest == other.digest for other in records[:place]):
            raise _refuse(where, "it is named twice", "different runs", "name each file once")
        for other in records[:place]:
            _alike(other, record, where, "run the same evals in the same way on both")


def _alike(new: RunRecord, old: RunRecord, where: str, advice: str) -> None:
    here, there = by_model(new, "run"), by_model(old, "run")
    checks = [text for mine in here.values() for other in there.values() for text in _checks(mine, other)]
    if found := list(dict.fromkeys([*_settings(new, old), *_suites(new, old), *checks])):
        more = f", and {len(found) - NAMED} more such" if len(found) > NAMED else ""
        what = f"not comparable with run {line(new.run_id)}: {', '.join(found[:NAMED])}{more}"
        raise _refuse(where, what, "runs that differ in the model alone", advice)


def _refuse(where: str, what: str, wanted: str, advice: str) -> BaselineError:
    return BaselineError(f"{where}: {what}; expected {wanted}; {advice}")


SETTINGS: Final[dict[str, Callable[[RunRecord], object]]] = {
    "profile": lambda record: record.profile,
    "seeds": lambda record: dict(record.seeds),
    # Measures have no version of their own; their wording and their limits change with the package.
    "pytest-tells": lambda record: record.versions.get("pytest-tells"),
    "dtype": lambda record: _one(model.dtype for model in record.models),
    "numerics": lambda record: _one(model.numerics for model in record.models),
}
"""What must be the same in both runs, besides suites and checks."""


def _one(values: Iterable[str]) -> str:
    """Return what all models have; of models that differ all of it, which is equal to nothing of a single one."""
    found = sorted(set(values))
    return UNKNOWN if UNKNOWN in found else ", ".join(found)


def _settings(new: RunRecord, old: RunRecord) -> Iterable[str]:
    for name, read in SETTINGS.items():
        now, then = read(new), read(old)
        if now != then:
            yield f"{name} {line(str(then), 80)} there and {line(str(now), 80)} here"
        elif now == UNKNOWN:
            yield f"{name} is unknown in both"


def _suites(new: RunRecord, old: RunRecord) -> Iterable[str]:
    known = {suite.id: suite.digest for suite in old.suites}
    for suite in new.suites:
        # The digest of a suite is over its file and all data files that it uses.
        if known.get(suite.id, suite.digest) != suite.digest:
            yield f"suite {line(suite.id, 80)} or its data changed"


def _checks(here: Mapping[Key, ItemRecord], there: Mapping[Key, ItemRecord]) -> Iterable[str]:
    for key, item in here.items():
        if (other := there.get(key)) is None:
            continue
        name = line("::".join(key), 80)
        if item.check != other.check:
            yield f"{name} was a {line(other.check, 40)} and is a {line(item.check, 40)}"
        elif Verdict.INVALID in {item.verdict, other.verdict}:
            continue  # it has no numbers, and may have no bound; the comparison will be INVALID
        elif item.bound != other.bound:
            yield f"the bound of {name} changed"
        elif _measure(item) != _measure(other):
            yield f"{name} is measured in another way"


def _measure(item: ItemRecord) -> tuple[str, str, str] | None:
    found = item.measurements[0] if item.measurements else None
    return None if found is None else (found.name, found.unit, found.of)
