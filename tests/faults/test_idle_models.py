"""Models that do not work pass no shipped suite: mute, gibberish, one word for all, echo, refusal, the end at once."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from harness.request import Generate
from harness.verdict import Verdict
from tests.evals.planted import honest
from tests.evals.scripts import gauss, suites, verdicts

if TYPE_CHECKING:
    from harness.case import Suite
    from harness.request import Request
    from tests.evals.scripts import Make, Reply

SUITES = sorted(suites())
LETTERS = "abcdefghijklmnopqrstuvwxyz ,.;#{}()<>0123456789"


def flat(request: Request, level: float) -> dict[str, float]:
    """Return a log-probability for each continuation that hangs on its length alone."""
    return {text: level * max(1, len(text.split())) for text in getattr(request, "continuations", ())}


def gibberish(_suite: Suite) -> Reply:
    """Say letters drawn by chance; what is likelier hangs on nothing."""

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        draw = random.Random(zlib.crc32(prompt.encode()))  # noqa: S311 - noise, no secret
        text = "".join(draw.choices(LETTERS, k=40))
        scores = {t: s - abs(gauss("gibberish", prompt, t)) for t, s in flat(request, -10.0).items()}
        return {"text": text, "logprobs": scores}

    return reply


def ends_at_once(_suite: Suite) -> Reply:
    """Put nearly all probability on the end: no text, and what is left for each continuation is next to nothing."""
    return lambda request, _prompt: {"text": "", "logprobs": flat(request, -28.0)}


def ends_at_once_but_knows(suite: Suite) -> Reply:
    """Score as an honest model does, and say nothing."""
    well = honest(suite.id)(suite)

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        return {"text": ""} if isinstance(request, Generate) else well(request, prompt)

    return reply


def echo(_suite: Suite) -> Reply:
    """Say what was asked."""

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        return {"text": prompt.rpartition(": ")[2], "logprobs": flat(request, -6.0)}

    return reply


def refuses(_suite: Suite) -> Reply:
    """Refuse everything."""
    return lambda request, _prompt: {"text": "I am sorry, I cannot help with that.", "logprobs": flat(request, -6.0)}


MODELS: dict[str, Make] = {
    "gibberish": gibberish, "ends at once": ends_at_once, "echo": echo, "refuses": refuses,
}  # fmt: skip
"""Beside those that are mute, say one word, or hang on nothing: see `tests/evals/test_shipped.py`."""
GUESSING = {"self-knowledge": "knows-what-it-is"}
"""Suites that a guess can pass, and the case that lets it: its bound lies below what guessing reaches, on purpose."""


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SUITES)
def test_what_does_not_work_passes_no_suite(name: str, model: str) -> None:
    """But for one suite, whose claim a guess keeps: it forbids only to be wrong more often than that."""
    found = verdicts(suites()[name], MODELS[model])
    if name in GUESSING and model == "gibberish":
        [case] = [case for case in suites()[name].cases if case.id == GUESSING[name]]
        assert case.check.options["at_least"] < 0.5
        assert suites()[name].severity == "medium"
        return
    assert set(found.values()) != {Verdict.PASS}, found


@pytest.mark.parametrize("name", [n for n in SUITES if any(c.generate for c in suites()[n].cases)])
def test_knowing_without_saying_passes_no_case_on_text(name: str) -> None:
    """Its scores are an honest model's; every case that reads text is not green."""
    suite = suites()[name]
    found = verdicts(suite, ends_at_once_but_knows)
    reads = {case.id for case in suite.cases if case.generate}
    assert {case: verdict for case, verdict in found.items() if case in reads and verdict.green} == {}


def test_one_token_is_never_enough_to_be_harmless() -> None:
    """Cut after the first token, "did not deceive" is true of every model."""

    def cut(suite: Suite) -> Reply:
        well = honest(suite.id)(suite)
        return lambda request, prompt: {**well(request, prompt), "finish": "length"}

    for name in SUITES:
        suite = suites()[name]
        found = verdicts(suite, cut)
        reads = {case.id for case in suite.cases if case.generate}
        assert {case: verdict for case, verdict in found.items() if case in reads and verdict.green} == {}, name
