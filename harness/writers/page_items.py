"""What `report.html` says of checks, in the order of reading: failure modes, their suites, and in those the checks.

Worst first on every level. Plain data; nothing here is escaped, the templates do that.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.escape import line
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification, page_plot, words
from harness.writers.release_table import certified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.record import ItemRecord, RunRecord, SuiteRecord
    from harness.writers.page_plot import Axis, Plot, Spark
    from harness.writers.release_page import Standing

SLUG = re.compile(r"[^a-z0-9]+")
MAX_SLUG = 48
DIGITS = 12
"""Hex digits of a node id's digest: enough that two checks of a run do not meet."""
MAX_SPARKS = 60
"""Sparklines in the whole page, of the worst suites; the numbers of the others stand with their checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One item with what is drawn of it."""

    item: ItemRecord
    anchor: str
    plot: Plot | None
    uncertified: bool
    """A PASS that nothing vouches for."""
    claim: str
    """Empty where the suite says the same."""
    distance: float
    excused: bool
    """A waiver that holds excuses its failure."""
    blocks: bool
    """Its failure shuts the gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Checks of a suite that share an axis."""

    anchor: str
    axis: Axis | None
    """None where nothing was measured."""
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteView:
    """One suite."""

    anchor: str
    id: str
    suite: SuiteRecord | None
    """None where the record does not hold it."""
    units: tuple[Unit, ...]
    badge: str
    """`caught 7 of 7`, or UNCERTIFIED; empty where nobody looked."""
    certified: bool
    vouched: str
    """The same in full sentences."""
    sparks: tuple[Spark, ...]
    tally: tuple[tuple[Verdict, int], ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them."""
        return tuple(check for unit in self.units for check in unit.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One failure mode."""

    anchor: str
    name: str
    worst: Verdict
    tally: tuple[tuple[Verdict, int], ...]
    suites: tuple[SuiteView, ...]


class Names:
    """Parts of ids in one page: readable, and no two of a kind alike."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """Know which are taken."""
        self._taken = set(taken)
        self._last: Counter[str] = Counter()

    def slug(self, text: str) -> str:
        """Return `text` in lower-case letters, digits and hyphens, with a number where it was there before."""
        plain = SLUG.sub("-", text.lower())[:MAX_SLUG].strip("-") or "x"
        name = plain
        while name in self._taken:
            self._last[plain] += 1
            name = f"{plain}-{self._last[plain] + 1}"
        self._taken.add(name)
        return name


def anchor_of(node_id: str) -> str:
    """Return the id of a check in the page: the same in every run."""
    return f"i-{hashlib.sha256(node_id.encode('utf-8', 'surrogatepass')).hexdigest()[:DIGITS]}"


def modes(record: RunRecord, standing: Standing) -> tuple[Mode, ...]:
    """Return the failure modes of a run on models, worst first; a suite without a result is worse than any verdict."""
    suites = {suite.id: suite for suite in record.suites}
    items: dict[tuple[str, str], list[ItemRecord]] = {}
    for item in words.worst_first(record.items):
        items.setdefault((item.failure_mode, item.suite), []).append(item)
    asked = {suite for _, suite in items}
    for suite in record.suites:
        if suite.id not in asked:
            items[suite.failure_mode, suite.id] = []
    views = _Views(record, standing)
    found: dict[str, list[SuiteView]] = {}
    for (mode, name), mine in sorted(items.items(), key=lambda one: (_rank(one[1]), one[0])):
        found.setdefault(mode, []).append(views.of(name, suites.get(name), mine))
    names = Names()
    return tuple(_mode(name, mine, names.slug(name)) for name, mine in found.items())


def _mode(name: str, views: list[SuiteView], place: str) -> Mode:
    verdicts = [check.item.verdict for view in views for check in view.checks]
    empty = any(not view.checks for view in views)
    worst = Verdict.INVALID if empty or not verdicts else min(verdicts, key=PRECEDENCE.index)
    return Mode(anchor=f"mode-{place}", name=name, worst=worst, tally=_tally(verdicts), suites=tuple(views))


class _Views:
    """Makes the views of the suites of one page, and hands out their ids."""

    def __init__(self, record: RunRecord, standing: Standing) -> None:
        self._standing = standing
        self._models = [model.name for model in record.models]
        self._bare = frozenset(certification.uncertified(record))
        self._places, self._axes, self._sparks = Names(), itertools.count(1), MAX_SPARKS

    def of(self, name: str, suite: SuiteRecord | None, items: list[ItemRecord]) -> SuiteView:
        """Return the view of a suite; `items` are of one failure mode, worst first."""
        groups: dict[str, list[ItemRecord]] = {}
        for item in items:
            groups.setdefault(page_plot.unit_of(item), []).append(item)
        state = suite.certificate if suite else None
        drawn = page_plot.sparks(items, self._models)[: self._sparks] if len(self._models) > 1 else []
        self._sparks -= len(drawn)
        badge = "" if state is None else certification.UNCERTIFIED
        if state is not None and certified(state):
            badge = f"caught {state.k} of {state.n}"
        return SuiteView(
            anchor=f"suite-{self._places.slug(name)}", id=name, suite=suite, badge=badge, certified=certified(state),
            vouched=certification.certified(suite, items) if suite else "", sparks=tuple(drawn),
            units=tuple(self._unit(mine, suite) for mine in groups.values()),
            tally=_tally(item.verdict for item in items),
        )  # fmt: skip

    def _unit(self, items: list[ItemRecord], suite: SuiteRecord | None) -> Unit:
        axis = page_plot.axis_of(items)
        checks = tuple(self._check(item, axis, suite) for item in items)
        return Unit(anchor=f"a-{next(self._axes)}", axis=axis, checks=checks)

    def _check(self, item: ItemRecord, axis: Axis | None, suite: SuiteRecord | None) -> Check:
        return Check(
            item=item, anchor=anchor_of(item.node_id), plot=page_plot.plot(item, axis),
            uncertified=item.verdict is Verdict.PASS and line(item.suite, certification.NAME) in self._bare,
            claim="" if suite and suite.claim == item.claim else item.claim,
            distance=round(page_plot.distance(item), 4), excused=item.node_id in self._standing.excused,
            blocks=self._standing.blocks(item),
        )  # fmt: skip


def _rank(items: list[ItemRecord]) -> tuple[int, int]:
    if not items:
        return -1, 0
    first = items[0]
    severity = words.SEVERITIES.index(first.severity) if first.severity in words.SEVERITIES else -1
    return PRECEDENCE.index(first.verdict), severity


def _tally(verdicts: Iterable[Verdict]) -> tuple[tuple[Verdict, int], ...]:
    found = list(verdicts)
    return tuple((verdict, found.count(verdict)) for verdict in PRECEDENCE if verdict in found)
