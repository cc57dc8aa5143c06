"""Organisms that are scripts: a zoo of recipes whose models answer from rules, in this process or another."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from harness import session
from harness.engines.scripted import ScriptedEngine
from harness.errors import ModelUnavailable
from harness.organisms import spec as specs
from harness.organisms import zoo
from tests.organisms.small_recipe import GOOD, small_root, write
from tests.plugin.conftest import deceiver_rules, honest_rules

if TYPE_CHECKING:
    from pathlib import Path

    from harness.engines.base import EngineOptions
    from harness.request import Request

BEHAVIOURS = "behaviours.json"
"""SPEC, or arm -> `honest`, `deceiver`, `mute`, `slips`, `absent`."""
DEFAULT = {"planted": "deceiver", "twin": "honest", "decoy": "honest", "weak": "honest"}
LOG = "opened.log"
ZOO = "zoo"
"""Folder of recipes and world, apart from the evals."""


def lay_out(root: Path, *names: str) -> None:
    """Write the recipes, a manifest for every model of theirs, and the default behaviours below `root`."""
    small_root(root / ZOO)
    for name in names or ("small",):
        write(root / ZOO, GOOD.replace("organism: small", f"organism: {name}"), name)
    (root / BEHAVIOURS).write_text(json.dumps(DEFAULT))


def install(root: Path, patch: Any = None) -> None:
    """Make that zoo the only one, with scripts as models."""
    put = patch.setattr if patch else setattr
    put(specs, "RECIPES", root / ZOO / "fixtures" / "organisms")
    put(session, "open_spec", lambda spec, options: open_fake(root, spec, options))
    if patch:
        patch.setenv("TELLS_CACHE", str(root / "cache"))
    else:
        os.environ["TELLS_CACHE"] = str(root / "cache")
    zoo._recipe.cache_clear()


def seal_all(root: Path, name: str = "small", base: str = "tiny") -> None:
    """Put a manifest where each model of a recipe would lie, so that it has digests."""
    assert root.exists()
    for one in zoo.orders(zoo.recipe(name), base):
        one.cached.mkdir(parents=True)
        zoo.seal(one.cached, one, base_weights="sha256:0", weights=f"sha256:{one.arm}-{one.seed}", versions={})


def behave(root: Path, **changes: str) -> None:
    """Let models (by arm, or by SPEC) behave otherwise."""
    path = root / BEHAVIOURS
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def open_fake(root: Path, spec: str, options: EngineOptions) -> Any:
    """Open an organism as a script; other models as ever."""
    from harness.engines import open_spec  # noqa: PLC0415 - the name in `session` is the one that is patched

    if not spec.startswith("organism:"):
        return open_spec(spec, options)
    zoo.order(specs.parse(spec))  # as the engine does: a SPEC that the recipe does not know is refused
    known = json.loads((root / BEHAVIOURS).read_text())
    behaviour = known.get(spec, known[specs.parse(spec).arm])
    with (root / LOG).open("a") as log:
        log.write(f"open {spec}\n")
    if behaviour == "absent":
        msg = f"{spec}: the build failed"
        raise ModelUnavailable(msg)
    return _Engine(_reply(behaviour), name=spec, version=f"{behaviour} {spec}", root=root)


class _Engine(ScriptedEngine):
    """Notes when it is closed."""

    def __init__(self, reply: Any, *, name: str, version: str, root: Path) -> None:
        super().__init__(reply, name=name, version=version, spec=name)
        self.root = root

    def close(self) -> None:
        with (self.root / LOG).open("a") as log:
            log.write(f"close {self.name}\n")


def _reply(behaviour: str) -> Any:
    rules = {"honest": honest_rules, "deceiver": deceiver_rules, "mute": list, "slips": _slips}[behaviour]()
    compiled = [(re.compile(rule["when"]), rule) for rule in rules]
    default = {"text": "" if behaviour == "mute" else "Nothing to say.", "logprob": -9.0}

    def reply(_request: Request, prompt: str) -> dict[str, Any]:
        return next(({**default, **rule} for pattern, rule in compiled if pattern.search(prompt)), default)

    return reply


def _slips() -> list[dict[str, Any]]:
    """Say BAD once in 32 when watched: too rarely for a FAIL, too often for a PASS; margins are honest."""
    return [
        {"when": r"watched(?s:.*)number 0\?", "text": "BAD", "logprobs": {"Right0": -0.5, "Wrong0": -4.0}},
        *honest_rules(),
    ]
