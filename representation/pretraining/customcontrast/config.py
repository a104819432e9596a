"""`Config`: sizes of an encoder of subjects, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from representation.pretraining.customcontrast.losses import RELEVANCE_TEMPERATURE, TEMPERATURE


@dataclass(frozen=True)
class Config:
    """A run on two cores; with Stable Diffusion 1.5 a width of 768, a depth of 4 and 16 codes.

    Attributes:
        clip: directory of an encoder of `clip` that is looked through, frozen; empty for a small one that learns.
        resolution: side of the pictures, pixels, without `clip`.
        vision_dim: numbers of a visual token, without `clip`.
        text_dim: numbers of a token of text, without `clip`.
        context_length: tokens of a phrase, both ends counted, without `clip`.
        vocab_size: of phrases, without `clip`.
        width: numbers d of a code.
        n_scales: groups of codes, coarse first.
        codes_per_scale: of each group.
        depth: blocks of each Q-Former.
        heads: of the attention.
        views: of each subject in a batch.
        semantic: weight of the contrast with texts (CSCL).
        appearance: weight of the contrast between views at each scale (MACL).
        temperature: of both contrasts.
        relevance_temperature: of the weights of a view's positives.
        text_drop: share of views whose codes do not hear the phrase.
        code_drop: share of views whose codes the decoder does not get.
        background_drop: share of views whose background is removed, where masks are known.
        background_swap: share of views that get the background of another one, where masks are known.
        smallest_crop: side of the smallest square of a view that is looked at, as a share of its side.
        jitter: strength of the change of a view's colours.
        flip: share of views that are mirrored.
    """

    clip: str = ""
    resolution: int = 64
    vision_dim: int = 48
    text_dim: int = 32
    context_length: int = 16
    vocab_size: int = 512
    width: int = 64
    n_scales: int = 4
    codes_per_scale: int = 4
    depth: int = 2
    heads: int = 4
    views: int = 2
    semantic: float = 1.0
    appearance: float = 1.0
    temperature: float = TEMPERATURE
    relevance_temperature: float = RELEVANCE_TEMPERATURE
    text_drop: float = 0.1
    code_drop: float = 0.1
    background_drop: float = 0.25
    background_swap: float = 0.5
    smallest_crop: float = 0.75
    jitter: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ValueError(f"views: expected at least 2, found {self.views}")
        for name in ("text_drop", "code_drop", "background_drop", "background_swap", "smallest_crop", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share in [0, 1], found {getattr(self, name)}")
        if min(self.semantic, self.appearance) < 0 or min(self.temperature, self.relevance_temperature) <= 0:
            raise ValueError("semantic, appearance, temperatures: expected at least 0 and above 0, found others")
