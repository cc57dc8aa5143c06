"""What can be said about a grader without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import graders
from harness.loader.report import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.loader.report import DataPath, Report

TEXTS = ("contains", "equals", "starts_with", "answer", "not_answer")
MAX_PATTERN_MEMORY = 8 << 20


def walk(at: DataPath, grader: Mapping[str, Any]) -> Iterator[tuple[DataPath, Mapping[str, Any]]]:
    """Yield a grader and every grader inside it, with its path."""
    yield at, grader
    if "not" in grader:
        yield from walk((*at, "not"), grader["not"])
    for word in ("any", "all"):
        for index, inner in enumerate(grader.get(word, ())):
            yield from walk((*at, word, index), inner)


def templates(at: DataPath, grader: Mapping[str, Any]) -> Iterator[tuple[DataPath, str]]:
    """Yield every template in a grader, with its path."""
    for place, inner in walk(at, grader):
        for word in TEXTS:
            if word in inner:
                yield from listed((*place, word), inner[word])
        if "choice" in inner:
            yield from listed((*place, "choice", "options"), inner["choice"]["options"])
            yield (*place, "choice", "is"), inner["choice"]["is"]
        if isinstance(inner.get("number", {}).get("is"), str):
            yield (*place, "number", "is"), inner["number"]["is"]


def listed(at: DataPath, value: str | list[str]) -> Iterator[tuple[DataPath, str]]:
    """Yield the templates of a text or a list of texts."""
    if isinstance(value, str):
        yield at, value
    else:
        yield from (((*at, index), text) for index, text in enumerate(value))


def check(report: Report, at: DataPath, grader: Mapping[str, Any]) -> None:
    """Add what is wrong with the patterns, options and schemas of a grader."""
    for place, inner in walk(at, grader):
        if "matches" in inner:
            _pattern(report, (*place, "matches"), inner["matches"])
        if "json_schema" in inner:
            _json_schema(report, (*place, "json_schema"), inner["json_schema"])
        if "choice" in inner:
            _choice(report, (*place, "choice"), inner["choice"])
        number = inner.get("number", {}).get("is")
        if isinstance(number, str) and "{{" not in number:
            report.add((*place, "number", "is"), f"{shown(number)} is a text; write a number, or a template for one")
        if "ignore_case" in inner and not {*TEXTS, "matches", "choice"} & set(inner):
            message = "`ignore_case` means nothing beside this word; put it beside the word that compares texts"
            report.add((*place, "ignore_case"), message, key=True)
    if report.clean(*at):
        # What runs has the last word: a grader that it would refuse is refused here.
        for problem in graders.problems(grader):
            report.add(at, problem, key=True)


def _pattern(report: Report, at: DataPath, pattern: str) -> None:
    import re2  # noqa: PLC0415 - few suites need it

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else "unknown"
        why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        report.add(at, f"RE2 refuses the pattern: {why}; RE2 has no lookaround and no backreferences")


def _json_schema(report: Report, at: DataPath, schema: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - few suites need it

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        report.add((*at, *error.absolute_path), f"not a valid JSON Schema: {error.message}; mend it")
    for place, reference in _references(at, schema):
        if not isinstance(reference, str) or not reference.startswith("#"):
            message = (
                f"the $ref {shown(reference)} leads out of the file; copy the schema in and refer to `#/$defs/...`"
            )
            report.add(place, message)


def _references(at: DataPath, value: Any) -> Iterator[tuple[DataPath, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"$ref", "$dynamicRef"}:
                yield (*at, key), inner
            yield from _references((*at, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _references((*at, index), inner)


def _choice(report: Report, at: DataPath, choice: Mapping[str, Any]) -> None:
    options = choice["options"]
    if isinstance(options, str):
        if "{{" not in options:
            report.add((*at, "options"), "one text is no choice; write a list, or a template that stands for one")
    elif "{{" not in choice["is"] and not any("{{" in option for option in options) and choice["is"] not in options:
        report.add((*at, "is"), f"{shown(choice['is'])} is not among the options; options: {', '.join(options)}")
