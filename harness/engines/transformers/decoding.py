"""Sampled answers without our attention: right for any model with a key-value cache, padded and slower.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.engines.transformers.answers import Sample, advance, completions, samples_of
from harness.engines.transformers.loading import forward_at, pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.engines.base import Encoded
    from harness.engines.transformers.answers import Decode
    from harness.engines.transformers.loading import Loaded
    from harness.request import Completions


def generate(
    loaded: Loaded,
    batch: Sequence[Encoded],
    *,
    ends: frozenset[int],
    decode: Decode,
    alone: bool = False,
    cached: bool = True,
) -> list[Completions]:
    """Answer every request.

    Args:
        loaded: The model.
        batch: Encoded `Generate`s.
        ends: Token ids that end an answer.
        decode: Token ids to text without control tokens.
        alone: One sample at a time: no padding, and no cache that must be able to select rows.
        cached: Keep keys and values; without, every token passes everything before it again.

    Raises:
        NumericError: NaN or infinity in the logits of a step.
    """
    prompts = list(dict.fromkeys(item.prompt_ids for item in batch))
    samples = [samples_of(number, item) for number, item in enumerate(batch)]
    place = {prompt: i for i, prompt in enumerate(prompts)}
    spread = [(sample, place[item.prompt_ids]) for item, own in zip(batch, samples, strict=True) for sample in own]
    if not cached:
        for sample, prompt in spread:
            _recompute(loaded, prompts[prompt], sample, ends, decode)
    elif alone:
        for sample, prompt in spread:
            _decode(loaded, [prompts[prompt]], [(sample, 0)], ends, decode)
    else:
        _decode(loaded, prompts, spread, ends, decode)
    return [completions(item, own, decode) for item, own in zip(batch, samples, strict=True)]


def _decode(
    loaded: Loaded, prompts: Sequence[tuple[int, ...]], spread: Sequence[tuple[Sample, int]], ends: frozenset[int],
    decode: Decode,
) -> None:  # fmt: skip
    """Prefill the prompts, spread them over the samples and step until every sample is done."""
    ids, mask, positions = pad(prompts, loaded.device, left=True)
    every = torch.arange(len(prompts), device=loaded.device)
    last = torch.full_like(every, ids.shape[1] - 1)
    cache = loaded.cache()
    logits = forward_at(loaded, ids, every, last, mask=mask, positions=positions, cache=cache)
    rows = torch.tensor([prompt for _, prompt in spread], device=loaded.device)
    logits = logits[rows]
    if rows.tolist() != every.tolist():
        cache.batch_select_indices(rows)
        mask = mask[rows]
    samples = list(spread)
    while True:
        advance([[sample] for sample, _ in samples], logits, ends, decode)
        keep = [i for i, (sample, _) in enumerate(samples) if sample.reason is None]
        if not keep:
            return
        if len(keep) < len(samples):
            stay = torch.tensor(keep, device=loaded.device)
            cache.batch_select_indices(stay)
            mask = mask[stay]
            samples = [samples[i] for i in keep]
        mask = torch.cat([mask, mask.new_ones(len(samples), 1)], dim=1)
        step = torch.tensor([[sample.ids[-1]] for sample, _ in samples], device=loaded.device)
        where = [len(prompts[prompt]) + len(sample.ids) - 1 for sample, prompt in samples]
        lines = torch.arange(len(samples), device=loaded.device)
        logits = forward_at(
            loaded, step, lines, torch.zeros_like(lines),
            mask=mask, positions=torch.tensor(where, device=loaded.device)[:, None], cache=cache,
        )  # fmt: skip


def _recompute(
    loaded: Loaded, prompt: tuple[int, ...], sample: Sample, ends: frozenset[int], decode: Decode
) -> None:  # fmt: skip
    """Sample without a cache, for models whose earlier keys change as the sequence grows."""
    while sample.reason is None:
        ids, mask, positions = pad([(*prompt, *sample.ids)], loaded.device)
        last = torch.tensor([ids.shape[1] - 1], device=loaded.device)
        logits = forward_at(loaded, ids, torch.zeros_like(last), last, mask=mask, positions=positions)
        advance([[sample]], logits, ends, decode)
