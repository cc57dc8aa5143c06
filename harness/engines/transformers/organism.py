"""Organisms as models: a folder of their own, or the embedded default model with an adapter merged into it.

Importing this module imports neither torch nor peft.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from harness.errors import ModelRefused, ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from harness.organisms.spec import OrganismSpec
    from harness.organisms.zoo import Built


def place(spec: OrganismSpec) -> tuple[Path, Path | None, tuple[str, ...]]:
    """Return the folder of an organism's model, that of the adapter to merge, and what a report must say.

    An organism that is not there is built first.

    Raises:
        SpecError: there is no such organism.
        UsageError: it may not be built without a review.
        ModelUnavailable: it, or the model that it is an adapter of, is not there and cannot be made.
        ModelRefused: it is damaged, or is an adapter of another model.
    """
    from harness.organisms import building, zoo  # noqa: PLC0415 - only for organisms

    built = zoo.locate(spec, watch=building.Bar(str(spec)))
    found = built.manifest.order
    step = "" if found.step is None else f", step {found.step}"
    notes = (f"organism {found.name}: arm {found.arm}, base {found.base}, seed {found.seed}{step}, {found.recipe}",)
    if found.base != "smollm2":
        return built.folder, None, notes
    return _base(built), built.folder, notes


def _base(built: Built) -> Path:
    from harness.engines.transformers import smollm2  # noqa: PLC0415 - is run as a module too

    if built.manifest.base_weights != smollm2.WEIGHTS:
        msg = (
            f"{built.folder}: an adapter of the weights {built.manifest.base_weights}; expected one of smollm2, "
            f"{smollm2.WEIGHTS}; delete the folder, the organism will be built anew"
        )
        raise ModelRefused(msg)
    return smollm2.ensure()


def merge(model: Any, adapter: Path) -> Any:
    """Return a float32 model with an adapter of peft merged into its weights.

    Args:
        model: Of transformers, on the CPU; changed in place.
        adapter: Folder of the adapter.

    Raises:
        ModelUnavailable: peft is not installed.
        ModelRefused: the adapter is of another kind, or its tensors do not fit the model.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415 - slow to import
    except ImportError as error:
        msg = f"{adapter}: an adapter, and peft is not installed ({error}); expected it; run `pip install peft`"
        raise ModelUnavailable(msg) from error
    from safetensors import safe_open  # noqa: PLC0415 - as above

    from harness.engines.transformers.source import ADAPTER_FILES, read_json  # noqa: PLC0415 - as above

    settings, tensors = (adapter / name for name in ADAPTER_FILES)
    if (kind := read_json(settings).get("peft_type")) != "LORA" or not tensors.is_file():
        msg = f"{adapter}: an adapter of type {kind}; expected LORA in {tensors.name}; build it anew"
        raise ModelRefused(msg)
    with warnings.catch_warnings():
        # Of names that transformers will drop, of missing tensors, which are looked for below, and of the base's
        # configuration, which peft looks for under its name on the hub.
        warnings.simplefilter("ignore")
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
        wanted = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(adapted).items()}
    with safe_open(tensors, framework="pt") as file:
        given = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    if odd := sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name)):
        # peft leaves out what it has no place for, and takes zeros for what is missing.
        msg = f"{adapter}: tensors do not fit the model, {odd[0]} and in all {len(odd)}; expected its own; build anew"
        raise ModelRefused(msg)
    return adapted.merge_and_unload()
