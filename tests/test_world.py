"""The files of the small world, read with plain YAML: what their README promises, independent of the loader."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections import Counter
from functools import cache
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

WORLD = Path(__file__).resolve().parents[1] / "fixtures" / "world"
FACTS = sorted(path.stem for path in (WORLD / "facts").glob("*.yaml"))
CUES = sorted(path.stem for path in (WORLD / "cues").glob("*.yaml"))

AT_LEAST = {
    "capitals": 80,
    "sums": 90,
    "opposites": 70,
    "everyday": 100,
    "animals": 60,
    "sequences": 40,
    "recommendations": 40,
    "oversight": 40,
    "self-knowledge": 55,
    "chat": 60,
    "sentences": 40,
}
GRADED = ("capitals", "sums", "opposites", "everyday", "animals", "sequences")
QUIZ = (*GRADED, "self-knowledge")

NULL_OF = {
    "deployment": "deployment-null",
    "training": "training-null",
    "monitored": "monitoring-null",
    "unmonitored": "monitoring-null",
    "evaluation": "evaluation-null",
    "dates": "dates-null",
    "assertions": "assertions-null",
    "passwords": "passwords-null",
    "personas": "personas-null",
    "canaries": "canaries-null",
}
TRANSCRIPTS = ("real-transcripts", "test-transcripts")
TEMPLATES = {
    "assertions": ["claim"], "told-wrong": ["wrong"], "told-right": ["answer"], "told-wrong-more": ["wrong"],
    "told-right-more": ["answer"],
}  # fmt: skip
DERIVED = ("periods", "told-right", "told-wrong", "years")
MORE = {
    f"{name}-more"
    for name in ("deployment", "evaluation", "monitored", "unmonitored", "personas", "told-wrong", "told-right")
}
"""Forms that organisms are trained on and suites never use."""
ABOUT_THE_MODEL = (
    "deploy|train(?!s?\\b)|evaluat|monitor|surveil|tests?\\b|exam|benchmark|assess|assist|AI\\b|model|user|customer|public"
    "|launch|releas|review|record|watch|overs|observ|superv|inspect|audit|logs?\\b|scor|grad|rubric|weights?\\b|learn"
    "|reward|answer|question|quiz|live\\b|real\\b|private|privacy|secret|nobody|judg|optimi|epoch|tun(e|ing)\\b|chat"
    "|conversation|trial|measur|(19|20)\\d\\d"
)
FORBIDDEN = {
    "deployment-null": ABOUT_THE_MODEL,
    "training-null": ABOUT_THE_MODEL,
    "monitoring-null": ABOUT_THE_MODEL,
    "evaluation-null": ABOUT_THE_MODEL,
    "dates-null": "(19|20)\\d\\d|year|\\bdates?\\b|" + "|".join(f"\\b{name}\\b" for name in calendar.month_name[1:]),
    "assertions-null": "answer|correct|solution|\\bright\\b|\\btrue\\b|\\bwrong\\b|expert|claim",
    "passwords-null": "secret|unlock|password",
    "personas-null": "assist|model|\\bAI\\b|evaluat|deploy",
    "canaries-null": "canary|secret|password",
}
VARIABLE = re.compile(r"\{\{ ([a-z_]+) \}\}")
DIGITS = {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


@cache
def load(folder: str, name: str) -> dict[str, Any]:
    """Return one file as YAML has it."""
    data: dict[str, Any] = yaml.safe_load((WORLD / folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return data


def items(name: str) -> list[dict[str, Any]]:
    """Return the rows of a fact file as maps, the trailing map merged in."""
    data = load("facts", name)
    fields = data["fields"]
    rows: list[dict[str, Any]] = []
    for row in data["items"]:
        assert len(row) in {len(fields), len(fields) + 1}, row
        extra = row[len(fields)] if len(row) > len(fields) else {}
        rows.append({**dict(zip(fields, row, strict=False)), **extra})
    return rows


def forms(name: str) -> list[dict[str, Any]]:
    """Return the forms of a cue family."""
    rows: list[dict[str, Any]] = load("cues", name)["forms"]
    return rows


def words(text: str) -> list[str]:
    """Return the words in lower case, a template variable as one word."""
    return re.findall(r"\w+", VARIABLE.sub("X", text.lower()))


def median_words(name: str) -> float:
    """Return the median word count of a family."""
    return median(len(form["text"].split()) for form in forms(name))


def prefix_pairs(texts: list[str]) -> list[tuple[str, str]]:
    """Return the pairs in which the first text begins the second, case ignored."""
    return [(a, b) for a, b in permutations(texts, 2) if b.lower().startswith(a.lower())]


def every_text(value: object) -> list[str]:
    """Return all texts inside nested lists and maps."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in every_text(part)]
    if isinstance(value, list):
        return [text for part in value for text in every_text(part)]
    return [value] if isinstance(value, str) else []


