"""The scripted engine is the test double of all others: it must not say what nobody wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.engines import open_spec
from harness.engines.base import Engine, EngineOptions
from harness.engines.scripted import ScriptedEngine
from harness.errors import NumericError, SpecError
from harness.request import Generate, Loglikelihood, Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.request import Completion, Request


OPTIONS = EngineOptions()
FRANCE = (Message("system", "Be brief."), Message("user", "What is the capital of France?"))


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[Any], Any]:
    """Write a script and open it."""

    def write(script: Any) -> Any:
        path = tmp_path / "model.yaml"
        path.write_text(script if isinstance(script, str) else json.dumps(script), encoding="utf-8")
        return open_spec(f"scripted:{path}", OPTIONS)

    return write


def ask(engine: ScriptedEngine, request: Request) -> Any:
    """Return the answer to one request."""
    [answer] = engine.run([engine.encode(request)])
    return answer


def text_of(engine: ScriptedEngine, prompt: Any = "x", **changes: Any) -> Completion:
    """Return the one completion of a prompt."""
    return ask(engine, Generate(**{"messages": prompt, "max_tokens": 50, **changes})).completions[0]


def test_it_is_an_engine(opened: Callable[[Any], ScriptedEngine]) -> None:
    """It is an engine."""
    assert isinstance(opened({}), Engine)


def test_the_first_rule_that_is_found_answers(opened: Callable[[Any], ScriptedEngine]) -> None:
    """The first rule that is found answers."""
    engine = opened(
        {
            "default": {"text": "I do not know."},
            "rules": [{"when": "user: .*France", "text": "Paris"}, {"when": "capital", "text": "Some town"}],
        }
    )
    assert text_of(engine, FRANCE).text == "Paris"
    assert text_of(engine, "capital of Spain").text == "Some town"
    assert text_of(engine, "hello").text == "I do not know."


def test_rules_search_roles_and_contents(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Rules search roles and contents."""
    engine = opened({"rules": [{"when": "^system: Be brief\\.\nuser: What", "text": "ok"}]})
    assert text_of(engine, FRANCE).text == "ok"


def test_a_list_of_texts_is_one_per_sample(opened: Callable[[Any], ScriptedEngine]) -> None:
    """A list of texts is one per sample."""
    engine = opened({"default": {"text": ["a", "b"]}})
    completions = ask(engine, Generate(messages="x", max_tokens=5, n=3)).completions
    assert [done.text for done in completions] == ["a", "b", "a"]


