"""The encoders that are ranked: those named, or all that is found below some directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from representation.checkpoint import CONFIG_FILE, read_config
from representation.data.frames import Frames
from representation.embedding import embed
from representation.interface import DocumentEncoder, Encoder
from representation.registry import load_encoder


@dataclass(frozen=True)
class Candidate:
    """An encoder that may be taken.

    Attributes:
        name: its directory, or what it is.
        system: that trained it; empty for a baseline.
        encoder: in evaluation mode.
    """

    name: str
    system: str
    encoder: Encoder

    @property
    def parameters(self) -> int:
        """Numbers of its weights."""
        encoder = self.encoder
        return sum(value.numel() for value in encoder.parameters()) if isinstance(encoder, nn.Module) else 0


def load_candidate(directory: Path, frames: Frames) -> Candidate:
    """Read an encoder and try it on two frames.

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged, no encoder of what the frames hold, or one of documents.
    """
    encoder = load_encoder(directory)
    if isinstance(encoder, DocumentEncoder):
        raise ValueError(f"{directory}: expected an encoder of what was seen, found one of documents that hold labels")
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{directory}: expected an encoder, found {type(encoder).__name__}")
    try:
        vectors = embed(encoder, frames, np.arange(min(2, len(frames))))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{directory}: expected an encoder of what the frames hold: {error}") from error
    if not np.isfinite(vectors).all():
        raise ValueError(f"{directory}: expected finite vectors, found others")
    inner = directory / "encoder"
    system = str(read_config(inner if inner.is_dir() else directory)["system"])
    return Candidate(directory.as_posix(), system, encoder)


def find_candidates(pools: Sequence[Path], frames: Frames) -> tuple[list[Candidate], list[str]]:
    """All encoders below some directories that take what the frames hold, but those that are parts of others.

    Args:
        pools: directories; those that are not there are passed over.
        frames: that will be encoded.

    Returns:
        The candidates, by name, and why each of the others is none.

    Raises:
        FileNotFoundError: no encoder at all.
    """
    places = {file.parent for pool in pools for file in pool.rglob(CONFIG_FILE)}
    whole = sorted(place for place in places if not places.intersection(place.parents))
    directories = [place.parent if place.name == "encoder" else place for place in whole]
    candidates, reasons = [], []
    for directory in directories:
        try:
            candidates.append(load_candidate(directory, frames))
        except ValueError as error:
            reasons.append(str(error))
    if not candidates:
        found = "; ".join(reasons) or "none"
        raise FileNotFoundError(f"--pool: expected encoders below {', '.join(map(str, pools))}, found {found}")
    return candidates, reasons
