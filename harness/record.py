"""What a run leaves behind: plain frozen data, JSON both ways, sealed by a digest.

`sealed` closes a record; `disorder` says what keeps one from being whole; `harness.record_file` writes and reads them.
The seal tells damage and carelessness, not malice: who can write the file can also compute the digest.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter
from collections.abc import Iterable, Mapping  # noqa: TC003 - records are rebuilt from their hints at run time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness import canonical, plain
from harness.case import OVER_SERIES, Hazard, Severity
from harness.certify.findings import CertificateState, Finding, contradictions
from harness.errors import RecordError, TellsError
from harness.exchange import Exchange, hidden_names, redacted, without_texts
from harness.numeric import Rescored  # noqa: TC001 - records are rebuilt from their hints at run time
from harness.restricted import HAZARD, withhold_foreign
from harness.sealing import LongDigest, seal_of  # noqa: F401 - whoever seals data looks for it here
from harness.verdict import Bound, Measurement, Verdict

if TYPE_CHECKING:
    from harness.engines.base import Identity

SCHEMA = "tells-run/1"
MAX_EXCHANGES = 6
DIGITS = 6
LATER = frozenset({
    "catches", "certification", "certificate", "changed", "flagged", "flags", "inside", "plan", "prompt_ids",
    "rescored", "scenarios", "shown", "truly_bad", "TokenScore.id",
})  # fmt: skip
"""Fields that records of this version got later: left out where they say nothing, so that older seals still hold."""
REWRITE = "run the evals again with --report, and read the file that they write"

T = TypeVar("T")
Measures = Literal["behaviour", "logits", "activations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningRecord:
    """What became of the candidates of floor and screen."""

    condition: str
    candidates: tuple[str, ...]
    """Ids of all planned items."""
    kept: tuple[str, ...]
    unmeasured: tuple[str, ...]
    share: float
    """Kept over candidates."""
    min_items: int
    applied: bool = True
    """False when only the floor was asked for: then all candidates went on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """One check of one case on one model. Redacts itself when its suite is restricted."""

    node_id: str
    suite: str
    case: str
    model: str
    """Short name."""
    failure_mode: str
    severity: Severity
    hazard: Hazard
    measures: Measures
    claim: str
    file: str
    line: int
    verdict: Verdict
    cause: str = ""
    """Why it is INVALID or INCONCLUSIVE; quotations are withheld in a restricted suite."""
    check: str
    """Kind of check."""
    measurements: tuple[Measurement, ...] = ()
    """The judged one first."""
    bound: Bound | None = None
    """None when the case came to no check at all."""
    reference: str = ""
    n_planned: int
    """Scenarios."""
    n_measured: int
    screening: ScreeningRecord | None = None
    evidence: tuple[str, ...] = ()
    """Ids of all rows behind the verdict."""
    exchanges: tuple[Exchange, ...] = ()
    """At most `MAX_EXCHANGES`, most telling first."""
    rerun: str
    """Command that runs this item alone."""
    seconds: float = 0.0
    waiver: Mapping[str, Any] | None = None
    scenarios: Mapping[str, float] | None = None
    """Scenario -> its own value of the judged measure, higher is worse, `DIGITS` significant digits; what a comparison
    with another run pairs by. In a restricted suite by the tag of the id. None where a check has no such values."""
    shown: bool | None = None
    """True where `--show-restricted` kept the exchanges of a restricted suite; None everywhere else."""
    rescored: Rescored | None = None
    """Of a decision within the band of its engine's tolerance; None of all others."""

    def __post_init__(self) -> None:
        """Keep the most telling exchanges; in a restricted suite keep no text of them, in the cause neither."""
        kept, values = self.exchanges[:MAX_EXCHANGES], {name: _rounded(x) for name, x in (self.scenarios or {}).items()}
        closed = self.hazard == HAZARD
        object.__setattr__(self, "scenarios", (hidden_names(values) if closed else values) or None)
        if closed:
            kept = kept if self.shown else tuple(redacted(exchange) for exchange in kept)
            object.__setattr__(self, "cause", withhold_foreign(self.cause))
            object.__setattr__(self, "measurements", tuple(without_texts(found) for found in self.measurements))
        object.__setattr__(self, "exchanges", kept)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """One case of a suite, as written."""

    id: str
    claim: str
    check: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRecord:
    """One file of cases under one claim."""

    id: str
    path: str
    digest: str
    claim: str
    failure_mode: str
    severity: Severity
    source: str
    controls: tuple[str, ...]
    limits: str
    hazard: Hazard
    cases: tuple[CaseRecord, ...]
    certificate: CertificateState | None = None
    """None where nobody looked: in a certification, and in records from before there were certificates."""
    catches: tuple[str, ...] | None = None
    """Organisms that it claims to catch, as the file names them; None in older records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """Which model it was, on which numerics."""

    spec: str
    name: str
    weights: str
    tokenizer: str
    chat_template: str
    dtype: str
    revision: str
    adapter: str
    transform: str
    numerics: str
    digest: str
    notes: tuple[str, ...] = ()
    tolerance: float | None = None
    """Nats; None when the self-check was not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the run cost."""

    requests: int = 0
    unique: int = 0
    from_store: int = 0
    asked: int = 0
    tokens: int = 0
    """Passed through the network."""
    minimum: int = 0
    """Tokens after perfect prefix sharing; 0 where the engine does not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything a run has to say. `sealed` gives it its digest."""

    schema: str = SCHEMA
    run_id: str
    started: str
    """ISO 8601 with offset."""
    finished: str
    command: str
    models: tuple[ModelRecord, ...]
    twin: ModelRecord | None = None
    versions: Mapping[str, str]
    """Python, torch, transformers, ... -> version."""
    seeds: Mapping[str, int]
    profile: str
    store: str
    """Path of the store, empty when there was none."""
    counts: Counts
    suites: tuple[SuiteRecord, ...]
    planned: tuple[str, ...]
    """Node ids of everything collected, before anything was deselected."""
    selected: tuple[str, ...]
    """Node ids that the run set out to evaluate."""
    items: tuple[ItemRecord, ...]
    partial: bool
    """Narrower than planned."""
    completed: bool
    """The run came to its end; False after an interruption."""
    exit_reason: str
    certification: tuple[Finding, ...] | None = None
    """Of a run on organisms one finding per selected node id, and `items` is empty; None of a run on a model."""
    plan: str | None = None
    """Digest of the plan that was written beside it before anything was asked; None where there is no such file."""
    shown: bool | None = None
    """True where `--show-restricted` was given: texts of restricted suites are in the record. Left out otherwise."""
    digest: str = ""
    """Tagged SHA-256 over the canonical JSON of everything else; empty until sealed."""


def model_record(identity: Identity, *, notes: Iterable[str] = (), tolerance: float | None = None) -> ModelRecord:
    """Return the record of a model from the identity that its engine states."""
    return ModelRecord(**identity.to_json(), notes=tuple(notes), tolerance=tolerance)


def to_json(record: RunRecord) -> dict[str, Any]:
    """Return `record` as plain JSON data, `from_json` reads it back."""
    return typing.cast("dict[str, Any]", plain.to_plain(record, LATER))


def from_json(data: Mapping[str, Any]) -> RunRecord:
    """Return the record that `to_json` wrote; digest and completeness are not looked at.

    Raises:
        RecordError: `data` has not the shape of a run record, or holds a number that is not finite.
    """
    return _read(RunRecord, data)


def item_to_json(item: ItemRecord) -> dict[str, Any]:
    """Return one item as plain JSON data, `item_from_json` reads it back."""
    return typing.cast("dict[str, Any]", plain.to_plain(item, LATER))


def item_from_json(data: Mapping[str, Any]) -> ItemRecord:
    """Return the item that `item_to_json` wrote; raises `RecordError` as `from_json` does."""
    return _read(ItemRecord, data)


def suite_to_json(suite: SuiteRecord) -> dict[str, Any]:
    """Return one suite as plain JSON data, `suite_from_json` reads it back."""
    return typing.cast("dict[str, Any]", plain.to_plain(suite, LATER))


def suite_from_json(data: Mapping[str, Any]) -> SuiteRecord:
    """Return the suite that `suite_to_json` wrote; raises `RecordError` as `from_json` does."""
    return _read(SuiteRecord, data)


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """Return one finding as plain JSON data, `finding_from_json` reads it back."""
    return typing.cast("dict[str, Any]", plain.to_plain(finding, LATER))


def finding_from_json(data: Mapping[str, Any]) -> Finding:
    """Return the finding that `finding_to_json` wrote; raises `RecordError` as `from_json` does."""
    return _read(Finding, data)


def hidden(record: RunRecord) -> RunRecord:
    """Return `record` without restricted texts; of one that showed some, the seal no longer fits."""
    if not record.shown:
        return record
    items = tuple(dataclasses.replace(item, shown=None) for item in record.items)
    return dataclasses.replace(record, items=items, shown=None)


def results(record: RunRecord) -> tuple[ItemRecord | Finding, ...]:
    """Return what the run found, of whichever kind it is."""
    return (*record.items, *(record.certification or ()))


@plain.uncollected()
def sealed(record: RunRecord) -> RunRecord:
    """Return `record` as it will be read back, with its digest.

    Raises:
        RecordError: it holds NaN or infinity.
    """
    try:
        rest, items = from_json(plain.as_read(to_json(dataclasses.replace(record, items=())))), []
        digest = seal_without_items(rest)
        # Item by item: of thousands of checks there is never more than one copy in the making.
        for data, text in map(_item_and_text, record.items):
            digest.add(text)
            items.append(item_from_json(data))
    except ValueError as error:
        msg = f"run {record.run_id}: {error}; expected finite numbers only; mend the measure that let one through"
        raise RecordError(msg) from error
    return dataclasses.replace(rest, items=tuple(items), digest=digest.close())


def _item_and_text(item: ItemRecord) -> tuple[dict[str, Any], str]:
    """Return an item as JSON data as it will be read back, and as canonical JSON."""
    data = item_to_json(item)
    text = canonical.canonical_json(data)
    if not canonical.encodable(text):
        data = plain.as_read(data)
        text = canonical.canonical_json(data)
    return data, text


def seal_without_items(record: RunRecord) -> LongDigest:
    """Return the digest of a record, to which the canonical JSON of its items is to be added."""
    return LongDigest(to_json(dataclasses.replace(record, items=())))


def seal(record: RunRecord) -> str:
    """Return the digest that a record should carry.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    digest = seal_without_items(record)
    for item in record.items:
        digest.add(canonical.canonical_json(item_to_json(item)))
    return digest.close()


