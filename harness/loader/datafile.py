"""Rows of a data file: csv, json or jsonl, as text and lists of text with the line that each came from."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from harness.loader.files import MAX_DATA_BYTES
from harness.loader.report import Report, shown

if TYPE_CHECKING:
    from pathlib import Path

MAX_ROWS = 20_000
MAX_PROBLEMS = 20
MAX_FIELD = 1 << 20

Row = tuple[int, dict[str, Any]]
"""1-based line and the columns."""


def read_rows(report: Report, path: Path, data: bytes) -> list[Row]:
    """Return the rows of a data file.

    Args:
        report: of the data file; takes the problems.
        path: the file; its ending tells the format.
        data: its bytes.

    Raises:
        CaseFileError: nothing in it can be used.
    """
    readers = {".csv": _csv, ".json": _json, ".jsonl": _jsonl}
    if path.suffix not in readers:
        report.add_at(1, 1, f"the ending {path.suffix!r} is not known; use .csv, .json or .jsonl")
    if len(data) > MAX_DATA_BYTES:
        report.add_at(1, 1, f"more than {MAX_DATA_BYTES} bytes; sample the file down outside")
    report.stop()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.add_at(line, 1, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file in the encoding UTF-8")
        report.stop()
    if "\x00" in text:
        report.add_at(text.count("\n", 0, text.index("\x00")) + 1, 1, "a NUL character; take it out")
        report.stop()
    rows = readers[path.suffix](report, text)
    report.stop()
    if not rows:
        report.add_at(1, 1, "no rows; expected at least one beside the header")
    if len(rows) > MAX_ROWS:
        report.add_at(rows[MAX_ROWS][0], 1, f"more than {MAX_ROWS} rows; sample the file down outside")
    report.stop()
    return rows


def _csv(report: Report, text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = next(reader, [])
        for name in {name for name in header if header.count(name) > 1 or not name.strip()}:
            report.add_at(1, 1, f"the column {shown(name)} is nameless or stands twice; rename it")
        start = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                report.add_at(start, 1, f"{len(cells)} cells for {len(header)} columns; quote cells that hold a comma")
            elif cells:
                rows.append((start, dict(zip(header, cells, strict=True))))
            start = reader.line_num + 1
            if len(report.problems) >= MAX_PROBLEMS:
                break
    except csv.Error as error:
        report.add_at(reader.line_num, 1, f"this is not valid CSV: {error}; check the quotes")
    return rows


def _refuse_constant(word: str) -> Any:
    msg = f"{word} is no number that can be compared"
    raise ValueError(msg)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        double = next(key for index, (key, _) in enumerate(pairs) if key in {other for other, _ in pairs[:index]})
        msg = f"the key {double!r} stands twice in one object"
        raise ValueError(msg)
    return made


def _parse(report: Report, text: str, line: int) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        report.add_at(line + error.lineno - 1, error.colno, f"this is not valid JSON: {error.msg}; mend this place")
    except RecursionError:
        report.add_at(line, 1, "nested too deep; a row is an object of texts and lists of texts")
    except ValueError as error:
        report.add_at(line, 1, f"this is not valid JSON: {error}; mend this place")
    return None


def _jsonl(report: Report, text: str) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and len(report.problems) < MAX_PROBLEMS:
            row = _parse(report, line, number)
            if isinstance(row, dict):
                rows.append((number, row))
            elif report.clean():
                report.add_at(number, 1, "expected an object; write {...} on every line")
    return rows


def _json(report: Report, text: str) -> list[Row]:
    loaded = _parse(report, text, 1)
    if report.clean() and (not isinstance(loaded, list) or not all(isinstance(row, dict) for row in loaded)):
        report.add_at(1, 1, "expected a list of objects; write [{...}, {...}]")
    report.stop()
    lines = _object_lines(text)
    return [(line, row) for line, row in zip(lines, loaded, strict=True)]


def _object_lines(text: str) -> list[int]:
    """Return the line of each object in a JSON list of objects that has been parsed already."""
    decoder, position, line, counted, lines = json.JSONDecoder(), text.index("[") + 1, 1, 0, []
    while (position := text.find("{", position)) != -1:
        line += text.count("\n", counted, position)
        counted = position
        lines.append(line)
        _, position = decoder.raw_decode(text, position)
    return lines
