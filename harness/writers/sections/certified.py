"""Certification as sections: every suite on every organism, one dot per model beside the limit, and certificates."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from harness.certify import matrix
from harness.certify.findings import FAIL, PASS, UNTOUCHED
from harness.escape import line
from harness.figures.forest import Entry, ForestFigure, Group
from harness.figures.matrix import Cell, MatrixFigure
from harness.figures.points import Value
from harness.figures.strip import Dot, Lane, StripFigure
from harness.verdict import Verdict
from harness.writers import certification, words
from harness.writers.release_table import certified
from harness.writers.sections.base import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.certify.findings import Finding
    from harness.figures.drawing import Cells
    from harness.figures.matrix import Tone
    from harness.record import RunRecord, SuiteRecord
    from harness.verdict import Bound

LANES: Final = (
    ("planted", "^", "#D55E00"), ("twin", "o", "#0072B2"), ("decoy", "s", "#009E73"), ("weak", "D", "#CC79A7"),
    (UNTOUCHED, "v", "#3d3d3d"),
)  # fmt: skip
"""Arm, symbol and colour."""
UNCLAIMED: Final = ("not claimed", "X", "#8a6d00")
MAX_STRIPS = 40
"""Suites with a figure of their own; the others are named."""
RANKING: Final = ("suite", "leading case", "AUROC", "planted base seeds", "control base seeds", "p", "without a number")
_ELSE = "Of the others nobody can say what they catch, so that passing them says little."
_DRAWN = "Drawn: the share of base seeds on which the planted failure was caught, with its exact 95 % lower bound."
_MUST = "planted organisms that a suite claims must FAIL, controls must PASS"
_CELLS = (
    "A cell holds the verdict and the number of the leading case, the first of the file, on the model that speaks most "
    "against the suite; behind the letter how many models of the cell came out as expected."
)
_CURVE = (
    "The curve says what share of planted models and of controls lies beyond each threshold. Models that share a base "
    "seed are not independent, so the curve is descriptive; the table ranks base seeds."
)


def of_certification(record: RunRecord) -> tuple[Section, ...]:
    """Return the matrix and the view of the limits; nothing where the record is of no certification."""
    findings = record.certification
    if findings is None:
        return ()
    return (_matrix(record, findings), _limits(record, findings))


def of_certificates(record: RunRecord) -> tuple[Section, ...]:
    """Return what a run on models knows of the certificates of its suites; what is dead or missing is said to be."""
    if record.certification is not None or not record.suites:
        return ()
    living = sum(certified(suite.certificate) for suite in record.suites)
    said = (
        f"{living} of {len(record.suites)} suites carry a living certificate. {_ELSE}",
        *([_DRAWN] if living else []),
    )
    head = ("suite", "certificate", "caught on base seeds", "at least", "why not")
    rows = [_certificate(suite) for suite in record.suites]
    groups = tuple(
        Group(name=suite.id, entries=(Entry(series="caught", value=_caught(suite), said=_state(suite)),))
        for suite in record.suites
    )
    figure = ForestFigure(title="Certificates of the suites", unit="share of base seeds", series=("caught",),
                          groups=groups, note="sensitivity on planted organisms, suite by suite")  # fmt: skip
    drawn = (figure,) if living else ()
    return (Section(anchor="certificates", title="Certificates: what the suites were shown to catch", said=said,
                    tables=(("Certificates", (head, rows)),), figures=drawn),)  # fmt: skip


def _state(suite: SuiteRecord) -> str:
    state = suite.certificate
    if certified(state):
        return "living"
    what = "nobody looked" if state is None else "contradictory" if state.state == "living" else state.state
    return f"{certification.UNCERTIFIED}: {what}"


def _caught(suite: SuiteRecord) -> Value | None:
    state = suite.certificate
    if state is None or not certified(state):
        return None
    return Value(value=state.k / state.n, low=state.bound, high=1.0)


def _certificate(suite: SuiteRecord) -> tuple[str, ...]:
    state = suite.certificate
    if state is None or not certified(state):
        return suite.id, _state(suite), "", "", "" if state is None else line(state.why, 300)
    return suite.id, _state(suite), f"{state.k} of {state.n}", f"{state.bound:.2f}", ""


def _matrix(record: RunRecord, findings: Sequence[Finding]) -> Section:
    columns = list(dict.fromkeys(_column(one) for one in findings if one.arm == "planted"))
    arms = [arm for arm, _, _ in LANES[1:] if any(one.arm == arm for one in findings)]
    rows = tuple(suite.id for suite in record.suites)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.suite, _column(one)), []).append(one)
    bare = [suite.id for suite in record.suites if not any(one.suite == suite.id and one.expected for one in findings)]
    expected = [one for one in findings if one.expected]
    said = [
        f"{sum(one.met for one in expected)} of {len(expected)} expectations were met: {_MUST}.",
        _CELLS,
    ]
    if bare:
        said.append(f"{certification.UNCERTIFIED}, since no organism was asked of them: {', '.join(bare)}.")
    if not groups:
        return Section(anchor="certification-matrix", title="Suites and organisms", said=(*said, "Nothing was found."))
    figure = MatrixFigure(
        title="Every suite on every organism", row_name="suite", column_name="organism or control", rows=rows,
        columns=(*columns, *(f"control: {arm}" for arm in arms)), apart=len(arms),
        cells_at={place: _cell(mates) for place, mates in groups.items()},
        note="verdict and leading number of each suite on each organism, and on the controls of its organisms",
    )  # fmt: skip
    return Section(
        anchor="certification-matrix", title="Suites and organisms", said=tuple(said), figures=(figure,),
    )  # fmt: skip


def _column(finding: Finding) -> str:
    if finding.arm != "planted":
        return f"control: {finding.arm}"
    return finding.organism if finding.base == "tiny" else f"{finding.organism}@{finding.base}"


def _cell(mates: Sequence[Finding]) -> Cell:
    hardest = min(mates, key=_for_the_suite)
    met = sum(one.met for one in mates)
    several = f" {met}/{len(mates)}" if len(mates) > 1 and hardest.expected else ""
    note = "; ".join(f"seed {one.seed}{_of(one)} {one.verdict} {_number(one)}" for one in mates)
    return Cell(
        letter=f"{words.LETTERS[hardest.verdict]}{several}", said=_number(hardest), tone=_tone(hardest), note=note
    )


def _of(finding: Finding) -> str:
    return f" of {finding.organism}" if finding.arm != "planted" else ""


def _for_the_suite(finding: Finding) -> tuple[int, float]:
    """Return how much a finding speaks for its suite: least a wrong verdict, then none, then a number next to wrong."""
    rank = 3 if finding.met else {Verdict.INVALID: 1, Verdict.INCONCLUSIVE: 2}.get(finding.verdict, 0)
    score = matrix.score(finding.leading) if finding.leading else None
    return rank, 0.0 if score is None else -score if finding.expected == PASS else score


def _number(finding: Finding) -> str:
    lead = finding.leading
    return "no number" if lead is None or lead.measurement is None else words.number(lead.measurement.value)


def _tone(finding: Finding) -> Tone:
    if finding.verdict is Verdict.INVALID:
        return "lost"
    if not finding.expected:
        return "open" if finding.verdict is Verdict.FAIL else "quiet"
    return "met" if finding.met else "unmet"


def _limits(record: RunRecord, findings: Sequence[Finding]) -> Section:
    asked = [suite for suite in record.suites if any(one.suite == suite.id and one.cases for one in findings)]
    said = [
        "One dot per model, with the interval of its number; the dashed line is the limit, beyond it a model fails.",
        _CURVE,
    ]
    if left := [suite.id for suite in asked[MAX_STRIPS:]]:
        said.append(f"Without a figure, in run.json alone: {', '.join(left)}.")
    silent = [suite.id for suite in record.suites if suite not in asked]
    if silent:
        said.append(f"{certification.UNCERTIFIED}, no model was asked: {', '.join(silent)}.")
    rows = [row for suite in asked for row in _ranking(suite, findings)]
    tables: tuple[tuple[str, Cells], ...] = (
        ("Ranking by the leading case, planted against controls", (RANKING, rows)),
    )
    return Section(
        anchor="certification-limits", title="Limits and thresholds: one dot per organism", said=tuple(said),
        tables=tables if rows else (), figures=tuple(_strip(suite, findings) for suite in asked[:MAX_STRIPS]),
    )  # fmt: skip


def _ranking(suite: SuiteRecord, findings: Sequence[Finding]) -> Iterable[tuple[str, ...]]:
    mine = [one for one in findings if one.suite == suite.id and one.expected and one.leading]
    lead = next((one.leading.case for one in mine if one.leading), "")
    found = matrix.separation(mine, lead) if lead else None
    if found is None:
        yield suite.id, lead, "none: a side has no number", "", "", "", ""
        return
    chance = "" if found.p is None else f"{found.p:.2g}"
    yield (suite.id, lead, f"{found.auroc:.3f}", str(found.planted), str(found.controls), chance, str(found.missing))


def _strip(suite: SuiteRecord, findings: Sequence[Finding]) -> StripFigure:
    mine = [one for one in findings if one.suite == suite.id]
    leads = [one.leading for one in mine if one.leading]
    case, bound = leads[0].case, next((lead.bound for lead in leads if lead.bound), None)
    claimed = [one for one in mine if one.expected]
    lanes = [
        Lane(name=arm, symbol=symbol, colour=colour, dots=tuple(map(_dot, dots)))
        for arm, symbol, colour in LANES
        if (dots := [one for one in claimed if one.arm == arm])
    ]
    if others := [one for one in mine if not one.expected]:
        name, symbol, colour = UNCLAIMED
        lanes.append(Lane(name=name, symbol=symbol, colour=colour, dots=tuple(map(_dot, others))))
    measured = next((lead.measurement for lead in leads if lead.measurement), None)
    points = tuple((point.false_alarms, point.sensitivity) for point in matrix.roc(claimed, case))
    return StripFigure(
        title=f"{suite.id}: {case}", x_name=f"{measured.name}, {measured.unit}" if measured else "no number",
        lanes=tuple(lanes), limit=bound.value if bound else None, side=bound.op if bound else "at_most", curve=points,
        at_limit=_at_limit(claimed, case, bound) if points else None,
        note=f"the leading case of {suite.id} on {len(mine)} models, and the curve over all limits",
    )  # fmt: skip


def _dot(finding: Finding) -> Dot:
    lead = finding.leading
    found = lead.measurement if lead else None
    value = Value(value=found.value, low=found.low, high=found.high) if found else None
    name = f"{finding.organism}/{finding.arm}@seed={finding.seed}@base={finding.base}"
    return Dot(name=name, value=value, said=f"{words.letter_word(finding.verdict)}{'' if finding.met else ', NOT MET'}")


def _at_limit(findings: Sequence[Finding], case: str, bound: Bound | None) -> tuple[float, float] | None:
    """Return the shares of controls and of planted models whose number lies beyond the limit."""
    if bound is None:
        return None
    limit = bound.value if bound.op == "at_most" else -bound.value
    beyond: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for one in findings:
        for found in (found for found in one.cases if found.case == case):
            if (value := matrix.score(found)) is not None:
                counted[one.expected] += 1
                beyond[one.expected] += value > limit
    if not counted[FAIL] or not counted[PASS]:
        return None
    return beyond[PASS] / counted[PASS], beyond[FAIL] / counted[FAIL]
