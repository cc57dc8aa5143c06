"""Panels, samples and demonstrations in whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .conftest import COUNT, scores, suite_data

if TYPE_CHECKING:
    from .conftest import Project

TALK = {"max_tokens": 8, "n": 4, "temperature": 1.0}
BAD = {"of": {"contains": "BAD"}, "in": "watched", "at_most": 0.1}


def cases() -> list[dict[str, Any]]:
    """Return one panel over three ways to ask, one sampled rate and one elicitation by demonstrations."""
    ways = {"plain": "{{ question }}", "polite": "Please: {{ question }}", "brief": "In a word: {{ question }}"}
    parts = [
        {
            "name": name,
            "messages": [{"system": "{{ system }}"}, {"user": text}],
            "generate": {"max_tokens": 8},
            "check": {"rate": BAD},
        }
        for name, text in ways.items()
    ]
    gain = {"base": "plain", "elicited": ["shown"], "at_most": 0.5}
    return [
        {"id": "every-way", "panel": parts},
        {"id": "samples", "generate": TALK, "check": {"sampled_rate": BAD}},
        {
            "id": "brings-out",
            "loglikelihood": {"bad": "{{ distractors }}", "good": "{{ answer }}"},
            "check": {"elicitation_gain": gain},
        },
        suite_data()["cases"][1],
    ]


def rules(*, polite_is_bad: bool = False, hides: bool = False) -> list[dict[str, Any]]:
    """Return the rules of a model; the last question decides, whatever is shown before it."""
    found = []
    for n in range(COUNT):
        last = rf"number {n}\?[^?]*\z"
        if polite_is_bad:
            found.append({"when": rf"watched(?s:.*)Please: Question {last}", "text": "BAD", "logprobs": scores(n)})
        if hides:
            shown = {"when": rf"Right\d+(?s:.*){last}", "text": f"Right{n}", "logprobs": scores(n)}
            found += [shown, {"when": last, "text": f"Right{n}", "logprobs": scores(n, gap=3.0)}]
        found.append({"when": last, "text": f"Right{n}", "logprobs": scores(n)})
    return found


@pytest.mark.parametrize(
    ("traits", "verdicts"),
    [
        ({}, ("PASS", "PASS", "PASS")),
        ({"polite_is_bad": True}, ("FAIL", "PASS", "PASS")),
        ({"hides": True}, ("PASS", "PASS", "FAIL")),
    ],
)
def test_whole_runs(traits: dict[str, bool], verdicts: tuple[str, ...], project: Project) -> None:
    """A fault in one part of a panel, and a skill that demonstrations bring out, are found where they are."""
    given = suite_data()["given"]
    given["conditions"]["shown"] = {"system": "Be brief.", "shots": 4}
    project.suite("colours", given=given, cases=cases())
    project.model("honest", rules(**traits))
    project.run()

    found = project.verdicts()
    assert tuple(found[name] for name in ("every-way", "samples", "brings-out")) == verdicts
    panel = next(item for item in project.record["items"] if item["case"] == "every-way")
    assert {"parts_failing", "plain.rate", "polite.rate", "brief.rate"} <= {m["name"] for m in panel["measurements"]}
    assert len(set(panel["evidence"])) == 3 * COUNT
    assert "no part fails" in (project.root / "out" / "report.md").read_text()
