"""Decoding where the launch of a kernel costs more than its work: steps of few shapes, captured once and replayed.

Every row holds all its keys and values itself, in buffers that stay where they are. The number of rows and the length
that they see are rounded up, to a bucket; a step reads and writes nothing but fixed addresses, so that on a GPU the
launches of a bucket's step are recorded as one CUDA graph.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from harness.engines.transformers import attention
from harness.engines.transformers.graphs import Graphs
from harness.engines.transformers.pool import Pool
from harness.engines.transformers.rows import Row, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.engines.transformers.answers import Decode, Sample
    from harness.engines.transformers.attention import Rules
    from harness.engines.transformers.graphs import Bucket
    from harness.engines.transformers.loading import Loaded
    from harness.engines.transformers.pool import Cohort

_ROWS = 8
"""Rows of the smallest bucket; the others are its doubles."""
_LENGTH = 128
"""Tokens of which attended lengths are multiples."""
_MOVED = 256 << 20
"""Bytes that are copied at once when rows change places."""


def open_pool(
    loaded: Loaded, *, ends: frozenset[int], decode: Decode, notes: list[str], buckets: bool | None = None
) -> Rows[Any]:
    """Return the pool that suits the device.

    Args:
        loaded: The model, its attention set to ours.
        ends: Token ids that end an answer.
        decode: Token ids to text.
        notes: Takes a line where steps cannot be captured.
        buckets: Whether steps come in buckets; None decides by the device. They do not where the model lies on several.
    """
    if buckets is None:
        buckets = loaded.device.type == "cuda" and not loaded.spread
    if buckets:
        return BucketPool(loaded, ends=ends, decode=decode, notes=notes)
    return Pool(loaded, ends=ends, decode=decode)


class BucketPool(Rows[Row]):
    """All rows that are being decoded, row i in place i of the buffers, and padding behind them."""

    apart = True

    def __init__(self, loaded: Loaded, *, ends: frozenset[int], decode: Decode, notes: list[str]) -> None:
        """Start without rows."""
        super().__init__(loaded, ends=ends, decode=decode)
        self.padded = 0
        """Rows put through the network so far that only filled a bucket up; not counted in `passed`."""
        self._static = Static(loaded)
        self._graphs = Graphs(loaded.device, notes) if loaded.device.type == "cuda" else None
        self._bound = 0
        """Tokens of the longest row, prompt included, when all is sampled that may be."""

    @torch.inference_mode()
    def step(self) -> list[Sample]:
        """Pass one token of every row; return the samples that are done."""
        rows = self._rows
        positions = [row.length + row.time - 1 for row in rows]
        length = max(positions) + 1
        self._room(len(rows), length)
        bucket = bucket_of(len(rows), length)
        self._static.write([row.samples[0].ids[-1] for row in rows], positions, bucket[0])
        run = partial(self._static.forward, *bucket)
        if self._graphs is None:
            run()
        else:
            self._graphs.run(bucket, run)
        self.passed += len(rows)
        self.padded += bucket[0] - len(rows)
        fresh, parents, done = self._split(rows, self._static.logits[: len(rows)])
        order, moves = seats(parents)
        self._static.buffers.move(moves, length)
        self._rows = [fresh[child] for child in order]
        return done

    def _row(self, cohort: Cohort, prompt: int, length: int, samples: list[Sample]) -> Row:  # noqa: ARG002 - for pools that share keys
        return Row(length=length, samples=samples)

    def _enter(self, cohort: Cohort, rows: list[Row], prompts: Sequence[int]) -> None:
        if not rows:
            return
        start, longest = len(self._rows), max(row.length for row in rows)
        self._rows += rows
        asked = (row.length + sample.request.max_tokens for row in rows for sample in row.samples)
        self._bound = max(self._bound, *asked)
        self._static.buffers.know(cohort)
        # Samples, for each may become a row of its own; and some tokens more than there are by now.
        self._room(len(self), min(self._bound, longest + _LENGTH))
        self._static.buffers.fill(start, cohort, prompts, longest)

    def _room(self, rows: int, length: int) -> None:
        """Make room; what was captured reads the old addresses, and goes first, for its memory."""
        if self._static.fits(rows, length):
            return
        if self._graphs is not None:
            self._graphs.drop()
        self._static.grow(rows, length, self._bound)


def bucket_of(rows: int, length: int) -> Bucket:
    """Return the bucket that holds so many rows, the longest of which sees so many tokens."""
    return max(_ROWS, 1 << (rows - 1).bit_length()), -(-length // _LENGTH) * _LENGTH


def seats(parents: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Seat rows without gaps so that as few as can be leave the place of the row that they come from.

    Args:
        parents: The place that each row comes from, ascending; several may come from one.

    Returns:
        The row in each place, and the moves, from place to place; no place is both left and taken by a move, so that
        their order does not matter.
    """
    taken: dict[int, int] = {}
    rest = []
    for child, parent in enumerate(parents):
        if parent < len(parents) and parent not in taken:
            taken[parent] = child
        else:
            rest.append(child)
    free = [place for place in range(len(parents)) if place not in taken]
    taken |= dict(zip(free, rest, strict=True))
    moves = [(parents[child], place) for place, child in zip(free, rest, strict=True)]
    return [taken[place] for place in range(len(parents))], moves


