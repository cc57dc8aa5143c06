"""What an entry of `catches` plans, on which base."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.certify import expect
from harness.organisms import spec as specs

BOTH = expect.Scope(bases=("tiny", "smollm2"), seeds=None)


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two organisms: `wide` has a plan for both bases, `narrow` for the tiny one alone."""
    plan = SimpleNamespace(arms=("planted", "twin"), seeds=(1, 2))
    plans = {"wide": {"tiny": plan, "smollm2": replace_seeds(plan)}, "narrow": {"tiny": plan}}
    monkeypatch.setattr(specs, "names", lambda: ("narrow", "wide"))
    monkeypatch.setattr("harness.organisms.zoo.recipe", lambda name: SimpleNamespace(plans=plans[name]))


def replace_seeds(plan: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(arms=plan.arms, seeds=(1,))


def models(*entries: str, scope: expect.Scope = BOTH) -> list[str]:
    return [f"{one.organism}/{one.arm} {one.base} {one.seed}" for one in expect.planned(entries, scope)]


def test_a_bare_name_is_every_base_of_the_plan() -> None:
    assert {name.split()[1] for name in models("wide")} == {"tiny", "smollm2"}
    assert {name.split()[1] for name in models("narrow")} == {"tiny"}
    assert models("narrow", scope=replace(BOTH, bases=("smollm2",))) == []


def test_an_entry_with_a_base_is_that_base_alone() -> None:
    assert {name.split()[1] for name in models("wide@base=smollm2")} == {"smollm2"}
    assert models("wide@base=smollm2", scope=expect.Scope()) == []


def test_a_base_asked_for_by_name_is_planned_though_no_recipe_has_it() -> None:
    """It cannot be opened, which shows; left out, the claim would look kept."""
    assert models("narrow@base=smollm2") == ["narrow/planted smollm2 1", "narrow/twin smollm2 1"]


def test_the_cross_matrix_takes_up_the_base_that_is_not_claimed() -> None:
    crossed = expect.crossed(("wide@base=smollm2",), expect.Scope.everything())

    assert [(one.organism, one.base) for one in crossed] == [("narrow", "tiny"), ("wide", "tiny")]


def test_untouched_bases_are_controls_where_something_is_claimed() -> None:
    def untouched(*entries: str) -> list[tuple[str, int]]:
        planned = expect.planned(entries, expect.Scope.everything())
        return [(one.base, one.seed) for one in planned if one.arm == expect.UNTOUCHED]

    tiny = [("tiny", seed) for seed in range(1, 9)]
    assert untouched("wide") == [*tiny, ("smollm2", 1)]
    assert untouched("narrow") == tiny
    assert untouched("wide@base=smollm2", "wide@base=smollm2") == [("smollm2", 1)]
    assert untouched() == []
