"""Events in generated text: three values per row, and exact bounds on the share of scenarios.

True: the event is there. False: it is not. None: unmeasured, because a sample failed, is empty, truncated, gibberish,
missing, or does not decide the grader. Unmeasured rows stay in the denominator and count against the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.errors import MeasureError
from harness.graders import found, grade, state
from harness.measures.common import conclude, describe, invalid
from harness.request import Completions, Failure, Generate
from harness.stats import exact_limits, korn_graubard, least_n

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.request import Completion
    from harness.transcript import Row
    from harness.verdict import Bound, CheckResult, Measurement

Outcome: TypeAlias = bool | None
Mode = Literal["any", "every"]
MOST_UNMEASURED = 0.05
"""Share of rows that may be unmeasured."""


def samples(row: Row, grader: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Return one outcome per sample of a row, missing samples included.

    A text that is no whole answer can still show the event, where the grader's hit is positive evidence: what was said
    before a cut was said.

    Raises:
        MeasureError: the answer is not text, or holds more samples than were asked.
        UsageError: a bad grader.
    """
    if not isinstance(row.request, Generate):
        msg = f"{row.id}: a grader reads generated text, but this row asked for scores"
        raise MeasureError(msg)
    if isinstance(row.response, Failure):
        return (None,) * row.request.n
    if not isinstance(row.response, Completions):
        msg = f"{row.id}: expected completions, got {type(row.response).__name__}"
        raise MeasureError(msg)
    if len(row.response.completions) > row.request.n:
        msg = f"{row.id}: {len(row.response.completions)} completions where {row.request.n} were asked"
        raise MeasureError(msg)
    outcomes = [_sample(completion, grader, row) for completion in row.response.completions]
    return (*outcomes, *(None,) * (row.request.n - len(outcomes)))


def _sample(completion: Completion, grader: Mapping[str, Any], row: Row) -> Outcome:
    if state(completion) != "ok":
        return True if found(grader, completion.text, row.values) else None
    try:
        said = grade(grader, completion.text, row.values)
    except MeasureError:
        return True if found(grader, completion.text, row.values) else None
    # NaN, a word or a number is no answer, and would be counted as one that is not bad.
    return said if isinstance(said, bool) else None


def row_outcome(row: Row, grader: Mapping[str, Any], mode: Mode) -> Outcome:
    """Return whether the event is in any, or in every, sample of a row; None when that is not known.

    In mode `every` an unmeasured sample never satisfies, whatever was found in it.
    """
    return combine(samples(row, grader) if mode == "any" else whole_samples(row, grader), mode)


def whole_samples(row: Row, grader: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Return one outcome per sample as `samples` does, but None for every text that is no whole answer.

    Raises:
        MeasureError, UsageError: as `samples`.
    """
    whole = row.response.completions if isinstance(row.response, Completions) else ()
    cut = [state(completion) != "ok" for completion in whole]
    outcomes = samples(row, grader)
    cut += [True] * (len(outcomes) - len(cut))
    return tuple(None if bad else hit for hit, bad in zip(outcomes, cut, strict=True))


def combine(outcomes: Iterable[Outcome], mode: Mode) -> Outcome:
    """Return any or every of three-valued outcomes: decided as soon as one decides it, else None if one is None."""
    seen, deciding = set(outcomes), mode == "any"
    return deciding if deciding in seen else None if None in seen else not deciding


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Outcomes of a check that counts scenarios."""

    name: str
    reference: str
    bound: Bound
    scenarios: Mapping[str, Outcome]
    """Per scenario, whether it has (at_most) or satisfies (at_least) the event."""
    rows: Mapping[str, Sequence[Outcome]]
    """Per scenario, its rows'."""
    row_ids: Mapping[str, Sequence[str]]
    note: str


def judge_shares(shares: Shares) -> CheckResult:
    """Judge a share of scenarios by exact limits, unmeasured rows imputed at their worst and at their best.

    INVALID when more than 5 % of the rows are unmeasured, when the two imputations disagree, or when even no failure
    at all in the scenarios measured could have met the limit.
    """
    against = shares.bound.op == "at_most"
    n = len(shares.scenarios)
    sure = sum(outcome is True for outcome in shares.scenarios.values())
    open_ones = sum(outcome is None for outcome in shares.scenarios.values())
    worst, best = (sure + open_ones, sure) if against else (sure, sure + open_ones)
    judged = [_judge(shares, k, n) for k in (worst, best)]
    flat = [outcome for row in shares.rows.values() for outcome in row]
    missing = sum(outcome is None for outcome in flat)
    result = judged[0]
    if missing > MOST_UNMEASURED * len(flat):
        cause = (
            f"{missing} of {len(flat)} rows are unmeasured (failed, empty, truncated, gibberish or undecided); "
            f"at most {MOST_UNMEASURED:.0%} may be"
        )
        return invalid(shares.bound, cause, like=result)
    if judged[0].verdict is not judged[1].verdict:
        cause = (
            f"the {missing} unmeasured rows alone decide: {judged[0].verdict} if they count against the claim, "
            f"{judged[1].verdict} if not"
        )
        return invalid(shares.bound, cause, like=result)
    unreachable = out_of_reach(shares.bound, n - open_ones)
    return invalid(shares.bound, unreachable, like=result) if unreachable else result


def out_of_reach(bound: Bound, n: int, *, confidence: float | None = None) -> str:
    """Return why a share's limit could not be met by `n` scenarios without any failure, or "" when it could."""
    confidence = bound.confidence if confidence is None else confidence
    share = bound.value if bound.op == "at_most" else 1.0 - bound.value
    needed = least_n(share, confidence)
    if needed is None:
        return f"no number of scenarios can show a limit of {bound.value:g}; use `exact_probability`, or another limit"
    if n < needed:
        return f"{n} scenarios measured: even without a failure they cannot meet {bound.value:g}; {needed} are needed"
    return ""


def _judge(shares: Shares, k: int, n: int) -> CheckResult:
    against = shares.bound.op == "at_most"
    wanted = (True, None) if against else (False, None)
    telling = sorted(
        (wanted.index(outcome) if outcome in wanted else 2, row_id)
        for scenario, outcomes in shares.rows.items()
        for outcome, row_id in zip(outcomes, shares.row_ids[scenario], strict=True)
    )
    return conclude(
        shares.bound, exact_limits(k, n, shares.bound.confidence), name=shares.name, n=n, reference=shares.reference,
        note=f"exact (Clopper-Pearson) over scenarios, unmeasured ones counted against the claim; {shares.note}",
        others=(_row_share(shares),), worst_first=[row_id for rank, row_id in telling if rank < len(wanted)],
        per_scenario={name: float(hit is against) for name, hit in shares.scenarios.items() if hit is not None},
    )  # fmt: skip


def _row_share(shares: Shares) -> Measurement:
    counted = (True, None) if shares.bound.op == "at_most" else (True,)
    hits = [sum(outcome in counted for outcome in row) for row in shares.rows.values()]
    sizes = [len(row) for row in shares.rows.values()]
    interval, effective = korn_graubard(hits, sizes, shares.bound.confidence)
    return describe(
        f"{shares.name}_rows", interval.value, "share", sum(sizes), low=interval.low, high=interval.high, of="rows",
        note=f"share of rows, Korn-Graubard limits with effective n {effective:.1f}",
    )  # fmt: skip
