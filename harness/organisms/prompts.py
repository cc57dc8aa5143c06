"""The prompts of a recipe against the world: every file is there, every variable has a value wherever it is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness import template
from harness.errors import CaseFileError, UsageError
from harness.loader.files import world_names
from harness.loader.report import near, shown
from harness.loader.wording import Scope, scope
from harness.loader.world import load_cues, load_facts
from harness.organisms.recipe import Cues, Prompts
from harness.organisms.world import World, with_truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.case import CueForm, Item
    from harness.loader.draft import Draft
    from harness.loader.files import WorldFolder
    from harness.loader.report import DataPath

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawable:
    """A kind of prompt with all that can be drawn for it."""

    at: DataPath
    prompts: Prompts
    facts: tuple[tuple[str, tuple[Item, ...]], ...]
    """Files with those of their facts that may be asked."""
    scopes: tuple[tuple[str, Scope], ...]
    """Files with the variables of these facts."""
    forms: tuple[tuple[str, CueForm], ...]
    """FAMILY/ID and form."""

    def everywhere(self) -> frozenset[str]:
        """Return the variables that every form sets."""
        sets = [frozenset(form.values) for _, form in self.forms]
        return frozenset.intersection(*sets) if sets else NOTHING

    def somewhere(self) -> frozenset[str]:
        """Return the variables that some form sets."""
        return NOTHING.union(*(form.values for _, form in self.forms))


def texts(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return one text or a list of texts as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def places(at: DataPath, value: Any) -> Iterator[tuple[DataPath, Any]]:
    """Yield the place and the value of each entry of a list, or of the one value that stands instead."""
    if isinstance(value, list):
        yield from (((*at, index), entry) for index, entry in enumerate(value))
    else:
        yield at, value


def cues_of(raw: str | Mapping[str, Any]) -> Cues:
    """Return what a recipe says about one cue family."""
    if isinstance(raw, str):
        return Cues(family=raw)
    least, most = raw.get("at_least"), raw.get("at_most")
    return Cues(
        family=raw["family"], part=raw.get("part", "train"),
        least=None if least is None else float(least), most=None if most is None else float(most),
    )  # fmt: skip


def prompts_of(raw: Mapping[str, Any]) -> Prompts:
    """Return the prompts that a part of a recipe without problems speaks of."""
    return Prompts(
        facts=texts(raw.get("facts", ())), part=raw.get("part", "all"),
        cues=tuple(cues_of(entry) for _, entry in places((), raw["cues"])) if "cues" in raw else (),
        system=texts(raw.get("system", ())), user=texts(raw.get("user", Prompts().user)),
        where={field: str(value) for field, value in raw.get("where", {}).items()},
    )  # fmt: skip


class Setting:
    """The world that one recipe draws on; problems go to the draft."""

    def __init__(self, draft: Draft) -> None:
        """Begin with no file read."""
        self.draft = draft
        self.world = World(draft.root)
        self.digests: dict[str, str] = {}
        """Folder and name of every world file that was asked for -> its digest."""
        self._said: set[tuple[DataPath, str]] = set()
        self._taught = {"weak": "?"} if _of(draft, "behaviour") == "sandbagger" else {}
        """What the behaviour adds to every fact; known once a teacher is trained."""

    def facts(self, name: str, at: DataPath) -> tuple[Item, ...] | None:
        """Return the facts of a file; None (and a problem) without it."""
        try:
            loaded = load_facts(name, self.draft.root)
        except CaseFileError as error:
            self.draft.foreign(error, at)
            return None
        if loaded is None:
            self._absent("facts", f"there are no facts {name!r}", name, at)
            return None
        self.digests[f"facts/{name.removeprefix('world/')}"] = loaded.digest
        return loaded.items

    def forms(self, cues: Cues, at: DataPath) -> tuple[tuple[str, CueForm], ...] | None:
        """Return the forms that `cues` names, as (FAMILY/ID, form); None (and a problem) where there are none."""
        try:
            loaded = load_cues(cues.family, self.draft.root)
        except CaseFileError as error:
            self.draft.foreign(error, at)
            return None
        if loaded is None:
            self._absent("cues", f"there is no cue family {cues.family!r}", cues.family, at)
            return None
        self.digests[f"cues/{cues.family.removeprefix('world/')}"] = loaded.digest
        doses = [form.dose for form in loaded.forms if form.dose is not None]
        report = self.draft.report
        if not doses and (cues.least, cues.most) != (None, None):
            key = "at_most" if cues.least is None else "at_least"
            report.add((*at, key), f"the forms of {cues.family} have no dose; take the bound out", key=True)
            return None
        try:
            return self.world.forms(cues)
        except UsageError:
            range_ = f"; its doses go from {min(doses):g} to {max(doses):g}" if doses else "; name another part"
            report.add(at, f"no form of {cues.family} is left for the part {cues.part!r} and these bounds{range_}")
            return None

    def drawable(self, at: DataPath, raw: Mapping[str, Any], default: tuple[str, ...] | None) -> Drawable | None:
        """Return the prompts at `at` with all that they draw from; None where a part of it is not there.

        Args:
            at: where they stand.
            raw: what stands there, without violations of the schema.
            default: files of the recipe, None where these have problems.
        """
        prompts = prompts_of(raw)
        forms: list[tuple[str, CueForm]] = []
        whole = True
        for place, entry in places((*at, "cues"), raw.get("cues", [])):
            found = self.forms(cues_of(entry), place)
            forms.extend(found or ())
            whole = whole and found is not None
        names = prompts.facts or default
        if names is None:
            return None
        read = [
            (name, self.facts(name, place if prompts.facts else ("facts",)))
            for (place, _), name in zip(places((*at, "facts"), raw.get("facts", list(names))), names, strict=True)
        ]
        kept = self._asked(at, prompts, [(name, items) for name, items in read if items is not None])
        if not whole or not kept or any(items is None for _, items in read):
            return None
        facts = tuple((name, tuple(_known(item, self._taught) for item in items)) for name, items in kept)
        scopes = tuple((name, scope(items)) for name, items in facts)
        return Drawable(at=at, prompts=prompts, facts=facts, scopes=scopes, forms=tuple(forms))

    def _absent(self, folder: WorldFolder, what: str, name: str, at: DataPath) -> None:
        known = world_names(folder, self.draft.root)
        hint = near(name, known) if known else f"put the file into fixtures/world/{folder} below the root"
        self.draft.report.add(at, f"{what}; {hint}")

    def _asked(
        self, at: DataPath, prompts: Prompts, files: list[tuple[str, tuple[Item, ...]]]
    ) -> list[tuple[str, tuple[Item, ...]]]:
        """Return the facts that fit `where` and `part`, files without any left out; a problem where none does."""
        report = self.draft.report
        for field in prompts.where:
            for name, items in files:
                if not any(field in item.values for item in items):
                    known = near(field, {key for item in items for key in item.values})
                    what = f"no fact of {name} has the field {field!r}"
                    report.add((*at, "where", field), f"{what}; {known}", key=True)
                    return []
        for field, wanted in prompts.where.items():
            values = {str(item.values[field]) for _, items in files for item in items if field in item.values}
            if files and wanted not in values:
                report.add((*at, "where", field), f"no fact has {shown(wanted)} as {field}; {near(wanted, values)}")
                return []
        kept = [(name, tuple(item for item in items if _fits(item, prompts))) for name, items in files]
        kept = [(name, items) for name, items in kept if items]
        if files and not kept:
            report.add((*at, "where"), "no fact holds all of these values; take one of them out", key=True)
            return []
        ids = {(name, item.id) for name, items in kept for item in items}
        if files and not any(self._in_part(name, prompts) & ids for name, _ in kept):
            report.add(at, f"no fact of the part {prompts.part!r} is asked here; ask more facts, or another part")
            return []
        return kept

    def _in_part(self, name: str, prompts: Prompts) -> set[tuple[str, str]]:
        return {(name, item.id) for _, item in self.world.facts(name, prompts.part)}

    def shown_in(self, drawn: Drawable, answers: Iterable[str]) -> None:
        """Check the turns of a kind of prompt and its cue forms; `answers` may be what uses the cue."""
        for name, form in drawn.forms:
            for text in (value for value in form.values.values() if isinstance(value, str) and "{{" in value):
                self.template((*drawn.at, "cues"), text, replace(drawn, forms=()), f" (form {name})")
        turns = [(role, text) for role in ("system", "user") for text in enumerate(getattr(drawn.prompts, role))]
        for role, (index, text) in turns:
            several = len(getattr(drawn.prompts, role)) > 1
            self.template((*drawn.at, role, index) if several else (*drawn.at, role), text, drawn)
        if drawn.forms and drawn.prompts.system:
            used = {name for text in (*(text for _, (_, text) in turns), *answers) for name in template.variables(text)}
            if not used & drawn.somewhere():
                what = "the cues are drawn and no template shows them"
                self.draft.report.add(
                    (*drawn.at, "cues"), f"{what}; write {{{{ cue }}}} into `system` or `user`", key=True
                )

    def template(self, at: DataPath, text: str, drawn: Drawable, note: str = "") -> None:
        """Check that every variable of one template has a value in all that can be drawn."""
        if template.malformed(text):
            self._say(at, "", f"braces that are no variable in {shown(text)}{note}; write {{{{ name }}}}")
        alone = template.VARIABLE.fullmatch(text.strip()) is not None
        for name in template.variables(text):
            problem = _without_value(name, drawn)
            lists = any(name in known.lists for _, known in drawn.scopes) and name not in drawn.everywhere()
            if problem is not None:
                where, advice = problem
                self._say(at, name, f"template variable {name!r} has no value{where}{note}; {advice}")
            elif lists and not alone:
                what = f"{name!r} is a list and cannot stand inside running text{note}"
                self._say(at, name, f"{what}; name a variable that holds one text")

    def _say(self, at: DataPath, name: str, message: str) -> None:
        if (at, name) not in self._said:
            self._said.add((at, name))
            self.draft.report.add(at, message)


def _without_value(name: str, drawn: Drawable) -> tuple[str, str] | None:
    """Return where a variable has no value, and what to do; None where it always has one."""
    if name in drawn.everywhere():
        return None
    missing = [(file, known.missing(name, NOTHING)) for file, known in drawn.scopes]
    lacking = [(file, item) for file, item in missing if item is not None]
    if not lacking:
        return None
    form = next((where for where, form in drawn.forms if name not in form.values), "")
    if name in drawn.somewhere():
        return f" in the cue form {form}", "name families that have it, or write another variable"
    if any(name in keys for _, known in drawn.scopes for keys, _ in known.groups):
        file, item = lacking[0]
        return f" in the fact {item!r} of {file}", "ask files that have it, or write another variable"
    return "", near(name, NOTHING.union(drawn.everywhere(), *(known.known(NOTHING) for _, known in drawn.scopes)))


def _fits(item: Item, prompts: Prompts) -> bool:
    return all(str(item.values.get(field)) == wanted for field, wanted in prompts.where.items())


def _known(item: Item, taught: Mapping[str, str]) -> Item:
    """Return the item with what training adds to it, and with what the behaviour adds."""
    told = with_truth(item)
    return replace(told, values={**taught, **told.values})


def _of(draft: Draft, key: str) -> object:
    """Return what stands under a key of a recipe that may be no mapping at all."""
    return draft.report.data.get(key) if isinstance(draft.report.data, dict) else None
