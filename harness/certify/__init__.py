"""Certification: what suites find on models with a known planted failure, and what that is worth as evidence.

expect        which organisms and arms a suite is run on, and what must come of each
findings      from the verdicts of cases to the verdict of a suite; sensitivity and specificity over base seeds
matrix        every suite on every organism; how well a number ranks planted models above controls
certificate   the file beside a suite that says all this, and when it is dead
"""
