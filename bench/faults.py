"""Inject faults by the thousand, and count green answers that were not earned and answers that were lost.

    python bench/faults.py            # everything; exit code 1 where one is found
    python bench/faults.py --write    # and write docs/faults.md

Every fault meets a whole run of pytest in a process of its own; see `tests/faults/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults import page, run, sweeps  # noqa: E402 - found from the root alone
from tests.faults.drive import Driver, Injection  # noqa: E402


def injected(driver: Driver, out: Path) -> list[Injection]:
    """Inject everything at the boundaries, and fill the disk of whole runs; tell each boundary as it begins."""
    done: list[Injection] = []
    with out.open("w", encoding="utf-8") as file:
        for one in itertools.chain(run.every(driver), run.disk(driver)):
            if not done or one.boundary != done[-1].boundary:
                say(f"{one.boundary} ({len(done)} before)")
            if one.false_pass or one.lost or not one.resumed:
                say(f"  FOUND {one}")
            done.append(one)
            file.write(json.dumps(dataclasses.asdict(one)) + "\n")
    return done


def say(text: str) -> None:
    """Print at once: the next line may be minutes away."""
    print(text, flush=True)


def read(out: Path) -> tuple[list[Injection], list[page.Sweep], str]:
    """Return what an earlier bench found."""
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    single = [Injection(**{**one, "states": tuple(one["states"])}) for one in found if "boundary" in one]
    return single, [page.Sweep(**one) for one in found if "injected" in one], found[-1]["made"]


def write(found: list[Injection], by_byte: list[page.Sweep], made: str) -> int:
    """Write the page and say its first numbers."""
    text = page.page(found, by_byte, made)
    page.PAGE.write_text(text, encoding="utf-8")
    say(next(line for line in text.splitlines() if line.startswith("Injected faults")))
    return 0


def main() -> int:
    """Inject, tell, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/faults.md")
    parser.add_argument("--page", action="store_true", help="only write the page, from what --out holds")
    parser.add_argument("--out", type=Path, default=ROOT / ".tells" / "bench" / "faults.jsonl", metavar="FILE")
    options = parser.parse_args()
    if options.page:
        return write(*read(options.out))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driver = Driver(folder / "driver")
        by_byte = [
            *sweeps.files(folder / "files"), *sweeps.stores(folder / "stores"), sweeps.many_at_once(driver, times=12)
        ]  # fmt: skip
        for sweep in by_byte:
            say(f"{sweep.name}: {sweep.injected} faults, {sweep.false} false passes, {sweep.lost} lost")
        found = injected(driver, options.out)
    minutes = (time.perf_counter() - started) / 60
    made = (
        f"Measured on {dt.datetime.now(dt.UTC).date()}, Python {platform.python_version()}, in {minutes:.0f} minutes."
    )
    with options.out.open("a", encoding="utf-8") as file:
        for more in (*map(dataclasses.asdict, by_byte), {"made": made}):
            file.write(json.dumps(more) + "\n")
    if options.write:
        write(found, by_byte, made)
    bad = any(one.false_pass or one.lost or not one.resumed for one in found)
    return int(bad or any(sweep.false or sweep.lost for sweep in by_byte))


if __name__ == "__main__":
    sys.exit(main())
