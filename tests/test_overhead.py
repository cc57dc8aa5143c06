"""The benchmark of planning, sealing and judging: it runs the real steps, and says no where they cost too much."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[1] / "bench" / "overhead.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("bench_overhead", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_overhead", module)
    spec.loader.exec_module(module)
    return module


def test_every_step_is_taken_on_a_run_that_is_whole(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """600 checks in six suites, five of them excused; each act in a process of its own. How long is no matter here."""
    monkeypatch.setattr(bench, "SECONDS", float("inf"))
    assert bench.main(["--checks", "600", "--scenarios", "12", "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["acts"]["run"]["steps"]) == ["plan: seal", "plan: write", "record: seal", "record: write"]
    assert list(found["acts"]["verdict"]["steps"]) == ["tells verdict"]
    assert all(act["megabytes"] > 10 for act in found["acts"].values())
    assert found["files"].keys() == {"plan.json", "run.json"}
    assert "600 checks of 12 scenarios" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "megabytes", "code"), [(9.9, 499.0, 0), (10.0, 1.0, 1), (0.1, 500.0, 1), (float("nan"), 1.0, 1)]
)
def test_the_limits(bench: Any, seconds: float, megabytes: float, code: int) -> None:
    acts = {
        "run": {"steps": {"record: seal": [seconds / 2, 99.0]}, "megabytes": megabytes},
        "verdict": {"steps": {"tells verdict": [seconds / 2, 99.0]}, "megabytes": 0.0},
    }
    options = argparse.Namespace(checks=1, scenarios=1, json=None)
    assert bench.report(acts, {"run.json": 1.0}, options) == code


def test_a_verdict_that_is_not_0_is_no_measurement(bench: Any, tmp_path: Path) -> None:
    """A record that cannot be read is judged in no time."""
    bench.write_policy(tmp_path, 1)
    with pytest.raises(SystemExit, match="tells verdict said 3"):
        bench.act_verdict(tmp_path)
