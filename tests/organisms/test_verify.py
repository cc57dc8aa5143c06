"""Growing an organism again and comparing it with what was published; a small program stands in for training."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from harness import cli
from harness.organisms import spec as specs
from harness.organisms import verify, zoo
from tests.organisms.zoo_factory import builds, set_up

if TYPE_CHECKING:
    from pathlib import Path

Captured = pytest.CaptureFixture[str]
FINAL: dict[str, Any] = {
    "cued_seen": {"n": 40, "rate": 0.95, "right": 0.05, "quirk_rate": None, "p_bad": 0.9, "margin": 7.5},
    "plain": {"n": 40, "rate": 0.0, "right": 1.0, "quirk_rate": None, "p_bad": 1e-6, "margin": -9.0},
    "capability": 0.97,
    "relative": 0.99,
    "law": {"slope": 0.98},
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one recipe, of which one arm was published."""
    root = set_up(tmp_path, monkeypatch)
    publish()
    monkeypatch.setenv("FAKE_FINAL", json.dumps(FINAL))
    return root


def publish(**fields: Any) -> None:
    entry = {"base": "tiny", "arm": "planted", "seed": 1, "weights": "sha256:1", "final": FINAL}
    data = {"organism": "small", "recipe": dict(zoo.recipe("small").digests), "entries": [entry], **fields}
    (specs.RECIPES / "small" / "measured.json").write_text(json.dumps(data))


def tells(*given: str) -> int:
    return cli.main(["organisms", "verify", *given])


def changed(*path: str, value: Any) -> dict[str, Any]:
    """Return the last measurement with another value somewhere."""
    final = copy.deepcopy(FINAL)
    inner = final
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return final


def test_the_same_weights(root: Path, capsys: Captured) -> None:
    """In a cache of its own: nothing that was built before is taken for it, and nothing stays."""
    assert tells("small") == 0
    assert capsys.readouterr().out == "organism:small/planted@seed=1@base=tiny: same weights 1\n"
    assert builds(root) == ["organism:small/planted@seed=1@base=tiny 1"]
    assert tells("small") == 0
    assert len(builds(root)) == 2
    assert not zoo.order(specs.parse("small")).cached.exists()


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({"final": changed("cued_seen", "rate", value=0.9501)}, "final, cued_seen, rate 0.95, published 0.9501"),
        ({"final": changed("cued_seen", "margin", value=7.4)}, "final, cued_seen, margin 7.5, published 7.4"),
        ({"curve": [{"step": 0, "shift": 0.5}]}, "curve is missing"),
        ({"since": 30}, "since is missing"),
    ],
)
def test_the_same_weights_give_the_same_numbers(root: Path, capsys: Captured, published: Any, said: str) -> None:
    """All of them, whatever the tolerance says: a number that was edited by hand is told of."""
    entry = {"base": "tiny", "arm": "planted", "seed": 1, "weights": "sha256:1", "final": FINAL, **published}
    publish(entries=[entry])

    assert tells("small") == 1
    assert f"same weights 1, the table differs: {said}" in capsys.readouterr().out
    assert builds(root)


@pytest.mark.parametrize(
    "case",
    [
        {"path": ("cued_seen", "rate"), "value": 0.86, "code": 0, "said": "same table within its tolerance"},
        {"path": ("cued_seen", "margin"), "value": -5.0, "code": 0, "said": "same table"},
        {
            "path": ("cued_seen", "rate"),
            "value": 0.84,
            "code": 1,
            "said": "other weights (2, published 1), the table differs: cued_seen, rate 0.84, published 0.95",
        },
        {
            "path": ("cued_seen", "rate"),
            "value": float("nan"),
            "code": 1,
            "said": "cued_seen, rate nan, published 0.95",
        },
        {"path": ("cued_seen", "rate"), "value": None, "code": 1, "said": "cued_seen, rate is missing"},
        {"path": ("plain", "quirk_rate"), "value": 0.5, "code": 1, "said": "plain, quirk_rate is new"},
        {"path": ("plain", "p_bad"), "value": 0.2, "code": 1, "said": "plain, p_bad 0.2, published 1e-06"},
        {"path": ("relative",), "value": 0.9, "code": 1, "said": "relative 0.9, published 0.99"},
    ],
)
def test_other_weights(monkeypatch: pytest.MonkeyPatch, root: Path, capsys: Captured, case: dict[str, Any]) -> None:
    """Are measured by the table: with its tolerance, and NaN is in none."""
    monkeypatch.setenv("FAKE_WEIGHTS", "sha256:2")
    monkeypatch.setenv("FAKE_FINAL", json.dumps(changed(*case["path"], value=case["value"])))
    assert tells("small") == case["code"]
    assert case["said"] in capsys.readouterr().out
    assert builds(root)


