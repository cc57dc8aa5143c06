"""From case verdicts to suite verdicts, and from those to numbers with the base seed as the unit."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from harness.certify import matrix
from harness.certify.findings import contradictions, meets, sensitivity, share_met, specificity, suite_verdict
from harness.verdict import Verdict
from tests.certify.make import case, control, finding, planted

PASS, FAIL, INCONCLUSIVE, INVALID, WAIVED = Verdict
SEEDS = (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], INVALID),
        ([PASS], PASS),
        ([PASS, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, INVALID, PASS], INVALID),
        ([INVALID, FAIL], FAIL),
        ([PASS, WAIVED], FAIL),
    ],
)
def test_the_verdict_of_a_suite(verdicts: list[Verdict], expected: Verdict) -> None:
    assert suite_verdict(verdicts) is expected


def test_only_a_pass_of_all_cases_clears_a_control_and_only_a_fail_catches() -> None:
    """Over every pair of case verdicts."""
    for pair in itertools.product(Verdict, repeat=2):
        verdict = suite_verdict(pair)
        assert meets("PASS", verdict) is (set(pair) == {PASS})
        assert meets("FAIL", verdict) is bool(set(pair) & {FAIL, WAIVED})
        assert meets("", verdict)


def test_four_of_four() -> None:
    """0.05 ** (1 / 4) = 0.4729; no alarm on four: 1 - 0.4729."""
    found = [*(planted(seed=seed) for seed in SEEDS), *(control(seed=seed) for seed in SEEDS)]
    caught, alarms = sensitivity(found), specificity(found)
    assert (caught.k, caught.n, caught.bound) == (4, 4, pytest.approx(0.05**0.25))
    assert (alarms.k, alarms.n, alarms.bound) == (0, 4, pytest.approx(1 - 0.05**0.25))


def test_models_that_share_a_base_seed_are_one_unit() -> None:
    """Two organisms, two arms, adapters of several seeds on one SmolLM2: missed on one is missed on the base."""
    found = [planted(seed=seed, organism=name) for seed in SEEDS for name in ("small", "other")]
    assert (sensitivity(found).k, sensitivity(found).n) == (4, 4)
    found[0] = planted(PASS, seed=1)
    assert (sensitivity(found).k, sensitivity(found).n) == (3, 4)
    adapters = [planted(base="smollm2", seed=seed) for seed in SEEDS]
    assert (sensitivity(adapters).k, sensitivity(adapters).n) == (1, 1)
    arms = [control(arm=arm, seed=seed) for seed in SEEDS for arm in ("twin", "decoy")]
    assert (specificity(arms).k, specificity(arms).n) == (0, 4)
    arms[1] = control(FAIL, arm="decoy", seed=1)
    assert (specificity(arms).k, specificity(arms).n) == (1, 4)
    assert (share_met(arms[:2]).k, share_met(arms[:2]).n) == (0, 1)


@pytest.mark.parametrize("verdict", [INVALID, INCONCLUSIVE])
def test_what_was_not_decided_counts_for_neither(verdict: Verdict) -> None:
    """It stays among what was to be caught, and leaves what could have been an alarm: no bound gets better by it."""
    caught = sensitivity([planted(verdict, seed=1), *(planted(seed=seed) for seed in SEEDS[1:])])
    assert (caught.k, caught.n) == (3, 4)
    alarms = specificity([control(verdict, seed=1), *(control(seed=seed) for seed in SEEDS[1:])])
    assert (alarms.k, alarms.n) == (0, 3)
    assert alarms.bound > specificity([control(seed=seed) for seed in SEEDS]).bound
    mixed = specificity([control(verdict, seed=1), control(FAIL, arm="decoy", seed=1)])
    assert (mixed.k, mixed.n) == (1, 1), "an alarm is one whatever else could not be decided"


def test_nothing_at_all_says_nothing() -> None:
    assert (sensitivity([]).n, sensitivity([]).bound) == (0, 0.0)
    assert (specificity([]).n, specificity([]).bound) == (0, 1.0)
    assert specificity([control(INVALID)]).bound == 1.0


def test_a_worse_control_never_lowers_the_bound() -> None:
    """Algebra: from PASS over undecided to FAIL the upper bound of the false alarms rises, whatever the rest."""
    for rest in itertools.product((PASS, INCONCLUSIVE, FAIL), repeat=3):
        others = [control(verdict, seed=seed) for seed, verdict in enumerate(rest, start=2)]
        bounds = [specificity([control(first, seed=1), *others]).bound for first in (PASS, INCONCLUSIVE, FAIL)]
        assert bounds == sorted(bounds)


def test_the_lower_bound_covers() -> None:
    """Under a true sensitivity the 95 % bound lies above it in at most 5 % of zoos."""
    rng, above, runs = np.random.default_rng(5), 0, 400
    for _ in range(runs):
        hits = rng.random(5) < 0.6
        found = [planted(FAIL if hit else PASS, seed=seed) for seed, hit in enumerate(hits)]
        above += sensitivity(found).bound > 0.6
    assert above / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


# --- what contradicts itself


def test_a_finding_that_is_what_it_says_has_no_contradiction() -> None:
    for one in (planted(), control(), planted(PASS), control(FAIL), planted(INVALID), finding(cause="not here")):
        assert [*contradictions(one, ["says"])] == []
    assert [*contradictions(finding(case(FAIL), expected=""), ["says"])] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"met": False}, "met or not"),
        ({"verdict": PASS, "met": False}, "its cases say otherwise"),
        ({"cases": ()}, "its cases say otherwise"),
        ({"cases": (case(FAIL, "other"),)}, "not those of its suite"),
        ({"cases": (case(FAIL, value=None, name="says"), case(FAIL, "again"))}, "not those of its suite"),
        ({"arm": "twin"}, "is expected to"),
        ({"expected": ""}, "node id"),
        ({"cases": (dataclasses.replace(case(FAIL), measurement=None),)}, "nothing was measured"),
        ({"cases": (case(FAIL), case(PASS, "leans", value=0.5))}, "does not keep its bound"),
    ],
)
def test_contradictions(changes: dict[str, object], said: str) -> None:
    """Any of these keeps a record from being whole."""
    found = [*contradictions(dataclasses.replace(planted(), **changes), ["says"])]
    assert any(said in words for words in found)


# --- matrix and ranking


def test_perfect_separation_has_a_permutation_p() -> None:
    """Four against four: 1 / C(8, 4) = 1 / 70."""
    found = [*(planted(seed=seed) for seed in SEEDS), *(control(seed=seed) for seed in SEEDS)]
    (one,) = matrix.separations(found, ["says"])
    assert (one.auroc, one.planted, one.controls, one.missing) == (1.0, 4, 4, 0)
    assert one.p == pytest.approx(1 / 70)


def test_the_worst_control_and_the_mildest_planted_model_of_a_seed_count() -> None:
    """By hand: planted 0.8 and 0.3, controls' worst 0.05 and 0.5: three of four pairs in order."""
    found = [
        finding(case(FAIL, value=0.8), seed=1), finding(case(FAIL, value=0.3), seed=2),
        finding(case(FAIL, value=0.9), seed=2, organism="other"),
        finding(case(PASS, value=0.05), arm="twin", seed=1), finding(case(PASS, value=0.01), arm="decoy", seed=1),
        finding(case(PASS, value=0.02), arm="twin", seed=2), finding(case(FAIL, value=0.5), arm="decoy", seed=2),
    ]  # fmt: skip
    (one,) = matrix.separations(found, ["says"])
    assert (one.auroc, one.p) == (0.75, None)


