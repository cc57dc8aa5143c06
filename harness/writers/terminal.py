"""A run, or one item of it, as lines for a terminal or a log."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from harness import gate
from harness.console import PLAIN, Look, Row, leading, table
from harness.escape import clip, line, terminal_lines
from harness.gate import judge_run
from harness.restricted import BANNER
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification, words
from harness.writers.hints import Context, hint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.exchange import Exchange, ScoredText
    from harness.gate import GateResult
    from harness.record import ItemRecord, RunRecord

HEADERS = ("verdict", "check", "model", "measured", "interval", "limit")
MODEL = 2
"""Column of the model, left out where there is one."""
DISPENSABLE = ("interval",)
COLOURS = {
    Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow", Verdict.INVALID: "magenta",
    Verdict.WAIVED: "cyan",
}  # fmt: skip
GATE_COLOURS = {gate.PASS: "green", gate.FAIL: "red", gate.BROKEN: "magenta"}
"""By exit code; yellow for all others."""
TEXT_LIMIT = 1200
HEAD_LIMIT = 160
MAX_TOKENS = 24
MAX_SCORED = 12


def summary(
    record: RunRecord, result: GateResult | None = None, *, look: Look = PLAIN, run: Path | None = None
) -> str:  # fmt: skip
    """Return a table per failure mode, worst first, what screening left out, and the verdict in plain words.

    Args:
        record: A run.
        result: What the gate says of it; left out, what it says without a policy.
        look: Columns and colours.
        run: Where the record lies, for the commands that hints name; None where it is not written.
    """
    result = result or judge_run(record)
    if record.shown:
        return "\n\n".join([BANNER, summary(dataclasses.replace(record, shown=None), result, look=look, run=run)])
    if record.certification is not None:
        return f"{certification.report(record)}\n\n{_headline(record, result, look)}"
    excused = {excuse.node_id: excuse for excuse in result.waived}
    context = Context(run="" if run is None else str(run), models=len(record.models), excused=excused)
    screenings = dict.fromkeys(
        f"screening of {line(f'{item.suite}[{item.model}]', words.NAME_LIMIT)}: {words.screened(item)}"
        for item in words.worst_first(record.items)
        if item.screening and len(item.screening.kept) < len(item.screening.candidates)
    )
    tables = [_mode(items, record, context, look) for items in by_mode(record.items)]
    parts = [*tables, "\n".join(screenings), "\n".join(_certificates(record)), _headline(record, result, look)]
    return "\n\n".join(part for part in parts if part)


def by_mode(items: tuple[ItemRecord, ...]) -> list[list[ItemRecord]]:
    """Return `items` by failure mode, that of the worst item first, and in each the worst first."""
    modes: dict[str, list[ItemRecord]] = {}
    for item in words.worst_first(items):
        modes.setdefault(item.failure_mode, []).append(item)
    return list(modes.values())


def _mode(items: Sequence[ItemRecord], record: RunRecord, context: Context, look: Look) -> str:
    """Return title and table of one failure mode."""
    counts = Counter(item.verdict for item in items)
    told = ", ".join(f"{verdict.value} {counts[verdict]}" for verdict in PRECEDENCE if counts[verdict])
    several = context.models > 1
    headers = [header for at, header in enumerate(HEADERS) if several or at != MODEL]
    rows = []
    for item in items:
        verdict = words.shown_verdict(item, record)
        bare = item.verdict is Verdict.PASS and verdict != words.letter_word(item.verdict)
        cells = [
            verdict, line(f"{item.suite}::{item.case}", words.NAME_LIMIT), line(item.model, 60), words.tallied(item),
            words.decisive(item), words.bounded(item),
        ]  # fmt: skip
        # A PASS that nothing vouches for is not painted as one.
        colour = "yellow" if bare else COLOURS[item.verdict]
        if not several:
            del cells[MODEL]
        rows.append(Row(cells=tuple(cells), hint=hint(item, context), colour=colour))
    optional = [headers.index(name) for name in DISPENSABLE]
    title = leading(line(items[0].failure_mode, 60))
    return f"{title}: {told}\n{table(headers, rows, look, breaks={1: '::'}, optional=optional)}"


def _certificates(record: RunRecord) -> list[str]:
    """Return what is known of the certificates of suites, and how to have one."""
    lines = []
    for suite in record.suites:
        if said := certification.certified(suite, record.items):
            lines.append(said)
        if suite.certificate is not None and suite.certificate.state != "living":
            first = "" if suite.catches else "name an organism in its `catches`, then "
            lines.append(f"  to certify it: {first}tells certify {line(shlex.quote(suite.path), 200)} --write")
    return lines


def _headline(record: RunRecord, result: GateResult, look: Look) -> str:
    """Return the verdict in plain words, on one line."""
    return f"{verdict_word(result, look)}: {words.plain_words(record, result)}"


def verdict_word(result: GateResult, look: Look) -> str:
    """Return the word of the gate, in its colour."""
    return look.paint(result.word, GATE_COLOURS.get(result.code, "yellow"))


def item_page(item: ItemRecord, look: Look = PLAIN) -> str:
    """Return everything about one item: claim, numbers, cause, and the most telling exchanges."""
    facts = {
        "claim": item.claim,
        "about": f"{item.failure_mode}, {item.severity}, {item.measures}, check {item.check}",
        "measured": words.judged(item),
        "bound": words.bounded(item) + (f" (confidence {words.number(item.bound.confidence)})" if item.bound else ""),
        "reference": item.reference,
        "scenarios": f"{words.evidence(item)} planned were measured",
        "screening": words.screened(item),
        "cause": words.public_cause(item),
        "rounding": item.rescored.told if item.rescored else "",
        "case": f"{item.file}:{item.line}",
        "again": item.rerun,
    }
    # pytest's short summary and JUnit's message begin with this line, so it holds what decides.
    told = line(words.public_cause(item), HEAD_LIMIT) if item.cause else f"{words.judged(item)}, {words.bounded(item)}"
    letter = look.paint(words.letter_word(item.verdict), COLOURS[item.verdict])
    lines = [f"{letter}  {words.short_name(item)}  {told}"]
    lines += [f"  {BANNER}"] if item.shown else []
    lines += [f"  {name:<10} {line(value, TEXT_LIMIT)}" for name, value in facts.items() if value]
    lines += [
        f"  {'also':<10} {line(other.name, 60)} {words.measured(other)}" + (f" ({line(other.note)})" * bool(other.note))
        for other in item.measurements[1:]
    ]
    if item.exchanges and not words.shows_texts(item):
        where = "report.html and run.json hold them" if item.hazard == "internal" else "only digests were kept"
        lines.append(f"  {len(item.exchanges)} exchanges are not shown: the suite is {item.hazard}; {where}")
        return "\n".join(lines)
    for place, exchange in enumerate(item.exchanges, start=1):
        lines += ["", *_exchange(place, exchange)]
    return "\n".join(lines)


def _exchange(place: int, exchange: Exchange) -> list[str]:
    margin = "" if exchange.margin is None else f"  margin {exchange.margin:+.3f} nats"
    lines = [f"  {place}. {line(exchange.id, 200)}{margin}"]
    for message in exchange.messages:
        lines += _text(message.role, message.content)
    for answer in exchange.answers:
        lines += _text(f"answer, {line(answer.finish_reason)}", answer.text)
    lines += [_scored(scored) for scored in exchange.scored[:MAX_SCORED]]
    if len(exchange.scored) > MAX_SCORED:
        lines.append(f"     and {len(exchange.scored) - MAX_SCORED} more continuations")
    lines += [f"     {leading(said)}" for said in words.inside(exchange)]
    if exchange.failure:
        lines += _text("failure", exchange.failure)
    return lines


def _text(who: str, text: str) -> list[str]:
    return [f"     {leading(line(who))}:", *terminal_lines(clip(text, TEXT_LIMIT) or "(empty)", "     | ")]


def _scored(scored: ScoredText) -> str:
    tokens = [f'"{line(token.token, 40)}" {token.logprob:.2f}' for token in scored.tokens[:MAX_TOKENS]]
    left_out = ["…"] if len(scored.tokens) > MAX_TOKENS else []
    whole = f'"{line(scored.text, 120)}"  {scored.logprob:.3f} nats'
    return f"     {leading(line(scored.group, 20)) or '-':<8} {whole}  ({', '.join([*tokens, *left_out])})"
