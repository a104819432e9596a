"""The three stages as objectives of `representation.pretrain`: tokenizer, token predictor, ADDP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.augmentations import random_view
from representation.data.frames import Frames
from representation.generative.addp.encoder import STAGES, ADDPEncoder, Config
from representation.generative.addp.mask_schedule import MaskSchedule
from representation.interface import Loss
from representation.registry import load_encoder

TOKENIZER_FIELDS = ("resolution", "codebook", "dim", "ch", "ch_mult", "blocks", "groups", "entropy")
PREDICTOR_FIELDS = (
    "classes",
    *(f"predictor_{n}" for n in ("width", "depth", "heads", "decoder_depth", "decoder_heads")),
)
MAX_SEED = 2**31


class ADDPObjective(nn.Module):
    """The loss of the encoder's stage; what earlier stages trained is frozen.

    Args:
        encoder: of any stage.
    """

    needs = ()

    def __init__(self, encoder: ADDPEncoder) -> None:
        super().__init__()
        self.encoder, self._schedule = encoder, MaskSchedule()

    def batch(self, frames: Frames, rows: NDArray, generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures `images` (B, 3, R, R); two masks (B, L), see `MaskSchedule`; the seed of what is dropped out."""
        config, pixels = self.encoder.config, frames.pixels(rows)
        images = random_view(pixels, config.resolution, generator, smallest_crop=config.smallest_crop, flip=config.flip)
        mask, later = self._schedule.sample(len(rows), (config.resolution // config.patch) ** 2, generator)
        seed = torch.randint(MAX_SEED, (), generator=generator)
        return {"images": images.clamp(0, 1), "mask": mask, "later": later, "seed": seed}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch."""
        images, encoder = batch["images"], self.encoder
        with _seeded(batch["seed"], images):
            if encoder.model is not None:
                return encoder.model.masked_loss(images, batch["mask"], batch["later"])
            if encoder.predictor is not None:
                with torch.no_grad():
                    ids = encoder.tokenizer.encode(images)[0]
                return Loss(encoder.predictor.loss(ids, batch["mask"]), {})
            return encoder.tokenizer.loss(images, encoder.config.entropy)


@contextmanager
def _seeded(seed: Tensor, like: Tensor) -> Iterator[None]:
    """Draw what is dropped out by a seed."""
    with torch.random.fork_rng(devices=[like.device] if like.is_cuda else []):
        torch.manual_seed(int(seed))
        yield


def new(config: Config, frames: Frames, seed: int) -> ADDPObjective:
    """An untrained part of the stage, with the trained ones of the stages before.

    Raises:
        ValueError: no start where there must be one, or one of another stage; says what to do.
    """
    place = STAGES.index(config.stage)
    if place == 0:
        if config.start:
            raise ValueError(f"start: expected none with stage={config.stage}, found {config.start}")
        return ADDPObjective(ADDPEncoder(config, seed))
    if not config.start:
        raise ValueError(f"start: expected the run of stage={STAGES[place - 1]} with stage={config.stage}, found none")
    before = load_encoder(Path(config.start))
    if not isinstance(before, ADDPEncoder) or before.config.stage != STAGES[place - 1]:
        found = f"stage={before.config.stage}" if isinstance(before, ADDPEncoder) else type(before).__name__
        raise ValueError(f"{config.start}: expected a run of addp with stage={STAGES[place - 1]}, found {found}")
    kept = TOKENIZER_FIELDS + (PREDICTOR_FIELDS if before.predictor is not None else ())
    encoder = ADDPEncoder(replace(config, **{name: getattr(before.config, name) for name in kept}), seed)
    encoder.tokenizer.load_state_dict(before.tokenizer.state_dict())
    if before.predictor is not None:
        encoder.predictor.load_state_dict(before.predictor.state_dict())
    return ADDPObjective(encoder)
