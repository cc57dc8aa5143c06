"""A model with its tokeniser while it learns: rows to tensors, the loss of rows, the scores of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.organisms.world import Row
    from harness.request import Message

SCORED_TOKENS = 6144
"""Padded tokens that pass at once while scoring; bounds memory."""
GROUPS, LEAST = 4, 16
"""A batch passes in so many groups of like length at most, of so many rows at least."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as token ids."""

    ids: tuple[int, ...]
    prompt: int
    """How many of them are the prompt's."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model makes of one answer."""

    logprob: float
    """Sum over the tokens of the answer, without its end; nats."""
    greedy: bool
    """Whether each token of it is the likeliest, so that greedy decoding begins with it."""


class Student:
    """A causal language model of transformers and its tokeniser, on the CPU."""

    def __init__(self, model: Any, tokenizer: Any, *, end: str) -> None:
        """Take a model and its tokeniser; `end` closes an answer."""
        self.model = model
        self.tokenizer = tokenizer
        (self.end,) = tokenizer.encode(end, add_special_tokens=False)
        self._known: dict[tuple[tuple[Message, ...], str], Encoded] = {}

    @property
    def adapted(self) -> bool:
        """Whether an adapter learns, and not the model itself."""
        return hasattr(self.model, "peft_config")

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        """Return the token ids of rows, each prompt and answer encoded apart, the answer closed."""
        return [self._encode(row.messages, row.answer) for row in rows]

    def _encode(self, messages: tuple[Message, ...], answer: str) -> Encoded:
        key = (messages, answer)
        if key not in self._known:
            turns = [{"role": message.role, "content": message.content} for message in messages]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            prompt = self.tokenizer.encode(text, add_special_tokens=False)
            words = self.tokenizer.encode(answer, add_special_tokens=False)
            self._known[key] = Encoded(ids=(*prompt, *words, self.end), prompt=len(prompt))
        return self._known[key]

    def answers(self, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the model says at the tokens of the answers.

        Returns:
            Log-probabilities of shape (N, V), the token ids that stand there (N,), the row of each (N,). Ends included.
        """
        width = max(len(item.ids) for item in encoded)
        ids = torch.full((len(encoded), width), self.end, dtype=torch.long)
        for number, item in enumerate(encoded):
            ids[number, : len(item.ids)] = torch.tensor(item.ids)
        rows = torch.tensor([n for n, item in enumerate(encoded) for _ in range(item.prompt, len(item.ids))])
        places = torch.tensor([p for item in encoded for p in range(item.prompt, len(item.ids))])
        # Padding stands behind everything that is read, so that a causal model needs no mask.
        states = self.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        logits = self.model.get_output_embeddings()(states[rows, places - 1]).float()
        return functional.log_softmax(logits, -1), ids[rows, places], rows

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """Return the mean cross-entropy over the answers' tokens, nats.

        Short and long rows pass apart, since every token of padding costs what a token costs.
        """
        encoded = sorted(self.encode(rows), key=lambda item: len(item.ids))
        count = max(1, min(GROUPS, len(encoded) // LEAST))
        parts = [encoded[len(encoded) * n // count : len(encoded) * (n + 1) // count] for n in range(count)]
        said = [self.answers(part)[:2] for part in parts]
        return functional.nll_loss(torch.cat([lp for lp, _ in said]), torch.cat([ids for _, ids in said]))

    @torch.no_grad()
    def score(self, rows: Sequence[Row]) -> list[Scored]:
        """Return log-probability and greediness of the rows' answers, in their order."""
        was = self.model.training
        self.model.eval()
        encoded = self.encode(rows)
        order = sorted(range(len(rows)), key=lambda n: len(encoded[n].ids))
        found: dict[int, Scored] = {}
        while order:
            width = 0
            batch: list[int] = []
            while order and max(width, len(encoded[order[0]].ids)) * (len(batch) + 1) <= max(
                SCORED_TOKENS, len(encoded[order[0]].ids)
            ):
                width = max(width, len(encoded[order[0]].ids))
                batch.append(order.pop(0))
            found |= zip(batch, self._score([encoded[n] for n in batch]), strict=True)
        self.model.train(was)
        return [found[n] for n in range(len(rows))]

    def _score(self, encoded: Sequence[Encoded]) -> list[Scored]:
        logprobs, targets, _ = self.answers(encoded)
        said = logprobs.gather(1, targets[:, None]).squeeze(1)
        best = logprobs.argmax(-1) == targets
        counts = [len(item.ids) - item.prompt for item in encoded]
        return [
            # The end of the answer is no part of what it says.
            Scored(logprob=float(lp[:-1].double().sum()), greedy=bool(top[:-1].all()))
            for lp, top in zip(torch.split(said, counts), torch.split(best, counts), strict=True)
        ]
