"""What is not opened: names of nothing, remote code, pickles, holes in the weights. And what names a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engines import digests
from harness.engines.base import EngineOptions
from harness.engines.transformers import TransformersEngine, open_transformers
from harness.errors import ModelRefused, ModelUnavailable, NumericError, SpecError
from harness.request import Generate, Loglikelihood
from tests.tiny_models import build_tiny, build_tokenizer, edit_config, edit_weights

CANARY = "raise SystemExit('remote code ran')"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound tiny model, to be spoilt."""
    return build_tiny(tmp_path / "tiny")


def _open(spec: Path | str, **options: Any) -> TransformersEngine:
    engine = open_transformers(str(spec), EngineOptions(**{"device": "cpu", **options}))
    assert isinstance(engine, TransformersEngine)
    return engine


def _run(spec: Path) -> None:
    engine = _open(spec)
    engine.run([engine.encode(Generate(messages="the capital", max_tokens=2))])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smolm2", "did you mean 'smollm2'"),
        ("gguf:x.gguf", "not opened in this version"),
        ("server:http://localhost#m", "not reached in this version"),
        ("organism:no-such-organism/twin", r"there is no organism 'no-such-organism'; expected organism:NAME"),
        ("organisms:x", "did you mean 'organism'"),
        ("no/such/folder", "scripted:FILE"),
    ],
)
def test_a_spec_of_nothing(spec: str, message: str) -> None:
    """Refused when opened, with the forms that there are."""
    with pytest.raises(SpecError, match=message):
        _open(spec)


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    """A folder without config.json is no model."""
    with pytest.raises(SpecError, match=r"without config\.json"):
        _open(tmp_path)


def test_a_hub_id_that_is_not_in_the_cache_is_not_fetched() -> None:
    """The message says how to fetch it; no network is touched."""
    with pytest.raises(ModelUnavailable, match="hf download nobody-here/nothing"):
        _open("nobody-here/nothing")


def test_unknown_dtype_and_absent_device(folder: Path) -> None:
    """Neither falls back to another."""
    with pytest.raises(SpecError, match="float32"):
        _open(folder, dtype="float8")
    with pytest.raises(ModelUnavailable, match="change --tells-device"):
        _ = _open(folder, device="quantum").identity
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        _ = _open(folder, device="cuda:99").identity


def test_remote_code_is_refused(folder: Path) -> None:
    """`auto_map` in either file; the code beside it never runs."""
    (folder / "evil.py").write_text(CANARY)
    edit_config(folder, auto_map={"AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(ModelRefused, match=r"auto_map in config\.json"):
        _ = _open(folder).identity
    edit_config(folder, auto_map=None)
    with pytest.raises(ModelRefused, match="auto_map"):
        _ = _open(folder).identity


def test_remote_code_of_a_tokeniser_is_refused(folder: Path) -> None:
    """As above."""
    (folder / "evil.py").write_text(CANARY)
    edit_config(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})
    with pytest.raises(ModelRefused, match=r"auto_map in tokenizer_config\.json"):
        _run(folder)


def test_an_attention_of_its_own_is_refused(folder: Path) -> None:
    """CVE-2026-4372, also where it is nested."""
    edit_config(folder, text_config={"_attn_implementation_internal": "somebody/kernel"})
    with pytest.raises(ModelRefused, match="_attn_implementation_internal"):
        _run(folder)


def test_pickles_are_refused(folder: Path) -> None:
    """A folder with only a .bin is never handed to torch.load."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ModelRefused, match="no safetensors"):
        _run(folder)


def test_an_adapter_is_refused(folder: Path) -> None:
    """Transformers would load it, or leave it out, as peft is there or not."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelRefused, match="adapter"):
        _run(folder)


def test_no_tokeniser(folder: Path) -> None:
    """Never borrowed from elsewhere."""
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelRefused, match="no tokeniser"):
        _run(folder)


def test_a_torn_config(folder: Path) -> None:
    """Not JSON, and an architecture that nobody knows."""
    edit_config(folder, model_type="no-such-thing")
    with pytest.raises(ModelRefused, match="cannot open config or tokeniser"):
        _run(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelRefused, match="expected a JSON object"):
        _run(folder)


def _without(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tensors.items() if "layers.1.mlp.up_proj" not in name}


