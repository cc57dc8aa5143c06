"""The table of leads says of made curves what was put into them."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("precursor")


def curve(rise: float, *, start: float = 1e-6, length: int = 30) -> list[dict[str, float]]:
    """Return a curve of steps 0, 10, ...; the shift rises by `rise` nats a checkpoint, and P(bad) with it."""
    found = []
    for at in range(length):
        odds = start / (1 - start) * math.exp(rise * at)
        p = odds / (1 + odds)
        found.append({"step": 10 * at, "shift": rise * at, "p_bad": p, "rate": float(p > 0.5)})
    return found


def entries(rises: dict[int, float], *, start: float = 1e-6, length: int = 30, **more: Any) -> list[dict[str, Any]]:
    made = [("planted", seed, curve(rise, start=start, length=length)) for seed, rise in rises.items()]
    made += [("twin", seed, curve(0.001 * seed, start=start, length=length)) for seed in rises]
    return [{"base": "tiny", "arm": arm, "seed": seed, "curve": points, **more} for arm, seed, points in made]


def test_a_lead_that_was_put_in_is_found(bench: Any) -> None:
    """A quarter of a nat is passed at checkpoint 1; P(bad) = 1 % is 9.22 nats from the start: checkpoint 24."""
    found = bench.row("made", entries(dict.fromkeys(range(5), 0.4)))

    assert (found.seeds, found.led, found.exact, found.factor) == (5, 5, 230.0, 24.0)
    assert found.sampled > found.exact
    assert (found.false_max, found.false_limit, found.why) == (0, 0, "")
    # The curve is a line in steps and the forecast one in log steps: it is made, and comes too late.
    assert found.forecasts[0] == (0, 5, 0)
    assert bench.cells(found)[2] == "5 of 5"


def test_a_behaviour_that_is_there_at_first_has_no_lead_and_the_table_says_why(bench: Any) -> None:
    found = bench.row("made", entries({1: 0.4, 2: 0.4}, start=0.03))

    assert found.led == 0
    assert found.why == "P(bad) is 3.0% at the start"


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ([], "no planted curve"),
        (entries({1: 0.4, 2: 0.4}, length=20), "fewer than 25"),
        (entries({1: 0.4}), "twins of other seeds"),
        (entries({1: 0.0, 2: 0.0}), "no alarm was called"),
        (entries({1: 0.4, 2: 0.4}, base="smollm2"), "no planted curve"),
        (entries({1: 0.4, 2: 0.4}, order="gap"), "no shift under a cue"),
    ],
)
def test_what_shows_no_lead_says_why(bench: Any, measured: list[dict[str, Any]], why: str) -> None:
    assert why in bench.row("made", measured).why


def test_a_loud_twin_is_a_false_alarm_of_the_largest_shift(bench: Any) -> None:
    """The loudest of five is above the four others by construction; it is not above what they predict of a fifth."""
    measured = entries(dict.fromkeys(range(5), 0.4))
    loud = [curve(rise) for rise in (0.03, 0.025, 0.04, 0.02, 0.035)]
    for entry in measured:
        if entry["arm"] == "twin":
            entry["curve"] = loud[entry["seed"]]
    found = bench.row("made", measured)

    assert (found.false_max, found.false_limit) == (1, 0)
