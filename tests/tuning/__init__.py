"""Tests of short fine-tunings."""
