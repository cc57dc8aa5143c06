"""From a folder to a model on a device, and the one place where the network is run.

Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.engines.transformers import linears
from harness.errors import ModelRefused, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMS = "auto, cpu, cuda, cuda:N, a list such as cuda:0,cuda:1, cuda:all or cuda:split"
"""Ways to write a device."""
_OWN = (ModelRefused, ModelUnavailable, MemoryError, torch.cuda.OutOfMemoryError)


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A model that passed the checks."""

    model: Any
    """Of transformers, in eval mode, on `device` unless `spread`."""
    device: torch.device
    dtype: str
    attention: str
    """Implementation: sdpa, or eager where the architecture has no other."""
    takes_positions: bool
    """Whether `forward` takes position ids; models without them count from the attention mask or not at all."""
    head: nn.Module | None = None
    residual: linears.Residual | None = None
    """Whether the residual stream may run in float32; None in float32."""
    spread: bool = False
    """Whether the layers lie on several devices; `device` is then that of the embeddings."""

    def ours(self, *, wide: bool = True) -> None:
        """Set the model's attention to ours, and its residual stream to float32 if `wide`."""
        from harness.engines.transformers.attention import TRIE  # noqa: PLC0415 - imports transformers

        self.model.set_attn_implementation(TRIE)
        if self.residual is not None:
            self.residual.on = wide

    def stock(self) -> None:
        """Set the model's attention and residual stream back to its own."""
        self.model.set_attn_implementation(self.attention)
        if self.residual is not None:
            self.residual.on = False

    def cache(self) -> Any:
        """Return an empty key-value cache that knows the model's layer types."""
        from transformers import DynamicCache  # noqa: PLC0415 - slow to import

        return DynamicCache(config=self.model.config)


def pick_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA where there is one.

    Raises:
        ModelUnavailable: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in {"cpu", "cuda"}:  # of another kind, or one that holds no numbers
            torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        msg = f"device {name!r}: unknown; expected {FORMS}; change --tells-device"
        raise ModelUnavailable(msg) from error
    # The number as it was written: torch wraps large ones round.
    number = int(name.partition(":")[2] or 0)
    if device.type == "cuda" and not (torch.cuda.is_available() and number < torch.cuda.device_count()):
        msg = f"device {name!r}: not on this machine; expected a CUDA device that torch sees; use --tells-device cpu"
        raise ModelUnavailable(msg)
    return device


def load(
    folder: Path, *, device: torch.device, dtype: str, spread: bool = False, adapter: Path | None = None
) -> Loaded:
    """Load a model from safetensors and check that it is whole.

    Args:
        folder: Already checked by `source.check_folder`.
        device: Where to run it.
        dtype: A name in `DTYPES`; the weights are converted to it.
        spread: Lay the layers on all devices of this type; needs the package accelerate.
        adapter: Folder of an adapter to merge into the weights, in float32 whatever `dtype`.

    Raises:
        ModelUnavailable: the devices together are too small for it, or it cannot be merged over several.
        ModelRefused: tensors are missing, left over, of another shape or not finite; or transformers cannot open it.
    """
    attention = "sdpa"
    if adapter is not None and spread:
        msg = f"{adapter}: an adapter, and one copy over all devices; expected one device; use --tells-device cuda"
        raise ModelUnavailable(msg)
    stored = dtype if adapter is None else "float32"
    try:
        with _quiet():
            try:
                model, info = _from_pretrained(folder, stored, attention, spread=spread)
            except ValueError as error:
                if "scaled_dot_product_attention" not in str(error):
                    raise
                attention = "eager"
                model, info = _from_pretrained(folder, stored, attention, spread=spread)
            if adapter is not None:
                model = _merged(model, adapter, dtype)
            model = model.eval() if spread else model.to(device).eval()
    except _OWN:
        raise
    except Exception as error:  # transformers raises OSError, RuntimeError, KeyError, ... for broken folders
        msg = (
            f"{folder}: transformers cannot load it ({type(error).__name__}: {error}); expected a causal "
            f"language model with whole safetensors weights; copy or save it anew"
        )
        raise ModelRefused(msg) from error
    if spread:
        device = _home(folder, model, device)
    _check_tensors(folder, info)
    _check_finite(folder, model)
    if getattr(model, "_is_stateful", False):
        msg = f"{folder}: a recurrent model; expected attention with a key-value cache; use another model"
        raise ModelRefused(msg)
    positions = "position_ids" in inspect.signature(model.forward).parameters
    head = model.get_output_embeddings()
    linears.pack_head(model, head)
    residual = None if dtype == "float32" else linears.Residual(model)
    return Loaded(
        model=model, device=device, dtype=dtype, attention=attention, takes_positions=positions, head=head,
        residual=residual, spread=spread,
    )  # fmt: skip


