"""How many scenarios a bound on a share needs, how often a good model keeps it, and what a detector can promise.

A plan is (n, c): n scenarios, of which at most c may fail. All of it is the binomial distribution of independent
scenarios that fail at one true rate. scipy is imported inside functions: importing this costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import MeasureError
from harness.estimates import count_of, number
from harness.stats import exact_limits

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_FAILURES = 500
"""Allowed failures up to which a plan is looked for; rates that need more lie too near the limit to plan for."""
MOST_SCENARIOS = 10**9
"""Scenarios up to which a plan is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristic:
    """How often a plan lets a model pass, by the model's true rate."""

    n: int
    failures: int
    """Most that still pass."""
    limit: float
    confidence: float
    at_limit: float
    """P(PASS) at a true rate of the limit: the false-pass rate, at most 1 - confidence."""
    at_half: float
    at_tenth: float


def passing(n: int, failures: int, rate: float) -> float:
    """Return the probability that at most `failures` of `n` scenarios fail at a true `rate`.

    Raises:
        MeasureError: no scenario, a negative count, or a rate outside [0, 1].
    """
    from scipy.stats import binom  # noqa: PLC0415 - lazy by contract

    return float(binom.cdf(count_of(failures, "failures", 0), count_of(n, "scenarios"), number(rate, "rate", 0.0, 1.0)))


def scenarios_for(limit: float, confidence: float, failures: int = 0) -> int | None:
    """Return the fewest scenarios of which `failures` may fail under an exact upper limit of `limit`; None if none do.

    At 95 % and 1 %: 299, 473, 628, 773 for 0, 1, 2, 3 failures.

    Source: Clopper and Pearson 1934: the upper limit of k in n is at most L where P(at most k of n at rate L) is at
    most 1 - confidence.

    Raises:
        MeasureError: a limit outside [0, 1], a confidence outside (0.5, 1), or a negative count.
    """
    share, error = number(limit, "limit", 0.0, 1.0), 1.0 - _confidence(confidence)
    count_of(failures, "failures", 0)
    if share == 0.0:
        return None
    least, most = failures, failures + 1  # of `failures` scenarios all may fail: that shows nothing
    while passing(most, failures, share) > error:
        least, most = most, 2 * most
        if most > MOST_SCENARIOS:
            return None
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if passing(middle, failures, share) <= error else (middle, most)
    return most


def allowed(n: int, limit: float, confidence: float) -> int | None:
    """Return how many of `n` scenarios may fail under an exact upper limit of `limit`; None if even 0 are too many.

    Raises:
        MeasureError: no scenario, a limit outside [0, 1], or a confidence outside (0.5, 1).
    """
    from scipy.stats import binom  # noqa: PLC0415 - lazy by contract

    count, share = count_of(n, "scenarios"), number(limit, "limit", 0.0, 1.0)
    error = 1.0 - _confidence(confidence)
    if share == 1.0:
        return count
    # The smallest k at which the distribution function reaches the error; what passes lies beneath.
    found = int(binom.ppf(error, count, share))
    while found >= 0 and passing(count, found, share) > error:
        found -= 1
    return found if found >= 0 else None


def characteristic(n: int, failures: int, limit: float, confidence: float) -> Characteristic:
    """Return the operating characteristic of a plan at the limit, at half and at a tenth of it.

    Raises:
        MeasureError: as `passing`, or a confidence outside (0.5, 1).
    """
    at_limit, at_half, at_tenth = (passing(n, failures, limit * part) for part in (1.0, 0.5, 0.1))
    return Characteristic(
        n=n, failures=failures, limit=limit, confidence=_confidence(confidence), at_limit=at_limit, at_half=at_half,
        at_tenth=at_tenth,
    )  # fmt: skip


def plan_for(limit: float, confidence: float, *, rate: float, power: float) -> Characteristic | None:
    """Return the smallest plan that a model of a true `rate` passes with probability `power`; None if none is found.

    None where the rate is so near the limit that more than `MOST_FAILURES` failures would have to be allowed.

    Raises:
        MeasureError: a rate that is not below the limit, or a number out of range.
    """
    share = number(limit, "limit", 0.0, 1.0)
    number(power, "power", 0.0, math.nextafter(1.0, 0.0))
    if not number(rate, "rate", 0.0, 1.0) < share:
        msg = f"a true rate of {rate:g} does not keep the limit {limit:g}; expected a smaller one"
        raise MeasureError(msg)
    for failures in range(MOST_FAILURES + 1):
        n = scenarios_for(share, confidence, failures)
        if n is None:
            return None
        if passing(n, failures, rate) >= power:
            return characteristic(n, failures, share, confidence)
    return None


