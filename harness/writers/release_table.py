"""The table of a release page: one row per suite and model, with its leading case and the state of its worst one.

The leading case is the first of the file, so that nothing is picked afterwards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness import gate
from harness.case import COMPOSITE
from harness.escape import line
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification, words
from harness.writers.outcomes import restricted
from harness.writers.release_page import Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.baseline import ItemComparison
    from harness.certify.findings import CertificateState
    from harness.record import ItemRecord, ModelRecord, RunRecord, SuiteRecord
    from harness.verdict import Bound, Measurement
    from harness.writers.release_page import Standing

MAX_ROWS = 100
COUNTED: Final = frozenset({"rate", "accuracy", "flips", "extractable"})
"""Names of shares that count scenarios one by one; of another share, as of a gap, no k of n can be told."""
ROUNDING = 1e-6
"""Of a share that is k of n."""
USUAL = 0.95
"""Confidence that the head of the table names."""
WITHHELD = "withheld"
NOT_RUN = "- NOT RUN"
NOTHING = "-"
HEADS = (
    "eval: its leading case", "failing k of n, or estimate", "upper bound, or lower (95 %)", "limit",
    "caught on base seeds (at least)",
    "state of the worst case",
)  # fmt: skip
WORSE = "worse than baseline by"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All checks of one suite on one model."""

    suite: SuiteRecord
    model: str
    """Empty where the run has one model."""
    items: tuple[ItemRecord, ...]
    missing: tuple[str, ...]
    """Node ids without a result, selected or not."""

    @property
    def lead(self) -> ItemRecord | None:
        """The result of the first case of the file."""
        first = self.suite.cases[0].id if self.suite.cases else None
        return next((item for item in self.items if item.case == first), None)


def table(record: RunRecord, standing: Standing) -> Table:
    """Return the table, blocking suites first, the worst of each first."""
    found = sorted(groups(record), key=lambda one: _rank(one, standing))
    compared = by_node(standing)
    heads = (*HEADS[:-1], *([WORSE] if compared is not None else []), HEADS[-1])
    shown = found[:MAX_ROWS]
    rows = tuple(_row(one, standing, compared) for one in shown)
    tones = tuple(_tone(one, standing) for one in shown)
    more = f"and {len(found) - MAX_ROWS} more rows in report.html and run.json" if len(found) > MAX_ROWS else ""
    return Table(heads=heads, rows=rows, more=more, tones=tones)


def groups(record: RunRecord) -> Iterator[Group]:
    """Yield the groups of `record`, in the order of its suites; a suite of which nothing was planned has one too."""
    done = {item.node_id for item in record.items}
    items: dict[tuple[str, str], list[ItemRecord]] = {}
    lost: dict[tuple[str, str], list[str]] = {}
    several = len(record.models) != 1
    for item in record.items:
        items.setdefault((item.suite, item.model if several else ""), []).append(item)
    for name in dict.fromkeys((*record.planned, *record.selected)):
        if name not in done:
            suite_id = name.partition("::")[2].partition("::")[0]
            lost.setdefault((suite_id, _model_of(name, record.models) if several else ""), []).append(name)
    keys = dict.fromkeys((*items, *lost))
    by_suite: dict[str, list[str]] = {}
    for owner, model in keys:
        by_suite.setdefault(owner, []).append(model)
    for suite in record.suites:
        for model in by_suite.get(suite.id, [""]):
            key = (suite.id, model)
            yield Group(suite=suite, model=model, items=tuple(items.get(key, ())), missing=tuple(lost.get(key, ())))


def _model_of(node_id: str, models: Sequence[ModelRecord]) -> str:
    return next((model.name for model in models if node_id.endswith(f"[{model.spec}]")), "")


def effective(item: ItemRecord, excused: Collection[str]) -> Verdict:
    """Return the verdict with the gate's waivers applied."""
    return Verdict.WAIVED if item.node_id in excused else item.verdict


def certified(state: CertificateState | None) -> bool:
    """Tell whether a living certificate, whose numbers can be true together, stands behind a suite."""
    return state is not None and state.state == "living" and 0 < state.k <= state.n and state.bound <= state.k / state.n


def blocking(items: Sequence[ItemRecord], suite: SuiteRecord, standing: Standing) -> bool:
    """Tell whether a check of a suite blocks; one without results does unless its severity is only reported."""
    if not items:
        return suite.severity not in gate.REPORTED_ONLY
    return any(map(standing.blocks, items))


def by_node(standing: Standing) -> dict[str, ItemComparison] | None:
    """Return the comparison with the baseline by node id; None where there is none."""
    found = standing.baseline
    return None if found is None or isinstance(found, str) else {item.node_id: item for item in found.items}


