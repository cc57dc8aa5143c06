"""Real engines: one model at a time, with the digests that a certificate needs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import yaml

from harness import session
from harness.certification import Certification, CertifyTicket
from harness.certify import expect
from harness.engines import open_spec
from harness.loader import load_suite
from harness.organisms import zoo
from harness.session import RunOptions
from tests.organisms.zoo_factory import builds, place, set_up
from tests.plugin.conftest import suite_data
from tests.tiny_models import build_tiny

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_model_is_gone_before_the_next_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and engine; what is left are findings with every digest. Nothing is built that is there."""
    root = set_up(tmp_path, monkeypatch)
    model = build_tiny(root / "model", "llama", seed=3)
    for arm in ("planted", "twin", "decoy"):
        order = zoo.order(zoo.specs.parse(f"small/{arm}@seed=1"))
        place(model, order, order.cached)
    path = root / "evals" / "colours.eval.yaml"
    path.write_text(yaml.safe_dump(suite_data(catches=["small"]), sort_keys=False))
    suite = load_suite(path, root, ("small",))
    engines: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def watched(spec: str, options: Any) -> Any:
        alive.append(sum(engine() is not None for engine in engines))
        engine = open_spec(spec, options)
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(session, "open_spec", watched)
    run = Certification(RunOptions(models=(), device="cpu"), expect.Scope())
    tickets = [
        CertifyTicket(node_id=f"x::colours::{wanted.name}", suite=suite, expectation=wanted)
        for wanted in expect.planned(suite.catches, expect.Scope())
    ]
    run.settle(tickets)

    assert alive == [0, 0, 0]
    assert [engine() for engine in engines] == [None] * 3
    for ticket in tickets:
        found = run.finding(ticket)
        assert len(found.cases) == 3
        assert (found.weights, found.recipe) == ("sha256:1", zoo.recipe("small").digests["tiny"])
        assert found.model.startswith("sha256:")
    facts = run.facts()
    assert sorted(facts["models"]) == sorted(ticket.expectation.spec for ticket in tickets)
    assert facts["counts"]["asked"] > 0
    assert builds(root) == []


def test_an_item_that_was_never_asked_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absence is no pass of a control."""
    root = set_up(tmp_path, monkeypatch)
    path = root / "evals" / "colours.eval.yaml"
    path.write_text(yaml.safe_dump(suite_data(catches=["small"]), sort_keys=False))
    wanted = expect.planned(("small",), expect.Scope())[1]
    ticket = CertifyTicket(node_id=f"x::{wanted.name}", suite=load_suite(path, root), expectation=wanted)
    found = Certification(RunOptions(models=()), expect.Scope()).finding(ticket)
    assert (found.verdict.value, found.met) == ("INVALID", False)
    assert "never asked" in found.cause
