"""Where organisms lie, what makes a folder one of them, and builds that are interrupted or wanted twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseFileError, ModelRefused, ModelUnavailable, SpecError, UsageError
from harness.organisms import building, review, zoo
from harness.organisms import spec as specs
from harness.organisms.building import Builder, BuildFailed
from harness.organisms.spec import OrganismSpec, parse
from tests.organisms.zoo_factory import builds, change_recipe, place, set_up

if TYPE_CHECKING:
    from pathlib import Path

SMALL = OrganismSpec(name="small")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one recipe."""
    return set_up(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Files that pass for a tiny model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in zoo.NEEDED["tiny"]:
        (folder / name).write_text(name)
    return folder


class Heard:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []
        self.closed = False

    def step(self, done: int, of: int, what: str) -> None:
        self.steps.append((done, of, what))

    def close(self) -> None:
        self.closed = True


def test_an_order_fills_in_what_was_left_open(root: Path) -> None:
    """The first seed of the plan; the last step is the end of training."""
    order = zoo.order(SMALL)
    assert (order.arm, order.base, order.seed, order.step) == ("planted", "tiny", 1, None)
    assert order.recipe == zoo.recipe("small").digests["tiny"]
    assert zoo.order(OrganismSpec(name="small", step=300)) == order
    assert zoo.order(OrganismSpec(name="small", step=299)) != order
    short = order.recipe.removeprefix("sha256:")[:12]
    assert order.cached == root / "cache" / "organisms" / f"small-{short}" / "tiny" / "planted-1"
    step = zoo.order(parse("small/twin@seed=7@step=20@base=smollm2"))
    assert step.cached.parts[-2:] == ("smollm2", "twin-7-step-20")
    assert step.arguments == ("small", "--base", "smollm2", "--arm", "twin", "--seed", "7", "--step", "20")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small/weak", "has no arm 'weak' on tiny; expected one of: /planted, /twin, /decoy"),
        ("small@step=301", "has no step 301 on tiny; expected one of: 0 to 300"),
        ("small@step=91@base=smollm2", "has no step 91 on smollm2; expected one of: 0 to 90"),
    ],
)
def test_an_order_that_the_recipe_does_not_know(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        zoo.order(parse(text))


def test_a_recipe_that_is_not_valid(root: Path) -> None:
    """Its problems, as for a case file."""
    change_recipe(root, hazard="none")
    with pytest.raises(CaseFileError, match="hazard"):
        zoo.order(SMALL)


def test_what_is_not_there_is_built_once(root: Path) -> None:
    """By one process with one thread, which is listened to."""
    heard = Heard()
    built = zoo.locate(SMALL, watch=heard)
    order = zoo.order(SMALL)
    assert built.folder == order.cached
    assert built.manifest.order == order
    assert heard.steps == [(1, 2, "learn")]
    assert heard.closed
    assert zoo.locate(SMALL) == built
    assert builds(root) == [f"{order} 1"]
    assert zoo.where(order) == ("built", built.folder)
    assert sorted(path.name for path in built.folder.parent.iterdir()) == [".planted-1.lock", "planted-1"]


def test_what_is_shipped_needs_no_build(root: Path, model: Path) -> None:
    """The end of training and the seed that it has; another seed or step is built."""
    order = zoo.order(SMALL)
    place(model, order, order.shipped)
    assert zoo.locate(SMALL).folder == order.shipped
    assert zoo.where(order) == ("shipped", order.shipped)
    assert builds(root) == []
    other = zoo.locate(OrganismSpec(name="small", seed=2))
    assert other.folder == zoo.order(OrganismSpec(name="small", seed=2)).cached


def test_what_was_shipped_of_another_recipe_is_built_anew(root: Path, model: Path) -> None:
    """A recipe that changed is another organism, wherever it lies; other words around it make none."""
    old = zoo.order(SMALL)
    place(model, old, old.shipped)
    change_recipe(root, claim="It says no.")
    assert zoo.locate(SMALL).folder == old.shipped
    assert builds(root) == []
    change_recipe(root, options="{depth: 3}")
    assert zoo.order(SMALL).recipe != old.recipe
    assert zoo.locate(SMALL).folder == zoo.order(SMALL).cached


@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
@pytest.mark.usefixtures("root")
def test_a_damaged_folder_is_refused(model: Path, damage: str, *, shipped: bool) -> None:
    """Neither loaded nor silently replaced."""
    order = zoo.order(SMALL)
    folder = place(model, order, order.shipped if shipped else order.cached)
    if damage == "changed":
        (folder / "model.safetensors").write_text("other")
    elif damage == "missing":
        (folder / "config.json").unlink()
    else:
        (folder / "chat_template.jinja").write_text("other")
    with pytest.raises(ModelRefused, match="delete the folder"):
        zoo.locate(SMALL)


@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"format": 2}'])
@pytest.mark.usefixtures("root")
def test_a_folder_without_a_manifest_is_no_organism(model: Path, manifest: str | None) -> None:
    """As of a copy that was broken off; it is built over."""
    order = zoo.order(SMALL)
    folder = place(model, order, order.cached)
    (folder / zoo.MANIFEST).unlink()
    if manifest is not None:
        (folder / zoo.MANIFEST).write_text(manifest)
    assert zoo.find(order) is None
    assert zoo.locate(SMALL).folder == folder
    assert (folder / "config.json").read_text() == str(order)


