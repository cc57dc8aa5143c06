"""The page of a control: what was demanded, which seeds met it, and the numbers seed by seed."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from harness.controls import demands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.figures.drawing import Cells

SERIES = (*demands.CHANGES, "copy_rate")


def page(results: Mapping[str, Any]) -> str:
    """Return the summary of a control as Markdown."""
    met = "Every demand was met at every seed." if results["met"] else "**Not every demand was met.**"
    time = f"{results['seconds']:.0f} s with {results['jobs']} at once."
    shown = [part if isinstance(part, str) else _markdown(part) for part in parts(results)]
    return "\n\n".join([f"# Control: {results['control']}", f"{met} {time}", *shown]) + "\n"


def parts(results: Mapping[str, Any]) -> list[str | Cells]:
    """Return what is said of a control, sentences and tables in the order of the page: the demands come first."""
    tables = {"induction": _induction, "skip-trigrams": _skip_trigrams, "superposition": _superposition}
    judged = _table(
        ("demand", "rule", "seeds that met it", "seeds that did not"),
        ((one["name"], one["rule"], _seeds(one["met_by"]), _seeds(one["missed_by"])) for one in results["demands"]),
    )
    return [judged, *tables[results["control"]](results)]


def _induction(results: Mapping[str, Any]) -> list[str | Cells]:
    width = results["settings"]["width"]
    rows = [
        (run["layers"], run["seed"], *(_break(run["changes"][name]) for name in SERIES), _yes(run["together"]),
         f"{run['curve'][-1]['copy_rate']:.3f}", f"{run['cpu_seconds']:.0f}")
        for run in sorted(results["runs"], key=lambda run: (-run["layers"], run["seed"])) if run["width"] == width
    ]  # fmt: skip
    chance = results["settings"]["together_by_chance"]
    return [
        "Breaks by seed: step, (window), change of the mean. A dash: no change.",
        _table(("layers", "seed", *SERIES, "together", "copy rate at the end", "CPU s"), rows),
        f"Three breaks at random places would lie that near each other in {chance:.1%} of cases.",
        "The protocol of `harness.phase`, over all seeds: its strictest question is whether a smooth curve would do.",
        _table(
            ("layers", "behaviour", "control", "sharp below", "label", "break of behaviour", "of control"),
            _calls(results["calls"]),
        ),
        "By width, two layers: median break and median window (a factor in steps) of series that change.",
        _table(("width", "seeds", *SERIES, "together"), _by_width(results["runs"])),
    ]


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (one["layers"], one["behaviour"], one["control"], f"x{one['call']['rule']['factor']:g}",
         one["call"]["label"],
         *(_called(one["call"][side]) for side in ("behaviour", "control")))
        for one in calls
    ]  # fmt: skip


def _called(found: Mapping[str, Any]) -> str:
    if found["p_value"] is None:
        return "not tested"
    wide = "" if found["width"] is None else f", x{math.exp(found['width'][0]):.2f} wide"
    where = f"{found['tau']:.0f} ({found['low']:.0f} to {found['high']:.0f})" if found["found"] else "none"
    return f"{where}, p {found['p_value']:.3f}{wide}"


def _by_width(runs: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for width in sorted({run["width"] for run in runs}):
        here = [run for run in runs if run["width"] == width and run["layers"] > 1]
        cells = []
        for name in SERIES:
            changed = [run["changes"][name] for run in here if run["changes"][name]["found"]]
            step, wide = (statistics.median(one[key] for one in changed) if changed else 0 for key in ("step", "width"))
            cells.append(f"{step:.0f}, x{wide:.2f} ({len(changed)})" if changed else "none")
        found.append((width, len(here), *cells, sum(run["together"] for run in here)))
    return found


def _skip_trigrams(results: Mapping[str, Any]) -> list[str | Cells]:
    runs = [(run, model) for run in results["runs"] for model in run["models"]]
    rows = [
        (model["heads"], run["seed"], f"{model['read_off']}/{model['planted']}",
         f"{model['behaviour']['argmax_where_one_source']:.3f}", f"{model['all_tables']['max_difference']:.1e}",
         f"{model['token_tables']['argmax_where_decisive']:.3f}", f"{model['token_tables']['argmax']:.3f}",
         f"{model['token_tables']['correlation']:.3f}", f"{model['token_tables']['mean_divergence']:.4f}",
         f"{model['null']['mean']:.3f} ({model['null']['largest']:.3f})", f"{model['null']['p']:.3f}")
        for run, model in sorted(runs, key=lambda pair: (-pair[1]["heads"], pair[0]["seed"]))
    ]  # fmt: skip
    header = (
        "heads", "seed", "read off", "model right", "all tables, largest difference (nats)", "tokens: agree, decisive",
        "agree, all", "correlation of log p", "divergence (nats)", "permuted: mean (largest)", "p",
    )  # fmt: skip
    return [
        _table(header, rows), "Sources that compete: measured shares beside those foretold.",
        _competition(runs), "The bug: lifts in nats, measured (foretold).", _bug(runs),
    ]  # fmt: skip


def _competition(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Cells:
    rows = []
    for run, model in sorted(runs, key=lambda pair: (-pair[1]["heads"], pair[0]["seed"])):
        token, attention = model["competition"]["next_token"], model["competition"]["attention"]
        rows.append((
            model["heads"], run["seed"], f"{attention['correlation']:.3f}", f"{attention['mean_difference']:.3f}",
            f"{token['correlation']:.3f}", f"{token['mean_difference']:.3f}",
            f"{token['mean_difference_from_planted']:.3f}",
        ))  # fmt: skip
    return _table(
        ("heads", "seed", "attention: correlation", "mean difference", "next token: correlation", "mean difference",
         "mean difference from the corpus"), rows,
    )  # fmt: skip


def _bug(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Cells:
    rows = []
    for run, model in sorted(runs, key=lambda pair: (-pair[1]["heads"], pair[0]["seed"])):
        found = model["bug"]
        kinds = ("right", "bug", "unrelated")
        lifts = (f"{found[f'lift_{kind}']:+.2f} ({found[f'foretold_{kind}']:+.2f})" for kind in kinds)
        rows.append((
            model["heads"], run["seed"], *lifts, f"{found['p_bug']:.1e}", f"{found['p_unrelated']:.1e}",
            f"{found['share_of_pairs_above_unrelated']:.2f}",
        ))  # fmt: skip
    header = (
        "heads",
        "seed",
        "right output",
        "bug",
        "unrelated",
        "p of a bug",
        "p of an unrelated",
        "pairs bug > unrelated",
    )
    return _table(header, rows)


def _superposition(results: Mapping[str, Any]) -> list[str | Cells]:
    sparse, sized = results["by_sparsity"], results["by_size"]
    seeds = results["seeds"]
    keys = [point["inverse_density"] for point in sparse[0]["points"]]
    first = [
        (f"{key:g}", *(_geometry(_at(run, "inverse_density", key)) for run in sorted(sparse, key=_seed)))
        for key in keys
    ]  # fmt: skip
    sizes = [point["size"] for point in sized[0]["points"]]
    second = [(size, *_sizes([_at(run, "size", size) for run in sized])) for size in sizes]
    tops = [
        (run["seed"], *demands.bump(run["points"]), demands.crossover(run["points"]))
        for run in sorted(sized, key=_seed)
    ]  # fmt: skip
    return [
        "By sparsity, a seed a column: D* (share of represented features in antipodal pairs).",
        _table(("1/(1-S)", *(f"seed {seed}" for seed in seeds)), first),
        "By size of the data set: mean over seeds (smallest to largest).",
        _table(("T", "train loss", "test loss", "D of points", "D of the five largest features"), second),
        _table(
            ("seed", "size of the bump", "above both ends by", "features ahead of points from size"),
            ((seed, size, f"{over:.1%}", after) for seed, size, over, after in tops),
        ),
    ]  # fmt: skip


def _sizes(points: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for name in ("train_loss", "test_loss", "point_dimensionality", "feature_dimensionality"):
        values = [point[name] for point in points]
        yield f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _geometry(point: Mapping[str, Any]) -> str:
    return f"{point['dimensions_per_feature']:.3f} ({point['share_antipodal']:.2f})"


def _at(run: Mapping[str, Any], key: str, value: object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(point for point in run["points"] if point[key] == value)
    return found


def _seed(run: Mapping[str, Any]) -> int:
    return int(run["seed"])


def _break(found: Mapping[str, Any]) -> str:
    if not found["found"]:
        return "–"  # noqa: RUF001 - the sign for what is not there
    (low, high), way = found["window"], found["after"] - found["before"]
    return f"{found['step']:.0f} ({low:.0f} to {high:.0f}) {way:+.2f}"


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _yes(value: object) -> str:
    return "yes" if value is True else "no"


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Cells:
    return tuple(map(str, header)), [tuple(map(str, row)) for row in rows]


def _markdown(cells: Cells) -> str:
    head, rows = cells
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
