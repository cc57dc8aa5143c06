"""A certification in words: the table by suite and arm, and two sentences per claim that are never divided."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness import gate
from harness.certify import matrix
from harness.certify.findings import FAIL, PASS, UNTOUCHED, sensitivity, share_met, specificity
from harness.certify.flags import corrected, shares
from harness.escape import line
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.certify.findings import CertificateState, Finding, Flagged
    from harness.gate import GateResult
    from harness.record import ItemRecord, RunRecord, SuiteRecord

HEADERS = ("suite", "organism", "arm", "base", "as expected", "verdicts", "at least")
ORDER = (Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.PASS)
MAX_NAMED = 20
NAME = 80
UNCERTIFIED = "UNCERTIFIED"


def rows(findings: Iterable[Finding]) -> list[tuple[str, ...]]:
    """Return one row per suite, organism, arm and base: k of k base seeds, verdict counts, exact lower bound."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for one in findings:
        if one.expected:
            groups.setdefault((one.suite, one.organism, one.arm, one.base), []).append(one)
    made = []
    for names, mates in groups.items():
        met, counts = share_met(mates), Counter(one.verdict for one in mates)
        said = ", ".join(f"{verdict.value} {counts[verdict]}" for verdict in ORDER if counts[verdict])
        made.append((*(line(name, NAME) for name in names), f"{met.k} of {met.n}", said, f"{met.bound:.2f}"))
    return made


def statements(suite: SuiteRecord, findings: Sequence[Finding]) -> list[str]:
    """Return what the findings of one suite say about it, in lines: found by, sensitivity, specificity, AUROC, gaps."""
    mine = [one for one in findings if one.suite == suite.id]
    claimed = [one for one in mine if one.expected]
    if not claimed:
        return [f"{UNCERTIFIED} {line(suite.id, NAME)}: {_why_unasked(suite)}"]
    caught, alarms = sensitivity(claimed), specificity(claimed)
    controls = [one for one in claimed if one.expected == PASS and one.arm != UNTOUCHED]
    failed = sum(one.verdict is Verdict.FAIL for one in controls)
    found = (
        f"Sensitivity: the planted failure was caught on {caught.k} of {caught.n} base seeds, so with 95 % confidence "
        f"on at least {caught.bound:.2f} of such; of failures in the wild as far as they resemble the planted one."
    )
    quiet = (
        f"Specificity: a control FAILed on {alarms.k} of {alarms.n} base seeds that were decided, so with 95 % "
        f"confidence on at most {alarms.bound:.2f} of such; {failed} of {len(controls)} models, which share base seeds."
    )
    told = (
        found,
        quiet,
        *_untouched(claimed),
        *_elsewhere(suite, claimed),
        *_flags(claimed),
        *_auroc(suite, claimed),
        *_found_by(claimed),
        *_gaps(claimed),
    )
    return [f"{line(suite.id, NAME)}: {line(suite.claim, 300)}", *(f"  {text}" for text in told)]


def report(record: RunRecord) -> str:
    """Return the whole certification for a terminal."""
    import tabulate  # noqa: PLC0415 - only runs that end with findings need it

    findings = record.certification or ()
    table = rows(findings)
    parts = [tabulate.tabulate(table, headers=HEADERS, tablefmt="simple", disable_numparse=True)] if table else []
    parts += ["\n".join(statements(suite, findings)) for suite in record.suites]
    parts += ["\n".join(lines) for lines in (_matrix(findings),) if lines]
    return "\n\n".join(parts)


def sentence(record: RunRecord, result: GateResult) -> str:
    """Return the verdict on a certification as one paragraph, on one line."""
    findings = record.certification or ()
    expected = [one for one in findings if one.expected]
    met = sum(one.met for one in expected)
    said = [f"Of {len(expected)} expectations on organisms {met} were met."]
    if result.code == gate.PASS:
        said.insert(0, "Every suite said what it had to say of every model that it was planned for.")
    elif result.word == "PARTIAL":
        said.insert(0, "This is no certification: less was selected than planned.")
    else:
        said.insert(0, f"This is no certification: {line(result.reasons[0], 300)}.")
    if unmet := [one for one in expected if not one.met]:
        said.append(f"Not met: {_named(unmet)}.")
    if bare := _unclaimed(record):
        said.append(f"{UNCERTIFIED}, since no organism was asked of them: {', '.join(bare)}.")
    return " ".join(said)


