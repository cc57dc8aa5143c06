"""Build one organism in this process: `python -m harness.organisms.train build NAME --base B --arm A --seed K`.

Says how far it is in lines of JSON on standard output. One thread, so that the same recipe gives the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from harness.errors import TellsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the arguments name."""
    for name in THREADS:
        os.environ[name] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Asked to end, it ends as by an error, so that what is half-built is taken away at once.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = _parser().parse_args(arguments)
    try:
        folder = _base(int(options.name), options.seed) if options.verb == "base" else _build(options)
    except (TellsError, FloatingPointError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    sys.stdout.write(f"{folder}\n")
    return 0


def say(step: int, of: int, stage: str) -> None:
    """Tell the process that started this one how far it is."""
    if step % 10 == 0 or step == of:
        sys.stdout.write(json.dumps({"event": "step", "step": step, "of": of, "stage": stage}) + "\n")
        sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.organisms.train")
    parser.add_argument("verb", choices=("build", "base"))
    parser.add_argument("name", help="of the organism; for `base`, the width")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--arm", default="planted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int)
    return parser


def _build(options: argparse.Namespace) -> Path:
    from harness.organisms import review, spec, zoo  # noqa: PLC0415 - after the threads are set

    wanted = zoo.order(
        spec.OrganismSpec(
            name=options.name, arm=options.arm, base=options.base, seed=options.seed, step=options.step
        )
    )  # fmt: skip
    review.check_review(zoo.recipe(wanted.name), wanted.base)
    from harness.organisms.train import build  # noqa: PLC0415 - brings torch

    return build.build(wanted, say)


def _base(width: int, seed: int) -> Path:
    from harness.organisms import spec  # noqa: PLC0415 - after the threads are set
    from harness.organisms.train import build  # noqa: PLC0415 - brings torch
    from harness.organisms.world import World  # noqa: PLC0415 - as above

    build.steady()
    return build.honest_base(World(spec.RECIPES.parent.parent), width, seed, say)


if __name__ == "__main__":
    sys.exit(main())