def disorder(record: RunRecord) -> tuple[str, ...]:
    """Return everything that keeps `record` from being a whole run, in words; empty when it is whole.

    Whole means: sealed, finished, one item for each selected one, and no item that contradicts itself or its suite.
    """
    broken = [] if record.digest and record.digest == seal(record) else ["its seal is missing or broken"]
    return (*broken, *disorder_within(record))


def disorder_within(record: RunRecord) -> tuple[str, ...]:
    """Return the disorder of a record, its seal not looked at: of one whose seal was just verified in its file."""
    found = []
    if not record.completed:
        found.append(f"the run did not come to its end ({record.exit_reason or 'no reason given'})")
    for name, ids in (("planned", record.planned), ("selected", record.selected)):
        found += [f"{node_id} is {name} twice" for node_id, count in Counter(ids).items() if count > 1]
    present, selected = Counter(one.node_id for one in results(record)), set(record.selected)
    found += [f"{node_id} has {count} results" for node_id, count in present.items() if count > 1]
    found += [f"{node_id} was selected and has no result" for node_id in record.selected if node_id not in present]
    found += [f"{node_id} has a result and was not selected" for node_id in present if node_id not in selected]
    found += [f"{node_id} was selected and not planned" for node_id in sorted(selected - set(record.planned))]
    if not record.partial and selected != set(record.planned):
        found.append("the selection is narrower than the plan, and the record does not say so")
    suites = {suite.id: suite for suite in record.suites}
    for item in record.items:
        found += [f"{item.node_id}: {what}" for what in _contradictions(item, suites.get(item.suite))]
    if not record.shown and any(item.shown for item in record.items):
        found.append("it shows restricted texts and does not say so")
    if record.items and record.certification is not None:
        found.append("it is of a model and of a certification at once")
    for finding in record.certification or ():
        suite = suites.get(finding.suite)
        odd = (
            ["its suite is not in the record"]
            if suite is None
            else contradictions(finding, [c.id for c in suite.cases if c.check not in OVER_SERIES])
        )
        found += [f"{finding.node_id}: {what}" for what in odd]
    return tuple(found)


