"""Tell: a run record as `run.json`, `report.md`, `report.html`, `results.sarif` and the page for a release.

`junit` gives pytest the properties of `junit.xml`; `github` makes annotations and the summary of a step; `terminal`
speaks to people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.errors import RecordError, TellsError
from harness.writers import html, json, markdown, release, release_statement, sarif
from harness.writers.base import Writer, writer
from harness.writers.release_page import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.record import RunRecord
    from harness.writers.sections.base import Section

__all__ = [
    "DEFAULT", "PAGES", "Standing", "Writer", "html", "json", "markdown", "release", "release_statement", "sarif",
    "write_all", "writer",
]  # fmt: skip

PAGES = ("markdown", "html", "sarif", "release", "statement")
"""What can be written again from a record."""
DEFAULT = ("json", *PAGES)
"""What `--report` writes; `junit.xml` is pytest's."""
OF_A_RELEASE = frozenset({"release", "statement"})
"""Left out of a certification: no model is released by it."""
INFORMED = frozenset({"html", *OF_A_RELEASE})
"""Those that are told what a run is judged by."""
WITH_SECTIONS = frozenset({"html"})
"""Those that take further sections."""


def write_all(
    record: RunRecord, folder: Path, names: Iterable[str] = DEFAULT, *, standing: Standing | None = None,
    sections: Sequence[Section] = (),
) -> list[Path]:  # fmt: skip
    """Write `record` with each of the named writers; one that fails does not stop the others.

    Args:
        record: A run; of a certification the pages for a release are left out.
        folder: Where to.
        names: Of writers.
        standing: What the run is judged by; left out, the gate without a policy.
        sections: Further ones of the page: of sweeps, ladders and controls.

    Raises:
        RecordError: a writer failed; the message names all that did.
        UsageError: a name that no writer has.
    """
    written, failed = [], []
    for name in names:
        write = cast("Callable[..., Path]", writer.get(name))
        if name in OF_A_RELEASE and record.certification is not None:
            continue
        told: dict[str, Any] = {"standing": standing} if name in INFORMED else {}
        told |= {"sections": sections} if name in WITH_SECTIONS and sections else {}
        try:
            written.append(write(record, folder, **told))
        except TellsError as error:
            failed.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - a writer's bug must not cost the other reports
            failed.append(f"{name}: {type(error).__name__}: {error}")
    if failed:
        msg = f"{folder}: {'; '.join(failed)}; expected every report to be written; the others were"
        raise RecordError(msg)
    return written
