"""Asked again in float32 alone: when, what counts then, and that nothing on that way becomes a PASS by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import numeric, record, record_file
from harness.canonical import digest
from harness.case import Condition
from harness.engines.scripted import ScriptedEngine
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Verdict
from harness.writers import markdown, terminal
from tests.factory import make_case, make_suite
from tests.record_factory import make_item, make_record
from tests.test_numeric import ODD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.case import Suite
    from harness.engines.base import EngineOptions
    from harness.record import ItemRecord

LIMIT = math.exp(-1.0)
PLAIN = Condition(name="plain", values={})
QUICK = settings(max_examples=100, deadline=None, database=None)
NATS = st.floats(-1.3, -0.7)
TOLERANCES = st.one_of(st.sampled_from(ODD), st.floats(0.0, 0.3))


class Rounded(ScriptedEngine):
    """A scripted engine that says which dtype it is in, how it batches, and how far its numbers can be trusted."""

    __slots__ = ("alone", "closed", "dtype")

    @property
    def identity(self) -> Any:
        """Identity with the dtype; the numerics say whether rows stand alone."""
        numerics = f"rounded/1 {'alone' if self.alone else 'packed'}"
        return dataclasses.replace(super().identity, dtype=self.dtype, numerics=numerics)

    def close(self) -> None:
        """Count."""
        self.closed += 1


@dataclasses.dataclass
class Machine:
    """What a run can open: numbers in the dtype of the run, and others in float32 alone."""

    first: Any = -1.05
    """log P of every continuation, or what raises."""
    finer: Any = -1.05
    tolerance: Any = 0.1
    band: Any = 1e-5
    dtype: str = "bfloat16"
    alone: bool = False
    """Whether the run itself is in float32 alone."""
    obeys: bool = True
    """Whether the engine goes into float32 alone when it is told to."""
    changed: bool = False
    """Whether the weights are others by then."""
    asked: list[tuple[str, EngineOptions]] = dataclasses.field(default_factory=list)
    opened: list[Rounded] = dataclasses.field(default_factory=list)

    def __call__(self, spec: str, options: EngineOptions) -> Rounded:
        self.asked.append((spec, options))
        again = options.alone
        number = self.finer if again else self.first
        if isinstance(number, ZeroDivisionError):
            raise number

        def reply(_request: Any, _prompt: str) -> dict[str, Any]:
            return {"fail": number} if isinstance(number, str) else {"logprob": number, "text": "Paris"}

        engine = Rounded(
            reply, name=spec, version=f"{again and self.changed}", tolerance=self.band if again else self.tolerance
        )
        engine.dtype = "float32" if self.alone or (again and self.obeys) else self.dtype
        engine.alone = self.alone or (again and self.obeys)
        engine.closed = 0
        self.opened.append(engine)
        return engine


def suite_of(*, text: bool = False, items: int = 2) -> Suite:
    """Return a suite with a bound on the largest P(bad)."""
    options = {"of": "bad", "in": "plain", "at_most": LIMIT}
    if text:
        options = {"of": {"contains": "London"}, "in": "plain", "at_most": 0.2}
    kind = "rate" if text else "exact_probability"
    return make_suite([make_case(kind, options, ["plain"], text=text)], items=items, conditions=[PLAIN])


@contextlib.contextmanager
def running(machine: Machine, **options: Any) -> Iterator[Run]:
    """Open a run on a machine; close it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.session.open_spec", machine)
        patch.setattr("harness.rescoring.open_spec", machine)
        run = Run(RunOptions(models=("m",), dtype=machine.dtype, **options))
        try:
            yield run
        finally:
            run.close()


def outcome(machine: Machine, suite: Suite | None = None, **options: Any) -> ItemRecord:
    """Return what becomes of one item."""
    suite = suite or suite_of()
    ticket = Ticket(node_id="suite.eval.yaml::suite::case[m]", suite=suite, case=suite.cases[0], spec="m")
    with running(machine, **options) as run:
        run.settle([ticket])
        return run.outcome(ticket)


# --- when


def test_a_decision_outside_the_band_is_not_asked_again():
    machine = Machine(first=-1.2)
    item = outcome(machine)
    assert (item.verdict, item.rescored) == (Verdict.PASS, None)
    assert len(machine.opened) == 1


