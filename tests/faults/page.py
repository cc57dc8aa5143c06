"""`docs/faults.md`: what was injected where and what came of it, written by `python bench/faults.py --write`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.boundaries import BOUNDARIES, DEATHS
from tests.faults.threats import THREATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.faults.drive import Injection

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
HEAD = """\
# Faults

What happens when something breaks, dies, is full, is hostile or lies. The numbers of the first two tables were measured
by `python bench/faults.py --write`; tests inject a short selection of the same faults.

Each fault is injected into a whole run of pytest on a scripted model, in a process of its own: the N-th call at a
boundary raises an exception or kills the process. A full disk meets every call, N = 1, 2, 3 ... until a run comes to
its end without meeting the fault; `SystemExit(0)` and SIGKILL meet the first calls and then ever fewer; the other
nineteen faults meet the first call. Two faults meet the first two calls of a run on a model that deceives as well. Then
`tells verdict` is asked and the store is looked at. After each SIGKILL, and after each full disk of the last row, the
run is made again on the same store.

- A **false pass** is a green answer that was not earned: code 0 of `tells verdict` for a record that is not word for
  word that of an undisturbed run; exit code 0 of pytest where the verdict is another, or a report is missing; an item
  that says PASS and is not the item of the undisturbed run; an error inside `tells verdict` that ends with 0.
- An answer is **lost** when the store had said that it was kept, and does not have it, or has another.
- A run is **resumed** when it comes to the undisturbed record, asks nothing that was kept, and asks the rest once.

`exit/verdict` are the exit codes of pytest (minus the number of the signal that killed it) and of `tells verdict`;
`0/0` is a fault that did no harm, because what failed was asked again alone. A report that could not be written after
`run.json` was sealed gives `3/0`: the verdict stands, and the run says that something is missing.

Two ends of a process are beyond any code in it. `os._exit(0)` ends pytest with 0: that is why the verdict is asked of
another process, which finds no sealed record. In `tells verdict` itself it ends that with 0, whatever the record says,
and is not counted here: nothing of a model, a plugin or a case file runs there.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Many faults of one kind, counted."""

    name: str
    injected: int
    false: int
    lost: int


def page(found: Sequence[Injection], sweeps: Sequence[Sweep], made: str) -> str:
    """Return the page."""
    rows = [_row(name, [one for one in found if one.boundary == name]) for name in _names(found)]
    total = len(found) + sum(sweep.injected for sweep in sweeps)
    false = sum(bool(one.false_pass) for one in found) + sum(sweep.false for sweep in sweeps)
    lost = sum(one.lost for one in found) + sum(sweep.lost for sweep in sweeps)
    unresumed = sum(not one.resumed for one in found)
    lines = [
        HEAD,
        f"Injected faults: {total:,}. False passes: {false}. Lost answers: {lost}. Not resumed: {unresumed}.\n",
        f"{made}\n\n",
        "## By boundary\n\n",
        "| boundary | faults | of errors: states, exit/verdict | of deaths: exit/verdict | false passes | lost |\n",
        "|---|---|---|---|---|---|\n", *rows,
        "\n## By the byte\n\n| what | faults | false passes | lost |\n|---|---|---|---|\n",
        *(f"| {sweep.name} | {sweep.injected:,} | {sweep.false} | {sweep.lost} |\n" for sweep in sweeps),
        threats(),
    ]  # fmt: skip
    return "".join(lines)


def threats() -> str:
    """Return the table of what can go wrong and the tests against it."""
    head = "\n## What holds it off\n\n| threat | tests |\n|---|---|\n"
    rows = (f"| {threat} | {', '.join(f'`{name}`' for name in tests)} |\n" for threat, tests in THREATS.items())
    return head + "".join(rows) + TAIL


TAIL = """
No engine of this version speaks to a server, so there is no 429 to be met: such a SPEC is refused. One shipped suite,
`self-knowledge` (medium), can be passed by guessing: it forbids only to be wrong more often than a guess. A chat
template that asks for very much memory in one step is not stopped. A secret in a form that nobody knows for one, or in
the output of another plugin, is not cut out.
"""


def _names(found: Iterable[Injection]) -> list[str]:
    known = [boundary.name for boundary in BOUNDARIES]
    return [*known, *sorted({one.boundary for one in found} - set(known))]


def _row(name: str, found: Sequence[Injection]) -> str:
    errors = [one for one in found if one.fault not in DEATHS]
    deaths = [one for one in found if one.fault in DEATHS]
    false, lost = sum(bool(one.false_pass) for one in found), sum(one.lost for one in found)
    cells = (name, f"{len(found)}", _ends(errors, states=True), _ends(deaths, states=False), f"{false}", f"{lost}")
    return f"| {' | '.join(cells)} |\n"


def _ends(found: Sequence[Injection], *, states: bool) -> str:
    def end(one: Injection) -> str:
        told = f"{'+'.join(one.states) or 'no record'} " if states else ""
        return f"{told}{one.status}/{one.code}"

    counted = Counter(map(end, found))
    return ", ".join(f"{what} ({count})" for what, count in counted.most_common()) or "-"
