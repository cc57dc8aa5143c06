# ruff: noqa: PLC0415 - torch and transformers are slow to import and not every test needs them
"""What is learnt, that it is the same each time, and that nothing broken becomes a series."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import open_engine
from harness.engines.transformers.source import folder_digests
from harness.errors import TellsError, UsageError
from harness.organisms.building import Quiet
from harness.request import Loglikelihood, Scores
from harness.tuning import saving
from harness.tuning.recipe import Training, load_tuning
from harness.tuning.rows import Example, taught_rows
from tests.tiny_models import build_tiny, edit_config

from .conftest import write

if TYPE_CHECKING:
    from pathlib import Path

    from harness.tuning.train import Pupil
    from harness.tuning.tune import Tuned

EXAMPLES = (
    Example(ids=(1, 40, 41, 42, 43, 2), prompt=3, end=1),
    Example(ids=(1, 50, 51, 52, 53, 54, 55, 2), prompt=6, end=1),
    Example(ids=(1, 60, 61), prompt=1, end=0),
)


def run(model: Path, root: Path, out: str = "out", *, seed: int = 0, watch: Any = None, **given: Any) -> Tuned:
    """Tune a model on the small file."""
    from harness.tuning.tune import tune

    tuning = load_tuning(write(root), root)
    training = tuning.settings(**given)
    return tune(str(model), tuning, training, root / out, seed=seed, device="cpu", watch=watch or Quiet())


def pupil_of(folder: Path, rank: int = 2) -> Pupil:
    from harness.tuning.opening import open_model
    from harness.tuning.train import open_pupil

    return open_pupil(open_model(str(folder), "cpu"), device="cpu", rank=rank)


def by_hand(model: Any, example: Example) -> list[float]:
    """Return the log-probs of an answer's tokens from the whole row's logits."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([example.ids])).logits[0].double().log_softmax(-1)
    return [float(logits[place - 1, example.ids[place]]) for place in range(example.prompt, len(example.ids))]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_loss_is_the_mean_over_the_answers_tokens(tiny: Path) -> None:
    """Against the model of transformers itself, one row at a time, without padding."""
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(tiny).eval()
    said = [by_hand(stock, example) for example in EXAMPLES]
    pupil = pupil_of(tiny)

    flat = [number for row in said for number in row]
    assert len(flat) == 3 + 2 + 2
    assert pupil.loss(EXAMPLES).item() == pytest.approx(-sum(flat) / len(flat), abs=1e-5)
    assert pupil.losses == [pytest.approx(-sum(flat) / len(flat), abs=1e-5)]
    without_ends = [row[: len(row) - example.end] for row, example in zip(said, EXAMPLES, strict=True)]
    wanted = sum(map(sum, without_ends)) / 3
    assert [pupil.mean_logprob(EXAMPLES, size) for size in (1, 2, 8)] == [pytest.approx(wanted, abs=1e-5)] * 3


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "mixtral"])
def test_other_architectures_learn_too(tmp_path: Path, architecture: str) -> None:
    """Transposed weights, capped logits, experts: the loss is the model's own, and what is written is what was read."""
    from transformers import AutoModelForCausalLM

    folder = build_tiny(tmp_path / architecture, architecture)
    stock = AutoModelForCausalLM.from_pretrained(folder).eval()
    flat = [number for example in EXAMPLES for number in by_hand(stock, example)]
    assert pupil_of(folder).loss(EXAMPLES).item() == pytest.approx(-sum(flat) / len(flat), abs=1e-4)

    found = run(folder, tmp_path, steps=2, at=(0, 2), lr=0.02)
    assert found.curve[1].trained > found.curve[0].trained
    for reading in found.curve:
        assert reread(tmp_path, tmp_path / "out" / f"step-{reading.step}") == pytest.approx(reading.trained, abs=2e-3)


def reread(root: Path, model: Path) -> float:
    """Return the mean log-probability of the trained answers as the engine scores them."""
    rows = taught_rows(load_tuning(write(root), root)).trained
    engine = open_engine(str(model), device="cpu")
    try:
        answers = engine.answer([Loglikelihood(messages=row.messages, continuations=(row.answer,)) for row in rows])
    finally:
        engine.close()
    assert all(isinstance(answer, Scores) for answer in answers), answers
    return sum(answer.continuations[0].logprob for answer in answers if isinstance(answer, Scores)) / len(rows)


def test_only_the_adapter_learns_and_its_product_is_zero_at_first(tiny: Path) -> None:
    pupil = pupil_of(tiny, rank=3)
    learning = [name for name, weight in pupil.wrapper.named_parameters() if weight.requires_grad]

    assert len(learning) == 2 * len(pupil.layers) == 2 * 7 * 2, "seven linear maps in each of two layers, two factors"
    assert all(".lora_A." in name or ".lora_B." in name for name in learning)
    assert not any(layer.get_delta_weight("default").any() for layer in pupil.layers)
    assert {layer.r["default"] for layer in pupil.layers} == {3}


