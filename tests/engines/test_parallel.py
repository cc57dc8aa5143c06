"""Several devices: where copies go, how a round is divided, and that the answers are those of one device."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from harness.engines.base import Encoded, EngineOptions
from harness.engines.transformers import (
    TransformersEngine,
    attention,
    loading,
    open_transformers,
    packs,
    parallel,
    selfcheck,
)
from harness.engines.transformers.answers import Sample
from harness.engines.transformers.memory import Room
from harness.engines.transformers.parallel import Placement, Worker, divide, placement, room_on
from harness.engines.transformers.pool import Cohort, Held, PoolLayout, _Suffixes
from harness.engines.transformers.streaming import Ledger
from harness.errors import ModelUnavailable, NumericError
from harness.request import Completions, Generate, Loglikelihood
from harness.trie import Trie, pack
from tests.tiny_models import build_tiny
from tests.tiny_requests import generating, scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.request import Answer

    Ids = tuple[int, ...]

NEAR = 1e-4
"""Nats by which packs of another size may shift a log-probability."""
SOON = 20.0
"""Seconds within which a thread must have ended."""
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "llama", "llama", context=400)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has three CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


def open_on(folder: Path, device: str) -> TransformersEngine:
    """Return an engine, its weights not loaded."""
    engine = open_transformers(str(folder), EngineOptions(device=device))
    assert isinstance(engine, TransformersEngine)
    return engine


def score(prompt: Ids, *continuations: Ids) -> Encoded:
    """Return a request to score."""
    request = Loglikelihood(messages="x", continuations=tuple(f" {i}" for i in range(len(continuations))))
    return Encoded(request=request, prompt="x", prompt_ids=prompt, continuation_ids=continuations)


def generate(prompt: Ids, **asked: Any) -> Encoded:
    """Return a request to generate."""
    return Encoded(request=Generate(**{"messages": "x", "max_tokens": 6, **asked}), prompt="x", prompt_ids=prompt)


# --- where copies go


def test_one_device_is_what_it_was() -> None:
    """`auto` and the names of single devices."""
    assert placement("cpu") == Placement(devices=(torch.device("cpu"),))
    assert placement("auto").devices == (torch.device("cuda" if torch.cuda.is_available() else "cpu"),)


@pytest.mark.usefixtures("gpus")
def test_lists_and_all_devices() -> None:
    """A copy on each; spaces do not matter, and `cuda` is the first."""
    one, two, three = (torch.device("cuda", i) for i in range(3))
    assert placement("cuda:2, cuda:0").devices == (three, one)
    assert placement("cuda,cuda:1").devices == (one, two)
    assert placement("cuda:all").copies == (one, two, three)
    assert placement("cpu,cpu").copies == (torch.device("cpu"),) * 2
    assert placement("cuda:all").kind == "cuda"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda:0,cuda:0", "cuda:0 is named twice"),
        ("cuda,cuda:0", "cuda:0 is named twice"),
        ("cpu,cuda:1", "devices of different types"),
        ("cuda:0,", "'' cannot stand in a list"),
        (",", "'' cannot stand in a list"),
        ("auto,cuda:1", "'auto' cannot stand in a list"),
        ("cuda:0,cuda:all", "'cuda:all' cannot stand in a list"),
        ("cuda:1,cuda:split", "'cuda:split' cannot stand in a list"),
        ("cuda:0,quantum", "device 'quantum': unknown; expected auto, cpu"),
        ("cuda:0,cuda:3", "device 'cuda:3': not on this machine"),
        ("cuda:256", "device 'cuda:256': not on this machine"),
        ("cuda:some", "device 'cuda:some': unknown"),
        ("cuda:-1", "device 'cuda:-1': unknown"),
        ("meta", "device 'meta': unknown"),
        ("hpu", "device 'hpu': unknown"),
        ("", "device '': unknown"),
    ],
)
def test_what_is_no_device_is_told_in_four_parts(name: str, message: str) -> None:
    """Where, what, what was expected, what to do."""
    with pytest.raises(ModelUnavailable, match=message) as caught:
        placement(name)
    where, expected, mend = str(caught.value).split("; ")
    assert where.startswith("device ")
    assert expected.startswith("expected ")
    assert "--tells-device" in mend


@pytest.mark.parametrize("name", ["cuda:all", "cuda:split"])
def test_without_cuda_there_is_nothing_to_use_all_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither falls back to a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailable, match=r"no CUDA device here; expected .*; use --tells-device cpu"):
        placement(name)


@pytest.mark.usefixtures("gpus")
def test_one_copy_over_all_devices_needs_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package and how to get it."""
    from transformers.utils import import_utils  # noqa: PLC0415 - slow to import

    monkeypatch.setattr(import_utils, "is_accelerate_available", lambda: False)
    with pytest.raises(
        ModelUnavailable, match=r"accelerate is not installed.*; expected .*; pip install -U accelerate"
    ):
        placement("cuda:split")
    monkeypatch.setattr(import_utils, "is_accelerate_available", lambda: True)
    place = placement("cuda:split")
    assert (place.split, len(place.devices), place.copies) == (True, 3, (torch.device("cuda", 0),))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert placement("cuda:split") == placement("cuda:0")


