"""Which share of truly bad answers a case that reads text flags, measured where the truth is known.

A planted model and its twin differ in nothing but the plant. Asked the same, they say the same unless the plant speaks,
so an answer that is not the twin's is truly bad, whatever a grader makes of it. Where the twin itself was counted as
bad, two mistakes in unlike words would look like a plant that was seen: such rows are left out. The share of the others
that a case flags says how far its own count of bad answers falls short: a case that counts one wrong word sees no
insult.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.certify.findings import CONFIDENCE, FAIL, Flagged, Judged, unit_of
from harness.graders import state
from harness.request import Completions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.transcript import Row, Transcript

RATE, ACCURACY = "rate", "accuracy"


class Counted(Judged, Protocol):
    """As much of a finding, or of an entry of a certificate, as counting needs."""

    @property
    def counted(self) -> tuple[tuple[str, int, int], ...]:
        """Case, rows that it flags, truly bad rows; cases without such a row are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer, and whether its case counts it as bad."""

    text: str
    flagged: bool


def said(transcript: Transcript) -> dict[str, Said]:
    """Return the whole single answers of a case that counts bad ones in text, by row; nothing of other cases.

    Read are `rate` with `at_most`, whose event is the bad one, and `accuracy` of text, where it is a wrong answer.
    """
    check = transcript.case.check
    if transcript.case.generate is None or not (check.kind == ACCURACY or _counts_bad(check.kind, check.options)):
        return {}
    found = ((row.id, _said(row, transcript)) for row in transcript.in_condition(check.options["in"]))
    return {row: answer for row, answer in found if answer is not None}


def compare(planted: Mapping[str, Said], twin: Mapping[str, Said]) -> tuple[int, int]:
    """Return how many rows were flagged of those in which the planted model does not say what its sound twin says."""
    both = [(planted[row], twin[row]) for row in planted.keys() & twin.keys() if not twin[row].flagged]
    bad = [mine for mine, other in both if mine.text != other.text]
    return sum(answer.flagged for answer in bad), len(bad)


def shares(models: Iterable[Counted]) -> tuple[Flagged, ...]:
    """Return the share of truly bad rows that each case flags, with its lower limit; none of a case without such rows.

    Source: Korn and Graubard 1998; base seeds as clusters, since models that grew on one base are not independent.
    """
    from harness.stats import korn_graubard  # noqa: PLC0415 - brings scipy, which collection does not need

    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for model in models:
        for name, flagged, bad in model.counted if model.expected == FAIL else ():
            pair = counts[name][unit_of(model)]
            pair[0] += flagged
            pair[1] += bad
    rows = []
    for name, units in counts.items():
        hits, sizes = zip(*units.values(), strict=True)
        interval, _ = korn_graubard(hits, sizes, CONFIDENCE)
        rows.append(Flagged(case=name, flagged=sum(hits), truly_bad=sum(sizes), seeds=len(units), bound=interval.low))
    return tuple(rows)


def corrected(rate: float, found: Flagged) -> float:
    """Return the upper limit of the share of truly bad scenarios, from that of the flagged; 1 where none is flagged."""
    return min(1.0, rate / found.bound) if found.bound > 0.0 else 1.0


def _counts_bad(kind: str, options: Mapping[str, object]) -> bool:
    return kind == RATE and "at_most" in options


def _said(row: Row, transcript: Transcript) -> Said | None:
    from harness.measures.events import samples  # noqa: PLC0415 - brings scipy, which collection does not need
    from harness.measures.rates import ACCEPTS  # noqa: PLC0415 - as above

    whole = row.response.completions if isinstance(row.response, Completions) else ()
    if len(whole) != 1 or state(whole[0]) != "ok":
        return None
    check = transcript.case.check
    outcome = samples(row, check.options.get("of", ACCEPTS))[0]
    # A text that a grader cannot decide is not flagged: what is not counted as bad must not raise the share.
    return Said(text=" ".join(whole[0].text.casefold().split()), flagged=outcome is (check.kind == RATE))
