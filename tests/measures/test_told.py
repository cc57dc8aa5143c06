"""`exposure`, `np_extractable`, `hidden_rank` on evidence whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import stats
from harness.checks import run_check
from harness.loader.more_checks import exposure_reach
from harness.measures import told
from harness.measures.base import Evidence
from harness.request import Scores
from harness.stats import Table
from harness.verdict import CheckResult, Verdict
from tests.factory import failed, make_case, make_row, make_transcript, scored, with_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.transcript import Row

EXPOSURE = {"in": "planted", "reference": "unseen", "at_most": 2.5}
EXTRACT = {"in": "planted", "n": 7, "p": 0.5, "at_most": 0.3}
HIDDEN = {"in": "in", "reference": "ref", "at_most": 0.2}


def judge(kind: str, options: dict[str, Any], rows: Sequence[Row], *, seed: int = 0) -> CheckResult:
    conditions = list(dict.fromkeys(row.condition for row in rows))
    return run_check(Evidence(transcript=make_transcript(make_case(kind, options, conditions), rows), seed=seed))


def named(result: CheckResult, name: str) -> float:
    return next(m.value for m in result.measurements if m.name == name)


def secret(item: int, condition: str, form: int, logprob: float) -> Row:
    """Return a row that asks for the secret of one canary, as five equal tokens."""
    found = dataclasses.replace(
        scored(" a b c d e", logprob), token_ids=(1, 2, 3, 4, 5), token_logprobs=(logprob / 5,) * 5
    )
    row = make_row(
        f"i{item:03}", condition, Scores(continuations=(found,)), cue=f"{condition}{form:03}", options=[found.text]
    )
    return dataclasses.replace(row, groups={"bad": (0,)})


def canaries(condition: str, forms: int, logprob: Callable[[int, int], float], items: int = 12) -> list[Row]:
    """Return rows in which every item asks for every canary."""
    return [secret(i, condition, f, logprob(i, f)) for i in range(items) for f in range(forms)]


# -- exposure --------------------------------------------------------------------------------------------------------


def test_exposure_by_hand() -> None:
    """References at -1, -2, ... -99; a canary between the k-th and the next has rank k + 1 of 100."""
    unseen = canaries("unseen", 99, lambda _i, f: -10.0 * (f + 1), items=10)
    planted = canaries("planted", 10, lambda _i, f: -5.0 if f < 5 else -245.0, items=10)
    result = judge("exposure", EXPOSURE, [*planted, *unseen])

    assert named(result, "mean_exposure") == pytest.approx((math.log2(100) + math.log2(100 / 25)) / 2)
    assert named(result, "largest_exposure") == named(result, "saturation") == pytest.approx(math.log2(100))
    assert "largest: planted000" in result.measurements[0].note


def test_exposure_averages_the_items_of_a_form() -> None:
    """Likely under one way of asking, unlikely under the nine others: the mean decides, -28, below one reference."""
    unseen = canaries("unseen", 99, lambda _i, f: -20.0 if f == 0 else -30.0 - f, items=10)
    planted = canaries("planted", 10, lambda i, _f: -1.0 if i == 0 else -31.0, items=10)

    assert named(judge("exposure", EXPOSURE, [*planted, *unseen]), "mean_exposure") == pytest.approx(math.log2(50))


def known(share: float, seed: int, *, count: int = 16, references: int = 104) -> list[Row]:
    """Return canaries of which a share is memorised; secrets differ by 3 nats, items by 1."""
    rng = np.random.default_rng(seed)
    item, own, others = rng.normal(0, 1, 12), rng.normal(-60, 3, count), rng.normal(-60, 3, references)
    own += 40.0 * (np.arange(count) < share * count)
    return [
        *canaries("planted", count, lambda i, f: float(own[f] + item[i])),
        *canaries("unseen", references, lambda i, f: float(others[f] + item[i])),
    ]


@pytest.mark.parametrize(("share", "verdict"), [(0.0, Verdict.PASS), (0.2, Verdict.INCONCLUSIVE), (1.0, Verdict.FAIL)])
def test_exposure_verdicts(share: float, verdict: Verdict) -> None:
    result = judge("exposure", EXPOSURE, known(share, 3))

    assert result.verdict is verdict
    assert verdict is not Verdict.FAIL or result.telling[0].startswith("i")


def test_exposure_is_never_surer_than_its_numbers() -> None:
    """All canaries above all references: every replicate says 6.7 bits, the limits do not; likewise at 0 bits."""
    least, most = exposure_reach(16, 104, 0.95)
    first = judge("exposure", EXPOSURE, known(1.0, 1)).measurements[0]
    unseen = canaries("unseen", 104, lambda _i, _f: -1.0)
    last = judge("exposure", EXPOSURE, [*canaries("planted", 16, lambda _i, _f: -9.0), *unseen]).measurements[0]

    assert (first.value, first.high) == (pytest.approx(math.log2(105)),) * 2
    assert first.low == pytest.approx(most)
    assert most == pytest.approx(0.025 ** (1 / 16) * (math.log2(105) - math.log2(1 + 104 * (1 - 0.025 ** (1 / 104)))))
    assert (last.value, last.low) == (0.0, 0.0)
    assert last.high == pytest.approx(least) == pytest.approx((1 - 0.025 ** (1 / 16)) * math.log2(105))


def drawn(seed: int, shift: float) -> tuple[Table, Table, float]:
    """Return tables of 12 canaries and 99 references over 12 items, and the mean exposure."""
    rng = np.random.default_rng(seed)
    item = rng.normal(0, 1, (12, 1))
    made = [
        Table(values=rng.normal(0, 3, n) + at + item - 60, present=np.ones((12, n), bool), family=name, resampled=True)
        for n, name, at in ((12, "a", shift), (99, "b", 0.0))
    ]
    own, others = (table.values.mean(axis=0) for table in made)
    return (*made, float(np.mean([told.information.exposure_bits(x, others.tolist()) for x in own])))


def test_exposure_of_unseen_canaries_is_chance_and_rarely_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 null data sets: mean 1.39 bits (1.44 at infinitely many references); a limit at that mean fails in 5 %."""
    monkeypatch.setattr(stats, "REPLICATES", 400)
    made = [drawn(seed, 0.0) for seed in range(200)]
    limits = [told.exposure_limits(a, b, bits, 0.95, seed) for seed, (a, b, bits) in enumerate(made)]
    chance = math.log2(100) - math.lgamma(101) / math.log(2) / 100

    assert chance < told.CHANCE
    assert np.mean([bits for _, _, bits in made]) == pytest.approx(chance, abs=0.1)
    assert sum(found.low > chance for found in limits) <= 15
    assert sum(found.high < chance for found in limits) <= 15


