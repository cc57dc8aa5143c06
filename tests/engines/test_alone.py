"""Float32, every row alone: what a decision near its bound is asked again in, on a tiny model with random weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from harness.case import Condition
from harness.engines.base import EngineOptions, float32_alone
from harness.engines.transformers import TransformersEngine, open_transformers, padded
from harness.request import Scores
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Verdict
from tests.factory import make_case, make_suite
from tests.tiny_models import build_tiny
from tests.tiny_requests import Plain, scoring, shifts

if TYPE_CHECKING:
    from pathlib import Path

    from harness.record import ItemRecord

KINDS = ("llama", "phi3-long", "lfm2")
"""One that is packed as a rule, one whose angles hang on the longest row, and one that must not be padded."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny") / "llama")


def open_tiny(folder: Path, **options: object) -> TransformersEngine:
    """Open a model on the CPU."""
    engine = open_transformers(str(folder), EngineOptions(**{"device": "cpu", **options}))
    assert isinstance(engine, TransformersEngine)
    return engine


def test_alone_has_answers_of_its_own_of_the_same_model(tiny: Path) -> None:
    """Alone has answers of its own, of the same model."""
    packed, alone, half = open_tiny(tiny), open_tiny(tiny, alone=True), open_tiny(tiny, alone=True, dtype="bfloat16")
    assert alone.identity.digest == packed.identity.digest
    assert alone.identity.numerics != packed.identity.numerics
    assert "trie" in packed.identity.numerics
    assert [float32_alone(one) for one in (packed, alone, half)] == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_passed_by_itself(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is passed by itself, and comes out as in a plain forward."""
    folder = build_tiny(tmp_path / kind, kind)
    sizes = []
    real = padded.forward_at

    def forward_at(loaded, ids, *rest, **more):  # type: ignore[no-untyped-def]
        sizes.append(len(ids))
        return real(loaded, ids, *rest, **more)

    monkeypatch.setattr(padded, "forward_at", forward_at)
    engine, plain = open_tiny(folder, alone=True), Plain.load(folder)
    answers = engine.run(scoring(int(plain.model.config.vocab_size)))
    assert all(isinstance(answer, Scores) for answer in answers)
    assert set(sizes) == {1}
    assert max(shifts(plain, answers)) < 2e-5
    assert engine.tolerance is not None
    assert engine.tolerance < 1e-4
    assert "every row is passed alone, as asked" in engine.notes


def judged(folder: Path, limit: float, dtype: str) -> ItemRecord:
    """Return what becomes of a bound on the largest P(bad)."""
    case = make_case("exact_probability", {"of": "bad", "in": "plain", "at_most": limit}, ["plain"])
    suite = make_suite([case], items=4, conditions=[Condition(name="plain", values={})])
    ticket = Ticket(node_id=f"x::suite::case[{folder}]", suite=suite, case=case, spec=str(folder))
    run = Run(RunOptions(models=(str(folder),), device="cpu", dtype=dtype))
    try:
        run.settle([ticket])
        return run.outcome(ticket)
    finally:
        run.close()


def test_bfloat16_at_its_bound_is_decided_by_float32(tiny: Path) -> None:
    """A limit at the number that bfloat16 gives is decided by float32, on either side."""
    half, exact = (judged(tiny, 1.0 - 1e-9, dtype).measurements[0].value for dtype in ("bfloat16", "float32"))
    assert half != exact
    item = judged(tiny, half, "bfloat16")
    assert item.rescored is not None
    assert item.rescored.dtype == "bfloat16"
    assert item.rescored.verdict is Verdict.PASS
    assert item.rescored.again is (Verdict.PASS if exact <= half else Verdict.FAIL)
    assert item.verdict is item.rescored.again
    assert item.measurements[0].value == pytest.approx(exact, rel=1e-4)
    assert item.rescored.tolerance is not None
    assert item.rescored.band is not None
    assert 0.0 < item.rescored.band < 1e-4 < item.rescored.tolerance
    far = judged(tiny, min(half * 10.0, 0.999), "bfloat16")
    assert (far.verdict, far.rescored) == (Verdict.PASS, None)


def test_float32_at_its_bound_is_inconclusive(tiny: Path) -> None:
    """A limit at the number that float32 alone gives decides nothing."""
    exact = judged(tiny, 1.0 - 1e-9, "float32").measurements[0].value
    item = judged(tiny, exact, "float32")
    assert item.verdict is Verdict.INCONCLUSIVE
    assert item.cause.startswith("numeric: largest_probability")
    assert dataclasses.asdict(item)["rescored"]["again"] in {"PASS", "FAIL"}
