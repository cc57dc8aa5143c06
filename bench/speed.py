"""How fast is the engine, next to its peers and to what this machine can do? Four fixed workloads.

    python bench/speed.py --rounds 3 --peer lmeval=/path/to/python --peer vllm=/path/to/python
    python bench/speed.py --workloads W1:64,W3:48 --dtypes bfloat16,float32 --threads 1,2 --systems ours,plain

Each (system, setting) runs in a process of its own, in turn; what counts is the median over the rounds, and of a
peer its best setting on each workload, which the first round finds. Printed and written to --out: CPU seconds
(children included), wall seconds, peak resident memory, tokens passed against the least possible, the share of the
machine's matrix-product peak, and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from benchkit import report, systems, workloads
from benchkit.systems import Setting
from benchkit.workloads import Part
from transformers import AutoTokenizer

from harness.engines import open_spec
from harness.engines.base import EngineOptions

_HERE = Path(__file__).resolve().parent
_PROBES = {"lmeval": "lm_eval", "inspect": "inspect_ai", "vllm": "vllm"}
"""Modules that a peer's Python must find."""
Kept: TypeAlias = set[tuple[str, str]]
"""Labels of settings and of the parts they still run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run where."""

    folder: Path
    parts: tuple[Part, ...]
    settings: tuple[Setting, ...]
    pythons: dict[str, str]
    """Interpreter by system."""
    out: Path
    timeout: float
    """Seconds per process."""


