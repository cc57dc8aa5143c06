"""Find the files that a suite names, inside the root and nowhere else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from harness.errors import CaseFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.loader.report import DataPath, Report

MAX_DATA_BYTES = 8 << 20
_PACKAGE = Path(__file__).resolve().parent.parent
PACKAGED_WORLD = next(
    # A wheel carries the world inside the package; an editable install has it beside the package.
    (folder for folder in (_PACKAGE / "world_data", _PACKAGE.parent / "fixtures" / "world") if folder.is_dir()),
    _PACKAGE / "world_data",
)
WorldFolder = Literal["facts", "cues"]


def display(path: Path, root: Path) -> str:
    """Return `path` relative to `root` with forward slashes; the name of a packaged file begins with `harness/`."""
    for base in (root, root.resolve(), _PACKAGE.parent):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.as_posix()


def inside(path: Path, root: Path) -> bool:
    """Tell whether `path` lies below `root` once every link is followed."""
    return path.resolve().is_relative_to(root.resolve())


def locate(report: Report, at: DataPath, name: str, root: Path) -> Path | None:
    """Return the data file that `name` stands for, None (and a problem) where there is none inside the root."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or name.startswith("~"):
        report.add(at, f"the path {name!r} leaves the root; write it relative to the root, with forward slashes")
        return None
    path = root / pure
    if not inside(path, root):
        report.add(at, f"{name!r} is a link that leads out of the root; copy the file into the root")
        return None
    if not path.is_file():
        there = _siblings(path.parent) if path.parent.is_dir() else ()
        hint = f"beside it: {', '.join(there)}" if there else "the path counts from the root, where pytest is started"
        report.add(at, f"there is no file {name!r} below the root; {hint}")
        return None
    return path


def read_capped(path: Path, cap: int = MAX_DATA_BYTES) -> bytes:
    """Return the bytes of a file, one more than `cap` at most.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(cap + 1)


def read_inside(path: Path, root: Path, cap: int, *also: Path) -> tuple[str, bytes]:
    """Return the name of a file, for people, and its bytes.

    Args:
        path: The file.
        root: What it must lie below once every link is followed.
        cap: As of `read_capped`.
        also: Other folders that it may lie below.

    Raises:
        CaseFileError: it cannot be read, or lies outside.
    """
    name = display(path.absolute(), root)
    try:
        data = read_capped(path, cap)
    except OSError as error:
        message = f"cannot be read: {error.strerror}; check the path"
        raise CaseFileError((Problem(name, 1, 1, message),)) from error
    if not any(inside(path, folder) for folder in (root, *also)):
        message = f"the file lies outside the root {root.name!r}; move it below the root"
        raise CaseFileError((Problem(name, 1, 1, message),))
    return name, data


def world_file(folder: WorldFolder, name: str, root: Path) -> Path | None:
    """Return the world file `world/NAME`: the root's own, else the packaged one; None where there is neither."""
    stem = name.removeprefix("world/")
    for base in (root / "fixtures" / "world", PACKAGED_WORLD):
        path = base / folder / f"{stem}.yaml"
        if path.is_file() and (base == PACKAGED_WORLD or inside(path, root)):
            return path
    return None


def world_names(folder: WorldFolder, root: Path) -> tuple[str, ...]:
    """Return the names that `world_file` knows, sorted."""
    found: set[str] = set()
    for base in (root / "fixtures" / "world", PACKAGED_WORLD):
        found.update(f"world/{path.stem}" for path in (base / folder).glob("*.yaml"))
    return tuple(sorted(found))


def _siblings(folder: Path) -> Iterable[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())[:8]
