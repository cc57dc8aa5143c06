"""Waivers: what they excuse, and everything that makes one a problem."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import time
from typing import TYPE_CHECKING

import pytest

from harness import gate
from harness.policy.policy import Policy
from harness.policy.waivers import MAX_DAYS, Excuse, Waiver, apply, faults
from harness.verdict import Measurement, Verdict
from tests.policy.make import TODAY, item, node, of_other, run, suite, two_models, waiver
from tests.record_factory import make_model

if TYPE_CHECKING:
    from harness.record import RunRecord

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
DAY = dt.timedelta(days=1)
GREEN, OTHER = item(PASS, "critical", "case-1"), item(PASS, "high")


def judged(record: RunRecord, *waivers, today=TODAY):
    return gate.judge_run(record, Policy(), waivers, today)


def problems_of(record: RunRecord, *waivers) -> tuple[str, ...]:
    return apply(waivers, record, TODAY).problems


def test_a_fail_is_excused_and_said():
    result = judged(run(item(FAIL), GREEN), waiver())

    assert (result.code, result.word, result.reasons) == (0, "PASS WITH WAIVERS", ())
    assert result.warnings == (
        f"{node()} is WAIVED by W-1 (0.3, at most 0.4; 21 days left; waivers.yaml:3:5)",
    )  # fmt: skip
    assert result.waived == (Excuse(node_id=node(), waiver=waiver(), value=0.3, days_left=21),)


def test_a_record_that_says_waived_is_held_against_the_waivers_again():
    assert judged(run(item(WAIVED), GREEN), waiver()).code == 0
    assert judged(run(item(WAIVED), GREEN)).code == 6
    assert judged(run(item(WAIVED), GREEN), waiver(max_rate=0.2)).code == 6


def test_waivers_of_the_policy_count():
    policy = Policy(waivers=(waiver(),), digest="sha256:p")
    result = gate.judge_run(run(item(FAIL), GREEN), policy, today=TODAY)
    assert (result.code, result.policy) == (0, "sha256:p")
    assert gate.judge_run(run(item(FAIL), GREEN), policy, (waiver(),), TODAY).code == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expires": TODAY - DAY}, "it expired on 2026-03-09, 1 days ago"),
        ({"written": dt.date(2026, 1, 1), "expires": dt.date(2026, 4, 2)}, "longer than 90 days"),
        ({"written": TODAY + DAY}, "it was written on 2026-03-11, which is after today (2026-03-10)"),
        ({"expires": dt.date(2026, 2, 1)}, "it expires (2026-02-01) before it was written (2026-03-01)"),
        ({"approved_by": "ann"}, "owner and approved_by are one person"),
        ({"approved_by": " ANN "}, "owner and approved_by are one person"),
        ({"owner": " "}, "`owner` is empty"),
        ({"reason": ""}, "`reason` is empty"),
        ({"approved_by": "\n"}, "`approved_by` is empty"),
        ({"id": ""}, "`id` is empty"),
        ({"model": "sha256:" + "0" * 64}, "no check that it names is of the model sha256:000"),
        ({"model": "*"}, "`model` is no digest"),
        ({"max_rate": 0.29}, f"{node()} measured 0.3, beyond the cap of 0.29"),
        ({"max_rate": None}, "exactly one finite cap"),
        ({"min_rate": 0.1}, "exactly one finite cap"),
        ({"max_rate": math.inf}, "exactly one finite cap"),
        ({"max_rate": math.nan}, "exactly one finite cap"),
        ({"max_rate": None, "min_rate": 0.1}, f"{node()} has a bound at_most; expected `max_rate`"),
        ({"match": node(case="case-9")}, f"it names no check of this run: {node(case='case-9')}"),
        ({"match": node().replace("evals/", "other/")}, "it names no check of this run"),
        ({"match": "*"}, "`match` is no node id"),
        ({"match": "::critical::case-0[smollm2]"}, "`match` is no node id"),
        ({"match": "evals/critical.eval.yaml::critical"}, "`match` is no node id"),
        ({"match": "evals/*::critical::case-0[smollm2]"}, "a * in the name of the file"),
        ({"match": "evals/critical.eval.yaml::critical::*"}, "a bare *"),
        ({"match": "evals/critical.eval.yaml::critical::*[smollm2]"}, "a bare *"),
        ({"match": "evals/critical.eval.yaml::*::case-0[smollm2]"}, "a bare *"),
        ({"match": "evals/critical.eval.yaml::**::case-0[smollm2]"}, "a bare *"),
    ],
)
def test_a_waiver_that_does_not_hold_is_a_problem_at_its_line(changes, said):
    result = judged(run(item(FAIL), GREEN), waiver(**changes))

    told = [reason for reason in result.reasons if reason.startswith("waivers.yaml:3:5: waiver ")]
    assert any(said in reason for reason in told)
    named = any(f"{node()} failed (critical), and waiver" in reason for reason in result.reasons)
    # A failure that the waiver names has code 6; one that it does not even name stays a failure.
    assert (result.code, result.word) == ((6, "WAIVER PROBLEM") if named else (1, "FAIL"))
    assert result.waived == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires": TODAY}, 0),
        ({"written": TODAY}, 0),
        ({"written": TODAY, "expires": TODAY}, 0),
        ({"written": dt.date(2026, 1, 1), "expires": dt.date(2026, 4, 1)}, 0),
        ({"max_rate": 0.3}, 0),
        ({"match": "evals/critical.eval.yaml::critical::case-0[*"}, 0),
        ({"match": "evals/critical.eval.yaml::crit*::*-0[smollm2]"}, 0),
        ({"match": "evals/critical.eval.yaml::critical::c*e-*[s*2]"}, 0),
    ],
)
def test_at_the_edge_a_waiver_holds(changes, code):
    assert (dt.date(2026, 4, 1) - dt.date(2026, 1, 1)).days == MAX_DAYS
    assert judged(run(item(FAIL), OTHER), waiver(**changes)).code == code


def test_a_model_may_have_colons_in_its_name():
    assert not list(faults(waiver(match="evals/a.eval.yaml::s::case-0[server:http://one::two]"), TODAY))


def test_days_left():
    assert [waiver().days_left(day) for day in (TODAY, dt.date(2026, 3, 31), dt.date(2026, 4, 2))] == [21, 0, -2]
    assert "; 1 day left;" in judged(run(item(FAIL), GREEN), waiver(expires=TODAY + DAY)).warnings[0]
    assert "; 0 days left;" in judged(run(item(FAIL), GREEN), waiver(expires=TODAY)).warnings[0]


def test_without_a_day_no_waiver_holds():
    result = judged(run(item(FAIL), GREEN), waiver(), today=None)
    assert result.code == 6
    assert "no day was given" in result.reasons[1]


@pytest.mark.parametrize(("verdict", "code"), [(INVALID, 3), (INCONCLUSIVE, 4)])
def test_what_was_not_decided_is_never_excused(verdict, code):
    result = judged(run(item(verdict), GREEN), waiver())
    assert result.code == code
    assert result.warnings == (f"waivers.yaml:3:5: waiver W-1: {node()} is {verdict}, which no waiver excuses",)


def test_a_waiver_of_what_passed_is_no_longer_needed():
    """And no problem: else mending a model would shut the gate."""
    result = judged(run(item(PASS), GREEN), waiver())
    assert (result.code, result.word, result.waived) == (0, "PASS", ())
    assert result.warnings == (f"waivers.yaml:3:5: waiver W-1: {node()} passed; take the waiver out",)


def test_a_waiver_is_of_one_model():
    record = two_models(item(FAIL), of_other(item(FAIL)), GREEN)
    both = waiver(match="evals/critical.eval.yaml::critical::case-0[*]")
    result = judged(record, both)
    assert result.code == 1
    assert result.reasons == (f"{node(model='other')} failed (critical)",)
    assert judged(two_models(item(FAIL), of_other(item(PASS)), GREEN), both).code == 0


def test_a_model_that_is_not_known_for_one_is_excused_by_nothing():
    """Two models under one name, a name without a model, a name that is another's spec."""
    twice = (make_model(), make_model(digest="sha256:" + "1" * 64))
    for models in (twice, (), (make_model(name="else"),), (make_model(spec="else"),)):
        assert judged(run(item(FAIL), GREEN, models=models), waiver()).code == 6
    again = (make_model(), make_model(notes=("opened twice",)))
    assert judged(run(item(FAIL), GREEN, models=again), waiver()).code == 0


