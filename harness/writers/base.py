"""What a writer is and where writers are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from harness.record import RunRecord
from harness.registry import Registry

Writer: TypeAlias = Callable[[RunRecord, Path], Path]
"""Writes one file into a folder, whole or not at all, and returns its path. Raises `RecordError` when it cannot."""

writer: Registry[Writer] = Registry("writer")
"""Writers by name; outside packages name theirs in the entry-point group `tells.writer`."""
