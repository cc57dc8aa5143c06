"""Steps that are launched as one: recorded as CUDA graphs, replayed as often as their shapes come again.

Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.engines.transformers.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

Bucket: TypeAlias = tuple[int, int]
"""Rows and attended length of a step, padding included."""
_MOST = 64
"""Buckets known at once; the recording of one takes as long as a few steps, its nodes some megabytes."""
_WAITING = frozenset({
    "_local_scalar_dense", "bincount", "equal", "masked_select", "nonzero", "unique_consecutive", "unique_dim",
    "_unique2",
})  # fmt: skip
"""Operations for whose result the host waits."""
_INDEXING = frozenset({"index", "index_put", "index_put_", "_unsafe_index", "_unsafe_index_put", "_index_put_impl_"})
"""Operations for which it waits if the indices are masks."""
_MASKS = frozenset({torch.bool, torch.uint8})
_CAPTURING = threading.Lock()
"""Only one capture may be under way in a process, on whatever device."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks on while a step runs, in this thread alone, and notices what no CUDA graph can hold."""

    def __init__(self) -> None:
        """Start with nothing noticed."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.reason: str | None = None
        """Why the step cannot be captured; None where nothing speaks against it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at it."""
        if func.namespace == "aten":  # in inference mode an operation made of others comes as a whole
            with self:
                whole = func.decompose(*args, **(kwargs or {}))
            if whole is not NotImplemented:
                return whole
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        # Numbers come as tensors without dimensions on a CPU, whatever the device of the others.
        devices = {tensor.device for tensor in _tensors((args, kwargs, out)) if tensor.dim()}
        by_mask = name in _INDEXING and any(index.dtype in _MASKS for index in _tensors(args[1]))
        if name in _WAITING or by_mask:
            self.reason = self.reason or f"the host waits for the device ({name})"
        elif len(devices) > 1:
            self.reason = self.reason or f"it goes from device to device ({name})"
        return out


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Graphs:
    """Steps as CUDA graphs, one per bucket: run at first, captured the second time, replayed from then on.

    All graphs are captured on one stream of their own, share one memory pool and are dropped together: matrix products
    of a captured step keep using the workspace of its stream, which torch may free with any graph of that stream.
    """

    def __init__(self, device: torch.device, notes: list[str]) -> None:
        """Start without graphs; `notes` takes a line if steps cannot be captured."""
        self._device = device
        self._notes = notes
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._warm: set[Bucket] = set()
        self._held: dict[Bucket, torch.cuda.CUDAGraph] = {}
        self._works = True

    def run(self, bucket: Bucket, step: Callable[[], None]) -> None:
        """Run the step of a bucket, which may be repeated without harm."""
        if not self._works:
            step()
        elif bucket in self._held:
            self._held[bucket].replay()
        elif bucket not in self._warm:
            if len(self._warm) >= _MOST:
                self.drop()
            # A capture that fails leaves torch in disorder, so it is not tried where it is bound to fail.
            if reason := self._warm_up(step):
                self._give_up(reason)
            self._warm.add(bucket)
        elif self._captured(bucket, step):
            self._held[bucket].replay()
        else:
            step()

    def drop(self) -> None:
        """Forget all graphs; a memory pool whose graphs are gone is not used again."""
        self._held.clear()
        self._warm.clear()
        self._pool = torch.cuda.graph_pool_handle()

    def _warm_up(self, step: Callable[[], None]) -> str | None:
        """Run a step where it will be captured, so that libraries are set up there; return why it cannot be."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        watch = Watch()
        with torch.cuda.stream(self._stream), watch:
            step()
        current.wait_stream(self._stream)
        return watch.reason

    def _captured(self, bucket: Bucket, step: Callable[[], None]) -> bool:
        """Capture the step of a bucket, which does not run it; tell whether that worked."""
        try:
            self._held[bucket] = self._capture(step)
        except BaseException as error:
            self._leave_pool()
            if not isinstance(error, Exception) or is_out_of_memory(error):
                raise
            self._give_up(f"{type(error).__name__}: {error}".partition("\n")[0])
            return False
        return True

    def _capture(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        # The outer stream, since torch leaves its own set if a capture does not end well. No inference mode around the
        # beginning: older torch makes tensors of its own there, which later captures could not write elsewhere.
        outside = torch.inference_mode(mode=False)
        with _CAPTURING, torch.cuda.stream(self._stream), outside, capture, torch.inference_mode():
            step()
        return graph

    def _leave_pool(self) -> None:
        """End what torch before 2.12 goes on with after a capture that failed: to allocate from the graphs' memory."""
        with contextlib.suppress(Exception):  # from 2.12 on there is nothing to end, which is an error
            torch._C._cuda_endAllocateToPool(self._stream.device.index, self._pool)  # noqa: SLF001 - has no public name

    def _give_up(self, reason: str) -> None:
        """Stay with steps launched kernel by kernel, and say so once."""
        self._works = False
        self.drop()
        self._notes.append(f"decoding without CUDA graphs, slower: {reason}")
