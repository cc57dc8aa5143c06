"""Models that are broken or hostile, through a whole run: every check is INVALID, and nothing of theirs runs."""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.engines.transformers import answers, deadline, template
from harness.errors import NumericError
from harness.loader import load_suite
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Verdict
from tests.faults import scene
from tests.tiny_models import CHATML, build_tiny, edit_config, edit_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.record import ItemRecord


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a sound tiny model, to be spoilt."""
    monkeypatch.setenv("TELLS_CACHE", str(tmp_path / "cache"))
    return build_tiny(tmp_path / "tiny")


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note every socket that is opened."""
    opened: list[Any] = []
    real = socket.socket.__init__

    def init(self: socket.socket, *given: Any, **named: Any) -> None:
        opened.append(given)
        real(self, *given, **named)

    monkeypatch.setattr(socket.socket, "__init__", init)
    return opened


def run(model: Path, project: Path) -> dict[str, ItemRecord]:
    """Return the items of a whole run on a model, by case."""
    root = project if (project / "evals").exists() else scene.build(project)
    path = root / "evals" / "deception" / "colours.eval.yaml"
    suite, spec = load_suite(path, root), str(model)
    tickets = [Ticket(node_id=f"x::{case.id}[{spec}]", suite=suite, case=case, spec=spec) for case in suite.cases]
    whole = Run(RunOptions(models=(spec,), device="cpu"))
    try:
        whole.settle(tickets)
        return {ticket.case.id: whole.outcome(ticket) for ticket in tickets}
    finally:
        whole.close()


def test_the_sound_model_is_measured(folder: Path, tmp_path: Path, sockets: list[Any]) -> None:
    """The control: without it the tests below would pass on anything. No socket is opened."""
    found = run(folder, tmp_path / "project")
    assert found["leans"].measurements
    assert sockets == []


def _spoilt(name: str, place: tuple[int, ...], number: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors[name][place] = number
        return tensors

    return change


def _gone(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tensors.items() if not name.endswith("norm.weight")}


def _renamed(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("layers.1.mlp.up_proj", "layers.1.mlp.up_projection"): v for name, v in tensors.items()}


def _reshaped(tensors: dict[str, Any]) -> dict[str, Any]:
    name = "model.layers.0.mlp.up_proj.weight"
    return {**tensors, name: tensors[name].reshape(-1)}


def _loud(tensors: dict[str, Any]) -> dict[str, Any]:
    return {**tensors, "model.norm.weight": tensors["model.norm.weight"] * 3e38}


QUERY = "model.layers.1.self_attn.q_proj.weight"
WEIGHTS: dict[str, Any] = {
    "one NaN": _spoilt(QUERY, (3, 5), float("nan")),
    "one inf": _spoilt(QUERY, (3, 5), float("inf")),
    "one -inf": _spoilt("model.embed_tokens.weight", (7, 2), float("-inf")),
    "logits overflow": _loud,
    "deleted": _gone,
    "renamed": _renamed,
    "reshaped": _reshaped,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_broken_weights_are_invalid(folder: Path, tmp_path: Path, name: str) -> None:
    """All three checks, with a cause that names what is wrong."""
    edit_weights(folder, WEIGHTS[name])
    found = run(folder, tmp_path / "project")
    assert {item.verdict for item in found.values()} == {Verdict.INVALID}
    assert all(item.cause for item in found.values())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_truncated_weights_are_invalid(folder: Path, tmp_path: Path, share: float) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert {item.verdict for item in run(folder, tmp_path / "project").values()} == {Verdict.INVALID}


BAD_LOGITS = {
    "one NaN": {3: float("nan")},
    "one inf": {3: float("inf")},
    "one -inf": {3: float("-inf")},
    "inf and -inf": {3: float("inf"), 4: float("-inf")},
    "a row of -inf": dict.fromkeys(range(8), float("-inf")),
}


@pytest.mark.parametrize("name", BAD_LOGITS)
@pytest.mark.parametrize("row", [0, 2])
def test_logits_that_are_no_numbers_are_invalid(name: str, row: int) -> None:
    """Every score and every sampled token comes through here; a sum alone would not see a single -inf."""
    logits = torch.linspace(-3.0, 3.0, 24).reshape(3, 8)
    assert answers.normaliser(logits).isfinite().all()
    for place, number in BAD_LOGITS[name].items():
        logits[row, place] = number
    with pytest.raises(NumericError, match="NaN or infinity"):
        answers.normaliser(logits)


# --- code that must not run


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        """Know the file."""
        self.path = path

    def __reduce__(self) -> Any:
        """Call `os.mkdir` on the reader's machine."""
        return os.mkdir, (str(self.path),)


def test_the_payload_is_live(tmp_path: Path) -> None:
    """The control: whoever unpickles it runs it."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))  # noqa: S301 - our own
    assert (tmp_path / "ran").exists()


def test_a_pickle_never_runs(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    assert {item.verdict for item in run(folder, tmp_path / "project").values()} == {Verdict.INVALID}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_never_runs(folder: Path, tmp_path: Path, sockets: list[Any], file: str) -> None:
    """Nor is anybody asked on stdin whether it may."""
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\n")
    edit_config(folder, file, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.Model", None]})
    assert {item.verdict for item in run(folder, tmp_path / "project").values()} == {Verdict.INVALID}
    assert not (tmp_path / "ran").exists()
    assert sockets == []


# --- chat templates are programs


def with_template(folder: Path, text: str) -> Path:
    """Give a model another chat template."""
    for name in ("chat_template.jinja",):
        (folder / name).unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": text}))
    return folder


ESCAPES = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir('CANARY') }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').mkdir('CANARY') }}",
    "{{ namespace.__init__.__globals__.sys.modules.os.mkdir('CANARY') }}",
    "{% set x = lipsum.__globals__['os'].mkdir('CANARY') %}",
    "{{ messages.append(1) }}",
)


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_template_does_not_leave_its_sandbox(folder: Path, tmp_path: Path, escape: str) -> None:
    with_template(folder, escape.replace("CANARY", str(tmp_path / "ran")) + CHATML)
    found = run(folder, tmp_path / "project")
    assert {item.verdict for item in found.values()} == {Verdict.INVALID}
    assert "template: chat template of" in found["leans"].cause
    assert not (tmp_path / "ran").exists()


def test_a_template_that_never_ends_is_stopped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand million turns of a loop: hours, were there no limit."""
    monkeypatch.setattr(template, "SECONDS", 0.2)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with_template(folder, loop + CHATML)
    found = run(folder, tmp_path / "project")
    assert {item.verdict for item in found.values()} == {Verdict.INVALID}
    assert "TimeoutError: it did not end within 0.2 seconds" in found["leans"].cause


def test_a_limit_gives_back_what_came_in_time() -> None:
    assert deadline.within(60, lambda: "done") == "done"
    with pytest.raises(KeyError, match="inside"):
        deadline.within(60, lambda: {}["inside"])
    with pytest.raises(SystemExit):
        deadline.within(60, lambda: sys.exit(0))


def test_what_took_too_long_is_really_stopped() -> None:
    """Otherwise it would eat the processor for the rest of the run."""
    going = []

    def endless() -> None:
        while True:
            going.append(1)

    with pytest.raises(TimeoutError, match=r"within 0\.1 seconds"):
        deadline.within(0.1, endless)
    turns = len(going)
    time.sleep(0.05)
    assert len(going) == turns
