"""Faults by the byte: disks that are full there, files that end there, bits flipped there; and many processes."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import sqlite3
from typing import TYPE_CHECKING

from harness import plan_file
from harness.errors import RecordError
from harness.record_file import read_record, write_record
from harness.store import Store
from tests.core.test_store import HELLO, IDENTITY
from tests.faults import torn
from tests.faults.page import Sweep
from tests.record_factory import sample_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from harness.plan_file import PlanRecord
    from harness.request import Response
    from tests.faults.drive import Driver


def a_plan() -> PlanRecord:
    """Return a sealed plan of three checks."""
    names = tuple(f"evals/a.eval.yaml::a::case-{n}[m]" for n in range(3))
    return plan_file.sealed(
        plan_file.PlanRecord(
            run_id="r", written="2026-01-02T03:04:05+00:00", models=("m",), twin="", profile="default",
            seeds={"run": 0}, required=("a",), suites=(), planned=names, selected=names,
        )
    )  # fmt: skip


def batches(size: int = 3, text: int = 900) -> list[dict[str, Response]]:
    """Return four batches of answers, the later ones larger than a page of the store."""
    long = dataclasses.replace(HELLO, prompt="x" * text)
    return [{f"{batch}-{n}": long for n in range(size)} for batch in range(4)]


def files(folder: Path) -> Iterator[Sweep]:
    """Fill the disk at, cut at, and flip a bit of every byte of a record and a plan."""
    folder.mkdir()
    path, record = folder / "run.json", sample_record()
    write_record(path, record)
    whole = path.read_bytes()
    path.unlink()
    wrong = torn.full_record(folder, record, range(len(whole)))
    yield Sweep(name="disk full at a byte of run.json", injected=len(whole), false=len(wrong), lost=0)
    wrong = torn.full_plan(folder, a_plan(), range(_size(folder)))
    yield Sweep(name="disk full at a byte of plan.json", injected=_size(folder), false=len(wrong), lost=0)
    write_record(path, record)
    # The last byte is the end of the last line, which means nothing.
    cuts = range(len(whole) - 1)
    wrong = torn.cut_at(path, read_record, cuts)
    yield Sweep(name="run.json ends at a byte", injected=len(cuts), false=len(wrong), lost=0)
    places = [place for place, byte in enumerate(whole) if not chr(byte).isspace()]
    wrong = _flipped(path, whole, places[::7])
    yield Sweep(name="a bit flipped in run.json", injected=len(places[::7]), false=len(wrong), lost=0)


def _size(folder: Path) -> int:
    plan_file.write(folder, a_plan())
    path = folder / plan_file.NAME
    size = path.stat().st_size
    path.unlink()
    return size


def _flipped(path: Path, whole: bytes, places: Iterable[int]) -> list[int]:
    wrong = []
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with contextlib.suppress(RecordError):
            read_record(path)
            wrong.append(place)
    return wrong


def stores(folder: Path, step: int = 211) -> Iterator[Sweep]:
    """Fill the disk at every `step` bytes of a store, and flip bits of its rows."""
    folder.mkdir()
    path, given = folder / "store.sqlite", batches()
    with contextlib.closing(Store(path)) as store:
        store.put(given[0], identity=IDENTITY, run="r")
    said = [torn.full_store(path, IDENTITY, given, size) for size in range(0, 90_000, step)]
    lost = sum(kept != found for kept, found in said)
    yield Sweep(name=f"disk full at every {step}th byte of the store", injected=len(said), false=0, lost=lost)
    injected, wrong = flip_rows(path)
    yield Sweep(name="a bit flipped in a row of the store", injected=injected, false=wrong, lost=0)


def flip_rows(path: Path, step: int = 1) -> tuple[int, int]:
    """Flip every bit of every `step`th byte of payloads and digests; return how many, and how many were served."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT key, payload, digest FROM answers").fetchall()
    injected = wrong = 0
    keys = [key for key, _, _ in rows]
    with contextlib.closing(Store(path)) as store:
        right = store.get(keys, "two")
        store._db.execute("BEGIN")  # or every change would wait for the disk
        for key, *parts in rows:
            rest = {other: answer for other, answer in right.items() if other != key}
            for column, text in zip(("payload", "digest"), parts, strict=True):
                update = f"UPDATE answers SET {column} = CAST(? AS TEXT) WHERE key = ?"  # noqa: S608 - our own names
                for place in range(0, len(text), step):
                    for bit in range(8):
                        data = bytearray(text.encode())
                        data[place] ^= 1 << bit
                        store._db.execute(update, (bytes(data), key))
                        wrong += store.get(keys, "two") != rest
                        injected += 1
                store._db.execute(update, (text.encode(), key))
        wrong += store.get(keys, "two") != right
        store._db.execute("ROLLBACK")
    return injected, wrong


def many_at_once(driver: Driver, times: int, seed: int = 0) -> Sweep:
    """Let eight processes run on one store, three of which are killed somewhere."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    killed = false = lost = 0
    for _ in range(times):
        deaths = {number: chance.randint(1, 13) for number in chance.sample(range(8), 3)}
        lived, wrong, ends = driver.together(deaths)
        killed += sum(end < 0 for end in ends)
        false += sum(not whole for whole in lived)
        lost += len(wrong)
    return Sweep(
        name=f"eight processes on one store, {times} times: killed ones", injected=killed, false=false, lost=lost
    )
