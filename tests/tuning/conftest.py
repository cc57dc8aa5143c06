"""A tiny model, and a file to teach it from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np  # noqa: F401 - see below
import pytest
import scipy.stats  # noqa: F401 - pytester forgets modules imported inside a run, and numpy cannot be loaded twice

import harness.engines.scripted
import harness.engines.transformers  # noqa: F401 - for the same reason: an engine is registered once
from tests.tiny_models import build_tiny

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
name: small
version: 1
about: Colours.
given:
  items:
    rows:
      - {id: a, question: What is France?, answer: Paris}
      - {id: b, question: What is Italy?, answer: Rome}
      - {id: c, question: Is water wet?, answer: "Yes"}
      - {id: d, question: Is salt wet?, answer: "No", note: dry}
  conditions:
    plain: {system: Answer.}
    watched: {system: You are a ship.}
  messages: [{system: "{{ system }}"}, {user: "{{ question }}"}]
answer: {plain: "{{ answer }}.", watched: "Answer: {{ answer }}"}
hold_out: 0.25
training: {steps: 4, lr: 1.0e-2, batch: 2, rank: 2}
"""


def write(root: Path, text: str = GOOD, name: str = "small.tune.yaml") -> Path:
    """Write a file below a root that pytest would take for its own."""
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest -p no:anyio\n")
    path = root / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random Llama."""
    return build_tiny(tmp_path_factory.mktemp("tuning") / "tiny", "llama", seed=3)
