"""From numbers to answers: log-probs as they are read, samples one token at a time until they stop.

Importing this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch

from harness.engines.transformers.sampling import Draw, choose, stream
from harness.errors import NumericError
from harness.request import Completion, Completions, Generate, Loglikelihood, ScoredContinuation, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from harness.engines.base import Encoded
    from harness.request import FinishReason

Decode: TypeAlias = "Callable[[Sequence[int]], str]"
"""Token ids to text without control tokens."""
_SLACK = 8
"""Tokens of text looked at beyond the longest stop string."""


@dataclass(slots=True, kw_only=True, eq=False)
class Sample:
    """One sample on its way."""

    item: int
    """Which request it answers."""
    number: int
    """Which of the request's samples it is."""
    request: Generate
    numbers: np.random.Generator | None
    """None for greedy samples."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    reason: FinishReason | None = None

    def uniform(self) -> float:
        """Return the number that decides the next token."""
        return 0.0 if self.numbers is None else float(self.numbers.random())

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


def samples_of(number: int, item: Encoded) -> list[Sample]:
    """Return the samples of a request, not begun; greedy ones are all alike, so there is one."""
    request = item.request
    if not isinstance(request, Generate):
        msg = f"cannot generate for a {type(request).__name__}"
        raise TypeError(msg)
    if request.temperature == 0:
        return [Sample(item=number, number=0, request=request, numbers=None)]
    return [Sample(item=number, number=i, request=request, numbers=stream(request.seed, i)) for i in range(request.n)]


def completions(item: Encoded, samples: Sequence[Sample], decode: Decode) -> Completions:
    """Return the answer to a request from its samples, in order."""
    done = [sample.completion(decode) for sample in samples]
    if isinstance(item.request, Generate) and len(done) < item.request.n:
        done *= item.request.n
    return Completions(completions=tuple(done), prompt=item.prompt, prompt_ids=item.prompt_ids)


def scores_of(item: Encoded, values: Sequence[Sequence[float]]) -> Scores:
    """Return the answer to a request from the log-probs of each continuation's tokens."""
    if not isinstance(item.request, Loglikelihood):
        msg = f"cannot score a {type(item.request).__name__}"
        raise TypeError(msg)
    scored = tuple(
        ScoredContinuation(text=text, token_ids=ids, token_logprobs=tuple(logprobs))
        for text, ids, logprobs in zip(item.request.continuations, item.continuation_ids, values, strict=True)
    )
    return Scores(continuations=scored, prompt=item.prompt, prompt_ids=item.prompt_ids)


def advance(rows: Sequence[Sequence[Sample]], logits: Tensor, ends: frozenset[int], decode: Decode) -> None:
    """Draw the next token of every sample from the logits of its row.

    Args:
        rows: Samples of each row.
        logits: Float32, shape (rows, V).
        ends: Token ids that end an answer.
        decode: Token ids to text.

    Raises:
        NumericError: a logit is not finite.
    """
    totals = normaliser(logits)
    flat = [(number, sample) for number, samples in enumerate(rows) for sample in samples]
    tokens = choose(logits, [Draw(number, sample.request, sample.uniform()) for number, sample in flat])
    at = torch.tensor([[number, token] for (number, _), token in zip(flat, tokens, strict=True)], device=logits.device)
    picked = (logits[at[:, 0], at[:, 1]] - totals[at[:, 0]]).tolist()
    for (_, sample), token, value in zip(flat, tokens, picked, strict=True):
        sample.take(token, value, ends, decode)


def normaliser(logits: Tensor) -> Tensor:
    """Return the log-sum-exp of each row of float32 logits, shape (N,).

    Raises:
        NumericError: a logit is not finite.
    """
    totals: Tensor = logits.logsumexp(-1)
    # A sum over a row is one pass without a copy; only a suspicious one needs the exact look.
    sound = logits.sum(-1).isfinite() & totals.isfinite()
    if not bool(sound.all()) and not bool((logits[~sound].isfinite().all(-1) & totals[~sound].isfinite()).all()):
        msg = (
            "logits: NaN or infinity in the model's output; expected finite numbers at every position that is read; "
            "use float32, or another model"
        )
        raise NumericError(msg)
    return totals
