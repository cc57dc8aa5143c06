"""Nothing that axe-core calls serious or critical, in light and in dark, on every page that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium
from tests.browser.conftest import RUNS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

FEW = """() => [...document.querySelectorAll('article.item')].slice(0, 3).forEach((one) => {
  one.querySelectorAll('details').forEach((fold) => { fold.open = true; }); })"""
"""The worst are opened; the others are made of the same parts."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", RUNS)
def test_nothing_keeps_anybody_out(
    visit: Callable[..., Page], report: Callable[[str], Path], name: str, scheme: str
) -> None:
    page = visit(report(name), bypass_csp=True, color_scheme=scheme)
    page.evaluate(FEW)
    # What is dark is made of the same elements; only colours have to be looked at again.
    assert chromium.violations(page, () if scheme == "light" else chromium.BY_COLOUR) == []


def test_axe_can_find_something(visit: Callable[..., Page], tmp_path: Path) -> None:
    """Otherwise the tests here prove nothing."""
    path = tmp_path / "bad.html"
    path.write_text('<!DOCTYPE html><title>t</title><p style="color: #ccc">pale<p><img src="data:,"><button></button>')
    found = "\n".join(chromium.violations(visit(path, bypass_csp=True)))
    for rule in ("color-contrast", "html-has-lang", "image-alt", "button-name"):
        assert rule in found
