"""Filters, search, order and links of `report.html`: what is shown is what was asked for, and the count says so."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from harness.verdict import PRECEDENCE, Verdict
from tests.browser import records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from harness.record import ItemRecord

ITEMS = records.varied().items
FIELDS = {
    "mode": lambda item: item.failure_mode, "severity": lambda item: item.severity,
    "verdict": lambda item: item.verdict.value, "model": lambda item: item.model,
}  # fmt: skip
CHOICES = [(name, value) for name, of in FIELDS.items() for value in sorted({of(item) for item in ITEMS})]
SHOWN = """() => [...document.querySelectorAll('article.item')]
  .filter((one) => one.getClientRects().length).map((one) => one.id)"""
BOXES = """(kind) => [...document.querySelectorAll(kind)].map((one) => [
  one.getClientRects().length > 0, [...one.querySelectorAll('article.item')].map((item) => item.id)])"""


def anchor(item: ItemRecord) -> str:
    """Return the id of the article of an item: the same in every run."""
    return f"i-{hashlib.sha256(item.node_id.encode()).hexdigest()[:12]}"


@pytest.fixture
def page(visit: Callable[..., Page], report: Callable[[str], Path]) -> Page:
    return visit(report("varied"))


def shown(page: Page) -> list[str]:
    """Return the ids of the items that can be seen, in the order of the page."""
    found: list[str] = page.evaluate(SHOWN)
    return found


def assert_shows(page: Page, wanted: list[ItemRecord]) -> None:
    """Assert that these are shown and no others, that the count says so, and that no empty group is left standing."""
    assert Counter(shown(page)) == Counter(map(anchor, wanted))
    assert page.inner_text("#count") == f"{len(wanted)} of {len(ITEMS)} checks"
    ids = set(map(anchor, wanted))
    for kind in ("section.mode", "section.suite"):
        boxes = page.evaluate(BOXES, kind)
        assert boxes
        assert all(seen == bool(ids & set(inside)) for seen, inside in boxes)


def test_every_check_is_there_once_under_its_mode_and_suite(page: Page) -> None:
    assert_shows(page, list(ITEMS))
    for item in ITEMS:
        article = page.locator(f"#{anchor(item)}")
        assert article.evaluate("(one) => ({...one.dataset})").items() >= {
            "mode": item.failure_mode, "severity": item.severity, "verdict": item.verdict.value, "model": item.model,
        }.items()  # fmt: skip
        assert item.verdict.value in article.get_attribute("class").split()
        assert article.evaluate("(one) => one.closest('section.mode').dataset.mode") == item.failure_mode
        row = article.locator("summary").first.text_content()
        for said in (item.verdict.value, item.case, item.model, str(item.n_planned)):
            assert said in row
        if item.measurements:
            assert f"{item.measurements[0].value:g}" in row
            assert article.locator("summary svg[role=img]").count() == 1


def test_the_worst_stands_first(page: Page) -> None:
    """The worst of all at the top, and in every suite nothing above what is worse."""
    rank = {verdict.value: place for place, verdict in enumerate(PRECEDENCE)}
    places = [[rank[word] for word in found] for found in keys(page, "verdict", "section.suite")]
    assert all(found == sorted(found) for found in places)
    firsts = [rank[found[0]] for found in keys(page, "verdict", "section.mode")]
    assert firsts == sorted(firsts)
    assert firsts[0] == min(rank[item.verdict.value] for item in ITEMS)


@pytest.mark.parametrize(("name", "value"), CHOICES)
def test_each_filter_shows_what_it_says(page: Page, name: str, value: str) -> None:
    page.select_option(f"#filters [name={name}]", value)

    assert_shows(page, [item for item in ITEMS if FIELDS[name](item) == value])
    assert page.url.endswith(f"#?{name}={value}")


def test_filters_offer_what_there_is_and_nothing_else(page: Page) -> None:
    for name, of in FIELDS.items():
        values = page.eval_on_selector_all(f"#filters [name={name}] option", "(all) => all.map((one) => one.value)")
        assert values[0] == ""
        assert Counter(values[1:]) == Counter({of(item) for item in ITEMS})


def test_filters_add_up_and_a_reset_takes_all_away(page: Page) -> None:
    page.select_option("#filters [name=mode]", "deception")
    page.select_option("#filters [name=model]", "other-model")
    page.select_option("#filters [name=verdict]", "PASS")
    wanted = [i for i in ITEMS if (i.failure_mode, i.model, i.verdict) == ("deception", "other-model", Verdict.PASS)]
    assert 0 < len(wanted) < len(ITEMS)
    assert_shows(page, wanted)

    page.fill("#filters [name=q]", "omega-0")
    assert_shows(page, [item for item in wanted if item.case == "omega-0"])
    page.select_option("#filters [name=verdict]", "FAIL")
    assert_shows(page, [])

    page.click("#reset")
    assert_shows(page, list(ITEMS))
    assert "?" not in page.url
    assert page.eval_on_selector_all("#filters select, #filters input", "(all) => all.map((one) => one.value)") == [
        "" if name != "sort" else "worst"
        for name in page.eval_on_selector_all("#filters select, #filters input", "(all) => all.map((one) => one.name)")
    ]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("alpha-2", lambda item: item.case == "alpha-2"),
        ("ALPHA-2", lambda item: item.case == "alpha-2"),
        ("reply-3 model", lambda item: item.case.endswith("-3")),
        ("quiet-lies", lambda item: item.suite == "quiet-lies"),
        ("no such text anywhere", lambda _: False),
        (".*", lambda _: False),
        ("<b>", lambda _: False),
    ],
)
def test_a_search_looks_through_everything_that_is_said_of_a_check(page: Page, words: str, wanted: Any) -> None:
    """What is folded away too; the words are text, and no pattern."""
    page.fill("#filters [name=q]", words)

    assert_shows(page, [item for item in ITEMS if wanted(item)])


def test_slash_goes_to_the_search_and_escape_empties_it(page: Page) -> None:
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.name") == "q"
    assert page.input_value("#filters [name=q]") == ""
    page.keyboard.type("alpha-1/x")
    assert page.input_value("#filters [name=q]") == "alpha-1/x"
    assert_shows(page, [])

    page.keyboard.press("Escape")

    assert page.input_value("#filters [name=q]") == ""
    assert_shows(page, list(ITEMS))


def test_enter_in_the_search_sends_nothing(page: Page) -> None:
    """Where it would, the policy would say so in the console, and the page would be loaded anew."""
    page.evaluate("() => { window.mark = 1; }")
    page.fill("#filters [name=q]", "alpha-1")
    page.press("#filters [name=q]", "Enter")
    assert page.evaluate("() => window.mark") == 1
    assert_shows(page, [item for item in ITEMS if item.case == "alpha-1"])


def keys(page: Page, name: str, kind: str) -> list[list[Any]]:
    """Return the values of `data-NAME`, group by group, in the order of the page."""
    found: list[list[Any]] = page.evaluate(
        """([name, kind]) => [...document.querySelectorAll(kind)].map((box) =>
          [...box.querySelectorAll('article.item')].map((one) => one.dataset[name]))""",
        [name, kind],
    )
    return found


def test_by_name(page: Page) -> None:
    """Names rise within each suite, and so do the first names of suites and of failure modes."""
    page.select_option("#filters [name=sort]", "name")

    suites, modes = keys(page, "name", "section.suite"), keys(page, "name", "section.mode")
    assert all(names == sorted(names) for names in suites)
    assert [names[0] for names in modes] == sorted(names[0] for names in modes)
    assert keys(page, "name", "main")[0][0] == min(page.eval_on_selector_all(
        "article.item", "(all) => all.map((one) => one.dataset.name)"
    ))  # fmt: skip
    assert_shows(page, list(ITEMS))


def test_by_failure_mode(page: Page) -> None:
    page.select_option("#filters [name=sort]", "mode")

    (order,) = keys(page, "mode", "main")
    assert order == sorted(order)
    assert_shows(page, list(ITEMS))


def test_by_distance_from_the_bound(page: Page) -> None:
    """The nearest to breaking it, or the farthest beyond it, first; what has no number is worse than all."""
    page.select_option("#filters [name=sort]", "distance")

    suites = [[float(text) for text in found] for found in keys(page, "distance", "section.suite")]
    assert all(found == sorted(found) for found in suites)
    firsts = [float(found[0]) for found in keys(page, "distance", "section.mode")]
    assert firsts == sorted(firsts)
    invalid = {anchor(item) for item in ITEMS if item.verdict is Verdict.INVALID}
    assert shown(page)[0] in invalid
    assert_shows(page, list(ITEMS))


@pytest.mark.parametrize("how", ["name", "mode", "distance"])
def test_the_first_order_comes_back(page: Page, how: str) -> None:
    before = shown(page)
    page.select_option("#filters [name=sort]", how)
    assert shown(page) != before
    assert f"sort={how}" in page.url

    page.select_option("#filters [name=sort]", "worst")

    assert shown(page) == before
    assert "sort" not in page.url


def test_what_was_asked_for_survives_a_reload_and_can_be_sent(
    page: Page, visit: Callable[..., Page], report: Callable[[str], Path]
) -> None:
    page.select_option("#filters [name=verdict]", "PASS")
    page.select_option("#filters [name=sort]", "name")
    page.fill("#filters [name=q]", "omega 50% & more")
    page.fill("#filters [name=q]", "omega-1")
    wanted, order = [item for item in ITEMS if item.case == "omega-1"], shown(page)
    assert_shows(page, wanted)
    address = page.url

    page.reload()
    assert_shows(page, wanted)
    assert shown(page) == order
    assert page.input_value("#filters [name=q]") == "omega-1"
    assert page.input_value("#filters [name=sort]") == "name"

    other = visit(report("varied"), "#" + address.partition("#")[2])
    assert_shows(other, wanted)


def test_an_odd_search_is_kept_as_it_was_written(page: Page) -> None:
    odd = 'a=b&c #d?e %41 + "q" \u00e9\U0001f600'
    page.fill("#filters [name=q]", odd)
    page.reload()
    assert page.input_value("#filters [name=q]") == odd


@pytest.mark.parametrize(
    "fragment", ["#?verdict=NOPE", "#?nothing=x", "#?mode=%", "#?", "#?sort=sideways", "#i-000000000000"]
)
def test_an_address_that_names_nothing_hides_nothing(
    visit: Callable[..., Page], report: Callable[[str], Path], fragment: str
) -> None:
    assert_shows(visit(report("varied"), fragment), list(ITEMS))


def test_a_link_to_a_check_opens_it_and_goes_there(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    """The last one of the page, far below."""
    page = visit(report("varied"))
    last = page.locator("article.item").last.get_attribute("id")
    page = visit(report("varied"), f"#{last}")

    assert page.locator(f"#{last} details.more").evaluate("(one) => one.open")
    assert page.evaluate("(id) => document.activeElement.closest('article')?.id === id", last)
    assert page.locator(f"#{last}").evaluate(
        "(one) => one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().bottom > 0"
    )


def test_a_link_to_a_check_that_is_filtered_out_brings_it_back(page: Page) -> None:
    failed = next(item for item in ITEMS if item.verdict is Verdict.FAIL)
    page.select_option("#filters [name=verdict]", "PASS")
    assert anchor(failed) not in shown(page)

    page.evaluate("(id) => { location.hash = '#' + id; }", anchor(failed))
    page.wait_for_function("(id) => document.activeElement.closest('article')?.id === id", arg=anchor(failed))

    assert anchor(failed) in shown(page)
    assert page.locator(f"#{anchor(failed)} details.more").evaluate("(one) => one.open")
    # The filters and the count do not say what is no longer so.
    verdict = page.input_value("#filters [name=verdict]")
    assert page.inner_text("#count") == f"{len(shown(page))} of {len(ITEMS)} checks"
    assert verdict in {"", "FAIL"}


def test_every_link_within_the_page_leads_somewhere(visit: Callable[..., Page], report: Callable[[str], Path]) -> None:
    for name in ("varied", "example", "certification", "hostile"):
        page = visit(report(name))
        lost = page.evaluate(
            """() => [...document.querySelectorAll('a[href^="#"]')].map((one) => one.getAttribute('href'))
              .filter((to) => !to.startsWith('#?') && !document.getElementById(to.slice(1)))"""
        )
        assert lost == []
        assert page.eval_on_selector_all("nav#pages a", "(all) => all.length") >= 3
        assert page.evaluate("() => document.querySelector('#verdict') !== null")


def test_expand_and_collapse_all(page: Page) -> None:
    opened = "() => [...document.querySelectorAll('article.item details.more')].map((one) => one.open)"
    page.click("#expand-all")
    assert all(page.evaluate(opened))
    assert page.locator("article.item pre").first.is_visible()
    page.click("#collapse-all")
    assert not any(page.evaluate(opened))


def test_links_last_from_run_to_run(page: Page) -> None:
    """An id hangs on the node id alone."""
    assert quote(anchor(ITEMS[0])) == anchor(ITEMS[0])
    assert set(shown(page)) == set(map(anchor, ITEMS))