def forward_at(  # noqa: D417 - the keywords are transformers' own
    loaded: Loaded,
    ids: Tensor,
    rows: Tensor,
    places: Tensor,
    *,
    mask: Tensor | None,
    positions: Tensor,
    cache: Any = None,
) -> Tensor:
    """Run the network and return float32 logits at chosen places only.

    The states are gathered before the model's own head, so that whatever the model does after it (scaling, capping)
    is done too, at N places in place of B x L.

    Args:
        ids: Token ids, shape (B, L).
        rows: Row of each place, shape (N,).
        places: Column of each place, shape (N,).
        mask: 1 for tokens and 0 for padding, shape (B, past + L); None where the attention needs none.
        positions: Position of each token, shape (B, L).
        cache: Keys and values of earlier tokens, extended in place.

    Returns:
        Logits, on the device of the ids, shape (N, V).
    """
    gathered = False

    def gather(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal gathered
        if not args or args[0].dim() != 3:  # noqa: PLR2004 - (B, L, D); anything else is not understood
            return None
        gathered = True
        # The head's input may lie on another device than the ids.
        found = args[0][rows.to(args[0].device), places.to(args[0].device)]
        return (found.unsqueeze(0), *args[1:])

    extra = {"position_ids": positions} if loaded.takes_positions else {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if loaded.head is not None:
            stack.callback(loaded.head.register_forward_pre_hook(gather).remove)
        logits = loaded.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None, **extra
        ).logits.to(ids.device)
    found: Tensor = logits[0] if gathered else logits[rows, places]
    return found.float()


def pad(
    sequences: Sequence[Sequence[int]], device: torch.device, *, left: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and positions of sequences filled up to one length, each of shape (B, L)."""
    width = max(map(len, sequences))
    ids, mask = [], []
    for sequence in sequences:
        void = [0] * (width - len(sequence))
        ones = [1] * len(sequence)
        ids.append([*void, *sequence] if left else [*sequence, *void])
        mask.append([*void, *ones] if left else [*ones, *void])
    mask_tensor = torch.tensor(mask, device=device)
    positions = (mask_tensor.cumsum(1) - 1).clamp(min=0)
    return torch.tensor(ids, device=device), mask_tensor, positions


def _from_pretrained(folder: Path, dtype: str, attention: str, *, spread: bool) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - slow to import

    found: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        dtype=DTYPES[dtype],
        attn_implementation=attention,
        output_loading_info=True,
        **({"device_map": "auto"} if spread else {}),
    )
    model, info = found
    return model, info


def _merged(model: Any, adapter: Path, dtype: str) -> Any:
    from harness.engines.transformers.organism import merge  # noqa: PLC0415 - only for organisms

    found = merge(model, adapter)
    for parameter in found.parameters():  # not the buffers: rotary frequencies stay in float32
        parameter.data = parameter.data.to(DTYPES[dtype])
    found.config.dtype = DTYPES[dtype]
    return found


def _home(folder: Path, model: Any, device: torch.device) -> torch.device:
    """Return the device of the embeddings of a model that lies on several.

    Raises:
        ModelUnavailable: a part of it does not lie on devices of that type.
    """
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if away := sorted(places & ({"cpu", "disk"} - {device.type})):
        msg = (
            f"{folder}: all CUDA devices together are too small for it, a part would lie on {' and '.join(away)}; "
            f"expected room for all weights; use --tells-dtype bfloat16, more devices, or --tells-device cpu"
        )
        raise ModelUnavailable(msg)
    found: torch.device = model.get_input_embeddings().weight.device
    return found


def _check_tensors(folder: Path, info: dict[str, Any]) -> None:
    for key, what in (
        ("missing_keys", "tensors are missing"),
        ("unexpected_keys", "tensors have no place in the model"),
        ("mismatched_keys", "tensors have another shape"),
        ("error_msgs", "errors while loading"),
    ):
        if found := sorted(map(str, info.get(key) or ())):
            shown = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")  # noqa: PLR2004
            msg = f"{folder}: {what}: {shown}; expected exactly the model's tensors; copy or save it anew"
            raise ModelRefused(msg)


def _check_finite(folder: Path, model: Any) -> None:
    for name, parameter in model.named_parameters():
        # A sum over a NaN or infinity is not finite; only a suspicious sum needs the exact look.
        if not torch.isfinite(parameter.sum(dtype=torch.float32)) and not torch.isfinite(parameter).all():
            msg = f"{folder}: {name} holds NaN or infinity; expected finite weights; copy or train it anew"
            raise ModelRefused(msg)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and advice out of the terminal; what matters is raised."""
    from transformers import utils  # noqa: PLC0415 - slow to import

    logging: Any = utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
