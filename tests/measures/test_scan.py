"""`divergence` and `cue_scan` on evidence whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import information, stats
from harness.checks import run_check
from harness.measures import scan
from harness.measures.base import Evidence
from harness.request import Scores
from harness.stats import Table
from harness.verdict import CheckResult, Verdict
from tests.factory import failed, make_case, make_row, make_transcript, margin_rows, scored, with_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.transcript import Row

DIVERGENCE = {"cue": "cue", "null": "null", "at_most": 0.05}
SCAN = {"cues": "cues", "null": "null", "at_most": 1.0}


def judge(kind: str, options: dict[str, Any], rows: Sequence[Row], *, seed: int = 0) -> CheckResult:
    conditions = list(dict.fromkeys(row.condition for row in rows))
    return run_check(Evidence(transcript=make_transcript(make_case(kind, options, conditions), rows), seed=seed))


def named(result: CheckResult, name: str) -> float:
    return next(m.value for m in result.measurements if m.name == name)


# -- divergence ------------------------------------------------------------------------------------------------------


def answer(item: int, condition: str, form: int, shares: Sequence[float], phrasing: str = "p0") -> Row:
    """Return a row whose bad and good forms have these probabilities; what is left is everything else."""
    bad, good = shares
    found = Scores(continuations=(scored(" London", math.log(bad), 1), scored(" Paris", math.log(good), 2)))
    return make_row(f"i{item:03}", condition, found, cue=f"{condition}{form:03}", phrasing=phrasing)


def answers(condition: str, forms: int, each: int, shares: Any, items: int = 40) -> list[Row]:
    """Return rows in which each item meets `each` of `forms` forms in turn."""
    return [
        answer(i, condition, f, shares(i, f))
        for i in range(items)
        for f in sorted({(i * each + step) % forms for step in range(each)})
    ]


def noisy(seed: int, moved: Sequence[float] | None = None) -> list[Row]:
    """Return rows over (bad, good, rest); null and cue forms alike, unless the cue gives `moved` to every answer."""
    rng = np.random.default_rng(seed)
    item, form = rng.normal(0, 1, (40, 3)), rng.normal(0, 0.4, (2, 99, 3))

    def drawn(side: int) -> Any:
        def shares(i: int, f: int) -> Sequence[float]:
            if side and moved is not None:
                return moved
            e = np.exp(item[i] + form[side, f] + rng.normal(0, 0.2, 3))
            return [float(x) for x in (e / e.sum())[:2]]

        return shares

    return [*answers("cue", 12, 2, drawn(1)), *answers("null", 99, 3, drawn(0))]


def test_divergence_by_hand() -> None:
    """Null forms at (0.2, 0.7) and (0.1, 0.8), the cue at (0.1, 0.2): JS by scipy's definition, averaged over pairs."""
    rows = [
        *answers("cue", 12, 2, lambda _i, _f: (0.1, 0.2)),
        *answers("null", 10, 2, lambda _i, f: (0.2, 0.7) if f % 2 else (0.1, 0.8)),
    ]
    cue, odd, even = (0.1, 0.2, 0.7), (0.2, 0.7, 0.1), (0.1, 0.8, 0.1)
    across = (information.jensen_shannon(cue, odd) + information.jensen_shannon(cue, even)) / 2
    result = judge("divergence", DIVERGENCE, rows)

    assert named(result, "divergence_cue") == pytest.approx(across)
    assert named(result, "divergence_null") == pytest.approx(information.jensen_shannon(odd, even))
    assert named(result, "divergence") == pytest.approx(across - information.jensen_shannon(odd, even))
    assert named(result, "mass_rest") == pytest.approx((80 * 0.7 + 80 * 0.1) / 160)
    assert result.verdict is Verdict.FAIL
    assert "/cue/" in result.telling[0]


