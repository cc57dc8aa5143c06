"""`tells compare NEW OLD` and `tells baseline update NEW --to FILE`: a run beside the run of an earlier release."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate
from harness.console import look_of
from harness.errors import UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

ABOUT = "compare a run with the run of an earlier release, check by check; exit 1 where one got worse"
BASELINE_ABOUT = "make a green run the baseline of later ones, unless that would loosen the one there"
WRITTEN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*([A-Za-z][A-Za-z ]*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tells compare`."""
    from harness.baseline.judged import CONFIDENCE  # noqa: PLC0415 - lazy, as the other verbs

    parser.add_argument("new", type=Path, metavar="NEW", help="run.json of the new run")
    parser.add_argument("old", type=Path, metavar="OLD", help="run.json of the baseline")
    _add_delta(parser)
    parser.add_argument("--confidence", type=float, default=CONFIDENCE, metavar="C",
                        help="of each one-sided limit (default: %(default)s)")  # fmt: skip


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tells baseline`."""
    parser.add_argument("action", choices=("update",), help="update: write the run as the baseline")
    parser.add_argument("new", type=Path, metavar="NEW", help="run.json of a green run")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the baseline, e.g. baselines/run.json")
    _add_delta(parser)


def _add_delta(parser: argparse.ArgumentParser) -> None:
    from harness.baseline.comparable import DELTA  # noqa: PLC0415 - lazy, as the other verbs

    known = ", ".join(f"{number:g}{unit}" for unit, number in DELTA.items())
    parser.add_argument("--delta", action="append", default=[], metavar="0.02share",
                        help=f"worsening that is no regression; repeatable (default: {known})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print the comparison and return its code: 0, 1 regression, 3 not comparable, 4 undecided, 5 nothing compared.

    Raises:
        UsageError: a margin or the confidence cannot be read.
        RecordError: a record is not whole, or the two cannot be compared.
    """
    from harness.baseline import compare, told  # noqa: PLC0415 - lazy, as the other verbs
    from harness.baseline import opened as open_baseline  # noqa: PLC0415
    from harness.record_file import read_record  # noqa: PLC0415

    delta = margins(options.delta)
    new, old = read_record(options.new), open_baseline(options.old)
    found = compare(new, old, delta=delta, confidence=options.confidence)
    _say(told(found, look_of(sys.stdout)))
    return found.code


def run_baseline(options: argparse.Namespace) -> int:
    """Write the run as the baseline and return 0; or name what would loosen it and return 1.

    Raises:
        UsageError, RecordError: as `run`; also for a run that is not green, or not what was planned.
    """
    from harness.baseline import update  # noqa: PLC0415 - lazy, as the other verbs
    from harness.errors import RecordError  # noqa: PLC0415
    from harness.plan_file import faults  # noqa: PLC0415
    from harness.record_file import read_record  # noqa: PLC0415

    new = read_record(options.new)
    if wrong := faults(options.new, new):
        msg = f"{options.new}: {wrong[0]}; expected a run that did what it planned; run the evals again with --report"
        raise RecordError(msg)
    found = update(new, options.to, delta=margins(options.delta))
    if found:
        _say(f"The baseline stays as it is: {line(str(options.to))}. This run would loosen it:")
        _say("\n".join(found))
        return gate.FAIL
    _say(f"{line(str(options.to))}: the baseline of later runs. Commit it.")
    return gate.PASS


def margins(written: Sequence[str]) -> dict[str, float]:
    """Return unit -> margin from words such as `0.02share`.

    Raises:
        UsageError: a word is no number with a unit, or a unit stands twice.
    """
    found: dict[str, float] = {}
    for word in written:
        match = WRITTEN.fullmatch(word.strip())
        if match is None:
            msg = f"--delta {line(word)}: no margin; expected a number and its unit; e.g. --delta 0.02share"
            raise UsageError(msg)
        number, exponent, unit = match.groups()
        if unit in found:
            msg = f"--delta {line(word)}: {unit} has a margin already; expected one per unit; leave one out"
            raise UsageError(msg)
        found[unit] = float(number + (exponent or ""))
    return found


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
