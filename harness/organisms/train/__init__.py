"""Grow organisms: the only rooms of the zoo that import torch, transformers and peft.

student    a model with its tokeniser while it learns: rows to tensors, loss, scores
honest     rows of the honest world that the tiny base is pre-trained on
tokens     the tiny base's own tokeniser
tiny       the tiny base: architecture, pre-training, saving
adapter    the smollm2 base: LoRA by peft
loop       steps, schedule, checkpoints
behaviours rows, and the failures that need another loss or another sampler
reading    what is measured at each checkpoint and at the end
build      one organism from recipe to folder
"""
