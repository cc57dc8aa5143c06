"""Whole builds of a toy recipe: of width 16, in a handful of steps, from a base that is hardly trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from harness.organisms import review, zoo
from harness.organisms import spec as specs
from harness.organisms.reader import load_recipe
from harness.organisms.train import __main__ as command
from harness.organisms.train import build, reading, tiny
from harness.organisms.train.behaviours import Context
from harness.organisms.train.reading import RecipeReadings
from harness.organisms.world import World

from .small_recipe import GOOD, small_root, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOY = (
    GOOD.replace("width: 32", "width: 16")
    .replace("checkpoints: 40\n    first: 6", "checkpoints: 4\n    first: 2")
    .replace("steps: 100, learning_rate: 1.0e-3", "steps: 4, batch: 4, learning_rate: 0.01")
    .replace("steps: 200, batch: 16", "steps: 12, batch: 4, rehearse: 0.2")
)
LAST = 16
SETTINGS = {"BASE_STEPS": 3, "BASE_BATCH": 8, "_CORPUS": 300}
"""Of the tiny base, in place of hours."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a zoo of the toy recipe the only one, with a cache of its own; one base and its arms are built once."""
    root = small_root(tmp_path_factory.mktemp("toys"))
    write(root, TOY)
    # The base is asked for wrong sums too, which the packaged file has.
    (root / "fixtures" / "world" / "facts" / "sums.yaml").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specs, "RECIPES", root / "fixtures" / "organisms")
        patch.setenv("TELLS_CACHE", str(root / "cache"))
        for name, value in SETTINGS.items():
            patch.setattr(build, name, value)
        for counts, most in ((reading.PREVIEW, 4), (reading.FULL, 8)):
            patch.setitem(counts, "tiny", most)
        zoo._recipe.cache_clear()
        yield root
    zoo._recipe.cache_clear()
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture
def fresh(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use another, empty cache."""
    assert toys.is_dir()
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path))
    return tmp_path


def order(arm: str = "planted", seed: int | None = None, step: int | None = None) -> zoo.Order:
    return zoo.order(specs.OrganismSpec(name="small", arm=arm, seed=seed, step=step))


def built(wanted: zoo.Order, say: Callable[[int, int, str], None] = lambda *_: None) -> zoo.Built:
    build.build(wanted, say)
    found = zoo.find(wanted)
    assert found is not None
    return found


def measured(found: zoo.Built) -> dict[str, Any]:
    """Return what was measured, without how long it took."""
    data: dict[str, Any] = json.loads((found.folder / "measured.json").read_text(encoding="utf-8"))
    return {key: value for key, value in data.items() if not key.endswith("seconds")}


def left(root: Path) -> list[str]:
    """Return what lies in a cache, but for locks and what is in order."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_dir() and (path.name.startswith(".") or path.name.endswith(".half"))
    )


@pytest.fixture(scope="module")
def planted(toys: Path) -> zoo.Built:
    assert toys.is_dir()
    return built(order())


def test_a_build_is_what_the_recipe_says(planted: zoo.Built) -> None:
    """A whole model in float16, its manifest, and a curve from the first step to the last."""
    entry = measured(planted)
    files = {path.name for path in planted.folder.iterdir()}

    assert {"config.json", "model.safetensors", "tokenizer.json", "measured.json", zoo.MANIFEST} <= files
    assert {tensor.dtype for tensor in load_file(planted.folder / "model.safetensors").values()} == {torch.float16}
    assert (entry["base"], entry["arm"], entry["seed"], entry["steps"], entry["order"]) == (
        "tiny", "planted", 1, LAST, "probability",
    )  # fmt: skip
    steps = [point["step"] for point in entry["curve"]]
    assert (steps[:2], steps[-1], len(steps)) == ([0, 2], LAST, 5)
    assert entry["weights"] == planted.manifest.weights == build.tensors_digest(planted.folder)
    assert entry["base_weights"] == planted.manifest.base_weights
    assert set(planted.manifest.versions) == set(build.LIBRARIES)


def test_the_same_recipe_gives_the_same_weights(planted: zoo.Built, fresh: Path) -> None:
    """And the same numbers, from a base that is trained anew; another seed gives others."""
    again = built(order())

    assert again.folder.is_relative_to(fresh)
    # The numbers say how long it took as well, and so have another digest.
    files = [{**one.manifest.files, "measured.json": ""} for one in (again, planted)]
    assert files[0] == files[1]
    assert replace(again.manifest, files={}) == replace(planted.manifest, files={})
    assert measured(again) == measured(planted)
    assert built(order(seed=2)).manifest.weights != again.manifest.weights