def test_the_least_room_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies on one device share it; one copy over several devices has its weights spread."""
    asked: list[tuple[str, int]] = []

    def room(_: Any, device: torch.device, __: str, *, weights: int, memory: int | None) -> Room:
        asked.append((str(device), weights))
        assert memory is None
        return Room(tokens=100 - 10 * (device.index or 0), places=20 + (device.index or 0), rows=1)

    monkeypatch.setattr(parallel, "room", room)
    cpu, *cuda = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
    found = room_on(Placement(devices=tuple(cuda)), None, "float32", weights=80, memory=None)
    assert found == Room(tokens=90, places=20, rows=1)
    room_on(Placement(devices=tuple(cuda), split=True), None, "float32", weights=80, memory=None)
    assert room_on(Placement(devices=(cpu, cpu)), None, "float32", weights=80, memory=None).tokens == 50
    assert asked == [("cuda:0", 80), ("cuda:1", 80), ("cuda:0", 40), ("cuda:1", 40), ("cpu", 160)]


# --- how a round is divided


def rounds() -> Iterator[list[Encoded]]:
    """Yield rounds of many shapes."""
    numbers = random.Random(3)  # noqa: S311 - token ids, not secrets
    yield [*scoring(200), *generating(200)]
    for breadth in (1, 2, 5):
        prompts = [tuple(numbers.randrange(breadth) for _ in range(numbers.randrange(1, 60))) for _ in range(80)]
        yield [score(prompt, (1,), (2, 3)) for prompt in prompts]
        yield [generate(prompt, max_tokens=numbers.randrange(1, 9)) for prompt in prompts]
    yield [score((5,), (6,))]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 500])
def test_parts_hold_every_request_once_in_the_order_of_the_tree(count: int) -> None:
    """And what is passed twice is what the parts' trees hold more than one tree of all."""
    for items in rounds():
        parts, doubled = divide(items, count)
        assert sorted(number for part in parts for number in part) == list(range(len(items)))
        assert 1 <= len(parts) <= count
        assert all(parts)
        prompts = [[items[number].prompt_ids for number in part] for part in parts]
        if count > 1:
            assert [prompt for part in prompts for prompt in part] == sorted(item.prompt_ids for item in items)
        whole = len(Trie.of(item.prompt_ids for item in items))
        assert doubled == sum(len(Trie.of(part)) for part in prompts) - whole


def test_parts_are_about_equal_and_cut_where_little_is_shared() -> None:
    """Forty groups of five prompts: four parts of ten groups, however they were shuffled."""
    items = [score((group, *range(100, 150), member), (1,)) for group in range(40) for member in range(5)]
    random.Random(1).shuffle(items)  # noqa: S311 - an order, not a secret
    parts, doubled = divide(items, 4)
    assert [len(part) for part in parts] == [50] * 4
    assert doubled == 0
    again = [items[number] for number in sorted(range(len(items)), key=lambda number: number * 7 % 200)]
    told = [[again[number].prompt_ids for number in part] for part in divide(again, 4)[0]]
    assert told == [[items[number].prompt_ids for number in part] for part in parts]


def test_sampling_counts() -> None:
    """What is sampled weighs more than what is read, and copies share it."""
    items = [generate((1, number), max_tokens=50) for number in range(10)]
    items += [score((2, number), (1,)) for number in range(200)]
    assert len(divide(items, 2)[0][0]) in {5, 6}
    single = [generate((1, 2, 3), n=8, temperature=1.0), generate((4, 5), max_tokens=48, n=8)]
    assert divide(single, 2) == ([[0], [1]], 0)


def test_a_round_that_shares_nearly_everything_is_not_cut() -> None:
    """The second copy would pass the long prefix again, for a few tokens."""
    stem = tuple(range(500))
    assert divide([score((*stem, number), (1,)) for number in range(20)], 2) == ([list(range(20))], 0)
    parts, doubled = divide([score((*stem, number, *stem), (1,)) for number in range(20)], 2)
    assert len(parts) == 2
    assert doubled == 500


