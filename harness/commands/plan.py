"""`tells plan`: how many scenarios the bounds of suites need, how often a good model keeps them, and what a run costs.

The table is arithmetic on the case files and opens no model. With `--model` pytest's own `--plan` says what a run would
ask of it, in requests, tokens and minutes; that reads a tokenizer and no weights.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import gate, power
from harness.case import COMPOSITE
from harness.commands.places import case_files, root_of
from harness.errors import UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from harness.case import Case, Suite

ABOUT = "show how many scenarios bounds need, with what power, and what a run would ask and cost; loads no weights"
DEFAULT_CONFIDENCE = 0.95
FAILURES = (0, 1, 2, 3)
"""Allowed failures for which the scenarios needed are shown."""
PARTS = {"half": 0.5, "a tenth": 0.1}
"""True rates at which power is shown, as parts of the limit."""
JOINT = 0.9
"""Probability of all checks passing together that a plan is made for."""
HEADERS = ("check", "severity", "failing at most", "confidence", "planned", "may fail",
           *(f"n for {c}" for c in FAILURES), *(f"passes at {name}" for name in PARTS), "at limit")  # fmt: skip
EXPLAINED = (
    "failing at most: the limit as a share of scenarios that fail; planned: scenarios of the file, in brackets those "
    "that screening leaves at least, and what follows for them; may fail: scenarios that may fail in a PASS; n for c: "
    "scenarios needed if c may fail; passes at half, at a tenth, at limit: probability of PASS at such a true rate."
)
GROUPS = {"critical": ("critical",), "critical and high": ("critical", "high")}
PYTEST_USAGE, PYTEST_NOTHING = 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """A check that bounds a share of scenarios."""

    name: str
    limit: float
    """Share of scenarios that may fail."""
    confidence: float
    planned: int
    least: int | None
    """Scenarios that screening leaves at least; None where nothing is screened."""

    def passes(self, part: float, n: int | None = None) -> float:
        """Return the probability of PASS at a true rate of `part` of the limit; 0 where the plan cannot pass."""
        count = self.planned if n is None else n
        most = power.allowed(count, self.limit, self.confidence)
        return 0.0 if most is None else power.passing(count, most, self.limit * part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case as far as it bounds shares."""

    severity: str
    kind: str
    checks: tuple[Rated, ...]
    """Of the case, or of its parts; not empty."""

    def passes(self, part: float) -> float:
        """Return the probability that what is known of the case passes: a `jointly` case does when any part does."""
        each = [check.passes(part) for check in self.checks]
        return max(each) if self.kind == "jointly" else math.prod(each)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes; unknown options go to pytest."""
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="case files, folders or node ids, e.g. evals")
    add("--model", action="append", default=[], metavar="SPEC", help="also say what a run on it costs; repeatable")
    add("--limit", type=float, metavar="SHARE", help="plan for this share of failing scenarios instead of the files'")
    add("--confidence", type=float, metavar="C", help="plan for this confidence instead of the files'")


def run(options: argparse.Namespace) -> int:
    """Print the table, and with models the cost of a run; return the gate's exit code.

    Raises:
        CaseFileError: a case file is broken.
        UsageError: a path that is none, or a limit or confidence that no plan can have.
    """
    _check(options)
    if not options.model and options.pytest_arguments:
        msg = f"{options.pytest_arguments[0]}: an option for pytest, which runs only with a model; name one by --model"
        raise UsageError(msg)
    suites, wanted = _suites(options.paths)
    found, others = collect(suites, wanted, limit=options.limit, confidence=options.confidence)
    for text in report(found, others):
        _say(text)
    if not options.model:
        _say("cost: name a model with --model SPEC for requests, tokens and minutes")
        return gate.PASS
    models = [word for spec in options.model for word in ("--model", spec)]
    sys.stdout.flush()
    # In a process of its own: pytest warns of plugins that were loaded before it, and a project may forbid warnings.
    command = [sys.executable, "-m", "pytest", *options.paths, *models, "--plan", *options.pytest_arguments]
    code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own interpreter
    # pytest's numbers mean other things: its 4 is a usage error, and 4 here is INCONCLUSIVE.
    return {0: gate.PASS, PYTEST_USAGE: gate.USAGE, PYTEST_NOTHING: gate.NOTHING}.get(code, gate.BROKEN)


def _check(options: argparse.Namespace) -> None:
    if options.limit is not None and not 0.0 < options.limit < 1.0:
        msg = f"--limit {options.limit}: no plan can show it; expected a share between 0 and 1; write 0.01 for 1 %"
        raise UsageError(msg)
    if options.confidence is not None and not 0.5 < options.confidence < 1.0:  # noqa: PLR2004 - below, limits cross
        msg = f"--confidence {options.confidence}: expected a number between 0.5 and 1; write 0.95 for 95 %"
        raise UsageError(msg)


def _suites(paths: Sequence[str]) -> tuple[list[Suite], set[tuple[str, str]]]:
    """Return the suites of paths, and of node ids the cases that they name: (path of the suite, case)."""
    from harness.loader import load_suite  # noqa: PLC0415 - brings YAML and the schema validator
    from harness.organisms.spec import names  # noqa: PLC0415 - as above

    split = [path.partition("::") for path in paths]
    suites = {file: load_suite(file, root_of(file), names()) for file in case_files([Path(file) for file, *_ in split])}
    wanted: set[tuple[str, str]] = set()
    for name, _, case in split:
        for file in case_files([Path(name)]):
            ids = [case.partition("[")[0]] if case else [one.id for one in suites[file].cases]
            wanted |= {(suites[file].path, each) for each in ids}
    known = {(suite.path, case.id) for suite in suites.values() for case in suite.cases}
    if missing := sorted(wanted - known):
        msg = f"{missing[0][0]}::{missing[0][1]}: no such case in this file; expected the id of one; mend the name"
        raise UsageError(msg)
    return list(suites.values()), wanted


def collect(
    suites: Iterable[Suite], wanted: set[tuple[str, str]] | None = None, *, limit: float | None = None,
    confidence: float | None = None,
) -> tuple[list[Asked], Counter[str]]:  # fmt: skip
    """Return the cases that bound shares of scenarios, and how many checks of other kinds there are.

    Args:
        suites: Loaded suites.
        wanted: Cases to look at, as (path of the suite, id); None: all.
        limit: Share of failing scenarios to plan for instead of the files'.
        confidence: The same for the confidence.
    """
    found: list[Asked] = []
    others: Counter[str] = Counter()
    for suite in suites:
        for case in suite.cases:
            if wanted is not None and (suite.path, case.id) not in wanted:
                continue
            rated = []
            for one in case.parts if case.check.kind in COMPOSITE else (case,):
                share = _share(one.check.kind, one.check.options)
                if share is None:
                    others[one.check.kind] += 1
                else:
                    rated.append(_rated(suite, one, limit or share, confidence))
            if rated:
                found.append(Asked(severity=suite.severity, kind=case.check.kind, checks=tuple(rated)))
    return found, others


def _share(kind: str, options: Mapping[str, Any]) -> float | None:
    """Return the limit of a check as a share of scenarios that fail; None for kinds that bound something else."""
    word = "at_most" if "at_most" in options else "at_least"
    match kind:
        case "rate" | "accuracy" | "consistency" | "sampled_rate" | "np_extractable":
            share = options[word]
        case "imitation":
            share = options["chance"] + options[word] * (1.0 - options["chance"])
        case "performance_gap":
            share = options["weak"] + options[word] * (options["ceiling"] - options["weak"])
        case _:
            return None
    # Rounded, so that 1 - 0.8 is 0.2.
    failing = round(float(share) if word == "at_most" else 1.0 - float(share), 12)
    return failing if 0.0 < failing < 1.0 else None


def _rated(suite: Suite, case: Case, limit: float, confidence: float | None) -> Rated:
    canaries = case.check.kind == "np_extractable"
    planned = len(suite.conditions[case.check.options["in"]].cues) if canaries else len(suite.items)
    return Rated(
        name=f"{suite.id}::{case.id}", limit=limit, planned=planned,
        confidence=confidence or float(case.check.options.get("confidence", DEFAULT_CONFIDENCE)),
        least=None if suite.screen is None or canaries else min(suite.screen.min_items, planned),
    )  # fmt: skip


def report(found: Sequence[Asked], others: Mapping[str, int]) -> list[str]:
    """Return what is printed about checks, in pieces."""
    from tabulate import tabulate  # noqa: PLC0415 - lazy, as the other verbs

    said = []
    if found:
        table = [[line(cell) for cell in _row(one, check)] for one in found for check in one.checks]
        said += [tabulate(table, headers=HEADERS, disable_numparse=True) + "\n", EXPLAINED]
    else:
        said.append("no check here bounds a share of scenarios")
    if others:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(others.items()))
        said.append(f"not planned here, since their limits rest on resampling or on exact numbers: {kinds}")
    for group, severities in GROUPS.items():
        if mine := [one for one in found if one.severity in severities]:
            said.append(_jointly(group, mine))
    return said


def _row(one: Asked, check: Rated) -> list[str]:
    counts = [check.planned, *([] if check.least is None else [check.least])]

    def cell(values: Sequence[str]) -> str:
        return values[0] if len(values) == 1 else f"{values[0]} ({values[1]})"

    most = [power.allowed(n, check.limit, check.confidence) for n in counts]
    needed = [power.scenarios_for(check.limit, check.confidence, failures) for failures in FAILURES]
    return [
        f"{check.name}{' (part)' if one.kind in COMPOSITE else ''}", one.severity, f"{check.limit:.4g}",
        f"{check.confidence:g}", cell([str(n) for n in counts]),
        cell(["too few" if found is None else str(found) for found in most]),
        *("none" if n is None else str(n) for n in needed),
        *(cell([f"{check.passes(part, n):.2f}" for n in counts]) for part in (*PARTS.values(), 1.0)),
    ]  # fmt: skip


def _jointly(group: str, found: Sequence[Asked]) -> str:
    """Return the joint power of the checks of a group, and the plans that would give all of them enough."""
    must = sum(1 if one.kind == "jointly" else len(one.checks) for one in found)
    each = power.each_for_joint(JOINT, must)
    together = ", ".join(
        f"{power.joint_power(one.passes(part) for one in found):.2g} at {name} of each limit"
        for name, part in PARTS.items()
    )
    said = f"{group}: {_count(must)}, passing together with a probability of {together} (as if independent, other "
    said += f"kinds left out); for {JOINT:g} together each needs {each:.4f}:"
    limits = sorted({(check.limit, check.confidence) for one in found for check in one.checks})
    for limit, confidence in limits:
        plans = [_plan(limit, confidence, limit * part, each, name) for name, part in PARTS.items()]
        said += f"\n  failing at most {limit:.4g} at {confidence:g}: {'; '.join(plans)}"
    return said


def _plan(limit: float, confidence: float, rate: float, wanted: float, name: str) -> str:
    found = power.plan_for(limit, confidence, rate=rate, power=wanted)
    if found is None:
        return f"no plan found at {name}"
    return f"{found.n} scenarios of which {found.failures} may fail, at {name}"


def _count(number: int) -> str:
    return "1 check" if number == 1 else f"{number} checks"


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
