"""What a run has to tell a build system: one outcome for each check that is not green, worst first, in safe words.

SARIF and annotations are made of these. Everything that was planned and has no result is an outcome too: a build system
that hears nothing more of a check takes its last alarm for mended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.escape import line
from harness.gate import REPORTED_ONLY, blocks, judge_run
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.certify.findings import CertificateState, Finding
    from harness.gate import GateResult
    from harness.policy.policy import Policy
    from harness.policy.waivers import Excuse
    from harness.record import ItemRecord, RunRecord, SuiteRecord

Level = Literal["error", "warning", "note", "none"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note", "none")
SHOWN = frozenset({"open", "internal"})
"""Hazards of suites of which more than ids may leave the run record; any other word counts as restricted."""
WITHHELD = "The suite is restricted: texts and numbers are in the run record alone."
UNVOUCHED = "no accepted waiver vouches for it"
NO_RESULT = "NO RESULT"
MISSING_RULE = "tells/no-result"
"""Of a planned node id that names no case of the record."""
SAID = 1_000
NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """Why an outcome is excused."""

    accepted: bool
    """False where nothing but the record itself says so; then it counts as not excused."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One check as a build system shows it. All texts but `node_id` and `file` are safe to show."""

    node_id: str
    """As recorded."""
    rule: str
    """`SUITE/CASE`."""
    file: str
    """As recorded."""
    line: int
    verdict: str
    severity: str
    level: Level
    text: str
    """One line."""
    suppression: Suppression | None = None
    item: ItemRecord | None = None

    @property
    def excused(self) -> bool:
        """Tell whether an accepted waiver excuses it."""
        return self.suppression is not None and self.suppression.accepted

    @property
    def rank(self) -> tuple[bool, int, int, int, str]:
        """Sort key: excused ones last, then level, severity, verdict and name."""
        order = [verdict.value for verdict in PRECEDENCE]
        verdict = order.index(self.verdict) if self.verdict in order else -1
        severity = words.SEVERITIES.index(self.severity) if self.severity in words.SEVERITIES else -1
        return self.excused, LEVELS.index(self.level), severity, verdict, self.node_id


def outcomes(
    record: RunRecord, result: GateResult | None = None, policy: Policy | None = None, *, passes: bool = False
) -> list[Outcome]:
    """Return the outcomes of `record`, worst first; those that PASSed only where `passes` asks for them.

    Args:
        record: A run on a model, or a certification.
        result: What the gate says, with the failures that it let waivers excuse; left out, without a policy.
        policy: What the gate judged by: it may raise severities.
        passes: Also what is green.
    """
    excuses = {excuse.node_id: excuse for excuse in (result or judge_run(record)).waived}
    wanted = [item for item in record.items if passes or item.verdict is not Verdict.PASS]
    found = [_of_item(item, excuses.get(item.node_id), policy) for item in wanted]
    found += [_of_finding(one, record) for one in record.certification or () if passes or not one.met]
    found += _without_result(record)
    return sorted(found, key=lambda one: one.rank)


def restricted(hazard: str) -> bool:
    """Tell whether nothing but ids of a suite may be shown."""
    return hazard not in SHOWN


def rule_of(suite: str, case: str) -> str:
    """Return the id of the rule that a case is."""
    return line(f"{suite}/{case}", NAME)


def level_of(severity: str) -> Level:
    """Return `error` for a severity that blocks, else `warning`; a severity that nobody knows blocks."""
    return "warning" if severity in REPORTED_ONLY else "error"


def certificate_text(state: CertificateState | None) -> str:
    """Return the state of a certificate, with k of n where it lives; empty where nobody looked."""
    if state is None:
        return ""
    if state.state == "living":
        return f"living, {certification.counted(state)}"
    return line(f"{state.state}: {state.why}", SAID)


def _of_item(item: ItemRecord, excuse: Excuse | None, policy: Policy | None) -> Outcome:
    suppression = _suppression(item, excuse)
    verdict = Verdict.WAIVED.value if suppression else item.verdict.value
    severity = policy.severity(item) if policy else item.severity
    return Outcome(
        node_id=item.node_id,
        rule=rule_of(item.suite, item.case),
        file=item.file,
        line=max(1, item.line),
        verdict=verdict,
        severity=severity,
        level=_level(item, policy),
        text=_said(item, verdict, severity, suppression),
        suppression=suppression,
        item=item,
    )


