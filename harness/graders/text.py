"""Compare texts the way people do: case aside, accents kept, words whole."""

from __future__ import annotations

import unicodedata

_SPACELESS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Burmese, Khmer, kana and Han: written without spaces, so a word has no edge to look for."""
_JOINTS = ".,/:"
"""Between two digits these belong to the number: 3.14, 1,000, 3/4, 10:30."""


def fold(text: str, *, ignore_case: bool = True) -> str:
    """Return `text` in composed form, white space collapsed, apostrophes straight, case folded unless told not to."""
    plain = " ".join(unicodedata.normalize("NFC", text).replace("\u2019", "'").split())
    return unicodedata.normalize("NFC", plain.casefold()) if ignore_case else plain


def is_word(character: str) -> bool:
    """Tell whether `character` is a letter, a digit, a mark on one, or an underscore."""
    return character == "_" or unicodedata.category(character)[0] in "LNM"


def appears(form: str, text: str) -> bool:
    """Tell whether `form` stands in `text` as whole words; both already folded.

    A number is whole too: `4` does not stand in `3.4`, `1,400`, `3/4` or `-4`.
    """
    start = text.find(form)
    while start >= 0:
        end = start + len(form)
        if not _joined_left(text, start) and not _joined_right(text, end):
            return True
        start = text.find(form, start + 1)
    return False


def without(form: str, text: str, mark: str) -> str:
    """Return `text` with `mark` in every place where `form` stands as whole words; both already folded."""
    kept, start = [], 0
    at = text.find(form)
    while at >= 0:
        end = at + len(form)
        if at >= start and not _joined_left(text, at) and not _joined_right(text, end):
            kept += [text[start:at], mark]
            start = end
        at = text.find(form, at + 1)
    return "".join([*kept, text[start:]])


def _glued(left: str, right: str) -> bool:
    return is_word(left) and is_word(right) and not _spaceless(left) and not _spaceless(right)


def _spaceless(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _SPACELESS)


def _joined_left(text: str, start: int) -> bool:
    if start == 0:
        return False
    before, first = text[start - 1], text[start]
    if _glued(before, first):
        return True
    if not first.isdigit():
        return False
    further = text[start - 2] if start > 1 else " "
    return (before in _JOINTS and further.isdigit()) or (before in "-\u2212" and not is_word(further))


def _joined_right(text: str, end: int) -> bool:
    if end == len(text):
        return False
    last, after = text[end - 1], text[end]
    if _glued(last, after):
        return True
    further = text[end + 1] if end + 1 < len(text) else " "
    return last.isdigit() and after in _JOINTS and further.isdigit()
