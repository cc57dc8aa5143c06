"""The states of samples on their way, whatever their keys and values lie in.

Importing this module imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from harness.engines.transformers.answers import Sample, advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.engines.transformers.answers import Decode
    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.pool import Cohort


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One state: a prompt and what was sampled after it."""

    length: int
    """Tokens of the prompt."""
    samples: list[Sample]
    """All with the same tokens so far."""

    @property
    def time(self) -> int:
        """Sampled tokens."""
        return len(self.samples[0].ids)


RowT = TypeVar("RowT", bound=Row)
"""A kind of row: one that says where its keys lie."""


class Rows(ABC, Generic[RowT]):
    """All rows that are being decoded; how they go through the network is left to the kinds of pools."""

    apart = False
    """Whether cohorts should hold what all their prompts begin with apart."""

    def __init__(self, loaded: Loaded, *, ends: frozenset[int], decode: Decode) -> None:
        """Start without rows."""
        self.passed = 0
        """Rows put through the network so far, one token each."""
        self._loaded = loaded
        self._ends = ends
        self._decode = decode
        self._rows: list[RowT] = []

    def __len__(self) -> int:
        """Return the number of samples on their way."""
        return sum(len(row.samples) for row in self._rows)

    @property
    def load(self) -> int:
        """What the rows take of the room: one for each sample."""
        return len(self)

    @torch.inference_mode()
    def admit(self, cohort: Cohort, samples: Sequence[list[Sample]], logits: Tensor) -> list[Sample]:
        """Draw the first tokens after prompts, in the order of the cohort; return the samples that are done.

        Args:
            cohort: The prompts.
            samples: Of each prompt; may be empty.
            logits: After each prompt, float32, shape (P, V).
        """
        lengths = cohort.lengths.tolist()
        which = [i for i, own in enumerate(samples) if own]
        rows = [self._row(cohort, i, lengths[i], list(samples[i])) for i in which]
        fresh, parents, done = self._split(rows, logits if len(which) == len(logits) else logits[which])
        self._enter(cohort, fresh, [which[parent] for parent in parents])
        return done

    @abstractmethod
    def step(self) -> list[Sample]:
        """Pass one token of every row; return the samples that are done."""

    @abstractmethod
    def _row(self, cohort: Cohort, prompt: int, length: int, samples: list[Sample]) -> RowT:
        """Return the row of a prompt, `length` tokens long, after which nothing was sampled yet."""

    @abstractmethod
    def _enter(self, cohort: Cohort, rows: list[RowT], prompts: Sequence[int]) -> None:
        """Take rows in, one sampled token each, that go on from these prompts of the cohort."""

    def _split(self, rows: Sequence[RowT], logits: Tensor) -> tuple[list[RowT], list[int], list[Sample]]:
        """Draw a token per sample; return the rows that go on, the row that each comes from, and what is done."""
        fresh: list[RowT] = []
        parents: list[int] = []
        done: list[Sample] = []
        advance([row.samples for row in rows], logits, self._ends, self._decode)
        for number, row in enumerate(rows):
            by_token: dict[int, list[Sample]] = {}
            for sample in row.samples:
                if sample.reason is None:
                    by_token.setdefault(sample.ids[-1], []).append(sample)
                else:
                    done.append(sample)
            for same in by_token.values():
                fresh.append(replace(row, samples=same))
                parents.append(number)
        return fresh, parents, done
