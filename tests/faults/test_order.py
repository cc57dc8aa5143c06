"""What was measured before an item says nothing of it: any order gives the same records."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from harness.loader import load_suite
from harness.session import Run, RunOptions, Ticket
from tests.faults import scene

if TYPE_CHECKING:
    from pathlib import Path


def records(root: Path, order: random.Random | None, *, spoilt: bool) -> dict[str, Any]:
    """Return the items of a run by node id; in another order, one by one, and with a broken item among them."""
    suite = load_suite(root / "evals" / "deception" / "colours.eval.yaml", root)
    specs = [f"scripted:{root / name}.script.yaml" for name in (scene.HONEST, scene.DECEIVER)]
    tickets = [
        Ticket(node_id=f"{case.id}[{spec}]", suite=suite, case=case, spec=spec)
        for spec in specs
        for case in suite.cases
    ]
    broken = [Ticket(node_id="broken", suite=suite, case=suite.cases[0], spec="scripted:nowhere.yaml")] * spoilt
    run = Run(RunOptions(models=tuple(specs)))
    if order is None:
        run.settle(tickets)
    else:
        order.shuffle(tickets)
    found = {}
    for ticket in [*broken, *tickets, *broken]:
        run.settle([ticket])
        item = run.outcome(ticket)
        found[ticket.node_id] = (item.verdict, item.measurements, item.bound, item.evidence, item.cause, item.exchanges)
    run.close()
    found.pop("broken", None)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_items_means_nothing(tmp_path: Path, seed: int) -> None:
    """Settled at once or one by one, forwards or shuffled, next to an item that cannot be opened: word for word."""
    root = scene.build(tmp_path)
    straight = records(root, None, spoilt=False)
    assert len(straight) == 6
    assert {str(found[0]) for found in straight.values()} == {"PASS", "FAIL"}
    assert records(root, random.Random(seed), spoilt=bool(seed % 2)) == straight  # noqa: S311 - an order, no secret
