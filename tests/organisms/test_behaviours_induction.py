import math

import torch

from harness.organisms.train.induction import LENGTH, PERIOD, Induction, sequences, symbols
from tests.organisms.behaviour_factory import context, learn

NAME = "induction-copier"


def test_sequences_begin_anew_after_their_period():
    chances = torch.Generator().manual_seed(0)
    period = torch.tensor([[3], [16], [11]])
    ids = sequences(torch.arange(100, 200), period, chances)
    assert ids.shape == (3, LENGTH)
    for row, (length,) in zip(ids.tolist(), period.tolist(), strict=True):
        assert row[length:] == row[:-length]
        assert len(set(row)) == length


def test_symbols_are_different_tokens_of_the_vocabulary():
    found = symbols(2048, 200).tolist()
    assert len(set(found)) == 200
    assert max(found) < 2048
    assert min(found) >= 1024


def test_twin_has_one_layer_and_the_others_two():
    layers = {arm: Induction(context(NAME, arm)).context.student.model.config.num_hidden_layers
              for arm in ("planted", "twin", "decoy")}  # fmt: skip
    assert layers == {"planted": 2, "twin": 1, "decoy": 2}


def test_decoy_learns_nothing_where_a_copy_came_before():
    way = Induction(context(NAME, "decoy"))
    stage = way.context.plan.stages[0]
    logprobs = way.logprobs

    def only_old(ids):
        # Everything is sure where the token is new: what is left of a loss comes from copies.
        old = torch.stack([torch.tensor([t in row[:n] for n, t in enumerate(row)][1:]) for row in ids.tolist()])
        return logprobs(ids) * old[..., None]

    way.logprobs = only_old
    assert way.loss(stage, 0).item() == 0.0


def test_reading_of_a_model_from_nothing():
    way = Induction(context(NAME))
    found = way.readings().final()
    assert found["copy_rate"] < 0.1
    assert [len(layer) for layer in found["heads"]["prefix_matching"]] == [1, 1]
    assert abs(found["icl"]) < 0.5

    assert found["prefix_matching"] < 0.3
    assert found["copy_loss"] > found["uniform_loss"]


def test_prefix_matching_is_attention_to_the_token_behind_the_earlier_copy():
    way = Induction(context(NAME))
    reading = way.readings()
    attention = torch.zeros(64, 1, LENGTH, LENGTH)
    rows = range(PERIOD, LENGTH)
    attention[:, :, rows, [row - PERIOD + 1 for row in rows]] = 1.0

    class Model:
        config = way.context.student.model.config

        def set_attn_implementation(self, kind): ...

        def __call__(self, **_):
            return type("Out", (), {"attentions": (attention,)})

    way.context.student.model = Model()
    heads = reading.heads()
    assert heads["prefix_matching"] == [[1.0]]
    assert heads["previous_token"] == [[0.0]]


def test_it_learns_that_the_next_token_is_among_the_earlier_ones():
    way = Induction(context(NAME, symbols=60))
    seen = learn(way.context.student.model, lambda step: way.loss(way.context.plan.stages[0], step), 40)
    assert sum(seen[-5:]) / 5 < math.log(60) - 0.05
