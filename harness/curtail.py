"""A fixed plan (n, c) whose sampling stops as soon as it can no longer pass.

PASS is said at the planned number alone, so that looking early cannot make a model pass: the false-pass rate is that of
the plan, whenever and however often it is looked at. Computing a fixed bound anew as data arrive, and passing as soon
as it is met, lets a model at the limit pass in about a quarter of runs at a nominal 5 %; there is no such rule here.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from harness.errors import MeasureError
from harness.estimates import count_of, number
from harness.power import allowed
from harness.stats import exact_limits
from harness.verdict import Verdict

GO_ON: Final = "go on"
Decision: TypeAlias = Verdict | Literal["go on"]


def decide(planned_n: int, limit: float, confidence: float, failures: int, asked: int) -> Decision:
    """Say whether to go on asking, or what to conclude about a rate of failing scenarios.

    PASS only when all planned scenarios were asked and at most c failed, c being the most that the exact upper limit
    allows. As soon as more failed, sampling stops: FAIL if the exact lower limit of what was asked exceeds `limit`,
    else INCONCLUSIVE. The lower limit stands also after stopping where the number of failures was looked at after every
    scenario: c + 1 failures within the first m are as likely as in m scenarios of a fixed plan. In batches the chance
    of a false FAIL may exceed 1 - confidence a little (see `bench/coverage.py`); that of a false PASS never does.

    Args:
        planned_n: Scenarios, fixed before the first one was asked.
        limit: Largest rate that is tolerated, in (0, 1).
        confidence: Of each limit.
        failures: Of the scenarios asked so far; what could not be measured counts as failed.
        asked: Scenarios so far.

    Returns:
        `GO_ON`, or PASS, FAIL or INCONCLUSIVE.

    Raises:
        MeasureError: counts that do not add up, a limit or confidence out of range, or a plan that cannot pass.
    """
    n, done = count_of(planned_n, "planned scenarios"), count_of(asked, "scenarios asked", 0)
    bad = count_of(failures, "failures", 0)
    if not bad <= done <= n:
        msg = f"{bad} failures in {done} of {n} planned scenarios; expected no more than were asked, and no more asked "
        msg += "than planned; a plan is fixed before it starts"
        raise MeasureError(msg)
    if not 0.0 < number(limit, "limit", 0.0, 1.0) < 1.0:
        msg = f"a limit of {limit:g} holds for every model or for none; expected one between 0 and 1"
        raise MeasureError(msg)
    most = allowed(n, limit, confidence)
    if most is None:
        msg = f"{n} scenarios without any failure cannot show a limit of {limit:g} at {confidence:g}; plan more"
        raise MeasureError(msg)
    if bad <= most:
        return Verdict.PASS if done == n else GO_ON
    return Verdict.FAIL if exact_limits(bad, done, confidence).low > limit else Verdict.INCONCLUSIVE
