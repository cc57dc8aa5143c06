"""`policy.yaml` and waiver files to frozen data: strict, with every problem at its line and column, all at once.

The route is that of case files: the loader's `reader` and `validate`, then what a schema cannot say.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from harness import canonical
from harness.errors import CaseFileError
from harness.loader.files import locate, read_inside
from harness.loader.reader import MAX_BYTES, read_yaml
from harness.loader.report import near, shown
from harness.loader.schema import expected_types
from harness.loader.validate import validate
from harness.policy.policy import DEFAULT, USUAL, Allowance, Certificates, Policy, rank
from harness.policy.waivers import DIGEST, Waiver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.errors import Problem
    from harness.loader.report import DataPath, Report
    from harness.loader.schema import SchemaName
    from harness.record import SuiteRecord

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _read(path: Path, root: Path, schema: SchemaName) -> tuple[Report, str]:
    """Return a document that was held against its schema, and the digest of the file.

    Raises:
        CaseFileError: it cannot be read as YAML at all, or lies outside `root`.
    """
    name, data = read_inside(path, root.resolve(), MAX_BYTES)
    report = read_yaml(data, name, lambda place: expected_types(schema, place), "version")
    validate(report, schema)
    return report, canonical.digest(data)


def parse_date(text: str) -> dt.date | None:
    """Return the day that `text` names as YYYY-MM-DD; None where it names none."""
    # The library also takes 20260101 and 2026-W01-4, which people read differently.
    if not _DATE.fullmatch(text):
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _check_date(report: Report, at: DataPath, text: object) -> None:
    """Add a problem to `report` where `text`, the value at `at`, is no day."""
    if isinstance(text, str) and parse_date(text) is None:
        report.add(at, f'{shown(text)} is no day; expected YYYY-MM-DD in quotes, such as "2026-03-31"')


def load_waivers(path: Path, root: Path) -> tuple[tuple[Waiver, ...], str]:
    """Return the waivers in the file `path`, and the digest of the file.

    Only the form is checked here; whether a waiver holds is asked when it is applied.

    Args:
        path: the file, below `root`.
        root: the project's root.

    Raises:
        CaseFileError: the file cannot be used; all its problems, each with line and column.
    """
    report, digest = _read(path, root, "waivers")
    entries = report.data.get("waivers") if isinstance(report.data, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        for key in ("written", "expires"):
            _check_date(report, ("waivers", index, key), entry.get(key))
        model = entry.get("model")
        if isinstance(model, str) and not DIGEST.fullmatch(model):
            advice = "copy `digest` of the model from run.json; a waiver holds for one model, and no pattern names it"
            report.add(("waivers", index, "model"), f"expected sha256: and 64 hexadecimal digits; {advice}")
    if report.problems:
        raise CaseFileError(report.problems)
    written = report.data["waivers"]
    return tuple(_waiver(report, index, entry) for index, entry in enumerate(written)), digest


def _waiver(report: Report, index: int, entry: dict[str, Any]) -> Waiver:
    row, column = report.place(("waivers", index))
    given: dict[str, Any] = entry | {key: dt.date.fromisoformat(entry[key]) for key in ("written", "expires")}
    return Waiver(**given, place=f"{report.path}:{row}:{column}")


def load_policy(path: Path, root: Path, suites: Sequence[SuiteRecord] = ()) -> Policy:
    """Return the policy in the file `path`, with the waivers that it names.

    Args:
        path: the file, below `root`; waiver files are looked up beside it and below.
        root: the project's root.
        suites: what the run holds, where it is known: then severities are held against it.

    Raises:
        CaseFileError: the policy or a waiver file cannot be used; all problems, each with line and column.
    """
    report, digest = _read(path, root, "policy")
    if isinstance(report.data, dict):
        _budgets(report)
        _effects(report)
        _severities(report, {suite.id: suite for suite in suites})
    waivers, digests = _waivers(report, path.resolve().parent, root)
    if report.problems:
        raise CaseFileError(report.problems)
    return _policy(report, waivers, canonical.digest([digest, digests]))


def _policy(report: Report, waivers: tuple[Waiver, ...], digest: str) -> Policy:
    raw: dict[str, Any] = report.data
    budgets = {
        name: {severity: Allowance(**allowed) for severity, allowed in given.items()}
        for name, given in raw.get("budgets", {}).items()
    }
    asked = raw.get("certificate")
    return Policy(
        effects=raw.get("effects", {}), require=tuple(raw.get("require", ())),
        invalid=budgets.get("invalid", {}), inconclusive=budgets.get("inconclusive", {}),
        certificate=Certificates(**asked) if asked else None,
        severities=raw.get("severities", {}), waivers=waivers, path=report.path, digest=digest,
    )  # fmt: skip


def _mapping(report: Report, *path: str) -> dict[str, Any]:
    """Return the mapping at `path`, empty where there is none or the schema has said what is wrong with it."""
    found = report.data
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and report.clean(*path) else {}


def _effects(report: Report) -> None:
    for mode, given in _mapping(report, "effects").items():
        if given.get("critical", "block") != "block":
            advice = "write block, or take it out; a known failure is excused by a waiver"
            report.add(("effects", mode, "critical"), f"a critical failure always blocks; {advice}")


def _budgets(report: Report) -> None:
    effects = _mapping(report, "effects")
    for severity, allowed in _mapping(report, "budgets", "invalid").items():
        if _allows(allowed) and _reach(effects, severity) == {"block"}:
            message = (
                f"every {severity} check blocks, and a blocking check that could not be measured breaks any run; "
                f"write 0, or let {severity} warn or report"
            )
            report.add(("budgets", "invalid", severity), message)
    for severity, allowed in _mapping(report, "budgets", "inconclusive").items():
        if _allows(allowed) and "block" not in _reach(effects, severity):
            message = f"no {severity} check blocks, so that this allows nothing; take it out, or let {severity} block"
            report.add(("budgets", "inconclusive", severity), message)


def _allows(allowed: Mapping[str, Any]) -> bool:
    return any(value > 0 for value in allowed.values())


def _reach(effects: Mapping[str, Mapping[str, str]], severity: str) -> set[str]:
    """Return every effect that a severity has under some failure mode."""
    common = effects.get(DEFAULT, {}).get(severity, USUAL[severity])
    return {common, *(own.get(severity, common) for own in effects.values())}


def _severities(report: Report, suites: Mapping[str, SuiteRecord]) -> None:
    for name, raised in _mapping(report, "severities").items():
        suite_id, colons, case = name.partition("::")
        at = ("severities", name)
        if not suite_id or (colons and not case) or "*" in name:
            report.add(at, f"{shown(name)} is no name; expected SUITE or SUITE::CASE, without a pattern", key=True)
        elif (suite := suites.get(suite_id)) is None:
            continue  # a suite that this run does not have; the gate says so
        elif colons and case not in (cases := {one.id for one in suite.cases}):
            report.add(at, f"suite {suite_id} has no case {shown(case)}; {near(case, cases)}", key=True)
        elif rank(raised) > rank(suite.severity):
            message = f"{raised} is lower than {suite.severity}, which the suite says; a policy only raises severities"
            report.add(at, f"{message}; take it out, or mend the suite")


def _waivers(report: Report, folder: Path, root: Path) -> tuple[tuple[Waiver, ...], dict[str, str]]:
    named = report.data.get("waivers") if isinstance(report.data, dict) else None
    found: list[Waiver] = []
    digests: dict[str, str] = {}
    problems: list[Problem] = []
    for index, name in enumerate(named if isinstance(named, list) and report.clean("waivers") else ()):
        path = locate(report, ("waivers", index), name, folder)
        if path is None:
            continue
        try:
            waivers, digests[name] = load_waivers(path, root)
            found += waivers
        except CaseFileError as error:
            problems += error.problems
    if problems:
        raise CaseFileError((*report.problems, *problems))
    return tuple(found), digests
