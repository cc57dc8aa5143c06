"""`tells certify`, and what a run on a model says of certificates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import cli
from harness.commands import certify
from tests.certify import fake
from tests.certify.conftest import CONFTEST

if TYPE_CHECKING:
    from tests.certify.conftest import Zoo

Captured = pytest.CaptureFixture[str]


def tells(zoo: Zoo, *arguments: str) -> int:
    """Run the verb; its pytest is a process of its own, which finds the same zoo."""
    (zoo.root / "conftest.py").write_text(CONFTEST)
    return cli.main(["certify", "--report", "cert", *arguments])


def test_it_writes_what_a_model_run_then_shows(zoo: Zoo, capfd: Captured) -> None:
    """Uncertified before, certified after, uncertified again when the suite has changed."""
    zoo.run()
    assert zoo.record["suites"][0]["certificate"]["state"] == "absent"
    assert "P PASS UNCERTIFIED" in (zoo.root / "out" / "report.md").read_text()

    assert tells(zoo, "--seeds", "2", "--write") == 0

    said = capfd.readouterr().out
    assert "certified: colours, 2 of 2 base seeds, evals/deception/colours.certificate.json" in said
    assert "caught on 2 of 2 base seeds" in said
    result = zoo.run()
    assert result.ret == 0
    known = zoo.record["suites"][0]["certificate"]
    assert (known["state"], known["k"], known["n"], known["bound"]) == ("living", 2, 2, pytest.approx(0.05**0.5))
    assert "UNCERTIFIED" not in result.stdout.str()
    assert [(one["case"], one["flagged"], one["truly_bad"]) for one in known["flags"]] == [("says-bad", 64, 64)]
    said = result.stdout.str()
    assert "would have been caught with probability 0.22 at least; says-bad[" in said
    # 0 of 32 is at most 0.0894, and 64 of 64 on two base seeds is at least 0.2236.
    assert "with 90 % confidence at most 0.4 of the scenarios are truly bad (0.089 flagged; 64 of 64" in said
    assert "certified: colours, caught on 2 of 2 base seeds (at least 0.22)" in result.stdout.str()
    pages = [(zoo.root / "out" / name).read_text() for name in ("report.md", "report.html")]
    assert all("caught on 2 of 2 base seeds" in page for page in pages)

    zoo.path().write_text(zoo.path().read_text().replace("Be brief.", "Be very brief."))
    result = zoo.run()
    assert result.ret == 0
    assert zoo.record["suites"][0]["certificate"]["state"] == "dead"
    assert "UNCERTIFIED: colours, its certificate is dead: the suite" in result.stdout.str()
    assert "P PASS UNCERTIFIED" in result.stdout.str()
    assert "P PASS UNCERTIFIED" in (zoo.root / "out" / "report.html").read_text()
    assert cli.main(["verdict", "out/run.json"]) == 0
    assert "UNCERTIFIED, so that a PASS there says little: colours." in capfd.readouterr().out


def test_a_fail_blocks_whatever_is_certified(zoo: Zoo) -> None:
    assert zoo.run(model="deceiver").ret == 1
    assert "F FAIL UNCERTIFIED" not in (zoo.root / "out" / "report.md").read_text()


def test_a_suite_that_misses_gets_none_and_loses_what_it_had(zoo: Zoo, capfd: Captured) -> None:
    """A contradiction takes the certificate away; what could not be measured does not."""
    path = zoo.root / "evals" / "deception" / "colours.certificate.json"
    assert tells(zoo, "--write") == 0
    assert path.is_file()
    zoo.behave(decoy="absent")
    assert tells(zoo, "--write") == 3
    assert path.is_file()
    zoo.behave(decoy="honest", planted="honest")
    assert tells(zoo, "--write") == 1
    assert not path.exists()
    assert "not certified: colours, 1 of 3 expectations were not met; its certificate was" in capfd.readouterr().out


def test_a_smaller_run_does_not_replace_a_larger_one(zoo: Zoo, capfd: Captured) -> None:
    assert tells(zoo, "--seeds", "2", "--write") == 0
    path = zoo.root / "evals" / "deception" / "colours.certificate.json"
    before = path.read_bytes()

    assert tells(zoo, "--write") == 0

    assert path.read_bytes() == before
    assert "kept: evals/deception/colours.certificate.json, which says 2 base seeds" in capfd.readouterr().out


def test_a_narrower_run_writes_nothing(zoo: Zoo, capfd: Captured) -> None:
    """Options of pytest are handed on; what they leave out is missed."""
    assert tells(zoo, "--write", "-ktwin") == 3
    assert not (zoo.root / "evals" / "deception" / "colours.certificate.json").exists()
    assert "2 of 3 planned models were not asked" in capfd.readouterr().out


def test_a_run_without_a_record_is_broken(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    """A process that dies with exit code 0, and one that was asked what it cannot; yesterday's record is not read."""
    assert tells(zoo, "--write") == 0
    monkeypatch.setattr(certify, "_pytest", lambda *_: 0)
    assert tells(zoo) == 3
    monkeypatch.setattr(certify, "_pytest", lambda *_: 4)
    assert tells(zoo) == 2
    assert "pytest left no record" in capfd.readouterr().err


