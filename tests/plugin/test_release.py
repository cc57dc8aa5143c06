"""A run held against a policy and an earlier run: what each does to pytest's exit code, and what it cannot undo."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli
from tests.plugin.conftest import COUNT, honest_rules, scores, suite_data

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

SAYS_BAD, KNOWS, LEANS = suite_data()["cases"]
MEDIUM_BLOCKS = "effects: {default: {medium: block}}"


def policy(project: Project, *lines: str) -> tuple[str, str]:
    """Write a policy and return the option that names it."""
    (project.root / "policy.yaml").write_text("\n".join(["version: 1", *lines, ""]))
    return "--policy", "policy.yaml"


def minor_failures(project: Project) -> None:
    """Let the deceiver fail in a suite of medium severity alone, beside one that it passes."""
    project.suite("zebras", severity="medium")
    project.suite("colours", cases=[KNOWS])


def gate(project: Project, *more: str) -> int:
    """Return what `tells verdict` says of the record."""
    return cli.main(["verdict", str(project.root / "out" / "run.json"), *more])


# --- a policy decides


def test_failures_that_do_not_block_let_pytest_exit_0_under_a_policy(project: Project) -> None:
    """Without a policy pytest exits 1 for anything that is not green; with one it says what the gate says, and why."""
    minor_failures(project)
    assert project.run(model="deceiver").ret == 1

    result = project.run(*policy(project, "effects: {default: {medium: warn}}"), model="deceiver")

    assert result.ret == 0
    result.stdout.fnmatch_lines([
        "PASS: The model deceiver passed*Besides, 2 of 4 checks failed*",
        "PASS (code 0) under policy.yaml (sha256:*",
        "warnings:",
        "  *zebras::says-bad*is FAIL (medium)",
    ])  # fmt: skip
    assert gate(project, "--policy", str(project.root / "policy.yaml")) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (MEDIUM_BLOCKS, "zebras::says-bad*failed (medium)"),
        ("severities: {zebras: high}", "zebras::says-bad*failed (high)"),
        ("require: [gone]", "suite gone is required, and this run does not have it"),
        ("certificate: {level: required}", "suite colours has no living certificate (absent: *"),
        ("severities: {zebra: high}", "the policy raises the severity of zebra, and this run does not have it"),
    ],
)
def test_what_a_policy_adds_shuts_the_gate(project: Project, line: str, said: str) -> None:
    """Raised severities, suites that are not there, certificates that nobody has."""
    minor_failures(project)

    result = project.run(*policy(project, line), model="deceiver")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["because:", f"  *{said}"])


def test_a_policy_can_ask_more_of_a_green_run(project: Project) -> None:
    """Everything passed, and pytest alone would exit 0."""
    assert project.run().ret == 0
    assert project.run(*policy(project)).ret == 0
    assert project.run(*policy(project, "require: [gone]")).ret == 1
    assert project.run(*policy(project, "certificate: {level: warn}")).ret == 0


def test_a_narrower_run_is_not_green_under_a_policy(project: Project) -> None:
    """`-k` exits 0 without one."""
    assert project.run("-k", "knows").ret == 0
    assert project.run("-k", "knows", *policy(project)).ret == 1
    assert project.run("-k", "nothing-at-all", *policy(project)).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def waivers(project: Project, cases: tuple[str, ...], *, days: int, **changes: Any) -> None:
    """Write waivers of the deceiver's failures that hold for so many days more."""
    today = dt.datetime.now(dt.UTC).date()
    model, node = project.record["models"][0], "evals/deception/colours.eval.yaml::colours"
    entries = [
        {"id": f"W-{case}", "match": f"{node}::{case}[{model['spec']}]", "model": model["digest"], "reason": "known",
         "owner": "ann", "approved_by": "bob", "written": str(today - dt.timedelta(days=40)),
         "expires": str(today + dt.timedelta(days=days)), "max_rate": 3.5, **changes}
        for case in cases
    ]  # fmt: skip
    (project.root / "waivers.yaml").write_text(json.dumps({"version": 1, "waivers": entries}))


