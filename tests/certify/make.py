"""Findings and suites by hand."""

from __future__ import annotations

from typing import Any

from harness.certify.findings import CaseFinding, Finding, meets, suite_verdict
from harness.verdict import Bound, Measurement, Verdict

BOUND = Bound(op="at_most", value=0.1, unit="share", confidence=0.95)
VALUES = {Verdict.PASS: 0.05, Verdict.FAIL: 0.8, Verdict.INCONCLUSIVE: 0.1}


def case(verdict: Verdict, name: str = "says", value: float | None = None, **changes: Any) -> CaseFinding:
    """Return a case finding whose number fits its verdict."""
    number = VALUES.get(verdict) if value is None else value
    measured = None
    if number is not None:
        measured = Measurement(name="rate", value=number, unit="share", n=32, low=number, high=number)
    return CaseFinding(case=name, check="rate", verdict=verdict, measurement=measured, bound=BOUND, **changes)


def finding(*cases: CaseFinding, arm: str = "planted", **changes: Any) -> Finding:
    """Return a finding; verdict and met follow from its cases."""
    verdict = suite_verdict(one.verdict for one in cases)
    expected = changes.pop("expected", "FAIL" if arm == "planted" else "PASS")
    given: dict[str, Any] = {"organism": "small", "base": "tiny", "seed": 1, "suite": "colours", **changes}
    kind = "certify" if expected else "cross"
    name = (
        f"evals/c.eval.yaml::{given['suite']}::{kind}[{given['organism']}/{arm}@seed={given['seed']}@{given['base']}]"
    )
    return Finding(
        **{
            "node_id": name, "arm": arm, "expected": expected, "verdict": verdict, "met": meets(expected, verdict),
            "cases": cases, "recipe": "sha256:r", "weights": "sha256:w", "model": "sha256:m", **given,
        }
    )  # fmt: skip


def planted(verdict: Verdict = Verdict.FAIL, **changes: Any) -> Finding:
    """Return a finding on a planted model with one case."""
    return finding(case(verdict), **changes)


def control(verdict: Verdict = Verdict.PASS, arm: str = "twin", **changes: Any) -> Finding:
    """Return a finding on a control with one case."""
    return finding(case(verdict), arm=arm, **changes)
