"""Records: JSON both ways, the seal, redaction, and what makes a record whole."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import canonical, restricted
from harness import exchange as exchanges
from harness import record as records
from harness.array import Array
from harness.case import Case, CheckSpec, Suite
from harness.certify.findings import CaseFinding, CertificateState, Finding
from harness.errors import RecordError
from harness.exchange import ScoredText
from harness.gate import judge_run
from harness.inner import Losses
from harness.numeric import Rescored
from harness.request import Completion, Completions, Failure, Loglikelihood, Message, ScoredContinuation, Scores
from harness.transcript import Row
from harness.verdict import Bound, Measurement, Verdict
from tests.record_factory import (
    HOSTILE,
    make_exchange,
    make_item,
    make_record,
    make_suite,
    make_tokens,
    sample_record,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters()))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def items(draw: st.DrawFn) -> list[records.ItemRecord]:
    """Draw items with distinct ids, any verdict, any severity, any text."""
    names = draw(st.lists(st.text("abcxyz", min_size=1), min_size=1, max_size=5, unique=True))
    return [
        make_item(
            name,
            draw(st.sampled_from(list(Verdict))),
            cause=draw(TEXT),
            claim=draw(TEXT),
            seconds=abs(draw(NUMBER)),
            exchanges=(make_exchange(draw(TEXT), margin=draw(st.none() | NUMBER)),),
        )
        for name in names
    ]


@given(items())
def test_what_is_read_judges_as_what_was_written(drawn: list[records.ItemRecord]) -> None:
    """verdict(parse(write(r))) == verdict(r), and nothing else changes either."""
    record = make_record(*drawn)
    back = records.from_json(json.loads(json.dumps(records.to_json(record))))
    assert back == record
    assert judge_run(back) == judge_run(record)
    assert back.digest == records.seal_of(records.to_json(back))


@given(items())
def test_items_and_suites_travel_alone(drawn: list[records.ItemRecord]) -> None:
    """A worker sends its items as builtin types."""
    for item in drawn:
        data = json.loads(json.dumps(records.item_to_json(item)))
        assert records.item_from_json(data).node_id == item.node_id
    suite = make_suite()
    assert records.suite_from_json(records.suite_to_json(suite)) == suite


def test_halves_of_a_surrogate_pair_do_not_break_the_seal() -> None:
    """JSON joins them; the seal is taken after that."""
    record = make_record(make_item(cause="\ud83d" + "\ude00"))
    assert records.disorder(records.from_json(json.loads(json.dumps(records.to_json(record))))) == ()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_cannot_be_sealed(number: float) -> None:
    """Not even in a field that no measurement guards."""
    with pytest.raises(RecordError, match="finite"):
        make_record(make_item(seconds=number))


def test_every_dataclass_of_a_record_is_in_the_schema() -> None:
    """Schema and dataclasses name the same fields, all required."""
    schema = records_schema()
    places: dict[str, type[Any]] = {
        "exchange": exchanges.Exchange, "answer": exchanges.AnswerText, "token": exchanges.TokenScore,
        "scored": exchanges.ScoredText, "screening": records.ScreeningRecord, "item": records.ItemRecord,
        "case": records.CaseRecord, "suite": records.SuiteRecord, "model": records.ModelRecord,
        "counts": records.Counts, "measurement": Measurement, "bound": Bound, "message": Message,
        "rescored": Rescored, "inside": exchanges.Inside,
        "certificate": CertificateState, "finding": Finding, "case_finding": CaseFinding,
    }  # fmt: skip
    assert set(places) == set(schema["$defs"])
    for name, kind in [*places.items(), ("", records.RunRecord)]:
        part = schema["$defs"][name] if name else schema
        fields = {field.name for field in dataclasses.fields(kind)}
        assert set(part["properties"]) == fields, name
        later = {field for field in fields if {field, f"{kind.__name__}.{field}"} & records.LATER}
        assert set(part["required"]) == fields - later, name
        assert part["additionalProperties"] is False, name
    assert set(schema["$defs"]["item"]["properties"]["verdict"]["enum"]) == set(Verdict)
    assert set(schema["$defs"]["item"]["properties"]["measures"]["enum"]) == set(typing.get_args(records.Measures))


def records_schema() -> dict[str, Any]:
    """Return the shipped schema."""
    from harness.record_file import _schema  # noqa: PLC0415 - only here

    return typing.cast("dict[str, Any]", _schema())


# --- redaction

SECRET = "the planted canary sentence"
IDS = (7_770_001, 7_770_002)
"""A tokenizer reads a text out of ids."""


def test_a_restricted_item_keeps_no_text() -> None:
    """However it is built, and in every field that could carry one; without a key not even a digest stands for it."""
    leaky = make_exchange(
        SECRET, prompt=SECRET, prompt_ids=IDS, messages=(Message("user", SECRET),), failure=f"forward: {SECRET}"
    )
    item = make_item(
        "x", Verdict.INVALID, hazard="restricted", exchanges=(leaky,), cause=f"row said '{SECRET}' and died"
    )
    data = json.dumps(records.item_to_json(item))
    assert SECRET not in data
    assert not any(str(number) in data for number in IDS)
    assert "prompt_ids" not in data
    assert item.exchanges[0].id == leaky.id
    assert item.exchanges[0].margin == leaky.margin
    assert set(item.exchanges[0].digests) == {"asked", "answered"}
    assert item.cause == "row said [withheld] and died"
    assert item.exchanges[0].failure == "forward"


def test_redaction_tells_texts_apart_and_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag is of the text and the key, and redacting again changes nothing; without a key nothing is told apart."""
    bare = [exchanges.redacted(make_exchange(text)) for text in ("a", "b")]
    assert bare[0].digests == bare[1].digests == {"asked": "withheld", "answered": "withheld"}
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    monkeypatch.setenv("TELLS_RESTRICTED_KEY", str(key))
    assert exchanges.redacted(bare[0]) == bare[0]
    one, other = (exchanges.redacted(make_exchange(text)) for text in ("a", "b"))
    assert one.digests["asked"] == other.digests["asked"]
    assert one.digests["answered"] != other.digests["answered"]
    assert exchanges.redacted(one) == one


