"""Change what decides in small ways, one at a time, and see whether its tests notice.

What decides: verdicts, the seal of records and the plan of a run, the files of both, policies, waivers and the gate.

Mutants: comparisons turned and widened, constants changed, conditions negated, `and`/`or` swapped, returns and yields
of something else, statements dropped. Each runs in a forked child that has pytest and hypothesis loaded already, with
the changed module in place of the real one; nothing is written to the tree.

    python bench/mutate_gate.py [--only gate.py] [--first N] [--every K] [--seconds 60]

Prints every survivor. Exit code 0 when all that survive are in `EQUIVALENT`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import importlib
import importlib.abc
import importlib.util
import os
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
GATE = (
    ("tests/policy/test_gate_policy.py", "tests/policy/test_waivers.py", "tests/policy/test_policy_file.py",
     "tests/policy/test_verb.py"),
    ("tests/record/test_gate.py", "tests/policy/test_algebra.py"),
)  # fmt: skip
SEAL = (
    ("tests/record/test_seal.py", "tests/record/test_record_file.py", "tests/record/test_record.py"),
    ("tests/record/test_gate.py",),
)
PLAN = (("tests/record/test_plan_file.py",), ())


@dataclass(frozen=True)
class Target:
    """A module to change, and the tests that should notice."""

    name: str
    tests: tuple[tuple[str, ...], tuple[str, ...]]
    """Those that are asked first, and those that are asked only of what survives them."""
    parts: frozenset[str] = frozenset()
    """Functions to change; none named: the whole module."""

    @property
    def file(self) -> str:
        """Its path."""
        return f"{self.name.replace('.', '/')}.py"


TARGETS = (
    Target("harness.verdict", (("tests/record/test_verdict.py",), ())),
    Target("harness.sealing", SEAL),
    Target("harness.plain", SEAL),
    Target("harness.shape", SEAL),
    Target("harness.record", SEAL, frozenset({
        "to_json", "from_json", "item_to_json", "item_from_json", "results", "sealed", "_item_and_text", "seal",
        "seal_without_items", "disorder", "disorder_within", "_contradictions", "_read",
    })),
    Target("harness.record_file", SEAL),
    Target("harness.plan_file", PLAN),
    Target("harness.policy.waivers", GATE),
    Target("harness.policy.policy", GATE),
    Target("harness.policy.reader", GATE),
    Target("harness.gate", GATE),
)  # fmt: skip
FASTER = "a short cut: the long way gives the same"
EQUIVALENT = {
    "harness/sealing.py: key < LONG -> key <= LONG": "LONG itself was taken out before",
    "harness/sealing.py: 'utf-8' -> 'utf-8~'": "Python takes it for the same encoding",
    "harness/plain.py: for field in fields if field.type not in SHALLOW -> for field in fields": FASTER,
    "harness/plain.py: 'str' -> 'str~'": FASTER,
    "harness/plain.py: 'int' -> 'int~'": FASTER,
    "harness/plain.py: 'float' -> 'float~'": FASTER,
    "harness/plain.py: 'bool' -> 'bool~'": FASTER,
    "harness/plain.py: '' -> '~'": FASTER,
    "harness/plain.py: list(value) if LEAVES.issuperset(map(type, value)) else [to_plain(inner, later) for inner in "
    "value] -> [to_plain(inner, later) for inner in value]": FASTER,
    "harness/plain.py: operator.attrgetter(*self.names) if len(self.names) > 1 else ... alue, name) for name in "
    "self.names)) -> lambda value: tuple((getattr(value, name) for name in self.names))": FASTER,
    "harness/plain.py: 1 -> 2": FASTER,
    "harness/plain.py: True -> False": "names and values are of one length by construction",
    "harness/plain.py: 'type' -> 'type~'": "a hint for the type checker",
    "harness/record_file.py: False -> True": "a record with NaN has no seal, and is refused before",
    "harness/record_file.py: [text] if isinstance(text, str) else text -> text": "letter by letter it is the same text",
    "harness/record_file.py: 'utf-8' -> 'utf-8~'": "Python takes it for the same encoding",
    "harness/record_file.py: 300 -> 301": "how much of a message is quoted",
    "harness/shape.py: return False -> return None": "both are no, and nobody asks which",
    "harness/plan_file.py: not plan.digest or plan.digest != _seal(data) -> plan.digest != "
    "_seal(data)": "no seal is empty",
    "harness/plan_file.py: 1 -> 2": "white space",
    "harness/plan_file.py: False -> True": "a plan with NaN has no seal, and is refused before",
    "harness/plan_file.py: 'utf-8' -> 'utf-8~'": "Python takes it for the same encoding",
    "harness/policy/waivers.py: return False -> return None": "both are no, and nobody asks which",
    "harness/policy/reader.py: continue -> pass": "the last branch of the loop's only statement",
    "harness/policy/waivers.py: not mine or self.today is None -> not mine": "without a day no waiver is held",
}
"""`file: change` of mutants that no test can tell from the original -> why."""
TURNED = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip


class Mutant:
    """A change to a module, made only while it is compiled."""

    def __init__(self, file: str, tree: ast.Module, where: tuple[ast.AST, str, int | None], other: ast.AST) -> None:
        """Keep the tree, the place in it, and what shall stand there."""
        self.file, self.tree, self.where, self.other = file, tree, where, other
        node = self._held()
        self.line = getattr(node, "lineno", 0)
        self.change = f"{_short(ast.unparse(node))} -> {_short(ast.unparse(other))}"

    def _held(self) -> ast.AST:
        parent, field, place = self.where
        value = getattr(parent, field)
        found: ast.AST = value if place is None else value[place]
        return found

    def _put(self, node: ast.AST) -> None:
        parent, field, place = self.where
        if place is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[place] = node

    def code(self) -> Any:
        """Return the changed module, compiled."""
        before = self._held()
        self._put(ast.copy_location(self.other, before))
        try:
            return compile(ast.fix_missing_locations(self.tree), str(ROOT / self.file), "exec")
        finally:
            self._put(before)

    @property
    def key(self) -> str:
        """How `EQUIVALENT` calls it: no line numbers, which move."""
        return f"{self.file}: {self.change}"

    def __str__(self) -> str:
        """Show where it is."""
        return f"{self.file}:{self.line}: {self.change}"


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in place of an expression."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in TURNED.get(type(operator), ()):
                changed = copy.deepcopy(node)
                changed.ops[place] = other()
                yield changed
    elif isinstance(node, ast.BoolOp):
        changed = copy.deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield changed
        for place in range(len(node.values)):
            rest = node.values[:place] + node.values[place + 1 :]
            yield copy.deepcopy(rest[0]) if len(rest) == 1 else ast.BoolOp(op=node.op, values=copy.deepcopy(rest))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.IfExp):
        yield copy.deepcopy(node.body)
        yield copy.deepcopy(node.orelse)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.BitOr)):
        changed = copy.deepcopy(node)
        changed.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield changed if not isinstance(node.op, ast.BitOr) else copy.deepcopy(node.left)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool, str) and " " not in str(node.value):
        yield ast.Constant(value=_other(node.value))


def _other(value: float | str) -> float | str:
    if isinstance(value, bool):
        return not value
    return f"{value}~" if isinstance(value, str) else value + 1


def parents(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield every node with where it hangs: parent, field, place in the field's list."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, ast.AST):
                yield parent, field, None, value
            elif isinstance(value, list):
                yield from ((parent, field, place, one) for place, one in enumerate(value) if isinstance(one, ast.AST))


def passed_over(tree: ast.Module) -> set[int]:
    """Return ids of nodes that are no behaviour: docstrings, annotations, imports, decorators, type-checking blocks."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        hints = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if said or hints or isinstance(node, (ast.Import, ast.ImportFrom)):
            roots.append(node)
        elif isinstance(node, ast.FunctionDef):
            roots += [*node.decorator_list, *filter(None, [node.returns])]
        elif isinstance(node, ast.ClassDef):
            roots += node.decorator_list
        elif isinstance(node, ast.arg) and node.annotation:
            roots.append(node.annotation)
        elif isinstance(node, ast.AnnAssign):
            roots.append(node.annotation)
            if ast.unparse(node.annotation) == "TypeAlias":
                roots.append(node)
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal"):
            roots.append(node)
    return {id(inner) for root in roots for inner in ast.walk(root)}


