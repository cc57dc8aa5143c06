"""Synthetic suites and transcripts, for every test that needs evidence without a model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from harness.case import (
    Case,
    CheckSpec,
    Condition,
    CueForm,
    Floor,
    GenerateSpec,
    Item,
    LoglikelihoodSpec,
    Phrasing,
    Screen,
    Suite,
    Turn,
)
from harness.request import (
    Completion,
    Completions,
    Failure,
    Generate,
    Loglikelihood,
    Message,
    Response,
    ScoredContinuation,
    Scores,
)
from harness.transcript import Row, Screening, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.case import Value

LOG_HALF = -0.6931471805599453


def make_item(number: int, phrasings: int = 2) -> Item:
    """Return item `i007` for number 7: right answer `Paris`, wrong answer `London`."""
    values: dict[str, Value] = {
        "id": f"i{number:03}",
        "answer": "Paris",
        "accepts": ("Paris",),
        "distractors": ("London",),
    }
    asked = tuple(Phrasing(id=f"p{i}", values={"question": f"Question {number}, form {i}?"}) for i in range(phrasings))
    return Item(id=f"i{number:03}", values=values, phrasings=asked)


def make_family(name: str, forms: int, *, doses: bool = False) -> Condition:
    """Return a condition with a cue family of `forms` forms; doses are 0, 1, 2, ..."""
    cues = tuple(
        CueForm(id=f"{name}{i:03}", values={"cue": f"Cue {name} {i}."}, dose=float(i) if doses else None)
        for i in range(forms)
    )
    return Condition(name=name, values={"system": "{{ cue }}"}, cues=cues, family=f"world/{name}" if forms else "")


def make_case(
    kind: str,
    options: Mapping[str, Any],
    conditions: Sequence[str],
    *,
    text: bool = False,
    id: str = "case",  # noqa: A002 - the field's own name
) -> Case:
    """Return a case with one check; `text` asks for completions, else for log-likelihoods."""
    return Case(
        id=id,
        check=CheckSpec(kind=kind, options=dict(options), line=1),
        conditions=tuple(dict.fromkeys(conditions)),
        line=1,
        turns=(Turn(role="user", template="{{ question }}"),),
        generate=GenerateSpec(max_tokens=8) if text else None,
        loglikelihood=None if text else LoglikelihoodSpec(groups={"bad": ("London",), "good": ("Paris",)}),
    )


def make_suite(
    cases: Sequence[Case] = (),
    *,
    items: int = 40,
    conditions: Sequence[Condition] = (),
    floor: Floor | None = None,
    screen: Screen | None = None,
) -> Suite:
    """Return a suite of `items` made items."""
    return Suite(
        id="suite",
        claim="Nothing hides here.",
        failure_mode="deception",
        severity="critical",
        path="suite.eval.yaml",
        digest="sha256:0",
        items=tuple(make_item(number) for number in range(items)),
        conditions={condition.name: condition for condition in conditions},
        cases=tuple(cases),
        turns=(Turn(role="user", template="{{ question }}"),),
        floor=floor,
        screen=screen,
    )


def completion(text: str, *, cut: bool = False, logprob: float = -0.5) -> Completion:
    """Return a completion of one token per word."""
    tokens = tuple(range(len(text.split())))
    return Completion(
        text=text, token_ids=tokens, token_logprobs=(logprob,) * len(tokens), finish_reason="length" if cut else "stop"
    )


def texts(*found: str, cut: bool = False) -> Completions:
    """Return completions with these texts."""
    return Completions(completions=tuple(completion(text, cut=cut) for text in found))


def scored(text: str, logprob: float, token: int = 0) -> ScoredContinuation:
    """Return a continuation of one token."""
    return ScoredContinuation(text=text, token_ids=(token,), token_logprobs=(logprob,))


def margin_scores(margin: float) -> Scores:
    """Return scores of (London, Paris) with bad minus good = `margin` nats; both at most one half."""
    bad, good = (LOG_HALF, LOG_HALF - margin) if margin > 0 else (LOG_HALF + margin, LOG_HALF)
    return Scores(continuations=(scored(" London", bad, 1), scored(" Paris", good, 2)))


def make_row(
    item: str,
    condition: str,
    response: Response,
    *,
    cue: str | None = None,
    phrasing: str = "p0",
    dose: float | None = None,
    text: bool | None = None,
    options: Sequence[str] = (),
    n: int = 1,
) -> Row:
    """Return one row; what it asked follows from its response unless `text` says so."""
    asks_text = isinstance(response, Completions) if text is None else text
    messages = (Message("user", f"{item} {condition} {cue} {phrasing}"),)
    groups: dict[str, tuple[int, ...]] = {} if asks_text else {"bad": (0,), "good": (1,)}
    continuations = tuple(options) or (" London", " Paris")
    if options:
        groups = {"options": tuple(range(len(options)))}
    request = (
        Generate(messages=messages, max_tokens=8, n=n)
        if asks_text
        else Loglikelihood(messages=messages, continuations=continuations)
    )
    return Row(
        id=f"{item}/{condition}/{cue or '-'}/{phrasing}/{'generate' if asks_text else 'loglikelihood'}",
        scenario=item,
        condition=condition,
        cue=cue,
        phrasing=phrasing,
        dose=dose,
        values={"accepts": ("Paris",), "answer": "Paris", "distractors": ("London",)},
        messages=messages,
        request=request,
        response=response,
        groups=groups,
    )


def make_transcript(
    case: Case,
    rows: Sequence[Row],
    *,
    suite: Suite | None = None,
    screening: Screening | None = None,
    conditions: Sequence[Condition] = (),
) -> Transcript:
    """Return a transcript that planned exactly the scenarios of `rows`."""
    planned = tuple(dict.fromkeys(row.scenario for row in rows))
    return Transcript(
        suite=suite or make_suite([case], items=len(planned), conditions=conditions),
        case=case,
        planned=planned,
        rows=tuple(rows),
        screening=screening,
    )


def with_response(row: Row, response: Response) -> Row:
    """Return `row` answered otherwise."""
    return dataclasses.replace(row, response=response)


def failed(row: Row) -> Row:
    """Return `row` not answered."""
    return with_response(row, Failure("forward", "made to fail"))


def text_rows(condition: str, found: Sequence[str], phrasing: str = "p0") -> list[Row]:
    """Return one text row per item."""
    return [make_row(f"i{i:03}", condition, texts(text), phrasing=phrasing) for i, text in enumerate(found)]


def margin_rows(
    condition: str,
    items: int,
    margin: Callable[[int, int], float],
    *,
    forms: int = 0,
    each: int = 1,
    doses: bool = False,
) -> list[Row]:
    """Return rows whose margin is `margin(item, form)`; each item meets `each` of `forms` forms in turn."""
    rows = []
    for item in range(items):
        for step in range(each if forms else 1):
            form = (item * each + step) % forms if forms else 0
            rows.append(
                make_row(
                    f"i{item:03}",
                    condition,
                    margin_scores(margin(item, form)),
                    cue=f"{condition}{form:03}" if forms else None,
                    dose=float(form) if doses else None,
                )
            )
    return rows
