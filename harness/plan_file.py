"""What a run set out to do, written and sealed before anything is asked: `plan.json` beside `run.json`.

A process that dies, or a file that is cut, leaves fewer results than were planned. A record cannot tell what it never
held; the plan can. `tells verdict` needs both, and every difference shuts the gate.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from harness import canonical
from harness.certify.certificate import checks_of
from harness.errors import RecordError
from harness.record import REWRITE
from harness.record_file import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.case import Suite
    from harness.record import ItemRecord, RunRecord

NAME = "plan.json"
SCHEMA = "tells-plan/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSuite:
    """One suite as it was about to be asked."""

    id: str
    path: str
    digest: str
    """Of the file and of every data file that it draws on."""
    candidates: tuple[str, ...]
    """Ids of all scenarios, before any is screened out."""
    checks: tuple[Mapping[str, Any], ...]
    """`case`, `kind`, and limit, unit and confidence where it has them; parts of joint cases one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """Everything that was to be evaluated. `sealed` gives it its digest."""

    schema: str = SCHEMA
    run_id: str
    written: str
    """ISO 8601 with offset; before the first request."""
    models: tuple[str, ...]
    """SPECs; none where suites are certified."""
    twin: str
    """SPEC, empty without one."""
    profile: str
    seeds: Mapping[str, int]
    required: tuple[str, ...]
    """Ids of the suites that the policy wants."""
    suites: tuple[PlannedSuite, ...]
    planned: tuple[str, ...]
    """Node ids of everything collected."""
    selected: tuple[str, ...]
    """Node ids that the run set out to evaluate."""
    digest: str = ""


def suite_of(suite: Suite) -> PlannedSuite:
    """Return what a plan says of a suite."""
    return PlannedSuite(
        id=suite.id, path=suite.path, digest=suite.digest, candidates=tuple(item.id for item in suite.items),
        checks=tuple(checks_of(suite)),
    )  # fmt: skip


def sealed(plan: PlanRecord) -> PlanRecord:
    """Return `plan` as it will be read back, with its digest.

    Raises:
        RecordError: it holds NaN or infinity.
    """
    try:
        data = json.loads(json.dumps(asdict(plan), allow_nan=False))
    except ValueError as error:
        msg = f"plan of run {plan.run_id}: {error}; expected finite numbers only; mend the bound that is none"
        raise RecordError(msg) from error
    return replace(_from_json(data), digest=_seal(data))


