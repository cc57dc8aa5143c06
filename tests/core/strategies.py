"""Hypothesis strategies for requests and responses."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from harness.request import (
    ROLES,
    Completion,
    Completions,
    Failure,
    Generate,
    Loglikelihood,
    Message,
    ScoredContinuation,
    Scores,
)

TEXT = st.text(max_size=8)
SOME = st.text(min_size=1, max_size=8)
LOGPROB = st.floats(max_value=0.0, min_value=-1e6, allow_nan=False)
IDS = st.lists(st.integers(0, 50_000), min_size=1, max_size=4).map(tuple)


@st.composite
def tokens(draw: st.DrawFn) -> dict[str, Any]:
    """Token ids and one log-probability for each."""
    ids = draw(IDS)
    return {"token_ids": ids, "token_logprobs": tuple(draw(LOGPROB) for _ in ids)}


MESSAGES = st.lists(st.builds(Message, st.sampled_from(ROLES), TEXT), min_size=1, max_size=3).map(tuple) | TEXT
GENERATE = st.builds(
    Generate,
    messages=MESSAGES,
    max_tokens=st.integers(1, 9),
    n=st.integers(1, 3),
    temperature=st.floats(0.0, 2.0),
    top_p=st.floats(0.1, 1.0),
    top_k=st.integers(0, 5),
    seed=st.integers(0, 2**63 - 1),
    stop=st.lists(SOME, max_size=2).map(tuple),
)
LOGLIKELIHOOD = st.builds(
    Loglikelihood,
    messages=MESSAGES,
    continuations=st.lists(SOME, min_size=1, max_size=4, unique=True).map(tuple),
)
REQUEST = GENERATE | LOGLIKELIHOOD
SCORES = st.builds(
    Scores,
    continuations=st.lists(st.builds(lambda text, two: ScoredContinuation(text=text, **two), TEXT, tokens())).map(
        tuple
    ),
    prompt=TEXT,
    prompt_ids=IDS,
)
COMPLETIONS = st.builds(
    Completions,
    completions=st.lists(
        st.builds(
            lambda text, two, reason: Completion(text=text, finish_reason=reason, **two),
            TEXT,
            tokens(),
            st.sampled_from(["stop", "length"]),
        )
    ).map(tuple),
    prompt=TEXT,
    prompt_ids=IDS,
)
FAILURE = st.builds(Failure, SOME, TEXT)
RESPONSE = SCORES | COMPLETIONS | FAILURE
