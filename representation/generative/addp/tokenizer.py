"""`VQTokenizer`: a picture as a grid of codes, and back; the VQGAN of MaskGIT, with the names of its weights.

Its pictures are in [0, 1], not in [-1, 1]. Where two widths meet, a residual block adds a linear map of its own output
in place of its input: so it is in the released network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.interface import Loss

EPS = 1e-6
COMMITMENT = 0.25
TEMPERATURE = 0.01


class ResidualBlock(nn.Module):
    """Norm, swish and 3 x 3 convolution, twice."""

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, before, EPS), nn.GroupNorm(groups, after, EPS)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Conv2d(after, after, 1, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, before, H, W) to (B, after, H, W)."""
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(y))


class Middle(nn.Module):
    """Two residual blocks on the smallest map."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = ResidualBlock(width, width, groups), ResidualBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return self.block_2(self.block_1(x))


class Level(nn.Module):
    """Residual blocks on one size of maps; `upsample` is there where a decoder goes on to twice the side."""

    def __init__(self, before: int, after: int, groups: int, blocks: int, upsample: bool = False) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(before if n == 0 else after, after, groups) for n in range(blocks))
        if upsample:
            self.upsample = nn.ModuleDict({"conv": nn.Conv2d(after, after, 3, padding=1)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H, W)."""
        for block in self.block:
            x = block(x)
        return x


class PictureToLatents(nn.Module):
    """Convolutions with 2 x 2 means between the levels."""

    def __init__(self, dim: int, ch: int, ch_mult: Sequence[int], blocks: int, groups: int) -> None:
        super().__init__()
        widths = [ch * factor for factor in ch_mult]
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1, bias=False)
        self.down = nn.ModuleList(Level(a, b, groups, blocks) for a, b in zip([ch, *widths[:-1]], widths, strict=True))
        self.mid = Middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) to latents (B, dim, h, w)."""
        x = self.conv_in(x)
        for number, level in enumerate(self.down):
            x = level(x if number == 0 else F.avg_pool2d(x, 2))
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class LatentsToPicture(nn.Module):
    """The way back: nearest neighbours and a convolution between the levels, from the last level to the first."""

    def __init__(self, dim: int, ch: int, ch_mult: Sequence[int], blocks: int, groups: int) -> None:
        super().__init__()
        widths = [ch * factor for factor in ch_mult]
        self.conv_in = nn.Conv2d(dim, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], groups)
        befores = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            Level(before, after, groups, blocks, upsample=number > 0)
            for number, (before, after) in enumerate(zip(befores, widths, strict=True))
        )
        self.norm_out = nn.GroupNorm(groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, dim, h, w) to pictures (B, 3, R, R)."""
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
            if hasattr(level, "upsample"):
                x = level.upsample["conv"](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class Codebook(nn.Module):
    """K vectors; `embedding.weight` (K, dim)."""

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, dim)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances (N, K) of vectors (N, dim) and all codes."""
        codes = self.embedding.weight
        return z.square().sum(1, keepdim=True) - 2 * z @ codes.T + codes.square().sum(1)


class VQTokenizer(nn.Module):
    """Pictures (B, 3, R, R) in [0, 1] as h x w codes out of K.

    Args:
        codebook: K.
        dim: numbers C of a code.
        ch: channels of the largest maps.
        ch_mult: factor of the channels of each level; the sides halve between levels.
        blocks: residual blocks of a level.
        groups: of the group norms; every width must be a multiple of it.

    Raises:
        ValueError: fewer than two codes, or widths that do not fit the groups.
    """

    def __init__(
        self,
        codebook: int = 1024,
        dim: int = 256,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        blocks: int = 2,
        groups: int = 32,
    ) -> None:
        super().__init__()
        if codebook < 2 or not ch_mult or ch < 1 or groups < 1 or ch % groups:
            raise ValueError(
                f"codebook, ch_mult, ch, groups: expected two codes or more, a level, and channels that are a multiple "
                f"of the groups, found {codebook}, {tuple(ch_mult)}, {ch} and {groups}"
            )
        self.codes, self.dim, self.patch = codebook, dim, 2 ** (len(ch_mult) - 1)
        self.encoder = PictureToLatents(dim, ch, ch_mult, blocks, groups)
        self.decoder = LatentsToPicture(dim, ch, ch_mult, blocks, groups)
        self.quantize = Codebook(codebook, dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest codes of pictures.

        Args:
            x: (B, 3, R, R) in [0, 1]; R is a multiple of the patch.

        Returns:
            Numbers (B, L) of the codes, row after row, and the codes (B, C, h, w).

        Raises:
            ValueError: another shape.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ValueError(
                f"x: expected (B, 3, H, W) with sides of multiples of {self.patch}, found {tuple(x.shape)}"
            )
        latents = self.encoder(x)
        ids = self.quantize.distances(latents.movedim(1, -1).flatten(0, 2)).argmin(1).view(len(x), -1)
        return ids, self.lookup(ids, latents.shape[-2:])

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (B, 3, R, R), about in [0, 1], of codes or mixtures of codes (B, C, h, w)."""
        return self.decoder(z)

    def lookup(self, ids: Tensor, grid: Sequence[int]) -> Tensor:
        """Codes (B, C, h, w) of their numbers (B, L)."""
        return self.quantize.embedding(ids).movedim(-1, 1).unflatten(-1, tuple(grid))

    def mixed(self, probabilities: Tensor) -> Tensor:
        """Means (B, C, h, w) of the codes under distributions (B, K, h, w): "soft" tokens."""
        return torch.einsum("bkhw,kc->bchw", probabilities, self.quantize.embedding.weight)

    def loss(self, x: Tensor, entropy: float = 0.0) -> Loss:
        """What trains it: pictures come back, and codes and latents meet.

        The entropy part asks that each latent is sure of its code while the codes together are used alike: MaskGIT's
        remedy against codes that are never chosen. It also divides what looks alike into several codes, which are then
        harder to predict.

        Args:
            x: (B, 3, R, R) in [0, 1].
            entropy: weight of the entropy part.
        """
        latents = self.encoder(x)
        vectors = latents.movedim(1, -1).flatten(0, 2)
        distances = self.quantize.distances(vectors)
        chosen = self.quantize.embedding(distances.argmin(1))
        meeting = F.mse_loss(chosen, vectors.detach()) + COMMITMENT * F.mse_loss(vectors, chosen.detach())
        logs = (-distances / TEMPERATURE).log_softmax(1)
        shares = logs.exp().mean(0)
        sure, used = -(logs.exp() * logs).sum(1).mean(), -(shares * shares.clamp(min=1e-9).log()).sum()
        straight = vectors + (chosen - vectors).detach()
        found = self.decode(straight.unflatten(0, (len(x), *latents.shape[-2:])).movedim(-1, 1))
        error = F.mse_loss(found, x)
        parts = {
            "reconstruction": error.detach(),
            "meeting": meeting.detach(),
            "codes_in_use": torch.bincount(distances.argmin(1), minlength=self.codes).count_nonzero().float(),
        }
        return Loss(error + meeting + entropy * (sure - used), parts)
