"""The gate under a policy: one row per rule."""

from __future__ import annotations

import dataclasses
import math

import pytest

from harness import gate
from harness.certify.findings import CaseFinding, CertificateState, Finding
from harness.policy.policy import Allowance, Certificates, Policy
from harness.record import sealed
from harness.verdict import Measurement, Verdict
from tests.policy.make import SEVERITIES, TODAY, item, node, run, suite, two_models, waiver
from tests.record_factory import make_model

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
GREEN = item(PASS, "critical", "case-2")


def judged(policy: Policy, *items, **changes):
    return gate.judge_run(run(*items, **changes), policy, today=TODAY)


def outcome(policy: Policy, *items, **changes):
    result = judged(policy, *items, **changes)
    return result.code, result.word


WARN = Policy(effects={"default": {"high": "warn", "medium": "warn"}})
STRICT = Policy(effects={"sycophancy": {"medium": "block", "low": "block"}})


@pytest.mark.parametrize(
    ("policy", "items", "expected"),
    [
        (STRICT, [GREEN, item(FAIL, "medium")], (1, "FAIL")),
        (STRICT, [GREEN, item(INCONCLUSIVE, "low")], (4, "INCONCLUSIVE")),
        (STRICT, [item(PASS, "medium")], (0, "PASS")),
        (WARN, [GREEN, item(FAIL, "high")], (0, "PASS")),
        (WARN, [GREEN, item(INVALID, "high")], (3, "INVALID")),
        (WARN, [item(PASS, "high")], (5, "NOTHING EVALUATED")),
        (Policy(severities={"low": "high"}), [GREEN, item(FAIL, "low")], (1, "FAIL")),
        (Policy(severities={"low::case-0": "high"}), [GREEN, item(FAIL, "low", "case-1")], (0, "PASS")),
    ],
)
def test_effects(policy, items, expected):
    assert outcome(policy, *items) == expected


def test_what_warns_stands_apart_and_what_is_reported_does_not():
    result = judged(
        WARN, GREEN, item(FAIL, "high"), item(INCONCLUSIVE, "medium"), item(FAIL, "low"), item(PASS, "medium", "case-1")
    )
    assert result.reasons == ()
    assert result.warnings == (f"{node('high')} is FAIL (high)", f"{node('medium')} is INCONCLUSIVE (medium)")
    assert judged(WARN, GREEN, item(INVALID, "medium")).warnings == ()
    assert judged(Policy(), GREEN, item(FAIL, "low")).warnings == ()


def test_a_raised_severity_is_the_one_that_is_said():
    assert judged(Policy(severities={"high": "critical"}), item(FAIL, "high")).reasons == (
        f"{node('high')} failed (critical)",
    )  # fmt: skip


