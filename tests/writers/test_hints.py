"""What the table of a run advises: how near, by how much, how many more; computed here by other means."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from harness.policy.waivers import Excuse, Waiver
from harness.stats import exact_limits
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import words
from harness.writers.hints import Context, hint, planned
from tests.record_factory import make_item

if TYPE_CHECKING:
    from harness.record import ItemRecord

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = (
    Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID, Verdict.WAIVED,
)  # fmt: skip
NONE = Context(excused={})


def share(k: int, n: int, limit: float, op: str = "at_most", **changes: Any) -> ItemRecord:
    """Return an item with an exact share of k in n, judged as checks judge it."""
    found = exact_limits(k, n, 0.95)
    bound = Bound(op=op, value=limit, unit="share", confidence=0.95)  # type: ignore[arg-type]
    verdict = bound.judge(found.low, found.high)
    measured = Measurement(name="rate", value=found.value, unit="share", n=n, low=found.low, high=found.high)
    cause = f"[x, y] share spans the limit {limit:g}: too little data" if verdict is INCONCLUSIVE else ""
    fields = {"check": "rate" if op == "at_most" else "accuracy", "bound": bound, "measurements": (measured,)}
    return make_item("c", verdict, **{"cause": cause, **fields, **changes})


def number(value: float, low: float, high: float, bound: Bound, **changes: Any) -> ItemRecord:
    """Return an item with a resampled number."""
    measured = Measurement(name="x", value=value, unit=bound.unit, n=40, low=low, high=high)
    return make_item("c", bound.judge(low, high), bound=bound, measurements=(measured,), **changes)


NATS = Bound(op="at_most", value=1.5, unit="nats", confidence=0.95)
ZERO = Bound(op="at_most", value=0.0, unit="nats", confidence=0.95)
AREA = Bound(op="at_least", value=0.8, unit="AUROC", confidence=0.95)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        # 0 of 60 is at most 1 - 0.05^(1/60) = 0.0487, and the limit is 0.1.
        (share(0, 60, 0.1), "49% of the limit used"),
        # 60 of 60 is at least 0.9513: 0.0487 of the 0.2 that the limit leaves.
        (share(60, 60, 0.8, "at_least"), "24% of the limit used"),
        (number(0.4, 0.3, 0.75, NATS), "50% of the limit used"),
        (number(-0.4, -0.6, -0.2, NATS), "0% of the limit used"),
        (number(-0.4, -0.6, -0.2, ZERO), "0.2 nats inside the limit"),
        (number(0.95, 0.9, 0.99, AREA), "50% of the limit used"),
    ],
)
def test_a_pass_says_how_near_it_is(item: ItemRecord, said: str) -> None:
    """As a part of the limit, or where that means nothing as a distance."""
    assert item.verdict is PASS
    assert hint(item, NONE) == said


def test_a_fail_says_by_how_much_and_where_to_look() -> None:
    """At least by the distance of the limit that decided; of a medium check that it does not block."""
    # 32 of 32 is at least 0.05^(1/32) = 0.9106.
    item = share(32, 32, 0.1)
    assert hint(item, NONE) == "over the limit by 0.811 share or more; see its page above; --report DIR keeps it"
    here = Context(run="my out/run.json", excused={})
    assert hint(item, here).endswith("; see: tells show 'my out/run.json' deployment-defection::c")
    several = Context(run="run.json", models=2, excused={})
    assert hint(item, several).endswith("tells show run.json 'deployment-defection::c[smollm2]'")
    assert " (medium: does not block); see" in hint(share(32, 32, 0.1, severity="medium"), NONE)
    assert hint(share(0, 32, 0.8, "at_least"), NONE).startswith("short of the limit by 0.711 share or more")
    assert hint(make_item("c", FAIL, measurements=(), cause="it broke"), NONE).startswith("failed: it broke; see")


def test_what_could_not_be_measured_says_why() -> None:
    """Without what a closed suite does not show."""
    assert hint(make_item("c", INVALID), NONE) == "not measured: 5 of 42 rows failed: forward: out of memory"
    closed = make_item("c", INVALID, hazard="internal", cause="row said 'the planted canary'")
    assert "canary" not in hint(closed, NONE)
    assert "\x1b" not in hint(make_item("c", INVALID, cause="\x1b[2J"), NONE)


def test_what_a_waiver_excuses_says_for_how_long() -> None:
    """Of the policy; a waiver that only the record claims is said to be no more than that."""
    waiver = Waiver(
        id="W-1", match="x", model="sha256:0", reason="r", owner="o", approved_by="a", written=dt.date(2026, 1, 1),
        expires=dt.date(2026, 2, 1), max_rate=0.5,
    )  # fmt: skip
    item = share(32, 32, 0.1)
    excuse = Excuse(node_id=item.node_id, waiver=waiver, value=1.0, days_left=3)
    assert hint(item, Context(excused={item.node_id: excuse})) == "excused by waiver W-1, 3 days left"
    assert "no policy" in hint(make_item("c", WAIVED), NONE)


def limits(k: int, n: int) -> tuple[float, float]:
    """Return Clopper-Pearson limits at 95 % each, by the beta distribution, which `harness.power` does not use."""
    low = 0.0 if k == 0 else float(beta.ppf(0.05, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.95, k + 1, n - k))
    return low, high


def decided(n: int, rate: float, limit: float) -> float:
    """Return the probability that n scenarios at a true rate decide, on the side on which the rate lies."""
    counts = range(n + 1)
    if rate < limit:
        return float(sum(binom.pmf(k, n, rate) for k in counts if limits(k, n)[1] <= limit))
    return float(sum(binom.pmf(k, n, rate) for k in counts if limits(k, n)[0] > limit))


@pytest.mark.parametrize(("k", "n", "limit"), [(2, 32, 0.1), (3, 60, 0.1), (8, 50, 0.1), (10, 32, 0.5), (0, 20, 0.1)])
def test_the_plan_of_a_share_decides_four_times_in_five(k: int, n: int, limit: float) -> None:
    """By enumeration of all counts; and the number before it was not enough."""
    found = planned(k, n, "at_most", limit, 0.95)
    assert found is not None
    assert decided(found, k / n, limit) >= 0.8 - 1e-9
    assert decided(found - 1, k / n, limit) < 0.8
    assert planned(n - k, n, "at_least", 1.0 - limit, 0.95) == pytest.approx(found, abs=1)


def test_without_a_single_failure_it_is_the_zero_failure_plan() -> None:
    """29 scenarios for 10 %, 59 for 5 %, 299 for 1 %."""
    assert [planned(0, 5, "at_most", limit, 0.95) for limit in (0.1, 0.05, 0.01)] == [29, 59, 299]
    item = share(0, 20, 0.1)
    assert hint(item, NONE) == (
        "about 9 more scenarios (29 in all) would decide with probability 0.8 if the share stays 0"
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(40, 120), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_a_plan_is_never_smaller_than_what_did_not_decide(k: int, n: int, limit: float) -> None:
    """What is undecided needs more."""
    item = share(k, n, limit)
    found = planned(k, n, "at_most", limit, 0.95)
    if item.verdict is INCONCLUSIVE:
        assert found is None or found > n
        assert "more scenarios" in hint(item, NONE) or "too near" in hint(item, NONE)


def test_a_value_at_its_limit_is_never_decided() -> None:
    """And is told so."""
    assert planned(6, 60, "at_most", 0.1, 0.95) is None
    assert hint(share(6, 60, 0.1), NONE) == "too near the limit for any number of scenarios to decide"
    at = number(1.5, 1.2, 1.8, NATS, cause="a; too little data")
    assert hint(at, NONE) == "too near the limit for any number of scenarios to decide"


def test_a_resampled_number_is_planned_by_its_spread() -> None:
    """40 scenarios reach 0.2 from 1.4, the limit is 0.1 away: 4 times those, for 80 % (1 + 0.842 / 1.645)² of that."""
    item = number(1.4, 1.2, 1.6, NATS, cause="[1.2, 1.6] nats spans the limit 1.5: too little data")
    needed = math.ceil(40 * (2 * (1 + 0.8416212 / 1.6448536)) ** 2)
    assert hint(item, NONE) == (
        f"at least about {needed - 40} more scenarios ({needed} in all) would decide with probability 0.8 if value and "
        "spread among scenarios stay"
    )


def test_a_cause_that_says_more_is_kept() -> None:
    """Rounding, parts, another check's own words."""
    other = number(1.4, 1.2, 1.6, NATS, cause="the two halves disagree")
    assert hint(other, NONE).startswith("the two halves disagree; at least about ")
    parts = Bound(op="at_most", value=1.0, unit="parts", confidence=0.95)
    joint = make_item("c", INCONCLUSIVE, check="jointly", cause="1 of 2 parts fail and none passes", bound=parts)
    assert hint(joint, NONE) == "1 of 2 parts fail and none passes"
    decided_by_limits = make_item("c", INCONCLUSIVE, cause="numeric: within the band", measurements=(
        Measurement(name="x", value=0.4, unit="nats", n=40, low=0.3, high=0.5),
    ))  # fmt: skip
    assert hint(decided_by_limits, NONE) == "numeric: within the band"


@pytest.mark.parametrize(
    ("item", "told", "side"),
    [
        (share(12, 60, 0.1), "12/60", "lower 0.12"),
        (share(0, 60, 0.1), "0/60", "upper 0.0487"),
        (share(2, 32, 0.1), "2/32", "[0.0112, 0.184]"),
        (share(60, 60, 0.8, "at_least"), "60/60", "lower 0.951"),
        (share(0, 32, 0.8, "at_least"), "0/32", "upper 0.0894"),
        (number(0.4, 0.3, 0.75, NATS), "0.4 (n 40)", "upper 0.75"),
        (make_item("c", INVALID), "-", "-"),
        (share(3, 40, 0.5, check="sampled_rate"), "0.075 (n 40)", "upper 0.183"),
    ],
)
def test_counts_are_shown_as_counts(item: ItemRecord, told: str, side: str) -> None:
    """As k of n where things were counted, else value and n; and the limit of the interval that decides."""
    assert (words.tallied(item), words.decisive(item)) == (told, side)
