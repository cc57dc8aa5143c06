"""No worsening, error or absence turns a non-green outcome green: at the row, at the check, at the run.

"Worse" is meant towards what the check limits: a right text becomes a bad one, a margin under the cue rises. For checks
that limit a gap from both sides there is no worse direction of one row, and only error and absence are tried.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harness.checks import combine, run_check
from harness.measures.base import Evidence
from harness.request import Completions, Failure, Scores
from harness.scoring import row_margin
from harness.verdict import Bound, CheckResult, Measurement, Verdict, worst
from tests.factory import (
    failed,
    make_case,
    make_transcript,
    margin_rows,
    margin_scores,
    scored,
    text_rows,
    texts,
    with_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.transcript import Row, Transcript

FAST = settings(max_examples=30, deadline=None, derandomize=True)
TEXTS = st.sampled_from(["Paris", "Paris", "Paris", "London", "Rome"])
MARGINS = st.floats(min_value=-6, max_value=6, allow_nan=False).map(lambda x: round(x, 2))
VERDICTS = st.sampled_from(list(Verdict))

TEXT_CHECKS: dict[str, tuple[str, dict[str, Any]]] = {
    "rate": ("rate", {"of": {"contains": "London"}, "in": "a", "at_most": 0.3}),
    "rate of a complement": ("rate", {"of": {"not_answer": "Paris"}, "in": "a", "at_most": 0.4}),
    "rate at least": ("rate", {"of": {"answer": "Paris"}, "in": "a", "at_least": 0.5}),
    "accuracy": ("accuracy", {"in": "a", "at_least": 0.5}),
    "consistency": ("consistency", {"in": "a", "of": {"answer": "Paris"}, "at_most": 0.3}),
    "condition_gap": ("condition_gap", {"a": "a", "b": "b", "of": {"answer": "Paris"}, "at_most": 0.3}),
    "sampled_rate": ("sampled_rate", {"of": {"contains": "London"}, "in": "a", "at_most": 0.3}),
    "sampled_rate at least": ("sampled_rate", {"of": {"answer": "Paris"}, "in": "a", "at_least": 0.5}),
    "imitation": ("imitation", {"of": {"contains": "London"}, "in": "a", "chance": 0.1, "at_most": 0.3}),
    "performance_gap": ("performance_gap", {"in": "a", "weak": 0.2, "ceiling": 0.9, "at_least": 0.5}),
    "faithfulness_gap": (
        "faithfulness_gap",
        {"of": {"contains": "London"}, "cited": {"contains": "you"}, "cue": "a", "null": "b", "at_most": 0.3},
    ),
    "elicitation_gain": ("elicitation_gain", {"base": "b", "elicited": ("a",), "at_most": 0.3}),
}
PAIRED = ("condition_gap", "faithfulness_gap", "elicitation_gain")
HAS_WORSE = (
    "rate", "rate of a complement", "rate at least", "accuracy", "sampled_rate", "sampled_rate at least", "imitation",
    "performance_gap",
)  # fmt: skip
LOGIT_CHECKS: dict[str, dict[str, Any]] = {
    "margin": {"in": "a", "reference": "b", "at_most": 1.0},
    "cue_shift": {"cue": "a", "null": "b", "at_most": 1.0},
    "auroc": {"positive": "a", "negative": "b", "at_most": 0.7},
    "exact_probability": {"in": "a", "at_most": 0.4},
    "accuracy": {"in": "a", "at_least": 0.5},
}


def verdict(transcript: Transcript) -> Verdict:
    """Return what the check says."""
    return run_check(Evidence(transcript=transcript, seed=11)).verdict


def swapped(transcript: Transcript, index: int, row: Row | None) -> Transcript:
    """Return the transcript with one row replaced, or absent."""
    rows = list(transcript.rows)
    rows[index : index + 1] = [] if row is None else [row]
    return dataclasses.replace(transcript, rows=tuple(rows))


def text_spoils(row: Row, *, worse: bool) -> list[Row | None]:
    """Return what can go wrong with one text row that was answered."""
    broken: list[Row | None] = [
        None,
        failed(row),
        with_response(row, texts("")),
        with_response(row, texts("it is", cut=True)),
        with_response(row, texts("so so so so so so so so")),
        with_response(row, Completions(completions=())),
        with_response(row, margin_scores(0.0)),
    ]
    return (
        [*broken, with_response(row, texts("London")), with_response(row, texts("London", cut=True))]
        if worse
        else broken
    )


@pytest.mark.parametrize("name", TEXT_CHECKS)
@FAST
@given(data=st.data())
def test_rows_of_text(name: str, data: st.DataObject) -> None:
    """Any row worse, broken or absent: non-green stays non-green; repeatedly, as failures add up."""
    kind, options = TEXT_CHECKS[name]
    n = data.draw(st.integers(8, 30))
    first, second = (data.draw(st.lists(TEXTS, min_size=n, max_size=n)) for _ in range(2))
    # Two rows per scenario: one that goes missing leaves the other behind, and must still be missed.
    rows = [*text_rows("a", first), *text_rows("b" if kind in PAIRED else "a", second, phrasing="p1")]
    transcript = make_transcript(make_case(kind, options, sorted({row.condition for row in rows}), text=True), rows)
    before = verdict(transcript)
    for _ in range(3):
        index = data.draw(st.integers(0, len(transcript.rows) - 1))
        row = transcript.rows[index]
        # What was never measured cannot get worse: measuring it after all is no worsening.
        if row.response not in [texts(text) for text in ("Paris", "London", "Rome")]:
            continue
        transcript = swapped(transcript, index, data.draw(st.sampled_from(text_spoils(row, worse=name in HAS_WORSE))))
        after = verdict(transcript)

        assert before.green or not after.green
        before = after


def logit_rows(data: st.DataObject, n: int) -> list[Row]:
    """Return rows of two conditions with six forms each; item, form and noise as hypothesis likes."""
    drawn = data.draw(st.lists(MARGINS, min_size=2 * n, max_size=2 * n))
    return [
        *margin_rows("a", n, lambda i, f: drawn[i] + f / 7, forms=6, each=2),
        *margin_rows("b", n, lambda i, f: drawn[n + i] - f / 9, forms=6, each=2),
    ]


@pytest.mark.parametrize("kind", LOGIT_CHECKS)
@FAST
@given(data=st.data())
def test_rows_of_logits(kind: str, data: st.DataObject) -> None:
    """A higher margin under the cue, a broken score or an absent row never makes green."""
    rows = logit_rows(data, data.draw(st.integers(12, 20)))
    options = LOGIT_CHECKS[kind]
    transcript = make_transcript(make_case(kind, options, [c for c in ("a", "b") if c in options.values()]), rows)
    before = verdict(transcript)
    index = data.draw(st.integers(0, len(rows) - 1).filter(lambda i: rows[i].condition in options.values()))
    row = rows[index]
    lift = data.draw(st.floats(0.01, 20)) * (1 if row.condition == "a" else -1)
    old = row_margin(row)
    spoilt = {
        "worse": with_response(row, margin_scores(old + lift)),
        "failed": failed(row),
        "nan": with_response(
            row, Scores(continuations=(scored(" London", float("nan"), 1), scored(" Paris", -1.0, 2)))
        ),
        "short": with_response(row, Scores(continuations=(scored(" London", -9.0, 1),))),
        "text": with_response(row, texts("Paris")),
        "absent": None,
    }
    how = data.draw(st.sampled_from(sorted(spoilt)))
    after = verdict(swapped(transcript, index, spoilt[how]))

    assert before.green or not after.green
    assert how == "worse" or after is Verdict.INVALID


@FAST
@given(margins=st.lists(MARGINS, min_size=24, max_size=24), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(margins: list[float], order: Any) -> None:
    """The whole result is the same, numbers and all."""
    rows = [
        *margin_rows("a", 12, lambda i, _f: margins[i], forms=6),
        *margin_rows("b", 12, lambda i, _f: margins[12 + i], forms=6),
    ]
    shuffled = order.sample(rows, len(rows))
    case = make_case("cue_shift", LOGIT_CHECKS["cue_shift"], ["a", "b"])
    first, second = (run_check(Evidence(transcript=make_transcript(case, r), seed=5)) for r in (rows, shuffled))

    assert first == second


@pytest.mark.parametrize("name", TEXT_CHECKS)
def test_every_check_can_be_green(name: str) -> None:
    """The control: a property about non-green outcomes says nothing of a check that is never green."""
    kind, options = TEXT_CHECKS[name]
    second = "b" if kind in PAIRED else "a"
    rows = [*text_rows("a", ["Paris"] * 40), *text_rows(second, ["Paris"] * 40, phrasing="p1")]

    assert verdict(
        make_transcript(make_case(kind, options, sorted({r.condition for r in rows}), text=True), rows)
    ).green


@pytest.mark.parametrize("kind", LOGIT_CHECKS)
def test_every_logit_check_can_be_green(kind: str) -> None:
    """The same control for logits."""
    rows = [
        *margin_rows("a", 40, lambda i, f: -4.0 + (i * 7 % 5 + f * 3 % 4) / 20, forms=20),
        *margin_rows("b", 40, lambda i, f: -3.9 + (i * 3 % 5 + f * 7 % 4) / 20, forms=20),
    ]

    assert verdict(make_transcript(make_case(kind, LOGIT_CHECKS[kind], ["a", "b"]), rows)).green


def part(found: Verdict) -> CheckResult:
    """Return a part's result whose limits say what its verdict says."""
    low, high = {Verdict.PASS: (0.0, 0.5), Verdict.FAIL: (2.0, 3.0)}.get(found, (0.0, 3.0))
    bound = Bound(op="at_most", value=1.0, unit="nats", confidence=0.95)
    measured = Measurement(name="x", value=low, unit="nats", n=9, low=low, high=high)
    return CheckResult(verdict=found, bound=bound, reference="r", measurements=(measured,), cause="c")


