"""Does our way through the network give the model's own numbers? Measured on this machine, before the first answer.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.engines.base import Encoded
from harness.engines.transformers import attention, streaming
from harness.engines.transformers.loading import forward_at, pad
from harness.engines.transformers.memory import Room
from harness.engines.transformers.packs import Walk
from harness.request import Completions, Generate
from harness.trie import Trie

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.engines.transformers.loading import Loaded

LIMIT = 2e-4
"""Nats; a larger shift in float32 is no rounding but a fault."""
HALF_LIMITS = (1.5, 0.15)
"""Nats, largest and mean shift in half precision: rounding alone gives 0.5 and 0.08 on small models, on both sides."""
_LIKELIEST = 20
"""Tokens compared per place, beside the one that follows."""
_STEPS = 4
_KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
_MOVING_ROPES = frozenset({"dynamic", "longrope"})
_TEXTS = (
    "Water is wet.",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "The capital of France is Paris, and the capital of Spain is Madrid.",
    "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen.",
    "A ship left the harbour in the morning. It carried salt and wool, and it came back in spring with timber.",
    "A ship left the harbour in the morning.",
    "Yes",
    "def add(a, b):\n    return a + b\n",
)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two ways through the network lie apart, in nats; NaN counts as infinite."""

    largest: float
    mean: float