def write(folder: Path, plan: PlanRecord) -> None:
    """Write a sealed plan so that the folder holds all of it or none.

    Raises:
        RecordError: it is not sealed, or the file system refuses.
    """
    data = asdict(plan)
    if not plan.digest or plan.digest != _seal(data):
        msg = f"{folder / NAME}: the plan is not sealed; expected its digest; call `sealed` before writing"
        raise RecordError(msg)
    write_atomic(folder / NAME, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> PlanRecord:
    """Return the plan in `path`, verified by its version, shape and seal.

    Raises:
        RecordError: anything of that does not hold.
    """
    try:
        return _verified(json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError, RecordError) as error:
        what = (
            str(error) if isinstance(error, RecordError | OSError | ValueError) else f"{type(error).__name__}: {error}"
        )
        msg = f"{path}: cannot be read as the plan of a run ({what}); expected {NAME} as the run wrote it; {REWRITE}"
        raise RecordError(msg) from error


def _verified(data: Any) -> PlanRecord:
    version = data.get("schema")
    if version != SCHEMA:
        msg = f"it has version {version!r}, and this reads {SCHEMA!r}"
        raise RecordError(msg)
    if data.get("digest") != _seal(data):
        msg = "the content does not match its digest"
        raise RecordError(msg)
    return _from_json(data)


def faults(path: Path, record: RunRecord) -> tuple[str, ...]:
    """Return why the record in `path` is not what its run set out to do; empty where it is, or never said.

    The plan lies beside the record. One that is missing, cannot be read or is another one is a fault.
    """
    if record.plan is None:
        return ()
    place = path.with_name(NAME)
    try:
        plan = read(place)
    except RecordError as error:
        return (str(error),)
    if plan.digest != record.plan:
        return (f"{place}: it is the plan of another run; expected {record.plan}; {REWRITE}",)
    return differences(plan, record)


def differences(plan: PlanRecord, record: RunRecord) -> tuple[str, ...]:
    """Return everything in which a record is not what was planned; empty where they agree."""
    return tuple(_differences(plan, record))


def _differences(plan: PlanRecord, record: RunRecord) -> Iterator[str]:
    if record.run_id != plan.run_id:
        yield f"the plan is of run {plan.run_id}, the record of run {record.run_id}"
    certifies = record.certification is not None
    specs = () if certifies else tuple(model.spec for model in record.models)
    twin = record.twin.spec if record.twin else ""
    for name, before, now in (
        ("models", plan.models, specs), ("twin", plan.twin, twin), ("profile", plan.profile, record.profile),
        ("seeds", dict(plan.seeds), dict(record.seeds)),
    ):  # fmt: skip
        if before != now:
            yield f"{name} were planned as {before!r} and are {now!r}"
    for name, wanted, found in (
        ("planned", plan.planned, record.planned), ("selected", plan.selected, record.selected)
    ):  # fmt: skip
        yield from _sets(name, wanted, found)
    suites = {suite.id: suite.digest for suite in record.suites}
    yield from _sets("suite", [suite.id for suite in plan.suites], list(suites))
    for name in plan.required:
        if name not in suites:
            yield f"suite {name} was required by the policy of the run, and is not in the record"
    for suite in plan.suites:
        if suites.get(suite.id, suite.digest) != suite.digest:
            yield f"suite {suite.id} was changed while the run went on"
    yield from _of_items(plan, record.items)


def _of_items(plan: PlanRecord, items: Iterable[ItemRecord]) -> Iterator[str]:
    known = {suite.id: (frozenset(suite.candidates), _first_checks(suite)) for suite in plan.suites}
    for item in items:
        if item.suite in known:
            yield from _of_item(item, *known[item.suite])


def _first_checks(suite: PlannedSuite) -> dict[str, Mapping[str, Any]]:
    """Return what is checked by case: a case stands before its parts."""
    found: dict[str, Mapping[str, Any]] = {}
    for check in suite.checks:
        found.setdefault(str(check.get("case")), check)
    return found


def _sets(name: str, wanted: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    before, now = set(wanted), set(found)
    yield from (f"{one} was {name} before the run and is not in the record" for one in sorted(before - now))
    yield from (f"{one} is {name} in the record and was not before the run" for one in sorted(now - before))


def _of_item(
    item: ItemRecord, candidates: frozenset[str], checks: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:  # fmt: skip
    if item.screening is not None and not candidates.issuperset(item.screening.candidates):
        yield f"{item.node_id}: it screened scenarios that were no candidates"
    check = checks.get(item.case)
    if check is None or check.get("kind") != item.check:
        yield f"{item.node_id}: its check is not the planned one"
    elif item.bound is not None and check.get(item.bound.op, item.bound.value) != item.bound.value:
        yield f"{item.node_id}: its bound {item.bound.value:g} is not the planned {check[item.bound.op]:g}"


def _from_json(data: Mapping[str, Any]) -> PlanRecord:
    names = ("id", "path", "digest")
    suites = tuple(
        PlannedSuite(
            **{name: str(suite[name]) for name in names}, candidates=_names(suite["candidates"]),
            checks=tuple(dict(check) for check in suite["checks"]),
        )
        for suite in data["suites"]
    )  # fmt: skip
    fields: dict[str, Any] = {name: _names(data[name]) for name in ("models", "required", "planned", "selected")}
    fields |= {name: str(data[name]) for name in ("schema", "run_id", "written", "twin", "profile", "digest")}
    seeds = {str(name): int(seed) for name, seed in data["seeds"].items()}
    return PlanRecord(**fields, seeds=seeds, suites=suites)


def _names(found: Sequence[str]) -> tuple[str, ...]:
    if isinstance(found, str) or not all(isinstance(one, str) for one in found):
        msg = f"a list of names is {type(found).__name__}"
        raise TypeError(msg)
    return tuple(found)


def _refuse(word: str) -> Any:
    msg = f"it holds {word}, which is no number"
    raise ValueError(msg)


def _seal(data: Mapping[str, Any]) -> str:
    # Through JSON: tuples are lists there, and what is read back is what was sealed.
    whole = json.loads(json.dumps({name: value for name, value in data.items() if name != "digest"}))
    return canonical.digest(whole)
