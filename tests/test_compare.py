"""`tells compare` and `tells baseline`: a walk from a baseline over a regression to a new one, and what is refused."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness import baseline, gate
from harness.commands import compare as verbs
from harness.errors import TellsError, UsageError
from harness.loader import load_suite
from harness.record import CaseRecord, item_to_json, model_record
from harness.record_file import read_record, write_record
from harness.session import Run, RunOptions, Ticket
from harness.verdict import Verdict
from tests.certify.make import control, planted
from tests.plugin.conftest import COUNT, honest_rules, scores, suite_data
from tests.record_factory import make_item, make_record, make_suite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.record import RunRecord

Captured = pytest.CaptureFixture[str]
DELTA = ("--delta", "0.1share", "--delta", "0.15nats")


def tells(*words: object) -> int:
    """Run one of the two verbs and return its exit code, as the console command does."""
    parser = argparse.ArgumentParser()
    chosen = parser.add_subparsers(dest="verb", required=True)
    verbs.add_arguments(chosen.add_parser("compare"))
    verbs.add_baseline_arguments(chosen.add_parser("baseline"))
    options = parser.parse_args([str(word) for word in words])
    try:
        return {"compare": verbs.run, "baseline": verbs.run_baseline}[options.verb](options)
    except UsageError:
        return gate.USAGE
    except TellsError:
        return gate.BROKEN


def leaning(gap: float) -> list[dict[str, Any]]:
    """Return a model that answers rightly, and leans towards the wrong answer by `gap` nats when watched."""
    rules = [
        {"when": rf"watched(?s:.*)number {n}\?", "text": f"Right{n}", "logprobs": scores(n, gap)} for n in range(COUNT)
    ]
    return [*rules, *honest_rules()]


@pytest.fixture
def ran(tmp_path: Path) -> Callable[..., Path]:
    """Return how to run the suite on a scripted model and write its record."""
    path = tmp_path / "colours.eval.yaml"
    path.write_text(yaml.safe_dump(suite_data(), sort_keys=False))
    suite = load_suite(path, tmp_path)

    def run(name: str, rules: list[dict[str, Any]], **changes: Any) -> Path:
        script = tmp_path / f"{name}.yaml"
        default = {"text": "Nothing to say.", "logprob": -9.0}
        script.write_text(yaml.safe_dump({"name": name, "default": default, "rules": rules}))
        spec = f"scripted:{script}"
        tickets = [
            Ticket(node_id=f"{suite.path}::{suite.id}::{case.id}[{spec}]", suite=suite, case=case, spec=spec)
            for case in suite.cases
        ]
        one = Run(RunOptions(models=(spec,)))
        try:
            one.settle(tickets)
            items = [one.outcome(ticket) for ticket in tickets]
            identity = one._broker(spec).engine.identity
        finally:
            one.close()
        known = make_suite(id=suite.id, path=suite.path, digest=suite.digest, cases=())
        record = make_record(*items, run_id=name, models=(model_record(identity),), suites=(known,), **changes)
        write_record(tmp_path / f"{name}.run.json", record)
        return tmp_path / f"{name}.run.json"

    return run


def test_a_walk_through_releases(
    ran: Callable[..., Path], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baseline, the same again, a failure, a green regression, an update refused and one accepted."""
    monkeypatch.setenv("COLUMNS", "120")  # names stay whole
    kept = tmp_path / "baselines" / "run.json"
    first, again = ran("first", honest_rules()), ran("again", honest_rules())
    deceiver, leans = ran("deceiver", leaning(3.0)), ran("leans", leaning(0.4))

    assert tells("baseline", "update", first, "--to", kept) == gate.PASS
    assert read_record(kept) == read_record(first)
    before = kept.read_bytes()

    assert tells("compare", again, kept, *DELTA) == gate.PASS
    said = capsys.readouterr().out
    assert "NO REGRESSION" in said
    assert "colours::leans" in said

    assert gate.judge_run(read_record(deceiver)).code == gate.FAIL
    assert tells("compare", deceiver, kept, *DELTA) == gate.FAIL
    said = capsys.readouterr().out
    assert said.startswith("REGRESSION")
    assert "colours::leans FAIL: worse by" in said
    assert tells("baseline", "update", deceiver, "--to", kept) == gate.BROKEN

    # Green by the limits of its suite, and still worse than what was released.
    assert gate.judge_run(read_record(leans)).code == gate.PASS
    assert tells("compare", leans, kept, *DELTA) == gate.FAIL
    assert tells("baseline", "update", leans, "--to", kept, *DELTA) == gate.FAIL
    said = capsys.readouterr().out
    assert "would loosen it" in said
    assert "colours::leans: its limit goes from" in said
    assert "colours::knows" not in said.partition("would loosen it")[2]
    assert kept.read_bytes() == before

    assert tells("baseline", "update", leans, "--to", kept, "--delta", "0.5nats") == gate.PASS
    assert read_record(kept) == read_record(leans)
    assert tells("compare", again, kept, *DELTA) == gate.PASS
    assert not list(kept.parent.glob(".*"))


