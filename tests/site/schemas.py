"""Reference pages of JSON files, from the schemas that read them and, for plan.json, from the class that holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.site.api import fields_of
from tests.site.markdown import cell, code, page, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

HARNESS = Path(__file__).resolve().parents[2] / "harness"
PAGES = {
    "run": ("run.json: the record of a run", "run.schema.json", "How to read one: [reports](../reports.md)."),
    "policy": (
        "policy.yaml: what a release requires", "policy/policy.schema.json",
        "What each key does at work: [policies and waivers](../policy.md).",
    ),
    "waivers": (
        "waivers.yaml: failures that are excused", "policy/waivers.schema.json",
        "When a waiver holds: [policies and waivers](../policy.md#a-waiver).",
    ),
    "sweep": (
        "NAME.sweep.yaml: a grid of trainings", "sweep/sweep.schema.json",
        "What is made of it: [sweeps](../sweeps.md). Trainers and their settings: [studies](../studies.md).",
    ),
    "ladder": (
        "NAME.ladder.yaml: mitigations and pressures", "ladder/ladder.schema.json",
        "How the table is read: [ladder](../ladder.md).",
    ),
    "tune": ("NAME.tune.yaml: a short training", "tuning/tune.schema.json", "How it is used: [tuning](../tuning.md)."),
    "recipe": (
        "recipe.yaml: an organism", "organisms/recipe.schema.json",
        "How to write one: [organisms](../organisms.md#writing-a-recipe).",
    ),
    "facts": (
        "Facts: fixtures/world/facts/NAME.yaml", "loader/facts.schema.json",
        "How suites use them: [case format](../case-format.md#world-files).",
    ),
    "cues": (
        "Cue families: fixtures/world/cues/NAME.yaml", "loader/cues.schema.json",
        "How suites use them: [case format](../case-format.md#world-files).",
    ),
    "certificate": (
        "NAME.certificate.json: what a suite was shown to catch", "certify/certificate.schema.json",
        "What its numbers say: [certification](../certification.md).",
    ),
    "review": (
        "review.yaml: who cleared what for whom", "review.schema.json",
        "When one is asked for: [restricted suites](../restricted.md).",
    ),
}  # fmt: skip
"""Name of the page -> title, schema below harness/, where to read on."""


def pages() -> dict[str, str]:
    """Return the pages by the name of their file."""
    made = {f"{name}.md": _page(*what) for name, what in PAGES.items()}
    return made | {"plan.md": _plan()}


def _page(title: str, path: str, on: str) -> str:
    schema = json.loads((HARNESS / path).read_text(encoding="utf-8"))
    parts = [f"{schema['description']} The schema is `harness/{path}`. {on}", _keys(schema, schema)]
    for name, definition in schema.get("$defs", {}).items():
        if definition.get("properties"):
            about = definition.get("description", "")
            parts += [f"## `{name}`", cell(about), _keys(definition, schema)]
        else:
            said = (cell(definition.get("description", "")), _kind(definition))
            parts += [f"## `{name}`", " ".join(filter(None, said))]
    return page(title, *parts)


def _keys(schema: dict[str, Any], root: dict[str, Any], above: str = "") -> str:
    """Return a table of the keys of an object, those of objects written inside it among them."""
    return shown(("key", "needed", "type", "meaning", "example"), _rows(schema, root, above))


def _rows(schema: dict[str, Any], root: dict[str, Any], above: str = "") -> list[list[str]]:
    rows = []
    for key, written in schema.get("properties", {}).items():
        told = {**_follow(written, root), **written}
        examples = told.get("examples", [])
        rows.append([
            code(above + key),
            "yes" if key in schema.get("required", ()) else "",
            _kind(written),
            cell(told.get("description", "")),
            code(json.dumps(examples[0], ensure_ascii=False)) if examples else "",
        ])  # fmt: skip
        for mark, inner in _inside(written):
            rows += _rows(inner, root, f"{above}{key}{mark}")
    return rows


def _inside(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects that are written inside a value, each with how its keys are named."""
    if isinstance(schema, bool):  # anything, or nothing
        return
    if "items" in schema:
        for mark, inner in _inside(schema["items"]):
            yield f"[]{mark}", inner
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _inside(branch)
    if "properties" in schema:
        yield ".", schema


def _follow(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return root["$defs"][name] if name else {}


def _kind(schema: Any) -> str:
    """Return the type of a value in words; of a definition its name, with a link."""
    if isinstance(schema, bool):
        return ""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name})"
    if "const" in schema or "enum" in schema:
        return ", ".join(code(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(filter(None, map(_kind, branches))))
    if isinstance(kind := schema.get("type", ""), list):
        return " or ".join(kind)
    return _list(schema) or _names(schema) or kind + _range(schema)


def _list(schema: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {', '.join(_kind(item) or 'anything' for item in schema['prefixItems'])}"
    if schema.get("type") != "array":
        return ""
    items = _kind(schema.get("items", {}))
    return f"list of {items}" if items else "list"


def _names(schema: dict[str, Any]) -> str:
    values = schema.get("additionalProperties")
    return f"names to {_kind(values)}" if isinstance(values, dict) and "properties" not in schema else ""


def _range(schema: dict[str, Any]) -> str:
    said = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{word} {schema[key]:g}" for key, word in said.items() if key in schema]
    return f", {', '.join(found)}" if found else ""


def _plan() -> str:
    module = HARNESS / "plan_file.py"
    parts = []
    for name in ("PlanRecord", "PlannedSuite"):
        about, fields = fields_of(module, name)
        rows = [[code(field), code(kind), cell(what)] for field, kind, _, what in fields]
        parts += [f"## `{name}`", about, shown(("key", "type", "meaning"), rows)]
    return page(
        "plan.json: what a run set out to do",
        "Written and sealed before anything is asked, beside `run.json`. `tells verdict` reads both, and every "
        "difference shuts the gate. It has no schema file: `harness/plan_file.py` reads and writes it. "
        "Why there is one: [reports](../reports.md#the-plan).",
        *parts,
    )
