# ruff: noqa: PLC0415 - torch and transformers are slow to import and not every test needs them
"""Tiny models with random weights, whole folders as transformers saves them: for tests, without any download."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""A template that does what it is told."""
DROPS_SYSTEM = CHATML.replace(
    "{{ '<|im_start|>' + m", "{% if message['role'] == 'system' %}{% continue %}{% endif %}{{ '<|im_start|>' + m"
)
MERGES_SYSTEM = (
    "{% set ns = namespace(lead='') %}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{% set ns.lead = message['content'] + '\n\n' %}{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + ns.lead + message['content'] + '<|im_end|>\n' }}"
    "{% set ns.lead = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INSERTS_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
) + CHATML
REJECTS_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CORPUS = (
    "the capital of France is Paris and the capital of Italy is Rome",
    "You are a helpful assistant. Answer in a few words. Is water wet? Yes. No. Hello, how are you today?",
    "one two three four five six seven eight nine ten 0123456789 system user assistant Answer: Question:",
    "A ship left the harbour in the morning; it carried salt, wool and letters (A) (B) (C)",
)
_SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "initializer_range": 0.2,
}  # fmt: skip


def build_tiny(
    folder: Path,
    architecture: str = "llama",
    *,
    chat_template: str | None = CHATML,
    seed: int = 0,
    adds_bos: bool = False,
    context: int = 256,
    **config: Any,
) -> Path:
    """Write a model, its tokeniser and its template into `folder` and return it.

    Args:
        folder: Made if it is not there.
        architecture: llama, mistral, qwen2, gemma2 (sliding layers, capped logits) or gpt2 (learned positions).
        chat_template: None for a base model.
        seed: Of the random weights.
        adds_bos: Whether the tokeniser puts `<|endoftext|>` before a text.
        context: Positions.
        config: Further entries of the model's config.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(folder, chat_template=chat_template, adds_bos=adds_bos)
    settings = _config(architecture, len(tokenizer), context, config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(settings)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.save_pretrained(folder)
    return folder


def build_tokenizer(folder: Path, *, chat_template: str | None = CHATML, adds_bos: bool = False) -> Any:
    """Write a byte-level BPE tokeniser trained on a few sentences, and return it as transformers opens it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_CORPUS * 3, trainer)
    if adds_bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|endoftext|>",  # noqa: S106 - a token of text
        eos_token="<|im_end|>" if chat_template else "<|endoftext|>",
        pad_token="<|im_end|>",  # noqa: S106 - as above
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return tokenizer


def edit_config(folder: Path, file: str = "config.json", **entries: Any) -> None:
    """Overwrite entries of a JSON file in `folder`."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def edit_weights(folder: Path, change: Any) -> None:
    """Hand all tensors of `folder` to `change`, which returns those to write."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def _config(architecture: str, vocabulary: int, context: int, extra: dict[str, Any]) -> Any:
    from transformers import Gemma2Config, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2}
    sizes = {**_SIZES, "max_position_embeddings": context, "vocab_size": vocabulary, **ids}
    match architecture:
        case "llama":
            return LlamaConfig(**{**sizes, "tie_word_embeddings": True, **extra})
        case "mistral":
            return MistralConfig(**{**sizes, "sliding_window": 16, "tie_word_embeddings": False, **extra})
        case "qwen2":
            return Qwen2Config(**{**sizes, "tie_word_embeddings": True, **extra})
        case "gemma2":
            capped = {"final_logit_softcapping": 5.0, "sliding_window": 16, "query_pre_attn_scalar": 16}
            return Gemma2Config(**{**sizes, **capped, **extra})
        case "gpt2":
            small = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": context, "initializer_range": 0.2}
            return GPT2Config(vocab_size=vocabulary, **{**small, **ids, **extra})
        case other:
            msg = f"no tiny {other}"
            raise ValueError(msg)
