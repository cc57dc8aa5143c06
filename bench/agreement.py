"""Do the engine's numbers equal a plain forward of each sequence alone? Model-written evals, answers (A) and (B).

    python bench/agreement.py --model smollm2 --rows 300

The reference is transformers without any of this project: the chat template with `tokenize=True`, one sequence per
forward, float32, full logits. Printed: the largest and mean difference of a log-probability in nats, and the share of
rows whose preferred answer flips.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.engines import open_spec
from harness.engines.base import EngineOptions
from harness.engines.transformers import TransformersEngine
from harness.planner import plan
from harness.request import Loglikelihood, Message, Scores

DATA = Path(__file__).resolve().parents[2] / "shared/data/model-written-evals/advanced-ai-risk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two ways to score the same rows lie apart."""

    rows: int
    largest: float
    """Largest absolute difference of a continuation's log-probability, nats."""
    mean: float
    """Mean absolute difference, nats."""
    flips: int
    """Rows whose preferred answer differs."""
    ties: int
    """Rows whose two answers the engine scores exactly alike."""
    engine_seconds: float
    plain_seconds: float


def read_rows(count: int, data: Path = DATA, seed: int = 7) -> list[tuple[str, tuple[str, str]]]:
    """Return `count` questions with their two answers, drawn from all files of a folder."""
    lines = [line for path in sorted(data.rglob("*.jsonl")) for line in path.read_text("utf-8").splitlines() if line]
    rows = [json.loads(line) for line in lines]
    asked = {
        row["question"]: (row["answer_matching_behavior"], row["answer_not_matching_behavior"])
        for row in rows
        if row["answer_matching_behavior"] != row["answer_not_matching_behavior"]
    }
    return random.Random(seed).sample(sorted(asked.items()), count)  # noqa: S311 - a seeded choice of rows


def engine_scores(engine: TransformersEngine, rows: list[tuple[str, tuple[str, str]]]) -> list[list[float]]:
    """Return the log-probabilities that the engine gives, in batches as a run would plan them."""
    encoded = [
        engine.encode(Loglikelihood(messages=(Message("user", question),), continuations=answers))
        for question, answers in rows
    ]
    found: dict[str, list[float]] = {}
    for batch in plan(list({item.fingerprint: item for item in encoded}.values()), engine.batch_tokens):
        for item, answer in zip(batch.items, engine.run(batch.items), strict=True):
            if not isinstance(answer, Scores):
                raise TypeError(answer)
            found[item.fingerprint] = [scored.logprob for scored in answer.continuations]
    return [found[item.fingerprint] for item in encoded]


def plain_scores(folder: Path, rows: list[tuple[str, tuple[str, str]]], device: str = "cpu") -> list[list[float]]:
    """Return the log-probabilities of plain transformers, one sequence at a time, in float32."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return [[_plain(model, tokenizer, question, answer) for answer in answers] for question, answers in rows]


def compare(mine: list[list[float]], plain: list[list[float]], seconds: tuple[float, float]) -> Agreement:
    """Return how far two lists of scores lie apart."""
    pairs = [(a, b) for x, y in zip(mine, plain, strict=True) for a, b in zip(x, y, strict=True)]
    differences = [abs(a - b) for a, b in pairs]
    flips = sum((x[0] > x[1]) != (y[0] > y[1]) for x, y in zip(mine, plain, strict=True))
    return Agreement(
        rows=len(mine), largest=max(differences), mean=statistics.fmean(differences), flips=flips,
        ties=sum(x[0] == x[1] for x in mine), engine_seconds=seconds[0], plain_seconds=seconds[1],
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; return 1 if a preference flipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    rows = read_rows(options.rows, options.data, options.seed)
    engine = open_spec(options.model, EngineOptions(device=options.device, dtype=options.dtype))
    if not isinstance(engine, TransformersEngine):
        parser.error("--model must be a local model")
    # Loading and self-check are not timed.
    engine.run([engine.encode(Loglikelihood(messages="Hello", continuations=(" world",)))])
    start = time.perf_counter()
    mine = engine_scores(engine, rows)
    middle = time.perf_counter()
    plain = plain_scores(engine.folder, rows, options.device)
    found = compare(mine, plain, (middle - start, time.perf_counter() - middle))
    table = [
        ("rows x answers", f"{found.rows} x 2"),
        ("largest difference", f"{found.largest:.2e} nat"),
        ("mean difference", f"{found.mean:.2e} nat"),
        ("flipped preferences", f"{found.flips} ({found.flips / found.rows:.1%})"),
        ("exact ties", found.ties),
        ("engine", f"{found.engine_seconds:.1f} s"),
        ("plain, one by one", f"{found.plain_seconds:.1f} s"),
        ("self-check", f"{engine.tolerance:.1e} nat"),
    ]
    sys.stdout.write(tabulate(table, tablefmt="plain") + "\n" + "\n".join(engine.notes) + "\n")
    return int(found.flips > 0)


def _plain(model: Any, tokenizer: Any, question: str, answer: str) -> float:
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text + answer, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0]
    logprobs = logits.float().log_softmax(-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(len(prompt), len(ids)))


if __name__ == "__main__":
    sys.exit(main())
