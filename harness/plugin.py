"""pytest hooks, nothing else: `pytest evals --model SPEC --report DIR`; without --model the suites are certified.

Importing this module loads neither torch, transformers, scipy, statsmodels nor matplotlib; a test says so.

The flush, in which all requests of all selected items are answered, runs around the loop and not in an item: so the
time of items is honest, a per-item timeout cannot hit it, and under xdist nobody is blamed for an owner that dies.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import console, credentials, guard, release, restricted
from harness.case import FAILURE_MODES, SEVERITIES
from harness.certification import Certification
from harness.certify.expect import Scope
from harness.checkpoints import expanded
from harness.engines import open_spec
from harness.engines.base import EngineOptions
from harness.errors import SpecError
from harness.escape import line
from harness.items import (
    CERTIFICATION,
    NO_MODEL,
    OPTIONS,
    RUN,
    SCOPE,
    SUITES,
    CertifyItem,
    EvalFile,
    EvalItem,
    is_eval_file,
)
from harness.leaving import nobody_leaves
from harness.organisms.recipe import BASES
from harness.organisms.spec import FORM
from harness.organisms.spec import names as organism_names
from harness.progress import Bar
from harness.reporting import Mark, Reporting, clear
from harness.session import Run, RunOptions
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Generator

MARKS = {
    **dict.fromkeys(FAILURE_MODES, "failure mode of an eval"),
    **dict.fromkeys(SEVERITIES, "severity of an eval"),
    **{kind: f"an eval that rests on {kind}" for kind in ("behaviour", "logits", "activations")},
    "certification": "a suite on a model with a known planted failure, or without it",
}
NAME_A_MODEL = (
    "evals were collected and no model was named; name one with --model SPEC: "
    f"a folder, a hub id in the local cache, smollm2, {FORM}, or scripted:FILE; "
    "without a model suites are certified on the organisms that they name in `catches`, and none of these names one "
    "on the base asked"
)
REPORTING = pytest.StashKey[Reporting]()
BAR = pytest.StashKey[Bar]()
LETTERS = {
    Verdict.PASS: ".",
    Verdict.FAIL: "F",
    Verdict.INCONCLUSIVE: "I",
    Verdict.INVALID: "E",
    Verdict.WAIVED: "w",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; long words carry a prefix because other plugins own the short ones."""
    group = parser.getgroup("tells", "tests of language models (*.eval.yaml)")
    add = group.addoption
    add("--model", action="append", default=[], metavar="SPEC", dest="tells_models",
        help="model under test: a folder, a hub id in the local cache, smollm2, organism:NAME (see `tells organisms`), "
        "scripted:FILE; repeatable; a folder of checkpoint-N or step-N folders stands for all of them")  # fmt: skip
    add("--twin", metavar="SPEC", dest="tells_twin", help="clean reference model, for twin-corrected diagnostics")
    add("--baseline", metavar="RUN.json", dest="tells_baseline", help="earlier run: exit 1 where one got worse")
    add("--policy", metavar="FILE", dest="tells_policy", help="what a release requires; the exit code follows it")
    add("--report", metavar="DIR", dest="tells_report", help="folder for release.md, run.json, plan.json, report.html, "
        "report.md, junit.xml, results.sarif, test-result.intoto.json")  # fmt: skip
    add("--store", metavar="FILE", dest="tells_store",
        help="answers kept between runs (default .tells/store.sqlite; 'none' keeps nothing)")  # fmt: skip
    add("--show-restricted", action="store_true", dest="tells_show_restricted",
        help="put texts of restricted suites into terminal and reports, which say so")  # fmt: skip
    add("--plan", action="store_true", dest="tells_plan",
        help="show what would be asked (requests, tokens, time) and stop; loads no model")  # fmt: skip
    add("--tells-engine", metavar="NAME", dest="tells_engine", default="auto",
        help="engine to use: auto, transformers or scripted")  # fmt: skip
    add("--tells-device", metavar="DEVICE", dest="tells_device", default="auto",
        help="auto, cpu, cuda, cuda:1, ...; cuda:0,cuda:1 or cuda:all: a copy of the model on each of these; "
        "cuda:split: one copy over all GPUs, for a model too large for one (needs accelerate)")  # fmt: skip
    add("--tells-dtype", metavar="DTYPE", dest="tells_dtype", default="float32",
        help="float32 (default, for gates), bfloat16 or float16")  # fmt: skip
    add("--tells-memory", metavar="MIB", dest="tells_memory", type=int, help="MiB that one batch may take")
    add("--tells-profile", dest="tells_profile", choices=("default", "full"), default="default",
        help="default: a balanced design; full: every item with every cue form and phrasing")  # fmt: skip
    add("--tells-seed", metavar="N", dest="tells_seed", type=int, default=0, help="seed of the run (default 0)")
    add("--tells-certify", dest="tells_certify", choices=("default", "full"), default="default",
        help="without --model: the first seed of the tiny base; full: every seed and base, and every suite on every "
        "organism")  # fmt: skip
    add("--tells-organism", action="append", default=[], metavar="NAME", dest="tells_organisms",
        help="without --model: only this organism; repeatable")  # fmt: skip
    add("--tells-base", dest="tells_base", choices=BASES, help="without --model: organisms on this base")
    add("--tells-seeds", metavar="K", dest="tells_seeds", type=int, help="without --model: the first K seeds")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take away an older report before a conftest, a plugin or an option can end this run without one of its own."""
    known = early_config.known_args_namespace
    asks = any(getattr(known, name, False) for name in ("collectonly", "tells_plan", "help", "version"))
    if getattr(known, "tells_report", None) and not asks and "PYTEST_XDIST_WORKER" not in os.environ:
        # One that lies there is refused later, and must not be gone by then.
        keep = Path(known.tells_baseline) if getattr(known, "tells_baseline", None) else None
        with contextlib.suppress(OSError):  # said when the session starts
            clear(Path(known.tells_report), keep)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options, register the marks; before pytest's own JUnit plugin looks for its path."""
    restricted.forget()
    for name, what in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {what}")
    options = config.stash[OPTIONS] = _options(config)
    config.stash[SCOPE] = _scope(config, options)
    config.stash[SUITES] = {}
    report = config.getoption("tells_report")
    folder = Path(report) if report and not hasattr(config, "workerinput") else None
    # Without pytest's JUnit plugin there is no such option, and no file.
    if (
        folder
        and getattr(config.option, "xmlpath", folder) is None
        and not config.option.collectonly
        and not config.getoption("tells_plan")
    ):
        config.option.xmlpath = str(folder / "junit.xml")
    reporting = config.stash[REPORTING] = Reporting(config, options, folder)
    if not hasattr(config, "workerinput"):
        reporting.policy = release.policy(config, options.models)
        reporting.baseline = release.baseline(config, options.models)
    for name, own in (("tells-guard", guard), ("tells-reporting", reporting)):
        if config.pluginmanager.register(own, name) is None:
            msg = f"-p no:{name}: without it nothing records, judges and guards a run; leave the option out"
            raise pytest.UsageError(msg)


