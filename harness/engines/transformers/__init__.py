"""The local engine on Hugging Face transformers: right answers first, then as fast as the machine allows.

    source      SPEC to folder; what the files are (digests) and whether they may be opened
    smollm2     the embedded default model, converted once (gguf_llama)
    template    what a chat template does to a conversation
    prompts     requests to token ids
    organism    an organism's folder, built if need be; its adapter merged
    loading     folder to model on a device, checked
    attention   our attention function behind transformers' interface
    packs       one pack of a prefix tree through the network (harness.trie)
    rows        decoding: samples on their way (pool: rows that share what they have in common; buckets, graphs: CUDA)
    linears     weights in the layout of the matrix library; head and residual stream in float32
    parallel    several devices
    streaming   all requests of a round: packs, scores, samples
    answers     from numbers to answers (sampling)
    padded      the fallback without our attention (decoding)
    selfcheck   does our way give the model's own numbers here (policy)
    memory      how much may pass at once
    engine      all of these behind the `Engine` protocol

torch and transformers are imported when the first prompt is encoded or the first batch is run, not before.
"""

from __future__ import annotations

from harness.engines.transformers.engine import TransformersEngine, open_transformers

__all__ = ["TransformersEngine", "open_transformers"]
