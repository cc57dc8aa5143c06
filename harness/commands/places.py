"""Where case files lie, and what their paths are relative to."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError

SUFFIX = ".eval.yaml"
PYTEST_CONFIGURATION = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Files that make a folder pytest's root."""


def root_of(path: Path) -> Path:
    """Return the folder that paths in a case file are relative to: where pytest would be started."""
    path = path.resolve()
    marked = (folder for folder in path.parents if any((folder / name).is_file() for name in PYTEST_CONFIGURATION))
    here = Path.cwd().resolve()
    return next(marked, here if path.is_relative_to(here) else path.parent)


def case_files(paths: list[Path]) -> list[Path]:
    """Return the case files that `paths` name or hold, each once.

    Raises:
        UsageError: a path is not there, or none holds a case file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            msg = (
                f"{path}: there is no such file or folder; expected a *{SUFFIX} file or a folder of them; mend the path"
            )
            raise UsageError(msg)
        found += sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found or not all(path.name.endswith(SUFFIX) for path in found):
        msg = f"{', '.join(map(str, paths))}: no case file; expected names that end in {SUFFIX}; mend the path"
        raise UsageError(msg)
    return list(dict.fromkeys(found))
