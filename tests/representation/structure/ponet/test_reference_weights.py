from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from representation.structure.ponet import (
    PoNetConfig,
    PoNetEncoder,
    chunk_ids,
    load_reference_weights,
    reference_names,
    segment_max,
)

VOCAB, DIM, HEADS, LENGTH, SEGMENTS, LAYERS = 17, 16, 2, 12, 3, 2


def config_of(norm: str) -> PoNetConfig:
    return PoNetConfig(
        vocab=VOCAB, dim=DIM, layers=LAYERS, heads=HEADS, max_len=LENGTH, norm=norm, segments=SEGMENTS, ff_mult=2
    )


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def linear(name: str, into: int = DIM, out: int = DIM) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (DIM,), f"{name}.bias": (DIM,)}


def texts() -> dict[str, torch.Tensor]:
    """Random tensors by the names of the model of texts, which also has token types."""
    shapes = {
        "ponet.embeddings.word_embeddings.weight": (VOCAB, DIM),
        "ponet.embeddings.position_embeddings.weight": (LENGTH, DIM),
        "ponet.embeddings.token_type_embeddings.weight": (2, DIM),
        **norm("ponet.embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        layer = f"ponet.encoder.layer.{number}"
        for part in ("q", "k", "o", "local", "segment"):
            shapes |= linear(f"{layer}.attention.self.dense_{part}")
        shapes |= linear(f"{layer}.attention.output.dense") | norm(f"{layer}.attention.output.LayerNorm")
        shapes |= linear(f"{layer}.intermediate.dense", DIM, 2 * DIM) | linear(f"{layer}.output.dense", 2 * DIM, DIM)
        shapes |= norm(f"{layer}.output.LayerNorm")
    return drawn(shapes)


def arena() -> dict[str, torch.Tensor]:
    """Random tensors by the names of the model of the Long Range Arena."""
    shapes = {
        "model.embeddings.word_embeddings.weight": (VOCAB, DIM),
        "model.embeddings.position_embeddings.weight": (LENGTH, DIM),
        **norm("model.norm"),
    }
    for number in range(LAYERS):
        layer = f"model.transformer_{number}"
        for part in ("W_q", "W_k", "W_v", "W_local", "W_segment", "ff"):
            shapes |= linear(f"{layer}.mha.{part}")
        shapes |= linear(f"{layer}.mlpblock.0", DIM, 2 * DIM) | linear(f"{layer}.mlpblock.3", 2 * DIM, DIM)
        shapes |= norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
    return drawn(shapes)


def mixed(x: torch.Tensor, q, k, o, near, inside) -> torch.Tensor:
    """The pooling of one sequence (N, DIM) by linear maps, head by head."""
    found = []
    segments = segment_max(inside(x)[None], chunk_ids(len(x), SEGMENTS)[None])[0]
    window = F.max_pool1d(near(x).T[None], 3, 1, 1)[0].T
    for query, key in zip(q(x).chunk(HEADS, dim=1), k(x).chunk(HEADS, dim=1), strict=True):
        weights = (key @ query.mean(dim=0) / (DIM // HEADS) ** 0.5).softmax(dim=0)
        found.append(weights @ key)
    return (torch.cat(found) + segments) * o(x) + window


def maps(state: dict[str, torch.Tensor], *names: str):
    return [lambda x, name=name: F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]


def normed(state: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (DIM,), state[f"{name}.weight"], state[f"{name}.bias"])


def of_texts(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    root = "ponet.embeddings"
    x = state[f"{root}.word_embeddings.weight"][tokens] + state[f"{root}.position_embeddings.weight"][: len(tokens)]
    x = normed(state, f"{root}.LayerNorm", x + state[f"{root}.token_type_embeddings.weight"][0])
    for number in range(LAYERS):
        layer = f"ponet.encoder.layer.{number}"
        parts = maps(state, *(f"{layer}.attention.self.dense_{part}" for part in ("q", "k", "o", "local", "segment")))
        out, up, down = maps(
            state, f"{layer}.attention.output.dense", f"{layer}.intermediate.dense", f"{layer}.output.dense"
        )
        x = normed(state, f"{layer}.attention.output.LayerNorm", x + out(mixed(x, *parts)))
        x = normed(state, f"{layer}.output.LayerNorm", x + down(F.gelu(up(x))))
    return x


def of_arena(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    root = "model.embeddings"
    x = state[f"{root}.word_embeddings.weight"][tokens] + state[f"{root}.position_embeddings.weight"][: len(tokens)]
    for number in range(LAYERS):
        layer = f"model.transformer_{number}"
        parts = maps(state, *(f"{layer}.mha.{part}" for part in ("W_q", "W_k", "W_v", "W_local", "W_segment")))
        out, up, down = maps(state, f"{layer}.mha.ff", f"{layer}.mlpblock.0", f"{layer}.mlpblock.3")
        x = x + out(mixed(normed(state, f"{layer}.norm1", x), *parts))
        x = x + down(F.gelu(up(normed(state, f"{layer}.norm2", x))))
    return normed(state, "model.norm", x)


@pytest.mark.parametrize(("place", "state", "expected"), [("post", texts(), of_texts), ("pre", arena(), of_arena)])
def test_published_weights_give_what_the_published_model_gives(place, state, expected):
    encoder = PoNetEncoder(config_of(place)).eval()
    load_reference_weights(encoder, state | {"cls.seq_relationship.weight": torch.randn(3, DIM)})
    tokens = torch.randint(VOCAB, (LENGTH - 1,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(tokens[None])[0][0], expected(state, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("place", "state"), [("post", texts()), ("pre", arena())])
def test_names_are_one_to_one_and_a_missing_one_is_told(place, state):
    encoder = PoNetEncoder(config_of(place))
    names = reference_names(encoder)
    assert list(names) == list(encoder.state_dict())
    assert len(set(names.values())) == len(names)
    assert set(state) - set(names.values()) == {"ponet.embeddings.token_type_embeddings.weight"} & set(state)
    assert set(names.values()) <= set(state)
    for gone in (names["positions"], names["blocks.1.ff.0.bias"]):
        with pytest.raises(ValueError, match=f"PoNet with norms {place}, found no {gone}"):
            load_reference_weights(encoder, {name: one for name, one in state.items() if name != gone})
    with pytest.raises(ValueError, match="state: expected the shapes"):
        load_reference_weights(encoder, state | {names["positions"]: torch.zeros(LENGTH, DIM + 1)[:, 1:].T})
    with pytest.raises(ValueError, match="encoder: expected one of tokens, found one of features"):
        load_reference_weights(PoNetEncoder(PoNetConfig(in_features=3)), state)
