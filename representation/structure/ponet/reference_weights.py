"""`load_reference_weights`: weights of the published models, by their names there.

There are two: that of texts, with norms after and types of tokens, and that of the Long Range Arena, with norms before.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from representation.structure.ponet.encoder import PoNetEncoder

_TEXTS = {
    "embed.weight": "ponet.embeddings.word_embeddings.weight",
    "positions": "ponet.embeddings.position_embeddings.weight",
    "norm": "ponet.embeddings.LayerNorm",
}
_TEXT_TYPES = "ponet.embeddings.token_type_embeddings.weight"
_TEXT_BLOCK = {
    "mixer.query": "attention.self.dense_q",
    "mixer.key": "attention.self.dense_k",
    "mixer.fusion": "attention.self.dense_o",
    "mixer.local": "attention.self.dense_local",
    "mixer.segment": "attention.self.dense_segment",
    "output": "attention.output.dense",
    "norm_mix": "attention.output.LayerNorm",
    "ff.0": "intermediate.dense",
    "ff.2": "output.dense",
    "norm_ff": "output.LayerNorm",
}
_ARENA = {
    "embed.weight": "model.embeddings.word_embeddings.weight",
    "positions": "model.embeddings.position_embeddings.weight",
    "norm": "model.norm",
}
_ARENA_BLOCK = {
    "mixer.query": "mha.W_q",
    "mixer.key": "mha.W_k",
    "mixer.fusion": "mha.W_v",
    "mixer.local": "mha.W_local",
    "mixer.segment": "mha.W_segment",
    "output": "mha.ff",
    "norm_mix": "norm1",
    "ff.0": "mlpblock.0",
    "ff.2": "mlpblock.3",
    "norm_ff": "norm2",
}


def reference_names(encoder: PoNetEncoder) -> dict[str, str]:
    """The published name of each tensor of an encoder; of the model of texts if its norms come after."""
    if encoder.config.norm == "post":
        whole, block, root = _TEXTS, _TEXT_BLOCK, "ponet.encoder.layer."
    else:
        whole, block, root = _ARENA, _ARENA_BLOCK, "model.transformer_"
    names = dict(whole)
    for number in range(encoder.config.layers):
        names |= {f"blocks.{number}.{ours}": f"{root}{number}.{theirs}" for ours, theirs in block.items()}
    found = {}
    for own in encoder.state_dict():
        part, _, kind = own.rpartition(".")
        found[own] = names[own] if own in names else f"{names[part]}.{kind}"
    return found


def load_reference_weights(encoder: PoNetEncoder, state: Mapping[str, Tensor]) -> None:
    """Take the weights of a published PoNet of tokens, by their names there; see `reference_names`.

    The first token type is added to the positions, as it is for a text of one part.

    Args:
        encoder: of the same sizes, with norms where the published one has them; changed.
        state: tensors by name; heads are ignored.

    Raises:
        ValueError: of features and not of tokens; a tensor is missing, or of another shape.
    """
    if not encoder.config.vocab:
        raise ValueError("encoder: expected one of tokens, found one of features")
    names = reference_names(encoder)
    types = [_TEXT_TYPES] if encoder.config.norm == "post" else []
    missing = sorted({*names.values(), *types} - set(state))
    if missing:
        expected = f"{len(names) + len(types)} tensors of PoNet with norms {encoder.config.norm}"
        raise ValueError(f"state: expected {expected}, found no {', '.join(missing[:3])}")
    own = {name: state[theirs] for name, theirs in names.items()}
    try:
        for name in types:
            own["positions"] = own["positions"] + state[name][0]
        encoder.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"state: expected the shapes of {encoder.config}, found others: {error}") from error
