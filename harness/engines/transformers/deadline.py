"""A time limit for code of a model's own: a chat template is a program, and may never end."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Stopped(BaseException):
    """Raised inside the thread that took too long; no template can catch it."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, and raise what it raises.

    It runs in a thread of its own, which is stopped between two steps of Python when the time is over. One that hangs
    inside compiled code cannot be stopped: it is left behind, and does not keep the process from ending.

    Args:
        seconds: How long it may take.
        work: Pure Python, such as the code that Jinja makes of a template.

    Raises:
        TimeoutError: it took longer.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _stop(thread)
        msg = f"it did not end within {seconds:g} seconds"
        raise TimeoutError(msg)
    if failed:
        raise failed[0]
    return found[0]


def _stop(thread: threading.Thread) -> None:
    ident = thread.ident
    if ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(_Stopped))
        thread.join(1.0)
