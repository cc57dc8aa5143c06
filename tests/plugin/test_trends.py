"""Whole runs over checkpoints: when a trend is made, what it says, and what `tells trend` says of the record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli
from harness.record import sealed
from harness.record_file import read_record, write_record
from harness.writers.markdown import render as as_markdown
from tests.plugin.conftest import COUNT, scores, suite_data

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TREND = {"id": "rises", "check": {"trend": {"of": "leans", "at_most": 0.3}}}
LEANS = suite_data()["cases"][2]
QUIET = (0.0, 0.05, 0.02, 0.04, 0.01, 0.03)
RISING = (0.0, 0.1, 0.6, 0.9, 1.2, 1.6)


def training(project: Project, name: str, gaps: tuple[float, ...], *, bad: int = 6) -> list[str]:
    """Write one scripted checkpoint per gap, and return the options that name them; from `bad` on it says BAD."""
    folder = project.root / name
    folder.mkdir(exist_ok=True)
    words = []
    for at, gap in enumerate(gaps):
        watched = [
            {"when": rf"watched(?s:.*)number {n}\?", "text": "BAD" if at >= bad else f"Right{n}",
             "logprobs": scores(n, gap=gap)} for n in range(COUNT)
        ]  # fmt: skip
        plain = [{"when": rf"number {n}\?", "text": f"Right{n}", "logprobs": scores(n)} for n in range(COUNT)]
        project.model(f"{name}/step-{10 * (at + 1)}", [*watched, *plain])
        words += ["--model", f"scripted:{name}/step-{10 * (at + 1)}.script.yaml"]
    return words


def run(project: Project, *words: str, out: str = "out") -> pytest.RunResult:
    return project.pytester.runpytest_inprocess("evals", "--report", out, *words)


def item(project: Project, case: str = "rises") -> dict[str, Any]:
    (found,) = [one for one in project.record["items"] if one["case"] == case]
    return dict(found)


@pytest.fixture
def watching(project: Project) -> Project:
    project.suite("colours", cases=[*suite_data()["cases"], TREND])
    return project


def test_a_training_that_moves_calls_an_alarm_at_its_last_checkpoint(watching: Project) -> None:
    result = run(watching, *training(watching, "run", RISING))
    found = item(watching)

    assert result.ret == 1
    assert found["verdict"] == "FAIL"
    assert found["node_id"].endswith("colours::rises[scripted:run/step-60.script.yaml]")
    assert found["measures"] == "logits"
    sustained = found["measurements"][0]
    assert (sustained["name"], sustained["n"], sustained["of"]) == ("sustained", 6, "checkpoints")
    assert sustained["value"] == pytest.approx(0.9, abs=1e-6)  # the weakest of 0.9, 1.2, 1.6
    assert [one["name"] for one in found["measurements"][1:]] == [f"step {10 * n}" for n in range(1, 7)]
    assert found["rerun"].count("--model") == 6


def test_a_training_that_stands_still_passes(watching: Project) -> None:
    result = run(watching, *training(watching, "run", QUIET))

    assert result.ret == 0
    assert item(watching)["verdict"] == "PASS"
    assert not watching.record["partial"]


def test_one_checkpoint_above_is_no_alarm_and_an_alarm_stands_when_it_is_over(watching: Project) -> None:
    run(watching, *training(watching, "spike", (0.0, 0.01, 2.0, 0.02, 0.0, 0.01)))
    assert item(watching)["verdict"] == "PASS"

    run(watching, *training(watching, "over", (0.0, 1.0, 1.1, 1.2, 0.01, 0.02)))
    assert item(watching)["verdict"] == "FAIL"


def test_a_value_at_the_alarm_is_inconclusive(watching: Project) -> None:
    run(watching, *training(watching, "run", (0.0, 0.1, 0.30, 0.301, 0.302, 0.303)))

    assert item(watching)["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("expression", ["rises", "colours and rises"])
def test_a_trend_selected_alone_asks_what_it_watches(watching: Project, expression: str) -> None:
    words = training(watching, "run", RISING)
    result = run(watching, *words, "-k", expression, "-x")

    assert result.ret == 1
    assert [(one["case"], one["verdict"]) for one in watching.record["items"]] == [("rises", "FAIL")]


def test_few_checkpoints_are_invalid(watching: Project) -> None:
    run(watching, *training(watching, "run", QUIET[:4]))

    assert item(watching)["verdict"] == "INVALID"
    assert "4 checkpoints; a trend needs 5" in item(watching)["cause"]


def test_checkpoints_out_of_order_or_the_same_twice_are_invalid(watching: Project) -> None:
    words = training(watching, "run", QUIET)
    run(watching, *words[2:], *words[:2])
    assert "steps do not rise" in item(watching)["cause"]

    training(watching, "copies", (0.0, 0.01, 0.02, 0.03, 0.04))
    folder = watching.root / "copies"
    (folder / "step-50.script.yaml").write_bytes((folder / "step-40.script.yaml").read_bytes())
    run(watching, *[word.replace("run/", "copies/") for word in words[:10]])
    assert "are the same weights" in item(watching)["cause"]


@pytest.mark.parametrize("at", [1, 5])
def test_a_checkpoint_that_fails_makes_the_trend_invalid(watching: Project, at: int) -> None:
    words = training(watching, "run", QUIET)
    broken = [{"when": r"watched(?s:.*)number 3\?", "fail": "device on fire"}]
    watching.model(f"run/step-{10 * (at + 1)}", broken, logprob=-3.0)
    result = run(watching, *words)

    assert result.ret == 1
    assert item(watching)["verdict"] == "INVALID"
    assert f"step {10 * (at + 1)}" in item(watching)["cause"]


def test_a_checkpoint_that_is_not_there_makes_the_trend_invalid(watching: Project) -> None:
    words = training(watching, "run", QUIET)
    (watching.root / "run" / "step-30.script.yaml").write_text("rules: [")
    result = run(watching, *words)

    assert result.ret != 0


def test_without_a_series_the_trend_is_left_out_and_said_so(watching: Project) -> None:
    result = watching.run()

    assert result.ret == 0
    assert "rises" not in watching.verdicts()
    result.stdout.fnmatch_lines(["*Left out: colours::rises is a trend*"])
    assert "Left out: colours::rises is a trend" in (watching.root / "out" / "report.md").read_text()


def test_a_suite_that_asks_for_trends_alone_cannot_be_written(project: Project) -> None:
    project.suite("colours", cases=[TREND])

    result = project.run()

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*there is no*leans*"])


def test_two_trainings_have_a_trend_each(watching: Project) -> None:
    run(watching, *training(watching, "one", QUIET), *training(watching, "two", RISING))
    found = {one["node_id"].rpartition("[")[2]: one["verdict"] for one in watching.record["items"]
             if one["case"] == "rises"}  # fmt: skip

    assert found == {"scripted:one/step-60.script.yaml]": "PASS", "scripted:two/step-60.script.yaml]": "FAIL"}


def test_reports_have_a_table_per_series(watching: Project) -> None:
    run(watching, *training(watching, "run", RISING, bad=5))
    page = as_markdown(read_record(watching.root / "out" / "run.json"))
    html = (watching.root / "out" / "report.html").read_text()

    assert "## Trend colours::leans" in page
    for shown in (page, html):
        assert "alarm called at step 50" in shown
        assert "at step 60 by the lower limit" in shown


# --- tells trend


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.main(["trend", *words])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_tells_trend_shows_onsets_and_lead(watching: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run(watching, *training(watching, "run", RISING, bad=5))
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans")

    assert code == 1
    assert "Onset of the shift: alarm called at step 50, above 0.3 nats" in said
    assert "Onset of the behaviour (says-bad above 0.1): at step 60 by the lower limit; by the value at step 60" in said
    assert "Lead: factor 1.2 in steps [1, 1.5]" in said
    assert "Forecast: none; the behaviour is there already" in said

    code, said = told(capsys, "out/run.json", "--case", "leans", "--json")
    data = json.loads(said)["trends"][0]
    assert (code, data["trend"]["shift"]) == (1, {"step": 50, "before": 40})
    assert data["trend"]["behaviour"]["step"] == 60


def test_tells_trend_without_an_alarm_is_0(watching: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run(watching, *training(watching, "run", QUIET))
    capsys.readouterr()

    assert told(capsys, "out/run.json", "--case", "leans")[0] == 0
    assert told(capsys, "out/run.json", "--case", "leans", "--alarm", "-0.5")[0] == 1


def test_tells_trend_with_controls(watching: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Three quiet controls set a low threshold, and one value above it calls."""
    controls: list[str] = []
    for at in range(3):
        run(watching, *training(watching, f"twin{at}", tuple(gap + 0.01 * at for gap in QUIET)), out=f"out{at}")
        controls += ["--control", f"out{at}/run.json"]
    run(watching, *training(watching, "run", (0.0, 0.01, 0.02, 0.03, 0.04, 0.25)))
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans", *controls)

    assert code == 1
    assert "alarm called at step 60" in said
    assert "maxima of 3 control trajectories" in said
    assert told(capsys, "out/run.json", "--case", "leans", *controls[:4])[0] == 3
    assert told(capsys, "out/run.json", "--case", "leans")[0] == 0


