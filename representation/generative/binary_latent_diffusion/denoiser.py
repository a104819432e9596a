"""`BinaryDenoiser`: a small vision transformer that sees a grid of noisy bits and says what they were."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from representation.pretraining.transformer_block import Block
from representation.transfer.d2nwg.conv_blocks import sinusoids

TIME_SCALE = 4000
FIRST_STD = 0.02


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes; the paper has a width of 768, 24 layers, 12 heads and 256 steps.

    Attributes:
        bits: c of each place.
        grid: rows and columns of places.
        total_steps: T of the schedule; a network of one T is of no use with another.
        width: of the tokens, which 4 divides.
        layers: transformer blocks.
        heads: of their attention.
        classes: that bits may be drawn of; 0 knows none.
    """

    bits: int
    grid: tuple[int, int]
    total_steps: int = 256
    width: int = 64
    layers: int = 3
    heads: int = 4
    classes: int = 0

    def __post_init__(self) -> None:
        least = min(self.bits, *self.grid, self.total_steps, self.width, self.layers, self.heads)
        if least < 1 or self.classes < 0 or len(self.grid) != 2:
            raise ValueError(f"bits, grid, steps and sizes: expected at least 1, found {asdict(self)}")
        if self.width % 4:
            raise ValueError(f"width: expected a multiple of 4, found {self.width}")


class BinaryDenoiser(nn.Module):
    """Tokens of the places, one of the time and, with classes, one of the class.

    Args:
        config: sizes.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.tok_emb = nn.Linear(config.bits, width, bias=False)
        nn.init.normal_(self.tok_emb.weight, std=FIRST_STD)
        self.register_buffer("pos_emb", grid_positions(*config.grid, width), persistent=False)
        self.pos_emb: Tensor
        self.time_step_embedding = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        # One more class stands for none.
        self.class_embedding = nn.Embedding(config.classes + 1, width) if config.classes else None
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        for block in self.blocks:
            nn.init.zeros_(block.attn.qkv.bias)
        self.gains = nn.Parameter(torch.ones(config.layers, 2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, config.bits)

    def forward(self, z_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits (B, L, c) of bits (B, L, c) after t (B,) steps from 1 to T.

        Args:
            z_t: bits.
            t: steps.
            y: (B,) classes; None does without.

        Raises:
            ValueError: bits of another grid, or classes of a network that knows none.
        """
        config, count = self.config, len(self.pos_emb)
        if z_t.shape[1:] != (count, config.bits):
            raise ValueError(f"bits: expected (B, {count}, {config.bits}), found {tuple(z_t.shape)}")
        tokens = [self.tok_emb(2 * z_t.to(self.pos_emb.dtype) - 1) + self.pos_emb]
        time = sinusoids((t - 1) / config.total_steps * TIME_SCALE, config.width)
        tokens.append(self.time_step_embedding(time)[:, None])
        if self.class_embedding is not None:
            none = torch.full((len(z_t),), config.classes, device=z_t.device)
            known = none if y is None else y
            if int(known.min()) < 0 or int(known.max()) > config.classes:
                raise ValueError(f"y: expected classes from 0 to {config.classes - 1}, found {known.unique().tolist()}")
            tokens.append(self.class_embedding(known)[:, None])
        elif y is not None:
            raise ValueError("y: expected none, as the denoiser knows no classes")
        x = torch.cat(tokens, dim=1)
        for block, gains in zip(self.blocks, self.gains, strict=True):
            x = block(x, gains=gains.expand(len(x), 2))
        return self.head(self.norm(x[:, :count]))


def grid_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed vectors (rows * columns, width): half of cosines and sines of the row, half of the column."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([sinusoids(row.flatten(), width // 2), sinusoids(column.flatten(), width // 2)], dim=1)
