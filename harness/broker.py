"""The only place where planner, store and engine meet.

The broker settles all scripts of a run in rounds: union of what they ask, dedupe, look up the store, plan batches, ask
the engine, store each batch as it comes, hand the answers back. Whatever goes wrong becomes a `Failure` for the
requests concerned; nothing but an interrupt leaves `settle` as an exception. A batch that raises is halved until the
culprit is alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from harness import credentials, planner
from harness.engines import open_spec
from harness.engines.base import EngineOptions
from harness.errors import ModelError, NumericError, StoreError, TellsError
from harness.inner import INNER, misfit
from harness.request import Completions, Failure, Generate, Loglikelihood, Scores
from harness.store import key_of
from harness.tally import Progress, Quiet, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.engines.base import Encoded, Engine, Identity, Streaming, Work
    from harness.planner import Batch
    from harness.request import Answer, Completion, Request, Response, ScoredContinuation
    from harness.script import Script
    from harness.store import Store
    from harness.transcript import Transcript

PERIOD = 1.0
"""Seconds after which answers that came are written to the store: what a crash can cost."""
DETAIL = 2000
"""Characters of an exception's text that a failure keeps."""


def failure_of(error: BaseException, kind: str) -> Failure:
    """Turn an exception into the failure of a request; `kind` where the error has none of its own."""
    own = isinstance(error, TellsError)
    text = str(error) if own else f"{type(error).__name__}: {error}"
    return Failure(error.kind if isinstance(error, TellsError) else kind, credentials.without(text)[:DETAIL])


