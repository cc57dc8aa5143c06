"""From the verdicts of cases to the verdict of a suite, and from those to sensitivity and specificity.

The unit is what organisms are grown on: a base seed of the tiny base, or the one SmolLM2. Arms and organisms that share
it are not independent, so a unit counts as caught only when every planted model on it was caught, and as a false alarm
when one of its controls FAILed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from harness.case import COMPOSITE

# Records are built from these hints at run time.
from harness.verdict import Bound, Measurement, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Expected = Literal["FAIL", "PASS", ""]
FAIL: Expected = "FAIL"
PASS: Expected = "PASS"  # noqa: S105 - a verdict, not a password
UNTOUCHED = "untouched"
"""Arm of a base before anything was planted."""
UNEXPECTING: Expected = ""
"""Of an organism that the suite does not claim to catch: whatever comes of it is told, and is no alarm."""
CONFIDENCE = 0.95
"""Of each one-sided bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFinding:
    """What one case of a suite said of one model."""

    case: str
    check: str
    verdict: Verdict
    measurement: Measurement | None = None
    """The judged one."""
    bound: Bound | None = None
    cause: str = ""
    flagged: int | None = None
    """Of `truly_bad`, the rows that the case counts as bad."""
    truly_bad: int | None = None
    """Rows in which a planted model does not say what its twin says; None where no text was compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """How many truly bad rows a case flags, over all planted models of a suite."""

    case: str
    flagged: int
    truly_bad: int
    seeds: int
    """Base seeds that the rows come from: the clusters."""
    bound: float
    """One-sided 95 % lower limit of the share, Korn-Graubard with base seeds as clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a suite said of one organism, beside what it had to say."""

    node_id: str
    suite: str
    organism: str
    arm: str
    base: str
    seed: int
    expected: Expected
    verdict: Verdict
    met: bool
    cases: tuple[CaseFinding, ...]
    """In the order of the file; empty when the model could not be opened."""
    cause: str = ""
    """Why the model could not be asked."""
    recipe: str = ""
    """Digest of the recipe on this base."""
    weights: str = ""
    """Digest of the tensors, as the organism's manifest says it."""
    model: str = ""
    """Digest of the model's identity: weights, tokenizer, template, dtype, adapter."""
    rerun: str = ""
    """Command that runs this one again."""
    seconds: float = 0.0

    @property
    def found_by(self) -> tuple[str, ...]:
        """Cases that FAILed."""
        return tuple(case.case for case in self.cases if case.verdict is Verdict.FAIL)

    @property
    def counted(self) -> tuple[tuple[str, int, int], ...]:
        """Cases that read text: name, rows flagged, rows truly bad; those without a truly bad row are left out."""
        return tuple((case.case, case.flagged or 0, case.truly_bad) for case in self.cases if case.truly_bad)

    @property
    def leading(self) -> CaseFinding | None:
        """The suite's leading case: the first of the file, whatever it said, so that nothing is picked afterwards."""
        return self.cases[0] if self.cases else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateState:
    """What a run knows of the certificate of a suite."""

    state: Literal["living", "dead", "absent"]
    why: str = ""
    """Why it is dead or absent."""
    k: int = 0
    """Base seeds on which every planted model was caught."""
    n: int = 0
    bound: float = 0.0
    """Exact one-sided 95 % lower bound of the sensitivity."""
    flags: tuple[Flagged, ...] | None = None
    """Cases that read text, and how much of what is truly bad they see; None in records that know nothing of it."""


class Judged(Protocol):
    """As much of a finding as counting needs."""

    @property
    def organism(self) -> str:
        """Name of the organism."""

    @property
    def arm(self) -> str:
        """Arm."""

    @property
    def base(self) -> str:
        """Base."""

    @property
    def seed(self) -> int:
        """Seed."""

    @property
    def expected(self) -> Expected:
        """What had to come of it."""

    @property
    def verdict(self) -> Verdict:
        """What came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`k` of `n` base seeds, with the exact bound on the side that matters."""

    k: int
    n: int
    bound: float