def test_a_decision_within_the_band_is_asked_again_in_float32_alone_and_that_verdict_counts():
    machine = Machine(first=-1.05, finer=-0.9)
    item = outcome(machine, seed=3)
    assert [options.alone for _, options in machine.asked] == [False, True]
    assert machine.asked[1][1].dtype == "float32"
    assert item.verdict is Verdict.FAIL
    assert item.measurements[0].value == pytest.approx(math.exp(-0.9))
    assert item.measurements[0].note.endswith(
        "re-scored in float32 alone, every row by itself; PASS before in bfloat16"
    )
    assert item.exchanges[0].scored[0].logprob == pytest.approx(-0.9)
    assert item.rescored == numeric.Rescored(
        dtype="bfloat16", verdict=Verdict.PASS, tolerance=0.1, again=Verdict.FAIL, band=1e-5, numerics="rounded/1 alone"
    )


def test_a_fail_that_was_rounding_passes_in_float32():
    item = outcome(Machine(first=-0.95, finer=-1.2))
    assert item.verdict is Verdict.PASS
    assert item.cause == ""
    assert item.rescored is not None
    assert item.rescored.verdict is Verdict.FAIL


def test_a_decision_that_float32_cannot_make_either_is_inconclusive_and_says_which_numbers():
    item = outcome(Machine(first=-1.05, finer=-1.00002, band=1e-4))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert item.cause.startswith("numeric: largest_probability 0.367872 [0.367872, 0.367872] is too near to at most")
    for part in (
        "0.367879 probability",
        "0.0001 nat per token",
        "give FAIL instead of PASS",
        "PASS before in bfloat16",
    ):
        assert part in item.cause
    assert item.rescored is not None
    assert item.rescored.again is Verdict.PASS


def test_text_is_never_asked_again():
    machine = Machine(tolerance=math.nan)
    item = outcome(machine, suite_of(text=True, items=40))
    assert (item.verdict, item.rescored) == (Verdict.PASS, None)
    assert len(machine.opened) == 1


@pytest.mark.parametrize("tolerance", ODD)
def test_an_unknown_tolerance_is_asked_again(tolerance):
    machine = Machine(first=-5.0, finer=-4.0, tolerance=tolerance)
    item = outcome(machine)
    assert (item.verdict, len(machine.opened)) == (Verdict.PASS, 2)
    assert item.rescored is not None
    assert item.rescored.tolerance is None
    assert record.item_from_json(json.loads(json.dumps(record.item_to_json(item), allow_nan=False))) == item


@pytest.mark.parametrize(("band", "used"), [(None, 1e-4), (0.0, 1e-4), (2e-5, 2e-5)])
def test_float32_has_a_band_where_its_self_check_found_none(band, used):
    item = outcome(Machine(finer=-1.00005, band=band))
    assert item.verdict is (Verdict.INCONCLUSIVE if used > 5e-5 else Verdict.PASS)
    assert item.rescored is not None
    assert item.rescored.band == used


@pytest.mark.parametrize("band", [math.nan, math.inf, -1.0])
def test_a_band_of_float32_that_is_no_number_decides_nothing(band):
    item = outcome(Machine(finer=-5.0, band=band))
    assert item.verdict is Verdict.INCONCLUSIVE
    assert "nobody knows" in item.cause


def test_what_runs_in_float32_alone_already_is_not_asked_again():
    machine = Machine(alone=True)
    item = outcome(machine)
    assert (item.verdict, len(machine.opened)) == (Verdict.INCONCLUSIVE, 1)
    assert "nothing finer" in item.cause
    assert item.rescored is not None
    assert item.rescored.again is None
    assert outcome(Machine(first=-1.2, alone=True)).verdict is Verdict.PASS


def test_float32_in_packs_is_asked_again_only_within_its_band():
    near = Machine(first=-1.000001, finer=-1.00002, tolerance=1e-5, dtype="float32")
    assert outcome(near).verdict is Verdict.PASS
    assert len(near.opened) == 2
    fine = Machine(first=-1.0001, tolerance=1e-5, dtype="float32")
    assert outcome(fine).rescored is None


