"""What some checks on log-probabilities need: forms, rows, and limits that a model can keep and can break."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness import template
from harness.loader.kinds import DEFAULT_CONFIDENCE, condition_name, needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.loader.draft import Draft
    from harness.loader.report import DataPath

MIN_CUE_FORMS = 12
MIN_CANARIES = 10
MIN_REFERENCES = 99
MIN_ITEMS = 10
MIN_NULLS = 2
MIN_SCAN_NULLS = 4
MIN_ROWS = 100
REACH = 1000
"""Times the rows that a forecast may reach."""
MIN_OPTIONS = 2
CHANCE = 1.0 / math.log(2.0)
"""Bits of exposure of a canary that was never seen, on average."""


def check(draft: Draft, at: DataPath, entry: dict[str, Any]) -> None:
    """Add every reason why a check of these kinds could give no verdict, or one that every model gets."""
    name, options = next(iter(entry["check"].items()))
    rule = _RULES.get(name)
    if rule is not None and draft.conditions is not None:
        rule(draft, (*at, "check", name), options, entry)


def _divergence(draft: Draft, here: DataPath, options: dict[str, Any], entry: dict[str, Any]) -> None:
    cue, null = condition_name(options["cue"]), condition_name(options["null"])
    _forms(draft, (*here, "cue"), cue, MIN_CUE_FORMS, f"divergence resamples cue forms: {MIN_CUE_FORMS} are needed")
    _null_family(draft, here, null, "divergence", MIN_NULLS)
    groups = entry.get("loglikelihood", {})
    for group in [name for name in ("bad", "good") if name in groups]:
        texts = [groups[group]] if isinstance(groups[group], str) else groups[group]
        used = {name for text in texts for name in template.variables(text)}
        varied = sorted(used & {name for condition in (cue, null) for name in _varied(draft, condition)})
        if varied:
            what = f"the forms hang on {varied[0]!r}, which a condition sets; a divergence compares the same outcomes"
            draft.report.add((*here[:-2], "loglikelihood", group), f"{what}; use variables of the items")


def _exposure(draft: Draft, here: DataPath, options: dict[str, Any], _entry: dict[str, Any]) -> None:
    canaries, references = condition_name(options["in"]), condition_name(options["reference"])
    what = f"exposure needs {MIN_CANARIES} canaries, each a form"
    _forms(draft, (*here, "in"), canaries, MIN_CANARIES, what)
    what = f"exposure ranks canaries among never-seen ones: {MIN_REFERENCES} are needed"
    _forms(draft, (*here, "reference"), references, MIN_REFERENCES, what)
    c, r = _count(draft, canaries), _count(draft, references)
    if c < MIN_CANARIES or r < MIN_REFERENCES:
        return
    if _family(draft, canaries) == _family(draft, references):
        what = f"canaries and references are one family, {_family(draft, canaries)}"
        draft.report.add((*here, "reference"), f"{what}; name a condition with canaries that were never seen")
    least, most = exposure_reach(c, r, options.get("confidence", DEFAULT_CONFIDENCE))
    if options["at_most"] >= most:
        what = f"{c} canaries all above {r} references show {most:.2f} bits at least, so no model could fail"
        draft.report.add((*here, "at_most"), f"{what}; write a limit below it, or add canaries and references")
    elif options["at_most"] < max(least, CHANCE):
        what = f"a model that has seen no canary shows {CHANCE:.2f} bits on average, and {c} canaries cannot show less "
        what += f"than {least:.2f}"
        draft.report.add((*here, "at_most"), f"{what}; write a larger limit")


def exposure_reach(canaries: int, references: int, confidence: float) -> tuple[float, float]:
    """Return the least upper and the largest lower limit, in bits, that so many canaries and references can show.

    As `measures.told.exposure_limits` has them: exact limits of 0 in n are 1 - (half the error)^(1/n).
    """
    error = (1.0 - confidence) / 2.0
    edge_c, edge_r = (-math.expm1(math.log(error) / n) for n in (canaries, references))
    top = math.log2(references + 1)
    return edge_c * top, (1.0 - edge_c) * (top - math.log2(1.0 + references * edge_r))


def _np_extractable(draft: Draft, here: DataPath, options: dict[str, Any], _entry: dict[str, Any]) -> None:
    name = condition_name(options["in"])
    _forms(draft, (*here, "in"), name, 1, "each form is a canary")
    if _count(draft, name):
        _share(draft, here, options, _count(draft, name), "canaries", half=False)


def _share(draft: Draft, here: DataPath, options: dict[str, Any], n: int, of: str, *, half: bool) -> None:
    """Check that n units without an event keep the limit, and that n with one break it."""
    limit, confidence = options["at_most"], options.get("confidence", DEFAULT_CONFIDENCE)
    if limit >= 1:
        return  # said already, by the unit
    error = (1.0 - confidence) / (2.0 if half else 1.0)
    least, at = needed(1.0 - error, at_most=limit), (*here, "at_most")
    if least is None:
        message = f"at most {limit:g} cannot be shown by any number of {of}; write a limit above 0"
        draft.report.add(at, message)
    elif n < least:
        what = f"at most {limit:g} needs {least} {of}, and there may be {n}"
        draft.report.add(at, f"{what}; add some, or raise the limit")
    sure = math.exp(math.log(error) / n)
    sure = 2.0 * sure - 1.0 if half else sure
    if limit >= sure:
        what = f"{n} {of} that all show it prove a share of {sure:.3g}, so no model could fail"
        draft.report.add(at, f"{what}; write a limit below that")


def _forecast(draft: Draft, here: DataPath, options: dict[str, Any], _entry: dict[str, Any]) -> None:
    name = condition_name(options["in"])
    if draft.items is None or draft.paraphrases is None or name not in (draft.conditions or {}):
        return
    # With fewer items each meets more forms, so that the number of rows does not fall with every item lost.
    possible = [_rows(draft, name, items) for items in range(_least_items(draft), max(1, len(draft.items)) + 1)]
    least, most = min(possible), max(possible)
    if least < MIN_ROWS:
        what = f"forecast_worst_of_n fits the tail of {MIN_ROWS} rows or more, and {least} are sure"
        draft.report.add(here, f"{what}; add items, or raise `pairing` or screen.min_items", key=True)
        return
    if not most <= options["n"] <= REACH * least:
        what = f"n is {options['n']}, and a forecast from {most} rows reaches from {most} to {REACH * least}"
        draft.report.add((*here, "n"), f"{what}; write another n, or ask more rows")


def _hidden_rank(draft: Draft, here: DataPath, options: dict[str, Any], entry: dict[str, Any]) -> None:
    if draft.items is None:
        return
    _share(draft, here, options, _least_items(draft), "scenarios", half=True)
    written = entry.get("loglikelihood", {}).get("bad", ())
    texts = (written,) if isinstance(written, str) else tuple(written)
    for item in draft.items:
        if any(name not in item.values for text in texts for name in template.variables(text)):
            return  # hangs on the condition; the measure sees the rows
        if texts and len(template.render_forms(texts, item.values)) < MIN_OPTIONS:
            what = f"one wrong option in item {item.id!r}, so that the runner-up is whatever is not said"
            draft.report.add((*here[:-2], "loglikelihood", "bad"), f"{what}; name {MIN_OPTIONS} at least")
            return


def _cue_scan(draft: Draft, here: DataPath, options: dict[str, Any], _entry: dict[str, Any]) -> None:
    cues, null = condition_name(options["cues"]), condition_name(options["null"])
    _forms(draft, (*here, "cues"), cues, 2, "each form is a candidate: two are needed")
    _null_family(draft, here, null, "cue_scan", MIN_SCAN_NULLS)
    count, items = _count(draft, cues), _least_items(draft)
    if count < MIN_NULLS or draft.items is None:
        return
    error = 1.0 - options.get("confidence", DEFAULT_CONFIDENCE)
    least = max(MIN_ITEMS, math.ceil(math.log2(count / error) - 1e-9))
    met = items * _each(draft, cues, items) // count
    if met < least:
        advice = f"set pairing.cues to {math.ceil(least * count / items)} or more" if items >= least else "add items"
        what = f"{count} candidates need {least} items each, and a candidate may meet {met}"
        draft.report.add((*here, "cues"), f"{what}; {advice}")


def _null_family(draft: Draft, here: DataPath, name: str, kind: str, least: int) -> None:
    """Check that the null condition has a null family, of which each item meets `least` forms."""
    _forms(draft, (*here, "null"), name, least, f"{kind} compares with null cues")
    family = draft.families.get(name)
    if family is not None and not family.null_for:
        what = f"{family.path} is no null family"
        draft.report.add((*here, "null"), f"{what}; name a condition whose family says `null_for`")
    if draft.items is None or _count(draft, name) < least:
        return
    each = _each(draft, name, len(draft.items))
    if each < least:
        what = f"{kind} needs {least} null forms per item, and each item meets {each}"
        draft.report.add((*here, "null"), f"{what}; write `pairing: {{cues: {least}}}` or more")


def _forms(draft: Draft, at: DataPath, name: str, least: int, what: str) -> None:
    if name not in (draft.conditions or {}):
        return
    if not _count(draft, name):
        draft.report.add(at, f"the condition {name!r} has no cue family, and {what}; add `cues: world/NAME` to it")
    elif _count(draft, name) < least:
        forms = f"{_family(draft, name)} has {_count(draft, name)} forms"
        draft.report.add(at, f"{forms}, and {what}; write {least} forms or more")


def _count(draft: Draft, name: str) -> int:
    condition = (draft.conditions or {}).get(name)
    return len(condition.cues) if condition is not None else 0


def _family(draft: Draft, name: str) -> str:
    condition = (draft.conditions or {}).get(name)
    return condition.family if condition is not None else ""


def _varied(draft: Draft, name: str) -> set[str]:
    """Return the variables that a condition or its cue forms set."""
    condition = (draft.conditions or {}).get(name)
    if condition is None:
        return set()
    return set(condition.values).union(*(form.values for form in condition.cues))


def _pairing(draft: Draft, key: str) -> int:
    written = draft.data.get("pairing")
    value = written.get(key, 1) if isinstance(written, dict) and draft.report.clean("pairing") else 1
    return int(value)


def _each(draft: Draft, name: str, items: int) -> int:
    """Return how many forms of a condition each of `items` items meets at least, as `script` designs it."""
    forms = _count(draft, name)
    return min(forms, max(_pairing(draft, "cues"), -(-forms // max(items, 1))))


def _least_items(draft: Draft) -> int:
    """Return how many items are sure to be asked: screening may leave fewer than are planned."""
    screen = draft.data.get("screen")
    planned = len(draft.items or ())
    screened = isinstance(screen, dict) and draft.report.clean("screen")
    return max(1, min(planned, screen["min_items"])) if screened else max(1, planned)


def _rows(draft: Draft, name: str, items: int) -> int:
    known = min((len(item.phrasings) for item in draft.items or ()), default=1)
    asked = min(known, _pairing(draft, "phrasings")) * max(1, len(draft.paraphrases or ()))
    return items * max(1, _each(draft, name, items)) * asked


_RULES: dict[str, Callable[[Draft, DataPath, dict[str, Any], dict[str, Any]], None]] = {
    "divergence": _divergence, "exposure": _exposure, "np_extractable": _np_extractable,
    "forecast_worst_of_n": _forecast, "hidden_rank": _hidden_rank, "cue_scan": _cue_scan,
}  # fmt: skip
