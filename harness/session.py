"""One run: opens the models, settles the scripts of the selected items, and turns transcripts into item records.

The hooks in `harness.plugin` only tell it when. State is plain data by node id; it never holds a pytest item.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import credentials, exchange, private, record, restricted, telling
from harness.broker import Broker, failure_of, speed
from harness.canonical import derive_seed
from harness.case import ROTATION, TREND
from harness.checkpoints import step_of
from harness.engines import open_spec
from harness.engines.base import EngineOptions
from harness.planner import TOKENS_PER_SECOND, Cost
from harness.provenance import model_facts, now
from harness.request import Failure
from harness.rescoring import Asked, Judged, Rescorer, judge_trend, judge_turn, tolerance_of
from harness.script import ScriptOptions, case_script
from harness.store import Store
from harness.tally import Quiet
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.case import Case, Suite
    from harness.tally import Progress
    from harness.transcript import Transcript
    from harness.verdict import CheckResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line asked for."""

    models: tuple[str, ...]
    twin: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    memory: int | None = None
    full: bool = False
    seed: int = 0
    store: Path | None = None
    """None keeps nothing between runs."""
    show_restricted: bool = False
    """Let the texts of restricted suites into the record."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def profile(self) -> str:
        """Name of the profile."""
        return "full" if self.full else "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One item of the run: a case on a model."""

    node_id: str
    suite: Suite
    case: Case
    spec: str
    series: tuple[str, ...] = ()
    """Of a case over a series: the checkpoints that it looks back on, `spec` the last of them."""

    @property
    def asked(self) -> tuple[Ticket, ...]:
        """The tickets that ask: this one, or of a case over a series what it looks at on every checkpoint."""
        case = self.suite.watched(self.case)
        if not self.series:
            return (self,) if case is self.case else ()
        before = self.node_id.removesuffix(f"{self.case.id}[{self.spec}]")
        return tuple(
            Ticket(node_id=f"{before}{case.id}[{spec}]", suite=self.suite, case=case, spec=spec) for spec in self.series
        )

    @property
    def measures(self) -> record.Measures:
        """What kind of evidence the case rests on; of a case with parts, the deepest that one part does."""
        return self.suite.watched(self.case).rests_on