# --- when it fails


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"finer": "boom"}, "forward: RuntimeError: boom"),
        ({"finer": ZeroDivisionError("odd")}, "model: ZeroDivisionError: odd"),
        ({"finer": math.nan}, "numeric"),
        ({"obeys": False}, "cannot be asked in float32"),
        ({"changed": True}, "other weights than those that answered first"),
    ],
)
def test_asking_again_that_fails_is_invalid(changes, why):
    item = outcome(Machine(**changes))
    assert item.verdict is Verdict.INVALID
    assert item.cause.startswith(
        "numeric: PASS lies within the band of bfloat16, and asking again in float32 alone failed"
    )
    assert why in item.cause
    assert item.rescored is not None
    assert item.rescored.again is None


# --- the rest of the run


def test_first_weights_make_room_and_all_are_freed():
    machine = Machine()
    outcome(machine)
    assert [engine.closed for engine in machine.opened] == [2, 1]


def test_the_twin_is_asked_again_too():
    machine = Machine(first=-1.05, finer=-1.2)
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        real = numeric.other_verdict

        def look(evidence: Any, *rest: Any) -> Any:
            seen.append(evidence)
            return real(evidence, *rest)

        patch.setattr(numeric, "other_verdict", look)
        item = outcome(machine, twin="t")
    assert item.verdict is Verdict.PASS
    assert [(spec, options.alone) for spec, options in machine.asked] == [
        ("m", False), ("t", False), ("m", True), ("t", True),
    ]  # fmt: skip
    assert [one.twin.rows[0].response.continuations[0].logprob for one in seen] == [-1.05, -1.2]


