"""The comparison with a baseline as a section: every check, the largest change first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.baseline.compared import SAID
from harness.escape import line
from harness.writers.sections import changes
from harness.writers.sections.base import Section

if TYPE_CHECKING:
    from harness.baseline import Comparison
    from harness.writers.release_page import Standing

TITLE = "Against the baseline"
ANCHOR = "against-the-baseline"
_HOW = (
    "Worse by: mean worsening with one-sided limits, above 0 is worse whatever the direction of the bound; paired by "
    "scenario, or where marked * by the limits of both runs. The dashed line is what is tolerated. Sorted by the size "
    "of the change, counted in what is tolerated; what could not be compared comes first."
)


def of_baseline(standing: Standing | None) -> tuple[Section, ...]:
    """Return the section of a comparison; nothing where none was asked for, and why where there is none."""
    found = None if standing is None else standing.baseline
    if found is None:
        return ()
    if isinstance(found, str):
        said = (f"There is no comparison, which is no pass: {line(found, 600)}",)
        return (Section(anchor=ANCHOR, title=TITLE, said=said),)
    return (_section(found),)


def _section(found: Comparison) -> Section:
    items = sorted(found.items, key=lambda item: (-changes.size_of(item.difference, item.delta), item.name))
    counts = Counter("not compared" if item.verdict is None else item.verdict.value for item in items)
    old, new = found.old, found.new
    said = [
        f"{found.word}: {SAID[found.code]}",
        f"Now {line(new.model, 200)}, run {line(new.run_id, 60)}; baseline {line(old.model, 60)} "
        f"({line(old.model_digest, 80)}), run {line(old.run_id, 60)}; limits at {found.confidence:g} each. "
        + ", ".join(f"{count} {what}" for what, count in counts.items()) + ".",
        _HOW,
    ]  # fmt: skip
    if left := len(items) - changes.MAX_ROWS:
        said += [f"The {left} smallest changes are in what `tells compare` says."] if left > 0 else []
    series = "worse by"
    figures = changes.forests(
        "Change since the baseline", ((item.unit, changes.entry_of(item, series)) for item in items), (series,), series
    )
    rows = [changes.row_of(item) for item in items[: changes.MAX_ROWS]]
    return Section(anchor=ANCHOR, title=TITLE, said=tuple(said), figures=tuple(figures),
                   tables=(("Check by check, the largest change first", (changes.HEADS, rows)),))  # fmt: skip
