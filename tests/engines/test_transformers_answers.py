"""The engine's numbers and texts against plain one-by-one transformers, on tiny random models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.engines.base import Engine, EngineOptions
from harness.engines.transformers import TransformersEngine, loading, open_transformers, selfcheck
from harness.engines.transformers.padded import pack
from harness.engines.transformers.sampling import Draw, choose, truncate
from harness.request import Completions, Generate, Loglikelihood, Message, Scores
from tests.tiny_models import build_tiny

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.request import Answer, Request

ARCHITECTURES = ("llama", "gpt2", "qwen2", "mistral", "gemma2")
QUESTIONS = (
    "Is water wet?",
    "What is the capital of France?",
    "Hi",
    "A ship left the harbour in the morning; it carried salt, wool and letters. Who was the captain of the ship?",
)
ANSWERS = (" (A)", " (B)", "Yes", "No, never", "No")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of each architecture."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / request.param, request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    """One tiny Llama, opened."""
    return _open(build_tiny(tmp_path_factory.mktemp("tiny") / "llama"))


def _open(folder: Path, **options: Any) -> TransformersEngine:
    engine = open_transformers(str(folder), EngineOptions(**{"device": "cpu", **options}))
    assert isinstance(engine, TransformersEngine)
    return engine


def _ask(text: str) -> tuple[Message, ...]:
    return (Message("system", "You are a helpful assistant."), Message("user", text))


def _run(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    return engine.run([engine.encode(request) for request in requests])


def _plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _forward(model: Any, prompt: Sequence[int], rest: Sequence[int]) -> list[float]:
    with torch.inference_mode():
        logprobs = model(input_ids=torch.tensor([[*prompt, *rest]])).logits[0].float().log_softmax(-1)
    return [float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(rest)]


def test_is_an_engine(llama: TransformersEngine) -> None:
    """The protocol is met at run time too."""
    assert isinstance(llama, Engine)


def test_scores_equal_a_plain_forward(folder: Path) -> None:
    """Padding, shared rows, gathered places and capped logits change no log-probability by 1e-4 nat."""
    engine, model = _open(folder), _plain(folder)
    requests = [Loglikelihood(messages=_ask(text), continuations=ANSWERS) for text in QUESTIONS]
    for answer in _run(engine, requests):
        assert isinstance(answer, Scores)
        assert [item.text for item in answer.continuations] == list(ANSWERS)
        for item in answer.continuations:
            expected = _forward(model, answer.prompt_ids, item.token_ids)
            assert item.token_logprobs == pytest.approx(expected, abs=1e-4)
            assert item.logprob == pytest.approx(math.fsum(expected), abs=4e-4)
    assert engine.tolerance is not None
    assert engine.tolerance < 1e-4


def test_greedy_equals_generate(folder: Path) -> None:
    """The decode loop gives, prompt by prompt in one batch, what `model.generate` gives alone."""
    engine, model = _open(folder), _plain(folder)
    answers = _run(engine, [Generate(messages=_ask(text), max_tokens=24) for text in QUESTIONS])
    for answer in answers:
        assert isinstance(answer, Completions)
        ids = torch.tensor([answer.prompt_ids])
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, pad_token_id=2
        )
        completion = answer.completions[0]
        assert list(completion.token_ids) == found[0, ids.shape[1] :].tolist()
        expected = _forward(model, answer.prompt_ids, completion.token_ids)
        assert completion.token_logprobs == pytest.approx(expected, abs=1e-4)


def test_a_sample_does_not_depend_on_the_batch(folder: Path) -> None:
    """Sample i of a request is the same alone, beside others, and among more samples."""
    engine = _open(folder)
    asked = [Generate(messages=_ask(t), max_tokens=12, n=3, temperature=0.9, seed=5) for t in QUESTIONS]
    together = _run(engine, [*asked, Loglikelihood(messages=_ask("x"), continuations=(" y",))])
    for request, answer in zip(asked, together[:-1], strict=True):
        (alone,) = _run(engine, [request])
        assert isinstance(alone, Completions)
        assert isinstance(answer, Completions)
        assert [item.token_ids for item in alone.completions] == [item.token_ids for item in answer.completions]
    (more,) = _run(engine, [Generate(messages=_ask(QUESTIONS[0]), max_tokens=12, n=6, temperature=0.9, seed=5)])
    first = together[0]
    assert isinstance(more, Completions)
    assert isinstance(first, Completions)
    assert [item.token_ids for item in more.completions[:3]] == [item.token_ids for item in first.completions]
    assert len({item.token_ids for item in more.completions}) > 1


def test_logprob_is_of_the_sampled_token(llama: TransformersEngine) -> None:
    """At a high temperature the sampled token is mostly not the likeliest; its own log-probability is reported."""
    (answer,) = _run(llama, [Generate(messages=_ask("Hi"), max_tokens=20, n=4, temperature=3.0, seed=1)])
    assert isinstance(answer, Completions)
    model = _plain(llama.folder)
    unlikely = 0
    for item in answer.completions:
        assert item.token_logprobs == pytest.approx(_forward(model, answer.prompt_ids, item.token_ids), abs=1e-4)
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*answer.prompt_ids, *item.token_ids]])).logits[0]
        best = logits[len(answer.prompt_ids) - 1 : -1].argmax(-1).tolist()
        unlikely += sum(token != top for token, top in zip(item.token_ids, best, strict=True))
    assert unlikely > 20


def test_samples_follow_the_distribution(llama: TransformersEngine) -> None:
    """First tokens of many samples have the shares that the model gives them."""
    (answer,) = _run(llama, [Generate(messages=_ask("Hello"), max_tokens=1, n=2000, temperature=1.0, seed=3)])
    assert isinstance(answer, Completions)
    counts: dict[int, int] = {}
    shares: dict[int, float] = {}
    for item in answer.completions:
        token = item.token_ids[0]
        counts[token] = counts.get(token, 0) + 1
        shares[token] = math.exp(item.token_logprobs[0])
    for token, count in counts.items():
        error = math.sqrt(2000 * shares[token] * (1 - shares[token]))
        assert abs(count - 2000 * shares[token]) < 5 * error + 2


def test_top_k_and_top_p_keep_the_nucleus(llama: TransformersEngine) -> None:
    """top_k 1 and a tiny top_p are greedy; the log-probability is still that of the whole vocabulary."""
    greedy, narrow, tiny = _run(
        llama,
        [
            Generate(messages=_ask("Hello"), max_tokens=8),
            Generate(messages=_ask("Hello"), max_tokens=8, temperature=2.0, top_k=1),
            Generate(messages=_ask("Hello"), max_tokens=8, temperature=2.0, top_p=1e-6),
        ],
    )
    for answer in (narrow, tiny):
        assert isinstance(answer, Completions)
        assert isinstance(greedy, Completions)
        assert answer.completions[0].token_ids == greedy.completions[0].token_ids
        assert answer.completions[0].token_logprobs == pytest.approx(greedy.completions[0].token_logprobs, abs=1e-5)


def test_truncate_by_hand() -> None:
    """The fewest tokens whose share reaches top_p; of equals the smaller id."""
    probs = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    assert (truncate(probs, top_k=2, top_p=1.0) > 0).tolist() == [False, True, True, False]
    assert (truncate(probs, top_k=0, top_p=0.7) > 0).tolist() == [False, True, True, False]
    assert (truncate(probs, top_k=0, top_p=0.71) > 0).tolist() == [False, True, True, True]
    assert (truncate(probs, top_k=3, top_p=0.45) > 0).tolist() == [False, True, True, False]
    assert (truncate(torch.full((4,), 0.25), top_k=1, top_p=1.0) > 0).tolist() == [True, False, False, False]


def test_sampling_never_leaves_the_support() -> None:
    """A uniform at either end gives a token of positive probability."""
    logits = torch.tensor([[-1000.0, 0.0, 0.0, -1000.0]])
    request = Generate(messages="x", max_tokens=1, temperature=0.5)
    assert choose(logits, [Draw(0, request, 0.0)]) == [1]
    assert choose(logits, [Draw(0, request, math.nextafter(1.0, 0.0))]) == [2]


def test_a_cut_answer_says_length_and_an_ended_one_stop(llama: TransformersEngine) -> None:
    """Finish reasons are told apart, and the end token is kept in ids and left out of the text."""
    (cut,) = _run(llama, [Generate(messages=_ask("Hi"), max_tokens=2)])
    assert isinstance(cut, Completions)
    assert cut.completions[0].finish_reason == "length"
    assert len(cut.completions[0].token_ids) == 2
    (many,) = _run(llama, [Generate(messages=_ask("Hi"), max_tokens=200, n=12, temperature=2.0, seed=2)])
    assert isinstance(many, Completions)
    ended = [item for item in many.completions if item.finish_reason == "stop"]
    assert ended
    for item in ended:
        assert item.token_ids[-1] in llama._ends
        assert not set(item.token_ids[:-1]) & llama._ends
        assert "<|im_end|>" not in item.text
    assert all(len(item.token_ids) == 200 for item in many.completions if item.finish_reason == "length")


def test_stop_strings_cut(llama: TransformersEngine) -> None:
    """A stop string ends the answer as soon as it stands in the text, and is cut off."""
    (whole,) = _run(llama, [Generate(messages=_ask("Hi"), max_tokens=24, temperature=1.5, seed=4)])
    assert isinstance(whole, Completions)
    text = whole.completions[0].text
    stop = text[6:8]
    (cut,) = _run(llama, [Generate(messages=_ask("Hi"), max_tokens=24, temperature=1.5, seed=4, stop=(stop, "\0\0"))])
    assert isinstance(cut, Completions)
    completion = cut.completions[0]
    assert completion.text == text[: text.index(stop)]
    assert completion.finish_reason == "stop"
    count = len(completion.token_ids)
    assert completion.token_ids == whole.completions[0].token_ids[:count]
    assert count < len(whole.completions[0].token_ids)


def test_prefixes_share_rows() -> None:
    """One-token continuations of a prompt, and continuations that begin another one, take no row of their own."""
    rows, row_of = pack([(1, 2), (1, 2, 3), (1, 2), (1, 4), (1,)])
    assert sorted(rows) == [(1, 2, 3), (1, 4)]
    assert rows[row_of[1, 2]] == (1, 2, 3)
    assert rows[row_of[1, 4]] == (1, 4)
    assert rows[row_of[(1,)]][:1] == (1,)


def test_a_model_that_minds_padding_is_run_alone(llama: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the self-check finds a shift in float32, every row is passed alone, with a note, and answers stay right."""
    monkeypatch.setattr(selfcheck, "reason_against", lambda _: "a test says so")
    monkeypatch.setattr(selfcheck, "measure_padded", lambda *_: selfcheck.Shift(0.5, 0.1))
    folder = llama.folder
    engine, model = _open(folder), _plain(folder)
    answers = _run(engine, [Loglikelihood(messages=_ask(text), continuations=ANSWERS) for text in QUESTIONS])
    assert any("alone" in note for note in engine.notes)
    assert any("a test says so" in note for note in engine.notes)
    assert engine.policy == "padded"
    assert engine.tolerance == 0.5
    for answer in answers:
        assert isinstance(answer, Scores)
        for item in answer.continuations:
            expected = _forward(model, answer.prompt_ids, item.token_ids)
            assert item.token_logprobs == pytest.approx(expected, abs=1e-5)


