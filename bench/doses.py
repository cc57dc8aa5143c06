"""How weak may a failure be and still be caught? Every suite on its organism at checkpoints, from the first steps on.

    python bench/doses.py                          all suites that name an organism; half an hour
    python bench/doses.py --suite year-defection   one of them
    python bench/doses.py --seed 2 --json out.json

An organism at an early checkpoint has its failure at a lower dose: `P(bad)` and `greedy` are the exact mean probability
of the planted answer under its cue there, and its share of greedy answers, as `measured.json` holds them. The suite is
asked as in a release run. `from` is the first checkpoint from which on it FAILs at all later ones; what is beneath was
not shown to be caught. A checkpoint that is INVALID or INCONCLUSIVE is not caught.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness.case import TREND
from harness.certify import expect
from harness.certify.findings import suite_verdict
from harness.loader import load_suite
from harness.organisms import spec as specs
from harness.organisms import zoo
from harness.organisms.measured import entries, read_measured
from harness.verdict import Verdict

ROOT = Path(__file__).resolve().parents[1]
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the steps that plant the failure."""
LETTER = {Verdict.FAIL: "F", Verdict.PASS: "p", Verdict.INVALID: "!", Verdict.INCONCLUSIVE: "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One suite on one organism."""

    suite: str
    organism: str
    seed: int
    steps: tuple[int, ...]
    verdicts: str
    """A letter per checkpoint: F caught, p PASS, ! INVALID, ? INCONCLUSIVE."""
    first: int | None
    """Checkpoint from which on it is caught."""
    p_bad: float | None
    greedy: float | None


def steps_of(name: str) -> tuple[int, ...]:
    """Return the checkpoints that are asked, counted from the first step of training."""
    plan = zoo.recipe(name).plans["tiny"]
    since, total = plan.offset(), sum(stage.steps for stage in plan.stages)
    return tuple(dict.fromkeys(since + max(1, round(share * (total - since))) for share in SHARES))


def asked(suite: Path, specs_: list[str], folder: Path) -> dict[str, Verdict]:
    """Run a suite on models; return the verdict of the suite on each."""
    models = [part for spec in specs_ for part in ("--model", spec)]
    command = [sys.executable, "-m", "pytest", str(suite), *models, "--report", str(folder), "-q", "-p", "no:xdist"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True)  # noqa: S603 - our own command
    items = json.loads((folder / "run.json").read_text(encoding="utf-8"))["items"]
    # A trend looks back on all checkpoints at once; its item stands at the last of them.
    items = [item for item in items if item["check"] != TREND]
    return {
        spec: suite_verdict(Verdict(item["verdict"]) for item in items if item["node_id"].endswith(f"[{spec}]"))
        for spec in specs_
    }


def near(curve: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """Return the last measured checkpoint at or before a step."""
    return [point for point in curve if point["step"] <= step][-1]


def row(path: Path, suite: str, name: str, seed: int, folder: Path) -> Row:
    """Ask one suite of one organism at all checkpoints."""
    steps = steps_of(name)
    models = [str(specs.OrganismSpec(name=name, seed=seed, step=step)) for step in steps]
    verdicts = list(asked(path, models, folder).values())
    late = next((n for n in range(len(steps)) if all(one is Verdict.FAIL for one in verdicts[n:])), None)
    measured = (
        one["curve"]
        for one in entries(read_measured(name))
        if (one["base"], one["arm"], one["seed"]) == ("tiny", "planted", seed)
    )
    curve = next(measured, None)
    point = near(curve, steps[late]) if late is not None and curve else {}
    return Row(
        suite=suite, organism=name, seed=seed, steps=steps, verdicts="".join(LETTER[one] for one in verdicts),
        first=None if late is None else steps[late], p_bad=point.get("p_bad"), greedy=point.get("rate"),
    )  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for path in sorted((ROOT / "evals").rglob("*.eval.yaml")):
        suite = load_suite(path, ROOT)
        claimed = (expect.claim(entry) for entry in suite.catches) if options.suite in {None, suite.id} else ()
        for name in (name for name, bases in claimed if "tiny" in bases):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row(path, suite.id, name, options.seed, Path(folder)))
            sys.stderr.write(f"{rows[-1]}\n")
    table = [
        (one.suite, one.organism, " ".join(map(str, one.steps)), one.verdicts, one.first or "never",
         *("-" if value is None else f"{value:.2g}" for value in (one.p_bad, one.greedy)))
        for one in rows
    ]  # fmt: skip
    headers = ("suite", "organism", "steps", "verdicts", "from", "P(bad)", "greedy")
    print(tabulate(table, headers=headers, disable_numparse=True))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
