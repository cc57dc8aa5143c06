"""One row of evidence as a record keeps it: what was said to the model and what came back.

Texts of restricted suites never get into a record: `redacted` leaves keyed tags in their place (`harness.restricted`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping  # noqa: TC003 - records are rebuilt from their hints at run time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import canonical
from harness.inner import Activations, Lens, Losses, Patterns, States
from harness.request import Completions, Failure, Message, Scores
from harness.restricted import WITHHELD, hidden_id, placeholder, tag, withhold_foreign
from harness.scoring import log_sum_exp, not_right

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.request import Answer
    from harness.transcript import Row
    from harness.verdict import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerText:
    """One generated text."""

    text: str
    finish_reason: str
    """`stop` or `length`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScore:
    """One token of a scored continuation."""

    token: str
    """Its text where the engine knows it, else its id as `#id`."""
    logprob: float
    """Nats, given everything before it."""
    id: int | None = None
    """Of the token in the model's vocabulary; None in older records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """One scored continuation."""

    text: str
    group: str
    """`bad`, `good`, `options`; empty when it belongs to none."""
    tokens: tuple[TokenScore, ...]
    logprob: float
    """Nats, sum over the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What was read inside the model: where, and only as many numbers as somebody can look at."""

    what: str
    """`activations`, `attention`, `logit lens` or `losses`."""
    layers: tuple[int, ...] = ()
    """Blocks after which it was read, 0 before the first; of a lens and of losses none."""
    positions: tuple[int, ...] = ()
    """Tokens, -1 for the last; none where the mean over tokens was read, or all were."""
    shape: tuple[int, ...] = ()
    """Of the numbers that the model gave."""
    continuation: str = ""
    """Text behind the prompt that was read with it."""
    logprob: float | None = None
    """Of the continuation, nats."""
    margins: tuple[float, ...] = ()
    """Of a lens: the margin after each layer, 0 first, nats."""
    mean: float | None = None
    """Of attention weights, or of losses in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One row of evidence: what was said to the model and what came back."""

    id: str
    """Row id, `scenario/condition/cue/phrasing/kind`."""
    scenario: str
    condition: str
    cue: str | None = None
    messages: tuple[Message, ...] = ()
    """Turns with every template filled in."""
    prompt: str = ""
    """The text that the model saw, chat template applied."""
    prompt_ids: tuple[int, ...] = ()
    """The same in token ids, as they were passed through the network; empty in older records."""
    answers: tuple[AnswerText, ...] = ()
    scored: tuple[ScoredText, ...] = ()
    groups: Mapping[str, float] = field(default_factory=dict)
    """Group name -> log of the summed probability of its continuations, nats."""
    margin: float | None = None
    """Nats; logsumexp(bad) - logsumexp(good), or logsumexp(bad) alone; None when nothing was scored."""
    failure: str = ""
    """Kind and detail, where no answer could be had; the kind alone in a restricted suite."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of a redacted exchange: keyed tags of `asked` and `answered`, or `withheld`. Then it holds no texts."""
    inside: Inside | None = None
    """Of a row that looks inside the model; None of all others."""
    changed: str | None = None
    """What was done to the model for this row alone, such as `noise=0.05,seed=1`; None for nothing."""


def redacted(exchange: Exchange) -> Exchange:
    """Return `exchange` without texts: row id, numbers and digests stay.

    Token ids go as the texts do: with the tokenizer, they are the text.
    """
    asked = [[message.role, message.content] for message in exchange.messages]
    answered = [*[answer.text for answer in exchange.answers], *[scored.text for scored in exchange.scored]]
    inside = exchange.inside
    if inside is not None and inside.continuation:
        asked.append(["continuation", inside.continuation])
        inside = dataclasses.replace(inside, continuation="")
    # Tags that are there stand for what was there: new ones could only be made of nothing.
    digests = exchange.digests or {
        "asked": tag(canonical.canonical_json([asked, exchange.prompt])),
        "answered": tag(canonical.canonical_json(answered)),
    }
    return dataclasses.replace(
        exchange,
        messages=(), prompt="", prompt_ids=(), answers=(), scored=(), inside=inside, digests=digests,
        failure=exchange.failure.partition(":")[0],
    )  # fmt: skip


