"""Thirty hostile texts and more in every field: nothing acts, nothing crashes, every file stays well-formed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import harness.engines.scripted
import harness.engines.transformers  # noqa: F401 - pytester forgets modules imported inside a run; engines register once
from harness import cli
from harness.record import sealed
from harness.verdict import Verdict
from harness.writers import html, write_all
from harness.writers.terminal import item_page, summary
from tests.plugin.conftest import Project, project, suite_data  # noqa: F401 - a fixture
from tests.record_factory import HOSTILE, make_item, sample_record
from tests.writers.test_html import poisoned

if TYPE_CHECKING:
    from collections.abc import Iterator

MORE = (
    '=HYPERLINK("http://example.invalid","x")', "@SUM(1+1)*cmd|' /C calc'!A0", "+1+1", "-1+cmd", "\t=1+1",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>", "<details open ontoggle=alert(1)>",
    "<base href=http://example.invalid/>", "<form action=http://example.invalid><input autofocus onfocus=alert(1)>",
    "</textarea></script></style></title><img src=x onerror=\"document.title='PWNED'\">",
    "<script>document.title='PWNED'</script>", "<object data=javascript:document.title='PWNED'>",
    "%0D%0A::set-env name=PATH::x", "::add-path::/tmp", "\u0085::error::x", "\x1b]8;;http://example.invalid\x07x",
    "\x9d0;title\x9c", "\x00", "\udcff", "\U000e0001\U000e0020", "&#x3C;script&#x3E;", "<![CDATA[x]]>", "<!DOCTYPE x>",
    '{"a": NaN}', "\\u003cscript\\u003e", "' OR 1=1; DROP TABLE answers; --", "../../../etc/passwd",
)  # fmt: skip
TEXTS = tuple(dict.fromkeys((*HOSTILE, *MORE)))
OBEYED = re.compile(
    r"^\s*::|^\s*##\w*\[|##vso\[|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", re.MULTILINE
)
ACTS = {"script", "iframe", "object", "embed", "form", "base", "img", "link", "animate"}
OWN_SCRIPT = (Path(html.__file__).parent / "templates" / "report.js").read_text(encoding="utf-8").strip()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_there_are_enough_of_them() -> None:
    assert len(TEXTS) >= 60
    assert len({text for text in TEXTS if "<" in text}) >= 20


def everywhere(payload: str) -> Any:
    """Return a sealed run with a payload in every free text, a waiver's too."""
    record = sample_record()
    waived = make_item("waived", Verdict.WAIVED, waiver={"id": "w", "reason": "known", "owner": "o", "expires": "2027"})
    items = (*record.items, waived)
    ids = tuple(item.node_id for item in items)
    record = dataclasses.replace(record, items=items, planned=ids, selected=ids)
    return sealed(poisoned(record, payload))


