"""YAML files as pytest files, suites as collectors, cases as items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import CaseFileError
from harness.loader import load_suite
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Verdict
from harness.writers.junit import junit_properties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest._code.code import ExceptionInfo, TerminalRepr

    from harness.case import Case, Suite
    from harness.record import ItemRecord

SUFFIX = ".eval.yaml"
NO_MODEL = "no-model"
"""Stands for the model in node ids under --collect-only without --model."""
OPTIONS = pytest.StashKey[RunOptions]()
RUN = pytest.StashKey[Run]()


class CouldNotMeasure(Exception):
    """The item is INVALID; raised in setup, so that pytest counts an error."""


class CheckFailed(AssertionError):
    """The item is FAIL or INCONCLUSIVE."""


class EvalFile(pytest.File):
    """One case file."""

    def collect(self) -> Iterator[EvalSuite]:
        """Load the file; a file with problems is a collection error that names all of them."""
        root = self.config.rootpath
        suite = load_suite(self.path, root)
        yield EvalSuite.from_parent(self, name=suite.id, suite=suite)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException]) -> str | TerminalRepr:  # type: ignore[override]
        """Show the problems alone, without a traceback through the loader."""
        if isinstance(excinfo.value, CaseFileError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class EvalSuite(pytest.Collector):
    """The suite of a case file."""

    def __init__(self, *, suite: Suite, **kwargs: Any) -> None:
        """Keep the loaded suite."""
        super().__init__(**kwargs)
        self.suite = suite

    def collect(self) -> Iterator[EvalItem]:
        """One item per case and model, in the order of file and command line."""
        for case in self.suite.cases:
            for spec in self.config.stash[OPTIONS].models or (NO_MODEL,):
                name = f"{case.id}[{spec}]"
                # Said whole: made from parent and name, the bracket would count as name, and --lf would not find it.
                nodeid = f"{self.nodeid}::{name}"
                yield EvalItem.from_parent(self, name=name, nodeid=nodeid, suite=self.suite, case=case, spec=spec)


class EvalItem(pytest.Item):
    """One case on one model."""

    def __init__(self, *, suite: Suite, case: Case, spec: str, **kwargs: Any) -> None:
        """Mark the item by failure mode, severity and kind of evidence."""
        super().__init__(**kwargs)
        self.ticket = Ticket(node_id=self.nodeid, suite=suite, case=case, spec=spec)
        kinds = ["logits" if part.loglikelihood else "behaviour" for part in case.parts or (case,)]
        for mark in dict.fromkeys((suite.failure_mode, suite.severity, *kinds)):
            self.add_marker(mark)
        self.outcome: ItemRecord | None = None

    @property
    def suite(self) -> Suite:
        """The suite that the case belongs to."""
        return self.ticket.suite

    def setup(self) -> None:
        """Fetch the verdict; what could not be measured is an error of setup, as a broken fixture is."""
        run = self.config.stash[RUN]
        run.settle([self.ticket])
        self.outcome = run.outcome(self.ticket)
        self.user_properties.extend(junit_properties(self.outcome))
        if self.outcome.verdict is Verdict.INVALID:
            raise CouldNotMeasure(self.outcome.cause)

    def runtest(self) -> None:
        """Fail unless the verdict is green."""
        if self.outcome is None:
            msg = "the item reached its call without a verdict"
            raise CouldNotMeasure(msg)
        if not self.outcome.verdict.green:
            raise CheckFailed(self.outcome.verdict.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Point at the line of the case in the YAML file."""
        return self.path, self.ticket.case.line - 1, f"{self.suite.id}::{self.name}"


def is_eval_file(path: Path) -> bool:
    """Tell whether `path` is a case file by its name."""
    return path.name.endswith(SUFFIX)
