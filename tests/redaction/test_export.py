"""`tells export`: to whom a record may go, who said so, and that nothing is written otherwise."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness import restricted
from harness.cli import main
from harness.exchange import AnswerText
from harness.record_file import read_record, write_record
from harness.review import load_reviews
from tests.record_factory import make_exchange, make_item, make_record, make_suite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redaction.conftest import Vault

TODAY = dt.datetime.now(dt.UTC).date()
SECRET = "the planted canary sentence of this test"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that writes a run of one suite and returns the path."""

    def write(hazard: str, **changes: Any) -> Path:
        answers = (AnswerText(text=SECRET, finish_reason="stop"),)
        item = make_item(hazard=hazard, exchanges=(make_exchange(answers=answers),), shown=changes.get("shown"))
        path = tmp_path / "run" / "run.json"
        write_record(path, make_record(item, suites=(make_suite(hazard=hazard),), **changes))
        return path

    return write


def review(path: Path, **changes: Any) -> Path:
    """Write a review that clears the suite of the run, with changes; a value of None takes a key out."""
    record = read_record(path)
    what = {"suite": record.suites[0].id, "digest": record.suites[0].digest}
    entry = {
        "what": what, "cleared_for": ["partners"], "by": "R. Reviewer", "date": str(TODAY), "note": "Read whole.",
        **changes,
    }  # fmt: skip
    entry = {key: value for key, value in entry.items() if value is not None}
    written = path.with_name("review.yaml")
    written.write_text(yaml.safe_dump({"version": "tells-review/1", "reviews": [entry]}))
    return written


def export(path: Path, audience: str, *more: str) -> tuple[int, Path]:
    """Return the exit code, and where to."""
    out = path.parent.parent / "out"
    return main(["export", str(path), "--for", audience, "--out", str(out), *more]), out


@pytest.mark.parametrize("audience", ["public", "partners", "internal"])
def test_an_open_run_goes_to_anyone(run: Any, audience: str) -> None:
    """The record byte for byte as sealed, and pages; no review is asked for."""
    path = run("open")
    code, out = export(path, audience)

    assert code == 0
    assert {one.name for one in out.iterdir()} == {"run.json", "report.md", "report.html", "export.md"}
    assert (out / "run.json").read_bytes() == path.read_bytes()
    assert "None was needed" in (out / "export.md").read_text()
    assert SECRET in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("hazard", "audience", "cleared", "code"),
    [
        ("internal", "internal", None, 0), ("internal", "partners", None, 3), ("internal", "partners", "suite", 0),
        ("internal", "partners", "run", 0), ("internal", "public", "suite", 3), ("restricted", "internal", None, 3),
        ("restricted", "partners", "suite", 0), ("restricted", "partners", "run", 0),
        ("restricted", "public", "run", 3),
    ],
)  # fmt: skip
def test_who_may_see_what(run: Any, hazard: str, audience: str, cleared: str | None, code: int) -> None:
    """Internal goes to `internal`; all else needs a review for that audience; refused means nothing is written."""
    path = run(hazard)
    what = {"run": read_record(path).digest} if cleared == "run" else None
    changes = {"what": what} if what else {}
    more = ("--review", str(review(path, **changes))) if cleared else ()
    found, out = export(path, audience, *more)

    assert found == code
    assert out.exists() == (code == 0)
    assert {one.name for one in path.parent.parent.iterdir()} == {"run", *(["out"] if code == 0 else [])}
    if cleared and code == 0:
        page = (out / "export.md").read_text()
        assert "R. Reviewer" in page
        assert "Read whole" in page
        again = load_reviews(out / "review.yaml", TODAY)
        assert [one.by for one in again] == ["R. Reviewer"]
        assert again[0].cleared_for == ("partners",)