def finding_page(finding: Finding) -> str:
    """Return everything about one finding; the first line holds what decides."""
    short = f"{finding.suite} on {finding.organism}/{finding.arm}@seed={finding.seed}@base={finding.base}"
    head = f"{finding.verdict.value}, expected {finding.expected or 'nothing'}"
    lines = [f"{head}  {line(short, 200)}"]
    if finding.cause:
        lines.append(f"  {'cause':<10} {line(finding.cause, 1000)}")
    for case in finding.cases:
        number = ""
        if (found := case.measurement) is not None:
            number = f"  {found.value:.4g} [{found.low:.4g}, {found.high:.4g}] {line(found.unit, 20)}"
        limit = f", {case.bound.op.replace('_', ' ')} {case.bound.value:g}" if case.bound else ""
        cause = f"  {line(case.cause, 400)}" if case.cause else ""
        about = f"{line(case.case, NAME)} ({line(case.check, 40)}{limit})"
        lines.append(f"  {case.verdict.value:<12} {about}{number}{cause}")
    if finding.rerun:
        lines.append(f"  {'again':<10} {line(finding.rerun, 1000)}")
    return "\n".join(lines)


def certified(suite: SuiteRecord, items: Sequence[ItemRecord] = ()) -> str:
    """Return what a run says of the certificate of a suite, on one line; empty where nobody looked.

    Beside a living certificate stand two statements, of two levels, and never their quotient: how likely a model with
    this failure would have been caught, and for each PASS on text how many scenarios of this model may be truly bad.
    """
    state = suite.certificate
    if state is None:
        return ""
    name = line(suite.id, NAME)
    if state.state == "living":
        told = [f"certified: {name}, {counted(state)}: with 95 % confidence a model with this failure at standard dose"]
        told[0] += f" would have been caught with probability {state.bound:.2f} at least"
        told += [text for item in items if item.suite == suite.id and (text := _bad_scenarios(item, state))]
        return "; ".join(told) + "; both as far as failures in the wild resemble the planted one"
    dead = "its certificate is dead: " if state.state == "dead" else ""
    return f"{UNCERTIFIED}: {name}, {dead}{line(state.why, 300)}"


def truly_bad(item: ItemRecord, state: CertificateState) -> tuple[float, float, Flagged] | None:
    """Return the corrected upper limit of the rate of bad scenarios, the flagged rate, and what the grader flags.

    None for what is no PASS on text, or where no truly bad answer was counted. Two limits at 95 % each hold together at
    90 % at least (Bonferroni).
    """
    found = next((one for one in state.flags or () if one.case == item.case), None)
    if found is None or item.verdict is not Verdict.PASS or item.bound is None or not item.measurements:
        return None
    judged = item.measurements[0]
    rate = judged.high if item.bound.op == "at_most" else 1.0 - judged.low
    return corrected(rate, found), rate, found


def _bad_scenarios(item: ItemRecord, state: CertificateState) -> str:
    """Return the corrected upper limit of the rate of bad scenarios of one PASS on text; empty for other items."""
    if (known := truly_bad(item, state)) is None:
        return ""
    most, rate, found = known
    about = f"{line(item.case, NAME)}[{line(item.model, NAME)}]"
    seen = f"{found.flagged} of {found.truly_bad} truly bad answers flagged, {found.bound:.2f} at least"
    return (
        f"{about}: with 90 % confidence at most {most:.2g} of the scenarios are truly bad ({rate:.2g} flagged; {seen})"
    )


def counted(state: CertificateState) -> str:
    """Return k of n with the bound."""
    return f"caught on {state.k} of {state.n} base seeds (at least {state.bound:.2f})"


def uncertified(record: RunRecord) -> list[str]:
    """Return the suites of a run on a model of which nothing living says what they catch."""
    return [
        line(suite.id, NAME)
        for suite in record.suites
        if suite.certificate is not None and suite.certificate.state != "living"
    ]


def _why_unasked(suite: SuiteRecord) -> str:
    if suite.catches:
        return f"what it claims to catch, {_claims(suite.catches)}, was not asked in this scope"
    return "it names no organism in `catches`"


def _claims(catches: Sequence[str]) -> str:
    return ", ".join(line(one, NAME) for one in catches)


def _elsewhere(suite: SuiteRecord, findings: Sequence[Finding]) -> list[str]:
    """Name the claims of which no model was asked."""
    asked = {entry for one in findings for entry in (one.organism, f"{one.organism}@base={one.base}")}
    left = [entry for entry in suite.catches or () if entry not in asked]
    return [f"Claimed and not asked in this scope: {_claims(left)}."] if left else []


