"""Pretraining of a small CLIP on pictures and their texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.augmentations import random_squares
from representation.data.frames import Frames
from representation.interface import Loss
from representation.pretraining.clip.config import CLIPConfig
from representation.pretraining.clip.encoder import CLIPEncoder, prepare
from representation.pretraining.clip.model import CLIP, clip_loss
from representation.pretraining.clip.tokenizer import Tokenizer


@dataclass(frozen=True)
class Config:
    """A CLIP that trains on two cores in minutes.

    Attributes:
        embed_dim: numbers of an embedding.
        resolution: side of the pictures, pixels, a multiple of 32, or of the patch.
        patch: side of a patch of a vision transformer, pixels; 0 for a residual network.
        vision_width: of the vision transformer, or channels of the first stage of the residual network.
        blocks: blocks of the vision transformer, or of each of the four stages of the residual network.
        text_width: width of the text transformer.
        text_layers: its blocks.
        text_heads: its attention heads.
        context_length: tokens of a text, both ends counted.
        vocab_size: most entries of the vocabulary that is learned from the texts.
        smallest_crop: side of the smallest random square, as a share of the picture's.
    """

    embed_dim: int = 64
    resolution: int = 32
    patch: int = 0
    vision_width: int = 16
    blocks: int = 1
    text_width: int = 64
    text_layers: int = 2
    text_heads: int = 4
    context_length: int = 24
    vocab_size: int = 1024
    smallest_crop: float = 0.85


class CLIPObjective(nn.Module):
    """Pictures and texts of one batch find each other.

    As in the paper, equal texts of a batch are told apart by their place alone: with k of them, which few different
    captions bring about, the best loss of their rows is ln k, and `wrong_text` counts pictures that any of the others
    fits as well.
    """

    needs = ("texts",)

    def __init__(self, encoder: CLIPEncoder, smallest_crop: float) -> None:
        super().__init__()
        self.encoder, self._smallest_crop = encoder, smallest_crop

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Random squares of the pictures, and the tokens of their texts."""
        config = self.encoder.model.config
        pixels = random_squares(frames.pixels(rows), config.image_resolution, self._smallest_crop, generator)
        tokens = self.encoder.tokenizer([frames.texts[row] for row in rows], config.context_length, truncate=True)
        return {"images": prepare(pixels, config.image_resolution), "tokens": tokens}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """Symmetric cross-entropy, and how often a picture's own text is the most similar one."""
        model = self.encoder.model
        u = F.normalize(model.encode_image(batch["images"]), dim=-1)
        v = F.normalize(model.encode_text(batch["tokens"]), dim=-1)
        own = (u @ v.T).argmax(dim=1) == torch.arange(len(u), device=u.device)
        return Loss(clip_loss(u, v, model.scale()), {"wrong_text": 1 - own.float().mean()})


def new(config: Config, frames: Frames, seed: int) -> CLIPObjective:
    """An untrained CLIP with a vocabulary of the frames' texts."""
    frames.need(CLIPObjective.needs)
    tokenizer = Tokenizer.fit(frames.texts, config.vocab_size)
    sizes = CLIPConfig(
        embed_dim=config.embed_dim,
        image_resolution=config.resolution,
        vision_layers=config.blocks if config.patch else (config.blocks,) * 4,
        vision_width=config.vision_width,
        vision_patch_size=config.patch or None,
        context_length=config.context_length,
        vocab_size=len(tokenizer),
        transformer_width=config.text_width,
        transformer_heads=config.text_heads,
        transformer_layers=config.text_layers,
    )
    model = CLIP(sizes, torch.Generator().manual_seed(seed))
    return CLIPObjective(CLIPEncoder(model, tokenizer), config.smallest_crop)