class Run:
    """Answers for all items of one process."""

    def __init__(self, options: RunOptions, progress: Progress | None = None) -> None:
        """Open nothing yet."""
        self.options = options
        self.progress: Progress = progress or Quiet()
        self.started = now()
        self._brokers: dict[str, Broker] = {}
        self._unopened: dict[str, Failure] = {}
        self._store: Store | None = None
        self._transcripts: dict[str, Transcript | Failure] = {}
        self._twins: dict[str, Transcript | Failure] = {}
        engine = EngineOptions(device=options.device, memory=options.memory)
        self._rescorer = Rescorer(engine)
        self._private = private.Private(engine, keep=options.store is not None, show=options.show_restricted)

    def settle(self, tickets: Iterable[Ticket]) -> None:
        """Ask everything that `tickets` need and is not yet known. Raises nothing but an interrupt."""
        by_model: dict[tuple[str, bool], list[Ticket]] = defaultdict(list)
        for ticket in _asking(tickets):
            if ticket.node_id not in self._transcripts:
                by_model[ticket.spec, private.is_restricted(ticket.suite)].append(ticket)
        for (spec, hidden), mine in by_model.items():
            self.progress.model(spec, self.options.models)
            options = self._script_options()
            scripts = {ticket.node_id: case_script(ticket.suite, ticket.case, options) for ticket in mine}
            self._transcripts.update(self._settle(spec, scripts, hidden=hidden))
            if self.options.twin:
                self._settle_twins(mine, self.options.twin, hidden=hidden)
            if len(self.options.models) > 1 and spec in self._brokers:
                # Checkpoints must not pile up in memory; one that is asked again loads its weights again.
                self._brokers[spec].engine.close()

    def outcome(self, ticket: Ticket) -> record.ItemRecord:
        """Measure and check one settled item; whatever goes wrong makes it INVALID."""
        if not private.is_restricted(ticket.suite):
            return self._outcome(ticket)
        with restricted.hushed():
            seen = [self._transcripts.get(one.node_id) for one in ticket.asked]
            return private.closed(self._outcome(ticket), ticket.suite, [*seen, self._twins.get(ticket.node_id)])

    def _outcome(self, ticket: Ticket) -> record.ItemRecord:
        started = time.perf_counter()
        try:
            if ticket.case.check.kind == TREND:
                return self._trend(ticket, started)
            if ticket.case.check.kind == ROTATION and ticket.series:
                return self._rotation(ticket, started)
            transcript = self._transcripts.get(ticket.node_id)
            if transcript is None or isinstance(transcript, Failure):
                why = transcript or Failure("unanswered", "the item was never asked")
                return self._item(ticket, None, None, f"{why.kind}: {why.detail}", started)
            found = self._judge(ticket, transcript)
            item = self._item(ticket, found.transcript, found.result, found.result.cause, started)
            return dataclasses.replace(item, rescored=found.rescored)
        except Exception as error:  # noqa: BLE001 - fail closed: no exception may leave an item without a verdict
            return self._item(ticket, None, None, restricted.told(error, ticket.suite.hazard), started)

    def transcript(self, ticket: Ticket) -> Transcript | None:
        """Return what was asked and answered for a settled item; None where that failed."""
        return None if isinstance(found := self._transcripts.get(ticket.node_id), Failure) else found

    def cost(self, tickets: Iterable[Ticket]) -> dict[str, Cost]:
        """Return, per model, what the run would ask at most; models are not loaded.

        Raises:
            TellsError: a model's tokenizer cannot be had.
        """
        options = dataclasses.replace(self._script_options(), assume_known=True)
        costs, tickets = {}, _asking(tickets)
        for spec in self.options.models:
            mine, broker = [ticket for ticket in tickets if ticket.spec == spec], self._broker(spec)
            closed = any(private.is_restricted(ticket.suite) for ticket in mine)
            with restricted.hushed() if closed else contextlib.nullcontext():
                costs[spec] = broker.cost(case_script(ticket.suite, ticket.case, options) for ticket in mine)
        return costs

    def rate(self, spec: str) -> float:
        """Return tokens per second of this model on this machine: remembered, else a declared guess."""
        broker = self._broker(spec)
        identity = broker.identity
        known = broker.store.fact(speed(identity)) if broker.store else None
        return float(known or TOKENS_PER_SECOND)

    def unopened(self, spec: str) -> Failure | None:
        """Open a model without its weights; return why that cannot be done, None when it can."""
        try:
            if spec not in self._unopened:
                _ = self._broker(spec).identity
        except Exception as error:  # noqa: BLE001 - a model that cannot be opened is a failure of all its items
            # Without its broker, or whoever asks for facts would try to open it again.
            self._brokers.pop(spec, None)
            self._unopened[spec] = failure_of(error, "model")
        return self._unopened.get(spec)

    def digest(self, spec: str) -> str:
        """Return the digest of a model's identity; empty where it is known that it cannot be opened."""
        return "" if spec in self._unopened else self._broker(spec).identity.digest

    def facts(self) -> dict[str, Any]:
        """Return what the record needs to know of this process, as JSON data that crosses process borders."""
        models = {spec: {"error": f"{why.kind}: {why.detail}"} for spec, why in self._unopened.items()}
        models |= {spec: model_facts(broker) for spec, broker in self._brokers.items()}
        asked = [*self._brokers.values(), *self._rescorer.brokers.values(), *self._private.brokers]
        tallies = [broker.tally.to_json() for broker in asked]
        counts = {name: sum(tally[name] for tally in tallies) for name in tallies[0]} if tallies else {}
        return {"models": models, "counts": counts, "started": self.started}

    def close(self) -> None:
        """Free models and store."""
        for broker in self._brokers.values():
            broker.engine.close()
        self._rescorer.close()
        self._private.close()
        if self._store:
            self._store.close()

    def _script_options(self) -> ScriptOptions:
        return ScriptOptions(run_seed=self.options.seed, full=self.options.full)

    def _settle(self, spec: str, scripts: Mapping[str, Any], *, hidden: bool) -> dict[str, Transcript | Failure]:
        try:
            if spec not in self._unopened and hidden:
                return self._private.settle(spec, lambda: self._broker(spec), scripts)
            if spec not in self._unopened:
                return self._broker(spec).settle(scripts)
        except Exception as error:  # noqa: BLE001 - an engine that cannot be opened is a failure of all its items
            self._unopened[spec] = failure_of(error, "model")
        return dict.fromkeys(scripts, self._unopened[spec])

    def _settle_twins(self, tickets: Iterable[Ticket], spec: str, *, hidden: bool) -> None:
        """Ask the twin what the models were asked, over the same screened items."""
        scripts = {}
        for ticket in tickets:
            if (mine := self.transcript(ticket)) is not None:
                options = dataclasses.replace(self._script_options(), screening=mine.screening)
                scripts[ticket.node_id] = case_script(ticket.suite, ticket.case, options)
        self.progress.model(f"twin {spec}", ())
        self._twins.update(self._settle(spec, scripts, hidden=hidden))

    def _broker(self, spec: str) -> Broker:
        if spec not in self._brokers:
            wanted, store = self.options, self._open_store()
            options = EngineOptions(device=wanted.device, dtype=wanted.dtype, memory=wanted.memory)
            self._brokers[spec] = Broker(open_spec(spec, options), store, wanted.run_id, self.progress)
        return self._brokers[spec]

    def _open_store(self) -> Store | None:
        """Open the store once.

        Raises:
            StoreError: it cannot be opened; a run that was told to keep its answers does not go on without.
        """
        if self._store is None and self.options.store is not None:
            self._store = Store(self.options.store)
        return self._store

    def _judge(self, ticket: Ticket, transcript: Transcript) -> Judged:
        from harness.measures.base import Evidence  # noqa: PLC0415 - brings scipy, which collection does not need

        twin = self._twins.get(ticket.node_id)
        seed = derive_seed(self.options.seed, ticket.suite.id, ticket.case.id, "resampling")
        evidence = Evidence(transcript=transcript, twin=None if isinstance(twin, Failure) else twin, seed=seed)
        hidden, other = private.is_restricted(ticket.suite), self.options.twin if evidence.twin else None
        mine = self._asked_by(ticket.spec, hidden=hidden)
        rescorer = self._private.rescorer if hidden else self._rescorer
        return rescorer.judge(evidence, mine, self._asked_by(other, hidden=hidden) if other else None)

    def _asked_by(self, spec: str, *, hidden: bool) -> Asked:
        broker = self._broker(spec)
        return Asked(spec=spec, broker=self._private.broker(broker, spec) if hidden else broker)

    def _trend(self, ticket: Ticket, started: float) -> record.ItemRecord:
        """Judge a series at its last checkpoint: by what the watched case says of each."""
        from harness.trend_check import Checkpoint, run_trend  # noqa: PLC0415 - brings scipy

        nothing = Failure("unanswered", "the checkpoint was never asked")
        seed = derive_seed(self.options.seed, ticket.suite.id, ticket.suite.watched(ticket.case).id, "resampling")
        series = [
            Checkpoint(
                spec=one.spec, step=step_of(one.spec), digest=self.digest(one.spec),
                transcript=self._transcripts.get(one.node_id) or nothing,
            )
            for one in ticket.asked
        ]  # fmt: skip
        result = judge_trend(
            series, run_trend(ticket.case, series, seed), lambda moved: run_trend(ticket.case, moved, seed),
            lambda spec: tolerance_of(self._broker(spec)),
        )  # fmt: skip
        last = series[-1].transcript if series else nothing
        return self._item(ticket, None if isinstance(last, Failure) else last, result, result.cause, started)

    def _rotation(self, ticket: Ticket, started: float) -> record.ItemRecord:
        """Judge a case that asks every checkpoint of a series at the last of them."""
        from harness.checks import run_check  # noqa: PLC0415 - brings scipy
        from harness.measures.base import Evidence  # noqa: PLC0415 - as above
        from harness.trend_check import guard_series  # noqa: PLC0415 - as above

        found: list[Transcript] = []
        for one in ticket.asked:
            transcript = self._transcripts.get(one.node_id) or Failure("unanswered", "the checkpoint was never asked")
            if isinstance(transcript, Failure):
                return self._item(ticket, None, None, f"{one.spec}: {transcript.kind}: {transcript.detail}", started)
            found.append(transcript)
        guard_series([(one.spec, step_of(one.spec), self.digest(one.spec)) for one in ticket.asked])
        seed = derive_seed(self.options.seed, ticket.suite.id, ticket.case.id, "resampling")
        result = run_check(Evidence(transcript=found[-1], seed=seed, series=tuple(found)))
        tolerances = [tolerance_of(self._broker(spec)) for spec in ticket.series]
        result = judge_turn(found, result, tolerances)
        return self._item(ticket, found[-1], result, result.cause, started)

    def _item(
        self, ticket: Ticket, transcript: Transcript | None, result: CheckResult | None, cause: str, started: float
    ) -> record.ItemRecord:
        suite, case = ticket.suite, ticket.case
        rows = telling.rows_of(transcript)
        told = telling.telling(transcript, result)
        return record.ItemRecord(
            node_id=ticket.node_id,
            suite=suite.id,
            case=case.id,
            model=self._name(ticket.spec),
            failure_mode=suite.failure_mode,
            severity=suite.severity,
            hazard=suite.hazard,
            measures=ticket.measures,
            claim=case.claim or suite.claim,
            file=suite.path,
            line=case.line,
            verdict=result.verdict if result else Verdict.INVALID,
            cause=credentials.without(cause),
            check=case.check.kind,
            measurements=result.measurements if result else (),
            scenarios=result.per_scenario if result else None,
            bound=result.bound if result else None,
            reference=result.reference if result else "",
            n_planned=len(transcript.planned) if transcript else len(suite.items),
            n_measured=len({row.scenario for row in rows if not isinstance(row.response, Failure)}),
            screening=telling.screening_of(transcript),
            evidence=tuple(row.id for row in rows),
            exchanges=tuple(exchange.exchange_from_row(row, self._token_text(ticket.spec)) for row in told),
            shown=(private.is_restricted(suite) and self.options.show_restricted) or None,
            rerun=self.rerun(ticket),
            seconds=round(time.perf_counter() - started, 3),
        )

    def rerun(self, ticket: Ticket) -> str:
        """Return the one command that runs this item again."""
        wanted, words = self.options, ["pytest", ticket.node_id]
        for spec in ticket.series or (ticket.spec,):
            words += ["--model", spec]
        defaults = RunOptions(models=())
        for flag, value, default in (
            ("--twin", wanted.twin, None),
            ("--tells-device", wanted.device, defaults.device),
            ("--tells-dtype", wanted.dtype, defaults.dtype),
            ("--tells-seed", wanted.seed, defaults.seed),
            ("--tells-profile", wanted.profile, defaults.profile),
        ):
            if value != default:
                words += [flag, str(value)]
        return shlex.join(words)

    def _name(self, spec: str) -> str:
        try:
            return self._brokers[spec].identity.name
        except Exception:  # noqa: BLE001 - a model that could not be opened still has the name it was asked by
            return spec

    def _token_text(self, spec: str) -> Any:
        return getattr(self._brokers[spec].engine, "token_text", None) if spec in self._brokers else None


def _asking(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Return the tickets that ask something, each once: what a trend watches may be an item of its own too."""
    return list({one.node_id: one for ticket in tickets for one in ticket.asked}.values())
