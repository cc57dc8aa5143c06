"""Scored continuations token by token, each held against what stood in its place: the good text, or another condition.

The most likely bad continuation and the most likely good one are shown as one strip that forks where they part. Where
only one side was scored, its tokens are held against the same continuation beside it, in the other condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.escape import line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.exchange import Exchange, ScoredText, TokenScore

BAD, GOOD = "bad", "good"
DIFFERENCES = (0.1, 0.5, 2.0)
"""Nats; a difference of the k-th size or more has the k-th shade."""
SURPRISES = (-0.1, -1.0, -3.0, -6.0)
"""Nats; a token below the k-th gets the k-th shade."""
MAX_TOKENS = 200
MAX_SCORED = 40
TOKEN = 40
"""Characters of a token in a list."""
TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token as it is shown."""

    text: str
    logprob: float
    """Nats."""
    against: float | None = None
    """Nats above the token in its place; None where there is none to hold it against."""
    shade: str = ""
    """Classes that colour it: how far (`d0` to `d3`) and which way, or how surprising it is alone (`u0` to `u4`)."""

    @property
    def symbol(self) -> str:
        """What says the same without colour: up to three triangles, and which way they point."""
        if not self.shade.endswith(("up", "dn")):
            return ""
        return f"{('▲' if self.shade.endswith('up') else '▼') * int(self.shade[1])} "


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One continuation behind what it shares with the other."""

    group: str
    text: str
    logprob: float
    tokens: tuple[Token, ...]
    more: int = 0
    """Tokens that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One or two continuations, token by token."""

    against: str
    """What the colours hold the first one against; empty: nothing, they show surprise."""
    shared: tuple[Token, ...]
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A continuation that is listed only."""

    group: str
    text: str
    logprob: float
    tokens: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What was scored of one exchange."""

    strips: tuple[Strip, ...]
    others: tuple[Listed, ...]
    more: int
    """Continuations that are left out."""


def surprise(logprob: float) -> int:
    """Return how surprising a token is: 0 (expected) to `len(SURPRISES)`."""
    return sum(logprob < limit for limit in SURPRISES)


def difference(nats: float) -> str:
    """Return the shade of a difference: how large (`d0` to `d3`), and `up` or `dn` unless it is none to speak of."""
    size = sum(abs(nats) >= limit for limit in DIFFERENCES)
    return f"d{size}{(' up' if nats > 0 else ' dn') if size else ''}"


def scored(exchange: Exchange, beside: Sequence[Exchange] = ()) -> Scored:
    """Return what is shown of the continuations of an exchange.

    Args:
        exchange: With whatever was scored.
        beside: The same scenario in other conditions, first choice first.
    """
    if not exchange.scored:
        return Scored(strips=(), others=(), more=0)
    bad, good = (_likeliest(exchange.scored, group) for group in (BAD, GOOD))
    if bad is not None and good is not None:
        strips, shown = [_fork(bad, good)], [bad, good]
    else:
        lead = bad or good or max(exchange.scored, key=lambda one: one.logprob)
        strips, shown = [_alone(lead, beside)], [lead]
    rest = [one for one in exchange.scored if not any(one is other for other in shown)]
    rest.sort(key=lambda one: (one.group, -one.logprob))
    return Scored(
        strips=tuple(strips), others=tuple(map(_listed, rest[:MAX_SCORED])), more=max(0, len(rest) - MAX_SCORED)
    )


def _likeliest(texts: Iterable[ScoredText], group: str) -> ScoredText | None:
    mine = [one for one in texts if one.group == group]
    return max(mine, key=lambda one: one.logprob) if mine else None


def _same(one: TokenScore, other: TokenScore) -> bool:
    return (one.token, one.id) == (other.token, other.id)


def _fork(bad: ScoredText, good: ScoredText) -> Strip:
    """Return two continuations that part at their first different token; behind it the bad one is coloured."""
    both = min(len(bad.tokens), len(good.tokens))
    at = next((place for place in range(both) if not _same(bad.tokens[place], good.tokens[place])), both)
    pairs = zip(bad.tokens[at:both], good.tokens[at:both], strict=True)
    differences = [mine.logprob - other.logprob for mine, other in pairs]
    worse = [_held(token, gap) for token, gap in zip(bad.tokens[at:both], differences, strict=True)]
    better = [_plain(token) for token in good.tokens[at:both]]
    return Strip(
        against=GOOD,
        shared=tuple(map(_plain, bad.tokens[:at][:MAX_TOKENS])),
        branches=(
            _branch(bad, [*worse, *map(_unpaired, bad.tokens[both:])]),
            _branch(good, [*better, *map(_unpaired, good.tokens[both:])]),
        ),
    )


def _alone(lead: ScoredText, beside: Sequence[Exchange]) -> Strip:
    """Return one continuation, held against the same one in the first other condition that has it."""
    for other in beside:
        for text in other.scored:
            same = len(text.tokens) == len(lead.tokens) and all(map(_same, text.tokens, lead.tokens))
            if same and text.group == lead.group:
                pairs = zip(lead.tokens, text.tokens, strict=True)
                tokens = [_held(mine, mine.logprob - its.logprob) for mine, its in pairs]
                return Strip(against=other.condition, shared=(), branches=(_branch(lead, tokens),))
    return Strip(against="", shared=(), branches=(_branch(lead, list(map(_unpaired, lead.tokens))),))


def _branch(text: ScoredText, tokens: list[Token]) -> Branch:
    return Branch(
        group=text.group, text=text.text, logprob=text.logprob, tokens=tuple(tokens[:MAX_TOKENS]),
        more=max(0, len(tokens) - MAX_TOKENS),
    )  # fmt: skip


def _plain(token: TokenScore) -> Token:
    return Token(text=token.token, logprob=token.logprob)


def _held(token: TokenScore, gap: float) -> Token:
    return Token(text=token.token, logprob=token.logprob, against=gap, shade=difference(gap))


def _unpaired(token: TokenScore) -> Token:
    return Token(text=token.token, logprob=token.logprob, shade=f"u{surprise(token.logprob)}")


def _listed(text: ScoredText) -> Listed:
    told = "  ".join(f"{line(one.token, TOKEN)} {one.logprob:.2f}" for one in text.tokens[:MAX_TOKENS])
    return Listed(group=text.group, text=line(text.text, TEXT), logprob=text.logprob, tokens=told)


def ids(exchange: Exchange, *, prompt: bool = True) -> list[tuple[str, str]]:
    """Return the token ids of prompt and continuations as compact text, each under its name; none in older records.

    Args:
        exchange: With the ids that were recorded.
        prompt: Whether those of the prompt are wanted.
    """
    found = [("prompt", exchange.prompt_ids)] if exchange.prompt_ids and prompt else []
    for text in exchange.scored[:MAX_SCORED]:
        known = tuple(token.id for token in text.tokens if token.id is not None)
        if known and len(known) == len(text.tokens):
            found.append((f'{line(text.group, TOKEN) or "scored"} "{line(text.text, TOKEN)}"', known))
    return [(name, " ".join(map(str, numbers))) for name, numbers in found]
