"""Inject faults one by one and judge each: `Driver(root).inject(boundary, fault, number)`.

A false pass is a green answer that the run did not earn:

- `tells verdict` says 0, and the record is not word for word that of the uninterrupted run;
- the process ended with 0 of itself, and `tells verdict` does not say 0, or a report is missing (one that is ended
  by `os._exit(0)` has no word in it: that is why the verdict is asked of another process);
- an item says PASS, and is not the item of the uninterrupted run;
- `tells verdict` itself met an error and ended with 0.

An answer is lost when `put` had said that it was kept and the store does not hold it, or holds another. After every
fault the run is made again on the same store and must come to the record of the uninterrupted run.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import os
import resource
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults import scene
from tests.faults.boundaries import BOUNDARIES, DEATHS, ERRORS, Boundary, Trap, install, watch_store

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What one fault did."""

    boundary: str
    fault: str
    number: int
    """Of the call that met it, from 1."""
    model: str
    status: int
    """How the process ended: its exit code, or minus the signal."""
    code: int
    """Of `tells verdict`, afterwards."""
    states: tuple[str, ...]
    """Verdicts in the record, each once; none where there is no record."""
    false_pass: str
    """Why this is a green answer that was not earned, empty where it is none."""
    lost: int
    """Answers that the store no longer has."""
    resumed: bool
    """The next run came to the whole record, with nothing asked twice."""


class Driver:
    """A project, what is true of it, and faults."""

    def __init__(self, folder: Path) -> None:
        """Build the project in `folder` and find out what is true of it."""
        self.folder = folder
        self.root = scene.build(folder / "project")
        _warm(self.root, folder / "warm")
        self.truths = {
            model: scene.truth(self.root, model, folder / "truth" / model) for model in (scene.HONEST, scene.DECEIVER)
        }

    def inject(
        self, boundary: Boundary, fault: str, number: int, *, model: str = scene.HONEST, resume: bool = True
    ) -> Injection | None:
        """Let the N-th call at a boundary meet a fault; None where the run came to its end with fewer calls."""
        place = self._fresh()
        trap, truth = Trap(fault=fault, number=number, notes=place), self.truths[model]
        report, store = place / "out", place / "store.sqlite"
        if boundary.room == "verdict":
            shutil.copytree(self.folder / "truth" / model / "out", report)
            status = code = scene.verdict(report, lambda: install(boundary, trap))
        else:
            status = scene.pytest_run(
                self.root, scene.command(model, report, store), lambda: install(boundary, trap)
            )  # fmt: skip
            code = scene.verdict(report)
        if not (place / "fired").exists():
            return None
        wrong = ""
        if boundary.room == "verdict" and code == 0 and fault in ERRORS:
            wrong = "tells verdict met an error and ended with 0"
        wrong = wrong or _false_pass(truth, 1 if fault in DEATHS else status, code, report)
        lost, whole = self._kept(truth, place, resume=resume and boundary.room == "run")
        return Injection(
            boundary=boundary.name, fault=fault, number=number, model=model, status=status, code=code,
            states=_states(report), false_pass=wrong, lost=lost, resumed=whole,
        )  # fmt: skip

    def full_disk(self, size: int, *, model: str = scene.HONEST, resume: bool = True) -> Injection:
        """Run with no room for any file beyond `size` bytes."""
        place, truth = self._fresh(), self.truths[model]
        report, store = place / "out", place / "store.sqlite"
        trap = Trap(fault="disk full", number=0, notes=place)

        def fill() -> None:
            watch_store(trap)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        status = scene.pytest_run(self.root, scene.command(model, report, store), fill)
        code = scene.verdict(report)
        lost, whole = self._kept(truth, place, resume=resume)
        return Injection(
            boundary="whole run", fault="disk full at a byte", number=size, model=model, status=status, code=code,
            states=_states(report), false_pass=_false_pass(truth, status, code, report), lost=lost, resumed=whole,
        )  # fmt: skip

    def _fresh(self) -> Path:
        place = self.folder / "now"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    def _kept(self, truth: scene.Truth, place: Path, *, resume: bool) -> tuple[int, bool]:
        """Return how many answers are lost or wrong, and whether the next run comes to the whole record."""
        kept = {key for line in scene.lines(place / "kept") for key in json.loads(line)}
        there = scene.stored(place / "store.sqlite")
        lost = sum(there.get(key) != truth.answers[key] for key in kept)
        lost += sum(there[key] != truth.answers.get(key) for key in there)
        return lost, self._resumed(truth, place, there) if resume else True

    def every(self, boundary: Boundary, fault: str, *, step: int = 1, **more: Any) -> Iterator[Injection]:
        """Fail the first call, the second, ..., until a run comes to its end without meeting the fault."""
        number = 1
        while (found := self.inject(boundary, fault, number, **more)) is not None:
            yield found
            number += step

    def together(self, deaths: dict[int, int], count: int = 8) -> tuple[list[bool], list[str], list[int]]:
        """Let several processes run on one store at once, some of which die.

        Args:
            deaths: Number of a process -> number of the statement of SQL in which it is killed.
            count: Processes.

        Returns:
            For each that lived, whether it came to the whole record; the keys that were kept twice, and those that
            are missing or differ; how each process ended.
        """
        place = self.folder / "together"
        shutil.rmtree(place, ignore_errors=True)
        truth, store = self.truths[scene.HONEST], place / "store.sqlite"
        children = []
        for number in range(count):
            notes = place / str(number)
            notes.mkdir(parents=True)
            trap = Trap(fault="SIGKILL", number=deaths.get(number, 0), notes=notes)
            arguments = scene.command(truth.model, notes / "out", store)
            hook = functools.partial(install, named("store, statement"), trap)
            children.append(scene.started(scene.session(self.root, arguments, hook)))
        ends = [scene.ended(child) for child in children]
        lived = [
            scene.comparable(scene.record(place / str(n) / "out")) == truth.record and end == truth.status
            for n, end in enumerate(ends) if end >= 0
        ]  # fmt: skip
        kept = Counter(
            key for n in range(count) for line in scene.lines(place / str(n) / "kept") for key in json.loads(line)
        )
        there = scene.stored(store)
        wrong = [key for key, times in kept.items() if times > 1]
        wrong += [key for key in truth.answers if there.get(key) != truth.answers[key]]
        return lived, wrong, ends

    def _resumed(self, truth: scene.Truth, place: Path, before: dict[str, str]) -> bool:
        report, store = place / "again", place / "store.sqlite"
        status = scene.pytest_run(self.root, scene.command(truth.model, report, store))
        found = scene.record(report)
        if found is None or (status, scene.verdict(report)) != (truth.status, truth.code):
            return False
        counts = (found["counts"]["from_store"], found["counts"]["asked"])
        expected = (len(before), len(truth.answers) - len(before))
        return counts == expected and scene.comparable(found) == truth.record and scene.stored(store) == truth.answers


