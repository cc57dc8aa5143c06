"""YAML to plain data with the place of every key and value; nothing of YAML that can surprise or explode.

One pass over the event stream, iterative, with budgets: size, depth, nodes (aliases counted as what they stand for),
aliases. Tags, several documents, merge keys, duplicate keys and scalars of unclear meaning are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml

from harness.errors import CaseFileError, Problem
from harness.loader.report import DataPath, Node, Report, pointer, shown
from harness.loader.scalars import refusal, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 50_000
MAX_ALIASES = 16
MAX_PROBLEMS = 100
"""A file with more problems than this is not a case file; reading on would bury the first ones."""

Expects: TypeAlias = "Callable[[DataPath], AbstractSet[str]]"
"""JSON types that the schema takes at a path; empty when unknown."""

NOTHING_KNOWN: frozenset[str] = frozenset()
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Beside the control characters: NEL, LS and PS, which end a line in YAML 1.1 and in no editor, and non-characters.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SYNTAX_ADVICE = (
    ("mapping values are not allowed", "put text that holds ': ' in quotes, or check the indentation"),
    ("cannot start any token", "indent with spaces, and put text that begins with a special character in quotes"),
    ("expected ',' or", "close the bracket or put a comma before this place"),
    ("expected <block end>", "check the indentation, or put text that holds quotes in quotes"),
    ("expected ':'", "a line of a mapping is `key: value`; check the indentation"),
    ("did not find expected key", "check the indentation: the keys of one mapping begin in one column"),
    ("unexpected end of stream", "close the quotes that are open here"),
    ("escape", "backslashes mean themselves in single quotes only; write '\\d' or \"\\\\d\""),
)


def _nothing_known(_: DataPath) -> AbstractSet[str]:
    return NOTHING_KNOWN


def read_yaml(data: bytes, path: str, expects: Expects = _nothing_known, noun: str = "suite") -> Report:
    """Return the document in `data`, with the problems that leave it readable.

    Args:
        data: the file.
        path: its name in messages.
        expects: JSON types expected at a place, to word the advice.
        noun: what one file holds, and the key that it begins with.

    Raises:
        CaseFileError: it cannot be read as one YAML document at all.
    """
    builder = _Builder(path, expects, noun)
    text = _decode(data, builder)
    builder.last_line = _line_column(text)[0]
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        advice = next((advice for words, advice in _SYNTAX_ADVICE if words in what), "check the lines just before")
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        # At the end of the file the mark stands behind the last line.
        builder.halt(min(line, builder.last_line), column, f"this is not valid YAML: {what}; {advice}")
    return builder.report()


def _decode(data: bytes, builder: _Builder) -> str:
    if len(data) > MAX_BYTES:
        what = f"the file has {len(data)} bytes, more than {MAX_BYTES}"
        builder.halt(1, 1, f"{what}; split the suite, or put the items into a data file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file in the encoding UTF-8"
        builder.halt(*_line_column(before), message)
    bad = _UNREADABLE.search(text)
    if bad:
        message = f"control character U+{ord(bad.group()):04X}; take it out, or write an escape in double quotes"
        builder.halt(*_line_column(text[: bad.start()]), message)
    return text


def _line_column(before: str) -> tuple[int, int]:
    lines = re.split("\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


class _Frame:
    """A collection whose end has not come yet."""

    __slots__ = ("anchor", "is_key", "key", "node", "waiting")

    def __init__(self, node: Node, anchor: str | None, *, is_key: bool) -> None:
        self.node = node
        self.anchor = anchor
        self.is_key = is_key
        self.waiting = isinstance(node.children, dict)
        """A mapping that expects a key next."""
        self.key: tuple[str, int, int] | None = None
        """None while the value of an unusable key is passed over."""


class _Builder:
    """Builds the tree from parse events."""

    def __init__(self, path: str, expects: Expects, noun: str) -> None:
        self.last_line = 1
        self._path = path
        self._noun = noun
        self._expects = expects
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}
        self._aliases = 0
        self._nodes = 0
        self._root: Node | None = None
        self._documents = 0
        self._found: list[tuple[DataPath, Problem]] = []

    def report(self) -> Report:
        if self._root is None:
            self.halt(1, 1, f"the file is empty; expected a mapping that begins with `{self._noun}: NAME`")
        return Report(self._path, self._root, self._found)

    def _at(self, event: Any) -> tuple[int, int]:
        # What YAML supplies at the end of a file may stand on a line that is not there.
        return min(event.start_mark.line + 1, self.last_line), event.start_mark.column + 1

    def halt(self, line: int, column: int, message: str) -> NoReturn:
        self._note(line, column, message, ())
        raise CaseFileError(tuple(dict.fromkeys(problem for _, problem in self._found)))

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            line, column = self._at(event)
            if self._documents > 1:
                self.halt(line, column, f"a second document begins here; one file holds one {self._noun}, split it")
            if event.tags:
                self.halt(line, column, "a %TAG directive; tags are not used here, take it out")

    def _here(self) -> DataPath:
        steps: list[str | int] = []
        for frame in self._frames:
            if isinstance(frame.node.children, list):
                steps.append(len(frame.node.children))
            elif frame.key is not None:
                steps.append(frame.key[0])
            else:
                break
        return tuple(steps)

    def _note(self, line: int, column: int, message: str, path: DataPath) -> None:
        self._found.append((path, Problem(self._path, line, column, message, pointer(path))))
        if len(self._found) == MAX_PROBLEMS:
            self.halt(line, column, f"{MAX_PROBLEMS} problems up to here; mend these first, the rest was not read")

    def _muted(self) -> bool:
        """Tell whether this place lies inside a key or under an unusable one, reported already."""
        return any(frame.is_key or (frame.key is None and not frame.waiting and isinstance(frame.node.children, dict))
                   for frame in self._frames)  # fmt: skip

    def _count(self, size: int, line: int, column: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            self.halt(line, column, f"more than {MAX_NODES} values, aliases counted; put the items into a data file")

    def _tag(self, event: Any) -> None:
        if event.tag is not None:
            line, column = self._at(event)
            advice = "take it out; text is written in quotes, and nothing in a case file is code"
            self._note(line, column, f"the tag {shown(event.tag)} is refused; {advice}", self._here())

    def _anchor(self, event: Any) -> None:
        if event.anchor is not None:
            if event.anchor in self._anchors:
                line, column = self._at(event)
                self._note(line, column, f"the anchor &{event.anchor} is set twice; rename one", self._here())
            self._anchors[event.anchor] = None

    def _scalar(self, event: Any) -> None:
        line, column = self._at(event)
        self._count(1, line, column)
        self._tag(event)
        self._anchor(event)
        text: str = event.value
        bad = _IN_TEXT.search(text)
        if bad:
            message = f"the text holds the control character U+{ord(bad.group()):04X}; take it out"
            self._note(line, column, message, self._here())
        if self._frames and self._frames[-1].waiting:
            self._key(text, line, column, plain=not event.style)
            return
        node = Node(line, column, text)
        if not event.style and event.tag is None and not self._muted():
            node.data = self._plain(text, line, column)
        self._attach(node, event.anchor)

    def _plain(self, text: str, line: int, column: int) -> Any:
        if text and refusal(text, NOTHING_KNOWN) is None:
            return resolve(text)
        path = self._here()
        if text == "":
            what = f"nothing stands after {path[-1]}:" if path and isinstance(path[-1], str) else "an empty value"
            self._note(line, column, f"{what}; write a value, or take it out", path)
            return None
        objection = refusal(text, self._expects(path))
        self._note(line, column, objection or "a value of unclear meaning; put it in quotes", path)
        return text

    def _key(self, text: str, line: int, column: int, *, plain: bool) -> None:
        frame = self._frames[-1]
        frame.waiting = False
        frame.key = None
        children = frame.node.children
        if self._muted_above():
            return
        if plain and text in {"<<", "="}:
            self._note(line, column, f"the key {text} is refused; write the keys out, nothing is merged", self._here())
        elif isinstance(children, dict) and text in children:
            _, first, first_column = children[text]
            message = f"the key {shown(text)} stands here a second time; the first is in line {first}:{first_column}"
            self._note(line, column, message + ", keep one of them", (*self._here(), text))
        else:
            frame.key = (text, line, column)

    def _muted_above(self) -> bool:
        top = self._frames.pop()
        muted = self._muted()
        self._frames.append(top)
        return muted or top.is_key

    def _open(self, event: Any) -> None:
        line, column = self._at(event)
        self._count(1, line, column)
        self._tag(event)
        self._anchor(event)
        if len(self._frames) >= MAX_DEPTH:
            self.halt(line, column, f"nested more than {MAX_DEPTH} deep; no case file needs that, close the brackets")
        is_key = bool(self._frames) and self._frames[-1].waiting
        if is_key and not self._muted():
            advice = 'a key is text; a template stands in quotes: "{{ name }}"'
            self._note(line, column, f"a key that is itself a list or a mapping; {advice}", self._here())
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(line, column, {} if mapping else [], {} if mapping else [])
        self._frames.append(_Frame(node, event.anchor, is_key=is_key))

    def _close(self) -> None:
        frame = self._frames.pop()
        if frame.is_key:
            self._frames[-1].waiting = False
            self._frames[-1].key = None
            return
        self._attach(frame.node, frame.anchor)

    def _alias(self, event: Any) -> None:
        line, column = self._at(event)
        self._aliases += 1
        name = event.anchor
        if self._aliases > MAX_ALIASES:
            self.halt(line, column, f"more than {MAX_ALIASES} aliases; write the values out")
        target = self._anchors.get(name)
        if target is None:
            why = "stands inside what it refers to" if name in self._anchors else "refers to nothing"
            self.halt(line, column, f"the alias *{name} {why}; write the value out")
        if self._frames and self._frames[-1].waiting:
            self.halt(line, column, f"the alias *{name} stands as a key; write the key out")
        self._count(target.size, line, column)
        if len(self._frames) + target.height > MAX_DEPTH + 1:
            self.halt(line, column, f"nested more than {MAX_DEPTH} deep, aliases followed; write the values out")
        copy = Node(line, column, target.data, target.children)
        copy.size, copy.height = target.size, target.height
        self._attach(copy, None)

    def _attach(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._frames:
            self._root = node
            return
        frame = self._frames[-1]
        parent = frame.node
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if isinstance(parent.children, list):
            parent.children.append(node)
            parent.data.append(node.data)
            return
        frame.waiting = True
        if frame.key is not None and parent.children is not None:
            key, line, column = frame.key
            parent.children[key] = (node, line, column)
            parent.data[key] = node.data
            frame.key = None
