"""Everything a sweep has to say: `results.json`, the same bytes wherever it ran, and `summary.md` for people."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.canonical import canonical_json
from harness.figures import page
from harness.sealing import seal_of
from harness.sweep import kept, phases
from harness.sweep.evaluate import plan_of
from harness.sweep.figures import figures
from harness.sweep.points import libraries, shown
from harness.sweep.run import FIGURES, PAGE, RESULTS, SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.figures.drawing import Cells, Figure
    from harness.sweep.grid import Sweep
    from harness.sweep.kept import Kept
    from harness.sweep.phases import Found
    from harness.sweep.points import Scalar
    from harness.sweep.run import Standing

SCHEMA = "tells-sweep/1"
_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a sweep ended."""

    points: int
    done: int
    failed: tuple[Kept, ...]
    missing: tuple[str, ...]
    """Ids of points of which there is nothing."""
    invalid: int
    """Checks of suites that could not be measured, over all points."""

    @property
    def complete(self) -> bool:
        """Tell whether every point of the grid is trained."""
        return self.done == self.points


def write(sweep: Sweep, standing: Standing, out: Path) -> Outcome:
    """Write `results.json`, `summary.md`, `report.html` and the figures.

    Args:
        sweep: The sweep.
        standing: How all its points stand.
        out: Folder of the results.

    Raises:
        OSError: they cannot be written.
    """
    outcome = _outcome(sweep, standing)
    found = phases.found(sweep, standing.known)
    data = _data(sweep, standing, outcome, found)
    kept.write(out / RESULTS, f"{canonical_json({**data, 'digest': seal_of(data)})}\n".encode())
    kept.write(out / SUMMARY, "\n".join(_summary(sweep, standing, outcome, found)).encode())
    drawn = figures(sweep, found)
    kept.write(out / PAGE, _page(sweep, outcome, found, drawn).encode())
    for number, figure in enumerate(drawn, start=1):
        kept.write(out / FIGURES / f"{number:02d}.svg", figure.svg().encode())
    return outcome


def _page(sweep: Sweep, outcome: Outcome, found: Found, drawn: Sequence[Figure]) -> str:
    said = [sweep.about.strip(), f"{outcome.done} of {outcome.points} points are trained."]
    if not outcome.complete:
        said.append(f"INCOMPLETE: {len(outcome.failed)} failed, {len(outcome.missing)} missing.")
    tables = [("What changes, and how", called_cells(sweep, found))]
    if sweep.size:
        tables.append((f"With {sweep.size}", scaled_cells(sweep, found)))
    return page(f"Sweep {sweep.name}", said, drawn, tables)


def _outcome(sweep: Sweep, standing: Standing) -> Outcome:
    known = standing.known.values()
    return Outcome(
        points=len(sweep.points()), done=sum(one.status == "done" for one in known),
        failed=tuple(one for one in known if one.status == "failed"),
        missing=tuple(point.id for point in standing.missing),
        invalid=sum(item["verdict"] == "INVALID" for one in known for item in (one.evaluated or {}).get("items", ())),
    )  # fmt: skip


def _data(sweep: Sweep, standing: Standing, outcome: Outcome, found: Found) -> dict[str, Any]:
    points = []
    for point in sweep.points():
        one = standing.known.get(point.id)
        nothing = {"id": point.id, "axes": dict(point.axes), "seed": point.seed, "status": "missing"}
        points.append(one.result() if one else nothing)
    return {
        "schema": SCHEMA, "sweep": sweep.name, "file": sweep.digest, "about": sweep.about, "trainer": sweep.trainer,
        "version": sweep.version, "libraries": libraries(), "settings": dict(sweep.settings),
        "axes": [[name, list(values)] for name, values in sweep.axes.items()], "seeds": list(sweep.seeds),
        "control": sweep.control, "size": sweep.size, "behaviour": sweep.behaviour, "continuous": sweep.continuous,
        "reference": dict(sweep.reference), "suites": [[one.path, one.digest] for one in sweep.suites],
        "counts": {"points": outcome.points, "done": outcome.done, "failed": len(outcome.failed),
                   "missing": len(outcome.missing), "invalid": outcome.invalid},
        "points": points, "plans": unequal(standing.known), "phase": found.to_json(),
    }  # fmt: skip


def unequal(known: Mapping[str, Kept]) -> list[dict[str, Any]]:
    """Return the plans of suites and the points that each was asked of; empty where all points have the same plan."""
    plans: dict[str, list[str]] = {}
    for one in known.values():
        if one.evaluated is not None:
            plan = canonical_json([list(check) for check in plan_of(one.evaluated)])
            plans.setdefault(plan, []).append(one.id)
    if len(plans) < 2:  # noqa: PLR2004 - one plan is equal to itself
        return []
    return [{"plan": plan, "points": sorted(ids)} for plan, ids in sorted(plans.items())]


