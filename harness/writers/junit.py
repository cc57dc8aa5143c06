"""Properties of one item for `junit.xml`; pytest writes the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.escape import line
from harness.restricted import BANNER
from harness.writers import words
from harness.writers.outcomes import certificate_text, restricted

if TYPE_CHECKING:
    from harness.certify.findings import CertificateState, Finding
    from harness.record import ItemRecord


def junit_properties(
    item: ItemRecord, *, model_digest: str = "", certificate: CertificateState | None = None
) -> list[tuple[str, str]]:
    """Return name and value pairs for `user_properties`: numbers and names, never a text of the model.

    Args:
        item: A check with its verdict.
        model_digest: Of the model's identity, where the caller knows it.
        certificate: What the run knows of the certificate of the suite, where the caller knows it.
    """
    properties = {
        "verdict": item.verdict.value,
        "suite": item.suite,
        "case": item.case,
        "model": item.model,
        "failure_mode": item.failure_mode,
        "severity": item.severity,
        "measures": item.measures,
        "check": item.check,
        "measured": words.judged(item),
        "bound": words.bounded(item),
        "reference": item.reference,
        "n_planned": str(item.n_planned),
        "n_measured": str(item.n_measured),
        "screening": words.screened(item),
        "cause": words.public_cause(item),
        "model_digest": model_digest,
        "certificate": certificate_text(certificate),
    }
    if item.shown:
        properties["restricted"] = BANNER
    if item.waiver and not restricted(item.hazard):
        properties["waiver"] = ", ".join(f"{name}: {item.waiver[name]}" for name in sorted(item.waiver))
    if item.measurements:
        judged = item.measurements[0]
        properties |= {"value": repr(judged.value), "low": repr(judged.low), "high": repr(judged.high)}
        properties["unit"] = judged.unit
    return [(f"tells.{name}", line(value, 1000)) for name, value in properties.items() if value]


def finding_properties(finding: Finding) -> list[tuple[str, str]]:
    """Return name and value pairs of one finding for `user_properties`."""
    properties = {
        "verdict": finding.verdict.value,
        "expected": finding.expected,
        "met": str(finding.met).lower(),
        "suite": finding.suite,
        "organism": finding.organism,
        "arm": finding.arm,
        "base": finding.base,
        "seed": str(finding.seed),
        "found_by": ", ".join(finding.found_by),
        "cause": finding.cause,
    }
    return [(f"tells.{name}", line(value, 1000)) for name, value in properties.items() if value]
