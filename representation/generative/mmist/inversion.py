"""`CrossModalInverter`: find the latent of a frozen generator whose picture has the style of texts and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.generative.mmist.directions import (
    TEMPLATES,
    Mode,
    StyleSpec,
    TextFeatures,
    directional_loss,
    directions,
    text_direction,
)
from representation.generative.mmist.patches import random_patches

BATCH = 16
Start = Literal["whole", "patches", "random"]


class Generator(Protocol):
    """Makes pictures of latents, as StyleGAN3's generator does: any `nn.Module` with these is one.

    Attributes:
        z_dim: numbers of a normal draw.
    """

    z_dim: int

    def mapping(self, z: Tensor) -> Tensor:
        """Latents (B, num_ws, w_dim) of draws (B, z_dim)."""
        ...

    def synthesis(self, ws: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) about [-1, 1] of latents (B, num_ws, w_dim)."""
        ...


@dataclass(frozen=True)
class Target:
    """What is sought.

    Attributes:
        texts: unit vectors (1, E), each with its weight.
        images: pictures (1, 3, S, S), each with its weight.
    """

    texts: Sequence[tuple[Tensor, float]]
    images: Sequence[tuple[Tensor, float]]

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return sum(weight for _, weight in (*self.texts, *self.images))


@dataclass(frozen=True)
class Inversion:
    """One run.

    Attributes:
        image: (3, S, S) in [0, 1].
        start: (1, num_ws, w_dim) latents that the run began with.
        latents: (1, num_ws, w_dim) at its end.
        losses: of each evaluation, weights not divided out.
    """

    image: Tensor
    start: Tensor
    latents: Tensor
    losses: tuple[float, ...]


