"""`run.json`: the record itself, the one file that a gate trusts. Its schema is `harness/run.schema.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.record_file import write_record
from harness.writers.base import writer

if TYPE_CHECKING:
    from pathlib import Path

    from harness.record import RunRecord

NAME = "run.json"


@writer.register("json")
def write(record: RunRecord, folder: Path) -> Path:
    """Write `run.json` into `folder`.

    Raises:
        RecordError: the record is not sealed, holds NaN, or the folder refuses.
    """
    path = folder / NAME
    write_record(path, record)
    return path
