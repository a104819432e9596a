"""`StyleAugment`: some observations of a training batch in looks, all those of an episode in the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from representation.generative.mmist.model import MMIST, Look, load, load_looks

IMAGES, EPISODE, PRESENT = "images", "episode", "present"


@dataclass(frozen=True)
class RestyleOptions:
    """Looks for the training of something else.

    Attributes:
        model: directory of a model of `representation.generative.mmist.train`; None changes no looks.
        looks: file of looks, as `representation.restyle` writes it.
        share: of the episodes of a batch that are restyled.
        strength: share of the new look in a picture.
    """

    model: Path | None = None
    looks: Path | None = None
    share: float = 0.5
    strength: float = 1.0

    def __post_init__(self) -> None:
        if (self.model is None) != (self.looks is None):
            raise ValueError(f"restyle: expected a model and looks or neither, found {self.model} and {self.looks}")
        if not 0 < self.share <= 1 or not 0 < self.strength <= 1:
            raise ValueError(f"restyle: expected a share and a strength in (0, 1], found {self.share}, {self.strength}")

    def augment(self, device: str | torch.device = "cpu") -> StyleAugment | None:
        """What changes observations; None if nothing is to."""
        if self.model is None or self.looks is None:
            return None
        return StyleAugment(load_looks(self.looks), load(self.model).to(device), self.share, self.strength)


class StyleAugment:
    """Changes the looks of observations and nothing else.

    Args:
        styles: looks to draw from.
        model: changes frames.
        share: of the episodes that are restyled.
        strength: share of the new look in a picture.
        seed: of the draws, unless a call brings its own.

    Raises:
        ValueError: no looks, or shares that are none.
    """

    def __init__(
        self, styles: Sequence[Look], model: MMIST, share: float = 0.5, strength: float = 1.0, seed: int = 0
    ) -> None:
        if not styles or not 0 < share <= 1 or not 0 < strength <= 1:
            raise ValueError(f"styles, share: expected some, in (0, 1], found {len(styles)}, {share}, {strength}")
        self.names = tuple(look.name for look in styles)
        self._model, self._share, self._strength, self._seed = model, share, strength, seed
        self._styles = [model.style(look) for look in styles]

    def look_of(self, episode: int, seed: int | None = None) -> int | None:
        """Number of the look of an episode; None if it stays as it is."""
        rng = np.random.default_rng((self._seed if seed is None else seed, episode))
        number = int(rng.integers(len(self._styles)))
        return number if rng.random() < self._share else None

    def __call__(self, observations: Mapping[str, Any], seed: int | None = None) -> dict[str, Any]:
        """The same observations, some of their pictures restyled.

        Args:
            observations: `images` (B, 3, H, W) or (B, V, 3, H, W) in [0, 1]. With `episode` (B,), numbers, rows of one
                episode get one look, else all do; with `present` (B, V) pictures that are not there stay.
            seed: of the draws; the same one gives each episode the same look.

        Raises:
            ValueError: no such images.
        """
        images = observations.get(IMAGES)
        if not isinstance(images, Tensor) or images.ndim not in (4, 5) or images.shape[-3] != 3:
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"{IMAGES}: expected (B, 3, H, W) or (B, V, 3, H, W), found {found}")
        numbers = np.asarray(observations.get(EPISODE, np.zeros(len(images), np.int64)))
        if numbers.shape != (len(images),):
            raise ValueError(f"{EPISODE}: expected {len(images)} numbers, found {numbers.shape}")
        present = observations.get(PRESENT)
        views = images if images.ndim == 5 else images[:, None]
        there = torch.ones(views.shape[:2], dtype=torch.bool) if present is None else torch.as_tensor(present).bool()
        looks = {int(episode): self.look_of(int(episode), seed) for episode in np.unique(numbers)}
        result = views.clone()
        for number, style in enumerate(self._styles):
            rows = torch.from_numpy(np.array([looks[int(episode)] == number for episode in numbers]))
            chosen = rows[:, None] & there.cpu()
            if chosen.any():
                device = style.mean.device
                made = self._model.restyle(views[chosen.to(views.device)].to(device), style, self._strength, number)
                result[chosen.to(views.device)] = made.to(views)
        return dict(observations) | {IMAGES: result if images.ndim == 5 else result[:, 0]}
