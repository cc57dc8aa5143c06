"""Plain transformers in float32, one sequence per forward: what the engine's numbers are held against.

It takes minutes, so answers are kept in a JSON file per model, by the token ids that were asked.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from harness.canonical import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from benchkit.workloads import Ask

CACHE = Path("~/.cache/tells/bench").expanduser()
_SAVE_EVERY = 20.0
"""Seconds between two writes, so that a run that is stopped goes on where it was."""


class Reference:
    """Answers of plain transformers."""

    def __init__(self, folder: Path, model_digest: str, cache: Path = CACHE) -> None:
        """Open the cache; the model is loaded when something is not in it.

        Args:
            folder: Of the model.
            model_digest: Names the file of the cache.
            cache: Folder of the cache, made if it is not there.
        """
        self._folder = folder
        self._file = cache / f"plain-float32-{model_digest.rpartition(':')[2][:16]}.json"
        self._known: dict[str, Any] = json.loads(self._file.read_text("utf-8")) if self._file.is_file() else {}
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model, loaded once."""
        if self._model is None:
            loaded: Any = AutoModelForCausalLM.from_pretrained(self._folder, dtype=torch.float32)
            self._model = loaded.eval()
        return self._model

    def logprobs(self, asks: Sequence[Ask]) -> list[float]:
        """Return the log-probability of each continuation, nats."""
        return [float(value) for value in self._each("score", asks, self._score)]

    def greedy(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Return the tokens of `model.generate`, the end-of-turn token included."""
        return [list(map(int, ids)) for ids in self._each("greedy", asks, self._generate)]

    def distributions(self, ids: Sequence[int], first: int = -1) -> Tensor:
        """Return the float64 probabilities of the next token after each place from `first` on, shape (N, V)."""
        with torch.inference_mode():
            logits = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, first:]
        return torch.softmax(logits.double(), -1)

    def _score(self, ask: Ask) -> float:
        count = len(ask.continuation_ids)
        ids = torch.tensor([[*ask.context_ids, *ask.continuation_ids]])
        with torch.inference_mode():
            # The places before are not read; without the argument the logits of all of them would be made.
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=count + 1).logits[0]
        logprobs = logits.double().log_softmax(-1)
        return sum(float(logprobs[place, token]) for place, token in enumerate(ask.continuation_ids))

    def _generate(self, ask: Ask) -> list[int]:
        ids = torch.tensor([list(ask.context_ids)])
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=ask.max_new, do_sample=False
            )
        return [int(token) for token in out[0, ids.shape[1] :]]

    def _each(self, kind: str, asks: Sequence[Ask], compute: Callable[[Ask], Any]) -> list[Any]:
        keys = [digest([kind, ask.context_ids, ask.continuation_ids, ask.max_new]) for ask in asks]
        missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in self._known}
        saved = time.monotonic()
        for key, ask in tqdm(
            missing.items(), desc=f"plain {kind}", disable=not missing, file=sys.stderr, mininterval=5
        ):
            self._known[key] = compute(ask)
            if time.monotonic() - saved > _SAVE_EVERY:
                self._save()
                saved = time.monotonic()
        if missing:
            self._save()
        return [self._known[key] for key in keys]

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self._known), "utf-8")
        new.replace(self._file)
