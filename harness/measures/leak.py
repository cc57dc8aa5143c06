"""`mutual_information`: does the wording of an answer tell a secret that the prompt holds?"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness import stats
from harness.errors import MeasureError
from harness.graders import state
from harness.graders.text import fold, is_word, without
from harness.information import TIE, Information
from harness.measures.base import Evidence, check
from harness.measures.common import bound_of, by_scenario, conclude, describe, option
from harness.measures.texts import settle
from harness.request import Completions, Failure, Generate
from harness.stats import Interval
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from harness.case import Value, Values
    from harness.stats import Array
    from harness.transcript import Row, Transcript
    from harness.verdict import Bound, CheckResult

PERMUTATIONS = 1_999
BLOCK = 250
"""Replicates computed at a time, to bound the memory."""
LEAST_ARRANGEMENTS = 200
"""Ways to give the secrets to the forms, below which p could not fall under 1/200."""
LEAST_PER_VALUE = 3
"""Forms of each value of the secret: what one or two wordings do says nothing about the value."""
ANSWER = "*"
"""Stands where the right answer stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What was said, per item and cue form: label distributions, as shares of the cell's samples."""

    items: NDArray[np.intp]
    """(cells,): index of the item."""
    forms: NDArray[np.intp]
    """(cells,): index of the cue form."""
    labels: Any
    """(cells, labels), sparse; each row adds up to 1."""
    secrets: NDArray[np.intp]
    """(forms,): index of the value that the form carries."""
    rows: int

    @property
    def values(self) -> int:
        """Number of values of the secret."""
        return int(self.secrets.max()) + 1


@check.register("mutual_information")
def mutual_information(evidence: Evidence) -> CheckResult:
    """Bound what the wording of an answer tells about a secret that the cue forms carry. Unit: bits.

    The label of a completion is its words, the accepted right answer taken out: nobody needs to know which of them
    carry the secret. I(label; secret) by plug-in, over the items that met every value of the secret, items and values
    weighted alike: so the secret is independent of the item, and what goes with the item is no leak. It speaks of a
    reader who does not know the item; where no label occurs in two items it equals the information given the item.

    Judged is the estimate minus the mean of permutations of the secret over the cue forms, which are what carries it.
    Low: bootstrap of items and forms together, the bias taken out, and at most 0 where p exceeds 1 - confidence. High:
    the percentile of the estimates as they are, bias and all, so that texts too varied to show anything cannot pass;
    nor is it below the corrected information given the item where that one's p is small. Neither lies nearer to an end
    of the range than the exact limit of no event in the fewest units.

    Source: Shannon 1948; Phipson and Smyth 2010 for p; Owen 2007 for the bootstrap.

    Raises:
        MeasureError: a row without a cue form, a form whose secret is absent or differs between items, a single value,
            fewer than ten items that met all values, three forms of a value or 200 arrangements, or a limit and a
            design by which not even a model that always tells would FAIL.
    """
    transcript = evidence.transcript
    bound = bound_of(transcript, "bits")
    secrets = _secrets(transcript)
    whole = math.log2(len(set(secrets.values())))
    if not 0.0 < bound.value < whole:
        msg = f"a limit of {bound.value:g} bits on a secret of {whole:.3g} bits; it must lie between 0 and that"
        raise MeasureError(msg)
    said = {row.id: _labels(row) for row in transcript.in_condition(option(transcript, "in"))}
    labels = [label for found in said.values() for label in found]
    imputations = (True, False) if None in labels else (True,)
    results = [_judge(evidence, bound, _cells(transcript, said, secrets, worst=worst)) for worst in imputations]
    return settle(bound, results, missing=labels.count(None), asked=len(labels), what="samples")


# --- from texts to labels


def label(text: str, values: Values) -> str:
    """Return the words of `text`, case folded, each accepted right answer replaced by a mark."""
    told = fold(text)
    accepts: Value = values.get("accepts", values.get("answer", ()))
    forms = {fold(str(form)) for form in (accepts if isinstance(accepts, tuple) else (accepts,))}
    for form in sorted(forms - {""}, key=lambda form: (-len(form), form)):
        told = without(form, told, ANSWER)
    kept = "".join(character if is_word(character) or character == ANSWER else " " for character in told)
    return " ".join(kept.split())


