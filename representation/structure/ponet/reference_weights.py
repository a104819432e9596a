"""`load_reference_weights`: weights of the published model of texts, by their names there."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from representation.structure.ponet.encoder import PoNetEncoder

_LAYER = {
    "attention.self.dense_q": "mixer.query",
    "attention.self.dense_k": "mixer.key",
    "attention.self.dense_o": "mixer.fusion",
    "attention.self.dense_local": "mixer.local",
    "attention.self.dense_segment": "mixer.segment",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "norm_mix",
    "intermediate.dense": "ff.0",
    "output.dense": "ff.2",
    "output.LayerNorm": "norm_ff",
}


def load_reference_weights(encoder: PoNetEncoder, state: Mapping[str, Tensor]) -> None:
    """Take the weights of a published PoNet of tokens with norms after, by their names there.

    The first token type is added to the positions, as it is for a text of one part.

    Args:
        encoder: of the same sizes; changed.
        state: tensors by name; heads of the pretraining are ignored.

    Raises:
        ValueError: one is missing, or of another shape.
    """
    root = "ponet.embeddings"
    wanted = {"embed.weight": f"{root}.word_embeddings.weight", "positions": f"{root}.position_embeddings.weight"}
    wanted |= {f"norm.{kind}": f"{root}.LayerNorm.{kind}" for kind in ("weight", "bias")}
    for number in range(encoder.config.layers):
        for theirs, ours in _LAYER.items():
            for kind in ("weight", "bias"):
                wanted[f"blocks.{number}.{ours}.{kind}"] = f"ponet.encoder.layer.{number}.{theirs}.{kind}"
    types = f"{root}.token_type_embeddings.weight"
    missing = sorted({*wanted.values(), types} - set(state))
    if missing:
        raise ValueError(f"state: expected {len(wanted) + 1} tensors of PoNet, found no {', '.join(missing[:3])}")
    own = {name: state[theirs] for name, theirs in wanted.items()}
    own["positions"] = own["positions"] + state[types][0]
    try:
        encoder.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"state: expected the shapes of {encoder.config}, found others: {error}") from error
