"""Grade a text by a rule of the case file: the same text and rule give the same answer, and nothing is guessed.

A grader is a mapping with exactly one word: contains, equals, starts_with, answer, not_answer, matches, choice, number,
refusal, json_schema, not, any, all. Beside a word that compares text, `ignore_case: false` may stand.
"""

from __future__ import annotations

from harness.graders.shape import State, state
from harness.graders.words import found, grade, negative_only, problems

__all__ = ["State", "found", "grade", "negative_only", "problems", "state"]
