"""No switch, exception or absence turns a broken or narrower run into a green gate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli
from harness.engines.scripted import ScriptedEngine
from harness.errors import ModelUnavailable, SeamError, StoreError, TemplateError
from harness.store import Store

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def gate(project: Project) -> int:
    """Return what `tells verdict` says of the record."""
    return cli.main(["verdict", str(project.root / "out" / "run.json")])


def test_the_gate_is_green_for_a_whole_honest_run(project: Project) -> None:
    """The control: without it every test below would pass on a gate that is never green."""
    assert project.run().ret == 0
    assert gate(project) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-k", "knows"],
        ["-m", "behaviour"],
        ["--deselect", "evals/deception/colours.eval.yaml::colours::leans[scripted:honest.script.yaml]"],
        ["-k", "nothing-at-all"],
        ["--ignore", "evals/deception/zebras.eval.yaml"],
    ],
    ids=["k", "m", "deselect", "empty", "ignore"],
)
def test_a_narrower_run_is_never_a_green_gate(project: Project, arguments: list[str]) -> None:
    """PARTIAL, whatever made it narrower; nothing at all also exits non-zero."""
    project.suite("zebras")

    result = project.run(*arguments)

    assert project.record["partial"]
    assert gate(project) == 3
    assert result.ret == (5 if "nothing-at-all" in arguments else 0)


def test_an_argument_that_names_one_item_is_partial_too(project: Project) -> None:
    """Everything in the files counts as planned, not what the argument happened to name."""
    node = "evals/deception/colours.eval.yaml::colours::knows[scripted:honest.script.yaml]"

    project.pytester.runpytest_inprocess(node, "--model", "scripted:honest.script.yaml", "--report", "out")

    assert project.record["partial"]
    assert gate(project) == 3


@pytest.mark.parametrize("extra", [[], ["--runxfail"], ["-p", "no:terminal"]], ids=["plain", "runxfail", "mute"])
def test_switches_and_marks_do_not_hide_a_failure(project: Project, extra: list[str]) -> None:
    """An xfail mark put on evals from outside changes pytest's words, never the exit code or the gate."""
    project.pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.xfail(reason="hidden"))
        """
    )

    result = project.run(*extra, model="deceiver")

    assert result.ret == 1
    assert gate(project) == 1


def test_skipping_everything_is_not_success(project: Project) -> None:
    """A session in which all is skipped exits 0; a run of evals does not."""
    project.pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.skip(reason="hidden"))
        """
    )

    result = project.run()

    assert result.ret != 0
    assert gate(project) == 3


BOUNDARIES: dict[str, tuple[Any, str, BaseException]] = {
    "model load": (ScriptedEngine, "run", ModelUnavailable("no weights here")),
    "identity": (ScriptedEngine, "identity", ModelUnavailable("no such folder")),
    "tokenisation": (ScriptedEngine, "encode", SeamError("a token spans the seam")),
    "template": (ScriptedEngine, "encode", TemplateError("the system turn was dropped")),
    "encode bug": (ScriptedEngine, "encode", RuntimeError("bug")),
    "forward": (ScriptedEngine, "run", RuntimeError("CUDA error")),
    "out of memory": (ScriptedEngine, "run", MemoryError("no memory")),
    "scoring": (ScriptedEngine, "_scores", FloatingPointError("nan")),
    "decode": (ScriptedEngine, "_completions", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte")),
    "store read": (Store, "get", StoreError("disk gone")),
    "store write": (Store, "put", StoreError("disk full")),
    "store lock": (Store, "owner", StoreError("locked")),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_exception_at_any_boundary_of_asking(
    project: Project, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    """Non-PASS for what it touches, non-zero exit, code 3 of the gate, and the record is whole."""
    place, name, error = BOUNDARIES[boundary]

    def fail(*_args: object, **_kwargs: object) -> object:
        raise error

    monkeypatch.setattr(place, name, property(fail) if name == "identity" else fail)

    result = project.run()

    assert result.ret not in {0, 5}
    touched = {"scoring": {"leans"}, "decode": {"says-bad", "knows"}}.get(boundary, {"says-bad", "knows", "leans"})
    assert {case for case, verdict in project.verdicts().items() if verdict == "INVALID"} == touched
    assert gate(project) == 3


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("harness.measures.events", "grade"),
        ("harness.scoring", "row_margin"),
        ("harness.measures.events", "exact_limits"),
        ("harness.checks", "run_check"),
        ("harness.exchange", "exchange_from_row"),
    ],
)
def test_an_exception_while_measuring(
    project: Project, monkeypatch: pytest.MonkeyPatch, target: str, name: str
) -> None:
    """Grading, margins, statistics, checks and evidence: none of them can fail into a PASS."""

    def fail(*_args: object, **_kwargs: object) -> object:
        msg = "synthetic"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr(f"{target}.{name}", fail)

    result = project.run()

    assert result.ret == 1
    assert "INVALID" in project.verdicts().values()
    assert gate(project) == 3


@pytest.mark.parametrize("name", ["run.json", "report.html", "report.md"])
def test_a_report_that_cannot_be_written(project: Project, name: str) -> None:
    """A folder stands where the file should: the exit code is not 0."""
    project.run()
    (project.root / "out" / name).unlink()
    (project.root / "out" / name).mkdir()

    result = project.pytester.runpytest_subprocess("evals", "--model", "scripted:honest.script.yaml", "--report", "out")

    assert result.ret != 0


def test_a_run_that_dies_leaves_no_verdict_of_yesterday(project: Project) -> None:
    """os._exit(0) in an item gives pytest's exit code 0; the gate still says broken."""
    assert project.run().ret == 0
    project.pytester.makeconftest(
        """
        import os

        def pytest_runtest_call(item):
            if "leans" in item.name:
                os._exit(0)
        """
    )

    project.pytester.runpytest_subprocess("evals", "--model", "scripted:honest.script.yaml", "--report", "out")

    assert gate(project) == 3


def test_what_was_answered_before_a_kill_is_kept(project: Project) -> None:
    """SIGKILL in the middle of asking; the next run asks only the rest and comes to the same record."""
    slow = project.root / "slow.py"
    slow.write_text(
        "import time\n"
        "from harness import planner\n"
        "from harness.engines.scripted import ScriptedEngine\n"
        "run = ScriptedEngine.run\n"
        "def slowly(self, batch):\n"
        "    time.sleep(0.15)\n"
        "    return run(self, batch)\n"
        "ScriptedEngine.run = slowly\n"
        "plan = planner.plan\n"
        "planner.plan = lambda requests, budget: plan(requests, 120)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "slow", "-p", "no:cacheprovider", "evals", "--report", "out"]
    command += ["--model", "scripted:honest.script.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(project.root)}
    store = project.root / ".tells" / "store.sqlite"
    process = subprocess.Popen(command, cwd=project.root, env=environment)
    for _ in range(600):
        time.sleep(0.05)
        if store.exists() and sum(Store(store).info()["answers"].values()) >= 5:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sum(Store(store).info()["answers"].values())

    result = project.run()

    assert 5 <= kept < 128
    assert result.ret == 0
    assert project.record["counts"]["from_store"] == kept
    assert project.record["counts"]["asked"] == 128 - kept
