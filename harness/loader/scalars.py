"""What a plain YAML scalar means here: the JSON words, and nothing that two YAML parsers read differently.

In the spirit of the YAML 1.2 core schema, but stricter: spellings that YAML 1.1 and 1.2 read differently (`012`,
`12:30:00`, `1e3`, `1_000`, `no`, `2024-01-01`) are refused with a message that says what to write instead. Quoted text
is always text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Scalar: TypeAlias = str | int | float | bool | None

INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?")
LARGEST = 2**63 - 1
LONGEST_NUMBER = 40

BOOLEANS = {"yes": "true", "on": "true", "y": "true", "true": "true"} | {
    "no": "false", "off": "false", "n": "false", "false": "false"
}  # fmt: skip
WORDS = {
    "string": "text", "number": "a number", "integer": "a whole number", "boolean": "true or false",
    "array": "a list", "object": "a mapping", "null": "null",
}  # fmt: skip
"""JSON types in the words of messages."""
NUMERIC = frozenset({"number", "integer"})

_SUSPICIOUS = re.compile(r"[-+.~=<0-9nN]|[yYnNoOtTfF]")
"""First characters of everything refused; plain words that begin otherwise are text at once."""
_REFUSED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[-+]?0[0-9][0-9_]*(?:\.[0-9_]*)?"), "a number with leading zeros is octal to some readers"),
    (re.compile(r"[-+]?0[xobXOB][0-9a-fA-F_]+"), "a hexadecimal, octal or binary number is text to some readers"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9]{1,2})+(?:\.[0-9_]*)?"), "digits with colons are a number to some readers"),
    (
        re.compile(r"[-+]?[0-9][0-9.]*_[0-9_.]*(?:[eE][-+]?[0-9]+)?"),
        "a number with underscores is text to some readers",
    ),
    (re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+"), "an exponent without a decimal point is text to some readers"),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.)(?:[eE][-+]?[0-9]+)?"), "a number needs digits on both sides of its point"),
    (re.compile(r"[-+]?\.(?:inf|nan)", re.IGNORECASE), "not a number that can be compared"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "a plain date is no text to some readers"),
    (re.compile(r"~|(?:null)", re.IGNORECASE), "a sign for nothing"),
    (re.compile(r"<<|="), "a sign with a meaning of its own in YAML 1.1"),
)


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar that `refusal` has no objection to."""
    if text == "true":
        return True
    if text == "false":
        return False
    if text == "null":
        return None
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    return text


def refusal(text: str, expected: AbstractSet[str]) -> str | None:
    """Return why the plain scalar `text` is refused and what to write instead; None when its meaning is clear.

    Args:
        text: the scalar as it stands in the file, not empty.
        expected: JSON types that the place takes, empty when unknown; the advice is for them.
    """
    if not _SUSPICIOUS.match(text) or text in {"true", "false", "null"}:
        return None
    if INTEGER.fullmatch(text) or DECIMAL.fullmatch(text):
        return _too_large(text)
    if text.lower() in BOOLEANS:
        why = f"plain {text} is true or false to some readers and text to others"
        return f"{why}; {_advice(text, BOOLEANS[text.lower()], 'boolean', expected)}"
    for pattern, reason in _REFUSED:
        if pattern.fullmatch(text):
            return f"plain {text} is refused: {reason}; {_advice(text, _number(text), 'number', expected)}"
    return None


def _too_large(text: str) -> str | None:
    plain = len(text) <= LONGEST_NUMBER and abs(float(text)) <= LARGEST
    return None if plain else f"the number {text[:30]} is too large; write at most {LARGEST}, or quotes around text"


def _advice(text: str, other: str | None, kind: str, expected: AbstractSet[str]) -> str:
    quoted = f'write "{text}" in quotes for text'
    takes_other = bool(NUMERIC & expected) if kind == "number" else kind in expected
    if not expected:
        takes_other = True
    takes_text = not expected or "string" in expected
    if other is None or not takes_other:
        return quoted if takes_text else f"expected {' or '.join(WORDS[name] for name in sorted(expected))} here"
    what = {"number": "a number", "boolean": "a truth value"}[kind]
    return f"{quoted}, {other} for {what}" if takes_text else f"write {other}"


def _number(text: str) -> str | None:
    """Return how to write the number that `text` most likely stands for, None where there is no likely one."""
    cleaned = text.replace("_", "")
    based = re.fullmatch(r"[-+]?0[xobXOB][0-9a-fA-F]+", cleaned) is not None
    if len(cleaned) > LONGEST_NUMBER or not (based or re.fullmatch(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", cleaned)):
        return None
    try:
        value = int(cleaned, 0) if based else float(cleaned)
    except ValueError:
        return None
    if abs(value) > LARGEST or based:
        return str(value) if based else None
    if "e" in cleaned.lower() or "." in cleaned:
        written = repr(value)
        head, exponent, power = written.partition("e")
        return f"{head}.0e{power}" if exponent and "." not in head else written
    return str(int(value))
