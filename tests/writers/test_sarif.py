"""SARIF: valid for its schema whatever is in the record, and nothing that is not green gets lost on the way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import gate
from harness.errors import RecordError
from harness.escape import visible
from harness.policy.policy import Policy
from harness.policy.waivers import Excuse, Waiver
from harness.record import CaseRecord, sealed
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import sarif, write_all
from tests.certify.make import planted
from tests.record_factory import (
    HOSTILE,
    make_exchange,
    make_item,
    make_model,
    make_record,
    make_suite,
    sample_record,
)
from tests.writers.test_html import poisoned

SCHEMA = Path(__file__).parent / "sarif-schema-2.1.0.json"
CANARY = "canary-7f3a"
TODAY = dt.date(2026, 1, 12)
LAST_DAY = dt.date(2026, 2, 1)


@functools.cache
def validator() -> Any:
    """Return a validator of SARIF 2.1.0."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft4Validator.check_schema(schema)
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


def log_of(record: Any, **options: Any) -> dict[str, Any]:
    """Return the one run of a log that keeps the schema, and what the standard says beyond it."""
    data = json.loads(sarif.render(record, **options))
    assert [problem.message for problem in validator().iter_errors(data)] == []
    assert len(data["runs"]) == 1
    run: dict[str, Any] = data["runs"][0]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(ids)) == len(ids)
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        # 3.27.10: a level belongs to kind `fail` alone.
        assert (result["kind"] == "fail") == (result["level"] != "none")
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        allowed = r"file:///[\w\-.~/%]*" if "uriBaseId" not in place else r"(?!/)[\w\-.~/%]*"
        assert re.fullmatch(allowed, place["uri"], re.ASCII)
    for moment in ("startTimeUtc", "endTimeUtc"):
        shown = run["invocations"][0].get(moment, "2026-01-01T00:00:00Z")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown)
    return run


