"""`StyleSpec` and the directional losses: how far a picture's direction in the space of CLIP is from those of styles.

A direction is the unit vector from a starting point to a feature: from a neutral text to a text, or from a content
picture to a picture (MMIST, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

SOURCE = "a photo"
TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "a painting of {}",
    "a rendering of {}",
    "a close photo of {}",
    "a blurry photo of {}",
    "a cropped picture of {}",
)
Mode = Literal["pairwise", "mean", "bidirectional"]
TextFeatures = Callable[[Sequence[str]], Tensor]
"""Features (T, E) of texts, not normalised."""


@dataclass(frozen=True)
class StyleSpec:
    """A weighted mix of texts and pictures.

    Attributes:
        texts: weight of each text.
        images: pictures (3, h, w) or (1, 3, h, w) in [0, 1], each with its weight.
    """

    texts: Mapping[str, float] = field(default_factory=dict)
    images: Sequence[tuple[Tensor, float]] = ()

    def __post_init__(self) -> None:
        weights = [*self.texts.values(), *(weight for _, weight in self.images)]
        if not weights or not all(0 <= weight < float("inf") for weight in weights) or sum(weights) == 0:
            raise ValueError(f"style: expected texts or images with weights of at least 0, found weights {weights}")
        for text in self.texts:
            if not text.strip():
                raise ValueError(f"style: expected texts that say something, found {text!r}")
        for image, _ in self.images:
            if image.ndim not in (3, 4) or image.shape[-3] != 3 or (image.ndim == 4 and len(image) != 1):
                raise ValueError(f"style: expected images (3, h, w), found {tuple(image.shape)}")
            if not (image.min() >= 0 and image.max() <= 1):  # false for NaN
                raise ValueError(f"style: expected images in [0, 1], found {image.min():.3g} to {image.max():.3g}")


def directions(features: Tensor, origin: Tensor) -> Tensor:
    """Unit vectors (N, E) from an origin (E,) or (1, E) to features (N, E)."""
    return F.normalize(features - origin, dim=-1)


def directional_loss(found: Tensor, wanted: Tensor, mode: Mode = "pairwise", threshold: float = 0.0) -> Tensor:
    """Mean of 1 - cos between directions, in [0, 2].

    Args:
        found: (P, E) unit vectors of patches of the generated picture.
        wanted: (Q, E) unit vectors of the style; one row for a text.
        mode: `pairwise` compares all with all (the paper's), `mean` with the mean direction of the style,
            `bidirectional` also the style's with the mean of the found ones, half each.
        threshold: losses below it count as 0, one by one.

    Raises:
        ValueError: shapes that do not fit, or an unknown mode.
    """
    if found.ndim != 2 or wanted.ndim != 2 or found.shape[1] != wanted.shape[1] or not len(found) or not len(wanted):
        raise ValueError(f"directions: expected (P, E) and (Q, E), found {tuple(found.shape)}, {tuple(wanted.shape)}")

    def gap(one: Tensor, other: Tensor) -> Tensor:
        losses = 1 - one @ other.T
        return torch.where(losses < threshold, 0.0, losses).mean()

    def middle(vectors: Tensor) -> Tensor:
        return F.normalize(vectors.mean(dim=0, keepdim=True), dim=-1)

    if mode == "pairwise":
        return gap(found, wanted)
    if mode == "mean":
        return gap(found, middle(wanted))
    if mode == "bidirectional":
        return 0.5 * (gap(found, middle(wanted)) + gap(wanted, middle(found)))
    raise ValueError(f"mode: expected pairwise, mean or bidirectional, found {mode!r}")


@torch.no_grad()
def text_direction(text: str, encode: TextFeatures, templates: Sequence[str] = TEMPLATES) -> Tensor:
    """Unit vector (1, E) from the neutral text to a text; the features of all templates are averaged first."""

    def feature(words: str) -> Tensor:
        told = encode([template.format(words) for template in templates])
        return F.normalize(told.mean(dim=0, keepdim=True), dim=-1)

    return directions(feature(text), feature(SOURCE))
