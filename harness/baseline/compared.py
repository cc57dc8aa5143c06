"""What a comparison with a baseline says: plain data, its exit code, and its words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness import gate
from harness.console import PLAIN, Look, Row, leading, table
from harness.escape import line
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.stats import Interval

State = Literal["new", "unchanged", "updated", "absent"]
CODES = {Verdict.INVALID: gate.BROKEN, Verdict.FAIL: gate.FAIL, Verdict.INCONCLUSIVE: gate.INCONCLUSIVE}
WORDS = {
    gate.PASS: "NO REGRESSION", gate.FAIL: "REGRESSION", gate.BROKEN: "INVALID", gate.INCONCLUSIVE: "INCONCLUSIVE",
    gate.NOTHING: "NOTHING COMPARED",
}  # fmt: skip
SAID = {
    gate.PASS: "no check that can block a release got worse by more than its delta.",
    gate.FAIL: "at least one check that can block a release got worse by more than its delta.",
    gate.BROKEN: "not everything could be compared, which is no pass.",
    gate.INCONCLUSIVE: "the evidence does not decide whether a check that can block a release got worse.",
    gate.NOTHING: "no check that can block a release is in both runs, which is no pass.",
}
FOOTNOTE = (
    "* by the limits of both runs, not by scenario. Whether the limits of the suites hold is another question: tells "
    "verdict."
)
HEADERS = ("change", "check", "then", "now", "worse by", "delta", "verdict", "p (Holm)", "n", "state")
DISPENSABLE = (8, 7, 9, 5)
"""Columns that a narrow terminal goes without, the first to go first."""
LETTERS = {
    Verdict.PASS: "P", Verdict.FAIL: "F", Verdict.INCONCLUSIVE: "?", Verdict.INVALID: "!", Verdict.WAIVED: "W",
}  # fmt: skip
WORSE, BETTER, ALIKE, OPEN, BROKEN, NEW = (
    "▲ worse", "▼ better", "= no worse", "? undecided", "! invalid", "+ new",
)  # fmt: skip
CHANGES = {BROKEN: "magenta", WORSE: "red", OPEN: "yellow", ALIKE: "", BETTER: "green", NEW: ""}
"""What may have become of a check, worst first, and its colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Which run it was."""

    run_id: str
    model: str
    model_digest: str
    digest: str
    """Seal of the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemComparison:
    """One check in both runs."""

    suite: str
    case: str
    node_id: str
    """In the new run; of a check that is only in the baseline, there."""
    model: str = ""
    """Which one of the new run it was; empty where that has one alone."""
    blocking: bool
    unit: str
    verdict: Verdict | None
    """Of the comparison: FAIL is a regression beyond delta; None where the baseline has no such check."""
    failure_mode: str = ""
    was: Verdict | None = None
    """Of the check in the baseline, by the limits of its suite."""
    now: Verdict | None = None
    """The same in the new run."""
    cause: str = ""
    state: State
    """As `baselineState` of SARIF has it: a check that was green and is not any more is `new`."""
    paired: bool = False
    """By scenario, or else by the limits of both runs."""
    n: int = 0
    """Scenarios in both runs; of an unpaired check the units of evidence of the new run."""
    old: float | None = None
    """Judged value in the baseline."""
    new: float | None = None
    """Judged value now."""
    difference: Interval | None = None
    """How much worse it got, with one-sided limits; higher is worse, whatever the direction of the bound."""
    delta: float | None = None
    p: float | None = None
    """As `harness.paired.Paired.p`; None where the check is not paired."""
    p_holm: float | None = None
    """Adjusted over the blocking checks that have a p."""

    @property
    def name(self) -> str:
        """Suite and case, and of a run on several models the model, on one line."""
        return leading(line(f"{self.suite}::{self.case}{f'[{self.model}]' if self.model else ''}", 120))

    @property
    def change(self) -> str:
        """One of `CHANGES`: worse and better only where the limits of the difference leave no other side."""
        if self.verdict is None:
            return NEW
        if self.verdict is Verdict.INVALID or self.difference is None:
            return BROKEN
        if self.difference.low > 0.0:
            return WORSE
        if self.difference.high < 0.0:
            return BETTER
        return ALIKE if self.verdict is Verdict.PASS else OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two runs say beside each other."""

    new: Side
    old: Side
    confidence: float
    items: tuple[ItemComparison, ...]

    @property
    def reasons(self) -> tuple[tuple[int, str], ...]:
        """Exit code and words of everything that speaks against PASS, worst first."""
        found = [
            (CODES.get(item.verdict, gate.BROKEN), f"{item.name} {item.verdict}: {line(item.cause, 300)}")
            for item in self.items
            if item.verdict is not None and item.verdict is not Verdict.PASS
            if item.blocking or item.verdict is Verdict.INVALID
        ]
        if not any(item.blocking and item.verdict is not None for item in self.items):
            found.append((gate.NOTHING, "no check of critical or high severity is in both runs"))
        return tuple(sorted(found, key=lambda reason: gate.PRECEDENCE.index(reason[0])))

    @property
    def code(self) -> int:
        """Exit code, as the gate's."""
        return self.reasons[0][0] if self.reasons else gate.PASS

    @property
    def word(self) -> str:
        """One of `WORDS`."""
        return WORDS[self.code]

    def states(self) -> dict[str, State]:
        """Return `baselineState` by node id."""
        return {item.node_id: item.state for item in self.items}