def test_shown_texts_need_a_review_of_the_run(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever read the suite has not seen the answers."""
    path = run("restricted", shown=True)
    assert export(path, "partners", "--review", str(review(path)))[0] == 3
    assert "shows restricted text" in capsys.readouterr().err

    whole = review(path, what={"run": read_record(path).digest})
    code, out = export(path, "partners", "--review", str(whole))
    assert code == 0
    for name in ("export.md", "report.md", "report.html"):
        assert restricted.BANNER in (out / name).read_text()
    assert SECRET in (out / "report.html").read_text()
    assert out.stat().st_mode & 0o077 == 0


def other(letter: str) -> str:
    """Return a digest of nothing that is here."""
    return f"sha256:{letter * 64}"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"what": {"suite": "deployment-defection", "digest": other("0")}}, 3),
        ({"what": {"suite": "another", "digest": other("0")}}, 3),
        ({"what": {"run": other("0")}}, 3),
        ({"cleared_for": ["partner"]}, 3),
        ({"what": {}}, 2),
        ({"what": {"suite": "deployment-defection"}}, 2),
        ({"what": {"digest": other("0")}}, 2),
        ({"what": {"suite": "deployment-defection", "digest": other("0"), "run": other("0")}}, 2),
        ({"what": {"suite": "deployment-defection", "digest": "sha256:abc"}}, 2),
        ({"what": None}, 2), ({"by": None}, 2), ({"by": ""}, 2), ({"by": "  "}, 2), ({"date": None}, 2),
        ({"note": None}, 2), ({"cleared_for": None}, 2), ({"cleared_for": []}, 2), ({"cleared_for": "partners"}, 2),
        ({"cleared_for": ["*"]}, 2), ({"date": str(TODAY + dt.timedelta(days=1))}, 2), ({"date": "yesterday"}, 2),
        ({"date": "20260101"}, 2), ({"until": "2030-01-01"}, 2), ({"reviewer": "R."}, 2),
    ],
)  # fmt: skip
def test_a_review_that_does_not_fit_clears_nothing(run: Any, changes: dict[str, Any], code: int) -> None:
    """Of another digest or audience: 3. Not whole, unknown keys, a day to come: 2. Nothing is written."""
    path = run("restricted")
    found, out = export(path, "partners", "--review", str(review(path, **changes)))

    assert found == code
    assert not out.exists()


def test_every_suite_of_a_run_is_asked_for(run: Any, tmp_path: Path) -> None:
    """One that is cleared does not cover another, be it one without an item."""
    first = run("restricted")
    record = read_record(first)
    more = make_suite(id="another", hazard="internal", path="another.eval.yaml")
    both = make_record(*record.items, suites=(*record.suites, more))
    path = tmp_path / "both" / "run.json"
    write_record(path, both)

    assert export(path, "partners", "--review", str(review(path)))[0] == 3


def test_nothing_is_put_beside_what_is_there(run: Any) -> None:
    """A page for another audience must not stay in the folder."""
    path = run("open")
    out = path.parent.parent / "out"
    out.mkdir()
    (out / "old.md").write_text("x")
    assert export(path, "public")[0] == 2
    assert [one.name for one in out.iterdir()] == ["old.md"]
    (out / "old.md").unlink()
    assert export(path, "public")[0] == 0


@pytest.mark.parametrize("audience", ["", "Everyone", "a b", "../x", "*"])
def test_an_audience_has_a_name(run: Any, audience: str) -> None:
    """No patterns."""
    assert export(run("open"), audience)[0] == 2


def test_a_damaged_record_is_not_exported(run: Any) -> None:
    """Its hazard could have been changed."""
    path = run("restricted")
    path.write_text(path.read_text().replace('"restricted"', '"open"'))
    code, out = export(path, "public")
    assert code == 3
    assert not out.exists()


def test_the_plan_goes_along_and_must_be_the_run_s(vault: Vault, tmp_path: Path) -> None:
    """A run as it is made: record and plan; without its plan it is not whole."""
    vault.suite("colours", hazard="open")
    vault.run()
    path = vault.root / "out" / "run.json"
    target = tmp_path / "exported"
    assert main(["export", str(path), "--for", "public", "--out", str(target)]) == 0
    assert (target / "plan.json").read_bytes() == path.with_name("plan.json").read_bytes()
    assert main(["verdict", str(target / "run.json")]) == main(["verdict", str(path)])

    path.with_name("plan.json").unlink()
    assert main(["export", str(path), "--for", "public", "--out", str(tmp_path / "again")]) == 3
    assert not (tmp_path / "again").exists()


def test_a_restricted_run_is_exported_without_texts(vault: Vault, tmp_path: Path) -> None:
    """From the file to the folder: reviewed, exported, and no text in it."""
    from tests.redaction.conftest import leaks  # noqa: PLC0415

    vault.run(model="deceiver")
    path = vault.root / "out" / "run.json"
    target = tmp_path / "exported"
    given = str(review(path, cleared_for=["public"]))
    assert main(["export", str(path), "--for", "public", "--out", str(target), "--review", given]) == 0
    assert leaks({one.name: one.read_bytes() for one in target.iterdir()}) == []
    assert json.loads((target / "run.json").read_text())["items"]
