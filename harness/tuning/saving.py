"""A folder with a whole model per checkpoint: a series, moved into place when it is complete.

    OUT/step-0, OUT/step-1, ...    what transformers saves, in float32, with the tokeniser of the model
    OUT/tune.json                  what was trained on what, and how it went
    OUT/held-out.jsonl             the items that were held out, as a data file for suites

The models are whole, since the engine opens no adapter by itself. Float32 whatever the model was stored in: the first
steps move weights by less than half precision can tell apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json
from harness.engines.digests import sync_folder
from harness.engines.transformers.source import check_folder
from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

RECORD = "tune.json"
HELD = "held-out.jsonl"
FORMAT = 1
LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
SETTINGS = "generation_config.json"
_WORDS = (
    "tokenizer", "chat_template", "special_tokens", "added_tokens", "vocab", "merges", "spiece", "sentencepiece",
    "tekken",
)  # fmt: skip
"""Beginnings of the names of files of tokenisers and chat templates."""
_BYTES = 4
"""Of a weight in float32."""


def check_target(out: Path) -> None:
    """Refuse a target that is there.

    Raises:
        UsageError: it is.
    """
    if os.path.lexists(out):
        msg = f"--out {out}: it is there already; expected a new folder; name another one, or delete it first"
        raise UsageError(msg)


def check_room(out: Path, parameters: int, checkpoints: int) -> None:
    """Refuse a series that the disk has no room for.

    Args:
        out: Where it is to lie.
        parameters: Of the model.
        checkpoints: How many are kept.

    Raises:
        UsageError: it has not.
    """
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    needed, free = parameters * _BYTES * checkpoints, shutil.disk_usage(there).free
    if needed > free:
        msg = (
            f"--out {out}: {checkpoints} checkpoints of {parameters} weights take {needed / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free; expected room for all; name fewer steps with --at, or another disk"
        )
        raise UsageError(msg)


@contextlib.contextmanager
def making(out: Path) -> Iterator[Path]:
    """Lend an empty folder beside `out`; it is moved there at the end, and gone if the block is left by an error.

    Raises:
        UsageError: `out` is there by now.
        OSError: the folder cannot be written.
    """
    out = out.absolute()
    new = [folder for folder in out.parents if not folder.exists()]
    work = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        work.mkdir(parents=True)
        yield work
        sync_folder(work)
        check_target(out)
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):  # another run may have put something there
                folder.rmdir()
        raise


def save_checkpoint(model: Any, folder: Path, base: Path) -> None:
    """Write a whole model into a new folder.

    Args:
        model: Of transformers.
        folder: Where to.
        base: Folder of the model that it was trained from; tokeniser, chat template and settings of generation are
            copied byte for byte, so that nothing but the weights differs.

    Raises:
        ModelRefused: what was written is nothing that the engine opens.
    """
    settings = model.generation_config
    # Those of some models do not pass transformers' own checks, and are copied anyway.
    model.generation_config = type(settings)()
    try:
        with _quiet():
            model.save_pretrained(folder)
    finally:
        model.generation_config = settings
    (folder / SETTINGS).unlink(missing_ok=True)
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name.startswith((*_WORDS, SETTINGS)):
            shutil.copyfile(path, folder / path.name)
    check_folder(folder)
    sync_folder(folder)


def write_record(folder: Path, record: Mapping[str, Any], held: Sequence[Mapping[str, Any]]) -> None:
    """Write what was done, and the items that were held out where there are some.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps({"format": FORMAT, **record}, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / RECORD).write_text(f"{text}\n", encoding="utf-8")
    if held:
        lines = "".join(f"{canonical_json(row)}\n" for row in held)
        (folder / HELD).write_text(lines, encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that train."""
    return {name: version(name) for name in LIBRARIES}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars out of the terminal, which has ours."""
    from transformers import utils  # noqa: PLC0415 - slow to import

    logging: Any = utils.logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
