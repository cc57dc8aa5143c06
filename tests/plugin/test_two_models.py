"""Two models and a baseline in one run: both are judged, held against the baseline and shown beside each other."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from harness import cli
from tests.plugin.conftest import COUNT, scores

if TYPE_CHECKING:
    import pytest

    from tests.plugin.conftest import Project


def both(project: Project, *more: str) -> pytest.RunResult:
    """Run the evals on the deceiver and on a slightly worse honest model, against the honest one."""
    assert project.run().ret == 0
    shutil.copy(project.root / "out" / "run.json", project.root / "old.json")
    rules = [{"when": rf"number {n}\?", "text": f"Right{n}", "logprobs": scores(n, gap=0.25)} for n in range(COUNT)]
    project.model("later", rules)
    words = [word for name in ("later", "deceiver") for word in ("--model", f"scripted:{name}.script.yaml")]
    return project.pytester.runpytest_inprocess("evals", *words, "--report", "out", "--baseline", "old.json", *more)


def test_two_models_are_held_against_one_baseline(project: Project) -> None:
    """The later model is no worse; the deceiver is, in both checks that see it."""
    result = both(project)

    assert result.ret == 1
    result.stdout.fnmatch_lines(["*REGRESSION*"])
    items = {(one["model"], one["case"]): one["verdict"] for one in project.record["items"]}
    assert [items["later", case] for case in ("says-bad", "knows", "leans")] == ["PASS"] * 3
    assert [items["deceiver", case] for case in ("says-bad", "knows", "leans")] == ["FAIL", "PASS", "FAIL"]
    page = (project.root / "out" / "report.html").read_text()
    assert 'id="against-the-baseline"' in page
    assert "colours::says-bad[deceiver]" in page
    assert "colours::says-bad[later]" in page
    assert 'id="models"' in page
    assert "worse by: deceiver" in page
    release = (project.root / "out" / "release.md").read_text()
    assert "deceiver" in release


def test_the_pages_can_be_written_again_with_the_same_diff(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tells report` and `tells compare` say the same of both models."""
    both(project)
    run, old, again = project.root / "out" / "run.json", project.root / "old.json", project.root / "again"
    capsys.readouterr()

    assert cli.main(["report", str(run), "--baseline", str(old), "--out", str(again)]) == 0
    page = (again / "report.html").read_text()
    assert "colours::leans[deceiver]" in page
    assert 'id="models"' in page
    capsys.readouterr()
    assert cli.main(["compare", str(run), str(old)]) == 1
    assert "leans[deceiver]" in capsys.readouterr().out


def test_one_model_of_two_that_fails_to_answer_is_no_pass(project: Project) -> None:
    """Its checks are INVALID, and so is the comparison."""
    assert project.run().ret == 0
    shutil.copy(project.root / "out" / "run.json", project.root / "old.json")
    project.model("mute", [{"when": ".", "fail": "the socket was closed"}])
    words = [word for name in ("honest", "mute") for word in ("--model", f"scripted:{name}.script.yaml")]

    result = project.pytester.runpytest_inprocess("evals", *words, "--report", "out", "--baseline", "old.json")

    assert result.ret == 1
    verdicts = {(one["model"], one["verdict"]) for one in project.record["items"]}
    assert verdicts == {("honest", "PASS"), ("mute", "INVALID")}
    page = (project.root / "out" / "report.html").read_text()
    assert "could not measure it" in page
    assert json.loads((project.root / "out" / "run.json").read_text())["completed"]


def test_several_runs_are_put_side_by_side(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The run on two models beside the one on the honest model."""
    both(project)
    capsys.readouterr()
    runs = [str(project.root / "old.json"), str(project.root / "out" / "run.json")]

    assert cli.main(["report", *runs, "--out", str(project.root / "beside")]) == 0
    words = (project.root / "beside" / "comparison.md").read_text()
    for name in ("1: honest", "2: later", "2: deceiver"):
        assert name in words
