"""Turn a Llama GGUF file into a folder that transformers opens, the same bytes for the same file on any machine.

Written by hand and not through `from_pretrained(gguf_file=…)` for three reasons: that needs `accelerate`; what it saves
changes with the library's version, so that no digest could be pinned; and it leaves out the pre-tokeniser that the
file names, by which runs of spaces before a digit are split otherwise than in training.

Source: the layout is llama.cpp's (convert_hf_to_gguf.py, class LlamaModel); its permutation of query and key rows is
undone here.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json
from harness.errors import ModelRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_CONTROL = 3
"""GGUF's token type of control tokens."""
_OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tensors_digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return one tagged SHA-256 over names, shapes, types and bytes of all tensors, whatever file they lie in."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
        state.update(tensor.tobytes())
    return f"sha256:{state.hexdigest()}"


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the metadata and the dequantised float32 tensors of a Llama GGUF file, named as transformers does.

    Raises:
        ModelRefused: the file is of another architecture or holds a tensor of unknown name.
    """
    import gguf  # noqa: PLC0415 - heavy, and needed once per machine
    import numpy as np  # noqa: PLC0415 - as above

    reader = gguf.GGUFReader(path)
    meta = {name: field.contents() for name, field in reader.fields.items()}
    if meta.get("general.architecture") != "llama":
        msg = f"{path}: architecture {meta.get('general.architecture')!r}; expected 'llama'; give another file"
        raise ModelRefused(msg)
    heads = {"attn_q": meta["llama.attention.head_count"], "attn_k": meta["llama.attention.head_count_kv"]}
    tensors: dict[str, Array] = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = _unpermute(values, heads[part])
        tensors[_name(tensor.name)] = np.ascontiguousarray(values)
    return meta, tensors


def config_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of config.json."""
    width, heads = meta["llama.embedding_length"], meta["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "dtype": "float32",
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": 0.02,
        "intermediate_size": meta["llama.feed_forward_length"],
        "max_position_embeddings": meta["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": meta["llama.block_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "rms_norm_eps": meta["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_theta": meta["llama.rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": meta["llama.vocab_size"],
    }


def generation_config_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of generation_config.json: token ids only, no sampling settings."""
    kinds = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {name: meta[f"tokenizer.ggml.{kind}_token_id"] for name, kind in kinds.items()}


def tokenizer_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of tokenizer.json: byte-level BPE behind the `smollm` pre-tokeniser (digits one by one).

    Raises:
        ModelRefused: the file names another kind of tokeniser.
    """
    kind = (meta["tokenizer.ggml.model"], meta["tokenizer.ggml.pre"])
    if kind != ("gpt2", "smollm"):
        msg = f"GGUF tokeniser {kind!r}; expected ('gpt2', 'smollm'); give another file"
        raise ModelRefused(msg)
    tokens = meta["tokenizer.ggml.tokens"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    kinds = meta["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": tokens[i], **flags} for i, kind in enumerate(kinds) if kind == _CONTROL]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of tokenizer_config.json; the chat template lies in a file of its own."""
    kinds = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    tokens = meta["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"],
        **{name: tokens[meta[f"tokenizer.ggml.{kind}_token_id"]] for name, kind in kinds.items()},
    }


def _name(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    match = re.fullmatch(r"blk\.(\d+)\.([a-z_]+)\.weight", name)
    if match is None or match[2] not in _INNER:
        msg = f"GGUF tensor {name!r} has no place in a Llama model; expected blk.N.PART.weight; give another file"
        raise ModelRefused(msg)
    return f"model.layers.{match[1]}.{_INNER[match[2]]}.weight"


def _unpermute(values: Array, heads: int) -> Array:
    """Undo llama.cpp's interleaving of the two rotary halves of each head, on the rows."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
