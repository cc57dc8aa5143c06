"""Tables as files, and folders that are there whole or not at all. The same tables make the same bytes.

Spreadsheets run a text cell that begins with `=`, `+`, `-` or `@` as a formula, and a model writes what it likes. So in
CSV a text that begins with one of these, with a tab or with a line break gets an apostrophe before it, and so does one
that begins with an apostrophe: whoever wants the text itself takes one leading apostrophe away. JSON Lines and Parquet
hold every text as it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.canonical import encodable
from harness.errors import RecordError, UsageError
from harness.escape import line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.exports.tables import Kind, Table

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""How a text begins that a spreadsheet might run, full-width forms too, or that could be taken for one made safe."""
MUST_QUOTE = re.compile(r"[\",\n\r]|^\s|\s$")
FILES: Mapping[str, str] = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}
"""Form -> end of its files."""


def as_csv(table: Table) -> bytes:
    r"""Return `table` as CSV: RFC 4180 with line feeds, UTF-8, a header, an empty cell for None.

    Lists and objects are JSON. NUL and halves of surrogate pairs, which CSV cannot hold, are written `\x00`, `\ud83d`.
    """
    lines = [",".join(table.columns)]
    lines += [",".join(_cell(row[name], kind) for name, kind in table.columns.items()) for row in table.rows]
    return "".join(f"{one}\n" for one in lines).encode()


def as_jsonl(table: Table) -> bytes:
    """Return `table` as JSON Lines, UTF-8: an object for each row, every column in it, null for None."""
    lines = []
    for row in table.rows:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        lines.append(text if encodable(text) else json.dumps(row, allow_nan=False))
    return "".join(f"{one}\n" for one in lines).encode()


def as_parquet(table: Table) -> bytes:
    r"""Return `table` as Parquet, with null for None; lists and objects as JSON in a text.

    Halves of surrogate pairs, which Parquet cannot hold, are written `\ud83d`.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and nothing else needs it
        import pyarrow.parquet  # noqa: PLC0415 - as above
    except ImportError as error:
        msg = (
            "tells export parquet: pyarrow is not installed; expected it beside the project; install "
            "pytest-tells[parquet], or export jsonl, which needs nothing"
        )
        raise UsageError(msg) from error
    kinds = {
        "text": pa.string(), "data": pa.string(), "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(),
    }  # fmt: skip
    schema = pa.schema([(name, kinds[kind]) for name, kind in table.columns.items()])
    columns = [
        pa.array([_value(row[name], kind) for row in table.rows], schema.field(name).type)
        for name, kind in table.columns.items()
    ]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, schema=schema), file)
    return file.getvalue()


AS: Mapping[str, Callable[[Table], bytes]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}
"""Form -> what makes its bytes."""


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _value(value: Any, kind: Kind) -> Any:
    """Return what a column of this kind holds in Parquet."""
    if value is None:
        return None
    if kind == "number":
        return float(value)
    if kind == "data":
        value = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _cell(value: Any, kind: Kind) -> str:
    """Return the cell of CSV, quoted where it must be; a lone carriage return ends a row too, which `csv` forgets."""
    value = _value(value, kind)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = safe_cell(value.replace("\0", "\\x00"))
        quoted = text.replace('"', '""')
        return f'"{quoted}"' if MUST_QUOTE.search(text) else text
    return "" if value is None else repr(value)


def check_absent(out: Path) -> None:
    """Refuse to put anything beside what is there.

    Raises:
        UsageError: `out` is a link, a file, or a folder with something in it.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        msg = (
            f"--out {line(str(out))}: something is there; expected a folder that is not there or is empty, so that "
            "nothing written for another audience stays in it; name another"
        )
        raise UsageError(msg)


def whole_file(out: Path, content: bytes) -> None:
    """Write a file so that it holds all of `content`, or what it held before.

    Raises:
        RecordError: the file system refuses.
    """
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        msg = f"--out {line(str(out))}: cannot be written ({error}); expected a file where there is room; name another"
        raise RecordError(msg) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(out: Path, mode: int = 0o755) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` when all went well: it is there whole or not at all.

    Args:
        out: A folder that is not there or is empty.
        mode: Of the folder.

    Raises:
        RecordError: the file system refuses.
    """
    made: Path | None = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=f".{out.name}."))
        yield made
        made.chmod(mode)
        made.replace(out)
        made = None
    except OSError as error:
        msg = f"--out {line(str(out))}: cannot be written ({error}); expected a folder with room; nothing was written"
        raise RecordError(msg) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
