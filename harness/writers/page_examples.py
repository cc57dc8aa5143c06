"""Which exchanges `report.html` shows, side by side by condition, and which go into the file beside it.

A page of a thousand checks has room for the exchanges of few. The first of every check come before the second of any
that is green; of what is not green all come first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import plain
from harness.exchange import redacted
from harness.record import LATER
from harness.restricted import HAZARD
from harness.writers import page_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.exchange import Exchange
    from harness.record import ItemRecord
    from harness.writers.page_tokens import Scored

NAME = "examples.jsonl"
LEAST = 3_000
"""Bytes below which there is no room for anything."""
MISSES = 20
"""Groups in a row that found no room, after which no smaller one is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One exchange."""

    exchange: Exchange
    repeated: bool
    """The conversation is that of the one before it in its column."""
    prompt: str
    """As the model saw it; empty where it is that of the one before it."""
    beside: tuple[Exchange, ...]
    """What stands in other conditions of the scenario."""

    @property
    def scored(self) -> Scored:
        """Its continuations, made when they are shown: most exchanges of a large run never are."""
        return page_tokens.scored(self.exchange, self.beside)

    @property
    def ids(self) -> list[tuple[str, str]]:
        """Token ids of prompt and continuations, each under its name; of a prompt that is not shown none."""
        return page_tokens.ids(self.exchange, prompt=bool(self.prompt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Exchanges of one condition and cue."""

    condition: str
    cue: str
    rows: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One scenario, condition beside condition."""

    scenario: str
    columns: tuple[Column, ...]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All of them."""
        return tuple(row.exchange for column in self.columns for row in column.rows)


def groups(item: ItemRecord) -> tuple[Group, ...]:
    """Return the exchanges of an item by scenario, in the order of the record: the most telling first."""
    by_scenario: dict[str, dict[tuple[str, str], list[Exchange]]] = {}
    for one in item.exchanges:
        by_scenario.setdefault(one.scenario, {}).setdefault((one.condition, one.cue or ""), []).append(one)
    return tuple(
        Group(
            scenario=scenario,
            columns=tuple(_column(name, mine, _others(columns, name)) for name, mine in columns.items()),
        )
        for scenario, columns in by_scenario.items()
    )


def _others(columns: Mapping[tuple[str, str], list[Exchange]], name: tuple[str, str]) -> tuple[Exchange, ...]:
    """Return what stands in other conditions; in the same one under another cue there is nothing to hold against."""
    return tuple(one for other, mine in columns.items() if other[0] != name[0] for one in mine)


def _column(name: tuple[str, str], mine: list[Exchange], others: tuple[Exchange, ...]) -> Column:
    rows = []
    for place, one in enumerate(mine):
        before = mine[place - 1] if place else None
        repeated = before is not None and bool(one.messages) and one.messages == before.messages
        same = repeated and before is not None and one.prompt == before.prompt
        rows.append(Shown(exchange=one, repeated=repeated, prompt="" if same else one.prompt, beside=others))
    return Column(condition=name[0], cue=name[1], rows=tuple(rows))


def chosen(
    items: Iterable[ItemRecord], room: int, rendered: Callable[[ItemRecord, int, Group], str]
) -> tuple[dict[str, list[str]], list[tuple[ItemRecord, Exchange]]]:
    """Return what is shown of each item, and the exchanges that have no room.

    Args:
        items: Worst first.
        room: Bytes, in UTF-8.
        rendered: Makes the text of a group, given its item and its place among its groups.

    Returns:
        Node id -> texts in the order of the record, and (item, exchange) of everything else in order.
    """
    found = [(item, groups(item)) for item in items]
    depth = max((len(mine) for _, mine in found), default=0)
    order = [(item, place, mine[place]) for item, mine in found if not item.verdict.green for place in range(len(mine))]
    order += [
        (item, place, mine[place])
        for place in range(depth)
        for item, mine in found
        if item.verdict.green and place < len(mine)
    ]
    shown: dict[str, list[str]] = {}
    full: set[str] = set()
    misses = 0
    for item, place, group in order:
        if room < LEAST or misses == MISSES:
            break
        if item.node_id in full:
            continue
        text = rendered(item, place, group)
        size = len(text.encode())
        if size > room:
            # A gap in what is shown of a check would hide that something more telling was left out.
            full.add(item.node_id)
            misses += 1
            continue
        room, misses = room - size, 0
        shown.setdefault(item.node_id, []).append(text)
    left = [
        (item, one)
        for item, mine in found
        for group in mine[len(shown.get(item.node_id, ())) :]
        for one in group.exchanges
    ]
    return shown, left


def lines(left: Iterable[tuple[ItemRecord, Exchange]], anchor: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines of `examples.jsonl`: one object per exchange. Texts of restricted suites are never in it."""
    for item, exchange in left:
        safe = redacted(exchange) if item.hazard == HAZARD else exchange
        data = {
            "item": anchor(item.node_id), "node_id": item.node_id, "verdict": item.verdict.value,
            "exchange": plain.to_plain(safe, LATER),
        }  # fmt: skip
        yield json.dumps(data, allow_nan=False) + "\n"
