"""What became of a point, as a file: canonical JSON under a seal, believed whole or not at all.

What two runs of a point must agree on stands apart from what they need not (`facts`: seconds, the trace of an error).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.canonical import canonical_json
from harness.engines.digests import write_atomically
from harness.errors import MeasureError, RecordError
from harness.sealing import seal_of
from harness.sweep.points import Trained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.sweep.grid import Asked
    from harness.sweep.points import Point

SCHEMA = "tells-sweep-point/1"
POINTS = "points"
MODELS = "models"
REDO = "run the sweep again, which trains the point anew"
Status = Literal["done", "failed"]
_FIELDS = frozenset({"schema", "result", "facts", "digest"})
_RESULT = frozenset({
    "id", "digest", "suites", "axes", "seed", "status", "cause", "curve", "final", "model", "evaluated",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of one point."""

    id: str
    digest: str
    """Of the point: of everything that decides its training."""
    suites: tuple[tuple[str, str], ...]
    """Path and digest of each suite that was asked for."""
    axes: Mapping[str, Any]
    seed: int
    status: Status
    cause: str = ""
    """Why it failed; empty where it did not."""
    curve: tuple[Mapping[str, float], ...] = ()
    final: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, str] | None = None
    """File -> digest of its bytes; None where the training made no model."""
    evaluated: Mapping[str, Any] | None = None
    """What the suites said of the model, as `harness.sweep.evaluate` has it; None where none was asked for."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What another run of the point need not agree on."""

    def result(self) -> dict[str, Any]:
        """Return all but the facts, as JSON data."""
        return {
            "id": self.id, "digest": self.digest, "suites": [list(pair) for pair in self.suites],
            "axes": dict(self.axes), "seed": self.seed, "status": self.status, "cause": self.cause,
            "curve": [dict(row) for row in self.curve], "final": dict(self.final),
            "model": None if self.model is None else dict(self.model),
            "evaluated": None if self.evaluated is None else dict(self.evaluated),
        }  # fmt: skip


def asked_of(suites: Sequence[Asked]) -> tuple[tuple[str, str], ...]:
    """Return suites as a kept point names them."""
    return tuple((one.path, one.digest) for one in suites)


def failed(point: Point, suites: Sequence[Asked], cause: str, **facts: Any) -> Kept:
    """Return a point that came to nothing."""
    return Kept(
        id=point.id, digest=point.digest, suites=asked_of(suites), axes=point.axes, seed=point.seed, status="failed",
        cause=cause.encode("utf-8", "backslashreplace").decode() or "ended without a cause", facts=facts,
    )  # fmt: skip


def encoded(kept: Kept) -> bytes:
    """Return the bytes of a point's file.

    Raises:
        ValueError: it holds NaN or infinity, or half of a surrogate pair.
    """
    data = {"schema": SCHEMA, "result": kept.result(), "facts": dict(kept.facts)}
    return f"{canonical_json({**data, 'digest': seal_of(data)})}\n".encode()


def decoded(data: bytes, where: str) -> Kept:
    """Return the point in the bytes of a file, verified: seal, shape, finite numbers.

    Args:
        data: The file.
        where: Its name, for messages.

    Raises:
        RecordError: it is not what was written.
    """
    try:
        read = json.loads(data)
        whole = isinstance(read, dict) and read.keys() == _FIELDS and read["schema"] == SCHEMA
        if not whole or read["digest"] != seal_of(read) or read["result"].keys() != _RESULT:
            msg = f"{where}: not the file of a point as it was written; expected one under its seal; {REDO}"
            raise RecordError(msg)
        return _built(read["result"], read["facts"])
    except (ValueError, TypeError, KeyError, AttributeError, MeasureError) as error:
        msg = f"{where}: not the file of a point ({type(error).__name__}: {error}); expected one under its seal; {REDO}"
        raise RecordError(msg) from error


def restored(result: Mapping[str, Any]) -> Kept:
    """Return the point that `Kept.result` gave, without its facts.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, MeasureError: it is not what was given.
    """
    if result.keys() != _RESULT:
        msg = f"a point with the fields {sorted(result)}"
        raise ValueError(msg)
    return _built(result, {})


def _built(result: Mapping[str, Any], facts: Mapping[str, Any]) -> Kept:
    if result["status"] == "done":
        # A curve is held to what it was held to when it was trained: the seal says who wrote it, not that it is sound.
        Trained(curve=tuple(result["curve"]), final=result["final"])
    elif result["status"] != "failed" or not result["cause"]:
        msg = f"a point that is {result['status']!r} for {result['cause']!r}"
        raise ValueError(msg)
    return Kept(**{
        **result, "suites": tuple((str(path), str(digest)) for path, digest in result["suites"]),
        "curve": tuple(result["curve"]), "facts": dict(facts),
    })  # fmt: skip


def write(path: Path, data: bytes) -> None:
    """Write the bytes of a file that others may read, in one step.

    Raises:
        OSError: the file system refuses.
    """
    write_atomically(path, data)
    path.chmod(0o644)


def look(folder: Path, point: Point, suites: Sequence[Asked]) -> tuple[Kept | None, str]:
    """Return what is kept of a point, and why not where nothing that holds is.

    Args:
        folder: Of the sweep's results.
        point: Which point.
        suites: What is asked of its model.

    Returns:
        The kept point, or None; and a reason, empty where there is no file at all.
    """
    path = folder / POINTS / f"{point.id}.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path.name}: cannot be read ({error.strerror})"
    try:
        kept = decoded(data, path.name)
    except RecordError as error:
        return None, str(error)
    if (kept.id, kept.digest) != (point.id, point.digest):
        return None, f"{path.name}: of another training (settings, trainer or versions of libraries)"
    if kept.suites != asked_of(suites):
        return None, f"{path.name}: other suites were asked, or they have changed"
    return kept, ""
