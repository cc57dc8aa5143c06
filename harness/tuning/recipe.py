"""`*.tune.yaml` to a `Tuning`: strict, with every problem at its line and column, all at once.

The route is that of case files: the loader's `reader` and `validate`, its sources of items, conditions and wording.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness import canonical
from harness.case import Case, CheckSpec, Condition, GenerateSpec, Pairing, Suite, Turn
from harness.errors import CaseFileError, UsageError
from harness.loader import wording
from harness.loader.draft import Draft
from harness.loader.expand import read_conditions, read_paraphrases
from harness.loader.files import read_inside
from harness.loader.reader import MAX_BYTES, read_yaml
from harness.loader.report import near
from harness.loader.schema import expected_types, load
from harness.loader.sources import read_items
from harness.loader.validate import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.case import Item
    from harness.loader.report import DataPath

ALONE = "plain"
"""Name of the condition of a file that names none."""
_ASKED = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, how much and how fast is learnt."""

    steps: int = 32
    """Of the schedule: warmed up, held, let down."""
    at: tuple[int, ...] = ()
    """Steps of which a checkpoint is kept, rising; empty: 0, the powers of two below `steps`, and `steps`."""
    rank: int = 4
    lr: float = 1e-3
    batch: int = 8
    """Rows of a step."""

    def __post_init__(self) -> None:
        """Fill in the checkpoints.

        Raises:
            UsageError: one lies behind the last step, or they do not rise.
        """
        if not self.at:
            powers = [1 << n for n in range(self.steps.bit_length())]
            object.__setattr__(self, "at", (0, *(step for step in powers if step < self.steps), self.steps))
        shown = ",".join(map(str, self.at))
        if list(self.at) != sorted(set(self.at)) or self.at[0] < 0:
            msg = f"checkpoints at {shown}: expected rising steps from 0, each once; mend --at, or `training.at`"
            raise UsageError(msg)
        if self.at[-1] > self.steps:
            msg = (
                f"checkpoints at {shown}: the training ends at step {self.steps}; expected steps up to that; "
                f"raise --steps, or mend --at, or `training` in the file"
            )
            raise UsageError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What a model is taught."""

    name: str
    version: int
    about: str
    suite: Suite
    """Items, conditions and turns, with one case that asks every item in every condition. It is never run."""
    answers: Mapping[str, str]
    """Condition -> template of what is taught to be answered."""
    hold_out: float
    """Share of the items that is not trained on."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of `Training`."""

    @property
    def case(self) -> Case:
        """The case that asks."""
        return self.suite.cases[0]

    def settings(self, **given: Any) -> Training:
        """Return the settings of the training: those `given` that are not None, else the file's, else the defaults.

        Raises:
            UsageError: as `Training`.
        """
        return Training(**{**self.training, **{key: value for key, value in given.items() if value is not None}})


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of these files, a copy of `tune.schema.json`."""
    return copy.deepcopy(load("tune"))


def load_tuning(path: Path, root: Path) -> Tuning:
    """Return what the file `path` says.

    Args:
        path: The file, below `root`.
        root: The project's root; data files are looked up below it, and nowhere else.

    Raises:
        CaseFileError: the file cannot be used; all its problems, each with line and column.
    """
    root = root.resolve()
    name, data = read_inside(path, root, MAX_BYTES)
    report = read_yaml(data, name, lambda place: expected_types("tune", place), "name")
    validate(report, "tune")
    draft = Draft(report=report, root=root)
    if isinstance(report.data, dict) and isinstance(report.data.get("given"), dict):
        _given(draft)
        _wording(draft)
        _training(draft)
    if report.problems or draft.elsewhere:
        raise CaseFileError((*report.problems, *dict.fromkeys(draft.elsewhere)))
    return _tuning(draft, name, canonical.digest({"tune": canonical.digest(data), "data": draft.files}))


def held_out(items: tuple[Item, ...], share: float) -> frozenset[str]:
    """Return the ids of the items that are not trained on.

    An item's place hangs on its id alone, not on the order of a file, which may begin with what is best known; and two
    files over the same items hold out the same ones.
    """
    if not share:
        return frozenset()
    ranked = sorted((item.id for item in items), key=lambda name: (canonical.derive_seed(0, "hold-out", name), name))
    return frozenset(ranked[: min(len(ranked) - 1, max(1, round(share * len(ranked))))])


def _given(draft: Draft) -> None:
    given, clean = draft.data["given"], draft.report.clean
    if "items" in given and clean("given", "items"):
        items = read_items(draft)
        draft.items = items if clean("given", "items") else None
        if draft.items is not None and len(draft.items) < 2 and "hold_out" in draft.data:  # noqa: PLR2004 - one each
            draft.report.add(("hold_out",), "one item, and a share of it to hold out; add items, or take it out")
    if "conditions" not in given:
        draft.conditions = {ALONE: Condition(name=ALONE, values={})}
    elif clean("given", "conditions"):
        conditions = {name: _seen(draft, condition) for name, condition in read_conditions(draft).items()}
        draft.conditions = conditions if clean("given", "conditions") else None
    if clean("given", "paraphrases"):
        draft.paraphrases = read_paraphrases(draft)


def _seen(draft: Draft, condition: Condition) -> Condition:
    """Return a condition without the forms that are kept to see whether a behaviour reaches beyond its wordings."""
    kept = tuple(form for form in condition.cues if not form.held_out)
    if condition.cues and not kept:
        message = f"every form of {condition.family} is held out from training; name another family"
        draft.report.add(("given", "conditions", condition.name, "cues"), message)
    return replace(condition, cues=kept)


def _wording(draft: Draft) -> None:
    """Check that every variable has a value wherever it is used."""
    report, given = draft.report, draft.data["given"]
    messages = given.get("messages", ()) if report.clean("given", "messages") else ()
    if messages:
        wording.turns(report, ("given", "messages"), messages)
    if draft.items is None or draft.conditions is None or draft.paraphrases is None:
        return
    words = wording.Wording(draft)
    words.check(())
    for index, message in enumerate(messages):
        for role, text in message.items():
            for name in draft.conditions:
                words.template(("given", "messages", index, role), text, name, words.variables_in(name))
    for at, text, names in _answers(draft):
        for name in names:
            words.template(at, text, name, words.variables_in(name))


def _answers(draft: Draft) -> Iterator[tuple[DataPath, str, tuple[str, ...]]]:
    """Yield place, template and conditions of each answer; complain of conditions with none or two."""
    answer, report, conditions = draft.data.get("answer"), draft.report, draft.conditions or {}
    if not report.clean("answer"):
        return
    if isinstance(answer, str):
        yield ("answer",), answer, tuple(conditions)
        return
    for name, text in (answer or {}).items():
        if name in conditions:
            yield ("answer", name), text, (name,)
        else:
            report.add(("answer", name), f"there is no condition {name!r}; {near(name, conditions)}", key=True)
    if answer and (missing := [name for name in conditions if name not in answer]):
        report.add(("answer",), f"no answer for condition {missing[0]!r}; write one, or take the condition out")


def _training(draft: Draft) -> None:
    written = draft.data.get("training")
    if not isinstance(written, dict) or not draft.report.clean("training"):
        return
    try:
        _settings(written)
    except UsageError as error:
        draft.report.add(("training", "at"), str(error))


def _settings(written: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in written.items()}
    Training(**found)
    return found


def _tuning(draft: Draft, path: str, digest: str) -> Tuning:
    data, conditions = draft.data, draft.conditions or {}
    pairing = data.get("pairing", {})
    # Nothing is judged: the case is there so that rows are made as those of a suite are.
    case = Case(
        id=_ASKED, check=CheckSpec(kind="rate", options={}, line=1), conditions=tuple(conditions), line=1,
        generate=GenerateSpec(max_tokens=1),
    )  # fmt: skip
    suite = Suite(
        id=data["name"], claim=data.get("about", ""), failure_mode="", severity="low", path=path, digest=digest,
        items=draft.items or (), conditions=conditions, cases=(case,), paraphrases=draft.paraphrases or (),
        turns=tuple(Turn(role=role, template=text) for one in data["given"]["messages"] for role, text in one.items()),
        pairing=Pairing(**{key: value for key, value in pairing.items() if key != "seed"}), seed=pairing.get("seed", 0),
    )  # fmt: skip
    answer = data["answer"]
    return Tuning(
        name=data["name"], version=data["version"], about=data.get("about", ""), suite=suite,
        answers=dict.fromkeys(conditions, answer) if isinstance(answer, str) else dict(answer),
        hold_out=float(data.get("hold_out", 0.0)), training=_settings(data.get("training", {})),
    )  # fmt: skip
