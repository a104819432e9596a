"""`CLIPEncoder`: a CLIP with its tokenizer, as the stack uses it: pictures to vectors, phrases to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.interface import Modality
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.image_towers import VisionTransformer
from representation.pretraining.clip.model import CLIP
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.clip.weights import load_clip

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPEncoder(nn.Module):
    """An `Encoder` of pictures, a `TextImageScorer` and, with a vision transformer, a `DenseEncoder`.

    Args:
        model: the two towers.
        tokenizer: of the texts that the text tower was trained on.
    """

    modality: Modality = "image"

    def __init__(self, model: CLIP, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.width = model.config.embed_dim

    @classmethod
    def from_released(cls, weights: Path, merges: Path) -> CLIPEncoder:
        """An encoder of published files; see `load_clip` and `Tokenizer.from_file`."""
        return cls(load_clip(weights), Tokenizer.from_file(merges))

    def encode(self, inputs: Tensor) -> Tensor:
        """Unit vectors (B, E) of pictures (B, 3, H, W) in [0, 1]."""
        return F.normalize(self.model.encode_image(prepare(inputs, self.model.config.image_resolution)), dim=-1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (T, E) of texts; what is too long is cut."""
        tokens = self.tokenizer(texts, self.model.config.context_length, truncate=True)
        return F.normalize(self.model.encode_text(tokens.to(self.model.text_projection.device)), dim=-1)

    def scores(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        """Probabilities (B, P) of P phrases for pictures (B, 3, H, W) in [0, 1]."""
        return (self.model.scale() * self.encode(images) @ self.encode_texts(phrases).T).softmax(dim=-1)

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, E, h, w) of the patches, and the class token's last attention to them (B, h, w).

        Raises:
            ValueError: the image tower is a residual network, which has no patches.
        """
        tower = self.model.visual
        if not isinstance(tower, VisionTransformer):
            raise ValueError("image tower: expected a vision transformer, found a residual network")
        features, attention = tower.patch_features(prepare(images, self.model.config.image_resolution))
        side = round(attention.shape[1] ** 0.5)
        return features.transpose(1, 2).unflatten(2, (side, side)), attention.unflatten(1, (side, side))

    def save(self, directory: Path) -> None:
        """Write the encoder with its tokenizer."""
        save_encoder(self.model, "clip", self.model.config, directory)
        self.tokenizer.save(directory)


def load(directory: Path) -> CLIPEncoder:
    """Read what `CLIPEncoder.save` wrote.

    Raises:
        ValueError: damaged; names the file.
    """
    content = dict(read_config(directory)["config"])
    if isinstance(content.get("vision_layers"), list):
        content["vision_layers"] = tuple(content["vision_layers"])
    try:
        model = CLIP(CLIPConfig(**content))
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a CLIP: {error}") from error
    load_weights(model, directory)
    return CLIPEncoder(model, Tokenizer.from_file(directory)).eval()


def prepare(images: Tensor, resolution: int) -> Tensor:
    """Normalised pictures (B, 3, R, R) of pictures (B, 3, H, W) in [0, 1]: short side to R, central square."""
    height, width = images.shape[-2:]
    if (height, width) != (resolution, resolution):
        scale = resolution / min(height, width)
        sides = round(height * scale), round(width * scale)
        images = F.interpolate(images, sides, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (sides[0] - resolution) // 2, (sides[1] - resolution) // 2
        images = images[..., top : top + resolution, left : left + resolution]
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std