def _untouched(findings: Sequence[Finding]) -> list[str]:
    """Return what came of the bases before anything was planted; they are no twins, and counted apart."""
    mine = [one for one in findings if one.arm == UNTOUCHED]
    failed = sum(one.verdict is Verdict.FAIL for one in mine)
    return [f"Untouched bases: {failed} of {len(mine)} FAILed."] if mine else []


def _flags(findings: Sequence[Finding]) -> list[str]:
    """Return how many truly bad answers each case that reads text flags."""
    return [
        f"Answers that are not the twin's: {line(one.case, NAME)} flags {one.flagged} of {one.truly_bad}, with 95 % "
        f"confidence at least {one.bound:.2f} of such."
        for one in shares(findings)
    ]


def _auroc(suite: SuiteRecord, findings: Sequence[Finding]) -> list[str]:
    """Return the ranking by each case's number, the leading case first: the first of the file."""
    shown = []
    for place, one in enumerate(matrix.separations(findings, [case.id for case in suite.cases])):
        chance = "" if one.p is None else f", p {one.p:.2g} by permutation"
        lost = f", {one.missing} without a number" if one.missing else ""
        lead = " (leading case)" if place == 0 and one.case == suite.cases[0].id else ""
        counts = f"{one.auroc:.2f} of {one.planted} against {one.controls}"
        shown.append(f"{line(one.case, NAME)}{lead} {counts}{chance}{lost}")
    return [f"AUROC, planted against controls: {'; '.join(shown)}."] if shown else []


def _found_by(findings: Sequence[Finding]) -> list[str]:
    planted = [one for one in findings if one.expected == FAIL]
    counts = Counter(case for one in planted for case in one.found_by)
    found = ", ".join(f"{line(case, NAME)} {count}" for case, count in counts.items())
    return [f"Found by: {found} of {len(planted)} planted models."] if found else ["No case found a planted model."]


def _gaps(findings: Sequence[Finding]) -> list[str]:
    """Return what counts for neither, by name, and what went against the expectation."""
    said = [
        f"{verdict.value}, counted for neither: {_named(found)}."
        for verdict in (Verdict.INVALID, Verdict.INCONCLUSIVE)
        if (found := [one for one in findings if one.verdict is verdict])
    ]
    if missed := [one for one in findings if one.expected == FAIL and one.verdict is Verdict.PASS]:
        said.append(f"Missed: {_named(missed)}.")
    if alarms := [one for one in findings if one.expected == PASS and one.verdict is Verdict.FAIL]:
        said.append(f"False alarms: {_named(alarms)}.")
    return said


def _named(findings: Sequence[Finding]) -> str:
    names = [line(_name(one), 200) for one in findings[:MAX_NAMED]]
    more = [f"and {len(findings) - MAX_NAMED} more"] if len(findings) > MAX_NAMED else []
    return "; ".join([*names, *more])


def _name(finding: Finding) -> str:
    model = f"{finding.organism}/{finding.arm}@seed={finding.seed}@base={finding.base}"
    cases = [case.case for case in finding.cases if case.verdict is finding.verdict]
    why = finding.cause or (f"by {', '.join(cases)}" if cases and finding.verdict is not Verdict.PASS else "")
    return f"{finding.suite} on {model}, {finding.verdict.value}{f' ({why[:120]})' if why else ''}"


def _matrix(findings: Sequence[Finding]) -> list[str]:
    """Return the cross matrix, one line per suite, and the FAILs off its diagonal, which are to be explained."""
    if not any(not one.expected for one in findings):
        return []
    lines = ["Cross matrix: planted organisms, first seed of each base; = marks what the suite claims to catch."]
    for suite, cells in matrix.cross(findings).items():
        shown = [f"{line(name, NAME)}{'=' if one.expected else ' '}{one.verdict.value}" for name, one in cells.items()]
        lines.append(f"  {line(suite, NAME)}: {', '.join(shown)}")
    found = matrix.unexplained(findings)
    odd = f"Findings to explain, no alarms: {_named(found)}." if found else "No FAIL where none is claimed."
    lost = [one for one in findings if not one.expected and one.verdict is Verdict.INVALID]
    return [*lines, f"  {odd}", *([f"  Not measured: {_named(lost)}."] if lost else [])]


def _unclaimed(record: RunRecord) -> list[str]:
    known = {one.suite for one in record.certification or () if one.expected}
    return [
        line(suite.id, NAME)
        for suite in record.suites
        if suite.id not in known and not any(f"::{suite.id}::certify[" in node for node in record.planned)
    ]
