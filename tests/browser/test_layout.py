"""How it looks: narrow, wide, enlarged, dark, printed. Nothing runs out of the page and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium
from tests.browser.conftest import RUNS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

SIZES = {
    "360 px": {"viewport": {"width": 360, "height": 740}},
    "1000 px": {"viewport": {"width": 1000, "height": 800}},
    "1600 px": {"viewport": {"width": 1600, "height": 1000}},
    # What is left of 1280 by 800 when every length is doubled.
    "200 %": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
WIDE = """() => {
  const root = document.documentElement, over = [];
  if (root.scrollWidth > root.clientWidth) {
    for (const one of document.querySelectorAll('body *')) {
      const box = one.getBoundingClientRect();
      let at = one.parentElement;
      while (at && !/auto|scroll|hidden|clip/.test(getComputedStyle(at).overflowX)) { at = at.parentElement; }
      if (!at && box.width && Math.max(box.right + scrollX, one.scrollWidth) > root.clientWidth + 1) {
        over.push(`${one.tagName}.${one.className?.baseVal ?? one.className} ${Math.round(box.right)}`);
      }
    }
  }
  return {scroll: root.scrollWidth, client: root.clientWidth, over: over.slice(0, 5)};
}"""
"""Width of the document and of the window, and what sticks out of it: no boxes that scroll by themselves."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RUNS)
def test_the_page_never_scrolls_sideways(
    visit: Callable[..., Page], report: Callable[[str], Path], name: str, size: str
) -> None:
    """Nor with every fold open."""
    page = visit(report(name), **SIZES[size])
    for _ in range(2):
        found = page.evaluate(WIDE)
        assert found["scroll"] <= found["client"], found["over"]
        chromium.open_all(page)


def test_text_enlarged_alone_fits_too(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    """As browsers do it that enlarge letters and not lengths."""
    page = visit(report("varied"), viewport={"width": 1000, "height": 800})
    page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
    chromium.open_all(page)
    found = page.evaluate(WIDE)
    assert found["scroll"] <= found["client"], found["over"]


@pytest.mark.parametrize("name", ["varied", "certification"])
def test_dark_is_dark(visit: Callable[..., Page], report: Callable[[str], Path], name: str) -> None:
    """Contrast in both is for axe to say."""
    read = """() => {
      const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      const light = (colour) => { canvas.fillStyle = '#000'; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data; return (r + g + b) / 765; };
      const style = getComputedStyle(document.body), root = getComputedStyle(document.documentElement);
      const ground = style.backgroundColor === 'rgba(0, 0, 0, 0)' ? root.backgroundColor : style.backgroundColor;
      return [light(ground), light(style.color)];
    }"""
    light, dark = (visit(report(name), color_scheme=scheme).evaluate(read) for scheme in ("light", "dark"))
    assert light[0] > 0.8
    assert light[1] < 0.4
    assert dark[0] < 0.3
    assert dark[1] > 0.6


def test_printed_without_filters_and_with_what_failed(
    visit: Callable[..., Page], report: Callable[[str], Path]
) -> None:
    page = visit(report("varied"))
    assert page.locator("#filters").is_visible()
    inside = """() => Object.fromEntries(['FAIL', 'INVALID', 'PASS'].map((verdict) => [verdict,
      [...document.querySelectorAll(`article.item.${verdict} details.more`)].map((one) =>
        [...one.children].slice(1).some((part) => part.checkVisibility()))]))"""
    page.click("#collapse-all")
    assert not any(page.evaluate(inside)["FAIL"])

    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    printed = page.evaluate(inside)
    assert not page.locator("#filters").is_visible()
    assert page.locator("button:visible").count() == 0
    assert printed["FAIL"]
    assert all(printed["FAIL"])
    assert all(printed["INVALID"])
    assert not any(printed["PASS"])

    page.emulate_media(media="screen")
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.locator("#filters").is_visible()
    assert not any(page.evaluate(inside)["FAIL"])


def test_what_is_filtered_out_is_not_printed(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    page = visit(report("varied"), "#?verdict=INVALID")
    page.emulate_media(media="print")
    seen = page.eval_on_selector_all(
        "article.item", "(all) => all.filter((one) => one.getClientRects().length).map((one) => one.dataset.verdict)"
    )
    assert set(seen) == {"INVALID"}


def test_a_printed_page_is_a_document(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    """Chromium prints it on several sheets; the event before printing is the browser's own here."""
    page = visit(report("varied"))
    page.evaluate("() => { addEventListener('afterprint', () => { window.printed = true; }); }")
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF-")
    assert page.evaluate("() => window.printed") is True


def test_foreign_text_of_another_direction_turns_nothing_around(
    visit: Callable[..., Page], report: Callable[[str], Path]
) -> None:
    """What a model said in Arabic or Hebrew stands in a box of its own."""
    page = visit(report("varied"))
    chromium.open_all(page)
    loose = page.eval_on_selector_all(
        "article.item pre",
        """(all) => all.filter((one) => !/isolate|plaintext/.test(getComputedStyle(one).unicodeBidi)
          && getComputedStyle(one).display === 'inline').length""",
    )
    assert loose == 0
