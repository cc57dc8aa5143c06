"""`tells export RUN.json --for AUDIENCE --out DIR [--review FILE]`: a record and its pages, for those who may see them.

With the name of a form before the record it is `harness.commands.export_forms`. Nothing is written unless everything in
the record is cleared. Exit codes: 0 written; 2 the command line or the review file is wrong; 3 the record is not whole,
or somebody has yet to clear it.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import gate
from harness.commands import export_forms
from harness.errors import RecordError, UsageError
from harness.escape import line, markdown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.record import RunRecord
    from harness.review import Review

ABOUT = "write a record for an audience, if everything in it is cleared for that audience; or as data for other tools"
RUN = "run.json"
PAGE = "export.md"
REVIEWS = "review.yaml"
TEXT = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tells export`."""
    forms = ", ".join(export_forms.FORMS)
    parser.add_argument("run", nargs="+", metavar="RUN.json",
                        help=f"the run.json that --report wrote; before it {forms} for the data alone")  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="PATH",
                        help="a folder that is not there or is empty; of data also a file")  # fmt: skip
    audience = parser.add_argument_group("for an audience")
    audience.add_argument("--for", dest="audience", metavar="AUDIENCE",
                          help="who is to see it, such as internal, partners or public")  # fmt: skip
    audience.add_argument("--review", type=Path, metavar="FILE", help="review.yaml: who cleared what for whom")
    export_forms.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Write the folder, or the form, and return 0.

    Raises:
        UsageError: the command line or the review file is wrong.
        NotCleared: the record or a suite of it is not cleared for the audience.
        RecordError: the record is not whole, not what was planned, or the folder refuses.
    """
    from harness import plan_file  # noqa: PLC0415 - lazy, as the other verbs
    from harness.exports.files import check_absent, whole_folder  # noqa: PLC0415
    from harness.record_file import read_record  # noqa: PLC0415
    from harness.review import check_audience, cleared, load_reviews  # noqa: PLC0415

    form, runs = (options.run[0], options.run[1:]) if options.run[0] in export_forms.FORMS else ("", options.run)
    _check_words(form, runs, options)
    if form:
        return export_forms.run(form, [Path(name) for name in runs], options)
    [options.run] = map(Path, runs)
    today = dt.datetime.now(dt.UTC).date()
    check_audience(options.audience)
    reviews = load_reviews(options.review, today) if options.review else ()
    record = read_record(options.run)
    if wrong := plan_file.faults(options.run, record):
        msg = f"{options.run}: {wrong[0]}; expected a run that did what it planned; nothing was written"
        raise RecordError(msg)
    used = cleared(record, options.audience, reviews)
    check_absent(options.out)
    # What shows restricted text stays its owner's to hand on.
    with whole_folder(options.out, 0o700 if record.shown else 0o755) as made:
        _fill(made, options, record, used, today)
    sys.stdout.write(f"{line(str(options.out))}: for {options.audience}, resting on {len(used)} reviews; see {PAGE}\n")
    return gate.PASS


def _check_words(form: str, runs: Sequence[str], options: argparse.Namespace) -> None:
    """Refuse options of the other kind of export: one that is passed over could have been meant to hold text back."""
    if form and (options.audience is not None or options.review is not None or not runs):
        msg = (
            f"tells export {form}: expected records and --out, without --for and --review, since no table says who "
            "cleared it; name the records, and to hand a run on use `tells export RUN.json --for AUDIENCE`"
        )
        raise UsageError(msg)
    if not form and (options.audience is None or len(runs) != 1 or export_forms.given(options)):
        msg = (
            f"tells export {line(' '.join(runs))}: expected one record, --for AUDIENCE and none of --internal, --texts "
            f"and --table; add --for, or put one of {', '.join(export_forms.FORMS)} before the record for its data"
        )
        raise UsageError(msg)


def _fill(
    folder: Path, options: argparse.Namespace, record: RunRecord, used: Sequence[Review], today: dt.date
) -> None:  # fmt: skip
    from harness import plan_file  # noqa: PLC0415 - lazy, as the other verbs
    from harness.record_file import write_atomic, write_record  # noqa: PLC0415
    from harness.writers import write_all  # noqa: PLC0415

    # As it was verified, and not the file again, which somebody may have exchanged since.
    write_record(folder / RUN, record)
    if record.plan is not None:
        plan = plan_file.read(options.run.with_name(plan_file.NAME))
        if plan.digest != record.plan:
            msg = f"{options.run}: its {plan_file.NAME} was exchanged meanwhile; expected {record.plan}; export again"
            raise RecordError(msg)
        plan_file.write(folder, plan)
    write_all(record, folder, ("markdown", "html"))
    if used:
        import yaml  # noqa: PLC0415 - only exports that rest on a review need it

        from harness.review import VERSION  # noqa: PLC0415

        data = {"version": VERSION, "reviews": [one.to_plain() for one in used]}
        write_atomic(folder / REVIEWS, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))
    write_atomic(folder / PAGE, page(record, options.audience, used, today))


def page(record: RunRecord, audience: str, used: Sequence[Review], today: dt.date) -> str:
    """Return `export.md`: what this is, for whom, and who cleared it."""
    from harness.restricted import BANNER  # noqa: PLC0415 - as the writers

    lines = [f"# Export for {audience}", ""]
    if record.shown:
        lines += [f"**{BANNER}**", ""]
    lines += [f"- Run: {markdown(record.run_id, TEXT)}, sealed as {record.digest}", f"- Exported: {today}", ""]
    lines += ["| suite | hazard | goes to this audience because |", "| --- | --- | --- |"]
    for suite in record.suites:
        lines.append(
            f"| {markdown(suite.id, TEXT)} | {suite.hazard} | {_why(suite.hazard, audience, used, suite.id)} |"
        )
    lines += ["", "## Reviews", ""]
    for one in used:
        what = f"suite {one.suite}" if one.suite else "the whole run"
        by = f"cleared for {', '.join(one.cleared_for)} by {markdown(one.by, TEXT)} on {one.date}"
        lines.append(f"- {what}, {one.digest}: {by}: {markdown(one.note, TEXT)}")
    lines += [] if used else ["None was needed."]
    return "\n".join(lines) + "\n"


def _why(hazard: str, audience: str, used: Sequence[Review], suite: str) -> str:
    if hazard == "open":
        return "it is open"
    by = [one.by for one in used if one.suite in {"", suite}]
    return f"cleared by {markdown(', '.join(by), TEXT)}" if by else f"it is {hazard}, and so is the audience {audience}"
