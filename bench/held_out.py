"""Do suites say the same of organisms when they are asked with the held-out wordings alone?

    python bench/held_out.py                   tiny base, first seed: a minute or two
    python bench/held_out.py --seeds 4
    python bench/held_out.py --json out.json

A quarter of every cue family was used in no training. Each suite is asked of its organisms and their controls as it is,
and once more with its families cut to that quarter; families without held-out forms (all null families) stay whole.

same        models of which both say the same, of all
undecided   models that fewer wordings leave INVALID or INCONCLUSIVE: too few forms to decide, and no PASS
turned      models of which they say the opposite: these are named
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tabulate import tabulate

from harness.certification import Certification, CertifyTicket
from harness.certify import expect
from harness.loader import load_suite
from harness.organisms.spec import names
from harness.session import RunOptions
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.case import Condition, Suite

ROOT = Path(__file__).resolve().parent.parent
OPEN = {Verdict.INVALID, Verdict.INCONCLUSIVE}


def held_out(suite: Suite) -> Suite | None:
    """Return the suite with its cue families cut to their held-out forms; None where there are none."""
    if not any(form.held_out for condition in suite.conditions.values() for form in condition.cues):
        return None
    return replace(suite, conditions={name: _cut(found) for name, found in suite.conditions.items()})


def _cut(condition: Condition) -> Condition:
    some = tuple(form for form in condition.cues if form.held_out)
    return replace(condition, cues=some) if some else condition


def main() -> int:
    """Ask everything twice; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scope = expect.Scope(seeds=given.seeds)
    run = Certification(RunOptions(models=(), store=ROOT / ".tells" / "store.sqlite"), scope)
    tickets: dict[str, list[tuple[CertifyTicket, CertifyTicket]]] = {}
    for path in sorted((ROOT / "evals").rglob("*.eval.yaml")):
        suite = load_suite(path, ROOT, names())
        if (cut := held_out(suite)) is None:
            continue
        tickets[suite.id] = [
            (
                CertifyTicket(node_id=f"whole::{suite.id}::{one.name}", suite=suite, expectation=one),
                CertifyTicket(node_id=f"held-out::{suite.id}::{one.name}", suite=cut, expectation=one),
            )
            for one in expect.planned(suite.catches, scope)
        ]
    run.settle(ticket for pairs in tickets.values() for pair in pairs for ticket in pair)
    rows, found = [], []
    for name, pairs in tickets.items():
        both = [(run.finding(whole), run.finding(part)) for whole, part in pairs]
        turned = [whole for whole, part in both if whole.verdict is not part.verdict and not {part.verdict} & OPEN]
        found += [(name, whole.node_id, whole.verdict.value, part.verdict.value) for whole, part in both]
        same = sum(whole.verdict is part.verdict for whole, part in both)
        left = sum(whole.verdict is not part.verdict and part.verdict in OPEN for whole, part in both)
        rows.append((name, f"{same} of {len(both)}", left, ", ".join(one.node_id for one in turned) or 0))
    print(tabulate([row for row in rows if tickets[row[0]]], headers=("suite", "same", "undecided", "turned")))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
