"""One browser for all tests of this folder in a process, and the pages that they look at."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from harness.record_file import read_record
from harness.writers import html
from tests.browser import chromium, records
from tests.make_docs import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from harness.record import RunRecord

RUNS: dict[str, Callable[[], RunRecord]] = {
    "example": lambda: read_record(EXAMPLE / "run.json"),
    "varied": records.varied,
    "hostile": lambda: records.hostile_run("<b>\"'&\u202e\x1b[31m" + "Z\u0301\u0327" * 5 + "x" * 300),
    "certification": records.certified,
}
"""Runs whose reports are looked at from all sides."""


# Not of the session: as long as it lives, its thread runs an event loop, and nobody else there can run one.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Return a running browser."""
    path = chromium.find()
    if path is None:
        (pytest.fail if chromium.needed() else pytest.skip)(chromium.MISSING)
    with chromium.started(path) as one:
        yield one


@pytest.fixture(scope="package")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the path of the report on one of `RUNS`, written once."""
    made: dict[str, Path] = {}

    def path_of(name: str) -> Path:
        if name not in made:
            made[name] = html.write(RUNS[name](), tmp_path_factory.mktemp(name))
        return made[name]

    return path_of


@pytest.fixture(scope="package")
def tab(browser: Browser) -> Iterator[tuple[Page, chromium.Watch]]:
    """Return the page that all tests share which ask for nothing special: a new one is a new process."""
    with chromium.blank(browser) as both:
        yield both


@pytest.fixture
def visit(browser: Browser, tab: tuple[Page, chromium.Watch]) -> Iterator[Callable[..., Page]]:
    """Return what opens a file and gives its page; in the end nothing may have been said, asked or loaded besides.

    Without options it is the page of the last call, led elsewhere.
    """
    with contextlib.ExitStack() as stack:
        seen: list[tuple[chromium.Watch, Path]] = []

        def go(path: Path, fragment: str = "", **options: Any) -> Page:
            if options:
                page, watch = stack.enter_context(chromium.opened(browser, path, fragment, **options))
            else:
                page, watch = tab
                for known, last in seen:
                    known.assert_quiet(last)
                seen[:] = [one for one in seen if one[0] is not watch]
                page.emulate_media(media="null", color_scheme="null")
                page.goto("about:blank")
                watch.forget()
                page.goto(path.as_uri() + fragment)
            seen.append((watch, path))
            return page

        yield go
        for watch, path in seen:
            watch.assert_quiet(path)