def test_a_record_from_before_there_were_keys_is_read_as_it_was_sealed() -> None:
    """It holds plain SHA-256 where tags stand today; nothing of it is changed, with a key or without."""
    old = {
        "node_id": "a::s::c[m]", "suite": "s", "hazard": "restricted",
        "cause": f"row said [withheld sha256:{'a' * 64}]",
        "scenarios": {f"sha256:{'b' * 64}": 0.5},
    }  # fmt: skip
    exchange = {"digests": {"asked": f"sha256:{'c' * 64}", "answered": f"sha256:{'d' * 64}"}}
    data = records.item_to_json(make_item(exchanges=(make_exchange(),)))
    bare = {"messages": [], "prompt": "", "answers": [], "scored": []}
    data |= {**old, "exchanges": [{**data["exchanges"][0], **bare, **exchange}]}
    data["measurements"][0]["name"] = f"probability[withheld sha256:{'e' * 64}]"
    assert records.item_to_json(records.item_from_json(data)) == data


@pytest.mark.parametrize(
    "quoted", [f"'{SECRET}'", f'"{SECRET}"', f"`{SECRET}`", repr(f"{SECRET}'s \" {SECRET}"), f"'{SECRET}\n{SECRET}'"]
)
def test_quotations_are_withheld(quoted: str) -> None:
    """In every style that messages quote in."""
    assert SECRET not in restricted.withhold(f"the row's answer {quoted} was refused")


def test_only_the_most_telling_exchanges_are_kept() -> None:
    """A record is no log."""
    many = tuple(make_exchange(id=f"row-{place}") for place in range(20))
    assert [kept.id for kept in make_item(exchanges=many).exchanges] == [f"row-{place}" for place in range(6)]


# --- exchanges from rows

LOGLIKELIHOOD = Loglikelihood(messages="x", continuations=(" Berlin", " Rome", " Paris"))


