"""The recipes in docs/ci: read as data, and their shell steps run on scripted models, all but the installation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import gate
from harness.record_file import read_record, write_record
from tests.plugin.conftest import deceiver_rules, honest_rules, suite_data
from tests.record_factory import make_record

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / "docs" / "ci" / "github-actions.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab-ci.yml"
PAGE = ROOT / "docs" / "ci.md"
RECIPES = {"github": GITHUB, "gitlab": GITLAB}
INSTALLS = "pip install"
DIES = "import os\n\n\ndef pytest_runtest_call(item):\n    os._exit(0)\n"


@dataclass
class Step:
    """A step of a job; `script` is empty for one that a service performs."""

    name: str
    script: str = ""
    always: bool = False
    forgiven: bool = False


@dataclass
class Ended:
    """What became of a job."""

    ok: bool = True
    codes: dict[str, int] = field(default_factory=dict)
    reached: list[str] = field(default_factory=list)
    output: str = ""


def recipe(name: str) -> Any:
    """Return a recipe as YAML 1.2 would read it: `on` is a word."""
    text = RECIPES[name].read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"^on:", '"on":', text, flags=re.MULTILINE))


def steps_of(name: str) -> list[Step]:
    """Return the steps of the one job of a recipe."""
    data = recipe(name)
    if name == "github":
        return [
            Step(
                name=step["name"],
                script=step.get("run", ""),
                always=str(step.get("if", "")).startswith("always()"),
                forgiven=step.get("continue-on-error", False),
            )
            for step in data["jobs"]["evals"]["steps"]
        ]
    job = data["evals"]
    # The lines of a job run in one shell and stop at the first that fails; artifacts are kept in any case.
    lines = [Step(name=line, script=line) for line in (*job["before_script"], *job["script"])]
    return [*lines, Step(name="artifacts", always=job["artifacts"]["when"] == "always")]


def variables_of(name: str) -> dict[str, str]:
    """Return the variables of the one job of a recipe."""
    data = recipe(name)
    found: dict[str, str] = data["jobs"]["evals"]["env"] if name == "github" else data["evals"]["variables"]
    return found


def run_job(name: str, root: Path, model: str) -> Ended:
    """Run the shell steps of a recipe in `root`, but for the installation."""
    own = {**variables_of(name), "MODEL": model, "TELLS_CACHE": str(root / ".cache" / "tells")}
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GITHUB_", "GITLAB_", "CI_", "PYTEST_", "COV_"))
    }
    environment |= {
        **own,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider -p no:hypothesispytest -p no:anyio",
        "GITHUB_ACTIONS": "true" if name == "github" else "",
        "GITHUB_STEP_SUMMARY": str(root / "summary.md"),
    }
    ended = Ended()
    for step in steps_of(name):
        if not (ended.ok or step.always) or INSTALLS in step.script:
            continue
        ended.reached.append(step.name)
        if not step.script:
            continue
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.script]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        ended.codes[step.name] = done.returncode
        ended.output += done.stdout + done.stderr
        ended.ok = ended.ok and (done.returncode == 0 or step.forgiven)
    return ended


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository with one suite, an honest and a deceiving scripted model."""
    folder = tmp_path / "evals" / "deception"
    folder.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (folder / "colours.eval.yaml").write_text(yaml.safe_dump(suite_data(), sort_keys=False))
    for name, rules in (("honest", honest_rules()), ("deceiver", deceiver_rules())):
        script = {"name": name, "default": {"text": "Nothing to say.", "logprob": -9.0}, "rules": rules}
        (tmp_path / f"{name}.script.yaml").write_text(yaml.safe_dump(script))
    return tmp_path


def verdict_step(name: str) -> str:
    """Return the name of the step that gives the verdict."""
    return next(step.name for step in steps_of(name) if "tells verdict" in step.script)


# --- run


@pytest.mark.parametrize("name", RECIPES)
def test_an_honest_model_lets_the_job_through(project: Path, name: str) -> None:
    """Every step is reached; reports and store are where the recipe looks for them."""
    ended = run_job(name, project, "scripted:honest.script.yaml")

    assert ended.ok, ended.output
    assert set(ended.codes.values()) == {0}
    written = {path.name for path in (project / "reports").iterdir()}
    assert {"run.json", "report.html", "report.md", "junit.xml", "results.sarif"} <= written
    assert (project / ".tells" / "store.sqlite").is_file()
    assert ended.reached == [step.name for step in steps_of(name) if INSTALLS not in step.script]


@pytest.mark.parametrize("name", RECIPES)
def test_a_deceiver_stops_the_job_and_the_reports_are_kept(project: Path, name: str) -> None:
    """The step of the verdict exits 1; alerts and reports are uploaded all the same."""
    ended = run_job(name, project, "scripted:deceiver.script.yaml")

    assert not ended.ok
    assert ended.codes[verdict_step(name)] == gate.FAIL, ended.output
    kept = {"github": ["Upload the alerts", "Keep the reports"], "gitlab": ["artifacts"]}[name]
    assert ended.reached[-len(kept) :] == kept
    results = json.loads((project / "reports" / "results.sarif").read_text())["runs"][0]["results"]
    assert {result["level"] for result in results} == {"error"}


def test_the_verdict_on_github_annotates_and_writes_the_summary(project: Path) -> None:
    """At the lines of the cases, below the root of the repository."""
    ended = run_job("github", project, "scripted:deceiver.script.yaml")

    assert re.search(
        r"^::error file=evals/deception/colours.eval.yaml,line=\d+,title=FAIL colours/", ended.output, re.MULTILINE
    )
    assert "# Tells: FAIL" in (project / "summary.md").read_text()


