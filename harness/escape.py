r"""Show text that a model or a file wrote without letting it act: escape, never strip.

Terminals obey control characters, readers are fooled by bidirectional and invisible ones, and build systems read
commands from the log (`::error::` at a line's start, `##vso[…]` anywhere in a line). All of these stay readable
here, as `\x1b` or `\u202e`, and none of them works.

The escapes are for eyes, not for parsing back: a text that holds the four characters `\x1b` looks like one that holds
the control character. The exact text is in `run.json`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, TypeAlias

Newlines: TypeAlias = Literal["keep", "visible"]

# Control, format, surrogate, line and paragraph separators: nothing a reader could see.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks by category that are drawn as nothing: joiner, Hangul fillers, variation selectors, noncharacters.
HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e0fff]"
)
BUILD_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
# Lists, headings and rules need the start of a line, which callers never give to foreign text.
MARKDOWN_MARKS = re.compile(r"([\\`*_\[\]#|~$])")
ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "&#64;"), ("://", "&#58;//"), ("www.", "www&#46;"))
SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str, *, newlines: Newlines = "keep") -> str:
    r"""Return `text` with everything invisible or obeyed by terminals written out, e.g. `\x1b`, `\u202e`, `\ud800`.

    Args:
        text: Anything, lone surrogates included.
        newlines: `keep` leaves line feeds alone, `visible` writes them as `\n`. Carriage returns are always written.
    """
    return "".join(shown for _, shown in pieces(text, newlines=newlines))


def pieces(text: str, *, newlines: Newlines = "keep") -> list[tuple[bool, str]]:
    """Return `text` as runs of (is an escape, what to show), so that a writer can mark the escapes."""
    runs: list[tuple[bool, str]] = []
    plain: list[str] = []
    for character in text:
        if not _hidden(character, newlines):
            plain.append(character)
            continue
        if plain:
            runs.append((False, "".join(plain)))
            plain = []
        runs.append((True, _escape(character)))
    if plain:
        runs.append((False, "".join(plain)))
    return runs


def line(text: str, limit: int | None = None) -> str:
    """Return `text` on one line that no build system takes for a command, cut at `limit` characters.

    The caller puts something of its own before it; a line must not begin with foreign text.
    """
    return _disarm(visible(clip(text, limit), newlines="visible"))


def terminal_lines(text: str, prefix: str = "| ") -> list[str]:
    """Return the lines of `text`, each behind `prefix`, so that none is a command to a build system.

    Args:
        text: Anything a model wrote.
        prefix: Put before every line. It must hold more than white space, which build systems skip.

    Raises:
        ValueError: `prefix` would not protect.
    """
    if not prefix.strip() or prefix.lstrip().startswith(("::", "##")):
        msg = f"the prefix {prefix!r} protects nothing; begin it with a mark such as '| '"
        raise ValueError(msg)
    return [prefix + _disarm(shown) for shown in visible(text).split("\n")]


def clip(text: str, limit: int | None) -> str:
    """Return `text`, cut after `limit` characters with a note of how many are left out."""
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} more characters)"


def markdown(text: str, limit: int | None = None) -> str:
    """Return `text` as one line of Markdown that renders as itself: no markup, link, mention, table cell or HTML.

    The caller puts something of its own before it on the line.
    """
    shown = MARKDOWN_MARKS.sub(r"\\\1", line(text, limit))
    for mark, entity in ENTITIES:
        shown = shown.replace(mark, entity)
    return shown


def fenced(text: str, limit: int | None = None, *, prefix: str = "| ") -> list[str]:
    """Return the lines of a Markdown code block around `text` that `text` cannot end."""
    body = terminal_lines(clip(text, limit), prefix)
    longest = max((len(run) for shown in body for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *body, fence]


def _hidden(character: str, newlines: Newlines) -> bool:
    if " " <= character <= "~" or (character == "\n" and newlines == "keep"):
        return False
    return unicodedata.category(character) in HIDDEN_CATEGORIES or HIDDEN.match(character) is not None


def _escape(character: str) -> str:
    if character in SHORT:
        return SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _disarm(shown: str) -> str:
    return BUILD_COMMAND.sub(r"\\x23#", shown)
