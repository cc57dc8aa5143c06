"""Write docs/malformed.md: `python -m tests.loader.malformed_docs`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.errors import CaseFileError
from harness.loader import load_suite

from .malformed_cases import MALFORMED, Malformed
from .small_world import GOOD, build

PAGE = Path(__file__).resolve().parents[2] / "docs" / "malformed.md"
HEAD = """\
# What the loader says to malformed case files

Made by `python -m tests.loader.malformed_docs`; a test compares it. Each entry is one edit of this file:

"""


def said(case: Malformed, root: Path) -> str:
    """Return all that the loader says to a malformed file below `root`."""
    path = root / "evals" / "small.eval.yaml"
    path.write_text(case.text, encoding="utf-8")
    try:
        load_suite(path, root)
    except CaseFileError as error:
        return str(error)
    msg = f"{case.name}: the file was accepted"
    raise AssertionError(msg)


def page(root: Path) -> str:
    """Return the page, the files being tried below `root`."""
    parts = [HEAD, f"```yaml\n{GOOD}```\n"]
    for case in MALFORMED:
        edits = "\n".join(_edit(old, new) for old, new in case.edits)
        parts.append(f"\n## {case.name}\n\n```diff\n{edits}\n```\n\n```text\n{said(case, root)}\n```\n")
    return "".join(parts)


def _edit(old: str, new: str) -> str:
    minus = [f"- {line}" for line in old.rstrip("\n").split("\n")]
    plus = [f"+ {line}" for line in new.rstrip("\n").split("\n") if line]
    return "\n".join([*minus, *plus])


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(build(Path(folder) / "root")), encoding="utf-8")


if __name__ == "__main__":
    main()