def without_texts(measurement: Measurement) -> Measurement:
    """Return `measurement` with nothing quoted in its note, and no option of a prompt in its name."""
    name, bracket, option = measurement.name.partition("[")
    if bracket and not option.startswith(WITHHELD):
        name += placeholder(option.removesuffix("]"))
    else:
        name = measurement.name
    return dataclasses.replace(measurement, name=name, note=withhold_foreign(measurement.note))


def hidden_names(values: Mapping[str, float]) -> dict[str, float]:
    """Return scenario values by tags in place of ids; none at all where there is no key to make tags with."""
    hidden = {name: hidden_id(name) for name in values}
    return {} if None in hidden.values() else {str(hidden[name]): value for name, value in values.items()}


def exchange_from_row(row: Row, token_text: Callable[[int], str] | None = None) -> Exchange:
    """Return the exchange of one transcript row.

    Args:
        row: A row with its answer, or with the failure that stands for it.
        token_text: Text of a token id, where the engine can say.
    """
    head: dict[str, Any] = {"id": row.id, "scenario": row.scenario, "condition": row.condition, "cue": row.cue}
    head |= {"messages": row.messages, "changed": row.transform or None}
    match row.response:
        case Failure(kind, detail):
            return Exchange(**head, failure=f"{kind}: {detail}")
        case Completions(completions=completions) as answer:
            answers = tuple(AnswerText(text=done.text, finish_reason=done.finish_reason) for done in completions)
            return Exchange(**head, **_prompt(answer), answers=answers)
        case Scores() as scores:
            return _scored_exchange(head, row, scores, token_text or "#{}".format)
        case States() | Patterns() | Lens() | Losses() as answer:
            return Exchange(**head, **_prompt(answer), inside=_inside(row, answer))


def _prompt(answer: Answer) -> dict[str, Any]:
    """Return the prompt as asked, in text and in token ids."""
    return {"prompt": answer.prompt, "prompt_ids": answer.prompt_ids}


def _inside(row: Row, answer: States | Patterns | Lens | Losses) -> Inside:
    shape = answer.values.shape
    match answer:
        case States(layers=layers, logprob=logprob):
            asked = row.request if isinstance(row.request, Activations) else None
            return Inside(
                what="activations", layers=layers, shape=shape, logprob=logprob,
                positions=asked.positions if asked and asked.pool == "none" else (),
                continuation=asked.continuation if asked else "",
            )  # fmt: skip
        case Patterns(layers=layers, values=values):
            return Inside(what="attention", layers=layers, shape=shape, mean=float(values.numpy().mean()))
        case Lens(values=values):
            sides = [row.groups.get(name, ()) for name in ("bad", "good")]
            found = values.numpy().tolist() if all(sides) else []
            margins = [log_sum_exp([at[i] for i in sides[0]]) - log_sum_exp([at[i] for i in sides[1]]) for at in found]
            return Inside(what="logit lens", shape=shape, margins=tuple(margins))
        case Losses(values=values):
            return Inside(what="losses", shape=shape, mean=float(values.numpy().mean()))


def _scored_exchange(head: dict[str, Any], row: Row, scores: Scores, token_text: Callable[[int], str]) -> Exchange:
    group_of = {index: name for name, indices in row.groups.items() for index in indices}
    if not all(math.isfinite(number) for item in scores.continuations for number in item.token_logprobs):
        return Exchange(**head, **_prompt(scores), failure="numeric: a log-probability is NaN or infinite")
    scored = tuple(
        ScoredText(
            text=item.text, group=group_of.get(index, ""), logprob=item.logprob,
            tokens=tuple(
                TokenScore(token=token_text(token), logprob=logprob, id=token)
                for token, logprob in zip(item.token_ids, item.token_logprobs, strict=True)
            ),
        )
        for index, item in enumerate(scores.continuations)
    )  # fmt: skip
    sums = {name: _logsumexp([scored[index].logprob for index in indices]) for name, indices in row.groups.items()}
    margin = sums["bad"] - sums.get("good", 0.0) if "bad" in sums else None
    if margin is None and "good" in sums:
        margin = not_right(min(sums["good"], 0.0))
    return Exchange(**head, **_prompt(scores), scored=scored, groups=sums, margin=margin)


def _logsumexp(logprobs: list[float]) -> float:
    peak = max(logprobs)
    return peak + math.log(math.fsum(math.exp(logprob - peak) for logprob in logprobs))
