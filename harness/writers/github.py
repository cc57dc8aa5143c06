"""What GitHub Actions shows of a run: annotations at the lines of cases, and the summary of a step.

GitHub keeps ten annotations of a kind per step and throws a summary over 1 MiB away as a whole. Both are kept below
that, the worst first. Nothing is printed unless `GITHUB_ACTIONS` is `true` or the caller asks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from harness import gate
from harness.escape import line
from harness.escape import markdown as shown_in_markdown
from harness.gate import judge_run
from harness.writers import markdown, release, words
from harness.writers.outcomes import outcomes
from harness.writers.release_page import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.gate import GateResult
    from harness.policy.policy import Policy
    from harness.record import RunRecord
    from harness.writers.outcomes import Outcome

MAX_ANNOTATIONS = 9
MAX_SUMMARY = 1024 * 1024
"""Bytes of one step's summary, what other commands of the step wrote included."""
SPARE = 4_096
TEXT = 900
MAX_REASONS = 20
COMMANDS = {"error": "error", "warning": "warning", "note": "notice", "none": "notice"}
DATA = (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"))
PROPERTY = (*DATA, (":", "%3A"), (",", "%2C"))


def tell(
    record: RunRecord,
    *,
    result: GateResult | None = None,
    policy: Policy | None = None,
    asked: bool = False,
    environ: Mapping[str, str] | None = None,
    out: TextIO | None = None,
) -> bool:
    """Print the annotations of `record` and append it to the step's summary; tell whether anything was told.

    A summary that cannot be written is told as a warning: it must not change what the caller says of the run.

    Args:
        record: A run, whole or not.
        result: What the gate says, and which failures it let waivers excuse; left out, what it says without a policy.
        policy: What the gate judged by; it may raise severities.
        asked: Also outside of GitHub Actions.
        environ: `GITHUB_ACTIONS` and `GITHUB_STEP_SUMMARY` are read; left out, those of this process.
        out: Where the annotations go; each begins a line. Left out, standard output.
    """
    environ = os.environ if environ is None else environ
    out = sys.stdout if out is None else out
    if not asked and environ.get("GITHUB_ACTIONS") != "true":
        return False
    for said in commands(record, result=result, policy=policy):
        out.write(said + "\n")
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        try:
            append_summary(Path(path), record, result=result, policy=policy)
        except OSError as error:
            out.write(
                _command("warning", "Tells", f"the step summary could not be written: {type(error).__name__}") + "\n"
            )
    return True


def commands(record: RunRecord, *, result: GateResult | None = None, policy: Policy | None = None) -> list[str]:
    """Return at most nine workflow commands, the most severe first, and a tenth that says how many more there are."""
    result = result or judge_run(record)
    found = outcomes(record, result, policy)
    said = []
    if result.code != gate.PASS:
        said.append(_command("error", f"Tells: {result.word}", words.plain_words(record, result)))
    room = MAX_ANNOTATIONS - len(said)
    said += [_annotation(one) for one in found[:room]]
    if len(found) > room:
        more = f"and {len(found) - room} more checks are not green; the step summary and run.json have them all"
        said.append(_command("notice", "Tells", more))
    return said


def summary(
    record: RunRecord, *, result: GateResult | None = None, policy: Policy | None = None, room: int = MAX_SUMMARY
) -> str:
    """Return the step summary as Markdown of at most `room` bytes; empty where not even the verdict has room.

    It is `report.md`, which has the examples that who mends a failure looks for; where that is too long it is the page
    for a release. Above the report stands what the gate says where a policy makes it say something else.
    """
    plain = judge_run(record)
    result = result or plain
    head = _head(record, result)
    whole = markdown.render(record)
    if result != plain:
        whole = f"{head}\nWithout the policy:\n\n{whole}"
    short = f"{head}\nThe report is left out for size; `report.md` and `run.json` have it.\n"
    fits = (text for text in (whole, _page(record, result, policy), short) if text and len(text.encode()) <= room)
    return next(fits, "")


def _page(record: RunRecord, result: GateResult, policy: Policy | None) -> str:
    """Return the page for a release; empty for a certification, which has none."""
    return "" if record.certification is not None else release.render(record, Standing(result=result, policy=policy))


def append_summary(
    path: Path, record: RunRecord, *, result: GateResult | None = None, policy: Policy | None = None
) -> None:
    """Append the summary to the file that GitHub names in `GITHUB_STEP_SUMMARY`, within the limit of the step.

    Raises:
        OSError: the file refuses.
    """
    there = path.stat().st_size if path.exists() else 0
    text = summary(record, result=result, policy=policy, room=MAX_SUMMARY - there - SPARE)
    with path.open("ab") as file:
        file.write(f"\n{text}\n".encode())


def _head(record: RunRecord, result: GateResult) -> str:
    lines = [
        f"# Tells: {result.word}",
        "",
        f"Verdict: {shown_in_markdown(words.plain_words(record, result), 4_000)}",
        "",
    ]
    lines += [f"- Reason: {shown_in_markdown(reason, TEXT)}" for reason in result.reasons[:MAX_REASONS]]
    if len(result.reasons) > MAX_REASONS:
        lines.append(f"- and {len(result.reasons) - MAX_REASONS} more reasons")
    return "\n".join(lines) + "\n"


def _annotation(one: Outcome) -> str:
    command = "notice" if one.excused else COMMANDS[one.level]
    return _command(command, f"{one.verdict} {one.rule}", one.text, file=one.file, at=one.line)


def _command(command: str, title: str, text: str, *, file: str = "", at: int = 0) -> str:
    """Return one workflow command; no text in it can end it or begin another."""
    place = f"file={_encoded(line(file), PROPERTY)},line={at}," if file else ""
    return f"::{command} {place}title={_encoded(line(title, 200), PROPERTY)}::{_encoded(line(text, TEXT), DATA)}"


def _encoded(text: str, marks: tuple[tuple[str, str], ...]) -> str:
    for mark, code in marks:
        text = text.replace(mark, code)
    return text
