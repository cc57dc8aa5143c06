"""The intervals that `coverage.py` takes from single measures: maxima of several, information, trends, two runs."""

# ruff: noqa: SLF001 - the limits as the measures themselves make them; a copy of them would show nothing

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from benchkit.simulated import CONFIDENCE, Simulation, missed

from harness import power, stats, trend
from harness.measures import elicit, exchange, leak, scan, told
from harness.measures.gap import discordant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.stats import Interval

exact = functools.cache(stats.exact_limits)
SHARES, NATS = 2, 3
"""Elicited conditions."""
KNOWN, LOST = 0.4, 0.1
"""Share of items right without elicitation, and share of those that elicitation makes wrong."""


def measures() -> Iterable[Simulation]:
    """Yield them; every truth is known from how the data are made."""
    yield from maxima()
    yield from information()
    yield from trends()
    yield from runs()


# --- the largest of several


def maxima() -> Iterable[Simulation]:
    """Yield limits of a largest one: their choice must be paid for."""
    for gains in ((0.0, 0.0), (0.2, 0.0)):
        yield Simulation(
            name="elicitation gain, shares", design=f"60 items, {SHARES} conditions, gains {gains[0]:g} and 0",
            once=lambda rng, _, gains=gains: missed(_elicited(rng, gains), max(gains)),
        )  # fmt: skip
    yield Simulation(
        name="elicitation gain, nats", design=f"24 items of sd 1, {NATS} conditions, no gain",
        once=lambda rng, at: missed(_gained(rng, at), 0.0),
    )  # fmt: skip
    for items in (12, 40):
        yield Simulation(
            name="exchangeability", design=f"{items} items of sd 1, 4 entities, no preference",
            once=lambda rng, at, items=items: missed(_preferred(rng, items, at), 0.0),
        )  # fmt: skip
    for candidates in (5, 40):
        yield Simulation(
            name="cue scan", design=f"24 items, {candidates} candidates and 30 null forms, no shift",
            once=lambda rng, at, c=candidates: missed(_scanned(rng, c, at), 0.0),
        )  # fmt: skip


def _elicited(rng: np.random.Generator, gains: tuple[float, ...]) -> Interval:
    each, found = elicit._each(CONFIDENCE, gains), {}
    base = rng.random(60) < KNOWN
    for place, gain in enumerate(gains):
        # Of those right in the base a part is lost, of those wrong a part is found: the difference is the gain.
        right = np.where(base, rng.random(60) >= LOST, rng.random(60) < (gain + KNOWN * LOST) / (1.0 - KNOWN))
        up, down = int((right & ~base).sum()), int((base & ~right).sum())
        found[str(place)] = discordant(up, down, 60, each)
    return elicit._largest(found)[1]


def _table(values: np.ndarray, family: str) -> stats.Table:
    return stats.Table(
        values=values, present=np.ones(values.shape, dtype=bool), family=family, resampled=values.shape[1] > 1
    )


def _gained(rng: np.random.Generator, seed: int) -> Interval:
    each = elicit._each(CONFIDENCE, range(NATS))
    base, found = rng.normal(0.0, 2.0, (24, 1)), {}
    for place in range(NATS):
        pair = (_table(base, "base"), _table(base + rng.normal(0.0, 1.0, (24, 1)), str(place)))
        found[str(place)] = elicit.bootstrap(pair, (1.0, -1.0), each, seed)
    return elicit._largest(found)[1]


def _preferred(rng: np.random.Generator, items: int, seed: int) -> Interval:
    shifts = rng.normal(0.0, 1.0, (items, 4))
    shifts -= shifts.mean(axis=1, keepdims=True)
    pairs = [[_table(shifts[:, [e]], "in"), _table(np.zeros((items, 1)), "reference")] for e in range(4)]
    drawn = [stats.contrast(pair, (1.0, -1.0), seed) for pair in pairs]
    means = [float(each.mean()) for each, _ in drawn]
    return exchange._limits(pairs[0], [replicates for _, replicates in drawn], means, CONFIDENCE)


