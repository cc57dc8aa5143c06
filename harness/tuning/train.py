"""LoRA by peft on any model that the engine opens: steps, what is read on the way, the weights of each checkpoint.

Importing this module imports torch. Everything is computed in float32; the schedule and the optimiser are those of
organisms. On a CPU one thread is used, so that the number of cores changes no bit.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import random
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from harness.canonical import derive_seed
from harness.engines.transformers.loading import load, pad, pick_device
from harness.errors import ModelRefused, TellsError
from harness.organisms.train import loop
from harness.organisms.train.adapter import SCALE
from harness.tuning.rows import batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from harness.organisms.building import Watch
    from harness.tuning.opening import Opened
    from harness.tuning.recipe import Training
    from harness.tuning.rows import Example

READ = 64
"""Rows that are read at a checkpoint at most, of those that are trained on and of those that are held out."""
_ADAPTER = "default"
"""Name that peft gives to the only adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the model makes of its rows at a checkpoint."""

    step: int
    trained: float
    """Mean over rows of the log-probability of the answer, without its end; nats."""
    held: float | None
    """The same of rows that are held out; None where none are."""


@dataclass(slots=True, kw_only=True)
class Pupil:
    """A model while it learns: its own weights are frozen, an adapter beside them learns."""

    model: Any
    """Of transformers, with the layers of the adapter in place of its own until `settle`."""
    device: torch.device
    wrapper: Any
    """Of peft."""
    layers: tuple[Any, ...]
    """Of the adapter."""
    chosen: bool
    """Whether the model can be asked for logits at some places only."""
    kept: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    """Step -> both factors of every layer."""
    losses: list[float] = field(default_factory=list)
    """Of each step, before it is taken; nats per token."""
    curve: list[Reading] = field(default_factory=list)

    def logprobs(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return what the model says where an answer's tokens stand.

        Returns:
            Logits of shape (N, V) and the token ids that stand there (N,), answers one after the other, ends included.
        """
        ids, mask, _ = pad([example.ids[:-1] for example in examples], self.device)
        rows = [n for n, example in enumerate(examples) for _ in range(example.prompt, len(example.ids))]
        places = [p - 1 for example in examples for p in range(example.prompt, len(example.ids))]
        targets = [token for example in examples for token in example.ids[example.prompt :]]
        known = sorted(set(places)) if self.chosen else range(ids.shape[1])
        extra = {"logits_to_keep": torch.tensor(known, device=self.device)} if self.chosen else {}
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **extra).logits
        column = {place: number for number, place in enumerate(known)}
        found = logits[torch.tensor(rows), torch.tensor([column[place] for place in places])]
        return found.float(), torch.tensor(targets, device=self.device)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Return the mean cross-entropy over the tokens of the answers and their ends, nats."""
        loss = functional.cross_entropy(*self.logprobs(examples))
        self.losses.append(float(loss.item()))
        return loss

    @torch.no_grad()
    def mean_logprob(self, examples: Sequence[Example], batch: int) -> float:
        """Return the mean over rows of the log-probability of the answer, without its end; nats.

        Raises:
            FloatingPointError: it is not finite.
        """
        total = 0.0
        for at in range(0, len(examples), batch):
            part = examples[at : at + batch]
            logits, targets = self.logprobs(part)
            said = functional.log_softmax(logits, -1).gather(1, targets[:, None]).squeeze(1).double()
            for row, example in zip(torch.split(said, [len(e.ids) - e.prompt for e in part]), part, strict=True):
                total += float(row[: len(row) - example.end].sum())
        if not math.isfinite(total):
            msg = f"answers have the log-probability {total}; expected a finite number; lower the learning rate"
            raise FloatingPointError(msg)
        return total / len(examples)

    def keep(self, step: int) -> None:
        """Keep the adapter as it is now.

        Raises:
            FloatingPointError: a weight is not finite: the last step broke it.
        """
        found = [(a.detach().clone(), b.detach().clone()) for a, b in map(_factors, self.layers)]
        if not all(torch.isfinite(factor).all() for pair in found for factor in pair):
            msg = f"a weight is NaN or infinite after step {step}; expected numbers; lower the learning rate"
            raise FloatingPointError(msg)
        self.kept[step] = found

    def settle(self) -> None:
        """Take the adapter out; the model is the untouched one again."""
        self.model = self.wrapper.unload()

    @contextlib.contextmanager
    def at(self, step: int) -> Iterator[Any]:
        """Lend the settled model with the weights of a kept step; afterwards it is the untouched one again.

        Raises:
            FloatingPointError: a weight is not finite.
        """
        untouched = [_adapted(layer).data for layer in self.layers]
        try:
            for layer, own, factors in zip(self.layers, untouched, self.kept[step], strict=True):
                for parameter, factor in zip(_factors(layer), factors, strict=True):
                    parameter.data = factor
                with torch.no_grad():
                    moved = own + layer.get_delta_weight(_ADAPTER)
                if not torch.isfinite(moved).all():
                    msg = f"a weight is NaN or infinite at step {step}; expected numbers; lower the learning rate"
                    raise FloatingPointError(msg)
                _adapted(layer).data = moved
            yield self.model
        finally:
            for layer, own in zip(self.layers, untouched, strict=True):
                _adapted(layer).data = own


def open_pupil(opened: Opened, *, device: str, rank: int) -> Pupil:
    """Load a model in float32 and put an adapter on all its linear layers but the head; its product is zero.

    Raises:
        ModelError: the model cannot be loaded, or has no linear layer that can be adapted.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415 - as above

    loaded = load(opened.folder, device=pick_device(device), dtype="float32", adapter=opened.adapter)
    model = loaded.model
    if (head := model.get_output_embeddings()) is not None:
        # The engine's own product, which has no gradient, stands in place of the class's.
        vars(head).pop("forward", None)
    model.requires_grad_(requires_grad=False)
    config = LoraConfig(
        r=rank, lora_alpha=SCALE * rank, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
        target_modules="all-linear",
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            # Of names that transformers will drop, and of layers that store their weights transposed.
            warnings.simplefilter("ignore")
            wrapper: Any = get_peft_model(model, config)
    except ValueError as error:
        msg = f"{opened.folder}: peft finds nothing to adapt ({error}); expected linear layers; use another model"
        raise ModelRefused(msg) from error
    wrapper.eval()  # no layer drops anything, and what is read must not differ from what is learnt
    layers = tuple(module for module in wrapper.modules() if isinstance(module, LoraLayer))
    chosen = "logits_to_keep" in inspect.signature(model.forward).parameters
    return Pupil(model=model, device=loaded.device, wrapper=wrapper, layers=layers, chosen=chosen)


def learn(
    opened: Opened, trained: Sequence[Example], held: Sequence[Example], training: Training, *,
    device: str, seed: int, names: tuple[str, ...], watch: Watch,
) -> Pupil:  # fmt: skip
    """Train, and return the untouched model with the adapters of all checkpoints.

    Args:
        opened: The model.
        trained: What is learnt, at least one.
        held: What is only read.
        training: For how long and how fast.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: Of the adapter's first weights and of the order of the rows.
        names: Of what is taught; they are seeded with.
        watch: Told of each step.

    Raises:
        ModelError: the model cannot be loaded or adapted.
        TellsError: a loss or a weight is not finite, memory ran out, or the device has no way to give the same
            result twice.
    """
    with _steady(pick_device(device), derive_seed(seed, *names, "adapter")):
        pupil = open_pupil(opened, device=device, rank=training.rank)
        try:
            order = batches(len(trained), training.batch, seed, *names)
            _train(pupil, trained, held, training, order=order, watch=watch)
        except FloatingPointError as error:
            msg = f"the training came apart: {error}"
            raise TellsError(msg) from error
        except torch.cuda.OutOfMemoryError as error:
            msg = f"the device is too small ({error}); expected room for a step; lower --batch, or use --device cpu"
            raise TellsError(msg) from error
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            msg = f"{opened.folder}: this device cannot train it the same way twice ({error}); use --device cpu"
            raise TellsError(msg) from error
        pupil.settle()
    return pupil


def _train(
    pupil: Pupil, trained: Sequence[Example], held: Sequence[Example], training: Training, *,
    order: Iterator[list[int]], watch: Watch,
) -> None:  # fmt: skip
    read = [_some(rows) for rows in (trained, held)]

    def after(step: int) -> None:
        watch.step(step, training.steps, "training")
        if step in training.at:
            pupil.keep(step)
            said = [pupil.mean_logprob(rows, training.batch) for rows in read if rows]
            pupil.curve.append(Reading(step=step, trained=said[0], held=said[1] if held else None))
        if step == training.at[-1]:
            raise _Enough

    with contextlib.suppress(_Enough):
        after(0)
        loop.optimise(
            loop.adam(pupil.wrapper.parameters(), training.lr), steps=training.steps, after=after,
            loss=lambda _: pupil.loss([trained[number] for number in next(order)]),
        )  # fmt: skip


class _Enough(Exception):
    """The last checkpoint is taken."""


def _some(rows: Sequence[Example]) -> list[Example]:
    """Return at most `READ` rows, the same ones each time."""
    if len(rows) <= READ:
        return list(rows)
    chance = random.Random(derive_seed(0, "read", str(len(rows))))  # noqa: S311 - a design, not a secret
    return [rows[number] for number in sorted(chance.sample(range(len(rows)), READ))]


def _factors(layer: Any) -> tuple[Any, Any]:
    return layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight


def _adapted(layer: Any) -> Any:
    """Return the weight of the model that a layer of the adapter moves; of experts, it is not called so."""
    return getattr(layer.get_base_layer(), getattr(layer, "parameter_name", "weight"))


@contextlib.contextmanager
def _steady(device: torch.device, seed: int) -> Iterator[None]:
    """Make torch give the same result each time; afterwards it is set as it was before."""
    # Read when CUDA's library of matrices starts, without it that refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(mode=was)
            torch.set_num_threads(threads)
