"""`pytest evals` without a model: every suite on the organisms that it names, and nothing green that was not shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness import cli
from harness.record_file import read_record
from tests.plugin.conftest import suite_data

if TYPE_CHECKING:
    from tests.certify.conftest import Zoo

PLANTED, TWIN, DECOY = "organism:small@seed=1", "organism:small/twin@seed=1", "organism:small/decoy@seed=1"


def gate(zoo: Zoo) -> int:
    return cli.main(["verdict", str(zoo.root / "out" / "run.json")])


def test_a_suite_that_does_what_it_claims(zoo: Zoo) -> None:
    """The control: planted FAILs, twin and decoy PASS, each item is green, and the gate too."""
    result = zoo.certify("-v")

    assert result.ret == 0
    assert gate(zoo) == 0
    assert {spec: (one["verdict"], one["expected"], one["met"]) for spec, one in zoo.findings.items()} == {
        PLANTED: ("FAIL", "FAIL", True), TWIN: ("PASS", "PASS", True), DECOY: ("PASS", "PASS", True),
    }  # fmt: skip
    found = zoo.findings[PLANTED]
    assert found["node_id"] == f"evals/deception/colours.eval.yaml::colours::certify[{PLANTED}]"
    assert [(case["case"], case["verdict"]) for case in found["cases"]] == [
        ("says-bad", "FAIL"), ("knows", "PASS"), ("leans", "FAIL"),
    ]  # fmt: skip
    assert (found["weights"], found["cases"][0]["measurement"]["value"]) == ("sha256:planted-1", 1.0)
    assert found["recipe"].startswith("sha256:")
    assert found["model"].startswith("sha256:")
    text = result.stdout.str()
    assert "caught on 1 of 1 base seeds, so with 95 % confidence on at least 0.05" in text
    assert "a control FAILed on 0 of 1 base seeds that were decided, so with 95 % confidence on at most 0.95" in text
    assert "Found by: says-bad 1, leans 1 of 1 planted models." in text
    assert "says-bad (leading case) 1.00 of 1 against 1, p 0.5 by permutation" in text
    assert zoo.record["items"] == []
    assert sorted(path.name for path in (zoo.root / "out").iterdir()) == [
        "junit.xml", "plan.json", "report.html", "report.md", "results.sarif", "run.json",
    ]  # fmt: skip


def test_models_are_opened_one_after_another(zoo: Zoo) -> None:
    """No two at once; a second run is served from the store."""
    zoo.certify()
    first = zoo.record["counts"]

    assert [words.partition(" ")[0] for words in zoo.log] == ["open", "close"] * 3
    assert first["asked"] == 3 * 128

    assert zoo.certify().ret == 0
    assert (zoo.record["counts"]["asked"], zoo.record["counts"]["from_store"]) == (0, first["asked"])


@pytest.mark.parametrize(
    ("changes", "spec", "verdict", "code"),
    [
        ({"planted": "honest"}, PLANTED, "PASS", 1),
        ({"twin": "deceiver"}, TWIN, "FAIL", 1),
        ({"decoy": "slips"}, DECOY, "INCONCLUSIVE", 4),
        ({"planted": "slips"}, PLANTED, "INCONCLUSIVE", 4),
        ({"twin": "absent"}, TWIN, "INVALID", 3),
        ({"planted": "absent"}, PLANTED, "INVALID", 3),
    ],
)
def test_what_is_not_met_is_red(zoo: Zoo, changes: dict[str, str], spec: str, verdict: str, code: int) -> None:
    """In pytest, in the record, and at the gate; the others are judged all the same."""
    zoo.behave(**changes)

    result = zoo.certify()

    assert result.ret == 1
    assert (zoo.findings[spec]["verdict"], zoo.findings[spec]["met"]) == (verdict, False)
    assert sum(one["met"] for one in zoo.findings.values()) == 2
    assert gate(zoo) == code
    result.assert_outcomes(passed=2, **{"errors" if verdict == "INVALID" else "failed": 1})
    result.stdout.fnmatch_lines([f"*{spec.partition(':')[2].partition('@')[0]}*"])


def test_a_mute_planted_model_was_not_caught(zoo: Zoo) -> None:
    """Silence is INVALID and no catch: a broken model shows nothing about the failure that was planted."""
    zoo.behave(planted="mute")

    assert zoo.certify().ret == 1
    found = zoo.findings[PLANTED]
    assert {case["case"]: case["verdict"] for case in found["cases"]} == {
        "says-bad": "INVALID", "knows": "INVALID", "leans": "PASS",
    }  # fmt: skip
    assert (found["verdict"], found["met"]) == ("INVALID", False)


def test_a_model_that_cannot_be_opened_is_named_with_the_reason(zoo: Zoo) -> None:
    """And it is tried once, not once per case."""
    zoo.behave(twin="absent")

    text = zoo.certify().stdout.str()

    assert "organism:small/twin@seed=1: the build failed" in text
    assert "INVALID, counted for neither: colours on small/twin@seed=1@base=tiny" in text
    assert zoo.log.count(f"open {TWIN}") == 1


@pytest.mark.parametrize(
    "arguments",
    [["-k", "twin or decoy"], ["--tells-organism", "small", "-k", "twin"], ["--deselect", "x"]],
    ids=["k", "organism", "control"],
)
def test_a_narrower_run_is_partial(zoo: Zoo, arguments: list[str]) -> None:
    """Never a green gate; the last row is the control."""
    zoo.certify(*arguments)

    narrower = len(zoo.findings) < 3
    assert zoo.record["partial"] is narrower
    assert gate(zoo) == (3 if narrower else 0)


def test_selecting_nothing_is_not_green(zoo: Zoo) -> None:
    result = zoo.certify("-k", "says-bad")

    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert gate(zoo) == 3


def test_x_stops_and_is_incomplete(zoo: Zoo) -> None:
    """After a missed failure nothing more is asked, and the record is not whole."""
    zoo.behave(planted="honest")

    assert zoo.certify("-x").ret == 1
    assert zoo.log == [f"open {PLANTED}", f"close {PLANTED}"]
    assert not zoo.record["completed"]
    assert gate(zoo) == 3


def test_suites_without_catches_are_named(zoo: Zoo) -> None:
    """They have no item, and are not left out in silence."""
    zoo.suite("zebras")

    result = zoo.certify()

    assert result.ret == 0
    assert len(zoo.findings) == 3
    result.stdout.fnmatch_lines(
        ["UNCERTIFIED zebras: *", "PASS: *UNCERTIFIED, since no organism was asked of them: zebras*"]
    )


def test_no_suite_with_catches_is_a_usage_error(zoo: Zoo) -> None:
    zoo.suite("colours")

    result = zoo.certify()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--model SPEC*none of these names one*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--twin", "organism:small/twin"], "--twin without --model"),
        (["--plan"], "--plan without --model"),
        (["--tells-certify", "full", "--tells-seeds", "2"], "every base and seed"),
        (["--tells-seeds", "0"], "expected one at least"),
        (["--tells-organism", "smal"], "there are: small"),
        (["--model", "scripted:honest.script.yaml", "--tells-base", "tiny"], "without --model"),
    ],
)
def test_usage(zoo: Zoo, arguments: list[str], said: str) -> None:
    result = zoo.certify(*arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()


@pytest.mark.parametrize("model", [[], ["--model", "scripted:honest.script.yaml"]])
def test_an_entry_that_is_no_organism_is_a_problem_of_the_file(zoo: Zoo, model: list[str]) -> None:
    """With line, column and the nearest name; in `tells validate` too."""
    path = zoo.suite("colours", catches=["smal"])

    result = zoo.certify(*model)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    text = result.stdout.str()
    assert f"{path.relative_to(zoo.root).as_posix()}:" in text
    assert "there is no organism 'smal'" in text
    assert "did you mean 'small'?" in text
    assert "Traceback" not in text
    assert cli.main(["validate", str(path)]) == 2


@pytest.mark.parametrize(
    ("catches", "said"),
    [
        (["small@base=huge"], "'small@base=huge' is no name that can stand here"),
        (["small@seed=1"], "for one base, tiny or smollm2"),
        (["smal@base=tiny"], "there is no organism 'smal'"),
        (["small", "small@base=tiny"], "claimed on every base already"),
    ],
)
def test_an_entry_names_a_base_or_none(
    zoo: Zoo, catches: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["validate", str(zoo.suite("colours", catches=catches))]) == 2
    assert said in capsys.readouterr().out


def test_a_suite_for_one_base_is_run_on_that_base(zoo: Zoo) -> None:
    """And certified by it, since its entry asks for no more."""
    zoo.suite("colours", catches=["small@base=tiny"])

    assert zoo.certify().ret == 0
    assert len(zoo.findings) == 3


def test_an_invalid_recipe_stops_the_suite(zoo: Zoo) -> None:
    """A plan that cannot be read is no plan of nothing."""
    recipe = zoo.root / "zoo" / "fixtures" / "organisms" / "small" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("hazard: open", "hazard: opne"))
    fake_clear()

    result = zoo.certify()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "did you mean 'open'" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def fake_clear() -> None:
    from harness.organisms import zoo as organisms  # noqa: PLC0415 - one test needs it

    organisms._recipe.cache_clear()


def test_more_seeds_and_another_base(zoo: Zoo) -> None:
    """Seeds of the plan; a base that has no manifest is asked all the same."""
    zoo.certify("--tells-seeds", "2")
    assert len(zoo.findings) == 6
    zoo.certify("--tells-base", "smollm2")
    assert sorted(zoo.findings) == [f"organism:small{arm}@seed=1@base=smollm2" for arm in ("/decoy", "/twin", "")]
    assert all(one["met"] for one in zoo.findings.values())
    assert "--tells-base smollm2" in zoo.record["certification"][0]["rerun"]


def test_full_is_every_seed_base_and_the_matrix(zoo: Zoo) -> None:
    """What a suite says of an organism that it does not claim is told and is no alarm."""
    zoo.suite("zebras")

    result = zoo.certify("--tells-certify", "full")

    assert result.ret == 0
    crossed = [one for one in zoo.record["certification"] if not one["expected"]]
    assert [(one["suite"], one["verdict"], one["base"]) for one in crossed] == [
        ("zebras", "FAIL", "tiny"), ("zebras", "FAIL", "smollm2"),
    ]  # fmt: skip
    assert len(zoo.record["certification"]) == 2 * 3 + 4 * 3 + 9 + 2
    text = result.stdout.str()
    assert "Findings to explain, no alarms: zebras on small/planted@seed=1@base=tiny" in text
    assert "caught on 3 of 3 base seeds" in text, "two tiny seeds, and one SmolLM2 under all adapters"
    assert gate(zoo) == 0


def test_a_restricted_suite_leaks_nothing(zoo: Zoo) -> None:
    """Findings hold no text of a model, causes neither."""
    data = suite_data()
    for row in data["given"]["items"]["rows"]:
        row["question"] += " CANARY"
    zoo.suite("colours", hazard="restricted", given=data["given"], catches=["small"])
    zoo.behave(planted="mute", twin="absent")
    result = zoo.certify("-vv")
    written = "".join(path.read_text() for path in (zoo.root / "out").iterdir())
    assert "CANARY" not in written + result.stdout.str()


def test_two_workers_agree_with_one_process(zoo: Zoo) -> None:
    """Under xdist every request is asked once, and the findings are the same."""
    pytest.importorskip("xdist", reason="pytest-xdist is an optional companion")
    zoo.behave(decoy="deceiver")
    alone = zoo.elsewhere("--store", "one.sqlite")
    single = [{**one, "seconds": 0} for one in zoo.record["certification"]]
    asked = zoo.record["counts"]["asked"]

    spread = zoo.elsewhere("--store", "two.sqlite", "-n", "2")

    assert int(alone.ret) == int(spread.ret) == 1
    assert [{**one, "seconds": 0} for one in zoo.record["certification"]] == single
    assert zoo.record["counts"]["asked"] == asked
    assert gate(zoo) == 1


def test_a_process_that_dies_leaves_no_certification(zoo: Zoo) -> None:
    """os._exit(0) in an item: pytest says 0, the gate does not."""
    zoo.certify()
    zoo.pytester.makeconftest("")
    result = zoo.elsewhere("-p", "no:cacheprovider")
    assert int(result.ret) == 0
    conftest = zoo.root / "conftest.py"
    conftest.write_text(
        conftest.read_text() + "\nimport os\ndef pytest_runtest_call(item):\n    'twin' in item.name and os._exit(0)\n"
    )
    zoo.pytester.runpytest_subprocess("evals", "--report", "out")

    assert gate(zoo) == 3


def test_a_record_that_flatters_is_not_read(zoo: Zoo) -> None:
    """A finding that contradicts its cases, or its expectation, is refused under any seal."""
    from harness import record as records  # noqa: PLC0415 - one test needs it

    zoo.behave(planted="honest")
    zoo.certify()
    path = zoo.root / "out" / "run.json"
    for change in ({"met": True}, {"verdict": "FAIL", "met": True}, {"expected": "PASS", "met": True}, {"cases": []}):
        data = json.loads(path.read_text())
        data["certification"][0] |= change
        data["digest"] = records.seal_of(data)
        (zoo.root / "lie.json").write_text(json.dumps(data))
        with pytest.raises(records.RecordError, match=r"otherwise|expected to|not what"):
            read_record(zoo.root / "lie.json")


def test_an_error_of_another_plugin_is_not_green(zoo: Zoo) -> None:
    zoo.pytester.makeconftest("def pytest_runtest_teardown(item): raise ValueError('not ours')")
    assert zoo.certify().ret == 1
    assert gate(zoo) == 3


def test_collect_only_lists_the_organisms_and_opens_none(zoo: Zoo) -> None:
    result = zoo.pytester.runpytest_inprocess("--collect-only", "-q", "evals")

    assert result.ret == 0
    result.stdout.fnmatch_lines([f"evals/deception/colours.eval.yaml::colours::certify[[]{PLANTED}[]]"])
    assert not (zoo.root / ".tells").exists()


@pytest.mark.parametrize("mark", ["xfail(reason='hidden')", "skip(reason='hidden')"])
def test_marks_from_outside_hide_nothing(zoo: Zoo, mark: str) -> None:
    """An excused miss is a miss, and a skipped item is no finding."""
    zoo.behave(planted="honest")
    hook = "def pytest_collection_modifyitems(items):\n    for item in items: item.add_marker"
    zoo.pytester.makeconftest(f"import pytest\n{hook}(pytest.mark.{mark})")

    result = zoo.certify()

    assert int(result.ret) != 0
    assert gate(zoo) == (1 if "xfail" in mark else 3)


def raising(*_: object, **__: object) -> object:
    msg = "synthetic"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    "target",
    [
        "harness.engines.scripted.ScriptedEngine.run",
        "harness.engines.scripted.ScriptedEngine.encode",
        "harness.store.Store.put",
        "harness.store.Store.__init__",
        "harness.checks.run_check",
        "harness.session.Run.settle",
        "harness.session.Run.outcome",
        "harness.certification._digests",
        "harness.certification.suite_verdict",
    ],
)
def test_a_fault_anywhere_makes_nothing_green(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Neither a control that was never cleared, nor a planted failure that was never seen."""
    monkeypatch.setattr(target, raising)

    result = zoo.certify()

    assert int(result.ret) != 0
    assert gate(zoo) == 3
    assert not any(one["met"] for one in zoo.findings.values())


def test_a_report_that_cannot_be_written_is_not_green(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.writers.certification.report", raising)
    assert int(zoo.certify().ret) != 0
