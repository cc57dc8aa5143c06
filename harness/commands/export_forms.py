"""`tells export inspect|csv|jsonl|parquet RUN.json ... --out FILE_OR_DIR`: a record in the form of another tool.

Nothing is written unless every record is whole. Exit codes: 0 written; 2 the command line is wrong, or an extra is not
installed; 3 a record is not whole, or the file system refuses.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import gate
from harness.errors import RecordError, UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from harness.exports.tables import Table
    from harness.record import RunRecord

INSPECT = "inspect"
FORMS = (INSPECT, "csv", "jsonl", "parquet")
ITEMS = "items"
FINDINGS = "findings"
LONE = re.compile("[\ud800-\udfff]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that only forms have."""
    forms = parser.add_argument_group("for a form")
    forms.add_argument("--internal", action="store_true", help="keep the texts of suites with `hazard: internal`")
    forms.add_argument("--texts", action="store_true", help="csv, parquet: texts in the table `exchanges` too")
    forms.add_argument("--table", metavar="NAME",
                       help="of one file: items (the default), scenarios, exchanges or findings")  # fmt: skip


def given(options: argparse.Namespace) -> bool:
    """Tell whether the command line has one of those."""
    return bool(options.internal or options.texts or options.table)


def run(form: str, runs: Sequence[Path], options: argparse.Namespace) -> int:
    """Write the form of the records in the files `runs` and return 0.

    Raises:
        UsageError: the command line asks for what cannot be done.
        RecordError: a record is not whole, or the file system refuses.
    """
    from harness.exports.readable import readable  # noqa: PLC0415 - lazy, as the other verbs

    records = [readable(_opened(path), internal=options.internal) for path in runs]
    files = _logs(records, options) if form == INSPECT else _tables(form, records, options)
    for path in _write(options.out, files):
        sys.stdout.write(f"{line(str(path))}\n")
    return gate.PASS


def _opened(path: Path) -> RunRecord:
    from harness import plan_file  # noqa: PLC0415 - lazy, as the other verbs
    from harness.record_file import read_record  # noqa: PLC0415

    record = read_record(path)
    if wrong := plan_file.faults(path, record):
        msg = f"{path}: {wrong[0]}; expected a run that did what it planned; nothing was written"
        raise RecordError(msg)
    return record


def _logs(records: Sequence[RunRecord], options: argparse.Namespace) -> dict[str, bytes]:
    from harness.exports import inspect_log  # noqa: PLC0415 - lazy, as the other verbs

    if options.texts or options.table:
        msg = "tells export inspect: --texts and --table are for tables; expected neither of them; leave them out"
        raise UsageError(msg)
    if len(records) != 1 or records[0].certification is not None:
        msg = (
            f"tells export inspect: {len(records)} records, or one of a certification; expected one run on models; "
            "export runs one by one, and a certification as csv, jsonl or parquet"
        )
        raise UsageError(msg)
    found = inspect_log.logs(records[0])
    if options.out.suffix == ".json" and len(found) != 1:
        msg = (
            f"--out {line(str(options.out))}: the run makes {len(found)} logs, one for each suite on each model; "
            "expected a folder for them; name one"
        )
        raise UsageError(msg)
    return {name: _json(log) for name, log in found.items()}


def _json(log: Mapping[str, Any]) -> bytes:
    r"""Return a log as JSON; halves of surrogate pairs, which its reader refuses, are written out as `\ud83d`."""
    text = json.dumps(log, ensure_ascii=False, allow_nan=False, indent=1)
    return (LONE.sub(lambda found: f"\\\\u{ord(found.group()):04x}", text) + "\n").encode()


def _tables(form: str, records: Sequence[RunRecord], options: argparse.Namespace) -> dict[str, bytes]:
    from harness.exports import files  # noqa: PLC0415 - lazy, as the other verbs
    from harness.exports.tables import COLUMNS, TEXTS, tables_of  # noqa: PLC0415

    one = options.out.suffix == files.FILES[form]
    if options.table is not None and (options.table not in COLUMNS or not one):
        msg = (
            f"--table {line(options.table)}: expected one of {', '.join(COLUMNS)}, and --out a file that ends in "
            f"{files.FILES[form]}; mend one of them, or leave --table out for a folder with all"
        )
        raise UsageError(msg)
    found: dict[str, Table] = tables_of(records)
    if form != "jsonl" and not options.texts:
        found["exchanges"] = found["exchanges"].without(TEXTS)
    filled = [name for name, table in found.items() if table.rows] or [ITEMS]
    chosen = [options.table or (ITEMS if ITEMS in filled else FINDINGS)] if one else filled
    return {f"{name}{files.FILES[form]}": files.AS[form](found[name]) for name in chosen}


def _write(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write one file where `out` has its ending, else a folder of all of them."""
    from harness.exports.files import check_absent, whole_file, whole_folder  # noqa: PLC0415 - lazy, as the other verbs

    if out.suffix in {Path(name).suffix for name in files}:
        [content] = files.values()
        whole_file(out, content)
        return [out]
    check_absent(out)
    with whole_folder(out) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return [out / name for name in files]