def _level(item: ItemRecord, policy: Policy | None) -> Level:
    match item.verdict:
        case Verdict.PASS:
            return "none"
        case Verdict.INVALID:
            # Of any severity: what a budget of a policy bears was not measured all the same.
            return "error"
        case Verdict.INCONCLUSIVE:
            return "warning"
        case _:
            return "error" if (policy.blocks(item) if policy else blocks(item)) else "warning"


def _suppression(item: ItemRecord, excuse: Excuse | None) -> Suppression | None:
    """Return the waiver of a FAIL; nothing else can be waived."""
    if item.verdict not in {Verdict.FAIL, Verdict.WAIVED}:
        return None
    if excuse is not None:
        held = excuse.waiver
        why = f"waiver {held.id}: {held.reason}; {excuse.cap}; owner {held.owner}, approved by {held.approved_by}"
        shown = f"waiver {held.id}; its reason is withheld" if restricted(item.hazard) else why
        left = f"expires {held.expires}, {excuse.days_left} days left"
        return Suppression(accepted=True, why=f"{line(shown, SAID)}; {left}")
    if item.verdict is Verdict.FAIL:
        return None
    given = (item.waiver or {}).get("reason")
    claimed = f" (the record says: {line(str(given), SAID)})" if given and not restricted(item.hazard) else ""
    return Suppression(accepted=False, why=UNVOUCHED + claimed)


def _said(item: ItemRecord, verdict: str, severity: str, suppression: Suppression | None) -> str:
    """Return an outcome in one line; of a restricted suite no more than its ids."""
    head = f"{verdict}: {rule_of(item.suite, item.case)} on {line(item.model, 60)} ({line(severity, 20)})"
    if restricted(item.hazard):
        return f"{head}. {WITHHELD}"
    number = f"measured {words.judged(item)}" if item.measurements else words.judged(item)
    parts = [f"{head}: {number}, bound {words.bounded(item)}, {words.evidence(item)} scenarios"]
    if cause := words.public_cause(item):
        parts.append(line(cause, SAID))
    if suppression:
        parts.append(suppression.why)
    return ". ".join(parts)


def _of_finding(one: Finding, record: RunRecord) -> Outcome:
    """Return what a suite said of an organism where that was not what it had to say."""
    suite = next((suite for suite in record.suites if suite.id == one.suite), None)
    severity = suite.severity if suite else ""
    undecided = one.verdict is Verdict.INCONCLUSIVE
    model = line(f"{one.organism}/{one.arm}@seed={one.seed}@base={one.base}", NAME)
    head = f"{one.verdict.value}, expected {one.expected or 'nothing'}: {line(one.suite, NAME)} on {model}"
    shown = one.cause and suite is not None and not restricted(suite.hazard)
    return Outcome(
        node_id=one.node_id,
        rule=rule_of(one.suite, "certify"),
        file=suite.path if suite else _file_of(one.node_id),
        line=1,
        verdict=one.verdict.value,
        severity=severity,
        level="none" if one.met else "warning" if undecided else "error",
        text=f"{head}. {line(one.cause, SAID)}" if shown else head,
    )


def _without_result(record: RunRecord) -> list[Outcome]:
    """Return one outcome for each node id that was planned or selected and has no result."""
    done = {item.node_id for item in record.items} | {one.node_id for one in record.certification or ()}
    selected = set(record.selected)
    suites = {suite.id: suite for suite in record.suites}
    wanted = dict.fromkeys((*record.planned, *record.selected))
    return [missing(name, suites, name in selected) for name in wanted if name not in done]


def missing(node_id: str, suites: Mapping[str, SuiteRecord], selected: bool | None) -> Outcome:  # noqa: FBT001 - three cases: selected, left out, unknown
    """Return the outcome of a check without a result, under the rule of its case where the record knows the case."""
    _, _, rest = node_id.partition("::")
    name, _, last = rest.partition("::")
    suite = suites.get(name)
    case = next((case for case in suite.cases if last.startswith(f"{case.id}[")), None) if suite else None
    why = {True: "was selected and has no result", False: "was planned and not selected", None: "is no longer there"}
    return Outcome(
        node_id=node_id,
        rule=rule_of(suite.id, case.id) if suite and case else MISSING_RULE,
        file=suite.path if suite else _file_of(node_id),
        line=max(1, case.line) if case else 1,
        verdict=NO_RESULT,
        severity=suite.severity if suite else "",
        level=level_of(suite.severity) if suite else "error",
        text=f"{NO_RESULT}: {line(node_id, NAME)} {why[selected]}, which is no pass",
    )


def _file_of(node_id: str) -> str:
    return node_id.partition("::")[0]
