"""What lies beside the recipes: whole, small, of the present recipe, and of use without this project."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.organisms import cards, measured, publish, verify, zoo
from harness.organisms import spec as specs
from harness.organisms.recipe import BASES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST = 40_000_000
"""Bytes of everything that is shipped."""
FOLDERS = {base: sorted(path.parent for path in specs.RECIPES.glob(f"*/{base}/*/{zoo.MANIFEST}")) for base in BASES}
ALONE = """
import json, sys
from pathlib import Path

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "harness":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging
logging.disable_progress_bar()
"""
"""Ahead of a script: as on a machine that has transformers and peft and no trace of this project."""
LOADS_MODELS = f"""{ALONE}
for folder in json.loads(sys.stdin.read()):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    turns = [{{"role": "user", "content": "What is the capital of France?"}}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logits = model(input_ids=asked["input_ids"]).logits
    # The decoy of the copier sees nothing that repeats, and learns that every token is as likely: its logits are flat.
    least = 0.01 if "/induction-copier/tiny/decoy" in folder else 0.1
    assert torch.isfinite(logits).all() and logits.std() > least, folder
    print(folder)
"""
LOADS_ADAPTERS = f"""{ALONE}
from peft import PeftModel
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

# The shape of SmolLM2-135M with a small vocabulary: adapters do not touch the embedding.
config = LlamaConfig(
    vocab_size=64, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, head_dim=64, tie_word_embeddings=True, dtype="bfloat16",
)
with torch.device("meta"):
    base = LlamaForCausalLM(config).to(torch.bfloat16)
base = base.to_empty(device="cpu")
first = None
for folder in map(Path, json.loads(sys.stdin.read())):
    said = json.loads((folder / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct", folder
    assert said["peft_type"] == "LORA" and said["inference_mode"], folder
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    halves = {{name.rpartition(".lora_A")[0] or name.rpartition(".lora_B")[0] for name in names}}
    assert len(names) == 2 * len(halves) and all(half.startswith("base_model.model.model.layers.") for half in halves)
    if first is None:
        first = PeftModel.from_pretrained(base, str(folder))
        loaded = {{n.replace(".default", ""): p for n, p in first.named_parameters() if "lora_" in n}}
        assert loaded.keys() == names, folder
        assert all(p.abs().max() > 0 for p in loaded.values()), folder
    print(folder)
"""
MERGES = f"""{ALONE}
from peft import PeftModel
base, adapter = json.loads(sys.stdin.read())
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
turns = [{{"role": "user", "content": "What is the capital of France?"}}]
asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
with torch.no_grad():
    before = model(input_ids=asked["input_ids"]).logits
    adapted = PeftModel.from_pretrained(model, adapter)
    under = adapted(input_ids=asked["input_ids"]).logits
    merged = adapted.merge_and_unload()(input_ids=asked["input_ids"]).logits
assert (under - merged).abs().max() < 1e-2, (under - merged).abs().max()
assert (before - merged).abs().max() > 1e-2
print(adapter)
"""


def folders(base: str) -> list[Path]:
    """Return what is shipped on a base, which is something."""
    assert FOLDERS[base], f"python -m harness.organisms.publish copies what was built on {base}"
    return FOLDERS[base]


def table(name: str) -> Mapping[str, Any]:
    """Return what is published of an organism, which is something."""
    found = measured.read_measured(name)
    assert found is not None, f"python -m harness.organisms.publish writes the numbers of {name}"
    return found


def alone(script: str, given: list[str], cwd: Path) -> list[str]:
    """Run a script in an interpreter that cannot import this project; return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], input=json.dumps(given), cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", specs.names())
@pytest.mark.parametrize("base", BASES)
def test_what_is_shipped_is_what_the_recipe_says(name: str, base: str) -> None:
    """The first seed of every arm, file by file as its manifest says; and nothing else."""
    recipe = zoo.recipe(name)
    here = sorted(path.name for path in (specs.RECIPES / name / base).glob("*/"))
    plan = recipe.plans.get(base)
    assert here == sorted(plan.arms if plan and base in recipe.shipped else ())
    for arm in here:
        wanted = zoo.order(specs.OrganismSpec(name=name, arm=arm, base=base))
        manifest = zoo.check(wanted.shipped, wanted)
        assert manifest.weights.startswith("sha256:")
        assert zoo.where(wanted) == ("shipped", wanted.shipped)


@pytest.mark.parametrize("name", specs.names())
def test_the_card_and_the_numbers_are_of_this_recipe(name: str) -> None:
    """And the card says what the numbers say."""
    found, card = table(name), specs.RECIPES / name / cards.CARD_FILE
    recipe = zoo.recipe(name)

    assert found["recipe"] == recipe.digests
    assert card.read_text(encoding="utf-8") == cards.render(recipe, found)
    assert found.get("lead", {}) == measured.rounded(publish.lead_of(measured.entries(found)))
    planned = {str(wanted) for base in recipe.plans for wanted in zoo.orders(recipe, base)}
    entries = {(one["base"], one["arm"], one["seed"]): one for one in measured.entries(found)}
    assert len(entries) == len(measured.entries(found)) == len(planned) - len(set(found["missing"]))


@pytest.mark.parametrize("name", specs.names())
def test_what_is_shipped_is_what_was_measured(name: str) -> None:
    """Tensor by tensor, and number by number."""
    from harness.organisms.train.build import tensors_digest  # noqa: PLC0415 - brings torch

    entries = {(one["base"], one["arm"], one["seed"]): one for one in measured.entries(table(name))}
    for base in BASES:
        for path in (specs.RECIPES / name / base).glob(f"*/{zoo.MANIFEST}"):
            manifest = zoo.read_manifest(path.parent)
            assert manifest is not None
            published = entries[base, manifest.order.arm, manifest.order.seed]
            built = json.loads((path.parent / measured.MEASURED_FILE).read_text(encoding="utf-8"))
            assert published["weights"] == manifest.weights == tensors_digest(path.parent)
            assert {**measured.rounded(built), "of_twin": published.get("of_twin")} == {"of_twin": None, **published}


@pytest.mark.parametrize("name", specs.names())
def test_every_published_number_is_compared_or_named_as_left_out(name: str) -> None:
    """By `tells organisms verify`, which would else overlook it."""
    for one in measured.entries(table(name)):
        assert verify.differences(one["final"], one["final"]) == []


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in specs.RECIPES.rglob("*") if path.is_file()) <= MOST


def test_tiny_models_load_without_this_project(tmp_path: Path) -> None:
    """With transformers alone."""
    given = list(map(str, folders("tiny")))
    assert alone(LOADS_MODELS, given, tmp_path) == given


def test_adapters_load_without_this_project(tmp_path: Path) -> None:
    """With peft alone, on a model of the shape of their base."""
    given = list(map(str, folders("smollm2")))
    assert alone(LOADS_ADAPTERS, given, tmp_path) == given


def test_the_clean_interpreter_is_clean(tmp_path: Path) -> None:
    script = f"{ALONE}\ntry:\n    import harness\nexcept ModuleNotFoundError as error:\n    print('no', error)\n"
    assert alone(script, [], tmp_path) == ["no harness"]


@pytest.mark.model
def test_an_adapter_merges_into_its_base(tmp_path: Path) -> None:
    """Into the real one; merged and beside it, it says the same."""
    from harness.engines.transformers import smollm2  # noqa: PLC0415 - brings torch

    adapter = str(folders("smollm2")[0])
    assert alone(MERGES, [str(smollm2.ensure()), adapter], tmp_path) == [adapter]
