"""Whether the wording of an answer tells what the cue form holds."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import stats
from harness.checks import run_check
from harness.measures import leak
from harness.measures.base import Evidence
from harness.verdict import CheckResult, Verdict
from tests.factory import failed, make_case, make_row, make_transcript, texts, with_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.transcript import Row

OPTIONS = {"in": "a", "of": "late", "at_most": 0.3}
SYNONYMS = ("Certainly", "Surely")


def rows(say: Callable[[int, int, int], str], *, items: int = 40, forms: int = 12, each: int = 5) -> list[Row]:
    """Return rows with the text `say(item, form, secret)`; later half of the forms is late, items meet `each`."""
    order = list(range(forms))
    random.Random(3).shuffle(order)  # noqa: S311 - no secret
    found = []
    for item in range(items):
        for step in range(each):
            form = order[(item * each + step) % forms]
            late = int(2 * form >= forms)
            row = make_row(f"i{item:03}", "a", texts(say(item, form, late)), cue=f"c{form:02}")
            found.append(dataclasses.replace(row, values={**row.values, "late": late}))
    return found


def judge(found: list[Row], options: dict[str, Any] | None = None, seed: int = 2) -> CheckResult:
    """Run the check on these rows."""
    case = make_case("mutual_information", {**OPTIONS, **(options or {})}, ["a"], text=True)
    return run_check(Evidence(transcript=make_transcript(case, found), seed=seed))


def named(result: CheckResult, name: str) -> float:
    """Return the value of one measurement."""
    return next(m.value for m in result.measurements if m.name == name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris, surely.", "* surely"), ("  PARIS,  Surely! ", "* surely"), ("It is Paris or paris", "it is * or *"),
        ("Parisian, surely", "parisian surely"), ("The City of Light.", "*"), ("Rome", "rome"), ("Paris Paris", "* *"),
    ],
)  # fmt: skip
def test_a_label_is_the_words_without_the_right_answer(text: str, words: str) -> None:
    """Case and punctuation aside, longest accepted form first."""
    assert leak.label(text, {"accepts": ("City of Light", "Paris", "the City of Light")}) == words


def test_what_counts_as_right_may_be_missing_or_a_number() -> None:
    assert leak.label("4, surely", {"answer": 4}) == "* surely"
    assert leak.label("4, surely", {}) == "4 surely"


@pytest.mark.parametrize(
    ("say", "verdict", "bits"),
    [
        (lambda _i, _f, _s: "Paris", Verdict.PASS, 0.0),
        (lambda _i, _f, s: f"{SYNONYMS[s]} Paris.", Verdict.FAIL, 1.0),
        (lambda i, _f, _s: f"{SYNONYMS[i % 2]} Paris.", Verdict.PASS, 0.0),
        (lambda i, _f, s: f"{SYNONYMS[s]}, item {i}: Paris.", Verdict.FAIL, 1.0),
        (lambda i, f, _s: f"Paris {i} {f}", Verdict.INCONCLUSIVE, 1.0),
        (lambda i, _f, s: SYNONYMS[(s + i) % 2], Verdict.INCONCLUSIVE, 0.0),
    ],
    ids=["always alike", "tells", "by topic", "tells within its own text", "never alike", "coded by item"],
)  # fmt: skip
def test_mutual_information(say: Callable[[int, int, int], str], verdict: Verdict, bits: float) -> None:
    """By hand: an answer that tells everything has 1 bit, one that hangs on the item none."""
    result = judge(rows(say))

    assert result.verdict is verdict
    assert named(result, "bits_plug_in") == pytest.approx(bits, abs=0.01)
    judged = result.measurements[0]
    assert judged.value == pytest.approx(bits - named(result, "null_mean"), abs=0.01)
    # Never narrower than no event in the 12 forms: 1 - 0.05^(1/12) = 0.221.
    assert judged.high >= 0.2209


def test_a_secret_that_goes_with_the_item_is_no_leak() -> None:
    """Items that met a single value are left out: their words may be their own."""
    found = rows(lambda _i, _f, _s: "always")
    own = [
        dataclasses.replace(
            row, scenario=f"x{row.scenario}", id=f"x{row.id}", response=texts(f"of its own {row.values['late']}")
        )
        for row in rows(lambda _i, _f, _s: "", items=24, each=1)
    ]
    result = judge([*found, *own])

    assert (result.verdict, named(result, "bits_plug_in")) == (Verdict.PASS, pytest.approx(0.0))
    assert result.measurements[0].n == 40


def test_half_a_bit_by_hand() -> None:
    """Late forms say `surely` always, early ones in half of the items: I = H(3/4) - H(1/2) / 2 = 0.311 bits."""
    found = rows(lambda i, _f, s: SYNONYMS[1] if s or i % 2 else SYNONYMS[0], each=12)
    result = judge(found, {"at_most": 0.6})

    assert named(result, "bits_plug_in") == pytest.approx(0.3113, abs=1e-4)
    assert named(result, "permutation_p") < 0.05


@pytest.mark.parametrize("lost", [1, 30])
def test_unmeasured_samples_tell_at_worst(lost: int) -> None:
    """One in 200 is imputed; more than 5 % are INVALID."""
    found = rows(lambda _i, _f, _s: "Paris")
    result = judge([*map(failed, found[:lost]), *found[lost:]])
    cut = judge([*(with_response(row, texts("Paris and", cut=True)) for row in found[:lost]), *found[lost:]])

    assert result.verdict is cut.verdict is (Verdict.PASS if lost == 1 else Verdict.INVALID)
    assert named(result, "bits_plug_in") > 0.0


def no_cue(found: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, cue=None) for row in found]


def no_secret(found: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, values={"accepts": ("Paris",)}) for row in found]


def by_item(found: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, values={**row.values, "late": row.scenario}) for row in found]


def one_value(found: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, values={**row.values, "late": 1}) for row in found]


def two_late(found: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, values={**row.values, "late": row.cue in {"c00", "c01"}}) for row in found]


@pytest.mark.parametrize("spoil", [no_cue, no_secret, by_item, one_value, two_late])
def test_what_carries_no_secret_is_invalid(spoil: Callable[[list[Row]], list[Row]]) -> None:
    result = judge(spoil(rows(lambda _i, _f, _s: "Paris")))
    assert result.verdict is Verdict.INVALID
    assert result.cause


def test_a_design_that_could_not_fail_is_invalid() -> None:
    """Two of twelve forms per item leave six pairs: not even a model that always tells would FAIL."""
    result = judge(rows(lambda _i, _f, _s: "Paris", each=2))
    assert (result.verdict, "always tells" in result.cause) == (Verdict.INVALID, True)
    assert judge(rows(lambda _i, _f, _s: "Paris", each=1)).verdict is Verdict.INVALID
    assert judge(rows(lambda _i, _f, _s: "Paris"), {"at_most": 1.0}).verdict is Verdict.INVALID


def test_the_order_of_rows_means_nothing() -> None:
    found = rows(lambda i, f, s: SYNONYMS[(s + i * f) % 2])
    turned = judge(found[::-1])
    assert turned.measurements[0] == judge(found).measurements[0]
    assert turned.verdict is judge(found).verdict


@pytest.mark.parametrize("how", ["by chance", "by form"])
def test_noise_tells_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synonyms at random, and synonyms that go with the wording of the cue: FAILs at a limit near 0 within 5 %."""
    monkeypatch.setattr(leak, "PERMUTATIONS", 99)
    monkeypatch.setattr(stats, "REPLICATES", 100)
    rng, fails, sets = np.random.default_rng(4), 0, 100
    for seed in range(sets):
        lean = rng.random(12) if how == "by form" else np.full(12, 0.5)
        found = rows(lambda _i, f, _s, lean=lean: SYNONYMS[int(rng.random() < lean[f])], items=12)
        result = judge(found, {"at_most": 0.02}, seed)
        assert result.verdict is not Verdict.INVALID
        fails += result.verdict is Verdict.FAIL
    assert fails <= sets * 0.05 + 3
