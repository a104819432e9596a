"""Where frames come from: `python -m representation.memory.origin_identification.trace --encoder RUN --gallery DIR`.

Each frame of `--queries` is looked for among the frames of the gallery: frames of an evaluation set that were made from
frames of a training set are leaks; frames of an augmentation lead back to labels and poses. What is less alike than a
threshold has no origin there. Where no threshold is given, it is the one that lets 9 of 10 edited frames of the gallery
pass; how many edited frames of episodes that are not in the gallery would pass is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from representation.data.atomic_files import write_json
from representation.data.frames import Frames, open_frames
from representation.embedding import embed
from representation.interface import Encoder
from representation.memory.origin_identification.edits import edited
from representation.memory.origin_identification.origin_index import Match, OriginIndex
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

BATCH = 128


@dataclass(frozen=True)
class TraceOptions:
    """What is traced.

    Attributes:
        encoder: directory of an encoder of this system, or of a run that trained it.
        gallery: directory of the frames that may be origins.
        queries: directory of the frames whose origins are wanted.
        camera: of LeRobot datasets; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        k: origins that are told of each.
        threshold: least cosine of an origin; found by edits of the gallery if left out.
        accept: share of edited frames that this threshold lets pass.
        output: JSON file of all matches to write.
    """

    encoder: Path
    gallery: Path
    queries: Path
    camera: str = ""
    image_size: int = 0
    k: int = 5
    threshold: float | None = None
    accept: float = 0.9
    output: Path | None = None


@dataclass(frozen=True)
class Rejection:
    """A threshold, and what it does to frames of the gallery that were edited.

    Attributes:
        threshold: least cosine of an origin.
        known: share of edited frames that pass.
        unknown: share of them that would pass if their episodes were not in the gallery.
    """

    threshold: float
    known: float
    unknown: float


def frame_ids(frames: Frames) -> list[tuple[int, int]]:
    """Episode and number in the episode of each frame."""
    seen: dict[int, int] = {}
    found = []
    for episode in frames.episode.tolist():
        seen[episode] = seen.get(episode, -1) + 1
        found.append((episode, seen[episode]))
    return found


def rejection(known: NDArray, unknown: NDArray, accept: float) -> Rejection:
    """The threshold that a share of the best cosines (N,) of known frames pass, beside those of unknown ones (M,).

    Raises:
        ValueError: a share that is none.
    """
    if not 0 < accept <= 1:
        raise ValueError(f"accept: expected a share in (0, 1], found {accept}")
    threshold = float(np.quantile(known, 1 - accept, method="lower"))
    return Rejection(threshold, float((known >= threshold).mean()), float((unknown >= threshold).mean()))


def gallery_rejection(vectors: Tensor, changed: Tensor, episode: NDArray[np.int64], accept: float) -> Rejection:
    """See `rejection`, by unit vectors (N, D) of a gallery and of an edit of each frame of it; several episodes."""
    similar = (changed @ vectors.T).numpy()
    own = episode[:, None] == episode
    if own.all():
        raise ValueError("gallery: expected several episodes to find a threshold, found one; give --threshold")
    return rejection(similar.max(axis=1), np.where(own, -1.0, similar).max(axis=1), accept)


def main(args: Sequence[str] | None = None) -> None:
    """Trace and print."""
    options = tyro.cli(TraceOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    gallery, queries = (
        open_frames(path, options.camera, options.image_size) for path in (options.gallery, options.queries)
    )
    vectors = torch.from_numpy(embed(encoder, gallery))
    index = OriginIndex(encoder.encode)
    index.add_vectors(frame_ids(gallery), vectors)
    threshold = options.threshold
    if threshold is None:
        changed = _edited_vectors(encoder, gallery)
        found = gallery_rejection(vectors, changed, gallery.episode, options.accept)
        threshold = found.threshold
        print(
            f"threshold {threshold:.4f}: passed by {found.known:.1%} of edited frames of the gallery, and by "
            f"{found.unknown:.1%} if their episodes were not in it"
        )
    matches = index.trace_vectors(torch.from_numpy(embed(encoder, queries)), options.k, threshold)
    print("\n".join(_lines(matches, frame_ids(queries))))
    traced = sum(match.origin is not None for match in matches)
    print(f"{traced} of {len(matches)} frames come from the gallery")
    if options.output is not None:
        write_json(options.output, [_content(match, at) for match, at in zip(matches, frame_ids(queries), strict=True)])


@torch.inference_mode()
def _edited_vectors(encoder: Encoder, frames: Frames) -> Tensor:
    """Vectors (N, D) of an edit of each frame."""
    generator, side, found = torch.Generator().manual_seed(0), min(frames.images.shape[1:3]), []
    for start in range(0, len(frames), BATCH):
        pictures = resized(frames.pixels(np.arange(start, min(start + BATCH, len(frames)))), side)
        found.append(encoder.encode(edited(pictures, generator)))
    return torch.cat(found)


def _lines(matches: Sequence[Match], places: Sequence[tuple[int, int]]) -> list[str]:
    found = []
    for match, (episode, frame) in zip(matches, places, strict=True):
        origin = "unknown" if match.origin is None else "episode {} frame {}".format(*match.ids[0])
        found.append(f"episode {episode} frame {frame}: {origin} ({match.scores[0]:.4f})")
    return found


def _content(match: Match, place: tuple[int, int]) -> dict:
    return {
        "episode": place[0],
        "frame": place[1],
        "origin": match.origin,
        "candidates": [{"origin": id, "score": score} for id, score in zip(match.ids, match.scores, strict=True)],
    }


if __name__ == "__main__":
    main()
