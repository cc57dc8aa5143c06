"""Sections of a report: what a record holds of certification, series of checkpoints, models and a baseline, drawn.

`sections_of` makes them of a record; a page renders them without knowing what they are about. What cannot be made says
so in its place: a report with a hole is better than none, and one that hides the hole is worse than both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import TellsError
from harness.escape import line
from harness.writers.sections import certified, earlier, models, series
from harness.writers.sections.base import Section, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.record import RunRecord
    from harness.writers.release_page import Standing

__all__ = ["Section", "sections_of", "slug"]


def sections_of(record: RunRecord, standing: Standing | None = None) -> tuple[Section, ...]:
    """Return the sections of a report on `record`, in the order of reading; none where it holds nothing of them."""
    makers: tuple[tuple[str, Callable[[], Sequence[Section]]], ...] = (
        ("The comparison with the baseline", lambda: earlier.of_baseline(standing)),
        ("The models beside each other", lambda: models.of_models(record)),
        ("Over training", lambda: series.of_checkpoints(record)),
        ("Suites and organisms", lambda: certified.of_certification(record)),
        ("Certificates", lambda: certified.of_certificates(record)),
    )
    return tuple(section for title, make in makers for section in _made(title, make))


def _made(title: str, make: Callable[[], Sequence[Section]]) -> Sequence[Section]:
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - a bug in one part must not cost the report
        why = str(error) if isinstance(error, TellsError) else f"{type(error).__name__}: {error}"
        said = (f"This part could not be made, which says nothing in favour of the model: {line(why, 400)}",)
        return (Section(anchor=f"not-made-{slug(title)}", title=title, said=said),)
