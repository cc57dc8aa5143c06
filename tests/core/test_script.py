"""Scripts decide which item meets which words; they know no model, so canned answers will do."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.case import Case, CheckSpec, Condition, CueForm, Floor, Item, Knowledge, Pairing, Phrasing, Screen, Turn
from harness.errors import UsageError
from harness.request import Completions, Failure, Generate, Loglikelihood
from harness.script import ScriptOptions, case_script, drive
from harness.transcript import Screening
from tests.factory import make_case, make_family, make_item, make_suite, margin_scores, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.case import Suite
    from harness.request import Request, Response
    from harness.transcript import Transcript


PLAIN = Condition(name="plain", values={"system": "Be brief."})
TURNS = (Turn(role="system", template="{{ system }}"), Turn(role="user", template="{{ question }}"))
RIGHT, WRONG = margin_scores(-2.0), margin_scores(2.0)


def suite_of(*conditions: Condition, items: int = 12, phrasings: int = 2, **changes: Any) -> Suite:
    """Return a suite with one text case and one logit case over `conditions`."""
    names = [condition.name for condition in conditions]
    cases = [
        make_case("rate", {}, names, text=True, id="says"),
        make_case("margin", {}, names, id="thinks"),
    ]
    cases = tuple(dataclasses.replace(case, turns=()) for case in cases)
    plain = make_suite(cases, items=items, conditions=[*conditions, PLAIN])
    made = tuple(make_item(number, phrasings) for number in range(items))
    return dataclasses.replace(plain, **{"items": made, "turns": TURNS, **changes})


def respond(request: Request) -> Response:
    """Answer anything rightly."""
    return texts("Paris") if isinstance(request, Generate) else RIGHT


def play(
    suite: Suite,
    case: Case | None = None,
    options: ScriptOptions | None = None,
    answer: Callable[[Request], Response] = respond,
) -> tuple[Transcript, list[list[Request]]]:
    """Run a script with canned answers; return its transcript and the requests of each round."""
    script = case_script(suite, case or suite.cases[0], options or ScriptOptions())
    rounds = []
    try:
        asked = next(script)
        while True:
            rounds.append(list(asked))
            asked = script.send([answer(request) for request in asked])
    except StopIteration as stop:
        return stop.value, rounds


def knowing(*items: str, unsure: tuple[str, ...] = ()) -> Callable[[Request], Response]:
    """Return an answerer that knows `items` by margin and text, and cannot be read on `unsure`."""

    def answer(request: Request) -> Response:
        item = next(word for word in request.messages[-1].content.split() if word.strip(",").isdigit())
        name = f"i{int(item.strip(',')):03}"
        if name in unsure:
            return Failure("forward", "lost")
        if isinstance(request, Generate):
            return texts("Paris" if name in items else "London")
        return RIGHT if name in items else WRONG

    return answer


# --- expansion


def test_the_same_suite_is_asked_the_same() -> None:
    """The same suite is asked the same."""
    suite = suite_of(make_family("cue", 5), items=9)
    assert play(suite) == play(suite)


def test_rows_carry_what_was_asked_and_answered() -> None:
    """Rows carry what was asked and answered."""
    transcript, [asked] = play(suite_of(PLAIN, items=3))
    assert [row.request for row in transcript.rows] == asked
    assert [row.scenario for row in transcript.rows] == ["i000", "i001", "i002"] == list(transcript.planned)
    assert len({row.id for row in transcript.rows}) == 3
    assert {row.response for row in transcript.rows} == {texts("Paris")}
    row = transcript.rows[0]
    assert row.id == f"i000/plain/-/{row.phrasing}/generate"
    assert [message.role for message in row.messages] == ["system", "user"]
    assert row.messages == row.request.messages


def test_answers_go_to_the_rows_that_asked() -> None:
    """Answers go to the rows that asked."""
    suite = suite_of(PLAIN, items=5)
    transcript, _ = play(suite, answer=lambda request: texts(request.messages[-1].content))
    for row in transcript.rows:
        assert row.response == texts(row.messages[-1].content)


def test_groups_point_into_the_continuations() -> None:
    """Groups point into the continuations."""
    case = dataclasses.replace(make_case("margin", {}, ["plain"]), turns=())
    wide = {"bad": ("{{ distractors }}", "Rome"), "good": ("{{ answer }}",)}
    case = dataclasses.replace(case, loglikelihood=dataclasses.replace(case.loglikelihood, groups=wide))
    transcript, [asked] = play(suite_of(PLAIN, items=1), case)
    assert asked[0].continuations == ("London", "Rome", "Paris")
    assert transcript.rows[0].groups == {"bad": (0, 1), "good": (2,)}


def test_a_case_that_asks_nothing_is_refused() -> None:
    """A case that asks nothing is refused."""
    case = Case(id="mute", check=CheckSpec(kind="rate", options={}, line=1), conditions=("plain",), line=7)
    with pytest.raises(UsageError, match=r"suite\.eval\.yaml:7: case mute asks nothing"):
        play(suite_of(PLAIN), case)


def test_too_few_answers_are_no_transcript() -> None:
    """Too few answers are no transcript."""
    script = case_script(suite_of(PLAIN, items=3), suite_of(PLAIN, items=3).cases[0], ScriptOptions())
    next(script)
    with pytest.raises(ValueError, match="zip"):
        script.send([texts("Paris")])


def test_few_shot_turns_come_in_the_order_of_the_suite() -> None:
    """Few shot turns come in the order of the suite."""
    shots = (TURNS[0], Turn(role="user", template="Two and two?"), Turn(role="assistant", template="Four"), TURNS[1])
    transcript, _ = play(dataclasses.replace(suite_of(PLAIN, items=1), turns=shots))
    said = [(message.role, message.content) for message in transcript.rows[0].messages]
    assert said[:3] == [("system", "Be brief."), ("user", "Two and two?"), ("assistant", "Four")]
    assert said[3][0] == "user"


def test_a_case_may_bring_its_own_turns() -> None:
    """A case may bring its own turns."""
    suite = suite_of(PLAIN, items=1)
    own = dataclasses.replace(suite.cases[0], turns=(Turn(role="user", template="Say: {{ answer }}"),))
    transcript, _ = play(suite, own)
    assert [message.content for message in transcript.rows[0].messages] == ["Say: Paris"]


# --- layers of variables


def layered() -> Suite:
    """Return a suite in which each layer uses the layers below it."""
    item = Item(
        id="france",
        values={"id": "france", "country": "France", "accepts": ("Paris",), "tone": "item"},
        phrasings=(Phrasing(id="p1", values={"question": "Capital of France?", "tone": "phrasing"}),),
    )
    cue = CueForm(id="y1987", values={"year": 1987, "cue": "In {{ year }}, {{ lead }}"}, dose=1987.0)
    condition = Condition(name="dated", values={"system": "{{ cue }} {{ tone }}", "tone": "condition"}, cues=(cue,))
    lead = Phrasing(id="polite", values={"lead": "please ({{ country }})", "tone": "paraphrase"})
    return dataclasses.replace(suite_of(condition), items=(item,), paraphrases=(lead,))


def test_layers_are_filled_from_item_to_condition() -> None:
    """Layers are filled from item to condition."""
    transcript, _ = play(layered())
    [row] = transcript.rows
    # `system` was filled while the tone was still the paraphrase's: the condition's own is set after it.
    assert row.messages[0].content == "In 1987, please (France) paraphrase"
    assert row.values["tone"] == "condition"
    assert row.values["year"] == 1987
    assert (row.cue, row.dose, row.phrasing) == ("y1987", 1987.0, "p1.polite")


def test_values_of_items_are_data_and_never_templates() -> None:
    """Values of items are data and never templates."""
    suite = layered()
    item = dataclasses.replace(suite.items[0], values={**suite.items[0].values, "country": "{{ accepts }}"})
    transcript, _ = play(dataclasses.replace(suite, items=(item,)))
    assert "please ({{ accepts }})" in transcript.rows[0].messages[0].content


def test_every_scenario_is_asked_in_all_paraphrases() -> None:
    """Every scenario is asked in all paraphrases."""
    paraphrases = tuple(Phrasing(id=name, values={"lead": name}) for name in ("a", "b", "c"))
    transcript, _ = play(suite_of(PLAIN, items=4, paraphrases=paraphrases))
    assert Counter(row.scenario for row in transcript.rows) == {f"i{n:03}": 3 for n in range(4)}
    assert len({row.id for row in transcript.rows}) == 12


# --- the design


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 5), st.integers(0, 5))
def test_every_form_is_used_and_forms_are_balanced(items: int, forms: int, cues: int, seed: int) -> None:
    """Every form is used and forms are balanced."""
    suite = suite_of(make_family("cue", forms), items=items, pairing=Pairing(cues=cues), seed=seed)
    transcript, _ = play(suite)
    met = Counter(row.cue for row in transcript.rows)
    assert len(met) == forms
    assert max(met.values()) - min(met.values()) <= 1
    each = Counter(row.scenario for row in transcript.rows)
    assert set(each.values()) == {min(forms, max(cues, -(-forms // items)))}
    assert len({(row.scenario, row.cue) for row in transcript.rows}) == len(transcript.rows)


def test_an_item_is_phrased_the_same_in_all_conditions() -> None:
    """An item is phrased the same in all conditions."""
    suite = suite_of(PLAIN, make_family("one", 3), make_family("two", 7), items=60, phrasings=5)
    transcript, _ = play(suite)
    wordings = {}
    for row in transcript.rows:
        wordings.setdefault(row.scenario, set()).add(row.phrasing)
    assert {len(found) for found in wordings.values()} == {1}
    assert len(set.union(*wordings.values())) == 5


def test_phrasings_hang_on_the_name_of_the_item_and_not_on_its_place() -> None:
    """Phrasings hang on the name of the item and not on its place."""
    suite = suite_of(PLAIN, items=12, phrasings=5)
    backwards = dataclasses.replace(suite, items=suite.items[::-1])
    one, other = ({row.scenario: row.phrasing for row in play(each)[0].rows} for each in (suite, backwards))
    assert one == other


def test_as_many_phrasings_are_asked_as_the_pairing_says() -> None:
    """As many phrasings are asked as the pairing says."""
    suite = suite_of(PLAIN, items=6, phrasings=5, pairing=Pairing(phrasings=3))
    transcript, _ = play(suite)
    assert Counter(row.scenario for row in transcript.rows) == {f"i{n:03}": 3 for n in range(6)}
    assert len({row.id for row in transcript.rows}) == 18


def test_cases_of_a_suite_share_their_rows() -> None:
    """Cases of a suite share their rows."""
    suite = suite_of(PLAIN, make_family("cue", 5), items=12, phrasings=5)
    says, thinks = (play(suite, case)[0] for case in suite.cases)
    assert [row.messages for row in says.rows] == [row.messages for row in thinks.rows]
    assert [row.cue for row in says.rows] == [row.cue for row in thinks.rows]


def test_another_seed_of_the_suite_pairs_otherwise_and_another_run_seed_does_not() -> None:
    """Another seed of the suite pairs otherwise and another run seed does not."""
    suite = suite_of(make_family("cue", 12), items=12)
    cues = [row.cue for row in play(suite)[0].rows]
    assert cues != [row.cue for row in play(dataclasses.replace(suite, seed=1))[0].rows]
    assert cues == [row.cue for row in play(suite, options=ScriptOptions(run_seed=1))[0].rows]


def test_the_full_profile_crosses_everything() -> None:
    """The full profile crosses everything."""
    suite = suite_of(make_family("cue", 4), items=3, phrasings=5)
    transcript, _ = play(suite, options=ScriptOptions(full=True))
    assert {(row.scenario, row.cue, row.phrasing) for row in transcript.rows} == {
        (f"i{i:03}", f"cue{c:03}", f"p{p}") for i in range(3) for c in range(4) for p in range(5)
    }
    assert len(transcript.rows) == 60


# --- seeds


def seeds(suite: Suite, run_seed: int = 0) -> dict[str, int]:
    """Return the seed of each row of the first case by its id."""
    transcript, _ = play(suite, options=ScriptOptions(run_seed=run_seed))
    return {row.id: row.request.seed for row in transcript.rows}


def test_seeds_hang_on_names_and_not_on_order() -> None:
    """Seeds hang on names and not on order."""
    suite = suite_of(PLAIN, items=8)
    shuffled = dataclasses.replace(suite, items=suite.items[3:] + suite.items[:3])
    assert seeds(suite) == seeds(shuffled)
    assert len(set(seeds(suite).values())) == 8


def test_seeds_hang_on_run_suite_and_case() -> None:
    """Seeds hang on run suite and case."""
    suite = suite_of(PLAIN, items=2)
    renamed = dataclasses.replace(suite, cases=(dataclasses.replace(suite.cases[0], id="other"),))
    for other in (seeds(suite, 1), seeds(dataclasses.replace(suite, id="other")), seeds(renamed)):
        assert not set(seeds(suite).values()) & set(other.values())


# --- floor and screening


def screened(**changes: Any) -> Suite:
    """Return a suite of eight items that is screened in the plain condition."""
    return suite_of(make_family("cue", 3), items=8, **{"screen": Screen(condition="plain", min_items=2), **changes})


def test_knowledge_is_asked_of_all_candidates_by_margin_and_by_text() -> None:
    """Knowledge is asked of all candidates by margin and by text."""
    _, rounds = play(screened(knowledge=Knowledge(max_tokens=5, stop=("\n",))))
    kinds = Counter(type(request) for request in rounds[0])
    assert kinds == {Loglikelihood: 8, Generate: 8}
    assert {request.max_tokens for request in rounds[0] if isinstance(request, Generate)} == {5}
    assert {request.temperature for request in rounds[0] if isinstance(request, Generate)} == {0.0}
    assert {request.messages[0].content for request in rounds[0]} == {"Be brief."}


def test_only_items_right_both_ways_go_on_and_all_candidates_are_recorded() -> None:
    """Only items right both ways go on and all candidates are recorded."""
    suite = screened()

    def answer(request: Request) -> Response:
        number = int(request.messages[-1].content.split()[1].strip(","))
        if isinstance(request, Generate):
            return texts("It is Paris." if number in {1, 2} else "London")
        return RIGHT if number in {2, 3} else WRONG

    transcript, rounds = play(suite, answer=answer)
    assert transcript.screening.kept == ("i002",)
    assert transcript.screening.candidates == tuple(item.id for item in suite.items)
    assert transcript.screening.unmeasured == ()
    assert transcript.screening.share == 1 / 8
    assert transcript.planned == ("i002",)
    assert {row.scenario for row in transcript.rows} == {"i002"}
    assert len(transcript.knowledge_rows) == 16
    assert len(rounds) == 2


UNREADABLE = {
    "failed": Failure("forward", "lost"),
    "empty": texts(""),
    "cut": texts("Paris", cut=True),
    "none": Completions(completions=()),
    "gibberish": texts("Paris Paris Paris Paris Paris Paris Paris Paris"),
    "scores for a text": RIGHT,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_judged_is_unmeasured_and_never_kept(name: str) -> None:
    """What cannot be judged is unmeasured and never kept."""
    bad = UNREADABLE[name]

    def answer(request: Request) -> Response:
        if isinstance(request, Generate) and request.messages[-1].content.startswith("Question 0,"):
            return bad
        return respond(request)

    screening = play(screened(), answer=answer)[0].screening
    assert "i000" not in screening.kept
    assert screening.unmeasured == ("i000",)
    assert len(screening.kept) == 7


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), 1.0])
def test_a_margin_that_is_no_number_is_unmeasured(logprob: float) -> None:
    """A margin that is no number is unmeasured."""
    from tests.factory import scored  # noqa: PLC0415 - used here alone

    broken = dataclasses.replace(RIGHT, continuations=(scored("London", logprob, 1), scored("Paris", -1.0, 2)))

    def answer(request: Request) -> Response:
        return broken if isinstance(request, Loglikelihood) else respond(request)

    screening = play(screened(), answer=answer)[0].screening
    assert screening.kept == ()
    assert len(screening.unmeasured) == 8


def test_a_tie_is_not_knowledge() -> None:
    """A tie is not knowledge."""
    screening = play(screened(), answer=lambda r: texts("Paris") if isinstance(r, Generate) else margin_scores(0.0))[
        0
    ].screening
    assert screening.kept == ()


def test_nothing_known_leaves_nothing_to_ask() -> None:
    """Nothing known leaves nothing to ask."""
    transcript, rounds = play(screened(), answer=knowing())
    assert rounds[1] == []
    assert transcript.rows == ()
    assert transcript.planned == ()


def test_with_a_floor_alone_all_candidates_go_on() -> None:
    """With a floor alone all candidates go on."""
    suite = screened(screen=None, floor=Floor(accuracy_at_least=0.5, condition="plain"))
    transcript, _ = play(suite, answer=knowing("i003"))
    assert transcript.screening.kept == ("i003",)
    assert not transcript.screening.applied
    assert len(transcript.planned) == 8


def test_floor_and_screen_in_different_conditions_are_refused() -> None:
    """Floor and screen in different conditions are refused."""
    with pytest.raises(UsageError, match="floor and screen name different conditions"):
        play(screened(floor=Floor(accuracy_at_least=0.5, condition="cue")))


def test_without_floor_and_screen_nothing_is_asked_first() -> None:
    """Without floor and screen nothing is asked first."""
    transcript, rounds = play(suite_of(PLAIN))
    assert transcript.screening is None
    assert len(rounds) == 1


def test_the_knowledge_question_has_the_variables_of_every_layer() -> None:
    """The knowledge question has the variables of every layer."""
    # The loader lets templates use paraphrase and cue in the condition of the screening; so they must have values.
    leads = tuple(Phrasing(id=name, values={"lead": f"({name})"}) for name in ("polite", "rude"))
    turns = (TURNS[0], Turn(role="user", template="{{ lead }} {{ question }}"))
    screen = Screen(condition="cue", min_items=2)
    transcript, rounds = play(screened(paraphrases=leads, turns=turns, screen=screen))
    assert len(transcript.screening.kept) == 8
    assert {request.messages[1].content[:8] for request in rounds[0]} == {"(polite)"}
    assert len({request.messages[0].content for request in rounds[0]}) == 3


def test_a_taken_over_screening_asks_the_same_without_asking_again() -> None:
    """A taken over screening asks the same without asking again."""
    suite = screened()
    mine, rounds = play(suite, answer=knowing("i001", "i004", "i006"))
    options = ScriptOptions(screening=mine.screening)
    twin, twin_rounds = play(suite, options=options, answer=knowing())
    assert twin_rounds == rounds[1:]
    assert [row.id for row in twin.rows] == [row.id for row in mine.rows]
    assert twin.screening == mine.screening
    assert twin.knowledge_rows == ()


def test_a_taken_over_floor_keeps_all_candidates() -> None:
    """A taken over floor keeps all candidates."""
    screening = Screening(condition="plain", candidates=("i000",), kept=(), applied=False)
    transcript, rounds = play(screened(), options=ScriptOptions(screening=screening))
    assert len(transcript.planned) == 8
    assert len(rounds) == 1


# --- jointly, and what a run would ask


def test_parts_are_asked_together_and_answered_apart() -> None:
    """Parts are asked together and answered apart."""
    suite = suite_of(PLAIN, make_family("cue", 3), items=4)
    whole = Case(
        id="both", check=CheckSpec(kind="jointly", options={}, line=1), conditions=("plain", "cue"), line=1,
        parts=suite.cases,
    )  # fmt: skip
    transcript, rounds = play(suite, whole)
    assert len(rounds) == 1
    assert transcript.case is whole
    assert transcript.rows == ()
    assert [part.case.id for part in transcript.parts] == ["says", "thinks"]
    for part, kind in zip(transcript.parts, (Generate, Loglikelihood), strict=True):
        assert {type(row.request) for row in part.rows} == {kind}
        assert all(row.response == respond(row.request) for row in part.rows)


def test_parts_share_one_screening() -> None:
    """Parts share one screening."""
    suite = screened()
    whole = dataclasses.replace(suite.cases[0], id="both", generate=None, parts=suite.cases)
    transcript, rounds = play(suite, whole, answer=knowing("i001", "i002"))
    assert len(rounds) == 2
    assert {part.planned for part in transcript.parts} == {("i001", "i002")}
    assert transcript.screening.kept == ("i001", "i002")


def test_driving_a_script_tells_what_it_would_ask_at_most() -> None:
    """Driving a script tells what it would ask at most."""
    suite = screened()
    asked = [list(each) for each in drive(case_script(suite, suite.cases[0], ScriptOptions(assume_known=True)))]
    _, played = play(suite)  # a model that knows everything is asked the most
    assert asked == played


def test_driving_answers_nothing_so_nothing_is_known() -> None:
    """Driving answers nothing so nothing is known."""
    suite = screened()
    asked = [list(each) for each in drive(case_script(suite, suite.cases[0], ScriptOptions()))]
    assert asked[1] == []
