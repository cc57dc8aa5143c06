"""The local engine on Hugging Face transformers: right answers first, batched.

    source      SPEC to folder; what the files are (digests) and whether they may be opened
    smollm2     the embedded default model, converted once (gguf_llama)
    template    what a chat template does to a conversation
    prompts     requests to token ids
    loading     folder to model on a device, checked
    scoring     log-probabilities of given tokens
    decoding    sampled tokens (sampling)
    selfcheck   how much padding and batch size shift a log-probability here
    engine      all of these behind the `Engine` protocol

torch and transformers are imported when the first prompt is encoded or the first batch is run, not before.
"""

from __future__ import annotations

from harness.engines.transformers.engine import TransformersEngine, open_transformers

__all__ = ["TransformersEngine", "open_transformers"]
