"""A panel: the worst part counts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checks import panel, run_check
from harness.measures.base import Evidence
from harness.script import ScriptOptions, case_script
from harness.verdict import CheckResult, Verdict
from harness.writers import words
from tests.factory import make_case, make_suite, make_transcript, text_rows, texts
from tests.record_factory import make_item
from tests.test_verdict_algebra import RANK, part

if TYPE_CHECKING:
    from harness.transcript import Transcript

NAMES = ("plain", "polite", "brief")
OPTIONS = {"of": {"contains": "London"}, "in": "a", "at_most": 0.3}
CASES = tuple(make_case("rate", OPTIONS, ["a"], text=True, id=f"case.{name}") for name in NAMES)
WHOLE = dataclasses.replace(make_case("panel", {}, ["a"]), loglikelihood=None, parts=CASES)


def transcript(*said: str, **changes: Any) -> Transcript:
    """Return the transcript of a panel in whose parts all 20 items say the same."""
    parts = [make_transcript(case, text_rows("a", [text] * 20)) for case, text in zip(CASES, said, strict=False)]
    return dataclasses.replace(parts[0], case=WHOLE, rows=(), parts=tuple(parts), **changes)


def judge(*said: str) -> CheckResult:
    """Return what the panel says."""
    return run_check(Evidence(transcript=transcript(*said)))


@given(verdicts=st.lists(st.sampled_from(RANK), min_size=3, max_size=6), data=st.data())
def test_the_rule(verdicts: list[Verdict], data: st.DataObject) -> None:
    """As written; and a part that gets worse makes nothing green."""
    names = [f"n{index}" for index in range(len(verdicts))]
    result = panel(names, [part(v) for v in verdicts])
    expected = next(
        verdict for verdict in (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
        if verdict in verdicts
    )  # fmt: skip
    assert result.verdict is expected
    count = result.measurements[0]
    assert (count.value, count.high) == (verdicts.count(Verdict.FAIL), len(verdicts) - verdicts.count(Verdict.PASS))
    assert (result.bound.value, result.bound.op) == (0.0, "at_most")
    assert [m.name for m in result.measurements[1:]] == [f"{name}.x" for name in names]
    index = data.draw(st.integers(0, len(verdicts) - 1))
    worse = data.draw(st.sampled_from(RANK[RANK.index(verdicts[index]) :]))
    after = panel(names, [part(v) for v in [*verdicts[:index], worse, *verdicts[index + 1 :]]])
    assert result.verdict.green or not after.verdict.green


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (("Paris", "Paris", "Paris"), Verdict.PASS), (("Paris", "London", "Paris"), Verdict.FAIL),
        (("Paris", "London", "..."), Verdict.INVALID), (("Paris", "Paris"), Verdict.INVALID),
    ],
)  # fmt: skip
def test_a_panel_through_run_check(said: tuple[str, ...], verdict: Verdict) -> None:
    """Parts are checked like any case, and an absent one is missed."""
    result = judge(*said)

    assert result.verdict is verdict
    if len(said) == 3:
        assert {"plain.rate", "polite.rate", "brief.rate"} <= {m.name for m in result.measurements}
    if verdict is Verdict.FAIL:
        assert "polite: FAIL" in result.measurements[0].note
    if "..." in said:
        assert result.cause.startswith("brief: ")


def test_parts_of_one_name_are_refused() -> None:
    same = dataclasses.replace(transcript("Paris", "Paris", "Paris"))
    twice = (same.parts[0], same.parts[0], same.parts[2])
    case = dataclasses.replace(WHOLE, parts=tuple(one.case for one in twice))
    result = run_check(Evidence(transcript=dataclasses.replace(same, parts=twice, case=case)))
    assert result.verdict is Verdict.INVALID


def test_rows_of_parts_are_told_apart() -> None:
    """The same item is asked in every part: an id names one row of the whole case."""
    suite = make_suite([WHOLE], items=4, conditions=[])
    suite = dataclasses.replace(
        suite, conditions={"a": dataclasses.replace(_plain(), name="a")}, turns=WHOLE.parts[0].turns
    )
    script = case_script(suite, WHOLE, ScriptOptions())
    asked = next(script)
    with pytest.raises(StopIteration) as stop:
        script.send([texts("Paris")] * len(asked))
    made = stop.value.value
    ids = [row.id for one in made.parts for row in one.rows]
    assert len(ids) == len(set(ids)) == 12
    assert ids[0].endswith("/case.plain")


def _plain() -> Any:
    from harness.case import Condition  # noqa: PLC0415 - used here alone

    return Condition(name="plain", values={"system": "Be brief."})


def test_a_panel_is_told_in_words() -> None:
    """`at most 0 parts` is no bound that a reader knows."""
    result = judge("Paris", "London", "Paris")
    item = make_item("all", result.verdict, check="panel", measurements=result.measurements, bound=result.bound)
    assert words.judged(item) == "1 [1, 1] parts failing"
    assert words.bounded(item) == "no part fails"
