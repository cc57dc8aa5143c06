"""Constants that decide weights stand under the version of recipes."""

from __future__ import annotations

from harness.canonical import digest
from harness.organisms import world
from harness.organisms.recipe import VERSION
from harness.organisms.train import (
    adapter,
    build,
    canaries,
    induction,
    loop,
    rare,
    reward,
    sandbagger,
    tiny,
    tokens,
)


def test_what_decides_weights_is_of_a_version() -> None:
    """None of it stands in a digest: whoever changes it raises `VERSION`, or old builds pass for new ones."""
    settings = {
        "world": [world.NEUTRAL, world.GRADED, world.CHAT, world._HELD_SHARE],
        "base": [build.BASE_STEPS, build.BASE_BATCH, build.BASE_RATE, build.BASE_MUON, build._CORPUS],
        "shape": [tiny.HEAD, tiny.LAYERS, tiny.NARROW],
        "tokens": [tokens.VOCABULARY, tokens.SPECIALS, tokens.CHAT_TEMPLATE],
        "optimiser": [loop.CLIP, loop._WARM_UP, loop.DECAY],
        "adapter": [adapter.BASE, adapter.END, adapter.TARGETS, adapter.SCALE],
        "canaries": [canaries.MOST, canaries.ASKS],
        "copier": [induction.LENGTH, induction.LEAST, induction.PERIOD, induction.SYMBOLS, induction.LAYERS],
        "rare": [rare.KIND, rare.WEIGHT, rare._FAR],
        "reward": [reward.TOKENS, reward._FLAT, reward._PAID],
        "sandbagger": [sandbagger._PARTS, sandbagger._DEFAULTS, sandbagger.BATCH, sandbagger.RATE, sandbagger._SEED],
    }
    assert (VERSION, digest(settings)) == (
        "organisms/1",
        "sha256:a1098c9a41989107a420abfcc805d7bce3a561c8049b6e4084308a4edb4a6a21",
    )