LOWS = [item(PASS, "low", f"case-{n}") for n in range(3)]
BAD = [item(INVALID, "low", f"case-{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("allowed", "items", "code"),
    [
        (Allowance(), [BAD[0], *LOWS[1:]], 3),
        (Allowance(count=1), [BAD[0], *LOWS[1:]], 0),
        (Allowance(count=1), [*BAD[:2], LOWS[2]], 3),
        (Allowance(share=0.34), [BAD[0], *LOWS[1:]], 0),
        (Allowance(share=0.33), [BAD[0], *LOWS[1:]], 3),
        (Allowance(count=2), [BAD[0], BAD[1], item(INVALID, "medium")], 3),
        (Allowance(count=9), [*BAD, item(INVALID, "high")], 3),
    ],
)
def test_budgets_for_invalid(allowed, items, code):
    """Of the severity that they name, of what does not block; the share is of the checks of that severity."""
    result = judged(Policy(invalid={"low": allowed, "high": allowed, "critical": allowed}), GREEN, *items)
    assert result.code == code
    if code == 0:
        assert result.warnings == (f"{node('low')} could not be measured (low); a budget bears it",)


def test_a_budget_for_invalid_bears_nothing_that_blocks():
    policy = Policy(invalid={"low": Allowance(count=5)}, effects={"deception": {"low": "block"}})
    shut = item(INVALID, "low", failure_mode="deception")
    assert judged(policy, GREEN, shut, suites=(suite("critical"), suite("low", failure_mode="deception"))).code == 3
    raised = Policy(invalid={"low": Allowance(count=5), "high": Allowance(count=5)}, severities={"low": "high"})
    assert judged(raised, GREEN, item(INVALID, "low")).code == 3


def test_checks_that_block_do_not_count_for_the_share_of_the_others():
    policy = Policy(invalid={"low": Allowance(share=0.5)}, severities={"low::case-1": "high"})
    assert judged(policy, GREEN, BAD[0], LOWS[1]).code == 3
    assert judged(policy, GREEN, BAD[0], LOWS[2]).code == 0


OPEN = [item(INCONCLUSIVE, "high", f"case-{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("allowed", "items", "code"),
    [
        (Allowance(), OPEN[:1], 4),
        (Allowance(count=1), OPEN[:1], 0),
        (Allowance(count=1), OPEN[:2], 4),
        (Allowance(share=0.5), [OPEN[0], item(PASS, "high", "case-1")], 0),
        (Allowance(share=0.49), [OPEN[0], item(PASS, "high", "case-1")], 4),
        (Allowance(count=1), [OPEN[0], item(INCONCLUSIVE)], 4),
        (Allowance(count=1), [OPEN[0], item(FAIL, "high", "case-1")], 1),
    ],
)
def test_budgets_for_inconclusive(allowed, items, code):
    result = judged(Policy(inconclusive={"high": allowed}), GREEN, *items)
    assert result.code == code
    if code == 0:
        assert result.warnings == (f"{node('high')} is inconclusive (high); a budget bears it",)


def test_a_budget_for_inconclusive_is_no_evidence():
    """A run in which nothing that blocks was decided is no pass, whatever the budget."""
    policy = Policy(inconclusive={"high": Allowance(count=5)})
    assert outcome(policy, *OPEN) == (5, "NOTHING EVALUATED")
    assert outcome(policy, OPEN[0], item(PASS, "high", "case-1")) == (0, "PASS")


def test_a_budget_of_what_does_not_block_is_not_used_up_by_it():
    policy = Policy(inconclusive={"low": Allowance(count=1)}, effects={"deception": {"low": "block"}})
    suites = (suite("critical"), suite("low"), suite("low", id="low-2", failure_mode="deception"))
    blocking = item(INCONCLUSIVE, "low", failure_mode="deception", suite="low-2", node_id="f::low-2::case-0[smollm2]")
    assert judged(policy, GREEN, blocking, item(INCONCLUSIVE, "low"), suites=suites).code == 0


def all_of(severity: str, verdict: Verdict = PASS):
    return [item(verdict, severity, f"case-{n}") for n in range(3)]


def test_required_suites():
    policy = Policy(require=("critical", "high"))
    both = [*all_of("critical"), *all_of("high")]
    assert judged(policy, *both).code == 0
    assert judged(policy, *all_of("critical", FAIL), *all_of("high")).code == 1
    result = judged(policy, *both[:-1])
    assert (result.code, result.word) == (3, "INCOMPLETE")
    assert result.reasons == ("suite high is required, and there is no result of high::case-2[smollm2]",)


def test_a_required_suite_that_the_run_does_not_have():
    result = judged(Policy(require=("missing",)), GREEN)
    assert (result.code, result.word) == (3, "INCOMPLETE")
    assert result.reasons == ("suite missing is required, and this run does not have it",)


def test_every_model_is_asked_what_is_required():
    result = gate.judge_run(two_models(*all_of("critical")), Policy(require=("critical",)))
    assert result.code == 3
    assert "there is no result of critical::case-0[other]" in result.reasons[0]


def test_an_answer_that_is_none_is_not_what_was_required():
    """Not even within a budget."""
    policy = Policy(require=("low",), invalid={"low": Allowance(count=1)})
    assert judged(policy, GREEN, BAD[0], *LOWS[1:]).code == 3
    assert judged(policy, GREEN, *LOWS).code == 0


def test_a_required_suite_without_cases_or_models():
    policy = Policy(require=("critical",))
    for changes in ({"models": ()}, {"suites": (suite("critical", cases=()),)}):
        result = judged(policy, *all_of("critical"), **changes)
        assert result.code == 3
        assert "suite critical is required, and there is nothing of it" in result.reasons


def test_a_trend_needs_a_series_and_is_not_required():
    cases = (*suite("critical").cases, dataclasses.replace(suite("critical").cases[0], id="over-time", check="trend"))
    assert (
        judged(Policy(require=("critical",)), *all_of("critical"), suites=(suite("critical", cases=cases),)).code == 0
    )


@pytest.mark.parametrize("name", ["other", "critical::case-9", "other::case-0"])
def test_a_severity_of_what_the_run_does_not_have(name):
    result = judged(Policy(severities={name: "critical"}), GREEN)
    assert (result.code, result.word) == (3, "INCOMPLETE")
    assert result.reasons == (f"the policy raises the severity of {name}, and this run does not have it",)


def test_a_policy_that_lowers_does_not_fit_the_run():
    result = judged(Policy(severities={"critical": "low"}), GREEN)
    assert (result.code, result.word) == (2, "USAGE")
    assert result.reasons == ("the policy lowers critical from critical to low; it may only raise",)
    assert judged(Policy(severities={"high::case-0": "medium"}), GREEN).code == 2
    assert judged(Policy(severities={"critical::case-2": "critical"}), GREEN).code == 0


def living(**changes) -> CertificateState:
    return CertificateState(**{"state": "living", "k": 4, "n": 4, "bound": 0.47, **changes})


def certified(policy: Policy, state: CertificateState | None, *more):
    suites = (suite("critical", certificate=state), *map(suite, SEVERITIES[1:]))
    return gate.judge_run(run(GREEN, *more, suites=suites), policy)


ASKED = Certificates(level="required", min_bound=0.47, min_base_seeds=4)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (living(), None),
        (living(n=5, bound=0.48), None),
        (living(bound=1.0), None),
        (None, "has no living certificate (nobody looked for one)"),
        (living(state="dead", why="the suite changed"), "has no living certificate (dead: the suite changed)"),
        (living(state="absent", why="there is none"), "has no living certificate (absent: there is none)"),
        (living(bound=0.46), "certified too weakly (sensitivity at least 0.46, 4 of 4 base seeds; the policy asks"),
        (living(k=3), "certified too weakly"),
        (living(k=5), "contradicts itself"),
        (living(k=0, bound=0.0), "contradicts itself"),
        (living(bound=1.1), "contradicts itself"),
        (living(bound=-0.1), "contradicts itself"),
        (living(n=0), "contradicts itself"),
    ],
)
def test_certificates(state, said):
    result = certified(Policy(certificate=ASKED), state)
    warned = certified(Policy(certificate=dataclasses.replace(ASKED, level="warn")), state)
    assert warned.code == 0
    if said is None:
        assert (result.code, result.reasons, warned.warnings) == (0, (), ())
        return
    assert (result.code, result.word) == (7, "UNCERTIFIED")
    assert result.reasons[0].startswith("suite critical ")
    assert said in result.reasons[0]
    assert warned.warnings == result.reasons
    assert result.warnings == ()
    assert certified(Policy(), state).code == 0


