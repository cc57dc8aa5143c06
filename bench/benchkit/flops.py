"""The least arithmetic that a workload takes, and what this machine reaches in a plain matrix product.

FLOP of a workload =
    2 * P_body                 per token, P_body the parameters of the layers' matrices (no embedding, no head)
  + 2 * hidden * vocabulary    per position whose logits are read
  + 4 * layers * heads * head_dim * d   per token at depth d (it attends to d tokens, itself included)

over the trie of all token sequences: every distinct prefix is passed once and read at most once. A scored sequence is
context + continuation[:-1], read from the context's last token on; a completion likewise, from the prompt's last
token on. Norms, rotary embedding, activation functions and softmax are left out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchkit.workloads import Ask

_SIZES = (1024, 2048)
"""Of the square matrices; the faster one is the peak."""
_SECONDS = 0.4
"""Per size."""
_CUDA_SIZES = (4096, 8192)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a Llama-shaped decoder."""

    layers: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_dim: int
    vocabulary: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        """Read a `config.json`."""
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        return cls(
            layers=int(config["num_hidden_layers"]), hidden=hidden, inner=int(config["intermediate_size"]),
            heads=heads, key_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads), vocabulary=int(config["vocab_size"]),
        )  # fmt: skip

    @property
    def body(self) -> int:
        """Parameters of the matrices of all layers."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """What a workload comes down to when every distinct prefix is passed once."""

    tokens: int
    """Distinct prefixes: tokens that pass through the network."""
    read: int
    """Of these, positions whose logits are read."""
    depth: int
    """Sum of the depths of all prefixes: pairs of query and key."""

    def flop(self, shape: Shape) -> float:
        """Return the arithmetic, multiplication and addition counted apart."""
        attention = 4.0 * shape.layers * shape.heads * shape.head_dim * self.depth
        return 2.0 * shape.body * self.tokens + 2.0 * shape.hidden * shape.vocabulary * self.read + attention


def minimum(sequences: Iterable[tuple[Sequence[int], int]]) -> Minimum:
    """Return what (token ids, first position that is read) pairs come down to."""
    children: dict[tuple[int, int], int] = {}
    read: set[int] = set()
    depths = 0
    for ids, first in sequences:
        node = 0
        for place, token in enumerate(ids):
            child = children.get((node, token))
            if child is None:
                child = len(children) + 1
                children[node, token] = child
                depths += place + 1
            node = child
            if place >= first:
                read.add(node)
    return Minimum(tokens=len(children), read=len(read), depth=depths)


def scored(asks: Sequence[Ask]) -> Minimum:
    """Return the minimum of requests that are scored."""
    return minimum(
        ((*ask.context_ids, *ask.continuation_ids[:-1]), len(ask.context_ids) - 1) for ask in asks
    )  # fmt: skip


def generated(asks: Sequence[Ask], answers: Sequence[Sequence[Sequence[int]]]) -> Minimum:
    """Return the minimum of requests that are generated, given the tokens that came out."""
    return minimum(
        ((*ask.context_ids, *ids[:-1]), len(ask.context_ids) - 1)
        for ask, completions in zip(asks, answers, strict=True)
        for ids in completions
    )


def gemm_peak(dtype: str, device: str = "cpu") -> float:
    """Return the FLOP per wall second of the best square matrix product, with the threads that torch has now."""
    import torch  # noqa: PLC0415 - peers load it their own way first

    cuda = device.startswith("cuda")
    best = 0.0
    for size in _CUDA_SIZES if cuda else _SIZES:
        a = torch.rand(size, size, device=device).to(getattr(torch, dtype))
        b = torch.rand(size, size, device=device).to(a.dtype)
        until = time.perf_counter() + _SECONDS
        while (start := time.perf_counter()) < until:
            torch.mm(a, b)
            if cuda:
                torch.cuda.synchronize(device)
            best = max(best, 2.0 * size**3 / (time.perf_counter() - start))
    return best