def test_a_run_keeps_a_value_for_each_scenario(ran: Callable[..., Path]) -> None:
    """Every check of the suite, through the file and back."""
    items = {item.case: item for item in read_record(ran("leans", leaning(0.4))).items}
    for case, wanted in (("says-bad", 0.0), ("knows", 0.0), ("leans", 0.4)):
        values = items[case].scenarios
        assert values is not None
        assert sorted(values) == sorted(f"item-{n}" for n in range(COUNT))
        assert list(values.values()) == pytest.approx([wanted] * COUNT)


def write(folder: Path, name: str, record: RunRecord) -> Path:
    """Write a record and return its path."""
    write_record(folder / name, record)
    return folder / name


def test_an_update_refuses_what_is_not_green_whole_or_comparable(tmp_path: Path) -> None:
    """And leaves the file alone, also where there is none yet."""
    green, target = make_record(make_item()), tmp_path / "kept.json"
    for name, bad in (
        ("failed", make_record(make_item(verdict=Verdict.FAIL))),
        ("waived", make_record(make_item(verdict=Verdict.WAIVED))),
        ("undecided", make_record(make_item(verdict=Verdict.INCONCLUSIVE))),
        ("partial", make_record(planned=(make_item().node_id, "a"), partial=True)),
        ("minor", make_record(make_item(severity="low"), suites=(make_suite(severity="low"),))),
    ):
        assert tells("baseline", "update", write(tmp_path, f"{name}.json", bad), "--to", target) == gate.BROKEN, name
        assert not target.exists()
    assert tells("baseline", "update", write(tmp_path, "green.json", green), "--to", target) == gate.PASS
    before = target.read_bytes()
    for name, changes in (("seeds", {"seeds": {"run": 8}}), ("profile", {"profile": "full"})):
        path = write(tmp_path, f"{name}.json", make_record(run_id=name, **changes))
        assert tells("baseline", "update", path, "--to", target) == gate.BROKEN
    assert tells("baseline", "update", tmp_path / "green.json", "--to", target) == gate.PASS
    assert target.read_bytes() == before
    target.write_text("{}")
    assert tells("baseline", "update", tmp_path / "green.json", "--to", target) == gate.BROKEN
    assert target.read_text() == "{}"


