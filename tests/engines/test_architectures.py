"""Every architecture in small against a plain forward of the stock model, one sequence at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AttentionInterface

from harness.engines.base import EngineOptions
from harness.engines.transformers import TransformersEngine, open_transformers
from harness.errors import ModelRefused
from harness.request import Completions, ScoredContinuation, Scores
from tests.tiny_models import TINY, build_tiny
from tests.tiny_requests import LIMIT, Plain, generating, scoring, shifts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.engines.base import Encoded
    from harness.request import Answer

FALLBACK = ("falcon", "bloom", "gptj", "llama4_text", "lfm2", "phi3-long")
"""Correct in padded batches, or alone: attention classes of their own, chunks, convolutions, rotary by text length."""
REFUSED = ("mamba", "qwen3_next")
PACKED = tuple(name for name in TINY if name not in (*FALLBACK, *REFUSED))
NEAR = 1e-4
"""Nats; of two tokens this close either may be the greedy one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One architecture, opened by the engine and by transformers alone."""

    name: str
    folder: Path
    engine: TransformersEngine
    plain: Plain

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.plain.model.config.vocab_size)


@pytest.fixture(scope="module", params=[*PACKED, *FALLBACK])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each architecture that is answered."""
    return _case(request.param, tmp_path_factory.mktemp("tiny"))


def _case(name: str, folder: Path, **options: Any) -> Case:
    built = build_tiny(folder / name, name)
    return Case(name=name, folder=built, engine=_open(built, **options), plain=Plain.load(built))


def _open(folder: Path, **options: Any) -> TransformersEngine:
    engine = open_transformers(str(folder), EngineOptions(**{"device": "cpu", **options}))
    assert isinstance(engine, TransformersEngine)
    return engine


def test_scores_equal_a_plain_forward(case: Case) -> None:
    """However much the requests share, every token's log-probability is that of its sequence alone."""
    asked = scoring(case.vocabulary)
    answers = case.engine.run(asked)
    for item, answer in zip(asked, answers, strict=True):
        assert isinstance(answer, Scores)
        assert answer.prompt_ids == item.prompt_ids
        assert tuple(part.token_ids for part in answer.continuations) == item.continuation_ids
    found = shifts(case.plain, answers)
    assert len(found) == sum(len(ids) for item in asked for ids in item.continuation_ids)
    assert max(found) < LIMIT


def test_greedy_takes_the_likeliest_token(case: Case) -> None:
    """Ragged prompts together: each token is the plain model's first choice given those before it."""
    answers = case.engine.run(generating(case.vocabulary))
    ties = 0
    for answer in answers:
        assert isinstance(answer, Completions)
        completion = answer.completions[0]
        expected = case.plain.after(answer.prompt_ids, completion.token_ids)
        best = expected.max(-1)
        for step, token in enumerate(completion.token_ids):
            if token != int(best.indices[step]):
                assert float(best.values[step] - expected[step, token]) < NEAR
                ties += 1
    assert ties <= 1
    assert max(shifts(case.plain, answers)) < LIMIT


def test_a_sample_is_its_own(case: Case) -> None:
    """Sampled ids do not depend on what else is asked, and carry the plain model's log-probabilities."""
    warm = {"n": 2, "temperature": 1.0, "max_tokens": 8}
    asked = generating(case.vocabulary, seed=1, **warm)[:3]
    others = generating(case.vocabulary, seed=2, **{**warm, "max_tokens": 11})
    alone = case.engine.run(asked)
    beside = case.engine.run([*others[:4], *asked, *scoring(case.vocabulary, seed=1)[:6], *others[4:]])[4:7]
    assert _ids(alone) == _ids(beside)
    assert max(shifts(case.plain, [*alone, *beside])) < LIMIT


def test_the_policy_is_the_one_expected(case: Case) -> None:
    """Prefixes are shared where the architecture allows it; where it does not, a note says so."""
    case.engine.run(scoring(case.vocabulary)[:2])
    assert case.engine.policy == ("padded" if case.name in FALLBACK else "trie")
    assert any("padded" in note for note in case.engine.notes) == (case.name in FALLBACK)


@pytest.mark.parametrize("name", REFUSED)
def test_recurrent_models_are_refused(name: str, tmp_path: Path) -> None:
    """A state that cannot be cut back to a prefix is nothing that this engine can share or pad."""
    engine = _open(build_tiny(tmp_path, name))
    with pytest.raises(ModelRefused, match="recurrent"):
        engine.run(scoring(200)[:1])


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("gemma2", "softcap"),
        ("gemma2", "sliding_window"),
        ("mistral", "sliding_window"),
        ("granite", "scaling"),
        ("gpt_oss", "s_aux"),
    ],
)
def test_a_wrong_attention_is_found_out(
    name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where our attention leaves out what a layer asks for, the self-check sees it and the answers stay right."""
    from harness.engines.transformers import attention  # noqa: PLC0415 - to be spoilt

    def spoilt(*args: Any, **kwargs: Any) -> Any:
        return attention.trie_attention(*args, **{**kwargs, argument: None})

    monkeypatch.setitem(AttentionInterface._global_mapping, attention.TRIE, spoilt)
    case = _case(name, tmp_path)
    answers = case.engine.run([*scoring(case.vocabulary), *generating(case.vocabulary)])
    assert case.engine.policy == "padded"
    assert any("padded" in note for note in case.engine.notes)
    assert max(shifts(case.plain, answers)) < LIMIT


def test_the_requests_would_show_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison has teeth: without its window, a model's answers are far from the plain ones."""
    case = _case("mistral", tmp_path)
    monkeypatch.setattr(case.plain.model.config, "sliding_window", None)
    assert max(shifts(case.plain, case.engine.run(scoring(case.vocabulary)))) > 0.1


def test_half_precision_is_no_worse_than_a_plain_forward(tmp_path: Path) -> None:
    """In bfloat16 the answers lie about as far from float32's as those of a plain forward in bfloat16."""
    case = _case("llama", tmp_path, dtype="bfloat16")
    asked = scoring(case.vocabulary)[::2]
    found = shifts(case.plain, case.engine.run(asked))
    rough = shifts(case.plain, _answer(Plain.load(case.folder, torch.bfloat16), asked))
    assert _mean(found) < 1.25 * _mean(rough)
    assert max(found) < 1.5 * max(rough)


def _answer(plain: Plain, asked: Sequence[Encoded]) -> list[Answer]:
    """Return the answers of a plain model to requests to score."""
    return [
        Scores(
            continuations=tuple(
                ScoredContinuation(text="x", token_ids=ids, token_logprobs=tuple(plain.of(item.prompt_ids, ids)))
                for ids in item.continuation_ids
            ),
            prompt=item.prompt,
            prompt_ids=item.prompt_ids,
        )
        for item in asked
    ]


def _ids(answers: Sequence[Answer]) -> list[list[tuple[int, ...]]]:
    return [[part.token_ids for part in item.completions] for item in answers if isinstance(item, Completions)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
