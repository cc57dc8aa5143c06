"""Templates fill names in and do nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.template import malformed, render, render_forms, render_text, variables


def test_variables_are_found_in_order_with_and_without_spaces() -> None:
    """Variables are found in order with and without spaces."""
    assert variables("{{b}} and {{ a }} and {{  b }}") == ("b", "a", "b")


@pytest.mark.parametrize("text", ["{{ a", "a }}", "{{ a.b }}", "{{ 1a }}", "{% if a %}", "{{ a | upper }}", "{{}}"])
def test_what_only_looks_like_a_variable_is_malformed(text: str) -> None:
    """What only looks like a variable is malformed."""
    assert malformed(text)


@pytest.mark.parametrize("text", ["", "plain", "{ a }", "{{ a }}{{ b }}", "a {{ b }} c", "100 % {sure}"])
def test_plain_text_and_variables_are_well_formed(text: str) -> None:
    """Plain text and variables are well formed."""
    assert not malformed(text)


def test_a_variable_alone_keeps_its_type() -> None:
    """A variable alone keeps its type."""
    values = {"forms": ("Paris", "Lutetia"), "year": 1987, "text": "x"}
    assert render("{{ forms }}", values) == ("Paris", "Lutetia")
    assert render("{{year}}", values) == 1987
    assert render("in {{ year }}", values) == "in 1987"


def test_white_space_around_a_variable_is_kept() -> None:
    """White space around a variable is kept."""
    # The first token of a continuation often begins with its space: " Paris" and "Paris" are scored differently.
    assert render(" {{ answer }}", {"answer": "Paris"}) == " Paris"
    assert render("{{ answer }}\n", {"answer": "Paris"}) == "Paris\n"
    assert render_forms((" {{ forms }}",), {"forms": ("Rome", "Bern")}) == (" Rome", " Bern")
    assert render(" {{ year }}", {"year": 1987}) == " 1987"


def test_a_value_is_never_filled_again() -> None:
    """A value is never filled again."""
    assert render("{{ a }}!", {"a": "{{ b }}", "b": "secret"}) == "{{ b }}!"
    assert render("{{ a }}", {"a": "{{ b }}", "b": "secret"}) == "{{ b }}"


def test_a_missing_variable_is_named_with_the_known_ones() -> None:
    """A missing variable is named with the known ones."""
    with pytest.raises(UsageError, match=r"'capital' has no value; known: answer, question"):
        render("{{ capital }}", {"question": "?", "answer": "!"})


def test_a_list_in_running_text_is_refused() -> None:
    """A list in running text is refused."""
    with pytest.raises(UsageError, match="is a list"):
        render("not {{ forms }}", {"forms": ("a", "b")})


def test_text_of_a_list_is_its_first_form_and_an_empty_one_is_refused() -> None:
    """Text of a list is its first form and an empty one is refused."""
    assert render_text("{{ forms }}", {"forms": ("a", "b")}) == "a"
    with pytest.raises(UsageError, match="at least one form"):
        render_text("{{ forms }}", {"forms": ()})


def test_forms_are_spliced_and_doubles_dropped() -> None:
    """Forms are spliced and doubles dropped."""
    values = {"answer": "Paris", "wrong": ("Rome", "Bern", "Rome")}
    assert render_forms(("{{ wrong }}", "{{ answer }}", "Rome", "no"), values) == ("Rome", "Bern", "Paris", "no")


@given(st.text().filter(lambda text: "{{" not in text), st.text(), st.text().filter(lambda text: "{{" not in text))
def test_text_around_a_variable_comes_out_untouched(before: str, value: str, after: str) -> None:
    """Text around a variable comes out untouched."""
    assert render_text(f"{before}{{{{ x }}}}{after}", {"x": value}) == f"{before}{value}{after}"