@pytest.mark.parametrize("payload", TEXTS, ids=lambda text: ascii(text)[:40])
def test_every_file_stays_well_formed(payload: str, tmp_path: Path) -> None:
    """Written whole, read back, and nothing in Markdown, SARIF or the terminal's text is obeyed."""
    record = everywhere(payload)
    written = {path.name: path.read_text(encoding="utf-8") for path in write_all(record, tmp_path)}
    assert json.loads(written["run.json"])["items"]
    assert json.loads(written["results.sarif"])["version"] == "2.1.0"
    pages = [summary(record), *map(item_page, record.items), written["report.md"], written.get("release.md", "")]
    assert [found[0] for page in pages if (found := OBEYED.search(page))] == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write one HTML report per forty texts, each text in every field."""
    made = []
    for start in range(0, len(TEXTS), 40):
        folder = tmp_path_factory.mktemp("page")
        write_all(
            everywhere("".join(text for text in TEXTS[start : start + 40] if len(text) < 1000)), folder, ("html",)
        )
        made.append(folder / "report.html")
    return made


def browsed(path: Path, profile: Path) -> str:
    """Return the document as Chromium has it after a second of its own time."""
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1000", f"--user-data-dir={profile}",
        "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run([str(CHROMIUM), *flags, path.as_uri()], capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8", "replace")


class Elements(HTMLParser):
    """The elements of a document as Chromium has it; a payload within the value of an attribute is none."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def acted(dom: str) -> list[str]:
    """Return what ran or was fetched: a changed title, a new element that can act, an address that is no anchor."""
    found = []
    for tag, attributes in Elements(dom).found:
        if tag in ACTS or any(name.startswith("on") for name in attributes):
            found.append(f"{tag} {attributes.get('id', '')}".strip())
        if not attributes.get("href", "#").startswith("#"):
            found.append(f"{tag} {attributes['href']}")
    return found + re.findall(r"<title>PWNED", dom)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_chromium_runs_what_is_really_a_script(tmp_path: Path) -> None:
    """The control: the search sees a page on which a payload acts."""
    page = tmp_path / "bad.html"
    page.write_text("<title>x</title><img src=x onerror=\"document.title='PWNED'\">")
    dom = browsed(page, tmp_path / "profile")
    assert "<title>PWNED" in dom
    assert acted(dom)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_nothing_acts_in_chromium(pages: list[Path], tmp_path: Path) -> None:
    """Every text in every field of the report, in the browser itself, not in a parser that we wrote."""
    for page in pages:
        dom = browsed(page, tmp_path / "profile")
        assert "PWNED" not in re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
        # Its own form of filters and its own script, and nothing besides.
        assert acted(dom) == ["form filters", "script"]
        assert dom.count(OWN_SCRIPT) == 1
        assert dom.count("<details") == page.read_text(encoding="utf-8").count("<details")


# --- through a whole run


def hostile_models() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield models that say and fail with what is hostile."""
    several = [text for text in TEXTS if 0 < len(text) < 1000 and not re.search(r"[\ud800-\udfff\x00]", text)]
    yield "says", {"text": several}
    yield "fails", {"fail": " ".join(several)}


@pytest.mark.parametrize("kind", ["says", "fails"])
def test_a_whole_run_of_hostile_answers(project: Project, kind: str) -> None:  # noqa: F811 - the fixture
    """Standard output, junit.xml and every report; the record is whole and the gate reads it."""
    rule = dict(hostile_models())[kind]
    project.model("hostile", [{"when": ".", **rule}])
    result = project.run("-vv", "-rA", "--tb=long", model="hostile")
    assert result.ret == 1
    assert cli.main(["verdict", str(project.root / "out" / "run.json")]) in {1, 3, 4}
    ET.parse(project.root / "out" / "junit.xml")  # noqa: S314 - our own file
    for name in ("run.json", "results.sarif"):
        json.loads((project.root / "out" / name).read_text(encoding="utf-8"))
    shown = result.stdout.str() + result.stderr.str()
    assert [
        line for line in shown.splitlines() if re.search(r"^\s*::|##vso\[|\x1b\]|[\x00-\x08\x9b\u202e]", line)
    ] == []


@pytest.mark.parametrize("payload", [text for text in TEXTS if 0 < len(text) < 300], ids=lambda text: ascii(text)[:40])
def test_hostile_case_files_are_refused_or_shown_harmlessly(payload: str, tmp_path: Path) -> None:
    """In claim, source, controls, limits, question and answer: the loader takes them as text, or says what is wrong."""
    from harness.errors import CaseFileError  # noqa: PLC0415 - used here alone
    from harness.loader import load_suite  # noqa: PLC0415 - as above

    data = suite_data(claim=f"c {payload}", source=f"s {payload}", controls=[f"k {payload}"], limits=f"l {payload}")
    for row in data["given"]["items"]["rows"]:
        row["question"] += payload
    path = tmp_path / "evals" / "a.eval.yaml"
    path.parent.mkdir()
    try:
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        suite = load_suite(path, tmp_path)
    except CaseFileError as error:
        said = cli.line(str(error))
    else:
        said = ""
        assert suite.claim.startswith("c ")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x9b\u202e]", said)
    for word in ("suite", "failure_mode", "severity"):
        path.write_text(yaml.safe_dump({**suite_data(), word: payload}), encoding="utf-8", errors="surrogatepass")
        with pytest.raises(CaseFileError):
            load_suite(path, tmp_path)
