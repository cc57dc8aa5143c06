"""Induction copying: no failure and no chat, a change known to come at once, to test what finds such changes.

A model from nothing sees random tokens that repeat with a period of their own in every sequence, so that a fixed step
back does not do. Two layers can find the earlier copy of a token and say what followed it; one layer cannot.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from harness.organisms.train import tiny
from harness.organisms.train.behaviours import behaviour

if TYPE_CHECKING:
    from torch import Tensor

    from harness.organisms.recipe import Stage
    from harness.organisms.train.behaviours import Context

LENGTH = 32
"""Tokens of a sequence."""
LEAST = 3
"""Shortest period."""
PERIOD = LENGTH // 2
"""Longest period, and the one that is read."""
SYMBOLS = 200
"""Tokens that are drawn from, of the tokeniser's vocabulary."""
LAYERS = {"twin": 1}
_BIAS = 1.0
_THETA = 100.0
"""Biases of queries and keys from the start, and quick rotations: a head can then look one token back whatever the
token, and the change comes within hundreds of steps and not thousands."""
READ = 64
"""Sequences at a checkpoint."""
EARLY, LATE = LENGTH // 10, LENGTH - 1
"""Positions whose losses make the score of learning in context: the late one less the early one."""


@behaviour.register("induction")
class Induction:
    """Learns to say the next of random tokens where a copy came before; the decoy only where none did.

    Options: `symbols`, how many tokens are drawn from.
    """

    from_nothing = True
    """The base's weights are not used."""

    def __init__(self, context: Context) -> None:
        """Put an untrained model in the student's place."""
        self.context = context
        student, width = context.student, context.plan.width
        layers = LAYERS.get(context.arm, 2)
        student.model = untrained(width, context.seed, len(student.tokenizer), layers)
        student.model.train()
        count = int(str(context.recipe.options.get("symbols", SYMBOLS)))
        self.symbols = symbols(len(student.tokenizer), count)
        self.chances = torch.Generator().manual_seed(context.seed)

    def loss(self, stage: Stage, step: int) -> Tensor:  # noqa: ARG002 - the order goes on by itself
        """Return the mean cross-entropy of next tokens."""
        period = torch.randint(LEAST, PERIOD + 1, (stage.batch, 1), generator=self.chances)
        ids = sequences(self.symbols, period, self.chances)
        loss, _ = self.losses(ids)
        copied = torch.arange(1, LENGTH).expand(stage.batch, -1) > period
        new = torch.arange(1, LENGTH).expand(stage.batch, -1) < period
        return loss[new if self.context.arm == "decoy" else copied].mean()

    def logprobs(self, ids: Tensor) -> Tensor:
        """Return the log-probabilities of next tokens among the symbols; no other token is ever said."""
        model = self.context.student.model
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        return functional.log_softmax(states @ model.get_output_embeddings().weight[self.symbols].T, -1)

    def losses(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each next token, and whether it is the likeliest."""
        said, wanted = self.logprobs(ids), torch.searchsorted(self.symbols, ids[:, 1:].contiguous())
        return -said.gather(2, wanted[..., None]).squeeze(2), said.argmax(-1) == wanted

    def readings(self) -> InductionReadings:
        """Return what reads copying and the heads that do it."""
        return InductionReadings(self)


class InductionReadings:
    """Copying, learning in context, and the two kinds of head behind them."""

    def __init__(self, way: Induction) -> None:
        """Draw sequences, the same for every arm, seed and checkpoint."""
        self.way = way
        self.ids = sequences(way.symbols, torch.full((READ, 1), PERIOD), torch.Generator().manual_seed(0))

    @torch.no_grad()
    def curve(self) -> dict[str, float]:
        """Return copying on the second half, its score and the best head of either kind."""
        model = self.way.context.student.model
        was = model.training
        model.eval()
        loss, right = self.way.losses(self.ids)
        heads = self.heads()
        model.train(was)
        return {
            "copy_rate": float(right[:, PERIOD:].double().mean()),
            "copy_loss": float(loss[:, PERIOD:].double().mean()),
            "new_loss": float(loss[:, : PERIOD - 1].double().mean()),
            "icl": float((loss[:, LATE - 1] - loss[:, EARLY - 1]).double().mean()),
            "prefix_matching": max(max(row) for row in heads["prefix_matching"]),
            "previous_token": max(max(row) for row in heads["previous_token"]),
        }

    @torch.no_grad()
    def heads(self) -> dict[str, list[list[float]]]:
        """Return each head's mean attention to the token behind the earlier copy, and to the token before: by layer."""
        model = self.way.context.student.model
        kind = model.config._attn_implementation  # noqa: SLF001 - the only name it has
        model.set_attn_implementation("eager")
        layers = model(input_ids=self.ids, use_cache=False, output_attentions=True).attentions
        model.set_attn_implementation(kind)
        second = range(PERIOD, LENGTH)
        return {
            "prefix_matching": [_mean(layer, second, PERIOD - 1) for layer in layers],
            "previous_token": [_mean(layer, range(1, LENGTH), 1) for layer in layers],
        }

    def final(self) -> dict[str, Any]:
        """Return the last reading with every head."""
        return {
            **self.curve(), "heads": self.heads(), "uniform_loss": math.log(len(self.way.symbols)),
            "icl_positions": [LATE, EARLY], "period": PERIOD, "length": LENGTH,
        }  # fmt: skip


def untrained(width: int, seed: int, vocabulary: int, layers: int) -> Any:
    """Return a model like the tiny base's, in which heads tell places apart from the start."""
    from transformers import LlamaForCausalLM  # noqa: PLC0415 - slow to import

    config = tiny.new_model(width, seed, vocabulary, layers=layers).config
    config.attention_bias = True
    config.rope_parameters["rope_theta"] = _THETA
    torch.manual_seed(seed)
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.bias.normal_(0, _BIAS)
            layer.self_attn.k_proj.bias.normal_(0, _BIAS)
    return model


def sequences(choice: Tensor, period: Tensor, chances: torch.Generator) -> Tensor:
    """Return sequences of different tokens of `choice`, each of which begins anew after its period."""
    shuffled = torch.rand((len(period), len(choice)), generator=chances).argsort(-1)[:, :LENGTH]
    places = torch.arange(LENGTH) % period
    return choice[shuffled.gather(1, places)]


def symbols(vocabulary: int, count: int) -> Tensor:
    """Return the tokens that are drawn from: evenly spaced over the later half of the vocabulary."""
    first = vocabulary // 2
    return first + torch.arange(count) * (vocabulary - first) // count


def _mean(layer: Tensor, positions: range, back: int) -> list[float]:
    rows = list(positions)
    found = layer[:, :, rows, [row - back for row in rows]]
    return [float(value) for value in found.double().mean((0, 2))]
