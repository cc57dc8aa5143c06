"""How the asking goes, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Progress(Protocol):
    """Told how the asking goes; a progress bar on a terminal, nothing elsewhere."""

    def start(self, requests: int, tokens: int) -> None:
        """Say how much this round will ask."""

    def advance(self, requests: int, tokens: int) -> None:
        """Say that a batch is answered."""

    def stop(self) -> None:
        """Say that the round is over."""


class Quiet:
    """Progress for nobody."""

    def start(self, requests: int, tokens: int) -> None:
        """Ignore."""

    def advance(self, requests: int, tokens: int) -> None:
        """Ignore."""

    def stop(self) -> None:
        """Ignore."""


@dataclass(slots=True)
class Tally:
    """What a run asked, for the record."""

    requests: int = 0
    """Asked by scripts, doubles included."""
    unique: int = 0
    """After deduplication over the whole run."""
    from_store: int = 0
    asked: int = 0
    """Put to the model."""
    tokens: int = 0
    """Passed through the network for them; where the engine does not count, new tokens count at their limit."""
    minimum: int = 0
    """Tokens after perfect prefix sharing; 0 where the engine does not count."""
    failures: int = 0
    """Of those put to the model."""
    seconds: float = 0.0
    """Spent asking the model."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "requests": self.requests,
            "unique": self.unique,
            "from_store": self.from_store,
            "asked": self.asked,
            "tokens": self.tokens,
            "minimum": self.minimum,
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
        }
