"""Geodesic multi-modal mixup (m²-Mix and m³-Mix): fine-tunes a CLIP with mixtures of a picture and its text.

Pictures and texts of a CLIP lie in two separate regions of the sphere. A point on the geodesic between a picture and
its text is a hard negative for all other pairs, and learning to tell it apart closes the gap, so that one index holds
both kinds and one threshold of distance works for both.

Source: Geodesic Multi-Modal Mixup for Robust Fine-Tuning, Oh et al., NeurIPS 2023 (arXiv 2203.03897). Takes pictures
(B, 3, H, W) in [0, 1] with texts; gives the encoder of `clip`, fine-tuned from `--set encoder=RUN` or trained from
nothing. `python -m representation.pair_report` shows gap, uniformity, alignment and calibration before and after.
`finetune` does the same to two encoders of anything else, on arrays of pairs.

What differs from the paper: all is computed in float32, and angles of 0 and pi give finite mixtures. As in the released
code, the term m² is a sum over both directions and all others are means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import Frames
from representation.interface import Loss
from representation.pretraining import clip
from representation.pretraining.clip import CLIPEncoder, load
from representation.pretraining.clip.model import clip_loss
from representation.pretraining.clip.pretraining import CLIPObjective
from representation.registry import load_encoder

__all__ = ["Config", "load", "new"]


@dataclass(frozen=True)
class MixupSettings:
    """Terms of the loss.

    Attributes:
        w_m2: weight of the mixtures of a picture with its own text.
        w_v: weight of the mixtures of two pictures.
        w_l: weight of the mixtures of two texts.
        w_vl: weight of the pairs whose both sides are mixed.
        beta_m: the share of the picture in its mixture with its text is drawn from Beta(beta_m, beta_m).
        beta_u: likewise the share of the first of two pictures or texts.
        tau: temperature of all terms but m².
        tau_mix: temperature of m².
        keep_original_negatives: whether only the positives of w_v, w_l and w_vl are mixed.
    """

    w_m2: float = 0.01
    w_v: float = 0.0
    w_l: float = 0.0
    w_vl: float = 0.0
    beta_m: float = 0.5
    beta_u: float = 0.5
    tau: float = 0.01
    tau_mix: float = 0.07
    keep_original_negatives: bool = False

    def __post_init__(self) -> None:
        for name in ("beta_m", "beta_u", "tau", "tau_mix"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, found {getattr(self, name)}")

    def draw_lambdas(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The two shares of a batch: `lam_m` of the pictures in m², `lam_u` of the first in all other terms."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        drawn = {"lam_m": rng.beta(self.beta_m, self.beta_m), "lam_u": rng.beta(self.beta_u, self.beta_u)}
        return {name: torch.tensor(value, dtype=torch.float32) for name, value in drawn.items()}


@dataclass(frozen=True)
class Config(MixupSettings, clip.Config):
    """What is fine-tuned, and the terms of the loss. The sizes of `clip` count for training from nothing alone.

    Attributes:
        encoder: directory of a run or an encoder of `clip` that is fine-tuned; none to train from nothing.
        epoch_batches: batches of an epoch; all mixtures then weigh 1 / (epoch + 1), epochs counted from 0. With 0 they
            keep their weight.
    """

    encoder: Path | None = None
    epoch_batches: int = 0


def geodesic_mix(a: Tensor, b: Tensor, lam: Tensor | float, eps: float = 1e-6) -> Tensor:
    """Points between unit vectors on the sphere, at `lam` of the angle from b to a.

    Args:
        a: (B, D) unit vectors.
        b: (B, D) unit vectors.
        lam: in [0, 1]; 1 gives a.
        eps: cosines are kept so far from -1 and 1. Opposite vectors have no one geodesic, and get a finite point.

    Returns:
        (B, D) float32.
    """
    a, b = a.float(), b.float()
    angle = (a * b).sum(dim=-1, keepdim=True).clamp(eps - 1, 1 - eps).acos()
    return (torch.sin(lam * angle) * a + torch.sin((1 - lam) * angle) * b) / torch.sin(angle)


def m2_mix_logits(img: Tensor, txt: Tensor, lam: Tensor | float, tau: float = 0.07) -> tuple[Tensor, Tensor]:
    """Similarities, by `tau`, of pictures and of texts to the mixtures of the others and to their own partner.

    Args:
        img: (B, D) unit vectors of pictures.
        txt: (B, D) unit vectors of their texts.
        lam: share of the picture in the mixtures.
        tau: temperature.

    Returns:
        (B, B) of the pictures and (B, B) of the texts; on both diagonals the unmixed positives.
    """
    plain, mixed = img @ txt.T, geodesic_mix(img, txt, lam)
    own = torch.eye(len(img), dtype=torch.bool, device=img.device)
    return torch.where(own, plain, img @ mixed.T) / tau, torch.where(own, plain, txt @ mixed.T) / tau


def m2_mix_loss(
    img: Tensor, txt: Tensor, lam: Tensor | float, tau: float = 0.07, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Cross-entropy of the pictures plus that of the texts; arguments as of `m2_mix_logits`."""
    own = torch.arange(len(img), device=img.device)
    of_img, of_txt = m2_mix_logits(img, txt, lam, tau)
    return F.cross_entropy(of_img, own, reduction=reduction) + F.cross_entropy(of_txt, own, reduction=reduction)


