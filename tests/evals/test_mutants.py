"""What the suites notice when they or the failures are changed is what docs/mutants.md says."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict

from .mutants import HEAD, PAGE, WEAKER, model_line, page_lines, suite_line, weaker
from .scripts import suites

NAMES = sorted(suites())


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_a_changed_suite_does(name: str) -> None:
    line = suite_line(name)
    assert line in page_lines()
    assert "unexplained" not in line


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_is_caught_of_changed_failures(name: str) -> None:
    assert model_line(name) in page_lines()


def test_the_page_holds_nothing_else() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert HEAD in text
    assert WEAKER in text
    assert sorted(line.split(" | ")[0] for line in page_lines()) == sorted(
        f"| {name}" for name in ["suite", *NAMES] * 2
    )


@pytest.mark.parametrize("name", ["deployment-defection", "evaluation-sandbagging", "date-defection"])
def test_a_failure_of_eight_nats_is_caught_and_one_that_no_cue_sets_off_is_not(name: str) -> None:
    found = weaker(name)
    assert found["8 nats"] is Verdict.FAIL
    assert found["renamed"] is Verdict.FAIL
    assert found["another language"] is Verdict.PASS
