"""Tells quickly that JSON data certainly has the shape that a JSON Schema asks for.

A validator that explains what is wrong takes half a minute for a record of ten thousand checks, and nearly all records
are right. `certain` says True only where every keyword that it meets is known here and kept; everything else is the
validator's to judge. So a keyword that is not known here costs time and admits nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Test: TypeAlias = "Callable[[Any], bool]"
SILENT = frozenset({"$schema", "$defs", "title", "description"})
"""Keywords that admit everything."""
LOCAL = "#/$defs/"
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
NUMBERS: Mapping[str, tuple[type, ...]] = {"number": (int, float), "integer": (int,)}
"""By the class itself, so that True is no number; that 1.0 is an integer too, the validator knows."""
PLAIN: Mapping[str, type] = {"boolean": bool, "null": type(None)}
WORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "additionalProperties", "required", "minProperties"}),
    "array": frozenset({"items", "maxItems"}), "string": frozenset({"pattern"}), "number": BOUNDS, "integer": BOUNDS,
    "boolean": frozenset(), "null": frozenset(),
}  # fmt: skip
"""Keywords of each type that are known here."""


def certain(schema: Mapping[str, Any]) -> Test:
    """Return a test that is True only for data that `schema` admits; it may be False for some that it admits too."""
    return _Shapes(schema.get("$defs", {})).of(schema)


def _never(_: Any) -> bool:
    return False


def _always(_: Any) -> bool:
    return True


class _Shapes:
    """The tests of one schema, those of its definitions made once."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self.definitions = definitions
        self._made: dict[str, Test] = {}

    def of(self, schema: Any) -> Test:
        """Return the test of a schema."""
        if not isinstance(schema, dict):
            return _always if schema is True else _never
        words = {word: value for word, value in schema.items() if word not in SILENT}
        if "type" in words:
            kinds = words.pop("type")
            return self._typed([kinds] if isinstance(kinds, str) else kinds, words)
        if len(words) == 1:
            return self._alone(*words.popitem())
        return _never if words else _always

    def _alone(self, word: str, value: Any) -> Test:
        """Return the test of a keyword that stands alone."""
        if word == "$ref" and value.removeprefix(LOCAL) in self.definitions:
            return self._named(value.removeprefix(LOCAL))
        if word == "anyOf":
            return _any([self.of(part) for part in value])
        return _one_of([value] if word == "const" else value) if word in {"const", "enum"} else _never

    def _named(self, name: str) -> Test:
        """Return the test of a definition, which may hold itself."""

        def test(data: Any) -> bool:
            if name not in self._made:
                self._made[name] = self.of(self.definitions[name])
            return self._made[name](data)

        return test

    def _typed(self, kinds: list[str], more: Mapping[str, Any]) -> Test:
        """Return the test of data of any of the types; a keyword beside holds for data of its own type alone."""
        if not set(kinds) <= WORDS.keys() or not more.keys() <= set().union(*(WORDS[kind] for kind in kinds)):
            return _never
        return _any([self._of_kind(kind, more) for kind in kinds])

    def _of_kind(self, kind: str, more: Mapping[str, Any]) -> Test:
        if kind == "object":
            return self._object(more)
        if kind == "array":
            return self._array(more)
        if kind == "string":
            return _string(more.get("pattern"))
        if kind in NUMBERS:
            return _number(NUMBERS[kind], more)
        wanted = PLAIN[kind]
        return lambda data: type(data) is wanted

    def _object(self, more: Mapping[str, Any]) -> Test:
        known = {name: self.of(schema) for name, schema in more.get("properties", {}).items()}
        other = self.of(more.get("additionalProperties", True))
        required, least = set(more.get("required", ())), more.get("minProperties", 0)

        def test(data: Any) -> bool:
            if type(data) is not dict or len(data) < least or not required <= data.keys():
                return False
            return all(known.get(name, other)(value) for name, value in data.items())

        return test

    def _array(self, more: Mapping[str, Any]) -> Test:
        each, most = self.of(more.get("items", True)), more.get("maxItems")

        def test(data: Any) -> bool:
            return type(data) is list and (most is None or len(data) <= most) and all(map(each, data))

        return test


def _any(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda data: any(test(data) for test in tests)


def _one_of(values: list[Any]) -> Test:
    """Return the test of plain values; by the class too, since 1 == True."""
    known = {(type(value), value) for value in values if type(value) in {str, bool, int, type(None)}}
    return lambda data: type(data).__hash__ is not None and (type(data), data) in known


def _string(pattern: str | None) -> Test:
    if pattern is None:
        return lambda data: type(data) is str
    found = re.compile(pattern).search
    return lambda data: type(data) is str and found(data) is not None


def _number(kinds: tuple[type, ...], more: Mapping[str, Any]) -> Test:
    low, high = more.get("minimum"), more.get("maximum")
    above, below = more.get("exclusiveMinimum"), more.get("exclusiveMaximum")

    def test(data: Any) -> bool:
        return (
            type(data) in kinds
            and (low is None or data >= low)
            and (high is None or data <= high)
            and (above is None or data > above)
            and (below is None or data < below)
        )

    return test
