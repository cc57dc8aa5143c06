"""`tells certify`: run suites on organisms, say what they catch, and write that beside them.

The run itself is pytest's, in a process of its own with a report: what is judged here is the sealed record that it
leaves. A process that dies half-way leaves none, and cannot look like a certification.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness import gate
from harness.certification import scope_arguments
from harness.certify import certificate, expect
from harness.commands.places import case_files, root_of
from harness.errors import RecordError, UsageError
from harness.escape import line
from harness.organisms.recipe import BASES
from harness.organisms.spec import names
from harness.verdict import Verdict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.case import Suite
    from harness.certify.findings import Finding
    from harness.record import RunRecord

ABOUT = "run suites on models with a planted failure and on their controls, and say what they catch"
USAGE_OF_PYTEST = 4
NOT_ASKED = "nothing that it claims to catch was asked in this scope; `--full` and `--base` ask other bases"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes; unknown options go to pytest."""
    add = parser.add_argument
    add("paths", nargs="*", type=Path, default=[Path("evals")], metavar="PATH", help="case files or folders (evals)")
    add(
        "--full",
        action="store_true",
        help="every seed and base, and every suite on every organism; goes on from the store",
    )
    add("--organism", action="append", default=[], metavar="NAME", help="only this one, which is PARTIAL; repeatable")
    add("--base", choices=BASES, help=f"default: {BASES[0]}")
    add("--seeds", type=int, metavar="K", help="the first K seeds of each plan (default 1)")
    add("--write", action="store_true", help="write NAME.certificate.json beside each suite that met every expectation")
    add("--report", type=Path, metavar="DIR", help="keep run.json and the reports there")


def run(options: argparse.Namespace) -> int:
    """Certify, and return the gate's exit code."""
    files, scope = case_files(options.paths), _scope(options)
    root = root_of(files[0])
    with TemporaryDirectory(prefix="tells-certify-") as temporary:
        folder = options.report or Path(temporary)
        # The caller's folder may hold the record of an earlier run, and pytest may end before it can take it away.
        _clear(folder / "run.json")
        code = _pytest(options, scope, root, folder)
        if not (folder / "run.json").is_file():
            sys.stderr.write("tells certify: pytest left no record; nothing was certified\n")
            return gate.USAGE if code == USAGE_OF_PYTEST else gate.BROKEN
        from harness.record_file import read_record  # noqa: PLC0415 - brings the schema validator

        record = read_record(folder / "run.json")
    refused = False
    if options.write:
        said, refused = write(record, files, root, scope)
        sys.stdout.writelines(line(one) + "\n" for one in said)
    result = gate.judge_run(record)
    if record.certification is None or ((code or refused) and result.code == gate.PASS):
        return gate.BROKEN
    return result.code


def write(
    record: RunRecord, files: Sequence[Path], root: Path, scope: expect.Scope
) -> tuple[list[str], bool]:  # fmt: skip
    """Write the certificate of each suite that met every expectation.

    A suite that a whole run contradicts loses the certificate that it has.

    Returns:
        What became of each, in lines; and whether a suite that claims something in this scope got no certificate.

    Raises:
        CaseFileError: a case file was broken meanwhile.
    """
    from harness.loader import load_suite  # noqa: PLC0415 - brings YAML and the schema validator

    said, refused = [], False
    for file in files:
        suite = load_suite(file, root, names())
        path = certificate.path_of(file)
        findings = [one for one in record.certification or () if one.suite == suite.id and one.expected]
        try:
            said.append(_write(record, suite, findings, path, scope))
        except NotCertifiedError as error:
            gone = _withdraw(path, findings)
            said.append(f"not certified: {suite.id}, {error}{'; its certificate was taken away' if gone else ''}")
            refused |= error.claims
    return said, refused


class NotCertifiedError(RecordError):
    """A suite gets no certificate."""

    def __init__(self, why: str, *, claims: bool) -> None:
        """Say why, and whether the suite claims to catch something in this scope."""
        super().__init__(why)
        self.claims = claims


