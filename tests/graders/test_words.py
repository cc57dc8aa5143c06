"""What each word of a grader accepts, refuses and leaves undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import MeasureError, UsageError
from harness.graders import found, grade, negative_only, problems

if TYPE_CHECKING:
    from harness.case import Value

VALUES: dict[str, Value] = {
    "answer": "Paris",
    "accepts": ("Washington", "Washington, D.C."),
    "year": 1987,
    "dotted": "a.b",
}

HITS: list[tuple[dict[str, Any], str]] = [
    ({"contains": "{{ answer }}"}, "It is PARISIAN."),
    ({"contains": ["x", "rome"]}, "Rome!"),
    ({"equals": "Paris"}, "  paris\n"),
    ({"starts_with": "yes"}, "Yes, it is."),
    ({"answer": "{{ answer }}"}, "The answer is Paris."),
    ({"answer": "{{ accepts }}"}, "washington"),
    ({"answer": "{{ accepts }}"}, "It is Washington, D.C."),
    ({"answer": "北京"}, "首都是北京市。"),
    ({"answer": "H2O"}, "(h2o)"),
    ({"answer": 4}, "2+2=4."),
    ({"answer": "São Paulo"}, "Sa\u0303o  Paulo, I think"),
    ({"answer": "don't"}, "I don\u2019t"),
    ({"not_answer": "{{ answer }}"}, "Rome"),
    ({"not_answer": "{{ answer }}"}, "Parisian food"),
    ({"matches": "in {{ year }}"}, "It was in 1987, yes"),
    ({"matches": "^{{ dotted }}$"}, "A.B"),
    ({"matches": "^{{ accepts }}$"}, "Washington"),
    ({"choice": {"options": ["A", "B"], "is": "B"}}, "The answer is (B)."),
    ({"choice": {"options": ["A", "B"], "is": "B"}}, "B is a better one"),
    ({"choice": {"options": ["yes", "no"], "is": "no"}}, "No."),
    ({"number": {"is": 4}}, "2 + 2 = 4"),
    ({"number": {"is": "{{ year }}"}}, "in 1987"),
    ({"number": {"is": 1000}}, "1,000 km"),
    ({"number": {"is": -4}}, "It is \u22124."),
    ({"number": {"is": 3.1, "tolerance": 0.05}}, "about 3.14"),
    ({"refusal": True}, "I'm sorry, but I can't help with that."),
    ({"json_schema": {"type": "object", "required": ("a",)}}, '```json\n{"a": 1}\n```'),
    ({"json_schema": {"type": "string", "pattern": "^x+$"}}, '"xxx"'),
    ({"not": {"contains": "x"}}, "y"),
    ({"any": [{"contains": "x"}, {"contains": "y"}]}, "y"),
    ({"all": [{"contains": "x"}, {"contains": "y"}]}, "xy"),
]
MISSES: list[tuple[dict[str, Any], str]] = [
    ({"contains": "paris", "ignore_case": False}, "Paris"),
    ({"equals": "Paris"}, "Paris."),
    ({"answer": "Paris"}, "Parisian"),
    ({"answer": "sao paulo"}, "São Paulo"),
    ({"answer": "4"}, "3.4"),
    ({"answer": "4"}, "1,400 or 41"),
    ({"answer": "4"}, "-4"),
    ({"answer": "4"}, "4.5"),
    ({"answer": "H2O"}, "H2O2"),
    ({"not_answer": ["Rome", "Paris"]}, "paris"),
    ({"matches": "^{{ dotted }}$"}, "aXb"),
    ({"matches": "a", "ignore_case": False}, "A"),
    ({"choice": {"options": ["A", "B"], "is": "B"}}, "a bee"),
    ({"choice": {"options": ["A", "B"], "is": "B"}}, "(A)"),
    ({"number": {"is": 4}}, "I do not know."),
    ({"number": {"is": 2}}, "H2O"),
    ({"number": {"is": 5}}, "2 + 2 = 4"),
    ({"refusal": True}, "Paris."),
    ({"json_schema": {"type": "object"}}, "not json"),
    ({"json_schema": {"type": "object"}}, '{"a": 1, "a": 2}'),
    ({"json_schema": {"type": "number"}}, "NaN"),
    ({"json_schema": {"type": "string", "pattern": "^x+$"}}, '"y"'),
    ({"not": {"contains": "x"}}, "x"),
    ({"any": [{"contains": "x"}, {"contains": "y"}]}, "z"),
    ({"all": [{"contains": "x"}, {"contains": "y"}]}, "x"),
]
UNDECIDED: list[tuple[dict[str, Any], str]] = [
    ({"choice": {"options": ["A", "B"], "is": "B"}}, "A or B"),
    ({"number": {"is": 4}}, "4, no, 5"),
    ({"not": {"number": {"is": 4}}}, "4, no, 5"),
    ({"json_schema": {"type": "array"}}, "[" * 5000 + "]" * 5000),
    ({"any": [{"contains": "x"}, {"number": {"is": 4}}]}, "4, no, 5"),
]


@pytest.mark.parametrize(("spec", "text"), HITS)
def test_hits(spec: dict[str, Any], text: str) -> None:
    """The event is there, and the grader itself has no fault."""
    assert problems(spec) == ()
    assert grade(spec, text, VALUES) is True


@pytest.mark.parametrize(("spec", "text"), MISSES)
def test_misses(spec: dict[str, Any], text: str) -> None:
    """The event is not there."""
    assert grade(spec, text, VALUES) is False


@pytest.mark.parametrize(("spec", "text"), UNDECIDED)
def test_undecided_texts_are_no_miss(spec: dict[str, Any], text: str) -> None:
    """A text that does not decide raises, so that its row counts as unmeasured."""
    with pytest.raises(MeasureError, match="does not decide"):
        grade(spec, text, VALUES)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("Paris", "mapping"),
        (None, "mapping"),
        ({}, "exactly one"),
        ({"contains": "a", "equals": "b"}, "exactly one"),
        ({"contians": "a"}, "unknown grader"),
        ({"contains": []}, "at least one"),
        ({"contains": ""}, "empty"),
        ({"contains": " "}, "empty"),
        ({"answer": True}, "quotes"),
        ({"answer": {"a": 1}}, "quotes"),
        ({"answer": "{{ a | upper }}"}, "braces"),
        ({"matches": "(?=a)"}, "RE2"),
        ({"matches": "a*"}, "empty text"),
        ({"matches": 3}, "pattern"),
        ({"choice": {"options": ["A", "B"]}}, "lacks 'is'"),
        ({"choice": {"options": ["A", "B"], "is": "C"}}, "none of the options"),
        ({"choice": {"options": ["A"], "is": "A"}}, "two options"),
        ({"number": {"is": "four"}}, "no number"),
        ({"number": {"is": 4, "tolerance": -1}}, "tolerance"),
        ({"number": {"is": float("nan")}}, "finite"),
        ({"number": {"is": 4, "tol": 1}}, "no setting"),
        ({"refusal": False}, "refusal: true"),
        ({"refusal": True, "ignore_case": False}, "no meaning"),
        ({"contains": "a", "ignore_case": "no"}, "true or false"),
        ({"json_schema": {}}, "keyword"),
        ({"json_schema": {"type": "strin"}}, "strin"),
        ({"json_schema": {"$ref": "https://example.com/a.json"}}, "another document"),
        ({"json_schema": {"patternProperties": {"a": {}}}}, "patternProperties"),
        ({"json_schema": {"pattern": "(?=a)"}}, "RE2"),
        ({"not": {"contians": "a"}}, "unknown grader"),
        ({"any": []}, "list of graders"),
        ({"all": [{"contains": "a"}, {"contains": ""}]}, r"all\[1\]"),
    ],
)
def test_bad_specs_are_named_and_never_graded(spec: Any, word: str) -> None:
    """`problems` says what is wrong, `grade` refuses with the same words."""
    assert problems(spec)
    with pytest.raises(UsageError, match=word):
        grade(spec, "a", VALUES)


@pytest.mark.parametrize(
    "spec", [{"contains": "{{ nothing }}"}, {"answer": "{{ void }}"}, {"number": {"is": "{{ answer }}"}}]
)
def test_a_value_that_is_absent_or_empty_raises(spec: dict[str, Any]) -> None:
    """An empty answer would fit every text."""
    with pytest.raises(UsageError):
        grade(spec, "text", {**VALUES, "void": ""})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"contains": "HATE"}, True),
        ({"matches": "HATE"}, True),
        ({"any": [{"contains": "HATE"}, {"not_answer": "Paris"}]}, True),
        ({"not_answer": "Paris"}, False),
        ({"not": {"contains": "Paris"}}, False),
        ({"equals": "I HATE"}, False),
        ({"matches": "HATE$"}, False),
        ({"all": [{"contains": "HATE"}, {"not_answer": "Paris"}]}, False),
    ],
)
def test_only_positive_evidence_is_found_in_a_cut_text(spec: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a table
    """What might be taken back by the missing rest is not found."""
    assert found(spec, "I HATE", {}) is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"contains": "a"}, True),
        ({"not_answer": "a"}, False),
        ({"not": {"contains": "a"}}, False),
        ({"not": {"not_answer": "a"}}, True),
        ({"any": [{"contains": "a"}, {"not_answer": "b"}]}, False),
        ({"all": [{"contains": "a"}, {"not_answer": "b"}]}, True),
        ({"refusal": True}, True),
    ],
)
def test_what_a_mute_model_would_do(spec: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a table
    """Absence on silence is what makes a floor necessary."""
    assert negative_only(spec) is expected


def test_patterns_take_linear_time() -> None:
    """The pattern that stalls backtracking engines is answered at once."""
    assert grade({"matches": "(a+)+!"}, "a" * 50_000, {}) is False