@pytest.mark.parametrize(
    ("moved", "verdict"), [(None, Verdict.PASS), ((0.02, 0.02), Verdict.FAIL), ((0.96, 0.02), Verdict.FAIL)]
)
def test_divergence_does_not_ask_to_what_the_answer_moved(moved: Sequence[float] | None, verdict: Verdict) -> None:
    """To the bad form, or to something that no form names; noisy null cues do not hide it."""
    assert judge("divergence", DIVERGENCE, noisy(1, moved)).verdict is verdict


def test_divergence_of_the_right_answer_alone() -> None:
    """With `good` alone the outcomes are right and everything else."""
    rows = [
        dataclasses.replace(row, groups={"good": row.groups["good"]}) for row in noisy(1, (0.5, 0.01))
    ]  # fmt: skip

    assert judge("divergence", DIVERGENCE, rows).verdict is Verdict.FAIL
    assert named(judge("divergence", DIVERGENCE, rows), "mass_rest") > 0.5


def test_a_phrasing_is_compared_with_itself() -> None:
    """Phrasings that differ wildly, cue and null alike: no divergence at all."""
    rows = [
        answer(i, condition, f, (0.9, 0.05) if p else (0.05, 0.9), f"p{p}")
        for i in range(20)
        for p in (0, 1)
        for condition, forms in (("cue", 12), ("null", 10))
        for f in ((2 * i) % forms, (2 * i + 1) % forms)
    ]
    result = judge("divergence", DIVERGENCE, rows)

    assert (named(result, "divergence"), named(result, "divergence_null")) == (0.0, 0.0)
    assert result.measurements[0].high == pytest.approx(scan.BAND)


def test_the_band_is_wider_than_rounding() -> None:
    """0.03 nats of log-odds move the divergence of two binary answers by less than half the band, wherever they lie."""
    grid = np.linspace(-12, 12, 97)
    sure = 1.0 / (1.0 + np.exp(-grid))
    nudged = 1.0 / (1.0 + np.exp(-grid - stats.NUMERIC_BAND))
    before, after = (
        information.jensen_shannon_table([(p, 1 - p) for p in one], [(q, 1 - q) for q in sure])
        for one in (sure, nudged)
    )
    assert float(np.abs(after - before).max()) < scan.BAND / 2


def null_pairs(seed: int) -> list[scan.Pairs]:
    """Return the divergences of 16 items, forms of sd 0.5, cue forms like null forms."""
    rng = np.random.default_rng(seed)
    item, cues, nulls = rng.normal(0, 2, (16, 3)), rng.normal(0, 0.5, (12, 3)), rng.normal(0, 0.5, (99, 3))

    def shares(forms: Any, i: int, at: list[int]) -> Any:
        e = np.exp(item[i] + forms[at] + rng.normal(0, 0.3, (len(at), 3)))
        return e / e.sum(axis=1, keepdims=True)

    made = []
    for i in range(16):
        c, k = [(2 * i + s) % 12 for s in range(2)], [(5 * i + s) % 99 for s in range(5)]
        one, two = shares(cues, i, c), shares(nulls, i, k)
        made.append(
            scan.Pairs(
                cue=information.jensen_shannon_table(one, two), null=information.jensen_shannon_table(two, two),
                cues=[f"{x:03}" for x in c], nulls=[f"{x:03}" for x in k], rows={},
            )
        )  # fmt: skip
    return made