def mutants(target: Target) -> list[Mutant]:
    """Return every mutant of a target, in the order of its lines."""
    tree = ast.parse((ROOT / target.file).read_text(encoding="utf-8"))
    skipped = passed_over(tree)
    if target.parts:
        others = [node for node in tree.body if getattr(node, "name", "") not in target.parts]
        skipped |= {id(inner) for node in others for inner in ast.walk(node)}
    found = [
        Mutant(target.file, tree, (parent, field, place), other)
        for parent, field, place, node in parents(tree) if id(node) not in skipped
        for other in _others(node, parent)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.line)


def _others(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    # The words of a message are nobody's behaviour (texts with a space neither); whether there is one is.
    if isinstance(parent, ast.JoinedStr) or isinstance(node, ast.JoinedStr):
        return
    yield from replacements(node)
    if isinstance(node, (ast.If, ast.While)):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
        yield changed
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield ast.Return(value=ast.Constant(value=None))
    elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Continue)):
        yield ast.Pass()
    elif isinstance(node, ast.comprehension) and node.ifs:
        changed = copy.copy(node)
        changed.ifs = []
        yield changed


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:60]} ... {line[-36:]}"  # noqa: PLR2004


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a tree."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        """Know which."""
        self.name, self.mutant = name, mutant

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002 - the protocol's
        """Answer for the one module alone."""
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(ROOT / self.mutant.file))

    def exec_module(self, module: Any) -> None:
        """Run the changed tree."""
        module.__file__ = str(ROOT / self.mutant.file)
        exec(self.mutant.code(), module.__dict__)  # noqa: S102 - what a mutant is


def survives(target: Target, mutant: Mutant | None, seconds: int) -> bool:
    """Run all tests of a target on a mutant of it; True when they all pass."""
    return all(_passes(target.name, mutant, tests, seconds) for tests in target.tests if tests)


def _passes(name: str, mutant: Mutant | None, tests: Sequence[str], seconds: int) -> bool:
    """Run tests on a mutant in a child; True when they all pass."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            forget(name)
            if mutant is not None:
                sys.meta_path.insert(0, Finder(name, mutant))
            import pytest  # noqa: PLC0415 - loaded by the parent

            # What is loaded already cannot be rewritten any more, and pytest would warn of it.
            options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "-o", "filterwarnings=", "--noconftest"]
            code = int(pytest.main([*options, *(str(ROOT / test) for test in tests)]))
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def forget(name: str) -> None:
    """Take a module, and all that import it at their top, out of what is loaded; so are the tests."""
    above = {name}
    known = {loaded: text for loaded in sys.modules if (text := _text(loaded))}
    while found := {
        loaded for loaded, text in known.items()
        # What registers under a name cannot be loaded again beside a registry that stayed.
        if loaded not in above and (_imports(text) & above or _package(loaded) & set(map(_top, above)))
    }:  # fmt: skip
        above |= found
    for loaded in [loaded for loaded in sys.modules if loaded in above or loaded.partition(".")[0] == "tests"]:
        del sys.modules[loaded]
        parent, _, own = loaded.rpartition(".")
        # `from harness import gate` looks at the package first.
        if hasattr(sys.modules.get(parent), own):
            delattr(sys.modules[parent], own)


