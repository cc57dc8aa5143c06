"""How fast is the engine on a GPU, next to plain transformers? Random weights of the shape of 1.5B and 7B models.

    python bench/gpu.py                      on a CUDA machine: builds both models in a temporary folder
    python bench/gpu.py --sizes 1.5B --rounds 3
    python bench/gpu.py --device cpu --tiny  the same path on a tiny model, for a test

W1 to W4 as everywhere, in bfloat16. Printed: seconds, input and new tokens per second, the share of the measured
matrix-product peak that the tokens passed make up (`MFU`) and that the least possible arithmetic makes up (`useful`),
and the peak of allocated memory. Weights are random, so completions run to their limit.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from benchkit import flops, process, synthetic, workloads
from benchkit.engine import Ours
from benchkit.systems import Plain, Setting
from tabulate import tabulate
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from harness.engines import open_spec
from harness.engines.base import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchkit.systems import System
    from benchkit.workloads import Ask

SIZES: dict[str, dict[str, Any]] = {
    "1.5B": {
        "num_hidden_layers": 28, "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
        "num_key_value_heads": 2, "head_dim": 128, "tie_word_embeddings": True,
    },
    "7B": {
        "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": False,
    },
    "tiny": {
        "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True,
    },
}  # fmt: skip
_PLAIN = (Setting(system="plain", score=16, generate=64), Setting(system="plain", score=64, generate=256))
_HEAD = (
    "model", "workload", "system", "seconds", "input tok/s", "new tok/s", "passed", "MFU", "useful", "peak MiB"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured on one model."""

    size: str
    folder: Path
    device: str
    dtype: str
    rounds: int
    shape: flops.Shape
    asks: dict[str, tuple[Ask, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one system did on one workload."""

    seconds: float
    """Median over the rounds."""
    answers: Any
    passed: float
    """Tokens, per round."""
    memory: float
    """MiB at most."""
    peak: float
    """FLOP per second of a matrix product, before and after."""


def build_model(size: str, folder: Path, tokenizer: Any, *, device: str, dtype: str) -> flops.Shape:
    """Write a model with random weights and its tokeniser into `folder`; return its sizes."""
    end = int(tokenizer.eos_token_id)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=2048, bos_token_id=end, eos_token_id=end,
        pad_token_id=end, **SIZES[size],
    )  # fmt: skip
    torch.manual_seed(0)
    make: Callable[..., Any] = AutoModelForCausalLM.from_config
    with torch.device(device):
        model = make(config, dtype=getattr(torch, dtype))
    model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return flops.Shape.of(config.to_dict())


def rows(bench: Bench) -> Iterator[tuple[object, ...]]:
    """Measure the engine, then plain transformers; yield lines of the table."""
    ours = Ours(str(bench.folder), bench.dtype, device=bench.device)
    yield from _system(bench, "ours", ours)
    sys.stderr.write("".join(f"  {note}\n" for note in ours.notes()))
    ours.engine.close()
    plain = Plain(_PLAIN[0], str(bench.folder), bench.dtype, bench.device)
    for setting in _PLAIN:
        plain.setting = setting
        yield from _system(bench, str(setting), plain)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stdout.write("no CUDA device here: nothing was measured\n")
        return 0
    tokenizer, asks = _input(options)
    table: list[tuple[object, ...]] = []
    for size in ["tiny"] if options.tiny else options.sizes.split(","):
        with tempfile.TemporaryDirectory(dir=options.temporary) as name:
            folder = Path(name) / size
            shape = build_model(size, folder, tokenizer, device=options.device, dtype=options.dtype)
            _free(options.device)
            bench = Bench(
                size=size, folder=folder, device=options.device, dtype=options.dtype, rounds=options.rounds,
                shape=shape, asks=asks,
            )  # fmt: skip
            table += rows(bench)
            _free(options.device)
    where = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    text = f"{where}, torch {torch.__version__}, {options.dtype}\n\n"
    text += tabulate(table, _HEAD, tablefmt="github", disable_numparse=True) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "gpu.md").write_text(text, "utf-8")
    lines = [dict(zip(_HEAD, row, strict=True)) for row in table]
    (options.out / "gpu.json").write_text(json.dumps({"where": where, "runs": lines}, indent=1), "utf-8")
    sys.stdout.write(text)
    return 0


def _system(bench: Bench, label: str, system: System) -> Iterator[tuple[object, ...]]:
    for name, asks in bench.asks.items():
        _run(system, name, asks[-workloads.WARM_UP[name] :])
        _reset(bench.device)
        before = flops.gemm_peak(bench.dtype, bench.device)
        passed, times = system.passed() or 0, []
        answers: Any = None
        for _ in range(bench.rounds):
            start = time.perf_counter()
            answers = _run(system, name, asks)
            _wait(bench.device)
            times.append(time.perf_counter() - start)
        count = ((system.passed() or 0) - passed) / bench.rounds
        memory = _peak(bench.device)
        speed = (before + flops.gemm_peak(bench.dtype, bench.device)) / 2
        seen = Seen(seconds=statistics.median(times), answers=answers, passed=count, memory=memory, peak=speed)
        yield _line(bench, name, label, seen)


def _line(bench: Bench, name: str, label: str, seen: Seen) -> tuple[object, ...]:
    asks = bench.asks[name]
    scored = name in workloads.SCORED
    least = flops.scored(asks) if scored else flops.generated(asks, seen.answers)
    new = 0 if scored else sum(len(ids) for group in seen.answers for ids in group)
    naive = sum(ask.n * (len(ask.context_ids) + max(0, len(ask.continuation_ids) - 1)) for ask in asks)
    reach = seen.peak * seen.seconds
    return (
        bench.size, name, label, f"{seen.seconds:.3f}", f"{naive / seen.seconds:.0f}", f"{new / seen.seconds:.0f}",
        f"{seen.passed:.0f} ({seen.passed / least.tokens:.2f}x)", f"{2.0 * bench.shape.body * seen.passed / reach:.1%}",
        f"{least.flop(bench.shape) / reach:.1%}", f"{seen.memory:.0f}",
    )  # fmt: skip


def _input(options: argparse.Namespace) -> tuple[Any, dict[str, tuple[Ask, ...]]]:
    """Return a tokeniser and the workloads: the real ones, or made-up ones of the same structure."""
    if options.tiny:
        tokenizer = synthetic.tokenizer()
        return tokenizer, synthetic.build(len(tokenizer), scale=0.02)
    engine: Any = open_spec(options.tokenizer, EngineOptions(device="cpu"))
    tokenizer = AutoTokenizer.from_pretrained(engine.folder)
    try:
        return tokenizer, workloads.build(tokenizer, options.data)
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}; going on with made-up token ids of the same structure\n")
        return tokenizer, synthetic.build(len(tokenizer))


def _run(system: System, name: str, asks: Sequence[Ask]) -> Any:
    if name in workloads.SCORED:
        return system.score(asks)
    return system.generate(asks, 1.0 if name in workloads.SAMPLED else 0.0)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _free(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _reset(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        process.reset_peak()


def _peak(device: str) -> float:
    """Return the peak in MiB: allocated on the device, or resident."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else process.peak_mib()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--sizes", default="1.5B,7B", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and made-up token ids")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", default="smollm2", help="whose ids the workloads are made of")
    parser.add_argument("--data", type=Path, default=workloads.DATA)
    parser.add_argument("--temporary", type=Path, default=None, help="where models are written: 15 GB for 7B")
    parser.add_argument("--out", type=Path, default=Path(".tells/bench"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