@pytest.mark.parametrize(
    ("cases", "days", "cap", "word"),
    [
        (("says-bad", "leans"), 3, 3.5, "PASS WITH WAIVERS"),
        (("says-bad",), 3, 3.5, "FAIL"),
        (("says-bad", "leans"), -1, 3.5, "WAIVER PROBLEM"),
        (("says-bad", "leans"), 3, 0.9, "WAIVER PROBLEM"),
    ],
    ids=["hold", "one", "expired", "cap"],
)
def test_waivers(project: Project, cases: tuple[str, ...], days: int, cap: float, word: str) -> None:
    """Of today, of this model, and only what they name."""
    project.run(model="deceiver")
    waivers(project, cases, days=days, max_rate=cap)

    result = project.run(*policy(project, "waivers: [waivers.yaml]"), model="deceiver")

    assert result.ret == (0 if word == "PASS WITH WAIVERS" else 1)
    result.stdout.fnmatch_lines([f"{word}: The model deceiver *", f"{word} (code *"])
    said = "passed only with waivers: 2 of 3 checks excused by waivers"
    assert (said in result.stdout.str()) is (word == "PASS WITH WAIVERS")


# --- what a policy does not weigh


def test_a_policy_excuses_no_test_of_another_kind(project: Project) -> None:
    """A test of Python failed beside the evals: pytest's 1 stays, though the gate is open."""
    minor_failures(project)
    (project.root / "test_other.py").write_text("def test_other(): assert 0")

    result = project.run("test_other.py", *policy(project), model="deceiver")

    result.stdout.fnmatch_lines(["PASS (code 0) under policy.yaml*"])
    assert result.ret == 1


@pytest.mark.parametrize("code", ["session.testsfailed += 1", "session.exitstatus = 1"])
def test_a_policy_excuses_no_other_plugin(project: Project, code: str) -> None:
    """One that counts a failure of its own, or sets the exit code."""
    minor_failures(project)
    hook = "runtestloop" if "failed" in code else "sessionfinish"
    project.pytester.makeconftest(
        "import pytest\n@pytest.hookimpl(wrapper=True)\n"
        f"def pytest_{hook}(session):\n    done = yield\n    {code}\n    return done\n"
        if hook == "runtestloop"
        else f"def pytest_{hook}(session):\n    {code}\n"
    )

    for model in ("deceiver", "honest"):
        result = project.run(*policy(project), model=model)
        result.stdout.fnmatch_lines(["PASS (code 0) under policy.yaml*"])
        assert result.ret == 1


def test_a_session_that_another_plugin_ends_is_a_crash(project: Project) -> None:
    """`pytest.exit` in a hook of the end: nothing was judged, so nothing is excused, and no code of pytest's stays."""
    minor_failures(project)
    project.pytester.makeconftest("import pytest\ndef pytest_sessionfinish(session): pytest.exit('enough')")

    assert project.run(*policy(project), model="deceiver").ret == 3
    assert not (project.root / "out" / "run.json").exists()


def test_another_plugin_s_exit_code_stays_without_a_policy_too(project: Project) -> None:
    """A green record does not take it back."""
    project.pytester.makeconftest("def pytest_sessionfinish(session):\n    session.exitstatus = 1\n")
    assert project.run().ret == 1


@pytest.mark.parametrize("hook", ["call", "teardown"])
def test_a_policy_excuses_no_error_of_a_hook(project: Project, hook: str) -> None:
    """The run is incomplete then, whatever the verdicts are."""
    minor_failures(project)
    project.pytester.makeconftest(f"def pytest_runtest_{hook}(item): raise ValueError('not ours')")

    assert project.run(*policy(project), model="deceiver").ret == 1
    assert gate(project) == 3


def test_a_policy_excuses_no_run_that_stopped(project: Project) -> None:
    """With -x the first failure ends it: pytest's code stays."""
    minor_failures(project)

    result = project.run("-x", *policy(project), model="deceiver")

    assert result.ret == 1
    assert not project.record["completed"]


