"""`I2PMAE`: the masked autoencoder as an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.clouds import clouds, unit_sphere
from representation.data.frames import POINTS, Frames
from representation.interface import DenseEncoder, Loss
from representation.pretraining.i2p_mae.config import Config
from representation.pretraining.i2p_mae.encoder import HierarchicalEncoder, I2PMAEEncoder, Stage, position
from representation.pretraining.i2p_mae.tokens import Level, chamfer_l2, gather, guided_mask, nearest, propagate_mask
from representation.pretraining.i2p_mae.views import VIEWS, backproject, project_views
from representation.registry import load_encoder


class I2PMAE(nn.Module):
    """The masked autoencoder: an `Objective`.

    Args:
        config: sizes.
        teacher: a `DenseEncoder` of pictures; it is not trained. None leaves out what needs one.
    """

    needs = (POINTS,)

    def __init__(self, config: Config, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.teacher = config, teacher
        self.encoder = I2PMAEEncoder(config, HierarchicalEncoder(config))
        self.encoder.h_encoder.encoder_norms[0].requires_grad_(False)  # the decoder starts from the second level
        wide, narrow = config.widths[2], config.widths[1]
        self.mask_token = nn.Parameter(torch.zeros(1, wide))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.h_decoder = nn.ModuleList(Stage(width, 1, config.heads) for width in (wide, narrow))
        self.decoder_pos_embeds = nn.ModuleList(position(width) for width in (wide, narrow))
        self.token_prop = nn.ModuleList([TokenPropagation(wide, narrow)])
        self.decoder_norm = nn.LayerNorm(narrow)
        for module in self.h_decoder.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.rec_head_3d = nn.Conv1d(narrow, 3 * config.neighbours[1], 1)
        self.rec_head_2d: nn.Conv1d | None = None
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            with torch.no_grad():
                features = teacher.dense(torch.zeros(1, 3, config.view_size, config.view_size))[0]
            self.rec_head_2d = nn.Conv1d(narrow, len(VIEWS) * config.neighbours[1] * features.shape[1], 1)

    def train(self, mode: bool = True) -> I2PMAE:
        """Set the mode of everything but the teacher, which is always in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW: biases, gains, and all that has "token" in its name do not decay."""
        trained = [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]
        kept = {name for name, parameter in trained if parameter.ndim == 1 or "bias" in name or "token" in name}
        return [
            {"params": [parameter for name, parameter in trained if name not in kept], "weight_decay": weight_decay},
            {"params": [parameter for name, parameter in trained if name in kept], "weight_decay": 0.0},
        ]

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Random points of the clouds, stretched and moved at random, and the noise of masks and stochastic depth."""
        config, count = self.config, len(rows)
        points = unit_sphere(clouds(frames, rows))[0]
        chosen = torch.rand(points.shape[:2], generator=generator).argsort(dim=1)[:, : config.points]
        scale = (2 / 3) + (3 / 2 - 2 / 3) * torch.rand(count, 1, 3, generator=generator)
        move = 0.4 * torch.rand(count, 1, 3, generator=generator) - 0.2
        return {
            "points": gather(points, chosen) * scale + move,
            "mask_noise": torch.rand(count, config.groups[2], generator=generator),
            "path_noise": torch.rand(count, sum(config.blocks) + 2, 2, generator=generator),
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """Chamfer distance of hidden neighbourhoods, and squared error of what the teacher sees at visible points."""
        config, levels = self.config, self.encoder.levels(batch["points"])
        saliency, targets = self._guidance(batch["points"], levels)
        visible = propagate_mask(
            guided_mask(saliency, config.mask_ratio, batch["mask_noise"], config.temperature), levels
        )
        tokens = self._decode(levels, visible, self._gains(batch["path_noise"]))
        hidden, k = ~visible[1], config.neighbours[1]
        restored = self.rec_head_3d(tokens.transpose(1, 2)).transpose(1, 2)[hidden].unflatten(1, (k, 3))
        # Nothing may be hidden at the second level of a small model; the sum over nothing is 0 and has a gradient.
        loss_3d = chamfer_l2(restored, levels[1].offsets[hidden]).sum() / max(1, len(restored))
        parts = {"points": loss_3d.detach()}
        if self.rec_head_2d is None or targets is None:
            return Loss(loss_3d, parts)
        told = self.rec_head_2d(tokens.transpose(1, 2)).transpose(1, 2)[visible[1]]
        loss_2d = F.mse_loss(told, gather(targets, levels[1].ids)[visible[1]].flatten(1))
        return Loss(loss_3d + loss_2d, parts | {"pictures": loss_2d.detach()})

    @torch.no_grad()
    def _guidance(self, points: Tensor, levels: Sequence[Level]) -> tuple[Tensor, Tensor | None]:
        """Saliency (B, G) of the last level's tokens, and what is seen (B, G, 3 C) at the first level's centres."""
        if self.teacher is None:
            return points.new_ones(levels[-1].centers.shape[:2]), None
        images, geometry = project_views(points, self.config.view_size, self.config.reduction)
        features, saliency = self.teacher.dense(images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1))
        features, saliency = (maps.unflatten(0, images.shape[:2]) for maps in (features, saliency[:, None]))
        looked_at = backproject(levels[-1].centers, saliency, geometry).mean(dim=1)[..., 0]
        seen = backproject(levels[0].centers, features, geometry)
        return looked_at.clamp(min=0), seen.transpose(1, 2).flatten(2)

    def _decode(self, levels: Sequence[Level], visible: Sequence[Tensor], gains: list[Tensor] | None) -> Tensor:
        """Tokens (B, G, width) of the second level, visible and hidden ones, from the encoder's visible ones."""
        count = sum(self.config.blocks)
        _, middle, last = self.encoder.h_encoder(levels, visible, gains)
        rest = None if gains is None else gains[count:]
        x = torch.where(visible[2][..., None], last, self.mask_token.to(last.dtype))
        x = self.h_decoder[0](x, self.decoder_pos_embeds[0](levels[2].centers), None, rest and rest[:1])
        x = self.token_prop[0](levels[1].centers, levels[2].centers, middle, x)
        x = self.h_decoder[1](x, self.decoder_pos_embeds[1](levels[1].centers), None, rest and rest[1:])
        return self.decoder_norm(x)

    def _gains(self, noise: Tensor) -> list[Tensor] | None:
        """Factors (B, 2) of each block's branches: 0 where it is left out, so that the mean stays 1."""
        if not self.training or self.config.drop_path == 0:
            return None
        encoder, decoder = (torch.linspace(0, self.config.drop_path, n) for n in (sum(self.config.blocks), 2))
        rates = torch.cat([encoder, decoder]).to(noise)[None, :, None]
        return list(((noise >= rates) / (1 - rates)).unbind(1))