def test_answers_of_float32_are_stored_apart_and_not_asked_twice(tmp_path: Path):
    store = tmp_path / "store.sqlite"
    first = outcome(Machine(finer=-0.9), store=store)
    # The second run asks nothing at all: the tolerance is then the one that the store remembers.
    silent = Machine(first="boom", finer="boom", tolerance=None, band=None)
    second = outcome(silent, store=store)
    assert [engine.batches for engine in silent.opened] == [[], []]
    assert (first.verdict, second.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert second.rescored == first.rescored
    assert second.rescored is not None
    assert (second.rescored.tolerance, second.rescored.band) == (0.1, 1e-5)


def test_what_asking_again_costs_is_counted():
    suite = suite_of()
    ticket = Ticket(node_id="x::suite::case[m]", suite=suite, case=suite.cases[0], spec="m")
    with running(Machine()) as run:
        run.settle([ticket])
        before = run.facts()["counts"]["asked"]
        run.outcome(ticket)
        assert run.facts()["counts"]["asked"] == 2 * before


@pytest.mark.parametrize(
    ("gap", "tolerance", "verdict"),
    [
        (0.05, 0.1, Verdict.INCONCLUSIVE),
        (-0.05, 0.1, Verdict.INCONCLUSIVE),
        (0.2, 0.1, Verdict.PASS),
        (-0.2, 0.1, Verdict.FAIL),
        (0.2, None, Verdict.INCONCLUSIVE),
        (0.2, math.nan, Verdict.INCONCLUSIVE),
    ],
)
def test_a_trend_within_the_band_is_inconclusive_and_not_asked_again(gap, tolerance, verdict):
    watched = suite_of().cases[0]
    trend = dataclasses.replace(
        make_case("trend", {"of": "case", "at_most": LIMIT, "unit": "probability"}, [], id="grows"), loglikelihood=None
    )
    suite = make_suite([watched, trend], items=2, conditions=[PLAIN])
    specs = tuple(f"run/checkpoint-{step}" for step in range(1, 7))
    machine = Machine(first=-1.0 - gap, tolerance=tolerance)
    ticket = Ticket(node_id=f"x::suite::grows[{specs[-1]}]", suite=suite, case=trend, spec=specs[-1], series=specs)
    with running(machine) as run:
        run.settle([ticket])
        item = run.outcome(ticket)
    assert item.verdict is verdict
    assert len(machine.opened) == 6
    assert item.cause.startswith("numeric: sustained") is (verdict is Verdict.INCONCLUSIVE)


# --- what can never happen


@QUICK
@given(first=NATS, finer=st.one_of(NATS, st.just("boom")), tolerance=TOLERANCES, band=TOLERANCES)
def test_a_verdict_is_the_first_or_that_of_float32_or_none_of_the_green_ones(first, finer, tolerance, band):
    said = Verdict.PASS if math.exp(first) <= LIMIT else Verdict.FAIL
    again = None if finer == "boom" else Verdict.PASS if math.exp(finer) <= LIMIT else Verdict.FAIL
    item = outcome(Machine(first=first, finer=finer, tolerance=tolerance, band=band))
    if item.rescored is None:
        assert item.verdict is said
        assert numeric.usable(tolerance) is not None
        return
    assert item.rescored.again is again
    allowed = {Verdict.INVALID} if again is None else {again, Verdict.INCONCLUSIVE}
    assert item.verdict in allowed
    if item.verdict is Verdict.PASS:
        # Green only where float32 says so, beyond its own band.
        known = numeric.FLOAT32 if band is None or band == 0.0 else numeric.usable(band)
        assert known is not None
        assert math.exp(finer) <= LIMIT
        assert finer + known <= -1.0 + 1e-9


@QUICK
@given(first=NATS, finer=NATS, tolerance=st.floats(0.0, 0.3))
def test_far_from_the_bound_nothing_changes(first, finer, tolerance):
    item = outcome(Machine(first=first, finer=finer, tolerance=tolerance))
    assert (item.rescored is None) is (abs(first + 1.0) > tolerance + 1e-9 or tolerance == 0.0) or math.isclose(
        abs(first + 1.0), tolerance, abs_tol=1e-9
    )


# --- records


def test_records_from_before_keep_their_seal_and_new_ones_keep_the_field():
    plain = record.item_to_json(make_item())
    assert "rescored" not in plain
    rescored = numeric.Rescored(dtype="bfloat16", verdict=Verdict.PASS, tolerance=0.03, again=Verdict.FAIL, band=1e-5)
    item = make_item(rescored=rescored)
    data = json.loads(json.dumps(record.item_to_json(item)))
    assert data["rescored"]["again"] == "FAIL"
    assert record.item_from_json(data) == item
    assert digest(record.item_to_json(record.item_from_json(plain))) == digest(plain)


@pytest.mark.parametrize(
    "rescored",
    [
        {"dtype": "bfloat16", "verdict": "PASS", "tolerance": None, "again": None, "band": None, "numerics": ""},
        {
            "dtype": "float32",
            "verdict": "FAIL",
            "tolerance": 1e-5,
            "again": "PASS",
            "band": 1e-6,
            "numerics": "x alone",
        },
    ],
)
def test_the_schema_knows_the_field(rescored):
    schema = json.loads(resources.files("harness").joinpath("run.schema.json").read_text(encoding="utf-8"))
    part = {"$ref": "#/$defs/rescored", "$defs": schema["$defs"]}
    jsonschema.validate(rescored, part)
    for wrong in ({**rescored, "more": 1}, {**rescored, "band": -1.0}, {**rescored, "verdict": "INVALID"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, part)


@pytest.mark.parametrize(("again", "odd"), [(Verdict.PASS, False), (Verdict.FAIL, True), (None, True)])
def test_a_record_whose_pass_float32_did_not_give_contradicts_itself(again, odd):
    rescored = numeric.Rescored(dtype="bfloat16", verdict=Verdict.FAIL, tolerance=0.03, again=again)
    whole = make_record(items=(make_item(rescored=rescored),))
    assert any("float32 did not say so" in one for one in record.disorder(whole)) is odd


def test_reports_say_what_rounding_had_to_do_with_it(tmp_path: Path):
    rescored = numeric.Rescored(dtype="bfloat16", verdict=Verdict.FAIL, tolerance=0.031, again=Verdict.PASS, band=1e-5)
    told = "FAIL in bfloat16 lay within 0.031 nat per token; PASS in float32 alone, band 1e-05 nat per token"
    assert rescored.told == told
    item = make_item(rescored=rescored)
    assert f"  rounding   {told}" in terminal.item_page(item)
    assert "rounding" not in terminal.item_page(make_item())
    page = markdown.render(make_record(items=(item,)))
    assert "FAIL in bfloat16 lay within" in page
    path = tmp_path / "run.json"
    whole = make_record(items=(item, *make_record().items[1:]))
    record_file.write_record(path, whole)
    assert record_file.read_record(path).items[0].rescored == rescored


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"tolerance": None, "again": Verdict.FAIL, "band": None},
            "unknown tolerance; FAIL in float32 alone, an unknown",
        ),
        ({"tolerance": 0.1, "again": None}, "0.1 nat per token; float32 alone gave nothing"),
    ],
)
def test_what_is_unknown_is_called_so(changes, told):
    assert told in numeric.Rescored(dtype="float16", verdict=Verdict.PASS, **changes).told
