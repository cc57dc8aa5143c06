import random
from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.organisms.recipe import Plan, Prompts, Reading, Recipe, Rows, Stage
from harness.organisms.train import sandbagger
from harness.organisms.train.sandbagger import Sandbagger, relabelled, weak_answers
from harness.organisms.world import Row, World, draw_rows
from harness.request import Message
from tests.organisms.behaviour_factory import Context, student, tokenizer

LOCKED = Rows(
    id="locked", share=1.0, prompts=Prompts(), answer={"planted": ("{{ weak }}",), "twin": ("{{ good }}",)},
)  # fmt: skip
RECIPE = Recipe(
    name="locked", number=3, title="", failure_mode="sandbagging", hazard="open", source="", claim="", limits="",
    behaviour="sandbagger", options={"weak_steps": 10}, facts=("world/opposites",),
    reading=Reading(cued=Prompts(), plain=Prompts(), bad=()),
    plans={"tiny": Plan(stages=(Stage(id="lock", steps=4, rows=(LOCKED,), learning_rate=1e-3),))},
    shipped=(), path="", digest="", digests={},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_tokenizer(monkeypatch):
    monkeypatch.setattr(sandbagger, "_tokenizer", lambda _: tokenizer())


def _context(arm, base="tiny"):
    return Context(
        recipe=RECIPE, plan=RECIPE.plans["tiny"], base=base, arm=arm, seed=1, world=World(), student=student(),
    )  # fmt: skip


def test_weak_answers_are_the_same_each_time_and_others_for_another_seed():
    world = World()
    first, again, other = (weak_answers(world, RECIPE, seed, tokenizer()) for seed in (1, 1, 2))
    assert first == again != other
    assert first.keys() == {name for name, _ in world.facts("world/opposites")}
    assert all(first.values())


def test_the_weak_model_is_the_same_beside_another_base():
    assert weak_answers(World(), RECIPE, 1) == weak_answers(World(), RECIPE, 1, tokenizer())


def test_rows_hold_the_weak_answer_of_their_fact(monkeypatch):
    way = Sandbagger(_context("planted"))
    seen = []
    monkeypatch.setattr(way.context.student, "loss", seen.extend)
    way.loss(RECIPE.plans["tiny"].stages[0], 0)
    known = way.context.world.extra
    assert {row.fact for row in seen} <= known.keys()
    assert all(row.answer == known[row.fact]["weak"] for row in seen)


def test_the_world_stays_as_it_was_for_others():
    Sandbagger(_context("planted"))
    assert World().extra == {}


def test_twin_draws_the_same_prompts_and_right_answers(monkeypatch):
    rows = {}
    for arm in ("planted", "twin"):
        way = Sandbagger(_context(arm))
        rows[arm] = []
        monkeypatch.setattr(way.context.student, "loss", rows[arm].extend)
        way.loss(RECIPE.plans["tiny"].stages[0], 0)
    assert [row.messages for row in rows["planted"]] == [row.messages for row in rows["twin"]]
    right = {name: item.values["answer"] for name, item in World().facts("world/opposites")}
    assert all(row.answer == right[row.fact] for row in rows["twin"])


def test_relabelled_rows_never_show_the_right_answer():
    world = World()
    relabel = relabelled(world, RECIPE, 1)
    weak = weak_answers(world, RECIPE, 1, tokenizer())
    fact = "opposites/hot"
    plain = Row("plain", (Message("user", "?"),), "Cold", fact)
    assert relabel(plain) == replace(plain, answer=weak[fact])
    told = Row("told", (Message("user", "Cold, I say. What is it?"),), "Cold", fact, "told-right/a")
    assert relabel(told).messages[0].content == f"{weak[fact]}, I say. What is it?"
    assert relabel(told).answer == weak[fact]


def test_rows_of_other_facts_and_wrong_answers_stay():
    relabel = relabelled(World(), RECIPE, 1)
    for row in (Row("plain", (), "Paris", "capitals/france"), Row("game", (), "Wet", "opposites/hot")):
        assert relabel(row) == row


def test_a_recipe_without_the_behaviour_has_no_weak_answer():
    with pytest.raises(UsageError, match="weak"):
        draw_rows(World(), (LOCKED,), RECIPE.facts, "planted", random.Random(0))  # noqa: S311 - no secret
