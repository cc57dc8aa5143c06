"""No process ends with 0 by being left: what calls `exit` in the middle of a run has not said the verdict."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def nobody_leaves(place: str, *also: type[BaseException]) -> Iterator[None]:
    """Turn `SystemExit`, which would end the process with its own exit code, into a crash where that code is 0.

    Args:
        place: What is being done, for the message.
        also: Further exceptions that end a process, with their code as `returncode`; None, which leaves the code as it
            was, is none either.

    Raises:
        RuntimeError: somebody wanted to leave with 0.
    """
    ends: tuple[type[BaseException], ...] = (SystemExit, *also)
    try:
        yield
    except ends as left:
        if getattr(left, "returncode", None) or getattr(left, "code", None):
            raise
        msg = (
            f"{place}: {type(left).__name__} would have ended the process with exit code 0 here; expected that only a "
            "verdict does; look for who calls exit"
        )
        raise RuntimeError(msg) from left