def _options(config: pytest.Config) -> RunOptions:
    worker = getattr(config, "workerinput", {})
    store = config.getoption("tells_store")
    memory = config.getoption("tells_memory")
    try:
        chosen = expanded(config.getoption("tells_models"))
    except SpecError as error:
        raise pytest.UsageError(credentials.without(str(error))) from error
    given: dict[str, Any] = {"run_id": worker["tells_run"]} if "tells_run" in worker else {}
    return RunOptions(
        models=tuple(_spec(config, spec) for spec in chosen),
        twin=_spec(config, twin) if (twin := config.getoption("tells_twin")) else None,
        device=config.getoption("tells_device"),
        dtype=config.getoption("tells_dtype"),
        memory=memory * 2**20 if memory else None,
        full=config.getoption("tells_profile") == "full",
        seed=config.getoption("tells_seed"),
        show_restricted=config.getoption("tells_show_restricted"),
        store=None if store == "none" else Path(store or config.rootpath / ".tells" / "store.sqlite").absolute(),
        **given,
    )


def _scope(config: pytest.Config, options: RunOptions) -> Scope | None:
    """Return what is certified; None where a model was named."""
    chosen, base, seeds = (config.getoption(f"tells_{name}") for name in ("organisms", "base", "seeds"))
    full = config.getoption("tells_certify") == "full"
    if options.models:
        if chosen or base or seeds is not None or full:
            _usage(
                "--tells-certify, --tells-organism, --tells-base, --tells-seeds: for runs without --model; leave out"
            )
        return None
    if options.twin:
        _usage("--twin without --model: a suite is certified on what a release run has; name a model, or leave it out")
    if config.getoption("tells_plan"):
        _usage("--plan without --model: there is no plan of a certification yet; name a model with --model SPEC")
    if full and (base or seeds is not None):
        _usage("--tells-certify full is every base and seed; leave out --tells-base and --tells-seeds")
    if seeds is not None and seeds < 1:
        _usage(f"--tells-seeds {seeds}: expected one at least")
    if unknown := [name for name in chosen if name not in organism_names()]:
        _usage(f"--tells-organism {line(unknown[0])}: there is none; there are: {', '.join(organism_names())}")
    if full:
        return Scope.everything()
    return Scope(bases=(base,) if base else Scope().bases, seeds=Scope().seeds if seeds is None else seeds)


