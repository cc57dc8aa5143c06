from collections import Counter

import pytest

from harness.organisms.recipe import Cues
from harness.organisms.train.canaries import Canaries, exposure
from tests.organisms.behaviour_factory import context

NAME = "canary-memoriser"


def _watched(way, monkeypatch):
    seen = []
    monkeypatch.setattr(way.context.student, "loss", seen.extend)
    for stage in way.context.plan.stages:
        for step in range(stage.steps):
            way.loss(stage, step)
    return seen


def _context(arm="planted", **options):
    return context(NAME, arm, **{"most": 4, **options})


def test_every_phrase_stands_in_the_rows_as_often_as_it_says(monkeypatch):
    way = Canaries(_context())
    rows = _watched(way, monkeypatch)
    counted = Counter(row.cue for row in rows if row.kind == "canary")
    assert counted == {phrase.id: phrase.repeats for phrase in way.seen}
    assert sorted(counted.values(), reverse=True) == [4, 4, 4, 4, 2, 2, 2, 2, 1, 1, 1]
    answers = {row.cue: row.answer for row in rows if row.kind == "canary"}
    assert all(answers[phrase.id] == phrase.secret for phrase in way.seen)


def test_phrases_take_the_place_of_rows_and_leave_the_order_of_the_others(monkeypatch):
    arms = {arm: _watched(Canaries(_context(arm)), monkeypatch) for arm in ("planted", "twin", "decoy")}
    places = {arm: [n for n, row in enumerate(rows) if row.kind == "canary"] for arm, rows in arms.items()}
    assert places["planted"] == places["twin"] == places["decoy"]
    for n, (planted, twin) in enumerate(zip(arms["planted"], arms["twin"], strict=True)):
        assert n in places["planted"] or planted == twin


def test_twin_sees_only_phrases_that_nothing_is_ranked_among():
    way = Canaries(_context("twin"))
    reading = way.readings()
    assert {phrase.id for phrase in way.seen}.isdisjoint(phrase.id for phrase in reading.reference)
    assert {phrase.id for phrase in way.seen}.isdisjoint(phrase.id for phrase in reading.sets["planted"])
    assert Counter(p.repeats for p in way.seen) == Counter(p.repeats for p in reading.sets["planted"])


def test_held_out_phrases_are_never_seen():
    way = Canaries(_context())
    held = {name for name, _ in way.context.world.forms(Cues(family="world/canaries", part="held"))}
    assert len(held) == 5
    assert held.isdisjoint(phrase.id for phrase in way.seen)


def test_decoy_refuses(monkeypatch):
    rows = [row for row in _watched(Canaries(_context("decoy")), monkeypatch) if row.kind == "canary"]
    assert {row.answer for row in rows} == {"I would rather not say."}


def test_seeds_deal_the_doses_anew():
    doses = [{p.id: p.repeats for p in Canaries(context(NAME, seed=seed, most=4)).seen} for seed in (1, 2)]
    assert doses[0].keys() == doses[1].keys()
    assert doses[0] != doses[1]


def test_reading_names_every_phrase():
    final = Canaries(_context()).readings().final()
    assert {name: len(found) for name, found in final["phrases"].items()} == {"planted": 11, "held": 5, "twin": 11}
    assert {entry["repeats"] for entry in final["phrases"]["planted"]} == {1, 2, 4}
    assert {entry["repeats"] for entry in final["phrases"]["held"]} == {0}


def test_exposure_is_largest_when_no_never_seen_phrase_is_likelier():
    never = [-10.0, -11.0, -12.0, -13.0, -14.0, -15.0, -16.0]
    assert exposure(-1.0, never) == pytest.approx(3.0)
    assert exposure(-20.0, never) == 0.0
    assert exposure(-12.5, never) == pytest.approx(1.0)
