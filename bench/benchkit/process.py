"""CPU seconds and resident memory of this process and all its descendants, as Linux counts them."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def descendants(root: int) -> list[int]:
    """Return the ids of all processes below `root`."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def cpu_seconds() -> float:
    """Return user and system time so far; of children that ended only what was waited for."""
    ticks = os.sysconf("SC_CLK_TCK")
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for process in descendants(os.getpid()):
        if fields := _stat(process):
            total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def reset_peak() -> None:
    """Let the peak start anew at what is resident now."""
    for process in (os.getpid(), *descendants(os.getpid())):
        try:
            (_PROC / str(process) / "clear_refs").write_text("5")
        except OSError:  # not ours, gone, or not Linux: the peak then counts from the start
            continue


def peak_mib() -> float:
    """Return the sum of the peaks of all processes since `reset_peak`, in MiB."""
    total = 0
    for process in (os.getpid(), *descendants(os.getpid())):
        try:
            lines = (_PROC / str(process) / "status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return total / 1024


def _stat(process: int) -> list[str]:
    """Return the fields of /proc/N/stat after the name (state, parent, ...), none if the process is gone."""
    try:
        return (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
