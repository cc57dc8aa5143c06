"""Keys and passwords have no place in a record, a report or a store: they are cut out of messages on their way there.

What counts as one: the value of an environment variable that is named like a secret, what stands before the `@` of a
URL or behind `token=`, an Authorization header, and strings in the forms that providers give their keys. A secret in
another form is not known for one; keep it out of messages.
"""

from __future__ import annotations

import os
import re

SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_|$)", re.IGNORECASE)
"""Words in the name of an environment variable whose value is a secret."""
PLACE = re.compile(r"^TELLS_|_(FILE|PATH|DIR|SOCK|ID|URL)$", re.IGNORECASE)
"""Names whose value is where something lies, and not the thing."""
SHORTEST = 8
"""Characters: a shorter value is a word that any message may hold."""
WITHHELD = "[withheld]"
FORMS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,15}://)[^\s/@'\"]{1,400}@", re.IGNORECASE), rf"\1{WITHHELD}@"),
    (
        re.compile(
            r"([?&;](?:api[_-]?key|access[_-]?token|auth|token|key|sig|signature|secret|password)=)[^&;#\s'\"]{1,4000}",
            re.IGNORECASE,
        ),
        rf"\1{WITHHELD}",
    ),
    (
        re.compile(
            r"((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)?|x-api-key['\"]?\s*[:=]|\bbearer)"
            r"\s*['\"]?[\w.~+/=-]{8,4000}",
            re.IGNORECASE,
        ),
        rf"\1 {WITHHELD}",
    ),
    (re.compile(r"\b(?:hf_|sk-|gh[pousr]_|glpat-|xox[abprs]-|npm_)[\w-]{16,400}"), WITHHELD),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), WITHHELD),
    (re.compile(r"\beyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]{8,4000}"), WITHHELD),
)
"""What a secret looks like, and what is put in its place. All repeats have an end: messages can be long and hostile."""


def without(text: str) -> str:
    """Return `text` without the credentials in it."""
    for value in _values():
        text = text.replace(value, WITHHELD)
    for form, instead in FORMS:
        text = form.sub(instead, text)
    return text


def _values() -> list[str]:
    """Return the secrets of the environment, the longest first: one may hold another."""
    found = {
        value for name, value in os.environ.items()
        if len(value) >= SHORTEST and SECRET.search(name) and not PLACE.search(name)
    }  # fmt: skip
    return sorted(found, key=len, reverse=True)