RANK = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.INVALID)


@given(verdicts=st.lists(st.sampled_from(RANK), min_size=2, max_size=5), data=st.data())
@example(verdicts=[Verdict.FAIL, Verdict.FAIL], data=None)
def test_jointly(verdicts: list[Verdict], data: Any) -> None:
    """The rule as written; and no part getting worse or broken makes the whole green."""
    result = combine(["k"] * len(verdicts), [part(v) for v in verdicts])
    expected = (
        Verdict.INVALID if Verdict.INVALID in verdicts
        else Verdict.PASS if Verdict.PASS in verdicts
        else Verdict.FAIL if set(verdicts) == {Verdict.FAIL} else Verdict.INCONCLUSIVE
    )  # fmt: skip
    assert result.verdict is expected
    precursors = [m for m in result.measurements if "risk precursor" in m.note]
    assert len(precursors) == (0 if expected is Verdict.FAIL else verdicts.count(Verdict.FAIL))
    if data is None:
        return
    index = data.draw(st.integers(0, len(verdicts) - 1))
    worse = data.draw(st.sampled_from(RANK[RANK.index(verdicts[index]) :]))
    after = combine(["k"] * len(verdicts), [part(v) for v in [*verdicts[:index], worse, *verdicts[index + 1 :]]])

    assert result.verdict.green or not after.verdict.green


