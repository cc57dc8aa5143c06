"""What the tutorial and the other pages tell a reader to do is done, and shows what they say it shows."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness import plugin
from harness.cli import VERBS, build_parser
from tests.site import commands
from tests.site.walk import Block, blocks, differs, run, same, walk

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
WALKED = ("docs/tutorial.md", "docs/how-to/add-an-engine.md", "docs/how-to/read-a-phase-diagram.md")
WITH_MODELS = ("README.md", "docs/index.md", "docs/tutorial.md")
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "reference")]


@pytest.mark.parametrize("page", WALKED)
def test_the_walk(page: str, tmp_path: Path) -> None:
    done = list(walk((ROOT / page).read_text(encoding="utf-8"), tmp_path, models=False))

    assert done
    assert [one.complaint() for one in done if one.complaint()] == []


@pytest.mark.model
@pytest.mark.parametrize("page", WITH_MODELS)
def test_the_walk_on_real_weights(page: str, tmp_path: Path) -> None:
    if page != "docs/tutorial.md":  # the tutorial begins in an empty folder, the others where the suites are
        shutil.copytree(ROOT / "evals", tmp_path / "evals")
    done = list(walk((ROOT / page).read_text(encoding="utf-8"), tmp_path, models=True))

    assert any(one.block.model for one in done)
    assert [one.complaint() for one in done if one.complaint()] == []


def test_every_step_of_the_tutorial_is_run_and_most_show_what_they_print() -> None:
    found = list(blocks(TUTORIAL.read_text(encoding="utf-8")))
    shell = [block for block in found if block.language == "sh"]

    assert shell
    assert [block for block in shell if block.mark != "run"] == []
    done = [block for block in shell if "skip" not in block.how]
    assert [block.text for block in shell if block not in done and "tells" in block.text] == []
    assert sum(block.mark == "prints" for block in found) >= len(done) - 1


def written() -> list[tuple[str, str]]:
    """Return each line of shell that any page tells a reader to type, with the page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
            if language not in {"sh", "console", ""}:
                continue
            lines = body.replace("\\\n", " ").splitlines()
            if language == "console":
                lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            found += [(page.relative_to(ROOT).as_posix(), line) for line in lines]
    return found


def simple(line: str, program: str) -> list[list[str]]:
    """Return the arguments of each call of a program in a line of shell; none of a line that is part of a text."""
    line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)  # what may be left out stands in brackets
    words = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    words.whitespace_split = True
    calls: list[list[str]] = [[]]
    try:
        for word in words:
            if set(word) <= set("();<>|&"):
                calls.append([])
            else:
                calls[-1].append(word)
    except ValueError:  # a quotation goes on in the next line
        return []
    return [call[1:] for call in calls if call and call[0] == program]


CALLS = [(page, arguments) for page, line in written() for arguments in simple(line, "tells")]
RUNS = [(page, arguments) for page, line in written() for arguments in simple(line, "pytest")]


def test_commands_were_found() -> None:
    assert len(CALLS) > 40
    assert len(RUNS) > 20
    assert {arguments[0] for _, arguments in CALLS} >= {"validate", "verdict", "show", "report", "certify", "sweep"}


@pytest.mark.parametrize(("page", "arguments"), CALLS)
def test_a_command_of_a_page_is_one_that_tells_knows(
    page: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "--help" in arguments:
        arguments = arguments[: arguments.index("--help")]
        assert arguments[0] in VERBS
        return
    try:
        options, unknown = build_parser().parse_known_args(arguments)
    except SystemExit:
        pytest.fail(f"{page}: tells {shlex.join(arguments)}\n{capsys.readouterr().err}")
    assert not unknown or options.verb in {"plan", "certify"}, page


def test_an_option_of_pytest_in_a_page_is_one_that_there_is() -> None:
    known = commands.Options()
    plugin.pytest_addoption(known)
    own = {name for name, _ in known.added}
    of_pytest = {"-q", "-k", "-m", "-x", "-n", "-v", "-p", "-s", "--lf", "--maxfail", "--tb", "--collect-only"}
    strangers = {
        (page, word)
        for page, arguments in RUNS
        for word in arguments
        if word.startswith("-") and word.partition("=")[0] not in own | of_pytest
    }

    assert strangers == set()


def test_the_code_and_the_output_of_a_block_are_told(tmp_path: Path) -> None:
    assert run(Block(language="sh", text="echo one\nfalse\necho two\n"), tmp_path) == (1, "one\n")
    assert run(Block(language="python", text="import sys\nsys.exit('out')\n"), tmp_path) == (1, "out\n")


def test_a_page_that_says_something_else_is_found(tmp_path: Path) -> None:
    page = '```yaml title="a/b.txt"\nhello\n```\n\n<!-- run: exit 3 -->\n```sh\ncat a/b.txt; exit {}\n```\n\n'
    shown = "<!-- prints -->\n```text\n{}\n```\n"

    def complaint(code: str, text: str) -> str:
        (done,) = walk(page.format(code) + shown.format(text), tmp_path, models=False)
        return done.complaint()

    assert complaint("3", "hello") == ""
    assert "exit code 3" in complaint("0", "hello")
    assert "goodbye" in complaint("3", "goodbye")
    assert "hello" in complaint("3", "")


def test_outputs_are_compared_line_by_line() -> None:
    for shown in (
        "a\n...\nd\n",
        "...\nd\n",
        "...\nc\nd\n",
        "a\n...\n",
        "...\nb\nc\n...\n",
        "a\nb\nc\nd\n",
        "...\nb\n...\nd\n",
    ):
        assert differs(shown, "a\nb\nc\nd\n") == ""
    assert differs("...\na\n", "a\nb\na\n") == ""
    for shown, missed in (("a\nc\n...\n", "c"), ("...\ne\n...\n", "e"), ("b\n...\n", "b"), ("...\nc\n", "c")):
        assert differs(shown, "a\nb\nc\nd\n") == missed
    for shown in (
        "a\n",
        "a\nb\nc\n",
        "...\nb\n...\na\n...\n",
        "...\nd\n...\nd\n",
        "a\nb\n...\nb\nc\nd\n",
        "...\nd\ne\n",
    ):
        assert differs(shown, "a\nb\nc\nd\n") != ""


def test_numbers_with_a_point_may_round_otherwise_and_no_others() -> None:
    assert same("x 11.8 nats (n 48)", "x 11.81 nats (n 48)")
    assert same("p 1.83e-05", "p 1.84e-05")
    assert same("d -0.0633", "d -0.0621")
    assert not same("x 11.8 nats (n 48)", "x 11.8 nats (n 47)")
    assert not same("x 11.8", "x 12.4")
    assert not same("p 1.83e-05", "p 2.83e-05")
    assert not same("p 0.0006", "p 0.0100")
    assert not same("x 1.0 nats", "x 1.0 bits")


def test_a_line_may_be_cut_at_a_word() -> None:
    assert same("x 1.0 nats ...", "x 1.0 nats and more 7")
    assert same("x 1.0 nats ...", "x 1.0 nats")
    assert not same("x 1.0 nats ...", "x 1.0 natsies")
    assert not same("x 1.0 nats ...", "x 2.0 nats and more")
    assert not same("x 1.0 nats", "x 1.0 nats and more")


def test_blocks_with_weights_are_left_out_where_none_may_be(tmp_path: Path) -> None:
    page = "<!-- run: model -->\n```sh\necho x\n```\n"

    assert list(walk(page, tmp_path, models=False)) == []
    assert [one.said for one in walk(page, tmp_path, models=True)] == ["x\n"]