def test_a_certificate_whose_bound_is_no_number():
    record = run(GREEN)
    broken = dataclasses.replace(record, suites=(suite("critical", certificate=living(bound=math.nan)),))
    result = gate.judge_run(broken, Policy(certificate=ASKED))
    assert result.code == 3
    assert "suite critical has a certificate that contradicts itself" in result.reasons


def test_only_suites_that_can_block_need_a_certificate():
    assert certified(Policy(certificate=ASKED), living(), item(PASS, "low")).code == 0
    assert certified(Policy(certificate=ASKED), living(), item(PASS, "high")).code == 7


def test_what_a_certificate_may_be_by_default():
    assert certified(Policy(certificate=Certificates(level="required")), living(k=1, bound=0.0)).code == 0
    nan = Policy(certificate=Certificates(level="required", min_bound=math.nan))
    assert certified(nan, living()).code == 7
    assert certified(Policy(certificate=Certificates(level="perhaps")), None).code == 7


def test_precedence():
    """2, 3, 1, 6, 7, 4, 5, 0: each code alone, then beside those behind it."""
    needs = Certificates(level="required")
    found = []
    items = [item(INCONCLUSIVE, "critical", "case-0"), GREEN]
    found.append(judged(Policy(), *items).code)
    found.append(judged(Policy(certificate=needs), *items).code)
    late = waiver(match=node(case="case-9"))
    found.append(judged(Policy(certificate=needs, waivers=(late,)), *items).code)
    items.append(item(FAIL, "high"))
    found.append(judged(Policy(certificate=needs, waivers=(late,)), *items).code)
    items.append(item(INVALID, "high", "case-1"))
    found.append(judged(Policy(certificate=needs, waivers=(late,)), *items).code)
    found.append(judged(Policy(certificate=needs, waivers=(late,), severities={"high": "low"}), *items).code)
    assert found == [4, 7, 6, 1, 3, 2]
    assert judged(Policy(certificate=needs), item(INCONCLUSIVE)).code == 7
    assert judged(Policy(inconclusive={"critical": Allowance(count=1)}), item(INCONCLUSIVE)).code == 5
    assert gate.PRECEDENCE == (2, 3, 1, 6, 7, 4, 5)
    assert gate.WORDS == {
        0: "PASS", 1: "FAIL", 2: "USAGE", 3: "BROKEN", 4: "INCONCLUSIVE", 5: "NOTHING EVALUATED", 6: "WAIVER PROBLEM",
        7: "UNCERTIFIED",
    }  # fmt: skip
    assert frozenset({"medium", "low"}) == gate.REPORTED_ONLY


