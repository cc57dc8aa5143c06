"""A root with a small world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .small_world import build

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root that tests add case files to, under names of their own."""
    return build(tmp_path_factory.mktemp("loader") / "root")
