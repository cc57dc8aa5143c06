"""Digests of files, cached by stat, and the folder of the user's cache that they lie in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 22
_WORTH_CACHING = 1 << 20
"""Bytes; smaller files are hashed each time."""


def cache_dir() -> Path:
    """Return the folder of this user's cache: `$TELLS_CACHE`, or `tells` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("TELLS_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "tells"


def file_digest(path: Path, *, fresh: bool = False) -> str:
    """Return the tagged SHA-256 of a file's bytes.

    Digests of large files are remembered under (path, size, modification time in ns, inode).

    Args:
        path: The file.
        fresh: Read the bytes whatever is remembered, as is done when the weights are loaded.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    if stat.st_size < _WORTH_CACHING:
        return _hash(path)
    key = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    known = {} if fresh else _read()
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:3] == key and len(entry) == 4:  # noqa: PLR2004 - three of stat, one digest
        return str(entry[3])
    value = _hash(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
        write_atomically(_table(), json.dumps({**_read(), str(path): [*key, value]}).encode())
    return value


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that a reader sees the old file or the new one, never a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Force all files of `folder`, and the folder itself, to disk."""
    for path in (*sorted(folder.iterdir()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` across processes; it falls with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl  # noqa: PLC0415 - absent on Windows
    except ImportError:  # the atomic rename alone keeps the result whole; only work may be done twice
        yield
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _table() -> Path:
    return cache_dir() / "digests.json"


def _read() -> dict[str, Any]:
    try:
        data = json.loads(_table().read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _hash(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return f"sha256:{state.hexdigest()}"
