"""What a comparison with a baseline says: plain data, its exit code, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness import gate
from harness.escape import line
from harness.verdict import Verdict

if TYPE_CHECKING:
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
HEADERS = ("check", "n", "baseline", "now", "worse by", "delta", "verdict", "p (Holm)", "state")


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
    blocking: bool
    unit: str
    verdict: Verdict | None
    """Of the comparison: FAIL is a regression beyond delta; None where the baseline has no such check."""
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
        """Suite and case, on one line."""
        return line(f"{self.suite}::{self.case}", 120)


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


def told(found: Comparison) -> str:
    """Return the comparison as text: a sentence, the table, every cause, and what was compared with what."""
    from tabulate import tabulate  # noqa: PLC0415 - lazy, as in the commands

    reported = [item for item in found.items if item.cause and item.verdict is not Verdict.PASS]
    return "\n".join((
        f"{found.word}: {SAID[found.code]}", "",
        tabulate([_row(item) for item in found.items], headers=HEADERS, disable_numparse=True), "",
        *(f"{item.name} {_verdict(item)}: {line(item.cause, 300)}" for item in reported), *([""] if reported else []),
        f"now:      {_whose(found.new)}", f"baseline: {_whose(found.old)}",
        f"worse by: mean worsening with one-sided limits at {found.confidence:g} each; {FOOTNOTE}",
    ))  # fmt: skip


def _row(item: ItemComparison) -> tuple[str, ...]:
    difference = "-"
    if item.difference is not None:
        found = item.difference
        difference = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]{'' if item.paired else ' *'}"
    delta = "-" if item.delta is None else f"{item.delta:g} {line(item.unit, 20)}"
    return (
        item.name, str(item.n) if item.n else "-", _number(item.old), _number(item.new), difference, delta,
        _verdict(item), _number(item.p_holm), item.state,
    )  # fmt: skip


def _verdict(item: ItemComparison) -> str:
    if item.verdict is None:
        return "not compared"
    return f"{item.verdict}{'' if item.blocking else ' (reported)'}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _whose(side: Side) -> str:
    return f"{line(side.model, 60)} {side.model_digest[:23]}, run {line(side.run_id, 60)}, {side.digest[:23]}"
