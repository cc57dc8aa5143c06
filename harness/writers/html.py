"""`report.html`: one file, offline; foreign text is escaped, and a strict policy stands behind that.

The page reads whole without its script, which filters, sorts and opens. Of exchanges it holds as many as fit into its
size, the worst checks first; the others are in `examples.jsonl` beside it.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from harness.errors import RecordError
from harness.escape import clip, line, pieces
from harness.record import results
from harness.record_file import write_atomic
from harness.restricted import BANNER
from harness.writers import certification, page_examples, page_items, page_limits, page_plot, words
from harness.writers.base import writer
from harness.writers.release_blocks import page_of
from harness.writers.release_page import standing_of
from harness.writers.sections import sections_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from jinja2 import Environment
    from markupsafe import Markup

    from harness.exchange import Exchange
    from harness.figures.drawing import Figure
    from harness.record import ItemRecord, RunRecord
    from harness.writers.page_items import Check, Mode
    from harness.writers.release_page import Standing
    from harness.writers.sections import Section

NAME = "report.html"
MAX_TEXT = 6000
MAX_REASONS = 20
MAX_LINE = 1_600
MOST, SMALL, EACH = 970_000, 560_000, 420
"""Bytes that the page may have with facts and exchanges: at most, with no check, and for each check more."""
FEWEST = 0.05
"""Of a page whose rows alone have more: so much again for facts and exchanges of its worst checks."""
FOR_EXCHANGES = 0.4
"""Of the room for facts and exchanges, kept free for exchanges."""
MAX_TWINS = 400
"""Checks up to which the plots of each suite stand in a table too; of more, their numbers stand in the rows alone."""
FOLDED = ("Model", "What this does not show", "Approvals", "Run")
"""Blocks of the release page that the page says again, or that are for paper: shut on a screen, open in print."""
OWN = (
    "verdict", "pages", "content", "checks", "filters", "expand-all", "collapse-all", "reset", "count", "token-value",
    "certification", "limits", "provenance",
)  # fmt: skip
"""Ids of the page itself, besides those that begin with `i-`, `a-`, `mode-` and `suite-`."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{}'; base-uri 'none'; "
    "form-action 'none'"
)


@writer.register("html")
def write(
    record: RunRecord, folder: Path, standing: Standing | None = None, sections: Sequence[Section] = ()
) -> Path:  # fmt: skip
    """Write `report.html` into `folder`, and `examples.jsonl` where not all exchanges have room in it.

    Args:
        record: The run.
        folder: Where to.
        standing: What it is judged by; left out, the gate without a policy.
        sections: Further ones, behind those of the record.

    Raises:
        RecordError: the folder refuses.
    """
    path, beside = folder / NAME, folder / page_examples.NAME
    left: list[tuple[ItemRecord, Exchange]] = []
    text = render(record, standing, sections, left)
    if left:
        write_atomic(beside, page_examples.lines(left, page_items.anchor_of))
    write_atomic(path, text)
    if not left:
        _take_away(beside)
    return path


