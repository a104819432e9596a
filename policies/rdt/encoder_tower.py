"""`EncoderTower`: an encoder of pictures of `representation/` in the place of SigLIP; the image adaptor projects it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from representation.data.untrusted_files import read_json
from representation.interface import DenseEncoder, Encoder, ThingFinder
from representation.registry import load_encoder

TOWER_FILE = "tower.json"


class EncoderTower(nn.Module):
    """An `ImageTower` that gives what its encoder can tell: where things are, or what is in the parts of a picture.

    A token is then a kind of thing, or a part of the picture; an encoder that tells neither gives its vector.

    Always in evaluation mode, as statistics of batches are those of its own pretraining.

    Args:
        encoder: of pictures, an `nn.Module`.
        image_size: side of the pictures that it gets, pixels; it brings them to its own.

    Raises:
        ValueError: it is no encoder of pictures.
    """

    def __init__(self, encoder: Encoder, image_size: int) -> None:
        super().__init__()
        if encoder.modality != "image" or not isinstance(encoder, nn.Module):
            raise ValueError(f"encoder: expected a module that takes pictures, found one of {encoder.modality}")
        self.encoder, self.image_size = encoder, image_size
        self._has_parts = isinstance(encoder, DenseEncoder)
        with torch.no_grad():
            try:
                features = self(self._blank())
            except ValueError:  # some encoders have parts in some sizes only
                self._has_parts = False
                features = self(self._blank())
        self.tokens_per_image, self.width = features.shape[1:]
        self.eval()

    @classmethod
    def from_directory(cls, directory: Path, image_size: int | None = None) -> EncoderTower:
        """Read what `save_pretrained` wrote, or an encoder, or the run that trained it.

        Args:
            directory: where it is.
            image_size: see `EncoderTower`; None where `save_pretrained` wrote it.

        Raises:
            FileNotFoundError: there is none.
            ValueError: damaged.
        """
        if image_size is None:
            image_size = read_json(directory, TOWER_FILE)["image_size"]
            if not isinstance(image_size, int) or not 0 < image_size <= 4096:
                raise ValueError(f"{directory / TOWER_FILE}: expected a size in pixels, found {image_size!r}")
        return cls(load_encoder(directory), image_size)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_directory` reads."""
        self.encoder.save(Path(directory))
        text = json.dumps({"image_size": self.image_size})
        (Path(directory) / TOWER_FILE).write_text(text + "\n", encoding="utf-8")

    def requires_grad_(self, requires_grad: bool = True) -> EncoderTower:
        """Train what the features depend on, which for an encoder of texts as well is not all; or nothing."""
        super().requires_grad_(requires_grad)
        if requires_grad:
            self(self._blank()).square().sum().backward()
            for parameter in self.parameters():
                parameter.requires_grad_(parameter.grad is not None)
                parameter.grad = None
        return self

    def _blank(self) -> Tensor:
        device = next(self.encoder.parameters()).device
        return torch.zeros(1, 3, self.image_size, self.image_size, device=device)

    def train(self, mode: bool = True) -> EncoderTower:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features (N, tokens_per_image, width) of pixels (N, 3, S, S) in [-1, 1]."""
        images = (pixels + 1) / 2
        if isinstance(self.encoder, ThingFinder):
            return self.encoder.find(images)
        if self._has_parts:
            return self.encoder.dense(images)[0].flatten(2).transpose(1, 2)
        return self.encoder.encode(images)[:, None]
