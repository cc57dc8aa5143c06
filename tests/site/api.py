"""The reference page of the Python interface, from the source: signatures and docstrings as they are written."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from typing import TYPE_CHECKING, TypeAlias

import harness
import harness.phase
from tests.site.markdown import cell, code, page, prose, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Definition: TypeAlias = "ast.ClassDef | ast.FunctionDef"
Field: TypeAlias = tuple[str, str, str, str]
"""Name, type, default as written (empty without one), docstring."""
ABOUT = (
    "Requests and answers of `harness`, calls of `harness.phase`, and the points where another package adds its own. "
    "All else is internal and may change."
)
ABOUT_POINTS = (
    "Each is a `Registry`. Inside a package register with the decorator; from another package name the module in the "
    "entry-point group `tells.KIND`, and importing it must run the decorator."
)
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$")
POINTS = {
    "engine": (
        "Turns a batch of requests into answers. How to add one: [engines](../how-to/add-an-engine.md).",
        "harness.engines.base:engine", ["Engine", "Streaming", "Identity", "Encoded", "EngineOptions"],
    ),
    "check": (
        "Turns the transcript of a case into numbers and a verdict. `from harness.measures.base import check`.",
        "harness.measures.base:check", ["Evidence"],
    ),
    "behaviour": (
        "A way for an organism to learn that is more than training rows.",
        "harness.organisms.train.behaviours:behaviour", ["Behaviour", "Context"],
    ),
    "writer": (
        "Writes a record in another format. An example: [reports](../reports.md#writing-another-format).",
        "harness.writers.base:writer", [],
    ),
    "trainer": (
        "Trains the points of a sweep. An example: [sweeps](../sweeps.md#a-trainer).",
        "harness.sweep.points:trainer", ["Trainer", "Point", "Trained"],
    ),
}  # fmt: skip
"""Kind of extension -> what it does, where its registry stands, and the classes of its contract in that module."""


def pages() -> dict[str, str]:
    """Return the page by the name of its file."""
    parts = [
        ABOUT,
        "## `harness`",
        "```python\n" + _imports("harness", harness.__all__) + "\n```",
        *(_entry(name, _defined("harness", name)) for name in _order(harness.__all__)),
        "## `harness.phase`",
        _module_doc("harness.phase"),
        *(_entry(name, _defined("harness.phase", name)) for name in _order(harness.phase.__all__)),
        "## Registration points",
        ABOUT_POINTS,
        _entry("Registry", _defined("harness.registry", "Registry")),
    ]
    for kind, (about, where, contract) in POINTS.items():
        module = where.partition(":")[0]
        parts += [f"### `{kind}`", f"{about} Registry: `{where.replace(':', '.')}`. Entry-point group: `tells.{kind}`."]
        parts += [_entry(name, _defined(module, name), level=4) for name in contract]
    return {"python.md": page("The Python interface", *parts)}


def fields_of(module: Path, name: str) -> tuple[str, list[Field]]:
    """Return the docstring of a class in a file, and its fields."""
    found = _find(ast.parse(module.read_text(encoding="utf-8")), name)
    assert isinstance(found, ast.ClassDef)
    return _doc(found), list(_fields(found))


def _order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name[0].isupper(), name))


def _imports(module: str, names: Iterable[str]) -> str:
    """One name a line, as the formatter wants it of the code in a page."""
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in sorted(names)), ")"])


def _module_doc(module: str) -> str:
    return _text(inspect.cleandoc(importlib.import_module(module).__doc__ or ""))


def _defined(module: str, name: str) -> Definition | ast.Assign | ast.AnnAssign:
    """Return where `name`, as `module` has it, is written down."""
    value = getattr(importlib.import_module(module), name)
    home = getattr(value, "__module__", module)
    if not str(home).startswith("harness"):
        home = module
    source = inspect.getsource(importlib.import_module(home))
    tree = ast.parse(source)
    if (found := _find(tree, name)) is not None:
        return found
    # A name for a type has no module of its own: it is where it is imported from.
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _defined(node.module or "", name)
    msg = f"{module}.{name}: nowhere defined"
    raise LookupError(msg)


def _find(tree: ast.Module, name: str) -> Definition | ast.Assign | ast.AnnAssign | None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _names(node):
            return node
    return None


def _names(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _entry(name: str, node: Definition | ast.Assign | ast.AnnAssign, level: int = 3) -> str:
    parts = [f"{'#' * level} `{name}`"]
    if isinstance(node, ast.FunctionDef):
        parts += [_signature(node), _doc(node)]
    elif isinstance(node, ast.ClassDef):
        parts.append(_doc(node))
        if fields := list(_fields(node)):
            rows = [[code(field), code(kind), code(default), cell(what)] for field, kind, default, what in fields]
            parts.append(shown(("field", "type", "default", "meaning"), rows))
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                parts += [_signature(method, owner=name), _doc(method)]
    else:
        written = ast.unparse(node).replace("'", '"')  # the formatter's quotes; none of these holds one within
        parts.append(f"```python\n{written}\n```")
    return "\n\n".join(part for part in parts if part)


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    following: list[ast.stmt | None] = [*node.body[1:], None]
    for field, after in zip(node.body, following, strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        name, default = ast.unparse(field.target), ast.unparse(field.value) if field.value is not None else ""
        if not name.startswith("_"):
            yield name, ast.unparse(field.annotation), default, _string(after)


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _signature(node: ast.FunctionDef, owner: str = "") -> str:
    marks = {ast.unparse(mark) for mark in node.decorator_list}
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if "property" in marks:
        return f"```python\n{owner}.{node.name}{returns}\n```"
    arguments = node.args
    if owner and "staticmethod" not in marks:
        arguments.args = arguments.args[1:]
    written = ast.unparse(arguments)
    name = f"{owner}.{node.name}" if owner else node.name
    if len(name) + len(written) + len(returns) > 100:
        pieces = [ast.unparse(piece) for piece in _split(arguments)]
        written = "\n" + "".join(f"    {piece},\n" for piece in pieces)
    return f"```python\n{name}({written}){returns}\n```"


def _split(arguments: ast.arguments) -> Iterator[ast.AST]:
    """Yield the arguments one by one, each with its default."""
    free = [None] * (len(arguments.args) - len(arguments.defaults))
    pairs: list[tuple[ast.arg, ast.expr | None]] = list(zip(arguments.args, [*free, *arguments.defaults], strict=True))
    for argument, default in pairs:
        yield _one(argument, default)
    if arguments.kwonlyargs:
        yield ast.Name(id="*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _one(argument, default)


def _one(argument: ast.arg, default: ast.expr | None) -> ast.AST:
    defaults = [default] if default is not None else []
    return ast.arguments(posonlyargs=[], args=[argument], kwonlyargs=[], kw_defaults=[], defaults=defaults)


def _doc(node: Definition) -> str:
    return _text(ast.get_docstring(node) or "")


def _text(docstring: str) -> str:
    """Return a Google docstring as Markdown."""
    lines: list[str] = []
    section = ""
    for line in docstring.splitlines():
        if found := SECTION.match(line):
            section = found[1]
            lines += ["", f"**{section}**", ""]
        elif section and line.startswith("    "):
            lines.append(_item(section, line))
        else:
            section = section if not line.strip() else ""
            lines.append(prose(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _item(section: str, line: str) -> str:
    deeper = line.startswith("     ")
    text = prose(line.strip())
    if deeper or section in {"Returns", "Yields"}:
        return f"  {text}" if deeper else text
    name, colon, rest = text.partition(": ")
    return f"- `{name}`: {rest}" if colon and " " not in name else f"- {text}"