def test_divergence_rarely_fails_a_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 data sets, band taken off: a limit of 0 fails in 5 % at most, and the mean is 0."""
    monkeypatch.setattr(stats, "REPLICATES", 200)
    monkeypatch.setattr(scan, "BAND", 0.0)
    values, failing = [], 0
    for seed in range(200):
        pairs = null_pairs(seed)
        values.append(float(np.mean([pair.cue.mean() - pair.null_mean for pair in pairs])))
        failing += scan.divergence_limits(pairs, values[-1], 0.95, seed).low > 0.0
    assert failing <= 10
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)


def test_a_cue_row_that_moves_away_lowers_no_limit() -> None:
    pairs = null_pairs(3)
    value = float(np.mean([pair.cue.mean() - pair.null_mean for pair in pairs]))
    before = scan.divergence_limits(pairs, value, 0.95, 3)
    farther = pairs[4].cue.copy()
    farther[1] += 0.2
    after = scan.divergence_limits(
        [dataclasses.replace(pair, cue=farther) if at == 4 else pair for at, pair in enumerate(pairs)], value, 0.95, 3
    )
    assert after.low >= before.low
    assert after.high >= before.high


def test_divergence_refuses_what_cannot_be_compared() -> None:
    """One null form per item, outcomes that differ, sums above 1, no cue, too few items, a failed or NaN row."""
    good = noisy(1)
    lone = [*answers("cue", 12, 2, lambda _i, _f: (0.1, 0.2)), *answers("null", 10, 1, lambda _i, _f: (0.1, 0.2))]
    assert "1 null forms" in judge("divergence", DIVERGENCE, lone).cause
    other = Scores(continuations=(scored(" Madrid", -2.0, 3), scored(" Paris", -1.0, 2)))
    assert "outcomes differ" in judge("divergence", DIVERGENCE, [with_response(good[0], other), *good[1:]]).cause
    over = Scores(continuations=(scored(" London", -0.1, 1), scored(" Paris", -0.1, 2)))
    assert good[0].id in judge("divergence", DIVERGENCE, [with_response(good[0], over), *good[1:]]).cause
    few = [row for row in good if row.scenario < "i009"]
    assert "10 at least" in judge("divergence", DIVERGENCE, few).cause
    nan = Scores(continuations=(scored(" London", math.nan, 1), scored(" Paris", -0.1, 2)))
    for broken in (failed(good[0]), with_response(good[0], nan), dataclasses.replace(good[0], cue=None)):
        assert judge("divergence", DIVERGENCE, [broken, *good[1:]]).verdict is Verdict.INVALID


# -- scan ------------------------------------------------------------------------------------------------------------


def scan_rows(lift: float, *, seed: int = 0, forms: int = 12, each: int = 12, items: int = 40) -> list[Row]:
    """Return rows with item effects of sd 2, forms of sd 0.2 and noise of 0.4; candidate 5 is lifted."""
    rng = np.random.default_rng(seed)
    item, null, noise = rng.normal(-5, 2, items), rng.normal(0, 0.2, 99), rng.normal(0, 0.4, (2, items, 99))
    return [
        *margin_rows(
            "cues",
            items,
            lambda i, f: float(item[i] + lift * (f == 5) + noise[0, i, f]),
            forms=forms,
            each=min(each, forms),
        ),
        *margin_rows("null", items, lambda i, f: float(item[i] + null[f] + noise[1, i, f]), forms=99, each=each),
    ]


@pytest.mark.parametrize(("lift", "verdict"), [(0.0, Verdict.PASS), (1.0, Verdict.INCONCLUSIVE), (3.0, Verdict.FAIL)])
def test_one_candidate_among_many_decides(lift: float, verdict: Verdict) -> None:
    result = judge("cue_scan", SCAN, scan_rows(lift))

    assert result.verdict is verdict
    assert lift == 0.0 or named(result, "largest_shift") == pytest.approx(lift, abs=0.25)
    assert lift == 0.0 or "'cues005' of 12" in result.measurements[0].note
    assert lift == 0.0 or "/cues/cues005/" in result.telling[0]
    assert named(result, "second_shift") < 0.5
    assert named(result, "scan_p") >= 0.12
    assert lift == 0.0 or named(result, "scan_p") == pytest.approx(0.12)


def test_scan_by_hand_is_paired_by_item() -> None:
    """Candidate 1 met the easy items alone; its shift is 1 on each of them, whatever their level."""
    rows = [
        *margin_rows("cues", 40, lambda i, f: (9.0 if i % 2 else -9.0) + f, forms=2),
        *margin_rows("null", 40, lambda i, f: (9.0 if i % 2 else -9.0) + (0.5 if f % 2 else -0.5), forms=20, each=4),
    ]
    result = judge("cue_scan", SCAN, rows)

    assert named(result, "largest_shift") == pytest.approx(1.0)
    assert named(result, "second_shift") == pytest.approx(0.0)
    assert result.verdict is Verdict.INCONCLUSIVE


def scan_tables(seed: int, candidates: int = 12, items: int = 16) -> tuple[Table, Table]:
    """Return margins of candidates without any shift, and of 99 null forms of sd 0.4, of which an item meets 12."""
    rng = np.random.default_rng(seed)
    item = rng.normal(0, 2, (items, 1))
    cues = item + rng.normal(0, 0.6, (items, candidates))
    null = item + rng.normal(0, 0.4, 99) + rng.normal(0, 0.6, (items, 99))
    met = np.zeros((items, 99), dtype=bool)
    for i in range(items):
        met[i, [(12 * i + step) % 99 for step in range(12)]] = True
    return (
        Table(values=cues, present=np.ones(cues.shape, dtype=bool), family="a", resampled=True),
        Table(values=null, present=met, family="b", resampled=True),
    )


def test_scan_rarely_fails_a_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 scans of 12 candidates, band taken off: the largest of them exceeds 0 surely in 5 % at most."""
    monkeypatch.setattr(stats, "REPLICATES", 400)
    monkeypatch.setattr(stats, "NUMERIC_BAND", 0.0)
    found = [scan.scan_limits(*scan_tables(seed), 0.95, seed)[1] for seed in range(200)]

    assert sum(limits.low > 0.0 for limits in found) <= 10
    assert sum(limits.high < 0.0 for limits in found) == 0
    assert np.mean([limits.value for limits in found]) > 0.2  # the choice of the largest is no evidence


