"""The progress of whole runs: on a pseudo-terminal one line that leaves nothing behind, in a log two lines."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.terminals import PLAIN_NAMES, SGR, environment, on_terminal, screen, stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tests.plugin.conftest import Project

    Ran: TypeAlias = Callable[..., tuple[int, str]]

HONEST, DECEIVER = "scripted:honest.script.yaml", "scripted:deceiver.script.yaml"
COLUMNS = 100
DRAWN = re.compile(r"\r +0% \| +\| 0/128 requests")


@pytest.fixture
def ran(project: Project, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Return how to run pytest in this process with both streams on a terminal."""
    for name in PLAIN_NAMES:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **changes: str) -> tuple[int, str]:
        with stream(COLUMNS) as (terminal, sent), monkeypatch.context() as patched:
            for name, value in {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), **changes}.items():
                patched.setenv(name, value)
            patched.setattr(sys, "stdout", terminal)
            patched.setattr(sys, "stderr", terminal)
            # Under fd, pytest would take hold of the descriptors of this process, which are no terminal.
            done = project.pytester.inline_run("evals", "--store", "none", "--capture=sys", *arguments)
        return int(done.ret), sent[0]

    return run


def shown(text: str) -> list[str]:
    """Return what is on the screen after a run."""
    return screen(text, COLUMNS)


def test_a_terminal_shows_the_line_and_then_nothing_of_it(project: Project) -> None:
    """Which model of how many; the lines of pytest are as they are without it. In a process of its own."""
    options = ("-p", "no:cacheprovider", "--store", "none", "--model", HONEST, "--model", DECEIVER, "-v", "--tb=no")
    command = [sys.executable, "-m", "pytest", "evals", *options]
    code, text = on_terminal(command, project.root, COLUMNS, environment())
    assert code == 1
    assert re.search(r"\rscripted:honest.script.yaml \(1 of 2\) +0% \| +\| 0/128 requests", text)
    assert "scripted:deceiver.script.yaml (2 of 2)" in text
    lines = shown(text)
    collected = next(at for at, line in enumerate(lines) if line.endswith("collected 6 items"))
    assert lines[collected + 1] == ""
    assert lines[collected + 2].startswith("evals/deception/colours.eval.yaml::colours::says-bad[scripted:honest")
    items = [line for line in lines if re.match(r"evals/.*\] (PASS|FAIL) +\[ *\d+%\]$", line)]
    assert len(items) == 6
    assert not [line for line in lines if "requests" in line]


def test_a_line_of_pytest_that_was_begun_is_kept(ran: Ran) -> None:
    """Under -x the model is asked after pytest wrote the name of the file."""
    code, text = ran("--model", HONEST, "-x")
    assert code == 0
    assert DRAWN.search(text)
    assert "\x1b[A\x1b[34C" in text
    found = [line for line in shown(text) if line.startswith("evals/deception")]
    assert [" ".join(line.split()) for line in found] == ["evals/deception/colours.eval.yaml ... [100%]"]
    assert not [line for line in shown(text) if "requests" in line]


@pytest.mark.parametrize("option", [("--color=no",), ()])
def test_colours_follow_pytest(ran: Ran, option: tuple[str, ...]) -> None:
    """Letters stay; the line itself never has any."""
    code, text = ran("--model", DECEIVER, "--tb=no", "-q", *option)
    assert code == 1
    assert bool(SGR.search(text)) is (not option)
    assert ("\x1b[31mF FAIL\x1b[0m" in text) is (not option)
    assert "F FAIL" in SGR.sub("", text)


def test_a_dumb_terminal_and_no_color(ran: Ran) -> None:
    """Lines in place of a line that moves, and no sequence at all."""
    code, text = ran("--model", DECEIVER, "--tb=no", "-q", TERM="dumb")
    assert code == 1
    assert "\x1b" not in text
    assert "tells: asking 128 requests, at most" in text
    code, text = ran("--model", DECEIVER, "--tb=no", "-q", NO_COLOR="1")
    assert code == 1
    assert "\x1b" not in text
    assert DRAWN.search(text)


def told(result: pytest.RunResult) -> list[str]:
    return [line for line in result.stderr.str().splitlines() if line.startswith("tells: ")]


def test_a_log_hears_of_it_on_standard_error(project: Project) -> None:
    """Beginning and end; a second run that asks nothing is one line."""
    first, again = (project.pytester.runpytest_inprocess("evals", "--model", HONEST, "-q") for _ in range(2))
    assert len(told(first)) == 2
    assert told(first)[0].startswith("tells: asking 128 requests, at most ")
    assert told(first)[1].startswith("tells: 128 requests asked in ")
    assert told(again) == ["tells: all 128 answers came from the store"]
    assert "tells: " not in first.stdout.str() + again.stdout.str()


@pytest.mark.parametrize("arguments", [("-q", "-q"), ("--quiet", "--quiet"), ("-qqq",), ("-p", "no:terminal")])
def test_quiet_is_quiet(project: Project, arguments: tuple[str, ...]) -> None:
    """Twice -q, or nobody who prints."""
    result = project.pytester.runpytest_inprocess("evals", "--model", HONEST, "--store", "none", *arguments)
    assert result.ret == 0
    assert told(result) == []


def test_what_items_ask_later_is_not_written_into_their_lines(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that asks again while its item runs: pytest would show it as the item's own output."""
    from harness.session import Run  # noqa: PLC0415 - only here

    before = Run.outcome

    def outcome(self: Run, ticket: object) -> object:
        self.progress.start(5, 5)
        self.progress.advance(5, 5, 5)
        self.progress.stop()
        return before(self, ticket)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "outcome", outcome)
    result = project.pytester.runpytest_inprocess("evals", "--model", DECEIVER, "-rA", "--store", "none")
    assert len(told(result)) == 2
    assert "5 requests" not in result.stdout.str() + result.stderr.str()
    assert "Captured stderr" not in result.stdout.str()


HOSTILE = (
    "\x1b[2J\x1b[31mred", "\x1b]8;;http://example.invalid\x07link\x1b]8;;\x07", "\x1b]0;title\x07", "cr\rover",
    "\x07\x08", "\u202eevil", "a\n::error::planted", "##vso[task.complete]", "::add-mask::x", "\x9b2J", "\x00",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "fail"])
def test_nothing_of_a_model_moves_the_cursor(project: Project, ran: Ran, kind: str) -> None:
    """Its name, its answers and its errors, with colours on: what is left without ours are line feeds."""
    said = list(HOSTILE) if kind == "text" else "\n".join(HOSTILE)
    project.model("x", [{"when": "watched", kind: said}, {"when": ".", "text": "Right"}])
    path = project.root / "x.script.yaml"
    path.write_text(path.read_text().replace("name: x\n", f"name: {json.dumps(''.join(HOSTILE))}\n"))
    code, text = ran("--model", "scripted:x.script.yaml", "-vv", "-rA", "--color=yes", "--tb=long")
    assert code == 1
    assert "\\x1b" in text
    shown = "\n".join(screen(text, 100_000))  # no sequence but colours and our own moves, or it raises
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert not re.search(r"^\s*::|##vso\[", shown, re.MULTILINE)
    assert not [found for found in SGR.findall(text) if found == "\x1b[2J"]
