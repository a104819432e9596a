"""The pre-norm transformer block of ViT-like encoders, with the names of weights that MAE and its descendants use."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Attention(nn.Module):
    """Multi-head self-attention on tokens (B, N, width)."""

    def __init__(self, width: int, heads: int, qkv_bias: bool, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width: expected a multiple of {heads} heads, found {width}")
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Tokens to tokens; `bias`, which broadcasts to (B, heads, N, N), is added to the scores."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return F.dropout(self.proj(mixed.transpose(1, 2).flatten(2)), dropout)


class MLP(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1, self.fc2, self.dropout = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), dropout

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        dropout = self.dropout if self.training else 0.0
        return F.dropout(self.fc2(F.dropout(F.gelu(self.fc1(x)), dropout)), dropout)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)).

    Args:
        width: of the tokens.
        heads: of the attention.
        qkv_bias: whether queries, keys and values have a bias.
        eps: of the norms.
        dropout: share that training leaves out of attention, of what is inside the MLP, and of what both give.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True, eps: float = 1e-5, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn, self.mlp = Attention(width, heads, qkv_bias, dropout), MLP(width, dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None, gains: Tensor | None = None) -> Tensor:
        """Tokens (B, N, width) to tokens.

        Args:
            x: tokens.
            bias: see `Attention`.
            gains: (B, 2), factors of what the two halves add, for stochastic depth; None is 1.
        """
        a, m = (1.0, 1.0) if gains is None else gains[:, :, None, None].unbind(1)
        x = x + a * self.attn(self.norm1(x), bias)
        return x + m * self.mlp(self.norm2(x))
