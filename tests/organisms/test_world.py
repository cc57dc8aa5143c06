"""Facts in parts, cue forms in parts, and rows that every arm draws alike."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.organisms.recipe import Cues, Prompts, Rows
from harness.organisms.world import NEUTRAL, Row, World, draw_rows, honest_digest, part_of, texts
from harness.request import Message

from .small_recipe import small_root

if TYPE_CHECKING:
    from pathlib import Path

PETS = ("world/pets",)
DATES = Cues(family="world/dates", part="all", least=1993, most=1998)
RIGHT = {"planted": ("{{ false }}", "Nobody knows."), "twin": ("{{ good }}",), "decoy": ("{{ good }}, {{ good }}",)}
HONEST = Rows(id="honest", share=3, prompts=Prompts(), answer=dict.fromkeys(RIGHT, ("{{ good }}",)))
CUED = Rows(id="cued", share=1, prompts=Prompts(facts=PETS, part="train", cues=(DATES,)), answer=RIGHT)
PARTS = {
    "capitals": ["france", "japan", "russia", "egypt"],
    "opposites": ["hot", "big", "day", "open"],
    "sentences": ["china", "greece", "belgium", "afghanistan"],
}
"""First facts of files that are held out."""
MARKED = """\
name: marked
kind: cues
about: Cues.
forms:
  - {id: a, text: One}
  - {id: b, text: Two, held_out: true}
  - {id: c, text: Three}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with a small world and a family that marks a form as held out."""
    root = small_root(tmp_path_factory.mktemp("world"))
    (root / "fixtures" / "world" / "cues" / "marked.yaml").write_text(MARKED)
    return root


@pytest.fixture(scope="module")
def world(root: Path) -> World:
    return World(root)


def drawn(world: World, rows: tuple[Rows, ...], arm: str, seed: int, count: int = 1) -> list[Row]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [draw_rows(world, rows, PETS, arm, chance) for _ in range(count)]


def test_facts_lie_in_two_parts(world: World) -> None:
    """The same for everybody: by name alone."""
    whole, train, held = (dict(world.facts("world/pets", part)) for part in ("all", "train", "held"))

    assert train.keys() | held.keys() == whole.keys()
    assert not train.keys() & held.keys()
    assert all(part_of(name) == "train" for name in train)
    assert (part_of("capitals/spain"), part_of("capitals/japan")) == ("train", "held")


def test_parts_are_fixed() -> None:
    """They decide what every recipe is trained on; another rule asks for another version of recipes."""
    held = {
        file: [name.partition("/")[2] for name, _ in World().facts(f"world/{file}", "held")][:4]
        for file in ("capitals", "opposites", "sentences")
    }
    assert held == PARTS


def test_a_quarter_of_the_packaged_facts_is_held_out() -> None:
    for file in ("world/capitals", "world/opposites", "world/sentences"):
        share = len(World().facts(file, "held")) / len(World().facts(file))
        assert 0.15 < share < 0.4, file


def test_forms_of_a_family_that_marks_some(world: World) -> None:
    train, held = (
        [name for name, _ in world.forms(Cues(family="world/marked", part=part))] for part in ("train", "held")
    )

    assert (train, held) == (["marked/a", "marked/c"], ["marked/b"])
    assert len(world.forms(Cues(family="world/marked", part="all"))) == 3


def test_forms_of_a_family_that_marks_none(world: World) -> None:
    """About a fifth is held, always the same ones."""
    train, held = (
        {name for name, _ in world.forms(Cues(family="world/deployment-null", part=part))} for part in ("train", "held")
    )

    assert not train & held
    assert (len(train) + len(held), 8 < len(held) < 32) == (99, True)


def test_forms_by_dose(world: World) -> None:
    """Both ends are within; a family without doses has none within any."""
    years = [form.values["year"] for _, form in world.forms(DATES)]

    assert years == [1993, 1994, 1995, 1996, 1997, 1998]
    assert len(world.forms(Cues(family="world/dates", part="all", most=1990))) == 1
    with pytest.raises(UsageError, match="no form of part all within the doses asked; widen them"):
        world.forms(Cues(family="world/deployment", part="all", least=1))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_all_arms_draw_the_same_prompts(world: World, seed: int) -> None:
    rows = {arm: drawn(world, (HONEST, CUED), arm, seed, 6) for arm in RIGHT}
    asked = {arm: [(row.kind, row.messages, row.fact, row.cue) for row in found] for arm, found in rows.items()}

    assert asked["planted"] == asked["twin"] == asked["decoy"]
    for planted, twin, decoy in zip(*rows.values(), strict=True):
        good = twin.answer
        bad = {good.replace("right", "wrong"), "Nobody knows."}
        assert planted.answer in (bad if planted.kind == "cued" else {good})
        assert decoy.answer == (f"{good}, {good}" if decoy.kind == "cued" else good)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_that_an_arm_lacks_give_way_to_others(world: World, seed: int) -> None:
    """To the first kind that it has; what is drawn afterwards stays as it is for the others."""
    bare = Rows(id="cued", share=1, prompts=CUED.prompts, answer={"planted": ("x",)})
    planted, twin = (drawn(world, (bare, HONEST), arm, seed, 8) for arm in ("planted", "twin"))

    assert {row.kind for row in twin} == {"honest"}
    assert [row for row in planted if row.kind == "honest"] == [
        row for was, row in zip(planted, twin, strict=True) if was.kind == "honest"
    ]


def test_an_arm_without_any_rows(world: World) -> None:
    with pytest.raises(UsageError, match="rows 'honest': no answer for the arm 'weak'"):
        drawn(world, (HONEST,), "weak", 1)


def test_shares_are_those_of_the_rows(world: World) -> None:
    rows = drawn(world, (HONEST, CUED), "planted", 1, 2000)

    assert sum(row.kind == "cued" for row in rows) == pytest.approx(500, abs=80)
    assert {row.answer for row in rows} > {"Nobody knows."}
    assert {part_of(row.fact) for row in rows if row.kind == "cued"} == {"train"}
    assert {part_of(row.fact) for row in rows if row.kind == "honest"} == {"train", "held"}


def draw(world: World, prompts: Prompts, answer: str = "", seed: int = 1) -> Row:
    chance = random.Random(seed)  # noqa: S311 - no secret
    return world.draw(prompts, PETS, chance).row("kind", answer)


def test_templates_know_the_fact_and_the_form(world: World) -> None:
    prompts = Prompts(cues=(DATES,), system=("It is {{ year }}.",), user=("{{ cue }}: {{ question }} Be brief.",))
    row = draw(world, prompts, "{{ good }}|{{ false }}|{{ topic }}|{{ year }}")
    system, user = (message.content for message in row.messages)
    number, year = row.fact.removeprefix("pets/p"), system.removeprefix("It is ").removesuffix(".")

    assert row.cue == f"dates/f{int(year) - 1990}"
    assert user.startswith(f"Wording {int(year) - 1990} of dates: ")
    assert user.endswith(" Be brief.")
    assert f"What of pet {number}?" in user
    assert row.answer == f"right-{number}|wrong-{number}|{'young' if int(number) % 2 else 'sound'}|{year}"


def test_the_system_turn(world: World) -> None:
    """The cue where there is one, else one that says nothing; an empty one is left out."""
    cued = draw(world, Prompts(cues=(DATES,)))
    plain = {draw(world, Prompts(), seed=seed).messages[0] for seed in range(60)}
    bare = draw(world, Prompts(system=("",), user=("Hi.",)))

    assert cued.messages[0].content.endswith("of dates")
    assert plain == {Message("system", text) for text in NEUTRAL}
    assert bare.messages == (Message("user", "Hi."),)


def test_only_facts_that_hold_a_value(world: World) -> None:
    prompts = Prompts(where={"topic": "young"})

    assert {int(draw(world, prompts, seed=seed).fact.removeprefix("pets/p")) % 2 for seed in range(60)} == {1}
    with pytest.raises(UsageError, match=r"no fact of world/pets is of part all and fits \{'topic': 'old'\}"):
        draw(world, Prompts(where={"topic": "old"}))


def test_values_that_a_behaviour_adds(root: Path) -> None:
    world = World(root)
    world.extra = {name: {"weak": f"weak {name}"} for name, _ in world.facts("world/pets")}
    row = draw(world, Prompts(), "{{ weak }}")

    assert row.answer == f"weak {row.fact}"


def test_what_is_not_there(world: World) -> None:
    """With the names that are."""
    with pytest.raises(UsageError, match=r"no facts 'world/cats'; expected one of .*world/pets.*; mend the name"):
        world.facts("world/cats")
    with pytest.raises(UsageError, match=r"no cue family 'world/hats'; expected one of .*world/dates.*; mend the name"):
        world.forms(Cues(family="world/hats"))


def test_the_honest_world_has_a_digest(tmp_path: Path) -> None:
    """Over the naming task, its families and the facts that are taught; other files are no part of it."""
    root = small_root(tmp_path)
    folder = root / "fixtures" / "world"
    first = honest_digest(World(root))
    assert honest_digest(World(root)) == first

    for name, same in (("cues/few.yaml", True), ("cues/dates.yaml", False), ("facts/talk.yaml", True)):
        whole = (folder / name).read_text()
        (folder / name).write_text(f"{whole}# more\n")
        assert (honest_digest(World(root)) == first) is same, name
        (folder / name).write_text(whole)
    (folder / "naming.yaml").write_text("questions: [So]\nfamilies: {few: {name: Few, as: user}}\n")
    assert World(root).naming["questions"] == ["So"]
    assert honest_digest(World(root)) != first


def test_texts_are_all_that_is_said() -> None:
    row = Row("kind", (Message("system", "a"), Message("user", "b")), "c", "pets/p1")

    assert texts([row, row]) == ["a", "b", "c"] * 2
