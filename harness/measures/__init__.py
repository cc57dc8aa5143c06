"""Measures: from the transcript of a case to numbers with n and interval."""

VERSION = "measures/1"
"""Of what turns answers into numbers and verdicts: measures, statistics, checks, scripts and graders. It rises with
every change that can move a number; certificates of another version are dead."""
