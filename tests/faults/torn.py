"""Full disks and torn files, at every byte: no readable record, plan or answer comes of them that was not whole."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
from typing import TYPE_CHECKING

from harness import plan_file
from harness.errors import RecordError, StoreError
from harness.record_file import read_record, write_record
from harness.store import Store
from tests.faults import scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.engines.base import Identity
    from harness.plan_file import PlanRecord
    from harness.record import RunRecord
    from harness.request import Response


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: the disk is full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_at(write: Callable[[], None], read: Callable[[], object], path: Path, sizes: Iterable[int]) -> list[int]:
    """Return the sizes at which a full disk left anything but the file that was there before, or no file."""
    before = path.read_bytes() if path.exists() else None
    wrong = []
    for size in sizes:
        with room_for(size):
            try:
                write()
                wrong.append(size)  # it must not claim to have written
            except RecordError:
                pass
        now = path.read_bytes() if path.exists() else None
        if now != before or [other for other in path.parent.iterdir() if other != path]:
            wrong.append(size)
        if before is None:
            with contextlib.suppress(RecordError):
                read()
                wrong.append(size)
    return wrong


def full_record(folder: Path, record: RunRecord, sizes: Iterable[int]) -> list[int]:
    """Fill the disk while `run.json` is written."""
    path = folder / "run.json"
    return full_at(lambda: write_record(path, record), lambda: read_record(path), path, sizes)


def full_plan(folder: Path, plan: PlanRecord, sizes: Iterable[int]) -> list[int]:
    """Fill the disk while `plan.json` is written."""
    path = folder / plan_file.NAME
    return full_at(lambda: plan_file.write(folder, plan), lambda: plan_file.read(path), path, sizes)


def cut_at(path: Path, read: Callable[[Path], object], offsets: Iterable[int]) -> list[int]:
    """Return the offsets at which a file that ends there is still read."""
    whole, wrong = path.read_bytes(), []
    for offset in offsets:
        path.write_bytes(whole[:offset])
        with contextlib.suppress(RecordError):
            read(path)
            wrong.append(offset)
    path.write_bytes(whole)
    return wrong


def full_store(path: Path, identity: Identity, batches: Sequence[dict[str, Response]], size: int) -> tuple[int, int]:
    """Fill the disk at `size` bytes of any file of a store that holds the first batch, and write the others.

    Returns:
        How many answers were said to be kept or were there before, and how many of them a new reader finds unchanged;
        the second is -1 where the store is damaged or holds what is no answer of `batches`.
    """
    folder = path.parent / "full"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / path.name)
    told = folder / "told"

    def write() -> int:
        handle = os.open(told, os.O_WRONLY | os.O_CREAT)
        with room_for(size), contextlib.suppress(StoreError):
            store = Store(folder / path.name)
            for number, batch in enumerate(batches[1:], start=1):
                store.put(batch, identity=identity, run="r")
                os.pwrite(handle, bytes([number]), 0)
        return 0

    assert scene.forked(write) == 0, f"a full disk at {size} bytes ended the process"
    last = told.read_bytes()[0] if told.read_bytes() else 0
    kept = {key: answer for batch in batches[: last + 1] for key, answer in batch.items()}
    every = {key: answer for batch in batches for key, answer in batch.items()}
    with contextlib.closing(sqlite3.connect(folder / path.name)) as database:
        sound = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with contextlib.closing(Store(folder / path.name)) as store:
        found = store.get(every, "r")
    if not sound or any(found[key] != every[key] for key in found):
        return len(kept), -1
    return len(kept), sum(key in found for key in kept)