def test_nothing_and_one_request() -> None:
    assert divide([], 3) == ([[]], 0)
    assert divide([score((1, 2), (3,))], 3) == ([[0]], 0)


# --- the same answers


def near(one: Sequence[Answer], other: Sequence[Answer]) -> float:
    """Return how far apart two lists of answers with the same tokens are, in nats."""
    found = [0.0]
    for a, b in zip(one, other, strict=True):
        mine, theirs = (x.completions if isinstance(x, Completions) else x.continuations for x in (a, b))
        for x, y in zip(mine, theirs, strict=True):
            assert x.token_ids == y.token_ids
            assert x.text == y.text
            found += [abs(p - q) for p, q in zip(x.token_logprobs, y.token_logprobs, strict=True)]
    return max(found)


def everything() -> list[Encoded]:
    """Return requests of all kinds."""
    warm = generating(200, seed=1, temperature=1.0, n=3)
    return [*scoring(200), *generating(200), *warm, *generating(200, seed=2, stop=("e",))]


def test_two_copies_answer_as_one(folder: Path) -> None:
    """The same tokens, the same log-probabilities, one model in every store; and the notes say that there are two."""
    one, two = open_on(folder, "cpu"), open_on(folder, "cpu,cpu")
    items = everything()
    assert one.identity == two.identity
    assert near(one.run(items), two.run(items)) < NEAR
    assert two.policy == "trie"
    assert two.notes[0] == "2 copies of the model, one on each of cpu, cpu"
    assert len(set(two.notes)) == len(two.notes)
    assert two.tolerance is not None
    assert two.tolerance < NEAR
    first, second = two._workers
    assert first.loaded.model is not second.loaded.model


def test_the_work_of_copies_adds_up(folder: Path) -> None:
    """What is shared across a cut is passed twice and counts once; a second round adds to the first."""
    one, two = open_on(folder, "cpu"), open_on(folder, "cpu,cpu")
    stem = tuple(range(50, 80))
    for more in (0, 20):
        items = [score((*stem, 10 + more + n, *range(100, 112)), (5, 6), (5, 7)) for n in range(8)]
        items += [generate((*stem, 20 + more + n), max_tokens=3) for n in range(8)]
        assert divide(items, 2)[1] == len(stem)
        one.run(items)
        two.run(items)
        assert two.work.minimum == one.work.minimum == one.work.passed
        assert two.work.passed == one.work.passed + (2 if more else 1) * len(stem)