@pytest.mark.filterwarnings("ignore:Could not find a config file")
def test_an_adapter_that_comes_with_the_model_is_merged_first(tiny: Path, tmp_path: Path) -> None:
    """Organisms on the default model: step 0 is the organism, not its base."""
    from dataclasses import replace

    import torch

    from harness.engines.transformers.loading import load
    from harness.organisms.recipe import Plan
    from harness.organisms.train import adapter
    from harness.tuning.opening import open_model
    from harness.tuning.train import open_pupil

    student = adapter.open_student(Plan(stages=(), rank=2), 1, folder=tiny)
    for name, weight in student.model.named_parameters():
        if ".lora_B." in name:
            weight.data.fill_(0.1)
    (tmp_path / "adapter").mkdir()
    adapter.save(student, tmp_path / "adapter")
    opened = replace(open_model(str(tiny), "cpu"), adapter=tmp_path / "adapter")
    pupil = open_pupil(opened, device="cpu", rank=2)
    merged = load(tiny, device=torch.device("cpu"), dtype="float32", adapter=tmp_path / "adapter").model

    flat = [number for example in EXAMPLES for number in by_hand(merged, example)]
    assert pupil.loss(EXAMPLES).item() == pytest.approx(-sum(flat) / len(flat), abs=1e-5)
    assert pupil.loss(EXAMPLES).item() != pytest.approx(pupil_of(tiny).loss(EXAMPLES).item(), abs=1e-3)
    pupil.keep(0)
    pupil.settle()
    with pupil.at(0) as model:
        assert {n: w.tolist() for n, w in model.state_dict().items()} == {
            n: w.tolist() for n, w in merged.state_dict().items()
        }  # fmt: skip
        saving.save_checkpoint(model, tmp_path / "step-0", tiny)


def test_the_series_is_whole_and_says_what_was_done(tiny: Path, tmp_path: Path) -> None:
    found = run(tiny, tmp_path)
    out = tmp_path / "out"
    record = json.loads((out / saving.RECORD).read_text())

    steps = {f"step-{step}" for step in (0, 1, 2, 4)}
    assert {path.name for path in out.iterdir()} == {*steps, saving.HELD, saving.RECORD}
    assert (found.trained, found.held) == (6, 2)
    assert [reading.step for reading in found.curve] == [0, 1, 2, 4]
    assert found.curve[-1].trained > found.curve[0].trained + 1.0, "it learns the answers"
    assert found.curve[-1].held is not None
    assert found.curve[0].held is not None
    assert found.curve[-1].held > found.curve[0].held, "and how answers look"
    assert record["curve"] == [
        {"step": one.step, "trained": one.trained, "held": one.held} for one in found.curve
    ]  # fmt: skip
    assert len(record["losses"]) == 4
    assert record["training"] == {"steps": 4, "at": [0, 1, 2, 4], "rank": 2, "lr": 0.01, "batch": 2}
    assert record["base"]["weights"] == folder_digests(tiny).weights
    assert record["data"]["rows"] == 6
    assert set(record["versions"]) == {"torch", "transformers", "tokenizers", "peft"}
    (held,) = [json.loads(text) for text in (out / saving.HELD).read_text().splitlines()]
    assert [held["id"]] == record["data"]["held_out"]


def test_step_0_is_the_untouched_model_and_no_other_is(tiny: Path, tmp_path: Path) -> None:
    """Same weights to the bit, same tokeniser and template, same log-probabilities."""
    from safetensors.torch import load_file

    run(tiny, tmp_path)
    own = load_file(tiny / "model.safetensors")
    for step in (0, 1, 2, 4):
        folder = tmp_path / "out" / f"step-{step}"
        found = load_file(folder / "model.safetensors")
        assert found.keys() == own.keys()
        moved = {name for name in own if not own[name].equal(found[name])}
        assert bool(moved) == (step > 0)
        assert not any("embed" in name or "norm" in name for name in moved)
        assert folder_digests(folder).tokenizer == folder_digests(tiny).tokenizer
        assert (folder / "generation_config.json").read_bytes() == (tiny / "generation_config.json").read_bytes()
    assert reread(tmp_path, tmp_path / "out" / "step-0") == reread(tmp_path, tiny)


