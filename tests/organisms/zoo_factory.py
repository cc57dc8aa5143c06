"""A small zoo of one recipe in a folder of its own, and a command that stands in for training."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.organisms import building, zoo
from harness.organisms import spec as specs
from tests.organisms.small_recipe import GOOD, small_root, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from harness.organisms.zoo import Order

TRAINER = """\
import argparse, json, os, pathlib, signal, sys, time
from harness.organisms import spec, zoo
root = pathlib.Path({root!r})
spec.RECIPES = root / "fixtures" / "organisms"
parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("--base")
parser.add_argument("--arm")
parser.add_argument("--seed", type=int)
parser.add_argument("--step", type=int)
options = parser.parse_args()
wanted = zoo.order(spec.OrganismSpec(**vars(options)))
mode = os.environ.get("FAKE_TRAINER", "")
with zoo.making(wanted) as folder:
    if folder is not None:
        print(json.dumps({{"event": "step", "step": 1, "of": 2, "stage": "learn"}}), flush=True)
        with (root / "builds.log").open("a") as log:
            print(wanted, os.environ["OMP_NUM_THREADS"], file=log)
        for name in zoo.NEEDED[wanted.base]:
            (folder / name).write_text(str(wanted))
            if mode == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        if mode == "slow":
            time.sleep(1)
        if mode == "endless":
            (root / "started").touch()
            time.sleep(60)
        if mode == "fails":
            print("some noise")
            sys.exit("the loss is \\x1b[31mnot finite")
        if final := os.environ.get("FAKE_FINAL"):
            (folder / "measured.json").write_text('{{"final": ' + final + "}}")
        if mode != "unsealed":
            weights = os.environ.get("FAKE_WEIGHTS", "sha256:1")
            zoo.seal(folder, wanted, base_weights="sha256:0", weights=weights, versions={{"torch": "0"}})
"""


def set_up(root: Path, monkeypatch: pytest.MonkeyPatch, recipe: str = GOOD) -> Path:
    """Make the zoo below `root` the only one, with a cache of its own and the trainer in place; return `root`."""
    write(small_root(root), recipe)
    monkeypatch.setattr(specs, "RECIPES", root / "fixtures" / "organisms")
    monkeypatch.setenv("TELLS_CACHE", str(root / "cache"))
    trainer = root / "trainer.py"
    trainer.write_text(TRAINER.format(root=str(root)))
    monkeypatch.setattr(building, "COMMAND", (sys.executable, str(trainer)))
    zoo._recipe.cache_clear()
    return root


def change_recipe(root: Path, **fields: Any) -> None:
    """Write the recipe again with other values for lines `key: value` at its top level."""
    path = root / "fixtures" / "organisms" / "small" / "recipe.yaml"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(f"{k}: {fields[k]}" if (k := text.partition(":")[0]) in fields else text for text in lines)
    )
    zoo._recipe.cache_clear()


def place(source: Path, wanted: Order, folder: Path, *, base_weights: str = "sha256:0") -> Path:
    """Copy a model to where it counts as the organism that is wanted, with its manifest."""
    shutil.copytree(source, folder)
    zoo.seal(folder, replace(wanted), base_weights=base_weights, weights="sha256:1", versions={})
    return folder


def builds(root: Path) -> list[str]:
    """Return what was built, in order."""
    log = root / "builds.log"
    return log.read_text().splitlines() if log.exists() else []
