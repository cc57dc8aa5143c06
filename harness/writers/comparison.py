"""Several runs beside each other as `comparison.html` and `comparison.md`: verdicts, every check, what one alone holds.

Runs are compared only where they measured the same in the same way; see `harness.baseline.comparable`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.baseline.comparable import by_model, side_by_side
from harness.errors import UsageError
from harness.escape import line, markdown
from harness.record_file import write_atomic
from harness.writers import words
from harness.writers.sections import models
from harness.writers.sections.base import Section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from jinja2 import Environment

    from harness.figures.drawing import Cells
    from harness.record import RunRecord
    from harness.writers.release_page import Standing
    from harness.writers.sections.models import Line, Side

HTML, MARKDOWN = "comparison.html", "comparison.md"
TITLE = "Runs beside each other"
LEAST, MOST = 2, 12
MAX_ALONE = 100
"""Checks that are named because not all runs hold them."""
_HOW = (
    "Left: measured, with intervals and the limit of the check. Right: by how much worse than in the first run, paired "
    "by scenario, or where marked * by the limits of both; above 0 is worse. Sorted by the largest change, counted in "
    "what a baseline tolerates; what could not be compared comes first."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One of the runs."""

    path: str
    """Where its record lies, for people."""
    record: RunRecord
    standing: Standing


def write(runs: Sequence[Beside], folder: Path) -> list[Path]:
    """Write both files into a folder and return their paths.

    Raises:
        UsageError: fewer than two runs, or so many that no figure could show them.
        BaselineError: they cannot be compared.
        RecordError: the folder refuses.
    """
    sections = sections_of(runs)
    texts = {HTML: as_html(sections), MARKDOWN: as_markdown(sections)}
    for name, text in texts.items():
        write_atomic(folder / name, text)
    return [folder / name for name in texts]


def sections_of(runs: Sequence[Beside]) -> tuple[Section, ...]:
    """Return what several runs say beside each other.

    Raises:
        UsageError, BaselineError: as `write`.
    """
    side_by_side([one.record for one in runs])
    sides = _sides(runs)
    if not LEAST <= len(sides) <= MOST or len(runs) < LEAST:
        msg = (
            f"{len(runs)} runs with {len(sides)} models cannot stand side by side; expected two runs at least and "
            f"{MOST} models at most; name fewer, or compare them in groups"
        )
        raise UsageError(msg)
    made, names = models.lines(sides), [side.name for side in sides]
    return (_verdicts(runs, sides), *_alone(made, names), _checks(made, names))


def as_html(sections: Sequence[Section]) -> str:
    """Return the page: one file, offline, without scripts, foreign text escaped."""
    shown = [
        {"section": section, "figures": [(one.title, _safe(one.svg()), one.cells()) for one in section.figures]}
        for section in sections
    ]
    return _environment().get_template("comparison.html.j2").render(title=TITLE, sections=shown)


def as_markdown(sections: Sequence[Section]) -> str:
    """Return the same in Markdown, each figure as its table."""
    parts = [f"# {TITLE}"]
    for section in sections:
        parts += [f"## {markdown(section.title)}", *(f"- {markdown(text)}" for text in section.said)]
        tables = [*section.tables, *((one.title, one.cells()) for one in section.figures)]
        parts += [f"### {markdown(name)}\n\n{_table(cells)}" for name, cells in tables]
    return "\n\n".join(parts) + "\n"


def _sides(runs: Sequence[Beside]) -> list[Side]:
    """Return every model of every run, named by the number of the run and the model."""
    return [
        models.Side(name=f"{number}: {line(model.name, 50)}", items=by_model(one.record, "run")[model.spec])
        for number, one in enumerate(runs, start=1)
        for model in one.record.models
    ]


def _verdicts(runs: Sequence[Beside], sides: Sequence[Side]) -> Section:
    rows, whose = [], []
    for number, one in enumerate(runs, start=1):
        record, result = one.record, one.standing.result
        rows.append((
            str(number), f"{result.word} (code {result.code})", words.plain_words(record, result),
            result.policy or "none",
        ))  # fmt: skip
        about = "; ".join(f"{model.name} ({model.digest})" for model in record.models)
        whose.append((str(number), about, record.started, one.path, record.run_id, record.digest))
    said = [f"{len(runs)} runs, {len(sides)} models. The first run is what the others are held against."]
    bad = [str(number) for number, one in enumerate(runs, start=1) if one.standing.result.code]
    said.append(f"Not passed by the gate: run {', '.join(bad)}." if bad else "Every run passed the gate.")
    verdicts: Cells = (("run", "verdict", "in words", "policy"), rows)
    known: Cells = (("run", "models", "started", "file", "run id", "seal"), whose)
    return Section(anchor="verdicts", title="Verdicts", said=tuple(said),
                   tables=(("Verdict of each run", verdicts), ("Which runs", known)))  # fmt: skip


def _alone(made: Sequence[Line], names: Sequence[str]) -> tuple[Section, ...]:
    """Return what not all runs hold."""
    missing = [one for one in made if None in one.items]
    if not missing:
        return ()
    rows = []
    for one in sorted(missing, key=lambda one: one.name)[:MAX_ALONE]:
        there, lost = (
            [name for name, item in zip(names, one.items, strict=True) if (item is None) is absent]
            for absent in (False, True)
        )
        rows.append((one.name, ", ".join(there), ", ".join(lost)))
    said = [f"{len(missing)} of {len(made)} checks are not in all of them; nothing can be said of those side by side."]
    if len(missing) > MAX_ALONE:
        said.append(f"The first {MAX_ALONE} are named.")
    held: Cells = (("check", "held by", "missing in"), rows)
    return (Section(anchor="not-in-all", title="What not all of them hold", said=tuple(said),
                    tables=(("Checks that not all of them hold", held),)),)  # fmt: skip


def _checks(made: Sequence[Line], names: Sequence[str]) -> Section:
    return Section(
        anchor="checks", title="Checks side by side", said=(_HOW, *models.left_out(made)),
        tables=(models.table(made, names),), figures=tuple(models.figures("Side by side", made, names)),
    )  # fmt: skip


def _table(cells: Cells) -> str:
    head, rows = cells
    shown = [[markdown(cell, 400) or " " for cell in row] for row in (head, *rows)]
    shown.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(row)} |" for row in shown)


def _safe(svg: str) -> Any:
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2, which only this needs

    # Drawn by `harness.figures`, which escapes every text in it.
    return Markup(svg)  # noqa: S704 - as above


@functools.cache
def _environment() -> Environment:
    import jinja2  # noqa: PLC0415 - only this needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.writers", "templates"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["line"] = line
    return environment