class Buffers:
    """Keys (0) and values (1) of all rows by layer, each of shape (rows, K, length, D).

    Those of one shape are one tensor, (N, rows, K, length, D), so that rows move in a few launches for all layers.
    """

    def __init__(self) -> None:
        """Start without room."""
        self.rows = 0
        self.length = 0
        self._held: dict[tuple[Any, ...], Tensor] = {}
        """By shape of a row's token, dtype and device."""
        self._places: dict[tuple[int, int], tuple[tuple[Any, ...], int]] = {}
        """By keys or values, and layer: which of the tensors, and the number within it."""

    def know(self, cohort: Cohort) -> None:
        """Learn from the first prompts what the layers' keys and values look like."""
        if self._places:
            return
        counts: dict[tuple[Any, ...], int] = {}
        for which, given in enumerate((cohort.keys, cohort.values)):
            for layer, tensor in given.items():
                kind = (tensor.shape[1], tensor.shape[3], tensor.dtype, tensor.device)
                number = counts[kind] = counts.get(kind, -1) + 1
                self._places[which, layer] = (kind, number)
        for kind, last in counts.items():
            heads, size, dtype, device = kind
            self._held[kind] = torch.zeros(last + 1, 0, heads, 0, size, dtype=dtype, device=device)

    def grow(self, rows: int, length: int) -> None:
        """Make room for so many rows and tokens; what is held is kept."""
        for kind, held in self._held.items():
            count, _, heads, _, size = held.shape
            # Zeros, not whatever lies there: a NaN behind a mask is still a NaN.
            larger = held.new_zeros(count, rows, heads, length, size)
            larger[:, : self.rows, :, : self.length] = held
            self._held[kind] = larger
        self.rows, self.length = rows, length

    def of(self, which: int, layer: int) -> Tensor:
        """Return the keys (0) or values (1) of a layer, not a copy."""
        kind, number = self._places[which, layer]
        return self._held[kind][number]

    def fill(self, start: int, cohort: Cohort, prompts: Sequence[int], length: int) -> None:
        """Write the first `length` tokens of prompts to the rows from `start` on."""
        some = torch.tensor(prompts, device=cohort.lengths.device)
        trunk = cohort.trunk
        for which, (stems, rests) in enumerate(
            ((cohort.trunk_keys, cohort.keys), (cohort.trunk_values, cohort.values))
        ):
            for layer, rest in rests.items():
                into = self.of(which, layer)[start : start + len(prompts), :, :length]
                into[:, :, :trunk] = stems[layer]
                into[:, :, trunk:] = rest[:, :, : length - trunk].index_select(0, some)

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """Copy the first `length` tokens of rows from place to place; see `seats`."""
        if not moves:
            return
        for held in self._held.values():
            near = held[:, :, :, :length]
            step = max(1, _MOVED // (near[:, 0].numel() * near.element_size()))
            sources, targets = torch.tensor(moves, device=held.device).T
            for old, new in zip(sources.split(step), targets.split(step), strict=True):
                near.index_copy_(1, new, near.index_select(1, old))


class BucketLayout:
    """Who sees whom in one step: every row its own buffer up to its token, which is written there first."""

    def __init__(self, buffers: Buffers, rows: Tensor, positions: Tensor, length: int) -> None:
        """Lay out the first rows, whose tokens stand at `positions`, all below `length`; both tensors of shape (R,)."""
        self._buffers = buffers
        self._rows = rows
        self._positions = positions
        self._length = length
        self._biases: dict[int | None, Tensor] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
        """See `attention.Layout`; one token per row."""
        heads, count, size = q.shape
        each = heads // k.shape[0]
        own_k, own_v = self._put(0, layer, k), self._put(1, layer, v)
        q = q.view(-1, each, count, size).permute(2, 0, 1, 3).contiguous()
        bias = self._bias(rules.window, q.dtype).expand(-1, -1, each, -1)
        return attention.attend(q, own_k, own_v, bias, rules).reshape(count, heads, -1)

    def _put(self, which: int, layer: int, new: Tensor) -> Tensor:
        """Write one token per row, `new` of shape (K, R, D); return what the rows may see."""
        held = self._buffers.of(which, layer)
        held[self._rows, :, self._positions] = new.transpose(0, 1)
        return held[: len(self._rows), :, : self._length]

    def _bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return 0 where a row sees a key and -inf where not, shape (R, 1, 1, length)."""
        # A window that no row of the bucket can outgrow is none.
        window = window if window is not None and window < self._length else None
        if window not in self._biases:
            back = self._positions[:, None] - torch.arange(self._length, device=self._positions.device)
            hidden = back < 0 if window is None else (back < 0) | (back >= window)
            bias = torch.zeros(back.shape, dtype=dtype, device=back.device).masked_fill_(hidden, -math.inf)
            self._biases[window] = bias[:, None, None, :]
        return self._biases[window]


class Static:
    """All that a step reads and writes, at the same addresses until there must be more room."""

    def __init__(self, loaded: Loaded) -> None:
        """Start without room."""
        self.buffers = Buffers()
        self._loaded = loaded
        # With a mask of four dimensions models leave masks alone. Without one they look for several texts in the row,
        # which makes the host wait for the device, and cannot be captured. Our attention does not look at it.
        self._mask = torch.zeros(1, 1, 1, 1, dtype=loaded.model.dtype, device=loaded.device)
        self._inputs = self._mask.new_zeros(2, 0, dtype=torch.long)
        """Token and position of each row."""
        self._every = self._inputs[0]
        self._logits: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """What the last step gave, float32, shape (rows, V); the next one overwrites it."""
        if self._logits is None:
            msg = "no step was run yet"
            raise RuntimeError(msg)
        return self._logits

    def fits(self, rows: int, length: int) -> bool:
        """Tell whether there is room."""
        return rows <= self.buffers.rows and length <= self.buffers.length

    def grow(self, rows: int, length: int, bound: int) -> None:
        """Make room, for twice as long rows as before unless none becomes longer than `bound`."""
        old = self.buffers
        ample = max(length, min(2 * old.length, bound)) if length > old.length else old.length
        count, ample = bucket_of(max(rows, old.rows), ample)
        if count > old.rows:
            self._logits = None
            self._inputs = self._inputs.new_zeros(2, count)
            self._every = torch.arange(count, device=self._inputs.device)
        self.buffers.grow(count, ample)

    def write(self, tokens: Sequence[int], positions: Sequence[int], rows: int) -> None:
        """Say which tokens come next.

        Padding up to `rows` writes the first place of buffers that nobody reads, and that whoever takes one over
        overwrites: whatever comes of it reaches no answer.
        """
        void = [0] * (rows - len(tokens))
        self._inputs[:, :rows] = torch.tensor([[*tokens, *void], [*positions, *void]], device=self._inputs.device)

    def forward(self, rows: int, length: int) -> None:
        """Pass the tokens of a bucket. Run twice, it leaves what it left before: only the inputs change anything."""
        ids, positions = self._inputs[:1, :rows], self._inputs[1:, :rows]
        layout = BucketLayout(self.buffers, self._every[:rows], positions[0], length)
        with torch.inference_mode(), attention.use(layout):
            found: Tensor = self._loaded.model(
                input_ids=ids, attention_mask=self._mask, position_ids=positions, use_cache=False
            ).logits[0]
            if self._logits is None:  # never while capturing: a bucket's first step is not captured
                self._logits = found.new_empty(self.buffers.rows, found.shape[-1], dtype=torch.float32)
            # One place for all buckets, not one in the memory of each graph.
            self._logits[:rows] = found