def suite_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a suite: FAIL if any case FAILs, else INVALID, else INCONCLUSIVE, else PASS.

    Of no case at all it is INVALID. A waived FAIL is a FAIL: no waiver applies to an organism.
    """
    found = {Verdict.FAIL if verdict is Verdict.WAIVED else verdict for verdict in verdicts}
    order = (Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next((verdict for verdict in order if verdict in found), Verdict.INVALID)


def meets(expected: Expected, verdict: Verdict) -> bool:
    """Tell whether a verdict is the expected one; where nothing is expected, every verdict is."""
    return expected in {UNEXPECTING, verdict.value}


def contradictions(finding: Finding, cases: Sequence[str]) -> Iterable[str]:
    """Say what in a finding contradicts itself or its suite.

    Args:
        finding: The finding.
        cases: Ids of the suite's cases, in the order of the file.
    """
    asked = [case.case for case in finding.cases]
    if asked and asked != list(cases):
        yield "its cases are not those of its suite"
    if finding.verdict is not suite_verdict(case.verdict for case in finding.cases):
        yield f"{finding.verdict}, and its cases say otherwise"
    if finding.met is not meets(finding.expected, finding.verdict):
        yield "met or not is not what expectation and verdict say"
    if finding.expected and finding.expected != (FAIL if finding.arm == "planted" else PASS):
        yield f"arm {finding.arm} is expected to {finding.expected}"
    if ("::certify[" in finding.node_id) is not bool(finding.expected):
        yield "its node id and its expectation differ"
    for case in finding.cases:
        yield from _unmeasured(case)


def _unmeasured(case: CaseFinding) -> Iterable[str]:
    """Say where a decided case has no number, or one that decides otherwise."""
    measured, bound = case.measurement, case.bound
    if case.verdict not in {Verdict.PASS, Verdict.FAIL}:
        return
    if measured is None or bound is None or measured.n < 1:
        yield f"case {case.case} {case.verdict}, and nothing was measured"
        return
    if case.check not in COMPOSITE and bound.judge(measured.value, measured.value) is not case.verdict:
        keeps = "does not keep" if case.verdict is Verdict.PASS else "keeps"
        yield f"case {case.case} {case.verdict}, and its value {keeps} its bound"


def unit_of(finding: Judged) -> str:
    """Return what the model was grown on: seeds of an adapter on smollm2 share one base, and are one unit."""
    return f"{finding.base}@seed={finding.seed}" if finding.base == "tiny" else finding.base


def by_unit(findings: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Return findings by the unit that they share, in the order met."""
    units: dict[str, list[Judged]] = defaultdict(list)
    for finding in findings:
        units[unit_of(finding)].append(finding)
    return dict(units)


def sensitivity(findings: Iterable[Judged]) -> Share:
    """Return on how many base seeds every planted model FAILed, with the exact one-sided 95 % lower bound.

    What is INVALID or INCONCLUSIVE stays in the denominator: a model that was not measured was not caught.

    Source: Clopper and Pearson 1934; 4 of 4 gives 0.47.
    """
    units = by_unit(finding for finding in findings if finding.expected == FAIL)
    k = sum(all(finding.verdict is Verdict.FAIL for finding in mates) for mates in units.values())
    return Share(k=k, n=len(units), bound=_limit(k, len(units), upper=False))


def specificity(findings: Iterable[Judged]) -> Share:
    """Return on how many base seeds a control FAILed, with the exact one-sided 95 % upper bound.

    A base seed counts when one of its controls FAILed, or when all were decided: what is INVALID or INCONCLUSIVE is no
    FAIL, and no evidence against one either, so it leaves the denominator and the bound grows. Untouched bases are
    told apart: they had no training beside the planted models, and seeds on which nothing was planted would add to n.
    """
    units = by_unit(finding for finding in findings if finding.expected == PASS and finding.arm != UNTOUCHED)
    alarms = [any(finding.verdict is Verdict.FAIL for finding in mates) for mates in units.values()]
    decided = [
        alarm or all(finding.verdict is Verdict.PASS for finding in mates)
        for alarm, mates in zip(alarms, units.values(), strict=True)
    ]
    return Share(k=sum(alarms), n=sum(decided), bound=_limit(sum(alarms), sum(decided), upper=True))


def share_met(findings: Sequence[Judged]) -> Share:
    """Return how many findings of one arm came out as expected, by unit, with the exact one-sided 95 % lower bound."""
    units = by_unit(findings)
    k = sum(all(meets(finding.expected, finding.verdict) for finding in mates) for mates in units.values())
    return Share(k=k, n=len(units), bound=_limit(k, len(units), upper=False))


def _limit(k: int, n: int, *, upper: bool) -> float:
    """Return one exact limit; of nothing at all the one that says nothing."""
    from harness.stats import exact_limits  # noqa: PLC0415 - brings scipy, which collection does not need

    if n == 0:
        return 1.0 if upper else 0.0
    limits = exact_limits(k, n, CONFIDENCE)
    return limits.high if upper else limits.low