def machine() -> dict[str, Any]:
    """Return facts about this machine and its load now."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "load": list(os.getloadavg()),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def run_round(plan: Plan, dtype: str, threads: int, number: int, kept: Kept | None) -> list[report.Run]:
    """Run every setting once, in turn; a process that fails is told and left out.

    Args:
        plan: What to run.
        dtype: Of the weights.
        threads: Of each process.
        number: Of the round.
        kept: What is still of interest, None for all.
    """
    runs = []
    for setting in plan.settings:
        parts = tuple(part for part in plan.parts if kept is None or (str(setting), str(part)) in kept)
        if not parts:
            continue
        sys.stderr.write(f"{setting} {dtype} {threads} thread(s), round {number} ...\n")
        found, problem = run_one(replace(plan, parts=parts), setting, dtype, threads, number)
        runs += found
        for run in found:
            sys.stderr.write(f"  {run['workload']:8} {run['cpu']:8.2f} CPU s {run['wall']:8.2f} s\n")
        if problem:
            sys.stderr.write(f"  failed: {problem}\n")
    return runs


def best_settings(runs: list[report.Run]) -> Kept:
    """Return, of every system and workload, the setting that took the fewest CPU seconds."""
    return {(cell.setting, cell.workload) for cell in report.best(report.cells(runs)).values()}


def run_one(
    plan: Plan, setting: Setting, dtype: str, threads: int, number: int
) -> tuple[list[report.Run], str]:  # fmt: skip
    """Run one setting in a process of its own; return its lines and what went wrong."""
    results = plan.out / "worker.jsonl"
    results.unlink(missing_ok=True)
    job = {
        "setting": asdict(setting), "model": str(plan.folder), "dtype": dtype, "threads": threads, "round": number,
        "parts": [str(part) for part in plan.parts], "workloads": str(plan.out / "workloads"), "results": str(results),
    }  # fmt: skip
    file = plan.out / "job.json"
    file.write_text(json.dumps(job), "utf-8")
    path = os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))
    environment = {**systems.environment(setting, threads), "PYTHONPATH": path}
    command = [plan.pythons[setting.system], "-m", "benchkit.worker", str(file)]
    log = plan.out / "logs" / f"{setting}-{dtype}-{threads}-{number}.txt".replace(" ", "-").replace("/", "_")
    log.parent.mkdir(exist_ok=True)
    problem = ""
    with log.open("w", encoding="utf-8") as output:
        try:
            done = subprocess.run(  # noqa: S603 - the interpreters were named by whoever runs this
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=plan.timeout, check=False
            )
            problem = f"exit status {done.returncode}, see {log}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"took more than {plan.timeout:.0f} s, see {log}"
    lines = results.read_text("utf-8").splitlines() if results.is_file() else []
    return [json.loads(line) for line in lines], problem


def pythons(named: list[str], chosen: list[str]) -> dict[str, str]:
    """Return the interpreter of each system: named ones, else this one where the peer is installed.

    Raises:
        ValueError: an entry is not NAME=PATH, or names no system.
    """
    found = {"ours": sys.executable, "plain": sys.executable}
    for entry in named:
        name, equals, path = entry.partition("=")
        if not equals or name not in systems.NAMES:
            msg = f"--peer {entry!r}: expected NAME=/path/to/python, NAME one of {', '.join(systems.NAMES)}"
            raise ValueError(msg)
        found[name] = path
    for name, module in _PROBES.items():
        question = f"import importlib.util as u; exit(not u.find_spec({module!r}))"
        probe = [found.get(name, sys.executable), "-c", question]
        if name in chosen and subprocess.run(probe, check=False).returncode == 0:  # noqa: S603 - as above
            found.setdefault(name, sys.executable)
        else:
            found.pop(name, None)
    return {name: path for name, path in found.items() if name in chosen}


def settings(named: list[str], available: dict[str, str]) -> tuple[Setting, ...]:
    """Return the settings to run: those of `NAME=SCORE/GENERATE,...` entries, else the default sweep."""
    chosen = dict(systems.DEFAULTS)
    for entry in named:
        name, _, pairs = entry.partition("=")
        sizes = [tuple(map(int, pair.split("/"))) for pair in pairs.split(",")]
        chosen[name] = tuple(Setting(system=name, score=score, generate=generate) for score, generate in sizes)
    return tuple(setting for name in systems.NAMES if name in available for setting in chosen[name])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print tables and write them with every single run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        available = pythons(options.peer, options.systems)
        parts = tuple(Part.parse(text) for text in options.workloads)
        folder = model_folder(options.model)
        built = workloads.build(AutoTokenizer.from_pretrained(folder), options.data)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    for name in set(options.systems) - set(available):
        sys.stderr.write(f"{name} is not installed here: left out; name its interpreter with --peer {name}=PYTHON\n")
    for name, asks in built.items():
        workloads.save(asks, options.out / "workloads" / f"{name}.json")
    plan = Plan(
        folder=folder, parts=parts, settings=settings(options.setting, available), pythons=available,
        out=options.out, timeout=options.timeout,
    )  # fmt: skip
    facts = machine()
    runs: list[report.Run] = []
    kept: dict[tuple[str, int], Kept] = {}
    for number in range(options.rounds):
        for dtype, threads in product(options.dtypes, map(int, options.threads)):
            found = run_round(plan, dtype, threads, number, kept.get((dtype, threads)))
            if number == 0 and not options.sweep:
                kept[dtype, threads] = best_settings(found)
            runs += found
            _write(options.out, facts, runs)
    sys.stdout.write((options.out / "speed.md").read_text("utf-8"))
    return 0 if runs else 1


def model_folder(spec: str) -> Path:
    """Return the folder of a model on this machine, as the engine finds it."""
    engine: Any = open_spec(spec, EngineOptions(device="cpu"))
    return Path(engine.folder)


def _write(out: Path, facts: dict[str, Any], runs: list[report.Run]) -> None:
    whole = {"machine": facts, "runs": runs}
    (out / "speed.json").write_text(json.dumps(whole, indent=1), "utf-8")
    head = f"{facts['cpu']}, {facts['cores']} cores, load {facts['load'][0]:.2f} at the start, {facts['time']}\n\n"
    (out / "speed.md").write_text(head + report.markdown(runs), "utf-8")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a Llama-shaped model, as SPEC or folder")
    parser.add_argument("--data", type=Path, default=workloads.DATA)
    parser.add_argument("--workloads", type=_names, default=_names("W1:64,W3:48,W2:24,W4:1"))
    parser.add_argument("--systems", type=_names, default=list(systems.NAMES))
    parser.add_argument("--dtypes", type=_names, default=_names("bfloat16,float32"))
    parser.add_argument("--threads", type=_names, default=["1"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=SCORE/GENERATE,...")
    parser.add_argument("--sweep", action="store_true", help="all settings in all rounds, not the best of the first")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds per process")
    parser.add_argument("--out", type=Path, default=Path(".tells/bench"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