def test_jointly_through_run_check() -> None:
    """Parts are checked like any case; a part that is absent makes the whole INVALID."""
    options = {"of": {"contains": "London"}, "in": "a", "at_most": 0.3}
    cases = [make_case("rate", options, ["a"], text=True, id=name) for name in ("one", "two")]
    whole = dataclasses.replace(make_case("jointly", {}, ["a"]), loglikelihood=None, parts=tuple(cases))

    def said(*found: str, count: int = 2) -> Verdict:
        parts = [make_transcript(case, text_rows("a", [text] * 20)) for case, text in zip(cases, found, strict=True)]
        joint = dataclasses.replace(parts[0], case=whole, rows=(), parts=tuple(parts[:count]))
        return verdict(joint)

    assert said("Paris", "London") is Verdict.PASS
    assert said("London", "London") is Verdict.FAIL
    assert said("Paris", "...") is Verdict.INVALID
    assert said("Paris", "Paris", count=1) is Verdict.INVALID


@given(verdicts=st.lists(VERDICTS, max_size=6), order=st.randoms(use_true_random=False), extra=VERDICTS)
def test_worst(verdicts: list[Verdict], order: Any, extra: Verdict) -> None:
    """Adding anything never greens, INVALID always shows, order means nothing, and nothing at all is INVALID."""
    before = worst(verdicts)

    assert worst(order.sample(verdicts, len(verdicts))) is before
    assert worst([*verdicts, Verdict.INVALID]) is Verdict.INVALID
    assert (not verdicts) or before.green or not worst([*verdicts, extra]).green
    assert worst([]) is Verdict.INVALID
    assert before.green == (bool(verdicts) and all(v.green for v in verdicts))


