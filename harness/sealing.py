"""The seal of a run record: the digest of its canonical JSON, taken item by item.

A record of ten thousand checks is some 90 MB of JSON; nobody needs a second copy of it in memory to know its digest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json
from harness.canonical import digest as canonical_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN = "digest"
"""Field that the seal stands in; it is of everything else."""
LONG = "items"
"""Field that is taken entry by entry."""


class LongDigest:
    """The digest of an object but for `OWN`; the entries of `LONG` are added one by one. As `canonical.digest` says."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        """Begin with all of the object but those two fields, which `value` may hold and which are not looked at.

        Raises:
            ValueError: it holds NaN or infinity.
        """
        rest = {key: inner for key, inner in value.items() if key not in {OWN, LONG}}
        before, after = ({key: rest[key] for key in rest if (key < LONG) is first} for first in (True, False))
        self._whole = hashlib.sha256()
        self._take(f'{canonical_json(before)[:-1]}{"," if before else ""}"{LONG}":[')
        self._end = f"]{',' if after else ''}{canonical_json(after)[1:]}"
        self._comma = ""

    def add(self, entry: str) -> None:
        """Take the next entry, as canonical JSON."""
        self._take(self._comma + entry)
        self._comma = ","

    def close(self) -> str:
        """Return the tagged digest; nothing can be added then."""
        self._take(self._end)
        return f"sha256:{self._whole.hexdigest()}"

    def _take(self, text: str) -> None:
        self._whole.update(text.encode("utf-8", "surrogatepass"))


def seal_of(data: Mapping[str, Any]) -> str:
    """Return the digest that the JSON data of a record should carry.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    items = data.get(LONG)
    if not isinstance(items, list):
        return canonical_digest({name: value for name, value in data.items() if name != OWN})
    digest = LongDigest(data)
    for entry in items:
        digest.add(canonical_json(entry))
    return digest.close()
