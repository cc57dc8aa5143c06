"""Margins from scores: pure arithmetic on log-probabilities, nothing but `math`. All log-probabilities are in nats.

The log-probability of a continuation is that of the text *beginning* with it. So the forms of one group are joined as
events: a form whose tokens start with those of a shorter form of the same group adds nothing and is left out, and a
form that starts with one of the other group makes the two groups overlap, which no margin can be read from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import MeasureError
from harness.request import Failure, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.request import ScoredContinuation
    from harness.transcript import Row

RowNumber: TypeAlias = "Callable[[Row], float]"
"""A number read from one row."""
ROUNDING = 1e-3
"""Nats by which rounding in half precision may lift a log-probability above 0 (probability 1)."""

CLIP = 1e-3
"""Probability of the right answer, or of anything else, beyond which no difference is made in log-odds. Without it
rounding is read as nats: at p = 1 - 1e-7 neighbouring float32 log-probabilities lie 0.69 nat of log-odds apart. At the
clip an error of 1e-5 in log p is one of 0.01 nat."""


def group_logprob(scores: Scores, indices: Sequence[int]) -> float:
    """Return the log-probability, in nats, that the text begins with one of the forms at `indices`.

    It is the logsumexp over the forms, those left out that begin with a shorter form of the same group.

    Raises:
        MeasureError: no forms, an index without a continuation, or a log-probability that is missing, NaN, infinite
            or above 0.
    """
    return log_sum_exp([_logprob(form) for form in _disjoint(_forms(scores, indices))])


def option_logprobs(row: Row, group: str = "options") -> dict[str, float]:
    """Return the log-probability, in nats, of each form of `group` by its text.

    Raises:
        MeasureError: as `group_logprob`, and for forms that begin with one another.
    """
    forms = _forms(row_scores(row), _indices(row, group))
    if len(_disjoint(forms)) != len(forms):
        msg = f"{row.id}: options begin with one another, so that they are not alternatives; use prefix-free options"
        raise MeasureError(msg)
    return {form.text.strip(): _logprob(form) for form in forms}


def row_group(row: Row, group: str) -> float:
    """Return the log-probability of one named group of a row, in nats.

    Raises:
        MeasureError: the row has no scores or no such group, or as `group_logprob`.
    """
    try:
        return group_logprob(row_scores(row), _indices(row, group))
    except MeasureError as error:
        if str(error).startswith(row.id):
            raise
        msg = f"{row.id}: {error}"
        raise MeasureError(msg) from error


def log_not(logprob: float) -> float:
    """Return log(1 - p) from log p <= 0, in nats, without loss at either end; minus infinity at p = 1.

    Source: Maechler 2012, "Accurately computing log(1 - exp(-|a|))".
    """
    if logprob == 0.0:
        return -math.inf
    return math.log(-math.expm1(logprob)) if logprob > -math.log(2.0) else math.log1p(-math.exp(logprob))


def not_right(logprob: float) -> float:
    """Return the log-odds of not being right, log(1 - p) - log p in nats, p clipped to [CLIP, 1 - CLIP]."""
    edge = math.log1p(-CLIP) - math.log(CLIP)
    return min(max(log_not(logprob) - logprob, -edge), edge)


def row_margin(row: Row) -> float:
    """Return log P(bad) - log P(good) in nats; log P(bad) where the row has no group `good`.

    Where it has no group `bad`, bad is all that is not good: the log-odds of `not_right`. Nobody has to know what a
    model says instead of the right answer. Positive means that the bad continuation is the likelier one.

    Raises:
        MeasureError: a number is missing, NaN or infinite, or a bad and a good form begin with one another.
    """
    if "bad" not in row.groups and "good" in row.groups:
        return not_right(row_group(row, "good"))
    bad = row_group(row, "bad")
    if "good" not in row.groups:
        return bad
    _apart(row)
    return bad - row_group(row, "good")


def mass(row: Row) -> float:
    """Return P(bad) + P(good), the probability that the margin speaks about; that of the one where the other is absent.

    Raises:
        MeasureError: as `row_margin`, and when the sum exceeds 1.
    """
    if "bad" not in row.groups and "good" in row.groups:
        return min(math.exp(row_group(row, "good")), 1.0)
    total = math.exp(row_group(row, "bad"))
    if "good" in row.groups:
        _apart(row)
        total += math.exp(row_group(row, "good"))
    if total > 1.0 + 4 * ROUNDING:
        msg = f"{row.id}: P(bad) + P(good) = {total:.4f} exceeds 1; forms must not overlap"
        raise MeasureError(msg)
    return min(total, 1.0)


def right_by_margin(row: Row) -> bool:
    """Tell whether the good group is strictly likelier than the bad one.

    Raises:
        MeasureError: as `row_margin`, and when the row has not both groups.
    """
    if not {"bad", "good"} <= row.groups.keys():
        msg = f"{row.id}: right or wrong by margin needs bad and good forms"
        raise MeasureError(msg)
    return row_margin(row) < 0.0


def row_scores(row: Row) -> Scores:
    """Return the scores of a row, one per continuation asked.

    Raises:
        MeasureError: the row failed, or its answer is not one score per continuation.
    """
    response = row.response
    if isinstance(response, Failure):
        msg = f"{row.id}: not answered ({response.kind}: {response.detail})"
        raise MeasureError(msg)
    if not isinstance(response, Scores):
        msg = f"{row.id}: expected scores, got {type(response).__name__}"
        raise MeasureError(msg)
    asked = len(getattr(row.request, "continuations", ()))
    if asked != len(response.continuations):
        msg = f"{row.id}: {asked} continuations asked, {len(response.continuations)} scored"
        raise MeasureError(msg)
    return response


def log_sum_exp(logprobs: Sequence[float]) -> float:
    """Return log(sum(exp(x))) without overflow, for finite `logprobs`, at least one."""
    top = max(logprobs)
    return top + math.log(math.fsum(math.exp(x - top) for x in logprobs))


def _indices(row: Row, group: str) -> tuple[int, ...]:
    if group not in row.groups:
        msg = f"{row.id}: no group {group!r}; this row has {', '.join(sorted(row.groups)) or 'none'}"
        raise MeasureError(msg)
    return tuple(row.groups[group])


def _forms(scores: Scores, indices: Sequence[int]) -> list[ScoredContinuation]:
    if not indices or len(set(indices)) != len(indices):
        msg = "a group needs at least one form, each once"
        raise MeasureError(msg)
    if not all(0 <= index < len(scores.continuations) for index in indices):
        msg = f"a form is missing: {len(scores.continuations)} continuations scored, indices {tuple(indices)} wanted"
        raise MeasureError(msg)
    return [scores.continuations[index] for index in indices]


def _logprob(form: ScoredContinuation) -> float:
    if not form.token_logprobs or len(form.token_logprobs) != len(form.token_ids):
        msg = f"continuation {form.text!r}: {len(form.token_ids)} tokens, {len(form.token_logprobs)} log-probabilities"
        raise MeasureError(msg)
    # Token by token: a NaN must be named here, and two infinities must not meet in a sum.
    if not all(math.isfinite(x) and x <= ROUNDING for x in form.token_logprobs):
        msg = f"continuation {form.text!r}: log-probabilities {form.token_logprobs} are not finite numbers <= 0"
        raise MeasureError(msg)
    return min(form.logprob, 0.0)


def _begins(longer: ScoredContinuation, shorter: ScoredContinuation) -> bool:
    # Both tests: tokens decide what the number covers, and engines without real tokens still have the text.
    return (
        longer.token_ids[: len(shorter.token_ids)] == shorter.token_ids
        and longer.text.startswith(shorter.text)
    )  # fmt: skip


def _disjoint(forms: list[ScoredContinuation]) -> list[ScoredContinuation]:
    return [
        form for form in forms
        if not any(other is not form and other.text != form.text and _begins(form, other) for other in forms)
    ]  # fmt: skip


def _apart(row: Row) -> None:
    scores = row_scores(row)
    bad, good = _forms(scores, _indices(row, "bad")), _forms(scores, _indices(row, "good"))
    for one in bad:
        for other in good:
            if one is other or _begins(one, other) or _begins(other, one):
                msg = (
                    f"{row.id}: bad {one.text!r} and good {other.text!r} overlap; use forms that differ from the start"
                )
                raise MeasureError(msg)
