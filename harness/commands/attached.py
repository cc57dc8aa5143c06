"""What sweeps, ladders and controls left behind, as sections of a report: `tells report RUN.json --with PATH`."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import RecordError, UsageError
from harness.escape import line
from harness.figures.curves import CurveFigure
from harness.figures.points import ScalingFigure
from harness.figures.steps import StepsFigure
from harness.writers.sections.base import Section, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.figures.drawing import Cells, Figure

RESULTS = "results.json"
MAX_BYTES_DRAWN = 300_000
"""Of all figures with their tables, so that the page stays below a megabyte; those of a library weigh 25 to 75 kB."""
LEAST_BYTES_DRAWN = 40_000
EACH_CHECK = 260
"""Bytes that a check of the run takes from the room for figures."""
MAX_BYTES = 64 * 2**20
_KINDS = "what `tells sweep`, `tells ladder` or `tells controls` wrote"


def sections_of(paths: Iterable[Path], checks: int = 0) -> tuple[Section, ...]:
    """Return a section for each result, each under an anchor of its own.

    Args:
        paths: Files, or folders that hold `results.json`, themselves or in the folders of several controls.
        checks: Of the run that they stand behind: the more there are, the fewer figures have room.

    Raises:
        UsageError: a path holds no such file, or one of something else.
        RecordError: a file is damaged.
    """
    found: list[Section] = []
    room = max(MAX_BYTES_DRAWN - EACH_CHECK * checks, min(LEAST_BYTES_DRAWN, MAX_BYTES_DRAWN))
    for path in paths:
        for file in _files(path):
            section, room = _fitted(_section(_read(file), str(file)), room)
            if any(section.anchor == other.anchor for other in found):
                msg = f"--with {path}: {section.title} is there already; expected each once; leave one out"
                raise UsageError(msg)
            found.append(section)
    return tuple(found)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / RESULTS] if (path / RESULTS).is_file() else sorted(path.glob(f"*/{RESULTS}"))
    if not found:
        msg = f"--with {path}: no {RESULTS} there; expected a file or folder of {_KINDS}; mend the path"
        raise UsageError(msg)
    return found


def _read(path: Path) -> dict[str, Any]:
    def refuse(word: str) -> NoReturn:
        msg = f"it holds {word}, which is no number"
        raise ValueError(msg)

    def finite(word: str) -> float:
        return number if math.isfinite(number := float(word)) else refuse(word)

    try:
        if path.stat().st_size > MAX_BYTES:
            refuse(f"more than {MAX_BYTES} bytes")
        data = json.loads(path.read_bytes(), parse_constant=refuse, parse_float=finite)
    except (OSError, ValueError, RecursionError) as error:
        msg = f"--with {path}: cannot be read ({line(str(error), 200)}); expected {_KINDS}; write it again"
        raise RecordError(msg) from error
    if not isinstance(data, dict):
        msg = f"--with {path}: no object; expected {_KINDS}; name another file"
        raise UsageError(msg)
    return data


def _section(data: Mapping[str, Any], where: str) -> Section:
    kinds: tuple[tuple[str, Callable[[Mapping[str, Any], str], Section]], ...] = (
        ("sweep", _sweep), ("ladder", _ladder), ("control", _control),
    )  # fmt: skip
    # A sweep names its control variable too, so that the order counts.
    for key, make in kinds:
        if key in data:
            return make(data, where)
    msg = f"--with {where}: neither a sweep, a ladder nor a control; expected {_KINDS}; name another file"
    raise UsageError(msg)


def _sweep(data: Mapping[str, Any], where: str) -> Section:
    from harness.sweep import results, stored  # noqa: PLC0415 - only who names a sweep needs it
    from harness.sweep.figures import figures  # noqa: PLC0415 - as above

    one = stored.read(data, where)
    sweep, counts = one.sweep, one.counts
    said = [sweep.about, f"{counts['done']} of {counts['points']} points are trained."]
    if counts["done"] < counts["points"]:
        said.append(f"INCOMPLETE: {counts['failed']} failed, {counts['missing']} missing.")
    if counts["invalid"]:
        said.append(f"{counts['invalid']} checks of suites could not be measured.")
    tables: list[tuple[str, Cells]] = [("What changes, and how", results.called_cells(sweep, one.found))]
    if sweep.size:
        tables.append((f"With {sweep.size}", results.scaled_cells(sweep, one.found)))
    # Where no size changes, an empty chart says less than the table above it.
    drawn = [
        figure
        for figure in figures(sweep, one.found)
        if not isinstance(figure, ScalingFigure) or any(size.width for size in figure.sizes)
    ]
    return _made(("sweep", sweep.name), where, said, tables, drawn)


def _ladder(data: Mapping[str, Any], where: str) -> Section:
    from harness.ladder.results import LEGEND, result_of  # noqa: PLC0415 - only who names a ladder needs it

    try:
        found = result_of(data)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise _odd(where, "ladder", error) from error
    figure = found.figure()
    drawn: Sequence[Figure] = [figure] if figure.rungs else []
    name = f"{found.ladder} on {found.model.get('spec', '')}"
    return _made(("ladder", name), where, [*found.said(), LEGEND], [("Rungs", found.cells())], drawn)


def _control(data: Mapping[str, Any], where: str) -> Section:
    from harness.controls.summary import parts  # noqa: PLC0415 - only who names a control needs it

    try:
        met = data["met"] is True and all(one["met"] is True and not one["missed_by"] for one in data["demands"])
        said = ["Every demand was met at every seed." if met else "NOT every demand was met."]
        tables: list[tuple[str, Cells]] = []
        caption = "Demands"
        for part in parts(data):
            if isinstance(part, str):
                caption = part
            else:
                tables.append((caption, part))
        return _made(("control", str(data["control"])), where, said, tables, [])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, RuntimeError) as error:
        raise _odd(where, "control", error) from error


def _made(
    named: tuple[str, str], where: str, said: Sequence[str], tables: Sequence[tuple[str, Cells]],
    figures: Sequence[Figure],
) -> Section:  # fmt: skip
    kind, name = named
    words = [" ".join(text.split()) for text in said]
    return Section(
        anchor=f"{kind}-{slug(name)}", title=f"{kind.capitalize()} {line(name, 120)}",
        said=(*words, f"From {line(where, 200)}."), tables=tuple(tables), figures=tuple(map(_light, figures)),
    )  # fmt: skip


def _light(figure: Figure) -> Figure:
    """Return curves as a figure of a few kilobytes: a library's of hundreds of points weighs ten times as much."""
    if not isinstance(figure, CurveFigure):
        return figure
    marks = [
        dataclasses.replace(mark, name=f"{panel.title}: {mark.name}") for panel in figure.panels for mark in panel.marks
    ]
    return StepsFigure(
        title=figure.title, panels=figure.panels, marks=tuple(marks), x_name=figure.x_name, note=figure.note
    )


def _fitted(section: Section, room: int) -> tuple[Section, int]:
    """Return a section with as many of its figures as there is room for, and the room that is left, in bytes."""
    kept: list[Figure] = []
    left: list[str] = []
    for figure in section.figures:
        weight = len(figure.svg()) + sum(len(cell) + 9 for row in figure.cells()[1] for cell in row)
        if weight <= room:
            kept.append(figure)
            room -= weight
        else:
            left.append(figure.title)
    said = (f"Left out to keep the page small, and to be found beside the results: {', '.join(left)}.",) if left else ()
    return dataclasses.replace(section, figures=tuple(kept), said=(*section.said, *said)), room


def _odd(where: str, kind: str, error: Exception) -> RecordError:
    what = f"{type(error).__name__}: {line(str(error), 200)}"
    return RecordError(
        f"--with {where}: not the results of a {kind} ({what}); expected the file as it was written; write it again"
    )
