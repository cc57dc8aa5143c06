"""Tell: a run record as `run.json`, `report.md`, `report.html` and `results.sarif`; `junit.xml`, terminals and GitHub.

`junit` gives pytest the properties of `junit.xml`; `github` makes annotations and the summary of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import RecordError, TellsError
from harness.writers import html, json, markdown, sarif
from harness.writers.base import Writer, writer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.record import RunRecord

__all__ = ["DEFAULT", "Writer", "html", "json", "markdown", "sarif", "write_all", "writer"]

DEFAULT = ("json", "markdown", "html", "sarif")
"""What `--report` writes; `junit.xml` is pytest's."""


def write_all(record: RunRecord, folder: Path, names: Iterable[str] = DEFAULT) -> list[Path]:
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