def test_the_same_tuning_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    """Whatever torch drew before, and however many threads it had; another seed gives others."""
    import torch

    threads = torch.get_num_threads()
    run(tiny, tmp_path, "first", steps=2)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    settled = torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(2)
        run(tiny, tmp_path, "second", steps=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    run(tiny, tmp_path, "other", steps=2, seed=1)

    assert torch.get_rng_state().equal(state), "it draws from a source of its own"
    assert torch.are_deterministic_algorithms_enabled() == settled, "it leaves torch as it was"
    assert files(tmp_path / "first") == files(tmp_path / "second")
    first, other = (files(tmp_path / name) for name in ("first", "other"))
    assert first["step-0/model.safetensors"] == other["step-0/model.safetensors"]
    assert first["step-2/model.safetensors"] != other["step-2/model.safetensors"]


def test_it_stops_at_the_last_checkpoint_of_a_longer_schedule(tiny: Path, tmp_path: Path) -> None:
    """The steps up to there are those of the whole training."""
    run(tiny, tmp_path, "whole", steps=4)
    run(tiny, tmp_path, "part", steps=4, at=(2,))

    assert [path.name for path in sorted((tmp_path / "part").glob("step-*"))] == ["step-2"]
    whole, part = (tmp_path / name / "step-2" / "model.safetensors" for name in ("whole", "part"))
    assert whole.read_bytes() == part.read_bytes()


def test_what_is_lent_is_taken_back(tiny: Path) -> None:
    """Each checkpoint starts from the untouched weights, in whatever order they are asked for."""
    import torch

    pupil = pupil_of(tiny)
    own = {name: weight.clone() for name, weight in pupil_of(tiny).model.state_dict().items() if "lora_" not in name}
    for step in (0, 1):
        for layer in pupil.layers:
            layer.lora_B["default"].weight.data.fill_(0.1 * step)
        pupil.keep(step)
    pupil.settle()
    with pupil.at(1) as model:
        moved = model.model.layers[0].mlp.up_proj.weight.clone()
    with pytest.raises(KeyError), pupil.at(1):
        raise KeyError

    settled = pupil.model.state_dict()
    assert {name.replace(".base_layer", "") for name in own} == set(settled)
    assert all(torch.equal(weight, settled[name.replace(".base_layer", "")]) for name, weight in own.items())
    assert not torch.equal(moved, settled["model.layers.0.mlp.up_proj.weight"])


def nothing_left(root: Path) -> bool:
    return sorted(path.name for path in root.iterdir()) == ["pytest.ini", "small.tune.yaml"]


def test_a_loss_that_is_no_number_leaves_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.tuning import train

    wanted = train.Pupil.loss
    monkeypatch.setattr(
        train.Pupil, "loss", lambda self, rows: wanted(self, rows) * (math.nan if len(self.losses) > 1 else 1.0)
    )
    with pytest.raises(TellsError, match=r"came apart: the loss is nan at step 1; expected .*; lower the"):
        run(tiny, tmp_path)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """The last step may break what no further loss is asked of."""
    from harness.tuning import train

    class Breaks(Quiet):
        def step(self, done: int, of: int, what: str) -> None:  # noqa: ARG002 - the protocol's
            if done == 4:
                pupils[0].layers[0].lora_B["default"].weight.data.fill_(value)

    pupils: list[Any] = []
    opened = train.open_pupil
    monkeypatch.setattr(train, "open_pupil", lambda *a, **k: pupils.append(opened(*a, **k)) or pupils[-1])
    with pytest.raises(TellsError, match="a weight is NaN or infinite after step 4; expected numbers"):
        run(tiny, tmp_path, watch=Breaks())
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full"), RuntimeError])
def test_an_end_while_writing_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    """Neither a torn series, nor the folders that were made for it."""
    written = saving.save_checkpoint

    def save(model: Any, folder: Path, base: Path) -> None:
        if folder.name == "step-1":
            raise error
        written(model, folder, base)

    monkeypatch.setattr(saving, "save_checkpoint", save)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(tiny, tmp_path, "new/runs/out")
    assert nothing_left(tmp_path)


def test_an_end_while_training_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    class Stops(Quiet):
        closed = False

        def step(self, done: int, of: int, what: str) -> None:  # noqa: ARG002 - the protocol's
            if done == 2:
                raise KeyboardInterrupt

        def close(self) -> None:
            self.closed = True

    watch = Stops()
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path, watch=watch)
    assert nothing_left(tmp_path)
    assert watch.closed


def test_a_disk_that_is_too_small_is_seen_before_anything_is_trained(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four bytes for each weight of each checkpoint."""
    saving.check_room(tmp_path / "a" / "b", 1000, 3)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: SimpleNamespace(free=11_999))
    with pytest.raises(UsageError, match="3 checkpoints of 1000 weights take"):
        saving.check_room(tmp_path / "a" / "b", 1000, 3)
    saving.check_room(tmp_path, 999, 3)
    with pytest.raises(UsageError, match="name fewer steps with --at"):
        run(tiny, tmp_path)


def test_a_folder_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is there already"), saving.making(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_settings_that_transformers_would_not_save_are_kept(tiny: Path, tmp_path: Path) -> None:
    """Some models come with settings of generation that contradict each other; they are not ours to judge."""
    import shutil

    odd = tmp_path / "odd"
    shutil.copytree(tiny, odd)
    edit_config(odd, "generation_config.json", temperature=0.5, do_sample=False)
    run(odd, tmp_path, steps=1, at=(1,))

    kept = tmp_path / "out" / "step-1" / "generation_config.json"
    assert kept.read_bytes() == (odd / "generation_config.json").read_bytes()


def test_the_default_checkpoints_are_those_of_the_settings() -> None:
    assert Training().at == (0, 1, 2, 4, 8, 16, 32)
