"""Labelled completions: which shapes are answers."""

from __future__ import annotations

import math

import pytest

from harness.graders import state
from harness.graders.shape import longest_loop
from harness.request import Completion
from tests.factory import completion

ANSWERS = [
    "4", "Paris", "H2O", "北京", "No.", "-3.5", "A", "(B)", "π", "São Paulo", "Да", "42 km²", "10000000000",
    '{"city": "Paris", "ok": [1, 2, 3]}', "x = (a + b) / (c - d)", "ha ha ha",
    "No, no, no!", "| a | b |\n|---|---|\n| 1 | 2 |",
    "The capital of France is Paris, which lies on the Seine.", "Red, green, blue, red, green, blue.",
    "1, 1, 2, 3, 5, 8, 13, 21", "AAAA", "very, very, very good", "C++", "1/3", "نعم", "東京です。", "👍 yes",
]  # fmt: skip
GIBBERISH = [
    "the the the the the the the", "Paris Paris Paris Paris Paris Paris Paris Paris", "a b a b a b a b a b a b a b",
    "lalalalalalalalalalalalalalalalala", "!?!?!?!?!?!?!?!?!?!?!?!?a", "\ufffd\ufffd\ufffd ok \ufffd\ufffd",
    "a\x00\x01\x02\x03b",
    "((((((((((((((((((((((x",
]  # fmt: skip


@pytest.mark.parametrize("text", ANSWERS)
def test_short_and_odd_right_answers_are_answers(text: str) -> None:
    """No threshold may cost a right answer."""
    assert state(completion(text)) == "ok"


@pytest.mark.parametrize("text", GIBBERISH)
def test_loops_and_noise_are_gibberish(text: str) -> None:
    """Shapes that carry no answer."""
    assert state(completion(text)) == "gibberish"


@pytest.mark.parametrize("text", ["", " \n", "...", "?!", "___", "—"])
def test_no_word_character_is_empty(text: str) -> None:
    """Whatever the finish reason."""
    assert state(completion(text)) == "empty"
    assert state(completion(text, cut=True)) == "empty"


def test_a_cut_text_is_truncated() -> None:
    """Even when it reads well."""
    assert state(completion("The capital of France is", cut=True)) == "truncated"


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ((-4.9,) * 4, "ok"),
        ((-5.1,) * 4, "gibberish"),
        ((-9.0,) * 3, "ok"),
        ((-1.0, math.nan, -1.0, -1.0), "gibberish"),
        ((math.nan,), "gibberish"),
        ((-1.0, -math.inf, -1.0, -1.0), "gibberish"),
        ((), "ok"),
    ],
)
def test_improbable_tokens_are_gibberish(logprobs: tuple[float, ...], expected: str) -> None:
    """Mean below -5 nats over four tokens or more; NaN never passes for probable."""
    found = Completion(
        text="blue words here now", token_ids=tuple(range(len(logprobs))), token_logprobs=logprobs, finish_reason="stop"
    )

    assert state(found) == expected


def test_longest_loop_by_hand() -> None:
    """Units of two words, three times."""
    assert longest_loop(["x", "a", "b", "a", "b", "a", "b"], 8, 3) == 6
    assert longest_loop(["a", "b", "c"], 8, 3) == 0
