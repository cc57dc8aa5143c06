"""The pages of sweeps and ladders, and every kind of figure: quiet, readable by all, no wider than the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.figures import page as page_of
from harness.sweep import results
from harness.sweep.run import Standing
from tests.browser import chromium
from tests.browser.payloads import PAYLOADS
from tests.browser.test_layout import SIZES, WIDE
from tests.browser.test_opening import policy_of
from tests.figures.test_figures import FIGURES
from tests.ladder.test_results import SHIFTED, read, result, rung
from tests.sweep.conftest import toy  # noqa: F401 - a fixture
from tests.sweep.test_phases import sweep, trained  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[31m"


def sweep_page(sweep, folder: Path) -> Path:  # noqa: F811 - the fixture
    """Write the results of a small sweep that was trained here, and return its page."""
    results.write(sweep, Standing(known=trained(sweep, folder), missing=(), refused={}), folder / "out")
    return folder / "out" / "report.html"


def ladder_page(folder: Path) -> Path:
    cured = rung("adversarial", read(0.0, 0, 0.05), SHIFTED, prefill=read(0.9, 0.8, 0.97))
    clean = rung(f"clean {HOSTILE}", read(0.4, 0.3, 0.5), SHIFTED)
    path = folder / "ladder.html"
    path.write_text(result(clean, cured, rung("lost", read(None), SHIFTED), control=read(0.5, 0.2, 1.9)).html())
    return path


def figures_page(folder: Path) -> Path:
    """Every kind of figure on one page, beside foreign text."""
    cells = (("name", HOSTILE), ((HOSTILE, "1"), *(("x", text[:400]) for text in PAYLOADS.values())))
    path = folder / "figures.html"
    path.write_text(page_of(f"Figures {HOSTILE}", [HOSTILE], [make() for make in FIGURES.values()], [(HOSTILE, cells)]))
    return path


@pytest.fixture(params=["sweep", "ladder", "figures"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "sweep":
        return sweep_page(request.getfixturevalue("sweep"), tmp_path)
    return (ladder_page if request.param == "ladder" else figures_page)(tmp_path)


def test_pages_of_figures_hold_up(visit: Callable[..., Page], path: Path) -> None:
    """From all sides at once: making them takes longer than looking at them."""
    page = visit(path)
    assert page.locator("script, iframe, object, embed, link, form").count() == 0
    assert policy_of(page)["default-src"] == ["'none'"]
    assert "script-src" not in policy_of(page)
    charts = page.evaluate(
        """() => [...document.querySelectorAll('svg')].map((one) => [one.getAttribute('role'),
          (one.getAttribute('aria-label') || one.querySelector('title')?.textContent || '').trim().length > 0,
          one.closest('figure').querySelectorAll('details table td').length > 0])"""
    )
    assert charts
    assert all(one == ["img", True, True] for one in charts)
    ids = page.eval_on_selector_all("[id]", "(all) => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))

    for size in ("360 px", "200 %"):
        narrow = visit(path, **SIZES[size])
        chromium.open_all(narrow)
        found = narrow.evaluate(WIDE)
        assert found["scroll"] <= found["client"], found["over"]
    seen = visit(path, bypass_csp=True)
    chromium.open_all(seen)
    assert chromium.violations(seen) == []
    seen.emulate_media(color_scheme="dark")
    assert chromium.violations(seen, chromium.BY_COLOUR) == []
