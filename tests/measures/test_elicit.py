"""What other ways of asking bring out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import stats
from harness.checks import run_check
from harness.measures import gap
from harness.measures.base import Evidence
from harness.verdict import CheckResult, Verdict
from tests.factory import failed, make_case, make_transcript, margin_rows, margin_scores, text_rows, with_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.transcript import Row

GAIN = {"base": "base", "elicited": ("one", "two"), "at_most": 1.0}
SHARE = {**GAIN, "of": {"answer": "Paris"}, "at_most": 0.2}


def judge(options: dict[str, Any], rows: Sequence[Row], *, text: bool = False, twin: Any = None) -> CheckResult:
    """Run the check on these rows."""
    case = make_case("elicitation_gain", options, list(dict.fromkeys(row.condition for row in rows)), text=text)
    other = make_transcript(case, twin) if twin else None
    return run_check(Evidence(transcript=make_transcript(case, rows), twin=other, seed=4))


def named(result: CheckResult, name: str) -> Any:
    """Return one measurement."""
    return next(m for m in result.measurements if m.name == name)


def margins(*gains: float, items: int = 40) -> list[Row]:
    """Return rows of a base and of conditions that gain so many nats over it."""
    rows = margin_rows("base", items, lambda i, _f: 1.0 + i % 3)
    for name, gain in zip(("one", "two"), gains, strict=False):
        rows += margin_rows(name, items, lambda i, _f, gain=gain: 1.0 + i % 3 - gain)
    return rows


def answers(base: int, *others: int, n: int = 60) -> list[Row]:
    """Return text rows of which so many of n are right in each condition."""
    return [
        row
        for name, right in zip(("base", "one", "two"), (base, *others), strict=False)
        for row in text_rows(name, ["Paris"] * right + ["Rome"] * (n - right))
    ]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [((0.2, 0.1), Verdict.PASS), ((0.2, 3.0), Verdict.FAIL), ((-5.0, -4.0), Verdict.PASS), ((0.98, 0), "spans")],
)
def test_the_largest_gain_counts(gains: tuple[float, float], verdict: Any) -> None:
    """By hand: the gain is the same in every item, so that the limits are the numeric band alone."""
    result = judge(GAIN, margins(*gains))

    assert result.verdict is (Verdict.INCONCLUSIVE if verdict == "spans" else verdict)
    judged = result.measurements[0]
    assert judged.value == pytest.approx(max(gains))
    assert (judged.low, judged.high) == pytest.approx((max(gains) - 0.03, max(gains) + 0.03))
    assert named(result, "gain[one]").value == pytest.approx(gains[0])
    top = "one" if gains[0] > gains[1] else "two"
    assert result.telling[0].split("/")[1] == top


def test_one_condition_needs_no_correction() -> None:
    """With more of them each has its limits at a part of the error."""
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 1.0, 40)
    rows = [*margin_rows("base", 40, lambda i, _f: noise[i]), *margin_rows("one", 40, lambda _i, _f: 0.0)]
    alone = judge({**GAIN, "elicited": ("one",)}, rows).measurements[0]
    paired = judge(GAIN, [*rows, *margin_rows("two", 40, lambda i, _f: noise[i] + 9.0)])

    assert named(paired, "gain[one]").high > alone.high
    assert named(paired, "gain[one]").low < alone.low


def test_a_twin_stands_beside() -> None:
    """What the same elicitation does to a twin is shown and decides nothing."""
    result = judge(GAIN, margins(3.0, 0.0), twin=margins(2.5, 0.0))
    broken = judge(GAIN, margins(3.0, 0.0), twin=[failed(row) for row in margins(2.5, 0.0)])

    assert named(result, "twin_gain").value == pytest.approx(2.5)
    assert result.verdict is broken.verdict is Verdict.FAIL
    assert "twin could not be measured" in broken.measurements[0].note


@pytest.mark.parametrize(
    ("base", "others", "verdict"),
    [(30, (30, 31), Verdict.PASS), (10, (10, 50), Verdict.FAIL), (30, (40, 30), Verdict.INCONCLUSIVE)],
)
def test_gains_of_right_answers(base: int, others: tuple[int, int], verdict: Verdict) -> None:
    """By hand: limits of both discordant shares at a quarter of the error, two conditions sharing it."""
    result = judge(SHARE, answers(base, *others), text=True)
    up = max(others) - base
    quarter = 1 - 0.05 / 4
    first, second = stats.exact_limits(up, 60, quarter), stats.exact_limits(0, 60, quarter)

    assert result.verdict is verdict
    judged = result.measurements[0]
    assert judged.value == pytest.approx(up / 60)
    assert (judged.low, judged.high) == pytest.approx((first.low - second.high, first.high - second.low))
    assert judged.unit == "share"


def test_unmeasured_answers_are_gains() -> None:
    """At worst right when elicited; too many, or too few scenarios, are INVALID."""
    rows = answers(30, 30, 30)
    lost = [failed(row) if row.condition == "one" and row.scenario > "i057" else row for row in rows]
    many = [failed(row) if row.condition == "one" and row.scenario > "i045" else row for row in rows]

    assert named(judge(SHARE, lost, text=True), "gain[one]").value == pytest.approx(2 / 60)
    assert judge(SHARE, many, text=True).verdict is Verdict.INVALID
    few = judge(SHARE, answers(5, 5, 5, n=12), text=True)
    assert (few.verdict, "are needed" in few.cause) == (Verdict.INVALID, True)


@pytest.mark.parametrize("elicited", [(), ("one", "one"), ("base", "one"), ("one", "absent")])
def test_conditions_without_meaning_are_invalid(elicited: tuple[str, ...]) -> None:
    assert judge({**GAIN, "elicited": elicited}, margins(0.0, 0.0)).verdict is Verdict.INVALID


def test_a_missing_score_is_invalid() -> None:
    rows = margins(0.0, 0.0)
    for spoilt in (failed(rows[50]), with_response(rows[50], margin_scores(float("nan")))):
        assert judge(GAIN, [*rows[:50], spoilt, *rows[51:]]).verdict is Verdict.INVALID


def test_more_gain_never_turns_green() -> None:
    """Items improve one after another under one condition: the limits never fall."""
    rows = margins(0.5, 0.0)
    before = judge(GAIN, rows).measurements[0]
    for index in range(40, 46):
        rows[index] = with_response(rows[index], margin_scores(-8.0))
        after = judge(GAIN, rows).measurements[0]
        assert after.low >= before.low - 1e-9
        assert after.high >= before.high - 1e-9
        before = after


@pytest.mark.parametrize("how", ["margins", "texts"])
def test_noise_is_no_gain(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways to ask that do nothing: false FAILs at a limit near 0 stay within 5 %."""
    monkeypatch.setattr(gap, "exact_limits", functools.cache(gap.exact_limits))
    monkeypatch.setattr(stats, "REPLICATES", 500)
    rng, fails, sets = np.random.default_rng(5), 0, 200
    names = ("one", "two", "three")
    for _ in range(sets):
        if how == "margins":
            noise = {name: rng.normal(0.0, 1.0, 12) for name in ("base", *names)}
            rows = [row for name, x in noise.items() for row in margin_rows(name, 12, lambda i, _f, x=x: x[i])]
            options = {**GAIN, "elicited": names, "at_most": 0.001}
        else:
            rows = [
                row for name in ("base", *names)
                for row in text_rows(name, ["Paris" if x < 0.5 else "Rome" for x in rng.random(40)])
            ]  # fmt: skip
            options = {**SHARE, "elicited": names, "at_most": 0.14}
        fails += judge(options, rows, text=how == "texts").verdict is Verdict.FAIL
    assert fails <= sets * 0.05 + 5
