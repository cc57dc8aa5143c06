"""Every way out of a run of a restricted suite: passed, failed, not measured, not collected, crashed."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from typing import TYPE_CHECKING, Any

import pytest

from harness import checks, restricted
from harness.cli import main
from tests.redaction.conftest import ANSWER, BAD, QUESTION, SYSTEM, leaks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redaction.conftest import Vault

LOUD = (
    "-vv", "-rA", "--showlocals", "--tb=long", "--full-trace", "--setup-show", "--durations=0", "-o",
    "log_cli=true", "-o", "log_cli_level=DEBUG", "--log-file=everything.log", "--log-file-level=DEBUG", "-W", "always",
)  # fmt: skip
"""All that makes pytest say more."""
OUTCOMES = {
    "honest": {"says-bad": "PASS", "knows": "PASS", "leans": "PASS"},
    "deceiver": {"says-bad": "FAIL", "knows": "PASS", "leans": "FAIL"},
    "broken": {"says-bad": "INVALID", "knows": "PASS", "leans": "INVALID"},
}


def test_the_search_finds_what_is_there() -> None:
    """A fragment of twelve characters, and a digest of a whole text, are found; nothing else is."""
    assert leaks({"x": b"... " + QUESTION[20:32].encode() + b" ..."})
    assert not leaks({"x": QUESTION[20:31].encode(), "y": b"hmac-sha256:" + b"0" * 64})


@pytest.mark.parametrize("model", list(OUTCOMES))
@pytest.mark.parametrize("capture", ["--capture=fd", "--capture=no"])
def test_no_sink_holds_a_text(vault: Vault, model: str, capture: str) -> None:
    """Whatever the verdict, and whatever pytest is told to say more."""
    result = vault.run(*LOUD, capture, model=model)

    assert vault.verdicts() == OUTCOMES[model]
    assert vault.leaks(result) == []
    names = {place.rpartition("/")[2] for place in vault.everything(result)}
    assert {
        "run.json",
        "plan.json",
        "report.html",
        "report.md",
        "junit.xml",
        "results.sarif",
        "everything.log",
    } <= names


def test_what_could_not_be_measured_says_type_and_tag(vault: Vault) -> None:
    """The cause names the exception and its HMAC, which whoever holds the key can compare."""
    vault.run(model="broken")

    item = next(item for item in vault.record["items"] if item["case"] == "leans")
    assert "RuntimeError: [withheld hmac-sha256:" in item["cause"]


def test_ids_are_keyed_tags_everywhere(vault: Vault) -> None:
    """The id of an item can be a question: evidence, plan and screening hold its tag, alike in all of them."""
    vault.run(model="deceiver")

    plan = json.loads((vault.root / "out" / "plan.json").read_text())
    candidates = set(plan["suites"][0]["candidates"])
    item = next(item for item in vault.record["items"] if item["case"] == "leans")
    assert len(candidates) == 32
    assert all(restricted.TAGGED.fullmatch(name) for name in candidates)
    assert set(item["scenarios"]) == candidates
    assert {row.partition("/")[0] for row in item["evidence"]} == candidates
    assert {row["digests"]["asked"][:12] for row in item["exchanges"]} == {"hmac-sha256:"}


def test_answers_are_in_a_store_of_their_own(vault: Vault) -> None:
    """The common store knows the model and nothing else; a second run asks nothing; nobody else can read the other."""
    vault.run("--store", "common.sqlite")
    own = vault.folder / "store.sqlite"

    with sqlite3.connect(vault.root / "common.sqlite") as common:
        assert common.execute("SELECT COUNT(*) FROM answers").fetchone()[0] == 0
        assert common.execute("SELECT COUNT(*) FROM failures").fetchone()[0] == 0
    assert leaks({own.name: own.read_bytes()}) != []
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in vault.folder.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o600}
    assert {"store.sqlite", "store.sqlite-owner"} <= set(modes)

    vault.run("--store", "common.sqlite")
    assert vault.record["counts"]["asked"] == 0
    assert vault.record["counts"]["from_store"] > 0
    assert vault.record["models"][0]["tolerance"] == 0.0


def test_an_open_suite_beside_it_shares_the_model_and_not_the_store(vault: Vault) -> None:
    """Answers of the open suite are in the common store, its texts in the report; the other's in neither."""
    from tests.plugin.conftest import honest_rules  # noqa: PLC0415
    from tests.redaction.conftest import rules  # noqa: PLC0415

    vault.suite("plain")
    vault.model("both", [*rules(says=ANSWER, shift=5.0), *honest_rules()])

    result = vault.run(*LOUD, "--store", "common.sqlite", model="both")

    with sqlite3.connect(vault.root / "common.sqlite") as common:
        assert common.execute("SELECT COUNT(*) FROM answers").fetchone()[0] > 0
    assert vault.leaks(result) == []
    assert "Question number" in (vault.root / "out" / "run.json").read_text()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_store_that_others_can_read_is_refused(vault: Vault, mode: int) -> None:
    """No answer is added to it, and nothing passes."""
    vault.run()
    (vault.folder / "store.sqlite").chmod(mode)

    result = vault.run()

    assert set(vault.verdicts().values()) == {"INVALID"}
    result.stdout.fnmatch_lines(["*expected mode 0600*"])
    assert vault.leaks(result) == []


