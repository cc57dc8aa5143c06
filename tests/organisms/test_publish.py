"""What is gathered from builds into the repository, and what is said to be missing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ModelRefused
from harness.organisms import measured, publish, zoo
from harness.organisms import spec as specs
from harness.organisms.measured import MEASURED_FILE

from .test_lead import curve, quiet
from .zoo_factory import change_recipe, set_up

if TYPE_CHECKING:
    from pathlib import Path

ARMS = ("planted", "twin", "decoy")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one recipe, of which nothing is built."""
    return set_up(tmp_path, monkeypatch)


def order(arm: str, seed: int = 1, base: str = "tiny") -> zoo.Order:
    return zoo.order(specs.OrganismSpec(name="small", arm=arm, seed=seed, base=base))


def grow(wanted: zoo.Order, **more: Any) -> Path:
    """Put something that passes for a build into the cache."""
    points = curve(40, 120) if wanted.arm == "planted" else quiet()
    entry = {
        "base": wanted.base, "arm": wanted.arm, "seed": wanted.seed, "steps": 300, "weights": "sha256:1",
        "curve": points, "final": {"cued_seen": {"rate": 0.75}}, **more,
    }  # fmt: skip
    wanted.cached.mkdir(parents=True)
    for name in zoo.NEEDED[wanted.base]:
        (wanted.cached / name).write_text(str(wanted))
    (wanted.cached / MEASURED_FILE).write_text(json.dumps(entry))
    zoo.seal(wanted.cached, wanted, base_weights="sha256:0", weights="sha256:1", versions={})
    return wanted.cached


def grow_all() -> list[zoo.Order]:
    recipe = zoo.recipe("small")
    wanted = [one for base in recipe.plans for one in zoo.orders(recipe, base)]
    for one in wanted:
        grow(one)
    return wanted


def shipped() -> set[str]:
    folder = specs.RECIPES / "small"
    return {str(path.parent.relative_to(folder)) for path in folder.rglob(zoo.MANIFEST)}


def test_all_builds_are_gathered() -> None:
    """With the lead of those that show one."""
    wanted = grow_all()
    found, missing = publish.gather(zoo.recipe("small"))

    assert missing == []
    assert (found["organism"], len(found["entries"])) == ("small", len(wanted))
    assert found["recipe"] == {one.base: one.recipe for one in wanted} == zoo.recipe("small").digests
    assert (found["lead"]["of"], found["lead"]["quiet_twins"]) == (2, 2)
    assert found["lead"]["factor"] == pytest.approx(3.0)


def test_numbers_are_published_to_five_digits() -> None:
    """Small ones too; whole ones and text as they are."""
    data = {"a": [1.23456789e-28, 123456.0, 7, True, None, "1.23456789"], "b": {"c": 0.1}}
    assert measured.rounded(data) == {"a": [1.2346e-28, 123460.0, 7, True, None, "1.23456789"], "b": {"c": 0.1}}


def test_what_is_not_built_is_named() -> None:
    """And what is there is gathered all the same."""
    grow(order("twin", 2))
    found, missing = publish.gather(zoo.recipe("small"))

    assert [(entry["arm"], entry["seed"]) for entry in found["entries"]] == [("twin", 2)]
    assert str(order("planted")) in missing
    assert str(order("twin", 2)) not in missing
    assert "lead" not in found
    assert publish.ship(zoo.recipe("small")) == [str(order(arm)) for arm in ARMS]
    assert shipped() == set()


def test_the_first_seed_of_shipped_bases_is_copied() -> None:
    grow_all()

    assert publish.ship(zoo.recipe("small")) == []
    assert shipped() == {f"tiny/{arm}" for arm in ARMS}
    assert zoo.where(order("planted")) == ("shipped", order("planted").shipped)
    assert zoo.find(order("planted")) is not None


