"""Write every generated page again: `python -m tests.make_docs`. Tests compare what is committed with it."""

from __future__ import annotations

from pathlib import Path

from harness.loader.reference import insert
from harness.record_file import read_record
from harness.writers import write_all
from tests.evals import mutants
from tests.loader import malformed_docs
from tests.site import api, commands, schemas

ROOT = Path(__file__).resolve().parent.parent
CASE_FORMAT = ROOT / "docs" / "case-format.md"
EXAMPLE = ROOT / "reports" / "example"
REFERENCE = ROOT / "docs" / "reference"


def example(folder: Path) -> None:
    """Write the example report from its record into `folder`."""
    write_all(read_record(EXAMPLE / "run.json"), folder, ("markdown", "html", "release", "statement"))


def reference() -> dict[str, str]:
    """Return the reference pages by the name of their file in `docs/reference`."""
    return {**commands.pages(), **schemas.pages(), **api.pages()}


def main() -> None:
    """Write all pages."""
    CASE_FORMAT.write_text(insert(CASE_FORMAT.read_text(encoding="utf-8")), encoding="utf-8")
    malformed_docs.main()
    mutants.main()
    REFERENCE.mkdir(exist_ok=True)
    for name, text in reference().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    example(EXAMPLE)


if __name__ == "__main__":
    main()
