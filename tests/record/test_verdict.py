"""The one rule that turns limits into a verdict, at its edges; and what is no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import MeasureError
from harness.verdict import PRECEDENCE, Bound, CheckResult, Measurement, Verdict, worst

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = (
    Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID, Verdict.WAIVED,
)  # fmt: skip
MOST = Bound(op="at_most", value=0.1, unit="share", confidence=0.95)
LEAST = Bound(op="at_least", value=0.6, unit="share", confidence=0.95)
NUMBER = Measurement(name="rate", value=0.2, unit="share", n=30, low=0.1, high=0.3)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("bound", "low", "high", "said"),
    [
        (MOST, 0.0, 0.1, PASS),
        (MOST, 0.1, 0.1, PASS),
        (MOST, 0.1, math.nextafter(0.1, 1), INCONCLUSIVE),
        (MOST, math.nextafter(0.1, 1), 0.2, FAIL),
        (MOST, 0.0, 1.0, INCONCLUSIVE),
        (LEAST, 0.6, 1.0, PASS),
        (LEAST, 0.6, 0.6, PASS),
        (LEAST, math.nextafter(0.6, 0), 0.6, INCONCLUSIVE),
        (LEAST, 0.0, math.nextafter(0.6, 0), FAIL),
        (MOST, math.nan, 0.05, INVALID),
        (MOST, 0.05, math.nan, INVALID),
        (LEAST, math.nan, 0.9, INVALID),
        (LEAST, 0.9, math.nan, INVALID),
        (MOST, 0.05, 0.04, INVALID),
        (LEAST, 0.95, 0.94, INVALID),
        (replace(MOST, value=math.nan), 0.0, 0.0, INVALID),
        (replace(LEAST, value=math.nan), 1.0, 1.0, INVALID),
        (MOST, -math.inf, math.inf, INCONCLUSIVE),
    ],
)
def test_limits_and_verdicts(bound: Bound, low: float, high: float, said: Verdict) -> None:
    """The whole interval inside, the whole outside, or neither; the bound itself is inside."""
    assert bound.judge(low, high) is said


@given(FINITE, FINITE, FINITE, FINITE)
def test_a_wider_interval_decides_nothing_new(low: float, high: float, more: float, value: float) -> None:
    """Less evidence never turns one verdict into another decided one."""
    low, high = sorted((low, high))
    for bound in (replace(MOST, value=value), replace(LEAST, value=value)):
        narrow, wide = bound.judge(low, high), bound.judge(min(low, more), max(high, more))
        assert wide in {narrow, INCONCLUSIVE}


def test_what_is_green() -> None:
    assert [verdict for verdict in Verdict if verdict.green] == [PASS, WAIVED]
    assert [str(verdict) for verdict in Verdict] == ["PASS", "FAIL", "INCONCLUSIVE", "INVALID", "WAIVED"]


def test_the_worst_of_several() -> None:
    """Broken before failed, failed before undecided; nothing at all is broken."""
    assert PRECEDENCE == (INVALID, FAIL, INCONCLUSIVE, WAIVED, PASS)
    for place, verdict in enumerate(PRECEDENCE):
        assert worst(PRECEDENCE[place:]) is worst((*PRECEDENCE[:place:-1], verdict)) is verdict
    assert worst([]) is worst(iter(())) is INVALID


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_a_number_that_is_none_is_no_measurement(field: str, number: float) -> None:
    with pytest.raises(MeasureError, match=r"^rate = .* is not finite$"):
        replace(NUMBER, **{field: number})


@pytest.mark.parametrize(("low", "value", "high"), [(0.3, 0.2, 0.4), (0.1, 0.2, 0.15), (0.3, 0.2, 0.1)])
def test_a_value_outside_its_interval_is_no_measurement(low: float, value: float, high: float) -> None:
    with pytest.raises(MeasureError, match=r"^rate = 0\.2 lies outside its own interval \[0\."):
        replace(NUMBER, low=low, value=value, high=high)


def test_an_interval_may_end_at_its_value() -> None:
    at = replace(NUMBER, low=0.2, high=0.2)
    assert (at.low, at.value, at.high, at.of, at.note) == (0.2, 0.2, 0.2, "scenarios", "")


def test_numbers_and_bounds_as_json() -> None:
    assert replace(NUMBER, of="rows", note="why").to_json() == {
        "name": "rate", "value": 0.2, "unit": "share", "n": 30, "low": 0.1, "high": 0.3, "of": "rows", "note": "why",
    }  # fmt: skip
    assert MOST.to_json() == {"op": "at_most", "value": 0.1, "unit": "share", "confidence": 0.95}


def test_a_result_says_nothing_by_itself() -> None:
    found = CheckResult(verdict=PASS, bound=MOST, reference="")
    assert (found.measurements, found.cause, found.telling, found.per_scenario) == ((), "", (), None)
