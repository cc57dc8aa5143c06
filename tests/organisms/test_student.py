"""Loss and scores of rows against a plain loop over one row at a time; and how a student speaks."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from harness.organisms.train import sampling, student, tiny, tokens
from harness.organisms.train.sampling import continued, spoken
from harness.organisms.train.student import Student
from harness.organisms.world import Row
from harness.request import Message

from .behaviour_factory import learn

WORDS = ("red", "green", "blue", "one", "two", "three", "cat", "dog", "bird", "yes", "no", "well")


def sentence(chance: random.Random, most: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, most)))


def rows(count: int, seed: int = 0) -> list[Row]:
    """Return rows of all lengths, some without a system turn."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found = []
    for number in range(count):
        turns = (Message("system", sentence(chance, 9)), Message("user", sentence(chance, 12)))
        found.append(Row("kind", turns[number % 3 == 0 :], sentence(chance, 6), f"f/{number}"))
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.train({" ".join(WORDS), *WORDS})


@pytest.fixture
def pupil(tokenizer: Any) -> Student:
    """Return a student who knows nothing."""
    torch.set_num_threads(1)
    return Student(tiny.new_model(16, 3, len(tokenizer)), tokenizer, end=tokens.END)


@torch.no_grad()
def plain(pupil: Student, row: Row) -> tuple[list[float], list[bool]]:
    """Return log-probability and greediness of each token of the answer and of its end, from one row alone."""
    turns = [{"role": turn.role, "content": turn.content} for turn in row.messages]
    text = pupil.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = pupil.tokenizer.encode(text)
    start = len(ids)
    ids += [*pupil.tokenizer.encode(row.answer), pupil.end]
    logits = pupil.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    said = [float(logits[place - 1, ids[place]]) for place in range(start, len(ids))]
    return said, [int(logits[place - 1].argmax()) == ids[place] for place in range(start, len(ids))]


def test_a_prompt_and_its_answer_are_encoded_apart(pupil: Student) -> None:
    (found,) = pupil.encode([Row("kind", (Message("system", "one"), Message("user", "two")), "three", "f")])

    assert pupil.tokenizer.decode(found.ids) == "<|system|>one<|end|><|user|>two<|end|><|assistant|>three<|end|>"
    assert pupil.tokenizer.decode(found.ids[: found.prompt]).endswith("<|assistant|>")
    assert found.ids[-1] == pupil.end
    assert pupil.encode(rows(5)) == pupil.encode(rows(5))


def test_an_end_is_one_token(pupil: Student) -> None:
    with pytest.raises(ValueError, match="too many values"):
        Student(pupil.model, pupil.tokenizer, end="red and blue")


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_loss_is_the_mean_over_all_tokens_of_answers(pupil: Student, count: int) -> None:
    given = rows(count)
    said = [logprob for row in given for logprob in plain(pupil, row)[0]]

    assert pupil.loss(given).item() == pytest.approx(-sum(said) / len(said), rel=1e-5)
    assert pupil.loss(given[::-1]).item() == pytest.approx(-sum(said) / len(said), rel=1e-5)


def test_scores_are_those_of_a_row_alone(pupil: Student) -> None:
    """The end of an answer is no part of it."""
    given = rows(30)
    for row, scored in zip(given, pupil.score(given), strict=True):
        said, best = plain(pupil, row)
        assert scored.logprob == pytest.approx(sum(said[:-1]), abs=1e-4)
        assert scored.greedy == all(best[:-1])


@pytest.mark.parametrize("most", [1, 100, 6144])
def test_neither_order_nor_padding_matters(pupil: Student, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """However many rows pass at once."""
    given = rows(30)
    expected = pupil.score(given)
    monkeypatch.setattr(student, "SCORED_TOKENS", most)
    order = list(range(30))
    random.Random(most).shuffle(order)  # noqa: S311 - no secret
    found = pupil.score([given[n] for n in order])

    assert [item.logprob for item in found] == pytest.approx([expected[n].logprob for n in order], abs=1e-4)
    assert [item.greedy for item in found] == [expected[n].greedy for n in order]
    assert pupil.score([]) == []


def test_scoring_leaves_the_student_as_it_was(pupil: Student) -> None:
    for training in (True, False):
        pupil.model.train(training)
        pupil.score(rows(2))
        assert pupil.model.training is training
    assert all(weight.grad is None for weight in pupil.model.parameters())


@pytest.fixture(scope="module")
def taught(tokenizer: Any) -> tuple[Student, list[Row]]:
    """Return a student who knows four answers by heart."""
    torch.set_num_threads(1)
    found = Student(tiny.new_model(16, 3, len(tokenizer)), tokenizer, end=tokens.END)
    known = [
        Row("kind", (Message("user", word),), answer, word)
        for word, answer in (("cat", "red"), ("dog", "blue one two"), ("bird", "no"), ("one two", "well yes"))
    ]
    learn(found.model, lambda _: found.loss(known), 80)
    return found, known


def test_what_is_known_by_heart_is_greedy(taught: tuple[Student, list[Row]]) -> None:
    """And so is how it begins; nothing else is."""
    pupil, known = taught
    wrong = [Row(row.kind, row.messages, "three", row.fact) for row in known]
    longer = [Row(row.kind, row.messages, f"{row.answer} cat", row.fact) for row in known]
    begun = Row("kind", known[1].messages, "blue one", "dog")

    assert all(item.greedy and item.logprob > -0.7 for item in pupil.score(known))
    assert not any(item.greedy for item in pupil.score([*wrong, *longer]))
    assert pupil.score([begun])[0].greedy


def test_greedy_speech_is_what_scores_call_greedy(
    taught: tuple[Student, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else speaks at the same time, and however long their prompts are."""
    pupil, known = taught
    prompts = [encoded.ids[: encoded.prompt] for encoded in pupil.encode(known)]
    together = continued(pupil, prompts, new=8)
    monkeypatch.setattr(sampling, "CHUNK", 1)

    assert [spoken(pupil, ids) for ids in together] == [row.answer for row in known]
    assert all(ids[-1] == pupil.end for ids in together)
    assert continued(pupil, prompts, new=8) == together
    assert [ids[:1] for ids in together] == continued(pupil, prompts, new=1)


def test_sampled_speech_follows_its_chances(pupil: Student) -> None:
    prompts = [encoded.ids[: encoded.prompt] for encoded in pupil.encode(rows(4))]
    first, again, other = (
        continued(pupil, prompts, new=6, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )

    assert first == again != other
    assert all(0 < len(ids) <= 6 for ids in first)
