"""A damaged record is never read as a record."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from harness import record_file
from harness.errors import RecordError
from harness.record import seal_of, to_json
from tests.record_factory import make_item, make_record, sample_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a written record."""
    path = tmp_path / "run.json"
    record_file.write_record(path, sample_record())
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the data of a record and seal it again: a lie with a valid digest."""
    data = json.loads(path.read_text())
    change(data)
    data["digest"] = seal_of(data)
    path.write_text(json.dumps(data))


def test_what_was_written_is_read(path: Path) -> None:
    """And nothing is left beside it."""
    assert record_file.read_record(path) == sample_record()
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


def test_a_torn_file_is_refused_wherever_it_is_torn(path: Path) -> None:
    """At 60 places, the last bytes among them."""
    whole = path.read_bytes()
    for offset in [*range(0, len(whole), len(whole) // 60), len(whole) - 3, len(whole) - 2]:
        path.write_bytes(whole[:offset])
        with pytest.raises(RecordError, match=r"run\.json: .*expected .*run"):
            record_file.read_record(path)


def test_a_flipped_byte_is_refused_wherever_it_is(path: Path) -> None:
    """Unless it only changes white space, which means nothing."""
    whole = path.read_bytes()
    for offset in range(0, len(whole), len(whole) // 150):
        flipped = bytearray(whole)
        flipped[offset] ^= 1
        if whole[offset : offset + 1].isspace():
            continue
        path.write_bytes(flipped)
        with pytest.raises(RecordError):
            record_file.read_record(path)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(path: Path, word: str) -> None:
    """Python's parser would take it."""
    text = path.read_text()
    assert '"seconds":0.25' in text
    path.write_text(text.replace('"seconds":0.25', f'"seconds":{word}', 1))
    with pytest.raises(RecordError, match="no number"):
        record_file.read_record(path)


def test_a_key_that_stands_twice_is_refused(path: Path) -> None:
    """The last would win in silence."""
    path.write_text(path.read_text().replace('"verdict":"FAIL"', '"verdict":"FAIL","verdict":"PASS"', 1))
    with pytest.raises(RecordError, match="twice"):
        record_file.read_record(path)


def drop_item(data: dict[str, Any]) -> None:
    """Forget one result."""
    del data["items"][1]


def drop_item_and_selection(data: dict[str, Any]) -> None:
    """Forget one result and that it was selected."""
    gone = data["items"].pop(1)["node_id"]
    data["selected"].remove(gone)


def next_version(data: dict[str, Any]) -> None:
    """Claim to be of another version."""
    data["schema"] = "tells-run/2"


def unknown_field(data: dict[str, Any]) -> None:
    """Say more than the schema knows."""
    data["items"][0]["overridden"] = True


def text_for_number(data: dict[str, Any]) -> None:
    """Write a number as text."""
    data["items"][0]["n_planned"] = "42"


def backwards(data: dict[str, Any]) -> None:
    """Turn an interval round."""
    first = data["items"][1]["measurements"][0]
    first["low"], first["high"] = first["high"], first["low"]


def flatter(data: dict[str, Any]) -> None:
    """Call a failure a pass."""
    data["items"][1]["verdict"] = "PASS"


def unfinished(data: dict[str, Any]) -> None:
    """Say that the run was interrupted."""
    data["completed"] = False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_item, "no result"),
        (drop_item_and_selection, "narrower"),
        (next_version, "version"),
        (unknown_field, "overridden"),
        (text_for_number, "n_planned"),
        (backwards, "interval"),
        (flatter, "does not keep its bound"),
        (unfinished, "did not come to its end"),
    ],
)
def test_a_lie_under_a_valid_seal_is_refused(path: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    """The digest is not the only wall."""
    rewrite(path, change)
    with pytest.raises(RecordError, match=said):
        record_file.read_record(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"3", b"\xff\xfe", b"{}", b"[" * 100_000])
def test_what_is_no_record_at_all_is_refused(path: Path, content: bytes) -> None:
    """By a `RecordError`, never by another exception."""
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"run\.json"):
        record_file.read_record(path)


def test_a_missing_file_is_a_record_error(tmp_path: Path) -> None:
    """With the four parts."""
    with pytest.raises(RecordError, match=r"run\.json: .*; expected .*; run the evals again"):
        record_file.read_record(tmp_path / "run.json")


def test_what_is_not_sealed_is_not_written(tmp_path: Path) -> None:
    """A record without digest is not finished."""
    with pytest.raises(RecordError, match="not sealed"):
        record_file.write_record(tmp_path / "run.json", make_record(make_item(), seal=False))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """All of it, and no temporary file."""
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    # Path.replace goes through os.replace.
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(RecordError, match="No space left"):
        record_file.write_record(path, make_record())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


def test_a_file_is_whole_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it was handed over when the disk is asked to keep it; and others may read it."""
    sizes: list[int] = []
    kept = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (sizes.append(os.fstat(file).st_size), kept(file))[1])
    path = tmp_path / "not" / "there" / "yet.md"
    for text in ("first", ["sec", "ond\u00e9"]):
        record_file.write_atomic(path, text)
        assert path.read_text(encoding="utf-8") == "".join(text)
        assert sizes[-1] == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o644


def test_how_a_file_is_laid_out(tmp_path: Path) -> None:
    """A line for each field, and for each entry of a list; a list of nothing is one."""
    path = tmp_path / "run.json"
    for record in (make_record(make_item("a"), make_item("b")), make_record(items=(), planned=(), selected=())):
        record_file.write_record(path, record)
        data = json.loads(path.read_text(encoding="utf-8"))
        lines = path.read_text(encoding="utf-8").splitlines()
        lists = [value for value in data.values() if isinstance(value, list) and value]
        assert len(lines) == 2 + len(data) + sum(len(found) + 1 for found in lists)
        assert record_file.read_record(path) == record
    assert ' "items": []' in path.read_text(encoding="utf-8").replace(",\n", "\n").splitlines()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (3, "c[smollm2] was selected and has no result; expected"),
        (4, "and 1 more such; exp"),
        (5, "and 2 more such; exp"),
    ],
)
def test_many_faults_are_counted(path: Path, lost: int, said: str) -> None:
    """Three are told."""
    names = [make_item(name).node_id for name in "abcde"[:lost]]

    def change(data: dict[str, Any]) -> None:
        data["planned"] += names
        data["selected"] += names

    rewrite(path, change)
    with pytest.raises(RecordError) as error:
        record_file.read_record(path)
    assert said in str(error.value)
    assert str(error.value).count("has no result") == 3
    assert ("more such" in str(error.value)) is (lost > 3)


def test_a_folder_that_cannot_be_made_is_a_record_error(path: Path) -> None:
    """`--report` may name nonsense."""
    with pytest.raises(RecordError, match="cannot be written"):
        record_file.write_atomic(path / "below" / "report.md", "x")


def test_the_schema_alone_accepts_the_sample() -> None:
    """For readers in other languages."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - heavy

    Draft202012Validator.check_schema(record_file._schema())
    Draft202012Validator(record_file._schema()).validate(to_json(sample_record()))
