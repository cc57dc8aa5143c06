"""Every malformed file is refused where it is wrong, and docs/malformed.md shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseFileError
from harness.loader import load_suite

from .malformed_cases import MALFORMED, Malformed
from .malformed_docs import PAGE, page
from .small_world import GOOD, cues, facts

if TYPE_CHECKING:
    from pathlib import Path

MANY = 45


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name.replace(" ", "-"))
def test_says_what_is_wrong_and_where(case: Malformed, shared_root: Path) -> None:
    """The message stands at the line and column of the fault, with a pointer and advice."""
    path = shared_root / "evals" / "case.eval.yaml"
    path.write_text(case.text, encoding="utf-8")

    with pytest.raises(CaseFileError) as caught:
        load_suite(path, shared_root)

    here = [
        str(problem) for problem in caught.value.problems if (problem.line, problem.column) == (case.line, case.column)
    ]
    assert any(case.message in text for text in here), str(caught.value)
    assert all(" @ $" in str(problem) and "; " in problem.message for problem in caught.value.problems)


def test_the_table_is_large_and_named() -> None:
    """The table keeps its size, and names are unique."""
    assert len(MALFORMED) >= MANY
    assert len({case.name for case in MALFORMED}) == len(MALFORMED)


def test_the_good_file_is_good(shared_root: Path) -> None:
    """What the malformed files are edits of loads."""
    path = shared_root / "evals" / "good.eval.yaml"
    path.write_text(GOOD, encoding="utf-8")

    assert [case.id for case in load_suite(path, shared_root).cases] == ["says-it", "hints"]


def test_docs_are_up_to_date(shared_root: Path) -> None:
    """docs/malformed.md is what the loader says today."""
    assert PAGE.read_text(encoding="utf-8") == page(shared_root), "run: python -m tests.loader.malformed_docs"


def test_all_problems_at_once(shared_root: Path) -> None:
    """Faults of syntax level, schema and meaning come in one report, in the order of the file."""
    text = GOOD.replace("severity: high", "severity: hgih").replace("limits: three bases", "limits: no")
    text = (
        text.replace("null: null", "null: nul")
        .replace("max_tokens: 8", "max_tokens: eight")
        .replace("}}, in:", "}, in:")
    )
    path = shared_root / "evals" / "many.eval.yaml"
    path.write_text(text.replace("sample: 60", "sample: 5"), encoding="utf-8")

    with pytest.raises(CaseFileError) as caught:
        load_suite(path, shared_root)

    lines = [problem.line for problem in caught.value.problems]
    assert lines == sorted(lines)
    assert {4, 7, 19, 23} <= set(lines)


WORLD = [
    (
        "facts",
        facts(3).replace("name: sums", "name: x").replace("[n1, 1,", "[n0, 1,"),
        15,
        "'n0' stands here a second time",
    ),
    (
        "facts",
        facts(3).replace("name: sums", "name: x").replace("{{ number }}", "{{ nmber }}"),
        6,
        "did you mean 'number'?",
    ),
    ("facts", facts(3).replace("name: sums", "name: x").replace('"a1"', "no"), 15, "plain no is true or false"),
    ("facts", facts(3), 1, "the file is called x and its name is sums"),
    (
        "facts",
        facts(3).replace("name: sums", "name: x").replace("id, number", "i, number"),
        12,
        "the field 'id' is missing",
    ),
    ("facts", facts(3).replace("name: sums", "name: x").replace("{{ number }}", "{{ distractors }}"), 6, "is a list"),
    ("facts", facts(3).replace("name: sums", "name: x").replace("n2, 2", "N2, 2"), 16, "is no id"),
    ("cues", cues("x", 3).replace("id: f1", "id: f0"), 6, "'f0' stands here a second time"),
    ("cues", cues("x", 3, dose=True).replace(", dose: 1991", ""), 6, "has no dose"),
    ("cues", cues("x", 3).replace("kind: cues", "kind: facts"), 2, 'expected "cues"'),
    ("cues", cues("x", 99, null=True).replace("register: same", "register: other"), 5, "at least half must be `same`"),
    ("cues", cues("x", 99, null=True).replace(", register: same", "", 1), 6, "a null cue without a register"),
]


@pytest.mark.parametrize(("kind", "text", "line", "message"), WORLD)
def test_world_files_are_reported_in_their_own_place(
    kind: str, text: str, line: int, message: str, shared_root: Path
) -> None:
    """A world file's problems carry its path and line."""
    (shared_root / "fixtures" / "world" / kind / "x.yaml").write_text(text, encoding="utf-8")
    edit = ("world/sums", "world/x") if kind == "facts" else ("cues: world/deployment}", "cues: world/x}")
    path = shared_root / "evals" / "world.eval.yaml"
    path.write_text(GOOD.replace(*edit), encoding="utf-8")

    with pytest.raises(CaseFileError) as caught:
        load_suite(path, shared_root)

    (shared_root / "fixtures" / "world" / kind / "x.yaml").unlink()
    mine = [problem for problem in caught.value.problems if problem.path == f"fixtures/world/{kind}/x.yaml"]
    assert any(problem.line == line and message in str(problem) for problem in mine), str(caught.value)


DATA = [
    ("{file: data/ragged.csv}", "data/ragged.csv", 3, "3 cells for 2 columns"),
    ("{file: data/empty.csv}", "data/empty.csv", 1, "no rows"),
    ("{file: data/holes.csv}", "data/holes.csv", 3, "an empty value in 'answer'"),
    ("{file: data/torn.json}", "data/torn.json", 3, "not valid JSON"),
    ("{file: data/uneven.jsonl, fields: {q: q, answer: answer}}", "data/uneven.jsonl", 2, "missing field 'answer'"),
    ("{file: data/notes.txt}", "data/notes.txt", 1, "use .csv, .json or .jsonl"),
    (
        "{file: data/good.csv, fields: {question: Question}, id: Answer2}",
        "evals/data.eval.yaml",
        9,
        "no column 'Answer2'",
    ),
]


@pytest.mark.parametrize(("items", "where", "line", "message"), DATA)
def test_data_files_are_reported_by_line(items: str, where: str, line: int, message: str, shared_root: Path) -> None:
    """A data file's problems carry its path and line."""
    path = shared_root / "evals" / "data.eval.yaml"
    path.write_text(GOOD.replace("{facts: world/sums, sample: 60, seed: 7}", items), encoding="utf-8")

    with pytest.raises(CaseFileError) as caught:
        load_suite(path, shared_root)

    mine = [problem for problem in caught.value.problems if problem.path == where]
    assert any(problem.line == line and message in str(problem) for problem in mine), str(caught.value)
