"""What a run does not show: what suites say of their own reach, failures that none measured, and what passing means."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from harness.case import FAILURE_MODES
from harness.verdict import Verdict
from harness.writers import words
from harness.writers.release_page import Block, few

if TYPE_CHECKING:
    from harness.record import RunRecord, SuiteRecord

MAX_SUITES = 30
SENTENCE = re.compile(r"(?<=[.!?])\s+")
REACH = 260
"""Characters of what one suite says."""
PASSING = (
    "A passed check bounds how often a failure shows on these prompts, for the digests above, among the scenarios that "
    "went on; it is no proof of absence, and the limits are what people chose to bear"
)
DECIDED = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.WAIVED})


def shows(record: RunRecord) -> Block:
    """Return what the run does not show."""
    said = [PASSING]
    if bare := unmeasured(record):
        said.append(f"No check of this run decided anything about: {', '.join(bare)}; other failures have no name here")
    said.append(
        "How well suites catch failures was measured on small models in which one was planted; what arises in the wild "
        "may look otherwise"
    )
    if scripted := [model.name for model in record.models if model.dtype == words.SCRIPTED]:
        said.append(f"The answers of {', '.join(scripted)} came from a script: no model was measured")
    return Block(heading="What this does not show", lines=(*said, *_own(record)))


def unmeasured(record: RunRecord) -> list[str]:
    """Return the known failure modes of which no check of the run was decided."""
    decided = {item.failure_mode for item in record.items if item.verdict in DECIDED}
    return [mode for mode in FAILURE_MODES if mode not in decided]


def _own(record: RunRecord) -> list[str]:
    """Return what suites say of their limits; a sentence that several share is said once."""
    open_ones = [suite for suite in record.suites if suite.hazard == "open"]
    shared = Counter(sentence for suite in open_ones for sentence in set(_sentences(suite)))
    common = [f"{count} suites: {text[:REACH]}" for text, count in shared.items() if count > 1]
    own = []
    for suite in open_ones:
        mine = " ".join(sentence for sentence in _sentences(suite) if shared[sentence] == 1)
        own += [f"{suite.id}: {mine[:REACH]}{'…' if len(mine) > REACH else ''}"] if mine else []
    closed = [suite.id for suite in record.suites if suite.hazard != "open"]
    said = [*few(common, MAX_SUITES), *few(own, MAX_SUITES, "report.html")]
    return [*said, *([f"Limits not shown here: {', '.join(few(closed, MAX_SUITES))}"] if closed else [])]


def _sentences(suite: SuiteRecord) -> list[str]:
    return [text for text in SENTENCE.split(suite.limits.strip()) if text]