class CrossModalInverter:
    """Optimises all layers of the latent (W+) by directional losses on patches; nothing else is trained.

    Args:
        generator: of pictures.
        image_encoder: unit features (B, E) of pictures (B, 3, h, w) in [0, 1].
        text_encoder: features (T, E) of texts, not normalised.
        n_patches: patches of a picture.
        crop: their side, pixels of the picture.
        steps: of Adam.
        lr: of Adam, a third after each 100 steps.
        n_candidates: random latents of which the best begins.
        side: of the pictures, to which those of the generator are averaged; None keeps them.
        patch_side: of patches as the encoder sees them; `crop` unless told.
        mode: of the loss of pictures.
        threshold: see `directional_loss`.
        redraw: whether the patches of style pictures are drawn anew at every step.
        start: how candidates are judged: by the `whole` picture (the reference's), by `patches`, or not (`random`).
        templates: for texts. The reference takes the 80 of CLIP's authors; pass them here with their weights.
    """

    def __init__(
        self,
        generator: Generator,
        image_encoder: Callable[[Tensor], Tensor],
        text_encoder: TextFeatures,
        n_patches: int = 64,
        crop: int = 256,
        steps: int = 40,
        lr: float = 0.05,
        n_candidates: int = 128,
        *,
        side: int | None = 512,
        patch_side: int | None = None,
        mode: Mode = "pairwise",
        threshold: float = 0.0,
        redraw: bool = False,
        start: Start = "whole",
        templates: Sequence[str] = TEMPLATES,
    ) -> None:
        if min(n_patches, crop, n_candidates) < 1 or steps < 0 or not lr > 0:
            raise ValueError(
                "n_patches, crop, n_candidates, steps, lr: expected at least 1, 1, 1, 0 and more than 0, found "
                f"{n_patches}, {crop}, {n_candidates}, {steps}, {lr}"
            )
        if start not in ("whole", "patches", "random"):
            raise ValueError(f"start: expected whole, patches or random, found {start!r}")
        self.generator, self.image_encoder, self.text_encoder = generator, image_encoder, text_encoder
        self.n_patches, self.crop, self.steps, self.lr = n_patches, crop, steps, lr
        self.n_candidates, self.side, self.patch_side = n_candidates, side, patch_side or crop
        self.mode, self.threshold, self.redraw, self.start = mode, threshold, redraw, start
        self.templates = templates

    def picture(self, ws: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] of latents."""
        images = self.generator.synthesis(ws)
        if self.side is not None and images.shape[-1] != self.side:
            images = F.adaptive_avg_pool2d(images, self.side)
        return (images / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def target(self, spec: StyleSpec) -> Target:
        """The directions of the texts, and the pictures brought to patches' measure: shorter side to `side`."""
        texts = [
            (text_direction(text, self.text_encoder, self.templates), weight) for text, weight in spec.texts.items()
        ]
        images = []
        for image, weight in spec.images:
            side = max(self.side or self.crop, self.crop)
            scale = side / min(image.shape[-2:])
            sides = [max(side, round(scale * length)) for length in image.shape[-2:]]
            whole = image.reshape(1, *image.shape[-3:])
            sized = F.interpolate(whole, sides, mode="bicubic", antialias=True, align_corners=False)
            images.append((sized.clamp(0, 1), weight))
        return Target(texts, images)

    def seen(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Features (P, E) of patches of a picture (1, 3, H, W)."""
        return self.image_encoder(random_patches(image, self.n_patches, self.crop, self.patch_side, generator))

    def loss(self, features: Tensor, origin: Tensor, target: Target, styles: Sequence[Tensor]) -> Tensor:
        """Weighted sum of the directional losses.

        Args:
            features: (P, E) of the generated picture.
            origin: (1, E) of a content picture.
            target: what is sought.
            styles: features (Q, E) of patches of each style picture.
        """
        found, total = directions(features, origin), features.new_zeros(())
        for wanted, weight in target.texts:
            total = total + weight * directional_loss(found, wanted.to(found), threshold=self.threshold)
        for style, (_, weight) in zip(styles, target.images, strict=True):
            wanted = directions(style, origin)
            total = total + weight * directional_loss(found, wanted, self.mode, self.threshold)
        return total

    @torch.no_grad()
    def candidate(self, target: Target, contents: Tensor, generator: torch.Generator) -> Tensor:
        """The best (1, num_ws, w_dim) of the random latents."""
        z = torch.randn(self.n_candidates, self.generator.z_dim, generator=generator).to(contents)
        if self.start == "random":
            return self.generator.mapping(z[:1])
        row = int(torch.randint(len(contents), (), generator=generator))
        origin, whole = self.image_encoder(contents[row : row + 1]), self.start == "whole"
        styles = [self.image_encoder(image) if whole else self.seen(image, generator) for image, _ in target.images]
        best, least = None, float("inf")
        for part in z.split(BATCH):
            ws = self.generator.mapping(part)
            images = self.picture(ws)
            features = (
                self.image_encoder(images)[:, None]
                if whole
                else torch.stack([self.seen(image[None], generator) for image in images])
            )
            losses = [float(self.loss(feature, origin, target, styles)) for feature in features]
            place = min(range(len(losses)), key=losses.__getitem__)
            if losses[place] < least:
                best, least = ws[place : place + 1], losses[place]
        if best is None:
            raise ValueError("candidates: expected a finite loss of at least one, found none")
        return best

    def invert_once(self, spec: StyleSpec, contents: Tensor, seed: int = 0) -> Inversion:
        """One run; arguments as of `invert`."""
        _check_contents(contents)
        generator, target = torch.Generator().manual_seed(seed), self.target(spec)
        start = self.candidate(target, contents, generator)
        ws = start.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([ws], self.lr)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 100, 1 / 3)
        with torch.no_grad():
            styles = [self.seen(image, generator) for image, _ in target.images]
        losses = []
        for step in range(self.steps + 1):
            row = int(torch.randint(len(contents), (), generator=generator))
            with torch.no_grad():
                origin = self.image_encoder(contents[row : row + 1])
                if self.redraw and step:
                    styles = [self.seen(image, generator) for image, _ in target.images]
            loss = self.loss(self.seen(self.picture(ws), generator), origin, target, styles)
            losses.append(float(loss.detach()))
            if step < self.steps:
                (ws.grad,) = torch.autograd.grad(loss, [ws])
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            return Inversion(self.picture(ws)[0], start, ws.detach(), tuple(losses))

    @torch.no_grad()
    def measured(self, ws: Tensor, spec: StyleSpec, contents: Tensor, seed: int = 0) -> float:
        """The loss of latents, by weight, averaged over up to 8 contents; the same patches for one seed."""
        generator, target = torch.Generator().manual_seed(seed), self.target(spec)
        features, styles = self.seen(self.picture(ws), generator), [self.seen(i, generator) for i, _ in target.images]
        origins = self.image_encoder(contents[:8])
        losses = [float(self.loss(features, origin[None], target, styles)) for origin in origins]
        return sum(losses) / len(losses) / target.total

    def invert(self, spec: StyleSpec, contents: Tensor, n: int = 8, seed: int = 0) -> Tensor:
        """Style pictures (n, 3, S, S) in [0, 1], each by a run of its own.

        Args:
            spec: the style.
            contents: (N, 3, H, W) in [0, 1]; directions of pictures are relative to one of them, drawn at each step.
            n: runs.
            seed: of all draws.

        Raises:
            ValueError: no contents, or pictures that do not fit.
        """
        if n < 1:
            raise ValueError(f"n: expected at least 1, found {n}")
        return torch.stack([self.invert_once(spec, contents, seed * 1_000_003 + run).image for run in range(n)])


def _check_contents(contents: Tensor) -> None:
    if contents.ndim != 4 or contents.shape[1] != 3 or not len(contents):
        raise ValueError(f"contents: expected (N, 3, H, W) with N of at least 1, found {tuple(contents.shape)}")
