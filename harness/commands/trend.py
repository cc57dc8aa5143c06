"""`tells trend RUN.json`: what the checkpoints of a training say, from the record of one run on all of them."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import gate
from harness.errors import MeasureError, UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.record import RunRecord
    from harness.trend import Threshold
    from harness.writers.trends import CaseSeries

ABOUT = "show trends over the checkpoints of a run, and exit 1 where an alarm was called"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", type=Path, metavar="RUN.json", help="record of a run on several checkpoints")
    parser.add_argument("--suite", metavar="S", help="only this suite")
    parser.add_argument("--case", metavar="C", help="only this case")
    parser.add_argument("--behaviour", metavar="CASE", help="case that counts the behaviour (default: the first one)")
    parser.add_argument("--limit", type=float, metavar="SHARE",
                        help="share at which the behaviour has begun (default: the bound of its case)")  # fmt: skip
    parser.add_argument("--alarm", type=float, metavar="NUMBER",
                        help="threshold of the alarm (default: that of the trend, or of the case)")  # fmt: skip
    parser.add_argument("--control", action="append", default=[], type=Path, metavar="RUN2.json",
                        help="record of a control of another seed; three set the threshold")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print every trend; return 0 without an alarm, 1 with one, 3 where the record or a series is not whole.

    Raises:
        UsageError: the record holds no series, or not what was asked for.
    """
    from harness.record_file import read_record  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import trends  # noqa: PLC0415

    _check(options)
    record = read_record(options.run)
    controls = [read_record(path) for path in options.control]
    found = _chosen(trends.collect(record, behaviour=options.behaviour, limit=options.limit), options)
    broken = [f"{path}: {text}" for path, one in zip([options.run, *options.control], [record, *controls], strict=True)
              for text in gate.gaps(one)]  # fmt: skip
    said, alarms = [], []
    for one in found:
        try:
            threshold = _threshold(one, controls, options)
            alarms.append(threshold is not None and trends.called(one, threshold))
        except MeasureError as error:
            threshold = trends.threshold_of(one, options.alarm)
            broken.append(str(error))
        said.append((one, threshold))
    if options.json:
        _say(json.dumps({"broken": broken, "trends": [_as_json(*pair) for pair in said]}, allow_nan=False, indent=1))
    else:
        _print(said, broken)
    return gate.BROKEN if broken else gate.FAIL if any(alarms) else gate.PASS


def _check(options: argparse.Namespace) -> None:
    if options.limit is not None and not 0.0 < options.limit < 1.0:
        msg = f"--limit {options.limit}: expected a share between 0 and 1"
        raise UsageError(msg)
    if options.alarm is not None and not math.isfinite(options.alarm):
        msg = f"--alarm {options.alarm}: expected a finite number"
        raise UsageError(msg)


def _chosen(found: Sequence[CaseSeries], options: argparse.Namespace) -> list[CaseSeries]:
    if not found:
        msg = (
            f"{options.run}: no two models of this run are checkpoints of one training; expected SPECs that differ in "
            "their step alone; run the evals with --model once per checkpoint, or on the folder that holds them"
        )
        raise UsageError(msg)
    chosen = [
        one for one in found
        if options.suite in {None, one.suite} and options.case in {None, one.case}
    ]  # fmt: skip
    if not chosen:
        there = ", ".join(dict.fromkeys(f"{one.suite}::{one.case}" for one in found))
        msg = f"no such series; there are: {line(there, 400)}; mend --suite or --case"
        raise UsageError(msg)
    if options.behaviour is not None and not any(one.shares for one in chosen):
        msg = f"--behaviour {line(options.behaviour)}: none of these suites measured such a case; mend the name"
        raise UsageError(msg)
    if not options.control and options.alarm is None and all(one.alarm is None for one in chosen):
        msg = "none of these cases limits a number from above; name a threshold with --alarm, or controls"
        raise UsageError(msg)
    return chosen


def _threshold(one: CaseSeries, controls: Sequence[RunRecord], options: argparse.Namespace) -> Threshold | None:
    """Return what calls the alarm of a series.

    Raises:
        MeasureError: the controls do not measure this case on checkpoints up to the same step, or have holes.
    """
    from harness.trend import calibrated  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import trends  # noqa: PLC0415

    if not controls:
        return trends.threshold_of(one, options.alarm)
    values = []
    for control in controls:
        same = [other for other in trends.collect(control) if (other.suite, other.case) == (one.suite, one.case)]
        if not same:
            msg = f"{one.name}: a control has no series of this case; it would look quiet"
            raise MeasureError(msg)
        for other in same:
            if not set(one.series.steps) <= set(other.series.steps):
                msg = f"{other.name}: a control lacks steps of {one.name}; look at both at the same steps"
                raise MeasureError(msg)
            wanted = set(one.series.steps)
            values.append([point.value for point in other.points() if point.step in wanted])
    return calibrated(values, least=-math.inf if options.alarm is None else options.alarm)


def _print(said: Sequence[tuple[CaseSeries, Threshold | None]], broken: Sequence[str]) -> None:
    from tabulate import tabulate  # noqa: PLC0415 - lazy, as the other verbs

    from harness.writers import trends  # noqa: PLC0415

    for one, threshold in said:
        _say(f"{one.name}\n")
        _say(tabulate([[line(cell) for cell in row] for row in trends.rows(one)], headers=trends.HEADERS,
                      disable_numparse=True))  # fmt: skip
        _say("\n" + "\n".join(trends.lines(one, threshold)) + "\n")
    for text in broken:
        _say(f"NOT whole: {line(text, 400)}")


def _as_json(one: CaseSeries, threshold: Threshold | None) -> dict[str, Any]:
    from harness.trend import analyse  # noqa: PLC0415 - lazy, as the other verbs

    said: dict[str, Any] = {
        "suite": one.suite, "case": one.case, "series": one.series.name, "steps": one.series.steps,
        "behaviour": one.behaviour, "limit": one.limit,
        "threshold": None if threshold is None else dataclasses.asdict(threshold),
    }  # fmt: skip
    try:
        points = one.points()
        said["points"] = [dataclasses.asdict(point) for point in points]
        if threshold is not None:
            said["trend"] = dataclasses.asdict(analyse(points, threshold, one.limit))
    except MeasureError as error:
        said["cause"] = str(error)
    return said


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
