"""`tells report RUN.json ... --out DIR`: the pages of a run again, or of several runs a page beside each other."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate
from harness.commands.places import root_of
from harness.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.policy.policy import Policy
    from harness.record import RunRecord
    from harness.writers import Standing

ABOUT = "write release.md, report.html and the like again from run.json; of several runs comparison.html and .md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb that are its own."""
    parser.add_argument("run", nargs="+", type=Path, metavar="RUN.json",
                        help="the run.json that --report wrote; several of them are put side by side")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument("--baseline", type=Path, metavar="RUN.json", help="an earlier run to compare with")
    parser.add_argument("--with", dest="attached", action="append", default=[], type=Path, metavar="PATH",
                        help="results of tells sweep, ladder or controls to show in report.html; a folder or its "
                        "results.json; repeatable")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the pages, print their paths and return 0, whatever the runs say.

    Raises:
        UsageError: restricted texts without --show-restricted, or an option that one or several runs cannot have.
        RecordError: a record is torn, runs cannot be compared, or a page could not be written.
    """
    records = [_opened(path, show=options.show_restricted) for path in options.run]
    written = _one(options, records[0]) if len(records) == 1 else _several(options, records)
    for path in written:
        sys.stdout.write(f"{path}\n")
    return gate.PASS


def policy_of(options: argparse.Namespace, record: RunRecord) -> tuple[Policy | None, dt.date]:
    """Return the policy that is named, and the day on which its waivers must hold.

    Raises:
        UsageError: a day without a policy.
        CaseFileError: the policy cannot be used.
    """
    if options.policy is None and options.today is not None:
        msg = "--today: a day says something of waivers alone, and a policy names them; add --policy FILE"
        raise UsageError(msg)
    today = options.today or dt.datetime.now(dt.UTC).date()
    if options.policy is None:
        return None, today
    from harness.policy.reader import load_policy  # noqa: PLC0415 - brings YAML

    return load_policy(options.policy, root_of(options.policy), record.suites), today


def _one(options: argparse.Namespace, record: RunRecord) -> Iterable[Path]:
    from harness.commands.attached import sections_of  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import PAGES, write_all  # noqa: PLC0415 - brings the template engine

    sections = sections_of(options.attached, len(record.items))
    standing = _standing(options, options.run[0], record, options.baseline)
    return write_all(record, options.out, PAGES, standing=standing, sections=sections)


def _several(options: argparse.Namespace, records: list[RunRecord]) -> Iterable[Path]:
    from harness.writers import comparison  # noqa: PLC0415 - brings the template engine

    for name, given in (("--baseline", options.baseline), ("--with", options.attached)):
        if given:
            msg = (
                f"{name}: {len(records)} runs are put side by side, the first of them is what the others are held "
                f"against; expected one run with {name}; leave it out, or name one run"
            )
            raise UsageError(msg)
    runs = [
        comparison.Beside(path=str(path), record=record, standing=_standing(options, path, record))
        for path, record in zip(options.run, records, strict=True)
    ]
    return comparison.write(runs, options.out)


def _standing(options: argparse.Namespace, path: Path, record: RunRecord, baseline: Path | None = None) -> Standing:
    from harness import plan_file  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers import Standing  # noqa: PLC0415

    policy, today = policy_of(options, record)
    found = None
    if baseline is not None:
        from harness.baseline import compare, opened  # noqa: PLC0415 - as above

        found = compare(record, opened(baseline))
    result = gate.judge_run(record, policy, today=today, beside=plan_file.faults(path, record))
    return Standing(result=result, policy=policy, today=today, baseline=found)


def _opened(path: Path, *, show: bool) -> RunRecord:
    from harness.record_file import read_record  # noqa: PLC0415 - lazy, as the other verbs

    record = read_record(path)
    if record.shown and not show:
        msg = (
            f"{path}: the record shows texts of restricted suites; expected --show-restricted; add it where the pages "
            "may show them too, else run the evals again without"
        )
        raise UsageError(msg)
    return record