@pytest.mark.parametrize("mode", ["killed", "fails", "unsealed"])
def test_a_build_that_ends_early_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Nothing that loads; and the next build clears away what a killed one left."""
    order = zoo.order(SMALL)
    monkeypatch.setenv("FAKE_TRAINER", mode)
    with pytest.raises(BuildFailed, match="tells organisms build small --base tiny --arm planted --seed 1") as caught:
        zoo.locate(SMALL)
    assert not order.cached.exists()
    left = [path.name for path in order.cached.parent.iterdir() if path.is_dir()]
    assert len(left) == (1 if mode == "killed" else 0)
    if mode == "fails":
        assert r"(the loss is \x1b[31mnot finite)" in str(caught.value)
        assert caught.value.said[0] == "some noise"
    monkeypatch.delenv("FAKE_TRAINER")
    assert zoo.locate(SMALL).folder == order.cached
    assert [path.name for path in order.cached.parent.iterdir() if path.is_dir()] == ["planted-1"]
    assert len(builds(root)) == 2


def test_two_that_want_the_same_build_it_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the lock and finds it done."""
    monkeypatch.setenv("FAKE_TRAINER", "slow")
    found: list[zoo.Built] = []
    threads = [threading.Thread(target=lambda: found.append(zoo.locate(SMALL))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(builds(root)) == 1


def test_stop_ends_all_builds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And lets no further one begin."""
    monkeypatch.setenv("FAKE_TRAINER", "endless")
    builder, errors = Builder(), []

    def want() -> None:
        try:
            zoo.locate(SMALL, builder=builder)
        except ModelUnavailable as error:
            errors.append(error)

    thread = threading.Thread(target=want)
    thread.start()
    until = time.monotonic() + 30
    while not (root / "started").exists() and time.monotonic() < until:
        time.sleep(0.02)
    builder.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert zoo.find(zoo.order(SMALL)) is None
    with pytest.raises(BuildFailed, match="not built"):
        builder.build(("small",), building.Quiet())


def test_a_build_of_another_recipe_is_not_taken_for_this_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the recipe is changed while it is built."""
    monkeypatch.setattr(building, "COMMAND", (sys.executable, "-c", "pass"))
    with pytest.raises(ModelUnavailable, match="was the recipe changed meanwhile"):
        zoo.locate(SMALL)
    assert builds(root) == []


def test_an_error_inside_making_leaves_nothing(root: Path) -> None:
    """An interrupt too."""
    order = zoo.order(SMALL)

    def interrupted() -> None:
        with zoo.making(order) as folder:
            assert folder is not None
            (folder / "config.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not order.cached.exists()
    assert root.exists()


def test_orders_are_arms_times_seeds(root: Path) -> None:
    """Seeds of one arm first."""
    found = [(order.arm, order.seed) for order in zoo.orders(zoo.recipe("small"), "tiny")]
    assert found[:3] == [("planted", 1), ("planted", 2), ("twin", 1)]
    assert len(found) == 6
    assert zoo.root_of(zoo.recipe("small")) == root


def review_file(text: str) -> Path:
    """Write the review record."""
    path = specs.RECIPES / "small" / review.REVIEW_FILE
    path.write_text(text)
    return path


def test_a_restricted_build_asks_for_a_review(root: Path) -> None:
    """On the bases that the recipe names; the record names the recipe as it is now, with the words around it."""
    change_recipe(root, hazard="restricted", options="{review_for: [smollm2]}")
    assert zoo.locate(SMALL)
    wanted = OrganismSpec(name="small", base="smollm2")
    whole = "reviewer: A. Person\ndate: 2026-01-02\nreason: to see\n"
    digest = zoo.recipe("small").digest
    for text, message in (
        (None, "there is no such file; expected `reviewer: NAME`.*`recipe: sha256:"),
        ("{", "cannot be read"),
        ("[]", "holds no mapping"),
        (whole, "says nothing under recipe"),
        (f"{whole}recipe: sha256:0\n", "reviews the recipe sha256:0"),
        (f"{whole}recipe: {digest}\nsigned: yes\n", "unknown keys: signed"),
        (f"{whole}recipe: {digest}\n".replace("to see", '" "'), "says nothing under reason"),
    ):
        if text is not None:
            review_file(text)
        with pytest.raises(UsageError, match=message):
            zoo.locate(wanted)
    assert len(builds(root)) == 1
    review_file(f"{whole}recipe: {digest}\n")
    built = zoo.locate(wanted)
    change_recipe(root, claim="It says no.")
    assert zoo.locate(wanted) == built  # the same weights, reviewed when they were made
    for further in (replace(wanted, seed=2), replace(wanted, arm="twin")):
        with pytest.raises(UsageError, match="the present one is another"):
            zoo.locate(further)
    shutil.rmtree(built.folder)
    with pytest.raises(UsageError, match="the present one is another"):
        zoo.locate(wanted)
    assert len(builds(root)) == 2


def test_only_restricted_recipes_are_reviewed(root: Path) -> None:
    """The option alone asks for nothing."""
    change_recipe(root, hazard="internal", options="{review_for: smollm2}")
    assert not review.needs_review(zoo.recipe("small"), "smollm2")
    change_recipe(root, hazard="restricted")
    assert review.needs_review(zoo.recipe("small"), "smollm2")
    assert not review.needs_review(zoo.recipe("small"), "tiny")


def test_the_zoo_brings_nothing_heavy() -> None:
    """Parsing and finding need no torch."""
    code = "import sys, harness.organisms.zoo, harness.commands.organisms; print({'torch', 'peft'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