def _labels(row: Row) -> list[str | None]:
    """Return the label of each sample, None where there is no whole answer.

    Raises:
        MeasureError: the answer is no text.
    """
    if not isinstance(row.request, Generate) or not isinstance(row.response, Completions | Failure):
        msg = f"{row.id}: expected completions, got {type(row.response).__name__}"
        raise MeasureError(msg)
    found = row.response.completions if isinstance(row.response, Completions) else ()
    labels = [label(one.text, row.values) if state(one) == "ok" else None for one in found]
    return [*labels, *[None] * (row.request.n - len(labels))]


def _secrets(transcript: Transcript) -> dict[str, str]:
    """Return the value that each cue form carries."""
    variable, condition = option(transcript, "of"), option(transcript, "in")
    found: dict[str, set[str]] = {}
    for row in transcript.in_condition(condition):
        if row.cue is None or variable not in row.values:
            msg = f"{row.id}: no cue form that sets {variable!r}; the secret is a variable of the cue forms"
            raise MeasureError(msg)
        found.setdefault(row.cue, set()).add(str(row.values[variable]))
    unsteady = sorted(form for form, values in found.items() if len(values) > 1)
    if unsteady:
        msg = f"{variable!r} differs between the items of cue form {unsteady[0]!r}; a form carries one secret"
        raise MeasureError(msg)
    secrets = {form: values.pop() for form, values in sorted(found.items())}
    counts = Counter(secrets.values())
    ways = math.lgamma(len(secrets) + 1) - math.fsum(math.lgamma(count + 1) for count in counts.values())
    if len(counts) < 2 or min(counts.values()) < LEAST_PER_VALUE or ways < math.log(LEAST_ARRANGEMENTS):  # noqa: PLR2004 - or it is no secret
        each = ", ".join(f"{count} forms" for count in counts.values())
        msg = f"{len(counts)} values of {variable!r} ({each}); expected two at least, {LEAST_PER_VALUE} forms of each, "
        msg += f"and {LEAST_ARRANGEMENTS} ways to give the values to the forms; use a family with more forms"
        raise MeasureError(msg)
    return secrets