@dataclass(slots=True)
class Broker:
    """Answers the requests of one model."""

    engine: Engine
    store: Store | None = None
    run: str = ""
    """Run id: failures are shared under it, and retried by the next run."""
    progress: Progress = field(default_factory=Quiet)
    tally: Tally = field(default_factory=Tally)
    _answers: dict[str, Response] = field(default_factory=dict)
    """Everything answered in this process, by store key."""
    _encoded: dict[Request, Encoded | Failure] = field(default_factory=dict)
    _passed: Work | None = None
    _since: float = 0.0
    _fatal: Failure | None = None
    """What makes further asking pointless: a model that cannot be loaded, a store that takes no more."""
    _identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """Identity of the model, read once: what a record names is what the answers were kept under."""
        if self._identity is None:
            self._identity = self.engine.identity
        return self._identity

    def settle(self, scripts: Mapping[str, Script]) -> dict[str, Transcript | Failure]:
        """Advance `scripts` together until each has returned its transcript, or failed."""
        done: dict[str, Transcript | Failure] = {}
        waiting: dict[str, Sequence[Request]] = {}
        for name, script in scripts.items():
            self._advance(name, script, None, waiting, done)
        while waiting:
            asked = [request for requests in waiting.values() for request in requests]
            answers = dict(zip(asked, self.answer(asked), strict=True))
            current, waiting = waiting, {}
            for name, requests in current.items():
                self._advance(name, scripts[name], [answers[request] for request in requests], waiting, done)
        return done

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Answer `requests` in order; what cannot be answered comes back as a `Failure`."""
        self.tally.requests += len(requests)
        try:
            identity = self.identity
        except Exception as error:  # noqa: BLE001 - whatever it is, no request can be answered
            return [failure_of(error, "model")] * len(requests)
        encoded = {request: self._encode(request) for request in dict.fromkeys(requests)}
        keys = {request: key_of(identity, item) for request, item in encoded.items() if not isinstance(item, Failure)}
        fresh = {keys[request]: encoded[request] for request in keys if keys[request] not in self._answers}
        self.tally.unique += len(fresh)
        self._settle_fresh({key: item for key, item in fresh.items() if not isinstance(item, Failure)}, identity)
        responses: dict[Request, Response] = {}
        for request, item in encoded.items():
            responses[request] = item if isinstance(item, Failure) else self._answers[keys[request]]
        return [responses[request] for request in requests]

    def beside(self, engine: Engine) -> Broker:
        """Return a broker of the same kind that asks `engine`, store and run shared."""
        return Broker(engine, self.store, self.run, self.progress)

    def cost(self, scripts: Iterable[Script]) -> planner.Cost:
        """Return what `scripts` would ask at most, encoded but never sent; stored answers are not asked again."""
        from harness.script import drive  # noqa: PLC0415 - only planning needs it

        asked = [request for script in scripts for requests in drive(script) for request in requests]
        identity = self.identity
        unique: dict[str, Encoded] = {}
        for request in dict.fromkeys(asked):
            item = self._encode(request)
            if not isinstance(item, Failure):
                unique[key_of(identity, item)] = item
        known = self.store.get(unique, self.run) if self.store else {}
        return planner.cost(len(asked), (item for key, item in unique.items() if key not in known))

    def _advance(
        self,
        name: str,
        script: Script,
        answers: list[Response] | None,
        waiting: dict[str, Sequence[Request]],
        done: dict[str, Transcript | Failure],
    ) -> None:
        try:
            waiting[name] = _requests(next(script) if answers is None else script.send(answers))
        except StopIteration as stop:
            done[name] = stop.value
        except Exception as error:  # noqa: BLE001 - one script's failure must not stop the others
            done[name] = failure_of(error, "script")

    def _encode(self, request: Request) -> Encoded | Failure:
        if request not in self._encoded:
            try:
                encoded = self.engine.encode(request)
                planner.plan([encoded], 1)  # what cannot be planned is refused here, alone, not later with all others
                self._encoded[request] = encoded
            except Exception as error:  # noqa: BLE001 - an unknown failure to encode is a failure of this request
                self._encoded[request] = failure_of(error, "tokenisation")
        return self._encoded[request]

    def _settle_fresh(self, fresh: Mapping[str, Encoded], identity: Identity) -> None:
        try:
            pending = self._look_up(fresh)
            if not pending:
                return
            with self.store.owner() if self.store else contextlib.nullcontext():
                # Another process may have answered while this one waited for the right to ask.
                self._ask(self._look_up(pending), identity)
        except Exception as error:  # noqa: BLE001 - store, planner, progress: what is not answered by now never will be
            self._answers.update({key: failure_of(error, "forward") for key in fresh if key not in self._answers})

    def _look_up(self, wanted: Mapping[str, Encoded]) -> dict[str, Encoded]:
        """Take from the store what it has; return the rest.

        Raises:
            StoreError: the store cannot be read.
        """
        if not self.store or not wanted:
            return dict(wanted)
        found = self.store.get(wanted, self.run)
        self._answers.update(found)
        self.tally.from_store += len(found)
        self.progress.stored(len(found))
        return {key: item for key, item in wanted.items() if key not in found}

    def _ask(self, pending: Mapping[str, Encoded], identity: Identity) -> None:
        if not pending:
            return
        keys = {item.fingerprint: key for key, item in pending.items()}
        self.progress.start(len(pending), sum(planner.tokens(item) for item in pending.values()))
        self._passed = self._work()
        self._since = time.perf_counter()
        try:
            # In one order whoever asked first: what shares a batch or a prefix tree must not depend on that.
            items = sorted(pending.values(), key=lambda item: item.fingerprint)
            engine = self._streaming()
            if engine:
                self._stream(engine, items, keys, identity)
            else:
                for batch in planner.plan(items, self.engine.batch_tokens):
                    self._take(self._run(batch), batch.items, keys, identity)
        finally:
            self.progress.stop()
        self._remember(identity)

    def _stream(self, engine: Streaming, items: Sequence[Encoded], keys: Mapping[str, str], identity: Identity) -> None:
        """Have a whole round answered; what raises is asked again in halves, until the culprit is alone."""
        missing, fault = (list(items), self._fatal) if self._fatal else self._listen(engine, items, keys, identity)
        if self._fatal or len(items) == 1:
            fault = self._fatal or fault
            if missing:
                self._take({item.fingerprint: fault for item in missing}, missing, keys, identity)
            return
        half = len(missing) // 2
        for part in (missing[:half], missing[half:]):
            if part:
                self._stream(engine, part, keys, identity)

    def _listen(
        self, engine: Streaming, items: Sequence[Encoded], keys: Mapping[str, str], identity: Identity
    ) -> tuple[list[Encoded], Failure]:
        """Keep answers as they come; return the requests that are left, and what went wrong."""
        left = dict(enumerate(items))
        ready: dict[int, Response] = {}
        # Not the exception itself: its traceback would hold what the failed call took while the next one is made.
        fault = Failure("forward", "the engine ended its stream without an answer to this request")
        try:
            for number, answer in engine.stream(items):
                ready[number] = _sound(left.pop(number), answer)
                if time.perf_counter() - self._since >= PERIOD:
                    self._take_some(ready, items, keys, identity)
                    ready = {}
                if self._fatal:
                    break
        except ModelError as error:
            # A model that cannot be loaded cannot be loaded for the next round either.
            self._fatal = failure_of(error, "model")
        except Exception as error:  # noqa: BLE001 - out of memory, a numeric error, a bug: alone it is a failure
            fault = failure_of(error, "forward")
        finally:  # after an interrupt too
            self._take_some(ready, items, keys, identity)
        return list(left.values()), fault

    def _take_some(
        self, ready: Mapping[int, Response], items: Sequence[Encoded], keys: Mapping[str, str], identity: Identity
    ) -> None:
        """Keep the answers of a round that came since the last time, by number of the request."""
        if ready:
            some = [items[number] for number in sorted(ready)]
            self._take({items[i].fingerprint: answer for i, answer in ready.items()}, some, keys, identity)

    def _run(self, batch: Batch) -> dict[str, Response]:
        """Answer one batch, by fingerprint; halve it when it raises."""
        if self._fatal:
            return {item.fingerprint: self._fatal for item in batch.items}
        try:
            answers = self.engine.run(batch.items)
            return {item.fingerprint: _sound(item, answer) for item, answer in zip(batch.items, answers, strict=True)}
        except ModelError as error:
            # A model that cannot be loaded cannot be loaded for the next batch either.
            self._fatal = failure_of(error, "model")
            return {item.fingerprint: self._fatal for item in batch.items}
        except Exception as error:  # noqa: BLE001 - out of memory, a numeric error, a bug: alone it is a failure
            if len(batch.items) == 1:
                return {batch.items[0].fingerprint: failure_of(error, "forward")}
            first, second = batch.halves()
            return {**self._run(first), **self._run(second)}

    def _take(
        self, answers: Mapping[str, Response], items: Sequence[Encoded], keys: Mapping[str, str], identity: Identity
    ) -> None:
        """Keep and count what was answered since the last time."""
        now, passed = time.perf_counter(), self._work()
        self.tally.seconds += now - self._since
        self._since = now
        self._keep({keys[item.fingerprint]: answers[item.fingerprint] for item in items}, identity)
        tokens = sum(planner.tokens(item) for item in items)
        self.tally.asked += len(items)
        spent = tokens if passed is None or self._passed is None else passed.passed - self._passed.passed
        self.tally.tokens += spent
        if passed is not None and self._passed is not None:
            self.tally.minimum += passed.minimum - self._passed.minimum
        self._passed = passed
        self.tally.failures += sum(isinstance(answers[item.fingerprint], Failure) for item in items)
        self.progress.advance(len(items), tokens, spent)

    def _work(self) -> Work | None:
        engine = self._streaming()
        return engine.work if engine else None

    def _streaming(self) -> Streaming | None:
        """Return the engine if it plans a round itself; asking for more than one name would open it."""
        return cast("Streaming", self.engine) if hasattr(self.engine, "stream") else None

    def _keep(self, answers: dict[str, Response], identity: Identity) -> None:
        if self.store:
            try:
                self.store.put(answers, identity=identity, run=self.run)
            except StoreError as error:
                # An answer that could not be kept cannot be checked later: the case is not measured.
                lost = self._fatal = failure_of(error, "store")
                answers = {key: answer if isinstance(answer, Failure) else lost for key, answer in answers.items()}
        self._answers.update(answers)

    def _remember(self, identity: Identity) -> None:
        """Keep the speed, for plans, and what the engine said of itself, for runs that find all answers stored."""
        if not self.store:
            return
        enough = 2000  # tokens; fewer say more about start-up than about speed
        with contextlib.suppress(StoreError):
            self.store.remember(about(identity), {"notes": [*self.engine.notes], "tolerance": self.engine.tolerance})
            # A batch that fails fails fast, and would pass for speed.
            if not self.tally.failures and self.tally.seconds > 0 and self.tally.tokens >= enough:
                self.store.remember(speed(identity), self.tally.tokens / self.tally.seconds)


def speed(identity: Identity) -> str:
    """Return the name under which the store remembers tokens per second of a model on this machine."""
    return f"rate/{identity.digest}/{identity.numerics}"


def about(identity: Identity) -> str:
    """Return the name under which the store remembers notes and tolerance of the engine that answered."""
    return f"engine/{identity.digest}/{identity.numerics}"


def _requests(asked: Sequence[Request]) -> Sequence[Request]:
    if not all(isinstance(request, (Generate, Loglikelihood, *INNER)) for request in asked):
        msg = "the script yielded something that is no request"
        raise TypeError(msg)
    return asked


def _sound(item: Encoded, answer: Response) -> Response:
    """Return `answer` if it fits what was asked, else a failure of this request alone.

    NaN, infinity and a missing number never get past here, whatever the engine; nor into the store.
    """
    if isinstance(answer, Failure):
        return answer
    try:
        return _misfit(item, answer) or answer
    except (TypeError, AttributeError) as error:
        return failure_of(error, "forward")


def _misfit(item: Encoded, answer: Answer) -> Failure | None:
    request = item.request
    if isinstance(request, INNER):
        why = misfit(request, answer, item.prompt_ids, item.continuation_ids)
        return Failure("forward", why) if why else None
    parts: Sequence[ScoredContinuation | Completion]
    if isinstance(request, Loglikelihood) and isinstance(answer, Scores):
        parts, fits = (
            answer.continuations,
            [part.token_ids for part in answer.continuations] == [*item.continuation_ids],
        )
    elif isinstance(request, Generate) and isinstance(answer, Completions):
        parts, fits = answer.completions, len(answer.completions) == request.n
    else:
        return Failure("forward", f"the engine answered a {type(request).__name__} by a {type(answer).__name__}")
    if not fits or any(len(part.token_ids) != len(part.token_logprobs) for part in parts):
        return Failure("forward", "the engine's answer is not what was asked, part by part and token by token")
    if not all(math.isfinite(number) for part in parts for number in part.token_logprobs):
        return Failure(NumericError.kind, "the engine answered with a log-probability that is NaN or infinite")
    return None


class OpenEngine:
    """An engine with `answer`: the same planning, halving and failures as in a pytest run, without a store."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine."""
        self.engine = engine
        self._broker = Broker(engine)

    @property
    def identity(self) -> Identity:
        """Identity of the model."""
        return self.engine.identity

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Answer `requests` in order.

        Returns:
            `Scores` for each `Loglikelihood`, `Completions` for each `Generate`, what `inner` says for a request that
            looks inside, and a `Failure` for each request that could not be answered.
        """
        return self._broker.answer(requests)

    def close(self) -> None:
        """Free the model."""
        self.engine.close()


def open_engine(spec: str, *, device: str = "auto", dtype: str = "float32", memory: int | None = None) -> OpenEngine:
    """Open the model that `spec` names; weights are loaded with the first request.

    Args:
        spec: a folder, a hub id in the local cache, `smollm2`, `organism:NAME...`, or `scripted:FILE`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...; see `EngineOptions`.
        dtype: `float32`, `bfloat16` or `float16`.
        memory: bytes that one batch may take; None for a share of what is free.

    Raises:
        SpecError: `spec` names no model.
        ModelError: the model is not there or must not be used.
    """
    return OpenEngine(open_spec(spec, EngineOptions(device=device, dtype=dtype, memory=memory)))
