"""Image features: SigLIP's vision tower, or whatever takes its place, and the features of missing pictures.

Source: SigLIP (arXiv 2303.15343) as RDT-1B (arXiv 2410.07864) uses it: frozen, the last hidden state after the final
layer norm, without the pooling head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from policies.parameters import Dtype
from policies.rdt.encoder_weights import load_weights
from policies.rdt.images import background_image

# A file may hold the whole of SigLIP; `position_ids` are constants that old files have.
_NOT_OF_THE_TOWER = ("text_model.", "logit_", "head.", "embeddings.position_ids")


class ImageTower(Protocol):
    """An image encoder, frozen or not; the network's image adaptor projects its features.

    Attributes:
        image_size: side S of its input, pixels.
        tokens_per_image: tokens of a picture.
        width: numbers of a token.
    """

    image_size: int
    tokens_per_image: int
    width: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Features (N, tokens_per_image, width) of pixels (N, 3, S, S) in [-1, 1]."""
        ...


class SiglipTower(nn.Module):
    """SigLIP's vision tower, frozen at first and always in evaluation mode, which for it is no other.

    Args:
        config: sizes. Those of so400m-patch14-384 give 729 tokens of 1152 numbers.
    """

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        if config.image_size < config.patch_size:
            raise ValueError(f"image_size: expected at least a patch of {config.patch_size}, found {config.image_size}")
        config.vision_use_head = False
        self.image_size: int = config.image_size
        self.tokens_per_image: int = (config.image_size // config.patch_size) ** 2
        self.width: int = config.hidden_size
        self.vision_model = SiglipVisionModel(config)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_directory(cls, directory: str | Path, dtype: Dtype = "stored") -> SiglipTower:
        """Load a tower from `config.json` and safetensors, of the tower alone or of the whole of SigLIP.

        Keys may have the prefix `vision_model.` of transformers 4 or not, as since transformers 5.

        Args:
            directory: a local one; nothing is downloaded.
            dtype: number format of the weights, and so of the features.

        Raises:
            FileNotFoundError: no configuration or no weights.
            ValueError: see `load_weights`.
        """
        directory = Path(directory)
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"{directory}: expected config.json of a SigLIP tower, found none")
        config = SiglipVisionConfig.from_pretrained(directory, local_files_only=True)
        with init_empty_weights(include_buffers=False):
            tower = cls(config)
        load_weights(
            tower.vision_model, directory, lambda key: key.removeprefix("vision_model."), _NOT_OF_THE_TOWER, dtype
        )
        return tower

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_directory` reads."""
        self.vision_model.save_pretrained(directory)

    def train(self, mode: bool = True) -> SiglipTower:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features (N, tokens_per_image, width) of pixels (N, 3, S, S) in [-1, 1].

        Raises:
            ValueError: pixels of another shape.
        """
        if pixels.ndim != 4 or pixels.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"pixels: expected (N, 3, {self.image_size}, {self.image_size}), found {tuple(pixels.shape)}"
            )
        return self.vision_model(pixel_values=pixels).last_hidden_state


class ImageFeatures:
    """Encodes pictures in one call of the tower; the missing ones cost nothing after the first time.

    Args:
        tower: its weights, number format and device must not change afterwards.
        device: where the tower is.
    """

    def __init__(self, tower: ImageTower, device: torch.device | str = "cpu") -> None:
        self.tower = tower
        with torch.no_grad():
            self.background: Tensor = tower(background_image(tower.image_size)[None].to(device))[0]
        """Features (tokens, width) of the picture that stands for a missing one."""

    def encode(self, pixels: Tensor, present: Tensor) -> Tensor:
        """Features of a batch of pictures.

        Args:
            pixels: (..., 3, S, S), see `prepare_pictures`.
            present: (...) bool; where False, the background's features are given and the pixels are not looked at.

        Returns:
            (..., tokens, width) on the tower's device.

        Raises:
            ValueError: shapes that do not fit.
        """
        if pixels.shape[:-3] != present.shape or present.dtype != torch.bool:
            raise ValueError(
                f"present: expected bool of shape {tuple(pixels.shape[:-3])}, found {present.dtype} "
                f"{tuple(present.shape)}"
            )
        features = self.background.repeat(*present.shape, 1, 1)
        if bool(present.any()):
            features[present.to(features.device)] = self.tower(pixels[present].to(features.device))
        return features
