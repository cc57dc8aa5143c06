# ruff: noqa: PLC0415 - torch and transformers are slow to import and not every test needs them
"""Tiny models with random weights, whole folders as transformers saves them: for tests, without any download."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """An architecture in small."""

    kind: str = ""
    """Type of the model as transformers names it; empty where it is the architecture's own name."""
    trait: str = ""
    """What sets it apart for an engine, in a few words."""
    sizes: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    """Entries beside or in place of the sizes."""


_BLOCK: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.2,
}  # fmt: skip
"""Weights of this spread give sharp distributions, which forgive no fault."""
_GROUPED: dict[str, Any] = {**_BLOCK, "num_key_value_heads": 2, "head_dim": 16}
"""Two query heads per key head."""
_GPT: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
_EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
}  # fmt: skip
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 12, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
}  # fmt: skip
_OPT: dict[str, Any] = {
    "hidden_size": 64, "word_embed_proj_dim": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "init_std": 0.2,
}  # fmt: skip
_DELTA: dict[str, Any] = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "shared_expert_intermediate_size": 32, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_WINDOW: dict[str, Any] = {"sliding_window": 16}
_MIXED: dict[str, Any] = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_LONG_ROPE: dict[str, Any] = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [3.0] * 8,
}  # fmt: skip
_GEMMA2: dict[str, Any] = {
    **_WINDOW, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 16,
}  # fmt: skip

TINY: dict[str, Tiny] = {
    "llama": Tiny(trait="tied head", sizes=_GROUPED, config={"tie_word_embeddings": True}),
    "llama-untied": Tiny(kind="llama", trait="untied head", sizes=_GROUPED, config={"tie_word_embeddings": False}),
    "llama-biased": Tiny(
        kind="llama", trait="biases everywhere", sizes=_GROUPED, config={"attention_bias": True, "mlp_bias": True}
    ),
    "gpt2": Tiny(trait="learned positions", sizes=_GPT),
    "gpt_bigcode": Tiny(trait="learned positions, one key head", sizes=_GPT),
    "opt": Tiny(trait="learned positions, queries scaled beforehand", sizes=_OPT),
    "qwen2": Tiny(trait="biased queries and keys", sizes=_GROUPED, config={"tie_word_embeddings": True}),
    "qwen2-window": Tiny(
        kind="qwen2",
        trait="a window on the upper layers",
        sizes=_GROUPED,
        config={**_WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": Tiny(trait="normed queries and keys", sizes=_GROUPED),
    "gemma": Tiny(trait="scaled embeddings", sizes=_GROUPED),
    "gemma2": Tiny(trait="capped scores and logits, window on every other layer", sizes=_GROUPED, config=_GEMMA2),
    "gemma3_text": Tiny(
        trait="two rotary bases, window on most layers",
        sizes=_GROUPED,
        config={**_MIXED, "query_pre_attn_scalar": 16},
    ),
    "mistral": Tiny(trait="window on every layer", sizes=_GROUPED, config={**_WINDOW, "tie_word_embeddings": False}),
    "mixtral": Tiny(trait="mixture of experts", sizes=_GROUPED, config=_EXPERTS),
    "qwen3_moe": Tiny(trait="mixture of experts, normed queries and keys", sizes=_GROUPED, config=_EXPERTS),
    "olmoe": Tiny(trait="mixture of experts, queries normed as a whole", sizes=_GROUPED, config=_EXPERTS),
    "deepseek_v3": Tiny(
        trait="latent attention: values narrower than keys; mixture of experts", sizes=_BLOCK, config=_LATENT
    ),
    "olmo": Tiny(trait="norms without weights", sizes=_GROUPED),
    "olmo2": Tiny(trait="norms after the blocks", sizes=_GROUPED),
    "exaone4": Tiny(trait="no positions on the full layers", sizes=_GROUPED, config=_MIXED),
    "phi": Tiny(trait="parallel blocks, partial rotary", sizes=_BLOCK, config={"num_key_value_heads": 2}),
    "phi3": Tiny(trait="one matrix for queries, keys and values; window", sizes=_GROUPED, config=_WINDOW),
    "gpt_neox": Tiny(trait="parallel blocks, partial rotary", sizes=_BLOCK, config={"use_parallel_residual": True}),
    "stablelm": Tiny(trait="partial rotary", sizes=_BLOCK, config={"num_key_value_heads": 2}),
    "granite": Tiny(
        trait="a scale of its own for scores, residuals and logits",
        sizes=_GROUPED,
        config={
            "attention_multiplier": 0.3,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.7,
            "logits_scaling": 1.5,
        },
    ),
    "cohere": Tiny(trait="interleaved rotary, scaled logits", sizes=_GROUPED, config={"logit_scale": 1.0}),
    "gpt_oss": Tiny(trait="attention sinks, mixture of experts", sizes=_GROUPED, config={**_EXPERTS, **_WINDOW}),
    "falcon": Tiny(trait="attention classes of its own", sizes=_BLOCK, config={"multi_query": True, "alibi": False}),
    "bloom": Tiny(
        trait="distances in place of positions (alibi)",
        sizes={"hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    ),
    "gptj": Tiny(trait="attention classes of its own", sizes=_GPT, config={"rotary_dim": 8}),
    "llama4_text": Tiny(
        trait="attention in chunks",
        sizes={**_GROUPED, "num_hidden_layers": 4},
        config={**_EXPERTS, "intermediate_size_mlp": 96, "attention_chunk_size": 16},
    ),
    "lfm2": Tiny(
        trait="convolutions between the attention layers",
        sizes=_GROUPED,
        config={"layer_types": ["conv", "full_attention"]},
    ),
    "phi3-long": Tiny(
        kind="phi3",
        trait="rotary factors that change with the longest text",
        sizes=_GROUPED,
        config={"original_max_position_embeddings": 64, "rope_parameters": _LONG_ROPE},
    ),
    "mamba": Tiny(trait="recurrent", sizes={"hidden_size": 64, "num_hidden_layers": 2, "initializer_range": 0.2}),
    "qwen3_next": Tiny(trait="linear attention", sizes=_GROUPED, config={**_EXPERTS, **_DELTA}),
}
"""Architectures by name; a variant is named after its architecture, with a hyphen."""


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
        architecture: A name in `TINY`.
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
    from transformers import AutoConfig

    if architecture not in TINY:
        msg = f"no tiny {architecture}"
        raise ValueError(msg)
    tiny = TINY[architecture]
    known = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2}
    places = {"n_positions" if "n_embd" in tiny.sizes else "max_position_embeddings": context}
    return AutoConfig.for_model(tiny.kind or architecture, **{**tiny.sizes, **known, **places, **tiny.config, **extra})
