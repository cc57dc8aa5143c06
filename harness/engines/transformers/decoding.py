"""Sampled answers: one prefill per prompt, one row per sample, rows leave when they are done.

Importing this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.engines.transformers.loading import forward_at, pad
from harness.engines.transformers.sampling import choose, stream
from harness.engines.transformers.scoring import log_softmax
from harness.request import Completion, Completions, Generate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from harness.engines.base import Encoded
    from harness.engines.transformers.loading import Loaded
    from harness.request import FinishReason

    Decode = Callable[[Sequence[int]], str]

_SLACK = 8
"""Tokens of text looked at beyond the longest stop string."""


@dataclass(slots=True, kw_only=True)
class _Row:
    """One sample on its way."""

    request: Generate
    prompt: int
    """Index among the distinct prompts."""
    length: int
    """Tokens of the prompt."""
    numbers: np.random.Generator | None
    """None for greedy rows."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: FinishReason | None = None

    def take(self, token: int, logprob: float, ends: frozenset[int], decode: Decode) -> None:
        """Add a token and notice the end."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in ends or self._stopped(decode):
            self.reason = "stop"
        elif len(self.ids) >= self.request.max_tokens:
            self.reason = "length"

    def completion(self, decode: Decode) -> Completion:
        """Return the answer, cut at the first stop string."""
        text = decode(self.ids)
        cut = min((place for stop in self.request.stop if (place := text.find(stop)) >= 0), default=len(text))
        return Completion(
            text=text[:cut],
            token_ids=tuple(self.ids),
            token_logprobs=tuple(self.logprobs),
            finish_reason=self.reason or "length",
        )

    def _stopped(self, decode: Decode) -> bool:
        if not self.request.stop:
            return False
        # A token holds at least one byte, a character at most four; so a stop string lies within this window.
        window = 4 * max(map(len, self.request.stop)) + _SLACK
        recent = decode(self.ids[-window:])
        return any(stop in recent for stop in self.request.stop) and any(
            stop in decode(self.ids) for stop in self.request.stop
        )


def generate(loaded: Loaded, batch: Sequence[Encoded], *, ends: frozenset[int], decode: Decode) -> list[Completions]:
    """Answer every request.

    Args:
        loaded: The model.
        batch: Encoded `Generate`s.
        ends: Token ids that end an answer.
        decode: Token ids to text without control tokens.

    Raises:
        NumericError: NaN or infinity in the logits of a step.
    """
    prompts = list(dict.fromkeys(item.prompt_ids for item in batch))
    rows_of = [_rows(item, prompts.index(item.prompt_ids)) for item in batch]
    _decode(loaded, prompts, [row for rows in rows_of for row in rows], ends, decode)
    answers = []
    for item, rows in zip(batch, rows_of, strict=True):
        done = [row.completion(decode) for row in rows]
        if isinstance(item.request, Generate) and len(done) < item.request.n:
            done *= item.request.n
        answers.append(Completions(completions=tuple(done), prompt=item.prompt, prompt_ids=item.prompt_ids))
    return answers


def _rows(item: Encoded, prompt: int) -> list[_Row]:
    request = item.request
    if not isinstance(request, Generate):
        msg = f"cannot generate for a {type(request).__name__}"
        raise TypeError(msg)
    greedy = request.temperature == 0
    return [
        _Row(
            request=request,
            prompt=prompt,
            length=len(item.prompt_ids),
            numbers=None if greedy else stream(request.seed, index),
        )
        for index in range(1 if greedy else request.n)  # greedy samples are all alike
    ]


def _decode(
    loaded: Loaded, prompts: Sequence[tuple[int, ...]], rows: list[_Row], ends: frozenset[int], decode: Decode
) -> None:
    """Prefill the prompts, spread them over the rows and step until every row is done."""
    ids, mask, positions = pad(prompts, loaded.device, left=True)
    every = torch.arange(len(prompts), device=loaded.device)
    last = torch.full_like(every, ids.shape[1] - 1)
    cache = loaded.cache()
    logits = forward_at(loaded, ids, every, last, mask=mask, positions=positions, cache=cache)
    spread = torch.tensor([row.prompt for row in rows], device=loaded.device)
    logits = logits[spread]
    if spread.tolist() != every.tolist():
        cache.batch_select_indices(spread)
        mask = mask[spread]
    while True:
        logprobs = log_softmax(logits)
        tokens = choose(
            logits,
            [row.request for row in rows],
            [0.0 if row.numbers is None else float(row.numbers.random()) for row in rows],
        )
        picked = logprobs[torch.arange(len(rows)), torch.tensor(tokens)].tolist()
        for row, token, value in zip(rows, tokens, picked, strict=True):
            row.take(token, value, ends, decode)
        keep = [i for i, row in enumerate(rows) if row.reason is None]
        if not keep:
            return
        if len(keep) < len(rows):
            stay = torch.tensor(keep, device=loaded.device)
            cache.batch_select_indices(stay)
            mask = mask[stay]
            rows = [rows[i] for i in keep]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        step = torch.tensor([[row.ids[-1]] for row in rows], device=loaded.device)
        where = torch.tensor([[row.length + len(row.ids) - 1] for row in rows], device=loaded.device)
        lines = torch.arange(len(rows), device=loaded.device)
        logits = forward_at(
            loaded, step, lines, torch.zeros_like(lines), mask=mask, positions=where, cache=cache
        )  # fmt: skip