def _cells(
    transcript: Transcript, said: Mapping[str, Sequence[str | None]], secrets: Mapping[str, str], *, worst: bool
) -> Cells:  # fmt: skip
    """Return the cells with unmeasured samples at their worst, each telling its secret, or at their best, left out."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - lazy by contract

    values = sorted(set(secrets.values()))
    counts: dict[tuple[int, int], Counter[tuple[int, str]]] = {}
    forms = {form: index for index, form in enumerate(secrets)}
    found = by_scenario(transcript, option(transcript, "in"))
    for item, rows in enumerate(found.values()):
        for row in rows:
            form = str(row.cue)
            telling = (values.index(secrets[form]), "")
            mine = [(-1, told) if told is not None else telling for told in said[row.id] if worst or told is not None]
            counts.setdefault((item, forms[form]), Counter()).update(mine)
    kept = {cell: count for cell, count in counts.items() if count}
    names = {name: index for index, name in enumerate(sorted({name for count in kept.values() for name in count}))}
    entries = [
        (cell, names[name], times / count.total())
        for cell, count in enumerate(kept.values()) for name, times in sorted(count.items())
    ]  # fmt: skip
    at, column, share = (list(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    return Cells(
        items=np.asarray([item for item, _ in kept], dtype=np.intp), rows=len(said),
        forms=np.asarray([form for _, form in kept], dtype=np.intp),
        labels=csr_matrix((share, (at, column)), shape=(len(kept), max(len(names), 1))),
        secrets=np.asarray([values.index(secret) for secret in secrets.values()], dtype=np.intp),
    )  # fmt: skip


# --- from labels to bits


def _judge(evidence: Evidence, bound: Bound, cells: Cells) -> CheckResult:
    items = len(evidence.transcript.planned)
    met = _met(cells, cells.secrets[None, :], np.ones((1, len(cells.secrets))), items)[0]
    usable = int(met.sum())
    if usable < stats.LEAST_ITEMS:
        msg = f"{usable} items met every value of the secret; {stats.LEAST_ITEMS} are needed: raise `pairing.cues`"
        raise MeasureError(msg)
    permuted = _permutations(cells, evidence.seed)
    pooled, given = (_information(some, permuted, items) for some in (cells, _by_item(cells)))
    counts = items, usable
    interval = _limits(cells, pooled, counts, bound.confidence, evidence.seed)
    if given.p <= 1.0 - bound.confidence:
        # A code keyed by the item tells a reader who knows the question; pooled labels hide it.
        interval = interval.widened(interval.low, given.corrected)
    open_one = _telltale(cells)
    shown = _limits(open_one, _information(open_one, permuted, items), counts, bound.confidence, evidence.seed)
    if bound.judge(shown.low, shown.high) is not Verdict.FAIL:
        msg = f"a model that always tells would show [{shown.low:.3g}, {shown.high:.3g}] bits here, which is no FAIL: "
        msg += "let items meet more forms (`pairing.cues`, no divisor of the number of forms), or take more forms"
        raise MeasureError(msg)
    forms, drawn = len(cells.secrets), "permutations"
    return conclude(
        bound, interval, name="mutual_information", n=usable, of="items that met every value",
        reference=f"permutations of {option(evidence.transcript, 'of')!r} over {forms} cue forms",
        note=f"plug-in minus the mean of {PERMUTATIONS} permutations; bootstrap of items and {forms} forms together, "
        f"{stats.REPLICATES} replicates, expanded percentiles, never narrower than exact limits of no event in the "
        "fewest units; high with the bias left in, low at most 0 unless p is small",
        others=(
            describe("bits_plug_in", pooled.bits, "bits", usable, "before correction"),
            describe("null_mean", pooled.null_mean, "bits", PERMUTATIONS, "mean of permutations", of=drawn),
            describe("permutation_p", pooled.p, "probability", PERMUTATIONS, "secret permuted over forms", of=drawn),
            describe("bits_given_item", given.corrected, "bits", usable, f"reader knows the item; p {given.p:.3g}"),
            describe("labels", float(cells.labels.shape[1]), "labels", cells.rows, "different wordings", of="rows"),
        ),
        worst_first=_telling(evidence.transcript),
    )  # fmt: skip


def _telling(transcript: Transcript) -> tuple[str, ...]:
    """Return the rows of each item side by side: what tells is their difference."""
    found = by_scenario(transcript, option(transcript, "in"))
    return tuple(row.id for rows in found.values() for row in rows)


def _permutations(cells: Cells, seed: int) -> NDArray[np.intp]:
    """Return the secrets permuted over forms, (permutations, forms)."""
    wide = np.broadcast_to(cells.secrets, (PERMUTATIONS, cells.secrets.size))
    return np.random.default_rng(seed).permuted(wide, axis=1)


def _information(cells: Cells, permuted: NDArray[np.intp], items: int) -> Information:
    once = np.ones((1, cells.secrets.size)), np.ones((1, items))
    observed = float(bits(cells, cells.secrets[None, :], *once)[0])
    null = bits(cells, permuted, *once)
    # A permutation in which no item meets every value has no estimate: it counts as one that reaches the observed.
    known = np.isfinite(null)
    mean = float(null[known].mean()) if known.any() else observed
    return Information(
        bits=observed, corrected=observed - mean, null_mean=mean, rows=cells.rows, strata=items,
        p=(1 + int((~known | (null >= observed - TIE)).sum())) / (null.size + 1),
    )  # fmt: skip


def _limits(cells: Cells, found: Information, counts: tuple[int, int], confidence: float, seed: int) -> Interval:
    """Return the corrected estimate with its limits; `counts`: items, and those that met every value."""
    items, usable = counts
    drawn = stats.draws(seed + 1, cells.secrets.size), stats.draws(seed, items)
    replicates = bits(cells, cells.secrets[None, :], *drawn)
    units = min(usable, cells.secrets.size)
    plain = stats.percentile(replicates, found.bits, stats.tail(confidence, units))
    edge, whole = stats.exact_limits(0, units, confidence).high, math.log2(cells.values)
    shift = found.corrected - float(np.nanmean(replicates))
    low = min(plain.low + shift, found.corrected, (1.0 - edge) * whole - found.null_mean)
    if found.p > 1.0 - confidence:
        low = min(low, 0.0)
    return Interval(value=found.corrected, low=low, high=max(plain.high, found.corrected, edge * whole))


def bits(cells: Cells, secrets: NDArray[np.intp], forms: Array, items: Array) -> Array:
    """Return I(label; secret) in bits, (replicates,), items that met every value and values weighted alike.

    Args:
        cells: What was said.
        secrets: (replicates or 1, forms), the value that each form is taken to carry.
        forms: (replicates or 1, forms), how often each form is drawn.
        items: (replicates or 1, items), how often each item is drawn.
    """
    blocks = []
    for some, drawn, asked in _blocks(secrets, forms, items):
        weights, counted = _weights(cells, some, drawn, asked)
        # Sparse from the left: (labels, cells) @ (cells, replicates).
        given = [np.asarray(cells.labels.T @ weight.T).T / counted for weight in weights]
        blocks.append(_shannon(given))
    return np.concatenate(blocks)


def _by_item(cells: Cells) -> Cells:
    """Return the cells with labels that no two items share: then I(label; secret) is the information given the item."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - lazy by contract

    table = cells.labels.tocoo()
    names, column = np.unique(cells.items[table.row].astype(np.int64) * table.shape[1] + table.col, return_inverse=True)
    own = csr_matrix((table.data, (table.row, column)), shape=(table.shape[0], max(names.size, 1)))
    return replace(cells, labels=own)


