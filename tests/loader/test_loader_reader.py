"""The reader: nothing but CaseFileError comes out of it, quickly, and every place is right."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.errors import CaseFileError
from harness.loader import reader
from harness.loader.reader import MAX_ALIASES, MAX_DEPTH, read_yaml
from harness.loader.report import DataPath, Node, Report, pointer

from .small_world import GOOD

TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
SYNTAX = st.text(st.sampled_from("ab:-[]{},&*!|>'\"%@`#? \n\t~.019e<="), max_size=120)
LEAF = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
)
KEY = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4), max_leaves=20
)


def problems(data: bytes) -> tuple[list[str], bool]:
    """Return all messages about `data`, and whether it could be read at all."""
    try:
        return [str(problem) for problem in read_yaml(data, "f").problems], True
    except CaseFileError as error:
        return [str(problem) for problem in error.problems], False


def places(node: Node) -> list[tuple[int, int]]:
    """Return the place of every key and value."""
    found = [(node.line, node.column)]
    children = node.children or []
    for child in children.values() if isinstance(children, dict) else children:
        if isinstance(child, tuple):
            found.append(child[1:])
        found += places(child[0] if isinstance(child, tuple) else child)
    return found


@given(st.one_of(TEXT, SYNTAX).map(str.encode) | st.binary(max_size=60))
@example(b'"\\U00110000"')
@example(b"? [a]\n: b\n? {c: yes}\n: - d")
@example(b"&a [*a, *b]")
@example(b"%YAML 1.1\n--- !!map {a: b}\n...\n")
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_raise_nothing_else_and_places_lie_inside(data: bytes) -> None:
    """Whatever is fed in, problems lie within the file."""
    try:
        report = read_yaml(data, "f")
        spots = places(report.root) + [(problem.line, problem.column) for problem in report.problems]
    except CaseFileError as error:
        spots = [(problem.line, problem.column) for problem in error.problems]
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")

    assert all(1 <= line <= len(lines) and 1 <= column <= len(text) + 1 for line, column in spots)


@given(st.dictionaries(KEY, TREE, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_json_reads_as_itself(data: dict[str, object]) -> None:
    """JSON is YAML: what json.dumps writes comes back, floats in exponent form excepted by the strategy."""
    report = read_yaml(json.dumps(data, indent=1).encode(), "f")

    assert (report.data, report.problems) == (data, ())


@given(st.dictionaries(KEY, TREE, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_place_is_where_the_value_stands(data: dict[str, object]) -> None:
    """At the place of every text, the text begins."""
    written = json.dumps(data, indent=1)
    lines = written.split("\n")

    def check(value: object, path: DataPath, report: Report) -> None:
        line, column = report.place(path)
        assert lines[line - 1][column - 1 :].startswith(json.dumps(value)[:1])
        for key, inner in value.items() if isinstance(value, dict) else ():
            row, start = report.place((*path, key), key=True)
            assert lines[row - 1][start - 1 :].startswith(json.dumps(key))
            check(inner, (*path, key), report)
        for index, inner in enumerate(value if isinstance(value, list) else ()):
            check(inner, (*path, index), report)

    check(data, (), read_yaml(written.encode(), "f"))


def bomb() -> bytes:
    """Return a billion laughs."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 2)}]" for i in range(1, 12)]
    return "\n".join(lines).encode()


def wide_bomb() -> bytes:
    """Return few aliases that stand for much."""
    return ("a: &a [" + "x, " * 20_000 + "x]\nb: [*a, *a, *a, *a, *a, *a]\n").encode()