def results_of(record: Any, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the results by rule."""
    return {result["ruleId"]: result for result in log_of(record, **options)["results"]}


def with_cases(*items: Any, **changes: Any) -> Any:
    """Return a record whose suite lists the cases of its items, at different lines."""
    cases = tuple(
        CaseRecord(id=item.case, claim=f"Claim of {item.case}.", check=item.check, line=10 + place)
        for place, item in enumerate(items)
    )
    suite = make_suite(cases=cases, **{key: changes.pop(key) for key in ("hazard", "severity") if key in changes})
    return make_record(*items, suites=(suite,), **changes)


def make_waiver(item: Any, **changes: Any) -> Waiver:
    """Return a waiver of one failure."""
    fields: dict[str, Any] = {
        "id": "W-1", "match": item.node_id, "model": make_model().digest, "reason": "known", "owner": "ann",
        "approved_by": "bob", "written": dt.date(2026, 1, 1), "expires": LAST_DAY, "max_rate": 3.0,
    }  # fmt: skip
    return Waiver(**{**fields, **changes})


def excusing(item: Any, **changes: Any) -> gate.GateResult:
    """Return what a gate would say that lets anything be waived."""
    excuse = Excuse(node_id=item.node_id, waiver=make_waiver(item, **changes), value=2.5, days_left=20)
    return gate.GateResult(code=gate.PASS, word=gate.EXCUSED, reasons=(), waived=(excuse,))


def test_the_schema_can_refuse() -> None:
    """Otherwise the tests below prove nothing."""
    data = json.loads(sarif.render(sample_record()))
    data["runs"][0]["results"][0]["level"] = "fatal"
    data["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    del data["runs"][0]["tool"]
    assert len(list(validator().iter_errors(data))) == 3


@pytest.mark.parametrize(
    ("verdict", "severity", "level"),
    [
        (Verdict.FAIL, "critical", "error"),
        (Verdict.FAIL, "high", "error"),
        (Verdict.FAIL, "medium", "warning"),
        (Verdict.FAIL, "low", "warning"),
        (Verdict.FAIL, "unheard-of", "error"),
        (Verdict.INCONCLUSIVE, "critical", "warning"),
        (Verdict.INCONCLUSIVE, "low", "warning"),
        (Verdict.INVALID, "critical", "error"),
        (Verdict.INVALID, "low", "error"),
        (Verdict.WAIVED, "high", "error"),
        (Verdict.WAIVED, "low", "warning"),
    ],
)
def test_the_level_follows_verdict_and_severity(verdict: Verdict, severity: str, level: str) -> None:
    """Whatever is not green is a result of kind `fail`, at the line of its case."""
    record = make_record(make_item("x", verdict, severity=severity), suites=(make_suite(severity=severity),))
    result = results_of(record)["deployment-defection/x"]
    assert (result["kind"], result["level"], result["properties"]["verdict"]) == ("fail", level, verdict.value)
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "evals/deception/deployment.eval.yaml", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 21, "startColumn": 1},
            }
        }
    ]


def test_passes_are_there_on_demand() -> None:
    """A PASS is no finding; who asks gets it as kind `pass`."""
    record = make_record(make_item("a"), make_item("b", Verdict.FAIL))
    assert set(results_of(record)) == {"deployment-defection/b"}
    found = results_of(record, passes=True)
    assert (found["deployment-defection/a"]["kind"], found["deployment-defection/a"]["level"]) == ("pass", "none")


@pytest.mark.parametrize(
    ("severity", "number"),
    [("critical", "9.5"), ("high", "8.0"), ("medium", "5.0"), ("low", "2.0"), ("unheard-of", "9.5")],
)
def test_rules_are_cases(severity: str, number: str) -> None:
    """Claim, failure mode and severity; the number lies in the band that GitHub gives the same word."""
    rules = log_of(with_cases(make_item("hint", severity=severity), severity=severity))["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["deployment-defection/hint"]
    assert rules[0]["shortDescription"]["text"] == "Claim of hint."
    assert rules[0]["help"]["text"].startswith("Claim: Claim of hint.; failure mode: deception; severity: ")
    assert rules[0]["properties"]["security-severity"] == number
    assert rules[0]["properties"]["tags"] == ["security", "deception", "open", severity]
    assert rules[0]["defaultConfiguration"]["level"] == ("warning" if severity in {"medium", "low"} else "error")


# --- waivers


def test_an_accepted_waiver_suppresses_a_fail() -> None:
    """The result stays, with its numbers and with the justification."""
    item = make_item("x", Verdict.FAIL)
    record = make_record(item)
    result = gate.judge_run(record, waivers=(make_waiver(item),), today=TODAY)
    assert (result.code, result.word) == (gate.PASS, gate.EXCUSED)
    found = results_of(record, result=result)["deployment-defection/x"]
    why = f"waiver W-1: known; at most 3; owner ann, approved by bob; expires {LAST_DAY}, 20 days left"
    assert found["suppressions"] == [{"kind": "external", "status": "accepted", "justification": why}]
    assert (found["level"], found["properties"]["verdict"]) == ("error", "WAIVED")
    assert found["properties"]["value"] == 2.5
    assert "suppressions" not in results_of(record)["deployment-defection/x"]


def test_an_expired_waiver_suppresses_nothing() -> None:
    """The gate did not accept it."""
    item = make_item("x", Verdict.FAIL)
    record = make_record(item)
    result = gate.judge_run(record, waivers=(make_waiver(item),), today=LAST_DAY + dt.timedelta(days=1))
    assert result.code == gate.WAIVER
    assert "suppressions" not in results_of(record, result=result)["deployment-defection/x"]


@pytest.mark.parametrize("verdict", [Verdict.INVALID, Verdict.INCONCLUSIVE])
def test_nothing_but_a_fail_can_be_waived(verdict: Verdict) -> None:
    """Not even where the caller says so."""
    item = make_item("x", verdict)
    result = results_of(make_record(item), result=excusing(item))["deployment-defection/x"]
    assert "suppressions" not in result
    assert "W-1" not in json.dumps(result)


def test_a_policy_raises_the_level() -> None:
    """What blocks by the policy is an error."""
    item = make_item("x", Verdict.FAIL, severity="medium")
    record = make_record(item, suites=(make_suite(severity="medium"),))
    raised = Policy(severities={"deployment-defection": "critical"})
    assert results_of(record)["deployment-defection/x"]["level"] == "warning"
    found = results_of(record, result=gate.judge_run(record, raised), policy=raised)["deployment-defection/x"]
    assert (found["level"], found["properties"]["severity"]) == ("error", "critical")


def test_a_waiver_that_nobody_vouches_for_does_not_suppress() -> None:
    """A record can claim anything; `underReview` counts as not suppressed."""
    item = make_item("x", Verdict.WAIVED, waiver={"reason": "trust me"})
    suppression = results_of(make_record(item))["deployment-defection/x"]["suppressions"][0]
    assert suppression["status"] == "underReview"
    assert suppression["justification"] == "no accepted waiver vouches for it (the record says: trust me)"


# --- baselines and fingerprints


def test_baseline_states() -> None:
    """What the comparison says; what it does not know is new; what is gone from the run is a result, not mended."""
    old, new, gone = make_item("old", Verdict.FAIL), make_item("new", Verdict.FAIL), make_item("hint")
    states = {old.node_id: "unchanged", gone.node_id: "absent"}
    found = results_of(make_record(old, new), baseline=states)
    assert {name.rpartition("/")[2]: result["baselineState"] for name, result in found.items()} == {
        "old": "unchanged",
        "new": "new",
        "hint": "absent",
    }
    assert found["deployment-defection/hint"]["level"] == "error"
    assert "is no longer there" in found["deployment-defection/hint"]["message"]["text"]
    assert "baselineState" not in results_of(make_record(old))["deployment-defection/old"]


def test_a_check_that_is_there_is_not_absent() -> None:
    """A comparison that says so contradicts the record."""
    item = make_item("x", Verdict.FAIL)
    assert results_of(make_record(item), baseline={item.node_id: "absent"})["deployment-defection/x"][
        "baselineState"
    ] == "new"  # fmt: skip


def test_an_unknown_baseline_state_is_refused() -> None:
    """Not written into a file that nobody can read."""
    with pytest.raises(RecordError, match="expected one of absent, new, unchanged, updated"):
        sarif.render(sample_record(), baseline={"x": "better"})


def test_fingerprints_by_hand() -> None:
    """The node id alone keeps an alert over checkpoints; node id and model tell one measurement."""
    item, model = make_item("x", Verdict.FAIL), make_model()
    prints = results_of(make_record(item))["deployment-defection/x"]["partialFingerprints"]
    alone = hashlib.sha256(json.dumps([item.node_id]).encode()).hexdigest()
    both = hashlib.sha256(f'["{item.node_id}","{model.digest}"]'.encode()).hexdigest()
    assert prints == {"primaryLocationLineHash": alone, "tellsNode/v1": alone, "tellsNodeAndModel/v1": both}
    other = make_record(item, models=(make_model(digest="sha256:other"),))
    again = results_of(other)["deployment-defection/x"]["partialFingerprints"]
    assert {name for name in prints if prints[name] != again[name]} == {"tellsNodeAndModel/v1"}


def test_two_models_of_one_name_are_told_apart_by_spec() -> None:
    """And a digest that the record leaves open is left out."""
    item = make_item("x", Verdict.FAIL, node_id="f::deployment-defection::x[./b]")
    twins = (make_model(spec="./a", digest="sha256:a"), make_model(spec="./b", digest="sha256:b"))
    assert (
        results_of(make_record(item, models=twins))["deployment-defection/x"]["properties"]["modelDigest"] == "sha256:b"
    )
    lost = results_of(make_record(item, models=()))["deployment-defection/x"]
    assert lost["properties"]["modelDigest"] == ""
    assert set(lost["partialFingerprints"]) == {"primaryLocationLineHash", "tellsNode/v1"}


# --- nothing gets lost


@pytest.mark.parametrize(
    ("selected", "said"), [(True, "was selected and has no result"), (False, "was planned and not selected")]
)
def test_what_has_no_result_stays_an_alert(selected: bool, said: str) -> None:  # noqa: FBT001 - a parameter of the test
    """Code scanning takes an alert that does not come again for mended."""
    here, gone = make_item("a"), make_item("hint")
    chosen = (here.node_id, gone.node_id) if selected else (here.node_id,)
    record = make_record(here, planned=(here.node_id, gone.node_id), selected=chosen, partial=not selected)
    result = results_of(record)["deployment-defection/hint"]
    assert (result["level"], result["kind"], result["properties"]["verdict"]) == ("error", "fail", "NO RESULT")
    assert said in result["message"]["text"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 21


def test_a_file_that_was_never_collected_has_a_rule_of_its_own() -> None:
    """Its cases are unknown."""
    record = make_record(make_item("a"), planned=(make_item("a").node_id, "evals/other.eval.yaml"), partial=True)
    place = results_of(record)["tells/no-result"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "evals/other.eval.yaml"


def test_a_run_that_is_no_verdict_is_no_successful_execution() -> None:
    """The exit code is that of the gate, and its reasons are notifications."""
    item = make_item()
    torn = log_of(make_record(item, completed=False, exit_reason="killed"))["invocations"][0]
    assert (torn["exitCode"], torn["executionSuccessful"]) == (gate.BROKEN, False)
    assert "killed" in torn["toolExecutionNotifications"][0]["message"]["text"]
    failed = log_of(make_record(make_item("x", Verdict.FAIL)))["invocations"][0]
    assert (failed["exitCode"], failed["executionSuccessful"]) == (gate.FAIL, True)
    passed = log_of(make_record(item))["invocations"][0]
    assert (passed["exitCode"], passed["executionSuccessful"]) == (gate.PASS, True)
    assert "toolExecutionNotifications" not in passed


def test_what_the_gate_says_under_a_policy_is_given() -> None:
    """The caller has judged; the log repeats it."""
    result = gate.GateResult(code=gate.WAIVER, word="WAIVER PROBLEM", reasons=("waivers.yaml:3: expired",))
    told = log_of(sample_record(), result=result)["invocations"][0]
    assert told["exitCode"] == gate.WAIVER
    assert told["toolExecutionNotifications"][0]["message"]["text"] == "waivers.yaml:3: expired"


def test_a_certification_gives_what_was_not_met() -> None:
    """A missed organism is an error, an undecided one a warning, a met one nothing."""
    verdicts = {"a": Verdict.PASS, "b": Verdict.FAIL, "c": Verdict.INCONCLUSIVE}
    met = tuple(planted(said, suite="deployment-defection", organism=name) for name, said in verdicts.items())
    ids = tuple(one.node_id for one in met)
    record = sealed(
        dataclasses.replace(make_record(), items=(), certification=met, planned=ids, selected=ids, models=())
    )
    found = {result["properties"]["nodeId"]: result for result in log_of(record)["results"]}
    assert {name: result["level"] for name, result in found.items()} == {ids[0]: "error", ids[2]: "warning"}
    assert {result["ruleId"] for result in found.values()} == {"deployment-defection/certify"}
    assert "PASS, expected FAIL: deployment-defection on a/planted@seed=1" in found[ids[0]]["message"]["text"]
    every = log_of(record, passes=True)["results"]
    assert sorted(result["level"] for result in every) == ["error", "none", "warning"]


def test_the_cut_keeps_the_worst_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Severity before verdict: a critical FAIL before an INVALID of low severity."""
    monkeypatch.setattr(sarif, "MAX_RESULTS", 2)
    items = [make_item(f"low-{place}", Verdict.INVALID, severity="low") for place in range(3)]
    run = log_of(make_record(*items, make_item("bad", Verdict.FAIL)))
    assert [result["ruleId"] for result in run["results"]] == ["deployment-defection/bad", "deployment-defection/low-0"]
    assert run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"].startswith(
        "2 results are left out"
    )


