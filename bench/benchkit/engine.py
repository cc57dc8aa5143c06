"""This project's engine behind the interface of the compared systems."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.engines import open_spec
from harness.engines.base import Encoded, EngineOptions
from harness.planner import plan
from harness.request import Completions, Generate, Loglikelihood, Scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchkit.workloads import Ask
    from harness.request import Answer


def scoring(asks: Iterable[Ask]) -> list[Encoded]:
    """Return one request per group, its continuations in the order asked."""
    return [_scored(list(group)) for _, group in groupby(asks, key=lambda ask: ask.group)]


def generating(asks: Iterable[Ask], temperature: float, seed: int = 0) -> list[Encoded]:
    """Return one request per prompt."""
    return [
        Encoded(
            request=Generate(messages=ask.context, max_tokens=ask.max_new, n=ask.n, temperature=temperature, seed=seed),
            prompt=ask.context,
            prompt_ids=ask.context_ids,
        )
        for ask in asks
    ]


def answer(engine: Any, encoded: Sequence[Encoded]) -> list[Answer]:
    """Answer all requests of a round, in order, as a run does."""
    if hasattr(engine, "stream"):
        found = dict(engine.stream(encoded))
        return [found[i] for i in range(len(encoded))]
    unique = {item.fingerprint: item for item in encoded}
    known: dict[str, Answer] = {}
    for batch in plan(list(unique.values()), engine.batch_tokens):
        known |= zip((item.fingerprint for item in batch.items), engine.run(batch.items), strict=True)
    return [known[item.fingerprint] for item in encoded]


def logprobs(answers: Iterable[Answer]) -> list[list[float]]:
    """Return the log-probability of each continuation of each answer, nats.

    Raises:
        TypeError: an answer is no `Scores`.
    """
    found = []
    for item in answers:
        if not isinstance(item, Scores):
            raise TypeError(item)
        found.append([scored.logprob for scored in item.continuations])
    return found


def tokens(answers: Iterable[Answer]) -> list[list[list[int]]]:
    """Return the tokens of each completion of each answer.

    Raises:
        TypeError: an answer is no `Completions`.
    """
    found = []
    for item in answers:
        if not isinstance(item, Completions):
            raise TypeError(item)
        found.append([list(completion.token_ids) for completion in item.completions])
    return found


class Ours:
    """The engine that `tells` runs."""

    def __init__(self, model: str, dtype: str, *, memory: int | None = None, device: str = "cpu") -> None:
        """Open it; the first request loads the weights.

        Args:
            model: A SPEC or a folder.
            dtype: Of the weights.
            memory: Bytes to plan for.
            device: Where it runs.
        """
        self.engine: Any = open_spec(model, EngineOptions(device=device, dtype=dtype, memory=memory))

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Return the log-probability of each continuation, nats."""
        found = logprobs(answer(self.engine, scoring(asks)))
        return [value for values in found for value in values]

    def generate(self, asks: Sequence[Ask], temperature: float) -> list[list[list[int]]]:
        """Return the tokens of `n` completions per request."""
        return tokens(answer(self.engine, generating(asks, temperature)))

    def forget(self) -> None:
        """Nothing is kept between calls."""

    def passed(self) -> int | None:
        """Return the tokens passed through the network so far, padding included."""
        work = getattr(self.engine, "work", None)
        return None if work is None else int(work.passed)

    def notes(self) -> tuple[str, ...]:
        """Return what the engine says about itself."""
        return tuple(self.engine.notes)


def _scored(group: list[Ask]) -> Encoded:
    first = group[0]
    return Encoded(
        request=Loglikelihood(messages=first.context, continuations=tuple(ask.continuation for ask in group)),
        prompt=first.context,
        prompt_ids=first.context_ids,
        continuation_ids=tuple(ask.continuation_ids for ask in group),
    )
