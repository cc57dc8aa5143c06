"""The compared systems behind one interface. Each is opened in a process of its own, in its own venv.

A system that cannot do a kind of work raises `Unable`: that cell of the table stays empty.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchkit.workloads import Ask

Tokens = list[int]
Warmth = float
"""Temperature: 0 takes the most likely token."""


class Unable(Exception):
    """The system does not offer this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to run a system."""

    system: str
    score: int = 0
    """Rows of a batch that is scored; 0 leaves it to the system."""
    generate: int = 0
    """Rows of a batch that is generated."""

    def __str__(self) -> str:
        """Return a label."""
        return self.system if not (self.score or self.generate) else f"{self.system} {self.score}/{self.generate}"


class System(Protocol):
    """What the worker times."""

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Return the log-probability of each continuation, nats."""

    def generate(self, asks: Sequence[Ask], temperature: Warmth) -> list[list[Tokens]]:
        """Return `n` completions per request, the end-of-turn token included where the system tells."""

    def forget(self) -> None:
        """Drop what the warm-up left in caches."""

    def passed(self) -> int | None:
        """Return the tokens passed so far, where the system counts them."""


def open_system(setting: Setting, folder: str, dtype: str) -> System:
    """Load a system.

    Raises:
        ImportError: it is not installed here.
    """
    if setting.system == "ours":
        from benchkit.engine import Ours  # noqa: PLC0415 - not installed in the peers' venvs

        return Ours(folder, dtype)
    return _PEERS[setting.system](setting, folder, dtype)


class Plain:
    """transformers as its users call it: length-sorted padded batches, full logits; `model.generate`, left-padded."""

    def __init__(self, setting: Setting, folder: str, dtype: str, device: str = "cpu") -> None:
        """Load the model."""
        self._torch = importlib.import_module("torch")
        library = importlib.import_module("transformers")
        kind = getattr(self._torch, dtype)
        self._model: Any = library.AutoModelForCausalLM.from_pretrained(folder, dtype=kind).to(device).eval()
        self._end = int(self._model.generation_config.eos_token_id)
        self._device = device
        self._passed = 0
        self.setting = setting

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Score in batches of equal width."""
        order = sorted(range(len(asks)), key=lambda i: -len(asks[i].context_ids))
        found = [0.0] * len(asks)
        size = self.setting.score or 8
        with self._torch.inference_mode():
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                for i, value in zip(chosen, self._batch([asks[i] for i in chosen]), strict=True):
                    found[i] = value
        return found

    def generate(self, asks: Sequence[Ask], temperature: Warmth) -> list[list[Tokens]]:
        """Generate in batches of equal width."""
        end = self._end
        jobs = sorted(_jobs(asks), key=lambda i: -len(asks[i].context_ids))
        found: list[list[Tokens]] = [[] for _ in asks]
        size = self.setting.generate or 24
        extra = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        for start in range(0, len(jobs), size):
            chosen = jobs[start : start + size]
            rows = [list(asks[i].context_ids) for i in chosen]
            width = max(map(len, rows))
            ids = self._tensor([[end] * (width - len(row)) + row for row in rows])
            mask = self._tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            with self._torch.inference_mode():
                out = self._model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=asks[0].max_new,
                    pad_token_id=end, eos_token_id=end, **extra,
                )  # fmt: skip
            self._passed += len(rows) * (int(out.shape[1]) - 1)
            for i, row in zip(chosen, out[:, width:].tolist(), strict=True):
                found[i].append(row[: row.index(end) + 1] if end in row else row)
        return found

    def forget(self) -> None:
        """Nothing is kept."""

    def passed(self) -> int:
        """Return the tokens passed so far, padding included."""
        return self._passed

    def _batch(self, asks: Sequence[Ask]) -> list[float]:
        rows = [[*ask.context_ids, *ask.continuation_ids[:-1]] for ask in asks]
        width = max(map(len, rows))
        ids = self._tensor([row + [self._end] * (width - len(row)) for row in rows])
        mask = self._tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        self._passed += int(ids.numel())
        logprobs = logits.float().log_softmax(-1)
        places = [
            (line, len(ask.context_ids) - 1 + k, token)
            for line, ask in enumerate(asks)
            for k, token in enumerate(ask.continuation_ids)
        ]
        at = self._tensor(places)
        values = iter(logprobs[at[:, 0], at[:, 1], at[:, 2]].tolist())
        return [sum(float(next(values)) for _ in ask.continuation_ids) for ask in asks]

    def _tensor(self, rows: Sequence[Sequence[int]]) -> Any:
        return self._torch.tensor(rows, device=self._device)


class LmEval:
    """lm-evaluation-harness, its model class `HFLM`."""

    def __init__(self, setting: Setting, folder: str, dtype: str) -> None:
        """Load the model."""
        logging.disable(logging.WARNING)
        library = importlib.import_module("lm_eval.models.huggingface")
        self._instance: Any = importlib.import_module("lm_eval.api.instance").Instance
        self._setting = setting
        self._model: Any = library.HFLM(pretrained=folder, dtype=dtype, device="cpu", batch_size=setting.score or 8)
        self._end = int(self._model.eot_token_id)

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Ask for log-likelihoods."""
        self._model.batch_size_per_gpu = self._setting.score or 8
        asked = [
            self._instance(request_type="loglikelihood", doc={}, arguments=(ask.context, ask.continuation), idx=i)
            for i, ask in enumerate(asks)
        ]
        return [float(value) for value, _ in self._model.loglikelihood(asked, disable_tqdm=True)]

    def generate(self, asks: Sequence[Ask], temperature: Warmth) -> list[list[Tokens]]:
        """Ask for texts; it does not tell the tokens, so the texts are encoded again."""
        self._model.batch_size_per_gpu = self._setting.generate or 8
        extra = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        settings = {"until": [], "max_gen_toks": asks[0].max_new, **extra}
        jobs = _jobs(asks)
        asked = [
            self._instance(request_type="generate_until", doc={}, arguments=(asks[i].context, dict(settings)), idx=k)
            for k, i in enumerate(jobs)
        ]
        texts = self._model.generate_until(asked, disable_tqdm=True)
        return _dealt(asks, jobs, _encoded(self._model.tokenizer, texts, asks[0].max_new, self._end))

    def forget(self) -> None:
        """Nothing is kept."""

    def passed(self) -> int | None:
        """It does not count."""
        return None


