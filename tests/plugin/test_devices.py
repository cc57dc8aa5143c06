"""Whole runs on tiny random weights: a mute or babbling model never passes, and CUDA comes to the CPU's verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

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
