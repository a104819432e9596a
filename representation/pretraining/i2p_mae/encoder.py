"""`HierarchicalEncoder`: three levels of tokens; `I2PMAEEncoder`: it, as the stack uses it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.data.clouds import unit_sphere
from representation.interface import Modality
from representation.pretraining.i2p_mae.config import RELEASED, Config
from representation.pretraining.i2p_mae.tokens import Level, gather, group, packed
from representation.pretraining.transformer_block import Block

MASKED_SCORE = -1e5


class TokenEmbed(nn.Module):
    """Tokens out of the values of their neighbours: two small networks, each with a maximum over the neighbours."""

    def __init__(self, inputs: int, inside: tuple[int, int], output: int) -> None:
        super().__init__()
        first, second = inside
        hidden = 2 * second if inputs == 3 else output

        def layers(*sizes: int) -> nn.Sequential:
            a, b, c = sizes
            return nn.Sequential(nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU(), nn.Conv1d(b, c, 1))

        self.first_conv, self.second_conv = layers(inputs, first, second), layers(2 * second, hidden, output)

    def forward(self, values: Tensor) -> Tensor:
        """Neighbours (B, G, k, C) to tokens (B, G, output)."""
        local = self.first_conv(values.flatten(0, 1).transpose(1, 2))
        both = torch.cat([local.amax(dim=2, keepdim=True).expand_as(local), local], dim=1)
        return self.second_conv(both).amax(dim=2).unflatten(0, values.shape[:2])


class Stage(nn.Module):
    """Transformer blocks that get the positions anew."""

    def __init__(self, width: int, count: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=False) for _ in range(count))

    def forward(self, x: Tensor, position: Tensor, bias: Tensor | None, gains: Sequence[Tensor] | None) -> Tensor:
        """Tokens (B, N, width) to tokens; see `Block`."""
        for number, block in enumerate(self.blocks):
            x = block(x + position, bias, None if gains is None else gains[number])
        return x


def position(width: int) -> nn.Sequential:
    """Network that makes a position (3,) a token."""
    return nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))


class HierarchicalEncoder(nn.Module):
    """Three levels of tokens, with the released names of weights."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        w, thirds = config.widths, config.widths[0] // 3
        inside = ((4 * thirds, 8 * thirds), (w[0], w[0]), (w[1], w[1]))
        self.radii, self.depths = config.radii, config.blocks
        self.token_embed = nn.ModuleList(
            TokenEmbed(inputs, *rest) for inputs, *rest in zip((3, *w[:2]), inside, w, strict=True)
        )
        self.encoder_pos_embeds = nn.ModuleList(position(width) for width in w)
        self.encoder_blocks = nn.ModuleList(
            Stage(width, count, config.heads) for width, count in zip(w, config.blocks, strict=True)
        )
        self.encoder_norms = nn.ModuleList(nn.LayerNorm(width) for width in w)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, levels: Sequence[Level], visible: Sequence[Tensor] | None = None, gains: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Tokens (B, G, width) of every level; those that are not visible are 0 and take part in nothing.

        Args:
            levels: from `group`.
            visible: (B, G) bool of every level; None is all.
            gains: for each block, see `Block`.
        """
        table, outputs, done = None, [], 0
        for number, level in enumerate(levels):
            table = self.token_embed[number](level.offsets if table is None else gather(table, level.ids))
            seen = visible[number] if visible is not None else torch.ones(table.shape[:2], dtype=torch.bool)
            order, valid = packed(seen.to(table.device))
            own, centers = gather(table, order), gather(level.centers, order)
            own_gains = None if gains is None else gains[done : done + self.depths[number]]
            x = self.encoder_blocks[number](
                own, self.encoder_pos_embeds[number](centers), self._bias(valid, centers, self.radii[number]), own_gains
            )
            done += self.depths[number]
            place, known = order[..., None].expand_as(x), valid[..., None]
            outputs.append(torch.zeros_like(table).scatter(1, place, self.encoder_norms[number](x) * known))
            table = table.scatter(1, place, torch.where(known, x, own))
        return outputs

    @staticmethod
    def _bias(valid: Tensor, centers: Tensor, radius: float) -> Tensor | None:
        """Scores (B, 1, N, N) or (B, 1, 1, N) that keep tokens from looking at padding and too far away."""
        if bool(valid.all()) and radius == 0:
            return None
        hidden = ~valid[:, None, :]
        if radius > 0:
            hidden = hidden | (torch.cdist(centers, centers) >= radius)
        return MASKED_SCORE * hidden[:, None].to(centers.dtype)


class I2PMAEEncoder(nn.Module):
    """An `Encoder` of points.

    Args:
        config: sizes.
        h_encoder: the network.
    """

    modality: Modality = "points"

    def __init__(self, config: Config, h_encoder: HierarchicalEncoder) -> None:
        super().__init__()
        self.config, self.h_encoder, self.width = config, h_encoder, config.widths[2]

    @classmethod
    def from_released(cls, weights: Path, config: Config = RELEASED) -> I2PMAEEncoder:
        """Read the encoder out of a published checkpoint (`base_model`, pretrained or fine-tuned).

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; names it.
        """
        content = torch.load(weights, map_location="cpu", weights_only=True)
        state = content.get("base_model", content) if isinstance(content, dict) else {}
        prefix = "h_encoder."
        names = {name.removeprefix("module."): value for name, value in state.items()}
        own = {name.removeprefix(prefix): value for name, value in names.items() if name.startswith(prefix)}
        network = HierarchicalEncoder(config)
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"{weights}: expected the encoder of an I2P-MAE, found another: {error}") from error
        return cls(config, network).eval()

    def levels(self, points: Tensor) -> list[Level]:
        """Tokens' places of clouds (B, N, 3) in the unit sphere."""
        found, config = [], self.config
        for count, neighbours in zip(config.groups, config.neighbours, strict=True):
            found.append(group(found[-1].centers if found else points, count, neighbours))
        return found

    def encode(self, inputs: Tensor) -> Tensor:
        """Vectors (B, D) of clouds (B, N, 3): the largest value of each feature over the tokens of the last level."""
        return self.h_encoder(self.levels(unit_sphere(self._thinned(inputs))[0]))[-1].amax(dim=1)

    def tokens(self, points: Tensor, level: int = 1) -> tuple[Tensor, Tensor]:
        """Features (B, G, width) of a level, and the places (B, G, 3) that they are about, as in the cloud.

        Pretraining reaches levels 1 and 2, counted from 0.
        """
        sphere, center, radius = unit_sphere(self._thinned(points))
        levels = self.levels(sphere)
        return self.h_encoder(levels)[level], levels[level].centers * radius + center

    def save(self, directory: Path) -> None:
        """Write the encoder."""
        save_encoder(self.h_encoder, "i2p_mae", self.config, directory)

    def _thinned(self, points: Tensor) -> Tensor:
        """Every so many-th point, so that `config.points` are left."""
        if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] < self.config.groups[0]:
            raise ValueError(f"points: expected (B, {self.config.groups[0]} or more, 3), found {tuple(points.shape)}")
        count = min(self.config.points, points.shape[1])
        return points[:, torch.arange(count, device=points.device) * points.shape[1] // count]


def load(directory: Path) -> I2PMAEEncoder:
    """Read what `I2PMAEEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    content = read_config(directory)["config"]
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        config = Config(**values)
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of an I2P-MAE: {error}") from error
    encoder = I2PMAEEncoder(config, HierarchicalEncoder(config))
    load_weights(encoder.h_encoder, directory)
    return encoder.eval()