def make_row(response: Completions | Scores | Failure, **changes: Any) -> Row:
    """Return a row with `response`."""
    return Row(
        id="france/deployed", scenario="france", condition="deployed", cue=None, phrasing="p1", dose=None, values={},
        messages=(Message("user", "x"),), request=LOGLIKELIHOOD, response=response, **changes,
    )  # fmt: skip


def make_scores(*logprobs: float) -> Scores:
    """Return scores of one-token continuations."""
    pairs = zip(LOGLIKELIHOOD.continuations, logprobs, strict=True)
    return Scores(
        continuations=tuple(ScoredContinuation(text=t, token_ids=(7,), token_logprobs=(p,)) for t, p in pairs)
    )


def test_margin_is_the_summed_bad_over_the_summed_good() -> None:
    """By hand: (0.25 + 0.25) / 0.125 = 4."""
    row = make_row(make_scores(math.log(0.25), math.log(0.25), math.log(0.125)), groups={"bad": (0, 1), "good": (2,)})
    made = exchanges.exchange_from_row(row, {7: " Berlin"}.__getitem__)
    assert made.margin == pytest.approx(math.log(4))
    assert made.groups["bad"] == pytest.approx(math.log(0.5))
    assert [scored.group for scored in made.scored] == ["bad", "bad", "good"]
    assert made.scored[0].tokens[0].token == " Berlin"


def test_margin_of_bad_alone_and_of_neither() -> None:
    """Without `good` it is the log-probability itself; without `bad` there is none."""
    scores = make_scores(-1.0, -2.0, -3.0)
    assert exchanges.exchange_from_row(make_row(scores, groups={"bad": (1,)})).margin == pytest.approx(-2.0)
    options = exchanges.exchange_from_row(make_row(scores, groups={"options": (0, 1, 2)}))
    assert options.margin is None
    assert options.scored[0].tokens[0].token == "#7"


def test_token_ids_of_prompt_and_continuation_are_kept() -> None:
    """What was passed through the network, whatever it was asked for."""
    scores = dataclasses.replace(make_scores(-1.0, -2.0, -3.0), prompt="x", prompt_ids=(3, 1, 4))
    made = exchanges.exchange_from_row(make_row(scores, groups={"bad": (1,)}))
    assert made.prompt_ids == (3, 1, 4)
    assert [token.id for one in made.scored for token in one.tokens] == [7, 7, 7]
    nothing = dataclasses.replace(scores, continuations=make_scores(-1.0, math.nan, -2.0).continuations)
    assert exchanges.exchange_from_row(make_row(nothing)).prompt_ids == (3, 1, 4)
    done = (Completion(text="Ber", token_ids=(5,), token_logprobs=(-1.0,), finish_reason="stop"),)
    assert exchanges.exchange_from_row(make_row(Completions(completions=done, prompt_ids=(9,)))).prompt_ids == (9,)
    losses = Losses(values=Array.of([1.0, 2.0]), prompt_ids=(4, 5, 6))
    assert exchanges.exchange_from_row(make_row(losses)).prompt_ids == (4, 5, 6)


def test_a_record_without_token_ids_is_written_as_before() -> None:
    """Byte for byte, so that the seals of records from before there were ids still hold; with ids both ways."""
    old = records.item_to_json(make_item())
    assert "prompt_ids" not in old["exchanges"][0]
    assert set(old["exchanges"][0]["scored"][0]["tokens"][0]) == {"token", "logprob"}
    (one,) = make_tokens((" x", -1.0))
    scored = ScoredText(text=" x", group="", logprob=-1.0, tokens=(dataclasses.replace(one, id=0),))
    item = make_item(exchanges=(make_exchange(prompt_ids=(1, 0, 2), scored=(scored,)),))
    new = records.item_to_json(item)
    assert new["exchanges"][0]["prompt_ids"] == [1, 0, 2]
    assert new["exchanges"][0]["scored"][0]["tokens"] == [{"token": " x", "logprob": -1.0, "id": 0}]
    assert records.item_from_json(json.loads(json.dumps(new))) == item
    assert '"prompt_ids":[1,0,2]' in canonical.canonical_json(new)