def mixed_targets(count: int, lam: Tensor | float, device: torch.device | str = "cpu") -> Tensor:
    """(B, B): `lam` for a row's own partner, 1 - `lam` for that of the row that it was mixed with."""
    own = torch.eye(count, device=device)
    return lam * own + (1 - lam) * own.flip(0)


def v_mix_loss(
    img: Tensor, txt: Tensor, lam: Tensor | float, tau: float = 0.01, keep_original_negatives: bool = False
) -> Tensor:
    """Mixtures of pictures i and B - 1 - i, and which texts belong to them.

    Args:
        img: (B, D) unit vectors of pictures.
        txt: (B, D) unit vectors of their texts.
        lam: share of picture i.
        tau: temperature.
        keep_original_negatives: whether all other texts are compared with the unmixed picture i.
    """
    mixed = geodesic_mix(img, img.flip(0), lam) @ txt.T
    targets = mixed_targets(len(img), lam, img.device)
    return _soft_loss(mixed, img @ txt.T if keep_original_negatives else None, targets, tau)


def l_mix_loss(
    img: Tensor, txt: Tensor, lam: Tensor | float, tau: float = 0.01, keep_original_negatives: bool = False
) -> Tensor:
    """As `v_mix_loss`, with mixtures of texts i and B - 1 - i."""
    mixed = img @ geodesic_mix(txt, txt.flip(0), lam).T
    targets = mixed_targets(len(img), lam, img.device)
    return _soft_loss(mixed, img @ txt.T if keep_original_negatives else None, targets, tau)


def vl_mix_loss(
    img: Tensor, txt: Tensor, lam: Tensor | float, tau: float = 0.01, keep_original_negatives: bool = False
) -> Tensor:
    """As `v_mix_loss`, with both sides mixed: two positives to each row, of weight 1 each."""
    mixed = geodesic_mix(img, img.flip(0), lam) @ geodesic_mix(txt, txt.flip(0), lam).T
    targets = 2 * mixed_targets(len(img), 0.5, img.device)
    return _soft_loss(mixed, img @ txt.T if keep_original_negatives else None, targets, tau)


def mixup_loss(
    img: Tensor, txt: Tensor, lambdas: Mapping[str, Tensor], settings: MixupSettings, epoch_weight: float = 1.0
) -> Loss:
    """The contrastive loss of the pairs plus all mixtures that have a weight.

    Args:
        img: (B, D) unit vectors of pictures.
        txt: (B, D) unit vectors of their texts.
        lambdas: see `MixupSettings.draw_lambdas`.
        settings: weights and temperatures.
        epoch_weight: by which the mixtures are multiplied.

    Returns:
        Its parts, not weighted, are `pairs`, `m2`, `v`, `l` and `vl`, as far as they are used.
    """
    with torch.autocast(img.device.type, enabled=False):  # a half-precision similarity by 0.01 is off by 0.4
        img, txt = img.float(), txt.float()
        total = clip_loss(img, txt, 1 / settings.tau)
        parts = {"pairs": total.detach()}
        if settings.w_m2:
            parts["m2"] = m2_mix_loss(img, txt, lambdas["lam_m"], settings.tau_mix)
            total = total + epoch_weight * settings.w_m2 * parts["m2"]
        for name, weight, loss in (
            ("v", settings.w_v, v_mix_loss),
            ("l", settings.w_l, l_mix_loss),
            ("vl", settings.w_vl, vl_mix_loss),
        ):
            if weight:
                parts[name] = loss(img, txt, lambdas["lam_u"], settings.tau, settings.keep_original_negatives)
                total = total + epoch_weight * weight * parts[name]
    return Loss(total, parts)


