"""The file beside a suite that says what it was shown to catch, on which models, and when that is no longer true.

A certificate names everything that its numbers hang on by digest: the suite and its data, the bounds, the version of
the measures, the recipes. It tells an accident, not malice: who edits it by hand can write any digest.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.certify.expect import claim, spec_of
from harness.certify.findings import CertificateState, Flagged, meets, sensitivity, specificity
from harness.certify.flags import shares
from harness.certify.matrix import separations
from harness.errors import RecordError, TellsError
from harness.organisms import spec as specs
from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.case import Case, Suite
    from harness.certify.findings import Expected, Finding

SCHEMA = "tells-certificate/1"
SUFFIX = ".eval.yaml"
NAME = ".certificate.json"
AGAIN = "run `tells certify --write` again"
NONE = "there is none; `tells certify --write` makes one"
UNCLAIMED = "the suite names no organism in `catches`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model that the suite was run on, with what came of it."""

    organism: str
    arm: str
    base: str
    seed: int
    recipe: str
    weights: str
    model: str
    expected: Expected
    verdict: Verdict
    found_by: tuple[str, ...]
    counted: tuple[tuple[str, int, int], ...]
    """Case, truly bad rows that it flags, truly bad rows."""
    leading: dict[str, Any] | None
    """Number of the first case: `case`, `name`, `value`, `low`, `high`, `unit`, `n`; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a suite was shown to catch."""

    suite: str
    suite_digest: str
    """Of the file and of every data file that it draws on: facts, cues, rows."""
    checks: tuple[dict[str, Any], ...]
    """`case`, `kind`, and the limit, unit and confidence where it has them; parts of joint cases one by one."""
    measures: str
    profile: str
    """A design of another profile asks other questions."""
    entries: tuple[Entry, ...]
    sensitivity: dict[str, float]
    """`k` of `n` base seeds, `bound`: exact, one-sided, 95 %."""
    specificity: dict[str, float]
    """`k` of `n` base seeds on which a control FAILed, `bound`: the upper one."""
    auroc: tuple[dict[str, Any], ...]
    flags: tuple[Flagged, ...]
    """How many truly bad rows each case that reads text flags."""
    versions: dict[str, str]
    run: str
    """Digest of the record that it was made from."""
    date: str

    @property
    def state(self) -> CertificateState:
        """What a run says of a suite with this certificate."""
        counted = sensitivity(self.entries)
        return CertificateState(state="living", k=counted.k, n=counted.n, bound=counted.bound, flags=self.flags)


def path_of(suite: Path) -> Path:
    """Return where the certificate of a case file lies."""
    return suite.with_name(suite.name.removesuffix(SUFFIX) + NAME)


def certify(
    suite: Suite, findings: Sequence[Finding], *, profile: str, versions: dict[str, str], run: str, date: str
) -> Certificate:
    """Return the certificate of a suite.

    Args:
        suite: The suite, as it was asked.
        findings: All of its findings; those on organisms that it does not claim to catch are left out.
        profile: Of the run.
        versions: Of the software.
        run: Digest of the run's record.
        date: ISO 8601.

    Raises:
        RecordError: there is nothing to certify, or an expectation was not met.
    """
    claimed = [finding for finding in findings if finding.expected and finding.suite == suite.id]
    unmet = [finding.node_id for finding in claimed if not finding.met or not meets(finding.expected, finding.verdict)]
    if why := f"{len(unmet)} expectations were not met" if unmet else _uncovered(suite, claimed):
        msg = f"{suite.path}: {why}; expected every one met; a suite is certified when it has shown what it claims"
        raise RecordError(msg)
    return Certificate(
        suite=suite.id, suite_digest=suite.digest, checks=tuple(checks_of(suite)), measures=_measures(),
        profile=profile, entries=tuple(map(_entry, claimed)), sensitivity=asdict(sensitivity(claimed)),
        specificity=asdict(specificity(claimed)), auroc=tuple(map(asdict, _separations(suite, claimed))),
        flags=shares(claimed),
        versions=dict(versions), run=run, date=date,
    )  # fmt: skip


