"""Our attention function behind transformers' own interface: the model stays stock, only who sees whom is ours.

`TRIE` is registered with `AttentionInterface`; while a `Layout` is in place, every attention layer of a model hands its
queries, keys and values to it. Queries of one key-value head stand below each other, so that grouped-query attention
needs no copies of the keys.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

TRIE = "tells_trie"
"""Name of our attention function within transformers."""
_HARMLESS = frozenset({
    "position_ids", "use_cache", "is_causal", "cache_position", "output_attentions", "output_router_logits",
})  # fmt: skip
"""Keywords that say nothing which a layout does not know."""
_FAR = 200_003
"""A position, prime so that it ends no chunk, from which a mask is looked at backwards; wider windows count as none."""


class UnsupportedAttentionError(Exception):
    """A layer asks for something that our attention function does not do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a layer does to its scores."""

    scale: float
    window: int | None = None
    """Keys further back than this many positions, the token itself included, are not seen."""
    softcap: float | None = None
    """Scores pass through cap * tanh(score / cap)."""
    sinks: Tensor | None = None
    """A score per head that takes weight and gives nothing, shape (H,)."""


class Layout(Protocol):
    """Who sees whom in the forward pass that is under way."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """Return what the tokens of one packed row take from what they see.

        Args:
            layer: Number of the layer.
            q: Queries, shape (H, T, D).
            k: Keys, shape (K, T, D), where K divides H.
            v: Values, shape (K, T, E).
            rules: Of this layer.

        Returns:
            Shape (T, H, E).
        """


class _State(threading.local):
    """What the registered functions go by: transformers calls them by name and hands nothing of ours through.

    Each thread has its own, since several copies of a model may be under way at once.
    """

    layout: Layout | None = None
    verify: bool = False
    calls: int = 0


_STATE = _State()


@contextlib.contextmanager
def use(layout: Layout, *, verify: bool = False) -> Iterator[None]:
    """Let `layout` answer every attention layer within the block.

    Args:
        layout: Who sees whom.
        verify: Compare the window that each layer names with the mask that the model would have made for it; needs an
            `attention_mask` of ones in the model's call.

    Raises:
        UnsupportedAttentionError: no layer called: the model has an attention of its own.
    """
    before = _STATE.layout, _STATE.verify
    _STATE.layout, _STATE.verify, _STATE.calls = layout, verify, 0
    try:
        yield
        if not _STATE.calls:
            msg = "no layer called the attention function; the model has an attention of its own"
            raise UnsupportedAttentionError(msg)
    finally:
        _STATE.layout, _STATE.verify = before


def trie_attention(  # noqa: PLR0917 - transformers' own arguments in its own order
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Answer one attention layer through the layout in place.

    Raises:
        UnsupportedAttentionError: the layer asks for something else than causal attention over the packed row.
    """
    asked = sorted(name for name, given in others.items() if given is not None and name not in _HARMLESS)
    layer = getattr(module, "layer_idx", None)
    batch, _, length, size = query.shape
    layout = _STATE.layout
    if layout is None or asked or layer is None or dropout or batch != 1:
        what = f"arguments {', '.join(asked)}" if asked else "a call that is no packed row"
        msg = f"{type(module).__name__}: {what}; the packed attention takes one causal row without more"
        raise UnsupportedAttentionError(msg)
    if key.shape[2] != length or not getattr(module, "is_causal", True):
        msg = f"{type(module).__name__}: keys that are not those of its own tokens, or not causal"
        raise UnsupportedAttentionError(msg)
    if _STATE.verify and (attention_mask is None or int(attention_mask) != (sliding_window or 0)):
        msg = f"{type(module).__name__}: its mask is another one than causal within a window of {sliding_window}"
        raise UnsupportedAttentionError(msg)
    _STATE.calls += 1
    scale = size**-0.5 if scaling is None else float(scaling)
    rules = Rules(scale=scale, window=sliding_window, softcap=softcap, sinks=s_aux)
    # With a residual stream in float32, rotary embeddings widen queries and keys, and nothing widens the values.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return layout.attend(int(layer), query[0], key[0], value[0], rules)[None], None


def trie_mask(*_: Any, mask_function: Any = None, **__: Any) -> Tensor | None:
    """Return no mask: the layout knows who sees whom; to verify, the width of the model's own window, shape (1,1,1,1).

    0 stands for no window, -1 for a mask of another kind.
    """
    if not _STATE.verify:
        return None
    query = torch.tensor(_FAR)
    keys = torch.arange(_FAR + 1)
    zero = torch.tensor(0)
    try:
        seen = torch.as_tensor(mask_function(zero, zero, query, keys)).expand(_FAR + 1)
    except Exception:  # noqa: BLE001 - masks are the models' own code; one that cannot be asked is of another kind
        return torch.full((1, 1, 1, 1), -1)
    width = int(seen.sum())
    plain = bool(seen[_FAR + 1 - width :].all())
    return torch.full((1, 1, 1, 1), (0 if width == _FAR + 1 else width) if plain else -1)


AttentionInterface.register(TRIE, trie_attention)
AttentionMaskInterface.register(TRIE, trie_mask)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, rules: Rules) -> Tensor:
    """Return what queries take from what they see.

    Args:
        q: Shape (B, K, Q*G, D): query by query, then head by head.
        k: Shape (B, K, L, D).
        v: Shape (B, K, L, E).
        bias: Added to the scores, shape (B, 1, Q*G, L): 0 where seen, -inf where not.
        rules: Of the layer; the window is in the bias.

    Returns:
        Shape (B, K, Q*G, E).
    """
    # torch's fused kernel is slower in bfloat16 on a CPU than the two products and the softmax by themselves.
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16
    if rules.softcap is None and rules.sinks is None and not slow:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=rules.scale)
    return weights(q @ k.transpose(-1, -2), bias, rules).to(v.dtype) @ v


def weights(scores: Tensor, bias: Tensor, rules: Rules) -> Tensor:
    """Return the weights of keys from raw scores, float32, shape (B, K, Q*G, L)."""
    scores = scores.float().mul_(rules.scale) if scores.dtype != torch.float32 else scores.mul_(rules.scale)
    if rules.softcap is not None:
        scores = scores.div_(rules.softcap).tanh_().mul_(rules.softcap)
    scores = scores.add_(bias)
    if rules.sinks is None:
        return scores.softmax(-1)
    batch, kinds, queries, _ = scores.shape
    sinks = rules.sinks.float().view(kinds, -1)
    column = sinks.repeat(1, queries // sinks.shape[1])[None, :, :, None].expand(batch, -1, -1, -1)
    return torch.cat([scores, column], -1).softmax(-1)[..., :-1]
