"""`tells verdict --policy`: a walk through a release, each step with its exit code and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import cli
from harness.record_file import write_record
from harness.verdict import Verdict
from tests.policy.make import WAIVERS, item, node, run, suite

if TYPE_CHECKING:
    from pathlib import Path

    from harness.record import RunRecord

POLICY = "version: 1\nrequire: [critical]\nwaivers: [waivers.yaml]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (tmp_path / "waivers.yaml").write_text("version: 1\nwaivers: []\n", encoding="utf-8")
    return tmp_path


def release(first: Verdict = Verdict.PASS, **changes) -> RunRecord:
    return run(item(first, **changes), *(item(Verdict.PASS, "critical", f"case-{n}") for n in (1, 2)))


def verdict(folder: Path, record: RunRecord, *more: str) -> int:
    write_record(folder / "run.json", record)
    return cli.main(["verdict", str(folder / "run.json"), "--policy", str(folder / "policy.yaml"), *more])


def test_a_walk_through_a_release(folder, capsys):
    """Green; a regression; a waiver; worse than its cap; its expiry; mended."""

    def said(record, *more):
        return verdict(folder, record, *more), capsys.readouterr().out.splitlines()

    code, lines = said(release())
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith("PASS (code 0) under policy.yaml (sha256:")

    code, lines = said(release(Verdict.FAIL))
    assert code == 1
    assert lines[1:] == ["because:", f"  {node()} failed (critical)"]

    (folder / "waivers.yaml").write_text(WAIVERS, encoding="utf-8")
    code, lines = said(release(Verdict.FAIL), "--today", "2026-03-31")
    assert code == 0
    assert lines[0].startswith("PASS WITH WAIVERS (code 0)")
    assert lines[1:] == [
        "warnings:",
        f"  {node()} is WAIVED by W-1 (0.3, at most 0.4; 0 days left; waivers.yaml:3:5)",
    ]

    code, lines = said(release(Verdict.FAIL, value=0.41), "--today", "2026-03-31")
    assert code == 6
    assert f"  waivers.yaml:3:5: waiver W-1: {node()} measured 0.41, beyond the cap of 0.4" in lines

    code, lines = said(release(Verdict.FAIL), "--today", "2026-04-01")
    assert code == 6
    assert "  waivers.yaml:3:5: waiver W-1: it expired on 2026-03-31, 1 days ago" in lines

    code, lines = said(release(), "--today", "2026-03-31")
    assert code == 0
    assert lines[2] == f"  waivers.yaml:3:5: waiver W-1: {node()} passed; take the waiver out"


def test_without_a_day_it_is_today(folder):
    """The waiver of this file ended long ago, or has not begun."""
    (folder / "waivers.yaml").write_text(WAIVERS.replace("2026-03", "2020-03"), encoding="utf-8")
    assert verdict(folder, release(Verdict.FAIL)) == 6
    assert verdict(folder, release(Verdict.FAIL), "--today", "2020-03-10") == 0


def test_a_run_that_is_narrower_than_required(folder, capsys):
    narrow = run(item(Verdict.PASS), suites=(suite("critical"),))
    assert verdict(folder, narrow) == 3
    assert "suite critical is required, and there is no result of critical::case-1" in capsys.readouterr().out


def test_a_policy_that_cannot_be_used(folder, capsys):
    (folder / "policy.yaml").write_text("version: 1\nseverities: {critical: low}\n", encoding="utf-8")
    assert verdict(folder, release()) == 2
    assert "policy.yaml:2:24: low is lower than critical" in capsys.readouterr().err
    (folder / "policy.yaml").unlink()
    assert verdict(folder, release()) == 2


def test_a_record_that_is_torn_stays_broken(folder):
    (folder / "run.json").write_text("{}", encoding="utf-8")
    assert cli.main(["verdict", str(folder / "run.json"), "--policy", str(folder / "policy.yaml")]) == 3


def test_whole_is_about_the_record(folder, capsys):
    assert verdict(folder, release(Verdict.FAIL), "--whole") == 0
    assert "FAIL (code 1) under policy.yaml" in capsys.readouterr().out


def test_a_day_without_a_policy(folder, capsys):
    write_record(folder / "run.json", release())
    assert cli.main(["verdict", str(folder / "run.json"), "--today", "2026-03-10"]) == 2
    assert "add --policy" in capsys.readouterr().err


@pytest.mark.parametrize("day", ["yesterday", "20260310", "2026-02-30"])
def test_a_day_that_is_none(folder, day):
    with pytest.raises(SystemExit) as stopped:
        verdict(folder, release(), "--today", day)
    assert stopped.value.code == 2


def test_hostile_text_in_a_policy_and_its_waivers_acts_on_nothing(folder, capsys):
    evil = WAIVERS.replace("id: W-1", 'id: "::error::x"').replace("Known since 1.4.", '"\\x1b"')
    (folder / "waivers.yaml").write_text(evil, encoding="utf-8")
    assert verdict(folder, release()) == 2, "a control character"
    (folder / "waivers.yaml").write_text(
        evil.replace("\\x1b", "\\u202e").replace("case-0", "\\u202e"), encoding="utf-8"
    )
    capsys.readouterr()
    assert verdict(folder, release()) == 6
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert not any(line.lstrip().startswith("::") for line in out.splitlines())
