"""Records as tidy tables: a row for each thing, a column for each fact, and every row says where it comes from.

`items` has a row for each number of each check, and one for a check without numbers, so that what could not be measured
is in the table too. `scenarios` has the value of each scenario where a check has such, `exchanges` the rows of evidence
that a record shows, `findings` what a certification found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness import plain
from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.certify.findings import CaseFinding, Finding
    from harness.exchange import Exchange
    from harness.record import ItemRecord, RunRecord
    from harness.verdict import Bound, Measurement

Kind = Literal["text", "integer", "number", "flag", "data"]
"""Of a column. `data` are lists and objects: JSON in JSON Lines, JSON in a text cell elsewhere."""
Row = dict[str, Any]
"""Column -> value, in the order of the columns; None where there is none."""

RUN: Mapping[str, Kind] = {
    "run_id": "text", "run_digest": "text", "started": "text", "profile": "text", "seed": "integer",
}  # fmt: skip
ITEM: Mapping[str, Kind] = {
    "model": "text", "model_digest": "text", "dtype": "text", "suite": "text", "case": "text", "failure_mode": "text",
    "severity": "text", "hazard": "text", "node_id": "text",
}  # fmt: skip
NUMBER: Mapping[str, Kind] = {
    "name": "text", "value": "number", "low": "number", "high": "number", "unit": "text", "n": "integer", "of": "text",
    "note": "text",
}  # fmt: skip
LIMIT: Mapping[str, Kind] = {"op": "text", "limit": "number", "limit_unit": "text", "confidence": "number"}
COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    "items": {
        **RUN, **ITEM, "measures": "text", "check": "text", "verdict": "text", "cause": "text", "waived": "flag",
        "place": "integer", **NUMBER, **LIMIT, "reference": "text", "n_planned": "integer", "n_measured": "integer",
        "kept": "number", "rescored": "text", "seconds": "number",
    },
    "scenarios": {**RUN, **ITEM, "check": "text", "verdict": "text", "scenario": "text", "value": "number",
                  "unit": "text"},
    "exchanges": {
        **RUN, **ITEM, "check": "text", "verdict": "text", "place": "integer", "exchange": "text", "scenario": "text",
        "condition": "text", "cue": "text", "changed": "text", "margin": "number", "groups": "data",
        "failure": "text", "digests": "data", "messages": "data", "prompt": "text", "prompt_ids": "data",
        "answers": "data", "scored": "data", "inside": "data",
    },
    "findings": {
        **RUN, "node_id": "text", "suite": "text", "organism": "text", "arm": "text", "base": "text",
        "base_seed": "integer", "model_digest": "text", "expected": "text", "suite_verdict": "text", "met": "flag",
        "suite_cause": "text", "case": "text", "check": "text", "verdict": "text", "cause": "text", **NUMBER, **LIMIT,
        "flagged": "integer", "truly_bad": "integer", "seconds": "number",
    },
}  # fmt: skip
"""Table -> its columns, in order, and of what kind they are."""
EMPTY: tuple[Any, ...] = (None, "", [], {})
"""What no table tells apart, since CSV cannot."""
TEXTS = frozenset({"messages", "prompt", "prompt_ids", "answers", "scored", "inside"})
"""Columns of `exchanges` that hold what was said, or long lists about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: columns with kinds, and rows."""

    name: str
    columns: Mapping[str, Kind]
    rows: tuple[Row, ...]

    def without(self, columns: frozenset[str]) -> Table:
        """Return the table with `columns` left out."""
        kept = {name: kind for name, kind in self.columns.items() if name not in columns}
        rows = tuple({name: row[name] for name in kept} for row in self.rows)
        return Table(name=self.name, columns=kept, rows=rows)


def tables_of(records: Sequence[RunRecord]) -> dict[str, Table]:
    """Return the tables of some records, rows in the order given; tables without rows are there too.

    Args:
        records: As `readable` left them: whatever text they hold is put into the tables.

    Raises:
        UsageError: one is there twice, and its rows would count twice.
    """
    digests = [record.digest for record in records]
    if twice := [record.run_id for record in records if digests.count(record.digest) > 1]:
        msg = f"run {twice[0]} is named twice; expected each run once, since its rows would count twice; name it once"
        raise UsageError(msg)
    makers: dict[str, Callable[[RunRecord], Iterator[Row]]] = {
        "items": _items, "scenarios": _scenarios, "exchanges": _exchanges, "findings": _findings,
    }  # fmt: skip
    return {
        name: Table(
            name=name, columns=columns, rows=tuple(
                {column: None if (value := row.get(column)) in EMPTY else value for column in columns}
                for record in records for row in makers[name](record)
            ),
        )
        for name, columns in COLUMNS.items()
    }  # fmt: skip


def _run(record: RunRecord) -> Row:
    return {
        "run_id": record.run_id, "run_digest": record.digest, "started": record.started, "profile": record.profile,
        "seed": record.seeds.get("run"),
    }  # fmt: skip


def _item(record: RunRecord, item: ItemRecord) -> Row:
    named = [one for one in record.models if one.name == item.model]
    # Two models of one name cannot be told apart by it: then nothing is said of either.
    digest, dtype = (named[0].digest, named[0].dtype) if len(named) == 1 else (None, None)
    return {
        **_run(record), "model": item.model, "model_digest": digest, "dtype": dtype, "suite": item.suite,
        "case": item.case, "failure_mode": item.failure_mode, "severity": item.severity, "hazard": item.hazard,
        "node_id": item.node_id, "check": item.check, "verdict": item.verdict.value,
    }  # fmt: skip


def _number(measured: Measurement | None) -> Row:
    return {} if measured is None else measured.to_json()


def _limit(bound: Bound | None) -> Row:
    if bound is None:
        return {}
    return {"op": bound.op, "limit": bound.value, "limit_unit": bound.unit, "confidence": bound.confidence}


def _items(record: RunRecord) -> Iterator[Row]:
    for item in record.items:
        head = {
            **_item(record, item), "measures": item.measures, "cause": item.cause, "waived": item.waiver is not None,
            "reference": item.reference, "n_planned": item.n_planned, "n_measured": item.n_measured,
            "kept": item.screening.share if item.screening else None,
            "rescored": item.rescored.told if item.rescored else None, "seconds": item.seconds,
        }  # fmt: skip
        for place, measured in enumerate(item.measurements or (None,)):
            # The bound is that of the judged number alone: beside another it would say something that nobody checked.
            limit = _limit(item.bound) if place == 0 else {}
            yield {**head, "place": place, **_number(measured), **limit}


def _scenarios(record: RunRecord) -> Iterator[Row]:
    for item in record.items:
        head = {**_item(record, item), "unit": item.bound.unit if item.bound else None}
        for scenario, value in sorted((item.scenarios or {}).items()):
            yield {**head, "scenario": scenario, "value": value}


def _exchanges(record: RunRecord) -> Iterator[Row]:
    for item in record.items:
        for place, exchange in enumerate(item.exchanges):
            yield {**_item(record, item), "place": place, **exchange_row(exchange)}


def exchange_row(exchange: Exchange) -> Row:
    """Return the columns of one exchange."""
    found: Row = plain.to_plain(exchange)
    found["exchange"] = found.pop("id")
    return found


def _findings(record: RunRecord) -> Iterator[Row]:
    for finding in record.certification or ():
        head = _finding(record, finding)
        for case in finding.cases or (None,):
            yield {**head, **_case(case)}


def _finding(record: RunRecord, finding: Finding) -> Row:
    return {
        **_run(record), "node_id": finding.node_id, "suite": finding.suite, "organism": finding.organism,
        "arm": finding.arm, "base": finding.base, "base_seed": finding.seed, "model_digest": finding.model,
        "expected": finding.expected, "suite_verdict": finding.verdict.value, "met": finding.met,
        "suite_cause": finding.cause, "seconds": finding.seconds,
    }  # fmt: skip


def _case(case: CaseFinding | None) -> Row:
    if case is None:
        return {}
    return {
        "case": case.case, "check": case.check, "verdict": case.verdict.value, "cause": case.cause,
        **_number(case.measurement), **_limit(case.bound), "flagged": case.flagged, "truly_bad": case.truly_bad,
    }  # fmt: skip