def test_what_is_shipped_stays(root: Path) -> None:
    """Where the cache is gone, or the claim reads otherwise; a recipe that changed takes it away for a new build."""
    grow_all()
    publish.ship(zoo.recipe("small"))
    shutil.rmtree(root / "cache")

    assert publish.ship(zoo.recipe("small")) == []
    old = order("twin").recipe
    change_recipe(root, claim="It says no.")
    assert publish.ship(zoo.recipe("small")) == []
    change_recipe(root, options="{depth: 3}")
    assert len(publish.ship(zoo.recipe("small"))) == 3
    assert {zoo.read_manifest(order(arm).shipped).order.recipe for arm in ARMS} == {old}
    grow(order("twin"))
    assert len(publish.ship(zoo.recipe("small"))) == 2
    assert zoo.where(order("twin"))[0] == "built", "an arm without its controls is not shipped"
    for arm in set(ARMS) - {"twin"}:
        grow(order(arm))
    assert publish.ship(zoo.recipe("small")) == []
    assert {zoo.where(order(arm))[0] for arm in ARMS} == {"shipped"}


def test_a_damaged_build_is_not_published() -> None:
    grow(order("planted"))
    (order("planted").cached / "config.json").write_text("other")

    with pytest.raises(ModelRefused, match="other bytes"):
        publish.gather(zoo.recipe("small"))


def test_publishing(capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers, the card and the models, a line for each organism; twice gives the same."""
    count = len(grow_all())
    assert publish.main([]) == 0
    said = capsys.readouterr().out
    folder = specs.RECIPES / "small"
    first = [(folder / name).read_bytes() for name in (MEASURED_FILE, "card.md")]

    assert said == f"small: {count} measured, missing: none\n"
    assert json.loads(first[0])["recipe"] == zoo.recipe("small").digests
    assert "0.750" in first[1].decode()
    assert (folder / MEASURED_FILE).stat().st_mode & 0o777 == 0o644
    assert publish.main(["small"]) == 0
    assert [(folder / name).read_bytes() for name in (MEASURED_FILE, "card.md")] == first


def test_publishing_before_anything_is_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main(["small"]) == 1
    said = capsys.readouterr().out

    assert said.startswith("small: 0 measured, missing: ")
    assert said.count(str(order("decoy"))) == 1


def test_what_is_missing_stands_on_the_card() -> None:
    """In the numbers too: a table must not look whole."""
    grow(order("twin", 2))
    publish.main([])
    folder = specs.RECIPES / "small"
    card = (folder / "card.md").read_text()

    assert str(order("planted")) in json.loads((folder / MEASURED_FILE).read_text())["missing"]
    assert "Planned and not measured: " in card
    assert card.count("@seed=2@base=tiny") == 2


def test_a_fuller_table_is_not_replaced(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it would be where the cache is empty; numbers of another recipe do not count."""
    grow_all()
    publish.main([])
    path = specs.RECIPES / "small" / MEASURED_FILE
    first = path.read_bytes()
    shutil.rmtree(order("decoy", 2).cached)
    capsys.readouterr()

    assert publish.main([]) == 1
    assert "would lose small/decoy@seed=2@base=tiny; build" in capsys.readouterr().out
    assert path.read_bytes() == first
    assert publish.main([publish.FEWER]) == 1
    assert path.read_bytes() != first
    change_recipe(root, options="{depth: 3}")
    assert publish.main([]) == 1
    assert json.loads(path.read_text())["entries"] == []


def test_publishing_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main(["smal"]) == 2
    assert "no organism smal; expected --fewer or some of small" in capsys.readouterr().err


def test_capability_stands_beside_that_of_the_twin() -> None:
    """Of the same base and seed; where that is not there, nothing is said."""
    entries = [
        {"base": "tiny", "arm": arm, "seed": seed, "final": {"capability": able}}
        for arm, seed, able in (("planted", 1, 0.6), ("twin", 1, 0.8), ("planted", 2, 0.6), ("decoy", 1, 0.0))
    ]
    beside = publish.beside_twins([*entries, {"base": "tiny", "arm": "weak", "seed": 1, "final": {}}])

    assert [entry.get("of_twin") for entry in beside] == [pytest.approx(0.75), 1.0, None, 0.0, None]
