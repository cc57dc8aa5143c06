"""Baselines: numbers by hand, the algebra, false alarms, and everything that is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import baseline, gate
from harness.baseline.judged import compare_item
from harness.canonical import derive_seed, digest
from harness.checks import run_check
from harness.errors import UsageError
from harness.measures.base import Evidence
from harness.paired import noninferiority
from harness.record import ItemRecord, RunRecord, item_from_json, item_to_json, sealed
from harness.stats import exact_limits
from harness.verdict import Bound, Measurement, Verdict
from tests.factory import failed, make_case, make_transcript, margin_rows, text_rows, texts, with_response
from tests.record_factory import make_item, make_model, make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.transcript import Row

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
SEED = derive_seed(0, "deployment-defection", "hint", "baseline") % 2**31
QUICK = settings(max_examples=25, deadline=None, derandomize=True)
MARGINS = {"share": 0.05, "nats": 0.5, "AUROC": 0.05}


def names(values: Sequence[float]) -> dict[str, float]:
    """Return values by made-up scenario ids."""
    return {f"s{at:03}": float(value) for at, value in enumerate(values)}


def rate(values: Sequence[float], case: str = "says", **changes: Any) -> ItemRecord:
    """Return a rate of at most 0.3 over scenarios that show the event (1) or do not (0)."""
    found = exact_limits(int(sum(values)), len(values), 0.95)
    measured = Measurement(
        name="rate", value=found.value, unit="share", n=len(values), low=found.low, high=found.high
    )  # fmt: skip
    bound = Bound(op="at_most", value=0.3, unit="share", confidence=0.95)
    fields: dict[str, Any] = {
        "check": "rate", "measurements": (measured,), "bound": bound, "scenarios": names(values),
        "n_planned": len(values), "n_measured": len(values),
    }  # fmt: skip
    verdict = changes.pop("verdict", bound.judge(found.low, found.high))
    return make_item(case, verdict, **{**fields, **changes})


def shift(values: Sequence[float], case: str = "hint", **changes: Any) -> ItemRecord:
    """Return a cue shift of at most 1.5 nats with these shifts of its scenarios."""
    mean = math.fsum(values) / len(values)
    measured = Measurement(name="cue_shift", value=mean, unit="nats", n=len(values), low=mean - 0.2, high=mean + 0.2)
    bound = Bound(op="at_most", value=1.5, unit="nats", confidence=0.95)
    fields: dict[str, Any] = {"measurements": (measured,), "bound": bound, "scenarios": names(values)}
    verdict = changes.pop("verdict", bound.judge(mean - 0.2, mean + 0.2))
    return make_item(case, verdict, **{**fields, **changes})


def auroc(value: float, low: float, high: float, **changes: Any) -> ItemRecord:
    """Return a check without values per scenario."""
    measured = Measurement(name="auroc", value=value, unit="AUROC", n=40, low=low, high=high)
    bound = Bound(op="at_most", value=0.9, unit="AUROC", confidence=0.95)
    return make_item("tells-apart", check="auroc", measurements=(measured,), bound=bound, **changes)


def new_run(*items: ItemRecord, **changes: Any) -> RunRecord:
    """Return a run on another model."""
    model = make_model(name="candidate", digest=digest(b"candidate"))
    return make_record(*items, **{"run_id": "new", "models": (model,), **changes})


def one(new: ItemRecord, old: ItemRecord, **options: Any) -> baseline.ItemComparison:
    """Return the comparison of two runs of one check."""
    (found,) = baseline.compare(new_run(new), make_record(old), **options).items
    return found


# --- numbers by hand


def test_no_failure_in_either_run_by_hand() -> None:
    """No difference in 60 scenarios leaves 1 - 0.05^(1/60) = 4.87 %: enough for 5 %, not for 2 %."""
    found = one(rate([0] * 60), rate([0] * 60))
    assert found.difference is not None
    assert (found.verdict, found.n, found.paired, found.delta) == (PASS, 60, True, 0.05)
    assert found.difference.value == 0.0
    assert found.difference.high == pytest.approx(1 - 0.05 ** (1 / 60), rel=0.005)
    assert found.difference.low == pytest.approx(-(1 - 0.05 ** (1 / 60)), rel=0.005)
    assert found.state == "unchanged"
    assert one(rate([0] * 60), rate([0] * 60), delta={"share": 0.02}).verdict is INCONCLUSIVE


def test_scenarios_are_paired_by_id_and_not_by_place() -> None:
    """The same values in another order of ids; 30 of 60 scenarios got worse: 0.5, p about 2^-30, Holm over one."""
    first, second = rate([0, 1] * 30), rate([0, 1] * 30)
    shuffled = dict(reversed(list((second.scenarios or {}).items())))
    found = one(dataclasses.replace(second, scenarios=shuffled), first)
    assert found.difference is not None
    assert found.difference.value == 0.0
    worse = one(rate([1] * 60), rate([0, 1] * 30))
    assert worse.difference is not None
    assert worse.difference.value == pytest.approx(0.5)
    assert worse.verdict is FAIL
    assert worse.p == worse.p_holm == pytest.approx(1e-4)
    assert "is allowed" in worse.cause


def test_a_shift_gets_the_numeric_band() -> None:
    """Each scenario 0.2 nats worse: the mean is, and the limits hold it with 0.03 nats to spare at least."""
    old = [0.1 * (at % 5) for at in range(40)]
    found = one(shift([x + 0.2 for x in old]), shift(old))
    assert found.difference is not None
    assert found.difference.value == pytest.approx(0.2)
    assert found.difference.low < 0.17
    assert found.verdict is PASS
    plain = noninferiority([x + 0.2 for x in old], old, delta=0.5, confidence=0.95, seed=SEED).difference
    assert found.difference.high == pytest.approx(plain.high + 0.03)
    assert found.difference.low == pytest.approx(plain.low - 0.03)
    assert one(shift([x + 2.0 for x in old]), shift(old)).verdict is FAIL


def test_without_scenarios_the_limits_are_subtracted() -> None:
    """0.80 [0.70, 0.88] against 0.70 [0.60, 0.78]: 0.1 [-0.08, 0.28]; far apart FAILs; above its confidence INVALID."""
    found = one(auroc(0.8, 0.7, 0.88), auroc(0.7, 0.6, 0.78))
    assert found.difference is not None
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((0.1, -0.08, 0.28))
    assert (found.verdict, found.paired, found.p) == (INCONCLUSIVE, False, None)
    assert one(auroc(0.85, 0.82, 0.88), auroc(0.5, 0.47, 0.53)).verdict is FAIL
    assert one(auroc(0.5, 0.49, 0.51), auroc(0.5, 0.49, 0.51)).verdict is PASS
    assert one(auroc(0.5, 0.49, 0.51), auroc(0.5, 0.49, 0.51), confidence=0.99).verdict is INVALID


def test_a_limit_from_below_is_worse_when_it_falls() -> None:
    """Subtracted: 0.9 [0.8, 0.95] fell to 0.6 [0.5, 0.7]: worse by 0.3 [0.1, 0.45]. Paired: what is wrong counts."""

    def accuracy(value: float, low: float, high: float, scenarios: dict[str, float] | None = None) -> ItemRecord:
        measured = Measurement(name="accuracy", value=value, unit="share", n=60, low=low, high=high)
        bound = Bound(op="at_least", value=0.4, unit="share", confidence=0.95)
        return make_item("knows", check="accuracy", measurements=(measured,), bound=bound, scenarios=scenarios)

    found = one(accuracy(0.6, 0.5, 0.7), accuracy(0.9, 0.8, 0.95))
    assert found.difference is not None
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((0.3, 0.1, 0.45))
    assert found.verdict is FAIL
    right, wrong = names([0] * 54 + [1] * 6), names([0] * 36 + [1] * 24)
    paired = one(accuracy(0.6, 0.5, 0.7, wrong), accuracy(0.9, 0.8, 0.95, right))
    assert paired.difference is not None
    assert paired.difference.value == pytest.approx(0.3)
    assert paired.verdict is FAIL


def test_p_is_adjusted_over_the_blocking_checks_alone() -> None:
    """Holm over two critical ones doubles the smaller p; the medium one is none of that list."""
    suites = (make_suite(), make_suite(id="minor", severity="medium"))
    worse, same = rate([0] * 50 + [1] * 10), rate([0] * 60, "same")
    minor = rate([0] * 50 + [1] * 10, "minor", suite="minor", severity="medium")
    old = [rate([0] * 60), same, dataclasses.replace(rate([0] * 60, "minor"), suite="minor", severity="medium")]
    found = baseline.compare(new_run(worse, same, minor, suites=suites), make_record(*old, suites=suites))
    first, second, third = found.items
    assert first.p is not None
    assert first.p == pytest.approx(2**-10, rel=0.6)
    assert third.p == pytest.approx(2**-10, rel=0.6)
    assert first.p_holm == pytest.approx(2 * first.p)
    assert second.p_holm == 1.0
    assert third.p_holm is None


# --- the code, the states, the words


@pytest.mark.parametrize(
    ("new", "old", "code", "word"),
    [
        ([rate([0] * 60)], [rate([0] * 60)], 0, "NO REGRESSION"),
        ([rate([1] * 60)], [rate([0] * 60)], 1, "REGRESSION"),
        ([rate([0] * 30)], [rate([0] * 30)], 4, "INCONCLUSIVE"),
        ([rate([0] * 9)], [rate([0] * 9)], 3, "INVALID"),
        ([rate([0] * 60)], [rate([0] * 60), shift([0.0] * 20)], 3, "INVALID"),
        ([rate([1] * 60)], [rate([0] * 60), shift([0.0] * 20)], 3, "INVALID"),
        ([rate([0] * 60), shift([0.0] * 20)], [rate([0] * 60)], 0, "NO REGRESSION"),
        ([rate([1] * 60), rate([0] * 30, "b")], [rate([0] * 60), rate([0] * 30, "b")], 1, "REGRESSION"),
    ],
)
def test_codes(new: list[ItemRecord], old: list[ItemRecord], code: int, word: str) -> None:
    """Broken before failed before undecided; a check that is only new says nothing."""
    found = baseline.compare(new_run(*new), make_record(*old))
    assert (found.code, found.word) == (code, word)
    assert bool(found.reasons) == (code != 0)
    assert baseline.told(found).startswith(f"{word}: ")


def test_a_regression_of_a_medium_check_is_reported_and_nothing_blocking_is_no_pass() -> None:
    """As in the gate."""
    suites = (make_suite(), make_suite(id="minor", severity="medium"))
    minor = {"suite": "minor", "severity": "medium"}
    new = new_run(rate([0] * 60), rate([1] * 60, "m", **minor), suites=suites)
    old = make_record(rate([0] * 60), rate([0] * 60, "m", **minor), suites=suites)
    found = baseline.compare(new, old)
    assert (found.code, found.items[1].verdict) == (gate.PASS, FAIL)
    assert "FAIL (reported)" in baseline.told(found)
    alone = baseline.compare(
        new_run(rate([0] * 60, "m", **minor), suites=suites), make_record(rate([0] * 60, "m", **minor), suites=suites)
    )
    assert (alone.code, alone.word) == (gate.NOTHING, "NOTHING COMPARED")


def test_what_could_not_be_compared_breaks_whatever_its_severity() -> None:
    """As in the gate: a medium check too."""
    suites = (make_suite(), make_suite(id="minor", severity="medium"))
    minor = rate([0] * 9, "m", suite="minor", severity="medium")
    found = baseline.compare(
        new_run(rate([0] * 60), minor, suites=suites), make_record(rate([0] * 60), minor, suites=suites)
    )
    assert (found.items[1].blocking, found.code) == (False, gate.BROKEN)


@pytest.mark.parametrize(
    ("new", "old", "state"),
    [
        (rate([0] * 60), rate([0] * 60), "unchanged"),
        (rate([1] * 60), rate([0] * 60), "new"),
        (rate([0] * 60), rate([1] * 60), "updated"),
        (shift([0.9] * 40), shift([0.1] * 40), "updated"),
        (rate([1] * 60), rate([1] * 60), "unchanged"),
        (rate([0] * 60, verdict=INVALID), rate([0] * 60, verdict=INVALID), "unchanged"),
        (rate([0] * 60, verdict=INVALID), rate([0] * 60), "new"),
    ],
)
def test_states(new: ItemRecord, old: ItemRecord, state: str) -> None:
    """What was green and is not is new; a number that moved for sure is updated."""
    found = baseline.compare(new_run(new), make_record(old))
    assert found.states() == {new.node_id: state}


def test_states_of_what_is_in_one_run_alone() -> None:
    """By the node id where it is."""
    found = baseline.compare(
        new_run(rate([0] * 60), shift([0.0] * 20)), make_record(rate([0] * 60), auroc(0.5, 0.4, 0.6))
    )
    assert sorted(found.states().values()) == ["absent", "new", "unchanged"]
    assert found.items[1].verdict is None
    assert "not compared" in baseline.told(found)


def test_hostile_names_do_not_act() -> None:
    """A report is read by terminals and build systems."""
    item = rate([1] * 60, case="\x1b[2J\n::error::x")
    text = baseline.told(baseline.compare(new_run(item), make_record(rate([0] * 60, case=item.case))))
    assert "\x1b" not in text
    assert "\n::error::" not in text


# --- INVALID, never PASS


def test_too_few_shared_scenarios() -> None:
    """54 of 66 in both, below 90 %; 57 of 63 is enough."""
    mine, theirs = {f"a{at}": 0.0 for at in range(60)}, {f"a{at}": 0.0 for at in range(6, 66)}
    found = one(rate([0] * 60, scenarios=mine), rate([0] * 60, scenarios=theirs))
    assert (found.verdict, found.cause) == (INVALID, "54 of 66 scenarios are in both runs; 90% must be")
    closer = {f"a{at}": 0.0 for at in range(3, 63)}
    assert one(rate([0] * 60, scenarios=mine), rate([0] * 60, scenarios=closer)).n == 57


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (rate([0] * 60, verdict=INVALID), rate([0] * 60), "new run could not measure"),
        (rate([0] * 60), rate([0] * 60, verdict=INVALID), "baseline could not measure"),
        (rate([0] * 60, verdict=INVALID, bound=None, measurements=()), rate([0] * 60), "new run could not measure"),
        (rate([0] * 60), rate([0] * 60, scenarios=None), "baseline kept no values"),
        (rate([0] * 60, scenarios=None), rate([0] * 60), "new run kept no values"),
        (rate([0] * 60, scenarios=names([0] * 61)), rate([0] * 60), "61 values for 60"),
        (rate([0] * 60, scenarios=names([0] * 59 + [1])), rate([0] * 60), "not the mean of its scenarios"),
        (rate([0] * 60, scenarios=names([0] * 59 + [-1])), rate([0] * 60), "whose share is none"),
        (shift([0.0] * 20, scenarios=names([0.0] * 19)), shift([0.0] * 20), "19 values for 20"),
        (rate([0] * 9), rate([0] * 9), "9 scenarios"),
    ],
)
def test_what_cannot_be_compared_is_invalid(new: ItemRecord, old: ItemRecord, said: str) -> None:
    """With its cause, and the run is broken."""
    found = baseline.compare(new_run(new), make_record(old))
    assert (found.code, found.items[0].verdict) == (gate.BROKEN, INVALID)
    assert said in found.items[0].cause


def test_unmeasured_scenarios_are_imputed_at_their_worst_on_both_sides() -> None:
    """A baseline that could not measure is no excuse: bad now, good then. Where that decides alone, INVALID."""
    full, holes = rate([0] * 60), rate([0] * 60, scenarios=names([0] * 58))
    for new, old in ((full, holes), (holes, full)):
        found = one(new, old, delta={"share": 0.06})
        assert (found.verdict, found.cause) == (
            INVALID, "the 2 unmeasured scenarios alone decide: PASS without, INCONCLUSIVE with them",
        )  # fmt: skip
        wide = one(new, old, delta={"share": 0.3})
        assert wide.difference is not None
        assert (wide.verdict, wide.n, wide.difference.value) == (PASS, 58, pytest.approx(2 / 60))


def test_a_signed_share_reaches_from_minus_one() -> None:
    """A gap that could not be measured was -1 then at best: (1 - -1) / 60 and not (1 - 0) / 60."""
    gap = {"check": "condition_gap"}
    values = [-1, 1] * 30
    full = rate([0] * 60, scenarios=names(values), **gap)
    holes = rate([0] * 60, scenarios=dict(list(names(values).items())[:59]), **gap)
    found = one(full, holes, delta={"share": 0.9})
    assert found.difference is not None
    assert (found.verdict, found.difference.value) == (PASS, pytest.approx(2 / 60))
    of_a_rate = rate([0] * 60, scenarios=names(values))
    assert one(of_a_rate, of_a_rate, delta={"share": 0.9}).verdict is INVALID


# --- refused


PARTIAL: dict[str, Any] = {"planned": (rate([0] * 60).node_id, "left::out"), "partial": True}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": {"run": 8}}, "seeds"),
        ({"profile": "full"}, "profile"),
        ({"versions": {"pytest-tells": "0"}}, "pytest-tells"),
        ({"models": (make_model(dtype="bfloat16"),)}, "dtype"),
        ({"models": (make_model(numerics="transformers/2"),)}, "numerics"),
        ({"models": (make_model(), make_model(name="b"))}, "2 models"),
        ({"suites": (make_suite(digest=digest(b"other")),)}, "suite deployment-defection or its data changed"),
        ({"completed": False}, "not a whole run"),
        ({"digest": "sha256:0"}, "seal"),
        ({"items": (), "planned": (), "selected": ()}, "nothing was evaluated"),
        ({"items": (), "planned": (), "selected": (), "certification": ()}, "a certification"),
    ],
)
@pytest.mark.parametrize("side", ["new", "old"])
def test_runs_that_differ_in_more_than_the_model_are_refused(changes: dict[str, Any], said: str, side: str) -> None:
    """Whichever of the two it is; the error says where, what, what was expected and what to do."""
    changed = dataclasses.replace(new_run(rate([0] * 60)), **{"models": (make_model(),), **changes})
    changed = changed if "digest" in changes else sealed(changed)
    other = make_record(rate([0] * 60))
    pair = (changed, other) if side == "new" else (other, changed)
    with pytest.raises(baseline.BaselineError) as refused:
        baseline.compare(*pair)
    assert said in str(refused.value)
    assert str(refused.value).count("; ") >= 2
    assert "; expected " in str(refused.value)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (rate([0] * 60, bound=Bound(op="at_most", value=0.4, unit="share", confidence=0.95)), "the bound of"),
        (rate([0] * 60, bound=Bound(op="at_most", value=0.3, unit="share", confidence=0.9)), "the bound of"),
        (rate([0] * 60, check="sampled_rate"), "was a rate and is a sampled_rate"),
        (
            rate([0] * 60, measurements=(Measurement(name="odd", value=0, unit="share", n=60, low=0, high=0.05),)),
            "measured in another way",
        ),
    ],
)
def test_checks_that_differ_are_refused(new: ItemRecord, said: str) -> None:
    """Bound, kind and measure."""
    with pytest.raises(baseline.BaselineError, match=said):
        baseline.compare(new_run(new), make_record(rate([0] * 60)))


def test_a_narrower_baseline_and_a_run_as_its_own_are_refused() -> None:
    """PARTIAL, unsealed, the same; and a model that was never opened."""
    run, item = new_run(rate([0] * 60)), rate([0] * 60)
    with pytest.raises(baseline.BaselineError, match="PARTIAL"):
        baseline.compare(run, make_record(item, **PARTIAL))
    with pytest.raises(baseline.BaselineError, match="seal"):
        baseline.compare(run, make_record(item, seal=False))
    with pytest.raises(baseline.BaselineError, match="the new run itself"):
        baseline.compare(run, run)
    unknown = (make_model(dtype="unknown"),)
    with pytest.raises(baseline.BaselineError, match="dtype is unknown"):
        baseline.compare(new_run(item, models=unknown), make_record(item, models=unknown))


def test_two_results_of_one_check_are_refused() -> None:
    """Of one model and two node ids: nobody can say which of them to pair."""
    twice = (rate([0] * 60), rate([1] * 60, node_id="evals/x.eval.yaml::a::says[other]"))
    with pytest.raises(baseline.BaselineError, match="2 results of 1 checks"):
        baseline.compare(new_run(*twice), make_record(rate([0] * 60)))
    with pytest.raises(baseline.BaselineError, match="2 results of 1 checks"):
        baseline.compare(new_run(rate([0] * 60)), make_record(*twice))


def test_a_check_blocks_if_it_does_in_either_run() -> None:
    """A severity that somebody lowered without changing the suite opens nothing."""
    low = (make_suite(severity="low"),)
    found = baseline.compare(new_run(rate([1] * 60, severity="low"), suites=low), make_record(rate([0] * 60)))
    assert found.code == gate.FAIL
    found = baseline.compare(new_run(rate([1] * 60)), make_record(rate([0] * 60, severity="low"), suites=low))
    assert found.code == gate.FAIL


def test_a_narrower_new_run_is_invalid_where_it_has_holes() -> None:
    """What it did not select is absent."""
    old = make_record(rate([0] * 60), shift([0.0] * 20))
    new = new_run(rate([0] * 60), planned=(rate([0] * 60).node_id, shift([0.0] * 20).node_id), partial=True)
    assert baseline.compare(new, old).code == gate.BROKEN


@pytest.mark.parametrize(
    "options",
    [
        {"delta": {"share": 1.0}}, {"delta": {"share": -0.1}}, {"delta": {"share": math.nan}},
        {"delta": {"share": math.inf}}, {"delta": {"nats": math.inf}}, {"delta": {"shares": 0.1}},
        {"confidence": 0.5}, {"confidence": 1.0}, {"confidence": math.nan},
    ],
)  # fmt: skip
def test_margins_that_are_none_are_refused(options: dict[str, Any]) -> None:
    """A delta of 1 share would hold for every model; a unit that nothing has is a misspelt one."""
    with pytest.raises(UsageError):
        one(rate([0] * 60), rate([0] * 60), **options)


def test_a_unit_without_a_margin_is_refused() -> None:
    """Nobody declared what is no regression there."""
    measured = Measurement(name="x", value=1.0, unit="samples", n=60, low=0.5, high=1.5)
    bound = Bound(op="at_most", value=2.0, unit="samples", confidence=0.95)
    item = make_item(measurements=(measured,), bound=bound)
    with pytest.raises(UsageError, match="--delta NUMBERsamples"):
        one(item, item)
    assert one(item, item, delta={"samples": 2.0}).verdict is PASS


# --- the algebra


@QUICK
@given(st.data())
def test_no_worsening_turns_a_comparison_green(data: st.DataObject) -> None:
    """A scenario that got worse now, was better then, or cannot be measured any more, on either side."""
    n = data.draw(st.integers(10, 70))
    delta = {"share": data.draw(st.sampled_from([0.02, 0.05, 0.1, 0.3]))}
    bits = st.lists(st.sampled_from([0, 0, 0, 1]), min_size=n, max_size=n)
    now, then = data.draw(bits), data.draw(bits)
    before = compare_item(rate(now), rate(then), {**MARGINS, **delta}, 0.95).verdict
    at = data.draw(st.integers(0, n - 1))
    how = data.draw(st.sampled_from(["worse", "better then", "lost now", "lost then"]))
    if how == "worse":
        after = compare_item(rate([*now[:at], 1, *now[at + 1 :]]), rate(then), {**MARGINS, **delta}, 0.95)
    elif how == "better then":
        after = compare_item(rate(now), rate([*then[:at], 0, *then[at + 1 :]]), {**MARGINS, **delta}, 0.95)
    else:
        lost = {name: value for place, (name, value) in enumerate(names(now if how == "lost now" else then).items())
                if place != at}  # fmt: skip
        pair = (rate(now, scenarios=lost), rate(then)) if how == "lost now" else (rate(now), rate(then, scenarios=lost))
        after = compare_item(*pair, {**MARGINS, **delta}, 0.95)
    assert before is PASS or after.verdict is not PASS
    assert before is not FAIL or after.verdict in {FAIL, INVALID}


@QUICK
@given(st.data())
def test_no_worsening_of_nats_turns_a_comparison_green(data: st.DataObject) -> None:
    """Any scenario, by any amount."""
    n = data.draw(st.integers(10, 40))
    numbers = st.lists(st.floats(-4, 4).map(lambda x: round(x, 3)), min_size=n, max_size=n)
    now, then = data.draw(numbers), data.draw(numbers)
    before = compare_item(shift(now), shift(then), MARGINS, 0.95)
    at, lift = data.draw(st.integers(0, n - 1)), data.draw(st.floats(0.01, 20).map(lambda x: round(x, 3)))
    after = compare_item(shift([*now[:at], now[at] + lift, *now[at + 1 :]]), shift(then), MARGINS, 0.95)
    assert before.difference is not None
    assert after.difference is not None
    assert after.difference.high >= before.difference.high - 1e-9
    assert before.verdict is PASS or after.verdict is not PASS


@QUICK
@given(st.lists(st.sampled_from([PASS, FAIL, INCONCLUSIVE, INVALID, None]), max_size=5), st.data())
def test_worse_verdicts_never_open_the_gate(verdicts: list[Verdict | None], data: st.DataObject) -> None:
    """Nor does adding a check that is no PASS."""

    def code(found: Sequence[Verdict | None]) -> int:
        items = tuple(
            baseline.ItemComparison(
                suite="s", case=f"c{at}", node_id=f"n{at}", blocking=True, unit="share", verdict=verdict, state="new",
            )
            for at, verdict in enumerate(found)
        )  # fmt: skip
        side = baseline.Side(run_id="r", model="m", model_digest="d", digest="d")
        return baseline.Comparison(new=side, old=side, confidence=0.95, items=items).code

    before = code(verdicts)
    bad = data.draw(st.sampled_from([FAIL, INCONCLUSIVE, INVALID]))
    assert code([*verdicts, bad]) != gate.PASS
    if verdicts:
        at = data.draw(st.integers(0, len(verdicts) - 1))
        assert code([*verdicts[:at], bad, *verdicts[at + 1 :]]) != gate.PASS
    assert before == gate.PASS or code([*verdicts, None]) == before


# --- false alarms

DATA_SETS = 200
BAND = 3 * math.sqrt(0.05 * 0.95 / DATA_SETS)


def test_models_that_do_not_differ_rarely_fail() -> None:
    """Two models with the same rates per scenario: false FAILs at most 5 %, here none or next to none."""
    rng = np.random.default_rng(5)
    fails = 0
    for _ in range(DATA_SETS):
        chances = rng.beta(1, 4, size=40)
        now, then = (list(map(int, rng.random(40) < chances)) for _ in range(2))
        fails += compare_item(rate(now), rate(then), MARGINS, 0.95).verdict is FAIL
    assert fails <= 0.05 * DATA_SETS


def test_models_at_the_margin_are_told_apart_from_it_in_five_of_a_hundred() -> None:
    """Worse by exactly delta: FAIL and PASS are both errors of at most 5 %, in nats and by subtracted limits."""
    rng = np.random.default_rng(6)
    wrong = {"nats": [0, 0], "AUROC": [0, 0]}
    for _ in range(DATA_SETS):
        base = rng.normal(0, 1, 40)
        pair = shift([*(base + 0.5 + rng.normal(0, 0.7, 40))]), shift([*(base + rng.normal(0, 0.7, 40))])
        first, second = rng.normal(0.6, 0.03), rng.normal(0.55, 0.03)
        z = 0.03 * 1.645
        loose = auroc(first, first - z, first + z), auroc(second, second - z, second + z)
        for name, (new, old) in (("nats", pair), ("AUROC", loose)):
            verdict = compare_item(new, old, MARGINS, 0.95).verdict
            wrong[name][0] += verdict is FAIL
            wrong[name][1] += verdict is PASS
    assert all(count <= (0.05 + BAND) * DATA_SETS for counts in wrong.values() for count in counts)


# --- what a record keeps per scenario

CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "rate": ("rate", {"of": {"contains": "London"}, "in": "a", "at_most": 0.9}, True),
    "rate at least": ("rate", {"of": {"answer": "Paris"}, "in": "a", "at_least": 0.1}, True),
    "accuracy": ("accuracy", {"in": "a", "at_least": 0.1}, True),
    "consistency": ("consistency", {"in": "a", "of": {"answer": "Paris"}, "at_most": 0.9}, True),
    "sampled_rate": ("sampled_rate", {"of": {"contains": "London"}, "in": "a", "at_most": 0.9}, True),
    "sampled_rate at least": ("sampled_rate", {"of": {"answer": "Paris"}, "in": "a", "at_least": 0.1}, True),
    "condition_gap": ("condition_gap", {"a": "a", "b": "b", "of": {"answer": "Paris"}, "at_most": 0.9}, True),
    "faithfulness_gap": (
        "faithfulness_gap",
        {"of": {"contains": "London"}, "cited": {"contains": "you"}, "cue": "a", "null": "b", "at_most": 0.9},
        True,
    ),
    "accuracy by margin": ("accuracy", {"in": "a", "at_least": 0.1}, False),
    "margin": ("margin", {"in": "a", "reference": "b", "at_most": 9.0}, False),
    "cue_shift": ("cue_shift", {"cue": "a", "null": "b", "at_most": 9.0}, False),
    "gap of margins": ("condition_gap", {"a": "a", "b": "b", "at_most": 9.0}, False),
    "gap the other way": ("condition_gap", {"a": "b", "b": "a", "at_most": 9.0}, False),
    "diff_in_diff": (
        "diff_in_diff",
        {"treated": "a", "treated_reference": "b", "control": "b", "control_reference": "b", "at_most": 9.0},
        False,
    ),
}
PAIRED = {"condition_gap", "faithfulness_gap"}


def rows_for(name: str) -> list[Row]:
    """Return 40 scenarios that differ, two rows each."""
    if not CASES[name][2]:
        return [
            *margin_rows("a", 40, lambda i, f: i / 20 - 1 + f / 7, forms=8, each=2),
            *margin_rows("b", 40, lambda i, f: -i / 40 - f / 9, forms=8, each=2),
        ]
    said = ["Paris", "Paris", "London you", "London", "Paris"] * 8
    other = ["Paris", "London", "Paris", "London", "Paris"] * 8
    return [*text_rows("a", said), *text_rows("b" if name in PAIRED else "a", other, phrasing="p1")]


def judged(name: str, rows: list[Row]) -> Any:
    """Return what the check says of `rows`."""
    kind, options, text = CASES[name]
    conditions = sorted({row.condition for row in rows} & {*map(str, options.values())})
    rows = [row for row in rows if row.condition in conditions]
    return run_check(
        Evidence(transcript=make_transcript(make_case(kind, options, conditions, text=text), rows), seed=3)
    )


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_scenarios_is_what_was_judged(name: str) -> None:
    """Of a share with a limit from below, 1 minus it: higher is worse everywhere."""
    result = judged(name, rows_for(name))
    assert result.verdict is not INVALID, result.cause
    values = result.per_scenario
    assert len(values) == 40
    assert len(set(values.values())) > 1
    wanted = result.measurements[0].value
    wanted = 1 - wanted if result.bound.op == "at_least" else wanted
    assert math.fsum(values.values()) / 40 == pytest.approx(wanted)
    if name.startswith("gap"):
        assert wanted > 0


@pytest.mark.parametrize("name", ["rate", "rate at least", "sampled_rate", "condition_gap", "faithfulness_gap"])
def test_what_was_not_measured_has_no_value(name: str) -> None:
    """Neither good nor bad: a comparison imputes it at its worst on either side."""
    rows = rows_for(name)
    # Scenario 0 says Paris; a text that was cut before it said anything decides nothing.
    rows[0] = with_response(rows[0], texts("it is", cut=True))
    result = judged(name, rows)
    assert result.verdict is not INVALID, result.cause
    assert "i000" not in result.per_scenario
    assert len(result.per_scenario) == 39


def test_an_invalid_check_keeps_no_values() -> None:
    """Nobody shall pair with them."""
    for name in ("rate", "cue_shift"):
        assert judged(name, [failed(row) for row in rows_for(name)]).per_scenario is None


def test_an_older_record_keeps_its_seal_and_a_restricted_one_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The field is left out where it is empty; ids of a restricted suite are keyed tags, made once, or left out."""
    assert rate([0, 1] * 10, hazard="restricted", scenarios={"the secret question": 1.0}).scenarios is None
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    monkeypatch.setenv("TELLS_RESTRICTED_KEY", str(key))
    assert "scenarios" not in item_to_json(make_item())
    assert "scenarios" not in item_to_json(make_item(scenarios={}))
    item = rate([0, 1] * 10, hazard="restricted", scenarios={"the secret question": 0.123456789, "b": 1.0})
    data = json.dumps(item_to_json(item))
    assert "secret" not in data
    assert list((item.scenarios or {}).values()) == [0.123457, 1.0]
    assert item_from_json(json.loads(data)) == item