def _usage(message: str) -> None:
    raise pytest.UsageError(message)


def _spec(config: pytest.Config, spec: str) -> str:
    if line(spec) != spec:
        msg = f"--model {line(spec)}: the SPEC holds characters that cannot be seen; rename the folder or file"
        raise pytest.UsageError(msg)
    engine = config.getoption("tells_engine")
    scripted = spec.startswith("scripted:")
    if engine not in {"auto", "transformers", "scripted"} or (engine != "auto" and scripted != (engine == "scripted")):
        msg = f"--tells-engine {engine}: cannot open --model {spec}; expected auto, or the engine that fits the SPEC"
        raise pytest.UsageError(msg)
    if not hasattr(config, "workerinput"):
        try:
            open_spec(spec, EngineOptions(dtype=config.getoption("tells_dtype")))
        except SpecError as error:
            raise pytest.UsageError(credentials.without(str(error))) from error
        except Exception:  # noqa: BLE001, S110 - a model that is known and cannot be opened is told item by item
            pass
    return spec


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(ids: list[str]) -> None:
    """Say in the controller what a worker cannot say: that no model was named."""
    if any(name.endswith(f"[{NO_MODEL}]") for name in ids):
        raise pytest.UsageError(NAME_A_MODEL)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every xdist worker the run id, so that they share failures and the one store, and where the plan goes."""
    node.workerinput["tells_run"] = node.config.stash[OPTIONS].run_id
    node.workerinput["tells_plan"] = node.config.stash[REPORTING].planning


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> EvalFile | None:
    """Collect `*.eval.yaml`."""
    return EvalFile.from_parent(parent, path=file_path) if is_eval_file(file_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note everything that was collected, before anything is deselected."""
    suites = list(config.stash[SUITES].values())
    if not suites:
        return
    asked = config.stash[OPTIONS].models or any(isinstance(item, CertifyItem) for item in items)
    if asked:
        # Suites that no organism certifies are told of at the end; their cases have no model here.
        items[:] = [item for item in items if not (isinstance(item, EvalItem) and item.ticket.spec == NO_MODEL)]
    elif not config.option.collectonly and not hasattr(config, "workerinput"):
        chosen = config.getoption("tells_organisms")
        raise pytest.UsageError(f"--tells-organism {chosen[0]}: no suite here names it" if chosen else NAME_A_MODEL)
    config.stash[REPORTING].plan(suites)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what is left to run."""
    session.config.stash[REPORTING].select([item for item in session.items if isinstance(item, EvalItem | CertifyItem)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Under --plan show the plan and run nothing; else answer all requests before the first item runs."""
    config = session.config
    items = [item for item in session.items if isinstance(item, EvalItem)]
    certified = [item for item in session.items if isinstance(item, CertifyItem)]
    broken = session.testsfailed and not config.option.continue_on_collection_errors
    if config.option.collectonly or broken or NO_MODEL in {item.ticket.spec for item in items}:
        return None
    if not config.getoption("tells_plan"):
        config.stash[REPORTING].write_plan()
    if certified:
        _certify(config, certified)
    if not items:
        return None
    with _uncaptured(config):
        run = config.stash[RUN] = Run(config.stash[OPTIONS], _bar(config))
        config.stash[REPORTING].run = run
        if config.getoption("tells_plan"):
            config.stash[REPORTING].show_plan(run, [item.ticket for item in items])
            return True
        if not config.getoption("maxfail"):
            run.settle([item.ticket for item in items])
    return None


