"""Reviews: who cleared what for which audience, and whether that covers a record.

A review names a suite or a run by its digest, so that any change asks for another look. Like a waiver it is a claim of
whoever can write the file; the exported page repeats it with the name.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import CaseFileError, NotCleared, UsageError
from harness.escape import line
from harness.loader.files import read_inside
from harness.loader.reader import MAX_BYTES, read_yaml
from harness.loader.schema import expected_types
from harness.loader.validate import validate
from harness.loader.world import ID, MAX_ID
from harness.policy.reader import parse_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.loader.report import DataPath, Report
    from harness.record import RunRecord, SuiteRecord

VERSION = "tells-review/1"
INTERNAL = "internal"
"""The audience that suites with `hazard: internal` are written for."""
OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One clearance, as somebody wrote it."""

    suite: str
    """Id of the suite, empty where a whole run was cleared."""
    digest: str
    """Of the suite, or of the record."""
    cleared_for: tuple[str, ...]
    by: str
    date: dt.date
    note: str
    place: str
    """`file:line:column`."""

    def covers(self, record: RunRecord, audience: str) -> bool:
        """Tell whether it clears this whole record for the audience."""
        return not self.suite and self.digest == record.digest and audience in self.cleared_for

    def covers_suite(self, suite: SuiteRecord, audience: str) -> bool:
        """Tell whether it clears this suite, as it was run, for the audience."""
        return self.suite == suite.id and self.digest == suite.digest and audience in self.cleared_for

    def to_plain(self) -> dict[str, Any]:
        """Return the entry as a review file has it."""
        what = {"suite": self.suite, "digest": self.digest} if self.suite else {"run": self.digest}
        return {
            "what": what, "cleared_for": list(self.cleared_for), "by": self.by, "date": self.date.isoformat(),
            "note": self.note,
        }  # fmt: skip


def load_reviews(path: Path, today: dt.date) -> tuple[Review, ...]:
    """Return the reviews in the file `path`.

    Args:
        path: The file.
        today: A review of a later day is none.

    Raises:
        CaseFileError: the file cannot be used; all its problems, each with line and column.
    """
    name, data = read_inside(path, path.absolute().parent.resolve(), MAX_BYTES)
    report = read_yaml(data, name, lambda place: expected_types("review", place), "version")
    validate(report, "review")
    entries = report.data.get("reviews") if isinstance(report.data, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            _check_date(report, ("reviews", index, "date"), entry.get("date"), today)
    if report.problems:
        raise CaseFileError(report.problems)
    return tuple(_review(report, index, entry) for index, entry in enumerate(report.data["reviews"]))


def _check_date(report: Report, at: DataPath, written: object, today: dt.date) -> None:
    if not isinstance(written, str):
        return
    day = parse_date(written)
    if day is None:
        report.add(at, f'{written!r} is no day; expected YYYY-MM-DD in quotes, such as "2026-03-31"')
    elif day > today:
        report.add(
            at, f"{written} is yet to come; expected the day of the review, {today} at the latest; mend the date"
        )


def _review(report: Report, index: int, entry: dict[str, Any]) -> Review:
    row, column = report.place(("reviews", index))
    what = entry["what"]
    return Review(
        suite=what.get("suite", ""), digest=what.get("digest") or what["run"],
        cleared_for=tuple(entry["cleared_for"]), by=entry["by"], date=dt.date.fromisoformat(entry["date"]),
        note=entry["note"], place=f"{report.path}:{row}:{column}",
    )  # fmt: skip


def check_audience(audience: str) -> None:
    """Refuse what cannot be the name of an audience.

    Raises:
        UsageError: it is none.
    """
    if not ID.fullmatch(audience) or len(audience) > MAX_ID:
        msg = (
            f"--for {line(audience)}: no name of an audience; expected small letters and digits with single hyphens "
            "between; e.g. partners"
        )
        raise UsageError(msg)


def cleared(record: RunRecord, audience: str, reviews: Sequence[Review]) -> tuple[Review, ...]:
    """Return the reviews that an export of `record` rests on; none where nothing needs one.

    A suite that is open goes to anyone, an internal one to the audience `internal`. Everything else needs a review of
    the suite or of the run; a record that shows restricted text needs one of the run, which alone has seen the answers.

    Raises:
        NotCleared: something needs a review and has none; all of it.
    """
    of_run = [one for one in reviews if one.covers(record, audience)]
    used, missing = list(of_run), []
    if record.shown and not of_run:
        missing.append(f"the run {record.digest}, which shows restricted text")
    for suite in record.suites:
        if suite.hazard == OPEN or (suite.hazard == INTERNAL and audience == INTERNAL) or of_run:
            continue
        found = [one for one in reviews if one.covers_suite(suite, audience)]
        used += found
        if not found:
            missing.append(f"suite {line(suite.id, MAX_ID)} ({suite.hazard}), {suite.digest}")
    if missing:
        msg = (
            f"not cleared for {audience}: {'; '.join(missing)}; expected a review that names it and the audience"
            f"{''.join(_near(record, reviews))}; nothing was written"
        )
        raise NotCleared(msg)
    return tuple(dict.fromkeys(used))


def _near(record: RunRecord, reviews: Iterable[Review]) -> Iterator[str]:
    """Yield why reviews that look as if they were meant do not count."""
    digests = {suite.id: suite.digest for suite in record.suites}
    for one in reviews:
        if one.suite in digests and digests[one.suite] != one.digest:
            yield f" ({one.place}: of another version of {line(one.suite, MAX_ID)})"
        elif not one.suite and one.digest != record.digest:
            yield f" ({one.place}: of another run)"