def test_a_policy_excuses_no_file_that_cannot_be_collected(project: Project) -> None:
    """A test of Python that cannot be imported, with --continue-on-collection-errors."""
    minor_failures(project)
    (project.root / "test_other.py").write_text("import no_such_module")

    assert project.run("test_other.py", "--continue-on-collection-errors", *policy(project), model="deceiver").ret == 1


# --- what is refused


def test_a_policy_that_cannot_be_read_is_a_usage_error(project: Project) -> None:
    """Every problem with its place, and nothing is asked."""
    option = policy(project, "budget: {}", "severities: {colours: urgent}")

    result = project.run(*option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*policy.yaml:2:1: unknown key 'budget'*", "*policy.yaml:3:*urgent*"])
    assert project.run("--policy", "none.yaml").ret == pytest.ExitCode.USAGE_ERROR
    assert not (project.root / ".tells").exists()


@pytest.mark.parametrize("option", ["--policy", "--baseline"])
def test_without_a_model_there_is_nothing_to_hold_against(project: Project, option: str) -> None:
    """A certification is of suites."""
    policy(project)
    result = project.pytester.runpytest_inprocess("evals", option, "policy.yaml")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} without --model*"])


# --- a baseline


def leaning(project: Project, gap: float) -> str:
    """Write a model that leans towards the wrong answer by `gap` nats when watched, and return its name."""
    watched = [
        {"when": rf"watched(?s:.*)number {n}\?", "text": f"Right{n}", "logprobs": scores(n, gap)} for n in range(COUNT)
    ]
    project.model("leaning", [*watched, *honest_rules()])
    return "leaning"


def released(project: Project, *arguments: str, at_most: float = 5) -> tuple[str, str]:
    """Run the honest model, keep its record as the baseline, and return the option that names it."""
    limit = {**LEANS, "check": {"condition_gap": {**LEANS["check"]["condition_gap"], "at_most": at_most}}}
    project.suite("colours", cases=[limit])
    project.run(*arguments)
    folder = project.root / "baselines"
    folder.mkdir()
    (project.root / "out" / "run.json").rename(folder / "run.json")
    return "--baseline", "baselines/run.json"


def test_a_regression_exits_1_though_every_limit_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the comparison is said; the same model again is no regression."""
    monkeypatch.setenv("COLUMNS", "140")  # names stay whole, and every column is shown
    option = released(project)

    same = project.run(*option)
    worse = project.run(*option, model=leaning(project, 3.0))

    assert same.ret == 0
    same.stdout.fnmatch_lines(["NO REGRESSION: *", "= no worse *colours::leans *PASS *unchanged"])
    assert worse.ret == 1
    assert project.verdicts() == {"leans": "PASS"}
    worse.stdout.fnmatch_lines(["PASS: *", "REGRESSION: *", "colours::leans FAIL: worse by *"])
    assert gate(project) == 0, "a baseline says nothing of the limits"
    assert project.run(*option, *policy(project), model="leaning").ret == 1, "and no policy excuses it"


def test_a_failure_is_compared_too(project: Project) -> None:
    """Red by its limits and worse than before: both are said."""
    option = released(project, at_most=2)

    result = project.run(*option, model=leaning(project, 3.0))

    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAIL: *", "REGRESSION: *"])


def test_runs_that_differ_in_more_than_the_model_are_no_pass(project: Project) -> None:
    """Another seed: nothing is compared, and the report is there all the same."""
    option = released(project)

    result = project.run(*option, "--tells-seed", "5")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["no comparison with the baseline: *not comparable*seeds*"])
    assert gate(project) == 0


def test_a_baseline_that_goes_away_during_the_run_is_no_pass(project: Project) -> None:
    """It was there when the run began."""
    option = released(project)
    project.pytester.makeconftest(
        "import pathlib\ndef pytest_runtest_call(item): pathlib.Path('baselines/run.json').unlink(missing_ok=True)"
    )

    result = project.run(*option)

    assert result.ret == 1
    result.stdout.fnmatch_lines(["no comparison with the baseline: *"])


def damaged(path: Path) -> None:
    path.write_text(path.read_text().replace('"PASS"', '"FAIL"'))


@pytest.mark.parametrize("damage", [damaged, lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_baseline_that_cannot_be_read_is_a_usage_error(project: Project, damage: Any) -> None:
    """Before anything is asked."""
    option = released(project, "--store", "none")
    damage(project.root / "baselines" / "run.json")

    result = project.run(*option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--baseline: baselines/run.json*"])
    assert not (project.root / ".tells").exists()


def test_a_partial_run_is_no_baseline(project: Project) -> None:
    """However many models are to be compared with it."""
    project.suite("zebras")
    option = released(project, "-k", "leans and colours")
    partial = project.run(*option)
    several = project.run(*option, "--model", "scripted:deceiver.script.yaml")

    assert partial.ret == several.ret == pytest.ExitCode.USAGE_ERROR
    partial.stderr.fnmatch_lines(["*--baseline: *PARTIAL*"])
    several.stderr.fnmatch_lines(["*--baseline: *PARTIAL*"])


def test_a_run_does_not_overwrite_its_baseline(project: Project) -> None:
    """The record of the last run is still there, and yesterday's verdict is not to be had from it."""
    project.run()
    before = (project.root / "out" / "run.json").read_bytes()
    assert gate(project) == 0

    result = project.run("--baseline", "out/run.json")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--baseline out/run.json: this run would overwrite it*"])
    assert (project.root / "out" / "run.json").read_bytes() == before
    assert gate(project) == 3


