"""Run records on disk: written in one step, and taken back only whole."""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RecordError
from harness.record import REWRITE, SCHEMA, disorder, from_json, seal_of, to_json

if TYPE_CHECKING:
    from harness.record import RunRecord


def write_record(path: Path, record: RunRecord) -> None:
    """Write a sealed record.

    Raises:
        RecordError: it is not sealed, or cannot be written.
    """
    data = to_json(record)
    if record.digest != seal_of(data):
        msg = f"{path}: the record is not sealed; expected its digest; call `sealed` before writing"
        raise RecordError(msg)
    write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_atomic(path: Path, text: str) -> None:
    """Write `text` so that `path` holds all of it or what it held before.

    Raises:
        RecordError: the file system refuses, or `text` holds lone surrogates.
    """
    temporary = None
    try:
        data = text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, UnicodeEncodeError) as error:
        msg = f"{path}: cannot be written ({error}); expected a folder with room to write in; name another --report"
        raise RecordError(msg) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read_record(path: Path) -> RunRecord:
    """Return the record in `path`, verified: version, seal, schema, finite numbers, one item for each selected one.

    Raises:
        RecordError: anything of that does not hold.
    """
    data = _parse(path)
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA:
        msg = f"{path}: the record has version {version!r}; expected {SCHEMA!r}; read it with the version that wrote it"
        raise RecordError(msg)
    if data.get("digest") != seal_of(data):
        msg = f"{path}: the content does not match its digest; expected a file as a run wrote it; {REWRITE}"
        raise RecordError(msg)
    _validate(path, data)
    try:
        record = from_json(data)
    except RecordError as error:
        msg = f"{path}: {error}"
        raise RecordError(msg) from error
    if found := disorder(record):
        more = f" and {len(found) - 3} more such" if len(found) > 3 else ""  # noqa: PLR2004
        msg = f"{path}: not a whole run: {', '.join(found[:3])}{more}; expected one result for each item; {REWRITE}"
        raise RecordError(msg)
    return record


def _parse(path: Path) -> Any:
    def refuse(word: str) -> Any:
        msg = f"it holds {word}, which is no number"
        raise ValueError(msg)

    def finite(word: str) -> float:
        number = float(word)
        return number if math.isfinite(number) else refuse(word)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            msg = "a key stands twice in one object"
            raise ValueError(msg)
        return dict(pairs)

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path}: cannot be read as a run record ({error}); expected the whole run.json of a run; {REWRITE}"
        raise RecordError(msg) from error


@functools.cache
def _schema() -> Any:
    return json.loads(resources.files("harness").joinpath("run.schema.json").read_text(encoding="utf-8"))


def _validate(path: Path, data: Any) -> None:
    import jsonschema  # noqa: PLC0415 - heavy, and only readers need it

    problem = next(jsonschema.Draft202012Validator(_schema()).iter_errors(data), None)
    if problem is not None:
        msg = f"{path}: {problem.message[:300]} @ {problem.json_path}; expected what run.schema.json says; {REWRITE}"
        raise RecordError(msg)
