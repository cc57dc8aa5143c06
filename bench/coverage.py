"""How often do the limits that are offered miss, and how often does a stopping rule pass a model at its limit?

    python bench/coverage.py                    2,000 simulated data sets per line; a quarter of an hour
    python bench/coverage.py --quick            300 per line
    python bench/coverage.py --only exact       lines whose name holds a word; repeatable
    python bench/coverage.py --json out.json    the table as JSON too

Each limit is one-sided at a nominal error of 5 %. A line is VIOLATED where more data sets missed than the upper end of
the 99 % binomial band around its tolerated error; fewer are no violation, since exact limits of counts are careful by
nature. The exit code is 1 with any violation.

tolerated    5 %, unless the documentation promises less: such limits are descriptive, or of data so skewed that no
             limit without a bound on the values can hold
contrast     rules that are not offered, to show that the simulation finds a bad one; they must be violated
ICC          correlation of the rows of one scenario
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchkit.simulated import CONFIDENCE, ERROR, Line, Simulation, any_of, hits, missed
from coverage_measures import measures
from tabulate import tabulate

from harness import curtail, power, stats
from harness.errors import MeasureError
from harness.estimates import forecast_interval
from harness.measures.gap import discordant
from harness.measures.separation import limits as auroc_limits
from harness.paired import clustered_mean, difference_limits
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.stats import Interval

FULL, QUICK = 2000, 300
SKEWED, FEW_CLUSTERS, FEW_FORMS = 0.15, 0.10, 0.08
"""Errors that docs/statistics.md owns up to: bootstraps of heavily skewed values, Korn-Graubard with few clusters, the
lower limit of an AUROC of a dozen forms."""
BATCHED = 0.07
"""Error of a false FAIL that looks in batches may reach; of a false PASS they cannot."""
PEEKED = 0.05
"""Limit of the rule that peeks."""
exact = functools.cache(stats.exact_limits)
decide = functools.cache(curtail.decide)


# --- intervals


def shares() -> Iterable[Simulation]:
    """Yield limits of shares."""
    for n, p in ((30, 0.1), (299, 0.01), (300, 0.1), (60, 0.5)):
        yield Simulation(
            name="exact", design=f"{n} scenarios, rate {p:g}",
            once=lambda rng, _, n=n, p=p: missed(exact(int(rng.binomial(n, p)), n, CONFIDENCE), p),
        )  # fmt: skip
    for icc in (0.0, 0.3):
        truth = any_of(10, 0.02, icc)
        yield Simulation(
            name="exact, scenario fails if any row does", design=f"100 x 10 rows, ICC {icc:g}, rate {truth:.3f}",
            once=lambda rng, _, icc=icc, truth=truth: missed(
                exact(int((hits(rng, 100, 10, 0.02, icc) > 0).sum()), 100, CONFIDENCE), truth
            ),
        )  # fmt: skip
    yield Simulation(
        name="exact, rows as if independent", design="100 x 10 rows, ICC 0.3, rate 0.02", contrast=True,
        said=("upper",),
        once=lambda rng, _: missed(exact(int(hits(rng, 100, 10, 0.02, 0.3).sum()), 1000, CONFIDENCE), 0.02)[:1],
    )  # fmt: skip
    for scenarios, icc in ((30, 0.0), (30, 0.3), (100, 0.0), (100, 0.3)):
        yield Simulation(
            name="Korn-Graubard (descriptive)", design=f"{scenarios} x 10 rows, ICC {icc:g}, rate 0.05",
            tolerated=(FEW_CLUSTERS, ERROR) if icc else (ERROR, ERROR),
            once=lambda rng, _, g=scenarios, icc=icc: missed(
                stats.korn_graubard(hits(rng, g, 10, 0.05, icc).tolist(), [10] * g, CONFIDENCE)[0], 0.05
            ),
        )  # fmt: skip
    for n, p, icc in ((30, 0.1, 1.0), (60, 0.1, 1.0), (60, 0.1, 0.0), (30, 0.1, 0.3), (60, 0.5, 0.3)):
        yield Simulation(
            name="bounded mean", design=f"{n} x {1 if icc == 1.0 else 10} samples, ICC {icc:g}, rate {p:g}",
            once=lambda rng, at, n=n, p=p, icc=icc: missed(
                stats.bounded_mean(
                    rng.binomial(1, p, n) if icc == 1.0 else hits(rng, n, 10, p, icc) / 10, CONFIDENCE, at
                ), p,
            ),
        )  # fmt: skip
    for up, down in ((0.1, 0.05), (0.1, 0.0), (0.0, 0.0)):
        yield Simulation(
            name="discordant pairs", design=f"60 pairs, {up:g} against {down:g}",
            once=lambda rng, _, up=up, down=down: missed(
                discordant(*(int(k) for k in rng.multinomial(60, [up, down, 1 - up - down])[:2]), 60, CONFIDENCE),
                up - down,
            ),
        )  # fmt: skip


def means() -> Iterable[Simulation]:
    """Yield limits of means and other numbers without a range."""
    for n in (10, 20, 60):
        yield _bootstrap(n, "normal", lambda rng, n: rng.normal(0.0, 1.0, n), 0.0)
    yield _bootstrap(20, "exponential", lambda rng, n: rng.exponential(1.0, n), 1.0, (SKEWED, ERROR))
    yield _bootstrap(60, "lognormal", lambda rng, n: rng.lognormal(0.0, 1.0, n), math.exp(0.5), (SKEWED, ERROR))
    for cues, nulls in ((12, 99), (24, 24)):
        yield Simulation(
            name="bootstrap of items and forms", design=f"24 items, {cues} cue and {nulls} null forms, all random",
            once=lambda rng, at, cues=cues, nulls=nulls: missed(_shift(rng, cues, nulls, at), 0.0),
        )  # fmt: skip
    for doses in (10, 30):
        yield Simulation(
            name="dose response", design=f"30 items, 3 of {doses} doses each, all random, slope 0",
            once=lambda rng, at, doses=doses: missed(_slope(rng, doses, at), 0.0),
        )  # fmt: skip
    for clusters, icc in ((20, 0.0), (20, 0.3), (8, 0.3)):
        yield Simulation(
            name="clustered mean (descriptive)", design=f"{clusters} x 5 rows, normal, ICC {icc:g}",
            once=lambda rng, _, g=clusters, icc=icc: missed(_clusters(rng, g, 5, icc), 0.0),
        )  # fmt: skip
    for shift in (0.0, 1.0):
        truth = 0.5 * math.erfc(-shift / 2.0)
        yield Simulation(
            name="AUROC", design=f"12 and 99 forms, normal, {shift:g} sd apart", tolerated=(ERROR, FEW_FORMS),
            once=lambda rng, at, shift=shift, truth=truth: missed(
                auroc_limits(rng.normal(shift, 1, 12).tolist(), rng.normal(0, 1, 99).tolist(), CONFIDENCE, at), truth
            ),
        )  # fmt: skip
    yield Simulation(
        name="forecast of the worst", design="300 queries for 30,000, Gumbel tail", said=("upper",), once=_forecast,
        tolerated=(0.06, ERROR),
    )  # fmt: skip


def pairs() -> Iterable[Simulation]:
    """Yield limits of paired differences: an upper limit that misses is a false PASS at a difference of delta."""
    for n, up, down in ((60, 0.1, 0.05), (20, 0.1, 0.0), (60, 0.1, 0.0), (60, 0.4, 0.4), (200, 0.02, 0.02)):
        yield _paired(
            f"{n} binary pairs, {up:g} against {down:g}", up - down,
            lambda rng, n=n, up=up, down=down: rng.choice([1.0, -1.0, 0.0], n, p=[up, down, 1 - up - down]),
        )  # fmt: skip
    for icc in (0.0, 0.3):
        yield _paired(
            f"60 x 10 rows in both runs, ICC {icc:g}", 0.05,
            lambda rng, icc=icc: (hits(rng, 60, 10, 0.15, icc) - hits(rng, 60, 10, 0.1, icc)) / 10,
        )  # fmt: skip
    for n, sd in ((10, 2.0), (20, 2.0), (60, 2.0), (60, 0.3)):
        yield _paired(f"{n} pairs, normal, sd {sd:g}", 0.0, lambda rng, n=n, sd=sd: rng.normal(0.0, sd, n))
    yield _paired("20 pairs, t with 3 degrees", 0.0, lambda rng: rng.standard_t(3, 20))
    yield _paired("20 pairs, exponential, mean 2", 2.0, lambda rng: rng.exponential(2.0, 20), (SKEWED, ERROR))
    for n in (10, 60):
        yield _paired(
            f"{n} pairs, lognormal", math.exp(0.5), lambda rng, n=n: rng.lognormal(0.0, 1.0, n), (SKEWED, ERROR)
        )  # fmt: skip


def _bootstrap(
    n: int, name: str, draw: Callable[[np.random.Generator, int], np.ndarray], truth: float,
    tolerated: tuple[float, float] = (ERROR, ERROR),
) -> Simulation:  # fmt: skip
    def once(rng: np.random.Generator, at: int) -> tuple[bool, bool]:
        values = draw(rng, n)
        replicates = stats.weighted_mean(values, stats.draws(at, n))
        return missed(stats.percentile(replicates, float(values.mean()), stats.tail(CONFIDENCE, n)), truth)

    return Simulation(name="bootstrap of items", design=f"{n} items, {name}", once=once, tolerated=tolerated)


def _shift(rng: np.random.Generator, cues: int, nulls: int, seed: int) -> Interval:
    """Return the limits of a cue shift of 0: items of sd 2, forms of sd 0.3, each item with four forms of each kind."""
    items, tables = rng.normal(0.0, 2.0, 24), []
    for name, forms in (("cue", cues), ("null", nulls)):
        present = np.zeros((24, forms), dtype=bool)
        each = -(-forms // 24) + 3
        for at in range(24):
            present[at, (at * each + np.arange(each)) % forms] = True
        noise = rng.normal(0.0, 0.3, (24, forms)) + rng.normal(0.0, 0.3, forms)
        tables.append(stats.Table(values=items[:, None] + noise, present=present, family=name, resampled=True))
    found, replicates = stats.contrast(tables, (1.0, -1.0), seed)
    return stats.percentile(replicates, float(found.mean()), stats.tail(CONFIDENCE, stats.units_of(tables)))


def _slope(rng: np.random.Generator, doses: int, seed: int) -> Interval:
    """Return the limits of a dose effect of 0: items of sd 2, doses and noise of sd 0.3; without the numeric band."""
    present = np.zeros((30, doses), dtype=bool)
    for at in range(30):
        present[at, (at * 3 + np.arange(3)) % doses] = True
    values = rng.normal(0.0, 2.0, (30, 1)) + rng.normal(0.0, 0.3, doses) + rng.normal(0.0, 0.3, (30, doses))
    table = stats.Table(values=values, present=present, family="doses", resampled=True)
    steps = np.linspace(0.0, 1.0, doses)
    found = stats.slopes(table, steps, np.ones((1, doses)), np.ones((1, 30)))
    replicates = stats.slopes(table, steps, stats.draws(seed + 1, doses), stats.draws(seed, 30))
    return stats.percentile(replicates, float(found[0]), stats.tail(CONFIDENCE, min(30, doses)))


def _clusters(rng: np.random.Generator, clusters: int, rows: int, icc: float) -> Interval:
    shared = rng.normal(0.0, math.sqrt(icc), clusters)
    values = np.repeat(shared, rows) + rng.normal(0.0, math.sqrt(1.0 - icc), clusters * rows)
    return clustered_mean(values, np.repeat(np.arange(clusters), rows).tolist(), CONFIDENCE)


def _forecast(rng: np.random.Generator, at: int) -> tuple[bool] | None:
    # psi = -log(-log p) is Gumbel of scale 1/4 about -2: the largest of n has its median quantile where psi says.
    logs = -np.exp(2.0 - rng.exponential(0.25, 300))
    truth = -math.exp(2.0) * 30_000 ** (-0.25)
    try:
        return (forecast_interval(logs.tolist(), 30_000, 10, CONFIDENCE, at).high < truth,)
    except MeasureError:  # a refusal is no limit
        return None


def _paired(
    design: str, truth: float, draw: Callable[[np.random.Generator], np.ndarray],
    tolerated: tuple[float, float] = (ERROR, ERROR),
) -> Simulation:  # fmt: skip
    return Simulation(
        name="non-inferiority", design=design, tolerated=tolerated,
        once=lambda rng, at: missed(difference_limits(draw(rng), CONFIDENCE, at), truth),
    )  # fmt: skip


# --- stopping rules


def rules() -> Iterable[Simulation]:
    """Yield stopping rules on models whose true rate is the limit: passing is wrong, and so is failing."""
    for n, limit in ((299, 0.01), (1000, 0.01), (60, 0.05)):
        for batch in sorted({n, 1, 50, min(190, n)}):
            yield _rule(n, limit, batch)
    for icc in (0.0, 0.3):
        yield _rule(100, any_of(10, 0.01, icc), 1, icc)
    yield Simulation(
        name="looking after every scenario, passing when the bound is met", design=f"up to 1000, limit {PEEKED:g}",
        said=("false PASS",), contrast=True, once=lambda rng, _: (peeking(rng.random(1000) < PEEKED, PEEKED),),
    )  # fmt: skip
    most = power.allowed(60, 0.05, CONFIDENCE)
    yield Simulation(
        name="again until green, three times", design="60 scenarios, limit 0.05", said=("false PASS",), contrast=True,
        once=lambda rng, _: (bool((rng.binomial(60, 0.05, 3) <= most).any()),),
    )  # fmt: skip
    rows = power.allowed(1000, 0.02, CONFIDENCE)
    yield Simulation(
        name="fixed plan on rows", design="100 x 10 rows, ICC 0.3, limit 0.02", said=("false PASS",), contrast=True,
        once=lambda rng, _: (bool(hits(rng, 100, 10, 0.02, 0.3).sum() <= rows),),
    )  # fmt: skip


def _rule(n: int, limit: float, batch: int, icc: float | None = None) -> Simulation:
    def once(rng: np.random.Generator, _: int) -> tuple[bool, bool]:
        failed = rng.random(n) < limit if icc is None else hits(rng, n, 10, 0.01, icc) > 0
        said = curtailed(failed, limit, batch)
        return said is Verdict.PASS, said is Verdict.FAIL

    looks = "one look" if batch == n else "a look at each" if batch == 1 else f"looks every {batch}"
    rows = "" if icc is None else f", 10 rows each, ICC {icc:g}"
    return Simulation(
        name="curtailed plan", design=f"{n} scenarios{rows}, limit {limit:.3g}, {looks}", once=once,
        said=("false PASS", "false FAIL"), tolerated=(ERROR, BATCHED if 1 < batch < n else ERROR),
    )  # fmt: skip


def curtailed(failed: np.ndarray, limit: float, batch: int) -> Verdict:
    """Return what the curtailed plan concludes about scenarios that come in batches."""
    n, totals = failed.size, failed.cumsum()
    for asked in [*range(batch, n, batch), n]:
        said = decide(n, limit, CONFIDENCE, int(totals[asked - 1]), asked)
        if said != curtail.GO_ON:
            return said
    msg = "a plan that was asked to its end goes on"
    raise AssertionError(msg)


def peeking(failed: np.ndarray, limit: float) -> bool:
    """Tell whether somebody who recomputes the exact bound after every scenario ever passes."""
    totals = failed.cumsum()
    least = bars(failed.size, limit)
    return bool((totals <= least).any())


@functools.cache
def bars(n: int, limit: float) -> np.ndarray:
    """Return, (n,), how many of the first 1 ... n may fail under an exact upper limit; -1 where not even none may."""
    found = (power.allowed(asked, limit, CONFIDENCE) for asked in range(1, n + 1))
    return np.asarray([-1 if most is None else most for most in found])


def simulations() -> Iterator[Simulation]:
    """Yield everything that is simulated."""
    for group in (shares, means, pairs, measures, rules):
        yield from group()


HEADERS = ("what", "design", "data sets", "wrong", "band up to", "tolerated", "")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 where a line is violated."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} data sets per line")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="lines whose name holds the word")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    replications = QUICK if options.quick else FULL
    lines: list[Line] = []
    for one in simulations():
        if not options.only or any(word in one.name for word in options.only):
            for line in one.lines(replications):
                lines.append(line)
                sys.stderr.write(f"{' | '.join(line.cells())}\n")
    print(tabulate([line.cells() for line in lines], headers=HEADERS, disable_numparse=True))
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n", encoding="utf-8")
    broken = [line for line in lines if line.violated]
    print(f"{len(lines)} lines, {len(broken)} violated")
    return 1 if broken or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
