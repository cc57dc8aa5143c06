"""The word `json_schema`: is the text one JSON document of the given shape?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import re2
import referencing
from jsonschema.validators import extend

DEEPEST = 100
"""Brackets open at once; deeper documents are not decided (the parser would run out of stack)."""


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and re2.search(pattern, instance) is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


# The standard's `pattern` runs on Python's backtracking engine, which a model's text could hold up for ever.
_Validator: Any = extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)


def schema_problems(word: str, schema: Any) -> list[str]:
    """Return what is wrong with a schema (JSON Schema draft 2020-12, no references to other documents)."""
    if not isinstance(schema, Mapping) or not schema:
        return [f"{word!r} needs a schema with at least one keyword; an empty one fits everything"]
    plain = _plain(schema)
    try:
        jsonschema.Draft202012Validator.check_schema(plain)
    except jsonschema.SchemaError as error:
        return [f"{word!r}: {error.message} @ {error.json_path}"]
    return _forbidden(word, plain)


def fits(schema: Mapping[str, Any], text: str) -> bool | None:
    """Tell whether `text`, one code fence around it taken off, is JSON that fits; None when it is nested too deep."""
    body = _unfenced(text)
    if _depth(body) > DEEPEST:
        return None
    try:
        document = json.loads(body, parse_constant=_refuse, object_pairs_hook=_unique)
    except ValueError:
        return False
    return bool(_Validator(_plain(schema), registry=referencing.Registry()).is_valid(document))


def _plain(value: Any) -> Any:
    """Turn the frozen tuples and mappings of a case back into what jsonschema knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _forbidden(word: str, schema: Any, at: str = "$") -> list[str]:
    wrong = []
    if isinstance(schema, dict):
        for key, part in schema.items():
            if key == "patternProperties":
                wrong.append(f"{word!r}: patternProperties is not supported @ {at}; name the properties")
            elif key in {"$ref", "$dynamicRef"} and isinstance(part, str) and not part.startswith("#"):
                wrong.append(f"{word!r}: {part!r} refers to another document @ {at}; nothing is fetched")
            elif key == "pattern" and isinstance(part, str):
                wrong += _pattern_problems(word, part, at)
            wrong += _forbidden(word, part, f"{at}.{key}")
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            wrong += _forbidden(word, part, f"{at}[{index}]")
    return wrong


def _pattern_problems(word: str, pattern: str, at: str) -> list[str]:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        return [f"{word!r}: {pattern!r} is no RE2 pattern ({error}) @ {at}"]
    return []


def _unfenced(text: str) -> str:
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and "\n" in body:
        return body[body.index("\n") + 1 : -3].strip()
    return body


def _depth(text: str) -> int:
    # Brackets inside strings are counted too: an over-estimate, which at worst leaves a text undecided.
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        msg = "a key stands twice"
        raise ValueError(msg)
    return made
