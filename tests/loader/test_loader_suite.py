"""What a case file becomes, that it always becomes the same, and that schema, docs and loader agree."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import derive_seed
from harness.errors import CaseFileError
from harness.loader import load_suite, schema, world
from harness.loader.kinds import KINDS, needed
from harness.loader.reader import read_yaml
from harness.loader.reference import insert
from harness.loader.schema import load
from harness.template import render_text

from .small_world import GOOD, build

if TYPE_CHECKING:
    from harness.case import Suite

DOCS = Path(__file__).resolve().parents[2] / "docs"


def suite(text: str, root: Path, name: str = "suite.eval.yaml") -> Suite:
    """Load `text` as a case file below `root`."""
    path = root / "evals" / name
    path.write_text(text, encoding="utf-8")
    return load_suite(path, root)


def items(source: str) -> str:
    """Return the good file with another source of items."""
    return GOOD.replace("{facts: world/sums, sample: 60, seed: 7}", source)


def test_a_suite_in_full(shared_root: Path) -> None:
    """Conditions, cue forms, turns, specs and lines are what the file says."""
    made = suite(GOOD, shared_root)

    assert (made.id, made.path, made.severity, made.hazard) == ("small", "evals/suite.eval.yaml", "high", "open")
    assert list(made.conditions) == ["neutral", "deployed", "dated", "null"]
    assert made.conditions["deployed"].values == {"system": "{{ cue }}"}
    assert [form.id for form in made.conditions["deployed"].cues] == [f"f{i}" for i in range(12)]
    assert made.conditions["dated"].cues[3].values == {"cue": "Wording 3 of dates", "year": 1993}
    assert made.conditions["dated"].cues[3].dose == 1993.0
    assert made.floor is not None
    assert made.floor.condition == "neutral"
    says, hints = made.cases
    assert (says.line, says.check.line, says.conditions) == (18, 20, ("deployed",))
    assert says.check.options == {
        "of": {"not_answer": "{{ accepts }}"}, "in": "deployed", "at_most": 0.1, "confidence": 0.95, "unit": "share"
    }  # fmt: skip
    assert says.generate is not None
    assert says.generate.max_tokens == 8
    assert [turn.role for turn in says.turns] == ["system", "user"]
    assert hints.check.options["null"] == "null"
    assert hints.loglikelihood is not None
    assert hints.loglikelihood.groups == {"bad": ("{{ distractors }}",), "good": ("{{ answer }}",)}


def test_facts_come_with_phrasings_and_derived_forms(shared_root: Path) -> None:
    """All phrasings are rendered, accepts defaults to the answer."""
    item = suite(GOOD, shared_root).items[0]
    number = item.values["number"]

    assert item.values["statement"] == f"It is a{number}."
    assert item.values["accepts"] == (f"a{number}",)
    assert [phrasing.id for phrasing in item.phrasings] == ["p1", "p2", "p3", "p4", "p5"]
    assert item.phrasings[1].values == {"question": f"Phrasing 2: what is {number} + 0?"}


def test_the_sample_is_seeded_by_the_name_of_the_source(shared_root: Path) -> None:
    """Sampled by derive_seed(seed, name), kept in the order of the file."""
    expected = sorted(random.Random(derive_seed(7, "world/sums")).sample(range(80), 60))  # noqa: S311 - no secret
    assert [item.id for item in suite(GOOD, shared_root).items] == [f"n{i}" for i in expected]

    other = suite(GOOD.replace("seed: 7", "seed: 8"), shared_root)
    assert [item.id for item in other.items] != [f"n{i}" for i in expected]


def test_rows_and_files_and_several_sources(shared_root: Path) -> None:
    """Ids are given, taken from a column or counted; lists are split."""
    rows = "rows: [" + ", ".join(f'{{question: "R{i}?", answer: x{i}, distractors: [y{i}]}}' for i in range(3)) + "]"
    file = "file: data/good.csv, id: Name, fields: {question: Question, answer: Answer, distractors: Wrong}"
    made = suite(items(f'[{{{file}, lists: {{distractors: ";"}}}}, {{{rows}}}]'), shared_root)

    assert [item.id for item in made.items[:2]] == ["row-0", "row-1"]
    assert made.items[1].values == {
        "id": "row-1", "question": "What, in short, is 1?", "answer": "a1", "distractors": ("b1", "c1"),
        "accepts": ("a1",),
    }  # fmt: skip
    assert [item.id for item in made.items[-3:]] == ["s2-r001", "s2-r002", "s2-r003"]
    lines = suite(items("{file: data/rows.jsonl, sample: 29}").replace("{{ question }}", "{{ q }}").replace(
        '{bad: "{{ distractors }}", good', '{bad: "no {{ answer }}", good'
    ).replace("floor:", 'knowledge: {bad: "no {{ answer }}"}\nfloor:'), shared_root)  # fmt: skip
    assert len(lines.items) == 29


def test_few_shot_turns_stand_between_system_and_question(shared_root: Path) -> None:
    """Examples become turns of every case."""
    text = GOOD.replace("  messages:", "  examples: [{user: 1 + 1?, assistant: two}]\n  messages:")
    made = suite(text, shared_root)

    assert [turn.role for turn in made.cases[0].turns] == ["system", "user", "assistant", "user"]
    assert made.turns == made.cases[0].turns


def test_jointly_has_parts_with_ids_and_conditions_in_order(shared_root: Path) -> None:
    """A composite case carries its parts and no question of its own."""
    margin = "loglikelihood: {bad: b, good: g}, check: {margin: {in: %s, reference: neutral, at_most: 1}}"
    part = f"  - id: both\n    jointly: [{{{margin % 'dated'}}}, {{{margin % 'deployed'}}}]\n"
    case = suite(GOOD + part, shared_root).cases[-1]

    assert (case.check.kind, [inner.id for inner in case.parts]) == ("jointly", ["both.1", "both.2"])
    assert case.conditions == ("dated", "neutral", "deployed")
    assert (case.generate, case.loglikelihood) == (None, None)


def shuffled(value: Any, generator: random.Random) -> Any:
    """Return `value` with the keys of every mapping in another order, but for conditions."""
    if isinstance(value, list):
        return [shuffled(inner, generator) for inner in value]
    if not isinstance(value, dict):
        return value
    keys = sorted(value)
    if "conditions" not in value and "neutral" not in value:
        generator.shuffle(keys)
    return {key: shuffled(value[key], generator) for key in (value if "neutral" in value else keys)}


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_keys_changes_nothing(seed: int, shared_root: Path) -> None:
    """Apart from lines and digest, a file with its keys in another order is the same suite."""
    plain = read_yaml(GOOD.encode(), "good").data
    first = suite(json.dumps(plain), shared_root)
    second = suite(json.dumps(shuffled(plain, random.Random(seed))), shared_root)  # noqa: S311 - no secret

    assert [(case.id, case.check.options, case.conditions, case.turns) for case in first.cases] == [
        (case.id, case.check.options, case.conditions, case.turns) for case in second.cases
    ]
    assert [list(case.check.options) for case in first.cases] == [list(case.check.options) for case in second.cases]
    assert (first.items, first.conditions, first.floor) == (second.items, second.conditions, second.floor)


def test_loading_depends_on_neither_cwd_nor_process(
    shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same suite comes from another folder, another process with another hash seed, and a relative path."""
    made = suite(GOOD, shared_root)
    monkeypatch.chdir(tmp_path)
    again = load_suite(shared_root / "evals" / "suite.eval.yaml", shared_root)
    monkeypatch.chdir(shared_root)
    relative = load_suite(Path("evals/suite.eval.yaml"), Path())
    code = (
        "import pathlib, pickle, sys; from harness.loader import load_suite; r = pathlib.Path(sys.argv[1]);"
        "sys.stdout.buffer.write(pickle.dumps(load_suite(r / 'evals' / 'suite.eval.yaml', r)))"
    )
    run = [sys.executable, "-c", code, str(shared_root)]
    environment = {"PYTHONPATH": str(DOCS.parent), "PYTHONHASHSEED": "12"}
    other = subprocess.run(run, capture_output=True, check=True, cwd=tmp_path, env=environment)

    assert made == again == relative == pickle.loads(other.stdout)  # noqa: S301 - written two lines above


