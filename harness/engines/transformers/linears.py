"""Weights in the block layout that oneDNN multiplies by, reordered once and not at every call.

On a CPU a thin product (decoding) spends up to half of its time on bringing the weights into that layout, and a wide
one in float32 a tenth.

Importing this module imports torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# oneDNN keeps half a megabyte of code for every shape it has met, of itself up to 1024; it reads this at first use.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
_SPARE = 256 << 20
"""Bytes that a second copy of a head's weights, tied to the embeddings, may take."""
_DTYPES = (torch.float32, torch.bfloat16)


class Residual:
    """Lets the residual stream of a model in half precision run in float32; off until `on` is set.

    The stream is rounded after every layer otherwise, which is most of what half precision does to a log-prob. The
    linear layers still multiply in the model's dtype, so it costs a few per cent.
    """

    def __init__(self, model: Any) -> None:
        """Hook the embeddings of `model`: what they give decides the dtype of the stream."""
        self.on = False
        model.get_input_embeddings().register_forward_hook(self._widen)

    def _widen(self, _: nn.Module, __: Any, states: Tensor) -> Tensor | None:
        return states.float() if self.on else None


class _Narrow:
    """Casts a layer's input to the weights' dtype; several layers read the same input, so the last cast is kept."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        if states.dtype == dtype:
            return states
        if self._last is None or self._last[0] is not states:
            self._last = (states, states.to(dtype))
        return self._last[1]


def pack_linears(model: nn.Module, head: nn.Module | None) -> int:
    """Reorder the weights of all linear layers on a CPU but the head, in place; return how many.

    The weights stay readable (`weight.to_dense()`), with their shape and dtype.
    """
    count = 0
    narrow = _Narrow()
    for module in model.modules():
        if type(module) is nn.Linear and module is not head and _packable(module):
            packed = _reorder(module.weight.detach())
            module.weight = nn.Parameter(packed, requires_grad=False)
            module.forward = _product(packed, module.bias, narrow)  # type: ignore[assignment,method-assign]
            count += 1
    for parameter in model.parameters() if count else ():
        if parameter.layout is torch.strided:
            # What is left may be a view of the mapped file, which would keep the whole file in memory.
            parameter.data = parameter.data.clone()
    return count


def pack_head(model: Any, head: nn.Module | None) -> None:
    """Let the head run in float32 whatever the model's dtype: rounding its output is half of a margin's error."""
    if type(head) is not nn.Linear:
        return
    weight = head.weight.detach()
    wide = weight.float()
    bias = None if head.bias is None else head.bias.detach().float()
    on_cpu = _packable(head)
    tied = weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    if on_cpu and (weight.dtype != torch.float32 or not tied or wide.nbytes <= _SPARE):
        product = _product(_reorder(wide), bias, _Narrow())
    elif weight.dtype != torch.float32:
        product = _plain(wide, bias)
    else:
        return
    head.forward = product  # type: ignore[assignment,method-assign]


def _packable(module: nn.Linear) -> bool:
    weight = module.weight
    if not torch._C._has_mkldnn:  # noqa: SLF001 - what torch.backends.mkldnn.is_available() returns, untyped
        return False
    return weight.device.type == "cpu" and weight.layout is torch.strided and weight.dtype in _DTYPES


def _reorder(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)  # noqa: SLF001 - torch has no public name
    return found


def _product(packed: Tensor, bias: Tensor | None, narrow: _Narrow) -> Callable[[Tensor], Tensor]:
    multiply: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above
    dtype = packed.dtype

    def forward(states: Tensor) -> Tensor:
        found: Tensor = multiply(narrow(states, dtype), packed, bias, "none", [], "")
        return found

    return forward


def _plain(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    def forward(states: Tensor) -> Tensor:
        # To its device too: the head of a model over several devices may lie elsewhere than the last layer.
        return functional.linear(states.to(weight), weight, bias)

    return forward
