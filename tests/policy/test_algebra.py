"""No worsening, error or absence opens the gate, whatever the policy.

One thing is outside of the order: a waiver excuses a decided failure up to a cap and nothing undecided, so under it an
INCONCLUSIVE check shuts the gate where a FAIL within the cap does not.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import gate
from harness.policy.policy import Allowance, Certificates, Policy
from harness.record import ItemRecord, sealed
from harness.verdict import Verdict
from tests.policy.make import SEVERITIES, TODAY, item, run, waiver

if TYPE_CHECKING:
    from harness.policy.waivers import Waiver

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
WORSE = {
    PASS: [FAIL, INCONCLUSIVE, INVALID],
    INCONCLUSIVE: [FAIL, INVALID],
    FAIL: [INVALID],
    INVALID: [INVALID],
}
CASES = ("case-0", "case-1", "case-2")
PLACES = [(severity, case) for severity in SEVERITIES for case in CASES]
EFFECTS = ("report", "warn", "block")
QUICK = settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

allowances = st.one_of(
    st.builds(Allowance, count=st.integers(0, 3)),
    st.builds(Allowance, share=st.sampled_from([0.0, 0.3, 0.5, 0.9])),
)
budgets = st.dictionaries(st.sampled_from(SEVERITIES), allowances)
words = st.dictionaries(st.sampled_from(SEVERITIES), st.sampled_from(EFFECTS))
policies = st.builds(
    Policy,
    effects=st.dictionaries(st.sampled_from(["default", "sycophancy", "sandbagging", "deception"]), words),
    invalid=budgets, inconclusive=budgets,
    require=st.lists(st.sampled_from(["critical", "high", "low"]), unique=True, max_size=1).map(tuple),
    certificate=st.sampled_from([None, None, Certificates(level="warn"), Certificates(level="required")]),
    severities=st.dictionaries(st.sampled_from(["low", "medium", "high::case-0"]), st.just("critical"), max_size=1),
)  # fmt: skip


@st.composite
def runs(draw: Any, verdicts: Any = tuple(WORSE)) -> list[ItemRecord]:
    """Draw items with any verdict, of any severity, each place once; mostly passes, so that some gates are open."""
    places = draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=7, unique=True))
    choice = st.one_of(st.just(PASS), st.just(PASS), st.sampled_from(verdicts))
    return [item(draw(choice), severity, case) for severity, case in places]


def code(items: list[ItemRecord], policy: Policy, /, *waivers: Waiver, **changes: Any) -> int:
    return gate.judge_run(run(*items, **changes), policy, waivers, TODAY).code


def exchanged(items: list[ItemRecord], place: int, verdict: Verdict) -> list[ItemRecord]:
    old = items[place]
    return [*items[:place], item(verdict, old.suite, old.case), *items[place + 1 :]]


@QUICK
@given(runs(), policies, st.data())
def test_worsening_a_check_never_opens_the_gate(items, policy, data):
    place = data.draw(st.integers(0, len(items) - 1))
    worse = data.draw(st.sampled_from(WORSE[items[place].verdict]))
    assert code(exchanged(items, place, worse), policy) != 0 or code(items, policy) == 0


@QUICK
@given(runs(), policies, st.data())
def test_not_beside_waivers_of_other_checks_either(items, policy, data):
    """The waiver is of one place, what is worsened is another."""
    if len(items) == 1:
        return
    place, other = data.draw(st.permutations(range(len(items))))[:2]
    held = waiver(match=items[other].node_id)
    worse = data.draw(st.sampled_from(WORSE[items[place].verdict]))
    assert code(exchanged(items, place, worse), policy, held) != 0 or code(items, policy, held) == 0


@QUICK
@given(runs(), policies, st.floats(0.11, 1), st.floats(0.11, 1), st.data())
def test_a_worse_value_is_never_easier_to_waive(items, policy, one, two, data):
    place = data.draw(st.integers(0, len(items) - 1))
    held = waiver(match=items[place].node_id, max_rate=0.5)
    better, worse = sorted((one, two))
    at = {value: [*items[:place], item(FAIL, items[place].suite, items[place].case, value=value), *items[place + 1 :]]
          for value in (better, worse)}  # fmt: skip
    assert code(at[worse], policy, held) != 0 or code(at[better], policy, held) == 0


@QUICK
@given(runs(), policies, st.data())
def test_dropping_a_result_shuts_the_gate(items, policy, data):
    gone = data.draw(st.integers(0, len(items) - 1))
    record = run(*items)
    torn = sealed(dataclasses.replace(record, items=record.items[:gone] + record.items[gone + 1 :]))
    assert gate.judge_run(torn, policy, today=TODAY).code in {2, 3}


@QUICK
@given(runs(), policies, st.data())
def test_narrowing_the_selection_shuts_the_gate(items, policy, data):
    gone = data.draw(st.integers(0, len(items) - 1))
    kept = [*items[:gone], *items[gone + 1 :]]
    ids = tuple(one.node_id for one in kept)
    planned = tuple(one.node_id for one in items)
    assert code(items, policy, items=tuple(kept), selected=ids, planned=planned, partial=True) in {2, 3}


@QUICK
@given(runs(), policies, st.randoms())
def test_order_does_not_matter(items, policy, random):
    held = waiver(match=items[0].node_id)
    shuffled = list(items)
    random.shuffle(shuffled)
    assert code(items, policy, held) == code(shuffled, policy, held)


@QUICK
@given(runs(), policies, st.data())
def test_an_error_that_is_added_never_opens_the_gate(items, policy, data):
    free = [place for place in PLACES if place not in {(one.suite, one.case) for one in items}]
    severity, case = data.draw(st.sampled_from(free))
    after = code([*items, item(INVALID, severity, case)], policy)
    if policy.blocks(item(INVALID, severity, case)):
        assert after in {2, 3}
    assert after != 0 or code(items, policy) == 0


@QUICK
@given(runs([FAIL]), policies, st.data())
def test_narrowing_a_waiver_never_opens_the_gate(items, policy, data):
    """A lower cap, an earlier end, one check in place of a pattern, another model."""
    first = items[0]
    held = waiver(
        match=first.node_id.replace(first.case, "case-*"), max_rate=data.draw(st.sampled_from([0.2, 0.3, 0.5]))
    )
    cap = data.draw(st.floats(0, held.max_rate))
    narrower = data.draw(
        st.sampled_from([
            dataclasses.replace(held, max_rate=cap),
            dataclasses.replace(held, expires=data.draw(st.dates(held.written, held.expires))),
            dataclasses.replace(held, match=first.node_id),
            dataclasses.replace(held, model="sha256:" + "0" * 64),
        ])
    )  # fmt: skip
    assert code(items, policy, narrower) != 0 or code(items, policy, held) == 0


@QUICK
@given(runs(list(Verdict)), policies, st.data())
def test_a_stricter_policy_never_opens_the_gate(items, policy, data):
    """One effect up; one budget away; a certificate asked for; a suite required."""
    stricter = data.draw(
        st.sampled_from([
            dataclasses.replace(policy, invalid={}),
            dataclasses.replace(policy, inconclusive={}),
            dataclasses.replace(policy, certificate=Certificates(level="required")),
            dataclasses.replace(policy, require=("critical", *policy.require)),
        ])
    )  # fmt: skip
    assert code(items, stricter) != 0 or code(items, policy) == 0


@QUICK
@given(runs(list(Verdict)), policies)
def test_whatever_the_policy_0_means_that_what_blocks_passed(items, policy):
    """Without waivers: nothing INVALID beyond its budget, something that blocks, and all critical checks green."""
    if code(items, policy) != 0:
        return
    shut = [one for one in items if policy.blocks(one)]
    assert any(one.verdict is PASS for one in shut)
    allowed = {PASS, INCONCLUSIVE} if policy.inconclusive else {PASS}
    assert {one.verdict for one in shut} <= allowed
    assert all(one.verdict in allowed for one in items if one.severity == "critical")
    assert bool(policy.invalid) or all(one.verdict is not INVALID for one in items)


REPORT_ALL = Policy(effects={"default": dict.fromkeys(("high", "medium", "low"), "report")})


@QUICK
@given(runs(list(Verdict)), policies)
def test_every_policy_is_at_least_as_strict_as_one_that_only_reports(items, policy):
    """What shuts the gate under the loosest policy that can be written, with its budgets, shuts it under all."""
    loosest = dataclasses.replace(REPORT_ALL, invalid=policy.invalid, inconclusive=policy.inconclusive)
    if code(items, loosest) in {1, 3, 4, 6}:
        assert code(items, dataclasses.replace(policy, severities={})) != 0


def test_the_exception_that_the_docs_name():
    """INCONCLUSIVE to FAIL under a waiver opens the gate: it excuses what was decided, and nothing else."""
    green, held = item(PASS, "high"), waiver()
    found = [code([item(verdict), green], Policy(), held) for verdict in (PASS, INCONCLUSIVE, FAIL, INVALID)]
    assert found == [0, 4, 0, 3]
    assert code([item(FAIL, value=0.41), green], Policy(), held) == 6
    assert code([item(FAIL), green], Policy(), dataclasses.replace(held, expires=TODAY - dt.timedelta(days=1))) == 6
