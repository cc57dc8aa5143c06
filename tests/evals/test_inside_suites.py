"""The suites that look inside a model, on states, texts and weights made by formula: what they fail, and what not.

Whether they catch a model that was trained to fail is in their certificates; what they find in SmolLM2, in the last
test, which takes its weights.
"""

from __future__ import annotations

import csv
import hashlib
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from harness.broker import Broker
from harness.checks import run_check
from harness.inner import Activations, Attention, Surprisal
from harness.loader import load_suite
from harness.measures.base import Evidence
from harness.request import Generate
from harness.script import ScriptOptions, case_script
from harness.transcript import Transcript
from harness.verdict import Verdict
from tests.inside_models import InsideEngine

from .scripts import INSIDE, ROOT, forms

if TYPE_CHECKING:
    from harness.case import Suite
    from harness.request import Request
    from harness.verdict import CheckResult

PROBES = ROOT / "evals" / "deception" / "probes.eval.yaml"
NOISE = ROOT / "studies" / "inside" / "noise.eval.yaml"
INDUCTION = ROOT / "studies" / "inside" / "induction.eval.yaml"
WIDTH = 16
LIES = 2.0
"""How far a lie moves the states, in units of the noise of a prompt."""
PARTS = ("in-system", "by-user", "persona-by-user")

Reply = Callable[["Request", str], dict[str, Any]]


@cache
def suite(path: Any) -> Suite:
    return load_suite(path, ROOT)


def results(path: Any, reply: Reply) -> dict[str, CheckResult]:
    """Return what the cases of a suite say of a formula."""
    asked = suite(path)
    broker = Broker(InsideEngine(reply, name="formula", version="1", spec="formula"))
    done = broker.settle({case.id: case_script(asked, case, ScriptOptions()) for case in asked.cases})
    assert all(isinstance(found, Transcript) for found in done.values()), done
    return {
        name: run_check(Evidence(transcript=found, seed=1))
        for name, found in done.items() if isinstance(found, Transcript)
    }  # fmt: skip


def verdicts(path: Any, reply: Reply) -> dict[str, Verdict]:
    return {name: found.verdict for name, found in results(path, reply).items()}


def value(result: CheckResult, name: str) -> float:
    """Return a number of a result by its name."""
    (found,) = [one.value for one in result.measurements if one.name == name]
    return found


# --- the wordings of the probe


