"""Weights in the block layout that oneDNN multiplies by, reordered once and not at every call.

On a CPU a thin product (decoding) spends up to half of its time on bringing the weights into that layout, and a wide
one in float32 a tenth.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_SPARE = 256 << 20
"""Bytes that a second copy of a head's weights, tied to the embeddings, may take."""
_DTYPES = (torch.float32, torch.bfloat16)


def pack_linears(model: nn.Module, head: nn.Module | None) -> int:
    """Reorder the weights of all linear layers on a CPU but the head, in place; return how many.

    The weights stay readable (`weight.to_dense()`), with their shape and dtype.
    """
    count = 0
    for module in model.modules():
        if type(module) is nn.Linear and module is not head and _packable(module):
            packed = _reorder(module.weight.detach())
            module.weight = nn.Parameter(packed, requires_grad=False)
            module.forward = _product(packed, module.bias)  # type: ignore[assignment,method-assign]
            count += 1
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
        product = _product(_reorder(wide), bias)
    elif weight.dtype != torch.float32:
        product = _plain(wide, bias)
    else:
        return
    head.forward = _widened(product)  # type: ignore[assignment,method-assign]


def _packable(module: nn.Linear) -> bool:
    weight = module.weight
    if not torch._C._has_mkldnn:  # noqa: SLF001 - what torch.backends.mkldnn.is_available() returns, untyped
        return False
    return weight.device.type == "cpu" and weight.layout is torch.strided and weight.dtype in _DTYPES


def _reorder(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)  # noqa: SLF001 - torch has no public name
    return found


def _product(packed: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    multiply: Any = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above

    def forward(states: Tensor) -> Tensor:
        found: Tensor = multiply(states, packed, bias, "none", [], "")
        return found

    return forward


def _plain(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    def forward(states: Tensor) -> Tensor:
        return functional.linear(states, weight, bias)

    return forward


def _widened(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(states: Tensor) -> Tensor:
        return product(states.float())

    return forward