def test_a_record_of_a_model_run_certifies_nothing(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    zoo.run()
    record = (zoo.root / "out" / "run.json").read_bytes()

    def leave(*given: object) -> int:
        folder = Path(str(given[-1]))
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_bytes(record)
        return 0

    monkeypatch.setattr(certify, "_pytest", leave)
    assert tells(zoo, "--write") == 3
    assert not (zoo.root / "evals" / "deception" / "colours.certificate.json").exists()
    capfd.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such file"),
        (["conftest.py"], "no case file"),
        (["--full", "--seeds", "2"], "--full is every base and seed"),
        (["--seeds", "0"], "expected one at least"),
    ],
)
def test_usage(zoo: Zoo, capfd: Captured, arguments: list[str], said: str) -> None:
    assert tells(zoo, *arguments) == 2
    assert said in capfd.readouterr().err


def test_show_and_report_of_a_certification(zoo: Zoo, capfd: Captured) -> None:
    """The other verbs read such a record too."""
    zoo.certify()
    assert cli.main(["show", "out/run.json"]) == 0
    assert "base seeds" in capfd.readouterr().out
    assert cli.main(["report", "out/run.json", "--out", "again"]) == 0
    for name in ("report.md", "report.html"):
        assert (zoo.root / "again" / name).read_text() == (zoo.root / "out" / name).read_text()
    assert cli.main(["verdict", "out/run.json", "--whole"]) == 0
    assert "3 of 3 selected" in capfd.readouterr().out


def test_an_older_record_keeps_its_seal(zoo: Zoo) -> None:
    """A record without the fields of certification reads as it did."""
    from harness import record as records  # noqa: PLC0415 - one test needs it
    from harness.record_file import read_record  # noqa: PLC0415

    zoo.run()
    data = json.loads((zoo.root / "out" / "run.json").read_text())
    for suite in data["suites"]:
        del suite["certificate"]
    assert "certification" not in data
    data["digest"] = records.seal_of(data)
    (zoo.root / "old.json").write_text(json.dumps(data))

    assert read_record(zoo.root / "old.json").suites[0].certificate is None


def test_a_suite_for_another_base_stops_no_other(zoo: Zoo, capfd: Captured) -> None:
    """It is said to be out of scope, and the others are certified, or lose their certificate."""
    zoo.suite("aa", catches=["small@base=smollm2"])

    assert tells(zoo, "--write") == 0
    said = capfd.readouterr().out
    assert "not certified: aa, nothing that it claims to catch was asked in this scope" in said
    assert "UNCERTIFIED aa: what it claims to catch, small@base=smollm2, was not asked in this scope" in said
    assert zoo.path().with_name("colours.certificate.json").is_file()

    zoo.behave(planted="honest")
    assert tells(zoo, "--write") == 1
    assert "colours, 1 of 3 expectations were not met; its certificate was taken away" in capfd.readouterr().out


def test_a_claim_that_was_not_asked_is_named(zoo: Zoo, capfd: Captured) -> None:
    zoo.suite("colours", catches=["small@base=tiny", "other@base=smollm2"])
    fake.write(zoo.root / fake.ZOO, fake.GOOD.replace("organism: small", "organism: other"), "other")

    tells(zoo)

    assert "Claimed and not asked in this scope: other@base=smollm2." in capfd.readouterr().out


def test_a_refusal_is_no_success(zoo: Zoo, capfd: Captured) -> None:
    """Everything is met, and a model has no digests."""
    shutil.rmtree(zoo.root / "cache")

    assert tells(zoo, "--write") == 3
    assert "has no digest of recipe, weights or identity" in capfd.readouterr().out


def test_mistakes_are_no_crashes(zoo: Zoo, capfd: Captured) -> None:
    (zoo.root / "file").write_text("x")
    assert tells(zoo, "--report", "file") == 2
    assert "Traceback" not in capfd.readouterr().err

    zoo.path().with_name("colours.certificate.json").mkdir()
    assert tells(zoo, "--write") == 3
    said = capfd.readouterr()
    assert "cannot be written" in said.out
    assert "Traceback" not in said.err

    assert tells(zoo, "--seed", "2") == 2, "no abbreviation of --seeds"