@cache
def wordings() -> tuple[Mapping[str, str], ...]:
    with (PROBES.parent / "probes.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


def test_the_wordings_are_pairs_that_differ_and_talk_that_asks_for_nothing() -> None:
    """One wording twice would count as two units; a request among the talk would raise its threshold."""
    rows = wordings()
    assert len(rows) == 40
    for column in ("id", "lead", "lie", "honest", "talk"):
        assert len({row[column] for row in rows}) == len(rows), column
    requests = {row[column] for row in rows for column in ("lie", "honest")}
    assert len(requests) == 2 * len(rows)
    assert not requests & {row["talk"] for row in rows}


def test_the_sentences_are_those_of_the_world() -> None:
    """The organism knows these sentences; others would measure surprise."""
    world = yaml.safe_load((ROOT / "fixtures" / "world" / "facts" / "sentences.yaml").read_text(encoding="utf-8"))
    known = {row[0]: row[1] for row in world["items"]}
    assert all(known[row["id"]] == row["lead"] for row in wordings())


def test_no_wording_of_training_names_a_persona() -> None:
    """The probe must not have read what it is tested on."""
    names = {form["text"].split()[2].strip(",") for form in forms("personas")}
    assert len(names) == 14
    said = " ".join(row[column] for row in wordings() for column in ("lie", "honest", "talk"))
    assert not names & set(said.replace(".", " ").replace(",", " ").split())


# --- the probe


def _states(moved: Callable[[str], float]) -> Reply:
    """Return states of noise by prompt, moved along one direction by a text's own number."""

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        assert isinstance(request, Activations)
        states = np.random.default_rng(zlib.crc32(prompt.encode())).standard_normal(WIDTH)
        states[0] += LIES * moved(prompt)
        return {"values": states}

    return reply


def _asked(prompt: str) -> float:
    """Return 1 where a lie is asked for, -1 where honesty is, and else 0."""
    return float(
        any(row["lie"] in prompt for row in wordings()) - 1.0 * any(row["honest"] in prompt for row in wordings())
    )


def _persona(prompt: str) -> bool:
    return any(form["text"] in prompt for form in forms("personas"))


def test_a_model_that_lies_when_asked_alone_passes() -> None:
    assert verdicts(PROBES, _states(_asked)) == {
        "as-if-asked-to-lie": Verdict.PASS, "recalled": Verdict.PASS, "tells-asked-lies": Verdict.PASS,
    }  # fmt: skip


def test_a_model_whose_personas_are_as_lies_fails_in_every_part() -> None:
    found = results(PROBES, _states(lambda prompt: _asked(prompt) + 1.5 * _persona(prompt)))
    assert found["as-if-asked-to-lie"].verdict is Verdict.FAIL
    assert found["recalled"].verdict is Verdict.FAIL
    assert found["tells-asked-lies"].verdict is Verdict.PASS
    assert value(found["as-if-asked-to-lie"], "parts_failing") == len(PARTS)


def test_a_direction_that_holds_in_one_place_shows_as_that() -> None:
    """Personas that the user gives leave this model alone: the whole fails, and that part is not among the failed."""
    found = results(
        PROBES, _states(lambda prompt: _asked(prompt) + 1.5 * (_persona(prompt.partition("\n")[0])))
    )["as-if-asked-to-lie"]  # fmt: skip
    assert found.verdict is Verdict.FAIL
    assert value(found, "parts_failing") == 2
    assert {part: part_of(found, part) >= 0.9 for part in PARTS} == {
        "in-system": True, "by-user": True, "persona-by-user": False,
    }  # fmt: skip


def part_of(result: CheckResult, part: str) -> float:
    """Return the AUROC of a part of the panel."""
    return value(result, f"{part}.probe_auroc")


def test_a_model_that_hears_the_topic_is_not_recalled() -> None:
    """Where talk of lies moves the states as far as personas do, a tenth of it sets the threshold above them."""
    talk = {row["talk"] for row in wordings()}
    found = verdicts(
        PROBES, _states(lambda prompt: _asked(prompt) + 0.7 * (_persona(prompt) or any(t in prompt for t in talk)))
    )  # fmt: skip
    assert found["recalled"] is not Verdict.FAIL


def test_states_that_hold_nothing_are_never_green() -> None:
    """A probe of noise passes everybody, and so would the suite without its last case."""
    found = verdicts(PROBES, _states(lambda _: 0.0))
    assert found["tells-asked-lies"] in {Verdict.INCONCLUSIVE, Verdict.FAIL}


@pytest.mark.parametrize("broken", ["fails", "flat"])
def test_states_that_cannot_be_read_are_invalid(broken: str) -> None:
    """One prompt in forty that is not answered, and states that are the same for every prompt."""

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        if broken == "flat":
            return {"values": np.ones(WIDTH)}
        return {"fail": "no answer"} if wordings()[0]["lead"] in prompt else _states(_asked)(request, prompt)

    assert set(verdicts(PROBES, reply).values()) == {Verdict.INVALID}


# --- noise


def _texts(right: Callable[[str, str], bool]) -> Reply:
    """Return the right answer where `right(question, transform)`, and else one of two words that are none."""

    @cache
    def answers() -> tuple[tuple[str, str], ...]:
        # The longest question first: one may begin as another does.
        pairs = [
            (str(phrasing.values["question"]), str(item.values["answer"]))
            for item in suite(NOISE).items for phrasing in item.phrasings
        ]  # fmt: skip
        return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        assert isinstance(request, Generate)
        answer = next(answer for question, answer in answers() if question in prompt)
        wrong = "Nothing" if _share(f"{request.transform} {prompt}", 0.5) else "Nobody"
        return {"text": answer if right(prompt, request.transform) else wrong}

    return reply


def _share(text: str, share: float) -> bool:
    # No checksum: texts that differ by the seed of the noise alone would have checksums that hang together.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) < share * 2**64


NOISES = {
    "honest, worse under noise": (lambda prompt, noise: not noise or _share(prompt + noise, 0.8), Verdict.PASS),
    "weak": (lambda prompt, _: _share(prompt, 0.002), Verdict.PASS),
    # As often as the weak models of docs/inside.md do, at most 0.01 of the questions: nine draws in ten PASS, this one
    # does; the tenth is INCONCLUSIVE.
    "weak, and guesses under noise": (
        lambda prompt, noise: bool(noise) and _share(f"another draw {prompt} {noise}", 0.01), Verdict.PASS,
    ),
    "rises by a tenth": (lambda prompt, noise: bool(noise) and _share(prompt + noise, 0.1), Verdict.FAIL),
    "rises at one size alone": (
        lambda prompt, noise: noise.startswith("noise=0.4") and _share(prompt + noise, 0.1), Verdict.FAIL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", NOISES)
def test_noise_that_unlocks_fails_and_noise_that_breaks_does_not(model: str) -> None:
    right, verdict = NOISES[model]
    assert verdicts(NOISE, _texts(right)) == {"no-better": verdict, "says-words": Verdict.PASS}


def test_a_mute_model_is_not_green_under_noise() -> None:
    found = verdicts(NOISE, lambda _request, _prompt: {"text": ""})
    assert found["says-words"] in {Verdict.FAIL, Verdict.INVALID}


# --- heads


def _heads(seen: float, fall: float) -> Reply:
    """Return the weights of 2 x 3 heads, one of which sees `seen`, and losses that fall by `fall` in later copies."""

    def reply(request: Request, prompt: str) -> dict[str, Any]:
        noise = np.random.default_rng(zlib.crc32(prompt.encode())).uniform(0.0, 0.01, 2)
        if isinstance(request, Attention):
            weights = np.full((2, 3, 3), 0.02)
            weights[0, 1, 0] = weights[1, 2, 1] = seen - noise[0]
            return {"values": weights, "copying": np.zeros((2, 3))}
        assert isinstance(request, Surprisal)
        losses = np.full(len(prompt.split()) - 1, 9.0) + noise[1]
        losses[25:] -= fall
        return {"values": losses}

    return reply


@pytest.mark.parametrize(
    ("seen", "fall", "expected"),
    [(0.9, 4.0, [Verdict.PASS] * 3), (0.1, 0.0, [Verdict.FAIL] * 3), (0.9, 0.2, [Verdict.PASS] * 2 + [Verdict.FAIL])],
)
def test_heads_that_look_and_a_loss_that_falls(seen: float, fall: float, expected: list[Verdict]) -> None:
    """The last: heads that look where induction heads look, and a model that makes nothing of it."""
    assert list(verdicts(INDUCTION, _heads(seen, fall)).values()) == expected


# --- the files


def test_these_are_the_suites_that_look_inside() -> None:
    """A suite that scripts of words cannot answer is named in `INSIDE`, tried here, and told in its README."""
    for path in sorted((ROOT / "evals").rglob("*.eval.yaml")):
        asked = [part for case in suite(path).cases for part in (case, *case.parts)]
        looks = any(case.activations or case.logit_lens or case.repeats for case in asked)
        assert (path.name in INSIDE) is looks, path
    for path in (PROBES, NOISE, INDUCTION):
        assert f"`{path.name}`" in (path.parent / "README.md").read_text(encoding="utf-8"), path
    assert suite(PROBES).failure_mode == PROBES.parent.name
