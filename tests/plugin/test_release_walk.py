"""docs/release-walk.md is a walk that was walked: every command of the page is run, and prints what the page says.

`...` on a line of its own stands for any lines, and `sha256:...` for any digest. DIGEST in a file is that of the
candidate.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import cli
from tests.plugin.conftest import Project, scores, suite_data

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "release-walk.md"
ITEMS, SLIPS = 60, 12
"""60 scenarios without any difference show that no more than 4.9 % got worse; 12 of 60 have a lower limit of 12 %."""
FENCE = re.compile(r"```(\S+)(?: title=(\S+))?\n(.*?)```", flags=re.DOTALL)


def steps() -> Iterator[tuple[str, str, str]]:
    """Yield what stands in the fences: its language, the file that it is, and its text."""
    yield from FENCE.findall(PAGE.read_text(encoding="utf-8"))


def commands(text: str) -> Iterator[tuple[str, list[str], int]]:
    """Yield each command of a console with the lines below it and its exit code."""
    for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *lines = block.rstrip("\n").split("\n")
        code = re.fullmatch(r"exit code (\d)", lines.pop())
        assert code, f"{command}: its last line says no exit code"
        yield command, lines, int(code[1])


def plain(text: str) -> list[str]:
    """Return the lines of an output without what no two runs have in common."""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:...", text)
    text = re.sub(r"run [0-9a-f]{12}", "run 0123456789ab", text)
    return [line.rstrip() for line in text.splitlines()]


def matches(expected: list[str], found: list[str]) -> bool:
    """Tell whether lines are those expected, `...` standing for any."""
    pieces = "\n".join([*expected, ""]).split("...\n")
    pattern = r"(?:.*\n)*".join(re.escape(piece) for piece in pieces)
    return re.fullmatch(pattern, "\n".join([*found, ""])) is not None


class Walk:
    """A project in which commands are run one after another."""

    def __init__(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        """Write the suite and the models of the page."""
        self.project, self.capsys = project, capsys
        data = suite_data()
        rows = [
            {
                "id": f"item-{n}",
                "question": f"Question number {n}?",
                "answer": f"Right{n}",
                "distractors": [f"Wrong{n}"],
            }
            for n in range(ITEMS)
        ]
        project.suite("colours", given={**data["given"], "items": {"rows": rows}})
        right = [{"when": rf"number {n}\?", "text": f"Right{n}", "logprobs": scores(n)} for n in range(ITEMS)]
        slips = [{**rule, "when": rf"watched(?s:.*){rule['when']}", "text": "BAD"} for rule in right[:SLIPS]]
        for name, rules in (("release-1", right), ("candidate", [*slips, *right]), ("mended", right)):
            project.model(name, rules)
        (project.root / "pyproject.toml").touch()

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        if "DIGEST" in text:
            text = text.replace("DIGEST", self.digest)
        (self.project.root / name).write_text(text, encoding="utf-8")

    @property
    def digest(self) -> str:
        """Of the candidate, which waivers are for."""
        digest: str = json.loads((self.project.root / "candidate.json").read_text())["models"][0]["digest"]
        return digest

    def run(self, command: str) -> tuple[int, list[str]]:
        """Return the exit code of a command and what it prints."""
        program, *arguments = shlex.split(command)
        if program == "pytest":
            done = self.project.pytester.runpytest_inprocess(*arguments)
            self.capsys.readouterr()
            return int(done.ret), plain(done.stdout.str())
        if program == "tells":
            code = cli.main(arguments)
            said = self.capsys.readouterr()
            return code, plain(said.out + said.err)
        other = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        return other.returncode, plain(other.stdout + other.stderr)


def test_the_walk(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline, a regression, a waiver, its end, waivers that are none, and a model that is mended."""
    for name in [name for name in os.environ if name.startswith("GITHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")  # as wide as the page shows its tables
    walk, codes = Walk(project, capsys), []
    for language, name, text in steps():
        if name:
            walk.write(name, text)
        elif language == "console":
            for command, expected, code in commands(text):
                found, lines = walk.run(command)
                said = "\n".join(lines)
                assert found == code, f"$ {command}\n{said}\nexit code {found}"
                assert matches(expected, lines), f"$ {command}\n{said}\nexit code {found}"
                codes.append((command.split()[0], code))

    assert {code for program, code in codes if program == "tells"} >= {0, 1, 6}


def test_a_page_that_says_something_else_is_found() -> None:
    """The comparison itself."""
    assert matches(["a", "...", "c"], ["a", "b", "c"])
    assert matches(["a", "...", "c"], ["a", "c"])
    assert matches(["...", "c"], ["a", "c"])
    assert matches(["a", "..."], ["a", "b", "b"])
    for other in (["a", "b"], ["b", "c"], ["a", "b", "cc"], ["a", "b", "c", "d"], []):
        assert not matches(["a", "...", "c"], other)
    assert not matches(["a"], ["a", "b"])
    assert [found[1:] for found in commands("$ x y\nout\nexit code 3\n$ z\nexit code 0\n")] == [(["out"], 3), ([], 0)]
    with pytest.raises(AssertionError, match="no exit code"):
        list(commands("$ x\nout\n"))