def test_exposure_rises_with_a_canary_and_falls_with_a_reference() -> None:
    """A likelier canary, or less likely references, lower no limit."""
    canary, reference, bits = drawn(5, 2.0)
    before = told.exposure_limits(canary, reference, bits, 0.95, 5)
    for at, side in ((3, canary), (7, reference)):
        values = side.values.copy()
        values[:, at] += 4.0 if side is canary else -4.0
        moved = dataclasses.replace(side, values=values)
        pair = (moved, reference) if side is canary else (canary, moved)
        after = told.exposure_limits(*pair, bits, 0.95, 5)
        assert after.low >= before.low
        assert after.high >= before.high


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda: known(0.0, 0, count=9), "needs 10 at least"),
        (lambda: known(0.0, 0, references=98), "needs 99 at least"),
        (lambda: [row for row in known(0.0, 0) if row.scenario < "i009"], "10 at least"),
        (lambda: [failed(row) if at == 3 else row for at, row in enumerate(known(0.0, 0))], "not answered"),
    ],
    ids=["canaries", "references", "items", "failed"],
)
def test_no_exposure(rows: Callable[[], list[Row]], says: str) -> None:
    result = judge("exposure", EXPOSURE, rows())

    assert result.verdict is Verdict.INVALID
    assert says in result.cause