def test_both_copies_are_asked(folder: Path) -> None:
    """Each by a thread of its own, and none is left."""
    engine = open_on(folder, "cpu,cpu")
    engine.run([score((5,), (6,))])
    seen: list[tuple[int, str]] = []
    for number, worker in enumerate(engine._workers):

        def note(*_: Any, number: int = number) -> None:
            seen.append((number, threading.current_thread().name))

        worker.loaded.model.register_forward_pre_hook(note)
    engine.run(everything())
    assert {number for number, _ in seen} == {0, 1}
    assert {name for _, name in seen} == {"tells cpu"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tells")]


def test_copies_fall_back_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded batches are divided as well."""
    one = open_on(folder, "cpu")
    items = everything()
    expected = one.run(items)
    monkeypatch.setattr(selfcheck, "reason_against", lambda _: "the test says so")
    two = open_on(folder, "cpu,cpu")
    assert near(expected, two.run(items)) < NEAR
    assert two.policy == "padded"


def test_weights_are_freed_and_loaded_again(folder: Path) -> None:
    """Notes and tolerance stay."""
    engine = open_on(folder, "cpu,cpu")
    engine.run([score((5,), (6,))])
    notes = engine.notes
    engine.close()
    assert engine._workers == ()
    assert engine.notes == notes
    engine.run([score((5,), (6,))])
    assert len(engine._workers) == 2


# --- what goes wrong in a copy


class Model(nn.Module):
    """Passes nothing; its hooks are called."""

    def forward(self) -> None:
        """Do nothing."""


class Fake(Worker):
    """A copy that does what the test says with its numbers."""

    def stream(self, items: Any, *, ledger: Ledger, **_: Any) -> Any:
        """Call the policy, which is the test's function."""
        play: Any = self.policy
        return play(self.loaded.model, items, ledger)


def fake(play: Callable[[Model, Sequence[Encoded], Ledger], Iterator[tuple[int, Any]]]) -> Worker:
    """Return a copy that answers by `play`."""
    model: Any = Model()
    whole = loading.Loaded(model=model, device=torch.device("cpu"), dtype="float32", attention="", takes_positions=True)
    policy: Any = play
    return Fake(loaded=whole, policy=policy, room=Room(tokens=1, places=1, rows=1))


def forever(model: Model, items: Sequence[Encoded], ledger: Ledger) -> Iterator[tuple[int, Any]]:
    """Answer the first request, then pass tokens until somebody says stop."""
    yield 0, items[0].prompt_ids
    while True:
        model()
        ledger.passed += 1
        time.sleep(0.001)


def answer_and_fail(_: Model, items: Sequence[Encoded], ledger: Ledger) -> Iterator[tuple[int, Any]]:
    """Answer all requests but the last."""
    for number, item in enumerate(items[:-1]):
        ledger.passed += 1
        yield number, item.prompt_ids
    ledger.notes.append("near the end")
    msg = "logits: NaN"
    raise NumericError(msg)


ITEMS = [score((number,) * 9, (1,)) for number in (5, 2, 9, 3, 8, 1, 7, 4)]


def ask(*workers: Worker, ledger: Ledger | None = None) -> Iterator[tuple[int, Any]]:
    """Return the stream of a round that divides into two."""
    limits: dict[str, Any] = {"ledger": ledger or Ledger(), "ends": frozenset(), "decode": lambda _: ""}
    return parallel.stream(workers, ITEMS, **limits)


def idle() -> bool:
    """Wait until no thread of ours is left; tell whether that came to pass."""
    end = time.monotonic() + SOON
    while any(thread.name.startswith("tells") for thread in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.01)
    return time.monotonic() < end


def test_what_a_copy_raises_comes_after_the_answers_before_it_and_stops_the_others() -> None:
    """The other copy would go on for ever; the ledger has what both did."""
    ledger = Ledger()
    found: dict[int, Any] = {}
    with pytest.raises(NumericError, match="NaN"):
        found.update(ask(fake(answer_and_fail), fake(forever), ledger=ledger))
    assert {number: ITEMS[number].prompt_ids for number in found} == found
    assert {5, 1, 3} <= set(found) <= {5, 1, 3, 0}  # prompts 1, 2, 3 of 1 to 4, and perhaps 5
    assert ledger.notes == ["near the end"]
    assert ledger.passed >= 3
    assert idle()


def test_nobody_waits_any_more() -> None:
    """A stream that is closed leaves no thread behind; one that is never begun starts none."""
    answers = ask(fake(forever), fake(forever))
    next(answers)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("tells")]
    answers.close()
    assert idle()
    ask(fake(forever), fake(forever)).close()
    assert idle()


def test_a_request_that_cannot_be_answered_is_raised_by_the_engine(folder: Path) -> None:
    """NaN in one copy only."""
    engine = open_on(folder, "cpu,cpu")
    engine.run([score((5,), (6,))])
    _, second = engine._workers
    second.loaded.model.get_input_embeddings().register_forward_hook(lambda _, __, states: states * float("nan"))
    items = everything()
    found: dict[int, Answer] = {}
    with pytest.raises(NumericError):
        found.update(engine.stream(items))
    assert set(found) <= set(divide(items, 2)[0][0])
    assert idle()


def test_the_attention_in_place_is_that_of_the_thread() -> None:
    """A layout of one thread answers no other."""
    layout: Any = object()
    seen: list[Any] = []

    def look() -> None:
        seen.append(attention._STATE.layout)

    def begin() -> None:
        with attention.use(layout):
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            look()

    with pytest.raises(attention.UnsupportedAttentionError, match="no layer called"):
        begin()
    assert seen == [None, layout]


# --- one copy over several devices


def test_index_tensors_follow_each_layer_to_its_device() -> None:
    """Layers of two devices take turns; `meta` holds no numbers and refuses those of a CPU."""
    trie = Trie.of([(*range(10, 30), first, *range(40, 60)) for first in range(3)])
    path = packs.Path()
    devices = ["cpu", "meta", "cpu", "meta"]
    for start, stop in ((0, 30), (30, len(trie))):
        layout = packs.PackLayout(
            pack(trie, start, stop), path, dtype=torch.float32, device=torch.device("cpu"), keep=None
        )
        for layer, device in enumerate(devices):
            q, k, v = (torch.ones(heads, stop - start, 16, device=device) for heads in (4, 2, 2))
            for window in (None, 8):
                rules = attention.Rules(scale=1.0, window=window)
                held = path.keys.get(layer), path.values.get(layer)
                assert layout.attend(layer, q, k, v, rules).device.type == device
                after = path.keys[layer], path.values[layer]
                if window is None and held[0] is not None and held[1] is not None:
                    path.keys[layer], path.values[layer] = held[0], held[1]
            path.keys[layer], path.values[layer] = after
        assert {device.type for device in layout._places} == {"cpu", "meta"}


