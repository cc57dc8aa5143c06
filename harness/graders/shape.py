"""Tell from its shape whether a completion is an answer at all.

Thresholds sit where no right answer of the labelled examples in `tests/graders/test_shape.py` lies; each has its reason
beside it. They are coarse on purpose: a completion called gibberish is *unmeasured* and counts against the claim.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Literal

from harness.graders.text import is_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.request import Completion

State = Literal["ok", "empty", "truncated", "gibberish"]

LEAST_LOGPROB = -5.0
"""Nats per token. Fluent text is sampled at about -1 to -3; -5 means some 150 equally likely next tokens on average
(e^5), and uniform noise over 49,152 tokens gives -10.8."""
LEAST_TOKENS = 4
"""A mean over fewer tokens says little: one rare proper name alone can have -8."""
LEAST_WORD_SHARE = 0.2
"""Letters, digits and marks among visible characters. JSON and formulas have 0.3 and more."""
LEAST_VISIBLE = 20
"""Visible characters from which that share is looked at: `{"a": [1]}` is a fair answer."""
MOST_BROKEN_SHARE = 0.1
"""Replacement, control, private or unassigned characters among the visible: bytes that form no text."""
LOOP_REPEATS = 6
"""`ha ha ha` and `no, no, no` occur in fluent text; six times the same does hardly ever."""
LOOP_UNIT = 8
"""Longest repeated unit looked for, in words."""
LOOP_CHARACTERS = 24
"""A stretch of one repeated unit without spaces, in characters: longer than large round numbers."""
LOOP_COVER = 0.5
"""Share of the text that a loop must fill, so that an answer with a short list in it stays an answer."""


def state(completion: Completion) -> State:
    """Return what shape a completion has; anything but `ok` is no answer.

    `empty`: no letter and no digit. `truncated`: cut by the token limit. `gibberish`: token noise, loops or broken
    characters, see the thresholds of this module. They are tried in this order.
    """
    text = completion.text
    if not any(is_word(character) and character != "_" for character in text):
        return "empty"
    if completion.finish_reason == "length":
        return "truncated"
    improbable = _improbable(completion.token_logprobs)
    return "gibberish" if improbable or _symbols(text) or _loops(text) else "ok"


def _improbable(logprobs: Sequence[float]) -> bool:
    if len(logprobs) < LEAST_TOKENS:
        return any(math.isnan(x) for x in logprobs)
    # `not >=` and no `<`: a NaN must come out as gibberish.
    return not sum(logprobs) / len(logprobs) >= LEAST_LOGPROB


def _symbols(text: str) -> bool:
    visible = [character for character in text if not character.isspace()]
    broken = sum(
        character == "\ufffd" or unicodedata.category(character) in {"Cc", "Cn", "Co", "Cs"} for character in visible
    )
    if broken > MOST_BROKEN_SHARE * len(visible):
        return True
    words = sum(is_word(character) and character != "_" for character in visible)
    return len(visible) >= LEAST_VISIBLE and words < LEAST_WORD_SHARE * len(visible)


def _loops(text: str) -> bool:
    words = text.casefold().split()
    if longest_loop(words, LOOP_UNIT, LOOP_REPEATS) >= max(LOOP_REPEATS, LOOP_COVER * len(words)):
        return True
    letters = list("".join(words))
    stretch = longest_loop(letters, LOOP_UNIT, LOOP_REPEATS)
    return stretch >= max(LOOP_CHARACTERS, LOOP_COVER * len(letters))


def longest_loop(parts: Sequence[str], unit: int, repeats: int) -> int:
    """Return the length, in parts, of the longest stretch that repeats a unit of up to `unit` parts `repeats` times."""
    best = 0
    for size in range(1, min(unit, len(parts) // repeats) + 1):
        run = 0
        for position in range(size, len(parts)):
            run = run + 1 if parts[position] == parts[position - size] else 0
            if run + size >= size * repeats:
                best = max(best, run + size)
    return best
