"""The page on exports cannot go stale: its commands and its code are run."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from harness.cli import main
from harness.exports import inspect_log, tables
from tests.exports.conftest import many
from tests.make_docs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

PAGE = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")


def test_the_commands_and_the_code_of_the_page(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(many(), "reports")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^tells (export .+)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        assert main(shlex.split(command)) == 0
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    capsys.readouterr()
    exec(code, {})  # noqa: S102 - our own page
    assert "leans" in capsys.readouterr().out


def test_the_page_names_every_table_and_the_version() -> None:
    assert all(f"| `{name}` |" in PAGE for name in tables.COLUMNS)
    assert f"Version {inspect_log.VERSION} of the log format" in PAGE
    [known] = re.findall(r"inspect-ai (\d[\d.]*\d)", inspect_log.__doc__ or "")
    assert f"inspect-ai {known}" in PAGE
