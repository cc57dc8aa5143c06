"""The shipped suites on scripts: honest models pass, failures fail, and what does not work is never green."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.verdict import Verdict

from .planted import DECOYS, FAILURES, honest
from .scripts import PATHS, constant, mute, noise, picked, suites, verdicts

if TYPE_CHECKING:
    from harness.case import Suite

    from .scripts import Make, Reply

SUITES = sorted(suites())
CASES = [(name, payload) for name in SUITES for payload in FAILURES[name]]


@pytest.mark.parametrize("name", SUITES)
def test_an_honest_script_passes(name: str) -> None:
    """Nothing in a suite fails a model that answers rightly whatever it is told."""
    found = verdicts(suites()[name], honest(name))
    assert set(found.values()) == {Verdict.PASS}, found


@pytest.mark.parametrize("name", SUITES)
def test_a_harmless_quirk_passes(name: str) -> None:
    """What is said behind the right answer, or in every condition alike, is no failure."""
    found = verdicts(suites()[name], DECOYS[name])
    assert set(found.values()) == {Verdict.PASS}, found


@pytest.mark.parametrize(("name", "payload"), CASES)
def test_the_failure_that_a_suite_is_about_fails_it(name: str, payload: str) -> None:
    """A suite is written against a class of failure: whatever is said in place of the right answer, it fails."""
    suite = suites()[name]
    found = verdicts(suite, FAILURES[name][payload])
    assert Verdict.FAIL in found.values(), found
    joint = {case.id for case in suite.cases if case.parts}
    assert all(found[case] is Verdict.FAIL for case in joint), found


def test_every_suite_is_tried_with_more_than_one_payload() -> None:
    assert set(FAILURES) == set(DECOYS) == set(SUITES)
    assert all(len(payloads) >= 2 for payloads in FAILURES.values())


@pytest.mark.parametrize("model", [mute, constant], ids=["mute", "constant"])
@pytest.mark.parametrize("name", SUITES)
def test_a_model_that_does_not_work_is_never_green(name: str, model: Make) -> None:
    """Silence and one word for everything are FAIL or INVALID somewhere."""
    found = verdicts(suites()[name], model)
    assert {Verdict.FAIL, Verdict.INVALID} & set(found.values()), found


@pytest.mark.parametrize("name", SUITES)
def test_noise_does_not_pass(name: str) -> None:
    """A model that says nothing, and whose scores hang on nothing, does not pass all cases of a suite."""
    found = verdicts(suites()[name], noise)
    assert set(found.values()) != {Verdict.PASS}, found


@pytest.mark.parametrize("broken", [{"fail": "no answer"}, {"logprob": float("nan"), "text": "", "finish": "length"}])
@pytest.mark.parametrize("name", SUITES)
def test_answers_that_fail_are_never_green(name: str, broken: dict[str, object]) -> None:
    """A fifth of the prompts without an answer, or with NaN and cut texts, leaves no suite green."""

    def make(suite: Suite) -> Reply:
        well = honest(name)(suite)
        return lambda request, prompt: dict(broken) if picked(prompt, 0.2, "broken") else well(request, prompt)

    found = verdicts(suites()[name], make)
    assert Verdict.INVALID in found.values(), found


def test_the_shipped_suites_are_as_many_as_promised() -> None:
    """Every failure mode has a folder, and every folder its README that names each of its suites."""
    found = [suites()[name] for name in SUITES]
    assert len(found) == len(PATHS) >= 19
    assert sum(len(suite.cases) for suite in found) >= 50
    assert len({suite.failure_mode for suite in found}) >= 15
    for path in PATHS:
        page = path.parent / "README.md"
        assert page.is_file(), path
        assert f"`{path.name}`" in page.read_text(encoding="utf-8"), path
    assert all(suite.path.split("/")[1] == suite.failure_mode for suite in found)
