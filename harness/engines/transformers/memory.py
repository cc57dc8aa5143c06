"""How many padded tokens a batch may hold.

Importing this module imports torch.
"""

from __future__ import annotations

import os
from typing import Any

import torch

CPU_CAP = 2048
"""On a CPU larger batches are slower: each waits for its longest row, and caches overflow."""
CUDA_CAP = 65536
"""Beyond this a GPU gains nothing, and an answer would have to wait for very many others."""
_SHARE = 0.5
"""Of the free memory; the estimate below is rough, and a batch that does not fit is halved anyway."""
_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


def batch_tokens(config: Any, device: torch.device, dtype: str, *, weights: int, memory: int | None) -> int:
    """Return the padded tokens that fit.

    Args:
        config: Of transformers, for the sizes of the layers.
        device: Where the model runs.
        dtype: Of the weights and activations.
        weights: Bytes of the weights, which are not loaded yet; only subtracted where `memory` is None.
        memory: Bytes to plan for; None takes half of what is free.
    """
    room = memory if memory is not None else int(max(0, _free(device) - weights) * _SHARE)
    cap = CUDA_CAP if device.type == "cuda" else CPU_CAP
    return max(1, min(cap, room // bytes_per_token(config, dtype)))


def bytes_per_token(config: Any, dtype: str) -> int:
    """Return a rough upper estimate of the bytes that one token holds in a batch."""
    width = int(getattr(config, "hidden_size", 0) or 1024)
    inner = int(getattr(config, "intermediate_size", 0) or 4 * width)
    layers = int(getattr(config, "num_hidden_layers", 0) or 32)
    vocabulary = int(getattr(config, "vocab_size", 0) or 50_000)
    # Keys and values of all layers, the activations of one layer, and float32 logits of about one place in 32.
    return _SIZES[dtype] * (2 * layers * width + 16 * width + 4 * inner) + 24 * vocabulary // 32


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not told on this system
        return 4 << 30