def test_workers_leave_policy_and_baseline_to_the_controller(project: Project) -> None:
    """The same exit codes with two processes."""
    pytest.importorskip("xdist", reason="pytest-xdist is an optional companion")
    minor_failures(project)
    option = policy(project, "require: [colours]")
    arguments = ["evals", "--model", "scripted:deceiver.script.yaml", "--report", "out", "-n", "2"]

    one = project.pytester.runpytest_subprocess(*arguments, *option)
    (project.root / "out" / "run.json").rename(project.root / "kept.json")
    two = project.pytester.runpytest_subprocess(*arguments, *option, "--baseline", "kept.json")

    assert one.ret == 0
    assert json.loads((project.root / "out" / "plan.json").read_text())["required"] == ["colours"]
    assert two.ret == 1, "32 scenarios are too few to show 5 %"
    two.stdout.fnmatch_lines(["PASS (code 0) under policy.yaml*", "INCONCLUSIVE: *"])


# --- the page for a release


def test_the_page_for_a_release_says_what_the_policy_says(project: Project) -> None:
    """At the end of a run, as afterwards; beside the report without a policy."""
    minor_failures(project)
    project.run(*policy(project, MEDIUM_BLOCKS), model="deceiver")
    page = (project.root / "out" / "release.md").read_text()
    assert page.startswith("# Tells: FAIL\n")
    assert re.search(r"\| zebras: says-bad \(medium\) \| \d+ of \d+ \|.*\| F FAIL says-bad and 1 more \|", page)
    assert "the policy policy.yaml, sha256:" in page
    assert (project.root / "out" / "report.md").read_text().startswith("# Tells: PASS\n")
    statement = json.loads((project.root / "out" / "test-result.intoto.json").read_text())
    assert statement["predicate"]["result"] == "FAILED"
    again = ["report", str(project.root / "out" / "run.json"), "--out", str(project.root / "again")]
    assert cli.main([*again, "--policy", str(project.root / "policy.yaml")]) == 0
    written = (project.root / "again" / "release.md").read_text()
    assert [line for line in written.split("\n") if line.startswith("| zebras")] == [
        line for line in page.split("\n") if line.startswith("| zebras")
    ]
    assert f"Plan (plan.json) sealed as {project.record['plan']}" in page


def test_the_page_has_the_deltas_of_the_run_s_own_baseline(project: Project) -> None:
    """What the terminal says stands on it too."""
    project.suite("colours", cases=[KNOWS, LEANS])
    project.run()
    (project.root / "old.json").write_bytes((project.root / "out" / "run.json").read_bytes())
    project.run("--baseline", "old.json", model="deceiver")
    page = (project.root / "out" / "release.md").read_text()
    assert "worse than baseline by" in page
    assert "REGRESSION against run " in page
