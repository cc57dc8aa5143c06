"""Fill `{{ name }}` into text. Nothing else: no expressions, no filters, no code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.case import Value, Values

VARIABLE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
LEFTOVER = re.compile(r"\{\{|\}\}|\{%|%\}")


def variables(template: str) -> tuple[str, ...]:
    """Return the names that `template` uses, in order of appearance."""
    return tuple(VARIABLE.findall(template))


def malformed(template: str) -> bool:
    """Tell whether braces are left over once every `{{ name }}` is taken out."""
    return LEFTOVER.search(VARIABLE.sub("", template)) is not None


def render(template: str, values: Values) -> Value:
    """Return `template` filled in; a template that is one variable alone keeps the type of its value.

    White space around the variable is kept, of a list around each form: a continuation may have to begin with a space.

    Raises:
        UsageError: a variable that `values` does not hold, or a list inside running text.
    """
    alone = VARIABLE.fullmatch(template.strip())
    if alone:
        return _spaced(template, _value(alone.group(1), values))

    def fill(match: re.Match[str]) -> str:
        value = _value(match.group(1), values)
        if isinstance(value, tuple):
            msg = f"{{{{ {match.group(1)} }}}} is a list and cannot stand inside running text"
            raise UsageError(msg)
        return str(value)

    return VARIABLE.sub(fill, template)


def render_text(template: str, values: Values) -> str:
    """Return `template` filled in, as text; of a list variable standing alone, the first form.

    Raises:
        UsageError: as `render`, and for a list without forms.
    """
    value = render(template, values)
    if value == ():
        msg = f"{template!r} is an empty list; text needs at least one form"
        raise UsageError(msg)
    return str(value[0]) if isinstance(value, tuple) else str(value)


def render_forms(templates: tuple[str, ...], values: Values) -> tuple[str, ...]:
    """Return all surface forms that `templates` stand for, lists spliced in, doubles dropped, order kept."""
    forms: list[str] = []
    for template in templates:
        value = render(template, values)
        forms.extend(value if isinstance(value, tuple) else (str(value),))
    return tuple(dict.fromkeys(forms))


def _spaced(template: str, value: Value) -> Value:
    before, after = template[: template.index("{{")], template[template.rindex("}}") + 2 :]
    if not before and not after:
        return value
    if isinstance(value, tuple):
        return tuple(f"{before}{form}{after}" for form in value)
    return f"{before}{value}{after}"


def _value(name: str, values: Values) -> Value:
    try:
        return values[name]
    except KeyError:
        msg = f"template variable {name!r} has no value; known: {', '.join(sorted(values)) or 'none'}"
        raise UsageError(msg) from None