def failing(item: ItemRecord) -> str:
    """Return `k of n` scenarios failing where the measure counts them, else the estimate with its interval."""
    found, bound = item.measurements[0], item.bound
    if item.check in COMPOSITE:
        return f"{found.value:g} of {found.n} parts"
    hits = found.value * found.n
    k = round(hits)
    counted = found.name in COUNTED and found.unit == "share" and abs(hits - k) <= ROUNDING * max(1, found.n)
    if found.low == found.high == found.value:
        return words.number(found.value, bound.value if bound else None)
    if bound is None or not counted:
        return words.measured(found, bound).removesuffix(f" {line(found.unit, 20)}")
    return f"{k if bound.op == 'at_most' else found.n - k} of {found.n}"


def bounded(found: Measurement, bound: Bound) -> str:
    """Return the confidence limit that decides a PASS: the upper one, or of a limit from below the lower one."""
    at = "" if bound.confidence == USUAL else f" ({100 * bound.confidence:g} %)"
    end, side = (found.high, "") if bound.op == "at_most" else (found.low, "lower ")
    return f"{side}{words.number(end, bound.value)} {line(found.unit, 20)}{at}"


def power(state: CertificateState | None) -> str:
    """Return on how many base seeds the planted failure was caught, with the lower bound of the chance."""
    if state is None or not certified(state):
        return f"- {certification.UNCERTIFIED}"
    return f"{state.k} of {state.n} ({state.bound:.2f})"


def worse(one: ItemComparison | None) -> str:
    """Return by how much a check got worse, with its one-sided limits."""
    if one is None or one.difference is None:
        return NOTHING
    found = one.difference
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]{'' if one.paired else '*'}"


def state(group: Group, standing: Standing) -> str:
    """Return letter and word of the worst verdict, which case has it, and how many checks have no result."""
    counts = Counter(effective(item, standing.excused) for item in group.items)
    lost = f"{len(group.missing)} of {len(group.items) + len(group.missing)} not run" if group.missing else ""
    if not counts:
        return f"{NOT_RUN}{f': {lost}' if lost else ''}"
    found = min(counts, key=PRECEDENCE.index)
    if found is Verdict.PASS:
        if group.missing:
            return f"{NOT_RUN}: {lost}"
        shown = words.letter_word(found)
        return shown if certified(group.suite.certificate) else f"{shown} {certification.UNCERTIFIED}"
    first = next(item for item in group.items if effective(item, standing.excused) is found)
    more = f" and {counts[found] - 1} more" if counts[found] > 1 else ""
    claimed = found is Verdict.WAIVED and any(
        item.verdict is found and item.node_id not in standing.excused for item in group.items
    )
    named = f"{words.letter_word(found)} {first.case}{more}{', by no valid waiver' if claimed else ''}"
    return f"{named}; {lost}" if lost else named


def _row(group: Group, standing: Standing, compared: dict[str, ItemComparison] | None) -> tuple[str, ...]:
    suite, lead = group.suite, group.lead
    name = f"{suite.id}: {suite.cases[0].id if suite.cases else NOTHING}{f' [{group.model}]' if group.model else ''}"
    severity = severity_of(group, standing)
    reported = "" if blocking(group.items, suite, standing) else ", reported"
    cells = _numbers(lead)
    beside = [] if compared is None else [worse(compared.get(lead.node_id) if lead else None)]
    if restricted(suite.hazard):
        cells, beside = [WITHHELD] * len(cells), [WITHHELD] * len(beside)
    return (f"{name} ({severity}{reported})", *cells, power(suite.certificate), *beside, state(group, standing))


def _numbers(lead: ItemRecord | None) -> list[str]:
    """Return estimate, bound and limit; the unit stands with the bound, or with the limit where there is none."""
    if lead is None:
        return ["no result", NOTHING, NOTHING]
    if lead.verdict is Verdict.INVALID or not lead.measurements or lead.bound is None:
        return [f"not measured ({words.evidence(lead)})", NOTHING, words.bounded(lead)]
    limit = words.bounded(lead).removesuffix(f" {line(lead.bound.unit, 20)}")
    return [failing(lead), bounded(lead.measurements[0], lead.bound), limit]


def _tone(group: Group, standing: Standing) -> str:
    """Return the verdict that colours a row: what did not run as INVALID, a PASS that says little as undecided."""
    if group.missing or not group.items:
        return Verdict.INVALID.value
    found = min((effective(item, standing.excused) for item in group.items), key=PRECEDENCE.index)
    return (Verdict.INCONCLUSIVE if found is Verdict.PASS and not certified(group.suite.certificate) else found).value


def severity_of(group: Group, standing: Standing) -> str:
    """Return the worst severity in a group, as the policy has it."""
    found = [standing.severity(item) for item in group.items] or [group.suite.severity]
    return min(found, key=_place)


def _place(severity: str) -> int:
    return words.SEVERITIES.index(severity) if severity in words.SEVERITIES else -1


def _rank(group: Group, standing: Standing) -> tuple[bool, int, int]:
    found = [PRECEDENCE.index(effective(item, standing.excused)) for item in group.items]
    # What has no result is worse than any verdict: nothing is known of it.
    worst = -1 if group.missing or not found else min(found)
    return not blocking(group.items, group.suite, standing), worst, _place(severity_of(group, standing))