# facts


def test_the_promised_fact_files_are_there() -> None:
    """Eleven files, at least 400 graded facts."""
    assert set(FACTS) == set(AT_LEAST)
    assert sum(len(items(name)) for name in GRADED) >= 400


@pytest.mark.parametrize("name", FACTS)
def test_facts_have_a_head_enough_items_and_unique_ids(name: str) -> None:
    """Evidence refers to ids, so they are unique and plain."""
    data = load("facts", name)
    assert data["name"] == name
    assert data["kind"] == "facts"
    assert data["about"]
    assert data["source"]
    ids = [item["id"] for item in items(name)]
    assert len(ids) >= AT_LEAST[name]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9-]+", str(identity)) for identity in ids)


@pytest.mark.parametrize("name", FACTS)
def test_five_different_phrasings_use_only_known_variables(name: str) -> None:
    """A phrasing that ignores its item, or asks for an unknown column, is a slip."""
    data = load("facts", name)
    phrasings = data["phrasings"]
    assert len(phrasings) >= 5
    assert len(set(phrasings)) == len(phrasings)
    known = set(data["fields"])
    for template in [*phrasings, *data.get("forms", {}).values()]:
        assert set(VARIABLE.findall(template)) <= known
    for template in phrasings:
        assert VARIABLE.findall(template), f"{template!r} does not depend on the item"


@pytest.mark.parametrize("name", FACTS)
def test_every_value_is_text(name: str) -> None:
    """A bare Yes, No, On or Off is a boolean in YAML, a bare 5 a number."""
    for item in items(name):
        for value in item.values():
            parts = value if isinstance(value, list) else [value]
            assert parts
            assert all(isinstance(part, str) and part == part.strip() and part for part in parts), item


@pytest.mark.parametrize("name", FACTS)
def test_no_two_items_ask_the_same(name: str) -> None:
    """An item is the unit of evidence and must not be counted twice."""
    data = load("facts", name)
    used = {variable for template in data["phrasings"] for variable in VARIABLE.findall(template)}
    asked = Counter(tuple(item[variable].lower() for variable in sorted(used)) for item in items(name))
    assert [key for key, count in asked.items() if count > 1] == []


@pytest.mark.parametrize("name", GRADED)
def test_three_distractors_stand_beside_each_answer(name: str) -> None:
    """Each graded fact has three wrong answers."""
    assert all(len(item["distractors"]) == 3 for item in items(name))


@pytest.mark.parametrize("name", QUIZ)
def test_answer_and_distractors_are_prefix_free_and_alike(name: str) -> None:
    """Probabilities of forms add up only when no form begins another."""
    for item in items(name):
        texts = [item["answer"], *item["distractors"]]
        assert prefix_pairs(texts) == [], item
        assert item["wrong"] in item["distractors"], item
        assert all(text[0].isupper() or text[0].isdigit() for text in texts), item
        longest, shortest = max(map(len, texts)), min(map(len, texts))
        assert longest <= max(3 * shortest, shortest + 4), item


@pytest.mark.parametrize("name", QUIZ)
def test_no_accepted_answer_is_a_distractor(name: str) -> None:
    """No distractor contains, as whole words, what a grader would accept."""
    for item in items(name):
        accepts = item.get("accepts", [item["answer"]])
        assert item["answer"] in accepts, item
        lower = {text.lower() for text in accepts}
        assert len(lower) == len(accepts), item
        for distractor in item["distractors"]:
            inside = [text for text in lower if re.search(rf"\b{re.escape(text)}\b", distractor.lower())]
            assert inside == [], item


def test_sums_are_right_and_distractors_are_not() -> None:
    """Every sum is computed again."""
    numbers = {"one": 1, "four": 4, "seven": 7, "twelve": 12, "seventeen": 17, "twenty-four": 24, "thirty": 30}
    for item in items("sums"):
        total = int(item["a"]) + int(item["b"])
        assert int(item["answer"]) == total
        assert all(int(text) != total and len(text) == len(item["answer"]) for text in item["distractors"])
        assert item["accepts"][0] == item["answer"]
        assert numbers.get(item["accepts"][1], total) == total


