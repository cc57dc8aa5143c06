"""The report without a mouse, and with one: focus, tokens, and the command that is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.verdict import Verdict
from tests.browser import chromium, records
from tests.browser.test_filters import anchor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

ITEMS = records.varied().items
FAILED = next(item for item in ITEMS if item.verdict is Verdict.FAIL)
WHERE = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {
    tag: one.tagName.toLowerCase(), id: one.id, name: one.getAttribute('name') || '',
    item: one.closest('article.item')?.id || '', seen: box.width > 0 && box.height > 0,
    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none',
    said: (one.labels && one.labels.length && one.labels[0].textContent.trim()) || one.getAttribute('aria-label')
      || one.textContent.trim(),
  };
}"""


@pytest.fixture
def page(visit: Callable[..., Page], report: Callable[[str], Path]) -> Page:
    return visit(report("varied"))


def stops(page: Page, count: int) -> list[dict[str, Any]]:
    """Return what Tab reaches, one after another."""
    found = []
    for _ in range(count):
        page.keyboard.press("Tab")
        found.append(page.evaluate(WHERE))
    return found


def test_tab_reaches_every_filter_and_then_the_checks(page: Page) -> None:
    """In the order of reading; each place can be seen, shows that it is there, and says what it is."""
    found = stops(page, 60)
    inside = [one for one in found if one["tag"] != "body"]
    names = [one["name"] or one["id"] for one in inside]

    wanted = ["mode", "severity", "verdict", "model", "q", "sort", "expand-all", "collapse-all", "reset"]
    assert set(wanted) <= set(names)
    first_item = next(place for place, one in enumerate(inside) if one["item"])
    assert max(names.index(name) for name in wanted) < first_item
    assert inside[first_item]["item"] == page.locator("article.item").first.get_attribute("id")
    assert [one for one in inside if not (one["seen"] and one["ring"] and one["said"])] == []


def test_enter_and_space_open_a_check(page: Page) -> None:
    page.click("#collapse-all")
    page.locator("article.item details.more > summary").first.focus()
    opened = "() => document.querySelector('article.item details.more').open"
    page.keyboard.press("Enter")
    assert page.evaluate(opened)
    page.keyboard.press("Space")
    assert not page.evaluate(opened)


def group(page: Page) -> Any:
    """Open the failed check and return its first tokens."""
    page.evaluate("(id) => { location.hash = '#' + id; }", anchor(FAILED))
    page.wait_for_selector(f"#{anchor(FAILED)} .tokens", state="visible")
    return page.locator(f"#{anchor(FAILED)} .tokens").first


def test_the_arrows_go_through_tokens_and_say_their_values(page: Page) -> None:
    tokens = group(page)
    assert tokens.get_attribute("tabindex") == "0"
    assert tokens.get_attribute("role") == "group"
    assert tokens.get_attribute("aria-label")
    assert page.locator("#token-value").get_attribute("aria-live") == "polite"
    values = [one.get_attribute("data-v") for one in tokens.locator(".token").all()]
    texts = [one.inner_text() for one in tokens.locator(".token").all()]
    assert len(values) >= 3

    tokens.focus()
    said = []
    for _ in values:
        page.keyboard.press("ArrowRight")
        said.append(page.inner_text("#token-value"))
    assert all(value in one for value, one in zip(values, said, strict=True))
    assert len(set(said)) >= len(set(zip(values, texts, strict=True))) > 1

    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#token-value") == said[-2]
    for _ in range(len(values) + 2):
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#token-value") == said[0]


def test_the_arrows_leave_everything_else_alone(page: Page) -> None:
    """In the search they move the cursor."""
    page.fill("#filters [name=q]", "ab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("x")
    assert page.input_value("#filters [name=q]") == "axb"


def test_a_token_shows_its_value_under_the_mouse_and_not_by_colour_alone(page: Page) -> None:
    """A symbol says whether it is likelier than the honest one."""
    tokens = group(page)
    for one in tokens.locator(".token").all():
        value = one.get_attribute("data-v")
        assert value in one.inner_text()
        one.hover()
        drawn = one.evaluate("(one) => getComputedStyle(one, '::after').content")
        assert value in f"{one.get_attribute('title')} {drawn}"
    bad = page.locator(f"#{anchor(FAILED)} .tokens .token").all()
    held = [one for one in bad if set(one.get_attribute("class").split()) & {"d1", "d2", "d3"}]
    assert held
    for one in held:
        drawn = one.inner_text() + "".join(
            one.evaluate("(one, at) => getComputedStyle(one, at).content", at) for at in ("::before", "::after")
        )
        assert "\u25b2" in drawn or "\u25bc" in drawn


def test_tokens_are_coloured(page: Page) -> None:
    tokens = group(page)
    colours = tokens.evaluate(
        "(one) => new Set([...one.querySelectorAll('.token')].map((it) => getComputedStyle(it).backgroundColor)).size"
    )
    assert colours > 1


def test_the_command_is_copied(browser: Browser, report: Callable[[str], Path]) -> None:
    """To the clipboard; where there is none it is selected, so that one key does it."""
    with chromium.opened(
        browser, report("varied"), f"#{anchor(FAILED)}", permissions=["clipboard-read", "clipboard-write"]
    ) as (page, _):
        button = page.locator(f"#{anchor(FAILED)} button.copy").first
        assert button.get_attribute("data-copy") == FAILED.rerun
        button.click()
        page.wait_for_function(
            "async (text) => String(getSelection()) === text || await navigator.clipboard?.readText() === text",
            arg=FAILED.rerun,
        )


def test_without_a_clipboard_the_command_is_selected(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    page = visit(report("varied"), f"#{anchor(FAILED)}")
    page.evaluate("() => { Object.defineProperty(navigator, 'clipboard', {value: undefined}); }")
    page.locator(f"#{anchor(FAILED)} button.copy").first.click()
    assert page.evaluate("() => String(getSelection())") == FAILED.rerun


def test_a_refused_clipboard_selects_the_command(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    page = visit(report("varied"), f"#{anchor(FAILED)}")
    page.evaluate(
        """() => { Object.defineProperty(navigator, 'clipboard', {value: {
          writeText: () => Promise.reject(new Error('refused'))}}); }"""
    )
    page.locator(f"#{anchor(FAILED)} button.copy").first.click()
    page.wait_for_function("(text) => String(getSelection()) === text", arg=FAILED.rerun)
