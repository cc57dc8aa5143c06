"""`tells show`: the table of a run, or the pages of items, as the terminal showed them when the run ended."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate, restricted
from harness.console import look_of
from harness.errors import UsageError
from harness.escape import line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.certify.findings import Finding
    from harness.console import Look
    from harness.record import ItemRecord

ABOUT = "print the table of a run, or the pages of items"
MAX_PAGES = 5
"""Pages of items that match; the others are named, one on a line."""
NEAREST = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tells show`."""
    parser.add_argument("run", type=Path, metavar="RUN.json", help="the run.json that --report wrote")
    parser.add_argument("item", nargs="?", metavar="ITEM", help="node id, SUITE::CASE, or any part of a node id")
    about = "show texts of restricted suites, where the run kept them; the page says so"
    parser.add_argument("--show-restricted", action="store_true", help=about)


def run(options: argparse.Namespace) -> int:
    """Print the table, or the pages of all items that match, and return 0.

    Raises:
        RecordError: the record is not whole.
        UsageError: no item matches.
    """
    from harness.record import hidden, results  # noqa: PLC0415 - lazy, as the other verbs
    from harness.record_file import read_record  # noqa: PLC0415
    from harness.writers.terminal import summary  # noqa: PLC0415

    whole, look = read_record(options.run), look_of(sys.stdout)
    record = whole if options.show_restricted else hidden(whole)
    if options.show_restricted and not whole.shown and any(suite.hazard == restricted.HAZARD for suite in whole.suites):
        _say("Of restricted suites the record keeps tags alone: run the evals again with --show-restricted.\n")
    if options.item is None:
        _say(summary(record, gate.judge_run(whole), look=look, run=options.run))
        return gate.PASS
    found = matching(results(record), options.item)
    _say("\n\n".join(_page(one, look) for one in found[:MAX_PAGES]))
    if others := found[MAX_PAGES:]:
        _say(f"\nand {len(others)} more items match {line(options.item)}; name more of the id:")
        _say("\n".join(f"  {one.verdict.value:<12}  {line(one.node_id, 300)}" for one in others))
    return gate.PASS


def matching(items: Sequence[ItemRecord | Finding], wanted: str) -> list[ItemRecord | Finding]:
    """Return the items that `wanted` names, worst first.

    A node id names one item; SUITE::CASE the case on every model; SUITE::CASE[MODEL] it on one; anything else all items
    whose node id holds it.

    Args:
        items: Of a run.
        wanted: As written on the command line.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    exact = [item for item in items if wanted in _names(item)]
    found = exact or [item for item in items if wanted in item.node_id]
    if not found:
        raise UsageError(_unmatched(items, wanted))
    return sorted(found, key=_rank)


def _names(item: ItemRecord | Finding) -> set[str]:
    """Return what names an item alone, or its case on several models."""
    _, _, name = item.node_id.partition("::")
    return {item.node_id, name, name.partition("[")[0]}


def _rank(item: ItemRecord | Finding) -> tuple[int, str]:
    from harness.verdict import PRECEDENCE  # noqa: PLC0415 - lazy, as the other verbs

    return PRECEDENCE.index(item.verdict), item.node_id


def _unmatched(items: Sequence[ItemRecord | Finding], wanted: str) -> str:
    names = sorted({name.partition("[")[0] for item in items if (name := item.node_id.partition("::")[2])})
    near = difflib.get_close_matches(wanted, names, n=NEAREST, cutoff=0.3)
    hint = f"did you mean {near[0]}?" if near else "show without ITEM lists them"
    hint += f" near it too: {', '.join(near[1:])}" if near[1:] else ""
    return (
        f"ITEM {wanted!r}: no item's node id holds it; expected a node id of the run, SUITE::CASE, or a part of one; "
        f"{hint}"
    )


def _page(one: ItemRecord | Finding, look: Look) -> str:
    from harness.record import ItemRecord  # noqa: PLC0415 - lazy, as the other verbs
    from harness.writers.certification import finding_page  # noqa: PLC0415
    from harness.writers.terminal import item_page  # noqa: PLC0415

    return item_page(one, look) if isinstance(one, ItemRecord) else finding_page(one)


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
