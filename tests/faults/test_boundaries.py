"""Whole runs of pytest in which a call at a boundary fails, or the process dies there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import gate
from harness.leaving import nobody_leaves
from tests.faults.boundaries import BOUNDARIES
from tests.faults.run import SIZES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Inject the short selection, in a process of its own: it forks, and this one may hold threads."""
    file = tmp_path_factory.mktemp("faults") / "few.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "tests.faults.run", "few", str(file)], cwd=ROOT, env=environment, check=True)
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def injected(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the single faults."""
    return [one for one in found if one.get("boundary", "whole run") != "whole run"]


def test_every_boundary_is_really_met(injected: list[dict[str, Any]]) -> None:
    """A fault that never fires would prove nothing; a boundary that was renamed would never fire."""
    assert {one["boundary"] for one in injected} == {boundary.name for boundary in BOUNDARIES}


def test_no_fault_makes_a_pass(injected: list[dict[str, Any]]) -> None:
    assert [one for one in injected if one["false_pass"]] == []


def test_what_cannot_be_measured_is_not_green(injected: list[dict[str, Any]]) -> None:
    """Where the fault stays with the item the verdict is 3; elsewhere the process says what the record cannot."""
    hit = {"grading", "margin", "limits", "check", "evidence", "record of an item", "tokenising", "opening a model"}
    there = [one for one in injected if one["boundary"] in hit and one["status"] >= 0]
    assert {one["boundary"] for one in there} == hit
    assert [one for one in there if one["code"] != gate.BROKEN or one["status"] == 0] == []
    assert all("INVALID" in one["states"] for one in there if one["states"])


def test_nothing_that_was_kept_is_lost(injected: list[dict[str, Any]]) -> None:
    assert [one for one in injected if one["lost"]] == []


def test_the_next_run_comes_to_the_same_record(injected: list[dict[str, Any]]) -> None:
    """After a death too: what was kept is not asked again, what was not is asked once."""
    died = [one for one in injected if one["status"] < 0 or one["fault"] == "os._exit(0)"]
    assert len(died) >= 8
    assert [one for one in injected if not one["resumed"]] == []


def test_a_disk_that_is_full_at_any_byte_makes_no_pass(found: list[dict[str, Any]]) -> None:
    """From no byte at all to room for all but the largest files."""
    full = [one for one in found if one.get("boundary") == "whole run"]
    assert len(full) == len(SIZES)
    assert [one for one in full if one["false_pass"] or one["lost"] or not one["resumed"]] == []
    assert [one["number"] for one in full if one["status"] == 0 or one["code"] == 0] in ([], [SIZES[-1]])


def test_eight_processes_on_one_store_of_which_some_die(found: list[dict[str, Any]]) -> None:
    """Nothing torn, lost or kept twice, and whoever lives comes to the whole record."""
    [together] = [one for one in found if "lived" in one]
    assert sum(end < 0 for end in together["ends"]) >= 1
    assert len(together["ends"]) == 8
    assert together["lived"] == [True] * sum(end >= 0 for end in together["ends"])
    assert together["wrong"] == []


@pytest.mark.parametrize("code", [0, None])
def test_nobody_leaves_with_0(code: Any) -> None:
    said = r"here: SystemExit would have ended the process with exit code 0"
    with pytest.raises(RuntimeError, match=said), nobody_leaves("here"):
        raise SystemExit(code)


@pytest.mark.parametrize("error", [SystemExit(2), SystemExit("why"), KeyboardInterrupt(), ValueError("x")])
def test_other_ends_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)), nobody_leaves("here"):
        raise error


def test_who_leaves_pytest_with_0_is_told() -> None:
    for code in (0, None):
        with pytest.raises(RuntimeError), nobody_leaves("here", pytest.exit.Exception):
            pytest.exit("enough", code)
    with pytest.raises(pytest.exit.Exception), nobody_leaves("here", pytest.exit.Exception):
        pytest.exit("enough", 3)