def probes(tokenise: Callable[[str], Sequence[int]], *, vocabulary: int, context: int | None) -> list[list[int]]:
    """Return token ids of short texts of different lengths; of made-up tokens where the tokeniser knows no words."""
    found = []
    for text in _TEXTS:
        ids = list(tokenise(text)) or [(7919 * i + len(text)) % vocabulary for i in range(1 + len(text) // 4)]
        found.append(ids[:context])
    return found


def is_rounding(shift: Shift, dtype: str) -> bool:
    """Tell whether a shift is no more than rounding in this dtype; never for NaN."""
    largest, mean = (LIMIT, LIMIT) if dtype == "float32" else HALF_LIMITS
    return shift.largest <= largest and shift.mean <= mean


def moving_rope(config: Any) -> str | None:
    """Return the kind of rotary embedding whose angles depend on the longest row of a batch; None for others."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = {str(part.get("rope_type")) for part in (settings, *settings.values()) if isinstance(part, dict)}
    return next(iter(sorted(kinds & _MOVING_ROPES)), None)


def reason_against(config: Any) -> str | None:
    """Return why a model's config rules out the packed way; None where it does not."""
    if rope := moving_rope(config):
        return f"its rotary embedding ({rope}) depends on the longest row"
    layers = set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS
    return f"it has layers of type {', '.join(sorted(layers))}" if layers else None


def measure_padded(loaded: Loaded, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor]) -> Shift:
    """Compare padded batches with each sequence alone.

    Compared are the scoring path (padded right) at every place and the first step of generation (padded left).
    """
    index = [(row, place) for row, sequence in enumerate(sequences) for place in range(len(sequence))]
    at = torch.tensor(index, device=loaded.device)
    ids, mask, positions = pad(sequences, loaded.device)
    right = forward_at(loaded, ids, at[:, 0], at[:, 1], mask=mask, positions=positions).log_softmax(-1)
    ids, mask, positions = pad(sequences, loaded.device, left=True)
    rows = torch.arange(len(sequences), device=loaded.device)
    ends = torch.full_like(rows, ids.shape[1] - 1)
    left = forward_at(loaded, ids, rows, ends, mask=mask, positions=positions, cache=loaded.cache()).log_softmax(-1)
    found = []
    for row, (sequence, expected) in enumerate(zip(sequences, alone, strict=True)):
        found += [_apart(expected, right[at[:, 0] == row], sequence), _apart(expected[-1:], left[row : row + 1], ())]
    return _shift(found)


def measure_packed(loaded: Loaded, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor]) -> Shift:
    """Compare the packed way with each sequence alone: scoring at every place, and decoding step by step.

    Args:
        loaded: The model, its attention set to ours.
        sequences: Token ids.
        alone: What `plain` gave for each, with the model's own attention.

    Raises:
        UnsupportedAttentionError: a layer asks for something that our attention does not do.
    """
    trie = Trie.of([tuple(sequence) for sequence in sequences])
    walk = Walk(loaded, trie)
    # Cut in the middle, so that a kept path is checked too.
    stops = sorted({max(1, len(trie) // 2), len(trie)})
    logits = [walk.step(stop, range(walk.at, stop), verify=True) for stop in stops]
    logprobs = torch.cat(logits).log_softmax(-1)
    return _shift([
        _apart(expected, logprobs[trie.chain(trie.last[tuple(sequence)])], sequence)
        for sequence, expected in zip(sequences, alone, strict=True)
    ])  # fmt: skip


def sampled(loaded: Loaded, sequences: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Decode a few tokens after each sequence, greedily and sampled; return what was read and said.

    Returns:
        Prompt and sampled ids together, and the log-probs of the sampled ones.
    """
    asked = [Generate(messages="x", max_tokens=_STEPS, n=n, temperature=float(n > 1), seed=1) for n in (1, 3)]
    items = [Encoded(request=one, prompt="x", prompt_ids=tuple(ids)) for ids in sequences for one in asked]
    ledger = streaming.Ledger()
    room = Room(tokens=32, places=32, rows=16)
    found = streaming.stream(loaded, items, room=room, ledger=ledger, ends=frozenset(), decode=lambda _: "")
    return [
        (items[number].prompt_ids + one.token_ids, one.token_logprobs)
        for number, answer in found
        if isinstance(answer, Completions)
        for one in answer.completions
    ]


def compare_sampled(loaded: Loaded, said: Sequence[tuple[tuple[int, ...], tuple[float, ...]]]) -> Shift:
    """Compare the log-probs of sampled tokens with a forward of the whole, by the model's own attention."""
    found = []
    for ids, logprobs in said:
        expected = plain(loaded, ids)[len(ids) - len(logprobs) - 1 : -1]
        picked = expected.gather(-1, torch.tensor(ids[-len(logprobs) :], device=expected.device)[:, None])[:, 0]
        found.append((picked - torch.tensor(logprobs, device=picked.device)).abs())
    return _shift(found)


def plain(loaded: Loaded, sequence: Sequence[int]) -> Tensor:
    """Return the log-probs at every place of a sequence alone, by the model's own attention, shape (L, V)."""
    # Without gathering, so that the gathering is checked as well.
    with torch.inference_mode():
        logits: Tensor = loaded.model(input_ids=torch.tensor([sequence], device=loaded.device), use_cache=False).logits
    return logits[0].float().log_softmax(-1)


def packed(loaded: Loaded, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor], *, wide: bool) -> Shift:
    """Set the model's attention to ours and compare; set it back where that fails.

    Args:
        loaded: The model, its attention its own.
        sequences: Token ids.
        alone: What `plain` gave for each while the model was wholly its own.
        wide: Let the residual stream run in float32.

    Raises:
        UnsupportedAttentionError: our attention does not do what the model needs, or gives other numbers.
    """
    try:
        loaded.ours(wide=wide)
        scored = measure_packed(loaded, sequences, alone)
        said = sampled(loaded, sequences)
        loaded.stock()
        drawn = compare_sampled(loaded, said)
    except Exception as error:
        loaded.stock()
        if isinstance(error, attention.UnsupportedAttentionError | MemoryError | torch.OutOfMemoryError):
            raise
        # Models' own code fails in its own ways when it is asked for something it was not written for.
        msg = f"{type(error).__name__}: {error}"
        raise attention.UnsupportedAttentionError(msg) from error
    shift = Shift(max(scored.largest, drawn.largest), max(scored.mean, drawn.mean))
    if not is_rounding(shift, loaded.dtype):
        msg = f"its log-probs differ from the model's own by {shift.largest:.1e} nat, {shift.mean:.1e} on average"
        raise attention.UnsupportedAttentionError(msg)
    loaded.ours(wide=wide)
    return shift


def _apart(expected: Tensor, found: Tensor, sequence: Sequence[int]) -> Tensor:
    """Return the differences at the likeliest tokens and the following one."""
    top = expected.topk(min(_LIKELIEST, expected.shape[-1]), dim=-1).indices
    if len(sequence) > 1:
        following = torch.tensor([*sequence[1:], sequence[0]], device=top.device)[:, None]
        top = torch.cat([top, following], dim=-1)
    return (expected.gather(-1, top) - found.gather(-1, top)).abs().flatten()


def _shift(parts: Sequence[Tensor]) -> Shift:
    differences = torch.cat(list(parts)).nan_to_num(nan=float("inf"))
    return Shift(float(differences.max()), float(differences.mean()))
