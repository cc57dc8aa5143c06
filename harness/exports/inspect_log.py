"""A record as logs of Inspect (inspect-ai), which its viewer opens and `inspect_ai.log.read_eval_log` reads.

Version 2 of the log format, as JSON; written and read back with inspect-ai 0.3.285. A log is one suite on one model:

| Inspect | Tells |
| --- | --- |
| task, model | suite, model |
| score, its metrics | case; the judged value with `_low` and `_high`, then what was measured beside it |
| sample | a row of evidence that the record shows; the metrics rest on all rows, and there are more |
| status `error` | a check of the suite could not be measured |
| status `success` | all checks were measured, whatever they said: the verdicts are in tags and metadata |

A model answers a sample of Inspect with text. What was only scored was not said: such texts are in the metadata of the
sample with the log-probability of each token, and its output is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import canonical, plain
from harness.record import LATER
from harness.verdict import Verdict, worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.exchange import Exchange
    from harness.record import ItemRecord, ModelRecord, RunRecord, SuiteRecord
    from harness.verdict import Measurement

VERSION = 2
"""Of the log format."""
STOPS = {"stop": "stop", "length": "max_tokens"}
"""Reason why an answer ended -> Inspect's word."""
WITHHELD = "[withheld]"
ABOUT = "rows that the record shows, at most 6 of each check; metrics rest on all rows"


