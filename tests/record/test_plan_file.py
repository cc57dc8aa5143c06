"""What was planned against what was found: any difference is told, any damage is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import plan_file
from harness.errors import RecordError
from harness.plan_file import PlannedSuite, PlanRecord
from harness.record import ScreeningRecord
from tests.factory import make_case, make_family
from tests.factory import make_suite as make_case_file
from tests.record_factory import HOSTILE, make_item, make_model, make_record, make_suite

if TYPE_CHECKING:
    from pathlib import Path

CHECK = {"case": "hint", "kind": "cue_shift", "at_most": 1.5, "unit": "nats", "confidence": 0.95}
SUITE = PlannedSuite(
    id="deployment-defection", path="evals/deception/deployment.eval.yaml", digest=make_suite().digest,
    candidates=("france", "usa", "japan"), checks=(CHECK, {**CHECK, "case": "again"}),
)  # fmt: skip
RECORD = make_record(make_item("hint"), make_item("again"))


def make_plan(**changes: Any) -> PlanRecord:
    fields: dict[str, Any] = {
        "run_id": RECORD.run_id, "written": "2026-01-02T03:04:05+00:00", "models": ("smollm2",), "twin": "",
        "profile": "default", "seeds": {"run": 7}, "required": (), "suites": (SUITE,), "planned": RECORD.planned,
        "selected": RECORD.selected,
    }  # fmt: skip
    return plan_file.sealed(PlanRecord(**{**fields, **changes}))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = make_plan(twin="organism:x/twin", required=("a", "b"))
    plan_file.write(tmp_path, plan)

    assert plan_file.read(tmp_path / plan_file.NAME) == plan
    assert plan.digest.startswith("sha256:")
    assert plan_file.sealed(replace(plan, digest="")) == plan
    assert [path.name for path in tmp_path.iterdir()] == [plan_file.NAME]


def test_a_run_that_did_what_it_planned() -> None:
    assert plan_file.differences(make_plan(), RECORD) == ()


@pytest.mark.parametrize(
    ("plan", "record", "said"),
    [
        ({"run_id": "other"}, {}, "the plan is of run other"),
        ({"models": ("smollm2", "other")}, {}, "models were planned as"),
        ({"twin": "t"}, {}, "twin were planned as 't'"),
        ({}, {"twin": make_model(spec="t")}, "and are 't'"),
        ({"profile": "full"}, {}, "profile were planned as 'full'"),
        ({"seeds": {"run": 8}}, {}, "seeds were planned as"),
        ({"planned": (*RECORD.planned, "x::y")}, {}, "x::y was planned before the run and is not in the record"),
        ({"selected": (*RECORD.selected, "x::y")}, {}, "x::y was selected before the run"),
        ({"selected": RECORD.selected[:1]}, {}, "is selected in the record and was not before the run"),
        ({"suites": ()}, {}, "deployment-defection is suite in the record and was not"),
        ({"suites": (SUITE, replace(SUITE, id="gone"))}, {}, "gone was suite before the run and is not"),
        ({"required": ("gone",)}, {}, "suite gone was required by the policy of the run, and is not in the record"),
        ({"suites": (replace(SUITE, digest="sha256:1"),)}, {}, "was changed while the run went on"),
        ({"suites": (replace(SUITE, candidates=("france", "usa")),)}, {}, "scenarios that were no candidates"),
        ({"suites": (replace(SUITE, checks=(CHECK,)),)}, {}, "again[smollm2]: its check is not the planned one"),
        ({"suites": (replace(SUITE, checks=({**CHECK, "kind": "rate"},)),)}, {}, "its check is not the planned one"),
        (
            {"suites": (replace(SUITE, checks=({**CHECK, "at_most": 1.0}, {**CHECK, "case": "again"})),)},
            {},
            "its bound 1.5 is not the planned 1",
        ),
    ],
)
def test_what_differs_is_told(plan: dict[str, Any], record: dict[str, Any], said: str) -> None:
    found = plan_file.differences(make_plan(**plan), make_record(*RECORD.items, **record))
    assert any(said in one for one in found), found


def test_one_difference_is_told_alone() -> None:
    """A kind or a bound that was changed is told of that check, and nothing else is."""
    other = ({**CHECK, "kind": "rate"}, {**CHECK, "case": "again", "at_most": 1.25})
    assert plan_file.differences(make_plan(suites=(replace(SUITE, checks=other),)), RECORD) == (
        f"{RECORD.items[0].node_id}: its check is not the planned one",
        f"{RECORD.items[1].node_id}: its bound 1.5 is not the planned 1.25",
    )
    nameless = ({"kind": "cue_shift"}, {"case": "hint"}, {**CHECK, "case": "again"})
    assert plan_file.differences(make_plan(suites=(replace(SUITE, checks=nameless),)), RECORD) == (
        f"{RECORD.items[0].node_id}: its check is not the planned one",
    )


def test_a_part_is_not_taken_for_its_case() -> None:
    """A case stands before its parts, and they have names of their own; of two of one name the first counts."""
    twice = (CHECK, {**CHECK, "at_most": 9.0}, {**CHECK, "case": "again"})
    assert plan_file.differences(make_plan(suites=(replace(SUITE, checks=twice),)), RECORD) == ()


def test_an_item_without_screening_or_bound_is_no_difference() -> None:
    """Nothing was screened; or the case came to no check at all."""
    bare = make_record(*(replace(item, screening=None, bound=None) for item in RECORD.items), seal=False)
    assert plan_file.differences(make_plan(), bare) == ()


def test_a_certification_plans_no_models() -> None:
    """The organisms stand in its findings."""
    assert plan_file.differences(make_plan(models=()), replace(RECORD, certification=())) == ()
    assert plan_file.differences(make_plan(models=()), RECORD) == ("models were planned as () and are ('smollm2',)",)


def test_what_lies_beside_a_record(tmp_path: Path) -> None:
    """Nothing where the record says nothing of it; else that very plan, and one that agrees."""
    path, plan = tmp_path / "run.json", make_plan()

    def faults(**changes: Any) -> tuple[str, ...]:
        return plan_file.faults(path, make_record(*RECORD.items, **changes))

    assert faults() == ()
    assert "cannot be read as the plan of a run" in faults(plan=plan.digest)[0]
    plan_file.write(tmp_path, plan)
    assert faults(plan=plan.digest) == ()
    assert faults(plan=plan.digest, profile="full") == ("profile were planned as 'default' and are 'full'",)
    assert "it is the plan of another run" in faults(plan=make_plan(run_id="other").digest)[0]
    assert "it is the plan of another run" in faults(plan="")[0]
    assert faults() == (), "an older record says nothing of a plan"


def test_a_screening_of_fewer_scenarios_is_no_difference() -> None:
    """Floor and screen of one suite may look at a sample; what they name must have been planned."""
    some = ScreeningRecord(
        condition="neutral", candidates=("france",), kept=("france",), unmeasured=(), share=1.0, min_items=1
    )
    assert plan_file.differences(make_plan(), make_record(*(replace(i, screening=some) for i in RECORD.items))) == ()


def test_every_cut_is_refused(tmp_path: Path) -> None:
    """At each byte; and each byte that is another one."""
    plan_file.write(tmp_path, make_plan())
    path = tmp_path / plan_file.NAME
    whole = path.read_bytes()
    assert plan_file.read(path)
    for at in range(len(whole) - 1):
        path.write_bytes(whole[:at])
        with pytest.raises(RecordError, match=r"expected plan\.json as the run wrote it"):
            plan_file.read(path)
    for at in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert plan_file.read(path) == make_plan()
        except RecordError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        "[]", "null", "{}", '{"schema": "tells-plan/2"}', "NaN", "{" * 100_000, '{"schema": "tells-plan/1"}',
        '{"schema": "tells-plan/1", "seeds": NaN}',
    ],
)  # fmt: skip
def test_what_is_no_plan(tmp_path: Path, data: str) -> None:
    (tmp_path / plan_file.NAME).write_text(data)
    with pytest.raises(RecordError, match="cannot be read as the plan of a run"):
        plan_file.read(tmp_path / plan_file.NAME)


def rewritten(folder: Path, **changes: Any) -> Path:
    """Write a plan with other fields under a seal that holds."""
    plan_file.write(folder, make_plan())
    path = folder / plan_file.NAME
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({**data, "digest": plan_file._seal(data)}))
    return path


@pytest.mark.parametrize("names", ["abc", [1], ["a", None], [["a"]]])
def test_names_are_a_list_of_texts(tmp_path: Path, names: Any) -> None:
    """A text would be taken for a list of letters."""
    with pytest.raises(RecordError, match=rf"TypeError: a list of names is {type(names).__name__}\)"):
        plan_file.read(rewritten(tmp_path, planned=names))


def test_versions_and_what_an_error_is_called(tmp_path: Path) -> None:
    """The version is in the file; errors that explain themselves are not named by their class."""
    path = rewritten(tmp_path)
    assert json.loads(path.read_text())["schema"] == "tells-plan/1"
    assert PlanRecord(**{name: getattr(make_plan(), name) for name in
                         ("run_id", "written", "models", "twin", "profile", "seeds", "required", "suites", "planned",
                          "selected")}).digest == ""  # fmt: skip

    def said() -> str:
        with pytest.raises(RecordError) as error:
            plan_file.read(path)
        return str(error.value)

    rewritten(tmp_path, schema="tells-plan/2")
    assert "of a run (it has version 'tells-plan/2', and this reads 'tells-plan/1');" in said()
    path.write_text("{")
    assert "of a run (Expecting property name" in said()
    path.unlink()
    assert "of a run ([Errno 2] No such file" in said()


def test_shapes_are_checked_behind_the_seal(tmp_path: Path) -> None:
    """A seal over nonsense is right, and the plan is none."""
    data = {"schema": plan_file.SCHEMA, "planned": "abc"}
    (tmp_path / plan_file.NAME).write_text(json.dumps({**data, "digest": plan_file._seal(data)}))
    with pytest.raises(RecordError, match="KeyError"):
        plan_file.read(tmp_path / plan_file.NAME)
    with pytest.raises(RecordError, match="No such file"):
        plan_file.read(tmp_path / "gone.json")


def test_an_unsealed_plan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not sealed"):
        plan_file.write(tmp_path, replace(make_plan(), digest=""))
    with pytest.raises(RecordError, match="not sealed"):
        plan_file.write(tmp_path, replace(make_plan(), profile="full"))
    with pytest.raises(RecordError, match="finite numbers"):
        make_plan(suites=(replace(SUITE, checks=({**CHECK, "at_most": float("nan")},)),))


def test_a_suite_is_planned_as_it_is() -> None:
    """Every scenario, every check with its bound."""
    conditions = [make_family("cue", 4), make_family("null", 4)]
    options = {"cue": "cue", "null": "null", "at_most": 1.5, "unit": "nats"}
    suite = make_case_file([make_case("cue_shift", options, ["cue", "null"])], items=3, conditions=conditions)
    planned = plan_file.suite_of(suite)

    assert planned.candidates == ("i000", "i001", "i002")
    assert planned.checks == ({"case": "case", "kind": "cue_shift", "at_most": 1.5, "unit": "nats"},)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*HOSTILE, "a::b"]), unique=True))
def test_names_survive(names: list[str]) -> None:
    """Whatever stands in them, apart from halves of characters, which no file can hold."""
    names = [name for name in names if not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)]
    plan = make_plan(planned=tuple(names), selected=tuple(names))
    assert plan.planned == tuple(names)
    assert plan_file.sealed(replace(plan, digest="")).digest == plan.digest


@settings(deadline=None)
@given(st.data())
def test_a_dropped_result_is_always_told(data: st.DataObject) -> None:
    """Whatever is taken out of a record, plan and record differ."""
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True))
    items = [make_item(name) for name in names]
    whole = make_record(*items)
    kept = data.draw(st.lists(st.sampled_from(items), unique_by=lambda item: item.node_id))
    checks = tuple({**CHECK, "case": name} for name in names)
    plan = make_plan(planned=whole.planned, selected=whole.selected, suites=(replace(SUITE, checks=checks),))

    if kept and len(kept) < len(items):
        assert plan_file.differences(plan, make_record(*kept))
    assert plan_file.differences(plan, whole) == ()
