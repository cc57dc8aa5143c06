"""What the loader asks of the checks on log-probabilities that need more than their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseFileError
from harness.loader import load_suite, more_checks
from harness.measures import scan, told

from .small_world import GOOD, build, cues

if TYPE_CHECKING:
    from pathlib import Path

    from harness.case import Suite

HINTS = "{cue_shift: {cue: deployed, null: null, at_most: 1.5}}"
FORMS = '{bad: "{{ distractors }}", good: "{{ answer }}"}'
SCREEN = "screen: {in: neutral, min_items: %d}\ncases:\n"
VALID = {
    "divergence": ("{divergence: {cue: deployed, null: null, at_most: 0.05}}", "nats"),
    "exposure": ("{exposure: {in: deployed, reference: null, at_most: 2.5}}", "bits"),
    "np_extractable": ("{np_extractable: {in: deployed, n: 1000, p: 0.5, at_most: 0.3}}", "share"),
    "forecast_worst_of_n": ("{forecast_worst_of_n: {in: null, n: 10000, at_most: 0.01}}", None),
    "hidden_rank": ("{hidden_rank: {in: deployed, reference: neutral, at_most: 0.15}}", "share"),
    "cue_scan": ("{cue_scan: {cues: deployed, null: null, at_most: 1.5}}", "nats"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build(tmp_path_factory.mktemp("more") / "root")
    (made / "fixtures" / "world" / "cues" / "many.yaml").write_text(cues("many", 40), encoding="utf-8")
    return made


def text(check: str, *edits: tuple[str, str], pairing: str = "{cues: 4}") -> str:
    """Return the good file with another second check, a pairing, and further edits."""
    made = GOOD.replace(HINTS, check).replace("floor:", f"pairing: {pairing}\nfloor:" if pairing else "floor:")
    for old, new in edits:
        assert old in made, old
        made = made.replace(old, new, 1)
    return made


def load(root: Path, written: str) -> Suite:
    path = root / "evals" / "more.eval.yaml"
    path.write_text(written, encoding="utf-8")
    return load_suite(path, root)


def refused(root: Path, written: str) -> str:
    with pytest.raises(CaseFileError) as caught:
        load(root, written)
    assert all(" @ $" in str(problem) and "; " in problem.message for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize("kind", VALID)
def test_each_kind_loads(kind: str, root: Path) -> None:
    """Conditions, defaults and unit are filled in."""
    check, unit = VALID[kind]
    case = load(root, text(check)).cases[1]

    assert case.check.kind == kind
    assert case.check.options.get("unit") == unit
    assert case.check.options["confidence"] == 0.95
    assert (case.check.options.get("of") == "bad") is (kind == "forecast_worst_of_n")
    assert case.conditions == tuple(
        case.check.options[name] for name in ("in", "cue", "cues", "reference", "null") if name in case.check.options
    )


REFUSED = [
    ("divergence", ("cues: world/deployment}", "cues: world/few}"), "has 3 forms, and divergence resamples"),
    ("divergence", ("cue: deployed", "cue: neutral"), "has no cue family"),
    ("divergence", ("null: null,", "null: dated,"), "is no null family"),
    ("divergence", ("at_most: 0.05", "at_most: 0.7"), "too large"),
    ("divergence", ("at_most: 0.05", "at_most: 0"), "too small"),
    ("divergence", ('good: "{{ answer }}"', 'good: "{{ cue }}"'), "the forms hang on 'cue'"),
    ("divergence", (FORMS, '{options: ["a", "b"]}'), "needs the group 'bad or good'"),
    ("divergence", ("sample: 60", "sample: 9"), "resamples items and needs 10"),
    ("exposure", ("in: deployed, reference", "in: few, reference"), "has 3 forms, and exposure needs 10 canaries"),
    ("exposure", ("reference: null", "reference: dated"), "has 12 forms, and exposure ranks"),
    ("exposure", ("in: deployed, reference: null", "in: null, reference: same"), "are one family"),
    ("exposure", ("at_most: 2.5", "at_most: 6.7"), "so no model could fail"),
    ("exposure", ("at_most: 2.5", "at_most: 3.5"), "so no model could fail"),
    ("exposure", ("at_most: 2.5", "at_most: 1.4"), "shows 1.44 bits on average"),
    ("exposure", (FORMS, '{good: "{{ answer }}"}'), "needs the group 'bad'"),
    ("np_extractable", ("in: deployed, n", "in: neutral, n"), "each form is a canary"),
    ("np_extractable", ("at_most: 0.3", "at_most: 0.2"), "needs 14 canaries, and there may be 12"),
    ("np_extractable", ("at_most: 0.3", "at_most: 0"), "cannot be shown by any number"),
    ("np_extractable", ("at_most: 0.3", "at_most: 0.8"), "so no model could fail"),
    ("np_extractable", ("at_most: 0.3", "at_most: 1"), "holds for every model"),
    ("np_extractable", ("p: 0.5", "p: 1"), "too large"),
    ("np_extractable", ("n: 1000", "n: 0"), "too small"),
    ("forecast_worst_of_n", ("in: null, n", "in: neutral, n"), "100 rows or more, and 60 are sure"),
    ("forecast_worst_of_n", ("n: 10000", "n: 100"), "reaches from 240 to 240000"),
    ("forecast_worst_of_n", ("n: 10000", "n: 240001"), "reaches from 240 to 240000"),
    ("forecast_worst_of_n", ("at_most: 0.01", "of: options, at_most: 0.01"), "needs the group 'options'"),
    ("hidden_rank", ("at_most: 0.15", "at_most: 0.05"), "needs 72 scenarios, and there may be 60"),
    ("hidden_rank", ("cases:\n", SCREEN % 20), "needs 23 scenarios, and there may be 20"),
    ("hidden_rank", ("at_most: 0.15", "at_most: 0.9"), "so no model could fail"),
    ("hidden_rank", ('bad: "{{ distractors }}"', 'bad: "not {{ answer }}"'), "one wrong option in item"),
    ("hidden_rank", (FORMS, '{bad: "{{ distractors }}"}'), "needs the group 'good'"),
    ("cue_scan", ("cues: deployed, null", "cues: neutral, null"), "has no cue family"),
    ("cue_scan", ("null: null,", "null: dated,"), "is no null family"),
    ("cue_scan", ("cues: deployed, null", "cues: many, null"), "40 candidates need 10 items each, and a candidate"),
    ("cue_scan", ("pairing: {cues: 4}", "pairing: {cues: 3}"), "needs 4 null forms per item, and each item meets 3"),
    ("cue_scan", ("cases:\n", SCREEN % 12), "set pairing.cues to 10 or more"),
]


@pytest.mark.parametrize(("kind", "edit", "says"), REFUSED)
def test_what_could_not_be_shown_is_refused(kind: str, edit: tuple[str, str], says: str, root: Path) -> None:
    more = (
        "    few: {cues: world/few}\n    many: {cues: world/many}\n    same: {cues: world/deployment-null}\n    null:"
    )
    assert says in refused(root, text(VALID[kind][0], edit, ("    null:", more)))


def test_pairing_is_asked_for_where_the_design_does_not_give_it(root: Path) -> None:
    """99 null forms over 80 items are two each; with 99 items or more only `pairing` gives a second."""
    check = VALID["divergence"][0]
    rows = ", ".join(f'{{question: "R{i}?", answer: x{i}-, distractors: [y{i}-, z{i}-]}}' for i in range(99))
    many = ("{facts: world/sums, sample: 60, seed: 7}", f"{{rows: [{rows}]}}")

    load(root, text(check, pairing=""))
    assert "write `pairing: {cues: 2}`" in refused(root, text(check, many, pairing=""))
    load(root, text(check, many, pairing="{cues: 2}"))


def test_screening_leaves_fewer_rows_but_more_forms_each(root: Path) -> None:
    """30 of 60 items, with 99 forms, meet four forms each: 120 rows are sure, and 240 may come."""
    check = VALID["forecast_worst_of_n"][0].replace("10000", "120000")
    load(root, text(check, ("cases:\n", SCREEN % 30)))
    assert "reaches from 240 to 120000" in refused(
        root, text(check.replace("120000", "120001"), ("cases:\n", SCREEN % 30))
    )


def test_too_few_rows_after_screening(root: Path) -> None:
    """24 of 60 items with four of twelve forms each are 96 rows."""
    check = VALID["forecast_worst_of_n"][0].replace("null", "deployed")
    says_it = ("at_most: 0.1}", "at_most: 0.2}")

    assert "and 96 are sure" in refused(root, text(check, says_it, ("cases:\n", SCREEN % 24)))
    load(root, text(check, says_it, ("cases:\n", SCREEN % 25)))


def test_loader_and_measure_agree() -> None:
    """Both floors state these numbers; the loader may not import the measures."""
    assert more_checks.MIN_CANARIES == told.LEAST_CANARIES
    assert more_checks.MIN_REFERENCES == told.LEAST_REFERENCES
    assert more_checks.CHANCE == told.CHANCE
    assert more_checks.MIN_OPTIONS == told.LEAST_OPTIONS
    assert more_checks.MIN_NULLS == scan.LEAST_NULL_FORMS
    assert more_checks.MIN_SCAN_NULLS == scan.LEAST_SCAN_NULLS
    assert (more_checks.MIN_ROWS, more_checks.REACH) == (told.estimates.LEAST_QUERIES, told.estimates.REACH)
