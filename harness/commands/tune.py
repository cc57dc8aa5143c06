"""`tells tune MODEL --data FILE --out DIR`: train a model for a moment and keep the checkpoints as a series."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate
from harness.commands.places import root_of
from harness.errors import TellsError, UsageError
from harness.escape import line

if TYPE_CHECKING:
    from harness.tuning.tune import Tuned

SUFFIX = ".tune.yaml"
ABOUT = "train a model for a few steps, and keep the checkpoints as a series for --model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("model", metavar="MODEL", help="a folder, a hub id in the local cache, smollm2, or an organism")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="what is taught: a *.tune.yaml file")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder to make, with a step-N per checkpoint")  # fmt: skip
    parser.add_argument("--steps", type=_positive, metavar="N", help="steps of training (default: the file's, else 32)")
    parser.add_argument("--at", type=_steps, metavar="N,N,...",
                        help="steps to keep; 0: untouched (default: the file's, else 0,1,2,4,...,STEPS)")  # fmt: skip
    parser.add_argument("--rank", type=_positive, metavar="N", help="rank of the adapter (default: the file's, else 4)")
    parser.add_argument("--lr", type=_rate, metavar="X", help="learning rate (default: the file's, else 1e-3)")
    parser.add_argument("--batch", type=_positive, metavar="N", help="rows of a step (default: the file's, else 8)")
    parser.add_argument("--seed", type=_count, default=0, metavar="K",
                        help="of the adapter's first weights and the order of the rows (default 0)")  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")


def run(options: argparse.Namespace) -> int:
    """Train and write the folder; return 0, or 3 where it was interrupted.

    Raises:
        UsageError: the file, an option or the target cannot be used.
        ModelError: the model is not there or must not be opened.
        TellsError: the training came apart, or the folder cannot be written.
    """
    try:
        return _run(options)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; nothing was written\n")
        return gate.BROKEN
    except OSError as error:
        msg = f"--out {options.out}: {error}; expected a folder that can be written; nothing of it was kept"
        raise TellsError(msg) from error


def _run(options: argparse.Namespace) -> int:
    from harness.organisms.building import Bar  # noqa: PLC0415 - lazy, as the other verbs
    from harness.tuning.recipe import load_tuning  # noqa: PLC0415 - as above
    from harness.tuning.tune import tune  # noqa: PLC0415 - as above

    if not options.data.name.endswith(SUFFIX):
        msg = f"--data {options.data}: expected a file whose name ends in {SUFFIX}; name one, or rename it"
        raise UsageError(msg)
    tuning = load_tuning(options.data, root_of(options.data))
    training = tuning.settings(**{key: getattr(options, key) for key in ("steps", "at", "rank", "lr", "batch")})
    made = tune(
        options.model, tuning, training, options.out, seed=options.seed, device=options.device,
        watch=Bar(str(options.out)),
    )  # fmt: skip
    _say(_table(made))
    rows = f"{made.trained} rows trained on, {made.held} held out"
    _say(f"\n{line(str(options.out))}: {len(training.at)} checkpoints; {rows}")
    _say(f"judge them:  pytest SUITE --model {line(str(options.out))} --report DIR")
    return gate.PASS


def _table(made: Tuned) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - lazy, as the other verbs

    rows = [(one.step, one.trained, "" if one.held is None else one.held) for one in made.curve]
    return tabulate(rows, headers=("step", "log p of the answers", "of those held out"), floatfmt="+.3f")


def _positive(text: str) -> int:
    return _bounded(text, 1)


def _count(text: str) -> int:
    return _bounded(text, 0)


def _bounded(text: str, least: int) -> int:
    number = int(text)
    if number < least:
        msg = f"{number} is too small; whole numbers from {least}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _steps(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.0 < rate <= 1.0:  # NaN is refused too
        msg = f"{text} is no learning rate; a number above 0, at most 1"
        raise argparse.ArgumentTypeError(msg)
    return rate


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")
