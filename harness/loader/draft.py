"""A suite in the making: what the loader's steps hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.case import COMPOSITE, TREND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.case import Condition, Item, Phrasing
    from harness.errors import CaseFileError, Problem
    from harness.loader.report import DataPath, Report
    from harness.loader.world import CueFamily


@dataclass(slots=True, kw_only=True)
class Draft:
    """A parsed file and what has been made of it; parts that had problems stay None and are not looked at further."""

    report: Report
    root: Path
    items: tuple[Item, ...] | None = None
    conditions: dict[str, Condition] | None = None
    paraphrases: tuple[Phrasing, ...] | None = None
    families: dict[str, CueFamily] = field(default_factory=dict)
    """Condition name -> its cue family."""
    files: dict[str, str] = field(default_factory=dict)
    """Display path -> digest of every data file used."""
    read: list[Item] = field(default_factory=list)
    """Items as their sources gave them, also where some of them had problems."""
    elsewhere: list[Problem] = field(default_factory=list)
    """Problems of data files, each with its place there."""

    @property
    def data(self) -> Any:
        """The document as plain data."""
        return self.report.data

    def foreign(self, error: CaseFileError, at: DataPath) -> None:
        """Take over the problems of another file, and say at the place that names it that there are some."""
        self.elsewhere.extend(error.problems)
        count = len(error.problems)
        where = error.problems[0].path
        plural = "a problem" if count == 1 else f"{count} problems"
        self.report.add(at, f"{where} has {plural}; mend that file")

    def asked(self) -> Iterator[tuple[DataPath, dict[str, Any]]]:
        """Yield every case, or part of a case, that asks something, has a check and no problem so far."""
        cases = self.data.get("cases") if isinstance(self.data, dict) else None
        for index, case in enumerate(cases if isinstance(cases, list) else ()):
            at: DataPath = ("cases", index)
            if not isinstance(case, dict):
                continue
            kind = next((word for word in COMPOSITE if isinstance(case.get(word), list)), None)
            if kind is not None:
                yield from (
                    ((*at, kind, number), part)
                    for number, part in enumerate(case[kind])
                    if self.report.clean(*at, kind, number) and TREND not in part["check"]
                )
            elif self.report.clean(*at) and "check" in case and TREND not in case["check"]:
                yield at, case
