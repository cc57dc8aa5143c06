"""Hook of mkdocs: pages as GitHub shows them become pages of a site that is whole by itself.

Links out of `docs` lead into the repository. What they name in Markdown becomes a page of the site (`project/...`), and
so does what that names in turn; anything else that is there is named by its path, without a link. A link to what is not
there is left alone, and mkdocs calls it dead.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FURTHER = "project"
"""Folder of the site for pages that lie outside of `docs`."""
ALWAYS = ("CHANGELOG.md",)
"""Pages outside of `docs` that the navigation names."""
CODE = re.compile(
    r"(^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\2[^\n]*$|(?<!`)(`+)(?!`).*?(?<!`)\3(?!`))", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
TITLE = re.compile(r"^(`{3,}\w+ title=)([^\s\"]+)$", re.MULTILINE)
LIST = re.compile(r"^(?:[-*] |\d+\. )")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that links lead to."""
    for path in closure(sorted(DOCS.rglob("*.md"))):
        files.append(File.generated(config, f"{FURTHER}/{path.relative_to(ROOT).as_posix()}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs names them
    """Return the text of a page with its links turned to the site's."""
    return rewritten(markdown, page.file.src_uri)


def closure(pages: list[Path]) -> list[Path]:
    """Return the Markdown files outside of `docs` that pages lead to, directly or by others."""
    found = dict.fromkeys(ROOT / name for name in ALWAYS)
    waiting = [*pages, *found]
    while waiting:
        page = waiting.pop()
        for target in targets(page):
            if target.suffix == ".md" and target.is_file() and outside(target) and target not in found:
                found[target] = None
                waiting.append(target)
    return sorted(found)


def targets(page: Path) -> Iterator[Path]:
    """Yield the paths below the repository that a page links to."""
    for piece in _texts(page.read_text(encoding="utf-8")):
        for _, link in LINK.findall(piece):
            if (target := resolved(page, link)) is not None:
                yield target


def resolved(page: Path, link: str) -> Path | None:
    """Return what a relative link leads to, None for an address, an anchor or a path out of the repository."""
    path = unquote(link.partition("#")[0])
    if not path or path.startswith("/") or re.match(r"[a-z]+:", path):
        return None
    target = Path(posixpath.normpath((page.parent / path).as_posix()))
    return target if target.is_relative_to(ROOT) else None


def outside(path: Path) -> bool:
    """Tell whether a path lies outside of `docs`."""
    return not path.is_relative_to(DOCS)


def source(uri: str) -> Path:
    """Return the file that a page of the site is made of."""
    return ROOT / uri.removeprefix(f"{FURTHER}/") if uri.startswith(f"{FURTHER}/") else DOCS / uri


def rewritten(markdown: str, uri: str) -> str:
    """Return Markdown whose links lead to pages of the site, and whose lists Python-Markdown sees as GitHub does."""
    page = source(uri)

    def turn(found: re.Match[str]) -> str:
        text, link = found.groups()
        target = resolved(page, link)
        if target is None or not target.exists() or not (outside(page) or outside(target)):
            return found[0]
        if target.suffix == ".md" or not outside(target):
            name = target.relative_to(ROOT).as_posix()
            to = f"{FURTHER}/{name}" if outside(target) else target.relative_to(DOCS).as_posix()
            anchor = link[link.index("#") :] if "#" in link else ""
            return f"[{text}]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{anchor})"
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if text.strip("`") in {path, link} else f"{text} (`{path}`)"

    return _mapped(markdown, lambda piece: LINK.sub(turn, _spaced(piece)))


def _spaced(text: str) -> str:
    """Return text with an empty line before each list that follows a paragraph at once."""
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        if LIST.match(line) and before.strip() and not LIST.match(before) and not before.startswith((" ", "#", "|")):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _texts(markdown: str) -> Iterator[str]:
    place = 0
    for code in CODE.finditer(markdown):
        yield markdown[place : code.start()]
        place = code.end()
    yield markdown[place:]


def _mapped(markdown: str, change: Callable[[str], str]) -> str:
    """Return Markdown with everything but code changed."""
    pieces, place = [], 0
    for code in CODE.finditer(markdown):
        # The extension that shows blocks of code wants titles quoted, and otherwise takes the block for text.
        pieces += [change(markdown[place : code.start()]), TITLE.sub(r'\1"\2"', code[0])]
        place = code.end()
    return "".join([*pieces, change(markdown[place:])])