# --- hostile and restricted


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_a_payload_in_every_field_keeps_the_schema(payload: str) -> None:
    """The log is ASCII, nothing invisible is in its texts, no text is a link, the payload is there to read."""
    record = poisoned(sample_record(), payload)
    text = sarif.render(record, passes=True)
    assert text.isascii()
    run = log_of(record, passes=True)
    told = json.dumps(run, ensure_ascii=False)
    assert [mark for mark in told if visible(mark) != mark] == []
    assert not re.search(r"##[A-Za-z]*\[", told)
    assert "](" not in "".join(result["message"]["text"] for result in run["results"])
    assert len(run["results"]) == 6
    shown = visible(payload, newlines="visible")
    if len(shown) < 100 and "##" not in shown and "](" not in shown:
        assert shown in run["results"][0]["message"]["text"]


@pytest.mark.parametrize("hazard", ["restricted", "a-new-word"])
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.WAIVED, Verdict.PASS])
def test_a_restricted_suite_leaves_ids_alone(verdict: Verdict, hazard: str) -> None:
    """No claim, no cause, no number; and a hazard that nobody knows is no open door."""
    number = Measurement(name=CANARY, value=0.123456, unit=CANARY, n=42, low=0.123456, high=0.123456, note=CANARY)
    item = make_item(
        "x", verdict, hazard=hazard, claim=CANARY, cause=f"row said {CANARY}", reference=CANARY, rerun=CANARY,
        measurements=(number,), bound=Bound(op="at_most", value=0.123456, unit=CANARY, confidence=0.95),
        exchanges=(make_exchange(CANARY),), waiver={"reason": CANARY},
    )  # fmt: skip
    suite = make_suite(
        hazard=hazard, claim=CANARY, source=CANARY, limits=CANARY, controls=(CANARY,),
        cases=(CaseRecord(id="x", claim=CANARY, check="rate", line=3),),
    )  # fmt: skip
    record = make_record(item, suites=(suite,))
    text = sarif.render(record, passes=True, result=gate.judge_run(make_record()))
    assert CANARY not in text
    assert CANARY not in sarif.render(record, result=excusing(item, reason=CANARY, owner=CANARY))
    assert "0.123456" not in text
    result = results_of(record, passes=True)["deployment-defection/x"]
    assert result["properties"]["nodeId"] == item.node_id
    assert result["message"]["text"].startswith(
        f"{verdict}: deployment-defection/x on smollm2 (critical). The suite is"
    )


