"""A sender and a receiver play a game on frames; the sender is what remains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from representation.data.frames import LABEL, Frames
from representation.interface import Loss
from representation.memory.grounded_language.encoder import Config, LanguageEncoder
from representation.memory.grounded_language.games import Game, ReferentialGame, WithinClassGame
from representation.memory.grounded_language.message import gumbel_noise
from representation.memory.grounded_language.pair_sampler import PairSampler
from representation.memory.grounded_language.receiver import SymbolReceiver
from representation.memory.grounded_language.vision import PictureNet


class LanguageObjective(nn.Module):
    """Pictures, or classes of pictures, are found by what is said of them.

    Args:
        config: which game, and sizes.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.encoder = config, LanguageEncoder(config)
        self.needs = (LABEL,) if config.game == "classes" else ()
        vision = PictureNet(3, config.hidden, config.pools)
        self.receiver = SymbolReceiver(vision, config.hidden, config.vocab_size)

    @property
    def game(self) -> Game:
        """What is played; not kept, so that the sender is a part of the encoder alone."""
        kind = WithinClassGame if self.config.game == "classes" else ReferentialGame
        return kind(self.encoder.sender, self.receiver, self.config.balance)

    def batch(self, frames: Frames, rows: NDArray[np.int64], generator: torch.Generator) -> dict[str, Tensor]:
        """A batch of the game, see `games`; pairs of a class come from among the rows.

        Raises:
            ValueError: no two of the rows are of a class.
        """
        config, pixels = self.config, self.encoder.prepared(frames.pixels(rows))
        if config.game == "classes":
            sampler = PairSampler(frames.columns[LABEL][rows], config.classes)
            draws = [sampler.draw(generator) for _ in range(config.groups)]
            first, second = (torch.stack(part) for part in zip(*draws, strict=True))
        else:
            first = second = torch.arange(len(rows))[None]
        sent, candidates = (
            moved(pixels[part.flatten()], config.shift, config.turn, generator).unflatten(0, part.shape)
            for part in (first, second)
        )
        noise = gumbel_noise((first.numel(), config.max_len, config.vocab_size), generator)
        return {"sent": sent, "candidates": candidates, "noise": noise}

    def forward(self, batch: Mapping[str, Tensor]) -> Loss:
        """See `Game.loss`."""
        return self.game.loss(batch)


def moved(images: Tensor, shift: float, turn: float, generator: torch.Generator) -> Tensor:
    """Shift and turn each picture (B, C, H, W) at random; the border goes on outwards.

    Args:
        images: the pictures.
        shift: largest shift, as a share of the side.
        turn: largest turn, rad.
        generator: a CPU generator.
    """
    draws = 2 * torch.rand(len(images), 3, generator=generator) - 1
    cos, sin = (turn * draws[:, 0]).cos(), (turn * draws[:, 0]).sin()
    rows = [cos, -sin, 2 * shift * draws[:, 1], sin, cos, 2 * shift * draws[:, 2]]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def new(config: Config, frames: Frames, seed: int) -> LanguageObjective:
    """Untrained players.

    Raises:
        ValueError: frames without labels, although classes are what is played with.
    """
    if config.game == "classes":
        frames.need((LABEL,))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LanguageObjective(config)