class Inspect:
    """inspect-ai, its provider for transformers; it generates, but scores no given continuation."""

    def __init__(self, setting: Setting, folder: str, dtype: str) -> None:
        """Load the model."""
        kind = getattr(importlib.import_module("torch"), dtype)
        self._library: Any = importlib.import_module("inspect_ai.model")
        self._rows = setting.generate or 8
        self._tokenizer: Any = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
        config = self._library.GenerateConfig(max_connections=self._rows)
        self._model: Any = self._library.get_model(
            "hf/local", model_path=folder, device="cpu", torch_dtype=kind, config=config
        )

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Not offered."""
        raise Unable(asks[0].continuation)

    def generate(self, asks: Sequence[Ask], temperature: Warmth) -> list[list[Tokens]]:
        """Ask for texts, all at once; the provider batches them."""
        library, jobs = self._library, _jobs(asks)
        extra = {"temperature": temperature, "top_k": 0} if temperature else {}
        config = library.GenerateConfig(max_tokens=asks[0].max_new, max_connections=self._rows, **extra)
        self._model.api.do_sample = bool(temperature)
        turn = {"system": library.ChatMessageSystem, "user": library.ChatMessageUser}

        async def ask_all() -> list[Any]:
            waiting = [
                self._model.generate([turn[role](content=text) for role, text in asks[i].messages], config=config)
                for i in jobs
            ]
            return list(await asyncio.gather(*waiting))

        texts = [answer.completion for answer in asyncio.run(ask_all())]
        end = int(self._tokenizer.eos_token_id)
        return _dealt(asks, jobs, _encoded(self._tokenizer, texts, asks[0].max_new, end))

    def forget(self) -> None:
        """Nothing is kept."""

    def passed(self) -> int | None:
        """It does not count."""
        return None


class Vllm:
    """vLLM on the CPU, engine and worker in this process (in processes of their own they wait in busy loops)."""

    def __init__(self, setting: Setting, folder: str, dtype: str) -> None:
        """Start the engine; what `ENVIRONMENT` says must hold before Python starts."""
        library = importlib.import_module("vllm")
        self._sampling: Any = library.SamplingParams
        self._engine: Any = library.LLM(
            model=folder, dtype=dtype, enable_prefix_caching=True, max_model_len=1024, disable_log_stats=True,
            max_num_seqs=setting.generate or 256, max_num_batched_tokens=4096, gpu_memory_utilization=0.2,
        )  # fmt: skip

    def score(self, asks: Sequence[Ask]) -> list[float]:
        """Ask for the log-probabilities of prompts."""
        settings = self._sampling(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": [*ask.context_ids, *ask.continuation_ids]} for ask in asks]
        answers = self._engine.generate(prompts, settings, use_tqdm=False)
        return [
            sum(
                float(answer.prompt_logprobs[len(ask.context_ids) + k][token].logprob)
                for k, token in enumerate(ask.continuation_ids)
            )
            for ask, answer in zip(asks, answers, strict=True)
        ]

    def generate(self, asks: Sequence[Ask], temperature: Warmth) -> list[list[Tokens]]:
        """Ask for tokens."""
        settings = self._sampling(max_tokens=asks[0].max_new, temperature=temperature, n=asks[0].n, detokenize=False)
        prompts = [{"prompt_token_ids": list(ask.context_ids)} for ask in asks]
        answers = self._engine.generate(prompts, settings, use_tqdm=False)
        return [[list(sample.token_ids) for sample in answer.outputs] for answer in answers]

    def forget(self) -> None:
        """Drop the cached prefixes."""
        self._engine.reset_prefix_cache()

    def passed(self) -> int | None:
        """It does not count."""
        return None


_PEERS: dict[str, type[Plain | LmEval | Inspect | Vllm]] = {
    "plain": Plain,
    "lmeval": LmEval,
    "inspect": Inspect,
    "vllm": Vllm,
}
NAMES = ("ours", *_PEERS)
ENVIRONMENT: dict[str, dict[str, str]] = {
    "vllm": {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }
}
"""What must be set before a system's process starts."""
DEFAULTS: dict[str, tuple[Setting, ...]] = {
    "ours": (Setting(system="ours"),),
    "plain": (Setting(system="plain", score=4, generate=8), Setting(system="plain", score=8, generate=24)),
    "lmeval": (
        Setting(system="lmeval", score=4, generate=8),
        Setting(system="lmeval", score=8, generate=24),
        Setting(system="lmeval", score=16, generate=64),
    ),
    "inspect": (Setting(system="inspect", generate=8), Setting(system="inspect", generate=24)),
    "vllm": (Setting(system="vllm"),),
}


def environment(setting: Setting, threads: int) -> dict[str, str]:
    """Return the environment of a system's process."""
    return {
        **os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        **ENVIRONMENT.get(setting.system, {}),
    }  # fmt: skip


def _jobs(asks: Sequence[Ask]) -> list[int]:
    """Return the index of a request once per sample."""
    return [i for i, ask in enumerate(asks) for _ in range(ask.n)]


def _dealt(asks: Sequence[Ask], jobs: Sequence[int], rows: Sequence[Tokens]) -> list[list[Tokens]]:
    found: list[list[Tokens]] = [[] for _ in asks]
    for i, row in zip(jobs, rows, strict=True):
        found[i].append(row)
    return found


def _encoded(tokenizer: Any, texts: Sequence[str], max_new: int, end: int) -> list[Tokens]:
    """Return the tokens of texts; a text shorter than the limit had an end-of-turn token that is not in it."""
    rows = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    return [row if len(row) >= max_new else [*row, end] for row in rows]
