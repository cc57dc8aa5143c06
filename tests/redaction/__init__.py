"""Restricted suites: no text of theirs gets out."""
