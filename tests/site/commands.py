"""Reference pages of the command line and of pytest's options, from the parsers themselves."""

from __future__ import annotations

import argparse
import os
from typing import Any
from unittest import mock

from harness import plugin
from harness.cli import EPILOG, build_parser
from tests.site.markdown import cell, code, page, table

WIDTH = "80"
"""Columns of a help text, whatever the terminal."""


def pages() -> dict[str, str]:
    """Return the pages by the name of their file."""
    return {"cli.md": _cli(), "pytest.md": _pytest()}


def _cli() -> str:
    parser = build_parser()
    parts = [
        "As `tells --help` and `tells VERB --help` say it. What `plan` and `certify` do not know goes to pytest.",
        _help(parser),
    ]
    for name, verb in verbs(parser).items():
        parts += [f"## `tells {name}`", _help(verb)]
        for action, deeper in verbs(verb).items():
            parts += [f"### `tells {name} {action}`", _help(deeper)]
    return page("The command line", *parts, "## Exit codes", _codes())


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers below a parser by what is typed; none where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _help(parser: argparse.ArgumentParser) -> str:
    with mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}):
        text = parser.format_help()
    # The codes stand once, at the end of the page.
    return f"```text\n{text.partition('exit codes:')[0].strip()}\n```"


def _codes() -> str:
    words = EPILOG.removeprefix("exit codes: ").split(", ")
    rows = [[code(number), what] for number, _, what in (word.partition(" ") for word in words)]
    return table(("code", "meaning"), rows) + "\n\nWhich one is given when several apply: [reports](../reports.md)."


class Options:
    """Stands for pytest's parser and writes down what the plugin adds to it."""

    def __init__(self) -> None:
        """Nothing is added yet."""
        self.added: list[tuple[str, dict[str, Any]]] = []

    def getgroup(self, _name: str, _description: str = "") -> Options:
        """Return itself: all options are written down in one list."""
        return self

    def addoption(self, name: str, **about: Any) -> None:
        """Write an option down."""
        self.added.append((name, about))


def _pytest() -> str:
    options = Options()
    plugin.pytest_addoption(options)
    rows = []
    for name, about in options.added:
        value = about.get("metavar") or "|".join(about.get("choices", ()))
        rows.append([
            code(f"{name} {value}".strip()),
            "yes" if about.get("action") == "append" else "",
            code(str(about["default"])) if about.get("default") not in (None, []) else "",
            cell(about["help"]),
        ])  # fmt: skip
    marks = [[code(name), cell(what)] for name, what in plugin.MARKS.items()]
    letters = [[code(letter), verdict.value] for verdict, letter in plugin.LETTERS.items()]
    return page(
        "Options and marks of pytest",
        "`pytest PATHS --model SPEC` runs the `*.eval.yaml` files below PATHS; without `--model` it certifies them "
        "([certification](../certification.md)). pytest's own `-k`, `-m`, `-x`, `--lf`, `-n` work as everywhere; a "
        "narrower selection makes the run PARTIAL.",
        "## Options",
        table(("option", "repeatable", "default", "meaning"), rows),
        "## Marks",
        'For `-m`, as in `pytest evals --model SPEC -m "logits and critical"`.',
        table(("mark", "meaning"), marks),
        "## Letters",
        "What stands for a verdict in pytest's row of letters.",
        table(("letter", "verdict"), letters),
        "## Node ids",
        "`FILE::SUITE::CASE[MODEL]` on a model, `FILE::SUITE::certify[organism:NAME/ARM@seed=K]` where suites are "
        "certified.",
    )
