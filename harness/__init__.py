"""Tells: test language models for dangerous failure modes, in behaviour and in logits.

Floors, imports go down only (`tests/test_architecture.py` says so):

    0  errors, canonical, leaving, credentials, restricted, plain, shape, escape, registry, request, verdict
    1  case, template, graders/, loader/, engines.base
    2  transcript, scoring, script, trie, planner, tally
    3  engines.digests, organisms/, checkpoints, engines/, store
    4  broker, organisms.train/, tuning/
    5  stats, estimates, paired, power, curtail, scans, information, trend, measures/, checks, numeric, trend_check
    6  exchange, certify/, sealing, record, record_file, plan_file, policy/, gate, baseline/, review, writers/
    7  progress, provenance, rescoring, private, session, certification, items, reporting, release, guard, plugin, commands/, cli
"""  # noqa: E501 - one floor, one line

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.request import (
    Completion,
    Completions,
    Failure,
    Generate,
    Loglikelihood,
    Message,
    ScoredContinuation,
    Scores,
)

if TYPE_CHECKING:
    from harness.broker import open_engine

__all__ = [
    "Completion",
    "Completions",
    "Failure",
    "Generate",
    "Loglikelihood",
    "Message",
    "ScoredContinuation",
    "Scores",
    "open_engine",
]


def __getattr__(name: str) -> Any:
    """Import `open_engine` on first use, so that importing the package stays cheap."""
    if name == "open_engine":
        from harness.broker import open_engine  # noqa: PLC0415 - lazy on purpose

        return open_engine
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
