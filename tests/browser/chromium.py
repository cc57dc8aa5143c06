"""The Chromium that is installed, and a watch on everything a page tries in it. Nothing is fetched, no browser either.

TELLS_CHROMIUM names another one. Where there is none the tests are skipped, unless TELLS_NEED_BROWSER is set.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
NAMED, NEEDED = "TELLS_CHROMIUM", "TELLS_NEED_BROWSER"
MISSING = (
    f"there is no browser: none of {', '.join(NAMES)} is on the path and {NAMED} names none; expected Chromium or "
    f"Chrome; install one, as with `apt-get install chromium`, or set {NAMED}"
)
HANGS = 180_000
"""Milliseconds after which a step is given up: a machine may be busy, and no test here is about speed."""
SERIOUS = frozenset({"serious", "critical"})
"""Impacts of axe that keep somebody out."""
BY_COLOUR = ("color-contrast", "link-in-text-block")
"""Rules of axe whose answer hangs on the colour scheme."""


def find() -> str | None:
    """Return the path of the browser, None where there is none. A name that leads nowhere is not replaced."""
    named = os.environ.get(NAMED, "")
    return next((path for name in ([named] if named else NAMES) if (path := shutil.which(name))), None)


def needed() -> bool:
    """Tell whether a missing browser is a failure."""
    return os.environ.get(NEEDED, "") not in {"", "0"}


@contextlib.contextmanager
def started(path: str) -> Iterator[Browser]:
    """Start the browser at `path`, without a window, and end it afterwards."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - other verbs of this package need none

    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container seldom gives; the pages are our own, and nothing is drawn in three
        # dimensions.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"], timeout=HANGS
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """Everything a page said to the outside."""

    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        """Listen from now on."""
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.requests.append(f"popup {popup.url}"))

    def forget(self) -> None:
        """Begin anew."""
        for said in (self.console, self.errors, self.dialogs, self.requests):
            said.clear()

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(f"{dialog.type}: {dialog.message}")
        dialog.dismiss()

    def assert_quiet(self, path: Path) -> None:
        """Assert that nothing was said, asked or loaded but the file itself."""
        assert not self.console, self.console[:5]
        assert not self.errors, self.errors[:5]
        assert not self.dialogs, self.dialogs[:5]
        assert {urldefrag(url).url for url in self.requests} == {path.as_uri()}


@contextlib.contextmanager
def opened(browser: Browser, path: Path, fragment: str = "", **options: Any) -> Iterator[tuple[Page, Watch]]:
    """Open a file in a context of its own.

    Args:
        browser: From `started`.
        path: Of the page.
        fragment: What follows the path, its `#` included.
        options: Of the context: `viewport`, `color_scheme`, `java_script_enabled`, ...
    """
    with blank(browser, **options) as (page, watch):
        page.goto(path.as_uri() + fragment)
        yield page, watch


@contextlib.contextmanager
def blank(browser: Browser, **options: Any) -> Iterator[tuple[Page, Watch]]:
    """Open a page with nothing in it; options as in `opened`."""
    watch = Watch()
    context = browser.new_context(**options)
    try:
        context.set_default_timeout(HANGS)
        page = context.new_page()
        watch.follow(page)
        yield page, watch
    finally:
        context.close()


@functools.cache
def _axe() -> str:
    from axe_playwright_python.base import AXE_SCRIPT  # noqa: PLC0415 - only who asks for it reads half a megabyte

    return AXE_SCRIPT


def violations(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """Return what axe-core finds of `SERIOUS` impact: rule, and where, at most five places each.

    Args:
        page: In a context with `bypass_csp`; its policy is tested elsewhere.
        rules: Those to look for alone; all when left out.
    """
    page.evaluate(_axe())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("(options) => axe.run(document, options)", options)
    # Of contrast on a ground that is the browser's own it says nothing at all, which is told as incomplete.
    assert found["passes"] or found["incomplete"], "axe looked at nothing"
    return [
        f"{one['id']} ({one['impact']}): {one['help']}; {len(one['nodes'])} places: "
        + json.dumps([[node["target"], node["failureSummary"][:160]] for node in one["nodes"][:5]])
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]


def open_all(page: Page) -> None:
    """Open every fold of the page."""
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
