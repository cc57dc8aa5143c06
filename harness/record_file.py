"""Run records on disk: written in one step, and taken back only whole."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import shape
from harness.canonical import canonical_json, encodable
from harness.errors import RecordError
from harness.plain import uncollected
from harness.record import (
    REWRITE,
    SCHEMA,
    disorder_within,
    from_json,
    item_from_json,
    item_to_json,
    seal_without_items,
    to_json,
)
from harness.sealing import seal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.record import RunRecord


@uncollected()
def write_record(path: Path, record: RunRecord) -> None:
    """Write a sealed record: a line for each field, and for each entry of a list.

    Raises:
        RecordError: it is not sealed, or cannot be written.
    """
    write_atomic(path, _lines(path, record))


def _lines(path: Path, record: RunRecord) -> Iterator[str]:
    """Yield the text of a record; items are taken one by one, so that there is never a second copy of all of them.

    Raises:
        RecordError: it turns out that the record is not sealed, or its digest another one.
    """
    digest = seal_without_items(record)
    for place, (name, value) in enumerate(to_json(dataclasses.replace(record, items=())).items()):
        yield f"{',' if place else '{'}\n {json.dumps(name)}: "
        if name != "items" and not isinstance(value, list):
            yield json.dumps(value, allow_nan=False)
            continue
        start = "["
        for entry in map(item_to_json, record.items) if name == "items" else value:
            text = canonical_json(entry)
            if name == "items":
                digest.add(text)
            # Halves of surrogate pairs can be written as escapes alone.
            yield f"{start}\n  {text if encodable(text) else json.dumps(entry)}"
            start = ","
        yield "\n ]" if start == "," else "[]"
    yield "\n}\n"
    if record.digest != digest.close():
        msg = f"{path}: the record is not sealed; expected its digest; call `sealed` before writing"
        raise RecordError(msg)


def write_atomic(path: Path, text: str | Iterable[str]) -> None:
    """Write `text`, a whole or its pieces, so that `path` holds all of it or what it held before.

    Raises:
        RecordError: the file system refuses, or `text` holds lone surrogates.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            for piece in [text] if isinstance(text, str) else text:
                file.write(piece.encode())
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


@uncollected()
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
        record = _built(data)
    except RecordError as error:
        msg = f"{path}: {error}"
        raise RecordError(msg) from error
    if found := disorder_within(record):
        more = f" and {len(found) - 3} more such" if len(found) > 3 else ""  # noqa: PLR2004
        msg = f"{path}: not a whole run: {', '.join(found[:3])}{more}; expected one result for each item; {REWRITE}"
        raise RecordError(msg)
    return record


def _built(data: dict[str, Any]) -> RunRecord:
    """Return the record in `data`, which is emptied on the way: both at once would take twice the memory."""
    waiting = data.pop("items")[::-1]
    rest = from_json({**data, "items": []})
    return dataclasses.replace(rest, items=tuple(item_from_json(waiting.pop()) for _ in range(len(waiting))))


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


@functools.cache
def _right() -> Callable[[Any], bool]:
    return shape.certain(_schema())


def _validate(path: Path, data: Any) -> None:
    if _right()(data):
        return
    import jsonschema  # noqa: PLC0415 - heavy, and only who reads a wrong record needs it

    problem = next(jsonschema.Draft202012Validator(_schema()).iter_errors(data), None)
    if problem is not None:
        msg = f"{path}: {problem.message[:300]} @ {problem.json_path}; expected what run.schema.json says; {REWRITE}"
        raise RecordError(msg)
