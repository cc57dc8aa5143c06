"""One tuning from a SPEC and a file to a folder of checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.tuning import saving
from harness.tuning.opening import open_model
from harness.tuning.rows import as_data, examples, taught_rows

if TYPE_CHECKING:
    from pathlib import Path

    from harness.organisms.building import Watch
    from harness.tuning.opening import Opened
    from harness.tuning.recipe import Training, Tuning
    from harness.tuning.rows import Taught
    from harness.tuning.train import Pupil, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A series that was made."""

    curve: tuple[Reading, ...]
    """By checkpoint."""
    trained: int
    """Rows."""
    held: int
    """Rows."""


def tune(
    spec: str, tuning: Tuning, training: Training, out: Path, *, seed: int, device: str, watch: Watch
) -> Tuned:  # fmt: skip
    """Train a model for a few steps and write its checkpoints as a series.

    Args:
        spec: Of any model that the engine on transformers opens.
        tuning: What is taught.
        training: For how long and how fast.
        out: Folder to make; a half result is never left there.
        seed: Of the adapter's first weights and of the order of the rows.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        watch: Told of each step and of each checkpoint that is written.

    Raises:
        UsageError: the target is there, or the rows or the SPEC cannot be used.
        ModelError: the model is not there, or must not be opened.
        TellsError: the training came apart.
        OSError: the folder cannot be written.
    """
    saving.check_target(out)
    taught = taught_rows(tuning)
    opened = open_model(spec, device)
    path = tuning.suite.path
    trained, held = (examples(rows, opened.encoder, opened.ends, path) for rows in (taught.trained, taught.held))
    saving.check_room(out, opened.weights, len(training.at))
    from harness.tuning.train import learn  # noqa: PLC0415 - imports torch

    try:
        # The folder first: one that cannot be written is found before anything is trained.
        with saving.making(out) as folder:
            pupil = learn(
                opened, trained, held, training, device=device, seed=seed, names=(tuning.name, str(tuning.version)),
                watch=watch,
            )  # fmt: skip
            _write(folder, pupil, opened, training, watch)
            record = _record(tuning, taught, opened, training, pupil=pupil, seed=seed)
            saving.write_record(folder, record, as_data(taught.held_items))
    finally:
        watch.close()
    return Tuned(curve=tuple(pupil.curve), trained=len(trained), held=len(held))


def _write(folder: Path, pupil: Pupil, opened: Opened, training: Training, watch: Watch) -> None:
    for number, step in enumerate(training.at, start=1):
        with pupil.at(step) as model:
            saving.save_checkpoint(model, folder / f"step-{step}", opened.folder)
        watch.step(number, len(training.at), "writing")


def _record(
    tuning: Tuning, taught: Taught, opened: Opened, training: Training, *, pupil: Pupil, seed: int
) -> dict[str, Any]:  # fmt: skip
    """Return what `tune.json` says; no times, so that the same tuning gives the same bytes."""
    return {
        "name": tuning.name, "version": tuning.version, "about": tuning.about,
        "base": opened.identity.to_json(),
        "data": {
            "path": tuning.suite.path, "digest": tuning.suite.digest, "rows_digest": taught.digest,
            "items": len(tuning.suite.items), "rows": len(taught.trained), "held_rows": len(taught.held),
            "held_out": [item.id for item in taught.held_items],
        },
        "training": {**asdict(training), "at": list(training.at)}, "seed": seed, "device": str(pupil.device),
        "adapted": len(pupil.layers), "losses": pupil.losses,
        "curve": [asdict(reading) for reading in pupil.curve], "versions": saving.versions(),
    }  # fmt: skip
