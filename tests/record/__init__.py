"""Tests of record, seal and gate."""
