"""Every way to go wrong, drawn as a tree.

    TellsError
    ├── UsageError              the user asked for something that cannot be asked (pytest exit 4, tells exit 2)
    │   ├── SpecError           a model SPEC that names nothing
    │   ├── CaseFileError       a case file with problems; carries all of them
    │   └── PolicyError         a policy or waiver file that cannot be applied
    ├── ModelError              the model cannot be used (kind "model")
    │   ├── ModelUnavailable    it is not on this machine and could not be fetched
    │   └── ModelRefused        it is here and must not be trusted: remote code, pickles, missing tensors
    ├── RequestError            one request cannot be answered; becomes a `Failure` of the kind named
    │   ├── TemplateError       the chat template drops, merges or rejects a turn (kind "template")
    │   ├── TokenisationError   the text cannot be encoded as asked (kind "tokenisation")
    │   │   └── SeamError       a token spans the seam of prompt and continuation (kind "seam")
    │   ├── NumericError        NaN or infinity where a number was needed (kind "numeric")
    │   └── LengthError         longer than the model's context (kind "length")
    ├── StoreError              the store of answers cannot be read or written (kind "store")
    ├── MeasureError            evidence does not suffice for the number asked for; the case is INVALID
    ├── RecordError             a run record that is absent, torn or not what its digest says
    ├── NotCleared              a record that nobody cleared for the audience that it is to go to
    └── Withheld                what went wrong with restricted text; says the type and a tag, never the text

`UsageError` is the user's to mend and stops the run before it spends anything.
Everything below `RequestError` and `MeasureError` concerns one item and never stops the others.
Messages have four parts: where, what, what was expected, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class TellsError(Exception):
    """Root of every error that the project raises on purpose."""

    kind: ClassVar[str] = "error"


class UsageError(TellsError):
    """The command line, a file or a setting asks for what cannot be done."""

    kind = "usage"


class SpecError(UsageError):
    """A model SPEC that names no model this version can open."""


class PolicyError(UsageError):
    """A policy file that cannot be applied."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a case file, and where."""

    path: str
    """File, relative to the root where possible."""
    line: int
    """1-based."""
    column: int
    """1-based."""
    message: str
    """What is wrong, what was expected, what to do."""
    pointer: str = "$"
    """Where in the document, as `$.cases[2].check.rate.at_mots`."""

    def __str__(self) -> str:
        """Render as `path:line:column: message`, the pointer included in the message by its author or added here."""
        at = "" if f"@ {self.pointer}" in self.message else f" @ {self.pointer}"
        what, separator, advice = self.message.partition("; ")
        return f"{self.path}:{self.line}:{self.column}: {what}{at}{separator}{advice}"


class CaseFileError(UsageError):
    """A case file that is not valid; all problems at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep `problems` sorted by place."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ModelError(TellsError):
    """The model cannot be used."""

    kind = "model"


class ModelUnavailable(ModelError):
    """The model is not on this machine and could not be fetched."""


class ModelRefused(ModelError):
    """The model is here and must not be trusted."""


class RequestError(TellsError):
    """One request cannot be answered."""

    kind = "request"


class TemplateError(RequestError):
    """The chat template drops, merges or rejects a turn."""

    kind = "template"


class TokenisationError(RequestError):
    """The text cannot be encoded as asked."""

    kind = "tokenisation"


class SeamError(TokenisationError):
    """A token spans the seam of prompt and continuation."""

    kind = "seam"


class NumericError(RequestError):
    """NaN or infinity where a number was needed."""

    kind = "numeric"


class LengthError(RequestError):
    """The request is longer than the model's context."""

    kind = "length"


class StoreError(TellsError):
    """The store of answers cannot be read or written."""

    kind = "store"


class MeasureError(TellsError):
    """The evidence does not suffice for the number asked for."""

    kind = "measure"


class RecordError(TellsError):
    """A run record that is absent, torn or not what its digest says."""

    kind = "record"


class NotCleared(TellsError):
    """A record that no review clears for an audience."""

    kind = "review"


class Withheld(TellsError):
    """Something went wrong while restricted text was handled; the message holds none of it."""

    kind = "withheld"
