"""What pytest says when it crashes: nothing of restricted text, where this process has read some.

A crash is shown with source, values of locals and the message of the exception, in the terminal, in `junit.xml` and
by the controller of xdist. None of these can be asked to leave something out, so the page is emptied before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import restricted
from harness.errors import Withheld

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(tryfirst=True)
def pytest_internalerror(excrepr: Any, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Empty the page of a crash."""
    if restricted.touched():
        text = restricted.crash(excinfo.value)
        excrepr.chain, excrepr.reprtraceback, excrepr.reprcrash, excrepr.sections = [], None, None, []
        excrepr.toterminal = lambda writer: writer.line(text)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Generator[None, Any, Any]:
    """Keep what a hook at the end of the session raises from Python's own traceback: pytest handles no such crash."""
    try:
        return (yield)
    except Exception as error:
        if restricted.touched():
            raise Withheld(restricted.crash(error)) from None
        raise
