"""Items of a restricted suite: read from outside the repository, verified before they are parsed, never quoted.

    restricted: {file: bio/items.yaml, hmac: "hmac-sha256:..."}

The file lies below the folder that `TELLS_RESTRICTED` names. It holds `items`, each a mapping of variables, and
`common`, variables that all of them have: texts of conditions, messages or graders can be restricted by standing there.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from harness import restricted
from harness.case import texts_of
from harness.errors import CaseFileError, Problem, UsageError, Withheld
from harness.loader.files import inside
from harness.loader.reader import MAX_BYTES, read_yaml
from harness.loader.report import Report
from harness.loader.world import ID, MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.case import Item, Value
    from harness.loader.draft import Draft
    from harness.loader.report import DataPath

SCHEME = "restricted:"
KEYS = frozenset({"items", "common"})
SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNCLOSED = re.compile(r"(?<!\w)(['\"`])[^\n]*?…")

Rows = list[tuple[str, "dict[str, Value]"]]
"""Id, empty where none was given, and variables."""


# --- the file


def read_rows(name: str, seal: str, root: Path) -> Rows:
    """Return the items of a restricted file.

    Args:
        name: The file, below the folder.
        seal: The HMAC that its bytes must have.
        root: Of the suite: folder and file must lie outside of it and of the repository that it is in.

    Raises:
        UsageError: folder, key or file cannot be used, or the HMAC is another one.
        CaseFileError: the file holds no items; lines alone are said.
    """
    data = read_bytes(name, root)
    found = restricted.seal(data)
    if not hmac.compare_digest(found, seal):
        msg = f"the HMAC is not that of the file; expected {found}; paste it if the change is meant, else find out why"
        raise UsageError(msg)
    return parse(data, name)


def read_bytes(name: str, root: Path) -> bytes:
    """Return the bytes of a restricted file, which lies where nobody else looks.

    Raises:
        UsageError: folder or file cannot be used.
    """
    base = folder_outside(root)
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or name.startswith("~") or "\0" in name:
        msg = f"the path leaves {restricted.FOLDER}; expected one below it with forward slashes; mend the path"
        raise UsageError(msg)
    if pure.suffix not in SUFFIXES:
        msg = f"the file ends in {pure.suffix!r}; expected .yaml; rename it"
        raise UsageError(msg)
    try:
        path = (base / pure).resolve(strict=True)
        if not path.is_relative_to(base) or path != base / pure:
            msg = f"a link stands on its path; expected a file below {restricted.FOLDER} itself; copy it there"
            raise UsageError(msg)
        data = restricted.read_private(path, MAX_BYTES, "the restricted file")
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "a circle of links"
        msg = f"it cannot be read below {restricted.FOLDER} ({why}); expected a file there; mend path or variable"
        raise UsageError(msg) from None
    if len(data) > MAX_BYTES:
        msg = f"more than {MAX_BYTES} bytes; expected fewer; split the suite"
        raise UsageError(msg)
    return data


def folder_outside(root: Path) -> Path:
    """Return the restricted folder, which lies outside of root and repository, and so does the key.

    Raises:
        UsageError: it is not named, cannot be used, or lies inside.
    """
    base = restricted.folder()
    if base is None:
        msg = f"{restricted.FOLDER} is not set; expected the absolute path of the folder that holds it; set it"
        raise UsageError(msg)
    for place in (root.resolve(), repository(root)):
        if place is not None and (base.is_relative_to(place) or place.is_relative_to(base)):
            msg = (
                f"{restricted.FOLDER} and the repository lie inside one another; expected restricted text apart from "
                "it, where no commit can take it along; move the folder"
            )
            raise UsageError(msg)
        named = restricted.key_path()
        if place is not None and named is not None and inside(named, place):
            msg = f"{restricted.KEY}: the key lies in the repository; expected it outside; move it, and make a new one"
            raise UsageError(msg)
    return base


def repository(root: Path) -> Path | None:
    """Return the work tree of git that `root` lies in."""
    here = root.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)


def parse(data: bytes, name: str) -> Rows:
    """Return the items in the bytes of a restricted file.

    Raises:
        CaseFileError: it holds no items; lines alone are said.
    """
    shown = SCHEME + name
    try:
        report = read_yaml(data, shown, noun="items")
    except CaseFileError as error:
        raise CaseFileError(_lines(error.problems, shown)) from None
    if report.problems:
        raise CaseFileError(_lines(report.problems, shown))
    quiet = Report(shown, report.root)
    rows = _rows(quiet)
    if quiet.problems:
        # Pointers are made of keys, and a key that is out of place can be anything.
        raise CaseFileError(tuple(dataclasses.replace(problem, pointer="$") for problem in quiet.problems))
    return rows


def _lines(problems: Iterable[Problem], shown: str) -> tuple[Problem, ...]:
    message = "this line is no plain YAML that means one thing (its text is not shown); put texts in quotes"
    return tuple(dict.fromkeys(Problem(shown, problem.line, problem.column, message) for problem in problems))


def _rows(report: Report) -> Rows:
    data = report.data
    if not isinstance(data, dict) or not isinstance(data.get("items"), list) or not data["items"]:
        report.add((), "expected a mapping with a list `items` that is not empty; write `items:` and rows below it")
        return []
    for key in data:
        if key not in KEYS:
            report.add((key,), "a key that is neither `items` nor `common`; take it out", key=True)
    common = data.get("common", {})
    if not isinstance(common, dict):
        report.add(("common",), "expected a mapping of variables; write `name: text` below it")
        return []
    _values(report, ("common",), common)
    first: set[str] = set()
    rows: Rows = []
    for index, row in enumerate(data["items"]):
        at: DataPath = ("items", index)
        if not isinstance(row, dict) or not row:
            report.add(at, "expected a mapping of variables; write `question: ...`")
            continue
        _values(report, at, row)
        name = row.get("id", "")
        if "id" in row and not (isinstance(name, str) and ID.fullmatch(name) and len(name) <= MAX_ID):
            report.add((*at, "id"), "no id; write small letters and digits with single hyphens between")
        elif name and name in first:
            report.add((*at, "id"), "an id that stands here a second time; rename one")
        first.add(str(name))
        values = {**common, **row}
        rows.append((str(name), {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}))
    return rows


def _values(report: Report, at: DataPath, row: dict[str, Any]) -> None:
    for key, value in row.items():
        if not _NAME.fullmatch(key) or (at == ("common",) and key == "id"):
            report.add((*at, key), "no name of a variable; write letters, digits and underscores", key=True)
        several = value if isinstance(value, list) else [value]
        if not several or not all(isinstance(one, str | int | float) and one != "" for one in several):
            report.add((*at, key), "expected text, a number or a list of texts; mend the value")
        elif isinstance(value, list) and not all(isinstance(one, str) for one in value):
            report.add((*at, key), "expected a list of texts; put its entries in quotes")
        elif any("{{" in one for one in several if isinstance(one, str)):
            report.add((*at, key), "braces in a value; items hold no templates, write the text out")


# --- what a restricted suite hides of itself


def check_places(draft: Draft) -> None:
    """Refuse a folder inside of the repository for every restricted suite: its answers are stored there too."""
    if restricted.FOLDER in os.environ:
        try:
            folder_outside(draft.root)
        except UsageError as error:
            draft.report.add(("hazard",), str(error))


def is_restricted(draft: Draft) -> bool:
    """Tell whether the file says that its suite is restricted."""
    return isinstance(draft.data, dict) and draft.data.get("hazard") == restricted.HAZARD


def without_ids(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items under tags in place of their ids, which go into every row, plan and report."""
    return tuple(
        dataclasses.replace(item, id=restricted.tag_of_id(item.id, place)) for place, item in enumerate(items, start=1)
    )


def quiet(problems: Iterable[Problem], draft: Draft, data: bytes) -> tuple[Problem, ...]:
    """Return problems of a restricted suite without quotations of anything but the case file itself."""
    written = data.decode("utf-8", "replace")
    texts = restricted.Texts(texts_of(draft.read))

    def clean(message: str) -> str:
        def kept(match: re.Match[str]) -> str:
            whole = match.group()
            return whole if whole[1:-1].rstrip("…") in written else restricted.placeholder(whole)

        message = restricted.QUOTED.sub(kept, _UNCLOSED.sub(kept, message))
        return restricted.placeholder(message) if texts.quoted_in(message) else message

    return tuple(dict.fromkeys(dataclasses.replace(problem, message=clean(problem.message)) for problem in problems))


def withheld(error: Exception) -> Withheld:
    """Return what stands for an exception that met restricted text on its way."""
    return Withheld(
        f"{restricted.crash(error)}; expected a case file that can be read; its message is withheld, mend the case file"
    )
