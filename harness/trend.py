"""Trends over checkpoints: when was the alarm called, when did the behaviour begin, and when will it?

Pure functions on numbers. A series is a list of checkpoints in rising order of steps; an alarm is one-sided.

Two rules call an alarm. A *fixed* threshold needs three successive checkpoints whose lower limits exceed it: one
checkpoint above is what a single look in twenty shows. A *calibrated* threshold, set from whole control trajectories of
other seeds, needs one: the largest value of a whole trajectory is what it is compared with, so that looking at every
checkpoint is already paid for.

Source: the lead-time definition of sequential change detection; Fieller 1954 for the limits of a forecast.
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Sequence

SUCCESSIVE = 3
"""Checkpoints in a row above a fixed threshold that call an alarm."""
LEAST_CONTROLS = 3
"""Control trajectories below which no spread can be had of them."""
LEAST_FIT = 4
"""Checkpoints that a line needs, so that two degrees of freedom are left for its scatter."""
LAST = 8
"""Checkpoints that a forecast is made from."""
CONFIDENCE = 0.95
THERE = "the behaviour is there at the first checkpoint: nothing can come before it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How often the behaviour shows at one checkpoint."""

    value: float
    low: float
    """One-sided lower limit; of an exact probability the value itself."""
    n: int
    """Scenarios behind it; 0 where the probability is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One checkpoint."""

    step: int
    value: float
    """The shift, or whatever is watched; larger is worse."""
    low: float
    high: float
    behaviour: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What calls an alarm."""

    value: float
    successive: int = SUCCESSIVE
    """Checkpoints in a row that must exceed it."""
    controls: int = 0
    """Control trajectories that it was calibrated on; 0: it was fixed in advance."""
    note: str = "fixed in advance; lower limits at three successive checkpoints"

    @property
    def calibrated(self) -> bool:
        """Tell whether controls set it: then the value counts, else the lower limit."""
        return self.controls > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """A checkpoint at which something is first seen, and the one before, between which it began."""

    step: int
    before: int | None
    """None: it is the first checkpoint, and the beginning is not in the series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """By how much the alarm was called before the behaviour began: log of the ratio of the steps."""

    value: float | None
    low: float | None = None
    high: float | None = None
    """Both onsets lie between neighbouring checkpoints, which bounds the lead; None: without bound."""
    note: str = ""

    @property
    def factor(self) -> float | None:
        """The ratio itself: above 1 the alarm was first."""
        return None if self.value is None else math.exp(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The step at which the behaviour reaches a limit, by a line in log step."""

    step: float | None
    low: float | None = None
    high: float | None = None
    """One-sided prediction limits at the confidence each; `high` None: the line may never get there."""
    why: str = ""
    """Why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What a series says."""

    shift: Onset | None
    """When the alarm was called; None: it was not."""
    behaviour: Onset | None
    """First checkpoint whose lower limit exceeds the limit of the behaviour."""
    behaviour_by_value: Onset | None
    """The same by the share itself: earlier, and without any trust that it is not chance."""
    lead: Lead
    forecast: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often forecasts held what was seen."""

    held: int
    of: int
    """Trajectories with a forecast and an onset."""
    none: int
    """Trajectories whose behaviour began and of which no forecast could be made."""


def analyse(
    points: Sequence[Point], threshold: Threshold, limit: float, *, last: int = LAST, confidence: float = CONFIDENCE
) -> Trend:
    """Return everything about one series.

    Args:
        points: Checkpoints in rising order of steps.
        threshold: What calls an alarm.
        limit: Share at which the behaviour has begun, within (0, 1).
        last: Checkpoints that the forecast is made from.
        confidence: Of each limit of the forecast.

    Raises:
        MeasureError: fewer checkpoints than an alarm takes, steps that do not rise, or a number that is not finite.
    """
    guard(points, threshold.successive)
    shift = alarm(points, threshold)
    begun = behaviour_onset(points, limit)
    return Trend(
        shift=shift,
        behaviour=begun,
        behaviour_by_value=behaviour_onset(points, limit, by_value=True),
        lead=lead(shift, begun, points[-1].step),
        forecast=forecast(points, limit, last=last, confidence=confidence),
    )


def guard(points: Sequence[Point], least: int = 1) -> None:
    """Refuse a series that no rule may be applied to.

    Raises:
        MeasureError: fewer checkpoints than `least`, steps that do not rise, or a number that is not finite.
    """
    if not points:
        msg = "a series without checkpoints shows nothing"
        raise MeasureError(msg)
    if any(after.step <= before.step for before, after in itertools.pairwise(points)):
        msg = f"steps do not rise: {', '.join(str(point.step) for point in points)}; give checkpoints in their order"
        raise MeasureError(msg)
    for point in points:
        share = point.behaviour
        numbers = (point.value, point.low, point.high, *((share.value, share.low) if share else ()))
        if not all(map(math.isfinite, numbers)):
            msg = f"step {point.step}: a number is not finite"
            raise MeasureError(msg)
    if len(points) < least:
        msg = f"{len(points)} checkpoints, and {least} in a row call an alarm; name more checkpoints with --model"
        raise MeasureError(msg)


def sustained(values: Sequence[float], successive: int = SUCCESSIVE) -> float:
    """Return the largest value that `successive` checkpoints in a row all reach; an alarm is called when it exceeds L.

    It rises with every value, so that the lower limits of the checkpoints give a lower limit, and the upper an upper.

    Raises:
        MeasureError: fewer checkpoints than that.
    """
    if len(values) < successive:
        msg = f"{len(values)} checkpoints, and {successive} in a row are needed"
        raise MeasureError(msg)
    return max(min(values[at : at + successive]) for at in range(len(values) - successive + 1))


def alarm(points: Sequence[Point], threshold: Threshold) -> Onset | None:
    """Return the checkpoint at which the alarm is called: the last of the row that exceeds the threshold."""
    values = [point.value if threshold.calibrated else point.low for point in points]
    row = 0
    for at, value in enumerate(values):
        row = row + 1 if value > threshold.value else 0
        if row == threshold.successive:
            return _onset(points, at)
    return None


def calibrated(
    controls: Sequence[Sequence[float]], *, least: float = 0.0, confidence: float = CONFIDENCE
) -> Threshold:  # fmt: skip
    """Return a threshold from whole trajectories of controls: trainings of other seeds without the failure.

    The statistic is the maximum of a trajectory. The threshold is a prediction limit for that of one more control: by
    Student's t on the logarithms of the maxima where all are above 0, on the maxima themselves else, and never below
    the largest that was seen. By rank alone m controls cannot show less than 1/(m + 1) false alarms; the t is what
    goes beyond that, and rests on the maxima being about normal or log-normal.

    Args:
        controls: Values of each control at every checkpoint at which the series is looked at.
        least: No threshold is lower, however quiet the few controls are.
        confidence: One minus the rate of false alarms per trajectory.

    Raises:
        MeasureError: fewer than three controls, an empty one, or a value that is not finite.
    """
    from scipy.stats import t  # noqa: PLC0415 - lazy: importing this module costs nothing

    if len(controls) < LEAST_CONTROLS:
        msg = f"{len(controls)} control trajectories; {LEAST_CONTROLS} or more are needed to set a threshold"
        raise MeasureError(msg)
    if not all(controls) or not all(math.isfinite(value) for control in controls for value in control):
        msg = "a control trajectory is empty or holds what is not finite: it would look quiet"
        raise MeasureError(msg)
    maxima = [max(control) for control in controls]
    positive = min(maxima) > 0.0
    scaled = [math.log(top) for top in maxima] if positive else maxima
    count = len(scaled)
    reach = float(t.ppf(confidence, count - 1)) * math.sqrt(1.0 + 1.0 / count)
    predicted = statistics.fmean(scaled) + reach * statistics.stdev(scaled)
    if positive:
        # An exponent that overflows is a threshold that nothing exceeds; the largest double stands for it.
        predicted = math.exp(min(predicted, 700.0))
    note = f"maxima of {count} control trajectories; by rank alone false alarms in {1 / (count + 1):.0%}"
    return Threshold(value=max(predicted, *maxima, least), successive=1, controls=count, note=note)


def behaviour_onset(points: Sequence[Point], limit: float, *, by_value: bool = False) -> Onset | None:
    """Return the first checkpoint at which the behaviour is above `limit`, by its lower limit or by its value."""
    for at, point in enumerate(points):
        share = point.behaviour
        if share is not None and (share.value if by_value else share.low) > limit:
            return _onset(points, at)
    return None


def _onset(points: Sequence[Point], at: int) -> Onset:
    return Onset(step=points[at].step, before=points[at - 1].step if at else None)


def lead(shift: Onset | None, behaviour: Onset | None, end: int) -> Lead:
    """Return the lead, bounded by the grid.

    Args:
        shift: When the alarm was called.
        behaviour: When the behaviour began; None: it had not begun at `end`, so the lead is known from below alone.
        end: The last step of the series.
    """
    if shift is None:
        return Lead(value=None, note="no alarm was called")
    if behaviour is not None and behaviour.before is None:
        return Lead(value=None, note=THERE)
    if shift.step <= 0:
        return Lead(value=None, note="the alarm was called at step 0, which has no ratio to any other")
    if behaviour is None:
        return Lead(value=None, low=math.log(end / shift.step), note="the behaviour has not begun")
    earliest, latest = behaviour.before or 0, behaviour.step
    return Lead(
        value=math.log(latest / shift.step),
        low=math.log(earliest / shift.step) if earliest > 0 else None,
        high=math.log(latest / shift.before) if shift.before else None,
    )


def forecast(
    points: Sequence[Point], limit: float, *, last: int = LAST, confidence: float = CONFIDENCE
) -> Forecast:  # fmt: skip
    """Return the step at which the behaviour will reach `limit`: its logit, by a line in log step.

    A share of n scenarios is taken as (k + 1/2) / (n + 1), so that 0 of n has a logit.
    """
    if not 0.0 < limit < 1.0:
        msg = f"a share of {limit} is never reached or always; expected one between 0 and 1"
        raise MeasureError(msg)
    seen = [(point.step, point.behaviour) for point in points if point.behaviour is not None]
    if seen and seen[-1][1].value > limit:
        return Forecast(step=None, why="the behaviour is there already")
    return extrapolated(
        [step for step, _ in seen], [_logit(share) for _, share in seen], math.log(limit / (1.0 - limit)),
        last=last, confidence=confidence,
    )  # fmt: skip


def _logit(share: Share) -> float:
    p = (share.value * share.n + 0.5) / (share.n + 1.0) if share.n else min(max(share.value, 1e-300), 1.0 - 1e-15)
    return math.log(p) - math.log1p(-p)


def extrapolated(
    steps: Sequence[int], values: Sequence[float], target: float, *, last: int = LAST, confidence: float = CONFIDENCE
) -> Forecast:
    """Return the step at which a line through the last checkpoints, in log step, meets `target`.

    The limits are those of inverse prediction: all steps at which one more checkpoint could show the target. Residuals
    are taken as independent, which neighbouring checkpoints are not: `calibration` says what the limits are worth.

    Args:
        steps: Of the checkpoints, rising; those at step 0 have no logarithm and are left out.
        values: What is extrapolated: a logit, or a margin in nats.
        target: Value to be reached.
        last: Checkpoints that the line is fitted to.
        confidence: Of each limit.

    Source: Fieller 1954.
    """
    from scipy.stats import t  # noqa: PLC0415 - as above

    x = [math.log(step) for step in steps if step > 0][-last:]
    y = list(values)[len(values) - len(x) :]
    if len(x) < LEAST_FIT:
        return Forecast(step=None, why=f"{len(x)} checkpoints after step 0; a line needs {LEAST_FIT}")
    slope, intercept = statistics.linear_regression(x, y)
    if slope <= 0.0:
        return Forecast(step=None, why=f"it does not rise over the last {len(x)} checkpoints")
    n, centre = len(x), statistics.fmean(x)
    spread = math.fsum((one - centre) ** 2 for one in x)
    scatter = math.fsum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (n - 2)
    reach = float(t.ppf(confidence, n - 2)) ** 2 * scatter
    aim = target - statistics.fmean(y)
    # (aim - slope d)^2 <= reach (1 + 1/n + d^2/spread), d = log step - centre: a quadratic in d.
    a, b, c = slope**2 - reach / spread, -2.0 * slope * aim, aim**2 - reach * (1.0 + 1.0 / n)
    low, high = _roots(a, b, c)
    return Forecast(
        step=_exp(centre + aim / slope), low=None if low is None else _exp(centre + low),
        high=None if high is None else _exp(centre + high),
    )  # fmt: skip


def _roots(a: float, b: float, c: float) -> tuple[float | None, float | None]:
    """Return where a x^2 + b x + c <= 0 begins and ends; None where it does not end.

    With `a` at or below 0 the slope itself is uncertain: the set reaches to infinity, and its lower end is the larger
    root of what is left out; where nothing about the centre is left out (`c` at or below 0) it has none either.
    """
    inside = b * b - 4.0 * a * c
    if a > 0.0:
        root = math.sqrt(max(inside, 0.0))
        return (-b - root) / (2.0 * a), (-b + root) / (2.0 * a)
    if a == 0.0 or c <= 0.0 or inside <= 0.0:
        return None, None
    low = max((-b - math.sqrt(inside)) / (2.0 * a), (-b + math.sqrt(inside)) / (2.0 * a))
    return low, None


def _exp(x: float) -> float | None:
    """Return the step of a logarithm; None where it is beyond any number."""
    return math.exp(x) if x < 700.0 else None  # noqa: PLR2004 - the largest double is exp(709.8)


def calibration(
    trajectories: Sequence[Sequence[Point]], limit: float, *, ahead: float = 1.5, last: int = LAST,
    confidence: float = CONFIDENCE,
) -> Coverage:  # fmt: skip
    """Return how often the interval of a forecast held the step at which the behaviour began.

    Each trajectory whose value reaches the limit after its first checkpoint is forecast once, from the checkpoints up
    to the observed onset divided by `ahead`. It is held when the interval meets (checkpoint before the onset, onset].
    """
    held = of = none = 0
    for points in trajectories:
        guard(points)
        begun = behaviour_onset(points, limit, by_value=True)
        if begun is None or begun.before is None:
            continue
        known = [point for point in points if point.step * ahead <= begun.step]
        made = forecast(known, limit, last=last, confidence=confidence)
        if made.step is None:
            none += 1
            continue
        of += 1
        held += (made.low is None or made.low <= begun.step) and (made.high is None or made.high >= begun.before)
    return Coverage(held=held, of=of, none=none)