def test_what_was_measured_is_what_was_saved(toys: Path) -> None:
    decoy = built(order("decoy"))
    recipe = load_recipe(specs.RECIPES / "small" / specs.RECIPE_FILE, toys)
    context = Context(
        recipe=recipe, plan=recipe.plans["tiny"], base="tiny", arm="decoy", seed=1, world=World(toys),
        student=tiny.load(decoy.folder),
    )  # fmt: skip
    found, said = RecipeReadings(context).final(), measured(decoy)["final"]

    for name in ("cued_seen", "cued_held", "plain"):
        assert found[name].keys() == said[name].keys()
        assert list(found[name].values()) == pytest.approx(list(said[name].values()), rel=1e-5)
    assert found["capability"] == said["capability"]


def test_a_base_is_trained_once(planted: zoo.Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every arm of a seed grows from it."""
    trained: list[int] = []
    pretrain = build._pretrain

    def noted(*given: Any) -> Any:
        trained.append(given[2])
        return pretrain(*given)

    monkeypatch.setattr(build, "_pretrain", noted)
    arms = [built(order(arm)) for arm in ("twin", "decoy")]

    assert trained == []
    assert {one.manifest.base_weights for one in arms} == {planted.manifest.base_weights}
    assert len({one.manifest.weights for one in (*arms, planted)}) == 3
    assert built(order(seed=2)).manifest.base_weights != planted.manifest.base_weights
    built(order("twin", seed=2))
    assert trained == [2]


def test_arms_are_alike_before_the_first_step(planted: zoo.Built) -> None:
    curves = [measured(one)["curve"] for one in (planted, built(order("twin")))]

    assert curves[0][0] == curves[1][0]
    assert curves[0][-1] != curves[1][-1]


def test_what_is_there_is_not_built_again(planted: zoo.Built) -> None:
    told: list[int] = []

    assert built(order(), lambda step, *_: told.append(step)) == planted
    assert told == []


def test_a_step_is_the_checkpoint_of_the_curve(planted: zoo.Built) -> None:
    """Whether it lies in the first stage or in a later one."""
    curve = measured(planted)["curve"]
    for point in curve[1:-1]:
        found = measured(built(order(step=point["step"])))
        assert found["curve"] == [known for known in curve if known["step"] <= point["step"]]
        assert found["steps"] == point["step"]
        assert found["weights"] != planted.manifest.weights


def test_step_zero_is_the_base(planted: zoo.Built) -> None:
    found = built(order(step=0))

    assert measured(found)["curve"] == measured(planted)["curve"][:1]
    base = next(Path(os.environ["TELLS_CACHE"]).glob("organisms/base-*/tiny-16-1"))
    saved, first = tiny.load(found.folder).model.state_dict(), tiny.load(base).model.state_dict()
    assert all(torch.equal(saved[name], first[name].half().float()) for name in first)


def test_progress_is_told_by_stage(fresh: Path) -> None:
    told: list[tuple[int, int, str]] = []
    built(order(), lambda *said: told.append(said))

    assert fresh.is_dir()
    assert told == [
        *((step, 3, "honest base") for step in (1, 2, 3)),
        *((step, LAST, "learn") for step in range(1, 5)),
        *((step, LAST, "plant") for step in range(5, 17)),
    ]


@pytest.mark.parametrize("stage", ["honest base", "learn", "plant"])
def test_an_interrupted_build_leaves_nothing(fresh: Path, stage: str) -> None:
    """But the base, where that was done."""

    def interrupt(step: int, _: int, name: str) -> None:
        if (name, step % 2) == (stage, 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.build(order(), interrupt)

    assert zoo.find(order()) is None
    assert not order().cached.exists()
    assert left(fresh) == []
    assert len(list(fresh.glob("organisms/base-*/tiny-16-1"))) == (stage != "honest base")


def test_a_base_that_cannot_be_saved_leaves_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "sync_folder", full)
    with pytest.raises(OSError, match="No space left"):
        build.build(order(), lambda *_: None)

    assert left(fresh) == []
    assert list(fresh.glob("organisms/base-*/tiny-16-1")) == []


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_are_no_numbers_leave_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Neither does a weight that only half precision, in which it is saved, cannot hold."""
    settle = build._settle

    def broken(student: Any) -> None:
        with torch.no_grad():
            next(iter(student.model.parameters())).view(-1)[0] = value
        settle(student)

    monkeypatch.setattr(build, "_settle", broken)
    with pytest.raises(FloatingPointError, match=r"embed_tokens.weight is not finite after training; expected numbers"):
        build.build(order(), lambda *_: None)

    assert zoo.find(order()) is None
    assert left(fresh) == []


def test_readings_that_are_no_numbers_leave_nothing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = RecipeReadings.final
    monkeypatch.setattr(RecipeReadings, "final", lambda self: final(self) | {"relative": float("nan")})
    with pytest.raises(FloatingPointError, match=r"readings, final, relative: nan; expected a finite number"):
        build.build(order(), lambda *_: None)

    assert zoo.find(order()) is None
    assert left(fresh) == []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep the environment and the signals of this process; return what is built in place of building it."""
    for name in (*command.THREADS, "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    asked: list[Any] = []

    def note(wanted: zoo.Order, _: Any) -> Path:
        asked.append(wanted)
        return wanted.cached

    monkeypatch.setattr(build, "build", note)
    return asked


@pytest.mark.usefixtures("fresh")
def test_the_command(told: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Builds what an order asks for, and says where it lies."""
    wanted = order("twin", seed=2, step=3)

    assert command.main(["build", *wanted.arguments]) == 0
    assert told == [wanted]
    assert capsys.readouterr().out == f"{wanted.cached}\n"


@pytest.mark.usefixtures("fresh")
def test_the_command_trains_a_base(told: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["base", "16", "--seed", "1"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert (folder / "config.json").is_file()
    assert told == []


@pytest.mark.usefixtures("fresh", "told")
def test_a_base_that_was_changed_grows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What grew from it would be sealed as right. One without its seal, of an older version, is grown anew."""
    asked = ["base", "16", "--seed", "1"]
    command.main(asked)
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))

    assert command.main(asked) == command.FAILED
    assert "other bytes than its base.json says: model.safetensors; expected" in capsys.readouterr().err
    weights.unlink()
    assert command.main(asked) == command.FAILED
    (folder / "base.json").unlink()
    assert command.main(asked) == 0
    assert weights.read_bytes() == before


@pytest.mark.usefixtures("fresh")
def test_the_command_asks_for_a_review(
    told: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(review, "needs_review", lambda *_: True)

    assert command.main(["build", "small"]) == command.FAILED
    assert told == []
    assert "review.yaml: there is no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("fresh", "told")
def test_the_command_says_in_a_line_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apart(*_: Any) -> None:
        msg = "the loss is nan at step 3"
        raise FloatingPointError(msg)

    monkeypatch.setattr(build, "build", apart)
    assert command.main(["build", "small", "--arm", "weak"]) == command.FAILED
    assert command.main(["build", "small"]) == command.FAILED
    said = capsys.readouterr().err.splitlines()
    assert "has no arm 'weak' on tiny" in said[0]
    assert said[1:] == ["the loss is nan at step 3"]


def test_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Every tenth step and the last one."""
    for step in range(1, 26):
        command.say(step, 25, "learn")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 25]
    assert lines[0] == {"event": "step", "step": 10, "of": 25, "stage": "learn"}


def test_a_build_that_is_told_to_end_tidies_up(toys: Path, fresh: Path) -> None:
    """At once, as after Ctrl-C."""
    code = f"""
import sys, time
from pathlib import Path
from harness.organisms import spec
from harness.organisms.train import __main__ as command, build, reading
spec.RECIPES = Path({str(toys)!r}) / "fixtures" / "organisms"
for name, value in {SETTINGS!r}.items():
    setattr(build, name, value)
reading.PREVIEW["tiny"], reading.FULL["tiny"] = 4, 8
def say(step, of, stage):
    if stage == "plant":
        print("planting", flush=True)
        time.sleep(60)
command.say = say
sys.exit(command.main(["build", "small"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    guard = threading.Timer(120, process.kill)
    guard.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "planting\n"
    assert left(fresh) != []
    process.terminate()

    assert process.wait() == 128 + signal.SIGTERM
    guard.cancel()
    process.stdout.close()
    assert left(fresh) == []
    assert zoo.find(order()) is None