@pytest.mark.parametrize("name", RECIPES)
def test_a_process_that_dies_with_exit_0_is_no_pass(project: Path, name: str) -> None:
    """And the green record of an earlier run on the same machine does not speak for it."""
    write_record(project / "reports" / "run.json", make_record())
    assert gate.judge_run(read_record(project / "reports" / "run.json")).code == gate.PASS
    (project / "conftest.py").write_text(DIES)

    ended = run_job(name, project, "scripted:honest.script.yaml")

    assert not ended.ok
    assert ended.codes[verdict_step(name)] == gate.BROKEN, ended.output
    assert not (project / "reports" / "run.json").exists()


def test_a_check_that_does_not_block_does_not_stop_the_job(project: Path) -> None:
    """The gate says 0 where pytest exits 1: this is why pytest's step may fail."""
    path = project / "evals" / "deception" / "colours.eval.yaml"
    text = path.read_text()
    path.write_text(text.replace("severity: critical", "severity: low"))
    (project / "evals" / "deception" / "others.eval.yaml").write_text(
        yaml.safe_dump(suite_data("others", cases=[suite_data()["cases"][1]]), sort_keys=False)
    )

    ended = run_job("github", project, "scripted:deceiver.script.yaml")

    assert ended.codes["Run the evals"] == 1
    assert ended.codes["Verdict"] == 0, ended.output
    assert ended.ok


def test_a_broken_case_file_stops_before_a_model_is_asked(project: Path) -> None:
    """The verdict is still asked for, and says that there is none."""
    path = project / "evals" / "deception" / "colours.eval.yaml"
    path.write_text(path.read_text().replace("severity:", "sevrity:"))

    ended = run_job("github", project, "scripted:honest.script.yaml")

    assert not ended.ok
    assert ended.codes == {"Check the case files": gate.USAGE, "Verdict": gate.BROKEN}


# --- read


@pytest.mark.parametrize("name", RECIPES)
def test_the_verdict_comes_after_the_run_in_a_step_of_its_own(name: str) -> None:
    """No pipe, no `||` and no other command can hide its exit code."""
    steps = steps_of(name)
    place = next(place for place, step in enumerate(steps) if "tells verdict" in step.script)
    run = next(place for place, step in enumerate(steps) if step.script and "--report" in step.script)
    assert run < place
    assert steps[place].script.strip() == "tells verdict reports/run.json"
    assert not steps[place].forgiven
    assert any("rm -rf reports" in step.script for step in steps[: run + 1])


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_asks_for_a_secret_or_swallows_a_failure(name: str) -> None:
    """Nothing but the repository is needed."""
    text = RECIPES[name].read_text(encoding="utf-8")
    assert not re.search(r"secrets\.|_TOKEN|PASSWORD|allow_failure|\|\| true", text)
    assert variables_of(name)["HF_HUB_OFFLINE"] == "1"
    distribution = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    assert variables_of(name)["PACKAGE"] == distribution


def test_actions_are_pinned_to_commits_and_named_by_version() -> None:
    """A tag can be moved."""
    lines = [line.strip() for line in GITHUB.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert len(lines) == 5
    for line in lines:
        assert re.fullmatch(r"uses: [\w-]+/[\w-]+(/[\w-]+)?@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_github_gives_no_more_rights_than_needed() -> None:
    """To read, and to write alerts."""
    data = recipe("github")
    assert data["permissions"] == {"contents": "read"}
    assert data["jobs"]["evals"]["permissions"] == {"contents": "read", "security-events": "write"}
    checkout = data["jobs"]["evals"]["steps"][0]
    assert checkout["with"]["persist-credentials"] is False
    assert "pull_request_target" not in data["on"]
    # Foreign words reach the shell as variables alone, never as text of a script.
    assert not [step for step in data["jobs"]["evals"]["steps"] if "${{" in step.get("run", "")]


def test_reports_are_uploaded_whatever_happened() -> None:
    """Alerts only where there is a log, and where a fork may write."""
    steps = {step["name"]: step for step in recipe("github")["jobs"]["evals"]["steps"]}
    assert steps["Keep the reports"]["if"] == "always()"
    alerts = steps["Upload the alerts"]
    assert alerts["with"]["sarif_file"] == "reports/results.sarif"
    assert alerts["if"].startswith("always() && hashFiles('reports/results.sarif') != ''")
    job = recipe("gitlab")["evals"]
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "reports/junit.xml"
    assert "reports/" in job["artifacts"]["paths"]


def test_what_is_cached_is_what_a_run_keeps() -> None:
    """The store of answers, and the folder that TELLS_CACHE names."""
    cache = next(
        step for step in recipe("github")["jobs"]["evals"]["steps"] if "actions/cache@" in step.get("uses", "")
    )
    assert cache["with"]["path"].split() == [".tells", ".cache/tells"]
    assert variables_of("github")["TELLS_CACHE"] == "${{ github.workspace }}/.cache/tells"
    assert recipe("gitlab")["evals"]["cache"]["paths"] == [".tells/", ".cache/"]
    assert variables_of("gitlab")["TELLS_CACHE"] == "$CI_PROJECT_DIR/.cache/tells"


# --- the page


def test_the_page_names_both_recipes_and_links_to_what_is_there() -> None:
    """A recipe that moved would be found."""
    text = PAGE.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert {"ci/github-actions.yml", "ci/gitlab-ci.yml"} <= set(targets)
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_the_page_has_every_exit_code() -> None:
    """With the word that the gate uses."""
    text = PAGE.read_text(encoding="utf-8")
    for code in gate.WORDS:
        assert re.search(rf"^\| {code} \|", text, re.MULTILINE)