def _summary(sweep: Sweep, standing: Standing, outcome: Outcome, found: Found) -> Iterator[str]:
    yield f"# {sweep.name}"
    yield f"\n{sweep.about.strip()}"
    axes = "; ".join(f"{name} {', '.join(map(shown, values))}" for name, values in sweep.axes.items())
    yield f"\nTrainer `{sweep.trainer}` ({sweep.version}); {axes}; seeds {', '.join(map(str, sweep.seeds))}."
    yield f"\n{outcome.done} of {outcome.points} points are trained."
    if not outcome.complete:
        yield f"\n**INCOMPLETE**: {len(outcome.failed)} failed, {len(outcome.missing)} missing; see the end."
    yield from _calls(sweep, found)
    yield from _scaled(sweep, found)
    yield from _suites(sweep, standing)
    if outcome.failed:
        yield "\n## Failed\n"
        yield from (f"- `{one.id}`: {' '.join(one.cause.split())[:500]}" for one in outcome.failed)
    if outcome.missing:
        yield "\n## Missing\n"
        yield from (f"- `{name}`" for name in outcome.missing)
    yield ""


def _calls(sweep: Sweep, found: Found) -> Iterator[str]:
    along = f"`{sweep.behaviour}`, with its control `{sweep.continuous}`, along `{sweep.control}`"
    yield f"\n## What changes, and how\n\nOf {along}; one call per cell, over its seeds.\n"
    yield from table(*called_cells(sweep, found))


def called_cells(sweep: Sweep, found: Found) -> Cells:
    """Return what is said of each cell of the grid, as a table."""
    names = [name for name in sweep.axes if name != sweep.control]
    head = (*names, "seeds", "label", "break", "interval", "rises by a factor of", "break by seed")
    return head, [[*_place(names, one.cell.axes), str(len(one.cell.seeds)), *one.told()] for one in found.cells]


def _scaled(sweep: Sweep, found: Found) -> Iterator[str]:
    if not sweep.size:
        return
    yield f"\n## With {sweep.size}\n"
    yield from table(*scaled_cells(sweep, found))


def scaled_cells(sweep: Sweep, found: Found) -> Cells:
    """Return what the sizes show together, as a table."""
    names = [name for name in sweep.axes if name not in {sweep.control, sweep.size}]
    return (*names, "label", "why"), [[*_place(names, one.axes), *one.told()] for one in found.scaled]


def _place(names: Sequence[str], axes: Mapping[str, Scalar]) -> list[str]:
    return [shown(axes[name]) for name in names]


def _suites(sweep: Sweep, standing: Standing) -> Iterator[str]:
    if not sweep.suites:
        return
    yield "\n## Suites\n\nAt the last checkpoint of each point: verdicts over the seeds, and what was measured.\n"
    by_cell: dict[tuple[Any, ...], list[Kept]] = {}
    for values in itertools.product(*sweep.axes.values()):
        by_cell[values] = []
    for one in standing.known.values():
        by_cell[tuple(one.axes[name] for name in sweep.axes)].append(one)
    rows: list[list[Any]] = []
    for values, members in by_cell.items():
        rows += [[*map(shown, values), *row] for row in _checks(members)]
    yield from table((*sweep.axes, "check", "verdicts", "measured"), rows)
    if plans := unequal(standing.known):
        yield "\n**Unequal plans**: not all points were asked the same, so their verdicts cannot be put side by side."
        yield from (f"- {len(one['points'])} points, such as `{one['points'][0]}`: {one['plan']}" for one in plans)


def _checks(members: Sequence[Kept]) -> Iterator[list[str]]:
    verdicts: dict[str, Counter[str]] = {}
    values: dict[str, list[tuple[float, str]]] = {}
    for one in members:
        for item in (one.evaluated or {}).get("items", ()):
            name = f"{item['suite']}::{item['case']}"
            verdicts.setdefault(name, Counter())[item["verdict"]] += 1
            if item["measurements"]:
                judged = item["measurements"][0]
                values.setdefault(name, []).append((judged["value"], judged["unit"]))
    for name, counts in verdicts.items():
        numbers = sorted(values.get(name, ()))
        measured = _NOTHING
        if numbers:
            (low, unit), (high, _) = numbers[0], numbers[-1]
            measured = f"{low:.4g} to {high:.4g} {unit}" if low != high else f"{low:.4g} {unit}"
        yield [name, ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())), measured]


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(headers)} |"
    yield f"|{'---|' * len(headers)}"
    for row in rows:
        cells = [" ".join(str(cell).split()).replace("|", "\\|") or _NOTHING for cell in row]
        yield f"| {' | '.join(cells)} |"
