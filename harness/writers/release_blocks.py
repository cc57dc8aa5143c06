"""The parts of a release page around its table: verdict and rule, models, what ran, what is not green, what is claimed.

Nothing here is escaped: see `harness.writers.release_page`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from harness import gate
from harness.record import results
from harness.verdict import PRECEDENCE, Verdict
from harness.writers import certification, words
from harness.writers.outcomes import restricted
from harness.writers.release_limits import shows
from harness.writers.release_numeric import numerics
from harness.writers.release_page import Block, Page, Standing, Table, few, standing_of
from harness.writers.release_table import WITHHELD, certified, effective, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.baseline import Comparison
    from harness.policy.waivers import Excuse
    from harness.record import ItemRecord, ModelRecord, RunRecord, SuiteRecord

MAX_REASONS = 6
MAX_MODELS = 4
MAX_NAMED = 12
CAUSE = 300
REPORT = "report.html"
RULES: Final = {
    gate.PASS: "the record is sealed, whole and as planned, and each check that blocks passed or is excused by a "
    "waiver that holds",
    gate.FAIL: "a check that blocks failed: the whole of its interval breaks its limit",
    gate.USAGE: "the question is wrong: the policy does not fit the run",
    gate.BROKEN: "something is torn, missing, narrower than planned or required, or could not be measured, which is "
    "neither passed nor failed",
    gate.INCONCLUSIVE: "the evidence does not decide a check that blocks",
    gate.NOTHING: "nothing that blocks was evaluated or decided",
    gate.WAIVER: "a waiver does not hold, or a check is waived without one",
    gate.UNCERTIFIED: "a suite that can block lacks the certificate that the policy requires",
}
"""Code of the gate -> the one rule behind it."""
DONE: Final = {
    Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.INCONCLUSIVE: "undecided",
    Verdict.INVALID: "could not be measured", Verdict.WAIVED: "waived",
}  # fmt: skip


def page_of(record: RunRecord, known: Standing | None = None) -> Page:
    """Return the release page of a run on models.

    Args:
        record: The run.
        known: What it is judged by; left out, the gate without a policy.
    """
    standing = standing_of(record, known)
    result = standing.result
    blocks = [
        _models(record), _ran(record, standing), _evals(record, standing), _baseline(standing, record),
        _certificates(record), _waivers(record, standing), numerics(record), shows(record), _approvals(), _run(record),
    ]  # fmt: skip
    return Page(
        word=result.word, code=result.code, headline=words.headline(record, result), rule=_rule(standing),
        reasons=tuple(few(list(result.reasons), MAX_REASONS, REPORT)), blocks=tuple(one for one in blocks if one),
    )  # fmt: skip


def _rule(standing: Standing) -> str:
    """Return the one rule behind the verdict, what blocks, and by what that was judged."""
    said = [f"{RULES[standing.result.code]} (code {standing.result.code})"]
    policy = standing.policy
    if policy is None:
        said.append("critical and high checks block; no policy, so that no waiver holds")
    else:
        said.append(f"what blocks and what waivers excuse says the policy {policy.path or 'given'}, {policy.digest}")
        said += [f"held against {standing.today}"] if standing.today else []
    return "; ".join([*said, "a check passes only where its confidence limit keeps its limit"])


def _models(record: RunRecord) -> Block:
    said = [text for model in record.models[:MAX_MODELS] for text in _model("Model", model)]
    if len(record.models) > MAX_MODELS:
        said.append(f"and {len(record.models) - MAX_MODELS} more models in {REPORT}")
    said += _model("Twin", record.twin) if record.twin else []
    return Block(heading="Model", lines=tuple(said) or ("No model is in the record.",))


def _model(role: str, model: ModelRecord) -> tuple[str, str]:
    parts = ("weights", "tokenizer", "chat_template", "adapter", "transform", "revision")
    said = [f"{name.replace('_', ' ')} {getattr(model, name)}" for name in parts if getattr(model, name)]
    return f"{role} {model.name}, {model.dtype}: {model.digest}", f"Parts of {model.name}: {', '.join(said)}"


def _ran(record: RunRecord, standing: Standing) -> Block:
    """Return what ran and what did not: not selected, without a result, INVALID, screened out, cut."""
    done = {one.node_id for one in results(record)}
    counts = Counter(effective(item, standing.excused) for item in record.items)
    tally = ", ".join(f"{counts[verdict]} {said}" for verdict, said in DONE.items() if counts[verdict])
    counted = f"Checks: {len(record.planned)} planned, {len(record.selected)} selected, {len(done)} with a result"
    said = [f"{counted}: {tally or 'nothing'}"]
    left = sorted(set(record.planned) - set(record.selected))
    lost = [name for name in record.selected if name not in done]
    for what, names in (("Not selected", left), ("Selected and without a result", lost)):
        said += [f"{what}: {', '.join(few(names, MAX_NAMED, REPORT))}"] if names else []
    if not record.completed:
        said.append(f"The run did not come to its end: {record.exit_reason or 'no reason given'}")
    said += words.left_out(record)
    return Block(heading="What ran, and what did not", lines=(*said, *_screened(record), *_cut(record)))


def _screened(record: RunRecord) -> list[str]:
    seen = {(item.suite, item.model): item for item in record.items if item.screening and not restricted(item.hazard)}
    lost = {
        key: (len(item.screening.candidates) - len(item.screening.kept), len(item.screening.candidates))
        for key, item in seen.items()
        if item.screening and item.screening.applied and len(item.screening.kept) < len(item.screening.candidates)
    }
    if not lost:
        return ["Screened out: no scenario"] if seen else []
    several = len(record.models) != 1
    named = [
        f"{suite}{f' [{model}]' if several else ''} {out} of {of}"
        for (suite, model), (out, of) in sorted(lost.items(), key=lambda one: -one[1][0] / one[1][1])
    ]
    total, whole = (sum(pair[place] for pair in lost.values()) for place in (0, 1))
    what = f"Screened out, not known to the model and so not asked: {total} of {whole} scenarios of {len(lost)} suites"
    return [f"{what}, most first: {', '.join(few(named, MAX_NAMED, REPORT))}"]


def _cut(record: RunRecord) -> list[str]:
    """Return how many of the answers that the record keeps were cut; it keeps no count of the others."""
    answers = [answer for item in record.items for one in item.exchanges for answer in one.answers]
    failed = sum(bool(one.failure) for item in record.items for one in item.exchanges)
    cut = sum(answer.finish_reason == "length" for answer in answers)
    if not answers and not failed:
        return []
    also = f", {failed} exchanges without an answer" if failed else ""
    kept = f"{cut} of the {len(answers)} answers that the record keeps{also}"
    return [f"Cut by the token limit: {kept}; unreadable rows count against the claim"]


def _evals(record: RunRecord, standing: Standing) -> Block:
    ranked = [(PRECEDENCE.index(effective(item, standing.excused)), item) for item in words.worst_first(record.items)]
    ranked.sort(key=lambda one: (not standing.blocks(one[1]), one[0]))
    wanting = [item for _, item in ranked if effective(item, standing.excused) is not Verdict.PASS]
    named = [_wanting(item, record, standing) for item in wanting[:MAX_NAMED]]
    if len(wanting) > MAX_NAMED:
        named.append(f"and {len(wanting) - MAX_NAMED} more that are not green in {REPORT}")
    shown = {item.node_id for item in record.items}
    # What a warning says of a check stands in the lines above.
    others = [text for text in standing.result.warnings if text.partition(" is ")[0] not in shown]
    others = [text for text in others if text.partition(" could not be ")[0] not in shown]
    notes = [f"To be known: {text}" for text in few(others, MAX_REASONS)]
    found = table(record, standing)
    # The table has its own note of what it leaves out.
    return Block(heading="Evals", table=found, lines=(*([found.more] if found.more else []), *named, *notes))


def _wanting(item: ItemRecord, record: RunRecord, standing: Standing) -> str:
    verdict = effective(item, standing.excused)
    several = len(record.models) != 1
    name = f"{words.letter_word(verdict)} {item.suite}::{item.case}{f'[{item.model}]' if several else ''}"
    effect = "excused by a waiver" if item.node_id in standing.excused else _effect(item, standing)
    head = f"{name} ({standing.severity(item)}, {effect})"
    if restricted(item.hazard):
        return f"{head}: numbers and texts {WITHHELD}"
    number = words.judged(item) if verdict is not Verdict.INVALID else f"{words.evidence(item)} scenarios measured"
    cause = words.public_cause(item) if verdict is Verdict.INVALID else ""
    return f"{head}: {number}, limit {words.bounded(item)}{f'; {cause[:CAUSE]}' if cause else ''}"


def _effect(item: ItemRecord, standing: Standing) -> str:
    return "blocks" if standing.blocks(item) else "reported only"


def _baseline(standing: Standing, record: RunRecord) -> Block | None:
    found = standing.baseline
    if found is None:
        return Block(heading="Against the baseline", lines=("No baseline was given.",))
    if isinstance(found, str):
        return Block(heading="Against the baseline", lines=(f"No comparison, which is no pass: {found}",))
    return Block(heading="Against the baseline", lines=tuple(_compared(found, record)))


def _compared(found: Comparison, record: RunRecord) -> list[str]:
    hidden = {suite.id for suite in record.suites if restricted(suite.hazard)}
    counts = Counter("not compared" if item.verdict is None else _COMPARED[item.verdict] for item in found.items)
    tally = ", ".join(f"{count} {what}" for what, count in counts.items())
    old = found.old
    whose = f"run {old.run_id} of {old.model} ({old.model_digest}), sealed as {old.digest}"
    said = [
        f"{found.word} against {whose}: {tally}",
        f"Worse by more than delta is a regression; limits at {found.confidence:g} each; * by the limits of both runs",
    ]
    wanting = [(item.verdict, item) for item in found.items if item.verdict not in {None, Verdict.PASS}]
    wanting.sort(key=lambda one: (not one[1].blocking, PRECEDENCE.index(one[0] or Verdict.INVALID)))
    named = []
    for _, item in wanting:
        what = WITHHELD if item.suite in hidden else _difference(item)
        about = f"{_COMPARED[item.verdict]}{'' if item.blocking else ' (reported)'}"
        model = f"[{item.model}]" if item.model else ""
        named.append(f"{item.suite}::{item.case}{model} {about}: {what}")
    return [*said, *few(named, MAX_REASONS, "what tells compare says")]


_COMPARED: Final[dict[Any, str]] = {
    Verdict.PASS: "not worse", Verdict.FAIL: "worse", Verdict.INCONCLUSIVE: "undecided",
    Verdict.INVALID: "could not be compared",
}  # fmt: skip


def _difference(item: Any) -> str:
    if item.difference is None:
        return str(item.cause)[:CAUSE]
    found = item.difference
    return f"worse by {found.value:.3g} [{found.low:.3g}, {found.high:.3g}] {item.unit}, delta {item.delta:g}"


def _certificates(record: RunRecord) -> Block:
    living = [suite for suite in record.suites if certified(suite.certificate)]
    said = [f"{len(living)} of {len(record.suites)} suites carry a living certificate"]
    others = [f"{suite.id} ({_dead(suite)})" for suite in record.suites if not certified(suite.certificate)]
    if others:
        said[0] += f"; {certification.UNCERTIFIED}, so that passing them says little: "
        said[0] += "; ".join(few(others, MAX_NAMED, REPORT))
    if living:
        said.append(
            "Between models: with 95 % confidence a model with the failure at standard dose would have been caught "
            "with at least the probability in the table, as far as failures in the wild resemble the planted ones"
        )
    if bad := _truly_bad(living, record):
        said.append(
            "Within this model: with 90 % confidence at most this share of scenarios is truly bad, after what graders "
            "miss of planted ones, as far as failures in the wild resemble those: "
            + ", ".join(few(bad, MAX_NAMED, REPORT))
        )
    return Block(heading="Certificates", lines=tuple(said))


def _dead(suite: SuiteRecord) -> str:
    state = suite.certificate
    if state is None:
        return "nobody looked for one"
    return f"{state.state}: {state.why[:CAUSE]}" if state.state != "living" else "it contradicts itself"


def _truly_bad(living: Sequence[SuiteRecord], record: RunRecord) -> list[str]:
    states = {suite.id: suite.certificate for suite in living if not restricted(suite.hazard)}
    several = len(record.models) != 1
    said = []
    for item in record.items:
        state = states.get(item.suite)
        if state and (known := certification.truly_bad(item, state)):
            model = f"[{item.model}]" if several else ""
            blind = " (the grader flags none of the planted ones)" if not known[2].flagged else ""
            said.append(f"{item.suite}::{item.case}{model} {known[0]:.2g}{blind}")
    return said


def _waivers(record: RunRecord, standing: Standing) -> Block:
    items = {item.node_id: item for item in record.items}
    said = [_waiver(excuse, items.get(excuse.node_id)) for excuse in standing.result.waived]
    claimed = [item for item in record.items if item.verdict is Verdict.WAIVED and item.node_id not in standing.excused]
    said += [f"{item.suite}::{item.case} calls itself waived, and no waiver holds" for item in claimed]
    return Block(heading="Waivers", lines=tuple(few(said, MAX_NAMED, REPORT)) or ("None holds.",))


def _waiver(excuse: Excuse, item: ItemRecord | None) -> str:
    held, left = excuse.waiver, excuse.days_left
    name = f"{item.suite}::{item.case}" if item else excuse.node_id
    hidden = item is None or restricted(item.hazard)
    rate = WITHHELD if hidden else f"{excuse.value:g}"
    days = f"{left} day{'' if left == 1 else 's'} left (until {held.expires})"
    reason = "" if hidden else f"; {held.reason[:CAUSE]}"
    return (
        f"{held.id} excuses {name}: measured {rate}, cap {excuse.cap}, {days}; owner {held.owner}, approved by "
        f"{held.approved_by}{reason}"
    )


def _approvals() -> Block:
    heads = ("approval", "name", "signature", "date")
    rows = tuple((role, "", "", "") for role in ("release manager", "second person"))
    return Block(heading="Approvals", table=Table(heads=heads, rows=rows))


def _run(record: RunRecord) -> Block:
    seeds = ", ".join(f"{name} {seed}" for name, seed in sorted(record.seeds.items()))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    about = f"Run {record.run_id}, {record.started} to {record.finished}"
    return Block(
        heading="Run",
        lines=(
            f"Command: {record.command}",
            f"{about}; profile {record.profile}; seeds {seeds or 'none'}",
            f"Versions: {versions}",
            f"Results (run.json) sealed as {record.digest or 'nothing: there is no seal'}",
            f"Plan (plan.json) sealed as {record.plan}" if record.plan else "No plan was written before the run.",
        ),
    )