REGISTERING = frozenset({"writers", "graders", "measures", "engines", "checks"})


def _top(name: str) -> str:
    """Return the package below `harness` that a module is of."""
    return ".".join(name.split(".")[1:2])


def _package(name: str) -> frozenset[str]:
    """Return the package of a module that is of one which registers its modules."""
    return frozenset({_top(name)}) & REGISTERING


@functools.cache
def _text(name: str) -> str:
    """Return the source of a module of the project."""
    file = getattr(sys.modules[name], "__file__", None) if name.partition(".")[0] == "harness" else None
    return Path(file).read_text(encoding="utf-8") if file else ""


@functools.cache
def _imports(text: str) -> frozenset[str]:
    """Return the modules that a source imports at its top, and names of them taken for modules."""
    found = re.findall(r"^(?: {4})?from (harness[\w.]*) import (\([^)]*\)|.*)", text, flags=re.MULTILINE)
    return frozenset(
        name for module, names in found for name in (module, *(f"{module}.{own}" for own in re.findall(r"\w+", names)))
    )


def preload() -> None:
    """Import everything once, so that the children have it."""
    for name in ("hypothesis.strategies", "jsonschema", "pytest", "harness.organisms.reader", "harness.record_file",
                 "harness.plan_file", "harness.cli", "tests.record_factory"):  # fmt: skip
        importlib.import_module(name)
    # On a busy machine slow examples say nothing of a mutant.
    checks = sys.modules["hypothesis"]
    checks.settings.register_profile("mutants", deadline=None, suppress_health_check=list(checks.HealthCheck))
    checks.settings.load_profile("mutants")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="part of a file name")
    parser.add_argument("--every", type=int, default=1, help="take every K-th mutant")
    parser.add_argument("--first", type=int, default=10**9, help="of each file, the first N of those")
    parser.add_argument("--after", type=int, default=0, help="pass over so many")
    parser.add_argument("--seconds", type=int, default=60, help="of CPU; a mutant that takes more counts as killed")
    given = parser.parse_args(arguments)
    os.chdir(ROOT)
    # The project's own plugin loads the gate.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(ROOT))
    preload()
    since, tried, alive = time.monotonic(), 0, []
    for target in TARGETS:
        if given.only not in target.file:
            continue
        if not survives(target, None, given.seconds):
            print(f"the tests of {target.file} fail without a mutant; mend them first")
            return 3
        here = mutants(target)[given.after :: given.every][: given.first]
        left = [mutant for mutant in here if survives(target, mutant, given.seconds)]
        for mutant in left:
            print(f"survived: {mutant}{' (equivalent)' if mutant.key in EQUIVALENT else ''}", flush=True)
        print(f"{target.file}: {len(here)} mutants, {len(here) - len(left)} killed", flush=True)
        tried, alive = tried + len(here), [*alive, *left]
    unknown = [mutant for mutant in alive if mutant.key not in EQUIVALENT]
    known, took = len(alive) - len(unknown), time.monotonic() - since
    print(f"{tried} mutants, {tried - len(alive)} killed, {known} equivalent, {len(unknown)} unknown; {took:.0f} s")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