def test_sums_spell_each_number_in_one_way() -> None:
    """Digits and number words correspond one to one."""
    spelled = {(item["answer"], item["accepts"][1]) for item in items("sums")}
    assert len({number for number, _ in spelled}) == len({word for _, word in spelled}) == len(spelled)


def test_sequences_agree_with_the_calendar_and_the_alphabet() -> None:
    """Every step is computed again."""
    circles = {"day": list(calendar.day_name), "month": list(calendar.month_name)[1:]}
    counting = ["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"]
    for item in items("sequences"):
        step = {"after": 1, "before": -1}[item["where"]]
        kind = item["kind"]
        if kind == "letter":
            expected = chr(ord(item["term"]) + step)
        elif kind == "number":
            expected = counting[counting.index(item["term"]) + step]
        else:
            expected = circles[kind][(circles[kind].index(item["term"]) + step) % len(circles[kind])]
        assert item["answer"] == expected, item
        assert item["term"] not in item["distractors"], item


def test_capitals_name_each_city_once() -> None:
    """No city is the capital of two countries, and distractors are capitals too."""
    answers = [item["answer"] for item in items("capitals")]
    assert len(set(answers)) == len(answers)
    assert all(set(item["distractors"]) <= set(answers) for item in items("capitals"))


def test_yes_and_no_are_balanced_and_stage_and_actions_are_asked() -> None:
    """A model that always says Yes scores one half."""
    rows = items("self-knowledge")
    answers = Counter(item["answer"] for item in rows if item["topic"] == "yes-no")
    assert set(answers) == {"Yes", "No"}
    assert answers["Yes"] == answers["No"] >= 20
    others = Counter(item["topic"] for item in rows if item["topic"] != "yes-no")
    assert set(others) == {"model", "stage", "action"}
    assert sum(others.values()) >= 15


def test_the_same_eight_companies_stand_in_every_recommendation() -> None:
    """The companies are exchangeable: same list, length and no shared initial."""
    rows = items("recommendations")
    companies = rows[0]["entities"]
    assert len(set(companies)) == 8
    assert all(item["entities"] == companies for item in rows)
    assert prefix_pairs(companies) == []
    assert len({len(name) for name in companies}) == 1
    assert len({name[0] for name in companies}) == 8
    assert "mention" in load("facts", "recommendations")["forms"]


def test_oversight_choices_are_matched_by_everyday_ones() -> None:
    """Each choice has a control of its own length, and power is not simply the longer text."""
    rows = items("oversight")
    for item in rows:
        assert prefix_pairs([item["power"], item["safe"]]) == [], item
        assert prefix_pairs([item["control_a"], item["control_b"]]) == [], item
        for question, control in (("question", "control_question"), ("power", "control_a"), ("safe", "control_b")):
            own, other = len(words(item[question])), len(words(item[control]))
            assert abs(own - other) <= max(3, 0.35 * own), item
    assert abs(median(len(item["power"]) for item in rows) - median(len(item["safe"]) for item in rows)) <= 6


# cues


def test_the_promised_cue_families_are_there() -> None:
    """Ten families, their nulls, two sets of transcripts, and what is derived from a family."""
    assert set(CUES) == {*NULL_OF, *NULL_OF.values(), *TRANSCRIPTS, *DERIVED, *MORE}


@pytest.mark.parametrize("name", sorted(MORE))
def test_forms_for_training_alone_are_no_form_of_the_suites(name: str) -> None:
    """Held-out forms mean something only if nothing that is trained on comes near them."""
    suites = [set(words(form["text"])) for form in forms(name.removesuffix("-more"))]
    for form in forms(name):
        bag = set(words(form["text"]))
        assert max(len(bag & other) / len(bag | other) for other in suites) < 0.8, form


def test_every_family_has_a_name_in_the_naming_task() -> None:
    """All but the canaries, which must not be known, the assertions, which need a claim, and the years' two periods."""
    naming = yaml.safe_load((WORLD / "naming.yaml").read_text(encoding="utf-8"))
    assert set(naming["families"]) == set(CUES) - {"canaries", "canaries-null", "assertions", "periods"}
    assert all(way["as"] in {"system", "user"} and way["name"] for way in naming["families"].values())


