"""Every suite on every organism, and how well one number ranks planted models above controls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.certify.findings import FAIL, PASS, UNTOUCHED, unit_of
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.certify.findings import CaseFinding, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """How a case's number ranks planted models against controls; the unit is the base seed."""

    case: str
    auroc: float
    planted: int
    """Base seeds with a number on every planted model."""
    controls: int
    """Base seeds with a number on every control."""
    missing: int
    """Base seeds, of planted or of controls, on which some model gave no number."""
    p: float | None
    """Permutation p-value when every planted score lies above every control's, else None."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a receiver operating characteristic."""

    threshold: float
    """Scores at or above it are called planted."""
    sensitivity: float
    false_alarms: float
    """1 - specificity."""


def score(case: CaseFinding) -> float | None:
    """Return the judged number, turned so that more is worse; None where nothing was measured."""
    if case.measurement is None or case.bound is None:
        return None
    return case.measurement.value if case.bound.op == "at_most" else -case.measurement.value


def separations(findings: Iterable[Finding], cases: Sequence[str]) -> tuple[Separation, ...]:
    """Return the separation of every case that has a number on both sides, in the order of the file.

    Of the planted models on one base seed the lowest score counts, of the controls the highest: which makes a perfect
    ranking harder, and so keeps the p-value from claiming more than the seeds show.

    Source: Mann and Whitney 1947; at perfect separation p = 1 / C(n + m, n).
    """
    found = list(findings)
    every = [separation(found, case) for case in cases]
    return tuple(one for one in every if one is not None)


def separation(findings: Sequence[Finding], case: str) -> Separation | None:
    """Return the separation of one case; None where one side has no number at all."""
    from harness.stats import auroc  # noqa: PLC0415 - brings scipy, which collection does not need

    planted, lost = _scores([finding for finding in findings if finding.expected == FAIL], case)
    beside = [finding for finding in findings if finding.expected == PASS and finding.arm != UNTOUCHED]
    controls, gone = _scores(beside, case)
    if not planted or not controls:
        return None
    low, high = [min(values) for values in planted.values()], [max(values) for values in controls.values()]
    perfect = min(low) > max(high)
    return Separation(
        case=case, auroc=auroc(low, high), planted=len(low), controls=len(high), missing=lost + gone,
        p=1.0 / math.comb(len(low) + len(high), len(low)) if perfect else None,
    )  # fmt: skip


def roc(findings: Sequence[Finding], case: str) -> tuple[Point, ...]:
    """Return the points of the curve over all thresholds that occur, from the strictest on; empty without numbers.

    Every model counts by itself here, so the curve is descriptive: models that share a base seed are not independent.
    """
    planted, controls = (
        [
            value
            for finding in findings
            if finding.expected == side
            for value in _of_case(finding, case)
            if value is not None
        ]
        for side in (FAIL, PASS)
    )
    if not planted or not controls:
        return ()
    return tuple(
        Point(
            threshold=threshold,
            sensitivity=sum(value >= threshold for value in planted) / len(planted),
            false_alarms=sum(value >= threshold for value in controls) / len(controls),
        )
        for threshold in sorted({*planted, *controls}, reverse=True)
    )


def cross(findings: Iterable[Finding]) -> Mapping[str, Mapping[str, Finding]]:
    """Return suite -> organism and base -> finding on the planted model: one per cell, the lowest seed."""
    table: dict[str, dict[str, Finding]] = {}
    for finding in sorted(findings, key=lambda one: (one.suite, one.organism, one.base, one.seed)):
        if finding.arm == "planted":
            name = finding.organism if finding.base == "tiny" else f"{finding.organism}@{finding.base}"
            table.setdefault(finding.suite, {}).setdefault(name, finding)
    return table


def unexplained(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the FAILs on organisms that the suite does not claim to catch: findings to explain, no alarms."""
    return tuple(finding for finding in findings if not finding.expected and finding.verdict is Verdict.FAIL)


def _scores(findings: Sequence[Finding], case: str) -> tuple[dict[str, list[float]], int]:
    """Return the scores by base seed, and how many base seeds were left out because a model on them has none."""
    units: dict[str, list[float | None]] = {}
    for finding in findings:
        units.setdefault(unit_of(finding), []).extend(_of_case(finding, case))
    whole = {
        name: [value for value in values if value is not None]
        for name, values in units.items()
        if None not in values
    }  # fmt: skip
    return whole, len(units) - len(whole)


def _of_case(finding: Finding, case: str) -> list[float | None]:
    found = [score(one) for one in finding.cases if one.case == case]
    return [*found] if found else [None]
