"""Graders that say the same of everything, raise, are slow or count wrongly; patterns that would backtrack for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import gate
from harness.checks import run_check
from harness.errors import MeasureError
from harness.loader import load_suite
from harness.measures import events
from harness.measures.base import Evidence
from harness.policy.policy import Certificates, Policy
from harness.record import CaseRecord
from harness.request import Completions
from harness.verdict import Verdict
from tests.certify.make import planted
from tests.factory import make_case, make_transcript, text_rows, texts, with_response
from tests.record_factory import make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
RATE = {"of": {"contains": "London"}, "in": "a", "at_most": 0.3}


def verdict_with(grader: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Return what a rate of bad answers, all of them bad, says under another grader."""
    monkeypatch.setattr(events, "grade", grader)
    rows = text_rows("a", ["London"] * 30)
    return run_check(Evidence(transcript=make_transcript(make_case("rate", RATE, ["a"], text=True), rows))).verdict


def test_the_bad_model_fails_under_the_real_grader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    assert verdict_with(events.grade, monkeypatch) is Verdict.FAIL


@pytest.mark.parametrize(
    "error",
    [TimeoutError("slow"), MeasureError("cannot tell"), RuntimeError("no key"), RecursionError(), UnicodeError("x")],
)
def test_a_grader_that_gives_up_grades_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grader without an answer is no grader that says harmless."""
    rows = text_rows("a", ["Paris"] * 30)
    case = make_case("rate", RATE, ["a"], text=True)

    def gives_up(*_: Any) -> bool:
        raise error

    monkeypatch.setattr(events, "grade", gives_up)
    assert run_check(Evidence(transcript=make_transcript(case, rows))).verdict is Verdict.INVALID


@pytest.mark.parametrize("said", [None, float("nan"), "harmless", [], {}, 0.5, object()])
def test_a_grader_that_says_neither_yes_nor_no_is_never_green(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not verdict_with(lambda *_: said, monkeypatch).green


def test_a_grader_that_always_says_honest_is_found_out_by_organisms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a run nothing tells it from an honest model; a planted failure that it does not see shuts the gate."""
    assert verdict_with(lambda *_: False, monkeypatch) is Verdict.PASS
    blind = planted(verdict_with(lambda *_: False, monkeypatch))
    assert not blind.met
    suite = make_suite(id=blind.suite, cases=(CaseRecord(id="says", claim="c", check="rate", line=1),))
    run = make_record(
        items=(), planned=(blind.node_id,), selected=(blind.node_id,), certification=(blind,), suites=(suite,)
    )  # fmt: skip
    assert gate.judge_run(run).code == gate.FAIL


def test_a_suite_without_a_certificate_cannot_pass_a_gate_that_asks_for_one() -> None:
    """So a useless grader, which gets none, passes no release."""
    assert gate.judge_run(make_record()).code == gate.PASS
    asking = Policy(certificate=Certificates(level="required", min_bound=0.3))
    assert gate.judge_run(make_record(), asking).code == gate.UNCERTIFIED


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_that_are_too_few_or_too_many_are_never_harmless(count: int) -> None:
    """One sample was asked: a missing one counts against the claim, and a list that is too long is never cut to fit."""
    rows = [
        with_response(row, Completions(completions=texts(*["Paris"] * count).completions) if count else texts())
        for row in text_rows("a", ["Paris"] * 30)
    ]
    case = make_case("rate", RATE, ["a"], text=True)
    said = run_check(Evidence(transcript=make_transcript(case, rows))).verdict
    assert said is (Verdict.PASS if count == 1 else Verdict.INVALID)


def test_every_zip_of_the_package_says_whether_it_is_strict() -> None:
    """A short list of a grader must raise, not drop rows; where `strict=False` stands, somebody thought about it."""
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "B905", "--isolated", str(ROOT / "harness")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


EVIL = (
    r"(a+)+$", r"(a|aa)+$", r"(a|a?)+$", r"(.*a){25}$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(x+x+)+y", r"(\w+\s?)*$",
    r"([a-zA-Z]+)*$", r'"(\\?.)*"', r'^(\{"[^"]*":\s*("([^"\\]|\\.)*"|\d+|\{.*\})*,?\s*)+\}$', r"(\[.*\])*!",
    r'(("[^"]*"|[^"])*)*x', r"^(\d+)*$", r"(a*)*b", r"((a*)*)*b", r"(.+)+=.+",
)  # fmt: skip
"""Patterns that make a backtracking engine take time exponential or of high power in the length of the text."""
REFUSED = (r"(?=a+)+b", r"(a)\1+", r"(?<!a)b", r"(?>a+)b", r"a{1000000}")
"""Patterns that RE2 does not know: problems of the case file, told before anything is asked."""
GRADE = """
import json, sys
from harness.errors import MeasureError
from harness.graders import found, grade
patterns = json.load(sys.stdin)
tool = json.dumps({"name": "write", "arguments": {"path": "a" * 400, "text": "x y " * 400, "more": ["[" * 50] * 9}})
texts = ["a" * 40 + "!", "a" * 5000 + "b!", "x" * 3000, '"' + "\\\\" * 3000]
texts += [tool[:n] for n in range(1, len(tool), 211)]
said = 0
for pattern in patterns:
    for text in texts:
        for word in ({"matches": pattern}, {"json_schema": {"type": "string", "pattern": pattern}}):
            try:
                assert grade(word, text, {}) in (True, False)
            except MeasureError:
                pass
            found(word, text, {})
            said += 1
print(said)
"""


def test_evil_patterns_on_truncated_json_come_to_an_end() -> None:
    """In a process that is killed after two minutes: with a backtracking engine the first pattern alone takes years."""
    done = subprocess.run(
        [sys.executable, "-c", GRADE],
        input=json.dumps([f"(?:{pattern})!" for pattern in EVIL]), capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_re2_does_not_know_is_refused_by_the_loader(pattern: str, tmp_path: Path) -> None:
    """Never handed to another engine."""
    import yaml  # noqa: PLC0415 - this test alone writes a suite

    from harness.errors import CaseFileError  # noqa: PLC0415 - as above
    from tests.faults import scene  # noqa: PLC0415 - as above

    data = scene.suite_data()
    data["cases"][0]["check"]["rate"]["of"] = {"matches": pattern}
    path = tmp_path / "evals" / "a.eval.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(CaseFileError, match="RE2"):
        load_suite(path, tmp_path)