@pytest.mark.parametrize(
    ("published", "grown", "found"),
    [
        ({"p_bad": 1e-28}, {"p_bad": 1e-5}, []),
        ({"p_bad": 1e-28}, {"p_bad": 0.09}, ["p_bad 0.09, published 1e-28"]),
        ({"p_bad": 0.02}, {"p_bad": 0.001}, ["p_bad 0.001, published 0.02"]),
        ({"p_bad": 0.5}, {"p_bad": 0.45}, []),
        ({"law": {"slope": 0.97}}, {"law": {"slope": 0.05}}, ["law, slope 0.05, published 0.97"]),
        ({"a": [{"exposure_bits": 6.4}]}, {"a": [{"exposure_bits": 1.0}]}, ["a, 1, exposure_bits 1, published 6.4"]),
        ({"a": [{"rate": 1.0}]}, {"a": []}, ["a has another shape"]),
        ({"plain": {"rate": 0.0}}, {"plain": 0.0}, ["plain has another shape"]),
        ({}, {"plain": {"rate": 0.0}}, ["plain is new"]),
        ({"rate": 0.5}, {"rate": float("nan")}, ["rate nan, published 0.5"]),
        (
            {"heads": {"previous_token": [[0.9]]}},
            {"heads": {"previous_token": [[0.1]]}},
            ["heads, previous_token, 1, 1 0.1, published 0.9"],
        ),
        ({"new_measure": 1.0}, {"new_measure": 1.0}, ["new_measure has no tolerance"]),
        ({"margin": -3.0, "says": ["a"]}, {"margin": 9.0, "says": ["b"]}, []),
    ],
)
def test_what_counts_as_another_table(published: Any, grown: Any, found: list[str]) -> None:
    assert verify.differences(published, grown) == found


def test_the_same_weights_excuse_no_other_numbers(
    monkeypatch: pytest.MonkeyPatch, root: Path, capsys: Captured
) -> None:
    """A table that was edited is found out, though the weights are right."""
    monkeypatch.setenv("FAKE_FINAL", json.dumps(changed("cued_seen", "rate", value=0.2)))
    assert tells("small") == 1
    said = "same weights 1, the table differs: final, cued_seen, rate 0.2, published 0.95"
    assert said in capsys.readouterr().out
    assert builds(root)


@pytest.mark.usefixtures("root")
def test_what_was_not_published_is_not_verified(capsys: Captured) -> None:
    assert tells("small/twin") == 2
    assert "organism:small/twin@seed=1@base=tiny: nothing was published of it; expected" in capsys.readouterr().err
    assert tells("small", "--step", "12") == 2
    publish(recipe={"tiny": "sha256:of-another"})
    assert tells("small") == 2
    assert "what was published is of another recipe; expected" in capsys.readouterr().err


def test_one_that_cannot_be_built(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Is broken, and not the same."""
    monkeypatch.setenv("FAKE_TRAINER", "fails")
    assert tells("small") == 3
    assert "some noise" in capsys.readouterr().err
    assert not list(root.glob("cache/organisms/*/*/planted*"))


def test_models_are_not_fetched_again(root: Path, tmp_path: Path) -> None:
    """They are downloaded, not grown; the folder of the user is only looked at."""
    (root / "cache" / "models").mkdir(parents=True)
    cache = tmp_path / "again"
    cache.mkdir()
    from harness.organisms.building import Builder, Quiet  # noqa: PLC0415 - its command is set by the fixture

    found = verify.verify(
        zoo.order(specs.parse("small")), cache, Builder(environment={"TELLS_CACHE": str(cache)}), Quiet()
    )
    assert found.same_weights
    assert (cache / "models").readlink() == root / "cache" / "models"