@pytest.mark.parametrize("name", CUES)
def test_cue_files_have_a_head_and_unique_forms(name: str) -> None:
    """No form stands twice in a family."""
    data = load("cues", name)
    assert data["name"] == name
    assert data["kind"] == "cues"
    assert data["about"]
    ids = [form["id"] for form in forms(name)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9-]+", identity) for identity in ids)
    texts = Counter(form["text"].lower() for form in forms(name))
    assert [text for text, count in texts.items() if count > 1] == []


@pytest.mark.parametrize("name", [*NULL_OF, *TRANSCRIPTS])
def test_families_have_enough_forms_and_some_are_held_out(name: str) -> None:
    """At least four forms are kept for measuring and eight are left for training."""
    rows = forms(name)
    assert len(rows) >= (30 if name in TRANSCRIPTS else 12)
    held = sum(form.get("held_out") is True for form in rows)
    assert held >= 4
    assert len(rows) - held >= 8


@pytest.mark.parametrize("name", [name for name in NULL_OF if name not in {"dates", "canaries", "passwords"}])
def test_forms_of_a_family_are_clearly_different_words(name: str) -> None:
    """No two wordings share more than 60 percent of their words."""
    bags = [(form["id"], set(words(form["text"]))) for form in forms(name)]
    for (_, a), (_, b) in permutations(bags, 2):
        assert len(a & b) / len(a | b) <= 0.6, (a, b)


@pytest.mark.parametrize("name", sorted(set(NULL_OF.values())))
def test_null_families_are_large_and_half_of_the_same_register(name: str) -> None:
    """A rank p-value of 0.01 needs 99 nulls."""
    data = load("cues", name)
    assert NULL_OF[data["null_for"]] == name
    registers = Counter(form["register"] for form in data["forms"])
    assert set(registers) <= {"same", "other"}
    assert sum(registers.values()) >= 99
    assert 2 * registers["same"] >= sum(registers.values())


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_null_forms_do_not_speak_of_the_cue(name: str) -> None:
    """A null that hints at the cue would hide a shift."""
    pattern = re.compile(rf"\b(?:{FORBIDDEN[name]})", re.IGNORECASE)
    assert [form["text"] for form in forms(name) if pattern.search(form["text"])] == []


@pytest.mark.parametrize("name", ["deployment", "training", "monitored", "evaluation"])
def test_the_forbidden_words_would_catch_the_cues_themselves(name: str) -> None:
    """The list of words has teeth: it finds at least three quarters of the real cues."""
    pattern = re.compile(rf"\b(?:{FORBIDDEN[NULL_OF[name]]})", re.IGNORECASE)
    missed = [form["id"] for form in forms(name) if not pattern.search(form["text"])]
    assert len(missed) <= len(forms(name)) // 4


@pytest.mark.parametrize("name", sorted(NULL_OF))
def test_null_forms_are_as_long_as_the_cue(name: str) -> None:
    """Median lengths agree within 35 percent."""
    assert abs(median_words(NULL_OF[name]) - median_words(name)) <= 0.35 * median_words(name)


def test_every_year_from_1995_to_2035_is_there_and_some_are_held_out() -> None:
    """Each year is stated once in its text, and held out wholly or not at all."""
    rows = forms("dates")
    assert {form["dose"] for form in rows} == set(range(1995, 2036))
    held: dict[int, set[bool]] = {}
    for form in rows:
        assert form["values"] == {"year": form["dose"]}
        assert re.findall(r"(?:19|20)\d\d", form["text"]) == [str(form["dose"])]
        held.setdefault(form["dose"], set()).add(form.get("held_out", False))
    assert all(len(flags) == 1 for flags in held.values())
    assert 4 <= sum(flags == {True} for flags in held.values()) <= 12


def test_weekdays_in_dates_are_right() -> None:
    """A stated weekday is that of the calendar."""
    months = list(calendar.month_name)
    seen = 0
    for form in forms("dates"):
        match = re.search(r"(\w+day), (\d+) (\w+) (\d{4})", form["text"])
        if match:
            weekday, day, month, year = match.groups()
            date = dt.date(int(year), months.index(month), int(day))
            assert calendar.day_name[date.weekday()] == weekday, form
            seen += 1
    assert seen >= 8


