"""Tests of the model organisms."""
