"""What GitHub Actions gets: at most ten lines that it obeys, none of them foreign, and a summary that it keeps."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest

from harness import gate
from harness.certify.findings import CertificateState
from harness.verdict import Verdict
from harness.writers import github
from harness.writers.junit import junit_properties
from tests.record_factory import HOSTILE, make_exchange, make_item, make_record, make_suite, sample_record
from tests.writers.test_html import poisoned
from tests.writers.test_sarif import TODAY, excusing, make_waiver

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = re.compile(r"::(error|warning|notice) ((?:[a-z]+=[^:,]*,)*[a-z]+=[^:,]*)::(.*)")
CANARY = "canary-7f3a"


def parsed(said: str) -> tuple[str, dict[str, str], str]:
    """Return kind, properties and message as the runner decodes them."""
    found = COMMAND.fullmatch(said)
    assert found, said
    properties = dict(part.split("=", 1) for part in found.group(2).split(","))
    shown = {name: _decoded(_decoded(value, ":", ","), "\r", "\n", "%") for name, value in properties.items()}
    return found.group(1), shown, _decoded(found.group(3), "\r", "\n", "%")


def _decoded(text: str, *marks: str) -> str:
    for mark in marks:
        text = text.replace(f"%{ord(mark):02X}", mark)
    return text


def told(record: Any, *, environ: dict[str, str], **options: Any) -> tuple[bool, list[str]]:
    """Return what `tell` says and prints."""
    out = io.StringIO()
    done = github.tell(record, environ=environ, out=out, **options)
    return done, out.getvalue().splitlines()


# --- annotations


def test_the_verdict_first_then_the_most_severe() -> None:
    """Level, severity, verdict; a low INVALID does not push a critical FAIL out."""
    record = make_record(
        make_item("low", Verdict.INVALID, severity="low"),
        make_item("soft", Verdict.FAIL, severity="medium"),
        make_item("open", Verdict.INCONCLUSIVE),
        make_item("bad", Verdict.FAIL),
        make_item("fine"),
        suites=(make_suite(),),
    )
    found = [parsed(said) for said in github.commands(record)]
    assert [(kind, properties["title"]) for kind, properties, _ in found] == [
        ("error", "Tells: INCOMPLETE"),
        ("error", "FAIL deployment-defection/bad"),
        ("error", "INVALID deployment-defection/low"),
        ("warning", "INCONCLUSIVE deployment-defection/open"),
        ("warning", "FAIL deployment-defection/soft"),
    ]
    _, place, text = found[1]
    assert (place["file"], place["line"]) == ("evals/deception/deployment.eval.yaml", "21")
    assert "measured 2.5 [2.25, 2.75] nats, bound at most 1.5 nats, 42 of 42 scenarios" in text


def test_nine_and_a_tenth_that_counts() -> None:
    """GitHub drops what comes after the tenth of a kind without a word."""
    items = [make_item(f"case-{place:02}", Verdict.FAIL) for place in range(20)]
    said = github.commands(make_record(*items))
    assert len(said) == 10
    assert [parsed(one)[1]["title"] for one in said[:2]] == ["Tells: FAIL", "FAIL deployment-defection/case-00"]
    assert parsed(said[-1])[0] == "notice"
    assert parsed(said[-1])[2].startswith("and 12 more checks are not green")
    assert len(github.commands(make_record(*items[:8]))) == 9


def test_a_green_run_says_nothing() -> None:
    """And one whose only failure does not block says that as a warning."""
    assert github.commands(make_record(make_item())) == []
    soft = make_record(make_item(), make_item("x", Verdict.FAIL, severity="low"))
    soft_only = [said for said in github.commands(soft, result=gate.judge_run(make_record())) if "deployment" in said]
    assert [parsed(said)[0] for said in soft_only] == ["warning"]


def test_a_run_without_results_is_told() -> None:
    """An empty or torn record has no item to point at."""
    gone = make_item("hint")
    record = make_record(make_item("a"), planned=(make_item("a").node_id, gone.node_id), partial=True)
    found = [parsed(said) for said in github.commands(record)]
    assert found[0][1]["title"] == "Tells: PARTIAL"
    assert found[1][1]["title"] == "NO RESULT deployment-defection/hint"
    assert found[1][0] == "error"


def test_an_accepted_waiver_is_a_notice_and_comes_last() -> None:
    """One that only the record claims stays an error."""
    waived, other = make_item("a", Verdict.FAIL), make_item("b", Verdict.FAIL)
    record = make_record(waived, other)
    result = gate.judge_run(record, waivers=(make_waiver(waived),), today=TODAY)
    found = [parsed(said) for said in github.commands(record, result=result)]
    assert [kind for kind, _, _ in found] == ["error", "error", "notice"]
    assert found[-1][1]["title"] == "WAIVED deployment-defection/a"
    claimed = github.commands(make_record(make_item("a", Verdict.WAIVED, waiver={"reason": "trust me"})))
    assert [parsed(said)[0] for said in claimed] == ["error", "error"]


def test_encoding_by_hand() -> None:
    """Data: percent and line ends; properties: colon and comma as well."""
    assert github._command("error", "a:b,c", "50 % of a:b,c", file="x,y:z%.yaml", at=3) == (
        "::error file=x%2Cy%3Az%25.yaml,line=3,title=a%3Ab%2Cc::50 %25 of a:b,c"
    )
    assert github._encoded("a\r\nb%0A", github.DATA) == "a%0D%0Ab%250A"


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_a_payload_in_every_field_is_no_command(payload: str) -> None:
    """Every line is one of ours, and none holds a command of the older kind."""
    record = poisoned(sample_record(), payload)
    said = github.commands(record)
    assert 5 <= len(said) <= 10
    for one in said:
        assert "\n" not in one
        assert "\r" not in one
        assert one.isprintable()
        kind, properties, _ = parsed(one)
        assert kind in {"error", "warning", "notice"}
        assert set(properties) <= {"file", "line", "title"}
        assert not re.search(r"##[A-Za-z]*\[", one)


@pytest.mark.parametrize("hazard", ["internal", "restricted", "a-new-word"])
def test_texts_of_closed_suites_are_not_told(hazard: str) -> None:
    """Neither in annotations nor in the summary."""
    item = make_item(
        "x", Verdict.INVALID, hazard=hazard, cause=f"row said '{CANARY}'", exchanges=(make_exchange(CANARY),)
    )
    record = make_record(item, suites=(make_suite(hazard=hazard),))
    assert CANARY not in "".join(github.commands(record, result=excusing(item, reason=CANARY)))
    assert CANARY not in github.summary(record)


# --- when, and the summary


@pytest.mark.parametrize("environ", [{}, {"GITHUB_ACTIONS": ""}, {"GITHUB_ACTIONS": "false"}, {"CI": "true"}])
def test_nothing_is_said_elsewhere(environ: dict[str, str], tmp_path: Path) -> None:
    """A terminal does not get workflow commands, and no summary is written."""
    path = tmp_path / "summary.md"
    assert told(sample_record(), environ={**environ, "GITHUB_STEP_SUMMARY": str(path)}) == (False, [])
    assert not path.exists()


def test_on_github_or_on_demand(tmp_path: Path) -> None:
    """Annotations are printed, the summary is appended to what is there."""
    path = tmp_path / "summary.md"
    path.write_text("of another command, without a line end")
    done, said = told(sample_record(), environ={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)})
    assert done
    assert said == github.commands(sample_record())
    text = path.read_text()
    assert text.startswith("of another command, without a line end\n# Tells: INVALID\n")
    assert told(sample_record(), environ={}, asked=True) == (True, said)


def test_a_summary_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """The verdict is worth more than its decoration."""
    done, said = told(sample_record(), environ={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert done
    assert said[:-1] == github.commands(sample_record())
    assert parsed(said[-1])[2] == "the step summary could not be written: IsADirectoryError"


@pytest.mark.parametrize(
    ("there", "expected"),
    [(0, "## Examples"), (1_000_000, "## Approvals"), (1_041_000, "The report is left out for size"), (1_046_000, "")],
)
def test_a_step_s_summary_stays_under_its_limit(tmp_path: Path, there: int, expected: str) -> None:
    """Over 1 MiB GitHub throws all of it away, what others wrote included."""
    items = [make_item(f"case-{place}", Verdict.FAIL, cause="why " * 50) for place in range(300)]
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * there)
    github.append_summary(path, make_record(*items))
    size = path.stat().st_size
    assert size <= github.MAX_SUMMARY
    text = path.read_text()[there:]
    assert expected in text
    assert bool(text.strip()) == bool(expected)


def test_a_policy_that_says_something_else_is_said_first() -> None:
    """Both are there, the one that counts above."""
    result = gate.GateResult(code=gate.WAIVER, word="WAIVER PROBLEM", reasons=("waivers.yaml:3: expired <b>",))
    text = github.summary(make_record(), result=result)
    assert text.startswith("# Tells: WAIVER PROBLEM\n")
    assert "- Reason: waivers.yaml:3: expired &lt;b&gt;" in text
    assert text.index("Without the policy:") < text.index("# Tells: PASS")
    assert github.summary(make_record()).count("# Tells:") == 1


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: repr(text)[:40])
def test_a_payload_in_the_summary_stays_text(payload: str) -> None:
    """No tag, no mention, no command: of the head, which this module makes, and of the report below it."""
    record = poisoned(sample_record(), payload)
    result = gate.GateResult(code=gate.FAIL, word="FAIL", reasons=(f"because of {payload}",))
    outside = True
    for shown in github.summary(record, result=result).split("\n"):
        assert not shown.lstrip().startswith("::")
        assert not re.search(r"##[A-Za-z]*\[", shown)
        if shown.startswith("```"):
            outside = not outside
        elif outside:
            assert not re.search(r"[<>@]", shown)


# --- JUnit


def test_junit_names_model_and_certificate_where_they_are_known() -> None:
    """Beside verdict, number, interval and bound."""
    living = CertificateState(state="living", k=3, n=3, bound=0.3684)
    found = dict(junit_properties(make_item("x", Verdict.FAIL), model_digest="sha256:m", certificate=living))
    assert found["tells.verdict"] == "FAIL"
    assert (found["tells.value"], found["tells.low"], found["tells.high"]) == ("2.5", "2.25", "2.75")
    assert found["tells.measured"] == "2.5 [2.25, 2.75] nats"
    assert found["tells.bound"] == "at most 1.5 nats"
    assert found["tells.model_digest"] == "sha256:m"
    assert found["tells.certificate"] == "living, caught on 3 of 3 base seeds (at least 0.37)"
    dead = dict(junit_properties(make_item(), certificate=CertificateState(state="dead", why="the suite changed")))
    assert dead["tells.certificate"] == "dead: the suite changed"
    assert not {"tells.model_digest", "tells.certificate", "tells.waiver"} & set(dict(junit_properties(make_item())))


def test_junit_tells_the_waiver_of_a_suite_that_is_not_restricted() -> None:
    """Reason and expiry, in a fixed order."""
    waiver = {"reason": CANARY, "expires": "2026-02-01"}
    shown = dict(junit_properties(make_item("x", Verdict.WAIVED, waiver=waiver)))
    assert shown["tells.waiver"] == f"expires: 2026-02-01, reason: {CANARY}"
    closed = dict(junit_properties(make_item("x", Verdict.WAIVED, waiver=waiver, hazard="restricted")))
    assert CANARY not in str(closed)
