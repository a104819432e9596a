"""What does not belong into pictures: `python -m representation.generative.addp.surprise --encoder RUN --data DIR`.

RUN is one of stage addp (docs/addp.md), trained on frames as they should be. Each patch of each frame of DIR gets a
number in [0, 1], how far it is from what is expected there (see `ADDP.surprise`); a frame is as surprising as its most
surprising patch. Prints the most surprising frames, and with `--picture` draws them with their maps. With
`--reference`, frames that are known to be good, it tells which frames surprise more than these: a hand in view, a
covered camera, dirt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from representation.data.atomic_files import write_json
from representation.data.frames import Frames, open_frames
from representation.generative.addp.encoder import ADDPEncoder
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

BATCH, TILE, HEAT = 64, 128, 0.5


@dataclass(frozen=True)
class SurpriseOptions:
    """What is looked at.

    Attributes:
        encoder: directory of an encoder of this system, or of a run that trained it.
        data: directory of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        reference: directory of frames that are known to be good; without it no frame is an alarm.
        accept: share of these that are no alarm.
        passes: times that each patch is told from others.
        seed: of which others these are.
        shown: frames that are printed and drawn.
        picture: picture to write.
        output: JSON file of all maps to write.
    """

    encoder: Path
    data: Path
    camera: str = ""
    image_size: int = 0
    reference: Path | None = None
    accept: float = 0.99
    passes: int = 8
    seed: int = 0
    shown: int = 8
    picture: Path | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.accept <= 1 or self.shown < 1:
            raise ValueError(f"accept, shown: expected a share and 1 or more, found {self.accept} and {self.shown}")


def surprise_maps(encoder: ADDPEncoder, frames: Frames, passes: int = 8, seed: int = 0) -> NDArray[np.float32]:
    """Maps (N, h, w) of frames.

    Args:
        encoder: of stage addp.
        frames: which hold the pictures.
        passes: see `ADDP.surprise`.
        seed: likewise.

    Raises:
        ValueError: the encoder is of an earlier stage.
    """
    model, found = encoder.trained(), []
    device = model.encoder.pos_embed.device
    for start in range(0, len(frames), BATCH):
        pixels = frames.pixels(np.arange(start, min(start + BATCH, len(frames))))
        images = resized(pixels, encoder.config.resolution).clamp(0, 1).to(device)
        found.append(model.surprise(images, passes, torch.Generator().manual_seed(seed)).cpu())
    return torch.cat(found).numpy()


def heat_picture(images: NDArray[np.uint8], maps: NDArray, top: float) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) above themselves with their maps (N, h, w) laid over: (256, N x 128, 3) uint8 RGB.

    Args:
        images: uint8 RGB.
        maps: of surprise.
        top: surprise that is drawn brightest.
    """
    columns = []
    for image, found in zip(images, maps, strict=True):
        plain = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_LINEAR)
        shares = (np.clip(found / max(top, 1e-9), 0, 1) * 255).astype(np.uint8)
        heat = cv2.resize(shares, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
        colors = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        columns.append(np.vstack([plain, cv2.addWeighted(plain, 1 - HEAT, colors, HEAT, 0)]))
    return np.hstack(columns)


def write_picture(file: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture (H, W, 3) uint8 RGB.

    Raises:
        ValueError: a name that does not end like a picture's.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written = False
    if not written:
        raise ValueError(f"picture: expected a name that ends like a picture's, found {file}")


def main(args: Sequence[str] | None = None) -> None:
    """Look and print."""
    options = tyro.cli(SurpriseOptions, args=args, description=__doc__)
    encoder = load_encoder(options.encoder)
    if not isinstance(encoder, ADDPEncoder):
        raise ValueError(f"--encoder: expected one of addp, found {type(encoder).__name__}")
    frames = open_frames(options.data, options.camera, options.image_size)
    maps = surprise_maps(encoder, frames, options.passes, options.seed)
    scores = maps.max(axis=(1, 2))
    threshold = None
    if options.reference is not None:
        good = open_frames(options.reference, options.camera, options.image_size)
        known = surprise_maps(encoder, good, options.passes, options.seed).max(axis=(1, 2))
        threshold = float(np.quantile(known, options.accept, method="higher"))
        alarms = np.flatnonzero(scores > threshold)
        told = f"{len(alarms)} of {len(frames)} frames surprise more than {threshold:.3f}"
        print(f"{told}, as {np.mean(known > threshold):.1%} of {len(good)} good ones do")
    order = scores.argsort()[::-1][: options.shown]
    for row in order:
        y, x = np.unravel_index(maps[row].argmax(), maps[row].shape)
        alarm = " alarm" if threshold is not None and scores[row] > threshold else ""
        print(f"episode {frames.episode[row]} row {row}: {scores[row]:.3f} at patch row {y} column {x}{alarm}")
    if options.picture is not None:
        write_picture(options.picture, heat_picture(np.asarray(frames.images[order]), maps[order], scores.max()))
    if options.output is not None:
        content = [
            {"episode": int(episode), "row": row, "surprise": float(score), "map": found.round(4).tolist()}
            for row, (episode, score, found) in enumerate(zip(frames.episode, scores, maps, strict=True))
        ]
        write_json(options.output, {"threshold": threshold, "frames": content})


if __name__ == "__main__":
    main()
