"""What an export may hold of the texts of a record.

A table or a log leaves the house without a page that says who cleared it. So texts of restricted suites are not in it,
whatever the record shows, and those of internal suites only where somebody says so.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.exchange import redacted, without_texts
from harness.record import hidden
from harness.restricted import withhold_foreign

if TYPE_CHECKING:
    from harness.record import ItemRecord, RunRecord

OPEN = "open"
INTERNAL = "internal"


def readable(record: RunRecord, *, internal: bool = False) -> RunRecord:
    """Return `record` with the texts that an export may hold; its seal fits no longer where one was taken out.

    Args:
        record: A whole run.
        internal: Keep the texts of suites with `hazard: internal`.
    """
    record = hidden(record)
    return dataclasses.replace(record, items=tuple(_readable(item, internal=internal) for item in record.items))


def _readable(item: ItemRecord, *, internal: bool) -> ItemRecord:
    # A restricted item redacted itself when it was built without `shown`; what nobody knows is treated as internal.
    if item.hazard == OPEN or (internal and item.hazard == INTERNAL):
        return item
    return dataclasses.replace(
        item, cause=withhold_foreign(item.cause), exchanges=tuple(redacted(one) for one in item.exchanges),
        measurements=tuple(without_texts(found) for found in item.measurements),
    )  # fmt: skip
