"""Pictures of the report at three widths, light and dark: `python -m tests.browser.shots`, into build/screenshots/.

From the example of `reports/example` its top and its first failing check, opened; and the top of a certification.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.record_file import read_record
from harness.writers import html
from tests.browser import chromium, records
from tests.make_docs import EXAMPLE, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OUT = ROOT / "build" / "screenshots"
WIDTHS = (360, 1000, 1600)
HEIGHT = 1000
SCHEMES = ("light", "dark")
WORST = "article.item.FAIL, article.item.INVALID, article.item.INCONCLUSIVE, article.item"


def take(browser: Browser, pages: dict[str, Path], out: Path) -> list[Path]:
    """Take all pictures.

    Args:
        browser: Running.
        pages: `example` and `certification`, the files.
        out: Folder of the pictures.

    Returns:
        Their paths.
    """
    made = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            look = {"viewport": {"width": width, "height": HEIGHT}, "color_scheme": scheme}
            for name, path in pages.items():
                with chromium.opened(browser, path, **look) as (page, _):
                    made.append(out / f"{name}-{width}-{scheme}.png")
                    page.screenshot(path=made[-1])
            with chromium.opened(browser, pages["example"], **look) as (page, _):
                worst = page.locator(WORST).first
                page.evaluate("(id) => { location.hash = '#' + id; }", worst.get_attribute("id"))
                page.wait_for_function("(one) => one.querySelector('details').open", arg=worst.element_handle())
                worst.evaluate("(one) => one.scrollIntoView({block: 'start'})")
                made.append(out / f"item-{width}-{scheme}.png")
                page.screenshot(path=made[-1])
    return made


def main() -> int:
    """Take all pictures, and say where they are."""
    path = chromium.find()
    if path is None:
        sys.stderr.write(f"no pictures: {chromium.MISSING}\n")
        return 1 if chromium.needed() else 0
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium.started(path) as browser:
        runs = {"example": read_record(EXAMPLE / "run.json"), "certification": records.certified()}
        pages = {}
        for name, record in runs.items():
            (Path(folder) / name).mkdir()
            pages[name] = html.write(record, Path(folder) / name)
        made = take(browser, pages, OUT)
    sys.stdout.write(f"{len(made)} pictures in {OUT.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