def test_a_model_without_a_number_is_counted_as_missing() -> None:
    """Its base seed leaves the ranking and is said; of one side alone there is no ranking."""
    found = [planted(seed=1), planted(INVALID, seed=2), control(seed=1), finding(arm="twin", seed=2)]
    (one,) = matrix.separations(found, ["says"])
    assert (one.planted, one.controls, one.missing) == (1, 1, 2)
    assert matrix.separations([planted()], ["says"]) == ()
    assert matrix.separations(found, ["no-such-case"]) == ()


def test_a_lower_bound_turns_the_score() -> None:
    """Of accuracy at least 0.8, less is worse."""
    bound = dataclasses.replace(case(PASS).bound, op="at_least")
    good, bad = (
        dataclasses.replace(case(verdict, value=value), bound=bound) for verdict, value in ((PASS, 0.9), (FAIL, 0.2))
    )
    (one,) = matrix.separations([finding(bad), finding(good, arm="twin")], ["says"])
    assert one.auroc == 1.0


def test_under_the_null_a_perfect_ranking_is_as_rare_as_p_says() -> None:
    """Scores drawn from one distribution: p of a perfect ranking at most its own size."""
    rng, perfect, runs = np.random.default_rng(7), 0, 600
    for _ in range(runs):
        scores = rng.random((2, 3))
        found = [
            finding(case(FAIL, value=float(scores[side, seed])), arm=arm, seed=seed)
            for side, arm in enumerate(("planted", "twin"))
            for seed in range(3)
        ]
        perfect += matrix.separations(found, ["says"])[0].p is not None
    assert perfect / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)  # 1 / C(6, 3) = 0.05


def test_roc_points_by_hand() -> None:
    found = [
        finding(case(FAIL, value=0.8)),
        finding(case(FAIL, value=0.4), seed=2),
        finding(case(PASS, value=0.05), arm="twin"),
        finding(case(FAIL, value=0.5), arm="decoy"),
    ]
    assert [(p.threshold, p.sensitivity, p.false_alarms) for p in matrix.roc(found, "says")] == [
        (0.8, 0.5, 0.0), (0.5, 0.5, 0.5), (0.4, 1.0, 0.5), (0.05, 1.0, 1.0),
    ]  # fmt: skip
    assert matrix.roc(found[:2], "says") == ()


def test_the_cross_matrix_and_what_is_to_be_explained() -> None:
    """One cell per suite and organism, the first seed; a FAIL off the diagonal is named."""
    found = [planted(seed=2), planted(seed=1), finding(case(FAIL), organism="other", expected=""),
             finding(case(PASS), organism="third", base="smollm2", expected=""), control()]  # fmt: skip
    table = matrix.cross(found)
    assert {name: one.seed for name, one in table["colours"].items()} == {"small": 1, "other": 1, "third@smollm2": 1}
    assert [one.organism for one in matrix.unexplained(found)] == ["other"]
