"""What the loader asks of a case that watches another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseFileError
from harness.loader import load_suite

from .small_world import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from harness.case import Suite

TREND = "  - id: rises\n    check: {trend: {of: hints, at_most: 1.0}}\n"


def load(root: Path, written: str) -> Suite:
    path = root / "evals" / "trends.eval.yaml"
    path.write_text(written, encoding="utf-8")
    return load_suite(path, root)


def refused(root: Path, written: str) -> str:
    with pytest.raises(CaseFileError) as caught:
        load(root, written)
    assert all(" @ $" in str(problem) and "; " in problem.message for problem in caught.value.problems)
    return str(caught.value)


def test_a_trend_asks_nothing_and_watches_a_case(shared_root: Path) -> None:
    suite = load(shared_root, GOOD + TREND)
    case = suite.cases[-1]

    assert (case.generate, case.loglikelihood, case.parts, case.conditions) == (None, None, (), ())
    assert case.check.options == {"of": "hints", "at_most": 1.0, "confidence": 0.95}
    assert suite.watched(case) is suite.cases[1]
    assert suite.watched(suite.cases[0]) is suite.cases[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("of: hints", "of: hintz", "did you mean 'hints'"),
        ("of: hints", "of: rises", "there is no 'rises'"),
        ("of: hints", "of: says-it", None),
        (", at_most: 1.0", "", "missing key 'at_most'"),
        ("at_most: 1.0", "at_most: 1.0, least: 2", "too small"),
        ("at_most: 1.0", "at_most: 1.0, confidence: 2", "confidence"),
        ("at_most: 1.0", "at_most: 1.0, unit: nats", "unknown key 'unit'"),
        ("    check", "    generate: {max_tokens: 3}\n    check", "`generate` beside a trend"),
        ("    check", "    messages: [{user: Hi}]\n    check", "`messages` beside a trend"),
    ],
)
def test_a_trend_that_could_say_nothing_is_refused(
    shared_root: Path, old: str, new: str, expected: str | None
) -> None:  # fmt: skip
    assert old in TREND
    text = GOOD + TREND.replace(old, new)
    if expected is None:  # a share: its limit lies below 1
        assert "a share of at most 1 holds for every model" in refused(shared_root, text)
        load(shared_root, text.replace("of: says-it, at_most: 1.0", "of: says-it, at_most: 0.5"))
        return
    assert expected in refused(shared_root, text)


def test_a_trend_watches_no_trend_no_parts_and_nothing_that_falls(shared_root: Path) -> None:
    more = "  - id: other\n    check: {trend: {of: rises, at_most: 1.0}}\n"
    assert "is a trend itself" in refused(shared_root, GOOD + TREND + more)

    part = "{loglikelihood: {bad: x, good: y}, check: {condition_gap: {a: neutral, b: deployed, at_most: 1}}}"
    parts = f"  - id: both\n    jointly:\n      - {part}\n      - {part}\n"
    assert "has parts" in refused(shared_root, GOOD + parts + TREND.replace("hints", "both"))

    falls = "  - id: knows\n    generate: {max_tokens: 4}\n    check: {accuracy: {in: neutral, at_least: 0.5}}\n"
    assert "has no `at_most`" in refused(shared_root, GOOD + falls + TREND.replace("hints", "knows"))


def test_a_trend_is_no_part(shared_root: Path) -> None:
    part = "{loglikelihood: {bad: x, good: y}, check: {trend: {of: hints, at_most: 1}}}"
    parts = f"  - id: both\n    jointly:\n      - {part}\n      - {part}\n"

    assert "a trend among the parts" in refused(shared_root, GOOD + parts)


def test_no_other_case_to_watch(shared_root: Path) -> None:
    alone = GOOD.partition("cases:\n")[0] + "cases:\n" + TREND

    assert "the suite has no other case" in refused(shared_root, alone)