def test_a_wide_umask_does_not_open_it(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0600 whatever the umask is."""
    import os  # noqa: PLC0415

    before = os.umask(0)
    try:
        vault.run()
    finally:
        os.umask(before)
    del monkeypatch
    assert {stat.S_IMODE(path.stat().st_mode) for path in vault.folder.glob("store.sqlite*")} == {0o600}


def test_the_verbs_tell_nothing(
    vault: Vault, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show, verdict, report, compare and the store's own verbs, on two runs."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(vault.root / "summary.md"))
    results = []
    for model in ("broken", "deceiver"):
        vault.run(model=model)
        run = str(vault.root / "out" / "run.json")
        for words in (
            ["show", run], ["show", run, "a"], ["verdict", run], ["report", run, "--out", str(vault.root / "again")],
            ["compare", run, run], ["store", "info", str(vault.folder / "store.sqlite")],
            ["validate", str(vault.root / "evals")], ["plan", str(vault.root / "evals")],
            ["store", "prune", str(vault.folder / "store.sqlite"), "--keep-days", "0"],
        ):  # fmt: skip
            main(words)
            results.append("".join(capsys.readouterr()))
    assert all(results)
    assert any("::error" in text for text in results)
    assert "did NOT pass" in (vault.root / "summary.md").read_text()
    assert leaks({str(number): text.encode() for number, text in enumerate(results)}) == []
    assert vault.leaks() == []


def test_an_engine_that_prints_logs_and_warns_is_not_heard(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under live logs and a log file too."""
    import logging  # noqa: PLC0415
    import sys  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    from harness.engines.scripted import ScriptedEngine  # noqa: PLC0415

    said = []
    before = ScriptedEngine._answer

    def answer(self: Any, item: Any) -> Any:
        said.append(item.prompt)
        print(item.prompt)  # noqa: T201
        print(item.prompt, file=sys.stderr)  # noqa: T201
        logging.getLogger("engine").error("prompt %s", item.prompt)
        warnings.warn(item.prompt, stacklevel=1)
        return before(self, item)

    monkeypatch.setattr(ScriptedEngine, "_answer", answer)
    result = vault.run(*LOUD, "--capture=no")

    assert any(SYSTEM in prompt for prompt in said)
    assert vault.leaks(result) == []
    assert logging.root.manager.disable == 0


class Boom(Exception):
    """Named unlike an exception: nothing but its type tells that it is one."""


@pytest.mark.parametrize("kind", [ValueError, Boom])
def test_a_check_that_quotes_what_it_read_is_not_heard(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:  # fmt: skip
    """Graders and measures raise with the text in hand, quoted or not."""
    from harness.errors import MeasureError  # noqa: PLC0415

    checks._load_builtin()

    def rate(evidence: Any) -> Any:
        msg = f"cannot read {evidence.transcript.rows[0].messages[-1].content}"
        raise kind(msg)

    def gap(evidence: Any) -> Any:
        text = evidence.transcript.rows[0].messages[-1].content
        msg = f"no number in {text} at all"
        raise MeasureError(msg)

    monkeypatch.setitem(checks.check._known, "rate", rate)
    monkeypatch.setitem(checks.check._known, "condition_gap", gap)
    result = vault.run(*LOUD)

    assert vault.verdicts() == {"says-bad": "INVALID", "knows": "PASS", "leans": "INVALID"}
    assert kind.__name__ in json.dumps(vault.record)
    assert vault.leaks(result) == []


@pytest.mark.parametrize("place", ["setup", "runtest", "teardown"])
def test_an_exception_inside_an_item_shows_no_frame(vault: Vault, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Where no verdict was reached either: pytest would show source and values of every frame."""
    from harness.items import EvalItem  # noqa: PLC0415

    def broken(self: EvalItem) -> None:
        first = self.suite.items[0].values["question"]
        msg = f"while looking at {first}"
        raise RuntimeError(msg)

    monkeypatch.setattr(EvalItem, place, broken)
    result = vault.run(*LOUD)

    assert result.ret != 0
    if place != "runtest":  # there the page of the verdict stands
        result.stdout.fnmatch_lines(["*RuntimeError: [[]withheld hmac-sha256:*"])
    assert vault.leaks(result) == []


@pytest.mark.parametrize("hook", ["pytest_runtestloop", "pytest_collection_finish", "pytest_sessionfinish"])
def test_a_crash_of_pytest_shows_no_frame(vault: Vault, hook: str) -> None:
    """INTERNALERROR with values of locals, in terminal and JUnit."""
    vault.pytester.makeconftest(
        f"""
        import pytest
        @pytest.hookimpl(tryfirst=True)
        def {hook}(session):
            texts = [item.suite.items[0].values["question"] for item in session.items]
            raise ValueError("crashed at " + texts[0])
        """
    )
    result = vault.run(*LOUD)

    assert result.ret != 0
    assert "ValueError: [withheld hmac-sha256:" in result.stdout.str() + result.stderr.str()
    assert vault.leaks(result) == []


def test_an_interrupt_shows_no_argument(vault: Vault) -> None:
    """With --full-trace pytest shows the arguments of every frame that an interrupt came through."""
    vault.pytester.makeconftest(
        """
        from harness.engines.scripted import ScriptedEngine
        def answer(self, item):
            raise KeyboardInterrupt(item.prompt)
        ScriptedEngine._answer = answer
        """
    )
    result = vault.pytester.runpytest_subprocess(
        "evals", "--model", "scripted:honest.script.yaml", "--report", "out", *LOUD
    )

    assert result.ret == 2
    assert vault.leaks(result) == []


def test_under_xdist_workers_tell_the_controller_nothing(vault: Vault) -> None:
    """Records, failures and plans cross process borders."""
    pytest.importorskip("xdist")
    for model in ("deceiver", "broken"):
        result = vault.pytester.runpytest_subprocess(
            "evals", "--model", f"scripted:{model}.script.yaml", "--report", "out", "-n", "1", *LOUD,
        )  # fmt: skip
        assert result.ret == 1
        assert vault.leaks(result) == []


def test_without_a_key_nothing_stands_for_a_text(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite whose rows lie in the repository needs no key; then no digest is told at all, and ids are places."""
    from tests.redaction.conftest import restricted_items  # noqa: PLC0415

    changes = vault.changes(vault.folder / "bio" / "items.yaml")
    content = restricted_items()
    changes["given"]["items"] = {"rows": [{**content["common"], **row} for row in content["items"]]}
    path = vault.suite("colours", **changes)
    monkeypatch.delenv(restricted.KEY)
    result = vault.run(*LOUD, model="deceiver")

    path.unlink()
    assert vault.verdicts() == OUTCOMES["deceiver"]
    assert vault.leaks(result) == []
    item = next(item for item in vault.record["items"] if item["case"] == "leans")
    assert set(item["exchanges"][0]["digests"].values()) == {"withheld"}
    assert set(item["scenarios"]) == {f"withheld-{n:04}" for n in range(1, 33)}
    assert "hmac" not in json.dumps(item)


def test_show_restricted_shows_and_says_so(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    """The search above can fail: with the option every report for people holds texts, and a banner."""
    result = vault.run("--show-restricted", model="deceiver")

    assert vault.record["shown"] is True
    found = vault.leaks(result)
    shown = {place.rpartition("/")[2] for place, _ in found}
    assert {"run.json", "report.html", "report.md", "junit.xml", "stdout 0"} <= shown
    assert any(place.endswith("run.json") and re.fullmatch(rb"\d+,\d+", needle) for place, needle in found), "token ids"
    assert "plan.json" not in shown
    for name in ("report.html", "report.md", "release.md", "junit.xml", "results.sarif"):
        assert restricted.BANNER in (vault.root / "out" / name).read_text(), name
    assert restricted.BANNER in result.stdout.str()
    assert BAD in result.stdout.str()

    run = str(vault.root / "out" / "run.json")
    capsys.readouterr()
    assert main(["show", run, "says-bad"]) == 0
    assert leaks({"show": capsys.readouterr().out.encode()}) == []
    assert main(["show", run, "says-bad", "--show-restricted"]) == 0
    assert BAD in capsys.readouterr().out
    assert main(["report", run, "--out", str(vault.root / "pages")]) == 2
    assert main(["report", run, "--out", str(vault.root / "pages"), "--show-restricted"]) == 0
    capsys.readouterr()
    main(["verdict", run])
    main(["compare", run, run])
    assert leaks({"verbs": capsys.readouterr().out.encode()}) == []


def test_what_shows_text_becomes_no_baseline(vault: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Baselines are committed."""
    run, target = str(vault.root / "out" / "run.json"), tmp_path / "baseline.json"
    vault.run("--show-restricted")
    assert main(["baseline", "update", run, "--to", str(target)]) == 3
    assert "shows restricted text" in capsys.readouterr().err
    assert not target.exists()

    vault.run()
    assert main(["baseline", "update", run, "--to", str(target)]) == 0
    assert leaks({"baseline": target.read_bytes()}) == []


def test_a_plan_tells_counts_alone(vault: Vault) -> None:
    """It encodes every request, and sends none."""
    result = vault.run("--plan", *LOUD)

    assert result.ret == 0
    result.stdout.fnmatch_lines(["plan for *checks*requests*"])
    assert vault.leaks(result) == []


def test_a_redacted_record_has_nothing_to_show(vault: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    """And says that only tags were kept."""
    vault.run(model="deceiver")

    assert main(["show", str(vault.root / "out" / "run.json"), "says-bad", "--show-restricted"]) == 0
    said = capsys.readouterr().out
    assert "keeps tags alone" in said
    assert leaks({"show": said.encode()}) == []


def test_a_record_that_shows_and_does_not_say_so_is_refused(vault: Vault, tmp_path: Path) -> None:
    """Whoever takes the word out makes the record worthless, seal or no seal."""
    from harness.errors import RecordError  # noqa: PLC0415
    from harness.record import seal_of  # noqa: PLC0415
    from harness.record_file import read_record  # noqa: PLC0415

    vault.run("--show-restricted", model="deceiver")
    data = vault.record
    del data["shown"]
    data["digest"] = seal_of(data)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(data))

    with pytest.raises(RecordError, match="does not say so"):
        read_record(path)
