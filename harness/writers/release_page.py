"""What the page for a release says, in plain data: one content for Markdown and HTML, escaped where it is written.

Texts here may hold what files or a model wrote. Whoever shows them escapes all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import gate

if TYPE_CHECKING:
    import datetime as dt

    from harness.baseline import Comparison
    from harness.gate import GateResult
    from harness.policy.policy import Policy
    from harness.record import ItemRecord, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a run is judged by and held against, which its record cannot know."""

    result: GateResult
    policy: Policy | None = None
    today: dt.date | None = None
    """Day on which waivers had to hold."""
    baseline: Comparison | str | None = None
    """The comparison with an earlier run, or why there is none; None where none was asked for."""

    @property
    def excused(self) -> frozenset[str]:
        """Node ids of failures that waivers excuse."""
        return frozenset(excuse.node_id for excuse in self.result.waived)

    def severity(self, item: ItemRecord) -> str:
        """Return the severity of an item, raised where the policy says so."""
        return self.policy.severity(item) if self.policy else item.severity

    def blocks(self, item: ItemRecord) -> bool:
        """Tell whether a failure of an item shuts the gate."""
        return self.policy.blocks(item) if self.policy else gate.blocks(item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Heads and rows of equal length."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""
    """What was left out."""
    tones: tuple[str, ...] = ()
    """One verdict for each row, for colour alone; the last cell says it in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One part of the page."""

    heading: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    """Stands before the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page."""

    word: str
    """Of the gate."""
    code: int
    headline: str
    rule: str
    reasons: tuple[str, ...]
    blocks: tuple[Block, ...]


def standing_of(record: RunRecord, known: Standing | None = None) -> Standing:
    """Return what is known of how to judge `record`; else what the gate says without a policy."""
    return known or Standing(result=gate.judge_run(record))


def few(texts: list[str], limit: int, where: str = "") -> list[str]:
    """Return at most `limit` of `texts`, and how many more there are."""
    more = [f"and {len(texts) - limit} more{f' in {where}' if where else ''}"] if len(texts) > limit else []
    return [*texts[:limit], *more]
