"""Demonstrations: other items with their right answers, before the question."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from harness.case import Condition, CueForm, Floor, Screen, Turn
from harness.errors import UsageError
from harness.script import ScriptOptions
from tests.core.test_script import PLAIN, knowing, play, suite_of
from tests.factory import make_family

if TYPE_CHECKING:
    from harness.case import Suite
    from harness.transcript import Transcript

SHOWN = Condition(name="shown", values={"system": "Be brief."}, shots=3)


def numbers(transcript: Transcript) -> dict[str, list[int]]:
    """Return, by item, the numbers of the items that are shown to it."""
    return {
        row.scenario: [
            int(message.content.split()[1].strip(",")) for message in row.messages[1:-1] if message.role == "user"
        ]
        for row in transcript.rows
    }


def asked(suite: Suite, **options: Any) -> Transcript:
    """Return the transcript of the first case."""
    return play(suite, options=ScriptOptions(**options))[0]


def test_demonstrations_stand_between_system_and_question() -> None:
    """By role and by words: question and right answer of another item, then the question itself."""
    row = asked(suite_of(SHOWN)).rows[0]

    assert [message.role for message in row.messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert {message.content for message in row.messages if message.role == "assistant"} == {"Paris"}
    assert row.messages[-1].content.startswith("Question 0")
    assert row.request.messages == row.messages


@pytest.mark.parametrize("items", [4, 12, 13])
def test_everybody_is_shown_equally_often_and_never_to_itself(items: int) -> None:
    """Balanced over the items, nobody twice to the same."""
    shown = numbers(asked(suite_of(SHOWN, items=items)))

    assert all(len(set(found)) == 3 for found in shown.values())
    assert all(int(name[1:]) not in found for name, found in shown.items())
    assert set(Counter(number for found in shown.values() for number in found).values()) == {3}


def test_the_draw_hangs_on_suite_and_seed_alone() -> None:
    """More shots extend fewer, in any condition; another seed draws others, the run's seed means nothing."""
    more = Condition(name="more", values={"system": "Another."}, shots=5)
    three, five = (numbers(asked(suite_of(condition))) for condition in (SHOWN, more))
    other = numbers(asked(suite_of(SHOWN, seed=9)))

    assert all(five[name][:3] == found for name, found in three.items())
    assert other != three
    assert numbers(asked(suite_of(SHOWN), run_seed=5, full=False)) == three


def test_demonstrations_are_worded_as_the_condition_words_the_question() -> None:
    """The cue of the row stands in its demonstrations, with the answer that the setting gives."""
    forms = tuple(CueForm(id=f"c{i}", values={"cue": f"Cue {i}."}) for i in range(3))
    told = Condition(
        name="told", values={"lead": "{{ cue }} Hello."}, cues=forms, family="world/x", shots=2,
        shot_answer="It is {{ answer }}.",
    )  # fmt: skip
    turns = (Turn(role="user", template="{{ lead }} {{ question }}"),)
    for row in asked(suite_of(told, turns=turns)).rows:
        users = [message.content for message in row.messages if message.role == "user"]
        assert len(users) == 3
        assert {text.partition(" Hello.")[0] for text in users} == {f"Cue {row.cue[1:]}."}
        assert {m.content for m in row.messages if m.role == "assistant"} == {"It is Paris."}


def test_of_a_longer_talk_only_the_question_is_shown() -> None:
    """Earlier turns stay where they are, right before it."""
    turns = (
        Turn(role="system", template="S"), Turn(role="user", template="Hi"), Turn(role="assistant", template="Hello"),
        Turn(role="user", template="{{ question }}"),
    )  # fmt: skip
    row = asked(suite_of(dataclasses.replace(SHOWN, shots=1), turns=turns)).rows[0]
    found = [message.content for message in row.messages]

    assert [message.role for message in row.messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert found[2:5] == ["Paris", "Hi", "Hello"]


def test_screening_does_not_change_the_demonstrations() -> None:
    """Any candidate may serve, known or not."""
    suite = suite_of(SHOWN, items=12, screen=Screen(condition="plain", min_items=1))
    names = [item.id for item in suite.items]
    every, _ = play(suite, answer=knowing(*names))
    some, _ = play(suite, answer=knowing(*names[:4]))

    assert list(numbers(some)) == names[:4]
    assert all(numbers(every)[name] == found for name, found in numbers(some).items())
    assert {number for found in numbers(some).values() for number in found} - set(range(4))


def test_the_questions_of_the_floor_are_asked_as_their_condition_says() -> None:
    floor = Floor(accuracy_at_least=0.5, condition="shown")
    transcript, _ = play(suite_of(SHOWN, floor=floor))
    assert all(len(row.messages) == 8 for row in transcript.knowledge_rows)
    plain, _ = play(suite_of(make_family("cue", 2), floor=dataclasses.replace(floor, condition=PLAIN.name)))
    assert all(len(row.messages) == 2 for row in plain.knowledge_rows)


def test_more_demonstrations_than_others_are_refused() -> None:
    with pytest.raises(UsageError, match="wants 3 shots of other items, of 3"):
        asked(suite_of(SHOWN, items=3))