@pytest.mark.gpu
@CUDA
def test_layers_on_two_devices_give_the_numbers_of_one() -> None:
    """One on a GPU, one on a CPU, in packs of several blocks."""
    trie = Trie.of([(*range(10, 30), first, *range(40, 60)) for first in range(3)])
    found: dict[str, list[torch.Tensor]] = {}
    for home in ("cpu", "cuda"):
        path = packs.Path()
        found[home] = []
        torch.manual_seed(0)
        for start, stop in ((0, 30), (30, len(trie))):
            layout = packs.PackLayout(
                pack(trie, start, stop), path, dtype=torch.float32, device=torch.device(home), keep=None
            )
            for layer, device in enumerate((home, "cpu")):
                q, k, v = (torch.randn(heads, stop - start, 16).to(device) for heads in (4, 2, 2))
                found[home].append(layout.attend(layer, q, k, v, attention.Rules(scale=0.25)).cpu())
    for one, other in zip(found["cpu"], found["cuda"], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_model_that_lies_where_it_was_put_is_left_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its home is the device of its embeddings, and it answers as ever; a part of it on another device is told."""
    asked: list[Any] = []
    real = loading._from_pretrained

    def put(where: Path, dtype: str, kind: str, *, spread: bool) -> Any:
        asked.append(spread)
        model, info = real(where, dtype, kind, spread=False)
        model.hf_device_map = {"": "cpu"}
        monkeypatch.setattr(model, "to", None)
        return model, info

    monkeypatch.setattr(loading, "_from_pretrained", put)
    monkeypatch.setattr(parallel, "placement", lambda _: Placement(devices=(torch.device("cpu"),) * 2, split=True))
    one, split = open_on(folder, "cpu"), open_on(folder, "cuda:split")
    answers = split.run(everything())
    assert asked == [True]
    assert split._loaded is not None
    assert (split._loaded.spread, split._loaded.device) == (True, torch.device("cpu"))
    assert split.notes[0] == "one copy of the model, its layers on cpu"
    monkeypatch.undo()
    assert near(one.run(everything()), answers) < NEAR


@pytest.mark.parametrize(("places", "message"), [(["cpu"], "on cpu;"), (["disk", "cpu", 1], "on cpu and disk;")])
def test_a_model_too_large_for_all_devices_is_told(
    folder: Path, places: list[Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passing it through would take hours, and its weights are not all there to be checked."""
    real = loading._from_pretrained

    def put(where: Path, dtype: str, kind: str, **_: Any) -> Any:
        model, info = real(where, dtype, kind, spread=False)
        model.hf_device_map = dict(enumerate([0, *places]))
        return model, info

    monkeypatch.setattr(loading, "_from_pretrained", put)
    with pytest.raises(
        ModelUnavailable, match=f"too small for it, a part would lie {message} expected .*; use --tells"
    ):
        loading.load(folder, device=torch.device("cuda", 0), dtype="float32", spread=True)


def test_keys_of_prompts_and_samples_stay_on_their_layer_s_device() -> None:
    """Two prompts, one of them with two rows; layers of two devices take turns, step after step."""
    chains = [list(range(6)), [*range(4), 7]]
    home = torch.device("cpu")
    cohort, fill = Cohort.catch(chains, home, apart=False)
    devices = ["cpu", "meta", "cpu", "meta"]
    for layer, device in enumerate(devices):
        fill(layer, *torch.ones(2, 2, 8, 16, device=device))
    request = generate((1,)).request
    rows = []
    for number, prompt in enumerate((0, 1, 1)):
        sample = Sample(item=0, number=number, request=request, numbers=None)  # type: ignore[arg-type]
        sample.ids.append(number)
        rows.append(Held(cohort=cohort, prompt=prompt, length=len(chains[prompt]), samples=[sample]))
    suffixes = _Suffixes()
    suffixes.room(3, 1)
    layout = PoolLayout(rows, suffixes, home)
    for layer, device in enumerate(devices):
        q, k, v = (torch.ones(heads, 3, 16, device=device) for heads in (4, 2, 2))
        assert layout.attend(layer, q, k, v, attention.Rules(scale=1.0, window=4)).device.type == device
    assert set(layout._others) == {torch.device("meta")}
    cohort.select(torch.tensor([1]))
    assert [cohort.keys[layer].shape[0] for layer in range(4)] == [1] * 4
    assert [cohort.keys[layer].device.type for layer in range(4)] == devices
