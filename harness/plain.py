"""Frozen dataclasses to plain JSON data and back, by their annotations. Fast: a record holds hundreds of thousands.

Known annotations: dataclasses, `tuple[X, ...]`, `Mapping[str, X]`, `X | None`, enums of text; whatever else is left as
it is. What is the same for all instances of a class is found out once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import gc
import json
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Build: TypeAlias = "Callable[[Any], Any]"
LEAVES: frozenset[type] = frozenset({str, int, float, bool, type(None)})
"""Types of data that are plain already; an enum of text is a class of its own, and none of them."""
TEXT: frozenset[type] = frozenset({str})
SHALLOW = frozenset(f"{name}{more}" for name in ("str", "int", "float", "bool") for more in ("", " | None"))
"""Annotations, as written, of fields that hold nothing to look into."""


def to_plain(value: Any, later: frozenset[str] = frozenset()) -> Any:
    """Return `value` as JSON data: dataclasses and mappings as objects, tuples and lists as arrays.

    Args:
        value: Plain values, enums, dataclasses, mappings, lists and tuples, in one another.
        later: Fields that are left out where they have their default (None where they have none): by name, or by class
            and name as `Class.field` where other classes have a field of that name too.
    """
    kind: Any = type(value)
    if kind in LEAVES:
        return value
    if kind in {tuple, list} or isinstance(value, (tuple, list)):
        return list(value) if LEAVES.issuperset(map(type, value)) else [to_plain(inner, later) for inner in value]
    if kind is not dict and (fields := _fields(kind, later)) is not None:
        return fields.of(value)
    if isinstance(value, Mapping):
        flat = TEXT.issuperset(map(type, value)) and LEAVES.issuperset(map(type, value.values()))
        return dict(value) if flat else {str(name): to_plain(inner, later) for name, inner in value.items()}
    return value.value if isinstance(value, enum.Enum) else value


class _Fields:
    """What all instances of a dataclass have in common."""

    def __init__(self, kind: Any, later: frozenset[str]) -> None:
        fields = dataclasses.fields(kind)
        self.later = later
        self.names = tuple(field.name for field in fields)
        self.deep = tuple(field.name for field in fields if field.type not in SHALLOW)
        self.absent = tuple(
            (field.name, _blank(field))
            for field in fields if field.name in later or f"{kind.__name__}.{field.name}" in later
        )  # fmt: skip
        self.values: Callable[[Any], tuple[Any, ...]] = (
            operator.attrgetter(*self.names)
            if len(self.names) > 1
            else lambda value: tuple(getattr(value, name) for name in self.names)
        )

    def of(self, value: Any) -> dict[str, Any]:
        """Return one of them as JSON data."""
        found: dict[str, Any] = dict(zip(self.names, self.values(value), strict=True))
        for name in self.deep:
            inner = found[name]
            if type(inner) not in LEAVES:
                found[name] = to_plain(inner, self.later)
        for name, blank in self.absent:
            if found[name] == blank:
                del found[name]
        return found


def _blank(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field as JSON data."""
    if field.default_factory is not dataclasses.MISSING:
        return to_plain(field.default_factory())
    return None if field.default is dataclasses.MISSING else to_plain(field.default)


@functools.cache
def _fields(kind: type, later: frozenset[str]) -> _Fields | None:
    """Return what is known of a dataclass; None of anything else."""
    return _Fields(kind, later) if dataclasses.is_dataclass(kind) else None


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector of cycles away: it would walk over all of a record again and again, and find none in it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def as_read(data: Mapping[str, Any]) -> Any:
    """Return JSON data as it will be read back: halves of a surrogate pair, side by side, become one character.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    return json.loads(json.dumps(data, allow_nan=False))


def build(kind: Any, data: Any) -> Any:
    """Return `data`, as `to_plain` made it, as an instance of the annotation `kind`.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: it has another shape; besides, whatever the dataclasses raise.
    """
    make = _builder(kind)
    return data if make is None else make(data)


@functools.cache
def _builder(kind: Any) -> Build | None:
    """Return what makes an instance of the annotation `kind` from JSON data; None where the data is one already."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        inner = _builder(arguments[0])
        return None if inner is None else lambda data: None if data is None else inner(data)
    if origin is tuple:
        each = _builder(arguments[0])
        return tuple if each is None else lambda data: tuple(map(each, data))
    if origin is Mapping:
        return _mapping(_builder(arguments[1]))
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast("type", kind))
    return kind if isinstance(kind, type) and issubclass(kind, enum.Enum) else None


def _mapping(inner: Build | None) -> Build:
    if inner is None:
        return lambda data: dict(data.items())
    return lambda data: {name: inner(value) for name, value in data.items()}


def _dataclass(kind: type) -> Build:
    inner = {name: _builder(hint) for name, hint in typing.get_type_hints(kind).items()}

    def made(data: Any) -> Any:
        # A name that is no field is a KeyError here, and a field that is absent a TypeError of the class.
        return kind(**{
            name: value if (make := inner[name]) is None else make(value) for name, value in data.items()
        })  # fmt: skip

    return made