def _warm(root: Path, folder: Path) -> None:
    """Do in this process once what every run does, so that forks find it loaded and compiled."""
    import pytest  # noqa: PLC0415 - a driver is started from outside of pytest

    from harness import cli  # noqa: PLC0415 - loaded here for all forks

    before, given = Path.cwd(), dict(os.environ)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(root)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pytest.main(scene.command(scene.DECEIVER, folder, folder / "store.sqlite"))
            cli.main(["verdict", str(folder / "run.json")])
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(given)
    # What is loaded by now stays for ever: without this every fork walks and so copies all of it when it collects.
    gc.collect()
    gc.freeze()


def _states(report: Path) -> tuple[str, ...]:
    return tuple(sorted({item["verdict"] for item in (scene.record(report) or {}).get("items", ())}))


def _false_pass(truth: scene.Truth, status: int, code: int, report: Path) -> str:
    found = scene.record(report)
    same = scene.comparable(found) == truth.record
    if code == 0 and not (truth.code == 0 and same):
        return "tells verdict says 0 of a record that is not that of the uninterrupted run"
    if status == 0 and code != 0:
        return f"the process ended with 0, and tells verdict says {code}"
    missing = sorted(name for name in truth.files if not (report / name).is_file())
    if status == 0 and missing:
        return f"the process ended with 0 without {', '.join(missing)}"
    true = {item["node_id"]: item for item in truth.record["items"]}
    for item in (found or {}).get("items", ()):
        if item["verdict"] in {"PASS", "WAIVED"} and {**item, "seconds": 0} != true.get(item["node_id"]):
            return f"{item['case']} says {item['verdict']} and is not the item of the uninterrupted run"
    return ""


def named(name: str) -> Boundary:
    """Return a boundary by its name."""
    return next(boundary for boundary in BOUNDARIES if boundary.name == name)
