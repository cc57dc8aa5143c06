"""Read logs with inspect-ai itself and print what it understood, as JSON. Run by an interpreter that has it."""

from __future__ import annotations

import json
import sys

from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries


def understood(path: str) -> dict[str, object]:
    """Return what a log says, read whole, by its header, and by its summaries."""
    log, head = read_eval_log(path), read_eval_log(path, header_only=True)
    return {
        "log": log.model_dump(mode="json", exclude={"location", "etag"}),
        "header": [head.status, head.error.message if head.error else None, head.results == log.results],
        "summaries": [[one.id, one.completed] for one in read_eval_log_sample_summaries(path)],
    }


folder = sys.argv[1]
listed = list_eval_logs(folder)
sys.stdout.write(json.dumps({
    "listed": sorted([info.task, info.name.rpartition("/")[2]] for info in listed),
    "logs": {info.name.rpartition("/")[2]: understood(info.name) for info in listed},
}))  # fmt: skip
