"""Are the engine's answers right? Held against plain transformers in float32, one sequence at a time.

    python bench/accuracy.py                                  all of W1, W3 and W2; the first time takes half an hour
    python bench/accuracy.py --workloads W1:64,W3:48 --greedy W2:24 --prompts 20

agreement   log-probabilities and preferred answers in float32 and in bfloat16
greedy      the same tokens as `model.generate`
order       shuffled requests give bit-equal scores at the same memory
memory      another memory gives other packs, and the same scores within 1e-4 nat
chance      first tokens are drawn as often as they should be; samples of a request do not depend on other requests

Prints a table, writes it to --out as JSON, and returns 1 if a limit is broken. The plain answers are kept in --cache.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from benchkit import chance, workloads
from benchkit.engine import Ours, answer, logprobs, scoring
from benchkit.reference import CACHE, Reference
from benchkit.workloads import Part
from tabulate import tabulate
from transformers import AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchkit.workloads import Ask

LIMITS = {"float32": 1e-3, "bfloat16": 0.06}
"""Nats: the largest difference of a log-probability in float32, the mean error of a margin in bfloat16."""
_MEMORY_LIMIT = 1e-4
_CHANCE_LIMIT = 1e-3
"""A p-value below it happens once in a thousand runs of a right engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table."""

    name: str
    value: str
    limit: str = ""
    ok: bool = True


def agreement(name: str, dtype: str, mine: Sequence[float], plain: Sequence[float]) -> Iterator[Check]:
    """Compare scores; requests come in pairs of answers to one question."""
    shift = [abs(a - b) for a, b in zip(mine, plain, strict=True)]
    margins = [
        (mine[i] - mine[i + 1], plain[i] - plain[i + 1]) for i in range(0, len(mine), 2)
    ]  # fmt: skip
    errors = [abs(a - b) for a, b in margins]
    flips = sum((a > 0) != (b > 0) for a, b in margins)
    exact = dtype == "float32"
    limit = LIMITS[dtype]
    label = f"{name} {dtype}"
    yield Check(
        name=f"{label}: largest, mean difference of a log-probability",
        value=f"{max(shift):.1e}, {statistics.fmean(shift):.1e} nat",
        limit=f"<= {limit} nat" if exact else "", ok=not exact or max(shift) <= limit,
    )  # fmt: skip
    yield Check(
        name=f"{label}: largest, mean error of a margin",
        value=f"{max(errors):.1e}, {statistics.fmean(errors):.1e} nat",
        limit="" if exact else f"mean <= {limit} nat", ok=exact or statistics.fmean(errors) <= limit,
    )  # fmt: skip
    yield Check(
        name=f"{label}: preferred answer flips", value=f"{flips} of {len(margins)}",
        limit="0" if exact else "", ok=not exact or not flips,
    )  # fmt: skip


def greedy(part: Part, ours: Ours, reference: Reference, asks: Sequence[Ask]) -> Check:
    """Compare greedy tokens."""
    mine = [completions[0] for completions in ours.generate(asks, 0.0)]
    same = sum(a == b for a, b in zip(mine, reference.greedy(asks), strict=True))
    return Check(
        name=f"{part} float32: greedy tokens identical", value=f"{same} of {len(asks)}", limit="all",
        ok=same == len(asks),
    )  # fmt: skip


def order(part: Part, dtype: str, ours: Ours, asks: Sequence[Ask]) -> Check:
    """Compare scores of shuffled requests bit by bit."""
    encoded = scoring(asks)
    places = list(range(len(encoded)))
    random.Random(5).shuffle(places)  # noqa: S311 - a seeded shuffle
    straight = logprobs(answer(ours.engine, encoded))
    shuffled = logprobs(answer(ours.engine, [encoded[i] for i in places]))
    differ = sum(straight[i] != values for i, values in zip(places, shuffled, strict=True))
    return Check(
        name=f"{part} {dtype}: shuffled, answers that differ in any bit", value=f"{differ} of {len(places)}",
        limit="0", ok=differ == 0,
    )  # fmt: skip


def memory(part: Part, model: str, ours: Ours, asks: Sequence[Ask], sizes: Sequence[int]) -> Iterator[Check]:
    """Compare scores under other memory budgets, in MiB."""
    usual = ours.score(asks)
    for size in sizes:
        other = Ours(model, "float32", memory=size << 20)
        shift = max(abs(a - b) for a, b in zip(usual, other.score(asks), strict=True))
        yield Check(
            name=f"{part} float32: {size} MiB against the usual memory", value=f"{shift:.1e} nat",
            limit=f"<= {_MEMORY_LIMIT} nat", ok=shift <= _MEMORY_LIMIT,
        )  # fmt: skip
        other.engine.close()


def sampling(ours: Ours, reference: Reference, asks: Sequence[Ask], samples: int) -> Iterator[Check]:
    """Test the distribution of first tokens."""
    found = chance.first_tokens(ours, reference, asks, samples)
    quantiles = ", ".join(f"{q:.3f}" for q in found.quantiles)
    yield Check(
        name=f"first tokens, {samples} of each of {len(asks)} prompts: p-values at 0, 5, 25, 50, 75, 95, 100 %",
        value=f"{quantiles} ({len(found.p_values)} prompts)",
    )
    yield Check(
        name="Kolmogorov-Smirnov test of these against the uniform distribution", value=f"p = {found.uniform_p:.3f}",
        limit=f">= {_CHANCE_LIMIT}", ok=found.uniform_p >= _CHANCE_LIMIT,
    )  # fmt: skip


def isolation(ours: Ours, reference: Reference, asks: Sequence[Ask]) -> Check:
    """Test that samples do not depend on their company."""
    found = chance.isolation(ours, reference, asks)
    return Check(
        name=f"{found.samples} samples of one request, alone and among {len(asks) - 1} others",
        value=f"{found.changed} changed, {found.unexplained} of them not within {chance.EDGE} of an edge "
        f"({found.near} of {found.draws} draws are)",
        limit="0 unexplained", ok=found.unexplained == 0,
    )  # fmt: skip


def measure(options: argparse.Namespace) -> Iterator[Check]:
    """Yield all checks."""
    ours = Ours(options.model, "float32")
    folder: Path = ours.engine.folder
    built = workloads.build(AutoTokenizer.from_pretrained(folder), options.data)
    reference = Reference(folder, ours.engine.identity.digest, options.cache)
    parts = [Part.parse(text) for text in options.workloads]
    plain = {part: reference.logprobs(part.of(built[part.name])) for part in parts}
    part = Part.parse(options.greedy)
    reference.greedy(part.of(built[part.name]))
    if options.plain_only:
        return
    for dtype in options.dtypes:
        engine = ours if dtype == "float32" else Ours(options.model, dtype)
        for scored in parts:
            asks = scored.of(built[scored.name])
            yield from agreement(str(scored), dtype, engine.score(asks), plain[scored])
        for small in map(Part.parse, options.small):
            yield order(small, dtype, engine, small.of(built[small.name]))
        if engine is not ours:
            engine.engine.close()
    for small in map(Part.parse, options.small):
        yield from memory(small, options.model, ours, small.of(built[small.name]), options.memory)
    yield greedy(part, ours, reference, part.of(built[part.name]))
    if options.prompts:
        yield from sampling(ours, reference, built["W2"][: options.prompts], options.samples)
        yield isolation(ours, reference, built["W4"])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return 1 if a limit is broken."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(0)
    checks = []
    for check in measure(options):
        sys.stderr.write(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.value}\n")
        checks.append(check)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "accuracy.json").write_text(json.dumps([asdict(check) for check in checks], indent=1), "utf-8")
    rows = [(check.name, check.value, check.limit, "" if check.ok else "BROKEN") for check in checks]
    table = tabulate(rows, ("check", "found", "limit", ""), tablefmt="github", disable_numparse=True)
    (options.out / "accuracy.md").write_text(table + "\n", "utf-8")
    sys.stdout.write(table + "\n")
    return int(not all(check.ok for check in checks))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    return [int(name) for name in _names(text)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", type=Path, default=workloads.DATA)
    parser.add_argument("--workloads", type=_names, default=_names("W1,W3"), help="scored against the reference")
    parser.add_argument("--greedy", default="W2", help="generated against the reference")
    parser.add_argument("--small", type=_names, default=_names("W1:200,W3:120"), help="for order and memory")
    parser.add_argument("--dtypes", type=_names, default=_names("float32,bfloat16"))
    parser.add_argument("--memory", type=_numbers, default=_numbers("64,256"), help="MiB")
    parser.add_argument("--prompts", type=int, default=200, help="of the test of first tokens; 0 leaves chance out")
    parser.add_argument("--samples", type=int, default=256, help="first tokens per prompt")
    parser.add_argument("--plain-only", action="store_true", help="fill the cache with plain answers, check nothing")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path(".tells/bench"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