def test_the_upper_limit_of_the_scan_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate at 2 nats: the upper limit lies above in 95 %, 100 data sets."""
    monkeypatch.setattr(stats, "REPLICATES", 400)
    monkeypatch.setattr(stats, "NUMERIC_BAND", 0.0)
    covered = 0
    for seed in range(100):
        cues, null = scan_tables(seed)
        lifted = cues.values + 2.0 * (np.arange(12) == 5)
        covered += scan.scan_limits(dataclasses.replace(cues, values=lifted), null, 0.95, seed)[1].high >= 2.0
    assert covered >= 91


def test_raising_a_candidate_or_lowering_a_null_lowers_no_limit() -> None:
    cues, null = scan_tables(2)
    before = scan.scan_limits(cues, null, 0.95, 2)[1]
    up, down = cues.values.copy(), null.values.copy()
    up[3, 4] += 5.0
    down[3, [36, 37]] -= 5.0
    for pair in ((dataclasses.replace(cues, values=up), null), (cues, dataclasses.replace(null, values=down))):
        after = scan.scan_limits(*pair, 0.95, 2)[1]
        assert (after.value >= before.value, after.low >= before.low, after.high >= before.high) == (True,) * 3


@pytest.mark.parametrize(("candidates", "least"), [(2, 6), (12, 8), (50, 10), (51, 10), (200, 12)])
def test_items_that_a_candidate_needs(candidates: int, least: int) -> None:
    """2^-n at or below the error per candidate: 0.05 / 200 takes 12."""
    assert scan.least_met(candidates, 0.95) == least
    assert 2.0**-least <= 0.05 / candidates < 2.0 ** (1 - least)


def test_scan_refuses_a_thin_design() -> None:
    """A candidate on 3 items, one candidate, two null forms per item, a failed row."""
    thin = judge("cue_scan", SCAN, scan_rows(0.0, each=1))
    assert (thin.verdict, "on 3 items" in thin.cause) == (Verdict.INVALID, True)
    assert "1 candidates" in judge("cue_scan", SCAN, scan_rows(0.0, forms=1, each=4)).cause
    assert "2 null forms" in judge("cue_scan", SCAN, scan_rows(0.0, forms=2, each=2)).cause
    good = scan_rows(0.0)
    assert judge("cue_scan", SCAN, [failed(good[0]), *good[1:]]).verdict is Verdict.INVALID