def test_self_check_sees_wrong_positions(tmp_path: Path) -> None:
    """Left padding without position ids, the classic fault on GPT-2, is no rounding."""
    loaded = loading.load(build_tiny(tmp_path, "gpt2"), device=torch.device("cpu"), dtype="float32")
    sequences = [[5, 6, 7, 8, 9, 10], [11, 12]]
    alone = [selfcheck.plain(loaded, sequence) for sequence in sequences]
    assert selfcheck.measure_padded(loaded, sequences, alone).largest < 1e-4
    loaded.takes_positions = False
    assert selfcheck.measure_padded(loaded, sequences, alone).largest > 1e-2


def test_half_precision_reads_the_head_in_float32(tmp_path: Path) -> None:
    """In bfloat16 the answers lie near float32's, and the tolerance is measured and not judged."""
    folder = build_tiny(tmp_path, "gemma2")
    requests = [Loglikelihood(messages=_ask(text), continuations=ANSWERS) for text in QUESTIONS]
    half, full = _open(folder, dtype="bfloat16"), _open(folder)
    for low, high in zip(_run(half, requests), _run(full, requests), strict=True):
        assert isinstance(low, Scores)
        assert isinstance(high, Scores)
        for a, b in zip(low.continuations, high.continuations, strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=0.5)
    assert not any("alone" in note for note in half.notes)
    assert half.identity.dtype == "bfloat16"
    assert half.identity.digest != full.identity.digest


