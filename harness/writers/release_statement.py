"""`test-result.intoto.json`: the verdict as an in-toto statement about the files of the model, unsigned.

Source: in-toto attestation framework, predicate test-result v0.1. Sign it where that matters; nothing here is a secret.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from harness import gate
from harness.record_file import write_atomic
from harness.verdict import Verdict
from harness.writers.base import writer
from harness.writers.release import of_a_model
from harness.writers.release_page import standing_of
from harness.writers.release_table import certified, effective

if TYPE_CHECKING:
    from pathlib import Path

    from harness.record import ItemRecord, ModelRecord, RunRecord
    from harness.writers.release_page import Standing

NAME = "test-result.intoto.json"
TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
PARTS = ("weights", "tokenizer", "chat_template", "adapter")
"""Of a model: what has a digest over files."""
CANONICAL = "canonical JSON of everything but the digest itself"
WITH_DATA = "the file and every data file that it draws on"
TOGETHER = "the policy file and its waiver files"
PASSED, WARNED, FAILED = "passedTests", "warnedTests", "failedTests"


@writer.register("statement")
def write(record: RunRecord, folder: Path, standing: Standing | None = None) -> Path:
    """Write `test-result.intoto.json` into `folder`.

    Args:
        record: A run on models.
        folder: Where to.
        standing: What it is judged by; left out, the gate without a policy.

    Raises:
        RecordError: the folder refuses, or the record is a certification.
    """
    path = folder / NAME
    write_atomic(path, json.dumps(statement(record, standing), indent=1, allow_nan=False) + "\n")
    return path


def statement(record: RunRecord, known: Standing | None = None) -> dict[str, Any]:
    """Return the statement.

    `result` is PASSED only where the gate is open and every planned check passed under a living certificate; WARNED
    where it is open and not all did; else FAILED. A model without digests leaves `subject` empty, which no verifier
    takes.

    Raises:
        RecordError: the record is a certification.
    """
    of_a_model(record)
    standing = standing_of(record, known)
    tests = _tests(record, standing)
    open_ = standing.result.code == gate.PASS
    subject = [one for model in record.models for one in _subject(model)]
    result = "FAILED" if not open_ else "WARNED" if tests[WARNED] or not subject else "PASSED"
    return {
        "_type": TYPE,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {"result": result, "configuration": _configuration(record, standing), **tests},
    }


def _tests(record: RunRecord, standing: Standing) -> dict[str, list[str]]:
    """Return the planned checks by what became of them. What a closed gate left open failed."""
    found: dict[str, list[str]] = {PASSED: [], WARNED: [], FAILED: []}
    sure = {suite.id for suite in record.suites if certified(suite.certificate)}
    items = {item.node_id: item for item in record.items}
    for name in dict.fromkeys((*record.planned, *record.selected, *items)):
        item = items.get(name)
        found[FAILED if item is None else _place(item, standing, sure)].append(name)
    return found


def _place(item: ItemRecord, standing: Standing, sure: set[str]) -> str:
    verdict = effective(item, standing.excused)
    if verdict is Verdict.PASS:
        return PASSED if item.suite in sure else WARNED
    if standing.result.code == gate.PASS:
        return WARNED
    shuts = standing.blocks(item) and item.node_id not in standing.excused
    return FAILED if verdict is Verdict.INVALID or shuts else WARNED


def _subject(model: ModelRecord) -> list[dict[str, Any]]:
    found = [(name, DIGEST.fullmatch(getattr(model, name))) for name in PARTS]
    return [{"name": f"{model.name}/{name}", "digest": {"sha256": match.group(1)}} for name, match in found if match]


def _configuration(record: RunRecord, standing: Standing) -> list[dict[str, Any]]:
    """Return what decided the result, each with what its digest is over."""
    given = [("run.json", record.digest, CANONICAL), ("plan.json", record.plan or "", CANONICAL)]
    if standing.policy is not None:
        given.append((standing.policy.path or "policy", standing.policy.digest, TOGETHER))
    given += [(suite.path, suite.digest, WITH_DATA) for suite in record.suites]
    return [
        {"name": name, "digest": {"sha256": match.group(1)}, "annotations": {"digestOf": over}}
        for name, digest, over in given
        if (match := DIGEST.fullmatch(digest))
    ]
