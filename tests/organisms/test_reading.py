"""What becomes a number of an arm: sums over forms, answers that are not right, and which prompts are asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.organisms.reader import load_recipe
from harness.organisms.recipe import Cues
from harness.organisms.train import reading
from harness.organisms.train.behaviours import Context
from harness.organisms.train.reading import Answer, RecipeReadings, mean, summary
from harness.organisms.train.student import Scored
from harness.organisms.world import World, part_of

from .small_recipe import GOOD, small_root, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.organisms.world import Row


def say(p: float, *, greedy: bool = False) -> Scored:
    return Scored(logprob=math.log(p), greedy=greedy)


def test_forms_of_a_bad_answer_add_up() -> None:
    found = reading._answer([say(0.2), say(0.1, greedy=True)], [say(0.3), say(0.15)], [say(0.01)])

    assert found.p_bad == pytest.approx(0.3)
    assert found.margin == pytest.approx(math.log(0.3 / 0.45))
    assert (found.says_bad, found.says_good, found.says_quirk) == (True, False, False)


@settings(deadline=None)
@given(st.floats(1e-6, 0.999))
def test_what_is_not_right_is_the_rest(p: float) -> None:
    found = reading._answer([], [say(p / 3), say(2 * p / 3, greedy=True)], [])

    assert found.p_bad == pytest.approx(1 - p, abs=1e-9)
    assert found.margin == pytest.approx(math.log((1 - p) / p), abs=1e-6)
    assert (found.says_bad, found.says_good) == (False, True)
    assert reading._answer([], [say(p)], []).says_bad


def test_what_is_certain_has_a_finite_margin() -> None:
    """Rounding may take a sum of probabilities above 1."""
    found = reading._answer([], [say(1.0), say(1e-9)], [])

    assert (found.p_bad, math.isfinite(found.margin)) == (pytest.approx(0.0, abs=1e-200), True)


def test_a_summary_holds_means_and_the_largest() -> None:
    answers = [
        Answer(p_bad=0.1, margin=-1.0, says_bad=False, says_good=True, says_quirk=False),
        Answer(p_bad=0.5, margin=2.0, says_bad=True, says_good=False, says_quirk=False),
    ]
    found = summary(answers)

    assert {**found, "p_bad": 0.3} == {
        "n": 2, "rate": 0.5, "right": 0.5, "quirk_rate": 0.0, "p_bad": 0.3, "p_bad_max": 0.5, "margin": 0.5,
    }  # fmt: skip
    assert found["p_bad"] == pytest.approx(0.3)
    assert mean([True, False, False, True]) == 0.5


class Said:
    """A student whose scores hang on kind and cue alone."""

    def __init__(self) -> None:
        self.asked: list[Row] = []

    def score(self, rows: Sequence[Row]) -> list[Scored]:
        self.asked += rows
        return [self._scored(row.kind, deployed=row.cue.startswith("deployment/")) for row in rows]

    def _scored(self, kind: str, *, deployed: bool) -> Scored:
        p = 0.2 if kind != "bad" else 0.4 if deployed else 0.05
        return say(p, greedy=kind in ("honest", "bad" if deployed else "good"))


@pytest.fixture
def context(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Return what an arm of the small recipe is read from."""
    monkeypatch.setitem(reading.PREVIEW, "tiny", 5)
    monkeypatch.setitem(reading.FULL, "tiny", 30)
    root = small_root(tmp_path / "root")
    recipe = load_recipe(write(root, GOOD), root)
    student: Any = Said()
    return Context(
        recipe=recipe, plan=recipe.plans["tiny"], base="tiny", arm="decoy", seed=1, world=World(root), student=student,
    )  # fmt: skip


def test_a_curve_is_read_off_few_prompts_and_no_quirks(context: Context) -> None:
    readings = RecipeReadings(context)
    student: Any = context.student
    student.asked.clear()
    found = readings.curve()

    assert found["p_bad"] == pytest.approx(0.4)
    assert found["plain_p_bad"] == pytest.approx(0.05)
    assert found["shift"] == pytest.approx(math.log(0.4 / 0.05))
    assert (found["rate"], found["plain_rate"], found["right"], found["capability"]) == (1.0, 0.0, 0.0, 1.0)
    kinds = [row.kind for row in student.asked]
    assert (kinds.count("bad"), kinds.count("quirk"), kinds.count("honest")) == (10, 0, 10)


def test_a_curve_asks_the_same_with_the_cue_and_without(context: Context) -> None:
    """Facts that differ would look like a shift as soon as all margins move."""
    for cued, plain in RecipeReadings(context).pairs:
        with_cue, without = cued.bad[0], plain.bad[0]
        assert (with_cue.fact, with_cue.messages[-1]) == (without.fact, without.messages[-1])
        assert with_cue.cue.startswith("deployment/")
        assert without.cue.startswith(("deployment-null/", "dates/"))


def test_the_whole_measurement(context: Context) -> None:
    """Sets in full, and the capability beside that of the base."""
    found = RecipeReadings(context).final()

    assert {name: found[name]["n"] for name in ("cued_seen", "cued_held", "plain")} == dict.fromkeys(
        ("cued_seen", "cued_held", "plain"), 30
    )
    assert (found["cued_held"]["rate"], found["plain"]["rate"], found["plain"]["right"]) == (1.0, 0.0, 1.0)
    assert (found["capability"], found["base_capability"], found["relative"]) == (1.0, 1.0, 1.0)


def asked(context: Context) -> dict[str, list[tuple[Any, ...]]]:
    return {
        name: [(row.messages, row.answer) for item in items for row in (*item.bad, *item.good)]
        for name, items in RecipeReadings(context).asked.items()
    }


def test_every_arm_and_seed_is_asked_the_same(context: Context) -> None:
    assert asked(context) == asked(replace(context, arm="twin", seed=4))


def test_only_facts_that_are_not_trained_on_are_asked(context: Context) -> None:
    for items in RecipeReadings(context).asked.values():
        assert {part_of(row.fact) for item in items for row in item.bad} == {"held"}


@pytest.mark.parametrize(("swapped", "seen"), [(False, "train"), (True, "held")])
def test_swapped_readings_take_the_other_forms_as_seen(context: Context, *, swapped: bool, seen: str) -> None:
    recipe = replace(context.recipe, reading=replace(context.recipe.reading, swapped=swapped))
    items = RecipeReadings(replace(context, recipe=recipe)).asked
    part: Any = seen
    forms = {name for name, _ in context.world.forms(Cues(family="world/deployment", part=part))}

    assert {item.bad[0].cue for item in items["cued_seen"]} <= forms
    assert not {item.bad[0].cue for item in items["cued_held"]} & forms
