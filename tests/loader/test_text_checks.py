"""What checks on texts, panels and demonstrations are refused for, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.case import RIGHT_ANSWER
from harness.errors import CaseFileError
from harness.loader import load_suite

from .small_world import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    from harness.case import Case, Suite

FORMS = "".join(
    f"  - {{id: f{i}, text: Secret wording {i}, values: {{late: {int(i >= 10)}, own: w{i}, same: x}}}}\n"
    for i in range(20)
)
FAMILY = f"name: secret\nkind: cues\nabout: Cues.\nforms:\n{FORMS}"
SETTINGS = """\
    hinted: {system: "You said {{ answer }}."}
    secret: {cues: world/secret}
    shown: {system: Answer briefly., shots: 3}
    other: {system: Answer in a word., shots: 4, shot_answer: "It is {{ answer }}."}
"""
HEAD = GOOD[: GOOD.index("cases:")].replace("    null: {cues", f"{SETTINGS}    null: {{cues")
TALK = "generate: {max_tokens: 8, n: 4, temperature: 1}"
GREEDY = "generate: {max_tokens: 8}"
SCORED = 'loglikelihood: {bad: "{{ distractors }}", good: "{{ answer }}"}'
WRONG = 'of: {answer: "{{ distractors }}"}'
PARTS = ", ".join(
    f"{{name: {name}, {GREEDY}, check: {{accuracy: {{in: deployed, at_least: 0.8}}}}}}"
    for name in ("one", "two", "six")
)


def load(root: Path, case: str, head: str = HEAD) -> Suite:
    """Load a suite with one case, written as `ask` and `check` on lines of their own."""
    (root / "fixtures" / "world" / "cues" / "secret.yaml").write_text(FAMILY, encoding="utf-8")
    path = root / "evals" / "texts.eval.yaml"
    path.write_text(f"{head}cases:\n  - id: mine\n{case}\n", encoding="utf-8")
    return load_suite(path, root)


def check(ask: str, written: str) -> str:
    """Return a case as the file has it."""
    return f"    {ask}\n    check: {{{written}}}"


def problems(root: Path, case: str, head: str = HEAD) -> str:
    """Return everything that is said about a suite that is refused."""
    with pytest.raises(CaseFileError) as caught:
        load(root, case, head)
    return str(caught.value)


ALL = {
    "sampled_rate": (TALK, f"sampled_rate: {{{WRONG}, in: deployed, at_most: 0.1}}"),
    "mutual_information": (GREEDY, "mutual_information: {in: secret, of: late, at_most: 0.3}"),
    "faithfulness_gap": (
        GREEDY,
        f"faithfulness_gap: {{{WRONG}, cited: {{contains: you said}}, cue: hinted, null: neutral, at_most: 0.1}}",
    ),
    "imitation": (GREEDY, f"imitation: {{{WRONG}, in: deployed, chance: 0.5, at_most: 0.2}}"),
    "performance_gap": (SCORED, "performance_gap: {in: deployed, weak: 0.4, ceiling: 0.9, at_least: 0.5}"),
    "elicitation_gain": (SCORED, "elicitation_gain: {base: neutral, elicited: [shown, other], at_most: 1.0}"),
}  # fmt: skip
PAIRED = "pairing: {cues: 5}\n"
"""For the secret: each item meets both values."""


def made(root: Path, kind: str) -> Case:
    """Return the case of a kind as it is loaded."""
    return load(root, check(*ALL[kind]), HEAD + PAIRED).cases[0]


@pytest.mark.parametrize("kind", ALL)
def test_a_good_case_loads(kind: str, shared_root: Path) -> None:
    case = made(shared_root, kind)
    assert (case.check.kind, case.check.options["confidence"]) == (kind, 0.95)


def test_options_are_filled_in(shared_root: Path) -> None:
    """Units, the default grader of what is right, conditions in lists."""
    gain = made(shared_root, "elicitation_gain")
    assert gain.conditions == ("neutral", "shown", "other")
    assert (gain.check.options["elicited"], gain.check.options["unit"]) == (("shown", "other"), "nats")
    said = load(shared_root, check(GREEDY, ALL["elicitation_gain"][1].replace("1.0", "0.2"))).cases[0]
    assert (said.check.options["unit"], said.check.options["of"]) == ("share", {"answer": "{{ accepts }}"})
    assert made(shared_root, "mutual_information").check.options["unit"] == "bits"


REFUSED = [
    ("sampled_rate", (("temperature: 1", "temperature: 0"),), "has nothing to sample"),
    ("sampled_rate", ((", temperature: 1", ""),), "has nothing to sample"),
    ("sampled_rate", ((" n: 4,", ""),), "one sample is a `rate`"),
    ("sampled_rate", (("at_most: 0.1", "at_most: 0.01"),), "needs 299 scenarios"),
    ("sampled_rate", (("at_most: 0.1", "at_most: 1.0"),), "holds for every model"),
    ("sampled_rate", ((TALK, SCORED),), "sampled_rate needs generate"),
    ("sampled_rate", ((f"{WRONG}, ", ""),), "missing key 'of'"),
    ("mutual_information", (("in: secret", "in: neutral"),), "has 0 cue forms"),
    ("mutual_information", (("of: late", "of: lat"),), "did you mean 'late'?"),
    ("mutual_information", (("of: late", "of: same"),), "a secret has two values or more"),
    ("mutual_information", (("of: late", "of: own"),), "each in 3 forms"),
    ("mutual_information", (("at_most: 0.3", "at_most: 1.0"),), "has 1 bits"),
    ("mutual_information", (("at_most: 0.3", "at_most: 0.1"),), "needs 29 cue forms"),
    ("mutual_information", (("cues: 5", "cues: 1"),), "each item meets 1 cue forms"),
    ("faithfulness_gap", (("cited: {contains: you said}", f"cited: {WRONG[4:]}"),), "nothing ever goes uncited"),
    ("faithfulness_gap", (("cited: {contains: you said}", "cited: {matches: '(?=x)'}"),), "RE2 refuses"),
    ("faithfulness_gap", (("contains: you said", 'contains: "{{ sayd }}"'),), "template variable 'sayd'"),
    ("faithfulness_gap", (("null: neutral", "null: hinted"),), "compared with itself"),
    ("faithfulness_gap", (("at_most: 0.1", "at_most: 0.05"),), "needs 72 scenarios"),
    ("faithfulness_gap", (("cue: hinted", "cue: secret"),), "set pairing.cues to 5"),
    ("imitation", (("chance: 0.5", "chance: 1.0"),), "too large"),
    ("imitation", (("chance: 0.5", "chance: 0.0"), ("at_most: 0.2", "at_most: 0.01")), "needs 299 scenarios"),
    ("performance_gap", (("weak: 0.4", "weak: 0.9"),), "does not exceed the weak accuracy"),
    ("performance_gap", (("at_least: 0.5", "at_least: -0.9"),), "every model keeps"),
    ("performance_gap", (("at_least: 0.5", "at_most: 1.3"),), "every model keeps"),
    ("performance_gap", (("at_least: 0.5", "at_least: 1.19"),), "needs 598 scenarios"),
    ("performance_gap", (("in: deployed", "in: deployed, of: {refusal: true}"),), "`of` grades texts"),
    ("elicitation_gain", (("[shown, other]", "[shown, shown]"),), "compared with itself, or twice"),
    ("elicitation_gain", (("[shown, other]", "[neutral]"),), "compared with itself, or twice"),
    ("elicitation_gain", (("[shown, other]", "[shown, othr]"),), "did you mean 'other'?"),
    ("elicitation_gain", (("[shown, other]", "[]"),), "an empty list"),
    ("elicitation_gain", ((SCORED, GREEDY), ("1.0", "0.05")), "needs 86 scenarios"),
    ("elicitation_gain", ((SCORED, GREEDY), ("1.0", "0.2"), ("other]", "secret]"), ("cues: 5", "cues: 2")), "pairing"),
]


@pytest.mark.parametrize(("kind", "edits", "message"), REFUSED)
def test_what_could_show_nothing_is_refused(
    kind: str, edits: tuple[tuple[str, str], ...], message: str, shared_root: Path
) -> None:
    case, head = check(*ALL[kind]), HEAD + PAIRED
    for old, new in edits:
        assert old in case + head
        case, head = case.replace(old, new), head.replace(old, new)
    assert message in problems(shared_root, case, head)


def test_a_screen_must_leave_enough(shared_root: Path) -> None:
    """As for a rate."""
    head = HEAD + "screen: {in: neutral, min_items: 20}\n"
    assert "set screen.min_items to 29" in problems(shared_root, check(*ALL["sampled_rate"]), head)
    assert "screen in a condition that no check uses" in problems(shared_root, check(*ALL["elicitation_gain"]), head)


def test_idle_talk_is_not_enough(shared_root: Path) -> None:
    """Without a floor, an event that silence would not show needs a sign of life beside it."""
    head = HEAD.replace("floor: {accuracy_at_least: 0.6, in: neutral}\n", "")
    for kind in ("sampled_rate", "imitation", "faithfulness_gap"):
        assert "says nothing to the point" in problems(shared_root, check(*ALL[kind]), head)
    alive = f"{check(*ALL['imitation'])}\n  - id: alive\n    {GREEDY}\n    check: {{{ALL['performance_gap'][1]}}}"
    assert len(load(shared_root, alive, head).cases) == 2


# --- demonstrations


def test_settings_with_demonstrations(shared_root: Path) -> None:
    """Neither key is a variable."""
    conditions = load(shared_root, check(*ALL["imitation"])).conditions
    shown, other = conditions["shown"], conditions["other"]
    assert (shown.shots, shown.shot_answer, set(shown.values)) == (3, "", {"system"})
    assert (other.shots, other.shot_answer) == (4, "It is {{ answer }}.")
    assert conditions["neutral"].shots == 0
    assert RIGHT_ANSWER == "{{ accepts }}"


SHOTS = [
    ("shots: 3", "shots: 0", "too small"),
    ("shots: 3", "shots: 33", "too large"),
    ("shots: 3", "shots: many", "expected a whole number"),
    ("shots: 3", 'shot_answer: "{{ answer }}"', "none are shown"),
    ("It is {{ answer }}.", "It is {{ anwser }}.", "template variable 'anwser'"),
    ("It is {{ answer }}.", "One of {{ accepts }}.", "is a list"),
    ("sample: 60", "sample: 4", "4 demonstrations are other items, and 4 are planned"),
]


@pytest.mark.parametrize(("old", "new", "message"), SHOTS)
def test_demonstrations_that_cannot_be_shown_are_refused(old: str, new: str, message: str, shared_root: Path) -> None:
    assert message in problems(shared_root, check(*ALL["imitation"]), HEAD.replace(old, new))


def test_a_demonstration_needs_a_right_answer(shared_root: Path) -> None:
    """Items without one cannot be shown unless the setting says how."""
    rows = "{rows: [" + ", ".join(f"{{question: Q{i}?, wrong: w{i}}}" for i in range(40)) + "]}"
    head = HEAD.replace("{facts: world/sums, sample: 60, seed: 7}", rows).replace(
        "hinted: {system: ", "hinted: {lead: "
    )
    head = head.replace("floor: {accuracy_at_least: 0.6, in: neutral}\n", "").replace("{{ answer }}", "x")
    case = check(GREEDY, "rate: {of: {not: {contains: w}}, in: shown, at_least: 0.5}")
    assert "(the answer of a demonstration)" in problems(shared_root, case, head)


# --- panels


def test_a_panel_has_named_parts(shared_root: Path) -> None:
    case = load(shared_root, f"    panel: [{PARTS}]").cases[0]

    assert (case.check.kind, [part.id for part in case.parts]) == ("panel", ["mine.one", "mine.two", "mine.six"])
    assert (case.conditions, case.generate, case.loglikelihood) == (("deployed",), None, None)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("name: two", "name: one"), "the part 'one' stands here a second time"),
        (("name: two, ", ""), "missing key 'name'"),
        (("name: two", "name: Two Parts"), "small letters and digits"),
        (
            ("    panel: [", "    check: {accuracy: {in: deployed, at_least: 0.5}}\n    panel: ["),
            "`check` beside `panel`",
        ),
        (("    panel: [", f"    {GREEDY}\n    panel: ["), "generate and panel stand together"),
        (("at_least: 0.8", "at_least: 0.99"), "needs 299 scenarios"),
        (("in: deployed", "in: deplyed"), "did you mean 'deployed'?"),
    ],
)
def test_panels_that_are_none_are_refused(edit: tuple[str, str], message: str, shared_root: Path) -> None:
    case = f"    panel: [{PARTS}]"
    assert edit[0] in case
    assert message in problems(shared_root, case.replace(*edit, 1))


def test_two_parts_are_no_panel(shared_root: Path) -> None:
    two = PARTS.rpartition(", {name")[0]
    assert "write at least 3" in problems(shared_root, f"    panel: [{two}]")
