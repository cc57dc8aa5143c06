"""What a chat template does to a conversation, found out with sentinels once per pattern of roles.

A template may drop the system turn, merge it into the user's, put one of its own where none was given, or write the
date. The first two change the question silently and are errors; the others are notes.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from harness.canonical import digest
from harness.engines.transformers.deadline import within
from harness.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.request import Message

    Turn = tuple[str, str]

PLAIN = "plain-v1"
"""Name of the declared format for models without a chat template; stands for its digest in the identity."""
SECONDS = 10.0
"""How long one rendering may take; it takes well under a millisecond."""
_PLAIN_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}
_CLOCK = re.compile(r"strftime_now|date_string|datetime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What is known of one pattern of roles."""

    notes: tuple[str, ...] = ()
    error: str = ""
    """Why no conversation of this pattern can be asked; empty if it can."""


class ChatTemplate:
    """Renders conversations, and refuses those that the template would alter."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        """Look at the tokeniser's template; `name` stands in messages."""
        self.tokenizer = tokenizer
        self.name = name
        self.source: str | None = tokenizer.get_chat_template() if tokenizer.chat_template else None
        self._patterns: dict[tuple[str, ...], Pattern] = {}
        specials = {str(token) for token in tokenizer.all_special_tokens}
        specials |= {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        ordered = sorted((token for token in specials if token), key=len, reverse=True)
        self.control = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @property
    def digest(self) -> str:
        """Tagged digest of the template's text, or the name of the plain format."""
        return PLAIN if self.source is None else digest(self.source.encode())

    def render(self, messages: Sequence[Message]) -> tuple[str, tuple[str, ...]]:
        """Return the text of a conversation, ready for the answer, and what a reader should know of it.

        Raises:
            TemplateError: the template rejects, drops, merges or alters a turn, or a turn holds a control token.
        """
        roles = tuple(message.role for message in messages)
        if roles not in self._patterns:
            self._patterns[roles] = self._examine(roles)
        pattern = self._patterns[roles]
        if pattern.error:
            raise TemplateError(pattern.error)
        turns = [(message.role, message.content) for message in messages]
        for role, content in turns:
            if self.control and (found := self.control.search(content)):
                self._refuse(
                    f"the {role} turn holds the control token {found[0]!r}",
                    "text that cannot be taken for control",
                    "reword the turn; to place control tokens on purpose, ask with a plain string",
                )
        text = self._text(turns)
        self._check_contents(text, [content for _, content in turns])
        return text, pattern.notes

    def end_of_turn(self) -> str | None:
        """Return the control token that the template puts after an assistant's turn, None if there is none."""
        if self.source is None or self.control is None:
            return None
        try:
            text = self._text([("user", "tellsqa"), ("assistant", "tellsqb"), ("user", "tellsqc")])
        except TemplateError:
            return None
        found = self.control.match(text.partition("tellsqb")[2].lstrip())
        return found[0] if found else None

    def _text(self, turns: Sequence[Turn], *, ask: bool = True) -> str:
        if self.source is None:
            body = "".join(f"{_PLAIN_NAMES[role]}: {content}\n\n" for role, content in turns)
            return body + ("Assistant:" if ask else "")
        conversation = [{"role": role, "content": content} for role, content in turns]
        try:
            text = within(
                SECONDS,
                lambda: self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=ask),
            )
        except Exception as error:  # noqa: BLE001 - a template raises what it likes; jinja2 has several trees
            roles = ", ".join(role for role, _ in turns)
            self._refuse(
                f"rejects the turns [{roles}]: {type(error).__name__}: {error}",
                "a rendered conversation",
                "ask without the turn that it does not know",
                cause=error,
            )
        if not isinstance(text, str):
            self._refuse(f"gave {type(text).__name__}", "text", "mend the template")
        return text

    def _examine(self, roles: tuple[str, ...]) -> Pattern:
        turns = [(role, f"tellsq{i:03d}x") for i, role in enumerate(roles)]
        try:
            text = self._text(turns)
            self._check_sentinels(text, turns)
            self._check_headers(text, turns)
        except TemplateError as error:
            return Pattern(error=str(error))
        notes = []
        if self.source is None:
            notes.append(f"no chat template: rendered in the format {PLAIN} (System:, User:, Assistant:)")
        elif _CLOCK.search(self.source):
            notes.append("the chat template can write today's date: prompts may differ from day to day")
        if self.source is not None and text == self._text(turns, ask=False):
            notes.append("the chat template has no generation prompt: the answer starts where the last turn ends")
        if "system" not in roles and (own := self._own_text(turns)):
            notes.append(f"the chat template puts in text of its own where no system turn is given: {own!r}")
        return Pattern(notes=tuple(notes))

    def _check_sentinels(self, text: str, turns: Sequence[Turn]) -> None:
        places = []
        for i, (role, content) in enumerate(turns):
            if (count := text.count(content)) != 1:
                what = (
                    f"drops the {role} turn (number {i + 1})" if not count else f"writes the {role} turn {count} times"
                )
                self._refuse(what, "every turn once, in order", "ask without that turn, or use another model")
            places.append(text.index(content))
        if places != sorted(places):
            roles = ", ".join(role for role, _ in turns)
            self._refuse(f"reorders the turns [{roles}]", "every turn once, in order", "change their order")

    def _check_headers(self, text: str, turns: Sequence[Turn]) -> None:
        """Refuse a turn that runs into the next one without a header between them."""
        for i, ((role, content), (following, after)) in enumerate(itertools.pairwise(turns)):
            between = text[text.index(content) + len(content) : text.index(after)]
            merged = not between.strip()
            if not merged and role == "system" and following == "user":
                joined = [*turns[:i], ("user", f"{content}{between}{after}"), *turns[i + 2 :]]
                merged = text == self._text_or_none(joined)
            if merged:
                self._refuse(
                    f"merges the {role} turn into the {following} turn",
                    "a header of its own for every turn",
                    "put the text into the user turn yourself, or use another model",
                )

    def _text_or_none(self, turns: Sequence[Turn]) -> str | None:
        try:
            return self._text(turns)
        except TemplateError:
            return None

    def _own_text(self, turns: Sequence[Turn]) -> str:
        """Return words that stand before the first turn and are not its header, empty if there are none."""
        three = self._text_or_none([("user", "tellsqa"), ("assistant", "tellsqb"), ("user", "tellsqc")])
        if three is None or turns[0][0] != "user":
            return ""
        head, _, rest = three.partition("tellsqa")
        header = rest.partition("tellsqb")[2].partition("tellsqc")[0]
        shared = 0
        while shared < min(len(head), len(header)) and head[-1 - shared] == header[-1 - shared]:
            shared += 1
        own = head[: len(head) - shared]
        words = self.control.sub("", own) if self.control else own
        return own if words.strip() else ""

    def _check_contents(self, text: str, contents: Sequence[str]) -> None:
        place = 0
        for i, content in enumerate(contents):
            found = text.find(content, place)
            if found < 0:
                self._refuse(
                    f"alters the text of turn {i + 1} ({content[:60]!r})",
                    "every turn word for word",
                    "remove what it strips, such as spaces at the ends",
                )
            place = found + len(content)

    def _refuse(self, what: str, expected: str, advice: str, cause: Exception | None = None) -> NoReturn:
        msg = f"chat template of {self.name}: {what}; expected {expected}; {advice}"
        raise TemplateError(msg) from cause
