"""Our attention function behind transformers' own interface: the model stays stock, only who sees whom is ours.

`TRIE` is registered with `AttentionInterface`; while a `Layout` is in place, every attention layer of a model hands its
queries, keys and values to it. Queries of one key-value head stand below each other (grouped-query attention needs no
copies of the keys), and every part comes back with the logarithm of its normaliser, so that parts over different keys
can be merged exactly (Milakov and Gimelshein 2018, arXiv 1805.02867).

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import contextlib
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
# The kernel behind scaled_dot_product_attention on a CPU; the public function keeps the normaliser to itself.
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - as said
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


@dataclass(slots=True)
class _State:
    """What the registered functions go by: transformers calls them by name and hands nothing of ours through."""

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


def part(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rules: Rules, *, blind: bool = False
) -> tuple[Tensor, Tensor]:
    """Return attention over some of the keys, and the logarithm of its normaliser.

    Args:
        q: Shape (B, K, Q, D).
        k: Shape (B, K, L, D).
        v: Shape (B, K, L, E).
        bias: Added to the scores, shape (B or 1, 1, Q or 1, L): 0 where seen, -inf where not.
        rules: Scale and cap; the window is in the bias, sinks belong to the whole.
        blind: Whether a query may see nothing here.

    Returns:
        Shape (B, K, Q, E) in the dtype of `q`, and float32 (B, K, Q); 0 and -inf where nothing is seen.
    """
    if _fused(q, v, rules) and not blind:
        mask = None if bias is None else bias.expand(*bias.shape[:2], q.shape[2], -1)
        out, total = _FLASH(q, k, v, attn_mask=mask, scale=rules.scale)
        return out, total
    scores = _scores(q, k, bias, rules)
    total = scores.logsumexp(-1)
    weights = (scores - total.clamp(min=torch.finfo(total.dtype).min)[..., None]).exp()
    return weights.to(v.dtype) @ v, total


def whole(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rules: Rules) -> Tensor:
    """Return attention over all that is seen; shapes as in `part`."""
    if rules.sinks is not None:
        return drain(*part(q, k, v, bias, rules), rules.sinks)
    if rules.softcap is None:
        mask = None if bias is None else bias.expand(*bias.shape[:2], q.shape[2], -1)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rules.scale)
    return _scores(q, k, bias, rules).softmax(-1).to(v.dtype) @ v


def merge(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], sinks: Tensor | None = None) -> Tensor:
    """Return attention over the keys of both parts, shape and dtype of the first part's output."""
    (a, x), (b, y) = one, other
    # The share of the second part is the logistic function of the difference of the log-normalisers.
    share = (y - x).sigmoid()[..., None]
    found = torch.lerp(a.float(), b.float(), share).to(a.dtype)
    return found if sinks is None else drain(found, torch.logaddexp(x, y), sinks)


def drain(out: Tensor, total: Tensor, sinks: Tensor) -> Tensor:
    """Give a sink per head its share of the weight; queries stand token by token, then head by head."""
    score = sinks.float().view(out.shape[1], -1).repeat(1, out.shape[2] * out.shape[1] // len(sinks))
    return out * (total - score).sigmoid()[..., None].to(out.dtype)


def _fused(q: Tensor, v: Tensor, rules: Rules) -> bool:
    """Tell whether torch has one kernel for it that says its normaliser."""
    return rules.softcap is None and q.device.type == "cpu" and v.shape[-1] == q.shape[-1]


def _scores(q: Tensor, k: Tensor, bias: Tensor | None, rules: Rules) -> Tensor:
    scores = (q @ k.transpose(-1, -2)).float() * rules.scale
    if rules.softcap is not None:
        scores = (scores / rules.softcap).tanh() * rules.softcap
    return scores if bias is None else scores + bias
