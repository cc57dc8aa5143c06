"""The page on faults says what the code injects, and names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.faults import page
from tests.faults.boundaries import BOUNDARIES
from tests.faults.threats import THREATS

ROOT = Path(__file__).resolve().parents[2]


def named_in(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("threat", THREATS)
def test_every_threat_is_met_by_tests_that_are_there(threat: str) -> None:
    assert THREATS[threat]
    for name in THREATS[threat]:
        file, _, test = name.partition("::")
        assert test in named_in(ROOT / file), name


def test_the_page_has_a_row_for_every_boundary() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| \d", text, re.MULTILINE)
    assert [row for row in rows if row in {one.name for one in BOUNDARIES}] == [one.name for one in BOUNDARIES]


def test_the_page_says_thousands_of_faults_and_no_false_pass() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    found = re.search(
        r"Injected faults: ([\d,]+)\. False passes: (\d+)\. Lost answers: (\d+)\. Not resumed: (\d+)", text
    )
    assert found
    assert int(found[1].replace(",", "")) > 3000
    assert found.groups()[1:] == ("0", "0", "0")
    each = re.findall(r"^\| [^|]+ \| ([\d,]+) \|(?: [^|]+ \| [^|]+ \|)? (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert sum(int(count.replace(",", "")) for count, _, _ in each) == int(found[1].replace(",", ""))


def test_the_page_has_the_rest_as_the_code_writes_it() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.startswith(page.HEAD)
    assert text.endswith(page.threats())
