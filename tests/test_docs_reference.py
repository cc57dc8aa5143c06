"""Pages made from the code: what is committed is what it says now, and nothing is left out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import harness
import harness.phase
from harness import plugin
from harness.cli import VERBS, build_parser
from tests.make_docs import REFERENCE, ROOT, reference
from tests.site import api, commands, markdown, schemas

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

MADE = reference()
REGISTRY = re.compile(r"^\w+: Registry\[.*\] = Registry\(\"(\w+)\"\)", re.MULTILINE)


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_committed_page_is_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == MADE[name], "stale: run python -m tests.make_docs"


def test_no_page_lies_there_that_nothing_makes() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == set(MADE)


def test_every_schema_but_that_of_cases_has_a_page() -> None:
    found = {path.relative_to(schemas.HARNESS).as_posix() for path in schemas.HARNESS.rglob("*.schema.json")}

    # docs/case-format.md is the page of cases.
    assert found - {"loader/case.schema.json"} == {path for _, path, _ in schemas.PAGES.values()}


@pytest.mark.parametrize("name", sorted(schemas.PAGES))
def test_every_key_of_a_schema_is_on_its_page(name: str) -> None:
    schema = json.loads((schemas.HARNESS / schemas.PAGES[name][1]).read_text(encoding="utf-8"))
    told = {word.rpartition(".")[2] for word in re.findall(r"^\| `([^`]+)`", MADE[f"{name}.md"], flags=re.MULTILINE)}

    assert keys(schema) == told


def keys(schema: object) -> set[str]:
    """Return every key that objects of a schema have."""
    if isinstance(schema, list):
        return set().union(*map(keys, schema))
    if not isinstance(schema, dict):
        return set()
    here = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return here.union(*(keys(value) for key, value in schema.items() if key not in {"examples", "default", "enum"}))


def test_every_verb_and_every_option_is_on_the_page_of_the_command_line() -> None:
    page = MADE["cli.md"]

    assert [verb for verb in VERBS if f"## `tells {verb}`" not in page] == []
    for verb, parser in commands.verbs(build_parser()).items():
        section = page.partition(f"\n## `tells {verb}`\n")[2].partition("\n## ")[0]
        options = [name for action in parser._actions for name in action.option_strings]
        assert [name for name in options if name not in section] == [], verb


def test_the_width_of_the_terminal_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    assert commands.pages()["cli.md"] == MADE["cli.md"]


def test_an_option_that_is_new_changes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def longer() -> argparse.ArgumentParser:
        parser = build_parser()
        commands.verbs(parser)["verdict"].add_argument("--brand-new")
        return parser

    monkeypatch.setattr(commands, "build_parser", longer)

    assert commands.pages()["cli.md"] != MADE["cli.md"]


def test_every_option_and_mark_of_the_plugin_is_on_its_page() -> None:
    page = MADE["pytest.md"]
    options = commands.Options()
    plugin.pytest_addoption(options)

    assert [name for name, _ in options.added if f"`{name}" not in page] == []
    assert [mark for mark in plugin.MARKS if f"| `{mark}` |" not in page] == []


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = MADE["python.md"]

    for name in (*harness.__all__, *harness.phase.__all__, *api.POINTS):
        assert f"### `{name}`\n" in page, name


def test_every_registry_is_a_registration_point() -> None:
    found = {
        match
        for path in (ROOT / "harness").rglob("*.py")
        for match in REGISTRY.findall(path.read_text(encoding="utf-8"))
    }

    assert found == set(api.POINTS)


def test_docstrings_become_lists(tmp_path: Path) -> None:
    source = '''class Thing:
    """What it is.

    Args:
        first: of shape (a | b),
            in nats.

    Raises:
        ValueError: never <b>.
    """

    size: int = 3
    """In nats."""
    _hidden: int = 0
'''
    (tmp_path / "thing.py").write_text(source, encoding="utf-8")
    about, fields = api.fields_of(tmp_path / "thing.py", "Thing")

    assert about.splitlines() == [
        "What it is.", "", "**Args**", "", "- `first`: of shape (a | b),", "  in nats.", "", "**Raises**", "",
        "- `ValueError`: never &lt;b>.",
    ]  # fmt: skip
    assert fields == [("size", "int", "3", "In nats.")]


def test_cells_do_not_end_their_table() -> None:
    assert markdown.cell("a | b\n c <i> `<k>`") == "a \\| b c &lt;i> `<k>`"
    assert markdown.code("x | y") == "`x \\| y`"
