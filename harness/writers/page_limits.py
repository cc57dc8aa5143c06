"""What `report.html` says about what a run does not show: with `release_limits`, but at full length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.record import results
from harness.writers import certification, words
from harness.writers.release_limits import PASSING, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.record import RunRecord

MAX_NAMED = 200
"""Names in one list; the others are in `run.json`."""


def general(record: RunRecord) -> list[str]:
    """Return what holds of every run, and which failures none of its checks decided anything about."""
    said = [f"{PASSING}."]
    if bare := unmeasured(record):
        names = ", ".join(bare)
        said.append(f"No check of this run decided anything about: {names}; other failures have no name here.")
    said.append(
        "How well suites catch failures was measured on small models in which one was planted; what arises in the wild "
        "may look otherwise."
    )
    if scripted := [model.name for model in record.models if model.dtype == words.SCRIPTED]:
        said.append(f"The answers of {', '.join(scripted)} came from a script: no model was measured.")
    if bare := certification.uncertified(record):
        names = ", ".join(bare[:MAX_NAMED])
        said.append(
            f"{certification.UNCERTIFIED}: nobody has shown that these suites catch what they ask for, so that passing "
            f"them says little: {names}."
        )
    return [*said, *_gaps(record)]


def _gaps(record: RunRecord) -> Iterator[str]:
    """Yield what was planned and is not in the numbers: screened out, cut, failed, without a result."""
    seen = {(item.suite, item.model): item.screening for item in record.items if item.screening}
    lost = [(len(one.candidates) - len(one.kept), len(one.candidates)) for one in seen.values() if one.applied]
    if out := sum(gone for gone, _ in lost):
        total = sum(whole for _, whole in lost)
        yield (
            f"Screening left out {out} of {total} scenarios, which the model did not answer rightly where nothing was "
            "at stake: of those nothing is known. Each check says how many of its own."
        )
    answers = [answer for item in record.items for one in item.exchanges for answer in one.answers]
    if cut := sum(answer.finish_reason == "length" for answer in answers):
        yield (
            f"{cut} of the {len(answers)} answers that the record keeps were cut by the token limit; the record keeps "
            "no count of the others. What was cut counts against the claim."
        )
    if failed := sum(bool(one.failure) for item in record.items for one in item.exchanges):
        yield f"{failed} exchanges that the record keeps have no answer; they count against the claim."
    done = {one.node_id for one in results(record)}
    if gone := [name for name in record.selected if name not in done]:
        yield f"{len(gone)} checks were selected and have no result: {', '.join(gone[:MAX_NAMED])}."
    if not record.completed:
        yield f"The run did not come to its end: {record.exit_reason or 'no reason given'}."
    yield from (f"{text}." for text in words.left_out(record))


def not_selected(record: RunRecord) -> list[str]:
    """Return the node ids that were planned and not selected."""
    return sorted(set(record.planned) - set(record.selected))
