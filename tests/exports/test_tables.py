"""Tidy tables: what is in them, that they come back from every form as they were, and that a cell runs nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError, UsageError
from harness.exports import files
from harness.exports.tables import COLUMNS, TEXTS, Table, tables_of
from tests.exports.conftest import certified, many
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="\0", codec="utf-8")))


def test_a_row_for_each_number_and_one_for_a_check_without() -> None:
    """By hand: three checks with two numbers each, one that was not measured, and one undecided with two."""
    rows = tables_of([many()])["items"].rows
    assert [(row["suite"], row["case"], row["model"], row["place"], row["name"], row["value"]) for row in rows] == [
        ("deployment-defection", "leans", "smollm2", 0, "cue_shift", 2.5),
        ("deployment-defection", "leans", "smollm2", 1, "moved", 0.5),
        ("deployment-defection", "aware", "smollm2", 0, None, None),
        ("deployment-defection", "steady", "smollm2", 0, "cue_shift", 0.4),
        ("deployment-defection", "steady", "smollm2", 1, "moved", 0.5),
        ("sandbagging", "knows", "smollm2", 0, "cue_shift", 0.4),
        ("sandbagging", "knows", "smollm2", 1, "moved", 0.5),
        ("sandbagging", "knows", "other", 0, "cue_shift", 1.45),
        ("sandbagging", "knows", "other", 1, "moved", 0.5),
    ]
    assert [row["verdict"] for row in rows] == ["FAIL"] * 2 + ["INVALID"] + ["PASS"] * 4 + ["INCONCLUSIVE"] * 2
    assert rows[2]["cause"] == "5 of 42 rows failed: forward: out of memory"
    assert (rows[0]["op"], rows[0]["limit"], rows[0]["limit_unit"], rows[0]["confidence"]) == (
        "at_most", 1.5, "nats", 0.95,
    )  # fmt: skip
    assert (rows[1]["op"], rows[1]["limit"]) == (None, None), "nothing was checked of what stands beside"
    assert {row["kept"] for row in rows} == {2 / 3}


def test_values_of_scenarios_and_rows_of_evidence() -> None:
    found = tables_of([many()])
    assert [(row["scenario"], row["value"], row["unit"]) for row in found["scenarios"].rows] == [
        ("france", 2.25, "nats"), ("japan", -0.125, "nats"),
    ]  # fmt: skip
    rows = found["exchanges"].rows[:4]
    assert [row["place"] for row in rows] == [0, 1, 2, 3]
    assert [row["margin"] for row in rows] == [2.25, None, None, None]
    assert rows[0]["prompt_ids"] == [3, 1, 4]
    assert rows[0]["scored"][0]["tokens"][0]["logprob"] == -1.5
    assert rows[1]["answers"] == [{"text": "=Tokyo", "finish_reason": "length"}]
    assert rows[2]["failure"] == "forward: out of memory"
    assert rows[3]["inside"]["margins"] == [0.5, -1.0]
    assert rows[3]["changed"] == "noise=0.05,seed=1"


def test_a_certification_has_a_row_for_each_case_of_each_model() -> None:
    """And one for a model that could not be opened."""
    found = tables_of([certified()])
    assert found["items"].rows == ()
    rows = found["findings"].rows
    assert [(row["arm"], row["suite_verdict"], row["met"], row["case"], row["value"]) for row in rows] == [
        ("planted", "FAIL", True, "hint", 3.0), ("twin", "INVALID", False, None, None),
    ]  # fmt: skip
    assert (rows[0]["flagged"], rows[0]["truly_bad"], rows[0]["base_seed"], rows[0]["seed"]) == (3, 4, 1, 7)
    assert rows[1]["suite_cause"] == "no such weights"


def test_every_row_has_every_column_and_says_its_run() -> None:
    other = make_record(run_id="another")
    for name, table in tables_of([many(), other, certified()]).items():
        assert table.columns == COLUMNS[name]
        assert all(list(row) == list(COLUMNS[name]) for row in table.rows)
        assert {row["run_id"] for row in table.rows} <= {many().run_id, "another"}
    assert {row["run_digest"] for row in tables_of([many(), other])["items"].rows} == {many().digest, other.digest}


def test_a_run_that_is_named_twice_would_count_twice() -> None:
    with pytest.raises(UsageError, match="named twice"):
        tables_of([many(), make_record(), many()])


def test_two_models_of_one_name_are_not_told_apart_by_it() -> None:
    record = many()
    [model] = [one for one in record.models if one.name == "smollm2"]
    rows = tables_of([make_record(make_item(), models=(model, model))])["items"].rows
    assert {(row["model"], row["model_digest"], row["dtype"]) for row in rows} == {("smollm2", None, None)}


# --- there and back


def back(form: str, content: bytes, table: Table) -> list[dict[str, Any]]:
    """Return the rows of a file as pandas reads them, None where there is nothing."""
    source = io.BytesIO(content)
    if form == "csv":
        text = [name for name, kind in table.columns.items() if kind in {"text", "data"}]
        frame = pd.read_csv(source, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, "object"))
    elif form == "jsonl":
        frame = pd.read_json(source, lines=True, dtype=False, precise_float=True)
    else:
        frame = pd.read_parquet(source)
    assert list(frame.columns) == list(table.columns)
    rows = frame.astype("object").to_dict("records")
    return [{name: _own(value, table.columns[name], form) for name, value in row.items()} for row in rows]


def _own(value: Any, kind: str, form: str) -> Any:
    if not isinstance(value, list | dict) and pd.isna(value):
        return None
    if isinstance(value, str) and form == "csv":
        value = value.removeprefix("'")
    if kind == "data" and isinstance(value, str):
        return json.loads(value)
    return {"integer": int, "number": float, "flag": bool}.get(kind, lambda it: it)(value)


@pytest.mark.parametrize("form", list(files.AS))
@pytest.mark.parametrize("name", list(COLUMNS))
def test_there_and_back(form: str, name: str) -> None:
    """To the last digit, through the readers that people use."""
    record = certified() if name == "findings" else many()
    table = tables_of([record])[name]
    assert table.rows
    assert back(form, files.AS[form](table), table) == [dict(row) for row in table.rows]


@pytest.mark.parametrize("form", list(files.AS))
def test_the_same_records_make_the_same_bytes(form: str) -> None:
    for name in COLUMNS:
        one, two = (files.AS[form](tables_of([many(), certified()])[name]) for _ in range(2))
        assert one == two


@pytest.mark.parametrize("form", list(files.AS))
def test_a_table_without_rows_has_its_columns(form: str) -> None:
    table = tables_of([certified()])["items"]
    content = files.AS[form](table)
    if form == "jsonl":
        assert content == b""
    else:
        assert back(form, content, table) == []


def only(*texts: str) -> Table:
    """Return a table of one column of texts."""
    return Table(name="x", columns={"text": "text"}, rows=tuple({"text": text} for text in texts))


def cells(content: bytes) -> list[str]:
    """Return the cells of a table of one column."""
    return [row[0] if row else "" for row in csv.reader(io.StringIO(content.decode(), newline=""))][1:]


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_no_cell_is_a_formula_and_every_text_comes_back(texts: list[str]) -> None:
    """One apostrophe before what a spreadsheet might run; whoever takes it away has the text."""
    found = cells(files.as_csv(only(*texts)))
    assert not any(cell.startswith(files.FORMULA[:-1]) for cell in found)
    kept = [text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode() for text in texts]
    assert [cell.removeprefix("'") for cell in found] == kept


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "'", "-"])
def test_what_could_be_a_formula_gets_an_apostrophe(text: str) -> None:
    assert cells(files.as_csv(only(text))) == [f"'{text}"]


def test_numbers_are_numbers() -> None:
    """A negative number is no text: it keeps its minus, and nothing else."""
    table = tables_of([many()])["scenarios"]
    assert "-0.125" in files.as_csv(table).decode().splitlines()[2].split(",")


@pytest.mark.parametrize("text", HOSTILE)
def test_json_lines_hold_every_text_exactly(text: str) -> None:
    """Halves of surrogate pairs too, one object a line."""
    lines = files.as_jsonl(only(text)).decode().split("\n")
    # Two halves side by side are the character that they stand for, to every reader of JSON.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert [json.loads(line)["text"] for line in lines[:-1]] == [whole]


@pytest.mark.parametrize("text", HOSTILE)
def test_parquet_holds_every_text_that_it_can(text: str) -> None:
    found = pd.read_parquet(io.BytesIO(files.as_parquet(only(text))))["text"].tolist()
    assert found == [text.encode("utf-8", "backslashreplace").decode()]


def test_nothing_that_is_no_number_is_written() -> None:
    """A record cannot hold it; a table that somebody else made could."""
    table = Table(name="x", columns={"x": "data"}, rows=({"x": [float("nan")]},))
    for make in files.AS.values():
        with pytest.raises(ValueError, match="not JSON compliant"):
            make(table)


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pyarrow is not installed; expected .* install pytest-tells\[parquet\]"):
        files.as_parquet(only("x"))


def test_columns_of_texts_can_be_left_out() -> None:
    table = tables_of([make_record(make_item(exchanges=(make_exchange("a text"),)))])["exchanges"].without(TEXTS)
    assert not TEXTS & set(table.columns)
    assert "a text" not in files.as_csv(table).decode()
    assert table.rows[0]["margin"] == 2.25


# --- whole or not at all


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.csv"
    files.whole_file(out, b"one")
    files.whole_file(out, b"two")
    assert out.read_bytes() == b"two"
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RecordError, match="cannot be written"):
        files.whole_file(tmp_path / "folder.csv", b"x")
    assert {one.name for one in tmp_path.iterdir()} == {"new", "folder.csv"}
    assert {one.name for one in out.parent.iterdir()} == {"x.csv"}


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    def fails() -> None:
        with files.whole_folder(tmp_path / "out") as folder:
            (folder / "x").write_text("x")
            msg = "disk full"
            raise OSError(msg)

    with pytest.raises(RecordError, match="disk full"):
        fails()
    assert list(tmp_path.iterdir()) == []
