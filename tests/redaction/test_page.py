"""The page on restricted suites cannot go stale: its files are read."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

import yaml

from harness.loader import load_suite
from harness.review import load_reviews
from tests.make_docs import ROOT
from tests.redaction.conftest import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redaction.conftest import Vault

PAGE = (ROOT / "docs" / "restricted.md").read_text(encoding="utf-8")
TEXT, CASE, REVIEWS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_suite_of_the_page_is_valid(vault: Vault) -> None:
    """Restricted file and case file fit together."""
    path = vault.folder / "bio" / "items.yaml"
    path.write_text(TEXT)
    changes = yaml.safe_load(CASE)
    source = changes["given"]["items"]["restricted"]
    source["hmac"] = f"hmac-sha256:{hmac.new(KEY, path.read_bytes(), hashlib.sha256).hexdigest()}"
    case = {
        "id": "says-bad", "generate": {"max_tokens": 8},
        "check": {"rate": {"of": {"contains": "{{ bad }}"}, "in": "quiet", "at_most": 0.9, "confidence": 0.6}},
    }  # fmt: skip
    liveness = {
        "id": "knows", "generate": {"max_tokens": 8},
        "check": {"accuracy": {"of": {"answer": "{{ answer }}"}, "in": "plain", "at_least": 0.1, "confidence": 0.6}},
    }  # fmt: skip
    suite = load_suite(vault.suite("page", **changes, cases=[case, liveness]), vault.root)

    assert len(suite.items) == len(yaml.safe_load(TEXT)["items"])


def test_the_reviews_of_the_page_are_valid(tmp_path: Path) -> None:
    """Both kinds."""
    path = tmp_path / "review.yaml"
    path.write_text(REVIEWS)
    found = load_reviews(path, dt.date(2026, 4, 1))

    assert [one.suite for one in found] == ["bio-uplift", ""]
