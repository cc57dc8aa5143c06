"""Many faults in a row, as JSON: `python -m tests.faults.run few|all|disk FILE`; a process of its own, as it forks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults import scene
from tests.faults.boundaries import BOUNDARIES, DEATHS, ERRORS, Boundary
from tests.faults.drive import Driver, Injection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALL = "disk full"
"""The fault that every single call meets."""
SOME = ("SystemExit(0)", "SIGKILL")
"""Faults that the first calls meet, and from then on ever fewer; the others meet the first call of each boundary."""
SIZES = (0, 1500, 9000, 40_000, 70_000)
"""Bytes at which the disk is full in the short selection."""
DYING = (
    "collection", "write of the plan", "forward, answered", "store, written", "store, statement", "check", "fsync",
    "rename", "renamed", "end of the session",
)  # fmt: skip
"""Boundaries at which a process dies in the short selection."""


def few(driver: Driver) -> Iterator[Injection]:
    """One error at the first call of every boundary, another at each; and deaths where they can do most."""
    for boundary, error in zip(BOUNDARIES, itertools.cycle(ERRORS), strict=False):
        model = scene.DECEIVER if boundary.name == "page of a failure" else scene.HONEST
        if found := driver.inject(boundary, error, 1, model=model, resume=False):
            yield found
    for name, death in zip(DYING, itertools.cycle(DEATHS), strict=False):
        boundary = next(one for one in BOUNDARIES if one.name == name)
        if found := driver.inject(boundary, death, 2) or driver.inject(boundary, death, 1):
            yield found


def every(driver: Driver, boundaries: Iterable[Boundary] = BOUNDARIES) -> Iterator[Injection]:
    """Every fault at every boundary: one at every call, some at many, the others at the first.

    But for `os._exit(0)` in `tells verdict` itself: a process that ends itself with 0 has ended with 0.
    """
    for boundary in boundaries:
        faults = [fault for fault in (*ERRORS, *DEATHS) if boundary.room == "run" or fault != "os._exit(0)"]
        honest = scene.DECEIVER if boundary.name == "page of a failure" else scene.HONEST
        for fault in faults:
            yield from _calls(driver, boundary, fault, model=honest, resume=fault == "SIGKILL")
        # What is bad must not become good either.
        for fault in (one for one in ("RuntimeError", "os._exit(0)") if one in faults):
            yield from itertools.islice(
                driver.every(boundary, fault, model=scene.DECEIVER, resume=False), 2
            )  # fmt: skip


def _calls(driver: Driver, boundary: Boundary, fault: str, **more: Any) -> Iterator[Injection]:
    number = 1
    while found := driver.inject(boundary, fault, number, **more):
        yield found
        if fault not in (ALL, *SOME):
            return
        number += 1 if fault == ALL else 1 + number // 4


def disk(driver: Driver, *, step: int = 997) -> Iterator[Injection]:
    """Fill the disk at every `step` bytes, up to a size at which a run comes to its end."""
    for size in itertools.count(0, step):
        found = driver.full_disk(size)
        yield found
        if found.status == 0:
            return


def main() -> int:
    """Write what was found, line by line."""
    which, file = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, Path(file).open("w", encoding="utf-8") as out:
        driver = Driver(Path(folder))
        for found in {"few": few, "all": every, "disk": disk}[which](driver):
            out.write(json.dumps(dataclasses.asdict(found)) + "\n")
            out.flush()
        if which == "few":
            out.writelines(json.dumps(dataclasses.asdict(driver.full_disk(size))) + "\n" for size in SIZES)
            lived, wrong, ends = driver.together({1: 4, 4: 8, 6: 30})
            out.write(json.dumps({"lived": lived, "wrong": wrong, "ends": ends}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
