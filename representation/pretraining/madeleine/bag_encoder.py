"""`BagEncoder`: one network that sums a bag of tokens up by several heads of gated attention, whatever sensor saw it.

Its weights have the released names (`wsi_embedders.pre_attn.*`, `wsi_embedders.attn.K.attention_a.0.*`, ...,
`projector.*`, `token_projector.*`, `embedding.weight`); `load_released` reads them from a safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Activation = Literal["softmax", "leaky_relu", "relu", "sigmoid"]
PREFIX = "module."
_GATES: dict[str, Callable[[Tensor], Tensor]] = {"leaky_relu": F.leaky_relu, "relu": F.relu, "sigmoid": torch.sigmoid}


class BagOutput(NamedTuple):
    """What is made of bags.

    Attributes:
        embedding: vectors (B, h) of the bags.
        tokens: vectors (B, N, token_dim) of their tokens, for the local loss.
        attention: (B, N, K), how much each head takes of each token; with softmax it sums to 1 over the tokens.
    """

    embedding: Tensor
    tokens: Tensor
    attention: Tensor


class GatedAttention(nn.Module):
    """Scores of tokens by a gated linear layer (Ilse et al., 2018).

    Args:
        dim: of the tokens, and of the layer.
        dropout: of the layer.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_a = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Dropout(dropout))
        self.attention_b = nn.Sequential(nn.Linear(dim, dim), nn.Sigmoid(), nn.Dropout(dropout))
        self.attention_c = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, N) of tokens (B, N, dim)."""
        return self.attention_c(self.attention_a(x) * self.attention_b(x))[..., 0]


class _Pooling(nn.Module):
    """The layers before the attention, and the attention of each head."""

    def __init__(self, in_dim: int, hidden: int, heads: int, dropout: float, gate_dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((in_dim, hidden), (hidden, hidden), (hidden, hidden * heads)):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(dropout)]
        self.pre_attn = nn.Sequential(*layers)
        self.attn = nn.ModuleList(GatedAttention(hidden, gate_dropout) for _ in range(heads))


class BagEncoder(nn.Module):
    """Bags of tokens to vectors, with one set of weights for all modalities (section 2 of the paper's supplement).

    Three linear layers with LayerNorm and GELU give each token K vectors of h numbers, one for each head; each head
    sums its vectors up by its own gated attention; a linear layer makes one vector of all heads.

    Args:
        in_dim: numbers d of a token.
        hidden_dim: numbers h of a bag's vector, and of the attention's layers.
        n_heads: K.
        token_dim: numbers of a token's vector for the local loss.
        n_modalities: M, with which each token gets a learned code of its modality; 0 for no code.
        modality_dim: numbers of that code.
        activation: what makes attention of scores.
        dropout: after each of the layers.
        gate_dropout: in the attention.
        generator: draws the first weights; without it they are of a fixed seed.

    Raises:
        ValueError: a size below one, or an unknown activation.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int = 512,
        n_heads: int = 4,
        token_dim: int = 128,
        n_modalities: int = 0,
        modality_dim: int = 32,
        activation: Activation = "softmax",
        dropout: float = 0.1,
        gate_dropout: float = 0.25,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = {"in_dim": in_dim, "hidden_dim": hidden_dim, "n_heads": n_heads, "token_dim": token_dim}
        sizes |= {"n_modalities": n_modalities + 1, "modality_dim": modality_dim}
        if min(sizes.values()) < 1:
            raise ValueError(f"sizes: expected at least 1, and 0 for n_modalities, found {sizes}")
        if activation not in get_args(Activation):
            raise ValueError(f"activation: expected one of {get_args(Activation)}, found {activation!r}")
        self.in_dim, self.hidden_dim, self.n_heads = in_dim, hidden_dim, n_heads
        self.n_modalities, self.activation = n_modalities, activation
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(n_modalities, modality_dim) if n_modalities else None
            self.wsi_embedders = _Pooling(
                in_dim + (modality_dim if n_modalities else 0), hidden_dim, n_heads, dropout, gate_dropout
            )
            self.projector = nn.Linear(hidden_dim * n_heads, hidden_dim)
            self.token_projector = nn.Linear(hidden_dim * n_heads, token_dim)

    def forward(self, tokens: Tensor, modality: int | Tensor | None = None, mask: Tensor | None = None) -> BagOutput:
        """Vectors of bags of one size.

        Args:
            tokens: (B, N, d).
            modality: of all bags, or (B,) of each; without codes it makes no difference. None is the reference, 0.
            mask: (B, N), which tokens there are; None for all.

        Raises:
            ValueError: shapes that do not fit, an unknown modality, or a bag without tokens.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.in_dim or not tokens.shape[1]:
            raise ValueError(f"tokens: expected (B, N, {self.in_dim}), found {tuple(tokens.shape)}")
        if mask is not None and (mask.shape != tokens.shape[:2] or not bool(mask.any(dim=1).all())):
            raise ValueError(
                f"mask: expected {tuple(tokens.shape[:2])} with a token in each bag, found {tuple(mask.shape)} with "
                f"{mask.sum(dim=-1).tolist()} tokens"
            )
        x = self.attended(self._coded(tokens, modality))
        attention = self._attention(x, mask)
        pooled = torch.einsum("bnek,bnk->bek", x, attention)
        return BagOutput(self.projector(pooled.flatten(1)), self.token_projector(x.flatten(2)), attention)

    def attended(self, tokens: Tensor) -> Tensor:
        """What the heads attend to, (B, N, h, K), of tokens with their codes; the head is the fastest index."""
        return self.wsi_embedders.pre_attn(tokens).unflatten(2, (self.hidden_dim, self.n_heads))

    def halves(
        self, tokens: Tensor, modality: int | Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Vectors (B, h) of two random halves of the tokens of each bag, with the attention renormalised in each half.

        Args:
            tokens: (B, N, d), at least 2.
            modality: see `forward`.
            generator: a CPU generator that splits the bags.

        Raises:
            ValueError: less than two tokens.
        """
        count = tokens.shape[1]
        if count < 2:
            raise ValueError(f"tokens: expected at least 2 to make halves of, found {count}")
        x = self.attended(self._coded(tokens, modality))
        order = torch.rand(tokens.shape[:2], generator=generator).argsort(dim=1).argsort(dim=1).to(x.device)
        found = []
        for mask in (order < count // 2, order >= count // 2):
            pooled = torch.einsum("bnek,bnk->bek", x, self._attention(x, mask))
            found.append(self.projector(pooled.flatten(1)))
        return found[0], found[1]

    def _coded(self, tokens: Tensor, modality: int | Tensor | None) -> Tensor:
        """Tokens with the codes of their modalities, (B, N, d + modality_dim); bag by bag, whatever their order."""
        if self.embedding is None:
            return tokens
        numbers = torch.as_tensor(0 if modality is None else modality, device=tokens.device).expand(len(tokens))
        if numbers.numel() and not bool(((numbers >= 0) & (numbers < self.n_modalities)).all()):
            raise ValueError(f"modality: expected numbers below {self.n_modalities}, found {numbers.tolist()}")
        codes = self.embedding(numbers)[:, None].expand(-1, tokens.shape[1], -1)
        return torch.cat([tokens, codes.to(tokens.dtype)], dim=2)

    def _attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attention (B, N, K) of (B, N, h, K); none to what the mask leaves out."""
        scores = torch.stack([head(x[..., k]) for k, head in enumerate(self.wsi_embedders.attn)], dim=2)
        if self.activation == "softmax":
            return (scores if mask is None else scores.masked_fill(~mask[..., None], -torch.inf)).softmax(dim=1)
        found = _GATES[self.activation](scores)
        return found if mask is None else found * mask[..., None]


def from_released(state: Mapping[str, Tensor]) -> BagEncoder:
    """An encoder of released weights, in evaluation mode; its sizes are read from their shapes.

    Args:
        state: names as in the module's docstring, each perhaps after `module.`.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; names it.
    """
    state = {name.removeprefix(PREFIX): value.float() for name, value in state.items()}
    first, projector, local = (
        f"{name}.weight" for name in ("wsi_embedders.pre_attn.0", "projector", "token_projector")
    )
    missing = [name for name in (first, projector, local) if name not in state or state[name].ndim != 2]
    if missing:
        raise ValueError(f"weights: expected matrices {missing}, found {sorted(state)}")
    heads = len({name.split(".")[2] for name in state if name.startswith("wsi_embedders.attn.")})
    codes = state.get("embedding.weight", torch.zeros(0, 0))
    count, width = codes.shape if codes.ndim == 2 else (0, 0)
    hidden, in_dim = state[first].shape
    encoder = BagEncoder(in_dim - width, hidden, heads, len(state[local]), count, max(width, 1))
    expected = encoder.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        wanted, found = (None if name not in one else tuple(one[name].shape) for one in (expected, state))
        if wanted != found:
            raise ValueError(f"weights: {name}: expected shape {wanted}, found {found}")
    encoder.load_state_dict(state)
    return encoder.eval()


def load_released(path: Path) -> BagEncoder:
    """Read released weights that were brought into a safetensors file; see `from_released`.

    Raises:
        ValueError: damaged, or not those of such an encoder; names the file.
    """
    try:
        return from_released(load_file(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected weights of a bag encoder: {error}") from error
