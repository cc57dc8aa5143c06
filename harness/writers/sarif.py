"""`results.sarif`: SARIF 2.1.0 for code scanning; rules are cases, results point at the line of the case.

A result's `kind` is left at `fail` for everything but a PASS, since SARIF allows a level only there: an INCONCLUSIVE or
INVALID check with another kind would have to be of level `none`, which viewers hide. The verdict itself is in the
properties. Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0, sections 3.27 and 3.35.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from harness import canonical, gate
from harness.errors import RecordError
from harness.escape import line, markdown
from harness.gate import judge_run
from harness.record_file import write_atomic
from harness.restricted import BANNER
from harness.writers import words
from harness.writers.base import writer
from harness.writers.outcomes import (
    MISSING_RULE,
    NAME,
    SAID,
    Outcome,
    certificate_text,
    level_of,
    missing,
    outcomes,
    restricted,
    rule_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.gate import GateResult
    from harness.policy.policy import Policy
    from harness.record import CaseRecord, ItemRecord, RunRecord, SuiteRecord

FILE_NAME = "results.sarif"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
MAX_RESULTS = 5_000
"""GitHub shows no more of one upload; the worst come first."""
MAX_REASONS = 20
SECURITY = {"critical": "9.5", "high": "8.0", "medium": "5.0", "low": "2.0"}
"""Severity -> the number in whose band code scanning uses the same word; one that nobody knows counts as critical."""
STATES = frozenset({"new", "unchanged", "updated", "absent"})
BROKEN_RUN = frozenset({gate.BROKEN, gate.NOTHING, gate.USAGE})


@writer.register("sarif")
def write(record: RunRecord, folder: Path) -> Path:
    """Write `results.sarif` into `folder`.

    Raises:
        RecordError: the folder refuses, or a number of the record is not finite.
    """
    path = folder / FILE_NAME
    write_atomic(path, render(record))
    return path


def render(
    record: RunRecord,
    *,
    passes: bool = False,
    baseline: Mapping[str, str] | None = None,
    result: GateResult | None = None,
    policy: Policy | None = None,
) -> str:
    """Return `record` as a SARIF log: one line of ASCII, and the same bytes for the same arguments.

    Args:
        record: A run on a model, or a certification.
        passes: Also give the checks that PASSed, as results of kind `pass`.
        baseline: Node id -> `new`, `unchanged`, `updated` or `absent`, from a comparison with an earlier run. A check
            that it does not name is new; one without a result here is absent, and keeps its level.
        result: What the gate says, and which failures it let waivers excuse; left out, what it says without a policy.
        policy: What the gate judged by; it may raise severities.

    Raises:
        RecordError: `baseline` holds another word, or a number of the record is not finite.
    """
    if wrong := sorted(set((baseline or {}).values()) - STATES):
        msg = f"baseline: state {line(wrong[0], NAME)!r}; expected one of {', '.join(sorted(STATES))}; mend the caller"
        raise RecordError(msg)
    result = result or judge_run(record)
    found = outcomes(record, result, policy, passes=passes)
    if baseline is not None:
        found = sorted([*found, *_gone(record, found, baseline)], key=lambda one: one.rank)
    rules = _rules(record, found)
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    shown = [_result(one, places[one.rule], record, baseline) for one in found[:MAX_RESULTS]]
    run = {
        "tool": {"driver": {"name": "Tells", **_version(record), "rules": rules}},
        "invocations": [_invocation(record, result, len(found) - len(shown))],
        "originalUriBaseIds": {ROOT: {"description": {"text": "The folder that pytest took for its root."}}},
        "columnKind": "unicodeCodePoints",
        "results": shown,
        "properties": _run_properties(record),
    }
    try:
        data = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
        return json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n"
    except ValueError as error:
        msg = f"run {line(record.run_id, NAME)}: {error}; expected finite numbers only; run the evals again"
        raise RecordError(msg) from error


def _gone(record: RunRecord, found: list[Outcome], baseline: Mapping[str, str]) -> list[Outcome]:
    """Return what the baseline had and neither the results nor the plan of this run have."""
    known = {item.node_id for item in record.items} | {one.node_id for one in found}
    suites = {suite.id: suite for suite in record.suites}
    return [
        missing(name, suites, None) for name in sorted(baseline) if baseline[name] == "absent" and name not in known
    ]


# --- rules


def _rules(record: RunRecord, found: list[Outcome]) -> list[dict[str, Any]]:
    """Return a rule for each case of the record, and for each outcome that belongs to none."""
    rules: dict[str, dict[str, Any]] = {}
    for suite in record.suites:
        for case in suite.cases:
            rules.setdefault(rule_of(suite.id, case.id), _rule(suite, case))
    for one in found:
        rules.setdefault(one.rule, _bare_rule(one))
    return [{"id": name, **rule} for name, rule in rules.items()]


def _rule(suite: SuiteRecord, case: CaseRecord) -> dict[str, Any]:
    facts = {"failure mode": suite.failure_mode, "severity": suite.severity, "check": case.check}
    claim = "The suite is restricted: its claim is withheld." if restricted(suite.hazard) else _text(case.claim)
    if not restricted(suite.hazard):
        facts |= {"source": suite.source, "limits": suite.limits}
    about = {name: value for name, value in facts.items() if value}
    return {
        "shortDescription": {"text": claim},
        "fullDescription": {"text": claim},
        "help": {
            "text": "; ".join([f"Claim: {claim}", *(f"{name}: {_text(value)}" for name, value in about.items())]),
            "markdown": "\n".join(
                [f"Claim: {markdown(claim, SAID)}", "", *(f"- {name}: {markdown(about[name], SAID)}" for name in about)]
            ),
        },
        "defaultConfiguration": {"level": level_of(suite.severity)},
        "properties": {
            **_tagged(suite.severity, suite.failure_mode, suite.hazard),
            "suiteDigest": line(suite.digest, NAME),
            **({"certificate": certificate_text(suite.certificate)} if suite.certificate else {}),
        },
    }


def _bare_rule(one: Outcome) -> dict[str, Any]:
    """Return the rule of an outcome that no case of the record stands behind."""
    if one.rule == MISSING_RULE:
        what = "Everything that was planned has a result."
    elif one.item and not restricted(one.item.hazard):
        what = _text(one.item.claim) or "The case has no claim."
    else:
        what = "A suite says of an organism what it has to say." if one.item is None else "The claim is withheld."
    return {
        "shortDescription": {"text": what},
        "fullDescription": {"text": what},
        "help": {"text": what, "markdown": markdown(what, SAID)},
        "defaultConfiguration": {"level": level_of(one.severity)},
        "properties": _tagged(one.severity),
    }


def _tagged(severity: str, *words_too: str) -> dict[str, Any]:
    tags = dict.fromkeys(["security", *(line(word, 60) for word in (*words_too, severity) if word)])
    return {"tags": list(tags), "security-severity": SECURITY.get(severity, SECURITY["critical"])}


# --- results


def _result(one: Outcome, place: int, record: RunRecord, baseline: Mapping[str, str] | None) -> dict[str, Any]:
    digest = _model_digest(one.item, record) if one.item else ""
    stable = _fingerprint(one.node_id)
    data: dict[str, Any] = {
        "ruleId": one.rule,
        "ruleIndex": place,
        "kind": "pass" if one.level == "none" else "fail",
        "level": one.level,
        "message": {"text": _text(one.text)},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": _place(one.file),
                # The whole line: a record knows the line of a case and no column.
                "region": {"startLine": one.line, "startColumn": 1},
            },
        }],
        "partialFingerprints": {
            # The one that GitHub reads. Without the model's digest, or each checkpoint would open every alert anew.
            "primaryLocationLineHash": stable,
            "tellsNode/v1": stable,
            **({"tellsNodeAndModel/v1": _fingerprint(one.node_id, digest)} if digest else {}),
        },
    }  # fmt: skip
    if baseline is not None:
        data["baselineState"] = _state(one, baseline)
    if one.suppression:
        status = "accepted" if one.suppression.accepted else "underReview"
        data["suppressions"] = [{"kind": "external", "status": status, "justification": one.suppression.why}]
    data["properties"] = {
        "verdict": one.verdict,
        "nodeId": line(one.node_id, SAID),
        **_numbers(one.item, one.severity, digest),
    }
    return data


def _state(one: Outcome, baseline: Mapping[str, str]) -> str:
    if one.item is None and one.node_id in baseline:
        return "absent"
    state = baseline.get(one.node_id, "new")
    return "new" if state == "absent" else state


def _numbers(item: ItemRecord | None, severity: str, digest: str) -> dict[str, Any]:
    """Return the numbers behind an outcome; of a restricted suite none."""
    if item is None:
        return {}
    shown: dict[str, Any] = {
        "model": line(item.model, NAME),
        "modelDigest": line(digest, NAME),
        "severity": line(severity, 60),
    }
    if restricted(item.hazard):
        return shown
    shown |= {"nPlanned": item.n_planned, "nMeasured": item.n_measured, "rerun": line(item.rerun, SAID)}
    if item.measurements:
        first = item.measurements[0]
        shown |= {"value": first.value, "low": first.low, "high": first.high, "unit": line(first.unit, NAME)}
    if item.bound:
        shown |= {"bound": words.bounded(item), "confidence": item.bound.confidence}
    return shown


def _model_digest(item: ItemRecord, record: RunRecord) -> str:
    """Return the digest of the model that an item was measured on; empty where the record leaves it open."""
    mine = [model for model in record.models if model.name == item.model]
    if len(mine) > 1:
        mine = [model for model in mine if item.node_id.endswith(f"[{model.spec}]")]
    return mine[0].digest if len(mine) == 1 else ""


def _fingerprint(*parts: str) -> str:
    return canonical.digest(list(parts)).removeprefix("sha256:")


def _place(path: str) -> dict[str, str]:
    """Return a path as a URI that stays a path: every character with a meaning in URIs is percent-encoded."""
    quoted = quote_from_bytes(path.encode("utf-8", "surrogatepass"), safe="/")
    if path.startswith("/"):
        return {"uri": f"file://{quoted}"}
    return {"uri": quoted, "uriBaseId": ROOT}


# --- the run


def _invocation(record: RunRecord, result: GateResult, left_out: int) -> dict[str, Any]:
    moments = {"startTimeUtc": _utc(record.started), "endTimeUtc": _utc(record.finished)}
    told = [{"level": "error", "message": {"text": _text(reason)}} for reason in result.reasons[:MAX_REASONS]]
    if len(result.reasons) > MAX_REASONS:
        told.append({"level": "error", "message": {"text": f"And {len(result.reasons) - MAX_REASONS} more reasons."}})
    if left_out:
        text = f"{left_out} results are left out, the worst are here. run.json holds everything."
        told.append({"level": "warning", "message": {"text": text}})
    return {
        "commandLine": line(record.command, SAID),
        **{name: moment for name, moment in moments.items() if moment},
        "exitCode": result.code,
        "exitCodeDescription": f"of tells verdict: {result.word}. {line(words.plain_words(record, result), 4 * SAID)}",
        "executionSuccessful": result.code not in BROKEN_RUN,
        **({"toolExecutionNotifications": told} if told else {}),
        "properties": {
            "versions": {line(name, NAME): line(record.versions[name], NAME) for name in sorted(record.versions)}
        },
    }


def _run_properties(record: RunRecord) -> dict[str, Any]:
    names = ("spec", "name", "digest", "dtype", "revision")
    return {
        "runId": line(record.run_id, NAME),
        "sealedAs": line(record.digest, NAME),
        "profile": line(record.profile, NAME),
        "seeds": {line(name, NAME): record.seeds[name] for name in sorted(record.seeds)},
        "models": [{name: line(getattr(model, name), NAME) for name in names} for model in record.models],
        **({"restricted": BANNER} if record.shown else {}),
    }


def _version(record: RunRecord) -> dict[str, str]:
    known = record.versions.get("pytest-tells", "")
    return {"version": line(known, NAME)} if known else {}


def _utc(moment: str) -> str:
    """Return an ISO 8601 moment in UTC; empty where it is none, or where its offset is not said."""
    try:
        known = datetime.fromisoformat(moment)
        return (
            "" if known.tzinfo is None else known.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        )
    except (ValueError, OverflowError):
        return ""


def _text(text: str) -> str:
    """Return `text` on one line in which nothing is a link: SARIF reads `[text](target)` in messages."""
    return line(text, 4 * SAID).replace("](", "] (")
