"""Which architectures share prefixes, and how far are the answers from a plain forward? Tiny models, random weights.

    python bench/architectures.py

For each architecture in small the engine answers requests that share prefixes in every way, to score and to generate.
Printed, as a Markdown table: how it was answered, and the largest difference of a token's log-probability, in nats,
from that of stock transformers run on one sequence at a time (float32, all logits). Ends with 1 if one is beyond the
limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate
from transformers import utils

from harness.engines import open_spec
from harness.engines.base import EngineOptions
from harness.errors import ModelRefused
from tests.tiny_models import TINY, build_tiny
from tests.tiny_requests import LIMIT, Plain, generating, scoring, shifts

HOW = {"trie": "prefixes shared", "padded": "padded batches", "refused": "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one architecture fared."""

    name: str
    policy: str
    """A key of `HOW`."""
    scored: float | None = None
    """Largest difference of a scored token's log-probability, nats."""
    generated: float | None = None
    """The same of a generated token."""

    @property
    def sound(self) -> bool:
        """Whether every log-probability lies within the limit."""
        return all(shift is None or shift < LIMIT for shift in (self.scored, self.generated))


def examine(name: str, folder: Path, *, device: str) -> Finding:
    """Build an architecture in small, ask it and compare."""
    build_tiny(folder, name)
    engine: Any = open_spec(str(folder), EngineOptions(device=device))
    plain = Plain.load(folder)
    vocabulary = int(plain.model.config.vocab_size)
    try:
        scored = shifts(plain, engine.run(scoring(vocabulary)))
    except ModelRefused:
        return Finding(name=name, policy="refused")
    asked = [*generating(vocabulary), *generating(vocabulary, seed=1, n=2, temperature=1.0)]
    generated = shifts(plain, engine.run(asked))
    return Finding(name=name, policy=engine.policy, scored=max(scored), generated=max(generated))


def table(findings: list[Finding]) -> str:
    """Return the findings as a Markdown table."""
    rows = [
        (f.name, TINY[f.name].trait, HOW[f.policy], *(_number(shift) for shift in (f.scored, f.generated)))
        for f in findings
    ]
    head = ("architecture", "what sets it apart", "answered with", "scored, nat", "generated, nat")
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _number(shift: float | None) -> str:
    return "" if shift is None else f"{shift:.1e}"


def main() -> int:
    """Examine all architectures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(TINY)}; all if none is given")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(TINY)):
        parser.error(f"no tiny {', '.join(unknown)}")
    logging: Any = utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or TINY:
            findings.append(examine(name, Path(folder) / name, device=args.device))
            print(f"{len(findings)}: {name}", file=sys.stderr)
    print(table(findings))
    return 0 if all(finding.sound for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
