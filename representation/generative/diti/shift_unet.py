"""`ShiftUNet`: a frozen U-Net, and a branch that tells by a vector what the U-Net's noise lacks."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from representation.generative.adm_unet import ADMUNet, ResidualBlock, zeroed


class ShiftUNet(nn.Module):
    """Shares the frozen way down and has a middle and a way up of its own, whose residual blocks a vector modulates.

    After time has scaled and shifted the normalised maps of a residual block, the vector does so again.

    Args:
        unet: is frozen, and always in evaluation mode.
        latent_dim: numbers of a vector.
        seed: of the new layers.

    Raises:
        ValueError: another kind of network.
    """

    def __init__(self, unet: Any, latent_dim: int, seed: int = 0) -> None:
        super().__init__()
        if not isinstance(unet, ADMUNet):
            raise ValueError(
                f"unet: expected an ADMUNet, whose blocks a vector can modulate, found {type(unet).__name__}"
            )
        self.middle_block = copy.deepcopy(unet.middle_block).requires_grad_(True)
        self.output_blocks = copy.deepcopy(unet.output_blocks).requires_grad_(True)
        self.unet = unet.requires_grad_(False).eval()
        time = unet.time_embed[0].out_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(latent_dim, time)
            self.modulations = nn.ModuleList(
                nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * block.out)) for block in self._residual_blocks()
            )
            norm, activation, conv = copy.deepcopy(unet.out).requires_grad_(True)
            last = nn.Conv2d(conv.in_channels, unet.picture_channels, 3, padding=1)
            self.out = nn.Sequential(norm, activation, zeroed(last))

    def _residual_blocks(self) -> list[ResidualBlock]:
        stages = [self.middle_block, *self.output_blocks]
        return [layer for stage in stages for layer in stage if isinstance(layer, ResidualBlock)]

    def train(self, mode: bool = True) -> ShiftUNet:
        """Training mode, which the frozen network does not take part in."""
        super().train(mode)
        self.unet.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Those of the branch."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(self, x: Tensor, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise as the frozen network tells it, and the branch's correction G.

        Args:
            x: noisy pictures (B, C, R, R).
            t: steps (B,).
            z: vectors (B, latent_dim).

        Returns:
            Two times (B, C, R, R); G is 0 at first.
        """
        unet, down = self.unet, len(self.unet.input_blocks)
        with torch.no_grad():
            time, skips = unet.time(t), []
            for number, h in unet.walk(x, t):
                if number <= down:
                    skips.append(h)
            noise = unet.out(h)[:, : unet.picture_channels]
        told = self.embed(z)
        blocks = zip(self._residual_blocks(), self.modulations, strict=True)
        extras = {block: modulation(told) for block, modulation in blocks}
        h = self.middle_block(skips[-1], time, extras)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), time, extras)
        return noise, self.out(h)