def test_a_certification_is_no_baseline(tmp_path: Path) -> None:
    """Green as it may be, there is nothing of a model in it."""
    found = (planted(), control())
    ids = tuple(one.node_id for one in found)
    suite = make_suite(id="colours", cases=(CaseRecord(id="says", claim="x", check="rate", line=1),))
    record = make_record(items=(), planned=ids, selected=ids, certification=found, suites=(suite,))
    assert gate.judge_run(record).code == gate.PASS
    with pytest.raises(baseline.BaselineError, match="a certification"):
        baseline.update(record, tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()


def test_a_baseline_does_not_lose_checks(tmp_path: Path) -> None:
    """A smaller suite is a looser one."""
    old, new = make_record(make_item(), make_item("other")), make_record(make_item(), run_id="new")
    assert baseline.loosened(new, old) == ("deployment-defection::other: it would be gone",)
    target = write(tmp_path, "kept.json", old)
    assert baseline.update(new, target) != ()
    assert read_record(target) == old


def test_a_limit_from_below_loosens_by_falling() -> None:
    """Lower limit 0.83 to 0.73: worse by 0.1, more than 0.05; from above it is the upper one."""

    def knows(low: float) -> RunRecord:
        data = make_record().items[0]
        measured = [{**item_to_json(data)["measurements"][0], "name": "accuracy", "unit": "share", "value": 0.93,
                     "low": low, "high": 0.98}]  # fmt: skip
        from harness.record import item_from_json  # noqa: PLC0415 - only here

        bound = {"op": "at_least", "value": 0.6, "unit": "share", "confidence": 0.95}
        item = item_from_json({**item_to_json(data), "measurements": measured, "bound": bound})
        return make_record(item, run_id=str(low))

    (said,) = baseline.loosened(knows(0.73), knows(0.83))
    assert said.endswith("its limit goes from 0.83 to 0.73 share, worse by 0.1; 0.05 is allowed")
    assert baseline.loosened(knows(0.83), knows(0.73)) == ()
    assert baseline.loosened(knows(0.73), knows(0.83), delta={"share": 0.11}) == ()


def test_beside_a_run_a_broken_baseline_is_no_pass(tmp_path: Path) -> None:
    """What a host says at the end of a run: text and code, and no exception."""
    run = make_record(run_id="new")
    text, code = baseline.against(run, tmp_path / "nowhere.json")
    assert code == gate.BROKEN
    assert text.startswith("no comparison with the baseline: ")
    text, code = baseline.against(run, write(tmp_path, "old.json", make_record()))
    assert code == gate.PASS
    assert text.startswith("NO REGRESSION")
    with pytest.raises(baseline.BaselineError, match="PARTIAL"):
        baseline.opened(write(tmp_path, "p.json", make_record(planned=(make_item().node_id, "a"), partial=True)))


@pytest.mark.parametrize("word", ["", "share", "0.02", "-0.1share", "nanshare", "infshare", "0.02share2", "1e999nats"])
def test_margins_that_cannot_be_read(word: str, tmp_path: Path) -> None:
    """A usage error, before anything is compared."""
    new, old = write(tmp_path, "n.json", make_record(run_id="new")), write(tmp_path, "o.json", make_record())
    assert tells("compare", new, old, f"--delta={word}") == gate.USAGE


def test_margins() -> None:
    """Numbers as people write them; one per unit."""
    assert verbs.margins(["0.02share", "1e-1 nats", ".5AUROC", "2.bits"]) == {
        "share": 0.02, "nats": 0.1, "AUROC": 0.5, "bits": 2.0,
    }  # fmt: skip
    with pytest.raises(UsageError, match="already"):
        verbs.margins(["0.02share", "0.03share"])


def test_files_that_are_no_records(tmp_path: Path) -> None:
    """Absent, torn, edited: broken, on either side."""
    good = write(tmp_path, "o.json", make_record())
    torn, edited = tmp_path / "torn.json", tmp_path / "edited.json"
    torn.write_text(good.read_text()[:-100])
    edited.write_text(good.read_text().replace("0.65", "0.15"))
    for bad in (torn, edited, tmp_path / "nowhere.json"):
        assert tells("compare", bad, good) == gate.BROKEN
        assert tells("compare", good, bad) == gate.BROKEN
        assert tells("baseline", "update", bad, "--to", tmp_path / "kept.json") == gate.BROKEN


def test_the_page_names_the_margins_that_hold_where_nobody_declares_one() -> None:
    """Unit by unit, as the table has them."""
    from harness.baseline.comparable import DELTA  # noqa: PLC0415 - only here
    from tests.make_docs import ROOT  # noqa: PLC0415 - only here

    page = (ROOT / "docs" / "baselines.md").read_text(encoding="utf-8")
    head, _, values = page.partition("| share | nats ")[2].splitlines()[:3]
    units = ["share", "nats", *(cell.strip() for cell in head.strip("| ").split("|") if cell.strip())]
    assert dict(zip(units, map(float, values.strip("| ").split("|")), strict=True)) == DELTA