def broad(n: int, **changes) -> RunRecord:
    """Return a run whose one suite has `n` failures."""
    ids = [f"wide-{place}" for place in range(n)]
    return run(*(item(FAIL, "critical", name) for name in ids), **changes)


def test_a_waiver_that_names_too_much():
    wide = waiver(match="evals/critical.eval.yaml::critical::wide-*")
    assert judged(broad(5), wide).code == 0
    result = judged(broad(6), wide)
    assert result.code == 6
    assert "waivers.yaml:3:5: waiver W-1: it names 6 checks, more than 5" in result.reasons


def test_leaving_checks_out_of_a_run_makes_no_waiver_narrower():
    wide = waiver(match="evals/critical.eval.yaml::critical::wide-*")
    whole = broad(6)
    assert problems_of(broad(5, planned=whole.planned, partial=True), wide)


def test_one_waiver_is_for_one_suite():
    odd = dataclasses.replace(item(FAIL, "high"), node_id=node().replace("::critical::", "::critical-2::"))
    wide = waiver(match="evals/critical.eval.yaml::critical*::case-0[smollm2]")
    result = judged(run(item(FAIL), odd), wide)
    assert "waivers.yaml:3:5: waiver W-1: it names checks of more than one suite" in result.reasons


def test_duplicates():
    """Of an id, whatever it names; of a check, under two ids."""
    same = waiver(match=node(case="case-1"), place="waivers.yaml:20:5")
    result = judged(run(item(FAIL), item(FAIL, "critical", "case-1"), OTHER), waiver(), same)
    assert result.code == 6
    assert sum("another waiver has the same id" in reason for reason in result.reasons) == 2

    other = waiver(id="W-2", place="waivers.yaml:20:5")
    result = judged(run(item(FAIL), OTHER), waiver(), other)
    assert result.code == 6
    assert f"waivers.yaml:20:5: waiver W-2: waiver W-1 names {node()} too" in result.reasons
    assert judged(run(item(PASS), OTHER), waiver(), other).code == 6


