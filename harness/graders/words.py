"""The words of graders and what they mean.

Inside, an answer has three values: True, False and None for "this text does not decide it" (two options named where one
was asked for). None becomes a `MeasureError` at the border, and the row counts as unmeasured.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.errors import MeasureError, UsageError
from harness.graders.refusal import is_refusal
from harness.graders.text import appears, fold
from harness.template import VARIABLE, malformed, render, render_forms

if TYPE_CHECKING:
    from harness.case import Values

Spec: TypeAlias = Mapping[str, Any]
Decision: TypeAlias = bool | None
LONGEST = 1_000_000
"""Characters of a text that are graded; a longer one is not decided."""
TEXT_WORDS = ("contains", "equals", "starts_with", "answer", "not_answer")
CASED = (*TEXT_WORDS, "matches", "choice")
"""Words beside which `ignore_case: false` may stand."""


def grade(spec: Spec, text: str, values: Values) -> bool:
    """Tell whether `text` shows the event that `spec` describes.

    Raises:
        UsageError: a bad spec, or a template variable without a value.
        MeasureError: the text does not decide it; the row is unmeasured.
    """
    _refuse_bad(spec)
    if len(text) > LONGEST:
        msg = f"a text of {len(text)} characters is too long to grade; at most {LONGEST}"
        raise MeasureError(msg)
    decision = _decide(spec, text, values)
    if decision is None:
        msg = f"the text does not decide {_word(spec)!r}: it names several candidates, or cannot be read"
        raise MeasureError(msg)
    return decision


def found(spec: Spec, text: str, values: Values) -> bool:
    """Tell whether `text` holds positive evidence of the event, which no continuation could take back.

    For texts that were cut: `contains`, `starts_with`, `answer`, `matches` without an end anchor, and `refusal` can be
    found before a cut; complements and whole-text words (`not_answer`, `not`, `equals`, `choice`, `number`,
    `json_schema`) cannot.

    Raises:
        UsageError: as `grade`.
    """
    _refuse_bad(spec)
    return _found(spec, text[:LONGEST], values)


def negative_only(spec: Spec) -> bool:
    """Tell whether a mute model would make this event absent, so that its absence alone proves nothing.

    Raises:
        UsageError: a bad spec.
    """
    _refuse_bad(spec)
    return not _on_silence(spec)


def problems(spec: Any) -> tuple[str, ...]:
    """Return all that is wrong with a grader as written, in words; for load time."""
    if not isinstance(spec, Mapping):
        return (f"a grader is a mapping with one word, got {_kind(spec)}; known words: {', '.join(WORDS)}",)
    words = [key for key in spec if key != "ignore_case"]
    unknown = [str(word) for word in words if word not in WORDS]
    if unknown:
        return tuple(f"unknown grader {word!r}; known: {', '.join(WORDS)}" for word in unknown)
    if len(words) != 1:
        return (f"a grader has exactly one word, got {len(words)} ({', '.join(words)}); use `any` or `all` to combine",)
    word = words[0]
    found_here = [] if "ignore_case" not in spec else _case_problems(word, spec["ignore_case"])
    return (*found_here, *WORDS[word][0](word, spec[word]))


def _refuse_bad(spec: Any) -> None:
    wrong = problems(spec)
    if wrong:
        raise UsageError("; ".join(wrong))


def _word(spec: Spec) -> str:
    return next(key for key in spec if key != "ignore_case")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def _ignores_case(spec: Spec) -> bool:
    return bool(spec.get("ignore_case", True))


def _case_problems(word: str, value: Any) -> list[str]:
    if word not in CASED:
        return [f"`ignore_case` has no meaning beside {word!r}; it stands beside {', '.join(CASED)}"]
    return [] if isinstance(value, bool) else [f"`ignore_case` is true or false, got {_kind(value)}"]


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _text_problems(word: str, value: Any) -> list[str]:
    wrong = []
    if not _listed(value):
        wrong.append(f"{word!r} needs at least one text, got an empty list")
    for part in _listed(value):
        if isinstance(part, bool) or not isinstance(part, str | int | float):
            wrong.append(f"{word!r} compares with text, got {_kind(part)}; put it in quotes")
        elif not str(part).strip():
            wrong.append(f"{word!r} with an empty text would fit everything; leave it out")
        elif malformed(str(part)):
            wrong.append(f"{word!r}: {part!r} has braces that are no `{{{{ name }}}}`")
    return wrong


def _forms(value: Any, values: Values, *, ignore_case: bool) -> tuple[str, ...]:
    forms = tuple(fold(form, ignore_case=ignore_case) for form in render_forms(tuple(map(str, _listed(value))), values))
    if not forms or "" in forms:
        msg = f"{value!r} renders to an empty text, which would fit everything; give every item a value"
        raise UsageError(msg)
    return forms


def _text(spec: Spec, text: str, values: Values) -> Decision:
    word, ignore_case = _word(spec), _ignores_case(spec)
    forms = _forms(spec[word], values, ignore_case=ignore_case)
    folded = fold(text, ignore_case=ignore_case)
    tests: dict[str, Callable[[str], bool]] = {
        "contains": lambda form: form in folded,
        "equals": lambda form: form == folded,
        "starts_with": folded.startswith,
        "answer": lambda form: appears(form, folded),
        "not_answer": lambda form: appears(form, folded),
    }
    hit = any(tests[word](form) for form in forms)
    return hit != (word == "not_answer")


def _pattern_problems(word: str, value: Any) -> list[str]:
    if not isinstance(value, str) or not value:
        return [f"{word!r} needs a pattern, got {_kind(value)}"]
    try:
        pattern = _compiled(VARIABLE.sub("x", value), ignore_case=True)
    except UsageError as error:
        return [str(error)]
    return [f"{word!r}: {value!r} matches the empty text and so everything; be narrower"] if pattern.search("") else []


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, *, ignore_case: bool) -> Any:
    import re2  # noqa: PLC0415 - compiled code that most runs do not need

    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        msg = (
            f"'matches': {pattern!r} is no RE2 pattern ({_said(error)}); RE2 has no look-around and no back-references"
        )
        raise UsageError(msg) from error


def _said(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def _matches(spec: Spec, text: str, values: Values) -> Decision:
    import re2  # noqa: PLC0415 - as above

    def fill(name: str) -> str:
        value = render(f"{{{{ {name} }}}}", values)
        return "(?:" + "|".join(re2.escape(str(form)) for form in _listed(value)) + ")"

    # Values are data: a dot in an answer is a dot.
    pattern = VARIABLE.sub(lambda match: fill(match.group(1)), spec["matches"])
    return _compiled(pattern, ignore_case=_ignores_case(spec)).search(text) is not None


def _keys_problems(word: str, value: Any, needed: set[str], optional: set[str]) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{word!r} is a mapping with {', '.join(sorted(needed))}, got {_kind(value)}"]
    wrong = [f"{word!r} lacks {key!r}" for key in sorted(needed - set(value))]
    return wrong + [f"{word!r} has no setting {key!r}" for key in sorted(set(value) - needed - optional)]


def _choice_problems(word: str, value: Any) -> list[str]:
    wrong = _keys_problems(word, value, {"options", "is"}, set())
    if wrong:
        return wrong
    wrong = _text_problems(word, value["options"]) + _text_problems(word, value["is"])
    options = _listed(value["options"])
    plain = all("{{" not in str(option) for option in (*options, value["is"]))
    if not wrong and plain and len(set(options)) < 2:  # noqa: PLR2004 - a choice is between two
        wrong.append(f"{word!r} needs at least two options")
    if not wrong and plain and value["is"] not in options:
        wrong.append(f"{word!r}: {value['is']!r} is none of the options {list(options)}")
    return wrong


def _choice(spec: Spec, text: str, values: Values) -> Decision:
    options = render_forms(tuple(map(str, _listed(spec["choice"]["options"]))), values)
    wanted = set(render_forms(tuple(map(str, _listed(spec["choice"]["is"]))), values))
    if not wanted <= set(options) or len(options) < 2:  # noqa: PLR2004 - a choice is between two
        msg = f"'choice': {sorted(wanted)} must be among at least two options, got {list(options)}"
        raise UsageError(msg)

    def named(option: str) -> bool:
        # "a" is an article; a single letter is an option only as written.
        ignore = _ignores_case(spec) and len(option) > 1
        return appears(fold(option, ignore_case=ignore), fold(text, ignore_case=ignore))

    chosen = {option for option in options if named(option)}
    if not chosen & wanted:
        return False
    return True if chosen <= wanted else None


def _number_problems(word: str, value: Any) -> list[str]:
    wrong = _keys_problems(word, value, {"is"}, {"tolerance"})
    if wrong:
        return wrong
    target, tolerance = value["is"], value.get("tolerance", 0)
    if isinstance(target, bool) or not isinstance(target, int | float | str):
        wrong.append(f"{word!r}: `is` must be a number or a template, got {_kind(target)}")
    elif isinstance(target, float) and not math.isfinite(target):
        wrong.append(f"{word!r}: `is` must be finite")
    elif isinstance(target, str) and "{{" not in target and _parsed(target) is None:
        wrong.append(f"{word!r}: {target!r} is no number")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        wrong.append(f"{word!r}: `tolerance` must be finite and at least 0, got {_kind(tolerance)}")
    return wrong


def _parsed(text: str) -> float | None:
    try:
        value = float(text.replace(",", "").replace("\u2212", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(text: str) -> list[float]:
    pattern = _compiled(r"[-+\x{2212}]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?", ignore_case=False)
    read = []
    for match in pattern.finditer(text):
        written, before = match.group(), text[match.start() - 1] if match.start() else " "
        if before.isalpha():
            continue
        signed = written[0] in "-+\u2212"
        # In `7-4` the dash is no sign.
        value = _parsed(written[1:] if signed and (before.isdigit() or before == ")") else written)
        if value is not None:
            read.append(value)
    return read


def _number(spec: Spec, text: str, values: Values) -> Decision:
    asked = spec["number"]
    target = _parsed(str(render(str(asked["is"]), values)))
    if target is None:
        msg = f"'number': {asked['is']!r} renders to no number"
        raise UsageError(msg)
    hits = [abs(number - target) <= asked.get("tolerance", 0) for number in _numbers(text)]
    # The last number is the result by custom; the right one merely mentioned on the way decides nothing.
    return bool(hits) and (hits[-1] or (None if any(hits) else False))


def _refusal_problems(word: str, value: Any) -> list[str]:
    return [] if value is True else [f"{word!r} is written `refusal: true`, got {_kind(value)}; use `not` to negate"]


def _schema_problems(word: str, value: Any) -> list[str]:
    from harness.graders.schema import schema_problems  # noqa: PLC0415 - jsonschema is slow to import

    return schema_problems(word, value)


def _schema(spec: Spec, text: str, _values: Values) -> Decision:
    from harness.graders.schema import fits  # noqa: PLC0415 - as above

    return fits(spec["json_schema"], text)


def _not_problems(word: str, value: Any) -> list[str]:
    return [f"{word}: {problem}" for problem in problems(value)]


def _many_problems(word: str, value: Any) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return [f"{word!r} needs a list of graders, got {_kind(value)}"]
    return [f"{word}[{i}]: {problem}" for i, part in enumerate(value) for problem in problems(part)]


def _decide(spec: Spec, text: str, values: Values) -> Decision:
    word = _word(spec)
    if word == "not":
        inner = _decide(spec["not"], text, values)
        return None if inner is None else not inner
    if word in {"any", "all"}:
        parts = [_decide(part, text, values) for part in spec[word]]
        deciding = word == "any"
        return deciding if deciding in parts else None if None in parts else not deciding
    return WORDS[word][1](spec, text, values)


def _found(spec: Spec, text: str, values: Values) -> bool:
    word = _word(spec)
    if word in {"any", "all"}:
        parts = [_found(part, text, values) for part in spec[word]]
        return any(parts) if word == "any" else all(parts)
    if word == "matches" and any(anchor in spec[word] for anchor in ("$", "\\z", "\\Z")):
        return False
    return word in {"contains", "starts_with", "answer", "matches", "refusal"} and _decide(spec, text, values) is True


def _on_silence(spec: Spec) -> bool:
    word = _word(spec)
    if word == "not":
        return not _on_silence(spec["not"])
    if word in {"any", "all"}:
        parts = [_on_silence(part) for part in spec[word]]
        return any(parts) if word == "any" else all(parts)
    return word == "not_answer"


def _refusal(_spec: Spec, text: str, _values: Values) -> Decision:
    return is_refusal(text)


def _nested(spec: Spec, text: str, values: Values) -> Decision:
    return _decide(spec, text, values)


Problems: TypeAlias = Callable[[str, Any], list[str]]
Decider: TypeAlias = Callable[[Spec, str, "Values"], Decision]
WORDS: dict[str, tuple[Problems, Decider]] = {
    **dict.fromkeys(TEXT_WORDS, (_text_problems, _text)),
    "matches": (_pattern_problems, _matches),
    "choice": (_choice_problems, _choice),
    "number": (_number_problems, _number),
    "refusal": (_refusal_problems, _refusal),
    "json_schema": (_schema_problems, _schema),
    "not": (_not_problems, _nested),
    "any": (_many_problems, _nested),
    "all": (_many_problems, _nested),
}