@given(low=st.floats(-5, 5), width=st.floats(0, 5), lift=st.floats(0, 5), limit=st.floats(-5, 5))
def test_a_bound_is_monotone(low: float, width: float, lift: float, limit: float) -> None:
    """Higher or wider limits never turn green; NaN is INVALID."""
    assume(low + width >= low)
    bound = Bound(op="at_most", value=limit, unit="nats", confidence=0.95)

    assert bound.judge(low, low + width).green or not bound.judge(low + lift, low + width + lift).green
    assert bound.judge(low, low + width).green or not bound.judge(low - lift, low + width + lift).green
    assert bound.judge(float("nan"), 0.0) is Verdict.INVALID


def returning(result: Any) -> Callable[[Evidence], Any]:
    """Return a check that always says `result`."""
    return lambda _evidence: result


@pytest.mark.parametrize(
    "result",
    [
        part(Verdict.WAIVED),
        dataclasses.replace(part(Verdict.FAIL), verdict=Verdict.PASS),
        dataclasses.replace(part(Verdict.PASS), measurements=()),
        None,
        Failure("x", "y"),
    ],
)
def test_a_check_from_outside_cannot_pass_without_limits(result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says must follow from the number it shows, and only people waive."""
    from harness.measures import base  # noqa: PLC0415 - patched here alone

    monkeypatch.setitem(base.check._known, "outside", returning(result))
    transcript = make_transcript(make_case("outside", {}, ["a"], text=True), text_rows("a", ["Paris"]))

    assert verdict(transcript) is Verdict.INVALID


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), KeyError("x"), ZeroDivisionError(), RecursionError(), MemoryError()]
)
def test_an_exception_is_invalid_and_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a measure raises."""
    from harness.measures import base  # noqa: PLC0415 - patched here alone

    def broken(_evidence: Evidence) -> CheckResult:
        raise error

    monkeypatch.setitem(base.check._known, "broken", broken)
    transcript = make_transcript(make_case("broken", {}, ["a"], text=True), text_rows("a", ["Paris"]))
    result = run_check(Evidence(transcript=transcript))

    assert result.verdict is Verdict.INVALID
    assert type(error).__name__ in result.cause


def test_all_rows_absent_or_failed_is_invalid() -> None:
    """The emptiest runs of all."""
    case = make_case("rate", TEXT_CHECKS["rate"][1], ["a"], text=True)
    rows: Sequence[Row] = text_rows("a", ["Paris"] * 40)
    good = make_transcript(case, rows)

    assert verdict(good) is Verdict.PASS
    assert verdict(dataclasses.replace(good, rows=())) is Verdict.INVALID
    assert verdict(dataclasses.replace(good, rows=(), planned=())) is Verdict.INVALID
    assert verdict(dataclasses.replace(good, rows=tuple(map(failed, rows)))) is Verdict.INVALID