def test_beside_a_waiver_that_does_not_hold_a_second_excuses_nothing():
    old = waiver(id="W-0", expires=dt.date(2026, 3, 9))
    for order in ((old, waiver()), (waiver(), old)):
        assert judged(run(item(FAIL), OTHER), *order).code == 6


def test_a_check_that_must_be_at_least():
    low = item(FAIL, value=0.5, op="at_least", limit=0.9)
    result = judged(run(low, OTHER), waiver(max_rate=None, min_rate=0.5))
    assert result.code == 0
    assert "(0.5, at least 0.5; 21 days left;" in result.warnings[0]
    assert judged(run(low, OTHER), waiver(max_rate=None, min_rate=0.51)).code == 6
    result = judged(run(low, OTHER), waiver(max_rate=1.0))
    assert f"waivers.yaml:3:5: waiver W-1: {node()} has a bound at_least; expected `min_rate`" in result.reasons


@pytest.mark.parametrize("check", ["jointly", "panel", "trend"])
def test_a_check_without_one_value_cannot_be_waived(check):
    result = judged(run(item(FAIL, check=check), OTHER), waiver(max_rate=2.0))
    assert result.code == 6
    assert f"a {check} check has no one value" in result.reasons[1]


@pytest.mark.parametrize("changes", [{"measurements": ()}, {"bound": None}])
def test_a_failure_without_a_number_cannot_be_waived(changes):
    result = judged(run(item(FAIL, **changes), OTHER), waiver())
    assert result.code == 6
    assert "has no measured value" in result.reasons[1]


def test_a_value_that_is_no_number_is_beyond_every_cap():
    measured = Measurement(name="rate", value=0.3, unit="share", n=60, low=0.2, high=0.4)
    object.__setattr__(measured, "value", math.nan)
    record = run(item(FAIL), OTHER)
    broken = dataclasses.replace(record, items=(item(FAIL, measurements=(measured,)), OTHER))
    assert "measured nan, beyond the cap of 0.4" in problems_of(broken, waiver())[0]
    assert judged(broken, waiver()).code == 3


def test_patterns():
    def names(pattern: str, case: str = "case-0[smollm2]") -> bool:
        return waiver(match=f"f::s::{pattern}").names(f"f::s::{case}")

    assert names("case-0[smollm2]")
    assert names("case*")
    assert names("*2]")
    assert names("*case*")
    assert names("c*-*l*2]")
    assert names("case-0*[smollm2]")
    assert not names("case-0")
    assert not names("*case-0")
    assert not names("ase*")
    assert not names("case-0[smollm2*2]")
    assert not names("c*x*2]")
    assert not names("case-?[smollm2]")
    assert names("a*[b]", "ab[b]")
    assert not names("ab*ab", "ab")
    assert not names("ab*ab*", "abb")
    assert not names("a*b*b", "ab")
    assert not names("x*ab*ab*y", "xxaby")
    assert names("x*ab*ab*y", "xababy")
    assert names("x[a::*]", "x[a::b]")
    assert not waiver(match="f::s*").names("f::s::c")
    assert not waiver(match="*::s::c").names("f::s::c")
    assert not waiver(match="f::s::c").names("g::s::c")
    assert not waiver(match="f::s::c").names("f::t::c")
    assert waiver(match="f::s*::c").names("f::suite::c")


def test_no_pattern_takes_long():
    since = time.process_time()
    assert not waiver(match="f::s::" + "a*" * 200 + "b").names("f::s::" + "a" * 5000)
    assert time.process_time() - since < 5, "seconds, where backtracking would take years"


def test_a_waiver_that_holds_has_no_fault():
    assert list(faults(waiver(), TODAY)) == []
    assert suite("critical").id == "critical"


def test_of_a_check_that_does_not_block():
    """It is excused as any other, and what is wrong with its waiver shuts the gate as any other."""
    low = item(FAIL, "low")
    assert judged(run(low, OTHER), waiver(match=low.node_id)).code == 0
    assert judged(run(low, OTHER), waiver(match=low.node_id, max_rate=0.2)).code == 6


def test_names_in_messages():
    fields = {name: getattr(waiver(), name) for name in Waiver.__slots__ if name != "place"}
    assert problems_of(run(item(FAIL)), Waiver(**fields | {"max_rate": 0.2}))[0].startswith("waiver W-1: ")
    missed = waiver(match=node(case="case-9"))
    assert problems_of(run(item(FAIL)), missed) == (f"{missed.name}: it names no check of this run: {missed.match}",)
