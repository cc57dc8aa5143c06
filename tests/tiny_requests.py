"""Requests of token ids that share as much as requests can, and the plain forward that answers to them are held to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from harness.engines.base import Encoded
from harness.request import Completions, Generate, Loglikelihood, Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.request import Answer

    Ids = tuple[int, ...]

LIMIT = 2e-4
"""Nats by which a log-probability in float32 may differ from that of a plain forward."""
_FIRST = 3
"""The ids below it are control tokens."""
_SHARED = 40
"""Tokens of the prefix that most prompts share."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A stock model and nothing else: one sequence per forward, no cache, all logits."""

    model: Any

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Plain:
        """Open a folder as transformers does when nothing is asked of it."""
        return cls(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())

    def logprobs(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the float32 log-probabilities after each of `ids`, shape (L, V)."""
        with torch.inference_mode():
            found: torch.Tensor = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        return found.float().log_softmax(-1)

    def after(self, prompt: Sequence[int], rest: Sequence[int]) -> torch.Tensor:
        """Return the log-probabilities at the places that `rest` is read from, shape (len(rest), V)."""
        return self.logprobs([*prompt, *rest])[len(prompt) - 1 : -1]

    def of(self, prompt: Sequence[int], rest: Sequence[int]) -> list[float]:
        """Return the log-probabilities of the tokens of `rest` after `prompt`, in nats."""
        return self.after(prompt, rest).gather(-1, torch.tensor([list(rest)]).T).flatten().tolist()


def scoring(vocabulary: int, seed: int = 0) -> list[Encoded]:
    """Return 26 requests to score: shared and nested prefixes, prompts within prompts, short, long and equal ones."""
    numbers = random.Random(seed)  # noqa: S311 - token ids, not secrets

    def words(count: int) -> Ids:
        return tuple(numbers.randrange(_FIRST, vocabulary) for _ in range(count))

    system, ends = words(_SHARED), words(8)
    first, second, third = words(5), words(9), words(20)
    answers = (ends[:1], ends[:2], ends[:6], (ends[0], *ends[3:6]), ends[4:5])
    prompts = [system + words(count) for count in range(2, 12)]
    prompts += [system, system[:25], system[:25] + words(7), system[:1]]
    prompts += [system + first, system + first + second, system + first + second + third, system + first + third]
    prompts += [words(1), words(2), words(17)]
    long = system + words(90)
    prompts += [long, long + words(14), long[:100], prompts[0]]
    asked = [_score(prompt, answers) for prompt in prompts]
    # Answers that are the beginning of another prompt, so that their places are read and passed on.
    return [*asked, _score(system, (first[:1], first, first[:3] + ends[:1], first + second[:1]))]


def generating(vocabulary: int, seed: int = 0, **asked: Any) -> list[Encoded]:
    """Return 7 requests of different lengths to generate, two of them alike, several with one prefix."""
    prompts = [item.prompt_ids for item in scoring(vocabulary, seed)]
    chosen = [prompts[i] for i in (0, 9, 10, 16, 18, 22, 0)]
    request = Generate(**{"messages": "text", "max_tokens": 10, **asked})
    return [Encoded(request=request, prompt="text", prompt_ids=ids) for ids in chosen]


def shifts(plain: Plain, answers: Iterable[Answer]) -> list[float]:
    """Return how far each token's log-probability lies from that of the plain model, in nats."""
    found: list[float] = []
    for answer in answers:
        parts: Any = answer.continuations if isinstance(answer, Scores) else ()
        if isinstance(answer, Completions):
            parts = answer.completions
        for part in parts:
            expected = plain.of(answer.prompt_ids, part.token_ids)
            found += [abs(a - b) for a, b in zip(part.token_logprobs, expected, strict=True)]
    return found


def _score(prompt: Ids, answers: Sequence[Ids]) -> Encoded:
    request = Loglikelihood(messages="text", continuations=tuple(f" {i}" for i in range(len(answers))))
    return Encoded(request=request, prompt="text", prompt_ids=prompt, continuation_ids=tuple(answers))
