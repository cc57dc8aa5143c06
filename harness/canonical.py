"""Canonical JSON, tagged digests and derived seeds: the three things that identity rests on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Json: TypeAlias = "Mapping[str, Any] | list[Any] | tuple[Any, ...] | str | int | float | bool | None"


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Json) -> str:
    """Return `value` as JSON with sorted keys and no spaces.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON has no word for.
    """
    return _ENCODER.encode(value)


def digest(value: Json | bytes) -> str:
    """Return the tagged SHA-256 (`sha256:…`) of bytes, or of the canonical JSON of anything else."""
    data = value if isinstance(value, bytes) else canonical_json(value).encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encodable(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: whether it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def derive_seed(run_seed: int, *parts: str) -> int:
    """Return a 63-bit seed from the run seed and the names of what is seeded, never from an order."""
    data = canonical_json([run_seed, *parts]).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