def test_weights_are_loaded_once_and_not_before_run(llama: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity, batch size and encoding need no weights; two runs load them once."""
    engine, loads = _open(llama.folder), []
    plain = loading.load
    monkeypatch.setattr(loading, "load", lambda *a, **k: loads.append(1) or plain(*a, **k))
    encoded = engine.encode(Generate(messages=_ask("Hi"), max_tokens=1))
    assert engine.identity.digest
    assert engine.batch_tokens > 0
    assert engine.tolerance is None
    assert not loads
    engine.run([encoded])
    engine.run([encoded])
    assert len(loads) == 1
    assert engine.run([]) == []


def test_a_small_memory_gives_small_batches(llama: TransformersEngine) -> None:
    """--tells-memory reaches the planner's budget."""
    folder = llama.folder
    assert 1 == _open(folder, memory=1).batch_tokens < _open(folder, memory=10_000_000).batch_tokens <= 2048


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_padding_that_is_no_rounding_is_not_used_in_any_dtype(
    llama: TransformersEngine, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision has wider limits, not none; NaN counts as infinite."""
    monkeypatch.setattr(selfcheck, "reason_against", lambda _: "a test says so")
    for largest in (2.0, math.inf):
        monkeypatch.setattr(selfcheck, "measure_padded", lambda *_, x=largest: selfcheck.Shift(x, 0.1))
        engine = _open(llama.folder, dtype=dtype)
        _run(engine, [Loglikelihood(messages=_ask("Hi"), continuations=(" y",))])
        assert any(f"more than rounding in {dtype}" in note for note in engine.notes)
        assert any("alone" in note for note in engine.notes)
    assert not selfcheck.is_rounding(selfcheck.Shift(math.nan, 0.0), dtype)
