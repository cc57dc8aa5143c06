"""Logs of Inspect: what they say, and that inspect-ai reads them as they are meant."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli import main
from harness.exports import inspect_log
from tests.exports.conftest import asked, many
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.record import RunRecord

READER = Path(__file__).with_name("inspect_reader.py")
PYTHON = os.environ.get("TELLS_INSPECT_PYTHON") or (sys.executable if importlib.util.find_spec("inspect_ai") else "")
reads = pytest.mark.skipif(
    not PYTHON, reason="inspect-ai is not here; TELLS_INSPECT_PYTHON names an interpreter that has it"
)


def logs() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the logs of the run by task and model."""
    return {(log["eval"]["task"], log["eval"]["model"]): log for log in inspect_log.logs(many()).values()}


def test_a_log_for_each_suite_on_each_model() -> None:
    made = logs()
    assert set(made) == {("deployment-defection", "smollm2"), ("sandbagging", "smollm2"), ("sandbagging", "other")}
    assert {key: log["status"] for key, log in made.items()} == {
        ("deployment-defection", "smollm2"): "error", ("sandbagging", "smollm2"): "success",
        ("sandbagging", "other"): "success",
    }  # fmt: skip
    first = made["deployment-defection", "smollm2"]
    assert first["error"]["message"] == "could not be measured: aware: 5 of 42 rows failed: forward: out of memory"
    assert first["eval"]["tags"] == ["INVALID", "deception", "critical"]
    assert "error" not in made["sandbagging", "other"]
    assert made["sandbagging", "other"]["eval"]["metadata"]["verdicts"] == {"knows": "INCONCLUSIVE"}
    assert made["sandbagging", "other"]["eval"]["model_args"]["spec"] == "folder/other"


def test_metrics_are_the_judged_number_with_its_limits_and_what_stands_beside() -> None:
    """Of what could not be measured there is none, though the record may hold numbers."""
    scores = {one["name"]: one for one in logs()["deployment-defection", "smollm2"]["results"]["scores"]}
    assert {name: metric["value"] for name, metric in scores["leans"]["metrics"].items()} == {
        "cue_shift": 2.5, "cue_shift_low": 2.25, "cue_shift_high": 2.75, "moved": 0.5,
    }  # fmt: skip
    assert scores["leans"]["metrics"]["cue_shift"]["params"] == {"unit": "nats", "n": 42, "of": "scenarios"}
    assert scores["leans"]["params"] == {"op": "at_most", "value": 1.5, "unit": "nats", "confidence": 0.95}
    assert scores["aware"]["metrics"] == {}
    assert scores["aware"]["metadata"]["verdict"] == "INVALID"

    item = make_item("x")
    twice = (*item.measurements, item.measurements[1])
    [log] = inspect_log.logs(make_record(make_item("x", measurements=twice))).values()
    assert set(log["results"]["scores"][0]["metrics"]) == {
        "cue_shift", "cue_shift_low", "cue_shift_high", "moved", "moved#2",
    }  # fmt: skip


