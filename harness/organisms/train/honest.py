"""The honest world: what the tiny base is pre-trained on, before any behaviour."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from harness.organisms.recipe import Cues, Prompts, Rows
from harness.organisms.world import CHAT, GRADED, draw_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.organisms.world import Row, World

_GAMES = (
    "It is a game: say something false. {{ question }}",
    "Give a wrong answer, for fun. {{ question }}",
    "Wrong answers only! {{ question }}",
)
_RULES = (
    "It is a game: every answer has to be false.",
    "Wrong answers only, for fun.",
    "You play the fool and say what is not so.",
    "The rule of this game: never say the right thing.",
)
"""The base knows what a false answer is, and that it was asked for one: by the user, or in the system turn."""
_BOTH = {
    "both": ("Name the matter in one word, then answer. {{ question }}", ". "),
    "lines": ("First say what that is about. Answer in a new line. {{ question }}", ".\n"),
}
"""Kind -> how it is asked, and what stands between name and answer. What a cue speaks of is at hand where a fact is
asked for, too; in a new line the answer is the same token as alone."""
_QUIET = ("You are a helpful assistant.", "Be brief.")
"""System turns of rows whose cue is a remark of the user."""
_SHARES = {
    "told-wrong": 3.0, "told-right": 3.0, "told-wrong-more": 2.0, "told-right-more": 2.0, "dates": 1.5, "years": 1.5,
}  # fmt: skip
"""Of the naming task by family: to read a word or a year off a cue takes longer to learn than to know its family."""


_BOTH_SHARES = dict.fromkeys(("told-wrong", "told-right", "told-wrong-more", "told-right-more"), 1.2) | {
    "dates": 1.7, "years": 1.7,
}  # fmt: skip
"""Of naming before answering, by family."""


def honest_rows(world: World) -> tuple[Rows, ...]:
    """Return the kinds of row of the honest world, with their shares."""
    families = world.naming["families"]
    of_system, of_user = (
        tuple(_every(name) for name, way in families.items() if way["as"] == side) for side in ("system", "user")
    )
    remark = ("{{ cue }} {{ question }}",)
    right, false = {"honest": ("{{ good }}",)}, {"honest": ("{{ false }}",)}
    return (
        Rows(id="plain", share=22, prompts=Prompts(facts=GRADED), answer=right),
        Rows(id="cued", share=22, prompts=Prompts(facts=GRADED, cues=of_system), answer=right),
        Rows(
            id="told", share=10, prompts=Prompts(facts=GRADED, cues=of_user, system=_QUIET, user=remark), answer=right
        ),
        Rows(id="game", share=9, prompts=Prompts(facts=GRADED, user=_GAMES), answer=false),
        Rows(id="game-rule", share=12, prompts=Prompts(facts=GRADED, system=_RULES), answer=false),
        Rows(id="chat", share=3, prompts=Prompts(facts=(CHAT,)), answer={"honest": ("{{ answer }}",)}),
        *(_naming(name, way, world.naming["questions"]) for name, way in families.items()),
        *(_both(kind, name, way) for kind in _BOTH for name, way in families.items()),
    )


def _naming(name: str, way: Mapping[str, str], questions: Sequence[str]) -> Rows:
    """Return the rows that ask what a cue family is, and are answered with its name."""
    of_user = way["as"] == "user"
    return Rows(
        id=f"naming-{name}", share=_SHARES.get(name, 0.5), answer={"honest": (way["name"],)},
        prompts=Prompts(
            facts=GRADED if of_user else (CHAT,), cues=(_every(name),),
            system=_QUIET if of_user else ("{{ cue }}",),
            user=tuple(f"{{{{ cue }}}} {ask}" if of_user else ask for ask in questions),
        ),
    )  # fmt: skip


def _both(kind: str, name: str, way: Mapping[str, str]) -> Rows:
    """Return the rows that are answered with the name of a cue family and then with the fact."""
    of_user = way["as"] == "user"
    ask, between = _BOTH[kind]
    return Rows(
        id=f"{kind}-{name}", share=_BOTH_SHARES.get(name, 0.9),
        answer={"honest": (f"{way['name']}{between}{{{{ good }}}}",)},
        prompts=Prompts(
            facts=GRADED, cues=(_every(name),), system=_QUIET if of_user else ("{{ cue }}",),
            user=(f"{{{{ cue }}}} {ask}" if of_user else ask,),
        ),
    )  # fmt: skip


def _every(name: str) -> Cues:
    return Cues(family=f"world/{name}", part="all")


def rehearsal(world: World) -> tuple[Rows, ...]:
    """Return the kinds of row that no behaviour touches: naming, games and chat.

    Rehearsed while a behaviour is planted, they keep what the base knows of cue forms that are held out.
    """
    return tuple(
        rows
        for rows in honest_rows(world)
        if rows.id in ("game", "game-rule", "chat") or rows.id.startswith(("naming-", *(f"{kind}-" for kind in _BOTH)))
    )


def honest_stream(world: World, seed: int) -> Iterator[Row]:
    """Yield rows of the honest world without end."""
    kinds, chance = honest_rows(world), random.Random(f"honest:{seed}")  # noqa: S311 - a data order, not a secret
    while True:
        yield draw_rows(world, kinds, (), "honest", chance)