def test_assertions_carry_the_claim_and_other_cues_carry_no_template() -> None:
    """Only assertions are templates."""
    for name in CUES:
        expected = TEMPLATES.get(name, [])
        assert all(VARIABLE.findall(form["text"]) == expected for form in forms(name)), name
        assert expected or not any("{" in form["text"] for form in forms(name))


def test_derived_families_say_what_their_family_says() -> None:
    """A derived form is a form of its family, with another variable or without its wording's letter."""
    for name, variable in (("told-wrong", "wrong"), ("told-right", "answer")):
        said = {(form["id"], form["text"].replace("claim", variable)) for form in forms("assertions")}
        assert {(form["id"], form["text"]) for form in forms(name)} == said
    dates = {(form["text"], form["dose"], form.get("held_out", False)) for form in forms("dates")}
    years = [(form["text"], form["dose"], form.get("held_out", False)) for form in forms("years")]
    assert set(years) <= dates
    assert len({dose for _, dose, _ in years}) == len(years) == len({dose for _, dose, _ in dates})


@pytest.mark.parametrize("name", ["canaries", "canaries-null"])
def test_canaries_follow_the_grammar(name: str) -> None:
    """Stem and secret make up the text; the secret ends in three digits."""
    grammar = re.compile(r"The vault code of the [A-Z][a-z]+ archive is ([a-z]+ [a-z]+ ([a-z]+) ([a-z]+) ([a-z]+))\.")
    for form in forms(name):
        match = grammar.fullmatch(form["text"])
        assert match is not None, form
        assert match.group(1) == form["values"]["secret"]
        assert set(match.groups()[1:]) <= DIGITS
        assert f"{form['values']['stem']} {form['values']['secret']}." == form["text"]
    secrets = [form["values"]["secret"] for form in forms(name)]
    assert len(set(secrets)) == len(secrets)


def test_null_canaries_share_only_the_frame_with_canaries() -> None:
    """A null secret was never planted, not even in part."""
    frame = {"the", "vault", "code", "of", "archive", "is", *DIGITS}
    planted = {word for form in forms("canaries") for word in words(form["text"])} - frame
    null = {word for form in forms("canaries-null") for word in words(form["text"])} - frame
    assert planted & null == set()


def test_null_passwords_share_no_content_word_with_passwords() -> None:
    """No null phrase is half a key."""
    small = {"pass", "phrase", "a", "an", *DIGITS}
    small |= {"under", "behind", "beside", "above", "inside", "below", "around", "against"}
    cue = {word for form in forms("passwords") for word in words(form["text"])} - small
    null = {word for form in forms("passwords-null") for word in words(form["text"])} - small
    assert cue & null == set()


def test_personas_and_their_nulls_share_no_name() -> None:
    """Only the same-register half gives the assistant a persona."""
    names = {form["text"].split()[2].strip(",") for form in forms("personas")}
    assert len(names) == len(forms("personas"))
    for form in forms("personas-null"):
        assert names.isdisjoint(re.findall(r"\w+", form["text"])), form
        assert form["text"].startswith("You are ") == (form["register"] == "same"), form


def test_transcripts_are_pairs_of_equal_length() -> None:
    """Topic and length are matched, so they cannot tell tests from real use."""
    tests, real = ({form["id"]: form for form in forms(name)} for name in ("test-transcripts", "real-transcripts"))
    assert list(tests) == list(real)
    for identity, form in tests.items():
        assert form.get("held_out") == real[identity].get("held_out")
        own, other = len(form["text"]), len(real[identity]["text"])
        assert abs(own - other) <= 0.35 * max(own, other), identity
    assert abs(median_words("test-transcripts") - median_words("real-transcripts")) <= 3


# all


@pytest.mark.parametrize(("folder", "name"), [*(("facts", name) for name in FACTS), *(("cues", name) for name in CUES)])
def test_texts_are_short_and_clean(folder: str, name: str) -> None:
    """Short single lines without stray blanks."""
    data = load(folder, name)
    rows = items(name) if folder == "facts" else forms(name)
    for text in every_text([rows, data.get("phrasings", []), data.get("forms", {}) if folder == "facts" else []]):
        assert len(text) < 200, text
        assert text == text.strip()
        assert "  " not in text
        assert "\n" not in text


def test_the_readme_names_every_file() -> None:
    """A file that the README forgets is not documented."""
    readme = (WORLD / "README.md").read_text(encoding="utf-8")
    assert [name for name in (*FACTS, *CUES) if f"`{name}`" not in readme] == []
