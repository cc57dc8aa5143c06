"""The benchmarks measure what they say: least work, tables, tests of chance; and the whole path of the GPU one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    """Import modules of bench/benchkit by name."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))

    def load(name: str) -> Any:
        return importlib.import_module(f"benchkit.{name}")

    return load


def ask(kit: Any, group: int, context: tuple[int, ...], **more: Any) -> Any:
    return kit("workloads").Ask(group=group, messages=(), context="", context_ids=context, **more)


def test_every_distinct_prefix_counts_once_and_is_read_once(kit):
    flops = kit("flops")
    asks = [
        ask(kit, 0, (1, 2), continuation_ids=(3, 4)),  # passes 1 2 3, reads after 2 and after 3
        ask(kit, 0, (1, 2), continuation_ids=(3, 5)),  # the same three
        ask(kit, 1, (1, 9, 9), continuation_ids=(3,)),  # passes 9 9 more, reads after the last
    ]
    least = flops.scored(asks)
    assert (least.tokens, least.read, least.depth) == (5, 3, 1 + 2 + 3 + 2 + 3)


def test_the_last_token_of_a_completion_is_never_passed(kit):
    flops = kit("flops")
    asks = [ask(kit, 0, (1, 2), max_new=3, n=2)]
    least = flops.generated(asks, [[[7, 8, 0], [7, 0]]])
    assert (least.tokens, least.read) == (4, 3)  # 1 2 7 8, read after 2, 7 and 8


def test_flop_of_a_token_is_two_per_parameter_two_per_logit_and_four_per_key(kit):
    flops = kit("flops")
    shape = flops.Shape(layers=1, hidden=4, inner=8, heads=2, key_heads=1, head_dim=2, vocabulary=10)
    body = 4 * 2 * 2 * 3 + 3 * 4 * 8
    assert shape.body == body
    assert flops.Minimum(tokens=1, read=1, depth=1).flop(shape) == 2 * body + 2 * 4 * 10 + 4 * 2 * 2


def test_parts_of_workloads(kit):
    part = kit("workloads").Part
    assert str(part.parse("W1:64")) == "W1:64"
    assert part.parse("W2").of((1, 2, 3)) == (1, 2, 3)
    with pytest.raises(ValueError, match="W9"):
        part.parse("W9")


def test_absent_data_are_named(kit, tmp_path):
    with pytest.raises(FileNotFoundError, match="--data"):
        kit("workloads").build(None, tmp_path)


def test_workloads_survive_the_file(kit, tmp_path):
    workloads, synthetic = kit("workloads"), kit("synthetic")
    asks = synthetic.build(100, scale=0.02)["W3"]
    workloads.save(asks, tmp_path / "W3.json")
    assert workloads.load(tmp_path / "W3.json") == asks


def test_a_peer_counts_with_its_best_setting(kit):
    report = kit("report")
    common = {
        "workload": "W1:4", "dtype": "float32", "threads": 1, "peak_mib": 1, "whole_peak_mib": 1, "new_tokens": 0,
        "passed_tokens": 6, "minimum_tokens": 5, "gemm_gflops": 1, "fraction": 0.5,
    }  # fmt: skip
    runs = [
        {**common, "system": system, "setting": setting, "cpu": cpu, "wall": cpu}
        for system, setting, cpu in [
            ("ours", "ours", 2.0),
            ("ours", "ours", 9.0),
            ("ours", "ours", 3.0),
            ("lmeval", "lmeval 4/8", 12.0),
            ("lmeval", "lmeval 8/24", 6.0),
        ]
    ]
    text = report.markdown(runs)
    assert "| 2.00x" in text  # 6 over the median 3
    assert "1.200" in text  # tokens passed over the minimum


def test_chi_square_finds_a_wrong_distribution_and_leaves_a_right_one_alone(kit):
    chance = kit("chance")
    exact = torch.tensor([0.5, 0.3, 0.19, 0.01], dtype=torch.float64)
    assert chance.chi_square(Counter({0: 50, 1: 30, 2: 19, 3: 1}), exact) > 0.9
    assert chance.chi_square(Counter({0: 19, 1: 30, 2: 50, 3: 1}), exact) < 1e-6
    assert chance.chi_square(Counter({0: 100}), torch.tensor([1.0, 0.0], dtype=torch.float64)) is None


def test_gaps_are_measured_to_the_nearest_edge(kit):
    found = kit("chance").gaps(torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64), [0.4, 0.26])
    assert found == pytest.approx([0.1, 0.01])


def test_no_gpu_is_no_failure():
    done = run("--device", "cuda")
    assert done.returncode == 0
    assert "no CUDA device" in done.stdout


def test_the_gpu_benchmark_runs_on_a_tiny_model(tmp_path):
    done = run("--device", "cpu", "--tiny", "--rounds", "1", "--dtype", "float32", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gpu.md").read_text().count("| ours") == 4


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
