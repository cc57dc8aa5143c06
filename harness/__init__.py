"""Tells: test language models for dangerous failure modes, in behaviour and in logits.

Floors, imports go down only (`tests/test_architecture.py` says so):

    0  errors, canonical, leaving, credentials, restricted, plain, shape, escape, console, registry, transforms, prompt, array, inner, request, verdict
    1  case, template, graders/, loader/, engines.base, sweep.points
    2  transcript, scoring, asking, script, trie, planner, tally
    3  engines.digests, organisms/, checkpoints, engines/, store
    4  broker, organisms.train/, tuning/
    5  stats, estimates, paired, power, curtail, scans, information, trend, phase/, inside/, measures/, inside_guard, checks, numeric_inside, numeric, trend_check
    6  figures/, exchange, certify/, sealing, record, record_file, plan_file, policy/, gate, baseline/, review, writers/, exports/, sweep/, controls/
    7  progress, provenance, rescoring, private, telling, session, certification, items, reporting, release, guard, plugin, ladder/, commands/, cli
"""  # noqa: E501 - one floor, one line

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.array import Array
from harness.inner import (
    Activations,
    Attention,
    Lens,
    LogitLens,
    Losses,
    Patterns,
    States,
    Surprisal,
)
from harness.prompt import Message, RandomTokens
from harness.request import (
    Completion,
    Completions,
    Failure,
    Generate,
    Loglikelihood,
    ScoredContinuation,
    Scores,
)

if TYPE_CHECKING:
    from harness.broker import open_engine

__all__ = [
    "Activations",
    "Array",
    "Attention",
    "Completion",
    "Completions",
    "Failure",
    "Generate",
    "Lens",
    "LogitLens",
    "Loglikelihood",
    "Losses",
    "Message",
    "Patterns",
    "RandomTokens",
    "ScoredContinuation",
    "Scores",
    "States",
    "Surprisal",
    "open_engine",
]


def __getattr__(name: str) -> Any:
    """Import `open_engine` on first use, so that importing the package stays cheap."""
    if name == "open_engine":
        from harness.broker import open_engine  # noqa: PLC0415 - lazy on purpose

        return open_engine
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
