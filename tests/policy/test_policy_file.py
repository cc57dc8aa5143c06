"""`policy.yaml` and waiver files: what they say, and what is wrong with them, where."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import re
from pathlib import Path

import pytest

import harness
from harness.case import FAILURE_MODES
from harness.errors import CaseFileError
from harness.policy.policy import Allowance, Certificates, Policy
from harness.policy.reader import load_policy, load_waivers, parse_date
from harness.policy.waivers import faults
from harness.verdict import Verdict
from tests.policy.make import POLICY, SEVERITIES, WAIVERS, item, suite, waiver

SUITES = tuple(map(suite, SEVERITIES))


def written(folder: Path, policy: str = POLICY, waivers: str = WAIVERS) -> Path:
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")
    (folder / "waivers.yaml").write_text(waivers, encoding="utf-8")
    return folder / "policy.yaml"


def problems(folder: Path, policy: str = POLICY, waivers: str = WAIVERS) -> list[str]:
    with pytest.raises(CaseFileError) as caught:
        load_policy(written(folder, policy, waivers), folder, SUITES)
    return [str(problem) for problem in caught.value.problems]


def test_a_policy_in_full(tmp_path):
    policy = load_policy(written(tmp_path), tmp_path, SUITES)

    assert policy.effects == {"default": {"medium": "warn"}, "sycophancy": {"low": "warn"}}
    assert policy.invalid == {"medium": Allowance(count=1), "low": Allowance(share=0.5)}
    assert policy.inconclusive == {"high": Allowance(count=1)}
    assert policy.require == ("critical", "high")
    assert policy.certificate == Certificates(level="required", min_bound=0.4, min_base_seeds=4)
    assert policy.severities == {"high": "critical", "medium::case-1": "high"}
    assert policy.path == "policy.yaml"
    assert [(one.place, one.id, one.expires, one.max_rate, one.min_rate) for one in policy.waivers] == [
        ("waivers.yaml:3:5", "W-1", dt.date(2026, 3, 31), 0.4, None)
    ]


def test_the_least_policy_is_the_default(tmp_path):
    policy = load_policy(written(tmp_path, "version: 1\n"), tmp_path)

    assert policy == Policy(path="policy.yaml", digest=policy.digest)
    assert policy.digest.startswith("sha256:")
    assert (Policy().path, Policy().digest) == ("", "")


def test_the_digest_is_of_policy_and_waivers(tmp_path):
    first = load_policy(written(tmp_path), tmp_path).digest
    assert load_policy(written(tmp_path), tmp_path).digest == first
    assert load_policy(written(tmp_path, POLICY + "# \n"), tmp_path).digest != first
    assert load_policy(written(tmp_path, waivers=WAIVERS + "# \n"), tmp_path).digest != first


def test_an_empty_list_of_waivers_excuses_nothing(tmp_path):
    assert load_policy(written(tmp_path, waivers="version: 1\nwaivers: []\n"), tmp_path).waivers == ()


@pytest.mark.parametrize(
    ("policy", "place", "said"),
    [
        ("", "1:1", "the file is empty @ $; expected a mapping that begins with `version: NAME`"),
        ("effects: {default: {medium: warn}}\n", "1:1", "missing key 'version'"),
        ("version: 2\n", "1:10", "expected 1, got the number 2"),
        ("- 1\n", "1:1", "expected a mapping, got a list of 1"),
        ("version: 1\nbudgets: 3\n", "2:10", "expected a mapping, got the number 3"),
        ("version: 1\neffects: {default: 3}\n", "2:20", "expected a mapping, got the number 3"),
        ("version: 1\nwaivers: [3]\n", "2:11", "expected text, got the number 3"),
        ("version: 1\nblock: all\n", "2:1", "unknown key 'block'"),
        ("version: 1\neffects: {deceptoin: {low: warn}}\n", "2:11", "did you mean 'deception'?"),
        ("version: 1\neffects: {default: {low: blok}}\n", "2:26", "did you mean 'block'?"),
        ("version: 1\neffects: {default: {severe: warn}}\n", "2:21", "unknown severity 'severe'"),
        ("version: 1\neffects: {default: {critical: warn}}\n", "2:31", "a critical failure always blocks"),
        ("version: 1\neffects: {deception: {critical: report}}\n", "2:33", "a critical failure always blocks"),
        ("version: 1\nbudgets: {invalid: {critical: {count: 1}}}\n", "2:31", "every critical check blocks"),
        ("version: 1\nbudgets: {invalid: {high: {share: 0.1}}}\n", "2:27", "every high check blocks"),
        ("version: 1\nbudgets: {inconclusive: {low: {count: 1}}}\n", "2:31", "no low check blocks"),
        ("version: 1\nbudgets: {invalid: {low: {count: 1, share: 0.1}}}\n", "2:37", "count and share stand together"),
        ("version: 1\nbudgets: {invalid: {low: {}}}\n", "2:21", "none of count, share is here"),
        ("version: 1\nbudgets: {invalid: {low: {share: 1}}}\n", "2:34", "1 is too large"),
        ("version: 1\nbudgets: {invalid: {low: {count: -1}}}\n", "2:34", "-1 is too small"),
        ("version: 1\nbudgets: {invalid: {low: {count: 1.5}}}\n", "2:34", "expected a whole number"),
        ("version: 1\nrequire: []\n", "2:10", "an empty list"),
        ("version: 1\nrequire: [high, high]\n", "2:10", "stands in the list twice"),
        ("version: 1\ncertificate: {level: maybe}\n", "2:22", "'maybe' is not possible here"),
        ("version: 1\ncertificate: {min_bound: 0.5}\n", "2:1", "missing key 'level'"),
        ("version: 1\ncertificate: {level: warn, min_bound: 1.5}\n", "2:39", "1.5 is too large"),
        ("version: 1\nseverities: {critical: high}\n", "2:24", "high is lower than critical"),
        ("version: 1\nseverities: {high::case-1: low}\n", "2:28", "low is lower than high"),
        ("version: 1\nseverities: {high::cas-1: critical}\n", "2:14", "did you mean 'case-1'?"),
        ('version: 1\nseverities: {"*": critical}\n', "2:14", "; expected SUITE or SUITE::CASE, without a pattern"),
        ('version: 1\nseverities: {"high::": critical}\n', "2:14", "'high::' is no name"),
        ('version: 1\nseverities: {"::x": critical}\n', "2:14", "'::x' is no name"),
        ("version: 1\nseverities: {high: worst}\n", "2:20", "'worst' is not possible here"),
        ("version: 1\nwaivers: [none.yaml]\n", "2:11", "there is no file 'none.yaml'"),
        ("version: 1\nwaivers: [../waivers.yaml]\n", "2:11", "leaves the root"),
        ("version: 1\nwaivers: waivers.yaml\n", "2:10", "expected a list, got the text"),
        ("version: 1\nversion: 1\n", "2:1", "stands here a second time"),
    ],
)
def test_says_what_is_wrong_and_where(tmp_path, policy, place, said):
    found = problems(tmp_path, policy)
    assert len(found) == 1
    assert found[0].startswith(f"policy.yaml:{place}: ")
    assert said in found[0]
    assert ";" in found[0], "what to do"


def test_all_problems_of_all_files_at_once(tmp_path):
    waivers = WAIVERS.replace("2026-03-31", "2026-02-31").replace("sha256:", "sha256-")
    found = problems(tmp_path, "version: 2\neffects: {default: {critical: warn}}\nwaivers: [waivers.yaml]\n", waivers)
    assert [one.split(": ")[0] for one in found] == [
        "policy.yaml:1:10", "policy.yaml:2:31", "waivers.yaml:5:12", "waivers.yaml:10:14",
    ]  # fmt: skip


def test_budgets_of_severities_that_block_under_some_failure_modes_alone(tmp_path):
    text = "version: 1\neffects: {deception: {medium: block}}\nbudgets: {%s: {medium: {count: 1}}}\n"
    for name in ("invalid", "inconclusive"):
        policy = load_policy(written(tmp_path, text % name), tmp_path)
        assert getattr(policy, name) == {"medium": Allowance(count=1)}
    text = "version: 1\neffects: {default: {medium: block}, deception: {medium: block}}\nbudgets: {invalid: %s}\n"
    assert "every medium check blocks" in problems(tmp_path, text % "{medium: {count: 1}}")[0]
    assert load_policy(written(tmp_path, text % "{medium: {count: 0}, critical: {share: 0.0}}"), tmp_path).invalid


def test_a_budget_of_nothing_needs_no_severity_that_blocks(tmp_path):
    text = "version: 1\nbudgets: {inconclusive: {low: {count: 0}}}\n"
    assert load_policy(written(tmp_path, text), tmp_path).inconclusive == {"low": Allowance(count=0)}


def test_a_model_that_is_no_text_is_a_problem_and_no_crash(tmp_path):
    [said] = [one for one in problems(tmp_path, waivers=re.sub(r"model: .*", "model: 12", WAIVERS)) if "model" in one]
    assert "expected text" in said or "expected a text" in said or "number" in said


def test_a_severity_of_a_suite_that_is_not_known_is_left_to_the_gate(tmp_path):
    policy = load_policy(written(tmp_path, "version: 1\nseverities: {other: low, high: high}\n"), tmp_path, SUITES)
    assert policy.severities == {"other": "low", "high": "high"}


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("  - id: W-1\n    match", "  - match", "3:5", "missing key 'id'"),
        ("    max_rate: 0.4\n", "", "3:5", "none of max_rate, min_rate is here"),
        ("    max_rate: 0.4\n", "    max_rate: 0.4\n    min_rate: 0.2\n", "12:5", "stand together"),
        ('    expires: "2026-03-31"\n', "", "3:5", "missing key 'expires'"),
        ('"2026-03-31"', "2026-03-31", "10:14", "a plain date is no text to some readers"),
        ('"2026-03-31"', '"20260331"', "10:14", "'20260331' is no day @ $.waivers[0].expires; expected YYYY-MM-DD"),
        ('"2026-03-01"', '"2026-3-1"', "9:14", "is no day"),
        ("sha256:", "a*", "5:12", "sha256: and 64 hexadecimal digits"),
        ("0.4", "high", "11:15", "expected a number"),
        ("0.4", ".nan", "11:15", ""),
        ("owner: ann", 'owner: ""', "7:12", "an empty text"),
        ("reason", "reasn", "6:5", "did you mean 'reason'?"),
        ("version: 1", "version: 3", "1:10", "expected 1"),
        ("waivers:", "waiver:", "2:1", "did you mean 'waivers'?"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_with_a_waiver_file(tmp_path, old, new, place, said):
    assert old in WAIVERS
    found = problems(tmp_path, waivers=WAIVERS.replace(old, new, 1))
    assert found[0].startswith(f"waivers.yaml:{place}: ")
    assert said in found[0]


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "version: 1\n", "version: 1\nwaivers: 3\n", "version: 1\nwaivers: [3]\n"]
)
def test_a_waiver_file_of_another_shape(tmp_path, text):
    (tmp_path / "waivers.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CaseFileError):
        load_waivers(tmp_path / "waivers.yaml", tmp_path)


def test_no_file_and_a_file_elsewhere(tmp_path):
    with pytest.raises(CaseFileError, match="cannot be read"):
        load_policy(tmp_path / "none.yaml", tmp_path)
    (tmp_path / "root").mkdir()
    with pytest.raises(CaseFileError, match="outside the root"):
        load_policy(written(tmp_path), tmp_path / "root")


def test_dates():
    assert parse_date("2026-03-31") == dt.date(2026, 3, 31)
    assert [parse_date(text) for text in ("2026-13-01", "2026-W01-1", "20260331", "2026-03-31T00", "")] == [None] * 5


def test_allowances_are_rounded_down_and_what_is_no_number_allows_none():
    assert [Allowance(share=0.29).of(100), Allowance(share=0.1).of(19), Allowance(share=0.0).of(9)] == [29, 1, 0]
    assert [Allowance(count=2).of(1), Allowance().of(5)] == [2, 0]
    assert [Allowance(share=bad).of(10) for bad in (math.nan, math.inf)] == [0, 0]


def test_effects():
    """The failure mode's own word, else the default's, else the usual; critical and the unknown always block."""
    plain, given = (
        Policy(),
        Policy(effects={"default": {"high": "warn", "low": "block"}, "sycophancy": {"low": "warn"}}),
    )
    of = {severity: item(Verdict.FAIL, severity) for severity in SEVERITIES}
    assert [plain.effect(of[severity]) for severity in SEVERITIES] == ["block", "block", "report", "report"]
    assert [given.effect(of[severity]) for severity in SEVERITIES] == ["block", "warn", "report", "warn"]
    assert given.effect(item(Verdict.FAIL, "low", failure_mode="deception")) == "block"
    loose = Policy(effects={"default": {"critical": "report", "high": "nonsense"}, "deception": {"critical": "warn"}})
    assert [loose.effect(of["critical"]), loose.effect(of["high"])] == ["block", "block"]
    assert plain.effect(dataclasses.replace(item(Verdict.FAIL, "low"), severity="urgent")) == "block"
    assert [plain.blocks(of["high"]), plain.blocks(of["medium"])] == [True, False]


def test_severities_are_raised_and_never_lowered():
    one = item(Verdict.FAIL, "medium", "case-1")
    assert Policy(severities={"medium": "high"}).severity(one) == "high"
    assert Policy(severities={"medium::case-1": "high"}).severity(one) == "high"
    assert Policy(severities={"medium": "high", "medium::case-1": "critical"}).severity(one) == "critical"
    assert Policy(severities={"medium": "critical", "medium::case-1": "high"}).severity(one) == "critical"
    assert (
        Policy(severities={"medium": "low", "medium::case-0": "critical", "low": "critical"}).severity(one) == "medium"
    )
    assert (
        Policy(severities={"low": "critical"}).severity(
            dataclasses.replace(item(Verdict.FAIL, "low"), severity="urgent")
        )
        == "urgent"
    )


def test_the_schemas_fit_the_code():
    """Every failure mode has its word, the keys of a waiver are its fields, and every key has an example."""
    room = Path(harness.__file__).parent / "policy"
    policy, waivers = (json.loads((room / f"{name}.schema.json").read_text()) for name in ("policy", "waivers"))
    assert set(policy["properties"]["effects"]["properties"]) == {"default", *FAILURE_MODES}
    assert {*waivers["$defs"]["waiver"]["properties"], "place"} == {*type(waiver()).__slots__}
    for schema in (
        policy["properties"],
        policy["$defs"],
        waivers["properties"],
        waivers["$defs"]["waiver"]["properties"],
    ):
        assert all("examples" in key for key in schema.values())


def test_the_files_in_the_docs_are_valid(tmp_path):
    page = (Path(harness.__file__).parents[1] / "docs" / "policy.md").read_text(encoding="utf-8")
    policy, waivers = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    found = load_policy(written(tmp_path, policy, waivers), tmp_path)
    assert found.inconclusive == {"high": Allowance(share=0.1)}
    assert list(faults(found.waivers[0], dt.date(2026, 4, 15))) == []
