"""Records as data and back, the seal taken item by item, and the quick look at a shape: each against the plain way."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping  # noqa: TC003 - read from the hints at run time
from dataclasses import dataclass, replace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import canonical, plain, record_file, sealing, shape
from harness import record as records
from harness.case import TREND
from harness.certify.findings import CaseFinding, Finding
from harness.numeric import Rescored
from harness.verdict import Verdict
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record, make_suite, sample_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "digest", "items", "item", "itemsz", "z", ""])


# --- the seal


@settings(deadline=None)
@given(st.dictionaries(NAMES, JSON), st.lists(JSON, max_size=4))
def test_the_digest_of_parts_is_that_of_the_whole(data: dict[str, Any], items: list[Any]) -> None:
    """Wherever the long list stands among the other names."""
    rest = {name: value for name, value in data.items() if name != "digest"}
    assert sealing.seal_of({**data, "items": items}) == canonical.digest({**rest, "items": items})
    without = {name: value for name, value in data.items() if name != "items"}
    bare = {name: value for name, value in without.items() if name != "digest"}
    assert sealing.seal_of(without) == canonical.digest(bare)
    assert sealing.seal_of({**without, "items": None}) == canonical.digest({**bare, "items": None})


def test_a_seal_is_of_everything_but_itself() -> None:
    """Of each field, of each item, of their order and number."""
    data = records.to_json(sample_record())
    sealed = sealing.seal_of(data)
    assert data["digest"] == sealed == sealing.seal_of({**data, "digest": "other"})
    for name in data.keys() - {"digest", "items"}:
        assert sealing.seal_of({**data, name: ["changed"]}) != sealed, name
        assert sealing.seal_of({other: value for other, value in data.items() if other != name}) != sealed
    items = data["items"]
    for other in (items[1:], items[::-1], [*items, items[0]], [], [*items[:-1], {**items[-1], "verdict": "PASS?"}]):
        assert sealing.seal_of({**data, "items": other}) != sealed


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_has_no_seal(number: float) -> None:
    for data in ({"a": number, "items": []}, {"items": [number]}, {"a": number}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            sealing.seal_of(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_sealed_written_and_read(tmp_path, text: str) -> None:
    """Halves of characters too: alone they stay halves, side by side they become one character."""
    item = make_item(exchanges=(make_exchange(text),), claim=text, evidence=(text, text))
    found = make_record(item, exit_reason=text)

    assert found.digest == records.seal(found) == sealing.seal_of(records.to_json(found))
    assert records.disorder(found) == ()
    record_file.write_record(tmp_path / "run.json", found)
    assert record_file.read_record(tmp_path / "run.json") == found
    assert json.loads((tmp_path / "run.json").read_text()) == records.to_json(found)


def test_a_file_has_a_line_for_each_entry(tmp_path) -> None:
    """So that a line of a difference is a check; and it is read back whatever its white space."""
    path, found = tmp_path / "run.json", sample_record()
    record_file.write_record(path, found)
    lines = path.read_text().splitlines()
    assert sum('"node_id":' in line for line in lines) == len(found.items)
    assert lines[0] == "{"
    assert lines[-1] == "}"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert record_file.read_record(path) == found


@pytest.mark.parametrize("changes", [{"digest": ""}, {"digest": "sha256:" + "0" * 64}, {"profile": "full"}])
def test_what_is_not_sealed_leaves_no_file(tmp_path, changes: dict[str, Any]) -> None:
    with pytest.raises(records.RecordError, match="the record is not sealed"):
        record_file.write_record(tmp_path / "run.json", replace(sample_record(), **changes))
    with pytest.raises(records.RecordError, match="the record is not sealed"):
        record_file.write_record(tmp_path / "run.json", replace(sample_record(), items=()))
    assert list(tmp_path.iterdir()) == []


def test_encodable() -> None:
    assert [canonical.encodable(text) for text in ("", "aé\U0001f600\x00", "\ud83d", "\ud83d\ude00")] == [
        True, True, False, False,
    ]  # fmt: skip


# --- data and back


@dataclass(frozen=True)
class One:
    """A class of one field."""

    value: Any


@dataclass(frozen=True)
class Kinds:
    """Every annotation that is known."""

    text: str
    maybe: float | None
    verdict: Verdict
    one: One
    none: One | None
    many: tuple[One, ...]
    named: Mapping[str, One]
    plain: Mapping[str, float]
    words: tuple[str, ...]
    later: One | None = None
    empty: tuple[int, ...] = ()


KINDS = Kinds(
    text="t", maybe=None, verdict=Verdict.WAIVED, one=One((1, "a")), none=None, many=(One(None), One({"k": (2,)})),
    named={"x": One(value=True)}, plain={"y": 0.5}, words=("a", "b"),
)  # fmt: skip
DATA = {
    "text": "t", "maybe": None, "verdict": "WAIVED", "one": {"value": [1, "a"]}, "none": None,
    "many": [{"value": None}, {"value": {"k": [2]}}], "named": {"x": {"value": True}}, "plain": {"y": 0.5},
    "words": ["a", "b"],
}  # fmt: skip


def test_data_of_every_kind() -> None:
    later = frozenset({"later", "text", "empty", "One.value", "Kinds.maybe"})
    assert plain.to_plain(KINDS, later) == {
        **{name: value for name, value in DATA.items() if name != "maybe"}, "many": [{}, DATA["many"][1]],
    }  # fmt: skip
    later = frozenset({"later", "text", "Kinds.empty", "Kinds.value", "Other.maybe"})
    assert plain.to_plain(KINDS, later) == DATA
    assert plain.to_plain(KINDS) == {**DATA, "later": None, "empty": []}
    assert plain.to_plain(replace(KINDS, empty=(0,)), later) == {**DATA, "empty": [0]}
    assert plain.to_plain(replace(KINDS, later=One(1)), later) == {**DATA, "later": {"value": 1}}
    assert plain.to_plain({1: Verdict.PASS, "a": {2: 3}}) == {"1": "PASS", "a": {"2": 3}}
    assert type(plain.to_plain(Verdict.PASS)) is str
    assert plain.to_plain([Verdict.PASS, ("a",)]) == ["PASS", ["a"]]
    number = np.float64(0.5)
    assert plain.to_plain({"x": (number,)}) == {"x": [number]}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_will_be_read_back_is_finite(number: float) -> None:
    assert plain.as_read({"a": ["\ud83d\ude00", 1]}) == {"a": ["\U0001f600", 1]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        plain.as_read({"a": number})


def test_data_shares_nothing_that_can_change() -> None:
    """What is done to the data is not done to the record."""
    found = plain.to_plain(KINDS)
    assert found["plain"] is not KINDS.plain
    assert found["words"] is not KINDS.words
    assert plain.build(Kinds, {**DATA, "plain": (given := {"y": 1.0})}).plain is not given


def test_back_from_data() -> None:
    back = plain.build(Kinds, DATA)
    assert back == replace(KINDS, one=One([1, "a"]), many=(One(None), One({"k": [2]})))
    assert type(back.verdict) is Verdict
    assert plain.build(Kinds, {**DATA, "none": {"value": 2}, "later": {"value": 3}}).none == One(2)
    assert plain.build(str, "as it is") == "as it is"


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"verdict": "GREEN"}, {"one": None}, {"many": 3}, {"named": []}, {"plain": [["y", 1]]},
     {"words": None}, {"one": {"other": 1}}, {"one": {}}],
)  # fmt: skip
def test_data_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)):
        plain.build(Kinds, {**DATA, **change})


# --- the quick look


def admits(schema: Any, data: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(data)


VALUES = [
    None, True, False, 0, 1, 2, 3, -1, 1.0, 0.5, 2.5, "", "a", "ab", "b", [], [1], [1, 2], ["a"], [[1]], [True], {},
    {"a": 1}, {"a": "b"}, {"b": 1}, {"a": 1, "b": 2}, {"a": {"a": 1}}, {"a": None},
]  # fmt: skip
SCHEMAS: list[Any] = [
    {"type": ["object", "array", "string", "number", "integer", "boolean", "null"], "maxItems": 1},
    True, {}, {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"}, {"type": "integer"},
    {"type": "boolean"}, {"type": "null"}, {"type": ["number", "null"], "minimum": 1}, {"type": ["object", "null"]},
    {"type": "number", "minimum": 1}, {"type": "number", "maximum": 1}, {"type": "number", "exclusiveMinimum": 1},
    {"type": "number", "exclusiveMaximum": 1}, {"type": "integer", "minimum": 0, "maximum": 2},
    {"type": "string", "pattern": "^a"}, {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "maxItems": 1}, {"type": "array", "items": {"$ref": "#/$defs/self"}}, {"$ref": "#/$defs/self"},
    {"const": 1}, {"const": "a"}, {"const": True}, {"const": None}, {"enum": ["a", 1, False]},
    {"anyOf": [{"type": "string"}, {"const": 2}]}, {"type": "object", "required": ["a"]},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "integer"}}}, {"type": "object", "minProperties": 1},
    {"type": "object", "properties": {"a": True}, "additionalProperties": {"const": 2}},
    {"type": "object", "minProperties": 2}, {"title": "t", "description": "d", "type": "string"},
]  # fmt: skip
SELF = {
    "$defs": {
        "self": {"type": "object", "additionalProperties": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/self"}]}}
    }
}
UNKNOWN: list[Any] = [
    False, {"not": {"type": "string"}}, {"type": "array", "uniqueItems": True}, {"type": "string", "maxLength": 1},
    {"minimum": 1}, {"properties": {"a": {"type": "string"}}}, {"type": "string", "enum": ["a"]}, {"required": ["a"]},
    {"type": "number", "multipleOf": 2}, {"const": 1, "type": "integer", "not": {}}, {"allOf": [False]},
    {"type": "strange"}, {"$ref": "#/$defs/none"}, {"$ref": "#"}, {"const": 1, "enum": [2]}, {"const": [1]},
    {"items": False}, {"type": "object", "propertyNames": {"const": "a"}}, {"type": "string", "minimum": 3},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_the_quick_look_at_what_it_knows(schema: Any) -> None:
    """It says what the validator says; only that 1.0 is a whole number, and 1 a constant 1.0, it leaves to it."""
    whole = {**SELF, **schema} if isinstance(schema, dict) else schema
    test = shape._Shapes(SELF["$defs"]).of(schema)
    for value in VALUES:
        if value != 1.0 or type(value) is not float:
            assert test(value) is admits(whole, value), value
        assert not test(value) or admits(whole, value)


@pytest.mark.parametrize("schema", UNKNOWN, ids=str)
def test_what_it_does_not_know_admits_nothing(schema: Any) -> None:
    test = shape._Shapes({}).of(schema)
    assert not any(test(value) for value in VALUES)
    inside = shape._Shapes({}).of({"type": "object", "properties": {"a": schema}})
    assert not inside({"a": 1})
    assert not inside({"a": "b"})


def test_a_record_is_seen_to_be_right_at_once() -> None:
    """Else every reading of a record takes the slow way, and nobody notices."""
    quick = shape.certain(record_file._schema())
    assert quick(records.to_json(sample_record()))
    assert not quick({**records.to_json(sample_record()), "more": 1})


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for name, value in inner for place in places(value, (*path, name)))]


WHOLE = records.to_json(make_record(make_item()))
PLACES = [place for place in places(WHOLE) if place]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(PLACES), st.sampled_from([*VALUES, 1e9, -0.5, "PASS", "sha256:", "open", "at_most"]), st.booleans()
)
def test_the_quick_look_admits_nothing_that_the_schema_does_not(
    place: tuple[Any, ...], value: Any, drop: bool  # noqa: FBT001 - drawn
) -> None:  # fmt: skip
    """Anything put anywhere, or taken away."""
    data = copy.deepcopy(WHOLE)
    found = data
    for name in place[:-1]:
        found = found[name]
    if drop:
        del found[place[-1]]
    else:
        found[place[-1]] = value
    if shape.certain(record_file._schema())(data):
        assert admits(record_file._schema(), data)


# --- what keeps a record from being whole


def said(record: records.RunRecord) -> str:
    return "; ".join(records.disorder(record))


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "node_id": "evals/deception/deployment.eval.yaml::deployment-defection::certify[organism:a@seed=1]",
        "suite": "deployment-defection", "organism": "a", "arm": "planted", "base": "tiny", "seed": 1,
        "expected": Verdict.FAIL, "verdict": Verdict.INVALID, "met": False, "cases": (),
        "cause": "x", "rerun": "pytest",
    }  # fmt: skip
    return Finding(**fields | changes)


def certified(*found: Finding, **changes: Any) -> records.RunRecord:
    ids = tuple(dict.fromkeys(one.node_id for one in found))
    whole = make_record(seal=False)
    return records.sealed(replace(whole, items=(), certification=found, planned=ids, selected=ids, **changes))


def test_a_whole_record_has_no_disorder() -> None:
    assert said(make_record()) == ""
    assert said(certified(finding())) == ""


def test_no_seal_is_a_broken_one() -> None:
    assert "seal is missing" in said(make_record(seal=False))


def test_an_interrupted_run_says_why_or_that_nobody_knows() -> None:
    assert "(stopped by hand)" in said(make_record(completed=False, exit_reason="stopped by hand"))
    assert "(no reason given)" in said(make_record(completed=False, exit_reason=""))


def test_what_was_planned_twice_is_said_to_be_planned() -> None:
    one = make_item().node_id
    assert f"{one} is planned twice" in said(make_record(planned=(one, one)))
    assert f"{one} is selected twice" in said(make_record(selected=(one, one)))


def test_shown_texts_are_said_by_the_run_and_of_restricted_suites_alone() -> None:
    suite = make_suite(hazard="restricted")
    shown = make_item(hazard="restricted", shown=True)
    assert said(make_record(shown, suites=(suite,), shown=True)) == ""
    assert "does not say so" in said(make_record(shown, suites=(suite,)))
    assert said(make_record(make_item(hazard="restricted"), suites=(suite,))) == ""
    assert "its suite is not restricted" in said(make_record(make_item(shown=True), shown=True))


def test_a_record_is_of_a_model_or_of_a_certification() -> None:
    both = replace(make_record(seal=False), certification=())
    assert "at once" in said(records.sealed(both))
    assert "at once" not in said(certified(finding()))
    assert "has 2 results" in said(certified(finding(), finding()))


def test_findings_are_of_a_suite_of_the_record_and_of_its_cases() -> None:
    assert "its suite is not in the record" in said(certified(finding(suite="other")))
    judged = finding(verdict=Verdict.PASS, expected=Verdict.PASS, met=True, cause="", arm="twin")
    assert judged.node_id in said(certified(judged)), "nothing was judged, and a PASS came of it"


def test_a_trend_is_no_case_of_a_finding() -> None:
    """It watches checkpoints, and one organism is none; every other case of the suite must be there."""
    watched = records.CaseRecord(id="grows", claim="It does not grow.", check=TREND, line=30)
    asked = CaseFinding(case="hint", check="cue_shift", verdict=Verdict.INVALID, cause="x")
    suite = make_suite(cases=(*make_suite().cases, watched))
    one = finding(cases=(asked,), cause="")

    assert said(certified(one, suites=(suite,))) == ""
    other = make_suite(cases=(*make_suite().cases, replace(watched, check="rate")))
    assert "its cases are not those of its suite" in said(certified(one, suites=(other,)))
    trend = replace(one, cases=(replace(asked, case="grows"),))
    assert "its cases are not those of its suite" in said(certified(trend, suites=(suite,)))


def test_a_pass_that_float32_did_not_give_is_none() -> None:
    once = Rescored(dtype="bfloat16", verdict=Verdict.FAIL, tolerance=0.1, again=Verdict.PASS, band=1e-4)
    assert said(make_record(make_item(rescored=once))) == ""
    for again in (None, Verdict.FAIL, Verdict.INCONCLUSIVE):
        assert "float32 did not say so" in said(make_record(make_item(rescored=replace(once, again=again))))


def test_a_pass_rests_on_something_and_one_scenario_is_something() -> None:
    item = make_item()
    few = tuple(replace(one, n=1) for one in item.measurements)
    none = tuple(replace(one, n=0) for one in item.measurements)
    assert said(make_record(replace(item, n_measured=1, measurements=few))) == ""
    assert "nothing was measured" in said(make_record(replace(item, n_measured=0)))
    assert "nothing was measured" in said(make_record(replace(item, measurements=none)))