def _scanned(rng: np.random.Generator, candidates: int, seed: int) -> Interval:
    items = rng.normal(0.0, 2.0, (24, 1))
    cues = items + rng.normal(0.0, 0.3, (24, candidates))
    null = items + rng.normal(0.0, 0.3, (24, 30)) + rng.normal(0.0, 0.3, 30)
    # What a candidate shows is a shift against the mean of null forms, which is 0 for this family.
    return scan.scan_limits(_table(cues, "cues"), _table(null, "null"), CONFIDENCE, seed)[1]


# --- information


def information() -> Iterable[Simulation]:
    """Yield limits of exposure, divergence and mutual information."""
    for known in (0.0, 0.5):
        yield Simulation(
            name="exposure", design=f"12 canaries, {known:.0%} of them known, 99 references, 10 items",
            once=lambda rng, at, known=known: missed(_exposed(rng, known, at), _exposure(known)),
        )  # fmt: skip
    yield Simulation(
        name="divergence", design="20 items, 6 cue and 12 null forms, all alike",
        once=lambda rng, at: missed(_diverged(rng, at), 0.0),
    )  # fmt: skip
    for told_by in (0.0, 0.6):
        yield Simulation(
            name="mutual information", design=f"16 items x 10 forms, the secret told in {told_by:.0%} of answers",
            once=lambda rng, at, p=told_by: missed(_leaked(rng, p, at), _told_bits(p)),
        )  # fmt: skip


def _exposure(known: float) -> float:
    """Return the mean exposure, bits: a known canary ranks first, one that is not known has a uniform rank."""
    chance = math.log2(100) - math.fsum(math.log2(rank) for rank in range(1, 101)) / 100
    return known * math.log2(100) + (1.0 - known) * chance


def _exposed(rng: np.random.Generator, known: float, seed: int) -> Interval:
    own = rng.normal(0.0, 1.0, 12) + 100.0 * (rng.random(12) < known)
    others = rng.normal(0.0, 1.0, 99)
    canaries, references = (
        _table(-200.0 + forms + rng.normal(0.0, 1e-3, (10, forms.size)), name)
        for forms, name in ((own, "canaries"), (others, "references"))
    )
    mean, reference = canaries.values.mean(axis=0), references.values.mean(axis=0)
    ranks = 1 + (reference > mean[:, None]).sum(axis=1)
    value = float((math.log2(100) - np.log2(ranks)).mean())
    return told.exposure_limits(canaries, references, value, CONFIDENCE, seed)


def _diverged(rng: np.random.Generator, seed: int) -> Interval:
    cues, nulls = tuple(f"c{n}" for n in range(6)), tuple(f"n{n:02}" for n in range(12))
    forms = {name: rng.normal(0.0, 1.0) for name in (*cues, *nulls)}
    pairs = []
    for _ in range(20):
        at = {name: place + rng.normal(0.0, 1.0) for name, place in forms.items()}
        cross = np.asarray([[0.01 * (at[a] - at[b]) ** 2 for b in nulls] for a in cues])
        own = np.asarray([[0.01 * (at[a] - at[b]) ** 2 for b in nulls] for a in nulls])
        pairs.append(scan.Pairs(cue=cross, null=own, cues=cues, nulls=nulls, rows={}))
    value = math.fsum(pair.cue.mean() - pair.null_mean for pair in pairs) / len(pairs)
    return scan.divergence_limits(pairs, value, CONFIDENCE, seed)


def _told_bits(p: float) -> float:
    """Return I(label; secret), bits: a label is the secret with probability p, else one of three words."""
    return p