class GeodesicMixupObjective(CLIPObjective):
    """The batches of `clip`, and the loss with mixtures.

    Args:
        encoder: what is trained. Its scale becomes 1 / tau, which is what its scores are then trained for.
        config: of the loss.
    """

    def __init__(self, encoder: CLIPEncoder, config: Config) -> None:
        super().__init__(encoder, config.smallest_crop)
        self._config = config
        encoder.model.logit_scale.requires_grad_(False).fill_(-math.log(config.tau))
        self.register_buffer("batches", torch.tensor(0))

    def train(self, mode: bool = True) -> GeodesicMixupObjective:
        """As of any module, but an encoder that is fine-tuned keeps the statistics of its normalisation."""
        super().train(mode)
        if self._config.encoder is not None:
            self.encoder.eval()
        return self

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Random squares of the pictures, the tokens of their texts, and the shares of the mixtures."""
        return super().batch(frames, rows, generator) | self._config.draw_lambdas(generator)

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss with its parts, and how often a picture's own text is not the most similar one."""
        model, config = self.encoder.model, self._config
        img = F.normalize(model.encode_image(batch["images"]).float(), dim=-1)
        txt = F.normalize(model.encode_text(batch["tokens"]).float(), dim=-1)
        epoch = int(self.batches) // config.epoch_batches if config.epoch_batches else 0
        if self.training:
            self.batches += 1
        loss = mixup_loss(img, txt, batch, config, 1 / (epoch + 1))
        own = (img @ txt.T).argmax(dim=1) == torch.arange(len(img), device=img.device)
        return Loss(loss.total, loss.parts | {"wrong_text": 1 - own.float().mean()})


def new(config: Config, frames: Frames, seed: int) -> GeodesicMixupObjective:
    """A CLIP to fine-tune, or an untrained one.

    Raises:
        ValueError: the frames have no texts, or the encoder is none of `clip`.
    """
    frames.need(CLIPObjective.needs)
    if config.encoder is None:
        return GeodesicMixupObjective(clip.new(config, frames, seed).encoder, config)
    encoder = load_encoder(config.encoder)
    if not isinstance(encoder, CLIPEncoder):
        raise ValueError(f"encoder: expected one of clip in {config.encoder}, found {type(encoder).__name__}")
    return GeodesicMixupObjective(encoder, config)


def finetune(
    encode: tuple[nn.Module, nn.Module],
    pairs: tuple[Tensor, Tensor],
    settings: MixupSettings,
    epochs: int,
    lr: float,
    generator: torch.Generator,
    weight_decay: float = 0.2,
    batch_size: int = 128,
    warmup: float = 0.1,
    epoch_weight: Callable[[int], float] = lambda epoch: 1.0,
) -> None:
    """Train two encoders of any kind, in evaluation mode, by AdamW with a linear warm-up and a cosine.

    Args:
        encode: each takes rows of its part of the pairs to (B, D).
        pairs: (N, ...) and (N, ...), row by row.
        settings: of the loss.
        epochs: over all pairs, in a new order each time; the last, smaller batch is left out.
        lr: peak learning rate.
        generator: a CPU generator of order and shares.
        weight_decay: of AdamW.
        batch_size: pairs to a step.
        warmup: share of the steps.
        epoch_weight: weight of the mixtures in an epoch, counted from 0; the paper also has 1 / (epoch + 1).

    Raises:
        ValueError: fewer pairs than a batch.
    """
    count = len(pairs[0])
    if count < batch_size or len(pairs[1]) != count:
        raise ValueError(f"pairs: expected twice at least {batch_size} rows, found {count} and {len(pairs[1])}")
    towers = nn.ModuleList(encode).eval()
    per_epoch = count // batch_size
    steps = epochs * per_epoch
    optimizer = torch.optim.AdamW(towers.parameters(), lr=lr, weight_decay=weight_decay)
    first = max(1, round(warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / first if step < first else 0.5 + 0.5 * math.cos(math.pi * (step - first) / (steps - first))
        ),
    )
    for epoch in range(epochs):
        for rows in torch.randperm(count, generator=generator).split(batch_size)[:per_epoch]:
            img, txt = (F.normalize(tower(part[rows]), dim=-1) for tower, part in zip(towers, pairs, strict=True))
            lambdas = settings.draw_lambdas(generator)
            optimizer.zero_grad()
            mixup_loss(img, txt, lambdas, settings, epoch_weight(epoch)).total.backward()
            optimizer.step()
            schedule.step()


def _soft_loss(mixed: Tensor, plain: Tensor | None, targets: Tensor, tau: float) -> Tensor:
    """Cross-entropy of rows and of columns with soft targets (B, B), averaged; negatives from `plain` if given."""
    if plain is not None:
        own = torch.eye(len(mixed), dtype=torch.bool, device=mixed.device)
        mixed = torch.where(own | own.flip(0), mixed, plain)
    # The targets are symmetric. Cross-entropy with probabilities takes rows of any sum.
    return 0.5 * (F.cross_entropy(mixed / tau, targets) + F.cross_entropy(mixed.T / tau, targets))