class TokenPropagation(nn.Module):
    """Tokens of a level from those of the next, at the three nearest centres, and its own."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()

        def layer(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv1d(inputs, fine, 1), nn.BatchNorm1d(fine))

        self.fuse = nn.ModuleDict({"net": layer(coarse + fine)})
        residual = nn.ModuleDict({"net1": layer(fine), "net2": layer(fine)})
        self.extraction = nn.ModuleDict({"operation": nn.ModuleList([residual])})

    def forward(self, fine_centers: Tensor, coarse_centers: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Centres (B, M, 3) and (B, N, 3), tokens (B, M, fine) and (B, N, coarse), to tokens (B, M, fine)."""
        distance, ids = nearest(coarse_centers, fine_centers, 3)
        weight = 1 / (distance + 1e-8)
        mixed = (gather(coarse, ids) * (weight / weight.sum(dim=2, keepdim=True))[..., None]).sum(dim=2)
        x = F.gelu(self.fuse["net"](torch.cat([fine, mixed], dim=2).transpose(1, 2)))
        residual = self.extraction["operation"][0]
        return F.gelu(residual["net2"](F.gelu(residual["net1"](x))) + x).transpose(1, 2)


def new(config: Config, frames: Frames, seed: int) -> I2PMAE:
    """An untrained autoencoder, with the teacher that the configuration names.

    Raises:
        ValueError: the frames carry no clouds, or the teacher does not tell what is where.
    """
    frames.need(I2PMAE.needs)
    if frames.columns[POINTS].shape[1] < config.points:
        raise ValueError(f"{POINTS}: expected at least {config.points}, found {frames.columns[POINTS].shape[1]}")
    teacher = load_encoder(Path(config.teacher)) if config.teacher else None
    if teacher is not None and not isinstance(teacher, DenseEncoder):
        raise ValueError(f"teacher: expected an encoder that tells what is where, found {type(teacher).__name__}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return I2PMAE(config, teacher)
