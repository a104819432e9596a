"""`FeedbackAdapter`: DifFeed, a second pass of the U-Net that sees what the way up of the first one made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.generative.diffusion_classification.features import Denoiser, block_shapes, extract


class FeedbackAdapter(nn.Module):
    """Features of the way up, mapped and added to those of the way down, of which a second pass makes its features.

    Block b gives to block `num_blocks + 1 - b`: of the released network those from 21 to 36 by threes, to 17 down to 2.

    Args:
        unet: stays as it is.
        blocks: that give; those that mirror the first residual block of each level if left out.
        seed: of the weights.

    Attributes:
        blocks: that give.

    Raises:
        ValueError: a block that is not on the way up.
    """

    def __init__(self, unet: Denoiser, blocks: Sequence[int] | None = None, seed: int = 0) -> None:
        super().__init__()
        last = unet.num_blocks + 1
        self.blocks = tuple(last - b for b in unet.level_starts) if blocks is None else tuple(blocks)
        if not self.blocks or min(self.blocks) <= last // 2 or max(self.blocks) >= last:
            raise ValueError(f"blocks: expected some from {last // 2 + 1} to {last - 1}, found {list(self.blocks)}")
        shapes = block_shapes(unet)
        self._targets = {b: last - b for b in self.blocks}
        self._sides = {b: shapes[last - b][1] for b in self.blocks}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.maps = nn.ModuleDict(
                {str(b): _mapping(shapes[b][0], shapes[last - b][0]) for b in self.blocks},
            )

    def forward(
        self, unet: Denoiser, x: Tensor, t: int, block: int, noise: Tensor | torch.Generator | None = None
    ) -> Tensor:
        """Features (B, C, h, w) of a block in the second pass, which has the noise of the first.

        Arguments and errors as of `extract`; gradients go to the adapter, and not to the U-Net's weights if these are
        without gradients.
        """
        if isinstance(noise, torch.Generator):
            raise ValueError("noise: expected draws, which both passes share, found a generator")
        with torch.no_grad():
            first = extract(unet, x, t, self.blocks, noise)
        additions = {
            self._targets[b]: F.interpolate(
                self.maps[str(b)](h), (self._sides[b],) * 2, mode="bilinear", align_corners=False
            )
            for b, h in first.items()
        }
        return extract(unet, x, t, [block], noise, additions=additions)[block]


def _mapping(before: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class FeedbackHead(nn.Module):
    """An adapter and a head on the features of the second pass; takes pictures, and trains without the U-Net.

    Args:
        unet: is no part of the module.
        adapter: of that U-Net.
        head: of features of `block`.
        t: step.
        block: that is read; the paper reads 24 of 37.
        noise: see `extract`.
    """

    def __init__(
        self, unet: Denoiser, adapter: FeedbackAdapter, head: nn.Module, t: int, block: int, noise: Tensor | None = None
    ) -> None:
        super().__init__()
        self.adapter, self.head, self.t, self.block = adapter, head, t, block
        self._unet, self._noise = (unet,), noise  # a tuple keeps it out of the parameters

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, n) of pictures (B, C, R, R) in [-1, 1]."""
        return self.head(self.adapter(self._unet[0], x, self.t, self.block, self._noise))