def write(path: Path, certificate: Certificate) -> None:
    """Write a certificate in one step.

    Raises:
        OSError: the folder refuses.
        ValueError: it holds NaN or infinity.
    """
    from harness.engines.digests import write_atomically  # noqa: PLC0415 - only who writes needs it

    data = {"schema": SCHEMA, **asdict(certificate)}
    write_atomically(path, (json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())
    path.chmod(0o644)


def read(path: Path, suite: Suite, *, profile: str = "default") -> Certificate | str:
    """Return the certificate in `path` if it is one of `suite` as it stands here; else why it is dead.

    Nothing is raised: whatever is wrong with the file, or with what it names, the certificate is dead.
    """
    try:
        certificate = _parse(path)
        why = next(_deaths(certificate, suite, profile), "")
    except Exception as error:  # noqa: BLE001 - a certificate that cannot be read or checked certifies nothing
        text = (
            str(error) if isinstance(error, TellsError | OSError | ValueError) else f"{type(error).__name__}: {error}"
        )
        return f"it cannot be read ({text[:300]}); {AGAIN}"
    return f"{why}; {AGAIN}" if why else certificate


def state_of(case_file: Path, suite: Suite, *, profile: str = "default") -> CertificateState:
    """Return what a run says of the certificate of a suite."""
    path = path_of(case_file)
    if not path.is_symlink() and not path.exists():
        return CertificateState(state="absent", why=NONE if suite.catches else UNCLAIMED)
    found = read(path, suite, profile=profile)
    return CertificateState(state="dead", why=found) if isinstance(found, str) else found.state


def checks_of(suite: Suite) -> Iterator[dict[str, Any]]:
    """Yield what is checked against which bound, parts of joint cases one by one."""
    for case in suite.cases:
        yield _check(case)
        yield from map(_check, case.parts)


def _measures() -> str:
    from harness.measures import VERSION  # noqa: PLC0415 - collection needs no measures

    return VERSION


def _check(case: Case) -> dict[str, Any]:
    options = case.check.options
    known = ("at_most", "at_least", "unit", "confidence")
    return {"case": case.id, "kind": case.check.kind, **{key: options[key] for key in known if key in options}}


def _entry(finding: Finding) -> Entry:
    first, leading = finding.leading, None
    if first is not None and (measured := first.measurement) is not None:
        numbers = {key: getattr(measured, key) for key in ("name", "value", "low", "high", "unit", "n")}
        leading = {"case": first.case, **numbers}
    return Entry(
        organism=finding.organism, arm=finding.arm, base=finding.base, seed=finding.seed, recipe=finding.recipe,
        weights=finding.weights, model=finding.model, expected=finding.expected, verdict=finding.verdict,
        found_by=finding.found_by, counted=finding.counted, leading=leading,
    )  # fmt: skip


def _separations(suite: Suite, findings: Sequence[Finding]) -> Iterable[Any]:
    return separations(findings, [case.id for case in suite.cases])


def _uncovered(suite: Suite, entries: Sequence[Finding | Entry]) -> str:
    """Say what a certificate lacks: each organism of `catches`, planted and with a control on the same base seeds."""
    if not suite.catches:
        return UNCLAIMED
    if any(not (entry.recipe and entry.weights and entry.model) for entry in entries):
        return "a model has no digest of recipe, weights or identity"
    for wanted in suite.catches:
        name, bases = claim(wanted)
        mine = [entry for entry in entries if entry.organism == name and entry.base in bases]
        planted = {(entry.base, entry.seed) for entry in mine if entry.arm == "planted"}
        controls = {(entry.base, entry.seed) for entry in mine if entry.arm == "twin"}
        if not planted or planted != controls:
            return f"organism {wanted}: planted and twin were not both run on the same seeds"
        if why := _unplanned(name, mine):
            return why
    return ""


def _unplanned(name: str, entries: Sequence[Finding | Entry]) -> str:
    """Say in what the models of one organism are not those that its recipe plans: seeds, and arms on each of them."""
    from harness.organisms import zoo  # noqa: PLC0415 - only certificates need recipes

    plans = zoo.recipe(name).plans if name in specs.names() else {}
    for base, seed in sorted({(entry.base, entry.seed) for entry in entries if entry.arm == "planted"}):
        if (plan := plans.get(base)) is None:
            continue
        if seed not in plan.seeds:
            return f"the recipe of {name} does not plan seed {seed} on {base}"
        asked = {entry.arm for entry in entries if (entry.base, entry.seed) == (base, seed)}
        if lost := sorted(set(plan.arms) - asked):
            return f"the recipe of {name} plans {lost[0]} on {base}, seed {seed}, and it was not run"
    return ""


def _deaths(certificate: Certificate, suite: Suite, profile: str) -> Iterator[str]:
    """Yield every reason why a certificate is dead, the cheapest to find first."""
    if certificate.suite != suite.id:
        yield f"it is of the suite {certificate.suite!r}"
    if certificate.suite_digest != suite.digest:
        yield "the suite, or a data file that it draws on, was changed"
    if list(certificate.checks) != list(checks_of(suite)):
        yield "the bounds were changed"
    if certificate.measures != _measures():
        yield f"it was measured by {certificate.measures}, and this is {_measures()}"
    if certificate.profile != profile:
        yield f"it is of the profile {certificate.profile}, and this run is {profile}"
    if why := _uncovered(suite, certificate.entries):
        yield why
    if not all(entry.expected and meets(entry.expected, entry.verdict) for entry in certificate.entries):
        yield "it holds an expectation that was not met"
    if any((entry.arm == "planted") is not (entry.expected == "FAIL") for entry in certificate.entries):
        yield "it expects of an arm what no suite expects"
    counts = asdict(sensitivity(certificate.entries)), asdict(specificity(certificate.entries))
    said = (certificate.sensitivity, certificate.specificity)
    recounted = [asdict(one) for one in shares(certificate.entries)]
    if not (all(map(_alike, counts, said)) and _all_alike(recounted, [asdict(one) for one in certificate.flags])):
        yield "its counts are not those of its entries"
    yield from _other_organisms(certificate.entries)


def _all_alike(found: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]) -> bool:
    return len(found) == len(said) and all(map(_alike, found, said))