def told(found: Comparison, look: Look = PLAIN) -> str:
    """Return the comparison as text: a sentence, a table per failure mode, every cause, and what was compared."""
    reported = [item for item in found.items if item.cause and item.verdict is not Verdict.PASS]
    modes: dict[str, list[ItemComparison]] = {}
    for item in sorted(found.items, key=_by_change):
        modes.setdefault(leading(line(item.failure_mode, 60)) or "checks", []).append(item)
    tables = [f"{_title(mode, items)}\n{_table(items, look)}\n" for mode, items in modes.items()]
    word = look.paint(found.word, {gate.PASS: "green", gate.FAIL: "red"}.get(found.code, "yellow"))
    return "\n".join((
        f"{word}: {SAID[found.code]}", "", *tables,
        *(f"{item.name} {_verdict(item)}: {line(item.cause, 300)}" for item in reported), *([""] if reported else []),
        f"now:      {_whose(found.new)}", f"baseline: {_whose(found.old)}",
        f"worse by: mean worsening with one-sided limits at {found.confidence:g} each; {FOOTNOTE}",
    ))  # fmt: skip


def _by_change(item: ItemComparison) -> tuple[int, float, str]:
    """Return what sorts the worst change first: by kind, then by how many deltas it is, then by name."""
    moved = item.difference.value if item.difference else 0.0
    return list(CHANGES).index(item.change), -moved / (item.delta or 1.0), item.name


def _title(mode: str, items: Sequence[ItemComparison]) -> str:
    counts = Counter(item.change.partition(" ")[2] for item in items)
    return f"{mode}: {', '.join(f'{word} {count}' for word, count in counts.items())}"


def _table(items: Sequence[ItemComparison], look: Look) -> str:
    rows = [Row(cells=_cells(item), colour=CHANGES[item.change]) for item in items]
    return table(HEADERS, rows, look, breaks={1: "::"}, optional=DISPENSABLE)


def _cells(item: ItemComparison) -> tuple[str, ...]:
    difference = "-"
    if item.difference is not None:
        found = item.difference
        difference = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]{'' if item.paired else ' *'}"
    delta = "-" if item.delta is None else f"{item.delta:g} {line(item.unit, 20)}"
    return (
        item.change, item.name, _side_of(item.was, item.old), _side_of(item.now, item.new), difference, delta,
        _verdict(item), _number(item.p_holm), str(item.n) if item.n else "-", item.state,
    )  # fmt: skip


def _side_of(verdict: Verdict | None, value: float | None) -> str:
    """Return the letter of a verdict and the value that was judged."""
    return _number(value) if verdict is None else f"{LETTERS[verdict]} {_number(value)}"


def _verdict(item: ItemComparison) -> str:
    if item.verdict is None:
        return "not compared"
    return f"{item.verdict}{'' if item.blocking else ' (reported)'}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _whose(side: Side) -> str:
    model, record = (line(digest[:23]) for digest in (side.model_digest, side.digest))
    return f"{line(side.model, 60)} {model}, run {line(side.run_id, 60)}, {record}"
