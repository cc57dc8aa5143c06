"""The small world: files of facts and cue families, read once per process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from harness import canonical, template
from harness.case import CueForm, Item, Phrasing, Value
from harness.errors import CaseFileError, Problem
from harness.loader.files import WorldFolder, display, read_capped, world_file
from harness.loader.reader import read_yaml
from harness.loader.report import Report, near, shown
from harness.loader.schema import expected_types
from harness.loader.validate import found, validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MAX_ID = 80
NULL_FORMS = 99
"""A rank p-value over K null cues never claims more than 1/(K+1): 99 are needed for 1 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A file of facts."""

    items: tuple[Item, ...]
    """In the order of the file, phrasings and derived forms rendered."""
    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CueFamily:
    """A file of cue forms."""

    forms: tuple[CueForm, ...]
    null_for: str
    """Name of the family that these null cues are matched to; empty for a family of cues."""
    path: str
    digest: str


Read = TypeVar("Read", Facts, CueFamily)
_cache: dict[tuple[object, ...], Any] = {}


def load_facts(name: str, root: Path) -> Facts | None:
    """Return the facts `world/NAME`, None where there is no such file.

    Raises:
        CaseFileError: the file has problems; all of them, with their places in it.
    """
    return _load("facts", name, root, _facts)


def load_cues(name: str, root: Path) -> CueFamily | None:
    """Return the cue family `world/NAME`, None where there is no such file.

    Raises:
        CaseFileError: the file has problems; all of them, with their places in it.
    """
    return _load("cues", name, root, _cues)


def _load(kind: WorldFolder, name: str, root: Path, build: Callable[[Report, str], Read]) -> Read | None:
    path = world_file(kind, name, root)
    if path is None:
        return None
    shown_path, stat = display(path, root), path.stat()
    key = (stat.st_dev, stat.st_ino, shown_path, stat.st_mtime_ns, stat.st_size)
    if key not in _cache:
        try:
            _cache[key] = _read(kind, path, shown_path, build)
        except CaseFileError as error:
            _cache[key] = error.problems
    known = _cache[key]
    if isinstance(known, tuple):
        # A new exception each time: a raised one carries the traceback of its last raise.
        raise CaseFileError(known)
    loaded: Read = known
    return loaded


def _read(kind: WorldFolder, path: Path, shown_path: str, build: Callable[[Report, str], Read]) -> Read:
    try:
        data = read_capped(path)
    except OSError as error:
        message = f"cannot be read: {error.strerror}; check the file's permissions"
        raise CaseFileError((Problem(shown_path, 1, 1, message),)) from error
    report = read_yaml(data, shown_path, lambda place: expected_types(kind, place))
    validate(report, kind)
    report.stop()
    if report.data["name"] != path.stem:
        message = f"the file is called {path.stem} and its name is {report.data['name']}"
        report.add(("name",), f"{message}; make them one")
    built = build(report, canonical.digest(data))
    report.stop()
    return built


def _facts(report: Report, digest: str) -> Facts:
    data = report.data
    if "id" not in data["fields"]:
        report.add(("fields",), "the field 'id' is missing; every fact has an id")
    report.stop()
    rows = [_row(report, index, data["fields"]) for index in range(len(data["items"]))]
    _doubles(report, [(("items", index, 0), str(row.get("id"))) for index, row in enumerate(rows)])
    report.stop()
    common = set.intersection(*(set(row) for row in rows))
    for where in (
        *(("phrasings", i) for i in range(len(data["phrasings"]))),
        *(("forms", k) for k in data.get("forms", ())),
    ):
        _known_variables(report, where, common)
    report.stop()
    for index, row in enumerate(rows):
        _lists_in_text(report, index, row)
    report.stop()
    return Facts(items=tuple(_item(row, data) for row in rows), path=report.path, digest=digest)


def _row(report: Report, index: int, fields: list[str]) -> dict[str, Value]:
    row = report.data["items"][index]
    at = ("items", index)
    extra = row[-1] if isinstance(row[-1], dict) else {}
    cells = row[:-1] if isinstance(row[-1], dict) else row
    if len(cells) != len(fields):
        report.add(at, f"{len(cells)} values for {len(fields)} fields; expected {', '.join(fields)}")
        return {"id": str(index)}
    values: dict[str, Value] = {}
    for position, (field, cell) in enumerate(zip(fields, cells, strict=True)):
        values[field] = _value(report, (*at, position), cell)
    for key, cell in extra.items():
        if not template.VARIABLE.fullmatch(f"{{{{{key}}}}}"):
            report.add(
                (*at, len(cells), key), f"{key!r} is no variable name; letters, digits and underscores", key=True
            )
        values[key] = _value(report, (*at, len(cells), key), cell)
    for field in ("id", "answer"):
        if not isinstance(values.get(field, ""), str):
            where = (*at, fields.index(field))
            report.add(where, f"expected text as {field}, got {found(cells[fields.index(field)])}; write it in quotes")
    if not ID.fullmatch(str(values["id"])) or len(str(values["id"])) > MAX_ID:
        what = f"{shown(values['id'])} is no id"
        report.add((*at, fields.index("id")), f"{what}; write small letters and digits with single hyphens between")
    return with_accepts(values)


def with_accepts(values: dict[str, Value]) -> dict[str, Value]:
    """Return the variables of an item with `accepts`, by default its one `answer`, as a list."""
    accepts = values.get("accepts", values.get("answer"))
    if isinstance(accepts, str):
        return {**values, "accepts": (accepts,)}
    return values


def _value(report: Report, at: tuple[str | int, ...], cell: Any) -> Value:
    if isinstance(cell, list):
        for position, text in enumerate(cell):
            if not isinstance(text, str) or not text:
                report.add((*at, position), f"expected text in a list of forms, got {found(text)}; write it in quotes")
        if not cell:
            report.add(at, "an empty list; write at least one text")
        return tuple(map(str, cell))
    if isinstance(cell, str | int | float) and cell != "":
        return cell
    report.add(at, f"expected text, a number or a list of texts, got {found(cell)}; mend this value")
    return ""


def _doubles(report: Report, names: list[tuple[tuple[str | int, ...], str]]) -> None:
    seen: dict[str, int] = {}
    for path, name in names:
        if name in seen:
            report.add(path, f"{shown(name)} stands here a second time; the first is in line {seen[name]}, rename one")
        seen.setdefault(name, report.place(path)[0])


def _known_variables(report: Report, path: tuple[str | int, ...], known: set[str]) -> None:
    text = report.data[path[0]][path[1]]
    if template.malformed(text):
        report.add(path, f"braces that are no variable in {shown(text)}; write {{{{ name }}}}")
    for name in template.variables(text):
        if name not in known:
            report.add(path, f"template variable {name!r} is no field of every fact; {near(name, known)}")


def _lists_in_text(report: Report, index: int, row: dict[str, Value]) -> None:
    for where in ("phrasings", "forms"):
        part = report.data.get(where, {})
        for key, text in part.items() if isinstance(part, dict) else enumerate(part):
            for name in template.variables(text):
                if isinstance(row[name], tuple) and not template.VARIABLE.fullmatch(text.strip()):
                    message = f"{name!r} is a list in fact {row['id']} and cannot stand inside running text"
                    report.add((where, key), f"{message}; name a field that holds one text")
    if isinstance(row.get("accepts"), str | int | float):
        report.add(("items", index), "accepts is no list of texts; write [first, second]")


def _item(row: dict[str, Value], data: dict[str, Any]) -> Item:
    derived = {key: template.render(text, row) for key, text in data.get("forms", {}).items()}
    phrasings = tuple(
        Phrasing(id=f"p{position}", values={"question": template.render_text(text, row)})
        for position, text in enumerate(data["phrasings"], start=1)
    )
    return Item(id=str(row["id"]), values={**row, **derived}, phrasings=phrasings)


def _cues(report: Report, digest: str) -> CueFamily:
    data = report.data
    forms = data["forms"]
    _doubles(report, [(("forms", index, "id"), form["id"]) for index, form in enumerate(forms)])
    _doubles(report, [(("forms", index, "text"), form["text"]) for index, form in enumerate(forms)])
    with_dose = [index for index, form in enumerate(forms) if "dose" in form]
    for index, form in enumerate(forms):
        if template.malformed(form["text"]):
            report.add(("forms", index, "text"), "braces that are no variable; write {{ name }}")
        if with_dose and "dose" not in form:
            report.add(
                ("forms", index), "this form has no dose and others have; give every form one, or none", key=True
            )
        if "cue" in form.get("values", {}):
            report.add(
                ("forms", index, "values", "cue"), "`cue` is the text of the form; choose another name", key=True
            )
    if "null_for" in data:
        _null_family(report, forms)
    report.stop()
    built = tuple(
        CueForm(
            id=form["id"], values={"cue": form["text"], **form.get("values", {})},
            register=form.get("register", ""), dose=float(form["dose"]) if "dose" in form else None,
            held_out=form.get("held_out", False),
        )
        for form in forms
    )  # fmt: skip
    return CueFamily(forms=built, null_for=data.get("null_for", ""), path=report.path, digest=digest)


def _null_family(report: Report, forms: list[dict[str, Any]]) -> None:
    if len(forms) < NULL_FORMS:
        message = f"a null family of {len(forms)} forms; write at least {NULL_FORMS}: a rank among K null cues"
        report.add(("forms",), f"{message} shows no less than 1/(K+1)", key=True)
    for index, form in enumerate(forms):
        if "register" not in form:
            message = "a null cue without a register; add `register: same` (the style of the cues) or `register: other`"
            report.add(("forms", index), message)
    same = sum(form.get("register") == "same" for form in forms)
    if 2 * same < len(forms):
        message = f"{same} of {len(forms)} null cues have the register of the cues; at least half must be `same`"
        report.add(("forms",), message, key=True)
