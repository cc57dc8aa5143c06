"""Foreign text shows everything and does nothing."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import escape
from tests.record_factory import HOSTILE

COMMAND = re.compile(r"^\s*(::|##)|##[A-Za-z]*\[")
ANYTHING = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters()))


def test_the_corpus_is_large_enough() -> None:
    """A short list would prove little."""
    assert len(set(HOSTILE)) >= 30


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\u202e\u2066", "\\u202e\\u2066"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("a\tb\r", "a\\tb\\r"),
        ("a\nb", "a\nb"),
        ("Zürich, 東京, مرحبا, 😀", "Zürich, 東京, مرحبا, 😀"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """What acts or hides is written out; what can be read stays."""
    assert escape.visible(text) == shown


def test_newlines_can_be_shown() -> None:
    """One line stays one line."""
    assert escape.visible("a\nb", newlines="visible") == "a\\nb"


@given(ANYTHING)
def test_nothing_hidden_is_left(text: str) -> None:
    """No control, format or surrogate character survives, and the result can be written as UTF-8."""
    shown = escape.visible(text)
    assert not {unicodedata.category(character) for character in shown.replace("\n", "")} & escape.HIDDEN_CATEGORIES
    shown.encode()


@given(ANYTHING)
def test_pieces_are_the_text(text: str) -> None:
    """A writer that marks the escapes shows the same as one that does not."""
    assert "".join(piece for _, piece in escape.pieces(text)) == escape.visible(text)


@given(ANYTHING)
def test_no_line_is_a_build_command(text: str) -> None:
    """Neither at the start of a line, nor, for `##vso[`, anywhere in it."""
    lines = escape.terminal_lines(text)
    assert len(lines) == text.count("\n") + 1
    for shown in lines:
        assert shown.startswith("| ")
        assert not COMMAND.search(shown)
        assert "\r" not in shown


@pytest.mark.parametrize("prefix", ["", "  ", "::", " ##"])
def test_a_prefix_that_protects_nothing_is_refused(prefix: str) -> None:
    """Build systems skip leading white space."""
    with pytest.raises(ValueError, match="protects nothing"):
        escape.terminal_lines("x", prefix)


@given(ANYTHING)
def test_a_code_block_cannot_be_left(text: str) -> None:
    """No line between the fences is a fence."""
    first, *body, last = escape.fenced(text)
    fence = last
    assert first == f"{fence}text"
    assert all(fence not in shown for shown in body)


@given(ANYTHING)
def test_markdown_is_inert(text: str) -> None:
    """No tag, no link, no table cell, no code span, no mention survives unescaped."""
    shown = escape.markdown(text)
    assert "\n" not in shown
    assert not re.search(r"[<>@]|://|(?<!\\)(\\\\)*[|`\[\]*_]", shown)


def test_a_cut_is_said() -> None:
    """Nothing is left out in silence."""
    assert escape.clip("abcdef", 4) == "abcd … (2 more characters)"
    assert escape.clip("abcd", 4) == "abcd"
