"""Frames that a memory keeps as bits of `binary_latent_diffusion`: repaired, and told from what was not seen before."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.checkpoint import encoder_key
from representation.generative.binary_latent_diffusion import BinaryEncoder, tokens, untokened
from representation.memory.episode_memory import EpisodeMemory
from representation.memory.filters import Filter
from representation.memory.schema import FRAMES, Row
from representation.registry import load_encoder

BATCH = 64


def load_prior(directory: Path) -> BinaryEncoder:
    """An encoder with a prior over its bits.

    Raises:
        FileNotFoundError: there is none.
        ValueError: of another system, damaged, or without a prior.
    """
    encoder = load_encoder(directory)
    if not isinstance(encoder, BinaryEncoder):
        raise ValueError(f"{directory}: expected a prior of binary_latent_diffusion, found {type(encoder).__name__}")
    encoder.needed_prior()
    return encoder


def stored_key(memory: EpisodeMemory, directory: Path, encoder: BinaryEncoder) -> str:
    """The key under which a memory holds the bits of a prior: that of the autoencoder alone, or of both together.

    Raises:
        ValueError: it holds bits of others only, or of another number.
    """
    known = memory.encoders(FRAMES)
    keys = [key for key in (encoder.bits_of, encoder_key(directory)) if key in known]
    if not keys:
        raise ValueError(f"{memory.address}: expected bits of {encoder.bits_of}, found vectors of {sorted(known)}")
    if known[keys[0]].width != encoder.width:
        raise ValueError(f"{keys[0]}: expected {encoder.width} bits, found {known[keys[0]].width}")
    return keys[0]


def stored_bits(
    memory: EpisodeMemory, key: str, encoder: BinaryEncoder, where: Filter, most: int, seed: int = 0
) -> tuple[list[Row], Tensor]:
    """Frames and their bits (N, c, h, w) uint8; of more than `most`, some are drawn.

    Raises:
        ValueError: none fulfils the conditions.
    """
    rows = sorted(memory.rows(FRAMES, where, key), key=lambda row: row.id)
    if not rows:
        raise ValueError(f"{memory.address}: expected frames with bits of {key}, found none that fulfils {where}")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:most]
    rows, vectors = memory.vectors(FRAMES, key, Filter(ids=tuple(rows[place].id for place in chosen)))
    config = encoder.config
    return rows, torch.from_numpy(vectors > 0).to(torch.uint8).reshape(-1, config.bits, *config.grid)


def places_of(mask: NDArray[np.bool_], grid: tuple[int, int], grow: int = 1) -> NDArray[np.bool_]:
    """Places (h, w) of the bits that a part of a picture touches.

    Args:
        mask: (H, W), the part.
        grid: h and w.
        grow: places around them that count too, since their bits saw the part as well.

    Raises:
        ValueError: there is no part.
    """
    if mask.ndim != 2 or not mask.any():
        raise ValueError(
            f"mask: expected (H, W) with a part that is hidden, found {mask.shape} and {mask.sum()} pixels"
        )
    # No smaller than the grid, so that the mean over a place misses nothing of the part.
    size = [max(side, wanted) for side, wanted in zip(mask.shape, grid, strict=True)]
    whole = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
    places = cv2.resize(whole, grid[::-1], interpolation=cv2.INTER_AREA) > 0
    return cv2.dilate(places.astype(np.uint8), np.ones((2 * grow + 1, 2 * grow + 1), np.uint8)).astype(bool)


def repaired(
    encoder: BinaryEncoder,
    bits: Tensor,
    places: NDArray[np.bool_],
    steps: int = 16,
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Frames (B, c, h, w) whose bits at some places (h, w) are drawn anew, given the others.

    Args:
        encoder: with a prior.
        bits: (B, c, h, w).
        places: true where they are drawn.
        steps: of the chain that are visited.
        temperature: see `BernoulliDiffusion.sample`.
        seed: of what is drawn.
    """
    known = tokens(bits)
    mask = torch.from_numpy(~places).reshape(-1, 1).expand(known.shape[1:])
    generator = torch.Generator().manual_seed(seed)
    found = encoder.needed_prior().sample(len(bits), steps, temperature, known=known, mask=mask, generator=generator)
    return untokened(found, encoder.config)


def surprise(encoder: BinaryEncoder, bits: Tensor, steps: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """How unlike what the prior learned frames (B, c, h, w) are, nats each: its negative bound, by the same noise."""
    prior = encoder.needed_prior()
    parts = [
        prior.elbo(tokens(part), steps=steps, generator=torch.Generator().manual_seed(seed))
        for part in bits.split(BATCH)
    ]
    return -torch.cat(parts).numpy()


def alarm_threshold(known: NDArray, rate: float) -> float:
    """What a share `rate` at most of frames like some known ones exceeds, if these are a fair sample.

    Args:
        known: (N,), surprise of the known frames.
        rate: of false alarms, in (0, 1).

    Raises:
        ValueError: too few frames for the rate.
    """
    place = int(np.ceil((len(known) + 1) * (1 - rate)))
    if not 0 < rate < 1 or place > len(known):
        raise ValueError(
            f"rate: expected 1 / {len(known) + 1} to 1, as there are {len(known)} known frames, found {rate}"
        )
    return float(np.sort(known)[place - 1])