def _write(record: RunRecord, suite: Suite, findings: Sequence[Finding], path: Path, scope: expect.Scope) -> str:
    """Write one certificate and say so.

    Raises:
        NotCertifiedError: it may not be written, or cannot.
    """
    planned = expect.planned(suite.catches, scope)
    if not planned:
        raise NotCertifiedError(NOT_ASKED if suite.catches else certificate.UNCLAIMED, claims=False)
    if why := _refusal(record, suite, findings, planned):
        raise NotCertifiedError(why, claims=True)
    try:
        made = certificate.certify(
            suite, findings, profile=record.profile, versions=dict(record.versions), run=record.digest,
            date=record.finished,
        )  # fmt: skip
    except RecordError as error:
        raise NotCertifiedError(str(error), claims=True) from error
    known = certificate.read(path, suite, profile=record.profile) if path.exists() else ""
    if isinstance(known, certificate.Certificate) and known.state.n > made.state.n:
        return f"kept: {path}, which says {known.state.n} base seeds; this run has {made.state.n}"
    try:
        certificate.write(path, made)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise NotCertifiedError(msg, claims=True) from error
    return f"certified: {suite.id}, {made.state.k} of {made.state.n} base seeds, {path}"


def _refusal(
    record: RunRecord, suite: Suite, findings: Sequence[Finding], planned: Sequence[expect.Expectation]
) -> str:
    """Say why a suite is not certified by a run; nothing where it is."""
    missing = gate.gaps(record)
    if missing or suite.digest not in {known.digest for known in record.suites if known.id == suite.id}:
        return f"the run is not whole: {missing[0]}" if missing else "it is not in the run, or was changed since"
    found = {(one.organism, one.arm, one.base, one.seed) for one in findings}
    wanted = {(one.organism, one.arm, one.base, one.seed) for one in planned}
    if left := len(wanted - found):
        return f"{left} of {len(wanted)} planned models were not asked"
    if unmet := [one for one in findings if not one.met]:
        return f"{len(unmet)} of {len(findings)} expectations were not met"
    if bare := [one for one in findings if not (one.recipe and one.weights and one.model)]:
        return f"{bare[0].organism}/{bare[0].arm} has no digest of recipe, weights or identity"
    return ""


def _clear(path: Path) -> None:
    """Take away the record of an earlier run.

    Raises:
        UsageError: something stands in the way.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"tells certify: --report {path.parent}: {error.strerror}; expected a folder; name another"
        raise UsageError(msg) from error


def _withdraw(path: Path, findings: Sequence[Finding]) -> bool:
    """Take away a certificate that findings contradict; what could not be measured contradicts nothing."""
    decided = {Verdict.FAIL, Verdict.PASS}
    if not path.is_file() or not any(not one.met and one.verdict in decided for one in findings):
        return False
    path.unlink()
    return True


def _scope(options: argparse.Namespace) -> expect.Scope:
    """Return how much is asked.

    Raises:
        UsageError: the options do not go together.
    """
    if options.full and (options.base or options.seeds is not None):
        msg = "tells certify: --full is every base and seed; expected it alone; leave out --base and --seeds"
        raise UsageError(msg)
    if options.seeds is not None and options.seeds < 1:
        msg = f"tells certify: --seeds {options.seeds}; expected one at least; leave it out for one"
        raise UsageError(msg)
    if options.full:
        return expect.Scope.everything()
    default = expect.Scope()
    return expect.Scope(
        bases=(options.base,) if options.base else default.bases,
        seeds=default.seeds if options.seeds is None else options.seeds,
    )


def _pytest(options: argparse.Namespace, scope: expect.Scope, root: Path, folder: Path) -> int:
    chosen = [word for name in options.organism for word in ("--tells-organism", name)]
    paths = [str(path) for path in options.paths]
    command = [sys.executable, "-m", "pytest", *paths, "--rootdir", str(root), "--report", str(folder)]
    process = subprocess.Popen([*command, *scope_arguments(scope), *chosen, *options.pytest_arguments])  # noqa: S603 - our own interpreter
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # pytest was interrupted too, and says so in its record; a second one finds it gone.
            sys.stderr.write("interrupted; what was answered is in the store\n")
