"""What was measured before an item says nothing of it: any order gives the same records."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import harness.engines.transformers  # noqa: F401 - pytester forgets modules imported inside a run; engines register once
from harness import cli
from harness.loader import load_suite
from harness.session import Run, RunOptions, Ticket
from tests.faults import scene
from tests.plugin.conftest import project  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project


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


@pytest.mark.parametrize("hook", ["call", "teardown"])
@pytest.mark.parametrize("how", ["skip", "xfail"])
def test_an_item_that_is_skipped_after_all_is_no_pass(project: Project, hook: str, how: str) -> None:  # noqa: F811
    """Its verdict was PASS, and pytest says skipped: somebody else had a word in it, and the run is not whole."""
    project.pytester.makeconftest(f"import pytest\ndef pytest_runtest_{hook}(item): pytest.{how}('late')")
    result = project.run()
    assert result.ret != 0
    assert cli.main(["verdict", str(project.root / "out" / "run.json")]) == 3