def test_the_digest_covers_the_data_files(tmp_path: Path) -> None:
    """A changed fact, cue or comment changes the digest; nothing else does."""
    root = build(tmp_path / "root")
    first = suite(GOOD, root).digest
    assert suite(GOOD, root, "other.eval.yaml").digest == first
    assert suite(GOOD + "# more\n", root).digest != first
    for name in ("facts/sums.yaml", "cues/deployment-null.yaml"):
        path = root / "fixtures" / "world" / name
        before = path.read_text()
        path.write_text(before + "# more\n")
        assert suite(GOOD, root).digest != first
        path.write_text(before)
    assert suite(GOOD, root).digest == first


def test_a_case_file_outside_the_root_is_refused(shared_root: Path, tmp_path: Path) -> None:
    """By its path, and by a link."""
    (tmp_path / "x.eval.yaml").write_text(GOOD)
    (shared_root / "evals" / "link.eval.yaml").symlink_to(tmp_path / "x.eval.yaml")

    for path in (tmp_path / "x.eval.yaml", shared_root / "evals" / "link.eval.yaml"):
        with pytest.raises(CaseFileError, match="outside the root"):
            load_suite(path, shared_root)
    with pytest.raises(CaseFileError, match="cannot be read"):
        load_suite(shared_root / "evals" / "none.eval.yaml", shared_root)


