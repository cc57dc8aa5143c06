"""What a run on a model is held against, read before anything is asked: a policy, and an earlier run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import CaseFileError, TellsError, UsageError
from harness.escape import line
from harness.reporting import STALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.policy.policy import Policy


def policy(config: pytest.Config, models: Sequence[str]) -> Policy | None:
    """Return what `--policy` says that a release requires, with the waivers that it names.

    Raises:
        pytest.UsageError: it cannot be read, all its problems at once; or no model is named.
    """
    file = config.getoption("tells_policy")
    if not file:
        return None
    _of_a_model("--policy", models)
    from harness.policy.reader import load_policy  # noqa: PLC0415 - only runs under a policy need it

    try:
        return load_policy(Path(file), config.rootpath)
    except UsageError as error:
        problems = error.problems if isinstance(error, CaseFileError) else (error,)
        msg = "\n".join(["--policy: it cannot be used", *(line(str(problem)) for problem in problems)])
        raise pytest.UsageError(msg) from error


def baseline(config: pytest.Config, models: Sequence[str]) -> Path | None:
    """Return the file that `--baseline` names, if a run can be compared with it.

    Raises:
        pytest.UsageError: it is torn, PARTIAL or the like, this run would overwrite it, or no model is named.
    """
    file, report = config.getoption("tells_baseline"), config.getoption("tells_report")
    if not file:
        return None
    _of_a_model("--baseline", models)
    path = Path(file)
    if report and path.resolve() in {(Path(report) / name).resolve() for name in STALE}:
        msg = f"--baseline {line(file)}: this run would overwrite it; expected a file outside of --report; copy it"
        raise pytest.UsageError(msg)
    from harness.baseline import opened  # noqa: PLC0415 - only runs with a baseline need it

    try:
        opened(path)
    except TellsError as error:
        msg = f"--baseline: {line(str(error))}"
        raise pytest.UsageError(msg) from error
    return path


def _of_a_model(option: str, models: Sequence[str]) -> None:
    if not models:
        msg = f"{option} without --model: it is held against a run on a model; name one with --model SPEC"
        raise pytest.UsageError(msg)
