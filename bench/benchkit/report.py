"""Medians over rounds, ratios against each peer's best setting, tables."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Run = dict[str, Any]
"""One line of a worker."""
_HEAD = (
    "workload", "dtype", "threads", "setting", "n", "CPU s", "wall s", "min..max", "peak MiB", "whole MiB",
    "passed/minimum", "new tokens", "GEMM GFLOP/s", "% of peak",
)  # fmt: skip
_RATIOS = ("workload", "dtype", "threads", "peer", "its best", "CPU s", "ours CPU s", "CPU ratio", "wall ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One setting on one workload, medians over the rounds."""

    workload: str
    dtype: str
    threads: int
    system: str
    setting: str
    rounds: int
    cpu: float
    wall: float
    cpu_range: tuple[float, float]
    peak_mib: float
    whole_peak_mib: float
    passed: float | None
    """Tokens passed over the minimum."""
    new_tokens: float
    gemm_gflops: float
    fraction: float
    """Of what a plain matrix product reached in the same process, by wall time."""


def cells(runs: Iterable[Run]) -> list[Cell]:
    """Return a cell per (workload, dtype, threads, setting), in the order met within a workload."""
    groups: dict[tuple[str, str, int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["workload"], run["dtype"], run["threads"], run["setting"]), []).append(run)
    found = [_cell(group) for group in groups.values()]
    return sorted(found, key=lambda cell: (cell.workload, cell.dtype, cell.threads))


def best(found: Sequence[Cell]) -> dict[tuple[str, str, int, str], Cell]:
    """Return, by (workload, dtype, threads, system), the setting with the fewest CPU seconds."""
    chosen: dict[tuple[str, str, int, str], Cell] = {}
    for cell in found:
        key = (cell.workload, cell.dtype, cell.threads, cell.system)
        if key not in chosen or cell.cpu < chosen[key].cpu:
            chosen[key] = cell
    return chosen


def markdown(runs: Iterable[Run]) -> str:
    """Return both tables."""
    found = cells(runs)
    rows = [
        (
            cell.workload, cell.dtype, cell.threads, cell.setting, cell.rounds, f"{cell.cpu:.2f}", f"{cell.wall:.2f}",
            f"{cell.cpu_range[0]:.2f}..{cell.cpu_range[1]:.2f}", f"{cell.peak_mib:.0f}", f"{cell.whole_peak_mib:.0f}",
            "" if cell.passed is None else f"{cell.passed:.3f}", f"{cell.new_tokens:.0f}",
            f"{cell.gemm_gflops:.0f}", f"{cell.fraction:.0%}",
        )
        for cell in found
    ]  # fmt: skip
    table = tabulate(rows, _HEAD, tablefmt="github", disable_numparse=True)
    return table + "\n\n" + tabulate(_ratios(found), _RATIOS, tablefmt="github", disable_numparse=True) + "\n"


def _ratios(found: Sequence[Cell]) -> list[tuple[object, ...]]:
    chosen = best(found)
    rows: list[tuple[object, ...]] = []
    for (workload, dtype, threads, system), peer in chosen.items():
        mine = chosen.get((workload, dtype, threads, "ours"))
        if system == "ours" or mine is None:
            continue
        rows.append(
            (
                workload, dtype, threads, system, peer.setting, f"{peer.cpu:.2f}", f"{mine.cpu:.2f}",
                f"{peer.cpu / mine.cpu:.2f}x", f"{peer.wall / mine.wall:.2f}x",
            )
        )  # fmt: skip
    return rows


def _cell(group: Sequence[Run]) -> Cell:
    def median(name: str) -> float:
        return statistics.median(float(run[name]) for run in group)

    first = group[0]
    passed = [run["passed_tokens"] / run["minimum_tokens"] for run in group if run["passed_tokens"] is not None]
    cpus = [float(run["cpu"]) for run in group]
    return Cell(
        workload=first["workload"], dtype=first["dtype"], threads=first["threads"], system=first["system"],
        setting=first["setting"], rounds=len(group), cpu=median("cpu"), wall=median("wall"),
        cpu_range=(min(cpus), max(cpus)), peak_mib=median("peak_mib"), whole_peak_mib=median("whole_peak_mib"),
        passed=statistics.median(passed) if passed else None, new_tokens=median("new_tokens"),
        gemm_gflops=median("gemm_gflops"), fraction=median("fraction"),
    )  # fmt: skip