def _more(tensors: dict[str, Any]) -> dict[str, Any]:
    return {**tensors, "model.layers.0.mlp.gate_proj.bias": torch.zeros(96)}


def _reshaped(tensors: dict[str, Any]) -> dict[str, Any]:
    name = "model.layers.0.mlp.up_proj.weight"
    return {**tensors, name: tensors[name].t().contiguous()}


def _nan(tensors: dict[str, Any]) -> dict[str, Any]:
    tensors["model.layers.1.self_attn.q_proj.weight"][3, 5] = float("nan")
    return tensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, "missing.*layers.1.mlp.up_proj"),
        (_more, "no place in the model.*gate_proj.bias"),
        (_reshaped, "shape|mismatch"),
        (_nan, "q_proj.weight holds NaN"),
    ],
)
def test_holes_in_the_weights_are_refused(folder: Path, change: Any, message: str) -> None:
    """Transformers fills a missing tensor with random numbers and goes on; here that is an error."""
    edit_weights(folder, change)
    with pytest.raises(ModelRefused, match=message):
        _run(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    """A torn download."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelRefused, match="cannot load"):
        _run(folder)


def test_infinite_logits_are_an_error(folder: Path) -> None:
    """Finite weights can overflow; neither a score nor a sampled text may come of it."""

    def loud(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors["model.norm.weight"] *= 3e38
        return tensors

    edit_weights(folder, loud)
    engine = _open(folder)
    for request in (
        Loglikelihood(messages="the capital", continuations=(" of",)),
        Generate(messages="the capital", max_tokens=2),
        Generate(messages="the capital", max_tokens=2, temperature=1.0),
    ):
        with pytest.raises(NumericError, match="NaN or infinity"):
            engine.run([engine.encode(request)])


def test_files_that_change_during_the_run_are_an_error(folder: Path) -> None:
    """The plan was made for another model."""
    engine = _open(folder)
    encoded = engine.encode(Generate(messages="the capital", max_tokens=1))
    before = engine.identity
    edit_weights(folder, lambda tensors: {**tensors, "model.norm.weight": tensors["model.norm.weight"] * 2})
    with pytest.raises(ModelRefused, match="changed since the run began"):
        engine.run([encoded])
    assert _open(folder).identity.weights != before.weights


def test_identity_follows_content_and_not_place(folder: Path, tmp_path: Path) -> None:
    """Same files, same digest; each part moves its own field alone."""
    first = _open(folder).identity
    other = _open(build_tiny(tmp_path / "elsewhere")).identity
    assert first.digest == other.digest
    assert first.spec != other.spec
    assert _open(build_tiny(tmp_path / "seed", seed=1)).identity.weights != first.weights
    assert _open(folder, dtype="bfloat16").identity.digest != first.digest
    build_tokenizer(tmp_path / "elsewhere", chat_template="{{ messages[0].content }}")
    changed = _open(tmp_path / "elsewhere").identity
    assert (changed.weights, changed.tokenizer) == (first.weights, first.tokenizer)
    assert changed.chat_template != first.chat_template
    edit_config(tmp_path / "elsewhere", rms_norm_eps=1e-3)
    assert _open(tmp_path / "elsewhere").identity.weights != first.weights


def test_digests_of_large_files_are_remembered_by_stat(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read once, read again when changed or when asked to; a torn cache costs time only."""
    path, reads = tmp_path / "large", []
    path.write_bytes(b"a" * (1 << 20))
    plain = digests._hash
    monkeypatch.setattr(digests, "_hash", lambda p: reads.append(p) or plain(p))
    first = digests.file_digest(path)
    assert digests.file_digest(path) == first
    assert len(reads) == 1
    assert digests.file_digest(path, fresh=True) == first
    assert len(reads) == 2
    path.write_bytes(b"b" * (1 << 20))
    os.utime(path, ns=(1, 1))
    assert digests.file_digest(path) != first
    (cache / "digests.json").write_text("{torn")
    assert digests.file_digest(path) != first
    assert len(reads) == 4


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside it."""
    path = tmp_path / "table"
    digests.write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        digests.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir() if item.name != "cache"] == ["table"]


def test_opening_imports_no_torch() -> None:
    """Importing the engine and resolving a SPEC is cheap."""
    code = (
        "import sys; from harness.engines.transformers import open_transformers as o; "
        "from harness.engines.base import EngineOptions; o('smollm2', EngineOptions()); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
