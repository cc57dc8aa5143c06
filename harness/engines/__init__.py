"""Turn a model SPEC into an engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from harness.engines.base import engine

if TYPE_CHECKING:
    from harness.engines.base import Engine, EngineOptions

BUILT_IN = {"scripted": "harness.engines.scripted", "transformers": "harness.engines.transformers"}
"""Modules that register the engines shipped here; imported when first asked for."""


def open_spec(spec: str, options: EngineOptions) -> Engine:
    """Open the engine for `spec`: `SCHEME:REST` of a registered scheme, else a model for transformers.

    Raises:
        SpecError: no engine knows `spec`.
    """
    scheme = spec.partition(":")[0]
    name = "transformers"
    if ":" in spec and (scheme in BUILT_IN or scheme in engine.names()):
        name = scheme
    if name in BUILT_IN:
        importlib.import_module(BUILT_IN[name])
    return engine.get(name)(spec, options)
