"""`SubjectEncoder`: pictures of single objects, and phrases, to codes and vectors of which object it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from representation.checkpoint import load_weights, read_config, save_encoder
from representation.interface import Modality
from representation.pretraining.clip.encoder import load as load_clip
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.customcontrast.config import Config
from representation.pretraining.customcontrast.eyes import ClipEyes, SmallEyes, phrase_tokens
from representation.pretraining.customcontrast.mfi import MFIEncoder, SubjectCodes
from representation.pretraining.small_encoder import resized

SYSTEM, CLIP_FOLDER = "customcontrast", "clip"
GREY = 0.5  # of a background that was removed


class SubjectEncoder(nn.Module):
    """An `Encoder` of pictures: which object it is, whatever its pose, light and background.

    Args:
        config: sizes.
        eyes: what it looks through.
    """

    modality: Modality = "image"

    def __init__(self, config: Config, eyes: SmallEyes | ClipEyes) -> None:
        super().__init__()
        self.config, self.eyes = config, eyes
        self.mfi = MFIEncoder(
            eyes.vision_dim,
            eyes.text_dim,
            config.width,
            config.n_scales,
            config.codes_per_scale,
            config.depth,
            config.heads,
        )
        self.width = (1 + config.n_scales) * config.width

    def forward(self, images: Tensor, tokens: Tensor | None = None, fused: Tensor | None = None) -> SubjectCodes:
        """Codes of pictures (B, 3, R, R) in [0, 1].

        Args:
            images: of the encoder's size.
            tokens: (B, T) ids of a phrase for each, see `phrase_tokens`.
            fused: see `MFIEncoder.forward`.
        """
        if tokens is None:
            return self.mfi(self.eyes.look(images))
        phrases, phrase_of = tokens.unique(dim=0, return_inverse=True)
        text, mask = self.eyes.listen(phrases), phrase_mask(phrases, self.eyes.tokenizer.end)
        return self.mfi(self.eyes.look(images), text, mask, fused, phrase_of)

    def codes(self, images: Tensor, masks: Tensor | None = None, phrases: Sequence[str] | None = None) -> SubjectCodes:
        """Codes of pictures of any size.

        Args:
            images: (B, 3, H, W) in [0, 1], one object each.
            masks: (B, H, W), true where it is; what is around it is then left out.
            phrases: a noun phrase for each, empty where there is none.

        Raises:
            ValueError: shapes that do not fit.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: expected (B, 3, H, W), found {tuple(images.shape)}")
        if phrases is not None and len(phrases) != len(images):
            raise ValueError(f"phrases: expected {len(images)}, found {len(phrases)}")
        shown = images if masks is None else without_background(images, masks)
        tokens = None if phrases is None else phrase_tokens(self.eyes, phrases).to(images.device)
        return self(resized(shown, self.eyes.resolution), tokens)

    def encode(self, inputs: Tensor) -> Tensor:
        """Retrieval vectors (B, width) of pictures (B, 3, H, W) in [0, 1], see `SubjectCodes.vectors`."""
        return self.codes(inputs).vectors(self.config.n_scales)

    def save(self, directory: Path) -> None:
        """Write the encoder, with its words, and with the CLIP that it looks through."""
        save_encoder(self.trained_part, SYSTEM, self.config, directory)
        if isinstance(self.eyes, ClipEyes):
            self.eyes.clip.save(directory / CLIP_FOLDER)
        else:
            self.eyes.tokenizer.save(directory)

    @property
    def trained_part(self) -> nn.Module:
        """Itself, or without a CLIP that it looks through."""
        return self.mfi if isinstance(self.eyes, ClipEyes) else self


def without_background(images: Tensor, masks: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) that are grey where masks (B, H, W) are false.

    Raises:
        ValueError: masks of another size.
    """
    if masks.shape != images.shape[:1] + images.shape[2:]:
        raise ValueError(
            f"masks: expected {tuple(images.shape[:1] + images.shape[2:])} as the pictures, found {tuple(masks.shape)}"
        )
    return torch.where(masks[:, None].bool(), images, GREY)


def phrase_mask(tokens: Tensor, end: int) -> Tensor:
    """Where (B, T) ids are of a phrase or its ends; behind the end, and where there is no end, is nothing."""
    ends = tokens == end
    return (ends.cumsum(dim=1) - ends.long() == 0) & ends.any(dim=1, keepdim=True)


def load(directory: Path) -> SubjectEncoder:
    """Read what `SubjectEncoder.save` wrote; in evaluation mode.

    Raises:
        ValueError: damaged; names the file.
    """
    try:
        config = Config(**read_config(directory)["config"])
    except TypeError as error:
        raise ValueError(f"{directory}: expected the configuration of a {SYSTEM} encoder: {error}") from error
    if config.clip:
        encoder = SubjectEncoder(config, ClipEyes(load_clip(directory / CLIP_FOLDER)))
    else:
        encoder = SubjectEncoder(config, small_eyes(config, Tokenizer.from_file(directory)))
    load_weights(encoder.trained_part, directory)
    return encoder.eval()


def small_eyes(config: Config, tokenizer: Tokenizer) -> SmallEyes:
    """The eyes that learn, of a configuration's sizes."""
    return SmallEyes(tokenizer, config.resolution, config.vision_dim, config.text_dim, config.context_length)
