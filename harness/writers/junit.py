"""Numbers of one item for `junit.xml`; pytest writes the file, and `conform` makes it one that every reader takes.

pytest puts the properties of a test into its `<testcase>`, where the schema that the xUnit plugin of Jenkins checks by
(junit-10.xsd) knows none: that plugin drops the whole file. So they become lines of the test's `<system-out>`, in the
form `[[PROPERTY|name=value]]`, which test managers read and services show.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.errors import RecordError
from harness.escape import line
from harness.record_file import write_atomic
from harness.restricted import BANNER
from harness.writers import words
from harness.writers.outcomes import certificate_text, restricted

if TYPE_CHECKING:
    from pathlib import Path

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


def conform(path: Path) -> None:
    """Move the properties of the tests in a file into their `<system-out>`; what cannot be read or written stays.

    Args:
        path: A file that pytest wrote.
    """
    # It is a report for people beside the record: nothing is decided by it, and pytest's own file can be read too.
    with contextlib.suppress(OSError, ET.ParseError, RecordError):
        tree = ET.parse(path)  # noqa: S314 - pytest wrote it just now, and expat is told of no entities
        for test in tree.getroot().iter("testcase"):
            _conform(test)
        write_atomic(path, '<?xml version="1.0" encoding="utf-8"?>' + ET.tostring(tree.getroot(), encoding="unicode"))


def _conform(test: ET.Element) -> None:
    found = test.findall("properties")
    if not found:
        return
    said = [f"[[PROPERTY|{one.get('name')}={one.get('value')}]]" for each in found for one in each]
    for each in found:
        test.remove(each)
    out = ET.SubElement(test, "system-out")
    out.text = "\n".join(said)
