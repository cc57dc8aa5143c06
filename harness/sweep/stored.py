"""`results.json` of a sweep, read back: the grid, the curves and what was called, verified under its seal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import MeasureError, RecordError
from harness.escape import line
from harness.phase.result import Call
from harness.phase.scaling import Scaling
from harness.sealing import seal_of
from harness.stats import Interval
from harness.sweep import kept, phases
from harness.sweep.grid import Sweep
from harness.sweep.phases import Called, Found, Scaled
from harness.sweep.results import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.sweep.kept import Kept

AGAIN = "run `tells sweep` again, which trains nothing that is there, and read the file that it writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A sweep as its results have it."""

    sweep: Sweep
    found: Found
    counts: Mapping[str, int]
    """`points`, `done`, `failed`, `missing`, and `invalid` checks of suites."""
    digest: str
    """Seal of the file."""


def read(data: Mapping[str, Any], where: str) -> Stored:
    """Return the sweep in the data of a `results.json`, as it was called then; nothing is called anew.

    Args:
        data: The file.
        where: Its name, for messages.

    Raises:
        RecordError: it is not what a sweep wrote.
    """
    try:
        if data["schema"] != SCHEMA or data["digest"] != seal_of(dict(data)):
            msg = (
                f"{where}: schema {line(str(data['schema']), 40)}, or its seal is broken; expected {SCHEMA} under its "
            )
            msg += f"seal; {AGAIN}"
            raise RecordError(msg)
        sweep = _sweep(data)
        known = {one["id"]: kept.restored(one) for one in data["points"] if one["status"] != "missing"}
        return Stored(sweep=sweep, found=_found(sweep, known, data["phase"]), digest=str(data["digest"]),
                      counts={str(name): int(count) for name, count in data["counts"].items()})  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, MeasureError) as error:
        what = f"{type(error).__name__}: {line(str(error), 200)}"
        msg = f"{where}: not the results of a sweep ({what}); expected them as they were written; {AGAIN}"
        raise RecordError(msg) from error


def _sweep(data: Mapping[str, Any]) -> Sweep:
    return Sweep(
        name=str(data["sweep"]), about=str(data["about"]), trainer=str(data["trainer"]), version=str(data["version"]),
        settings={name: tuple(value) if isinstance(value, list) else value for name, value in data["settings"].items()},
        axes={str(name): tuple(values) for name, values in data["axes"]}, seeds=tuple(map(int, data["seeds"])),
        control=str(data["control"]), size=str(data["size"]), behaviour=str(data["behaviour"]),
        continuous=str(data["continuous"]), reference=dict(data["reference"]), digest=str(data["file"]),
    )  # fmt: skip


def _found(sweep: Sweep, known: Mapping[str, Kept], data: Mapping[str, Any]) -> Found:
    """Return cells with their curves from the points and their calls from the file, which must be of the same cells."""
    cells = phases.cells(sweep, known)
    called = []
    for cell, one in zip(cells, data["cells"], strict=True):
        if dict(cell.axes) != one["axes"] or bool(cell.cause) is (one["call"] is not None):
            msg = f"the call of {one['axes']} is not of the points"
            raise ValueError(msg)
        call = None if one["call"] is None else Call.from_json(one["call"])
        called.append(Called(cell=cell, twin=bool(one["twin"]), call=call))
    return Found(cells=tuple(called), scaled=tuple(map(_scaled, data["scaled"])))


def _scaled(one: Mapping[str, Any]) -> Scaled:
    scaling = None
    if one["label"] != phases.UNCALLED:
        widths = {float(size): _interval(limits) for size, *limits in one["widths"]}
        trend = None if one["trend"] is None else _interval(one["trend"])
        scaling = Scaling(label=one["label"], widths=widths, trend=trend, reasons=tuple(map(str, one["reasons"])))
    return Scaled(axes=dict(one["axes"]), twin=bool(one["twin"]), scaling=scaling, cause=str(one["cause"]))


def _interval(limits: list[float]) -> Interval:
    value, low, high = map(float, limits)
    return Interval(value=value, low=low, high=high)