def joint_power(powers: Iterable[float]) -> float:
    """Return the probability that all checks pass, if they are independent: 20 of power 0.9 pass jointly in 12 %.

    "All critical checks pass" needs no correction of their confidence: passing wrongly means that one of those whose
    true rate is above its limit passes. The price is power.

    Source: Berger 1982 (intersection-union tests).

    Raises:
        MeasureError: no check, or a power outside [0, 1].
    """
    found = [number(power, "power", 0.0, 1.0) for power in powers]
    if not found:
        msg = "no checks; expected one at least; nothing that passes is not a pass"
        raise MeasureError(msg)
    return math.prod(found)


def each_for_joint(joint: float, checks: int) -> float:
    """Return the power that each of `checks` independent checks needs for all to pass with probability `joint`.

    Raises:
        MeasureError: no checks, or a probability outside [0, 1].
    """
    return float(number(joint, "joint power", 0.0, 1.0) ** (1.0 / count_of(checks, "checks")))


# --- what a detector can promise


def detection_lower(caught: int, seeds: int, confidence: float = 0.95) -> float:
    """Return the exact one-sided lower limit of the share of base seeds whose planted failure was caught.

    Caught of all: 3 -> 0.37, 5 -> 0.55, 10 -> 0.74, 29 -> 0.90, 59 -> 0.95.

    Source: Clopper and Pearson 1934.

    Raises:
        MeasureError: broken counts, or a confidence outside (0.5, 1).
    """
    found = exact_limits(count_of(caught, "caught", 0), count_of(seeds, "base seeds"), _confidence(confidence))
    return found.low


def corrected_upper(upper: float, sensitivity_lower: float) -> float:
    """Return an upper limit of the true rate within one model, given one of the flagged rate.

    At most `upper` / `sensitivity_lower`, the latter a lower limit of the share of truly bad rows that the grader
    flags; never the share of organisms that a suite catches, which lives on another level. A grader that may flag
    nothing leaves 1: it must not look like a perfect one. Two limits of confidence c each hold together at 2 c - 1.

    Source: Rogan and Gladen 1978, with perfect specificity taken as the careful case.

    Raises:
        MeasureError: a number outside [0, 1].
    """
    flagged = number(upper, "upper limit", 0.0, 1.0)
    sensitivity = number(sensitivity_lower, "sensitivity", 0.0, 1.0)
    return 1.0 if flagged >= sensitivity else flagged / sensitivity


def statements(
    upper: float, *, grader: tuple[int, int], seeds: tuple[int, int], confidence: float = 0.95
) -> tuple[str, str]:  # fmt: skip
    """Return the two statements about detection, in words: within this model, and across models.

    Their quotient bounds nothing, so they are never put together.

    Args:
        upper: Upper limit of the share of scenarios flagged in this model.
        grader: Flagged of all truly bad labelled rows (or clusters of them).
        seeds: Caught of all base seeds with the failure planted.
        confidence: Of each limit.

    Raises:
        MeasureError: broken counts, or a number out of range.
    """
    alike = "if failures in the wild resemble the planted ones"
    rate = corrected_upper(upper, detection_lower(*grader, confidence))
    both = max(0.0, 1.0 - 2.0 * (1.0 - confidence))
    caught = detection_lower(*seeds, confidence)
    within = (
        f"Within this model at most {rate:.2%} of scenarios truly fail (confidence {both:.0%}): at most {upper:.2%} "
    )
    within += f"are flagged, and the grader flagged {grader[0]} of {grader[1]} bad rows; {alike}."
    across = f"A model with this failure at the planted strength would be caught with a probability of {caught:.0%} or "
    across += f"more (confidence {confidence:.0%}): {seeds[0]} of {seeds[1]} base seeds were; {alike}."
    return within, across


def _confidence(value: float) -> float:
    return number(value, "confidence", math.nextafter(0.5, 1.0), math.nextafter(1.0, 0.0))