def _take_away(path: Path) -> None:
    """Take away the exchanges of an earlier run: nobody shall read them beside this page.

    Raises:
        RecordError: the folder refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path}: cannot be taken away ({error}); expected a folder to write in; remove it, or name another"
        raise RecordError(msg) from error


def render(
    record: RunRecord, standing: Standing | None = None, sections: Sequence[Section] = (),
    left: list[tuple[ItemRecord, Exchange]] | None = None,
) -> str:  # fmt: skip
    """Return the report as one HTML page; of a run on models the page for a release comes first.

    Args:
        record: The run.
        standing: What it is judged by; left out, the gate without a policy.
        sections: Further ones, behind those of the record.
        left: Takes the exchanges that have no room in the page, with their items.
    """
    standing = standing_of(record, standing)
    found = page_items.modes(record, standing) if record.certification is None else ()
    checks = {check.item.node_id: check for mode in found for view in mode.suites for check in view.checks}
    told = _context(record, standing, found, _apart((*sections_of(record, standing), *sections)))
    told["rows"] = _rows(found, several=len(record.models) > 1)
    told["parts"] = list(map(_macro("report_tail.j2", "further"), told["sections"]))
    template = _environment().get_template("report.html.j2")
    # The first time for its size: what is left of the page is for facts and exchanges.
    empty: dict[str, Any] = {"facts": {}, "examples": {}, "left": {}, "omitted": 0}
    size = len(template.render(told | empty).encode())
    room = max(min(MOST, SMALL + EACH * len(record.items)) - size, int(FEWEST * size))
    ordered = [checks[item.node_id] for item in words.worst_first(record.items)] if found else []
    facts, room = _facts(ordered, room)
    group = _macro("report_examples.j2", "group")
    shown, others = page_examples.chosen(
        [check.item for check in ordered if check.anchor in facts], room, lambda _, __, one: group(one)
    )
    others += [(check.item, one) for check in ordered if check.anchor not in facts for one in check.item.exchanges]
    counts: dict[str, int] = {}
    for item, _ in others:
        counts[checks[item.node_id].anchor] = counts.get(checks[item.node_id].anchor, 0) + 1
    if left is not None:
        left += others
    return str(template.render(told | {"facts": facts, "examples": shown, "left": counts, "omitted": len(others)}))


def _apart(sections: Iterable[Section]) -> list[Section]:
    """Return sections of which no two, nor one and a part of the page, have the same anchor."""
    names = page_items.Names(OWN)
    return [dataclasses.replace(one, anchor=names.slug(one.anchor)) for one in sections]


def _rows(found: Sequence[Mode], *, several: bool) -> dict[str, Markup]:
    """Return what is seen of each check unopened, by its anchor."""
    row = _macro("report_checks.j2", "row")
    return {
        check.anchor: row(check, unit.anchor, view.badge, view.certified, several)
        for mode in found
        for view in mode.suites
        for unit in view.units
        for check in unit.checks
    }


def _facts(ordered: Sequence[Check], room: int) -> tuple[dict[str, Markup], int]:
    """Return what stands behind each check, worst first, as far as there is room; and the room that is left."""
    made = _macro("report_checks.j2", "facts")
    keep = int(room * FOR_EXCHANGES)
    facts: dict[str, Markup] = {}
    for check in ordered:
        text = made(check)
        room -= len(text.encode())
        if room < keep:
            return facts, room + len(text.encode())
        facts[check.anchor] = text
    return facts, room


def _context(record: RunRecord, standing: Standing, found: tuple[Mode, ...], sections: list[Section]) -> dict[str, Any]:
    """Return everything that the page says besides its checks."""
    return {
        "policy": POLICY.format(_script_hash()), "script": _own("report.js"), "css": _own("report.css"),
        "page": page_of(record, standing) if record.certification is None else None, "max_line": MAX_LINE,
        "record": record, "banner": BANNER, "result": standing.result,
        "folded": FOLDED, "tables": len(record.items) <= MAX_TWINS,
        "plain_words": words.plain_words(record, standing.result), "tally": words.tally(record),
        "shared": words.shared, "max_reasons": MAX_REASONS, "done": len(results(record)),
        "amiss": [one for mode in found for suite in mode.suites for one in suite.checks if not one.item.verdict.green],
        "modes": found, "several": len(record.models) > 1, "filters": _filters(record), "sections": sections,
        "twins": any(page_plot.twin_of(item) for item in record.items), "spark_heads": page_plot.SPARK_HEADS,
        "general": page_limits.general(record), "not_selected": page_limits.not_selected(record),
        "max_named": page_limits.MAX_NAMED,
        "findings": certification.rows(record.certification or ()), "finding_heads": certification.HEADERS,
        "statements": [] if record.certification is None
        else [said for suite in record.suites for said in certification.statements(suite, record.certification)],
    }  # fmt: skip


def _filters(record: RunRecord) -> list[tuple[str, str, list[str]]]:
    """Return the fields to filter by: name, label and values, as the checks carry them."""
    verdicts, severities = {item.verdict for item in record.items}, {item.severity for item in record.items}
    return [
        ("mode", "Mode", sorted({line(item.failure_mode, 100) for item in record.items})),
        ("severity", "Severity", [one for one in words.SEVERITIES if one in severities]),
        ("verdict", "Verdict", [verdict.value for verdict in words.tally(record) if verdict in verdicts]),
        ("model", "Model", list(dict.fromkeys(line(item.model, 120) for item in record.items))),
    ]


def shown_text(text: str) -> Markup:
    """Return model text, verbatim, with what is invisible written out and marked."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2, which only this writer needs

    mark = Markup('<span class="hidden">{}</span>')
    return Markup().join(mark.format(piece) if hidden else piece for hidden, piece in pieces(clip(text, MAX_TEXT)))


def drawn(figure: Figure) -> Markup:
    """Return the SVG of a figure, every text in which was escaped where it was drawn."""
    from markupsafe import Markup  # noqa: PLC0415 - as above

    return Markup(figure.svg())  # noqa: S704 - drawn by this package


@functools.cache
def _own(name: str) -> Markup:
    """Return a file of this package that goes into the page as it stands."""
    from markupsafe import Markup  # noqa: PLC0415 - as above

    return Markup(resources.files("harness.writers").joinpath("templates", name).read_text("utf-8"))  # noqa: S704 - ours


def _script_hash() -> str:
    """Return what names the one script that the policy of the page lets run."""
    return base64.b64encode(hashlib.sha256(str(_own("report.js")).encode()).digest()).decode()


def short(value: float, digits: int = 1) -> str:
    """Return a number with so many decimals, none of them a zero at the end."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


def _macro(template: str, name: str) -> Any:
    return getattr(_environment().get_template(template).module, name)


@functools.cache
def _environment() -> Environment:
    import jinja2  # noqa: PLC0415 - only this writer needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.writers", "templates"),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Any] = {
        # Names of suites, models and the like stand in many places.
        "line": functools.lru_cache(maxsize=4096)(line), "text": shown_text, "number": words.number,
        "letter_word": words.letter_word, "letter": words.LETTERS.get, "measured": words.measured,
        "judged": words.judged, "bounded": words.bounded,
        "evidence": words.evidence, "screened": words.screened, "inside": words.inside, "twin": page_plot.twin_of,
        "drawn": drawn, "short": short,
    }  # fmt: skip
    environment.filters.update(filters)
    return environment
