"""The console command `tells`: everything around a run that is not the run itself.

Exit codes are the gate's (see `harness.gate`): 0 pass, 1 fail, 2 usage, 3 broken, 4 inconclusive, 5 nothing evaluated,
6 waiver problem, 7 uncertified. A crash of this command is 3, never 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import credentials, gate, restricted
from harness.commands import (
    certify,
    compare,
    controls,
    export,
    ladder,
    organisms,
    plan,
    report,
    secret,
    show,
    sweep,
    trend,
    tune,
)
from harness.commands.places import SUFFIX, root_of
from harness.console import leading, look_of
from harness.errors import CaseFileError, TellsError, UsageError
from harness.escape import line
from harness.leaving import nobody_leaves
from harness.organisms.spec import RECIPE_FILE
from harness.plain import uncollected

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from harness.case import Suite
    from harness.errors import Problem

EPILOG = (
    "exit codes: 0 pass, 1 fail, 2 usage, 3 broken or incomplete, 4 inconclusive, 5 nothing evaluated, 6 waiver, "
    "7 uncertified"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `tells` and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    restricted.forget()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character must not turn a verdict into a crash.
            stream.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(given)
    except CaseFileError as error:
        return _complain("\n".join(line(str(problem)) for problem in error.problems), gate.USAGE)
    except UsageError as error:
        return _complain(line(str(error)), gate.USAGE)
    except TellsError as error:
        return _complain(line(str(error)), gate.BROKEN)
    except Exception as error:  # noqa: BLE001 - Python's own code for a crash is 1, which here means that a model failed
        return _complain(f"tells crashed, which says nothing about the model:\n{restricted.trace(error)}", gate.BROKEN)


def _dispatch(given: list[str]) -> int:
    parser = build_parser()
    options, unknown = parser.parse_known_args(given)
    if unknown and options.verb not in {"plan", "certify"}:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.pytest_arguments = unknown
    with nobody_leaves(f"tells {options.verb}"):
        return VERBS[options.verb](options)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="tells",
        description="Around test runs of language models: check, plan, judge and show them.",
        epilog=EPILOG,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    validate = _verb(verbs, "validate", "check case files and recipes, print every problem at once; needs no model")
    kinds = f"a *{SUFFIX} file, a {RECIPE_FILE} of an organism, or a folder of them"
    validate.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=kinds)

    verdict = _verb(verbs, "verdict", "judge a finished run from its run.json, in words and as the exit code")
    _record_argument(verdict)
    verdict.add_argument(
        "--whole", action="store_true", help="exit 0 when the record is complete, whatever the model did; still says it"
    )

    _policy_arguments(verdict)

    show.add_arguments(_verb(verbs, "show", show.ABOUT))

    again = _verb(verbs, "report", report.ABOUT)
    report.add_arguments(again)
    _show_restricted(again)
    _policy_arguments(again)

    store = _verb(verbs, "store", "look into the store of answers, or make it smaller")
    store.add_argument("action", choices=("info", "prune"), help="info: what it keeps; prune: drop what is old")
    store.add_argument("file", type=Path, metavar="FILE", help="the file given to --store")
    store.add_argument(
        "--keep-days", type=_days, default=30.0, metavar="N", help="prune: keep answers younger than N days"
    )

    plan.add_arguments(_verb(verbs, "plan", plan.ABOUT))
    compare.add_arguments(_verb(verbs, "compare", compare.ABOUT))
    compare.add_baseline_arguments(_verb(verbs, "baseline", compare.BASELINE_ABOUT))
    trend.add_arguments(_verb(verbs, "trend", trend.ABOUT))
    tune.add_arguments(_verb(verbs, "tune", tune.ABOUT))
    sweep.add_arguments(_verb(verbs, "sweep", sweep.ABOUT))
    ladder.add_arguments(_verb(verbs, "ladder", ladder.ABOUT))
    controls.add_arguments(_verb(verbs, "controls", controls.ABOUT))
    export.add_arguments(_verb(verbs, "export", export.ABOUT))
    secret.add_arguments(_verb(verbs, "restricted", secret.ABOUT))
    certify.add_arguments(_verb(verbs, "certify", certify.ABOUT))
    organisms.add_arguments(_verb(verbs, "organisms", organisms.ABOUT))
    return parser


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> argparse.ArgumentParser:
    described = about[0].upper() + about[1:] + "."
    # `certify --seed` must not be taken for `--seeds`: what a verb does not know may go to pytest.
    return verbs.add_parser(name, help=about, description=described, epilog=EPILOG, allow_abbrev=False)


def _record_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN.json", help="the run.json that --report wrote")


def _policy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy.yaml: what a release requires")
    parser.add_argument(
        "--today",
        type=_day,
        metavar="DATE",
        help="YYYY-MM-DD, the day on which waivers must hold; default: now, in UTC",
    )


def _show_restricted(parser: argparse.ArgumentParser) -> None:
    about = "show texts of restricted suites, where the run kept them; the page says so"
    parser.add_argument("--show-restricted", action="store_true", help=about)


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        msg = "days start at 0"
        raise argparse.ArgumentTypeError(msg)
    return days


def _day(text: str) -> dt.date:
    from harness.policy.reader import parse_date  # noqa: PLC0415 - brings YAML

    if (day := parse_date(text)) is None:
        msg = f"{text!r} is no day; expected YYYY-MM-DD"
        raise argparse.ArgumentTypeError(msg)
    return day


def _validate(options: argparse.Namespace) -> int:
    from harness.loader import load_suite  # noqa: PLC0415 - brings YAML and the schema validator
    from harness.organisms.reader import load_recipe  # noqa: PLC0415 - as above
    from harness.organisms.spec import names  # noqa: PLC0415 - as above

    suites: list[Suite] = []
    recipes = 0
    problems: list[Problem] = []
    for path in _written_files(options.paths):
        try:
            if path.name == RECIPE_FILE:
                load_recipe(path, root_of(path))
                recipes += 1
            else:
                suites.append(load_suite(path, root_of(path), names()))
        except CaseFileError as error:
            problems += error.problems
    if problems:
        for problem in sorted(problems):
            _say(line(str(problem)))
        files = {problem.path for problem in problems}
        _say(f"{_count(len(problems), 'problem')} in {_count(len(files), 'file')}")
        return gate.USAGE
    cases = sum(len(suite.cases) for suite in suites)
    found = [f"{_count(len(suites), 'suite')}, {_count(cases, 'case')}"] if suites or not recipes else []
    _say(f"valid: {', '.join([*found, *([_count(recipes, 'recipe')] if recipes else [])])}")
    return gate.PASS


def _written_files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            msg = (
                f"{path}: there is no such file or folder; expected a *{SUFFIX} file, a {RECIPE_FILE} or a folder of "
                "them; mend the path"
            )
            raise UsageError(msg)
        here = sorted([*path.rglob(f"*{SUFFIX}"), *path.rglob(RECIPE_FILE)]) if path.is_dir() else [path]
        if not here or not (here[0].name.endswith(SUFFIX) or here[0].name == RECIPE_FILE):
            msg = f"{path}: no case file; expected a name that ends in {SUFFIX}, or {RECIPE_FILE}; nothing was checked"
            raise UsageError(msg)
        found += here
    return list(dict.fromkeys(found))


@uncollected()
def _verdict(options: argparse.Namespace) -> int:
    from harness import plan_file  # noqa: PLC0415 - lazy like everything below
    from harness.record import results  # noqa: PLC0415
    from harness.record_file import read_record  # noqa: PLC0415
    from harness.writers import github  # noqa: PLC0415
    from harness.writers.terminal import verdict_word  # noqa: PLC0415
    from harness.writers.words import plain_words  # noqa: PLC0415

    record = read_record(options.run)
    faults = plan_file.faults(options.run, record)
    policy, today = report.policy_of(options, record)
    result = gate.judge_run(record, policy, today=today, beside=faults)
    github.tell(record, result=result, policy=policy)
    words = f"{result.word}: {line(plain_words(record, result))}"
    if policy is not None:
        words = "\n".join(leading(line(text)) for text in gate.lines(result, policy))
    words = verdict_word(result, look_of(sys.stdout)) + words.removeprefix(result.word)
    if not options.whole:
        _say(words)
        return result.code
    if missing := (*faults, *gate.gaps(record)):
        _say(f"The record is NOT whole: {line('; '.join(missing))}. {words}")
        return gate.BROKEN if results(record) else gate.NOTHING
    _say(f"The record is whole: {len(results(record))} of {len(record.selected)} selected. {words}")
    return gate.PASS


def _store(options: argparse.Namespace) -> int:
    from harness.store import Store  # noqa: PLC0415

    if not options.file.is_file():
        msg = f"{options.file}: there is no such store; expected the file given to --store; mend the path"
        raise UsageError(msg)
    store = Store(options.file)
    try:
        if options.action == "prune":
            _say(f"{store.prune(options.keep_days)} answers dropped")
            return gate.PASS
        for name, value in store.info().items():
            parts = value if isinstance(value, dict) else {"": value}
            for part, shown in parts.items():
                _say(line(f"{name} {part}: {shown}" if part else f"{name}: {shown}"))
    finally:
        store.close()
    return gate.PASS


def _complain(message: str, code: int) -> int:
    sys.stderr.write(credentials.without(message) + "\n")
    return code


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _say(message: str) -> None:
    sys.stdout.write(message + "\n")


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": _validate,
    "plan": plan.run,
    "verdict": _verdict,
    "show": show.run,
    "report": report.run,
    "store": _store,
    "compare": compare.run,
    "baseline": compare.run_baseline,
    "trend": trend.run,
    "tune": tune.run,
    "controls": controls.run,
    "sweep": sweep.run,
    "ladder": ladder.run,
    "export": export.run,
    "restricted": secret.run,
    "certify": certify.run,
    "organisms": organisms.run,
}

if __name__ == "__main__":
    sys.exit(main())
