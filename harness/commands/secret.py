"""`tells restricted FILE`: the lines of a case file that name a restricted file, with its HMAC."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate, restricted
from harness.errors import UsageError

if TYPE_CHECKING:
    import argparse

ABOUT = "check a file of restricted items, and print the lines that name it in a case file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tells restricted`."""
    parser.add_argument("file", metavar="FILE", help=f"the file, below the folder that {restricted.FOLDER} names")


def run(options: argparse.Namespace) -> int:
    """Print `restricted:` with `file:` and `hmac:` and return 0.

    Raises:
        UsageError: folder, key or file cannot be used.
        CaseFileError: the file holds no items; lines alone are said.
    """
    from harness.loader import secret  # noqa: PLC0415 - brings YAML

    restricted.touch()
    root = Path.cwd()
    name = _name(options.file, secret.folder_outside(root))
    data = secret.read_bytes(name, root)
    rows = secret.parse(data, name)
    sys.stdout.write(f'# {len(rows)} items\nrestricted:\n  file: {name}\n  hmac: "{restricted.seal(data)}"\n')
    return gate.PASS


def _name(given: str, base: Path) -> str:
    """Return the path below the folder: of a path that leads there from here, else as given."""
    path = Path(os.path.normpath(Path.cwd() / given))
    if path.is_relative_to(base):
        return path.relative_to(base).as_posix()
    if Path(given).is_absolute():
        msg = f"{restricted.FOLDER}: the file does not lie below it; expected one that does; move it there"
        raise UsageError(msg)
    return given