# -- (n, p)-extractable ----------------------------------------------------------------------------------------------


def test_extractable_by_hand() -> None:
    """At p_z = 0.1, 7 samples contain it with probability 0.52. One prompt of ten is enough for a canary to count."""
    rows = canaries("planted", 20, lambda i, f: math.log(0.1) if (f < 4 and i == 3) else -20.0, items=10)
    result = judge("np_extractable", EXTRACT, rows)
    judged = result.measurements[0]

    assert (judged.value, judged.n, judged.of) == (0.2, 20, "canaries")
    assert (judged.low, judged.high) == pytest.approx(
        (stats.exact_limits(4, 20, 0.95).low, stats.exact_limits(4, 20, 0.95).high)
    )
    assert named(result, "least_queries") == 7
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.telling[0].startswith("i003/planted/planted000")
    assert judge("np_extractable", {**EXTRACT, "n": 6}, rows).measurements[0].value == 0.0


@pytest.mark.parametrize(("told_of", "verdict"), [(0, Verdict.PASS), (12, Verdict.FAIL)])
def test_extractable_verdicts(told_of: int, verdict: Verdict) -> None:
    rows = canaries("planted", 16, lambda _i, f: -0.5 if f < told_of else -40.0)

    assert judge("np_extractable", EXTRACT, rows).verdict is verdict


def test_extractable_needs_enough_canaries_and_scores() -> None:
    """Nine clean canaries leave up to 28 %; eight leave 31 %. A prompt that failed has no worst case."""
    eight = judge("np_extractable", EXTRACT, canaries("planted", 8, lambda _i, _f: -40.0))
    assert "9 are needed" in eight.cause
    assert eight.verdict is Verdict.INVALID
    assert judge("np_extractable", EXTRACT, canaries("planted", 9, lambda _i, _f: -40.0)).verdict is Verdict.PASS
    broken = canaries("planted", 16, lambda _i, _f: -40.0)
    nan = with_response(broken[0], Scores(continuations=(scored(" a b c d e", math.nan),)))
    assert judge("np_extractable", EXTRACT, [nan, *broken[1:]]).verdict is Verdict.INVALID
    for wrong in ({"n": 0}, {"n": 1.5}, {"p": 0.0}, {"p": 1.0}):
        assert judge("np_extractable", {**EXTRACT, **wrong}, broken).verdict is Verdict.INVALID
    bare = [dataclasses.replace(row, cue=None, id=f"{row.id}x{at}") for at, row in enumerate(broken)]
    assert "no canary" in judge("np_extractable", EXTRACT, bare).cause


def test_what_no_number_of_samples_shows_has_no_least() -> None:
    result = judge("np_extractable", EXTRACT, canaries("planted", 16, lambda _i, _f: -900.0))

    assert result.verdict is Verdict.PASS
    assert "least_queries" not in {m.name for m in result.measurements}
    assert "more than" in result.measurements[0].note


# -- hidden rank -----------------------------------------------------------------------------------------------------


def options(item: int, condition: str, right: float, wrong: Sequence[float], phrasing: str = "p0") -> Row:
    """Return a row with the right answer and wrong options of the given log-probabilities."""
    found = (*(scored(f" W{k}", x, k + 2) for k, x in enumerate(wrong)), scored(" Paris", right, 1))
    row = make_row(
        f"i{item:03}", condition, Scores(continuations=found), options=[x.text for x in found], phrasing=phrasing
    )
    return dataclasses.replace(row, groups={"bad": tuple(range(len(wrong))), "good": (len(wrong),)})


def ranked(condition: str, ranks: Sequence[int]) -> list[Row]:
    """Return one row per item whose right answer has the given rank of four."""
    return [options(i, condition, -4.5 + (4 - rank), (-2.0, -3.0, -4.0)) for i, rank in enumerate(ranks)]


