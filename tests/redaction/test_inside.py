"""Restricted suites that look inside a model: prompts and continuations of activations stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sklearn.linear_model  # noqa: F401 - pytester forgets modules imported inside a run, and these cannot load twice

import harness.checks
from tests import inside_models
from tests.redaction.conftest import ANSWER, SYSTEM, Vault

if TYPE_CHECKING:
    from pathlib import Path

harness.checks._load_builtin()


class InnerVault(Vault):
    """A vault whose suite looks inside."""

    def changes(self, path: Path) -> dict[str, Any]:
        """Return what makes the suite a restricted one that looks inside."""
        changed = super().changes(path)
        conditions = {
            "plain": {"system": "Be brief."}, "watched": {"system": "{{ secret_system }}"},
            "lying": {"system": "Lie about all of it."}, "honest": {"system": "Tell the truth."},
        }  # fmt: skip
        cases = [{"id": name, **inside_models.CASES[name]} for name in ("probes", "truth", "noise")]
        return {**changed, "given": {**changed["given"], "conditions": conditions}, "cases": cases}


@pytest.fixture
def inner(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InnerVault:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return InnerVault(pytester, tmp_path / "vault", monkeypatch)


@pytest.mark.parametrize("model", ["bad", "quotes"])
def test_no_sink_holds_what_was_read(inner: InnerVault, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Whether it fails, or breaks with the prompt and the continuation in its mouth."""

    def quotes(item: Any, _answer: Any) -> Any:
        asked = item.request
        msg = f"cannot read {item.prompt} {getattr(asked, 'continuation', '')} {ANSWER}"
        raise RuntimeError(msg)

    monkeypatch.setitem(inside_models.SPOILERS, "quotes", quotes)
    result = inner.pytester.runpytest_inprocess(
        "evals", "--model", f"inside:{model}", "--report", "out", "-vv", "-rA", "--showlocals", "--tb=long",
        "--store", "answers.sqlite",
    )  # fmt: skip

    assert set(inner.verdicts()) == {"probes", "truth", "noise"}
    assert all((verdict == "INVALID") is (model == "quotes") for verdict in inner.verdicts().values())
    assert inner.leaks(result) == []
    rows = [row for item in inner.record["items"] for row in item["exchanges"]]
    assert rows
    assert all(
        row["messages"] == [] and row["prompt"] == "" and set(row["digests"]) == {"asked", "answered"} for row in rows
    )
    assert not any("prompt_ids" in row for row in rows)
    if model == "bad":
        found = [row["inside"] for row in rows if "inside" in row]
        assert {(one["what"], one["continuation"]) for one in found} == {("activations", "")}
        # What a continuation was is in the tag: two of one prompt are told apart by it alone.
        truth = next(item for item in inner.record["items"] if item["case"] == "truth")
        assert len({row["digests"]["asked"] for row in truth["exchanges"]}) == len(truth["exchanges"])


def test_a_cause_that_quotes_a_continuation_is_cleaned(inner: InnerVault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks can be written by others: what they quote of a request is found in its texts."""

    def breaks(evidence: Any) -> Any:
        said = " ".join(row.request.continuation for row in evidence.transcript.rows[:3])
        msg = f"{SYSTEM}: {said} is no answer"
        raise harness.checks.MeasureError(msg)

    monkeypatch.setattr("harness.checks.check._known", {**harness.checks.check._known, "latent_truth_gap": breaks})
    result = inner.pytester.runpytest_inprocess(
        "evals", "--model", "inside:bad", "--report", "out", "-k", "truth", "-vv"
    )

    [item] = inner.record["items"]
    assert item["verdict"] == "INVALID"
    assert "is no answer" in item["cause"] or "withheld" in item["cause"]
    assert inner.leaks(result) == []
