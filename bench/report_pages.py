"""How large `report.html` is and how long a browser takes to show it, by number of checks.

    python bench/report_pages.py                       the example, 100, 1,000 and 5,000 checks; five loads each
    python bench/report_pages.py --checks 100 --loads 3
    python bench/report_pages.py --out DIR             where the table (.md) and the numbers (.json) go

Sizes are those of `report.html`, and of `examples.jsonl` beside it, which holds the exchanges that found no room. Times
are medians over loads from a file in a fresh context of the Chromium that is installed: `write` until the files are on
the disk; `ready` from navigation until the document is parsed and its script has run (domContentLoadedEventEnd);
`usable` until the first frame in which the filters can be seen; `filter` from a choice of verdict until what is shown
is painted, measured within the page. Exits 0; without a browser it says so and gives sizes alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.record_file import read_record  # noqa: E402 - found from the root alone
from harness.writers import html  # noqa: E402
from tests.browser import chromium, records  # noqa: E402
from tests.make_docs import EXAMPLE  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from harness.record import RunRecord

CHECKS = (100, 1_000, 5_000)
LOADS = 5
EXAMPLES = "examples.jsonl"
TIMES = ("ready", "usable", "filter")
HEADS = ("checks", "report.html kB", "examples.jsonl kB", "write s", "ready ms", "usable ms", "filter ms")
READY = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
LOOK = """const look = () => {
  if (document.querySelector('#filters')?.getClientRects().length) { window.usable = performance.now(); }
  else { requestAnimationFrame(look); }
};
requestAnimationFrame(look);"""
"""From the first frame on, in every frame."""
USABLE = """() => new Promise((done) => {
  const wait = () => window.usable ? done(window.usable) : requestAnimationFrame(wait);
  wait();
})"""
FILTER = """() => new Promise((done) => {
  const field = document.querySelector('#filters [name=verdict]'), began = performance.now();
  field.value = 'PASS';
  field.dispatchEvent(new Event('input', {bubbles: true}));
  field.dispatchEvent(new Event('change', {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
})"""


def measure(record: RunRecord, browser: Browser | None, loads: int) -> dict[str, Any]:
    """Return sizes in bytes, seconds of writing, and medians of times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        path = html.write(record, Path(folder))
        found: dict[str, Any] = {"checks": len(record.items), "write": time.perf_counter() - began}
        beside = path.with_name(EXAMPLES)
        found |= {"html": path.stat().st_size, "examples": beside.stat().st_size if beside.exists() else 0}
        if browser is not None:
            found |= load(browser, path, loads)
    return found


def load(browser: Browser, path: Path, loads: int) -> dict[str, float]:
    """Return the median of each of `TIMES` over loads, milliseconds."""
    taken: dict[str, list[float]] = {name: [] for name in TIMES}
    for _ in range(loads):
        context = browser.new_context()
        context.add_init_script(LOOK)
        page = context.new_page()
        page.goto(path.as_uri())
        taken["usable"].append(page.evaluate(USABLE))
        taken["ready"].append(page.evaluate(READY))
        taken["filter"].append(page.evaluate(FILTER))
        context.close()
    return {name: statistics.median(values) for name, values in taken.items()}


def table(found: list[dict[str, Any]]) -> str:
    """Return the numbers as a table in markdown."""
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---:|' * len(HEADS)}"]
    for one in found:
        times = [f"{one[name]:.0f}" if name in one else "-" for name in TIMES]
        sizes = [f"{one['checks']:,}", f"{one['html'] / 1e3:,.0f}", f"{one['examples'] / 1e3:,.0f}"]
        cells = [*sizes, format(one["write"], ".2f"), *times]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def runs(checks: list[int]) -> list[RunRecord]:
    """Return the example and made-up runs."""
    return [read_record(EXAMPLE / "run.json"), *map(records.many, checks)]


def main() -> int:
    """Measure, print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, nargs="+", default=list(CHECKS))
    parser.add_argument("--loads", type=int, default=LOADS)
    parser.add_argument("--out", type=Path, default=ROOT / ".tells" / "bench")
    options = parser.parse_args()
    path = chromium.find()
    if path is None:
        print(f"sizes alone: {chromium.MISSING}", file=sys.stderr)
        found = [measure(record, None, 0) for record in runs(options.checks)]
    else:
        with chromium.started(path) as browser:
            found = [measure(record, browser, options.loads) for record in runs(options.checks)]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report_pages.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "report_pages.md").write_text(table(found))
    print(table(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
