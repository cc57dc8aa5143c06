"""The documentation as a site: it builds without a complaint, asks nothing of other machines, and has no dead end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.site import hook

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FETCHED = {"link": "href", "object": "data", **dict.fromkeys(("script", "img", "iframe", "source", "video"), "src")}
CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def build(folder: Path, *, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Build the site strictly, of this project or of another folder."""
    where = ["-f", str(site)] if site else []
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *where]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site as it is built."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Page(HTMLParser):
    """What a page fetches, where it leads, and what can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (name := FETCHED.get(tag)) and given.get(name) and given.get("rel") != "canonical":
            self.fetched.append(given[name])


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))

    assert len(pages) > 60
    for path in pages:
        strangers = [target for target in Page(path).fetched if re.match(r"(?:[a-z]+:)?//", target)]
        assert strangers == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path
    assert "fonts.g" not in (site / "index.html").read_text(encoding="utf-8")


def test_every_link_within_the_site_leads_to_a_place_that_is_there(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            where, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", where):
                continue
            target = (path.parent / where).resolve() if where else path
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append((path.name, link))

    assert dead == []


def test_the_search_knows_every_page_and_needs_no_server(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.js").read_text(encoding="utf-8").removeprefix("var __index = "))
    found = {document["location"].partition("#")[0] for document in index["docs"]}

    assert {"tutorial.html", "glossary.html", "reference/cli.html", "project/CHANGELOG.html"} <= found
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text(encoding="utf-8")


def test_every_page_of_docs_stands_in_the_navigation_once() -> None:
    named = leaves(yaml.safe_load(CONFIGURATION)["nav"])
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}

    assert sorted(named) == sorted({*pages, "project/CHANGELOG.md"})


def leaves(node: object) -> list[str]:
    """Return the pages of a navigation."""
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node
    return [leaf for child in children for leaf in leaves(child)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[gone](nowhere.md)", "nowhere.md"),
        ("[gone](index.md#nowhere)", "no such anchor|does not contain an anchor"),
        ("[gone](../nowhere.md)", "nowhere.md"),
    ],
)
def test_a_dead_link_ends_the_build(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    head, found, rest = CONFIGURATION.partition("hooks: [tests/site/hook.py]")
    assert found
    written = head + rest.partition("\nnav:\n")[0] + "\n"
    for name in ("iframe-worker.js", "tells.css"):
        written = written.replace(f"[assets/{name}]", "[]")
    (tmp_path / "mkdocs.yml").write_text(written, encoding="utf-8")
    done = build(tmp_path / "out", site=tmp_path / "mkdocs.yml")

    assert done.returncode == 1
    assert re.search(complaint, done.stderr)


def test_links_out_of_docs_become_pages_of_the_site_or_names() -> None:
    outside = "project/fixtures/organisms/README.md"

    assert hook.rewritten("[b](../bench/README.md#x)", "engine.md") == "[b](project/bench/README.md#x)"
    assert hook.rewritten("[blind](../bench/blind)", "engine.md") == "blind (`bench/blind`)"
    for text in (
        "[dead](../bench/none.md)",
        "[here](checks.md)",
        "`[a](../bench/blind)`",
        "[x](https://x.org)",
        "[y](#y)",
    ):
        assert hook.rewritten(text, "engine.md") == text
    assert hook.rewritten("[log](../../docs/LOG.md)", outside) == "[log](../../../LOG.md)"
    assert hook.rewritten("[evals](evals)", "project/README.md") == "`evals`"


def test_titles_of_blocks_are_quoted() -> None:
    assert hook.rewritten("```yaml title=a/b.yaml\nx\n```\n", "index.md") == '```yaml title="a/b.yaml"\nx\n```\n'


def test_every_fence_became_a_block_of_code(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = re.sub(r"<(code|pre)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "```" not in text, path


def test_pages_that_pages_outside_lead_to_are_taken_along() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in hook.closure([DOCS / "engine.md"])}

    assert {"bench/README.md", "CHANGELOG.md"} <= found
    assert not any(name.startswith("docs/") for name in found)


def test_a_list_behind_a_paragraph_is_one() -> None:
    code = "\n\n```text\nOne:\n- a\n```\n\n"
    text = f"One:\n- a\n- b\n  c{code}Two:\n1. c\n"

    assert hook.rewritten(text, "index.md") == f"One:\n\n- a\n- b\n  c{code}Two:\n\n1. c\n"
