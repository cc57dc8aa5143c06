"""A disk that is full at any byte, and files that end at any byte, leave no answer that was not earned."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from harness import plan_file
from harness.record_file import read_record, write_record
from harness.store import Store
from tests.core.test_store import IDENTITY
from tests.faults import torn
from tests.faults.sweeps import a_plan, batches
from tests.record_factory import make_record, sample_record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("old", [True, False])
def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path, old: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """At 400 sizes and at the last thirty."""
    path, record = tmp_path / "run.json", sample_record()
    write_record(path, record)
    size = path.stat().st_size
    write_record(path, make_record()) if old else path.unlink()
    sizes = [*range(0, size, size // 400), *range(size - 30, size)]
    assert torn.full_record(tmp_path, record, sizes) == []
    write_record(path, record)
    assert read_record(path) == record


def test_a_plan_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """At every size."""
    plan_file.write(tmp_path, a_plan())
    path = tmp_path / plan_file.NAME
    size = path.stat().st_size
    assert torn.cut_at(path, plan_file.read, range(size - 1)) == []
    path.unlink()
    assert torn.full_plan(tmp_path, a_plan(), range(size)) == []


def test_the_search_can_find_a_writer_that_tears(tmp_path: Path) -> None:
    """The control: one that writes straight into the file is found at every size."""
    path = tmp_path / "run.json"

    def careless() -> None:
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
            file.write(b"x" * 100)

    assert set(torn.full_at(careless, lambda: None, path, [10, 50])) == {10, 50}


def test_a_store_keeps_what_it_said_it_kept(tmp_path: Path) -> None:
    """At forty sizes, from one at which it cannot be opened to one at which all batches fit."""
    path, given = tmp_path / "store.sqlite", batches()
    with contextlib.closing(Store(path)) as store:
        store.put(given[0], identity=IDENTITY, run="r")
    said = {size: torn.full_store(path, IDENTITY, given, size) for size in [0, 1, 511, *range(2000, 90_000, 2400)]}
    assert {size: found for size, found in said.items() if found[0] != found[1]} == {}
    assert {found[0] for found in said.values()} >= {3, 12}