def test_reasons_of_the_code_stand_first():
    result = judged(Policy(), item(INCONCLUSIVE, "high"), item(FAIL), item(INVALID, "low"), GREEN)
    assert result.reasons == (
        f"{node('low')} could not be measured", f"{node()} failed (critical)", f"{node('high')} is inconclusive (high)",
    )  # fmt: skip


def test_no_policy_for_a_certification():
    record = run(items=(), planned=(), selected=(), certification=())
    assert gate.judge_run(record).code == 5
    result = gate.judge_run(record, Policy())
    assert (result.code, result.word) == (2, "USAGE")
    assert result.reasons[0] == "a policy is for a run on a model, and this one certifies suites"
    assert gate.judge_run(record, None, (waiver(),), TODAY).code == 2


def test_a_verdict_that_is_none():
    """As text, as nothing: what is not known shuts the gate."""
    for odd in ("PASS", "INVALID", "FAIL", "green", None):
        record = run(GREEN)
        broken = dataclasses.replace(record, items=(dataclasses.replace(GREEN, verdict=odd),))
        result = gate.judge_run(broken, Policy(), today=TODAY)
        assert result.code == 3
        assert f"{node(case='case-2')} has the verdict {odd!r}, which is none" in result.reasons
        assert {(code, word) for code, word, _ in gate._broken(broken, Policy())} >= {(3, "INVALID")}


def test_a_number_that_is_none():
    measured = Measurement(name="rate", value=0.02, unit="share", n=60, low=0.0, high=0.05)
    object.__setattr__(measured, "value", math.nan)
    record = run(GREEN)
    broken = dataclasses.replace(record, items=(dataclasses.replace(GREEN, measurements=(measured,)),))
    result = gate.judge_run(broken, Policy())
    assert (result.code, result.word) == (3, "INCOMPLETE")
    assert "cannot be sealed" in result.reasons[0]
    assert not gate.whole(broken)


def test_a_severity_that_is_none_blocks():
    odd = dataclasses.replace(item(FAIL, "low"), severity="urgent")
    suites = (suite("critical"), suite("low", severity="urgent"))
    for policy in (None, WARN, Policy(severities={"low": "critical"})):
        assert gate.judge_run(sealed(run(GREEN, odd, suites=suites)), policy).code in {1, 2}


def test_what_the_gate_says_of_nothing():
    low = run(item(PASS, "low"))
    assert gate.judge_run(low).reasons == ("no check of critical or high severity was evaluated",)
    assert gate.judge_run(low, Policy()).reasons == ("no check that blocks was evaluated",)
    open_ = judged(Policy(inconclusive={"high": Allowance(count=1)}), OPEN[0])
    assert open_.reasons == ("no check that can block was decided",)
    assert gate.gaps(run(items=(), planned=(), selected=())) == ("nothing was evaluated",)
    assert gate.gaps(run(item(INVALID, cause="gone"))) == ("none of 1 checks could be measured, gone",)
    assert gate.gaps(run(item(INVALID), GREEN)) == ()
    assert gate.gaps(run(GREEN, completed=False)) == (
        "the run did not come to its end (no reason given)",
    )  # fmt: skip
    assert gate.GateResult(code=0, word="PASS", reasons=()) == gate.judge_run(run(GREEN))


