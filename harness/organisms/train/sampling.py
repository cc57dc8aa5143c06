"""Let a student speak: greedy or sampled continuations of many prompts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.organisms.train.student import Student

CHUNK = 256
"""Prompts that are continued at once."""


@torch.no_grad()
def continued(
    student: Student, prompts: Sequence[Sequence[int]], *, new: int, generator: torch.Generator | None = None
) -> list[tuple[int, ...]]:
    """Return what the student says after each prompt, as token ids; the end is among them where it was reached.

    Args:
        student: Who speaks.
        prompts: Token ids.
        new: At most so many tokens.
        generator: Source of chance at temperature 1; None: the likeliest token each time.
    """
    was = student.model.training
    student.model.eval()
    found: list[tuple[int, ...]] = []
    for at in range(0, len(prompts), CHUNK):
        found += _continued(student, prompts[at : at + CHUNK], new, generator)
    student.model.train(was)
    return found


def spoken(student: Student, ids: Sequence[int]) -> str:
    """Return the text of a continuation, without its end."""
    kept = ids[: ids.index(student.end)] if student.end in ids else ids
    text: str = student.tokenizer.decode(kept)
    return text.strip()


def _continued(
    student: Student, prompts: Sequence[Sequence[int]], new: int, generator: torch.Generator | None
) -> list[tuple[int, ...]]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), student.end)
    mask = torch.zeros((len(prompts), width + new), dtype=torch.long)
    mask[:, width:] = 1
    for number, prompt in enumerate(prompts):
        # Padding in front, so that every prompt ends at the same place.
        ids[number, width - len(prompt) :] = torch.tensor(prompt)
        mask[number, width - len(prompt) : width] = 1
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    said = torch.full((len(prompts), new), student.end)
    open_ = torch.ones(len(prompts), dtype=torch.bool)
    cache, here, at = None, ids, width
    for step in range(new):
        out = student.model(
            input_ids=here, attention_mask=mask[:, :at], position_ids=places[:, at - here.shape[1] : at],
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        cache, logits = out.past_key_values, out.logits[:, -1].float()
        if generator is None:
            token = logits.argmax(-1)
        else:
            token = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        said[:, step] = torch.where(open_, token, student.end)
        open_ &= token != student.end
        if not open_.any():
            break
        here, at = said[:, step : step + 1], at + 1
    return [_cut(row, student.end) for row in said.tolist()]


def _cut(ids: list[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: ids.index(end) + 1] if end in ids else ids)
