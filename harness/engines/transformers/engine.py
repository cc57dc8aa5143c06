"""The `Engine` on transformers: identity and encoding without weights, answers with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.canonical import digest
from harness.engines.base import EngineOptions, Identity, engine
from harness.engines.transformers.source import (
    Digests,
    Source,
    check_folder,
    folder_digests,
    read_json,
    resolve,
    stay_offline,
    weight_files,
)
from harness.errors import ModelRefused, SpecError
from harness.request import Generate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.engines.base import Encoded, Engine
    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.prompts import PromptEncoder
    from harness.request import Answer, Request

VERSION = "transformers/1"
"""Rises with every change that can move an answer; stored answers of another version are not reused."""
_DTYPES = ("float32", "bfloat16", "float16")


class TransformersEngine:
    """Answers requests with a local model. Weights are loaded at the first `run`, once."""

    def __init__(self, source: Source, options: EngineOptions) -> None:
        """Keep what was asked for; nothing is read yet."""
        self._source = source
        self._options = options
        self._folder: Path | None = None
        self._digests: Digests | None = None
        self._encoder: PromptEncoder | None = None
        self._config: Any = None
        self._identity: Identity | None = None
        self._loaded: Loaded | None = None
        self._ends: frozenset[int] = frozenset()
        self._alone = False
        self._batch_tokens: int | None = None
        self._tolerance: float | None = None
        self._load_notes: tuple[str, ...] = ()
        self._encode_notes: dict[str, None] = {}

    @property
    def identity(self) -> Identity:
        """Identity of the model, without loading weights.

        Raises:
            ModelUnavailable: the model or the device is not on this machine.
            ModelRefused: the folder must not be opened.
        """
        if self._identity is None:
            from harness.engines.transformers.loading import pick_device  # noqa: PLC0415 - imports torch

            encoder, digests = self._prompts(), self._files()
            device = pick_device(self._options.device).type
            self._identity = Identity(
                spec=self._source.spec,
                name=self._source.name,
                weights=digests.weights,
                tokenizer=digests.tokenizer,
                chat_template=encoder.template.digest,
                dtype=self._options.dtype,
                revision=self._source.revision,
                numerics=f"{VERSION} {device} padded head-float32",
            )
        return self._identity

    @property
    def folder(self) -> Path:
        """Folder of the model, checked for what must not be opened.

        Raises:
            ModelError: as `identity`.
        """
        return self._place()

    @property
    def notes(self) -> tuple[str, ...]:
        """Device, dtype, threads and self-check once the weights are loaded; what the template does as it is met."""
        return (*self._load_notes, *self._encode_notes)

    @property
    def tolerance(self) -> float | None:
        """Largest log-prob shift by padding and batch size in the self-check, nats; None before the first `run`."""
        return self._tolerance

    @property
    def batch_tokens(self) -> int:
        """Padded tokens that one batch may hold on this device.

        Raises:
            ModelError: as `identity`.
        """
        if self._batch_tokens is None:
            from harness.engines.transformers.loading import pick_device  # noqa: PLC0415 - imports torch
            from harness.engines.transformers.memory import batch_tokens  # noqa: PLC0415 - as above

            self._prompts()
            sizes = sum(path.stat().st_size for path in weight_files(self._place()))
            device = pick_device(self._options.device)
            self._batch_tokens = batch_tokens(
                self._config, device, self._options.dtype, weights=sizes, memory=self._options.memory
            )
        return self._batch_tokens

    def encode(self, request: Request) -> Encoded:
        """Render and tokenise one request, without loading weights.

        Raises:
            ModelError: the model's files are not there or must not be opened.
            RequestError: the request cannot be asked of this model.
        """
        encoded = self._prompts().encode(request)
        self._encode_notes.update(dict.fromkeys(encoded.notes))
        return encoded

    def run(self, batch: Sequence[Encoded]) -> list[Answer]:
        """Answer a batch, in order; requests of both kinds may stand in it.

        Raises:
            ModelError: the model cannot be loaded.
            NumericError: NaN or infinity at a position that is read.
            MemoryError, torch.OutOfMemoryError: the batch is too large.
        """
        if not batch:
            return []
        loaded = self._load()
        from harness.engines.transformers.decoding import generate  # noqa: PLC0415 - imports torch
        from harness.engines.transformers.scoring import score  # noqa: PLC0415 - imports torch

        drawn = [i for i, item in enumerate(batch) if isinstance(item.request, Generate)]
        scored = [i for i, item in enumerate(batch) if not isinstance(item.request, Generate)]
        answers: dict[int, Answer] = {}
        if scored:
            answers |= zip(scored, score(loaded, [batch[i] for i in scored], alone=self._alone), strict=True)
        decode = self._prompts().text
        for group in [[i] for i in drawn] if self._alone else [drawn] if drawn else []:
            texts = generate(loaded, [batch[i] for i in group], ends=self._ends, decode=decode)
            answers |= zip(group, texts, strict=True)
        return [answers[i] for i in range(len(batch))]

    def close(self) -> None:
        """Free the weights; a later `run` loads them again."""
        if self._loaded is None:
            return
        import torch  # noqa: PLC0415 - loaded already

        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _place(self) -> Path:
        """Return the checked folder."""
        if self._folder is None:
            stay_offline()
            folder = self._source.folder
            if folder is None:
                from harness.engines.transformers import smollm2  # noqa: PLC0415 - is run as a module too

                folder = smollm2.ensure()
            check_folder(folder)
            self._folder = folder
        return self._folder

    def _files(self, *, fresh: bool = False) -> Digests:
        if self._digests is None or fresh:
            folder = self._place()
            if self._source.folder is None:
                found = _smollm2_digests(folder, fresh=fresh)
            else:
                found = folder_digests(folder, fresh=fresh)
            if self._digests is not None and found != self._digests:
                msg = f"{folder}: files changed since the run began; expected the model of the plan; start the run anew"
                raise ModelRefused(msg)
            self._digests = found
        return self._digests

    def _prompts(self) -> PromptEncoder:
        if self._encoder is None:
            folder = self._place()
            from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - slow to import

            from harness.engines.transformers.prompts import PromptEncoder  # noqa: PLC0415 - as above

            try:
                config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
                tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... for broken folders
                msg = (
                    f"{folder}: transformers cannot open config or tokeniser ({type(error).__name__}: {error}); "
                    f"expected both in one folder; save them with save_pretrained"
                )
                raise ModelRefused(msg) from error
            self._config = config.get_text_config(decoder=True)
            context = getattr(self._config, "max_position_embeddings", None)
            self._encoder = PromptEncoder(
                tokenizer, name=self._source.name, context=context, vocabulary=getattr(self._config, "vocab_size", None)
            )
        return self._encoder

    def _load(self) -> Loaded:
        if self._loaded is None:
            encoder = self._prompts()
            folder = self._place()
            from harness.engines.transformers.loading import load, pick_device  # noqa: PLC0415 - imports torch

            self._files()
            self._files(fresh=True)
            device = pick_device(self._options.device)
            loaded = load(folder, device=device, dtype=self._options.dtype)
            configured = [self._config.eos_token_id, loaded.model.generation_config.eos_token_id]
            if (folder / "generation_config.json").is_file():
                configured.append(read_json(folder / "generation_config.json").get("eos_token_id"))
            self._ends = encoder.end_ids(_flat(configured))
            self._check(loaded, encoder)
            self._loaded = loaded
        return self._loaded

    def _check(self, loaded: Loaded, encoder: PromptEncoder) -> None:
        """Measure the tolerance; fall back to one row at a time where padding changes answers."""
        import torch  # noqa: PLC0415 - loaded already

        from harness.engines.transformers import selfcheck  # noqa: PLC0415 - imports torch

        sequences = selfcheck.probes(
            lambda text: encoder.tokenizer(text, add_special_tokens=False)["input_ids"],
            vocabulary=int(self._config.vocab_size),
            context=encoder.context,
        )
        shift = selfcheck.measure(loaded, sequences)
        where = f"{loaded.device}" + (f", {torch.get_num_threads()} threads" if loaded.device.type == "cpu" else "")
        notes = [f"device {where}, {loaded.dtype}, attention {loaded.attention}"]
        notes.append(f"self-check: padding and batch size shift a log-probability by at most {shift:.1e} nat")
        if loaded.dtype == "float32" and not shift <= selfcheck.LIMIT:
            self._alone = True
            notes.append(f"that is more than {selfcheck.LIMIT:.0e} nat in float32: every row is passed alone, slowly")
        self._tolerance = shift
        self._load_notes = tuple(notes)


@engine.register("transformers")
def open_transformers(spec: str, options: EngineOptions) -> Engine:
    """Return an engine for a folder, a hub id in the local cache or a named model. Nothing is loaded yet.

    Raises:
        SpecError: the SPEC names nothing that this version can open, or the dtype is unknown.
        ModelUnavailable: it is a hub id that is not in the local cache.
    """
    if options.dtype not in _DTYPES:
        msg = f"dtype {options.dtype!r}: unknown; expected one of {', '.join(_DTYPES)}; change --tells-dtype"
        raise SpecError(msg)
    return TransformersEngine(resolve(spec), options)


def _smollm2_digests(folder: Path, *, fresh: bool) -> Digests:
    """Return digests that rest on the pinned tensors, not on the layout of the file that holds them."""
    from harness.engines.transformers import smollm2  # noqa: PLC0415 - is run as a module too

    if fresh:
        smollm2.verify(folder, fresh=True)
    pins = smollm2.FILES
    model = {"tensors": smollm2.WEIGHTS, **{name: pins[name] for name in ("config.json", "generation_config.json")}}
    words = {name: pins[name] for name in ("tokenizer.json", "tokenizer_config.json")}
    return Digests(weights=digest(model), tokenizer=digest(words))


def _flat(values: Sequence[Any]) -> list[int]:
    """Return the token ids of entries that are an id, a list of ids or None."""
    return [int(i) for value in values if value is not None for i in (value if isinstance(value, list) else [value])]