def test_what_was_redacted_before_holds_no_text_either() -> None:
    """A record may be put together by others: tags in an exchange are no promise that nothing is beside them."""
    leaky = make_exchange(SECRET, prompt_ids=IDS, digests={"asked": "withheld"}, failure=f"forward: {SECRET}")
    inside = exchanges.Inside(what="activations", continuation=SECRET)
    kept = exchanges.redacted(dataclasses.replace(leaky, inside=inside))
    assert kept == dataclasses.replace(
        leaky, messages=(), prompt="", prompt_ids=(), answers=(), scored=(), failure="forward",
        inside=exchanges.Inside(what="activations"),
    )  # fmt: skip


def test_failures_and_texts_stay_what_they_are() -> None:
    """A failure is no empty answer; a cut answer says so; NaN becomes a failure."""
    assert exchanges.exchange_from_row(make_row(Failure("forward", "boom"))).failure == "forward: boom"
    cut = Completions(completions=(Completion(text="Ber", token_ids=(), token_logprobs=(), finish_reason="length"),))
    assert exchanges.exchange_from_row(make_row(cut)).answers[0].finish_reason == "length"
    broken = exchanges.exchange_from_row(make_row(make_scores(-1.0, math.nan, -2.0), groups={"bad": (1,)}))
    assert broken.failure.startswith("numeric")
    assert broken.margin is None


# --- order and disorder


def test_the_factory_makes_whole_records() -> None:
    """Else every test below would pass for the wrong reason."""
    assert records.disorder(sample_record()) == ()


def value_of(value: float) -> tuple[Measurement, ...]:
    """Return one measurement of `value`."""
    return (Measurement(name="cue_shift", value=value, unit="nats", n=42, low=value, high=value),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"completed": False, "exit_reason": "interrupted"}, "did not come to its end"),
        ({"items": ()}, "has no result"),
        ({"items": (make_item(), make_item())}, "has 2 results"),
        ({"items": (make_item(), make_item("other"))}, "was not selected"),
        ({"selected": (make_item().node_id,) * 2}, "is selected twice"),
        ({"planned": ()}, "not planned"),
        ({"planned": (make_item().node_id, "another")}, "narrower than the plan"),
        ({"suites": ()}, "is not in the record"),
        ({"suites": (make_suite(severity="low"),)}, "differ from its suite's"),
        ({"items": (make_item(measurements=()),)}, "nothing was measured"),
        ({"items": (make_item(n_measured=0),)}, "nothing was measured"),
        ({"items": (make_item(bound=None),)}, "nothing was measured"),
        ({"items": (make_item(measurements=value_of(1.6)),)}, "does not keep its bound"),
    ],
)
def test_disorder(changes: dict[str, Any], said: str) -> None:
    """Whatever is wrong is named, although the seal holds."""
    found = records.disorder(make_record(**changes))
    assert any(said in what for what in found), found
    assert not any("seal" in what for what in found)


def test_a_change_after_sealing_is_found() -> None:
    """Even one that looks harmless."""
    record = dataclasses.replace(make_record(), finished="2026-01-02T03:05:07+00:00")
    assert records.disorder(record) == ("its seal is missing or broken",)
    assert records.disorder(make_record(seal=False)) == ("its seal is missing or broken",)


def test_parts_of_a_case_are_not_summed() -> None:
    """A joint case passes when one part passes; the first may have failed."""
    assert records.disorder(make_record(make_item(check="jointly", measurements=value_of(1.6)))) == ()


@pytest.mark.parametrize("data", [{}, {"schema": "x", "colour": 1}, {"items": 3}, [], None])
def test_a_shape_that_is_no_record_is_refused(data: Any) -> None:
    """In the project's own words."""
    with pytest.raises(RecordError, match="RunRecord"):
        records.from_json(data)


def test_suite_and_case_are_named_as_in_the_loader() -> None:
    """The fields that reports repeat exist under the same names where they come from."""
    loaded = {field.name for field in dataclasses.fields(Suite)}
    assert {field.name for field in dataclasses.fields(records.SuiteRecord)} - records.LATER <= loaded
    assert {"id", "claim", "check", "line"} <= {field.name for field in dataclasses.fields(Case)}
    assert "kind" in {field.name for field in dataclasses.fields(CheckSpec)}
