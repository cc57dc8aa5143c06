"""One certification: suites asked of organisms, one model after another.

A model is opened, asked for everything that any suite wants of it, judged, and closed before the next is opened, so
that adapters on a large base do not pile up. What is kept of it are findings. Answers lie in the store as in any run:
a certification that was killed goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import gc
import shlex
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import restricted
from harness.case import OVER_SERIES
from harness.certify.expect import NEEDED_ARMS
from harness.certify.findings import CaseFinding, Finding, meets, suite_verdict
from harness.certify.flags import compare, said
from harness.organisms.spec import parse
from harness.provenance import now
from harness.session import Run, RunOptions, Ticket
from harness.tally import Quiet
from harness.verdict import Verdict
from harness.writers import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.case import Suite
    from harness.certify.expect import Expectation, Scope
    from harness.certify.flags import Said
    from harness.record import ItemRecord
    from harness.tally import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyTicket:
    """One item of a certification: a suite on an organism."""

    node_id: str
    suite: Suite
    expectation: Expectation


class Certification:
    """Findings for all items of one process."""

    def __init__(self, options: RunOptions, scope: Scope, progress: Progress | None = None) -> None:
        """Open nothing yet."""
        self.options = options
        self.scope = scope
        self.progress: Progress = progress or Quiet()
        self.started = now()
        self._findings: dict[str, Finding] = {}
        self._models: dict[str, Any] = {}
        self._counts: dict[str, int] = defaultdict(int)
        self._said: dict[tuple[str, str, str, int], tuple[str, dict[str, dict[str, Said]]]] = {}
        """Suite, organism, base, seed -> node id of the planted model, and what it said in each case, for its twin."""

    def settle(self, tickets: Iterable[CertifyTicket]) -> None:
        """Ask and judge everything that `tickets` need and is not yet known. Raises nothing but an interrupt."""
        by_model: dict[str, list[CertifyTicket]] = defaultdict(list)
        for ticket in tickets:
            if ticket.node_id not in self._findings:
                by_model[ticket.expectation.spec].append(ticket)
        for spec, mine in by_model.items():
            self.progress.model(spec, tuple(by_model))
            try:
                self._one_model(spec, mine)
            except Exception as error:  # noqa: BLE001 - whatever it is, its findings are INVALID and the others go on
                hidden = any(ticket.suite.hazard == restricted.HAZARD for ticket in mine)
                self._invalid(mine, restricted.told(error, restricted.HAZARD if hidden else ""))

    def finding(self, ticket: CertifyTicket) -> Finding:
        """Return what was found; what never was asked is INVALID."""
        found = self._findings.get(ticket.node_id)
        return found or self._finding(ticket, (), cause="unanswered: the item was never asked")

    def facts(self) -> dict[str, Any]:
        """Return what the record needs to know of this process, as `Run.facts` does."""
        return {"models": self._models, "counts": dict(self._counts), "started": self.started}

    def close(self) -> None:
        """Nothing to free: every model was closed."""

    def _one_model(self, spec: str, tickets: Sequence[CertifyTicket]) -> None:
        run = Run(dataclasses.replace(self.options, models=(spec,), twin=None), self.progress)
        try:
            # Asked here, alone: an organism that cannot be built would else be tried again by every case.
            if why := run.unopened(spec):
                self._invalid(tickets, f"{why.kind}: {why.detail}")
                return
            mine = {ticket.node_id: _cases(ticket) for ticket in tickets}
            run.settle(case for cases in mine.values() for case in cases)
            identity = run.facts()["models"][spec].get("identity", {})
            for ticket in tickets:
                since = time.perf_counter()
                found = tuple(_case_finding(run.outcome(case)) for case in mine[ticket.node_id])
                recipe, weights = _digests(spec)
                self._findings[ticket.node_id] = dataclasses.replace(
                    self._finding(ticket, found), model=str(identity.get("digest", "")), recipe=recipe, weights=weights,
                    seconds=round(time.perf_counter() - since, 3),
                )  # fmt: skip
                self._compare(ticket, run, mine[ticket.node_id])
        finally:
            facts = run.facts()
            self._models |= facts["models"]
            for name, count in facts["counts"].items():
                self._counts[name] += count
            run.close()
            del run
            if facts["counts"].get("asked", 0):
                # Engines hold modules that refer to each other; the next model must not wait for the collector's mood.
                # Where every answer was stored there are no weights, and a collection costs more than the model does.
                gc.collect()

    def _compare(self, ticket: CertifyTicket, run: Run, cases: Sequence[Ticket]) -> None:
        """Keep what a planted model says; once its twin is there, count what each case flags of the difference."""
        one = ticket.expectation
        key = (ticket.suite.id, one.organism, one.base, one.seed)
        if one.arm not in NEEDED_ARMS or not one.expected:
            return
        found = {case.case.id: said(known) for case in cases if (known := run.transcript(case)) is not None}
        if one.arm == NEEDED_ARMS[0]:
            self._said[key] = ticket.node_id, found
        elif key in self._said:
            planted, before = self._said.pop(key)
            self._findings[planted] = _with_flags(self._findings[planted], before, found)

    def _invalid(self, tickets: Iterable[CertifyTicket], cause: str) -> None:
        for ticket in tickets:
            if ticket.node_id not in self._findings:
                self._models.setdefault(ticket.expectation.spec, {"error": cause})
                self._findings[ticket.node_id] = self._finding(ticket, (), cause=cause)

    def _finding(self, ticket: CertifyTicket, cases: tuple[CaseFinding, ...], cause: str = "") -> Finding:
        wanted = ticket.expectation
        verdict = suite_verdict(case.verdict for case in cases)
        return Finding(
            node_id=ticket.node_id, suite=ticket.suite.id, organism=wanted.organism, arm=wanted.arm, base=wanted.base,
            seed=wanted.seed, expected=wanted.expected, verdict=verdict, met=meets(wanted.expected, verdict),
            cases=cases, cause=cause, rerun=self._rerun(ticket),
        )  # fmt: skip

    def _rerun(self, ticket: CertifyTicket) -> str:
        wanted, scope, defaults = self.options, self.scope, RunOptions(models=())
        command = ["pytest", ticket.node_id, *scope_arguments(scope)]
        for flag, value, default in (
            ("--tells-device", wanted.device, defaults.device),
            ("--tells-dtype", wanted.dtype, defaults.dtype),
            ("--tells-seed", wanted.seed, defaults.seed),
            ("--tells-profile", wanted.profile, defaults.profile),
        ):
            if value != default:
                command += [flag, str(value)]
        return shlex.join(command)


def scope_arguments(scope: Scope) -> list[str]:
    """Return the options of pytest that ask for a scope."""
    if scope.full:
        return ["--tells-certify", "full"]
    defaults = type(scope)()
    found = [] if scope.bases == defaults.bases else ["--tells-base", scope.bases[0]]
    return found if scope.seeds == defaults.seeds else [*found, "--tells-seeds", str(scope.seeds)]


def _cases(ticket: CertifyTicket) -> list[Ticket]:
    spec = ticket.expectation.spec
    return [
        Ticket(node_id=f"{ticket.node_id}::{case.id}", suite=ticket.suite, case=case, spec=spec)
        for case in ticket.suite.cases
        # An organism as it was grown is one model, and no series.
        if case.check.kind not in OVER_SERIES
    ]


def _case_finding(item: ItemRecord) -> CaseFinding:
    verdict = Verdict.FAIL if item.verdict is Verdict.WAIVED else item.verdict
    return CaseFinding(
        case=item.case, check=item.check, verdict=verdict, bound=item.bound, cause=words.public_cause(item),
        measurement=item.measurements[0] if item.measurements else None,
    )  # fmt: skip


def _with_flags(
    planted: Finding, before: Mapping[str, Mapping[str, Said]], twin: Mapping[str, Mapping[str, Said]]
) -> Finding:
    """Return the finding with what each case flags of the rows in which the model does not say what its twin says."""
    cases = []
    for case in planted.cases:
        if before.get(case.case) and twin.get(case.case):
            flagged, bad = compare(before[case.case], twin[case.case])
            cases.append(dataclasses.replace(case, flagged=flagged, truly_bad=bad))
        else:
            cases.append(case)
    return dataclasses.replace(planted, cases=tuple(cases))


def _digests(spec: str) -> tuple[str, str]:
    """Return the digests of recipe and weights; empty where the zoo does not have the model."""
    from harness.organisms import zoo  # noqa: PLC0415 - only what was opened is looked up

    order = zoo.order(parse(spec))
    _, folder = zoo.where(order)
    manifest = zoo.read_manifest(folder) if folder is not None else None
    return order.recipe, manifest.weights if manifest else ""