def _alike(found: dict[str, Any], said: dict[str, Any]) -> bool:
    """Compare counts exactly, and the bounds that follow from them up to the last digits of another scipy."""
    return all(
        math.isclose(value, said[name], rel_tol=1e-9) if name == "bound" else value == said[name]
        for name, value in found.items()
    )


def _other_organisms(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield which organisms are not the ones that were measured.

    The recipe decides; weights are compared where they are shipped, since another machine class grows other bits from
    the same recipe.
    """
    from harness.organisms import zoo  # noqa: PLC0415 - only living certificates need recipes

    for entry in entries:
        spec = spec_of(entry.organism, entry.arm, entry.base, entry.seed)
        if entry.organism not in specs.names():
            yield f"there is no organism {entry.organism!r} any more"
            return
        order = zoo.order(spec)
        if order.recipe != entry.recipe:
            yield f"the recipe of {entry.organism} on {entry.base} was changed"
            return
        where, folder = zoo.where(order)
        manifest = zoo.read_manifest(folder) if folder is not None and where == "shipped" else None
        if manifest is not None and manifest.weights != entry.weights:
            yield f"{spec} is shipped with other weights"
            return


def _parse(path: Path) -> Certificate:
    """Return the certificate that a file holds.

    Raises:
        RecordError: it has another version or shape.
        OSError, ValueError: it cannot be read, or holds a number that is none.
    """
    import jsonschema  # noqa: PLC0415 - heavy, and only readers need it

    def refuse(word: str) -> Any:
        msg = f"it holds {word}, which is no number"
        raise ValueError(msg)

    def finite(word: str) -> float:
        return number if math.isfinite(number := float(word)) else refuse(word)

    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse, parse_float=finite)
    problem = next(jsonschema.Draft202012Validator(schema()).iter_errors(data), None)
    if problem is not None:
        msg = f"{problem.message[:200]} @ {problem.json_path}"
        raise RecordError(msg)
    fields = {key: value for key, value in data.items() if key != "schema"}
    fields["entries"] = tuple(_read_entry(entry) for entry in data["entries"])
    fields["flags"] = tuple(Flagged(**found) for found in data["flags"])
    return Certificate(**{**fields, "checks": tuple(data["checks"]), "auroc": tuple(data["auroc"])})


def _read_entry(data: dict[str, Any]) -> Entry:
    counted = tuple((str(case), int(flagged), int(bad)) for case, flagged, bad in data["counted"])
    return Entry(
        **{**data, "verdict": Verdict(data["verdict"]), "found_by": tuple(data["found_by"]), "counted": counted}
    )


@functools.cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of certificates; the caller must not change it."""
    text = Path(__file__).with_name("certificate.schema.json").read_text(encoding="utf-8")
    return typing.cast("dict[str, Any]", json.loads(text))
