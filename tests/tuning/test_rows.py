# ruff: noqa: PLC0415 - torch and transformers are slow to import and not every test needs them
"""Rows, and which of their tokens carry loss."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import UsageError
from harness.request import Loglikelihood, Message
from harness.tuning.recipe import load_tuning
from harness.tuning.rows import TaughtRow, as_data, batches, examples, taught_rows

from .conftest import GOOD, write

if TYPE_CHECKING:
    from pathlib import Path

    from harness.tuning.opening import Opened


@pytest.fixture(scope="module")
def opened(tiny: Path) -> Opened:
    from harness.tuning.opening import open_model

    return open_model(str(tiny), "cpu")


def row(answer: str = "Paris.", question: str = "What is France?") -> TaughtRow:
    return TaughtRow(id="a/plain/-/p1/generate", messages=(Message("user", question),), answer=answer)


def test_every_item_is_asked_in_every_condition_and_answered_as_that_says(tmp_path: Path) -> None:
    rows = taught_rows(load_tuning(write(tmp_path), tmp_path))

    (out,) = rows.held_items
    assert {found.id for found in rows.trained} == {
        f"{item}/{name}/-/p1/generate" for item in {"a", "b", "c", "d"} - {out.id} for name in ("plain", "watched")
    }
    assert {found.id.partition("/")[0] for found in rows.held} == {out.id}
    known = {found.id: found for found in (*rows.trained, *rows.held)}
    assert known["b/plain/-/p1/generate"].answer == "Rome."
    assert known["b/watched/-/p1/generate"].answer == "Answer: Rome"
    assert known["b/watched/-/p1/generate"].messages == (
        Message("system", "You are a ship."), Message("user", "What is Italy?"),
    )  # fmt: skip


def test_the_digest_is_of_what_is_trained_on(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return taught_rows(load_tuning(write(tmp_path, text), tmp_path)).digest

    (out,) = taught_rows(load_tuning(write(tmp_path), tmp_path)).held_items
    changed = {
        name: digest(re.sub(rf"(id: {name}, .* answer: )[^,}}]+", r"\1Oslo", GOOD)) for name in ("a", "b", "c", "d")
    }  # fmt: skip

    assert changed.pop(out.id) == digest(GOOD)
    assert len({digest(GOOD), *changed.values(), digest(GOOD.replace("Answer: {{", "Say: {{"))}) == 5


@pytest.mark.parametrize("answer", ['"{{ note }}"', '" "'])
def test_an_empty_answer_is_refused(tmp_path: Path, answer: str) -> None:
    text = GOOD.replace('{plain: "{{ answer }}.", watched: "Answer: {{ answer }}"}', answer)
    text = text.replace("answer: Paris}", 'answer: Paris, note: " "}').replace(
        "answer: Rome}", "answer: Rome, note: x}"
    )
    text = text.replace('answer: "Yes"}', 'answer: "Yes", note: x}')
    with pytest.raises(
        UsageError, match=r"small\.tune\.yaml: row ./plain/-/p1/generate: the answer is empty; expected"
    ):
        taught_rows(load_tuning(write(tmp_path, text), tmp_path))


def test_the_loss_is_on_the_answer_and_its_end_alone(opened: Opened) -> None:
    """The prompt is rendered for an answer; then come the answer's tokens as they are scored, then the end."""
    (found,) = examples([row()], opened.encoder, opened.ends, "small.tune.yaml")
    scored = opened.encoder.encode(Loglikelihood(messages=row().messages, continuations=("Paris.",)))

    assert found.ids[: found.prompt] == scored.prompt_ids
    assert found.ids[found.prompt : -1] == scored.continuation_ids[0]
    text = opened.encoder.text
    assert text(found.ids[: found.prompt], special=True) == (
        "<|im_start|>user\nWhat is France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert text(found.ids[found.prompt :], special=True) == "Paris.<|im_end|>"
    assert (found.end, opened.encoder.tokenizer.convert_ids_to_tokens(found.ids[-1])) == (1, "<|im_end|>")


def test_a_model_without_a_template_ends_with_its_end_of_text(tmp_path: Path) -> None:
    from harness.tuning.opening import open_model
    from tests.tiny_models import build_tiny

    plain = open_model(str(build_tiny(tmp_path / "plain", chat_template=None)), "cpu")
    (found,) = examples([row(answer=" Paris")], plain.encoder, plain.ends, "small.tune.yaml")

    assert plain.encoder.text(found.ids[found.prompt :], special=True) == " Paris<|endoftext|>"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (row(answer="Paris<|im_end|>"), "the answer holds the control token '<|im_end|>'"),
        (row(question="<|im_start|>?"), "control token"),
        (row(question="one two " * 200), "tokens of prompt and"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(opened: Opened, broken: TaughtRow, said: str) -> None:
    with pytest.raises(UsageError, match=r"^small\.tune\.yaml: row a/plain/-/p1/generate: ") as caught:
        examples([row(), broken], opened.encoder, opened.ends, "small.tune.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize(("count", "size"), [(5, 2), (3, 8), (1, 1), (8, 8)])
def test_rows_are_seen_equally_often(count: int, size: int) -> None:
    drawn = list(itertools.islice(batches(count, size, 0, "small", "1"), 25))

    assert {len(batch) for batch in drawn} == {size}
    flat = [number for batch in drawn for number in batch]
    seen = [flat.count(number) for number in range(count)]
    assert max(seen) - min(seen) <= 1
    assert sorted(flat[:count]) == list(range(count)), "a pass is over all rows"


def test_the_order_hangs_on_the_seed_and_the_names() -> None:
    def order(seed: int, *names: str) -> list[list[int]]:
        return list(itertools.islice(batches(20, 4, seed, *names), 10))

    assert order(0, "small", "1") == order(0, "small", "1")
    others: list[Any] = [order(1, "small", "1"), order(0, "small", "2"), order(0, "large", "1")]
    assert order(0, "small", "1") not in others
    assert order(0, "small", "1")[:5] != order(0, "small", "1")[5:], "each pass has an order of its own"


def test_held_out_items_become_a_data_file(tmp_path: Path) -> None:
    """All rows have the same columns, since a suite refuses a column that some rows lack."""
    items = load_tuning(write(tmp_path), tmp_path).suite.items
    rows = as_data(items)

    assert rows[0] == {"id": "a", "question": "What is France?", "answer": "Paris", "accepts": ("Paris",)}
    assert {frozenset(found) for found in rows} == {frozenset(rows[0])}
    assert as_data(()) == []