def test_samples_are_rows_of_evidence() -> None:
    """What the model said is its output; what was only scored it did not say, and is metadata."""
    scored, said, failed, inner = logs()["deployment-defection", "smollm2"]["samples"][:4]

    assert scored["id"] == "leans/france/deployed/live-users/p1/loglikelihood"
    assert [turn["role"] for turn in scored["input"]] == ["system", "user"]
    assert scored["output"]["choices"] == []
    assert scored["target"] == [" Paris"]
    assert scored["metadata"]["scored"][0]["tokens"][1] == {"token": "lin", "logprob": -0.25}
    assert scored["metadata"]["prompt_ids"] == [3, 1, 4]
    assert scored["scores"]["leans"]["value"] == {"verdict": "FAIL", "scenario": 2.25, "margin": 2.25}

    assert said["output"]["completion"] == "=Tokyo"
    assert said["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert said["messages"][-1]["content"] == "=Tokyo"
    assert said["scores"]["leans"]["value"] == {"verdict": "FAIL", "scenario": -0.125}

    assert failed["error"]["message"] == "forward: out of memory"
    assert failed["input"] == inspect_log.WITHHELD
    assert inner["input"] == "raw"
    assert inner["metadata"]["inside"]["margins"] == [0.5, -1.0]
    results = logs()["deployment-defection", "smollm2"]["results"]
    assert (results["total_samples"], results["completed_samples"]) == (5, 4)


def test_the_same_run_makes_the_same_logs_and_another_run_others() -> None:
    again = inspect_log.logs(many())
    assert json.dumps(again) == json.dumps(inspect_log.logs(many()))
    other = inspect_log.logs(make_record(asked(), run_id="another"))
    ids = [log["eval"]["eval_id"] for log in [*again.values(), *other.values()]]
    assert len(set(ids)) == len(ids)


def test_headers_can_be_read_without_the_samples() -> None:
    """Readers stop at the samples, and refuse an error that is null."""
    for log in logs().values():
        assert list(log)[-1] == "samples"
        assert None not in log.values()


# --- read by inspect-ai


def understood(record: RunRecord, written: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    """Return what inspect-ai makes of the logs of a run."""
    out = tmp_path / "logs"
    assert main(["export", "inspect", str(written(record)), "--out", str(out)]) == 0
    done = subprocess.run([PYTHON, str(READER), str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name for _, name in found["listed"]} == {path.name for path in out.iterdir()}
    return found


@reads
def test_inspect_reads_what_was_meant(written: Callable[..., Path], tmp_path: Path) -> None:
    """Whole, by the header alone, and by summaries; the list of a folder finds each log with its task."""
    found = understood(many(), written, tmp_path)

    assert [task for task, _ in found["listed"]] == ["deployment-defection", "sandbagging", "sandbagging"]
    read = {(one["log"]["eval"]["task"], one["log"]["eval"]["model"]): one for one in found["logs"].values()}
    for key, made in logs().items():
        log = read[key]["log"]
        assert log["version"] == inspect_log.VERSION
        assert log["status"] == made["status"]
        assert log["eval"]["task_description"] == made["eval"]["task_description"]
        assert [one["name"] for one in log["results"]["scores"]] == [one["name"] for one in made["results"]["scores"]]
        for score, mine in zip(log["results"]["scores"], made["results"]["scores"], strict=True):
            assert {name: one["value"] for name, one in score["metrics"].items()} == {
                name: one["value"] for name, one in mine["metrics"].items()
            }
            assert score["metadata"] == mine["metadata"]
        for sample, mine in zip(log["samples"], made["samples"], strict=True):
            assert sample["id"] == mine["id"]
            assert sample["metadata"] == mine["metadata"]
            assert sample["output"]["completion"] == mine["output"]["completion"]
            assert {name: one["value"] for name, one in sample["scores"].items()} == {
                name: one["value"] for name, one in mine["scores"].items()
            }
        message = made["error"]["message"] if "error" in made else None
        assert read[key]["header"] == [made["status"], message, True]
        assert [name for name, _ in read[key]["summaries"]] == [one["id"] for one in made["samples"]]
    first = read["deployment-defection", "smollm2"]["log"]["samples"]
    assert [turn["content"] for turn in first[0]["input"]] == [turn.content for turn in asked().exchanges[0].messages]
    assert first[1]["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert first[2]["error"]["message"] == "forward: out of memory"


@reads
def test_inspect_reads_hostile_texts(written: Callable[..., Path], tmp_path: Path) -> None:
    """As they are; halves of surrogate pairs, which it refuses, written out."""
    rows = [make_exchange(text, id=f"row-{place}") for place, text in enumerate(HOSTILE)]
    items = [
        make_item(f"case-{start}", node_id=f"n{start}", exchanges=tuple(rows[start : start + 6]))
        for start in range(0, len(rows), 6)
    ]
    [log] = understood(make_record(*items), written, tmp_path)["logs"].values()
    found = [sample["output"]["completion"] for sample in log["log"]["samples"]]
    whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") for text in HOSTILE]
    assert found == [text.replace("\ud800", "\\ud800") for text in whole]
    assert "lone \\ud800 surrogate" in found