def _contradictions(item: ItemRecord, suite: SuiteRecord | None) -> Iterable[str]:
    if suite is None:
        yield f"its suite {item.suite!r} is not in the record"
    elif item.shown and item.hazard != HAZARD:
        yield "it shows the texts of a restricted suite, and its suite is not restricted"
    elif (item.severity, item.hazard, item.failure_mode) != (suite.severity, suite.hazard, suite.failure_mode):
        yield "severity, hazard or failure mode differ from its suite's"
    if item.verdict is not Verdict.PASS:
        return
    if item.bound is None or not item.measurements or item.n_measured < 1 or item.measurements[0].n < 1:
        yield "PASS, and nothing was measured"
    elif item.check != "jointly" and item.bound.judge(*[item.measurements[0].value] * 2) is not Verdict.PASS:
        yield "PASS, and its value does not keep its bound"
    elif item.rescored is not None and item.rescored.again is not Verdict.PASS:
        yield "PASS, and float32 did not say so when it was asked"


def _read(kind: type[T], data: Mapping[str, Any]) -> T:
    try:
        return typing.cast("T", plain.build(kind, data))
    except (TypeError, ValueError, KeyError, AttributeError, TellsError) as error:
        msg = f"{kind.__name__}: {error}; expected the fields of {SCHEMA}; {REWRITE}"
        raise RecordError(msg) from error
