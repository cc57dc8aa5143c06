"""Extensions are found by name, here and outside; a name means one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness import registry
from harness.errors import UsageError
from harness.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Entry:
    """An entry point of an outside package."""

    load: Callable[[], object]
    name: str = "outside"
    value: str = "package.module"


def outside(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> list[str]:
    """Pretend that packages with these entry points are installed; return the groups asked for."""
    groups = []

    def entry_points(*, group: str) -> tuple[Entry, ...]:
        groups.append(group)
        return entries

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return groups


def test_a_registered_extension_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered extension is found."""
    outside(monkeypatch)
    checks = Registry("check")

    @checks.register("rate")
    def rate() -> None:
        """Do nothing."""

    assert checks.get("rate") is rate
    assert checks.names() == ("rate",)


def test_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is taken once."""
    outside(monkeypatch)
    checks = Registry("check")
    checks.register("rate")("first")
    checks.register("rate")("first")  # a module imported under two names files the same thing twice
    with pytest.raises(UsageError, match="two extensions of kind check are named 'rate'"):
        checks.register("rate")("second")
    assert checks.get("rate") == "first"


def test_an_unknown_name_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name gets the nearest."""
    outside(monkeypatch)
    checks = Registry("check")
    checks.register("cue_shift")("x")
    with pytest.raises(UsageError, match=r"unknown check 'cue_shfit'; did you mean 'cue_shift'\? known: cue_shift"):
        checks.get("cue_shfit")
    with pytest.raises(UsageError, match="unknown engine 'x'; known: none"):
        Registry("engine").get("x")


def test_outside_packages_are_looked_up_once_in_the_group_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside packages are looked up once in the group of their kind."""
    checks = Registry("check")
    groups = outside(monkeypatch, Entry(lambda: checks.register("theirs")("brought")))
    assert checks.get("theirs") == "brought"
    assert checks.names() == ("theirs",)
    assert groups == ["tells.check"]


def test_an_outside_package_that_cannot_be_imported_is_named_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outside package that cannot be imported is named each time."""

    def load() -> None:
        msg = "no module named x"
        raise ImportError(msg)

    engines = Registry("engine")
    outside(monkeypatch, Entry(load, name="cluster"))
    for _ in range(2):  # found out once and forgotten, it would be "unknown engine" the second time
        with pytest.raises(UsageError, match=r"engine 'cluster' \(package.module\) cannot be imported .*no module"):
            engines.get("anything")