def logs(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Return the logs of a run by file name, one for each suite and model, as plain JSON data.

    Args:
        record: A run on models, as `readable` left it: whatever text it holds is put into the logs.
    """
    suites = {suite.id: suite for suite in record.suites}
    grouped: dict[tuple[str, str], list[ItemRecord]] = {}
    for item in record.items:
        grouped.setdefault((item.suite, item.model), []).append(item)
    made = [_log(record, suites[suite], model, items) for (suite, model), items in grouped.items()]
    return {_file_name(one["eval"]): one for one in made}


def _file_name(spec: dict[str, Any]) -> str:
    """Return the name by which the viewer finds a log in a folder: time, task, model and id, as Inspect writes it."""
    time = spec["created"].replace(":", "-")
    model = "".join(sign if (sign.isascii() and sign.isalnum()) or sign in "-." else "-" for sign in spec["model"])
    return f"{time}_{spec['task']}_{model[:60]}_{spec['task_id']}.json"


def _id(*parts: str) -> str:
    """Return an id of 22 characters, as long as Inspect's own, that is the same whenever the parts are."""
    return canonical.digest(list(parts)).partition(":")[2][:22]


def _log(record: RunRecord, suite: SuiteRecord, model: str, items: Sequence[ItemRecord]) -> dict[str, Any]:
    samples = [_sample(item, exchange) for item in items for exchange in item.exchanges]
    invalid = [item for item in items if item.verdict is Verdict.INVALID]
    said = "; ".join(f"{item.case}: {item.cause or 'no cause given'}" for item in invalid)
    # The order counts, since who reads a header stops at the samples; and an error that is null is refused there.
    return {
        "version": VERSION,
        "status": "error" if invalid else "success",
        "eval": _spec(record, suite, model, items, samples),
        "plan": {"name": "tells", "steps": [], "config": {}},
        "results": {
            "total_samples": len(samples), "completed_samples": sum("error" not in one for one in samples),
            "scores": [_score(item) for item in items], "metadata": {"samples": ABOUT},
        },
        "stats": {"started_at": record.started, "completed_at": record.finished, "model_usage": {}},
        **_error(f"could not be measured: {said}" if invalid else ""),
        "samples": samples,
    }  # fmt: skip


def _error(message: str) -> dict[str, Any]:
    """Return the entry for an error; none where there is nothing to say."""
    return {"error": {"message": message, "traceback": "", "traceback_ansi": ""}} if message else {}


def _spec(
    record: RunRecord, suite: SuiteRecord, model: str, items: Sequence[ItemRecord], samples: Sequence[dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    task_id = _id("task", suite.id, suite.digest, model)
    return {
        "eval_id": _id("eval", record.digest, suite.id, model), "run_id": record.run_id, "created": record.started,
        "task": suite.id, "task_id": task_id, "task_version": suite.digest, "task_file": suite.path,
        "task_description": suite.claim, "task_attribs": {}, "task_args": {},
        "tags": [str(worst(item.verdict for item in items)), suite.failure_mode, suite.severity],
        "dataset": {
            "name": suite.path, "samples": len(samples), "sample_ids": [one["id"] for one in samples],
            "shuffled": False,
        },
        "model": model, "model_args": _identity(record.models, model), "config": {}, "packages": dict(record.versions),
        "scorers": [
            {
                "name": item.case, "metrics": [{"name": name} for name in _metrics(item)],
                "metadata": {"check": item.check},
            }
            for item in items
        ],
        "metadata": {
            "tells_run": record.digest, "command": record.command, "profile": record.profile,
            "seeds": dict(record.seeds), "partial": record.partial,
            "verdicts": {item.case: item.verdict.value for item in items},
            "suite": {
                "failure_mode": suite.failure_mode, "severity": suite.severity, "hazard": suite.hazard,
                "source": suite.source, "controls": list(suite.controls), "limits": suite.limits,
                "certificate": plain.to_plain(suite.certificate, LATER),
            },
        },
    }  # fmt: skip


def _identity(models: Iterable[ModelRecord], name: str) -> dict[str, Any]:
    """Return what the record knows of a model; nothing where two have its name."""
    named = [plain.to_plain(one, LATER) for one in models if one.name == name]
    return named[0] if len(named) == 1 else {}


def _score(item: ItemRecord) -> dict[str, Any]:
    """Return what a case came to: of one that could not be measured no metric, whatever numbers there are."""
    return {
        "name": item.case, "scorer": item.case, "params": plain.to_plain(item.bound) or {}, "metrics": _metrics(item),
        "metadata": {
            "verdict": item.verdict.value, "cause": item.cause, "check": item.check, "claim": item.claim,
            "reference": item.reference, "n_planned": item.n_planned, "n_measured": item.n_measured,
            "measurements": [one.to_json() for one in item.measurements], "waived": item.waiver is not None,
            "screening": _screening(item), "rescored": item.rescored.told if item.rescored else None,
            "scenarios": dict(item.scenarios or {}), "node_id": item.node_id, "rerun": item.rerun,
        },
    }  # fmt: skip


def _screening(item: ItemRecord) -> dict[str, Any] | None:
    seen = item.screening
    if seen is None:
        return None
    counts = {"candidates": len(seen.candidates), "kept": len(seen.kept)}
    return {"condition": seen.condition, **counts, "share": seen.share}


def _metrics(item: ItemRecord) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if item.verdict is Verdict.INVALID:
        return found
    for place, measured in enumerate(item.measurements):
        name = measured.name if measured.name not in found else f"{measured.name}#{place}"
        for end, value in _ends(measured, judged=place == 0):
            params = {"unit": measured.unit, "n": measured.n, "of": measured.of}
            limits = {"low": measured.low, "high": measured.high, "note": measured.note}
            found[name + end] = {"name": name + end, "value": value, "params": params, "metadata": limits}
    return found


def _ends(measured: Measurement, *, judged: bool) -> Iterator[tuple[str, float]]:
    yield "", measured.value
    if judged:
        yield "_low", measured.low
        yield "_high", measured.high


def _sample(item: ItemRecord, exchange: Exchange) -> dict[str, Any]:
    identity = f"{item.case}/{exchange.id}"
    asked: list[dict[str, Any]] = [
        {"id": _id("message", item.node_id, exchange.id, str(place)), "role": turn.role, "content": turn.content,
         "source": "input"}
        for place, turn in enumerate(exchange.messages)
    ]  # fmt: skip
    choices = [
        {
            "message": {
                "id": _id("answer", item.node_id, exchange.id, str(place)), "role": "assistant",
                "content": answer.text, "source": "generate", "model": item.model,
            },
            "stop_reason": STOPS.get(answer.finish_reason, "unknown"),
        }
        for place, answer in enumerate(exchange.answers)
    ]  # fmt: skip
    completion = exchange.answers[0].text if exchange.answers else ""
    return {
        "id": identity, "epoch": 1, "uuid": _id("sample", item.node_id, exchange.id),
        "input": asked or exchange.prompt or WITHHELD,
        "target": [one.text for one in exchange.scored if one.group == "good"] or "",
        "messages": [*asked, *[choice["message"] for choice in choices[:1]]],
        "output": {"model": item.model, "choices": choices, "completion": completion},
        "scores": {item.case: _sample_score(item, exchange)},
        "metadata": _evidence(item, exchange),
        **_error(exchange.failure),
    }  # fmt: skip


def _sample_score(item: ItemRecord, exchange: Exchange) -> dict[str, Any]:
    """Return the verdict of the case beside the numbers of this row and of its scenario, where there are such."""
    numbers = {"scenario": (item.scenarios or {}).get(exchange.scenario), "margin": exchange.margin}
    known = {name: value for name, value in numbers.items() if value is not None}
    unit = item.bound.unit if item.bound else ""
    return {
        "value": {"verdict": item.verdict.value, **known},
        "explanation": f"the verdict is that of {item.case} on all its scenarios, not of this row",
        "metadata": {"scenario_unit": unit, "margin_unit": "nats"},
    }  # fmt: skip


def _evidence(item: ItemRecord, exchange: Exchange) -> dict[str, Any]:
    found = plain.to_plain(exchange, LATER)
    for name in ("messages", "answers", "failure"):
        del found[name]
    return {"case": item.case, "node_id": item.node_id, "rerun": item.rerun, **found}