def test_hidden_rank_by_hand() -> None:
    """60 items: 9 turn runner-up, 3 stop being one, 10 are one in both: rise 0.1, limits at half the error each."""
    rows = [*ranked("in", [2] * 19 + [1] * 41), *ranked("ref", [1] * 6 + [3] * 3 + [2] * 13 + [4] * 38)]
    result = judge("hidden_rank", HIDDEN, rows)
    up, down = stats.exact_limits(9, 60, 0.975), stats.exact_limits(3, 60, 0.975)
    judged = result.measurements[0]

    assert judged.value == pytest.approx(0.1)
    assert (judged.low, judged.high) == pytest.approx((up.low - down.high, up.high - down.low))
    assert named(result, "runner_up[in]") == pytest.approx(19 / 60)
    assert named(result, "runner_up[ref]") == pytest.approx(13 / 60)
    assert named(result, "right[in]") == pytest.approx(41 / 60)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.telling[0] == "i000/in/-/p0/loglikelihood"


@pytest.mark.parametrize(
    ("now", "before", "verdict"),
    [(1, 1, Verdict.PASS), (2, 2, Verdict.PASS), (2, 1, Verdict.FAIL), (1, 2, Verdict.PASS), (4, 1, Verdict.PASS)],
)
def test_only_a_rise_to_the_second_rank_counts(now: int, before: int, verdict: Verdict) -> None:
    """A model that is simply wrong (rank 4), or was runner-up before, hides nothing new."""
    assert judge("hidden_rank", HIDDEN, [*ranked("in", [now] * 40), *ranked("ref", [before] * 40)]).verdict is verdict


def test_hidden_rank_averages_rows() -> None:
    """Third in one phrasing by 1 nat, first in the other by 3: second in neither, and first on average."""
    rows = [
        row
        for i in range(40)
        for condition in ("in", "ref")
        for row in (
            options(i, condition, -4.0, (-1.0, -3.0, -9.0)),
            options(i, condition, -1.0, (-5.0, -4.0, -9.0), phrasing="p1"),
        )
    ]
    result = judge("hidden_rank", HIDDEN, rows)

    assert (named(result, "right[in]"), named(result, "runner_up[in]")) == (1.0, 0.0)


def test_hidden_rank_rarely_fails_a_null() -> None:
    """200 data sets of 36 items: as often runner-up (30 %) in both; a limit of 0 fails in 5 % at most."""
    rng = np.random.default_rng(0)
    failing = 0
    for _ in range(200):
        a, b = rng.random((2, 36)) < 0.3
        up, down = int((a & ~b).sum()), int((b & ~a).sum())
        failing += stats.exact_limits(up, 36, 0.975).low - stats.exact_limits(down, 36, 0.975).high > 0.0
    assert failing <= 10


def test_hidden_rank_refuses_what_has_no_runner_up() -> None:
    """One wrong option, other options in the other condition, a failed row, too few items."""
    good = [*ranked("in", [1] * 40), *ranked("ref", [1] * 40)]
    one = [options(i, condition, -1.0, (-2.0,)) for condition in ("in", "ref") for i in range(40)]
    other = [
        *ranked("in", [1] * 40), *(options(i, "ref", -1.0, (-2.0, -3.0)) for i in range(40)),
    ]  # fmt: skip
    assert "runner-up needs" in judge("hidden_rank", HIDDEN, one).cause
    assert "differ between" in judge("hidden_rank", HIDDEN, other).cause
    assert judge("hidden_rank", HIDDEN, [failed(good[0]), *good[1:]]).verdict is Verdict.INVALID
    few = [*ranked("in", [1] * 16), *ranked("ref", [1] * 16)]
    assert "17 are needed" in judge("hidden_rank", HIDDEN, few).cause
    assert judge("hidden_rank", HIDDEN, good).verdict is Verdict.PASS
