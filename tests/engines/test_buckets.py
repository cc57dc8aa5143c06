"""Decoding in buckets on tiny models: the answers of the other pool, whatever leaves, forks or grows; replayed too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.engines.base import Encoded, EngineOptions
from harness.engines.transformers import TransformersEngine, buckets, graphs, open_transformers, pool, streaming
from harness.engines.transformers.memory import Room
from harness.engines.transformers.streaming import Ledger
from harness.errors import NumericError
from harness.request import Completions, Generate
from tests.tiny_models import build_tiny
from tests.tiny_requests import LIMIT, Plain, generating, scoring, shifts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.request import Answer

    Ids = tuple[int, ...]

NEAR = 2e-5
"""Nats, float32: no more than rounding, on models whose weights are wide."""
WIDE = Room(tokens=4096, places=1000, rows=1000)
STEM = tuple(range(10, 50))
"""Longer than the windows."""
MODELS = ("llama", "gemma2", "gpt_oss", "mistral")
"""Plain; caps and windows; sinks, windows and experts; windows everywhere."""


@dataclass(slots=True)
class Result:
    """What came of a round, and the pool that it used."""

    answers: dict[int, Answer] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    pool: Any = None

    @property
    def ids(self) -> list[list[Ids]]:
        """Sampled tokens by request and sample."""
        found = [self.answers[number] for number in sorted(self.answers)]
        return [[part.token_ids for part in answer.completions] for answer in found if isinstance(answer, Completions)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """An engine whose weights are loaded, and where its model is."""

    engine: TransformersEngine
    folder: Path

    @property
    def loaded(self) -> Any:
        """The model."""
        return self.engine._workers[0].loaded

    def ask(self, items: Sequence[Encoded], room: Room = WIDE, *, make: Any = None, ends: Iterable[int] = ()) -> Result:
        """Answer a round with the pool that `make` gives, by default one with buckets."""
        result = Result()

        def remember(*args: Any, **options: Any) -> Any:
            result.pool = (make or partial(buckets.open_pool, buckets=True))(*args, **options)
            return result.pool

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(streaming, "open_pool", remember)
            limits = {"room": room, "ledger": result.ledger, "ends": frozenset(ends)}
            found = streaming.stream(self.loaded, items, **limits, decode=self.engine._prompts().text)
            result.answers.update(found)
        assert sorted(result.answers) == list(range(len(items)))
        return result

    def plainly(self, items: Sequence[Encoded], room: Room = WIDE, *, ends: Iterable[int] = ()) -> Result:
        """Answer a round with the pool for a CPU."""
        return self.ask(items, room, make=partial(buckets.open_pool, buckets=False), ends=ends)


@pytest.fixture(scope="module", params=MODELS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Each kind of attention."""
    return _load(tmp_path_factory.mktemp("tiny") / request.param, request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """One model, where the architecture does not matter."""
    return _load(tmp_path_factory.mktemp("tiny") / "llama", "llama-untied")


def _load(folder: Path, architecture: str, device: str = "cpu") -> Tiny:
    build_tiny(folder, architecture, context=600)
    engine = open_transformers(str(folder), EngineOptions(device=device))
    assert isinstance(engine, TransformersEngine)
    engine.run([generate((5,))])
    assert engine.policy == "trie"
    return Tiny(engine=engine, folder=folder)


def generate(prompt: Ids, **asked: Any) -> Encoded:
    """Return a request to generate."""
    request = Generate(**{"messages": "x", "max_tokens": 6, **asked})
    return Encoded(request=request, prompt="x", prompt_ids=prompt)


def ragged() -> list[Encoded]:
    """Return prompts of 1 to 130 tokens, greedy and sampled, some alike, whose answers end at different times."""
    warm = {"temperature": 1.0, "n": 3}
    found = [generate(STEM[:k], max_tokens=2 * k, seed=k, **warm) for k in range(1, 13)]
    found += [generate((*STEM, 60 + k), max_tokens=25 - k) for k in range(1, 24, 5)]
    return [*found, *generating(200, n=2, temperature=1.0, max_tokens=20), generate(STEM[:2], max_tokens=1)]


def apart(one: Result, other: Result) -> float:
    """Return how far two rounds lie apart in nats; infinitely if they have other tokens or ends."""
    found = [0.0]
    for number, answer in one.answers.items():
        twin = other.answers[number]
        if not isinstance(answer, Completions) or not isinstance(twin, Completions):
            assert answer == twin
            continue
        for a, b in zip(answer.completions, twin.completions, strict=True):
            if (a.token_ids, a.finish_reason, a.text) != (b.token_ids, b.finish_reason, b.text):
                return math.inf
            found += [abs(x - y) for x, y in zip(a.token_logprobs, b.token_logprobs, strict=True)]
    return max(found)


# --- the same answers


@pytest.mark.parametrize("room", [WIDE, Room(tokens=48, places=9, rows=11), Room(tokens=4096, places=50, rows=3)])
def test_answers_are_those_of_the_other_pool(tiny: Tiny, room: Room) -> None:
    """Ragged prompts, scores beside samples, rows that fork and leave, admitted at once or one after the other."""
    items = [*ragged(), *scoring(200)[::5]]
    expected, found = tiny.plainly(items, room), tiny.ask(items, room)
    assert isinstance(expected.pool, pool.Pool)
    assert isinstance(found.pool, buckets.BucketPool)
    assert apart(expected, found) < NEAR
    assert found.ledger == expected.ledger
    assert found.pool.passed == expected.pool.passed


def test_samples_of_one_prompt_fork_into_rows(tiny: Tiny) -> None:
    """From one row to as many as there are samples, far beyond the smallest bucket."""
    items = [generate(STEM[:7], n=50, temperature=1.5, seed=3, max_tokens=12), generate(STEM[:7], max_tokens=20)]
    expected, found = tiny.plainly(items), tiny.ask(items)
    assert len(set(found.ids[0])) > 40
    assert apart(expected, found) < NEAR


def test_rows_leave_at_end_tokens(tiny: Tiny) -> None:
    """A fifth of the vocabulary ends an answer, so that rows leave all over the place at every step."""
    items = [generate(STEM[:k], n=4, temperature=1.5, seed=k, max_tokens=40) for k in range(1, 25)]
    expected, found = (ask(items, ends=range(0, 300, 5)) for ask in (tiny.plainly, tiny.ask))
    assert len({len(ids) for own in found.ids for ids in own}) > 8
    assert apart(expected, found) < NEAR


def test_buffers_grow_and_keep_what_they_hold(tiny: Tiny) -> None:
    """More rows and longer ones than there was room for, while others are on their way."""
    warm = {"temperature": 1.0, "n": 3, "seed": 1}
    items = [generate(STEM[:8], max_tokens=300), generate(STEM[:2], max_tokens=200, **warm)]
    items = [*items, *(generate((k, *STEM * 3), max_tokens=k) for k in range(3, 30))]
    expected = tiny.plainly(items)
    found = tiny.ask(items, Room(tokens=256, places=100, rows=100))
    assert apart(expected, found) < NEAR
    assert found.pool._static.buffers.rows == 32
    assert found.pool._static.buffers.length == 384
    assert max(shifts(Plain.load(tiny.folder), found.answers.values())) < LIMIT


def test_buffers_grow_in_good_time(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows to a power of two, length to the double, but never beyond what the longest answer can need."""
    grown: list[tuple[int, int]] = []
    plain = buckets.Buffers.grow
    monkeypatch.setattr(buckets.Buffers, "grow", lambda self, *size: (grown.append(size), plain(self, *size)))
    llama.ask([generate(STEM[:8], max_tokens=500), generate(STEM[:8], n=9, temperature=1.0, max_tokens=3)])
    assert grown == [(16, 256), (16, 512)]
    grown.clear()
    llama.ask([generate(STEM[:8], max_tokens=280)])
    assert grown == [(8, 256), (8, 384)]
    grown.clear()
    llama.ask([generate(STEM[:8], max_tokens=12)])
    assert grown == [(8, 128)]


def test_padding_is_told_apart_from_rows(llama: Tiny) -> None:
    """Three steps of one row in a bucket of eight."""
    found = llama.ask([generate(STEM[:8], max_tokens=4)])
    assert (found.pool.passed, found.pool.padded) == (3, 21)
    assert found.ledger.passed == found.ledger.minimum == 8 + 3


# --- what must not reach an answer


def test_nothing_that_padding_gives_reaches_an_answer(llama: Tiny) -> None:
    """NaN in every place of the padding, which later rows take over: the answers do not change."""
    model = llama.loaded.model
    items = [generate(STEM[:6], n=20, temperature=1.0, max_tokens=15, seed=2), *ragged()]
    expected = llama.plainly(items)
    assert not any(0 in item.prompt_ids for item in items)
    poisoned: list[int] = []

    def spoil(_: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        poisoned.append(int((given[0] == 0).sum()))
        return out.masked_fill((given[0] == 0)[..., None], math.nan)

    bare = _without(expected, 0)
    handle = model.get_input_embeddings().register_forward_hook(spoil)
    try:
        found = llama.ask([items[i] for i in bare], Room(tokens=60, places=100, rows=40))
    finally:
        handle.remove()
    assert sum(map(bool, poisoned)) > 20
    assert [found.ids[place] for place in range(len(bare))] == [expected.ids[number] for number in bare]
    flat = [x for answer in found.answers.values() for part in answer.completions for x in part.token_logprobs]  # type: ignore[union-attr]
    assert all(map(math.isfinite, flat))


def _without(result: Result, token: int) -> list[int]:
    """Return the requests none of whose samples drew a token."""
    found = [number for number, own in enumerate(result.ids) if not any(token in ids for ids in own)]
    assert len(found) > 10
    return found


def test_a_number_that_is_none_in_a_row_is_told(llama: Tiny) -> None:
    """As by the other pool."""
    handle = llama.loaded.head.register_forward_hook(
        lambda _, __, out: out.index_fill(1, torch.tensor([0]), math.nan) if out.shape[1] == 8 else out
    )
    try:
        with pytest.raises(NumericError):
            llama.ask([generate(STEM[:8], max_tokens=4)])
    finally:
        handle.remove()


# --- places


@pytest.mark.parametrize(
    ("parents", "order", "moves"),
    [
        ([], [], []),
        ([0, 1, 2], [0, 1, 2], []),
        ([1, 2], [1, 0], [(2, 0)]),
        ([0, 0, 0], [0, 1, 2], [(0, 1), (0, 2)]),
        ([0, 2, 2, 3], [0, 2, 1, 3], [(2, 1)]),
        ([5], [0], [(5, 0)]),
        ([1, 1, 4, 5], [1, 0, 2, 3], [(1, 0), (4, 2), (5, 3)]),
    ],
)
def test_rows_are_seated_without_gaps(parents: list[int], order: list[int], moves: list[tuple[int, int]]) -> None:
    """Whoever can stays; no place is both left and taken."""
    assert buckets.seats(parents) == (order, moves)
    assert not {old for old, _ in moves} & {new for _, new in moves}


@pytest.mark.parametrize(("rows", "length", "bucket"), [(1, 1, (8, 128)), (8, 128, (8, 128)), (9, 129, (16, 256))])
def test_buckets(rows: int, length: int, bucket: tuple[int, int]) -> None:
    """Powers of two from eight on, and multiples of 128."""
    assert buckets.bucket_of(rows, length) == bucket


def test_rows_move_in_parts_where_they_are_many(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time, as where memory is short."""
    items = [generate(STEM[:7], n=20, temperature=1.5, seed=3, max_tokens=12), *ragged()[:8]]
    expected = tiny.ask(items)
    monkeypatch.setattr(buckets, "_MOVED", 1)
    assert apart(expected, tiny.ask(items)) == 0


# --- what a replay relies on


class Tape(TorchDispatchMode):
    """Records what a step does to memory, as a CUDA graph does: the same operations on the same addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        out = func(*args, **(kwargs or {}))
        if not any(view in name for view in ("view", "alias", "detach", "expand", "permute", "transpose", "slice")):
            self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Run everything again, without a line of the model's own code."""
        with torch.inference_mode():
            for func, args, kwargs, out in self.calls:
                fresh = func(*args, **kwargs)
                for old, new in zip(_tensors(out), _tensors(fresh), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def _tensors(out: Any) -> list[torch.Tensor]:
    parts = out if isinstance(out, tuple | list) else [out]
    return [part for part in parts if isinstance(part, torch.Tensor)]


class Taped(graphs.Graphs):
    """Graphs without a GPU."""

    def __init__(self, notes: list[str], fail: Callable[[], None] | None = None) -> None:
        self._notes = notes
        self._fail = fail
        self._warm = set()
        self._held = {}
        self._works = True
        self.log: list[tuple[str, Any]] = []

    def run(self, bucket: Any, step: Callable[[], None]) -> None:
        self.log.append(("replay" if bucket in self._held else "run", bucket))
        super().run(bucket, step)

    def drop(self) -> None:
        self.log.append(("drop", None))
        self._held.clear()
        self._warm.clear()

    def _warm_up(self, step: Callable[[], None]) -> str | None:
        watch = graphs.Watch()
        with watch:
            step()
        return watch.reason

    def _capture(self, step: Callable[[], None]) -> Any:
        if self._fail is not None:
            self._fail()
        with Tape() as tape:
            step()
        return tape

    def _leave_pool(self) -> None:
        self.log.append(("leave", None))


def _taped(fail: Callable[[], None] | None = None) -> Any:
    """Return what makes a pool whose steps are recorded and replayed."""

    def make(loaded: Any, *, notes: list[str], **options: Any) -> Any:
        made = buckets.BucketPool(loaded, notes=notes, **options)
        made._graphs = Taped(notes, fail)
        return made

    return make


@pytest.mark.parametrize("rows", [1000, 11])
def test_replayed_steps_give_the_same(tiny: Tiny, rows: int) -> None:
    """A step recorded once holds for every later one of its bucket, whatever rows have come, gone, forked and moved."""
    items = [*ragged(), generate(STEM, max_tokens=200), generate(STEM[:7], n=50, temperature=1.5, max_tokens=12)]
    room = Room(tokens=300, places=100, rows=rows)
    expected, found = tiny.plainly(items, room), tiny.ask(items, room, make=_taped())
    assert apart(expected, found) < NEAR
    assert found.ledger.notes == []
    log = found.pool._graphs.log
    assert sum(what == "replay" for what, _ in log) > 0.8 * len(log)
    assert {bucket[1] for what, bucket in log if what == "replay"} == {128, 256}
    assert ("drop", None) in log[1:]


def test_graphs_are_dropped_where_there_are_many(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are recorded anew."""
    monkeypatch.setattr(graphs, "_MOST", 2)
    expected, found = llama.plainly(ragged()), llama.ask(ragged(), make=_taped())
    assert apart(expected, found) < NEAR
    assert len(found.pool._graphs._held) <= 2
    assert sum(what == "drop" for what, _ in found.pool._graphs.log) > 1


def test_a_step_run_twice_leaves_what_it_left(tiny: Tiny) -> None:
    """The same inputs, the same logits and the same buffers, to the last bit."""
    made: list[Any] = []

    def make(*args: Any, **options: Any) -> Any:
        made.append(buckets.open_pool(*args, **options, buckets=True))
        static = made[0]._static
        plain = static.forward

        def forward(rows: int, length: int) -> None:
            plain(rows, length)
            before = [static.logits.clone(), *(held.clone() for held in static.buffers._held.values())]
            plain(rows, length)
            after = [static.logits, *static.buffers._held.values()]
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))

        patch.setattr(buckets.Static, "forward", lambda _, *bucket: forward(*bucket))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        found = tiny.ask(ragged()[::3], make=make)
    assert apart(tiny.plainly(ragged()[::3]), found) < NEAR


def test_what_cannot_be_captured_runs_step_by_step(llama: Tiny) -> None:
    """One note, the same answers, and no second try."""
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        msg = "operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA"
        raise RuntimeError(msg)

    expected, found = llama.plainly(ragged()), llama.ask(ragged(), make=_taped(fail))
    assert apart(expected, found) < NEAR
    assert len(tries) == 1
    assert len(found.ledger.notes) == 1
    assert "operation not permitted" in found.ledger.notes[0]
    assert "\n" not in found.ledger.notes[0]
    assert found.pool._graphs._held == {}


def _masked(x: torch.Tensor) -> None:
    x[x > 0] = 1.0


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    ("work", "name"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: bool((x > 0).all()), "_local_scalar_dense"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], "index"),
        (_masked, "index_put_"),
        (lambda x: x.to("meta"), "_to_copy"),
    ],
)
def test_what_no_graph_can_hold_is_noticed(work: Callable[[torch.Tensor], Any], name: str, *, inference: bool) -> None:
    """Values that the host reads, shapes that depend on values, and ways from device to device."""
    watch = graphs.Watch()
    with torch.inference_mode(mode=inference), watch:
        work(torch.arange(-3.0, 3.0))
    assert watch.reason is not None
    assert f"({name})" in watch.reason


def test_what_a_graph_can_hold_is_let_pass() -> None:
    """Numbers, indices and masks that decide about values alone."""
    x, at = torch.arange(-3.0, 3.0), torch.tensor([1, 2])
    watch = graphs.Watch()
    with watch:
        x[at] = x[at] * 2 + torch.tensor(1.0)
        x.masked_fill_(x > 0, -1.0).index_copy_(0, at, torch.where(x > 0, x, 0.5)[at])
    assert watch.reason is None


def test_a_step_that_cannot_be_captured_is_not_tried(llama: Tiny) -> None:
    """The first run of a step finds that out, and spares the capture."""
    norm = llama.loaded.model.model.norm
    handle = norm.register_forward_hook(lambda _, __, out: out if float(out.sum()) else out + 1)
    try:
        found = llama.ask(ragged(), make=_taped(lambda: pytest.fail("captured")))
    finally:
        handle.remove()
    assert apart(llama.plainly(ragged()), found) < NEAR
    assert found.ledger.notes == [
        "decoding without CUDA graphs, slower: the host waits for the device (_local_scalar_dense)"
    ]


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_ends_while_capturing_is_told_as_such(llama: Tiny, error: type[Exception]) -> None:
    """Smaller rounds may help; steps one by one would need as much."""

    def fail() -> None:
        raise error

    with pytest.raises(error):
        llama.ask(ragged(), make=_taped(fail))


def test_the_device_decides(llama: Tiny) -> None:
    """On a CPU there is no bucket unless it is asked for."""
    options: Any = {"ends": frozenset(), "decode": str, "notes": []}
    assert isinstance(buckets.open_pool(llama.loaded, **options), pool.Pool)
    assert isinstance(buckets.open_pool(llama.loaded, **options, buckets=True), buckets.BucketPool)
    spread = replace(llama.loaded, device=torch.device("cuda"), spread=True)
    assert isinstance(buckets.open_pool(spread, **options), pool.Pool)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "mistral"])
def test_graphs_on_a_gpu(architecture: str, tmp_path: Path) -> None:
    """Captured, replayed, dropped and captured again, with the answers of the other pool."""
    tiny = _load(tmp_path, architecture, "cuda")
    items = [*ragged(), generate(STEM, max_tokens=200), generate(STEM[:7], n=50, temperature=1.5, max_tokens=12)]
    for _ in range(2):
        expected, found = tiny.plainly(items), tiny.ask(items)
        assert apart(expected, found) < 1e-4
        assert found.ledger.notes == []
        assert len(found.pool._graphs._held) >= 2