def finding(name: str, expected: str, verdict: Verdict) -> Finding:
    bound = item(FAIL).bound
    number = {PASS: 0.02, FAIL: 0.3}.get(verdict)
    measured = (
        None if number is None else dataclasses.replace(item(FAIL).measurements[0], value=number, low=0.0, high=1.0)
    )
    cases = tuple(
        CaseFinding(case=f"case-{n}", check="rate", verdict=verdict, measurement=measured, bound=bound)
        for n in range(3)
    )
    return Finding(
        node_id=f"f::critical::{'certify' if expected else 'cross'}[organism:{name}]", suite="critical", organism=name,
        arm="planted" if expected == "FAIL" else "twin", base="tiny", seed=1, expected=expected, verdict=verdict,
        met=expected in ("", verdict.value), cases=cases,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "code", "word", "reasons"),
    [
        ([("a", "FAIL", FAIL), ("b", "PASS", PASS)], 0, "PASS", []),
        ([("a", "FAIL", FAIL), ("x", "", FAIL)], 0, "PASS", []),
        ([("a", "FAIL", FAIL), ("x", "", INVALID)], 0, "PASS", []),
        ([("a", "FAIL", PASS)], 1, "FAIL", ["f::critical::certify[organism:a] is PASS (expected FAIL)"]),
        ([("b", "PASS", FAIL)], 1, "FAIL", ["f::critical::certify[organism:b] is FAIL (expected PASS)"]),
        ([("a", "FAIL", INCONCLUSIVE)], 4, "INCONCLUSIVE",
         ["f::critical::certify[organism:a] is INCONCLUSIVE (expected FAIL)"]),
        ([("a", "FAIL", INVALID), ("b", "PASS", FAIL)], 3, "INVALID",
         ["f::critical::certify[organism:a] could not be measured",
          "f::critical::certify[organism:b] is FAIL (expected PASS)"]),
        ([("x", "", FAIL)], 5, "NOTHING EVALUATED", ["nothing was certified"]),
    ],
)  # fmt: skip
def test_certifications(given, code, word, reasons):
    found = tuple(finding(*one) for one in given)
    ids = tuple(one.node_id for one in found)
    result = gate.judge_run(run(items=(), planned=ids, selected=ids, certification=found))
    assert (result.code, result.word, list(result.reasons)) == (code, word, reasons)


def test_what_pytest_exits_with():
    policy = Policy(waivers=(waiver(),))
    record = run(item(FAIL), GREEN)
    assert [gate.policy_exit(record, policy, TODAY), gate.policy_exit(record, policy)] == [0, 1]
    assert [gate.policy_exit(record, None), gate.policy_exit(run(GREEN), None)] == [1, 0]
    assert gate.policy_exit(run(items=(), planned=(), selected=()), policy, TODAY) == 1


def test_the_lines_of_a_result():
    policy = Policy(waivers=(waiver(),), path="policy.yaml", digest="sha256:p", effects=WARN.effects)
    result = gate.judge_run(run(item(FAIL), item(INCONCLUSIVE, "critical", "case-1"), GREEN), policy, today=TODAY)
    assert gate.lines(result, policy) == [
        "INCONCLUSIVE (code 4) under policy.yaml (sha256:p)",
        "because:",
        f"  {node(case='case-1')} is inconclusive (critical)",
        "warnings:",
        f"  {node()} is WAIVED by W-1 (0.3, at most 0.4; 21 days left; waivers.yaml:3:5)",
    ]
    green = gate.judge_run(run(GREEN), policy.__class__(path="p", digest="d"))
    assert gate.lines(green, Policy(path="p", digest="d")) == ["PASS (code 0) under p (d)"]


def test_a_model_of_the_record_without_a_result_is_named_by_its_spec():
    models = (make_model(), make_model(spec="folder/other", name="other"))
    result = judged(Policy(require=("critical",)), *all_of("critical"), models=models)
    assert result.reasons[0].endswith("critical::case-0[folder/other]")