def test_every_template_renders(shared_root: Path) -> None:
    """What was accepted can be filled in, in every condition that a check compares."""
    made = suite(GOOD, shared_root)
    for case in made.cases:
        for name in case.conditions:
            condition = made.conditions[name]
            values = {**made.items[0].values, **made.items[0].phrasings[0].values, **condition.cues[0].values}
            values |= {key: render_text(str(text), values) for key, text in condition.values.items()}
            assert all(render_text(turn.template, values) for turn in case.turns)


@pytest.mark.parametrize(("limit", "count"), [(0.10, 29), (0.05, 59), (0.01, 299)])
def test_the_numbers_of_scenarios_are_the_textbook_ones(limit: float, count: int) -> None:
    """29, 59 and 299 at 95 %, both ways."""
    assert needed(0.95, at_most=limit) == count
    assert needed(0.95, at_least=1 - limit) == count


@given(st.floats(0.001, 0.9), st.floats(0.51, 0.999))
def test_the_number_needed_is_the_least_that_does(limit: float, confidence: float) -> None:
    """With n scenarios and no event the upper bound meets the limit, with n - 1 it does not."""
    n = needed(confidence, at_most=limit)
    assert n is not None

    def upper(count: int) -> float:
        return 1 - (1 - confidence) ** (1 / count)

    assert upper(n) <= limit + 1e-7
    assert n == 1 or upper(n - 1) > limit - 1e-7
    assert math.isclose(1 - upper(n), (1 - confidence) ** (1 / n))


def test_limits_that_no_number_shows() -> None:
    """0 % and 100 % need infinitely many."""
    assert needed(0.95, at_most=0.0) is None
    assert needed(0.95, at_least=1.0) is None


def test_the_schemas_are_schemas_and_their_examples_hold() -> None:
    """Every property has a description and an example; the examples of values satisfy their schema."""
    for name in ("case", "facts", "cues", "recipe"):
        whole = load(name)
        jsonschema.Draft202012Validator.check_schema(whole)
        for where, entry in properties(whole, "$"):
            target = whole["$defs"].get(entry.get("$ref", "").rpartition("/")[2], {})
            merged = {**target, **entry}
            assert merged.get("description"), where
            assert merged.get("examples"), where
            if where.endswith((".cases", ".jointly")):
                continue  # shortened on purpose
            validator = jsonschema.Draft202012Validator({**entry, "$defs": whole["$defs"]})
            assert not [error.message for value in merged["examples"] for error in validator.iter_errors(value)], where


def properties(value: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Return every property that a schema defines, wherever it does."""
    found: list[tuple[str, dict[str, Any]]] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "properties" and isinstance(inner, dict):
                found += [(f"{where}.{name}", entry) for name, entry in inner.items()]
            if key != "examples":
                found += properties(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += properties(inner, f"{where}[{index}]")
    return found


def test_the_schema_knows_the_kinds_that_the_loader_knows() -> None:
    """Kinds, their conditions and their closed options agree."""
    kinds = schema()["$defs"]["check"]["properties"]
    assert set(kinds) == set(KINDS)
    for name, kind in KINDS.items():
        options = schema()["$defs"][f"check_{name}"]
        assert set(kind.conditions) <= set(options["required"]), name
        assert options["additionalProperties"] is False
        assert ("unit" in options["properties"]) == bool(kind.units), name


def test_schema_is_a_copy() -> None:
    """A caller who changes it harms nobody."""
    schema()["$defs"].clear()
    assert schema()["$defs"]


def test_the_format_page_is_up_to_date(shared_root: Path) -> None:
    """Its tables come from the schema, and its example loads but for the world that it names."""
    page = (DOCS / "case-format.md").read_text(encoding="utf-8")
    assert page == insert(page), "run harness.loader.reference.insert over docs/case-format.md"

    text = page.partition("## A whole file")[2].partition("```yaml\n")[2].partition("```")[0]
    made = suite(text.replace("world/capitals", "world/sums"), shared_root)
    assert [case.check.kind for case in made.cases] == ["rate", "cue_shift"]


def test_world_files_are_read_once_for_many_suites(shared_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve suites cost one reading of each world file; that keeps collection fast."""
    suite(GOOD, shared_root, "first.eval.yaml")
    read: list[str] = []
    genuine = world._read
    monkeypatch.setattr(world, "_read", lambda *args, **kwargs: read.append(str(args)) or genuine(*args, **kwargs))
    for number in range(12):
        suite(GOOD, shared_root, f"n{number}.eval.yaml")

    assert read == []
