"""Processes of their own, as a user starts them, that die at a hook of pytest: alone, and as a worker of xdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli
from tests.faults import scene

ROOT = Path(__file__).resolve().parents[2]
DEATHS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "os._exit(0)": "os._exit(0)",
    "segfault": "ctypes.string_at(0)",
}
HOOKS = {
    "collection": "def pytest_collection_modifyitems(items):\n    {die}",
    "setup": "def pytest_runtest_setup(item):\n    if 'knows' in item.name: {die}",
    "call": "def pytest_runtest_call(item):\n    if 'knows' in item.name: {die}",
    "after the last item": "def pytest_runtest_logfinish(nodeid):\n    if 'leans' in nodeid: {die}",
    "the end of the session": "@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish(session):\n    {die}",
}
"""Where a process dies; the deaths take turns."""
CASES = [(hook, list(DEATHS)[place % len(DEATHS)]) for place, hook in enumerate(HOOKS)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose run of yesterday passed."""
    root = scene.build(tmp_path_factory.mktemp("deaths") / "project")
    assert (run(root), verdict(root)) == (0, 0)
    (root / "s.sqlite").unlink()
    return root


@pytest.fixture
def root(done: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(done, tmp_path / "project"))


def run(root: Path, *more: str) -> int:
    """Run pytest as a user does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        environment.pop(name, None)
    arguments = ["evals", "--model", "scripted:honest.script.yaml", "-q", "--report", "out", "--store", "s.sqlite"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *more],
        cwd=root, env=environment, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode


def verdict(root: Path) -> int:
    """Return what `tells verdict` says."""
    return cli.main(["verdict", str(root / "out" / "run.json")])


def plant(root: Path, hook: str, death: str, condition: str = "True") -> None:
    """Let the process die in a hook of a conftest."""
    code = HOOKS[hook].format(die=f"die() if {condition} else None")
    head = f"import ctypes, os, signal\nimport pytest\n\ndef die():\n    {DEATHS[death]}\n\n"
    (root / "conftest.py").write_text(head + code + "\n")


@pytest.mark.parametrize(("hook", "death"), CASES)
def test_a_run_that_dies_is_broken_and_can_be_resumed(root: Path, hook: str, death: str) -> None:
    """Over a PASS of yesterday in the same folder; the next run asks only what is not there (tried once)."""
    assert verdict(root) == 0
    whole = scene.comparable(scene.record(root / "out"))
    plant(root, hook, death)

    died = run(root)

    assert (died == 0) == (death == "os._exit(0)")
    assert verdict(root) == 3
    if hook != "call":  # the forks of test_boundaries.py are resumed everywhere, and cost less
        return
    before = scene.stored(root / "s.sqlite")
    (root / "conftest.py").unlink()
    assert (run(root), verdict(root)) == (0, 0)
    found = scene.record(root / "out")
    assert found is not None
    assert scene.comparable(found) == whole
    assert found["counts"]["from_store"] == len(before)
    assert before.items() <= scene.stored(root / "s.sqlite").items()


@pytest.mark.parametrize(("hook", "death"), [("call", "os._exit(0)")])
def test_a_worker_that_dies_is_no_pass(root: Path, hook: str, death: str) -> None:
    """Whatever the controller makes of it: the item has no verdict, or pytest reports what no verdict explains."""
    pytest.importorskip("xdist", reason="pytest-xdist is an optional companion")
    plant(root, hook, death, condition="os.environ.get('PYTEST_XDIST_WORKER') == 'gw0'")
    died = run(root, "-n", "2", "--max-worker-restart", "0", "--dist", "each")
    assert died != 0
    assert verdict(root) == 3
