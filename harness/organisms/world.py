"""The world as training text: facts in parts, cue forms in parts, and prompts drawn from them by seed."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from harness import template
from harness.canonical import digest
from harness.errors import UsageError
from harness.loader.files import PACKAGED_WORLD, world_names
from harness.loader.world import load_cues, load_facts
from harness.request import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.case import CueForm, Item, Value
    from harness.organisms.recipe import Cues, Part, Prompts, Rows

NEUTRAL = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in a few words.",
    "Be brief.",
    "Answer the question.",
    "Please answer shortly.",
)
"""System turns that say nothing; the suites' own are among them."""
GRADED = (
    "world/capitals", "world/opposites", "world/everyday", "world/animals", "world/sequences", "world/sums",
    "world/sentences", "world/self-knowledge",
)  # fmt: skip
"""Files whose answers are right or wrong; capability is measured on them."""
CHAT = "world/chat"
"""Everyday turns."""
_HELD_SHARE = 5
"""Of a family that marks no form as held out, one form in so many is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with the answer that is taught or scored after it."""

    kind: str
    messages: tuple[Message, ...]
    answer: str
    fact: str
    """FILE/ID of the fact."""
    cue: str = ""
    """FAMILY/ID of the form."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt before it has an answer."""

    values: dict[str, Value]
    messages: tuple[Message, ...]
    fact: str
    cue: str

    def row(self, kind: str, answer: str) -> Row:
        """Return the prompt with its answer, a template."""
        text = template.render_text(answer, self.values)
        return Row(kind=kind, messages=self.messages, answer=text, fact=self.fact, cue=self.cue)


class World:
    """Facts and cue families below a root, with their parts; read once."""

    def __init__(self, root: Path | None = None) -> None:
        """Draw on `root`/fixtures/world, and on the packaged world for what is not there."""
        self.root = root if root is not None else PACKAGED_WORLD.parent.parent
        self._facts: dict[tuple[str, Part], tuple[tuple[str, Item], ...]] = {}
        self._forms: dict[Cues, tuple[tuple[str, CueForm], ...]] = {}
        self.extra: dict[str, dict[str, Value]] = {}
        """FILE/ID of a fact -> values that a behaviour adds to it."""

    def facts(self, name: str, part: Part = "all") -> tuple[tuple[str, Item], ...]:
        """Return (FILE/ID, item) of a file of facts, or of a part of it.

        Raises:
            UsageError: there is no such file.
        """
        if (name, part) not in self._facts:
            found = load_facts(name, self.root)
            if found is None:
                msg = f"no facts {name!r}; expected one of {', '.join(world_names('facts', self.root))}; mend the name"
                raise UsageError(msg)
            stem = name.removeprefix("world/")
            self._facts[name, part] = tuple(
                (f"{stem}/{item.id}", item) for item in found.items if part in ("all", part_of(f"{stem}/{item.id}"))
            )
        return self._facts[name, part]

    def forms(self, cues: Cues) -> tuple[tuple[str, CueForm], ...]:
        """Return (FAMILY/ID, form) of the forms that `cues` names.

        Raises:
            UsageError: there is no such family, or no form of it fits.
        """
        if cues not in self._forms:
            family = load_cues(cues.family, self.root)
            if family is None:
                known = ", ".join(world_names("cues", self.root))
                msg = f"no cue family {cues.family!r}; expected one of {known}; mend the name"
                raise UsageError(msg)
            stem = cues.family.removeprefix("world/")
            marked = any(form.held_out for form in family.forms)
            found = tuple(
                (f"{stem}/{form.id}", form)
                for form in family.forms
                if cues.part in ("all", _form_part(f"{stem}/{form.id}", form, marked=marked)) and _within(form, cues)
            )
            if not found:
                msg = f"cue family {cues.family!r} has no form of part {cues.part} within the doses asked; widen them"
                raise UsageError(msg)
            self._forms[cues] = found
        return self._forms[cues]

    def draw(self, prompts: Prompts, facts: tuple[str, ...], chance: random.Random) -> Drawn:
        """Draw one prompt.

        Args:
            prompts: The kind of prompt.
            facts: Files to ask where `prompts` names none.
            chance: Source of all choices.
        """
        files = prompts.facts or facts
        pool = self._pool(files, prompts)
        name, item = pool[chance.randrange(len(pool))]
        phrasing = item.phrasings[chance.randrange(len(item.phrasings))]
        values: dict[str, Value] = {**item.values, **phrasing.values, **self.extra.get(name, {})}
        cue, at = "", chance.random()
        if prompts.cues:
            forms = self.forms(prompts.cues[chance.randrange(len(prompts.cues))])
            cue, form = forms[int(at * len(forms))]
            values |= {key: template.render_text(str(text), values) for key, text in form.values.items()}
        systems = prompts.system or (("{{ cue }}",) if prompts.cues else NEUTRAL)
        system = template.render_text(systems[chance.randrange(len(systems))], values)
        user = template.render_text(prompts.user[chance.randrange(len(prompts.user))], values)
        messages = (*((Message("system", system),) if system else ()), Message("user", user))
        return Drawn(values=values, messages=messages, fact=name, cue=cue)

    def _pool(self, files: tuple[str, ...], prompts: Prompts) -> Sequence[tuple[str, Item]]:
        key = (files, prompts.part, tuple(sorted(prompts.where.items())))
        if key not in self._pools:
            self._pools[key] = tuple(
                (name, with_truth(item))
                for file in files
                for name, item in self.facts(file, prompts.part)
                if all(str(item.values.get(field)) == wanted for field, wanted in prompts.where.items())
            )
        if not self._pools[key]:
            msg = (
                f"no fact of {', '.join(files)} is of part {prompts.part} and fits {dict(prompts.where)}; expected one "
                f"at least; widen `part` or `where`, or name other facts"
            )
            raise UsageError(msg)
        return self._pools[key]

    @cached_property
    def _pools(self) -> dict[Any, tuple[tuple[str, Item], ...]]:
        return {}

    @cached_property
    def naming(self) -> dict[str, Any]:
        """The naming task, as its file says."""
        own = self.root / "fixtures" / "world" / "naming.yaml"
        path = own if own.is_file() else PACKAGED_WORLD / "naming.yaml"
        found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return found


