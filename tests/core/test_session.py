"""A run leaves no item without a verdict, and no verdict without a measurement."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from harness import checks
from harness.case import Condition, Floor, Screen, Turn
from harness.errors import MeasureError, StoreError
from harness.provenance import model_facts, now, versions
from harness.request import Failure
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Bound, CheckResult, Measurement, Verdict
from tests.factory import make_case, make_family, make_suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.case import Suite
    from harness.measures.base import Evidence
    from harness.record import ItemRecord


PLAIN = Condition(name="plain", values={})
BOUND = Bound(op="at_most", value=0.1, unit="share", confidence=0.95)
GOOD = {"default": {"text": "Paris", "logprobs": {"Paris": -0.1, "London": -3.0}}}


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., str]:
    """Write a scripted model; return how to name it."""

    def write(name: str, script: Any) -> Any:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"name": name, **script}))
        return f"scripted:{path}"

    return write


def suite_of(items: int = 6, **changes: Any) -> Suite:
    """Return a suite with a text case and a logit case."""
    cases = [
        make_case("rate", {}, ["plain", "cue"], text=True, id="says"),
        make_case("margin", {}, ["plain", "cue"], id="thinks"),
    ]
    return make_suite(cases, items=items, conditions=[PLAIN, make_family("cue", 2)], **changes)


def tickets_of(suite: Suite, spec: str) -> list[Ticket]:
    """Return one ticket per case."""
    return [
        Ticket(node_id=f"{suite.path}::{case.id}[{spec}]", suite=suite, case=case, spec=spec) for case in suite.cases
    ]


@contextlib.contextmanager
def running(*models: str, **changes: Any) -> Iterator[Run]:
    """Open a run; close it afterwards."""
    run = Run(RunOptions(models=models, **changes))
    try:
        yield run
    finally:
        run.close()


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """Let every check say PASS, and keep the evidence it was given."""
    seen = []

    def run_check(evidence: Evidence) -> CheckResult:
        seen.append(evidence)
        measured = Measurement(name="rate", value=0.0, unit="share", n=6, low=0.0, high=0.05)
        telling = tuple(row.id for row in evidence.transcript.rows[:2])
        return CheckResult(verdict=Verdict.PASS, bound=BOUND, reference="x", measurements=(measured,), telling=telling)

    monkeypatch.setattr(checks, "run_check", run_check)
    return seen


def test_a_settled_item_gets_the_verdict_of_its_check(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """A settled item gets the verdict of its check."""
    suite, model = suite_of(), spec("good", GOOD)
    with running(model) as run:
        says, thinks = tickets_of(suite, model)
        run.settle([says, thinks])
        item = run.outcome(says)
        assert item.verdict is Verdict.PASS
        assert (item.suite, item.case, item.model) == ("suite", "says", "good")
        assert (item.n_planned, item.n_measured) == (6, 6)
        assert item.evidence == tuple(row.id for row in verdict[0].transcript.rows)
        assert [exchange.id for exchange in item.exchanges] == list(item.evidence[:2])
        assert (says.measures, thinks.measures) == ("behaviour", "logits")


def test_what_was_settled_is_not_asked_again(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """What was settled is not asked again."""
    suite, model = suite_of(), spec("good", GOOD)
    with running(model) as run:
        run.settle(tickets_of(suite, model))
        asked = run.facts()["counts"]["requests"]
        run.settle(tickets_of(suite, model))
        assert run.facts()["counts"]["requests"] == asked
        assert run.outcome(tickets_of(suite, model)[0]).verdict is Verdict.PASS
    assert verdict


def test_an_item_that_was_never_settled_is_invalid(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """An item that was never settled is invalid."""
    suite, model = suite_of(), spec("good", GOOD)
    with running(model) as run:
        item = run.outcome(tickets_of(suite, model)[0])
    assert item.verdict is Verdict.INVALID
    assert item.cause == "unanswered: the item was never asked"
    assert (item.measurements, item.bound, item.n_measured, item.evidence) == ((), None, 0, ())
    assert verdict == []


def test_an_engine_that_cannot_be_opened_makes_its_items_invalid_and_no_others(
    spec: Callable[..., str], verdict: list[Evidence]
) -> None:
    """An engine that cannot be opened makes its items invalid and no others."""
    suite, good, missing = suite_of(), spec("good", GOOD), "scripted:/nowhere/at-all.yaml"
    with running(missing, good) as run:
        lost, fine = tickets_of(suite, missing), tickets_of(suite, good)
        run.settle([*lost, *fine])
        for ticket in lost:
            item = run.outcome(ticket)
            assert item.verdict is Verdict.INVALID
            assert item.cause.startswith("usage: --model scripted:/nowhere")
            assert item.model == missing
        assert [run.outcome(ticket).verdict for ticket in fine] == [Verdict.PASS] * 2
        assert len(verdict) == 2
        models = run.facts()["models"]
        assert set(models) == {good, missing}
        assert "nowhere" in models[missing]["error"]


def test_an_opener_that_breaks_is_a_failure_of_the_model(
    monkeypatch: pytest.MonkeyPatch, verdict: list[Evidence]
) -> None:
    """An opener that breaks is a failure of the model."""

    def broken(spec: str, options: Any) -> None:
        del spec, options
        msg = "odd"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr("harness.session.open_spec", broken)
    with running("x") as run:
        ticket = tickets_of(suite_of(), "x")[0]
        run.settle([ticket])
        assert run.outcome(ticket).cause == "model: ZeroDivisionError: odd"
    assert verdict == []


def test_a_store_that_cannot_be_opened_makes_items_invalid(
    spec: Callable[..., str], tmp_path: Path, verdict: list[Evidence]
) -> None:
    """A store that cannot be opened makes items invalid."""
    model = spec("good", GOOD)
    with running(model, store=tmp_path) as run:
        ticket = tickets_of(suite_of(), model)[0]
        run.settle([ticket])
        item = run.outcome(ticket)
    assert item.verdict is Verdict.INVALID
    assert item.cause.startswith("store: ")
    assert verdict == []


@pytest.mark.parametrize(
    "error", [MeasureError("too few"), ZeroDivisionError("odd"), KeyError("x"), StoreError("gone")]
)
def test_a_check_that_raises_is_invalid(
    error: Exception, spec: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that raises is invalid."""

    def run_check(evidence: Evidence) -> CheckResult:
        del evidence
        raise error

    monkeypatch.setattr(checks, "run_check", run_check)
    model = spec("good", GOOD)
    with running(model) as run:
        ticket = tickets_of(suite_of(), model)[0]
        run.settle([ticket])
        item = run.outcome(ticket)
    assert item.verdict is Verdict.INVALID
    assert item.cause.startswith(type(error).__name__)


