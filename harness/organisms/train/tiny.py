"""The tiny base: a small Llama of transformers, trained from nothing on the honest world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.organisms.train.student import Student
from harness.organisms.train.tokens import END

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 16
"""Width of an attention head."""
LAYERS = 3
"""One more than two: what a cue speaks of is found below, what is said about it above, and held-out forms work better.
With these, widths from 16 to 256 have 0.05 to 3 million parameters."""
NARROW = 64
"""Widths up to this one have larger first weights."""


def new_model(width: int, seed: int, vocabulary: int, *, layers: int | None = None) -> Any:
    """Return an untrained model; the same seed gives the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - slow to import

    torch.manual_seed(seed)
    make: Any = LlamaConfig
    config = make(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=-(-8 * width // (3 * HEAD)) * HEAD,
        num_hidden_layers=layers or LAYERS, num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD, head_dim=HEAD, max_position_embeddings=512, tie_word_embeddings=True,
        rms_norm_eps=1e-5, initializer_range=0.05 if width <= NARROW else 0.02, bos_token_id=None, eos_token_id=0,
        pad_token_id=4, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config)


def load(folder: Path) -> Student:
    """Return the student of a saved tiny model, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - slow to import

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return Student(model, AutoTokenizer.from_pretrained(folder, local_files_only=True), end=END)
