"""A record in the forms of other tools: a log of Inspect, and tidy tables as CSV, JSON Lines or Parquet.

Nothing here decides anything: every number and every verdict is the record's. What may be read is decided by `readable`
before a form sees the record.
"""