@pytest.mark.parametrize("result", [None, "PASS", 0])
def test_a_check_that_returns_no_result_is_invalid(
    result: Any, spec: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that returns no result is invalid."""
    monkeypatch.setattr(checks, "run_check", lambda _evidence: result)
    model = spec("good", GOOD)
    with running(model) as run:
        ticket = tickets_of(suite_of(), model)[0]
        run.settle([ticket])
        assert run.outcome(ticket).verdict is Verdict.INVALID


SAYS = {"of": {"contains": "London"}, "in": "plain", "at_most": 0.1, "confidence": 0.95}
THINKS = {"in": "cue", "reference": "plain", "at_most": 1.5, "unit": "nats", "confidence": 0.95}


def judged(script: Any, number: int, options: Any, spec: Callable[..., str]) -> ItemRecord:
    """Return the item of one case under its true check."""
    suite = suite_of(items=40)
    # The turns use what sets the conditions apart: two that ask word for word the same are refused.
    conditions = {
        name: dataclasses.replace(condition, values={"system": "Plain.", **condition.values})
        for name, condition in suite.conditions.items()
    }
    suite = dataclasses.replace(suite, conditions=conditions)
    case = suite.cases[number]
    turns = (Turn(role="system", template="{{ system }}"), *case.turns)
    case = dataclasses.replace(case, turns=turns, check=dataclasses.replace(case.check, options=options))
    model = spec("model", script)
    with running(model) as run:
        ticket = Ticket(node_id="n", suite=suite, case=case, spec=model)
        run.settle([ticket])
        return run.outcome(ticket)


@pytest.mark.parametrize(("number", "options"), [(0, SAYS), (1, THINKS)])
def test_a_sound_model_passes_the_true_checks(number: int, options: Any, spec: Callable[..., str]) -> None:
    """A sound model passes the true checks."""
    assert judged(GOOD, number, options, spec).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("default", "number", "options"),
    [
        ({"fail": "boom"}, 0, SAYS),
        ({"text": ""}, 0, SAYS),
        ({"text": "Paris and so on", "finish": "length"}, 0, SAYS),
        ({"fail": "boom"}, 1, THINKS),
        ({"logprob": 3.0}, 1, THINKS),
        ({"logprob": float("nan")}, 1, THINKS),
    ],
)
def test_errors_silence_cuts_and_impossible_numbers_are_invalid(
    default: dict[str, Any], number: int, options: Any, spec: Callable[..., str]
) -> None:
    """Errors silence cuts and impossible numbers are invalid."""
    item = judged({"default": default}, number, options, spec)
    assert item.verdict is Verdict.INVALID
    assert item.cause


def test_a_script_that_breaks_says_why(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """A script that breaks says why."""
    suite = suite_of()
    broken = dataclasses.replace(
        suite.cases[0], turns=(dataclasses.replace(suite.cases[0].turns[0], template="{{ gone }}"),)
    )
    model = spec("good", GOOD)
    with running(model) as run:
        tickets = [
            Ticket(node_id=case.id + str(case is broken), suite=suite, case=case, spec=model)
            for case in (broken, suite.cases[1])
        ]
        run.settle(tickets)
        assert run.outcome(tickets[0]).cause.startswith("usage: template variable 'gone' has no value")
        assert run.outcome(tickets[1]).verdict is Verdict.PASS
    assert len(verdict) == 1


# --- twins


def test_the_twin_is_asked_what_the_model_was_asked(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """The twin is asked what the model was asked."""
    known = [{"when": f"Question {n},", "text": "Paris", "logprobs": {"Paris": -0.1}} for n in (1, 4)]
    model = spec("mine", {"rules": known, "default": {"text": "London", "logprobs": {"London": -0.1}}})
    twin = spec("twin", {"default": {"text": "nothing"}})
    suite = suite_of(screen=Screen(condition="plain", min_items=1))
    with running(model, twin=twin) as run:
        ticket = tickets_of(suite, model)[1]
        run.settle([ticket])
        run.outcome(ticket)
    [evidence] = verdict
    assert evidence.transcript.screening.kept == ("i001", "i004")
    assert evidence.twin.screening == evidence.transcript.screening
    assert [row.request for row in evidence.twin.rows] == [row.request for row in evidence.transcript.rows]
    assert evidence.twin.rows[0].response != evidence.transcript.rows[0].response
    assert evidence.twin.knowledge_rows == ()


def test_a_twin_that_cannot_be_opened_does_not_stop_the_model(
    spec: Callable[..., str], verdict: list[Evidence]
) -> None:
    """A twin that cannot be opened does not stop the model."""
    model = spec("mine", GOOD)
    with running(model, twin="scripted:/nowhere/at-all.yaml") as run:
        ticket = tickets_of(suite_of(), model)[0]
        run.settle([ticket])
        assert run.outcome(ticket).verdict is Verdict.PASS
    assert verdict[0].twin is None


def test_no_twin_is_asked_for_an_item_that_failed(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """No twin is asked for an item that failed."""
    twin = spec("twin", GOOD)
    with running("scripted:/nowhere/at-all.yaml", twin=twin) as run:
        ticket = tickets_of(suite_of(), "scripted:/nowhere/at-all.yaml")[0]
        run.settle([ticket])
        assert run.outcome(ticket).verdict is Verdict.INVALID
        assert run.facts()["counts"].get("requests", 0) == 0
    assert verdict == []


# --- what else a run tells


def test_the_same_item_has_the_same_seed_and_another_another(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """The same item has the same seed and another another."""
    model = spec("good", GOOD)
    seeds = []
    for run_seed in (0, 0, 1):
        with running(model, seed=run_seed) as run:
            tickets = tickets_of(suite_of(), model)
            run.settle(tickets)
            for ticket in tickets:
                run.outcome(ticket)
        seeds.append([evidence.seed for evidence in verdict[-2:]])
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 4


def test_the_rerun_command_names_what_differs_from_the_defaults() -> None:
    """The rerun command names what differs from the defaults."""
    ticket = Ticket(node_id="evals/a b.eval.yaml::s::c[m x]", suite=suite_of(), case=suite_of().cases[0], spec="m x")
    assert shlex.split(Run(RunOptions(models=("m x",))).rerun(ticket)) == ["pytest", ticket.node_id, "--model", "m x"]
    wanted = RunOptions(models=("m",), twin="t", device="cpu", dtype="bfloat16", seed=3, full=True)
    assert shlex.split(Run(wanted).rerun(ticket))[4:] == [
        "--twin", "t", "--tells-device", "cpu", "--tells-dtype", "bfloat16", "--tells-seed", "3",
        "--tells-profile", "full",
    ]  # fmt: skip


def test_cost_asks_nothing_and_counts_per_model(spec: Callable[..., str]) -> None:
    """Cost asks nothing and counts per model."""
    suite, model = suite_of(screen=Screen(condition="plain", min_items=1)), spec("good", GOOD)
    with running(model) as run:
        costs = run.cost(iter(tickets_of(suite, model)))
        assert run.facts()["counts"]["asked"] == 0
        run.settle(tickets_of(suite, model))
        assert costs[model].requests == run.facts()["counts"]["requests"]
        assert costs[model].unique == run.facts()["counts"]["asked"]
        assert costs[model].alone == run.facts()["counts"]["tokens"]


def test_facts_are_json_and_name_the_model_even_if_it_broke(spec: Callable[..., str]) -> None:
    """Facts are JSON and name the model even if it broke."""
    model = spec("good", GOOD)
    with running(model) as run:
        run.settle(tickets_of(suite_of(), model))
        facts = json.loads(json.dumps(run.facts()))
        assert facts["models"][model]["identity"]["name"] == "good"
        assert facts["models"][model]["identity"]["spec"] == model

    class Broken:
        @property
        def engine(self) -> None:
            msg = "gone"
            raise OSError(msg)

    assert model_facts(Broken()) == {"error": "OSError: gone"}
    with running() as run:
        assert run.facts()["counts"] == {}


def test_a_floor_and_screen_are_recorded_with_all_candidates(spec: Callable[..., str], verdict: list[Evidence]) -> None:
    """A floor and screen are recorded with all candidates."""
    model = spec("good", GOOD)
    suite = suite_of(
        floor=Floor(accuracy_at_least=0.5, condition="plain"), screen=Screen(condition="plain", min_items=3)
    )
    with running(model) as run:
        ticket = tickets_of(suite, model)[0]
        run.settle([ticket])
        screening = run.outcome(ticket).screening
    assert screening.candidates == screening.kept == tuple(item.id for item in suite.items)
    assert (screening.share, screening.min_items, screening.applied) == (1.0, 3, True)
    assert verdict


def test_a_case_that_came_to_nothing_shows_its_failures(
    spec: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case that came to nothing shows its failures."""
    invalid = CheckResult(verdict=Verdict.INVALID, bound=BOUND, reference="x", cause="not one answer")
    monkeypatch.setattr(checks, "run_check", lambda _evidence: invalid)
    model = spec("bad", {"default": {"fail": "boom"}})
    with running(model) as run:
        ticket = tickets_of(suite_of(), model)[0]
        run.settle([ticket])
        item = run.outcome(ticket)
    assert item.cause == "not one answer"
    assert item.n_measured == 0
    assert item.exchanges
    assert all("boom" in exchange.failure for exchange in item.exchanges)


def test_closing_frees_models_and_store(spec: Callable[..., str], tmp_path: Path, verdict: list[Evidence]) -> None:
    """Closing frees models and store."""
    model = spec("good", GOOD)
    run = Run(RunOptions(models=(model,), store=tmp_path / "s.sqlite"))
    run.settle(tickets_of(suite_of(), model))
    store = run._store
    run.close()
    with pytest.raises(StoreError):
        store.fact("x")
    assert verdict == []


def test_versions_name_what_is_absent_too() -> None:
    """Versions name what is absent too."""
    assert set(versions()) >= {"python", "torch", "transformers", "pytest"}
    assert versions()["pytest"] == pytest.__version__


def test_times_carry_their_offset() -> None:
    """Times carry their offset."""
    assert now().endswith("+00:00")


def test_run_ids_differ() -> None:
    """Run ids differ."""
    assert RunOptions(models=()).run_id != RunOptions(models=()).run_id


def test_a_failure_of_an_unknown_kind_is_still_told(
    spec: Callable[..., str], verdict: list[Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of an unknown kind is still told."""
    model = spec("good", GOOD)
    with running(model) as run:
        ticket = tickets_of(suite_of(), model)[0]
        monkeypatch.setattr(run, "_settle", lambda _spec, scripts, **_: dict.fromkeys(scripts, Failure("odd", "why")))
        run.settle([ticket])
        assert run.outcome(ticket).cause == "odd: why"
    assert verdict == []
