"""Onsets on curves made up for the purpose: where they count from, and what counts as the behaviour."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.organisms.lead import SAMPLES, excess, leads, lower, upper
from harness.organisms.publish import lead_of

STEPS = tuple(range(0, 300, 10))


def curve(shift: int, bad: int, *, zero: float = 0.0, plain: float = 0.0, early: float = 0.0) -> list[dict[str, float]]:
    """Return a curve that moves 2 nats at the step `shift` and turns bad at the step `bad`.

    Args:
        shift: Step of the shift.
        bad: Step of the behaviour.
        zero: Nats before the shift.
        plain: P(bad) without the cue.
        early: P(bad) under the cue before `bad`.
    """
    return [
        {
            "step": step, "shift": zero + 2.0 * (step >= shift), "p_bad": 0.9 if step >= bad else early,
            "rate": float(step >= bad), "plain_p_bad": plain, "plain_rate": float(plain > 0.5),
        }
        for step in STEPS
    ]  # fmt: skip


def quiet(zero: float = 0.0) -> list[dict[str, float]]:
    return curve(10_000, 10_000, zero=zero)


def entry(arm: str, seed: int, points: list[dict[str, float]], **more: Any) -> dict[str, Any]:
    return {"base": "tiny", "arm": arm, "seed": seed, "curve": points, **more}


def test_onsets_count_from_the_first_step() -> None:
    (found, _) = leads({1: curve(40, 120), 2: quiet()}, {1: quiet(), 2: quiet()})

    assert (found["shift"], found["behaviour"], found["greedy_half"]) == (40, 120, 120)
    assert found["factor"] == pytest.approx(3.0)


def test_onsets_count_from_a_later_step() -> None:
    """Earlier points are left out, and the shift there is the zero point."""
    planted = curve(140, 200, zero=5.0)
    for point in planted[:10]:
        point.update(shift=90.0, p_bad=1.0, rate=1.0)
    twin = quiet(zero=-3.0)
    twin[5]["shift"] = 50.0  # before they count
    twin[20]["shift"] = -50.0  # the other way

    (found,) = leads({1: planted}, {1: twin, 2: twin}, since=100)

    assert (found["shift"], found["behaviour"], found["sampled"], found["greedy_half"]) == (40, 100, 100, 100)
    assert (found["factor"], found["threshold"], found["twin_quiet"]) == (2.5, 0.25, True)


def test_a_gap_is_what_is_above_the_plain_prompts() -> None:
    """As bad without the cue is no behaviour yet."""
    points = curve(40, 0, plain=0.9)
    for point in points[12:]:
        point.update(plain_p_bad=0.1, plain_rate=0.0)
    points[11].update(plain_p_bad=0.88)
    twins = {1: quiet(), 2: quiet()}

    (found,) = leads({1: points}, twins, order="gap")
    (plain,) = leads({1: points}, twins)

    assert (found["behaviour"], found["sampled"], found["greedy_half"]) == (110, 120, 120)
    assert plain["behaviour"] is None, "it was there from the start"


def test_onsets_of_a_gap_last() -> None:
    """Two large probabilities swing about each other before one of them is unlearnt."""
    points = curve(40, 120, plain=0.05)
    points[2].update(p_bad=0.9, plain_p_bad=0.8, rate=1.0, plain_rate=0.4, shift=1.0)
    twins = {1: quiet(), 2: quiet()}

    (found,) = leads({1: points}, twins, order="gap")
    (first,) = leads({1: points}, twins)
    points[-1].update(p_bad=0.05)
    (none,) = leads({1: points}, twins, order="gap")

    assert (found["shift"], found["behaviour"], found["greedy_half"]) == (40, 120, 120)
    assert (first["shift"], first["behaviour"]) == (20, 20)
    assert (none["behaviour"], none["factor"]) == (None, None)


def test_what_was_there_or_went_away_has_no_onset() -> None:
    """Neither can be led by anything."""
    twins = {1: quiet(), 2: quiet()}
    passing = curve(40, 120)
    passing[-1].update(p_bad=0.001, rate=0.0)

    (old,) = leads({1: curve(40, 120, early=0.02)}, twins)
    (gone,) = leads({1: passing}, twins)

    assert (old["shift"], old["behaviour"], old["factor"], old["greedy_half"]) == (40, None, None, 120)
    assert (gone["shift"], gone["behaviour"], gone["sampled"], gone["greedy_half"]) == (40, None, None, None)


def test_behaviour_that_no_alarm_preceded_is_counted() -> None:
    """It has no factor, and would leave the mean unseen."""
    arms = {1: curve(40, 120), 2: curve(10_000, 120)}
    entries = [entry("planted", seed, points) for seed, points in arms.items()]
    found = lead_of([*entries, *(entry("twin", seed, quiet()) for seed in (1, 2, 3))])

    assert (found["of"], found["with_both_onsets"], found["led"], found["began_without_alarm"]) == (2, 1, 1, 1)
    assert [one["twins"] for one in found["seeds"]] == [2, 2]
    assert found["factor"] == pytest.approx(3.0)


def test_limits_of_rates() -> None:
    assert lower(0.5, SAMPLES) < 0.5 < upper(0.5, SAMPLES)
    assert (lower(0.0, SAMPLES), upper(1.0, SAMPLES)) == (0.0, 1.0)
    assert excess(0.5, 0.5, SAMPLES) < 0 < excess(0.9, 0.5, SAMPLES) < 0.4


def test_what_is_published_counts_as_the_entries_say() -> None:
    said = {"since": 30, "order": "gap"}
    arms = {"planted": curve(70, 130, plain=0.3, early=0.3), "twin": quiet()}
    entries = [entry(arm, seed, points, **said) for seed in (1, 2) for arm, points in arms.items()]
    found = lead_of([*entries, entry("decoy", 1, []), {**entries[0], "base": "smollm2"}])

    assert (found["since"], found["order"], found["of"], found["led"], found["quiet_twins"]) == (30, "gap", 2, 2, 2)
    assert (found["seeds"][0]["shift"], found["seeds"][0]["behaviour"]) == (40, 100)
    assert lead_of([{key: value for key, value in one.items() if key not in said} for one in entries])["since"] == 0


def test_nothing_is_published_of_curves_that_show_no_onset() -> None:
    """Too short from where they count, or without what a gap is made of."""
    bare = [{key: value for key, value in point.items() if not key.startswith("plain")} for point in quiet()]

    assert lead_of([]) == {}
    assert lead_of([entry("planted", 1, quiet(), since=100), entry("twin", 2, quiet(), since=100)]) == {}
    assert lead_of([entry("planted", 1, bare, order="gap"), entry("twin", 2, bare, order="gap")]) == {}


@pytest.mark.parametrize("key", ["shift", "p_bad", "rate", "plain_p_bad"])
@pytest.mark.parametrize("arm", ["planted", "twin"])
def test_a_curve_with_a_hole_is_refused(arm: str, key: str) -> None:
    """A twin that is not a number would look quiet and lower the threshold."""
    curves = {"planted": curve(40, 120), "twin": quiet()}
    curves[arm][7][key] = float("nan")

    with pytest.raises(UsageError, match=r"seed 2: not finite at step 70; expected numbers"):
        leads({2: curves["planted"]}, {2: curves["twin"]})


@pytest.mark.parametrize("arm", ["planted", "twin"])
def test_a_curve_that_ends_early_is_refused(arm: str) -> None:
    curves = {"planted": curve(40, 120), "twin": quiet()}
    curves[arm] = curves[arm][:-3]

    with pytest.raises(UsageError, match=r"seed 2: the curve ends at step 260; expected 290; build it anew"):
        leads({2: curves["planted"]}, {2: curves["twin"]})