def _leaked(rng: np.random.Generator, p: float, seed: int) -> Interval:
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - of this one alone

    items, forms = np.repeat(np.arange(16), 10), np.tile(np.arange(10), 16)
    secrets = np.arange(10) % 2
    # Labels 0 and 1 are the two values of the secret, 2 to 4 are words that tell nothing.
    said = np.where(rng.random(160) < p, secrets[forms], rng.integers(2, 5, 160))
    labels = csr_matrix((np.ones(160), (np.arange(160), said)), shape=(160, 5))
    cells = leak.Cells(items=items, forms=forms, labels=labels, secrets=secrets, rows=160)
    found = leak._information(cells, leak._permutations(cells, seed), 16)
    return leak._limits(cells, found, (16, 16), CONFIDENCE, seed)


# --- trends, and two runs


def trends() -> Iterable[Simulation]:
    """Yield limits of what three checkpoints in a row reach, and of the step at which a line meets a target."""
    for rates in ((0.1,) * 5, (0.02, 0.05, 0.1, 0.3, 0.5)):
        yield Simulation(
            name="trend", design=f"checkpoints of 60 scenarios, rates {', '.join(f'{rate:g}' for rate in rates)}",
            once=lambda rng, _, rates=rates: missed(_sustained(rng, rates), trend.sustained(rates)),
        )  # fmt: skip
    yield Simulation(
        name="forecast of a step", design="a line through 6 checkpoints, reached after twice as many steps",
        once=_crossed,
    )  # fmt: skip


def _sustained(rng: np.random.Generator, rates: tuple[float, ...]) -> Interval:
    windows = max(trend.SUCCESSIVE, len(rates) - trend.SUCCESSIVE + 1)
    each = [exact(int(rng.binomial(60, rate)), 60, 1.0 - (1.0 - CONFIDENCE) / windows) for rate in rates]
    low, value, high = (
        trend.sustained([getattr(one, name) for one in each]) for name in ("low", "value", "high")
    )  # fmt: skip
    return stats.Interval(value=value, low=low, high=high)


def _crossed(rng: np.random.Generator, _: int) -> tuple[bool, bool]:
    steps = [10, 20, 40, 80, 160, 320]
    values = [math.log(step) + float(rng.normal(0.0, 0.3)) for step in steps]
    found = trend.extrapolated(steps, values, math.log(640), confidence=CONFIDENCE)
    return found.high is not None and found.high < 640, found.low is not None and found.low > 640  # noqa: PLR2004


def runs() -> Iterable[Simulation]:
    """Yield the difference of the limits of two runs, and the rate behind a grader that overlooks some."""
    for rho in (0.0, 0.9):
        yield Simulation(
            name="difference by the limits of both runs", design=f"means of 30 normal values, correlation {rho:g}",
            once=lambda rng, at, rho=rho: missed(_subtracted(rng, rho, at), 0.0),
        )  # fmt: skip
    yield Simulation(
        name="rate behind a grader, at 90 %", design="300 scenarios at 3 %, grader flags 80 %, 60 labelled rows",
        said=("upper",), tolerated=(0.10, 0.10), once=_behind,
    )  # fmt: skip


def _subtracted(rng: np.random.Generator, rho: float, seed: int) -> Interval:
    common = rng.normal(0.0, math.sqrt(rho), 30)
    now, then = (
        stats.percentile(
            stats.weighted_mean(values, stats.draws(seed + place, 30)), float(values.mean()),
            stats.tail(CONFIDENCE, 30),
        )
        for place in range(2)
        for values in [common + rng.normal(0.0, math.sqrt(1.0 - rho), 30)]
    )  # fmt: skip
    return stats.Interval(value=now.value - then.value, low=now.low - then.high, high=now.high - then.low)


def _behind(rng: np.random.Generator, _: int) -> tuple[bool]:
    flagged = int(rng.binomial(300, 0.03 * 0.8))
    sees = power.detection_lower(int(rng.binomial(60, 0.8)), 60, CONFIDENCE)
    return (power.corrected_upper(exact(flagged, 300, CONFIDENCE).high, sees) < 0.03,)  # noqa: PLR2004 - the truth
