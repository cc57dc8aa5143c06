"""A project whose one suite catches a fake organism."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import checks
from tests.certify import fake
from tests.plugin.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

checks._load_builtin()  # pytester forgets modules imported inside a run, and checks register once
ROOT = __file__.rpartition("/tests/")[0]
CONFTEST = f"""
import pathlib, sys
sys.path.insert(0, {ROOT!r})
from tests.certify import fake
fake.install(pathlib.Path(__file__).parent)
"""


class Zoo(Project):
    """A project with organisms."""

    def certify(self, *arguments: str) -> pytest.RunResult:
        """Run pytest on the evals without a model, with a report."""
        return self.pytester.runpytest_inprocess("evals", "--report", "out", *arguments)

    def elsewhere(self, *arguments: str) -> pytest.RunResult:
        """The same in a process of its own, which finds the same zoo."""
        self.pytester.makeconftest(CONFTEST)
        return self.pytester.runpytest_subprocess("evals", "--report", "out", *arguments)

    def behave(self, **changes: str) -> None:
        """Let models behave otherwise."""
        fake.behave(self.root, **changes)

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """SPEC -> finding of the record."""
        return {one["node_id"].partition("[")[2].rstrip("]"): one for one in self.record["certification"]}

    @property
    def log(self) -> list[str]:
        """What was opened and closed, in order."""
        return (self.root / fake.LOG).read_text().splitlines()

    def path(self, name: str = "colours") -> Path:
        """Path of a suite."""
        return self.root / "evals" / "deception" / f"{name}.eval.yaml"


@pytest.fixture
def zoo(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Return a project with one suite that catches `small`, all of whose models are scripts."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    project = Zoo(pytester)
    fake.lay_out(project.root)
    fake.install(project.root, monkeypatch)
    fake.seal_all(project.root)
    project.suite("colours", catches=["small"])
    return project
