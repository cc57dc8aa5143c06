"""Faults at every boundary: what is broken, torn, hostile or slow is never a PASS, and nothing stored is lost."""
