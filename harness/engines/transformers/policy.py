"""Which way a model goes through the network, decided by what the self-check measures.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.engines.transformers import selfcheck
from harness.engines.transformers.attention import UnsupportedAttentionError
from harness.engines.transformers.linears import pack_linears
from harness.engines.transformers.memory import keep_heap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.prompts import PromptEncoder
    from harness.engines.transformers.selfcheck import Shift


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How requests are answered, and what to say about it."""

    name: str
    """trie or padded."""
    shift: Shift
    """Against the model's own forward of each probe alone."""
    notes: tuple[str, ...]
    alone: bool = False
    """Whether every row must be passed alone, without padding."""
    cached: bool = True
    """Whether earlier keys may be kept while sampling."""


def decide(loaded: Loaded, encoder: PromptEncoder, config: Any, *, alone: bool = False) -> Policy:
    """Take the packed way where the model's own numbers come out of it, else padded batches, else single rows.

    Args:
        loaded: The model, its attention its own.
        encoder: Its tokeniser.
        config: Of transformers.
        alone: Take single rows in any case.
    """
    where = f"{loaded.device}" + (f", {torch.get_num_threads()} threads" if loaded.device.type == "cpu" else "")
    head = [f"device {where}, {loaded.dtype}, attention {loaded.attention}"]
    sequences = selfcheck.probes(
        lambda text: encoder.tokenizer(text, add_special_tokens=False)["input_ids"],
        vocabulary=int(config.vocab_size),
        context=encoder.context,
    )
    plain = [selfcheck.plain(loaded, sequence) for sequence in sequences]
    # After the reference was read: what the new layout does to the numbers is checked as well.
    pack_linears(loaded.model, loaded.head)
    if loaded.device.type == "cpu":
        keep_heap()
    if alone:
        return _alone(loaded, sequences, plain, head, cached=not selfcheck.moving_rope(config))
    reason = selfcheck.reason_against(config)
    if reason is None and not loaded.takes_positions:
        reason = "it takes no position ids"
    if reason is None:
        try:
            shift, stream = _packed(loaded, sequences, plain)
        except UnsupportedAttentionError as error:
            reason = str(error)
        else:
            return Policy(name="trie", shift=shift, notes=(*head, *stream, _said("packing", shift)))
    notes = [*head, f"fallback to padded batches, slower: {reason}"]
    shift = selfcheck.measure_padded(loaded, sequences, plain)
    notes.append(_said("padding and batch size", shift))
    # What rules out packing by config is not safe in a padded batch either: moving angles, convolutions.
    single = selfcheck.reason_against(config) is not None
    if not selfcheck.is_rounding(shift, loaded.dtype):
        single = True
        notes.append(f"that is more than rounding in {loaded.dtype}")
    if single:
        notes.append("every row is passed alone, slowly")
    return Policy(
        name="padded", shift=shift, notes=tuple(notes), alone=single, cached=not selfcheck.moving_rope(config)
    )


def _alone(
    loaded: Loaded, sequences: Sequence[Sequence[int]], plain: Sequence[Tensor], head: Sequence[str], *, cached: bool
) -> Policy:  # fmt: skip
    """Pass single rows, and say how far padding would move them: the width of rounding in this dtype on this machine.

    Where padding does more than rounding, which says nothing about single rows, these are held against the model's own.
    """
    shift, what = selfcheck.measure_padded(loaded, sequences, plain), "padding, which is not done, would"
    if not selfcheck.is_rounding(shift, loaded.dtype):
        each = [selfcheck.measure_padded(loaded, [one], [own]) for one, own in zip(sequences, plain, strict=True)]
        shift = selfcheck.Shift(max(one.largest for one in each), max(one.mean for one in each))
        what = "our way with single rows"
    notes = (*head, "every row is passed alone, as asked", _said(what, shift))
    return Policy(name="padded", shift=shift, notes=notes, alone=True, cached=cached)


def _packed(
    loaded: Loaded, sequences: Sequence[Sequence[int]], alone: Sequence[Tensor]
) -> tuple[Shift, tuple[str, ...]]:
    """Try the packed way, in half precision first with a residual stream in float32, which not every model takes."""
    if loaded.residual is not None:
        try:
            shift = selfcheck.packed(loaded, sequences, alone, wide=True)
        except UnsupportedAttentionError as error:
            said = f"residual stream in {loaded.dtype}: {error}"
        else:
            return shift, ("residual stream in float32",)
        return selfcheck.packed(loaded, sequences, alone, wide=False), (said,)
    return selfcheck.packed(loaded, sequences, alone, wide=False), ()


def _said(what: str, shift: Shift) -> str:
    return f"self-check: {what} shift a log-probability by at most {shift.largest:.1e} nat, {shift.mean:.1e} on average"
