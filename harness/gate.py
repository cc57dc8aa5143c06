"""From a record to one exit code. Only a sealed, whole, unnarrowed run with green blocking checks gives 0.

    0  PASS
    1  FAIL                a critical or high check failed
    2  usage               the question itself is wrong (given by the command line, never by a record)
    3  broken              torn, incomplete, PARTIAL, or something could not be measured (INVALID, of any severity)
    4  INCONCLUSIVE        the evidence does not decide a critical or high check
    5  nothing evaluated   no item, or none of critical or high severity
    6  waiver problem      a critical or high check is WAIVED, without a waiver that this version can verify

A run that certifies suites on organisms is judged by its findings alike: 0 when every planned one is there and met, 1
when a planted failure was missed or a control FAILed, 3 or 4 where a suite could not say.

When several apply, the first of 2, 3, 1, 6, 4, 5 is given: what is broken cannot be called failed or passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.record import disorder, results
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.certify.findings import Finding
    from harness.record import ItemRecord, RunRecord

PASS, FAIL, USAGE, BROKEN, INCONCLUSIVE, NOTHING, WAIVER = range(7)
PRECEDENCE = (USAGE, BROKEN, FAIL, WAIVER, INCONCLUSIVE, NOTHING)
"""Worst first."""
REPORTED_ONLY = frozenset({"medium", "low"})
"""Severities that do not block. Whatever else an item says of itself blocks."""
WORDS = {
    PASS: "PASS", FAIL: "FAIL", USAGE: "USAGE", BROKEN: "BROKEN", INCONCLUSIVE: "INCONCLUSIVE",
    NOTHING: "NOTHING EVALUATED", WAIVER: "WAIVER PROBLEM",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the gate says."""

    code: int
    """Exit code of `tells verdict`."""
    word: str
    """One of `WORDS`; of a broken run the narrower PARTIAL, INVALID or INCOMPLETE."""
    reasons: tuple[str, ...]
    """Everything that keeps the gate shut, those of the code first; empty for PASS."""


def blocks(item: ItemRecord) -> bool:
    """Tell whether a failure of `item` shuts the gate."""
    return item.severity not in REPORTED_ONLY


def judge_run(record: RunRecord) -> GateResult:
    """Return the one verdict on a run, and every reason for it."""
    found = [*_broken(record), *_shut(record)]
    if not found:
        return GateResult(code=PASS, word=WORDS[PASS], reasons=())
    found.sort(key=lambda reason: PRECEDENCE.index(reason[0]))
    code, word, _ = found[0]
    return GateResult(code=code, word=word, reasons=tuple(text for _, _, text in found))


def gaps(record: RunRecord) -> tuple[str, ...]:
    """Return what keeps `record` from being the whole of what was selected, whatever the verdicts say."""
    if found := disorder(record):
        return found
    done = results(record)
    if not done:
        return ("nothing was evaluated",)
    if all(one.verdict is Verdict.INVALID for one in done):
        return (f"none of {len(done)} checks could be measured, {done[0].cause}",)
    return ()


def whole(record: RunRecord) -> bool:
    """Tell whether the run is complete: sealed, finished, and one result for every selected item; at least one."""
    return not gaps(record)


def _broken(record: RunRecord) -> list[tuple[int, str, str]]:
    found = [(BROKEN, "INCOMPLETE", reason) for reason in disorder(record)]
    found += [
        (BROKEN, "INVALID", f"{item.node_id} could not be measured")
        for item in record.items
        if item.verdict is Verdict.INVALID
    ]
    found += [
        (BROKEN, "INVALID", f"{finding.node_id} could not be measured")
        for finding in record.certification or ()
        if not finding.met and finding.verdict is Verdict.INVALID
    ]
    if record.partial:
        left_out = len(set(record.planned) - set(record.selected))
        found.append((BROKEN, "PARTIAL", f"{left_out} of {len(record.planned)} planned checks were not selected"))
    return found


def _unmet(findings: tuple[Finding, ...]) -> list[tuple[int, str, str]]:
    """Return what shuts the gate on a certification."""
    found = []
    for finding in findings:
        if finding.met or finding.verdict is Verdict.INVALID:
            continue
        said = f"{finding.node_id} is {finding.verdict} (expected {finding.expected})"
        code = INCONCLUSIVE if finding.verdict is Verdict.INCONCLUSIVE else FAIL
        found.append((code, WORDS[code], said))
    if not any(finding.expected for finding in findings):
        found.append((NOTHING, WORDS[NOTHING], "nothing was certified"))
    return found


def _shut(record: RunRecord) -> list[tuple[int, str, str]]:
    if record.certification is not None:
        return _unmet(record.certification)
    found = []
    for item in record.items:
        match item.verdict:
            case Verdict.FAIL if blocks(item):
                found.append((FAIL, WORDS[FAIL], f"{item.node_id} failed ({item.severity})"))
            case Verdict.INCONCLUSIVE if blocks(item):
                found.append((INCONCLUSIVE, WORDS[INCONCLUSIVE], f"{item.node_id} is inconclusive ({item.severity})"))
            case Verdict.WAIVED if blocks(item):
                found.append((WAIVER, WORDS[WAIVER], f"{item.node_id} is waived, and no waiver file vouches for it"))
            case _:
                pass
    if not any(blocks(item) for item in record.items):
        found.append((NOTHING, WORDS[NOTHING], "no check of critical or high severity was evaluated"))
    return found
