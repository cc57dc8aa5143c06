"""Under xdist one owner asks for all, and the controller's record is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("xdist", reason="pytest-xdist is an optional companion")

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without times and ids."""
    dropped = {"run_id", "started", "finished", "command", "digest", "counts", "store", "plan"}
    kept = {name: value for name, value in record.items() if name not in dropped}
    kept["items"] = sorted(({**item, "seconds": 0} for item in kept["items"]), key=lambda item: str(item["node_id"]))
    return kept


def test_two_workers_agree_with_one_process(project: Project) -> None:
    """Same verdicts, numbers and exit code; every request asked once."""
    alone = project.pytester.runpytest_subprocess(
        "evals", "--model", "scripted:deceiver.script.yaml", "--report", "out", "--store", "one.sqlite"
    )
    single = project.record
    spread = project.pytester.runpytest_subprocess(
        "evals", "--model", "scripted:deceiver.script.yaml", "--report", "out", "--store", "two.sqlite", "-n", "2"
    )
    double = project.record

    assert alone.ret == spread.ret == 1
    assert _comparable(single) == _comparable(double)
    assert single["counts"]["asked"] == double["counts"]["asked"]
    assert "tells: " in alone.stderr.str()
    assert "tells: " not in spread.stderr.str(), "the standard error of workers is the controller's"


def test_a_worker_that_dies_leaves_no_green_run(project: Project) -> None:
    """The item in which the process vanished has no verdict: the run is broken and exits non-zero."""
    project.pytester.makeconftest(
        """
        import os, pytest

        def pytest_runtest_call(item):
            if "leans" in item.name and os.environ.get("PYTEST_XDIST_WORKER"):
                os._exit(0)
        """
    )

    result = project.pytester.runpytest_subprocess(
        "evals", "--model", "scripted:honest.script.yaml", "--report", "out", "-n", "2", "--max-worker-restart", "0"
    )

    assert result.ret != 0
    assert not project.record["completed"]


def test_without_a_model_xdist_exits_with_an_error_too(project: Project) -> None:
    """The usage error of the workers reaches the user."""
    result = project.pytester.runpytest_subprocess("evals", "-n", "2")

    assert result.ret != 0
    assert "--model SPEC" in result.stdout.str() + result.stderr.str()
