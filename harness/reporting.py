"""From item outcomes to pytest reports, the run record, the files and the exit code.

One `Reporting` per process, registered as a plugin. Under xdist the workers only decorate reports and say, when they
end, what they planned and which model they saw; the controller collects, writes and decides.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import console, credentials, gate, plan_file, provenance, record
from harness.certify import certificate
from harness.errors import TellsError
from harness.escape import line
from harness.items import left_out
from harness.verdict import Verdict, worst
from harness.writers import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.case import Suite
    from harness.certification import Certification
    from harness.certify.findings import CertificateState, Finding
    from harness.items import CertifyItem, EvalItem, EvalSuite
    from harness.policy.policy import Policy
    from harness.session import Run, RunOptions, Ticket

STALE = ("run.json", plan_file.NAME, "report.html", "examples.jsonl", "report.md", "junit.xml", "results.sarif",
         "release.md", "test-result.intoto.json")  # fmt: skip
ENDED = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
"""Exit codes of a run that came to its end."""


class Mark(int):
    """An exit code that is told from one that somebody else sets, by identity alone."""


class Reporting:
    """Collects what a run has to say."""

    def __init__(self, config: pytest.Config, options: RunOptions, folder: Path | None) -> None:
        """Know where to write; `folder` is None in workers and without --report."""
        self.config = config
        self.options = options
        self.folder = folder
        self.policy: Policy | None = None
        self.baseline: Path | None = None
        self.worker = hasattr(config, "workerinput")
        self.run: Run | Certification | None = None
        self.planned: list[str] = []
        self.selected: list[str] = []
        self.suites: dict[str, record.SuiteRecord] = {}
        self.collected: list[Suite] = []
        self.plan_digest: str | None = None
        self.records: dict[str, record.ItemRecord] = {}
        self.findings: dict[str, Finding] = {}
        self.uncollected: dict[str, None] = {}
        """Node ids of case files and folders that could not be collected."""
        self.disturbed: dict[str, None] = {}
        """Node ids whose failed report no verdict explains: a crash, another plugin, a hook."""
        self.told = 0
        """Failed reports that a verdict explains; pytest counts all of them."""
        self.mark = Mark(pytest.ExitCode.INTERNAL_ERROR)
        """The exit code as pytest set it, while other plugins may set another."""
        self.facts: dict[str, Any] = {}
        self.started = provenance.now()
        self._said: list[str] = []

    # --- before the run

    def pytest_sessionstart(self) -> None:
        """Take away an older report: nobody shall read yesterday's verdict after a run that died."""
        if self.folder and not self.config.option.collectonly and not self.config.getoption("tells_plan"):
            clear(self.folder)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected: with --continue-on-collection-errors the others run all the same."""
        if report.failed and not report.nodeid.endswith(".py"):
            self.uncollected[report.nodeid] = None

    def plan(self, collected: Sequence[EvalSuite]) -> None:
        """Note everything that the collected files hold, whether an argument, -k or -m left it out.

        Raises:
            pytest.UsageError: two files carry the same suite id.
        """
        for node in collected:
            suite, known = node.suite, self.suites.get(node.suite.id)
            if known is not None:
                msg = f"{suite.path}: suite id {suite.id!r} is taken by {known.path}; rename one of them"
                raise pytest.UsageError(msg)
            self.collected.append(suite)
            node.certificate = self._certificate(node)
            self.suites[suite.id] = provenance.suite_of(suite, node.certificate)
            self.planned += [f"{node.nodeid}::{case.id}[{spec}]" for case, spec, _ in node.asked(self.options.models)]
            self.planned += [f"{node.nodeid}::{wanted.name}" for wanted in node.expectations()]
        self.planned += left_out(self.config.rootpath, {node.path for node in collected})

    def _certificate(self, node: EvalSuite) -> CertificateState | None:
        """Look up what a suite is certified for; only a run on a model asks."""
        if not self.options.models or self.config.option.collectonly or self.config.getoption("tells_plan"):
            return None
        return certificate.state_of(node.path, node.suite, profile=self.options.profile)

    def select(self, items: Sequence[EvalItem | CertifyItem]) -> None:
        """Note what is left after deselection."""
        self.selected = [item.nodeid for item in items]

    @property
    def planning(self) -> dict[str, Any] | None:
        """What a process needs to write the plan; workers are given it, since the controller of xdist collects nothing.

        None where no report is written.
        """
        if self.worker:
            given: dict[str, Any] | None = self.config.workerinput.get("tells_plan")  # type: ignore[attr-defined]
            return given
        if self.folder is None:
            return None
        required = list(self.policy.require) if self.policy else []
        return {"folder": str(self.folder.absolute()), "written": self.started, "required": required}

    def write_plan(self) -> None:
        """Write what this run is about to do, before anything is asked; workers all write the same.

        Raises:
            pytest.UsageError: the folder refuses, or a bound is no number.
        """
        given, wanted = self.planning, self.options
        if given is None or not self.planned:
            return
        try:
            plan = plan_file.sealed(
                plan_file.PlanRecord(
                    run_id=wanted.run_id, written=given["written"], models=wanted.models, twin=wanted.twin or "",
                    profile=wanted.profile, seeds={"run": wanted.seed}, required=tuple(given["required"]),
                    suites=tuple(map(plan_file.suite_of, self.collected)), planned=self._planned(),
                    selected=tuple(self.selected),
                )
            )  # fmt: skip
            plan_file.write(Path(given["folder"]), plan)
        except TellsError as error:
            msg = f"--report: {error}"
            raise pytest.UsageError(msg) from error
        self.plan_digest = plan.digest

    def _planned(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.planned, *self.uncollected])) if self.uncollected else tuple(self.planned)

    def show_plan(self, run: Run, tickets: Sequence[Ticket]) -> None:
        """Keep the plan for the end of the session."""
        try:
            for spec, cost in run.cost(tickets).items():
                rate = run.rate(spec)
                self._said.append(
                    f"plan for {spec}: {len(tickets)} checks, {cost.requests} requests, {cost.unique} unique and not "
                    f"yet answered, at most {cost.tokens} tokens ({cost.alone} if no prefix were shared), about "
                    f"{cost.seconds(rate) / 60:.1f} minutes at {rate:.0f} tokens per second"
                )
        except TellsError as error:
            msg = f"--plan: {error}"
            raise pytest.UsageError(msg) from error

    # --- during the run

    def decorate(self, item: EvalItem, report: pytest.TestReport) -> None:
        """Put page and record of `item` on its report."""
        outcome = item.outcome
        if outcome is None or report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        # A plain dict: xdist sends attributes of reports along when they are made of builtin types.
        report.tells_record = record.item_to_json(outcome)  # type: ignore[attr-defined]
        if outcome.verdict is Verdict.WAIVED and not getattr(self.config.option, "runxfail", False):
            report.outcome, report.wasxfail = "skipped", line(f"waived: {words.public_cause(outcome)}", 400)
        elif outcome.verdict is Verdict.WAIVED:
            report.outcome = "failed"
        if report.failed:
            from harness.writers.terminal import item_page  # noqa: PLC0415 - only failures need it

            report.longrepr = item_page(outcome)

    def decorate_finding(self, item: CertifyItem, report: pytest.TestReport) -> None:
        """Put page and finding of `item` on its report."""
        if item.finding is None or report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        report.tells_finding = record.finding_to_json(item.finding)  # type: ignore[attr-defined]
        if report.failed:
            from harness.writers.certification import finding_page  # noqa: PLC0415 - only failures need it

            report.longrepr = finding_page(item.finding)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the record of an item; runs in the controller under xdist."""
        if (found := getattr(report, "tells_finding", None)) is not None:
            self._take_finding(report, record.finding_from_json(found))
            return
        data = getattr(report, "tells_record", None)
        if data is not None:
            item = record.item_from_json(data)
            known = self.records.get(item.node_id)
            # Run again, or by each of several workers: the worst verdict stands.
            if known is None or worst([known.verdict, item.verdict]) is item.verdict:
                self.records[item.node_id] = item
        passed = data is not None and Verdict(data["verdict"]) is Verdict.PASS
        if (report.failed and data is None) or (passed and not report.passed):
            self.disturbed[report.nodeid] = None
        elif report.failed:
            self.told += 1

    def _take_finding(self, report: pytest.TestReport, finding: Finding) -> None:
        known = self.findings.get(finding.node_id)
        # Run again, or by each of several workers: what was not met stands.
        if known is None or known.met:
            self.findings[finding.node_id] = finding
        if report.failed and finding.met:
            self.disturbed[report.nodeid] = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker knew when it ended; of one that crashed, nothing."""
        told = getattr(node, "workeroutput", {}).get("tells")
        if not told:
            return
        self.planned, self.selected, self.plan_digest = told["planned"], told["selected"], told["plan"]
        self.suites.update({suite["id"]: record.suite_from_json(suite) for suite in told["suites"]})
        self._merge(told["facts"])

    def _merge(self, facts: dict[str, Any]) -> None:
        """Add what another worker asked; all of them need the same answers, so it had the rest from the store."""
        mine, its = self.facts.get("counts", {}), facts.get("counts", {})
        spent = {name: mine.get(name, 0) + its.get(name, 0) for name in ("asked", "tokens", "minimum")}
        if its.get("asked", -1) >= mine.get("asked", -1):
            self.facts = facts
        if counts := self.facts.get("counts"):
            others = spent["asked"] - counts.get("asked", 0)
            stored = max(0, counts.get("from_store", 0) - others)
            self.facts = {**self.facts, "counts": {**counts, **spent, "from_store": stored}}

    # --- after the run

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the record and make sure that nothing non-green exits 0."""
        if self.worker:
            self.facts = self.run.facts() if self.run else self.facts
            session.config.workeroutput["tells"] = {  # type: ignore[attr-defined]
                "planned": self.planned,
                "selected": self.selected,
                "plan": self.plan_digest,
                "suites": [record.suite_to_json(suite) for suite in self.suites.values()],
                "facts": self.facts,
            }
            return
        if self.config.option.collectonly or self.config.getoption("tells_plan"):
            return
        if self.planned:
            # What a verdict explains, a policy may weigh; what other tests and plugins say, it may not.
            foreign = session.testsfailed != self.told or session.exitstatus is not self.mark
            code = self._finish(int(exitstatus), foreign=foreign)
            session.exitstatus = code or (session.exitstatus if foreign else pytest.ExitCode.OK)
        elif self.options.models and exitstatus == pytest.ExitCode.OK:
            self._said.append("a model was named and no eval was collected: nothing was evaluated, which is no pass")
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _finish(self, exitstatus: int, *, foreign: bool) -> int:
        """Tell and write everything, and return the exit code.

        Args:
            exitstatus: What pytest would end with.
            foreign: Verdicts do not explain all of it.
        """
        today = dt.datetime.now(dt.UTC).date()
        try:
            self.facts = self.run.facts() if self.run else self.facts
            run = record.sealed(self._record(exitstatus))
            faults = plan_file.faults(self.folder / "run.json", run) if self.folder else ()
            beside = self._tell(run, gate.judge_run(run, self.policy, today=today, beside=faults), today)
            own = self._own_status(run, today) or int(bool(faults))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a report that cannot be written must not look finished
            said = credentials.without(f"{type(error).__name__}: {error}")
            self._said.append(f"the report could not be written: {said}")
            return exitstatus or int(pytest.ExitCode.INTERNAL_ERROR)
        if self.policy is None or foreign or exitstatus not in {0, 1} or not run.completed:
            own = exitstatus or own
        return own or int(pytest.ExitCode.TESTS_FAILED if beside else pytest.ExitCode.OK)

    def _tell(self, run: record.RunRecord, result: gate.GateResult, today: dt.date) -> int:
        """Say and write what there is to say; return what the comparison with a baseline says, 0 without one."""
        from harness.writers.terminal import summary  # noqa: PLC0415 - keeps start-up light

        look, path = console.look_of_pytest(self.config), self.folder / "run.json" if self.folder else None
        self._said.append(summary(run, result, look=look, run=path))
        if self.policy is not None:
            self._said += [console.leading(line(text)) for text in gate.lines(result, self.policy)]
        found = None
        if self.baseline is not None:
            from harness.baseline import beside, said  # noqa: PLC0415 - only few runs are compared

            found = beside(run, self.baseline)
        if self.folder:
            from harness.writers import Standing, write_all  # noqa: PLC0415 - brings the template engine

            write_all(
                run, self.folder, standing=Standing(result=result, policy=self.policy, today=today, baseline=found)
            )
            page = "" if run.certification is not None else "release.md, "
            others = f"{page}run.json, plan.json, report.md, junit.xml, results.sarif beside it"
            self._said.append(f"report: {self.folder / 'report.html'} ({others})")
        if found is None:
            return gate.PASS
        text, code = said(found, look)
        self._said.append(text)
        return code

    def _own_status(self, run: record.RunRecord, today: dt.date) -> int:
        """Return the exit code that the policy demands, or without one the record itself."""
        if self.policy is not None:
            return gate.policy_exit(run, self.policy, today)
        if not record.results(run):
            return int(pytest.ExitCode.NO_TESTS_COLLECTED)
        green = all(item.verdict.green for item in run.items) and all(one.met for one in run.certification or ())
        return int(pytest.ExitCode.OK if green and gate.whole(run) else pytest.ExitCode.TESTS_FAILED)

    def _record(self, exitstatus: int) -> record.RunRecord:
        missing = [name for name in self.selected if name not in self.records and name not in self.findings]
        disturbed = [name for name in self.selected if name in self.disturbed]
        unplanned = self.folder is not None and self.plan_digest is None
        ended = exitstatus in ENDED and not missing and not disturbed and not unplanned
        reason = f"pytest ended with exit code {exitstatus}{'; no plan was written before it' if unplanned else ''}"
        if missing:
            reason += f"; {len(missing)} of {len(self.selected)} selected checks have no result"
        if disturbed:
            reason += f"; pytest reports errors that no verdict explains for {len(disturbed)} checks"
        planned, model_of = self._planned(), provenance.model_of
        models = self.facts.get("models", {})
        certifying = not self.options.models
        return record.RunRecord(
            run_id=self.options.run_id,
            started=self.started,
            finished=provenance.now(),
            command=credentials.without(shlex.join(["pytest", *map(str, self.config.invocation_params.args)])),
            models=tuple(
                model_of(spec, models.get(spec)) for spec in (sorted(models) if certifying else self.options.models)
            ),
            twin=model_of(self.options.twin, models.get(self.options.twin)) if self.options.twin else None,
            versions=provenance.versions(),
            seeds={"run": self.options.seed},
            profile=self.options.profile,
            store=self._store(),
            counts=provenance.counts_of(self.facts),
            suites=tuple(self.suites.values()),
            planned=planned,
            selected=tuple(self.selected),
            items=tuple(self.records[name] for name in self.selected if name in self.records),
            certification=self._certification(),
            partial=set(self.selected) != set(planned),
            completed=ended,
            exit_reason=reason,
            plan=self.plan_digest,
            shown=self.options.show_restricted or None,
        )

    def _certification(self) -> tuple[Finding, ...] | None:
        if self.options.models:
            return None
        return tuple(self.findings[name] for name in self.selected if name in self.findings)

    def _store(self) -> str:
        """Return the store's path, relative to the root where it lies below: a report should not name a home."""
        store, root = self.options.store, self.config.rootpath
        if store is None:
            return ""
        return store.relative_to(root).as_posix() if store.is_relative_to(root) else str(store)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table, the verdict in plain words and where the report lies."""
        if self._said:
            terminalreporter.section("tells", sep="=")
            for text in self._said:
                terminalreporter.write_line(text)


def clear(folder: Path, keep: Path | None = None) -> None:
    """Take away the files of an older report, but for `keep`.

    Raises:
        OSError: the folder refuses.
    """
    for path in (folder / name for name in STALE):
        if keep is None or os.path.realpath(path) != os.path.realpath(keep):
            path.unlink(missing_ok=True)
