"""`Config`: sizes of a TVTS and how it is pretrained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """A TVTS that trains on two cores in minutes; `RELEASED` has the published sizes.

    Attributes:
        resolution: side of the frames, pixels.
        patch: side of a patch, pixels.
        tubelet: frames that a token spans.
        frames: number M of frames of a clip.
        width: of the tokens, and of the vectors of sentences.
        depth: blocks of the video transformer.
        heads: of all attention.
        steps: number K of sentences that are sorted.
        sort_depth: blocks of the transformer that sorts.
        sort_weight: of the sorting loss beside the contrastive one; 0 leaves it out.
        projection: numbers in which videos and sentences are aligned.
        temperature: of the alignment.
        mask_ratio: share of the patches of each moment that is left out in training.
        text: directory of the encoder of sentences: a CLIP of ours or a DistilBERT; empty for a small one from scratch.
        text_layers: blocks of the small one.
        text_context: tokens of a sentence, both ends counted.
        vocab_size: most entries of the vocabulary that the small one learns from the texts.
        smallest_crop: side of the smallest random square, as a share of the frame's.
    """

    resolution: int = 32
    patch: int = 8
    tubelet: int = 2
    frames: int = 8
    width: int = 64
    depth: int = 3
    heads: int = 4
    steps: int = 4
    sort_depth: int = 2
    sort_weight: float = 2.0
    projection: int = 256
    temperature: float = 0.05
    mask_ratio: float = 0.5
    text: str = ""
    text_layers: int = 2
    text_context: int = 24
    vocab_size: int = 1024
    smallest_crop: float = 0.85

    def __post_init__(self) -> None:
        if self.resolution % self.patch or self.frames % self.tubelet:
            raise ValueError(
                f"resolution, frames: expected multiples of patch {self.patch} and tubelet {self.tubelet}, "
                f"found {self.resolution}, {self.frames}"
            )
        if self.steps < 2:
            raise ValueError(f"steps: expected at least 2 to be sorted, found {self.steps}")
        if not 0 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio: expected at least 0 and less than 1, found {self.mask_ratio}")


RELEASED = Config(resolution=224, patch=16, frames=16, width=768, depth=12, heads=12, mask_ratio=0.75, text_context=50)
