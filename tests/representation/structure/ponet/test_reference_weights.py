from __future__ import annotations

import pytest
import torch

from representation.structure.ponet import PoNetConfig, PoNetEncoder, load_reference_weights
from representation.structure.ponet.reference_weights import _LAYER


def published(config: PoNetConfig) -> dict[str, torch.Tensor]:
    """Random tensors by the names of the published model."""
    shapes = {"intermediate.dense": (4 * config.dim, config.dim), "output.dense": (config.dim, 4 * config.dim)}
    state = {
        "ponet.embeddings.word_embeddings.weight": torch.randn(config.vocab, config.dim),
        "ponet.embeddings.position_embeddings.weight": torch.randn(config.max_len, config.dim),
        "ponet.embeddings.token_type_embeddings.weight": torch.randn(2, config.dim),
        "ponet.embeddings.LayerNorm.weight": torch.randn(config.dim),
        "ponet.embeddings.LayerNorm.bias": torch.randn(config.dim),
        "cls.seq_relationship.weight": torch.randn(3, config.dim),
    }
    for number in range(config.layers):
        for name in _LAYER:
            shape = shapes.get(name, (config.dim, config.dim))
            key = f"ponet.encoder.layer.{number}.{name}"
            state[f"{key}.weight"] = torch.randn(shape[:1] if name.endswith("LayerNorm") else shape)
            state[f"{key}.bias"] = torch.randn(shape[0])
    return state


def test_published_names_are_understood_and_missing_ones_are_told():
    config = PoNetConfig(vocab=17, dim=16, max_len=12, norm="post", segments=3)
    encoder, state = PoNetEncoder(config), published(config)
    load_reference_weights(encoder, state)
    assert torch.equal(encoder.blocks[1].mixer.fusion.bias, state["ponet.encoder.layer.1.attention.self.dense_o.bias"])
    del state["ponet.encoder.layer.0.intermediate.dense.bias"]
    with pytest.raises(ValueError, match=r"found no ponet\.encoder\.layer\.0\.intermediate\.dense\.bias"):
        load_reference_weights(encoder, state)
