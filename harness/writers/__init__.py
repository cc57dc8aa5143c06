"""Tell: a run record as `run.json`, `report.md` and `report.html`; properties for `junit.xml`; a page for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import RecordError, TellsError
from harness.writers import html, json, markdown
from harness.writers.base import Writer, writer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.record import RunRecord

__all__ = ["Writer", "html", "json", "markdown", "write_all", "writer"]


def write_all(record: RunRecord, folder: Path, names: Iterable[str] = ("json", "markdown", "html")) -> list[Path]:
    """Write `record` with each of the named writers; one that fails does not stop the others.

    Raises:
        RecordError: a writer failed; the message names all that did.
        UsageError: a name that no writer has.
    """
    written, failed = [], []
    for name in names:
        write = writer.get(name)
        try:
            written.append(write(record, folder))
        except TellsError as error:
            failed.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - a writer's bug must not cost the other reports
            failed.append(f"{name}: {type(error).__name__}: {error}")
    if failed:
        msg = f"{folder}: {'; '.join(failed)}; expected every report to be written; the others were"
        raise RecordError(msg)
    return written
