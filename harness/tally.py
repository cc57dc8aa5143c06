"""How the asking goes, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Progress(Protocol):
    """Told how the asking goes; on a terminal a line that moves, in a log one now and then, nothing elsewhere."""

    def model(self, spec: str, models: Sequence[str]) -> None:
        """Say which model is asked from now on, and which ones are in all."""

    def stored(self, requests: int) -> None:
        """Say that answers came from the store."""

    def start(self, requests: int, tokens: int) -> None:
        """Say how much this round will ask."""

    def advance(self, requests: int, tokens: int, passed: int) -> None:
        """Say that a batch is answered: requests, their tokens as planned, and tokens that went through the network."""

    def stop(self) -> None:
        """Say that the round is over."""


class Quiet:
    """Progress for nobody."""

    def model(self, spec: str, models: Sequence[str]) -> None:
        """Ignore."""

    def stored(self, requests: int) -> None:
        """Ignore."""

    def start(self, requests: int, tokens: int) -> None:
        """Ignore."""

    def advance(self, requests: int, tokens: int, passed: int) -> None:
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
