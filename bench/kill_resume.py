"""Kill a run at random moments, resume it each time, and compare the record with that of an uninterrupted run.

The moments are spread over the work of one run: each resumed run gets its start-up (until the weights are loaded) and
then goes on until the next moment.

    python bench/kill_resume.py --model smollm2 --kills 10 evals

Exit code 0 when the two records are equal apart from times, ids and what was asked when.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.store import Store

APART = {"run_id", "started", "finished", "command", "digest", "counts", "store"}
"""Fields of a record that may differ: times, ids, and how much came from the store."""


def comparable(path: Path) -> dict[str, Any]:
    """Return a record without what may differ."""
    data = json.loads(path.read_text())
    kept = {name: value for name, value in data.items() if name not in APART}
    kept["items"] = [{**item, "seconds": 0} for item in kept["items"]]
    return kept


def run(arguments: argparse.Namespace, store: Path, report: Path, limit: float | None) -> bool:
    """Run pytest, killing it after `limit` seconds; tell whether it ended by itself."""
    command = [sys.executable, "-m", "pytest", *arguments.suites, "--model", arguments.model, "-q"]
    command += ["--store", str(store), "--report", str(report)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False
    return True


def stored(path: Path) -> int:
    """Return how many answers a store holds; a run killed early may not have made one."""
    return sum(Store(path).info()["answers"].values()) if path.exists() else 0


def say(text: str) -> None:
    """Print at once: the next line may be minutes away."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--startup", type=float, default=9.0, help="seconds until a resumed run asks the model")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        started = time.perf_counter()
        run(arguments, whole / "store.sqlite", whole, None)
        seconds = time.perf_counter() - started
        say(f"uninterrupted: {seconds:.1f} s")
        work = max(seconds - arguments.startup, 0.0)
        moments = sorted(chance.uniform(0.0, work) for _ in range(arguments.kills))
        for kill, (before, moment) in enumerate(pairwise([0.0, *moments])):
            limit = arguments.startup + moment - before
            ended = run(arguments, broken / "store.sqlite", broken, limit)
            kept = stored(broken / "store.sqlite")
            say(f"kill {kill + 1}: {'ended before' if ended else 'killed'} after {limit:.1f} s, {kept} answers stored")
        run(arguments, broken / "store.sqlite", broken, None)
        same = comparable(whole / "run.json") == comparable(broken / "run.json")
    say("records are equal" if same else "RECORDS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