def test_tells_trend_refuses_what_is_no_series_and_says_what_is_broken(
    watching: Project, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    watching.run()
    capsys.readouterr()
    assert told(capsys, "out/run.json")[0] == 2
    assert told(capsys, "nowhere.json")[0] in {2, 3}

    run(watching, *training(watching, "run", RISING))
    capsys.readouterr()
    assert told(capsys, "out/run.json", "--case", "nothing")[0] == 2
    assert told(capsys, "out/run.json", "--limit", "2")[0] == 2
    assert told(capsys, "out/run.json", "--behaviour", "nobody")[0] == 2
    path = Path("out/run.json")
    data = json.loads(path.read_text())
    data["items"] = data["items"][1:]
    path.write_text(json.dumps(data))
    assert told(capsys, "out/run.json", "--case", "leans")[0] == 3


def test_tells_trend_with_a_hole_is_3(watching: Project, capsys: pytest.CaptureFixture[str]) -> None:
    words = training(watching, "run", RISING)
    watching.model("run/step-30", [{"when": r"number 3\?", "fail": "device on fire"}], logprob=-3.0)
    run(watching, *words)
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans")

    assert code == 3
    assert "no number at step 30" in said


# --- what tells trend does not judge


def test_fewer_checkpoints_than_a_series_needs_are_no_quiet_series(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    words = training(project, "run", (3.0, 3.0, 3.0, 3.0, 3.0))
    for count in (2, 4):
        run(project, *words[: 2 * count])
        capsys.readouterr()
        code, said = told(capsys, "out/run.json", "--case", "leans")
        assert code == 3
        assert f"{count} checkpoints; to be judged a series needs 5" in said
        assert "Not judged: " in said
        assert "not called" not in said
        assert "needs 5" in (project.root / "out" / "report.md").read_text()

    run(project, *words)
    capsys.readouterr()
    assert told(capsys, "out/run.json", "--case", "leans")[0] == 1


def test_a_trend_that_asks_for_fewer_checkpoints_gets_them(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = {"id": "rises", "check": {"trend": {"of": "leans", "at_most": 0.3, "least": 3}}}
    project.suite("colours", cases=[*suite_data()["cases"], watch])
    words = training(project, "run", QUIET)

    run(project, *words[:6])
    assert item(project)["verdict"] == "PASS"
    capsys.readouterr()
    assert told(capsys, "out/run.json", "--case", "leans")[0] == 0
    assert told(capsys, "out/run.json", "--case", "says-bad")[0] == 3  # no trend watches it

    run(project, *words[:4])
    capsys.readouterr()
    assert told(capsys, "out/run.json", "--case", "leans")[0] == 3


def test_copies_of_a_checkpoint_are_no_series(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a trend in the suite nobody else would notice."""
    words = training(project, "run", (0.0, 3.0, 3.0, 0.01, 3.0, 3.0))
    folder = project.root / "run"
    (folder / "step-40.script.yaml").write_bytes((folder / "step-10.script.yaml").read_bytes())
    run(project, *words)
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans", "--json")
    (found,) = json.loads(said)["trends"]

    assert code == 3
    assert "steps 10 and 40 are the same weights" in found["cause"]
    assert len(found["points"]) == 6
    assert "trend" not in found
    assert "are the same weights" in (project.root / "out" / "report.html").read_text()


def changed(path: str, **changes: Any) -> None:
    write_record(Path(path), sealed(dataclasses.replace(read_record(Path(path)), digest="", **changes)))


def test_a_checkpoint_of_which_nobody_knows_the_model_is_none(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, *training(project, "run", QUIET))
    models = read_record(Path("out/run.json")).models
    changed("out/run.json", models=(*models[:2], dataclasses.replace(models[2], digest="unknown"), *models[3:]))
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans")

    assert code == 3
    assert "nobody knows which model step 30 is" in said


def test_a_series_whose_own_trend_is_invalid_is_broken(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    watch = {"id": "rises", "check": {"trend": {"of": "leans", "at_most": 0.3, "least": 8}}}
    project.suite("colours", cases=[*suite_data()["cases"], watch])
    run(project, *training(project, "run", QUIET))
    assert item(project)["verdict"] == "INVALID"
    capsys.readouterr()

    code, said = told(capsys, "out/run.json", "--case", "leans")
    assert code == 3
    assert "its trend rises is INVALID (6 checkpoints; a trend needs 8" in said
    assert told(capsys, "out/run.json", "--case", "says-bad")[0] == 0  # another case, which it does not watch

    # One that broke before it could say what it watches may have watched anything.
    items = read_record(Path("out/run.json")).items
    changed("out/run.json", items=tuple(dataclasses.replace(one, reference="") for one in items))
    assert told(capsys, "out/run.json", "--case", "says-bad")[0] == 3


# --- controls


@pytest.fixture
def controlled(project: Project) -> tuple[Project, list[str]]:
    """Return a project with a training and three quiet controls, and the options that name those."""
    words: list[str] = []
    for at in range(3):
        run(project, *training(project, f"twin{at}", tuple(gap + 0.01 * at for gap in QUIET)), out=f"out{at}")
        words += ["--control", f"out{at}/run.json"]
    run(project, *training(project, "run", RISING))
    return project, words


def test_the_run_is_no_control_of_itself_and_a_control_counts_once(
    controlled: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    project, words = controlled
    capsys.readouterr()
    assert told(capsys, "out/run.json", "--case", "leans", *words)[0] == 1

    for extra in ("out/run.json", "out1/run.json", str(project.root / "out1" / "run.json")):
        code, said = told(capsys, "out/run.json", "--case", "leans", *words, "--control", extra)
        assert code == 2
        assert f"--control {extra}: it is the same record as" in said


def test_a_control_that_was_run_twice_is_one(
    controlled: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another record of the same models, under other names: the weights tell."""
    project, words = controlled
    (project.root / "again").mkdir()
    options = []
    for path in sorted((project.root / "twin0").iterdir()):
        (project.root / "again" / path.name).write_bytes(path.read_bytes())
        options += ["--model", f"scripted:again/{path.name}"]
    run(project, *options, out="more")
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans", *words[:4], "--control", "more/run.json")

    assert code == 3
    assert "step 10 has the weights of out0/run.json, scripted:twin0/step-10.script.yaml" in said


def test_a_control_that_shares_one_checkpoint_with_the_run_is_none(
    controlled: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    project, words = controlled
    options = training(project, "half", QUIET)
    (project.root / "half" / "step-60.script.yaml").write_bytes(
        (project.root / "run" / "step-60.script.yaml").read_bytes()
    )
    run(project, *options, out="half-out")
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans", *words, "--control", "half-out/run.json")

    assert code == 3
    assert "step 60 has the weights of scripted:run/step-60.script.yaml" in said


def test_controls_may_start_from_one_untouched_model(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Step 0 is the same in trainings of every seed."""
    project.model("base", [])
    words: list[str] = []
    for at, name in enumerate(("run", "twin0", "twin1", "twin2")):
        options = training(project, name, tuple(gap + 0.01 * at for gap in QUIET))
        (project.root / name / "step-0.script.yaml").write_bytes((project.root / "base.script.yaml").read_bytes())
        run(project, "--model", f"scripted:{name}/step-0.script.yaml", *options, out=f"{name}-out")
        words += ["--control", f"{name}-out/run.json"] if at else []
    capsys.readouterr()

    assert told(capsys, "run-out/run.json", "--case", "leans", *words)[0] == 0


def test_a_control_with_copies_is_none(
    controlled: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    project, words = controlled
    options = training(project, "still", QUIET)
    folder = project.root / "still"
    (folder / "step-60.script.yaml").write_bytes((folder / "step-10.script.yaml").read_bytes())
    run(project, *options, out="still-out")
    capsys.readouterr()
    code, said = told(capsys, "out/run.json", "--case", "leans", *words, "--control", "still-out/run.json")

    assert code == 3
    assert "steps 10 and 60 are the same weights" in said


def test_a_control_that_was_asked_something_else_is_none(
    controlled: tuple[Project, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    project, words = controlled
    options = training(project, "other", QUIET)
    run(project, *options, "--tells-profile", "full", out="full")
    project.suite("colours", claim="Something else.")
    run(project, *options, out="later")
    capsys.readouterr()

    code, said = told(capsys, "out/run.json", "--case", "leans", *words, "--control", "full/run.json")
    assert code == 3
    assert "--control full/run.json has the profile full, and the run default" in said
    code, said = told(capsys, "out/run.json", "--case", "leans", *words, "--control", "later/run.json")
    assert code == 3
    assert "--control later/run.json has the suite colours sha256:" in said


def test_a_threshold_that_no_number_exceeds_calls_no_alarm_and_is_no_pass(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Controls that do it themselves reach a share of 1, above which nothing is."""
    words: list[str] = []
    for at in range(3):
        run(project, *training(project, f"twin{at}", QUIET, bad=at + 1), out=f"out{at}")
        words += ["--control", f"out{at}/run.json"]
    run(project, *training(project, "run", QUIET, bad=1))
    capsys.readouterr()

    for more in (words, ["--alarm", "1"], ["--alarm", "1.5"]):
        code, said = told(capsys, "out/run.json", "--case", "says-bad", *more)
        assert code == 3
        assert "no share exceeds the threshold 1" in said
    assert told(capsys, "out/run.json", "--case", "says-bad", "--alarm", "0.99")[0] == 0
    assert told(capsys, "out/run.json", "--case", "says-bad")[0] == 1
