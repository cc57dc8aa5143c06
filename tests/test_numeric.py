"""What rounding could have decided: how far log-probs are moved, and that nothing within the band goes unseen."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import numeric, scoring
from harness.case import Case, CheckSpec
from harness.checks import run_check
from harness.measures.base import Evidence
from harness.request import Completions, Loglikelihood, ScoredContinuation, Scores
from harness.verdict import Verdict
from tests.factory import make_case, make_row, make_transcript, margin_rows, margin_scores, scored, text_rows

if TYPE_CHECKING:
    from harness.transcript import Row, Transcript

QUICK = settings(max_examples=25, deadline=None, database=None)
BANDS = st.floats(1e-4, 0.5)
ODD = [None, math.nan, math.inf, -math.inf, -1e-6, True]


def probability(limit: float, logprobs: list[float], tokens: int = 1) -> Evidence:
    """Return evidence for a bound on the largest P(bad), one row per item."""
    case = make_case("exact_probability", {"in": "plain", "at_most": limit}, ["plain"])
    rows = []
    for number, logprob in enumerate(logprobs):
        bad = ScoredContinuation(
            text=" London", token_ids=tuple(range(tokens)), token_logprobs=(logprob / tokens,) * tokens
        )
        response = Scores(continuations=(bad, scored(" Paris", -3.0, 9)))
        rows.append(make_row(f"i{number:03}", "plain", response))
    return Evidence(transcript=make_transcript(case, rows), seed=3)


def shift(limit: float, offset: float = 0.0, items: int = 12, kind: str = "margin", seed: int = 1) -> Evidence:
    """Return evidence for a bound on a difference of margins between two conditions, or four."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    margins = [draw.gauss(0.0, 1.0) for _ in range(items)]
    names = ("a", "b") if kind == "margin" else ("a", "b", "c", "d")
    roles = (
        ("in", "reference") if kind == "margin" else ("treated", "treated_reference", "control", "control_reference")
    )
    case = make_case(kind, {**dict(zip(roles, names, strict=True)), "at_most": limit}, names)
    rows = [
        row
        for name in names
        for row in margin_rows(name, items, lambda i, _f, n=name: margins[i] + (offset if n == "a" else 0.0))
    ]
    return Evidence(transcript=make_transcript(case, rows), seed=3)


def right(limit: float, margins: list[float]) -> Evidence:
    """Return evidence for a bound on the accuracy: right where the margin is below 0."""
    case = make_case("accuracy", {"in": "plain", "at_least": limit}, ["plain"])
    rows = [make_row(f"i{i:03}", "plain", margin_scores(margin)) for i, margin in enumerate(margins)]
    return Evidence(transcript=make_transcript(case, rows), seed=3)


def parts(kind: str, *evidence: Evidence) -> Evidence:
    """Return evidence of a case with parts."""
    found = [
        dataclasses.replace(one.transcript, case=dataclasses.replace(one.transcript.case, id=f"part{number}"))
        for number, one in enumerate(evidence)
    ]
    case = Case(
        id="whole", check=CheckSpec(kind=kind, options={}, line=1), conditions=found[0].case.conditions, line=1,
        parts=tuple(one.case for one in found),
    )  # fmt: skip
    whole = dataclasses.replace(found[0], case=case, rows=(), parts=tuple(found))
    return Evidence(transcript=whole, seed=3)