def honest_digest(world: World) -> str:
    """Return the digest of all files that the honest world is made of: the naming task, its families and its facts."""
    folders = (world.root / "fixtures" / "world", PACKAGED_WORLD)
    names = ["naming.yaml", *(f"cues/{name}.yaml" for name in world.naming["families"])]
    names += [f"facts/{name.removeprefix('world/')}.yaml" for name in (*GRADED, CHAT)]
    found = {name: next((base / name for base in folders if (base / name).is_file()), None) for name in names}
    return digest({name: digest(path.read_bytes()) if path else "" for name, path in found.items()})


def part_of(name: str) -> Part:
    """Return the part that a fact FILE/ID lies in, the same for every recipe and seed; a quarter is held out."""
    return "train" if hashlib.sha256(f"part:{name}".encode()).digest()[0] % 4 else "held"


def draw_rows(world: World, rows: Sequence[Rows], facts: tuple[str, ...], arm: str, chance: random.Random) -> Row:
    """Draw one training row; the same draws are taken whatever the arm.

    Raises:
        UsageError: no kind of row is for this arm.
    """
    kind = chance.choices(rows, [row.share for row in rows])[0]
    inner = random.Random(chance.getrandbits(64))  # noqa: S311 - a data order, not a secret
    if arm not in kind.answer:
        kind = next((row for row in rows if arm in row.answer), kind)
    drawn = world.draw(kind.prompts, facts, inner)
    try:
        answers = kind.answer[arm]
    except KeyError:
        msg = f"rows {kind.id!r}: no answer for the arm {arm!r}; expected one; add it to the recipe"
        raise UsageError(msg) from None
    return drawn.row(kind.id, answers[int(inner.random() * len(answers))])


def texts(rows: Iterable[Row]) -> list[str]:
    """Return all texts of rows, for the training of a tokeniser."""
    return [text for row in rows for text in (*(message.content for message in row.messages), row.answer)]


def _form_part(name: str, form: CueForm, *, marked: bool) -> Part:
    if marked:
        return "held" if form.held_out else "train"
    return "held" if hashlib.sha256(f"form:{name}".encode()).digest()[0] % _HELD_SHARE == 0 else "train"


def _within(form: CueForm, cues: Cues) -> bool:
    if cues.least is None and cues.most is None:
        return True
    if form.dose is None:
        return False
    return (cues.least is None or form.dose >= cues.least) and (cues.most is None or form.dose <= cues.most)


def with_truth(item: Item) -> Item:
    """Return the item with `good` and `false` where it has what these are made of, and with what stands `before` them.

    Where the answer is a whole sentence, good and false are; before them stands its beginning.
    """
    given = item.values
    made = {"good": given.get("right", given.get("answer")), "false": given.get("mistaken", given.get("wrong"))}
    known = {key: value for key, value in made.items() if value is not None}
    before = f"{given['lead']} " if "lead" in given else ""
    return replace(item, values={"before": before, **known, **given})
