"""Whether the organisms that a suite says it catches are there. Which there are is the caller's to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.loader.report import near

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.loader.draft import Draft


def check(draft: Draft, known: Collection[str] | None) -> None:
    """Note every entry of `catches` that is no organism; None knows of none, and nothing is checked."""
    written = draft.report.data.get("catches") if isinstance(draft.report.data, dict) else None
    if known is None or not isinstance(written, list):
        return
    for index, entry in enumerate(written):
        if not isinstance(entry, str) or not draft.report.clean("catches", index):
            continue
        name, _, base = entry.partition("@")
        if name not in known:
            draft.report.add(("catches", index), f"there is no organism {name!r}; {near(name, known)}")
        elif base and name in written:
            draft.report.add(("catches", index), f"{name!r} is claimed on every base already; leave one of the two out")