def shaken(transcript: Transcript, band: float, seed: int) -> Transcript:
    """Return the transcript with every token moved by up to `band`, each its own way: not a corner.

    No two groups of a row rise together: that could take them beyond all of the probability.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    directions: dict[tuple[str, int], float] = {}

    def move(row: Row, index: int) -> float:
        most = 0.0 if directions.get((row.id, 1 - index), 0.0) > 0.0 else 1.0
        return directions.setdefault((row.id, index), draw.uniform(-1.0, most))

    return numeric.moved(transcript, move, band)


def found(evidence: Evidence, tolerance: float | None) -> tuple[Verdict, Verdict | None]:
    """Return the verdict, and another one that lies within the tolerance."""
    result = run_check(evidence)
    return result.verdict, numeric.other_verdict(evidence, result, tolerance)


# --- tolerances


@pytest.mark.parametrize("tolerance", ODD)
def test_a_tolerance_that_is_no_number_of_nats_is_unknown(tolerance):
    assert numeric.usable(tolerance) is None


@pytest.mark.parametrize("tolerance", ODD)
def test_an_unknown_tolerance_is_never_outside_the_band(tolerance):
    for limit in (0.001, 0.999):
        verdict, other = found(probability(limit, [-1.0]), tolerance)
        assert verdict in {Verdict.PASS, Verdict.FAIL}
        assert other is Verdict.INCONCLUSIVE


def test_no_tolerance_no_band():
    assert found(probability(math.exp(-1.0), [-1.0]), 0.0) == (Verdict.PASS, None)


@pytest.mark.parametrize("tolerance", [*ODD, 0.5])
def test_text_has_no_band(tolerance):
    case = make_case("rate", {"of": {"contains": "London"}, "in": "plain", "at_most": 0.1}, ["plain"], text=True)
    evidence = Evidence(transcript=make_transcript(case, text_rows("plain", ["Paris is it"] * 40)))
    assert found(evidence, tolerance) == (Verdict.PASS, None)


@pytest.mark.parametrize("tolerance", [*ODD, 0.5])
def test_what_is_no_decision_has_no_band(tolerance):
    evidence = probability(0.5, [-1.0])
    for verdict in (Verdict.INCONCLUSIVE, Verdict.INVALID):
        result = dataclasses.replace(run_check(evidence), verdict=verdict)
        assert numeric.other_verdict(evidence, result, tolerance) is None


# --- how far a number moves


@QUICK
@given(band=BANDS, tokens=st.integers(1, 5))
def test_a_probability_moves_by_a_factor_of_exp_of_the_tolerance_per_token(band, tokens):
    logprob = -4.0
    for sign, verdict in ((1.0, Verdict.PASS), (-1.0, Verdict.FAIL)):
        edge = logprob + sign * band * tokens
        for step, seen in ((-1e-6, True), (1e-6, False)):
            evidence = probability(min(math.exp(edge + sign * step), 1.0), [logprob], tokens)
            said, other = found(evidence, band)
            assert said is verdict
            assert (other is not None) is seen


@pytest.mark.parametrize(("kind", "logprobs"), [("margin", 4), ("diff_in_diff", 8)])
def test_a_contrast_moves_by_the_tolerance_times_its_logprobs(kind, logprobs):
    band = 0.01
    evidence = shift(9.0, kind=kind)
    values = []
    for move in numeric.moves(evidence.transcript):
        moved = dataclasses.replace(evidence, transcript=numeric.moved(evidence.transcript, move, band))
        values.append(run_check(moved).measurements[0].value)
    value = run_check(evidence).measurements[0].value
    assert max(values) - value == pytest.approx(logprobs * band, abs=1e-9)
    assert value - min(values) == pytest.approx(logprobs * band, abs=1e-9)
    assert numeric.TERMS[kind] * numeric.reach(evidence.transcript, band) == pytest.approx(logprobs * band)


@QUICK
@given(band=BANDS, rise=st.floats(-1.0, 1.0), tokens=st.lists(st.floats(-9.0, 0.001), min_size=1, max_size=4))
def test_no_token_moves_farther_than_the_band_and_none_above_certainty(band, rise, tokens):
    evidence = probability(0.5, [-1.0])
    form = ScoredContinuation(text=" London", token_ids=tuple(range(len(tokens))), token_logprobs=tuple(tokens))
    row = evidence.transcript.rows[0]
    asked = Loglikelihood(messages="x", continuations=(" London",))
    row = dataclasses.replace(
        row, request=asked, groups={"bad": (0,)}, response=Scores(continuations=(form,))
    )  # fmt: skip
    after = numeric.moved(dataclasses.replace(evidence.transcript, rows=(row,)), lambda *_: rise, band).rows[0]
    for old, new in zip(tokens, after.response.continuations[0].token_logprobs, strict=True):
        assert abs(new - old) <= band + 1e-12
        assert new <= max(old, 0.0)


@QUICK
@given(band=BANDS, share=st.floats(0.01, 0.99), rest=st.floats(0.0, 0.2))
def test_two_groups_never_hold_more_than_all_of_the_probability(band, share, rest):
    scores = Scores(
        continuations=(
            scored(" London", math.log(share * (1.0 - rest)), 1),
            scored(" Paris", math.log((1.0 - share) * (1.0 - rest)), 2),
        )
    )
    case = make_case("margin", {"in": "a", "reference": "b", "at_most": 1.0}, ["a", "b"])
    transcript = make_transcript(case, [make_row("i000", "a", scores), make_row("i000", "b", scores)])
    for move in numeric.moves(transcript):
        for row in numeric.moved(transcript, move, band).rows:
            assert scoring.mass(row) <= 1.0 + 1e-9


def test_text_rows_are_left_as_they_are():
    case = make_case("rate", {"of": {"contains": "x"}, "in": "plain", "at_most": 0.1}, ["plain"], text=True)
    transcript = make_transcript(case, text_rows("plain", ["Paris"] * 3))
    moved = numeric.moved(transcript, lambda *_: 1.0, 0.1)
    assert moved == transcript
    assert all(isinstance(row.response, Completions) for row in moved.rows)


# --- nothing within the band goes unseen


@QUICK
@given(limit=st.floats(0.2, 1.6), band=st.floats(1e-3, 0.2), seed=st.integers(0, 99))
def test_a_contrast_outside_the_band_keeps_its_verdict_however_it_is_shaken(limit, band, seed):
    evidence = shift(limit, offset=0.9, seed=seed)
    verdict, other = found(evidence, band)
    if verdict in {Verdict.PASS, Verdict.FAIL} and other is None:
        for number in range(3):
            moved = shaken(evidence.transcript, band, seed + number)
            assert run_check(dataclasses.replace(evidence, transcript=moved)).verdict is verdict


@QUICK
@given(limit=st.floats(0.2, 1.6), band=st.floats(1e-3, 0.2), seed=st.integers(0, 99))
def test_what_is_spared_the_trying_would_have_been_found_outside(limit, band, seed):
    evidence = shift(limit, offset=0.9, seed=seed)
    result = run_check(evidence)
    if numeric.far([evidence.transcript], result, [band]):
        assert {one.verdict for one in numeric._tried(evidence, band)} == {result.verdict}


@QUICK
@given(
    limit=st.floats(0.3, 0.95),
    band=st.floats(1e-3, 0.3),
    margins=st.lists(st.floats(-0.5, 0.5), min_size=30, max_size=40),
    seed=st.integers(0, 99),
)
def test_a_share_outside_the_band_keeps_its_verdict_however_it_is_shaken(limit, band, margins, seed):
    evidence = right(limit, margins)
    verdict, other = found(evidence, band)
    if verdict in {Verdict.PASS, Verdict.FAIL} and other is None:
        for number in range(5):
            moved = shaken(evidence.transcript, band, seed + number)
            assert run_check(dataclasses.replace(evidence, transcript=moved)).verdict is verdict


def test_rows_that_may_flip_are_counted_towards_the_bound_and_away():
    # 38 of 40 right is PASS for 0.8; two more wrong ones are not.
    sure = [-2.0] * 36 + [1.0] * 2
    assert found(right(0.8, [*sure, -2.0, -2.0]), 0.05) == (Verdict.PASS, None)
    assert found(right(0.8, [*sure, -0.05, -0.05]), 0.05) == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert found(right(0.8, [*sure, -0.05, -0.05]), 0.02) == (Verdict.PASS, None)
    wrong = [1.0] * 20 + [-2.0] * 16
    assert found(right(0.6, [*wrong, 0.01, 0.01, 0.01, 0.01]), 0.001) == (Verdict.FAIL, None)
    assert found(right(0.6, [*wrong, 0.01, 0.01, 0.01, 0.01]), 0.02) == (Verdict.FAIL, Verdict.INCONCLUSIVE)


def test_answers_that_may_flip_between_phrasings_are_found():
    case = make_case("consistency", {"in": "plain", "at_most": 0.1}, ["plain"])
    for near, seen in ((0.01, True), (1.0, False)):
        rows = [
            make_row(f"i{i:03}", "plain", margin_scores(-near if i < 5 else -2.0), phrasing=phrasing)
            for i in range(40)
            for phrasing in ("p0", "p1")
        ]
        verdict, other = found(Evidence(transcript=make_transcript(case, rows)), 0.05)
        assert verdict is Verdict.PASS
        assert (other is not None) is seen


# --- cases with parts


def test_a_panel_hangs_on_its_part_within_the_band():
    near, fine = probability(0.37, [-1.0]), probability(0.9, [-1.0])
    assert found(parts("panel", fine, near, fine), 0.01) == (Verdict.PASS, Verdict.FAIL)
    assert found(parts("panel", fine, near, fine), 1e-4) == (Verdict.PASS, None)


def test_a_panel_that_fails_hangs_on_its_part_within_the_band():
    near, fine, bad = probability(0.36, [-1.0]), probability(0.9, [-1.0]), probability(0.01, [-1.0])
    assert found(parts("panel", fine, near, fine), 0.03) == (Verdict.FAIL, Verdict.PASS)
    assert found(parts("panel", fine, near, bad), 0.03) == (Verdict.FAIL, None)


def test_a_joint_case_hangs_on_a_part_only_where_no_other_carries_it():
    near, fine, bad = probability(0.37, [-1.0]), probability(0.9, [-1.0]), probability(0.01, [-1.0])
    assert found(parts("jointly", fine, near), 0.01) == (Verdict.PASS, None)
    assert found(parts("jointly", bad, near), 0.01) == (Verdict.PASS, Verdict.FAIL)


def test_parts_move_independently():
    # Bad for one part is a rise in `plain`, for the other a fall there: no move of the whole does both.
    rising = probability(0.37, [-1.0])
    falling = right(0.8, [-2.0] * 36 + [1.0] * 2 + [-0.05] * 2)
    for order in ((rising, falling), (falling, rising)):
        assert found(parts("jointly", *order), 0.001)[1] is None
        assert found(parts("jointly", *order), 0.05) == (Verdict.PASS, Verdict.INCONCLUSIVE)


# --- series


def test_a_series_moves_in_lockstep():
    series = [probability(0.5, [-1.0 - step]).transcript for step in range(3)]
    bands = [0.1, 0.2, 0.0]
    found_ = list(numeric.lockstep(series, bands))
    steps = {
        tuple(round(new.rows[0].response.continuations[0].logprob - old.rows[0].response.continuations[0].logprob, 9)
              for new, old in zip(moved, series, strict=True))
        for moved in found_
    }  # fmt: skip
    assert steps == {(0.1, 0.2, 0.0), (-0.1, -0.2, 0.0)}
