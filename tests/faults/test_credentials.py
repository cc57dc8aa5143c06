"""Canary secrets, in the environment, in addresses, in headers, in exceptions: in nothing that a run leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import harness.engines.transformers  # noqa: F401 - pytester forgets modules imported inside a run; engines register once
from harness import cli
from harness.credentials import WITHHELD, without
from harness.engines.scripted import ScriptedEngine
from harness.store import Store
from tests.plugin.conftest import project  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

CANARY = "cAnArY0123456789abcdef"
ENVIRONMENT = {
    "PROVIDER_API_KEY": f"{CANARY}-api", "HF_TOKEN": f"{CANARY}-hub", "DB_PASSWORD": f"{CANARY}/+=",
    "my_secret": f"{CANARY} with a space",
}  # fmt: skip
FORMS = {
    "userinfo": f"GET https://robot:{CANARY}@models.invalid/v1 failed",
    "userinfo alone": f"postgres://{CANARY}@db.invalid/x",
    "query": f"https://models.invalid/v1?model=x&api_key={CANARY}&n=1",
    "token": f"https://models.invalid/v1?access_token={CANARY}",
    "header": f"{{'Authorization': 'Bearer {CANARY}', 'n': 1}}",
    "basic": f"Authorization: Basic {CANARY}",
    "header x": f"x-api-key: {CANARY}",
    "hub": f"bad token hf_{CANARY}",
    "provider": f"incorrect key sk-{CANARY}",
    "web token": f"eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.{CANARY}",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put secrets into the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_secret_is_known(name: str) -> None:
    """The form alone, not the value: it stands in no variable."""
    said = without(FORMS[name])
    assert CANARY not in said
    assert WITHHELD in said


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_the_value_of_a_secret_is_known_wherever_it_stands(name: str) -> None:
    assert without(f"<{ENVIRONMENT[name]}>") == f"<{WITHHELD}>"


@pytest.mark.parametrize(
    "text",
    [
        "out of memory: tried to allocate 2.00 GiB", "pytest evals --model smollm2 --report reports", "",
        "https://docs.invalid/page?model=x&n=1", "git@host.invalid:x/y", "a token spans the seam of ' Paris'",
        "no key 'answer' in the item", "bearer of news", "sk-learn", "evals/a.eval.yaml:3:1: unknown word 'secret'",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert without(text) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [("TELLS_RESTRICTED_KEY", "/somewhere/key"), ("SSH_KEY_FILE", "/somewhere/else"), ("A_KEY", "short")],
)
def test_places_and_short_words_are_no_secrets(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert without(f"cannot read {value}") == f"cannot read {value}"


def artefacts(project: Project, result: pytest.RunResult) -> dict[str, bytes]:  # noqa: F811 - the fixture's class
    """Return everything that a run left behind, by name."""
    found = {"terminal": (result.stdout.str() + result.stderr.str()).encode()}
    for folder in ("out", ".tells"):
        for path in (project.root / folder).rglob("*"):
            if path.is_file():
                found[path.name] = path.read_bytes()
    return found


EVERY = "; ".join([*FORMS.values(), *ENVIRONMENT.values()])


@pytest.mark.parametrize("place", ["run", "encode", "identity", "put", "get", "check", "exchange", "write"])
def test_no_artefact_holds_a_canary(project: Project, monkeypatch: pytest.MonkeyPatch, place: str) -> None:  # noqa: F811
    """An exception whose message holds all of them, at each boundary; with every option that shows more."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError(EVERY)

    targets: dict[str, tuple[Any, str, Any]] = {
        "run": (ScriptedEngine, "run", fail), "encode": (ScriptedEngine, "encode", fail),
        "identity": (ScriptedEngine, "identity", property(fail)), "put": (Store, "put", fail),
        "get": (Store, "get", fail),
    }  # fmt: skip
    words = {
        "check": "harness.checks.run_check", "exchange": "harness.exchange.exchange_from_row",
        "write": "harness.writers.html.render",
    }  # fmt: skip
    if place in targets:
        monkeypatch.setattr(*targets[place])
    else:
        monkeypatch.setattr(words[place], fail)

    result = project.run("-vv", "-rA", "--tb=long", "--showlocals", "-o", "junit_logging=all")

    assert result.ret != 0
    found = artefacts(project, result)
    assert {"run.json", "junit.xml", "terminal"} <= found.keys()
    assert [name for name, data in found.items() if CANARY.encode() in data] == []
    assert any(WITHHELD.encode() in data for data in found.values())


@pytest.mark.parametrize("spec", [f"server:https://robot:{CANARY}@models.invalid/v1#m"])
def test_a_refused_model_is_not_quoted_with_its_password(project: Project, spec: str) -> None:  # noqa: F811
    result = project.pytester.runpytest_inprocess("evals", "--model", spec, "--report", "out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert CANARY not in result.stdout.str() + result.stderr.str()


def test_a_command_line_is_kept_without_its_secrets(project: Project) -> None:  # noqa: F811
    """`-o` and the like can carry one; the record says how the run was started."""
    project.run("-o", f"cache_dir=https://robot:{CANARY}@host.invalid/x", "-p", "no:cacheprovider")
    assert f"https://{WITHHELD}@host.invalid" in project.record["command"]
    assert CANARY not in (project.root / "out" / "run.json").read_text()


def test_the_command_line_tells_none_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verdict", str(tmp_path / f"{ENVIRONMENT['HF_TOKEN']}.json")]) == 3
    assert CANARY not in capsys.readouterr().err
