"""The check `trend` on made transcripts: its limits, its verdicts, and what makes it INVALID."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import Case, CheckSpec
from harness.request import Failure
from harness.trend_check import Checkpoint, run_trend
from harness.verdict import Verdict
from tests.factory import completion, make_case, make_transcript, margin_rows, text_rows, texts, with_response

MARGIN = make_case("margin", {"in": "a", "reference": "b", "at_most": 5.0}, ["a", "b"], id="leans")
RATE = make_case("rate", {"in": "a", "of": {"contains": "BAD"}, "at_most": 0.5}, ["a"], text=True, id="says")


def trend(at_most: float = 1.0, **more: object) -> Case:
    check = CheckSpec(kind="trend", options={"of": "leans", "at_most": at_most, "confidence": 0.95, **more}, line=1)
    return Case(id="rises", check=check, conditions=(), line=1)


def leaning(gap: float, items: int = 20):
    rows = [*margin_rows("a", items, lambda i, _: gap + 0.01 * (i % 5)), *margin_rows("b", items, lambda i, _: 0.0 * i)]
    return make_transcript(MARGIN, rows)


def saying(bad: int, items: int = 120):
    return make_transcript(RATE, text_rows("a", ["BAD" if i < bad else "fine" for i in range(items)]))


def series(transcripts):
    return [
        Checkpoint(spec=f"run/step-{at}", step=at, digest=f"sha256:{at}", transcript=transcript)
        for at, transcript in enumerate(transcripts, start=1)
    ]


def test_the_number_is_the_weakest_of_the_best_three_in_a_row():
    """Means are the gap + 0.02; rows of three: 0.52, 1.52, 1.52, 0.02."""
    found = run_trend(trend(), series(map(leaning, (0.5, 1.5, 2.0, 1.6, 3.0, 0.0))), 7)

    assert found.verdict is Verdict.FAIL
    assert found.measurements[0].value == pytest.approx(1.62, abs=1e-9)
    assert found.measurements[0].unit == found.bound.unit == "nats"
    assert found.reference.startswith("case leans: ")
    assert found.reference.endswith(" at steps 1, 2, 3, 4, 5, 6")


def test_limits_of_each_checkpoint_are_at_the_error_shared_out():
    """Zero of 120: at 95 % the upper limit is 2.5 %, at 1 - 0.05 / 4 over six checkpoints 1 - 0.0125^(1/120)."""
    case = trend(0.1)
    found = run_trend(case, series([saying(0)] * 6), 7)

    assert found.verdict is Verdict.PASS
    assert found.measurements[0].high == pytest.approx(1 - 0.0125 ** (1 / 120), abs=1e-6)
    assert "0.9875" in found.measurements[0].note


def test_too_few_scenarios_for_the_limits_are_invalid():
    """59 scenarios show 5 % at 95 %, and not at the corrected confidence."""
    assert run_trend(trend(0.05), series([saying(0, 59)] * 6), 7).verdict is Verdict.INVALID
    assert run_trend(trend(0.05), series([saying(0, 120)] * 6), 7).verdict is Verdict.PASS


@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_checkpoint_with_cut_answers_is_invalid(at):
    transcripts = [saying(0) for _ in range(6)]
    rows = list(transcripts[at].rows)
    rows[:12] = [with_response(row, texts("fine", cut=True)) for row in rows[:12]]
    transcripts[at] = make_transcript(RATE, rows)
    found = run_trend(trend(0.1), series(transcripts), 7)

    assert found.verdict is Verdict.INVALID
    assert f"step {at + 1}" in found.cause
    assert completion("fine", cut=True).finish_reason == "length"


@pytest.mark.parametrize("answer", [Failure("forward", "made to fail")])
def test_a_failed_row_or_checkpoint_is_invalid(answer):
    transcripts = [leaning(0.0) for _ in range(6)]
    rows = [with_response(transcripts[2].rows[0], answer), *transcripts[2].rows[1:]]
    torn = [*transcripts[:2], make_transcript(MARGIN, rows), *transcripts[3:]]

    assert "step 3" in run_trend(trend(), series(torn), 7).cause
    assert run_trend(trend(), series([*transcripts[:5], answer]), 7).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "more", [{"at_most": float("nan")}, {"at_most": "much"}, {"confidence": 0.2}, {"least": 9}, {"least": None}]
)
def test_options_that_are_none_are_invalid(more):
    case = trend()
    options = {**case.check.options, **more}
    broken = Case(id="rises", check=CheckSpec(kind="trend", options=options, line=1), conditions=(), line=1)

    assert run_trend(broken, series(map(leaning, [0.0] * 6)), 7).verdict is Verdict.INVALID


def test_no_checkpoints_no_steps_and_copies_are_invalid():
    whole = series(map(leaning, [0.0] * 6))

    assert run_trend(trend(), [], 7).verdict is Verdict.INVALID
    assert run_trend(trend(), whole[::-1], 7).verdict is Verdict.INVALID
    stepless = [Checkpoint(spec=one.spec, step=None, digest=one.digest, transcript=one.transcript) for one in whole]
    assert run_trend(trend(), stepless, 7).verdict is Verdict.INVALID
    copies = [Checkpoint(spec=one.spec, step=one.step, digest="same", transcript=one.transcript) for one in whole]
    found = run_trend(trend(), copies, 7)
    assert "same weights" in found.cause
    assert found.reference.startswith("case leans: ")  # which series it was that could not be judged


ORDER = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(0, 2), min_size=5, max_size=6), st.integers(0, 5), st.floats(0, 2))
def test_a_worse_checkpoint_never_makes_a_better_verdict(gaps, at, more):
    worse = list(gaps)
    worse[at % len(gaps)] += more
    before, after = (run_trend(trend(), series(map(leaning, one)), 7) for one in (gaps, worse))

    assert ORDER.index(after.verdict) >= ORDER.index(before.verdict)
    assert after.measurements[0].low >= before.measurements[0].low - 1e-9
