"""`ZeroShotClassifier`: a classifier out of nothing but the names of its classes (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from representation.pretraining.clip.encoder import CLIPEncoder

PLAIN = ("a photo of a {}.",)


class ZeroShotClassifier:
    """Compares pictures with the mean embedding of some sentences about each class.

    Args:
        encoder: of pictures and texts.
        classes: names of the C classes.
        templates: sentences with `{}` for the name.

    Attributes:
        weights: (C, E) unit vectors.
    """

    def __init__(self, encoder: CLIPEncoder, classes: Sequence[str], templates: Sequence[str] = PLAIN) -> None:
        if not classes or not templates or any("{}" not in template for template in templates):
            raise ValueError(f"expected classes, and templates with {{}}, found {list(classes)}, {list(templates)}")
        self._encoder = encoder
        with torch.inference_mode():
            prompts = [encoder.encode_texts([template.format(name) for name in classes]) for template in templates]
        self.weights = F.normalize(torch.stack(prompts).mean(dim=0), dim=-1)

    @torch.inference_mode()
    def predict_proba(self, images: Tensor) -> Tensor:
        """Probabilities (B, C) of pictures (B, 3, H, W) in [0, 1]."""
        return (self._encoder.model.scale() * self._encoder.encode(images) @ self.weights.T).softmax(dim=-1)
