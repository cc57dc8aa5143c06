"""`tells trend RUN.json`: what the checkpoints of a training say, from the record of one run on all of them."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from harness import gate
from harness.checkpoints import step_of
from harness.errors import MeasureError, UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.record import RunRecord
    from harness.trend import Threshold
    from harness.writers.trends import CaseSeries

Controls: TypeAlias = "Sequence[tuple[Path, RunRecord]]"
ABOUT = "show trends over the checkpoints of a run, and exit 1 where an alarm was called"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was made of a series."""

    series: CaseSeries
    threshold: Threshold | None = None
    alarm: bool = False
    cause: str = ""
    """Why it could not be judged."""


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
        UsageError: the record holds no series, or not what was asked for; or a control is the run or another control.
    """
    from harness.record_file import read_record  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import trends  # noqa: PLC0415

    _check(options)
    record = read_record(options.run)
    controls = [(path, read_record(path)) for path in options.control]
    _once(options.run, record, controls)
    found = _chosen(trends.collect(record, behaviour=options.behaviour, limit=options.limit), options)
    said = [_judge(one, record, controls, options.alarm) for one in found]
    broken = [f"{path}: {text}" for path, one in [(options.run, record), *controls] for text in gate.gaps(one)]
    broken += [one.cause for one in said if one.cause]
    if options.json:
        _say(json.dumps({"broken": broken, "trends": [_as_json(one) for one in said]}, allow_nan=False, indent=1))
    else:
        _print(said, broken)
    return gate.BROKEN if broken else gate.FAIL if any(one.alarm for one in said) else gate.PASS


def _check(options: argparse.Namespace) -> None:
    if options.limit is not None and not 0.0 < options.limit < 1.0:
        msg = f"--limit {options.limit}: expected a share between 0 and 1"
        raise UsageError(msg)
    if options.alarm is not None and not math.isfinite(options.alarm):
        msg = f"--alarm {options.alarm}: expected a finite number"
        raise UsageError(msg)


def _once(path: Path, record: RunRecord, controls: Controls) -> None:
    known = {record.digest: path}
    for other, control in controls:
        if control.digest in known:
            msg = (
                f"--control {other}: it is the same record as {known[control.digest]}; expected records of other "
                "trainings, each once, since they are counted as independent; name one control per seed"
            )
            raise UsageError(msg)
        known[control.digest] = other


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


def _judge(one: CaseSeries, record: RunRecord, controls: Controls, wanted: float | None) -> Judged:
    """Return whether the alarm of a series was called, or why nobody can tell."""
    from harness.trend import calibrated  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import trends  # noqa: PLC0415

    try:
        threshold = trends.threshold_of(one, wanted)
        if controls:
            values = _trajectories(one, record, controls)
            threshold = calibrated(values, least=-math.inf if wanted is None else wanted)
        called = threshold is not None and trends.called(one, threshold)
    except MeasureError as error:
        return Judged(series=one, cause=str(error))
    return Judged(series=one, threshold=threshold, alarm=called)


def _trajectories(one: CaseSeries, record: RunRecord, controls: Controls) -> list[list[float]]:
    """Return the numbers of every control at the steps of a series.

    Raises:
        MeasureError: a control does not measure this case in the same way on checkpoints up to the same step, has holes
            or copies, or shares a checkpoint other than step 0 with the run or with another control.
    """
    from harness.writers import trends  # noqa: PLC0415 - lazy, as the other verbs

    wanted, values = set(one.series.steps), []
    mine = sorted((step_of(model.spec) or 0, model.spec, model.digest) for model in record.models)
    known = {digest: (spec, step) for step, spec, digest in mine}
    for path, control in controls:
        same = [other for other in trends.collect(control) if (other.suite, other.case) == (one.suite, one.case)]
        if not same:
            msg = f"{one.name}: a control has no series of this case; it would look quiet"
            raise MeasureError(msg)
        _alike(one, record, path, control)
        for other in same:
            if not wanted <= set(other.series.steps):
                msg = f"{other.name}: a control lacks steps of {one.name}; look at both at the same steps"
                raise MeasureError(msg)
            values.append([point.value for point in other.sound() if point.step in wanted])
            _apart(other, path, known)
    return values


def _alike(one: CaseSeries, record: RunRecord, path: Path, control: RunRecord) -> None:
    """Refuse a control that asked something else: its numbers are on another scale.

    Raises:
        MeasureError: the suite or the profile differ.
    """
    suites = [next(suite.digest for suite in run.suites if suite.id == one.suite) for run in (record, control)]
    for what, (mine, other) in {"profile": (record.profile, control.profile), f"suite {one.suite}": suites}.items():
        if mine != other:
            msg = (
                f"{one.name}: --control {path} has the {what} {other}, and the run {mine}; expected the same of both, "
                "since their numbers are compared; run the evals again on that control"
            )
            raise MeasureError(msg)


def _apart(other: CaseSeries, path: Path, known: dict[str, tuple[str, int]]) -> None:
    """Refuse a control that is not independent of what is `known`, and add its checkpoints to that.

    Step 0 is the untouched model, from which any number of trainings start: it alone may be shared.

    Raises:
        MeasureError: a checkpoint is shared.
    """
    for spec, step, digest in zip(other.series.specs, other.series.steps, other.digests, strict=True):
        whose, at = known.setdefault(digest, (f"{path}, {spec}", step))
        if (whose, at) != (f"{path}, {spec}", step) and (step or at):
            msg = (
                f"{other.name}: --control {path} is no control: step {step} has the weights of {whose}; expected "
                "trainings of their own, with no checkpoint but step 0 in common; name a control of another seed"
            )
            raise MeasureError(msg)


def _print(said: Sequence[Judged], broken: Sequence[str]) -> None:
    from tabulate import tabulate  # noqa: PLC0415 - lazy, as the other verbs

    from harness.writers import trends  # noqa: PLC0415

    for one in said:
        _say(f"{one.series.name}\n")
        _say(tabulate([[line(cell) for cell in row] for row in trends.rows(one.series)], headers=trends.HEADERS,
                      disable_numparse=True))  # fmt: skip
        told = [f"Not judged: {line(one.cause, 400)}"] if one.cause else trends.lines(one.series, one.threshold)
        _say("\n" + "\n".join(told) + "\n")
    for text in broken:
        _say(f"NOT whole: {line(text, 400)}")


def _as_json(judged: Judged) -> dict[str, Any]:
    from harness.trend import analyse  # noqa: PLC0415 - lazy, as the other verbs

    one, threshold = judged.series, judged.threshold
    said: dict[str, Any] = {
        "suite": one.suite, "case": one.case, "series": one.series.name, "steps": one.series.steps,
        "behaviour": one.behaviour, "limit": one.limit,
        "threshold": None if threshold is None else dataclasses.asdict(threshold),
    }  # fmt: skip
    if judged.cause:
        said["cause"] = judged.cause
    try:
        said["points"] = [dataclasses.asdict(point) for point in one.points()]
        if threshold is not None:
            said["trend"] = dataclasses.asdict(analyse(one.judged(threshold), threshold, one.limit))
    except MeasureError as error:
        said.setdefault("cause", str(error))
    return said


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
