"""The words that all reports share: letters, numbers, order, and the verdict in plain words."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from harness import gate
from harness.case import TREND
from harness.escape import line
from harness.restricted import withhold_foreign
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.exchange import Exchange
    from harness.gate import GateResult
    from harness.record import Counts, ItemRecord, RunRecord
    from harness.verdict import Bound, Measurement

LETTERS = {
    Verdict.PASS: "P",
    Verdict.FAIL: "F",
    Verdict.INCONCLUSIVE: "?",
    Verdict.INVALID: "!",
    Verdict.WAIVED: "W",
}
OPERATORS = {"at_most": "at most", "at_least": "at least"}
SEVERITIES = ("critical", "high", "medium", "low")
MAX_NAMED = 5
MAX_MODELS = 20
NAME_LIMIT = 120
COUNTED = frozenset({"rate", "accuracy", "consistency", "np_extractable"})
"""Checks whose number is a count over its units, with exact limits."""
PARTS = {"jointly": "not every part fails", "panel": "no part fails"}
"""Kinds of cases with parts -> what they ask of them."""
ACTIVATIONS = "activations"
MAX_LAYERS = 60
"""Layers of a row that are named."""
MORE = " …"
SCRIPTED = "scripted"
"""The dtype of an engine that answers from a file."""


def letter_word(verdict: Verdict) -> str:
    """Return letter and word, so that no report tells verdicts apart by colour alone."""
    return f"{LETTERS[verdict]} {verdict.value}"


def shown_verdict(item: ItemRecord, record: RunRecord) -> str:
    """Return letter and word; of a PASS under a suite without a living certificate also that nothing vouches for it."""
    if item.verdict is Verdict.PASS and line(item.suite, certification.NAME) in certification.uncertified(record):
        return f"{letter_word(item.verdict)} {certification.UNCERTIFIED}"
    return letter_word(item.verdict)


def number(value: float, apart_from: float | None = None) -> str:
    """Return `value` in three significant digits; in more where that would make it look equal to `apart_from`."""
    for digits in (3, 4, 5, 6, 8):
        shown = f"{value:.{digits}g}"
        if apart_from is None or value == apart_from or float(shown) != float(f"{apart_from:.{digits}g}"):
            return shown
    return repr(value)


def measured(measurement: Measurement, bound: Bound | None = None) -> str:
    """Return `value [low, high] unit`; of a descriptive number without an interval, `value unit`."""
    limit = bound.value if bound else None
    value, low, high = (number(part, limit) for part in (measurement.value, measurement.low, measurement.high))
    bare = measurement.note.startswith("descriptive") and measurement.low == measurement.high
    return f"{value} {'' if bare else f'[{low}, {high}] '}{line(measurement.unit, 20)}"


def judged(item: ItemRecord) -> str:
    """Return the judged measurement of `item`, or that there is none."""
    if not item.measurements:
        return "not measured"
    return measured(item.measurements[0], item.bound) + " failing" * (item.check in PARTS)


def bounded(item: ItemRecord) -> str:
    """Return the bound of `item`, e.g. `at most 0.1 share`; of a case with parts what it asks of them."""
    bound = item.bound
    if bound and item.check in PARTS:
        return PARTS[item.check]
    return f"{OPERATORS[bound.op]} {number(bound.value)} {line(bound.unit, 20)}" if bound else "none"


def count(item: ItemRecord) -> tuple[int, int] | None:
    """Return k of n where the judged number of `item` is a share of counted things."""
    found = item.measurements[0] if item.measurements else None
    if found is None or item.check not in COUNTED or found.unit != "share" or found.n < 1:
        return None
    k = round(found.value * found.n)
    return (k, found.n) if math.isclose(k / found.n, found.value, abs_tol=1e-6) else None


def tallied(item: ItemRecord) -> str:
    """Return the judged number as k/n where it is a share of counted things, else as a value and its n."""
    if not item.measurements:
        return "-"
    found = item.measurements[0]
    if item.check in PARTS:
        return f"{found.value:g}/{found.n} parts fail"
    if (counts := count(item)) is not None:
        return f"{counts[0]}/{counts[1]}"
    limit = item.bound.value if item.bound else None
    return f"{number(found.value, limit)} (n {found.n})"


def decisive(item: ItemRecord) -> str:
    """Return the limit of the interval that decides: the upper or lower one, or both where they do not decide."""
    found, bound = item.measurements[0] if item.measurements else None, item.bound
    if found is None or bound is None or item.verdict is Verdict.INVALID:
        return "-"
    low, high = number(found.low, bound.value), number(found.high, bound.value)
    if bound.judge(found.low, found.high) is Verdict.INCONCLUSIVE:
        return f"[{low}, {high}]"
    above = (bound.op == "at_most") is (item.verdict is Verdict.PASS)
    return f"upper {high}" if above else f"lower {low}"


def evidence(item: ItemRecord) -> str:
    """Return scenarios measured of scenarios planned."""
    return f"{item.n_measured} of {item.n_planned}"


def screened(item: ItemRecord) -> str:
    """Return what floor and screening made of the planned items; empty where nothing was asked."""
    seen = item.screening
    if seen is None:
        return ""
    lost = [line(name, 60) for name in seen.unmeasured]
    more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
    unknown = f" ({len(lost)} could not be judged: {', '.join(lost[:MAX_NAMED])}{more})" if lost else ""
    right = f"{len(seen.kept)} of {len(seen.candidates)} items answered rightly in {line(seen.condition, 60)}{unknown}"
    return f"{right}; {f'only these go on, {seen.min_items} are needed' if seen.applied else 'all go on'}"


def inside(exchange: Exchange) -> list[str]:
    """Return what was read inside the model for one row, and what was done to it before, in words."""
    found, said = exchange.inside, []
    if exchange.changed:
        said.append(f"the model was changed for this row: {line(exchange.changed, NAME_LIMIT)}")
    if found is None:
        return said
    where = [line(found.what, 40)]
    if found.layers:
        blocks = ", ".join(map(str, found.layers[:MAX_LAYERS]))
        where.append(f"after block {blocks}{MORE * (len(found.layers) > MAX_LAYERS)}")
    if found.what == ACTIVATIONS:
        at = ", ".join(map(str, found.positions))
        where.append(f"at token {at} from the end" if at else "mean over the tokens")
    said.append(f"{', '.join(where)}; {' x '.join(map(str, found.shape))} numbers")
    if found.mean is not None:
        said[-1] += f", mean {number(found.mean)}"
    if found.continuation:
        said.append(f"behind the prompt: {line(found.continuation, 200)}")
    if found.logprob is not None:
        said.append(f"log-probability of it: {found.logprob:.3f} nats")
    if found.margins:
        shown = " ".join(f"{margin:+.2f}" for margin in found.margins[:MAX_LAYERS])
        said.append(f"margin by layer, nats: {shown}{MORE * (len(found.margins) > MAX_LAYERS)}")
    return said


def short_name(item: ItemRecord) -> str:
    """Return `suite::case[model]`."""
    return line(f"{item.suite}::{item.case}[{item.model}]", NAME_LIMIT)


def shows_texts(item: ItemRecord) -> bool:
    """Tell whether terminal and Markdown may show prompts and answers of `item`."""
    return item.hazard == "open" or bool(item.shown)


def public_cause(item: ItemRecord) -> str:
    """Return the cause for logs: of a suite that is not open, without quotations."""
    return item.cause if shows_texts(item) else withhold_foreign(item.cause)


def worst_first(items: tuple[ItemRecord, ...]) -> list[ItemRecord]:
    """Return `items` by verdict, then severity, then name."""

    def rank(item: ItemRecord) -> tuple[int, int, str]:
        severity = SEVERITIES.index(item.severity) if item.severity in SEVERITIES else -1
        return PRECEDENCE.index(item.verdict), severity, item.node_id

    return sorted(items, key=rank)


def tally(record: RunRecord) -> dict[Verdict, int]:
    """Return how many items have each verdict, worst first, verdicts without items left out."""
    counts = Counter(item.verdict for item in record.items)
    return {verdict: counts[verdict] for verdict in PRECEDENCE if counts[verdict]}


def shared(counts: Counts) -> str:
    """Return what the tokens passed are measured against; nothing where the engine did not count."""
    if not counts.minimum:
        return ""
    return f" passed, {counts.tokens / counts.minimum:.2f} times the minimum after perfect prefix sharing"


def plain_words(record: RunRecord, result: GateResult) -> str:
    """Return the verdict as one paragraph that needs no glossary, on one line."""
    if record.certification is not None:
        return certification.sentence(record, result)
    said = [headline(record, result)]
    if scripted := [line(model.name, 60) for model in record.models if model.dtype == SCRIPTED]:
        said.append(f"The answers of {', '.join(scripted)} came from a script: no model was measured.")
    if record.partial and result.word != "PARTIAL":
        said.append(f"It is also PARTIAL: {_selected(record)}.")
    said += [text for verdict in tally(record) if (text := _also(record, verdict, result))]
    if result.waived and result.code != gate.PASS:
        said.append(f"Besides, {_named(record, _waived(record, result), 'excused by waivers')}.")
    counts = ", ".join(f"{verdict.value} {count}" for verdict, count in tally(record).items())
    said.append(f"All in all: {counts or 'nothing'}.")
    said += [f"Left out: {text}." for text in left_out(record)]
    if bare := certification.uncertified(record):
        said.append(f"{certification.UNCERTIFIED}, so that a PASS there says little: {', '.join(bare)}.")
    return " ".join(said)


def headline(record: RunRecord, result: GateResult) -> str:
    """Return what the gate says of a run on models, in one sentence."""
    models = [line(model.name, 60) for model in record.models]
    more = f" and {len(models) - MAX_MODELS} more" if len(models) > MAX_MODELS else ""
    subject = f"The model {models[0]}" if len(models) == 1 else f"The models {', '.join(models[:MAX_MODELS])}{more}"
    return _sentence(record, result, subject if models else "The model")


def left_out(record: RunRecord) -> list[str]:
    """Return the trends that no item was made of, in words: a run without a series of checkpoints has none."""
    found = []
    for suite in record.suites:
        for case in suite.cases:
            part = f"::{suite.id}::{case.id}["
            if case.check == TREND and not any(part in name for name in record.planned):
                name = line(f"{suite.id}::{case.id}", NAME_LIMIT)
                found.append(f"{name} is a trend, and no models of this run are checkpoints of one training")
    return found


def _sentence(record: RunRecord, result: GateResult, subject: str) -> str:
    match result.code:
        case gate.PASS if result.waived:
            excused = _named(record, _waived(record, result), "excused by waivers")
            return f"{subject} passed only with waivers: {excused}; no other failed that can block a release."
        case gate.PASS:
            return f"{subject} passed: none of the {_checks(len(record.items))} failed that can block a release."
        case gate.FAIL | gate.INCONCLUSIVE | gate.WAIVER | gate.UNCERTIFIED:
            return f"{subject} did NOT pass: {_why(record, result)}."
        case gate.NOTHING:
            return "Nothing was evaluated that could block a release, which is no pass."
        case _:
            return _no_verdict(record, result)


def _why(record: RunRecord, result: GateResult) -> str:
    match result.code:
        case gate.FAIL:
            return _named(record, _found(record, Verdict.FAIL, result), "failed")
        case gate.INCONCLUSIVE:
            undecided = _found(record, Verdict.INCONCLUSIVE, result)
            return _named(record, undecided, "could not be decided on this evidence")
        case gate.UNCERTIFIED:
            return f"{_first(result)}, and the policy asks for certificates"
        case _:
            claimed = _found(record, Verdict.WAIVED, result)
            return _named(record, claimed, "waived without a valid waiver") if claimed else _first(result)


def _no_verdict(record: RunRecord, result: GateResult) -> str:
    if result.word == "INVALID":
        missing = _named(record, _found(record, Verdict.INVALID, result), "could not be measured")
        return f"This run is no verdict on the model, and no pass: {missing}."
    if result.word == "PARTIAL":
        return f"This run is no verdict on the model, and no pass: {_selected(record)}."
    return f"This run is no verdict on the model, and no pass: {_first(result)}."


def _first(result: GateResult) -> str:
    return line(result.reasons[0], 300)


def _selected(record: RunRecord) -> str:
    return f"only {len(record.selected)} of {_checks(len(record.planned))} planned were selected"


def _also(record: RunRecord, verdict: Verdict, result: GateResult) -> str:
    said = {gate.FAIL: Verdict.FAIL, gate.INCONCLUSIVE: Verdict.INCONCLUSIVE, gate.WAIVER: Verdict.WAIVED}
    found = _found(record, verdict, result)
    if not found or verdict is Verdict.PASS or verdict is said.get(result.code) or verdict.value == result.word:
        return ""
    how = {
        Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "could not be decided",
        Verdict.INVALID: "could not be measured", Verdict.WAIVED: "waived",
    }  # fmt: skip
    return f"Besides, {_named(record, found, how[verdict])}."


def _found(record: RunRecord, verdict: Verdict, result: GateResult) -> list[ItemRecord]:
    """Return the items with a verdict, worst first; without those that the gate let waivers excuse."""
    excused = {excuse.node_id for excuse in result.waived}
    return [item for item in worst_first(record.items) if item.verdict is verdict and item.node_id not in excused]


def _waived(record: RunRecord, result: GateResult) -> list[ItemRecord]:
    """Return the items that the gate let waivers excuse, worst first."""
    excused = {excuse.node_id for excuse in result.waived}
    return [item for item in worst_first(record.items) if item.node_id in excused]


def _named(record: RunRecord, items: Sequence[ItemRecord], how: str) -> str:
    found = [f"{short_name(item)}, {item.severity}" for item in items]
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"{len(found)} of {_checks(len(record.items))} {how} ({'; '.join(found[:MAX_NAMED])}{more})"


def _checks(n: int) -> str:
    return "1 check" if n == 1 else f"{n} checks"