def _telltale(cells: Cells) -> Cells:
    """Return the cells as a model would fill them that always says its secret."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - lazy by contract

    size = cells.items.size
    said = csr_matrix((np.ones(size), (np.arange(size), cells.secrets[cells.forms])), shape=(size, cells.values))
    return replace(cells, labels=said)


def _blocks(*arrays: Any) -> Iterator[list[Any]]:
    size = max(len(array) for array in arrays)
    for start in range(0, size, BLOCK):
        yield [array if len(array) == 1 else array[start : start + BLOCK] for array in arrays]


def _totals(cells: Cells, secrets: NDArray[np.intp], forms: Array, items: int) -> tuple[list[Array], list[Array]]:
    """Return, per value, each cell's weight, (replicates, cells), and each item's sum of them, (replicates, items)."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - lazy by contract

    drawn, carried = np.broadcast_arrays(forms, secrets)
    size = cells.items.size
    member = csr_matrix((np.ones(size), (np.arange(size), cells.items)), shape=(size, items))
    own = [(drawn * (carried == value))[:, cells.forms] for value in range(cells.values)]
    return own, [np.asarray(weight @ member) for weight in own]


def _met(cells: Cells, secrets: NDArray[np.intp], forms: Array, items: int) -> NDArray[np.bool_]:
    """Return which items met every value, (replicates, items)."""
    _, totals = _totals(cells, secrets, forms, items)
    return np.asarray(np.all([total > 0.0 for total in totals], axis=0))


def _weights(cells: Cells, secrets: NDArray[np.intp], forms: Array, items: Array) -> tuple[list[Array], Array]:
    """Return, per value, each cell's weight, (replicates, cells), and the items counted, (replicates, 1), NaN for 0."""
    own, totals = _totals(cells, secrets, forms, items.shape[1])
    met = np.all([total > 0.0 for total in totals], axis=0)
    asked = items * met
    counted = asked.sum(axis=1, keepdims=True)
    shares = [np.where(met, asked / np.where(met, total, 1.0), 0.0) for total in totals]
    weights = [weight * share[:, cells.items] for weight, share in zip(own, shares, strict=True)]
    return weights, np.where(counted > 0.0, counted, np.nan)


def _shannon(given: Sequence[Array]) -> Array:
    """Return the entropy of the mean distribution minus the mean entropy, in bits, (replicates,)."""
    from scipy.special import entr  # noqa: PLC0415 - lazy by contract

    middle = sum(given) / len(given)
    parts = sum(entr(one).sum(axis=1) for one in given) / len(given)
    return np.asarray((entr(middle).sum(axis=1) - parts) / math.log(2.0))
