"""`release.md`: one page for whoever decides on a release, next to the record; all foreign text in it is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.escape import line, markdown
from harness.record_file import write_atomic
from harness.restricted import BANNER
from harness.writers.base import writer
from harness.writers.markdown import Page as Budget
from harness.writers.release_blocks import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.record import RunRecord
    from harness.writers.release_page import Block, Standing, Table

NAME = "release.md"
CELL = 160
PROSE = 1_600


@writer.register("release")
def write(record: RunRecord, folder: Path, standing: Standing | None = None) -> Path:
    """Write `release.md` into `folder`.

    Args:
        record: A run on models.
        folder: Where to.
        standing: What it is judged by; left out, the gate without a policy.

    Raises:
        RecordError: the folder refuses, or the record is a certification.
    """
    path = folder / NAME
    write_atomic(path, render(record, standing))
    return path


def render(record: RunRecord, standing: Standing | None = None) -> str:
    """Return the page as Markdown, below `markdown.MAX_BYTES`.

    Raises:
        RecordError: the record is a certification.
    """
    of_a_model(record)
    page = page_of(record, standing)
    out = Budget()
    out.add([f"**{BANNER}**", ""] if record.shown else [])
    out.add([f"# Tells: {markdown(page.word, CELL)}", "", f"Verdict: {markdown(page.headline, PROSE)}", ""])
    out.add([f"Rule: {markdown(page.rule, PROSE)}", ""])
    if page.reasons:
        out.add([*(f"- Because: {markdown(reason, PROSE)}" for reason in page.reasons), ""])
    for block in page.blocks:
        for lines in _block(block):
            out.add(lines)
    if out.left_out:
        out.lines += ["", f"Left out for size: {out.left_out} parts. `run.json` holds everything."]
    return "\n".join(out.lines) + "\n"


def of_a_model(record: RunRecord) -> None:
    """Refuse a certification: it is no evidence about a model.

    Raises:
        RecordError: the record is one.
    """
    if record.certification is not None:
        msg = (
            f"run {line(record.run_id)}: it certifies suites; expected a run on a model; a release is decided on one, "
            "run the evals with --model"
        )
        raise RecordError(msg)


def _block(block: Block) -> Iterator[list[str]]:
    yield [f"## {block.heading}", ""]
    if block.table is not None:
        yield from _table(block.table)
    yield [*(f"- {markdown(text, PROSE)}" for text in block.lines), ""] if block.lines else []


def _table(table: Table) -> Iterator[list[str]]:
    yield [f"| {' | '.join(table.heads)} |", f"| {' | '.join(['---'] * len(table.heads))} |"]
    for row in table.rows:
        yield ["| " + " | ".join(markdown(cell, CELL) for cell in row) + " |"]
    yield [""]
