"""The gate: a table of codes, and what no change may do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import gate
from harness.record import ItemRecord, RunRecord, sealed
from harness.verdict import Verdict
from tests.record_factory import make_item, make_model, make_record, make_suite

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
SEVERITIES = ("critical", "high", "medium", "low")
SUITES = tuple(make_suite(id=severity, severity=severity) for severity in SEVERITIES)


def item(verdict: Verdict, severity: str = "critical", name: str = "") -> ItemRecord:
    """Return an item in the suite of its severity."""
    return make_item(name or f"{verdict}-{severity}".lower(), verdict, severity=severity, suite=severity)


def run(*items: ItemRecord, **changes: Any) -> RunRecord:
    """Return a sealed run over the suites of all severities."""
    return make_record(*items, **{"suites": SUITES, **changes})


@pytest.mark.parametrize(
    ("items", "code", "word"),
    [
        ([item(PASS)], 0, "PASS"),
        ([item(PASS, "high"), item(PASS, "low")], 0, "PASS"),
        ([item(PASS), item(FAIL, "medium"), item(INCONCLUSIVE, "low")], 0, "PASS"),
        ([item(PASS), item(FAIL)], 1, "FAIL"),
        ([item(PASS), item(FAIL, "high")], 1, "FAIL"),
        ([item(PASS), item(INCONCLUSIVE)], 4, "INCONCLUSIVE"),
        ([item(PASS), item(INCONCLUSIVE, "high")], 4, "INCONCLUSIVE"),
        ([item(INCONCLUSIVE), item(FAIL)], 1, "FAIL"),
        ([item(PASS), item(INVALID)], 3, "INVALID"),
        ([item(PASS), item(INVALID, "low")], 3, "INVALID"),
        ([item(FAIL), item(INVALID, "low")], 3, "INVALID"),
        ([item(PASS), item(WAIVED)], 6, "WAIVER PROBLEM"),
        ([item(PASS), item(WAIVED, "low")], 0, "PASS"),
        ([item(FAIL), item(WAIVED)], 1, "FAIL"),
        ([item(INCONCLUSIVE), item(WAIVED)], 6, "WAIVER PROBLEM"),
        ([item(PASS, "medium"), item(PASS, "low")], 5, "NOTHING EVALUATED"),
        ([item(FAIL, "medium")], 5, "NOTHING EVALUATED"),
    ],
)
def test_codes(items: list[ItemRecord], code: int, word: str) -> None:
    """One row per rule."""
    result = gate.judge_run(run(*items))
    assert (result.code, result.word) == (code, word)
    assert bool(result.reasons) == (code != 0)


def test_what_is_known_beside_the_record_breaks_it() -> None:
    """Before any FAIL, and whatever the record says."""
    result = gate.judge_run(run(item(FAIL)), beside=("the plan is another one",))
    assert (result.code, result.word) == (3, "INCOMPLETE")
    assert result.reasons[0] == "the plan is another one"
    assert gate.judge_run(run(item(PASS)), beside=("x",)).code == 3
    assert gate.judge_run(run(item(PASS)), beside=()).code == 0


def test_an_empty_run_evaluated_nothing() -> None:
    """No item is not success."""
    record = run(planned=(), selected=(), items=())
    assert gate.judge_run(record).code == 5
    assert not gate.whole(record)


def test_a_narrower_selection_is_partial() -> None:
    """Green as it may be; the record as such is whole."""
    record = run(item(PASS), planned=(item(PASS).node_id, "left::out"), partial=True)
    result = gate.judge_run(record)
    assert (result.code, result.word) == (3, "PARTIAL")
    assert result.reasons == ("1 of 2 planned checks were not selected",)
    assert gate.whole(record)


@pytest.mark.parametrize("verdict", [FAIL, INVALID, INCONCLUSIVE, WAIVED])
def test_a_bad_run_can_be_whole(verdict: Verdict) -> None:
    """Whole says that everything was done, not that it went well."""
    assert gate.whole(run(item(verdict), item(PASS)))


@pytest.mark.parametrize(
    "changes", [{"completed": False}, {"items": ()}, {"selected": ()}, {"suites": ()}, {"digest": "sha256:0"}]
)
def test_what_is_torn_is_neither_whole_nor_judged(changes: dict[str, Any]) -> None:
    """Sealed again after the change, but for the seal itself."""
    record = dataclasses.replace(run(item(PASS)), **changes)
    record = record if "digest" in changes else sealed(record)
    assert not gate.whole(record)
    assert gate.judge_run(record).code == 3


def test_an_unknown_severity_blocks() -> None:
    """What does not say that it may be ignored is not ignored."""
    assert gate.blocks(make_item(severity="urgent"))


ITEMS = st.lists(st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(SEVERITIES)), min_size=1, max_size=6).map(
    lambda pairs: [item(verdict, severity, f"case-{place}") for place, (verdict, severity) in enumerate(pairs)]
)
WORSE = {
    PASS: [FAIL, INCONCLUSIVE, INVALID],
    WAIVED: [FAIL, INVALID],
    INCONCLUSIVE: [FAIL, INVALID],
    FAIL: [INVALID],
    INVALID: [INVALID],
}


@given(ITEMS, st.randoms())
def test_order_does_not_matter(items: list[ItemRecord], random: Any) -> None:
    """Same code for any permutation."""
    shuffled = list(items)
    random.shuffle(shuffled)
    assert gate.judge_run(run(*items)).code == gate.judge_run(run(*shuffled)).code


@given(ITEMS, st.data())
def test_worsening_an_item_never_opens_the_gate(items: list[ItemRecord], data: st.DataObject) -> None:
    """Not even by exchanging one non-green verdict for another."""
    before = gate.judge_run(run(*items)).code
    place = data.draw(st.integers(0, len(items) - 1))
    old = items[place]
    worse = data.draw(st.sampled_from(WORSE[old.verdict]))
    items = [*items]
    items[place] = item(worse, items[place].severity, items[place].case)
    after = gate.judge_run(run(*items)).code
    assert after != 0 or before == 0


@given(ITEMS, st.sampled_from(SEVERITIES))
def test_adding_an_error_always_shuts_the_gate(items: list[ItemRecord], severity: str) -> None:
    """Of any severity, in any run."""
    assert gate.judge_run(run(*items, item(INVALID, severity, "added"))).code == 3


@given(ITEMS, st.data())
def test_dropping_a_result_breaks_the_run(items: list[ItemRecord], data: st.DataObject) -> None:
    """Sealed again, as a writer that lost an item would."""
    gone = data.draw(st.integers(0, len(items) - 1))
    record = run(*items)
    torn = sealed(dataclasses.replace(record, items=record.items[:gone] + record.items[gone + 1 :]))
    assert gate.judge_run(torn).code == 3
    assert not gate.whole(torn)


@given(ITEMS, st.data())
def test_narrowing_the_selection_never_opens_the_gate(items: list[ItemRecord], data: st.DataObject) -> None:
    """Deselecting what fails is PARTIAL."""
    kept = data.draw(st.lists(st.sampled_from(items), unique_by=lambda kept: kept.node_id, max_size=len(items) - 1))
    ids = tuple(kept_item.node_id for kept_item in kept)
    planned = tuple(each.node_id for each in items)
    record = run(*items, items=tuple(kept), selected=ids, planned=planned, partial=True)
    assert gate.judge_run(record).code == 3


@given(ITEMS)
def test_only_green_blocking_checks_give_zero(items: list[ItemRecord]) -> None:
    """0 means: nothing invalid, something blocking, and all of that passed."""
    blocking = [each for each in items if each.severity in {"critical", "high"}]
    fine = bool(blocking) and all(each.verdict is PASS for each in blocking)
    fine = fine and not any(each.verdict is INVALID for each in items)
    assert (gate.judge_run(run(*items)).code == 0) == fine


@pytest.mark.parametrize("digest", ["", "unknown"])
def test_a_pass_on_a_model_that_nobody_could_name_is_no_pass(digest: str) -> None:
    """Baselines and waivers hold by the digest of a model: a record without one says nothing of any."""
    assert gate.judge_run(make_record()).code == gate.PASS
    nameless = make_record(models=(make_model(digest=digest),))
    result = gate.judge_run(nameless)
    assert (result.code, result.word) == (gate.BROKEN, "INCOMPLETE")
    assert "never found out" in result.reasons[0]
    invalid = make_record(make_item(verdict=Verdict.INVALID), models=(make_model(digest=digest),))
    assert not any("never found out" in reason for reason in gate.judge_run(invalid).reasons)