EVIL = {
    "bomb": (bomb(), f"more than {MAX_ALIASES} aliases"),
    "wide bomb": (wide_bomb(), "aliases counted"),
    "brackets": (b"[" * 3000, f"nested more than {MAX_DEPTH} deep"),
    "braces": (b"{a: " * 3000, f"nested more than {MAX_DEPTH} deep"),
    "block": ("\n".join(" " * i + "a:" for i in range(900)).encode(), f"nested more than {MAX_DEPTH} deep"),
    "keys": (b"{" * 3000, f"nested more than {MAX_DEPTH} deep"),
    "huge": (b"a: b\n" * 400_000, "bytes, more than"),
    "long list": (b"[" + b"1," * 300_000 + b"1]", "values, aliases counted"),
    "problems": (b"a: [" + b"yes, " * 5000 + b"no]", "problems up to here"),
    "aliased depth": (b"a: &a " + b"[" * 30 + b"]" * 30 + b"\nb: " + b"[" * 30 + b"*a" + b"]" * 30, "aliases followed"),
    "long number": (b"a: " + b"9" * 100_000, "is too large"),
    "not utf-8": (b"a: \xe9", "is not UTF-8"),
    "utf-16": ("a: b".encode("utf-16"), "is not UTF-8"),
    "escape character": (b"a: \x1b[31m", "control character U+001B"),
    "line separator": ("a: b\u2028c".encode(), "control character U+2028"),
    "bell escape": (b'a: "\\a"', "control character U+0007"),
    "python object": (b"!!python/object/apply:os.system [ls]", "is refused"),
    "tag directive": (b"%TAG ! tag:x,2000:\n---\na: b", "a %TAG directive"),
    "empty": (b"", "the file is empty"),
    "comment only": (b"# nothing\n", "the file is empty"),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_files_are_refused(name: str) -> None:
    """Bombs, depth, size and stray bytes meet a cap on events before anything is built."""
    data, message = EVIL[name]
    said, _ = problems(data)

    assert any(message in text for text in said), said


def test_aliases_within_the_budget_are_values() -> None:
    """An alias stands for its value, and its own place is known."""
    report = read_yaml(b"a: &x {k: [v]}\nb: *x\n", "f")

    assert report.data == {"a": {"k": ["v"]}, "b": {"k": ["v"]}}
    assert (report.place(("b",)), report.place(("b", "k", 0))) == ((2, 4), (1, 12))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("-3", -3), ("0", 0), ("0.10", 0.1), ("1.0e3", 1000.0), ("1000.0", 1000.0), ("true", True),
        ("false", False), ("null", None), ('"yes"', "yes"), ("'012'", "012"), ("yesterday", "yesterday"),
        ("no one", "no one"), ("1 item", "1 item"), ("2.5.1", "2.5.1"), ("10 %", "10 %"), ("-", ["-"]), ("e3", "e3"),
        ("over 9000", "over 9000"), ("node", "node"), ("|\n  yes\n", "yes\n"),
    ],
)  # fmt: skip
def test_clear_scalars_keep_their_meaning(text: str, value: object) -> None:
    """Only what two readers could take differently is refused."""
    if value == ["-"]:
        text, value = '"-"', "-"
    report = read_yaml(f"a: {text}\n".encode(), "f")

    assert (report.data["a"], report.problems) == (value, ())
    assert type(report.data["a"]) is type(value)


REFUSED = [
    "012", "-012", "0o17", "0x1F", "0b11", "12:30:00", "12:30", "1e3", "1E+3", "1_000", "1_000.5", "yes", "Yes", "NO",
    "on", "OFF", "y", "N", "True", "FALSE", ".nan", ".NaN", ".inf", "-.INF", "~", "Null", "NULL", "2024-01-01",
    "2024-1-1 10:00:00", ".5", "5.", "99999999999999999999", "1.0e400", "=", "<<",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_unclear_scalars_are_refused_in_every_position(text: str) -> None:
    """In a mapping and in a list, with advice."""
    said, _ = problems(f"a: {text}\nb: [{text}]\n".encode())

    assert len(said) == 2
    assert all("; " in message and ("write" in message or "expected" in message) for message in said)


def test_the_advice_is_itself_accepted() -> None:
    """Writing what a message says ends the complaint."""
    for text in ("0x1F", "1e3", "1_000", ".5", "5.", "012", "15e-1", "1e-7", "2e10"):
        said, _ = problems(f"a: {text}".encode())
        advice = said[0].partition(" for text, ")[2].partition(" for a number")[0]
        assert problems(f"a: {advice}".encode()) == ([], True), said


def test_the_python_parser_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libyaml the same data, places and refusals come out."""
    texts = [GOOD, "a: yes\nb: 012\n", "a: [1\n", "a: 1\na: 2\n", "a: {{ b }}\n", "&x a: *x\n"]
    fast = [problems(text.encode()) for text in texts]
    monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)

    slow = [problems(text.encode()) for text in texts]
    assert [(len(said), read) for said, read in fast] == [(len(said), read) for said, read in slow]
    assert fast[1] == slow[1]
    assert fast[3] == slow[3]


def test_pointers_quote_unusual_keys() -> None:
    """A key that is no plain word stands in quotes."""
    assert pointer(("cases", 2, "check", "at most")) == "$.cases[2].check['at most']"
