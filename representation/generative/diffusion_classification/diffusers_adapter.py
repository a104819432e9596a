"""`DiffusersAdapter`: a `UNet2DModel` of diffusers, with its blocks numbered and its features seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from representation.generative.adm_unet import UNetConfig

CONFIG_FILE = "config.json"
KINDS = {"DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D", "UNetMidBlock2D"}


class DiffusersAdapter(nn.Module):
    """Noisy pictures and steps to noise, and to features of blocks, as `ADMUNet` gives them and numbers them.

    Args:
        model: an unconditional `UNet2DModel` of plain and attention blocks, over pictures of one size.

    Attributes:
        num_blocks: blocks that are numbered: the first convolution, every residual block with its attention and every
            down-sampling, the middle, and every residual block on the way up, the last of a level with its up-sampling.
        level_starts: numbers of the first residual block of each level on the way down.

    Raises:
        ValueError: blocks of another kind, classes, or no size.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        found = {type(block).__name__ for block in (*model.down_blocks, model.mid_block, *model.up_blocks)}
        if not found <= KINDS or model.class_embedding is not None or not isinstance(model.config.sample_size, int):
            size = model.config.sample_size
            raise ValueError(
                f"model: expected an unconditional UNet2DModel of {sorted(KINDS)} with a size, found {sorted(found)} "
                f"and size {size}"
            )
        if model.config.center_input_sample or model.config.time_embedding_type != "positional":
            raise ValueError("model: expected pictures in [-1, 1] and positional steps, found other conventions")
        self.model = model
        starts, number = [], 1
        for block in model.down_blocks:
            starts.append(number + 1)
            number += len(block.resnets) + len(block.downsamplers or ())
        self.level_starts = tuple(starts)
        self.num_blocks = number + 1 + sum(len(block.resnets) for block in model.up_blocks)

    @classmethod
    def from_sizes(cls, config: UNetConfig, seed: int = 0) -> DiffusersAdapter:
        """A new network of such sizes, with weights of a seed."""
        from diffusers import UNet2DModel  # takes seconds, and few need it

        sides = [config.resolution // 2**level for level in range(len(config.multipliers))]
        attend = [side in config.attention for side in sides]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = UNet2DModel(
                sample_size=config.resolution,
                in_channels=config.picture_channels,
                out_channels=config.out_channels,
                block_out_channels=tuple(config.channels * multiplier for multiplier in config.multipliers),
                layers_per_block=config.depth,
                down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in attend),
                up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attend)),
                attention_head_dim=min(config.head_channels, config.channels),
                norm_num_groups=config.groups,
                dropout=config.dropout,
            )
        return cls(model)

    @classmethod
    def from_directory(cls, directory: Path) -> DiffusersAdapter:
        """Read what `UNet2DModel.save_pretrained` wrote: safetensors; nothing is downloaded, no code is run.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        from diffusers import UNet2DModel

        if not (directory / CONFIG_FILE).is_file():
            raise ValueError(f"{directory}: expected a UNet2DModel of diffusers, found no {CONFIG_FILE}")
        try:
            model = UNet2DModel.from_pretrained(directory, use_safetensors=True, local_files_only=True)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{directory}: expected a UNet2DModel of diffusers: {error}") from error
        return cls(model)

    def save(self, directory: Path) -> None:
        """Write what `from_directory` reads."""
        self.model.save_pretrained(directory)

    @property
    def resolution(self) -> int:
        """Side of the pictures, pixels."""
        return int(self.model.config.sample_size)

    @property
    def picture_channels(self) -> int:
        """Channels of the pictures."""
        return int(self.model.config.in_channels)

    def walk(self, x: Tensor, t: Tensor, additions: Mapping[int, Tensor] | None = None) -> Iterator[tuple[int, Tensor]]:
        """See `ADMUNet.walk`."""
        model, number = self.model, 1
        time = model.time_embedding(model.time_proj(t).to(x.dtype))

        def added(h: Tensor) -> Tensor:
            return h + additions[number] if additions and number in additions else h

        h = added(model.conv_in(x))
        skips = [h]
        yield number, h
        for block in model.down_blocks:
            for layer, attention in zip(block.resnets, attentions(block), strict=True):
                number += 1
                h = added(attention(layer(h, time)))
                skips.append(h)
                yield number, h
            for layer in block.downsamplers or ():
                number += 1
                h = added(layer(h, time) if getattr(block, "downsample_type", "conv") == "resnet" else layer(h))
                skips.append(h)
                yield number, h
        h = model.mid_block(h, time)
        number += 1
        yield number, h
        for block in model.up_blocks:
            for place, (layer, attention) in enumerate(zip(block.resnets, attentions(block), strict=True), start=1):
                number += 1
                h = attention(layer(torch.cat([h, skips.pop()], dim=1), time))
                if place == len(block.resnets):
                    for up in block.upsamplers or ():
                        h = up(h, time) if getattr(block, "upsample_type", "conv") == "resnet" else up(h)
                yield number, h

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noise, and what else is told, (B, out_channels, R, R)."""
        return self.model(x, t).sample


def attentions(block: nn.Module) -> list[nn.Module]:
    """What follows each residual block."""
    found = getattr(block, "attentions", None)
    return [nn.Identity() for _ in block.resnets] if found is None else list(found)
