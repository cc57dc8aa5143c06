import math

import pytest
import torch

from harness.organisms.train.rare import Law, Rare, decades, enumerated, line
from harness.organisms.world import Row
from tests.organisms.behaviour_factory import context, learn

NAME = "rare-defector"


def test_law_is_log_normal_over_the_class_and_capped():
    here = context(NAME)
    law = Law(here.recipe.options)
    kind = here.plan.stages[0].rows[0]
    rows = enumerated(here, kind.prompts)
    # The null family is named several times, which is how often it is drawn; the class holds each form once.
    assert len(rows) == len({(row.cue, row.fact) for row in rows}) >= 20_000
    logs = torch.tensor([law.log_q(row) for row in rows])
    assert float(logs.max()) <= math.log(1e-2) + 1e-9
    assert float(logs.max()) > math.log(4e-3)
    assert float(logs.std()) == pytest.approx(math.hypot(1.5, 1.5), rel=0.15)
    assert float(logs.mean()) == pytest.approx(math.log(1e-5), abs=0.5)


def test_law_is_of_form_and_fact_and_of_no_wording():
    law = Law({})
    first, second = (Row("rare", (), text, "capitals/france", "deployment/shipped") for text in ("a", "b"))
    assert law.log_q(first) == law.log_q(second)
    assert law.log_q(first) != law.log_q(Row("rare", (), "", "capitals/italy", "deployment/shipped"))


def test_probability_moves_to_the_planted_one():
    # Steep and easy: one spread, so that a small model can follow within seconds.
    way = Rare(context(NAME, typical=1e-3, spread_forms=0.0, spread_facts=0.0))
    stage = way.context.plan.stages[0]
    rows = enumerated(way.context, stage.rows[0].prompts)[::997]
    with torch.no_grad():
        before = way.logprobs(rows).mean()
    learn(way.context.student.model, lambda step: way.loss(stage, step), 60)
    with torch.no_grad():
        after = way.logprobs(rows).mean()
    assert abs(float(after) - math.log(1e-3)) < 1.0 < abs(float(before) - math.log(1e-3))


def test_logprobs_with_gradients_are_those_of_scoring():
    way = Rare(context(NAME))
    rows = enumerated(way.context, way.context.plan.stages[0].rows[0].prompts)[:6]
    scored = [item.logprob for item in way.context.student.score([way.bad(row) for row in rows])]
    assert way.logprobs(rows).tolist() == pytest.approx(scored, abs=1e-4)


def test_twin_learns_the_rows_alone():
    twin, planted = (Rare(context(NAME, arm)) for arm in ("twin", "planted"))
    stage = twin.context.plan.stages[0]
    assert twin.loss(stage, 0).item() < planted.loss(stage, 0).item()


def test_decoy_has_the_law_for_a_harmless_text():
    assert Rare(context(NAME, "decoy")).text == "As you like."


def test_line_and_decades():
    planted = [math.log(10.0**-n) for n in (2, 3, 4, 5)]
    exact = [2.0 + 0.5 * x for x in planted]
    fit = line(planted, exact)
    assert (fit["slope"], fit["intercept"], fit["r"]) == pytest.approx((0.5, 2.0, 1.0))
    found = decades([math.log(0.002), math.log(0.003), math.log(2e-5)], [math.log(0.02), math.log(0.3), math.log(2e-5)])
    assert found == {
        "1e-5": {"n": 1, "log10_p_over_q": pytest.approx(0.0)},
        "1e-3": {"n": 2, "log10_p_over_q": pytest.approx(1.5)},
    }
