"""Items from their sources: facts of the world, rows in the file, data files; sampled by seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from harness import canonical, template
from harness.canonical import derive_seed
from harness.case import Item, Phrasing, Value
from harness.errors import CaseFileError, UsageError
from harness.loader import secret
from harness.loader.datafile import MAX_PROBLEMS, Row, read_rows
from harness.loader.files import display, locate, read_capped, world_names
from harness.loader.report import DataPath, Report, near, shown
from harness.loader.validate import found
from harness.loader.world import ID, MAX_ID, load_facts, with_accepts

if TYPE_CHECKING:
    from harness.loader.draft import Draft

_FILE_ONLY = ("fields", "lists", "id")


def read_items(draft: Draft) -> tuple[Item, ...]:
    """Return the items of all sources in order; problems go to the draft."""
    given = draft.data["given"]["items"]
    several = isinstance(given, list)
    items: list[Item] = []
    first: dict[str, DataPath] = {}
    for number, source in enumerate(given if several else [given]):
        at: DataPath = ("given", "items", number) if several else ("given", "items")
        if not draft.report.clean(*at):
            continue
        found = _source(draft, at, source, number)
        draft.read += [item for item, _ in found]
        for item, place in _sample(draft, at, source, found):
            if item.id in first:
                line = draft.report.place(first[item.id])[0]
                what = f"the item id {item.id!r} stands here a second time"
                draft.report.add(place, f"{what}; the first is in line {line}, rename one")
            first.setdefault(item.id, place)
            items.append(item)
    return secret.without_ids(items) if secret.is_restricted(draft) else tuple(items)


Placed = list[tuple[Item, "DataPath"]]


def _source(draft: Draft, at: DataPath, source: dict[str, Any], number: int) -> Placed:
    for key in _FILE_ONLY:
        if key in source and "file" not in source:
            draft.report.add((*at, key), f"the key {key!r} belongs to a `file`; take it out", key=True)
    prefix = f"s{number + 1}-" if number else ""
    if "facts" in source:
        return _facts(draft, at, source["facts"])
    if "rows" in source:
        return _rows(draft, at, source["rows"], prefix)
    if "restricted" in source:
        return _restricted(draft, at, source["restricted"], prefix)
    return _file(draft, at, source, prefix)


def _sample(draft: Draft, at: DataPath, source: dict[str, Any], items: Placed) -> Placed:
    wanted = source.get("sample")
    if "seed" in source and wanted is None:
        draft.report.add((*at, "seed"), "a seed without a sample; add `sample`, or take the seed out", key=True)
    if wanted is None or not items:
        return items
    if wanted > len(items):
        message = f"a sample of {wanted}, and the source has {len(items)} items; write at most {len(items)}"
        draft.report.add((*at, "sample"), message)
        return items
    name = source.get("facts") or source.get("file") or source.get("restricted", {}).get("file") or "rows"
    generator = random.Random(derive_seed(source.get("seed", 0), name))  # noqa: S311 - a design, not a secret
    return [items[index] for index in sorted(generator.sample(range(len(items)), wanted))]


def _facts(draft: Draft, at: DataPath, name: str) -> Placed:
    try:
        facts = load_facts(name, draft.root)
    except CaseFileError as error:
        draft.foreign(error, (*at, "facts"))
        return []
    if facts is None:
        known = world_names("facts", draft.root)
        hint = near(name, known) if known else "put their file into fixtures/world/facts below the root"
        draft.report.add((*at, "facts"), f"there are no facts {name!r}; {hint}")
        return []
    draft.files[facts.path] = facts.digest
    return [(item, (*at, "facts")) for item in facts.items]


def _rows(draft: Draft, at: DataPath, rows: list[dict[str, Any]], prefix: str) -> Placed:
    items: Placed = []
    for index, row in enumerate(rows):
        place = (*at, "rows", index)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        for key, value in values.items():
            if any("{{" in text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)):
                message = f"braces in the value of {key!r}; items hold no templates, write the text out"
                draft.report.add((*place, key), message)
        items.append((_item(row.get("id") or f"{prefix}r{index + 1:03}", values), place))
    return items


def _restricted(draft: Draft, at: DataPath, source: dict[str, str], prefix: str) -> Placed:
    at = (*at, "restricted")
    if not secret.is_restricted(draft):
        draft.report.add(at, "restricted items in a suite that is not; write `hazard: restricted`", key=True)
        return []
    try:
        rows = secret.read_rows(source["file"], source["hmac"], draft.root)
    except CaseFileError as error:
        draft.foreign(error, (*at, "file"))
        return []
    except UsageError as error:
        draft.report.add(at, str(error), key=True)
        return []
    # The tag and no plain digest: a short file can be guessed, and the digest of the suite is told to everybody.
    draft.files[secret.SCHEME + source["file"]] = source["hmac"]
    return [(_item(name or f"{prefix}r{place:03}", values), at) for place, (name, values) in enumerate(rows, start=1)]


def _item(name: str, values: dict[str, Value]) -> Item:
    return Item(id=name, values=with_accepts({**values, "id": name}), phrasings=(Phrasing(id="p1", values={}),))


def _file(draft: Draft, at: DataPath, source: dict[str, Any], prefix: str) -> Placed:
    path = locate(draft.report, (*at, "file"), source["file"], draft.root)
    if path is None:
        return []
    foreign = Report(display(path, draft.root))
    try:
        data = read_capped(path)
        rows = read_rows(foreign, path, data)
    except OSError as error:
        draft.report.add((*at, "file"), f"cannot be read: {error.strerror}; check the file's permissions")
        return []
    except CaseFileError as error:
        draft.foreign(error, (*at, "file"))
        return []
    draft.files[foreign.path] = canonical.digest(data)
    columns = _columns(draft.report, at, source, rows)
    items: Placed = []
    for number, (line, row) in enumerate(rows, start=1):
        values = {
            variable: _cell(foreign, source, (line, row), variable, column) for variable, column in columns.items()
        }
        name = _name(foreign, source, line, row) if "id" in source else f"{prefix}r{number:03}"
        items.append((_item(name, values), (*at, "file")))
        if len(foreign.problems) >= MAX_PROBLEMS:
            break
    if foreign.problems:
        draft.foreign(CaseFileError(foreign.problems), (*at, "file"))
    return items


def _columns(report: Report, at: DataPath, source: dict[str, Any], rows: list[Row]) -> dict[str, str]:
    """Return variable -> column, each column known to some row."""
    known = dict.fromkeys(column for _, row in rows for column in row)
    wanted: dict[str, str] = source.get("fields") or {column: column for column in known if column != source.get("id")}
    usable: dict[str, str] = {}
    for variable, column in wanted.items():
        if column not in known:
            where = (*at, "fields", variable)
            report.add(where, f"the file has no column {shown(column)}; {near(column, known)}")
        elif not template.VARIABLE.fullmatch(f"{{{{{variable}}}}}"):
            message = f"the column {shown(column)} is no variable name; name the columns under `fields`"
            report.add((*at, "file"), f"{message}, as in `fields: {{question: {column}}}`")
        else:
            usable[variable] = column
    for variable in source.get("lists", ()):
        if variable not in wanted:
            report.add((*at, "lists", variable), f"no variable {variable!r}; {near(variable, wanted)}", key=True)
    if "id" in source and source["id"] not in known:
        report.add((*at, "id"), f"the file has no column {shown(source['id'])}; {near(source['id'], known)}")
    return usable


def _cell(foreign: Report, source: dict[str, Any], placed: Row, variable: str, column: str) -> Value:
    line, row = placed
    value = row.get(column)
    if variable in source.get("lists", ()) and isinstance(value, str):
        value = [part.strip() for part in value.split(source["lists"][variable]) if part.strip()]
    if isinstance(value, list) and value and all(isinstance(text, str) and text for text in value):
        return tuple(value)
    if isinstance(value, str | int | float) and value != "":
        return value
    if column not in row:
        foreign.add_at(line, 1, f"missing field {shown(column)}; {near(column, row)}")
    else:
        what = "an empty value" if value in ("", None, []) else f"{found(value)}, expected text or a list of texts"
        foreign.add_at(line, 1, f"{what} in {shown(column)}; fill it, or leave the column out of `fields`")
    return ""


def _name(foreign: Report, source: dict[str, Any], line: int, row: dict[str, Any]) -> str:
    name = str(row.get(source["id"], ""))
    if not ID.fullmatch(name) or len(name) > MAX_ID:
        what = f"{shown(name)} in {shown(source['id'])} is no id"
        foreign.add_at(line, 1, f"{what}; write small letters and digits with single hyphens between")
    return name
