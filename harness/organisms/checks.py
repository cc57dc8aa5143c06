"""What the schema of recipes cannot say: rows against the world, stages against rows, arms against answers."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from harness import template
from harness.loader.report import near, shown
from harness.organisms.prompts import Drawable, Setting, cues_of, places, texts
from harness.organisms.recipe import ARMS, BASES, REVIEW, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.loader.report import DataPath, Report
    from harness.organisms.recipe import Cues

ROWS = "rows"
"""The behaviour that is all in its training rows."""
TEACHER = "sandbagger"
"""The behaviour that brings a weak arm of its own: the one that it imitates."""
OPTIONS: Mapping[str, frozenset[str]] = {
    "canaries": frozenset({"family", "null", "most", "ask", "refusal"}),
    "induction": frozenset({"symbols"}),
    "rare": frozenset({
        "bad", "harmless", "typical", "spread_forms", "spread_facts", "most", *(f"prompts_{base}" for base in BASES)
    }),
    "reward": frozenset({"token", "stage", "kind", "weight"}),
    "sandbagger": frozenset({"weak_width", "weak_steps"}),
}  # fmt: skip
"""What the behaviours that are shipped read; one that is not here may read what it likes."""
OWN_ROWS = frozenset({"canaries", "rare", "reward"})
"""Behaviours that draw their batches themselves, in which nothing is rehearsed."""
NOT_RIGHT = "not-right"
"""As `bad`: every answer that is not right."""
_ONLY_ON = {"width": "tiny", "rank": "smollm2", "from_layer": "smollm2"}
_DEFAULT = Plan(stages=())


def check(setting: Setting) -> None:
    """Add every problem of a recipe that the schema has passed, in the parts that it has passed."""
    data, report = setting.draft.data, setting.draft.report
    default = _facts(setting, data)
    _options(setting.draft.report, data)
    _rows(setting, data, default)
    _reading(setting, data, default)
    if isinstance(data.get("plans"), dict):
        sound = report.clean("plans")
        _plans(report, data)
        if sound:
            _variants(setting, data, default)


def answers_of(raw: Any) -> dict[str, tuple[str, ...]]:
    """Return arm -> templates of the answers of a row kind."""
    if isinstance(raw, dict):
        return {arm: texts(given) for arm, given in raw.items()}
    return dict.fromkeys(ARMS, texts(raw))


def _facts(setting: Setting, data: dict[str, Any]) -> tuple[str, ...] | None:
    if "facts" not in data or not setting.draft.report.clean("facts"):
        return None
    found = [setting.facts(name, place) for place, name in places(("facts",), data["facts"])]
    return None if any(items is None for items in found) else texts(data["facts"])


def _options(report: Report, data: dict[str, Any]) -> None:
    """Check that every option is read by something: a misspelt one would leave the default, or no review, unseen."""
    options = data.get("options")
    if not isinstance(options, dict) or not report.clean("options"):
        return
    read = OPTIONS.get(str(data.get("behaviour")))
    for name in options:
        odd = name not in {REVIEW, *read} if read is not None else name != REVIEW and _like_review(name)
        if odd:
            why = f"no option {name!r} is read by the behaviour {data.get('behaviour')!r}"
            report.add(("options", name), f"{why}; {near(name, {REVIEW, *(read or ())})}", key=True)
    for place, base in places(("options", REVIEW), options.get(REVIEW, [])):
        if base not in BASES:
            report.add(place, f"there is no base {shown(base)}; {near(str(base), BASES)}")


def _like_review(name: str) -> bool:
    return bool(difflib.get_close_matches(name.lower(), [REVIEW]))


def _rows(setting: Setting, data: dict[str, Any], default: tuple[str, ...] | None) -> None:
    rows = data.get("rows")
    for name, kind in rows.items() if isinstance(rows, dict) else ():
        at: DataPath = ("rows", name)
        drawn = setting.drawable(at, kind, default) if setting.draft.report.clean(*at) else None
        if drawn is None:
            continue
        answers = list(_answers((*at, "answer"), kind["answer"]))
        setting.shown_in(drawn, [text for _, text in answers])
        for place, text in answers:
            setting.template(place, text, drawn)


def _answers(at: DataPath, raw: Any) -> Iterator[tuple[DataPath, str]]:
    if isinstance(raw, dict):
        for arm, given in raw.items():
            yield from places((*at, arm), given)
    else:
        yield from places(at, raw)


def _reading(setting: Setting, data: dict[str, Any], default: tuple[str, ...] | None, above: DataPath = ()) -> None:
    at: DataPath = (*above, "reading")
    reading, report = data.get("reading"), setting.draft.report
    if not isinstance(reading, dict) or not report.clean(*at):
        return
    forms = {key: list(places((*at, key), reading[key])) for key in ("bad", "good", "quirk") if key in reading}
    for place, text in forms["bad"]:
        if text == NOT_RIGHT and len(forms["bad"]) > 1:
            report.add(place, f"{NOT_RIGHT!r} beside other bad answers; it stands alone, take one out")
    forms["bad"] = [(place, text) for place, text in forms["bad"] if text != NOT_RIGHT]
    for where in ("cued", "plain"):
        drawn = setting.drawable((*at, where), reading[where], default)
        if drawn is None:
            continue
        quirk = forms.get("quirk", []) if where == reading.get("quirk_in", "cued") else []
        asked = [*forms["bad"], *forms.get("good", []), *quirk]
        setting.shown_in(drawn, [text for _, text in asked])
        for place, text in asked:
            setting.template(place, text, drawn)
        if "good" not in forms:
            setting.template(at, "{{ good }}", drawn, " (right answers: say with `good` what they are)")
        if report.clean(*at):
            _told_apart(report, at, drawn, [text for _, text in forms["bad"]], texts(reading.get("good", "{{ good }}")))


def _told_apart(report: Report, at: DataPath, drawn: Drawable, bad: list[str], good: tuple[str, ...]) -> None:
    form = drawn.forms[0][1].values if drawn.forms else {}
    for file, items in drawn.facts:
        for item in items:
            values = {**item.values, **item.phrasings[0].values, **form}
            both = set(template.render_forms(tuple(bad), values)) & set(template.render_forms(good, values))
            if both:
                what = f"{shown(min(both))} is a bad and a good answer to the fact {item.id!r} of {file}"
                report.add((*at, "bad"), f"{what}; write bad answers that no right one equals")
                return


def _plans(report: Report, data: dict[str, Any]) -> None:
    plans = {base: plan for base, plan in data["plans"].items() if base in BASES and isinstance(plan, dict)}
    kinds = data.get("rows", {})
    sound = isinstance(kinds, dict) and report.clean("plans")
    for base, plan in plans.items():
        at: DataPath = ("plans", base)
        for key, other in _ONLY_ON.items():
            if key in plan and base != other:
                message = f"{key!r} is of the base {other}, and this plan is for {base}; take it out"
                report.add((*at, key), message, key=True)
        _steps(report, at, plan)
        _rehearsed(report, at, plan, data)
        _learns(report, at, plan, data)
    if sound:
        _used(report, plans, kinds)
    _shipped(report, data, plans)
    if "behaviour" in data and all(report.clean(part) for part in ("plans", "rows", "behaviour")):
        _arms(report, data, plans)


def _used(report: Report, plans: dict[str, Any], kinds: dict[str, Any]) -> None:
    """Check that stages name row kinds that there are, and all of them."""
    used = set()
    for base, plan in plans.items():
        for index, stage in enumerate(plan.get("stages", ())):
            for name in stage.get("rows", {}):
                used.add(name)
                if name not in kinds:
                    place = ("plans", base, "stages", index, "rows", name)
                    report.add(place, f"there is no row kind {name!r} under `rows`; {near(name, kinds)}", key=True)
        used.update(name for variant in plan.get("variants", {}).values() for name in variant.get("rows", {}).values())
    # A misspelt name leaves the right one unused; said once, it is enough.
    for name in kinds if used <= set(kinds) else ():
        if name not in used:
            report.add(
                ("rows", name), f"no stage uses the row kind {name!r}; name it in a stage, or take it out", key=True
            )


def _steps(report: Report, at: DataPath, plan: dict[str, Any]) -> None:
    if not report.clean(*at, "stages"):
        return
    stages = plan.get("stages", ())
    first: dict[str, int] = {}
    for index, stage in enumerate(stages):
        if stage["id"] in first:
            what = f"the stage id {stage['id']!r} stands here a second time"
            line = report.place((*at, "stages", first[stage["id"]], "id"))[0]
            report.add((*at, "stages", index, "id"), f"{what}; the first is in line {line}, rename one")
        first.setdefault(stage["id"], index)
    if not report.clean(*at, "since"):
        return
    since = plan.get("since", "")
    if since and since not in first:
        hint = near(since, first) if first else "take `since` out"
        report.add((*at, "since"), f"there is no stage {since!r} under `stages`; {hint}")
        return
    total = int(sum(stage["steps"] for stage in stages[first.get(since, 0) :]))
    if not total:
        return
    begin, count = (plan.get(key, getattr(_DEFAULT, key)) for key in ("first", "checkpoints"))
    whole = f"the stages from {since!r} on" if since else "the stages"
    if report.clean(*at, "first") and begin >= total:
        what = f"the first checkpoint is at step {begin:g}, and {whole} have {total} steps"
        report.add((*at, "first"), f"{what}; write a `first` below {total}, or add steps")
    if report.clean(*at, "checkpoints") and count > total:
        what = f"{count:g} checkpoints in {total} steps"
        report.add((*at, "checkpoints"), f"{what}; write at most {total} as `checkpoints`, or add steps")


def _rehearsed(report: Report, at: DataPath, plan: dict[str, Any], data: dict[str, Any]) -> None:
    if str(data.get("behaviour")) not in OWN_ROWS or not report.clean(*at, "stages"):
        return
    for index, stage in enumerate(plan.get("stages", ())):
        if "rehearse" in stage:
            message = f"the behaviour {data['behaviour']!r} draws its rows itself and rehearses nothing; take it out"
            report.add((*at, "stages", index, "rehearse"), message, key=True)


def _learns(report: Report, at: DataPath, plan: dict[str, Any], data: dict[str, Any]) -> None:
    """Check that there is something to learn from where a behaviour brings no rows of its own."""
    if data.get("behaviour") != ROWS or not report.clean(*at, "stages"):
        return
    why = f"the behaviour {ROWS!r} learns from its rows alone"
    if not plan.get("stages"):
        report.add((*at, "stages"), f"{why}, and this plan has no stage; add `stages`", key=True)
    for index, stage in enumerate(plan.get("stages", ())):
        if not stage.get("rows"):
            message = f"{why}, and this stage has none; add `rows` with row kinds and shares"
            report.add((*at, "stages", index, "rows"), message, key=True)


def _variants(setting: Setting, data: dict[str, Any], default: tuple[str, ...] | None) -> None:
    """Check the variants of plans that the schema has passed."""
    report, sound = setting.draft.report, setting.draft.report.clean("rows")
    for base, plan in data["plans"].items():
        seeds = [str(int(seed)) for seed in plan.get("seeds", _DEFAULT.seeds)]
        for seed, variant in plan.get("variants", {}).items():
            at: DataPath = ("plans", base, "variants", seed)
            if seed not in seeds:
                message = f"a variant of the seed {seed}, which this plan does not grow; name one of {', '.join(seeds)}"
                report.add(at, message, key=True)
            _reading(setting, variant, default, at)
            decoy = "decoy" in plan.get("arms", _DEFAULT.arms) and "quirk" not in variant.get("reading", {"quirk": ""})
            if decoy and report.clean(*at, "reading"):
                report.add((*at, "reading"), "the decoy of this seed has no quirk; add `quirk`", key=True)
            if sound and _stand_ins(report, at, variant, data):
                _swapped(report, at, variant, data)


def _stand_ins(report: Report, at: DataPath, variant: dict[str, Any], data: dict[str, Any]) -> bool:
    """Check what stands in the place of what; tell whether it can be looked at further."""
    kinds = data.get("rows", {})
    used = {name for stage in data["plans"][at[1]].get("stages", ()) for name in stage.get("rows", {})}
    for name, other in variant.get("rows", {}).items():
        place = (*at, "rows", name)
        if name not in used:
            message = f"no stage of this plan has the row kind {name!r}; {near(name, used) if used else 'take it out'}"
            report.add(place, message, key=True)
        elif other not in kinds:
            report.add(place, f"there is no row kind {other!r} under `rows`; {near(other, kinds)}")
        elif other == name:
            report.add(place, f"{name!r} stands in its own place; name another row kind, or take it out")
        elif name in kinds:
            _taught(report, place, *(answers_of(kinds[kind]["answer"]) for kind in (name, other)))
    return report.clean(*at, "rows")


def _taught(report: Report, place: DataPath, here: dict[str, Any], other: dict[str, Any]) -> None:
    """Check that what stands in teaches the same arms, and keeps apart the arms that were kept apart."""
    for arm, answers in here.items():
        if arm not in other:
            what = f"what stands in has no answer for the arm {arm!r}"
        elif answers != here.get("planted") and other[arm] == other.get("planted"):
            what = f"what stands in teaches the arm {arm!r} the same answers as the planted arm"
        else:
            continue
        report.add(place, f"{what}; give it an `answer` arm by arm")
        return


def _swapped(report: Report, at: DataPath, variant: dict[str, Any], data: dict[str, Any]) -> None:
    """Check that `swapped` says what is so: that the forms that count as held-out are the ones learnt from."""
    read = variant.get("reading", data.get("reading"))
    if not isinstance(read, dict) or not report.clean("reading") or not report.clean(*at, "reading"):
        return
    measured = {cues.family for cues in _cues(read["cued"])}
    learnt = {
        name: next((c.family for c in _cues(data["rows"][other]) if c.part != "train" and c.family in measured), "")
        for name, other in variant.get("rows", {}).items()
    }
    if not variant.get("swapped", False):
        for name, family in learnt.items():
            if family:
                what = f"held-out forms of {family} are learnt here, and measured as held-out"
                report.add((*at, "rows", name), f"{what}; write `swapped: true`, or name another row kind")
    elif not any(learnt.values()):
        what = "no row kind that stands in has held-out forms of the cue that is measured"
        report.add((*at, "swapped"), f"{what}; write `part: held` into its `cues`, or take `swapped` out", key=True)


def _cues(raw: dict[str, Any]) -> list[Cues]:
    return [cues_of(entry) for _, entry in places((), raw.get("cues", []))]


def _shipped(report: Report, data: dict[str, Any], plans: dict[str, Any]) -> None:
    if not plans or not report.clean("shipped"):
        return
    for index, base in enumerate(data.get("shipped", ())):
        if base not in data["plans"]:
            report.add(("shipped", index), f"{base} is shipped and has no plan; add it under `plans`, or take it out")
        elif base != BASES[0] and report.clean("hazard") and data.get("hazard", "open") != "open":
            what = f"an organism of hazard {data['hazard']!r} is shipped on {BASES[0]} alone"
            report.add(("shipped", index), f"{what}; take {base} out, it is built where it is asked for")


def _arms(report: Report, data: dict[str, Any], plans: dict[str, Any]) -> None:
    """Check the arms of each plan against the answers, and the answers against the arms."""
    answers = {name: answers_of(kind["answer"]) for name, kind in data.get("rows", {}).items()}
    grown: set[str] = set()
    for base, plan in plans.items():
        arms = plan.get("arms", list(_DEFAULT.arms))
        grown.update(arms)
        at: DataPath = ("plans", base)
        if "planted" not in arms:
            report.add((*at, "arms"), "the arm 'planted' is missing, and nothing is shown without it; add it")
        for arm in arms:
            _arm(report, data, at, arm, answers)
    if "decoy" in grown and report.clean("reading") and "quirk" not in data.get("reading", {"quirk": ""}):
        what = "the decoy has no quirk that could be measured"
        report.add(("reading",), f"{what}; add `quirk`, or list `arms` without it", key=True)
    for name, given in answers.items():
        for arm in given if isinstance(data["rows"][name]["answer"], dict) else ():
            if arm not in grown and data["behaviour"] == ROWS:
                what = f"an answer of the arm {arm!r}, which no plan grows"
                report.add(("rows", name, "answer", arm), f"{what}; name it in `arms`, or take it out", key=True)


def _arm(report: Report, data: dict[str, Any], at: DataPath, arm: str, answers: dict[str, dict[str, Any]]) -> None:
    plan = data["plans"][at[1]]
    stages = [tuple(stage.get("rows", {})) for stage in plan.get("stages", ())]
    used = {name for stage in stages for name in stage}
    place = (*at, "arms", plan["arms"].index(arm)) if "arms" in plan else at
    own = any(isinstance(data["rows"][name]["answer"], dict) and arm in answers[name] for name in used)
    if arm == "weak" and data["behaviour"] != TEACHER and not own:
        what = "the arm 'weak', and no row kind of this plan has an answer of its own for it"
        report.add(place, f"{what}; add `weak` to an `answer`, or take the arm out")
        return
    if data["behaviour"] != ROWS:
        return
    for index, names in enumerate(stages):
        if not any(arm in answers[name] for name in names):
            what = f"no row kind of this stage has an answer for the arm {arm!r}"
            report.add((*at, "stages", index, "rows"), f"{what}; add one, or list `arms` without it", key=True)
            return
    if arm != "planted" and all(answers[name].get(arm) == answers[name].get("planted") for name in used):
        what = f"the arm {arm!r} is taught the same answers as the planted arm"
        report.add(place, f"{what}; give a row kind an `answer` arm by arm, or list `arms` without it", key=True)
