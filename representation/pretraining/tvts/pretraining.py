"""Pretraining of a TVTS on narrated episodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representation.data.augmentations import random_squares
from representation.data.clips import sample_script_clip, script_of
from representation.data.frames import Frames
from representation.interface import Loss
from representation.pretraining.clip.tokenizer import Tokenizer
from representation.pretraining.tvts.config import Config
from representation.pretraining.tvts.encoder import TVTSEncoder, prepare
from representation.pretraining.tvts.model import TVTS, alignment_loss, sorting_loss
from representation.pretraining.tvts.text import TextTower, TowerSizes, open_texts
from representation.pretraining.tvts.video import random_keep_indices


class TVTSObjective(nn.Module):
    """Scripts and clips of one batch find each other, and the sentences of each find their places."""

    needs = ("texts",)

    def __init__(self, encoder: TVTSEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """Clips of K steps, the step of each row among them, their sentences, and the patches that are seen."""
        model, config = self.encoder.model, self.encoder.model.config
        clips, texts = [], []
        for row in rows:
            episode, step = script_of(frames, int(row))
            low, high = max(0, step - config.steps + 1), min(step, len(episode.steps) - config.steps)
            first = low + int(torch.randint(max(1, high - low + 1), (1,), generator=generator))
            clip, sentences = sample_script_clip(episode, first, config.steps, config.frames, generator)
            clips.append(clip)
            texts += sentences
        # One square for all frames of a clip: they are its channels.
        video = random_squares(torch.stack(clips).flatten(1, 2), config.resolution, config.smallest_crop, generator)
        video_model = model.video_model
        return {
            "video": prepare(video.unflatten(1, (config.frames, 3)), config.resolution),
            "episodes": torch.from_numpy(frames.episode[rows].astype(np.int64)),
            "tokens": model.text_model.tokenize(texts).unflatten(0, (len(rows), config.steps)),
            "keep": random_keep_indices(
                len(rows), video_model.tubes, video_model.patches, config.mask_ratio, generator
            ),
        }

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """Alignment and weighted sorting, and how often a sentence is put at a wrong place."""
        model, config = self.encoder.model, self.encoder.model.config
        texts = model.embed_texts(batch["tokens"])
        video = model.video_model(batch["video"], batch["keep"] if self.training else None)
        aligned = alignment_loss(model.align(texts, video), config.temperature, batch["episodes"])
        order = model.sort(texts, video)
        sorted_ = sorting_loss(order)
        wrong = (order.argmax(dim=2) != torch.arange(config.steps, device=order.device)).float().mean()
        parts = {"alignment": aligned.detach(), "sorting": sorted_.detach(), "wrong_place": wrong}
        return Loss(aligned + config.sort_weight * sorted_, parts)


def new(config: Config, frames: Frames, seed: int) -> TVTSObjective:
    """An untrained TVTS, with the encoder of sentences that the configuration names.

    Raises:
        ValueError: the frames have no texts, or an episode has fewer steps than are sorted.
    """
    frames.need(TVTSObjective.needs)
    for row in np.unique(frames.episode, return_index=True)[1]:
        found = len(script_of(frames, int(row))[0].steps)
        if found < config.steps:
            raise ValueError(
                f"episode {frames.episode[row]}: expected at least {config.steps} narrated steps, found {found}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.text:
            texts = open_texts(Path(config.text))
        else:
            sizes = TowerSizes(config.width, config.text_layers, config.heads, config.text_context)
            texts = TextTower(Tokenizer.fit(frames.texts, config.vocab_size), sizes)
        return TVTSObjective(TVTSEncoder(TVTS(config, texts)))
