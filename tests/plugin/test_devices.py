"""Whole runs on tiny random weights: a mute or babbling model never passes, and CUDA comes to the CPU's verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

# pytester forgets modules imported inside a run, their package does not: a second run would mix old and new ones.
import harness.engines.transformers.padded
import harness.engines.transformers.parallel
import harness.engines.transformers.policy  # noqa: F401
from tests.tiny_models import build_tiny

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _run(project: Project, folder: str, device: str) -> dict[str, Any]:
    project.pytester.runpytest_inprocess(
        "evals", "--model", folder, "--report", "out", "--tells-device", device, "--store", f"{device}.sqlite"
    )
    return project.record


def test_a_random_model_does_not_pass(project: Project) -> None:
    """It has no failure planted and knows nothing: the accuracy check fails it, whatever else it says."""
    folder = build_tiny(project.root / "tiny", "llama")

    record = _run(project, str(folder), "cpu")

    verdicts = {item["case"]: item["verdict"] for item in record["items"]}
    assert verdicts["knows"] in {"FAIL", "INVALID"}
    assert record["completed"]
    assert record["models"][0]["tolerance"] < 1e-4


def test_two_copies_come_to_the_verdicts_of_one(project: Project) -> None:
    """Their answers are those of one model: the same digest, the same numerics, the same values."""
    folder = str(build_tiny(project.root / "tiny", "llama"))

    one, two = (_run(project, folder, device) for device in ("cpu", "cpu,cpu"))

    assert [item["verdict"] for item in one["items"]] == [item["verdict"] for item in two["items"]]
    for name in ("digest", "numerics"):
        assert one["models"][0][name] == two["models"][0][name]
    assert "2 copies of the model, one on each of cpu, cpu" in two["models"][0]["notes"]
    for a, b in zip(one["items"], two["items"], strict=True):
        for mine, theirs in zip(a["measurements"], b["measurements"], strict=True):
            assert mine["value"] == pytest.approx(theirs["value"], abs=1e-3)


@pytest.mark.parametrize("device", ["quantum", "cpu,", "cuda:some"])
def test_a_device_that_is_none_is_told_and_nothing_passes(project: Project, device: str) -> None:
    """With the ways to write one, and without a traceback."""
    folder = str(build_tiny(project.root / "tiny", "llama"))

    result = project.pytester.runpytest_inprocess(
        "evals", "--model", folder, "--report", "out", "--tells-device", device, "--store", "none"
    )

    assert "a list such as cuda:0,cuda:1" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert {item["verdict"] for item in project.record["items"]} == {"INVALID"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_and_cpu_come_to_the_same_verdicts(project: Project) -> None:
    """Float32 on both; measured values agree to 1e-3."""
    folder = str(build_tiny(project.root / "tiny", "llama"))

    cpu, cuda = (_run(project, folder, device)["items"] for device in ("cpu", "cuda"))

    assert [item["verdict"] for item in cpu] == [item["verdict"] for item in cuda]
    for one, other in zip(cpu, cuda, strict=True):
        for mine, theirs in zip(one["measurements"], other["measurements"], strict=True):
            assert mine["value"] == pytest.approx(theirs["value"], abs=1e-3)