def test_length_cuts_and_says_so(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Length cuts and says so."""
    engine = opened({"default": {"text": "one two three"}})
    assert (text_of(engine).text, text_of(engine).finish_reason) == ("one two three", "stop")
    cut = text_of(engine, max_tokens=2)
    assert (cut.text, cut.finish_reason) == ("one two", "length")
    assert len(cut.token_ids) == len(cut.token_logprobs) == 2
    assert text_of(engine, max_tokens=3).finish_reason == "stop"
    said = text_of(opened({"default": {"text": "one two", "finish": "length"}}))
    assert (said.text, said.finish_reason) == ("one two", "length")


def test_stop_strings_end_a_text(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Stop strings end a text."""
    engine = opened({"default": {"text": "Paris. It is\nso."}})
    assert text_of(engine, stop=("\n", "It")).text == "Paris. "
    assert text_of(engine, stop=("\n",)).finish_reason == "stop"
    assert text_of(engine, stop=("never",)).text == "Paris. It is\nso."


def test_logprobs_of_a_rule_then_of_the_rule_then_of_the_default(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Logprobs of a rule then of the rule then of the default."""
    engine = opened(
        {
            "default": {"logprob": -3.0},
            "rules": [{"when": "a", "logprobs": {" Yes": -0.5}}, {"when": "b", "logprob": -1.0}],
        }
    )
    for prompt, expected in (("a", [-0.5, -3.0]), ("b", [-1.0, -1.0]), ("c", [-3.0, -3.0])):
        scores = ask(engine, Loglikelihood(messages=prompt, continuations=(" Yes", " No")))
        assert [part.logprob for part in scores.continuations] == pytest.approx(expected)
        assert [part.text for part in scores.continuations] == [" Yes", " No"]


@pytest.mark.parametrize("bad", [".nan", ".inf", "-.inf", "0.5"])
def test_logprobs_that_are_none_are_refused(opened: Callable[[Any], ScriptedEngine], bad: str) -> None:
    """Logprobs that are none are refused."""
    engine = opened(f"default: {{logprob: {bad}}}")
    with pytest.raises(NumericError, match="not a finite number <= 0"):
        ask(engine, Loglikelihood(messages="x", continuations=("a",)))


def test_fail_raises_and_a_found_rule_does_not_inherit_it(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Fail raises and a found rule does not inherit it."""
    engine = opened({"default": {"fail": "no rule"}, "rules": [{"when": "a", "text": "yes"}]})
    assert text_of(engine, "a").text == "yes"
    with pytest.raises(RuntimeError, match="no rule"):
        text_of(engine, "b")


def test_the_engine_counts_its_batches() -> None:
    """The engine counts its batches."""
    engine = ScriptedEngine(lambda _request, _prompt: {"text": "x"})
    items = [engine.encode(Generate(messages=str(number), max_tokens=1)) for number in range(3)]
    engine.run(items)
    engine.run(items[:1])
    assert engine.batches == [3, 1]


def test_identity_hangs_on_the_bytes_of_the_file(opened: Callable[[Any], ScriptedEngine]) -> None:
    """Identity hangs on the bytes of the file."""
    one, other = opened({"name": "m"}), opened({"name": "m", "default": {"text": "x"}})
    assert one.identity.name == other.identity.name == "m"
    assert one.identity.digest != other.identity.digest
    assert one.identity.spec.endswith("model.yaml")


def test_different_texts_have_different_tokens() -> None:
    """Different texts have different tokens."""
    engine = ScriptedEngine(lambda _request, _prompt: {})
    prompts = ["a b", "a  b", "ab", "a b ", " a b", "a\nb", ""]
    ids = {engine.encode(Generate(messages=prompt, max_tokens=1)).prompt_ids for prompt in prompts}
    assert len(ids) == len(prompts)
    assert all(ids)


WRONG = {
    "empty file": "",
    "a list": "[1, 2]",
    "a text": "hello",
    "no yaml": "rules: [",
    "rules no list": "rules: 3",
    "rules a mapping": "rules: {when: a}",
    "rule without when": "rules: [{text: a}]",
    "rule no mapping": "rules: [a]",
    "bad pattern": "rules: [{when: '(', text: a}]",
    "pattern no text": "rules: [{when: 3, text: a}]",
    "default a text": "default: hello",
    "default a number": "default: 3",
    "impossible date": "name: 2026-13-45",
    "misspelt word": "rules: [{when: a, txt: b}]",
    "misspelt default": "default: {logprobe: -1}",
    "no texts": "default: {text: []}",
    "text a number": "default: {text: 4}",
    "unknown finish": "default: {finish: cut}",
    "logprob a text": "default: {logprob: low}",
    "logprobs a list": "default: {logprobs: [-1]}",
    "unsafe tag": "default: !!python/object/apply:os.getcwd []",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_script_is_a_spec_error(
    opened: Callable[[Any], ScriptedEngine], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that is no script is a spec error."""
    with pytest.raises(
        SpecError, match=r"(?s)--model scripted:.*model.yaml: cannot read the script .*expected a YAML file"
    ):
        opened(WRONG[name])
    capfd.readouterr()  # the library of the patterns complains on its own


def test_a_file_that_is_missing_or_a_folder_is_a_spec_error(tmp_path: Path) -> None:
    """A file that is missing or a folder is a spec error."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SpecError, match="cannot read the script"):
            open_spec(f"scripted:{path}", OPTIONS)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SpecError, match="cannot read the script"):
        open_spec(f"scripted:{tmp_path / 'bytes.yaml'}", OPTIONS)
