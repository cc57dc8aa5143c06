"""Made-up workloads with the structure of the real ones, where neither the data nor a real tokeniser are at hand."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchkit.workloads import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FIRST = 4
"""Smaller ids are control tokens."""
_TEMPLATE = (
    "{% for message in messages %}{{ '<s> ' + message['content'] + ' <e> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s> ' }}{% endif %}"
)


def tokenizer(words: int = 1000) -> Any:
    """Return a tokeniser whose words are `w4`, `w5`, ..."""
    vocabulary = {"<e>": 0, "<s>": 1, "<u>": 2, "<p>": 3} | {f"w{i}": i for i in range(_FIRST, words)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<u>"))  # noqa: S106 - a token of text
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    make: Callable[..., Any] = PreTrainedTokenizerFast
    made = make(tokenizer_object=raw, bos_token="<s>", eos_token="<e>", unk_token="<u>")  # noqa: S106
    made.chat_template = _TEMPLATE
    return made


def build(vocabulary: int, scale: float = 1.0, seed: int = 1) -> dict[str, tuple[Ask, ...]]:
    """Return workloads W1 to W4; `scale` shrinks the number of requests and samples."""
    maker = _Maker(vocabulary, random.Random(seed))  # noqa: S311 - made-up ids
    few = maker.ids(10)
    system = maker.ids(45)

    def count(whole: int) -> int:
        return max(1, round(whole * scale))

    return {
        "W1": tuple(ask for i in range(count(500)) for ask in maker.scored(i, (*system, *maker.question(), *few))),
        "W2": tuple(maker.generated(i, (*system, *maker.question(), *few), 48, 1) for i in range(count(200))),
        "W3": tuple(
            ask
            for i in range(count(60))
            for scenario, question in [(maker.ids(262), maker.question())]
            for k in range(6)
            for ask in maker.scored(6 * i + k, (*system, *scenario, *maker.ids(2 * k), *question, *few))
        ),
        "W4": tuple(maker.generated(i, (*system, *maker.question(), *few), 32, count(64)) for i in range(count(10))),
    }


class _Maker:
    def __init__(self, vocabulary: int, numbers: random.Random) -> None:
        self._vocabulary = vocabulary
        self._numbers = numbers

    def ids(self, length: int) -> tuple[int, ...]:
        return tuple(self._numbers.randrange(_FIRST, self._vocabulary) for _ in range(length))

    def question(self) -> tuple[int, ...]:
        """About 65 tokens, a few much longer."""
        return self.ids(min(500, 20 + round(self._numbers.expovariate(1 / 45))))

    def scored(self, group: int, context: tuple[int, ...]) -> Iterator[Ask]:
        for token in (_FIRST + 1, _FIRST + 2):
            yield Ask(
                group=group, messages=(), context=f"made up {group}", context_ids=context,
                continuation=f" {token}", continuation_ids=(_FIRST, token, _FIRST + 3),
            )  # fmt: skip

    def generated(self, group: int, context: tuple[int, ...], max_new: int, n: int) -> Ask:
        return Ask(
            group=group, messages=(), context=f"made up {group}", context_ids=context, max_new=max_new, n=n
        )  # fmt: skip
