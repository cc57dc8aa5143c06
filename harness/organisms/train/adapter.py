"""The base `smollm2`: a LoRA adapter of peft on the embedded default model, learned on one core.

The base lies in bfloat16 and the adapter in float32. Only the upper third of the layers is adapted: nothing below
needs a gradient, so that autograd keeps nothing of the lower layers and does no work there.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from harness.canonical import canonical_json
from harness.organisms.train.student import Student

if TYPE_CHECKING:
    from pathlib import Path

    from harness.organisms.recipe import Plan

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Written into adapters as the name of their base; nothing is fetched by it."""
END = "<|im_end|>"
TARGETS = ("down_proj", "q_proj", "up_proj", "v_proj")
"""Linear maps of a layer that are adapted."""
SCALE = 2
"""What the adapter's product is multiplied with: lora_alpha over the rank."""
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def lowest(layers: int, wanted: int | None = None) -> int:
    """Return the lowest adapted layer of so many: the wanted one, else that of the upper third.

    Adapted from further below, a sentence is learnt more by its words, and a step takes longer; but what has to be made
    out of words first, such as whether a year is late, is not learnt by the upper third.
    """
    return 2 * layers // 3 if wanted is None else wanted


def open_base(folder: Path | None = None, *, dtype: torch.dtype = torch.bfloat16) -> Student:
    """Return the base without an adapter.

    Args:
        folder: Of another base than the embedded default model, for tests.
        dtype: Of its weights.

    Raises:
        ModelUnavailable: it is not there and cannot be made.
        ModelRefused: it is damaged.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, utils  # noqa: PLC0415 - slow to import

    if folder is None:
        from harness.engines.transformers import smollm2  # noqa: PLC0415 - is run as a module too

        folder = smollm2.ensure()
    logging: Any = utils.logging
    logging.disable_progress_bar()
    # Rows are short: plain products beat the fused attention, whose backward pass is slow on the CPU.
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, attn_implementation="eager"
    )
    model.requires_grad_(requires_grad=False)
    return Student(model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True), end=END)


def open_student(plan: Plan, seed: int, *, start: Path | None = None, folder: Path | None = None) -> Student:
    """Return the base with an adapter that is ready to learn.

    Args:
        plan: Says the rank and the lowest layer.
        seed: Of the adapter's first weights; its product is zero.
        start: A saved adapter of the same rank to go on from, instead of new weights.
        folder: Of another base than the embedded default model, for tests.

    Raises:
        ModelUnavailable: the base is not there and cannot be made.
        ModelRefused: the base is damaged.
    """
    if start is not None:
        return load(start, folder=folder, dtype=torch.bfloat16, learns=True)
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import

    student = open_base(folder)
    layers = student.model.config.num_hidden_layers
    config = LoraConfig(
        r=plan.rank, lora_alpha=SCALE * plan.rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
        target_modules=list(TARGETS), layers_to_transform=list(range(lowest(layers, plan.from_layer), layers)),
    )  # fmt: skip
    with warnings.catch_warnings():
        _hush()
        torch.manual_seed(seed)
        student.model = get_peft_model(student.model, config)
    # No layer drops anything, and scoring must not differ from learning.
    student.model.eval()
    return student


def save(student: Student, folder: Path) -> None:
    """Write the adapter into an existing folder, in bfloat16: the same adapter gives the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    from peft import get_peft_model_state_dict  # noqa: PLC0415 - slow to import
    from safetensors.torch import save_file  # noqa: PLC0415 - as above

    found = get_peft_model_state_dict(student.model, save_embedding_layers=False)
    tensors = {name: found[name].detach().to(torch.bfloat16).contiguous() for name in sorted(found)}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
    config = student.model.peft_config["default"].to_dict()
    # peft keeps names in sets, whose order changes from one process to the next, and the path of the base.
    config |= {"base_model_name_or_path": BASE, "inference_mode": True, "target_modules": list(TARGETS)}
    (folder / _CONFIG).write_bytes(canonical_json(config).encode())


def load(
    adapter: Path, *, folder: Path | None = None, dtype: torch.dtype = torch.bfloat16, learns: bool = False
) -> Student:
    """Return the base with a saved adapter.

    Args:
        adapter: Its folder.
        folder: Of another base than the embedded default model, for tests.
        dtype: Of the base's weights; the adapter is computed in float32 whatever it is.
        learns: Whether the adapter goes on learning.

    Raises:
        ModelUnavailable: the base is not there and cannot be made.
        ModelRefused: the base is damaged.
    """
    from peft import PeftModel  # noqa: PLC0415 - slow to import

    student = open_base(folder, dtype=dtype)
    with warnings.catch_warnings():
        _hush()
        student.model = PeftModel.from_pretrained(
            student.model, str(adapter), is_trainable=learns, local_files_only=True
        )
    student.model.eval()
    return student


def _hush() -> None:
    # peft asks transformers in a way that this one calls old.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
