"""Train a model for a moment, and keep the checkpoints as a series that checks judge.

recipe     `*.tune.yaml` to a `Tuning`: what is asked, what is taught to be answered, for how long
rows       its rows: prompts with their answers, items held out, token ids with the prompt masked
opening    a SPEC to what is trained: folder, adapter, identity, tokeniser; no weights yet
train      LoRA by peft: steps, readings, the adapter's weights at each checkpoint (torch)
saving     a folder with a whole model per checkpoint, moved into place when it is complete

torch is imported by `train` alone.
"""
