"""Verbs of the console command that are more than a few lines."""