def test_an_internal_suite_shows_numbers_and_no_quotation() -> None:
    """As report.md does."""
    cause = f"row said '{CANARY}'"
    item = make_item("x", Verdict.FAIL, hazard="internal", cause=cause, exchanges=(make_exchange(CANARY),))
    text = sarif.render(make_record(item, suites=(make_suite(hazard="internal"),)))
    assert CANARY not in text
    assert "measured 2.5 [2.25, 2.75] nats, bound at most 1.5 nats" in text


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("evals/a b.eval.yaml", "evals/a%20b.eval.yaml"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("evals/%41?x#y", "evals/%2541%3Fx%23y"),
        ("//host/x", "file:////host/x"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_a_path_stays_a_path(path: str, uri: str) -> None:
    """No scheme, no host, no query comes from the name of a file."""
    assert sarif._place(path)["uri"] == uri


# --- bytes


def test_the_same_record_gives_the_same_bytes() -> None:
    """Whatever the order of its items."""
    record = sample_record()
    assert sarif.render(record) == sarif.render(record)
    turned = dataclasses.replace(record, items=record.items[::-1])
    first, second = (json.loads(sarif.render(one))["runs"][0] for one in (record, turned))
    assert [one["properties"] for one in first["results"]] == [one["properties"] for one in second["results"]]


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05Z"),
        ("2026-01-02T03:04:05", ""),
        ("yesterday", ""),
        ("0001-01-01T00:00:00+10:00", ""),
    ],
)
def test_moments_are_in_utc(moment: str, shown: str) -> None:
    """A moment that cannot be told in UTC is left out."""
    assert sarif._utc(moment) == shown


def test_a_number_that_is_not_finite_is_refused() -> None:
    """NaN is no JSON."""
    item = make_item("x", Verdict.FAIL, bound=Bound(op="at_most", value=0.1, unit="share", confidence=float("nan")))
    with pytest.raises(RecordError, match="finite"):
        sarif.render(make_record(item, seal=False))


def test_it_is_among_the_default_reports(tmp_path: Path) -> None:
    """`--report` writes it beside the others."""
    written = write_all(sample_record(), tmp_path)
    assert [path.name for path in written] == [
        "run.json", "report.md", "report.html", "results.sarif", "release.md", "test-result.intoto.json",
    ]  # fmt: skip
    assert (tmp_path / "results.sarif").read_text(encoding="utf-8") == sarif.render(sample_record())
