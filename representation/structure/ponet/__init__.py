"""PoNet: long sequences are mixed by pooling, in time that grows with their length and not with its square.

Source: PoNet: Pooling Network for Efficient Token Mixing in Long Sequences, Tan et al., ICLR 2022 (arXiv 2110.02442).
Takes sequences of tokens (B, N) or of features (B, N, F), as the readings of a robot's joints over a whole episode;
gives features (B, N, D) of each step and a vector (B, D) of all. Each step is multiplied by what one query finds in the
whole sequence and by the largest values in its segment, and gets the largest of its neighbours added. Neither the
first nor the second is causal: a sequence is understood when it has ended.

Read in this order: `encoder.py`, `pretraining.py` (masked tokens and the order of segments, without labels),
`reference_weights.py` (published weights).

What differs from the published code: what is masked is left out of every maximum, and is zero in the end, instead of
being filled with -10000; token types are not kept.
"""

from representation.structure.ponet.encoder import (
    INIT_STD,
    PoNetBlock,
    PoNetConfig,
    PoNetEncoder,
    PoolingMixer,
    chunk_ids,
    load,
    marked_segments,
    segment_max,
)
from representation.structure.ponet.pretraining import (
    MARKS,
    Chunk,
    PoNetForPretraining,
    TextPairs,
    hide_tokens,
    ordered_pairs,
)
from representation.structure.ponet.reference_weights import load_reference_weights, reference_names

__all__ = [
    "INIT_STD",
    "MARKS",
    "Chunk",
    "PoNetBlock",
    "PoNetConfig",
    "PoNetEncoder",
    "PoNetForPretraining",
    "PoolingMixer",
    "TextPairs",
    "chunk_ids",
    "hide_tokens",
    "load",
    "load_reference_weights",
    "marked_segments",
    "ordered_pairs",
    "reference_names",
    "segment_max",
]
