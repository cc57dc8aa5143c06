"""The tiny base's own tokeniser: byte-level BPE trained on the world, digits apart, with a chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Iterable

VOCABULARY = 2048
END = "<|end|>"
TURNS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIALS = (END, *TURNS.values(), "<|pad|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train(texts: Iterable[str]) -> Any:
    """Return a tokeniser of transformers trained on `texts`; the same texts give the same tokeniser."""
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - slow to import

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(sorted(texts), trainer)
    wrap: Any = PreTrainedTokenizerFast
    tokenizer: Any = wrap(
        tokenizer_object=core, eos_token=END, pad_token="<|pad|>",  # noqa: S106 - a token of text, no secret
        clean_up_tokenization_spaces=False, model_max_length=512,
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
