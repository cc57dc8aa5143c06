"""Who may import whom, what stays cheap to import, and what must not be found anywhere in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness

if TYPE_CHECKING:
    from collections.abc import Iterator


PACKAGE = Path(harness.__file__).parent
ROOT = PACKAGE.parent
FLOORS = (
    (
        "errors",
        "canonical",
        "leaving",
        "credentials",
        "restricted",
        "plain",
        "shape",
        "escape",
        "console",
        "registry",
        "transforms",
        "prompt",
        "array",
        "inner",
        "request",
        "verdict",
    ),
    # engines.base and sweep.points are contracts alone: plain data and a protocol that rooms above and below may name.
    ("case", "template", "engines.base", "graders", "loader", "sweep.points"),
    ("transcript", "scoring", "asking", "script", "trie", "planner", "tally"),
    ("engines.digests", "organisms", "checkpoints", "engines", "store"),
    ("broker", "organisms.train", "tuning"),
    (
        "stats",
        "estimates",
        "paired",
        "power",
        "curtail",
        "scans",
        "information",
        "trend",
        "phase",
        "inside",
        "measures",
        "inside_guard",
        "checks",
        "numeric_inside",
        "numeric",
        "trend_check",
    ),
    (
        "figures",
        "exchange",
        "certify",
        "sealing",
        "record",
        "record_file",
        "plan_file",
        "policy",
        "gate",
        "baseline",
        "review",
        "writers",
        "exports",
        "sweep",
        "controls",
    ),
    (
        "progress",
        "provenance",
        "rescoring",
        "private",
        "telling",
        "session",
        "certification",
        "items",
        "reporting",
        "release",
        "guard",
        "plugin",
        "ladder",
        "commands",
        "cli",
    ),
)
"""Rooms by floor, the ground first. A room may use every floor below it, and the rooms before it on its own floor."""
ORDER = {room: place for place, room in enumerate(room for floor in FLOORS for room in floor)}
TORCH_ROOMS = ("harness.engines.transformers", "harness.organisms.train", "harness.tuning", "harness.controls")
HEAVY = ("torch", "transformers", "scipy", "statsmodels", "matplotlib", "sklearn", "ruptures", "ray")
MAX_LINES = 400

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module: str) -> str:
    """Return the room of a module: the longest entry of the plan that it lies in."""
    inside = module.removeprefix("harness.")
    rooms = [room for room in ORDER if inside == room or inside.startswith(f"{room}.")]
    if not rooms:
        pytest.fail(f"{module} has no place in FLOORS; give it one, here and in the docstring of harness/__init__.py")
    return max(rooms, key=len)


def imports_of(path: Path, *, hints: bool = True) -> set[str]:
    """Return the modules that a file imports, inside functions too; those for type hints alone only if `hints`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if not hints:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(inner for statement in node.body for inner in ast.walk(statement))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written out in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & MODULES.keys()
            found.update(submodules)
            if submodules != names:
                found.add(str(node.module))
    return found


def test_the_plan_of_rooms_is_the_one_in_the_docstring() -> None:
    """The plan of rooms is the one in the docstring."""
    written = re.findall(r"^    (\d)  (.+)$", harness.__doc__, re.MULTILINE)
    assert [int(number) for number, _ in written] == list(range(len(FLOORS)))
    for number, rooms in written:
        for room in rooms.split(", "):
            assert room.rstrip("/") in FLOORS[int(number)], f"{room} is on floor {number} in the docstring"


def test_every_room_of_the_plan_is_there() -> None:
    """Every room of the plan is there."""
    assert {room_of(module) for module in MODULES if module != "harness"} == set(ORDER)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "harness"])
def test_imports_go_down_or_sideways_within_a_room(module: str) -> None:
    """Imports go down or sideways within a room."""
    mine = room_of(module)
    wrong = [
        name
        for name in imports_of(MODULES[module])
        if name.partition(".")[0] == "harness" and (name == "harness" or ORDER[room_of(name)] > ORDER[mine])
    ]
    assert wrong == [], f"{module} (room {mine}) looks upstairs"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """No modules import each other in a circle."""
    graph = {module: imports_of(path, hints=False) & MODULES.keys() - {module} for module, path in MODULES.items()}
    while loose := [module for module, wanted in graph.items() if not wanted]:
        for module in loose:
            del graph[module]
        graph = {module: wanted - set(loose) for module, wanted in graph.items()}
    assert graph == {}, "these import each other in a circle, or one that does"


@pytest.mark.parametrize("module", MODULES)
def test_torch_and_transformers_live_in_three_rooms(module: str) -> None:
    """Torch and transformers live where models run and where they are trained."""
    heavy = {name.partition(".")[0] for name in imports_of(MODULES[module])} & {"torch", "transformers"}
    assert not heavy or module.startswith(TORCH_ROOMS)


@pytest.mark.parametrize("module", ["harness", "harness.plugin", "harness.broker", "harness.engines.scripted"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    """Importing it loads nothing heavy."""
    code = f"import sys, {module}; print(sorted({{n.partition('.')[0] for n in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_are_short() -> None:
    """Modules are short."""
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > MAX_LINES} == {}


LIVED_IN = {".git", ".venv", ".tells", "__pycache__", "build", "dist"}
"""Folders that no copy of the project carries."""
PLACES = re.compile(
    # Written apart, so that this file does not contain what it forbids.
    r"(?<![\w.\-/])/(?:wo" r"rk|ro" r"ot|home/\w+|Users/\w+|tmp/(?!\{))" r"(?:/|\b)|C" r"EO\b"
)


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every text file of the tree that the project carries."""
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT).parts
        lived_in = set(inside) & LIVED_IN or any(part.endswith(("_cache", ".egg-info")) for part in inside)
        written_by_runs = inside[0] == "reports" and inside[1:2] != ("example",)
        if (
            lived_in
            or written_by_runs
            or inside[0] in {".hypothesis", "shared"}
            or not path.is_file()
            or path.stat().st_size > 1 << 20
        ):
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    """No file names a place on somebody's machine."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if PLACES.search(line)
    ]
    assert found == []


def test_the_search_for_places_can_find_one() -> None:
    """The search for places can find one."""
    assert PLACES.search("see /wo" + "rk/main/x")
    assert PLACES.search("cd /ho" + "me/someone/x")
    assert not PLACES.search("a framework/work-flow, evals/home/x, https://host/work")
