"""Stopping early: only at the planned number can a model pass, and the simulation finds rules that are too lenient."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import curtail
from harness.curtail import GO_ON
from harness.errors import MeasureError
from harness.measures import elicit, exchange, leak, scan, separation, told  # noqa: F401 - see `bench`
from harness.stats import exact_limits
from harness.verdict import Bound, Verdict

FAST = settings(max_examples=60, deadline=None, derandomize=True)
decide = functools.cache(curtail.decide)


@pytest.fixture(scope="module")
def bench() -> Any:
    """Import bench/coverage.py, not under its own name: a package that measures something else has that too.

    The measures that it takes are imported above: pytester forgets what is imported inside a run, and a measure is
    registered once.
    """
    path = Path(__file__).resolve().parents[1] / "bench" / "coverage.py"
    spec = importlib.util.spec_from_file_location("bench_coverage", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path.parent))
        patch.setitem(sys.modules, "bench_coverage", module)  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("failures", "asked", "said"),
    [
        (0, 0, GO_ON),
        (0, 298, GO_ON),
        (0, 299, Verdict.PASS),
        (1, 299, Verdict.INCONCLUSIVE),  # bounds of 0.02 % and 1.58 % around 1 %
        (1, 5, Verdict.FAIL),  # one in five at 1 %: 4.9 %
        (1, 6, Verdict.INCONCLUSIVE),  # 5.9 %
        (3, 100, Verdict.INCONCLUSIVE),
        (9, 100, Verdict.FAIL),
        (299, 299, Verdict.FAIL),
    ],
)
def test_a_plan_that_lets_nothing_fail(failures, asked, said):
    assert curtail.decide(299, 0.01, 0.95, failures, asked) == said


def test_a_plan_that_lets_four_fail():
    """1,000 scenarios, limit 1 %: four failures pass at the end, the fifth stops."""
    assert curtail.decide(1000, 0.01, 0.95, 4, 999) == GO_ON
    assert curtail.decide(1000, 0.01, 0.95, 4, 1000) is Verdict.PASS
    assert curtail.decide(1000, 0.01, 0.95, 5, 900) is Verdict.INCONCLUSIVE
    assert curtail.decide(1000, 0.01, 0.95, 5, 100) is Verdict.FAIL


@FAST
@given(data=st.data())
def test_at_the_end_it_says_what_the_bound_says(data):
    n, limit = data.draw(st.integers(30, 400)), data.draw(st.sampled_from([0.1, 0.2, 0.5]))
    k = data.draw(st.integers(0, n))
    limits = exact_limits(k, n, 0.95)
    bound = Bound(op="at_most", value=limit, unit="share", confidence=0.95)
    assert decide(n, limit, 0.95, k, n) is bound.judge(limits.low, limits.high)


@FAST
@given(data=st.data())
def test_more_failures_never_help_and_nothing_passes_before_its_end(data):
    n = data.draw(st.integers(29, 300))
    asked = data.draw(st.integers(1, n))
    said = [decide(n, 0.1, 0.95, k, asked) for k in sorted(data.draw(st.lists(st.integers(0, asked), min_size=2)))]
    order = [GO_ON, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert [order.index(one) for one in said] == sorted(order.index(one) for one in said)
    assert asked == n or Verdict.PASS not in said


@pytest.mark.parametrize(
    "given_",
    [
        (299, 0.01, 0.95, 2, 1),
        (299, 0.01, 0.95, 0, 300),
        (299, 0.01, 0.95, -1, 10),
        (299, 0.01, 0.95, 0, -1),
        (0, 0.01, 0.95, 0, 0),
        (298, 0.01, 0.95, 0, 0),
        (299, 0.0, 0.95, 0, 0),
        (299, 1.0, 0.95, 0, 0),
        (299, math.nan, 0.95, 0, 0),
        (299, 0.01, 0.5, 0, 0),
        (299, 0.01, 0.95, math.nan, 10),
        (299, 0.01, 0.95, 0, 10.5),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given_):
    with pytest.raises(MeasureError):
        curtail.decide(*given_)


def test_a_model_at_the_limit_passes_in_one_of_twenty_however_often_it_is_looked_at(bench):
    """The upper end of the 99 % band around 5 % for 1,000 runs is 6.8 %; looks at each scenario, every seven, once."""
    rng = np.random.default_rng(2)
    for batch in (1, 7, 60):
        said = [bench.curtailed(rng.random(60) < 0.05, 0.05, batch) for _ in range(1000)]
        assert said.count(Verdict.PASS) <= 68
        assert said.count(Verdict.PASS) >= 20  # 0.95^60 = 4.6 %: the plan can pass
        assert said.count(Verdict.FAIL) <= 68


def test_peeking_at_a_fixed_bound_passes_far_too_often(bench):
    """Published for up to 1,000 looks at a nominal 5 %: 23.6 %. The same models under a curtailed plan stay below."""
    rng = np.random.default_rng(4)
    models = [rng.random(1000) < 0.05 for _ in range(400)]
    assert 0.18 <= np.mean([bench.peeking(failed, 0.05) for failed in models]) <= 0.30
    assert np.mean([bench.curtailed(failed, 0.05, 100) is Verdict.PASS for failed in models]) <= 0.08


# -- the simulation of all limits -------------------------------------------------------------------------------------


def test_the_simulation_holds_where_it_should_and_finds_a_bad_rule(bench, capsys):
    assert bench.main(["--quick", "--only", "exact", "--only", "again until green"]) == 0
    said = capsys.readouterr().out
    assert " 0 violated" in said
    assert said.count("contrast") == 2


def test_a_limit_that_misses_is_a_violation(bench, capsys, monkeypatch):
    """A share of 10 % said to be at most what was seen."""
    broken = bench.Simulation(
        name="naive", design="none", once=lambda rng, _: (rng.binomial(60, 0.1) / 60 < 0.1, False)
    )  # fmt: skip
    monkeypatch.setattr(bench, "simulations", lambda: iter([broken]))
    assert bench.main(["--quick"]) == 1
    assert "VIOLATED" in capsys.readouterr().out


def test_nothing_simulated_is_no_success(bench):
    """No line, no data set, or a contrast that the simulation did not find."""
    assert bench.main(["--only", "no such line"]) == 1
    assert bench.Line(name="a", design="b", replications=0, wrong=0).violated
    assert bench.Line(name="a", design="b", replications=300, wrong=15, contrast=True).violated
    assert not bench.Line(name="a", design="b", replications=300, wrong=25).violated
    assert bench.Line(name="a", design="b", replications=300, wrong=26).violated


def test_shares_of_scenarios_by_hand(bench):
    """Of two rows: 1 - 0.9^2; with a correlation of 0.5, Beta(0.1, 0.9): 1 - 0.9 * 1.9 / 2."""
    assert bench.any_of(2, 0.1, 0.0) == pytest.approx(0.19)
    assert bench.any_of(2, 0.1, 0.5) == pytest.approx(1 - 0.9 * 1.9 / 2)
    drawn = bench.hits(np.random.default_rng(0), 20_000, 2, 0.1, 0.5)
    assert (drawn > 0).mean() == pytest.approx(0.145, abs=0.01)
    # Var of a sum of two Bernoulli with correlation 0.5.
    assert drawn.var() == pytest.approx(2 * 0.09 * 1.5, abs=0.015)