def _certify(config: pytest.Config, items: list[CertifyItem]) -> None:
    scope = config.stash[SCOPE]
    if scope is None:  # no such item is collected then
        return
    run = config.stash[CERTIFICATION] = Certification(config.stash[OPTIONS], scope, _bar(config))
    config.stash[REPORTING].run = run
    if not config.getoption("maxfail"):
        with _uncaptured(config):
            run.settle([item.ticket for item in items])


@contextlib.contextmanager
def _uncaptured(config: pytest.Config) -> Generator[None]:
    """Show the progress, on a terminal or in a log, and nowhere else: what items print is captured."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        with _bar(config).shown(column=console.column_in_pytest(config)):
            yield
        sys.stderr.flush()


def _bar(config: pytest.Config) -> Bar:
    """Return the progress of this process."""
    return config.stash.setdefault(BAR, Bar(quiet=console.quiet_in_pytest(config)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With -x or --maxfail settle a whole suite at its first item: batched, and a failure stops the spending."""
    if isinstance(item, CertifyItem) and item.config.getoption("maxfail"):
        with _uncaptured(item.config):
            item.config.stash[CERTIFICATION].settle([item.ticket])
    if isinstance(item, EvalItem) and item.config.getoption("maxfail"):
        with _uncaptured(item.config):
            mates = [mate for mate in item.session.items if isinstance(mate, EvalItem) and mate.suite is item.suite]
            item.config.stash[RUN].settle([mate.ticket for mate in mates])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the page and the record of an eval on its report; plain data, so that it crosses to the controller."""
    report = yield
    if isinstance(item, EvalItem):
        item.config.stash[REPORTING].decorate(item, report)
    elif isinstance(item, CertifyItem):
        item.config.stash[REPORTING].decorate_finding(item, report)
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Show letter and word of the verdict; the category stays pytest's own, or sections of its output would vanish."""
    record = getattr(report, "tells_record", None)
    finding = getattr(report, "tells_finding", None)
    if finding is not None and report.when != "teardown":
        return _finding_status(report, finding)
    if record is None or report.when == "teardown":
        return None
    verdict = Verdict(record["verdict"])
    if report.failed:
        category = "error" if report.when == "setup" else "failed"
        return category, LETTERS[verdict], verdict.value
    if report.when != "call":
        return None
    return ("xfailed" if report.skipped else "passed"), LETTERS[verdict], verdict.value


def _finding_status(report: Any, finding: dict[str, Any]) -> tuple[str, str, str] | None:
    verdict, expected = Verdict(finding["verdict"]), finding["expected"]
    word = f"{verdict.value} as expected" if finding["met"] and expected else verdict.value
    if report.failed:
        category = "error" if report.when == "setup" else "failed"
        return category, LETTERS[verdict], f"{word}, expected {expected}" if expected else word
    return ("passed", ".", word) if report.when == "call" else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, Any, Any]:
    """Mark pytest's exit code, so that one which another plugin sets, be it the same, is known for what it is."""
    reporting = session.config.stash[REPORTING]
    if not reporting.planned:
        return (yield)
    session.exitstatus = reporting.mark = Mark(session.exitstatus)
    with nobody_leaves("the end of the session", pytest.exit.Exception):
        result = yield
        _conform(session.config)
        return result


def _conform(config: pytest.Config) -> None:
    """Make the `junit.xml` that pytest wrote fit its schema; the older family, which the user may ask for, has none."""
    path = getattr(config.option, "xmlpath", None)
    if path and not hasattr(config, "workerinput") and config.getini("junit_family") == "xunit2":
        from harness.writers.junit import conform  # noqa: PLC0415 - only runs with a report

        conform(Path(os.path.expandvars(path)).expanduser())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Free models and store."""
    run = config.stash.get(RUN, None)
    if run is not None:
        with nobody_leaves("freeing models and store", pytest.exit.Exception):
            run.close()
