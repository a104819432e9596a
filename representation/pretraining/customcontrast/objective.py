"""Training: a view of a subject is drawn from the codes of another view, and subjects are contrasted on two levels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.augmentations import random_view
from representation.data.frames import LABEL, MASK, Frames
from representation.interface import Loss
from representation.pretraining.clip.encoder import load as load_clip
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.customcontrast.config import Config
from representation.pretraining.customcontrast.encoder import SubjectEncoder, small_eyes, without_background
from representation.pretraining.customcontrast.eyes import ClipEyes, phrase_tokens
from representation.pretraining.customcontrast.losses import crossmodal_semantic_loss, multiscale_appearance_loss
from representation.pretraining.small_encoder import resized

ROTATION, TEXTS = "rotation", "texts"
CHANNELS, FIRST_SIDE = 48, 4
MEAN, STD = 0.5, 0.25  # of a pixel, about: errors are then as large as those of noise of variance 1


class Decoder(nn.Module):
    """Draws a view from the codes of a subject and the rotation in which it is to be seen.

    One stage for each scale, each twice as large as the one before; a stage hears the codes of its own scale only, as
    layers of a generator do in S+.

    Args:
        width: numbers d of a code.
        n_scales: stages.
        codes_per_scale: codes of each.
    """

    def __init__(self, width: int, n_scales: int, codes_per_scale: int) -> None:
        super().__init__()
        self.codes_per_scale, self.side = codes_per_scale, FIRST_SIDE * 2 ** (n_scales - 1)
        channels = [max(16, CHANNELS >> max(0, stage - 1)) for stage in range(n_scales + 1)]
        self.first = nn.Parameter(torch.randn(channels[0], FIRST_SIDE, FIRST_SIDE) * 0.1)
        self.told = nn.ModuleList(
            nn.Sequential(nn.Linear(codes_per_scale * width + 9, 64), nn.GELU(), nn.Linear(64, 2 * channel))
            for channel in channels[:-1]
        )
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.last = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, codes: Tensor, rotation: Tensor) -> Tensor:
        """Pictures (B, 3, side, side), of mean 0 and variance 1 about, of codes (B, K, d) and rotations (B, 3, 3)."""
        x = self.first.expand(len(codes), -1, -1, -1)
        for number, (told, layer) in enumerate(zip(self.told, self.layers, strict=True)):
            own = codes[:, number * self.codes_per_scale : (number + 1) * self.codes_per_scale]
            scale, shift = told(torch.cat([own.flatten(1), rotation.flatten(1)], dim=1))[..., None, None].chunk(
                2, dim=1
            )
            x = F.interpolate(x, scale_factor=2.0) if number else x
            x = F.gelu(layer(x * (1 + scale) + shift))
        return self.last(x)


class SubjectObjective(nn.Module):
    """What is intrinsic to a subject draws its other views, finds its name, and is the same in all of them.

    Args:
        encoder: what is trained.
    """

    needs = (TEXTS, LABEL, ROTATION)

    def __init__(self, encoder: SubjectEncoder) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self.judge = copy.deepcopy(encoder.eyes).requires_grad_(False)
        self.decoder = Decoder(config.width, config.n_scales, config.codes_per_scale)
        self.project_v, self.project_t = (nn.Linear(config.width, config.width, bias=False) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(config.width, config.width, bias=False) for _ in range(config.n_scales))

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Views of the subjects of some frames: P of them, then another view of each, and so on.

        The target of each is the next view of its subject.

        Raises:
            ValueError: a subject has too few views; names it.
        """
        config, side = self.encoder.config, self.encoder.eyes.resolution
        places = subject_views(frames, rows, config.views, generator)
        order, targets = places.flatten(), np.roll(places, -1, axis=0).flatten()
        count, shown = len(order), frames.pixels(order)
        bare = shown
        if MASK in frames.columns:
            masks = torch.from_numpy(frames.columns[MASK][order]).bool()
            bare = without_background(shown, masks)
            draw = torch.rand(count, generator=generator)[:, None, None, None]
            moved = on_other_backgrounds(shown, masks, torch.randperm(count, generator=generator))
            shown = torch.where(draw < config.background_drop + config.background_swap, moved, shown)
            shown = torch.where(draw < config.background_drop, bare, shown)
        view = {"smallest_crop": config.smallest_crop, "jitter": config.jitter, "flip": config.flip}
        return {
            "images": random_view(shown, side, generator, **view),
            "judged": resized(bare, side),
            "targets": (resized(frames.pixels(targets), self.decoder.side) - MEAN) / STD,
            "rotation": rotation_matrices(torch.from_numpy(frames.columns[ROTATION][targets]).float()),
            "tokens": phrase_tokens(self.encoder.eyes, [frames.texts[row] for row in order.tolist()]),
            "subject": torch.from_numpy(frames.episode[order]),
            "label": torch.from_numpy(frames.columns[LABEL][order]),
            "fused": torch.rand(count, generator=generator) >= config.text_drop,
            "kept": torch.rand(count, generator=generator) >= config.code_drop,
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch, of parts whose weight is not 0."""
        config = self.encoder.config
        found = self.encoder(batch["images"], batch["tokens"], batch["fused"])
        drawn = self.decoder(found.codes * batch["kept"][:, None, None], batch["rotation"])
        parts = {"reconstruction": F.mse_loss(drawn, batch["targets"])}
        total = parts["reconstruction"]
        subject = batch["subject"]
        if config.semantic and found.cls_t is not None:
            parts["semantic"] = crossmodal_semantic_loss(
                self.project_v(found.cls_v), self.project_t(found.cls_t), subject, batch["label"], config.temperature
            )
            total = total + config.semantic * parts["semantic"]
        if config.appearance:
            parts["appearance"] = multiscale_appearance_loss(
                found.codes,
                subject,
                self.relevance(batch["judged"]) if _has_choice(subject) else None,
                self.encoder.mfi.groups,
                config.temperature,
                config.relevance_temperature,
                list(self.heads),
            )
            total = total + config.appearance * parts["appearance"]
        return Loss(total, parts)

    @torch.no_grad()
    def relevance(self, images: Tensor) -> Tensor:
        """Cosines (B, B) of pictures (B, 3, R, R) by features that do not learn, about their mean."""
        features = self.judge.features(images)
        unit = F.normalize(features - features.mean(dim=0), dim=1)
        return unit @ unit.T


def _has_choice(subject: Tensor) -> bool:
    """Whether some view has several positives, among which relevance tells."""
    return int(subject.unique(return_counts=True)[1].max()) > 2


def subject_views(frames: Frames, rows: NDArray[np.int64], views: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Rows (views, P): the given ones, and below them others of their subjects, each once.

    Raises:
        ValueError: a subject has too few; names it.
    """
    columns = []
    for row in rows:
        own = np.flatnonzero(frames.episode == frames.episode[row])
        own = own[own != row]
        if len(own) < views - 1:
            raise ValueError(f"subject {frames.episode[row]}: expected at least {views} views, found {len(own) + 1}")
        chosen = torch.randperm(len(own), generator=generator)[: views - 1].numpy()
        columns.append([row, *own[chosen]])
    return np.array(columns).T


def on_other_backgrounds(images: Tensor, masks: Tensor, order: Tensor) -> Tensor:
    """Objects of pictures (B, 3, H, W) before what is around those of others.

    Args:
        images: the pictures.
        masks: (B, H, W), true where the objects are; there another background is as its mean.
        order: (B,) whose background each gets.
    """
    shown = masks[:, None].to(images)
    around = ((images * (1 - shown)).sum(dim=(2, 3), keepdim=True)) / (1 - shown).sum(dim=(2, 3), keepdim=True).clamp(1)
    backgrounds = torch.where(masks[:, None], around, images)
    return torch.where(masks[:, None], images, backgrounds[order])


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Matrices (B, 3, 3) of unit quaternions (B, 4), x, y, z, w."""
    vector, w = quaternions[:, :3], quaternions[:, 3:, None]
    cross = torch.linalg.cross(vector[:, None], torch.eye(3).to(vector)[None].expand(len(vector), 3, 3)).mT
    return torch.eye(3).to(vector) + 2 * w * cross + 2 * cross @ cross


def new(config: Config, frames: Frames, seed: int) -> SubjectObjective:
    """An untrained encoder with its heads.

    Raises:
        ValueError: the frames lack texts, labels or rotations, or there is no such CLIP.
    """
    frames.need(SubjectObjective.needs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.clip:
            eyes: nn.Module = ClipEyes(load_clip(Path(config.clip)))
        else:
            eyes = small_eyes(config, Tokenizer.fit(sorted(set(frames.texts)), config.vocab_size))
        return SubjectObjective(SubjectEncoder(config, eyes))
