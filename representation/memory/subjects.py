"""Single objects that the robot has seen, known again from elsewhere: `python -m representation.memory.subjects`.

- `add SUBJECTS --encoder RUN --data DIR` stores the objects of frames.
- `find SUBJECTS --encoder RUN --image crop.png` tells which stored object a picture shows. A `--mask`, white where the
  object is, and a `--phrase` such as "a mug" may be known of it.
- `score SUBJECTS --encoder RUN --data DIR` tells how often the objects of other frames are known again.

The encoder is one of `customcontrast`. Where frames have a `segmentation` (`python -m sim.segmented_scenes`), each
thing in each picture is cut out, and its name is its id; else a picture shows one object, whose id is its `episode`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from representation.checkpoint import encoder_key
from representation.data.frames import MASK, SEGMENTATION, Frames, open_frames
from representation.memory.queries import read_picture
from representation.pretraining.customcontrast import SubjectCodes, SubjectEncoder, SubjectIndex
from representation.pretraining.small_encoder import resized
from representation.registry import load_encoder

BATCH, LEAST_PIXELS, MARGIN = 64, 16, 1.4
Subjects = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Sight:
    """An object in a picture.

    Attributes:
        id: which object it is.
        image: (S, S, 3) RGB, the object in the middle.
        mask: (S, S), where it is; None if that is not known.
    """

    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Selected:
    """Which frames.

    Attributes:
        data: directory of the frames.
        camera: of a LeRobot dataset or a bag; the first one if left out.
        image_size: side that pictures are brought to first, pixels; 0 keeps them.
        first: row of the first frame that is taken.
        every: of so many frames one is taken.
        masked: leave out what is around the objects, where masks are known.
    """

    data: Path
    camera: str = ""
    image_size: int = 0
    first: int = 0
    every: int = 1
    masked: bool = False

    def __post_init__(self) -> None:
        if self.first < 0 or self.every < 1:
            raise ValueError(f"first, every: expected at least 0 and 1, found {self.first} and {self.every}")

    def sights(self) -> list[Sight]:
        """Their objects.

        Raises:
            ValueError: there are none.
        """
        frames = open_frames(self.data, self.camera, self.image_size)
        found = list(sights_of(frames.subset(np.arange(self.first, len(frames), self.every))))
        if not found:
            raise ValueError(f"{self.data}: expected objects, found none")
        return found


def sights_of(frames: Frames) -> Iterator[Sight]:
    """The objects of frames; see the module."""
    if SEGMENTATION in frames.columns:
        names = frames.names[SEGMENTATION]
        for image, shown in zip(frames.images, frames.columns[SEGMENTATION], strict=True):
            for kind in np.unique(shown[shown > 0]):
                if (shown == kind).sum() >= LEAST_PIXELS:
                    yield cut_out(names[kind], image, shown == kind)
        return
    masks = frames.columns.get(MASK, [None] * len(frames))
    for image, episode, mask in zip(frames.images, frames.episode, masks, strict=True):
        yield Sight(f"object {episode}", image, mask)


def cut_out(name: str, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Sight:
    """The square around what a mask (H, W) shows of a picture (H, W, 3); beyond the edges it is black."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    side = max(1, round(MARGIN * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    top, left = ((rows[0] + rows[-1] + 1 - side) // 2, (columns[0] + columns[-1] + 1 - side) // 2)
    padded = [np.pad(part, [(side, side), (side, side)] + [(0, 0)] * (part.ndim - 2)) for part in (image, mask)]
    square = (slice(top + side, top + 2 * side), slice(left + side, left + 2 * side))
    return Sight(name, padded[0][square], padded[1][square])


@torch.inference_mode()
def codes_of(
    encoder: SubjectEncoder, sights: Sequence[Sight], masked: bool, phrases: Sequence[str] | None = None
) -> SubjectCodes:
    """Codes of objects; with `masked`, of what their masks show where they have one."""
    side, images = encoder.eyes.resolution, []
    for sight in sights:
        image = torch.from_numpy(np.ascontiguousarray(sight.image)).permute(2, 0, 1)[None].float() / 255
        images.append(resized(image, side))
    masks: list[Tensor] = []
    for sight in sights:
        if masked and sight.mask is not None:
            shown = torch.from_numpy(sight.mask.astype(np.float32))[None, None]
            masks.append(resized(shown, side)[0] >= 0.5)
        else:
            masks.append(torch.ones(1, side, side, dtype=torch.bool))
    return encoder.codes(torch.cat(images), torch.cat(masks), phrases)


@dataclass(frozen=True)
class Add:
    """Store the objects of frames; what is stored already stays.

    Attributes:
        subjects: directory of the stored subjects; made if it is not there.
        encoder: directory of an encoder, or of a run that trained it.
        source: which frames.
    """

    subjects: Subjects
    encoder: Path
    source: Annotated[Selected, tyro.conf.arg(name="")]

    def run(self) -> None:
        """Add them."""
        encoder, key = _encoder(self.encoder)
        stored = _stored(self.subjects, key) if self.subjects.exists() else SubjectIndex(encoder.config.n_scales, key)
        for some in _batches(self.source.sights()):
            stored.add(codes_of(encoder, some, self.source.masked), [sight.id for sight in some])
        stored.save(self.subjects)
        print(f"{self.subjects}: {len(stored)} views of {len(stored.ids)} subjects")


@dataclass(frozen=True)
class Find:
    """Tell which stored object a picture shows.

    Attributes:
        subjects: directory of the stored subjects.
        encoder: that they were stored with.
        image: the picture; the object is in its middle, and fills a good part of it.
        mask: picture of the same size, white where the object is.
        phrase: what kind of thing it is.
        k: objects that are told.
    """

    subjects: Subjects
    encoder: Path
    image: Path
    mask: Path | None = None
    phrase: str = ""
    k: int = 5

    def run(self) -> None:
        """Print them."""
        encoder, key = _encoder(self.encoder)
        stored, image = _stored(self.subjects, key), read_picture(self.image)
        mask = None if self.mask is None else read_picture(self.mask)[..., 0] > 127
        if mask is not None and mask.shape != image.shape[:2]:
            raise ValueError(f"--mask: expected {image.shape[:2]} as the picture, found {mask.shape}")
        codes = codes_of(encoder, [Sight("", image, mask)], mask is not None, [self.phrase])
        for match in stored.query(codes, self.k)[0]:
            print(f"{match.similarity:7.4f}  {match.id}")


@dataclass(frozen=True)
class Score:
    """Tell how often objects are known again.

    Attributes:
        subjects: directory of the stored subjects.
        encoder: that they were stored with.
        source: frames of the same objects.
    """

    subjects: Subjects
    encoder: Path
    source: Annotated[Selected, tyro.conf.arg(name="")]

    def run(self) -> None:
        """Print the share of objects that come first."""
        encoder, key = _encoder(self.encoder)
        stored = _stored(self.subjects, key)
        known = [sight for sight in self.source.sights() if sight.id in stored.ids]
        if not known:
            raise ValueError(f"{self.source.data}: expected objects that are stored, found others")
        right = 0
        for some in _batches(known):
            hits = stored.query(codes_of(encoder, some, self.source.masked))
            right += sum(hit[0].id == sight.id for hit, sight in zip(hits, some, strict=True))
        print(f"{right / len(known):.3f} of {len(known)} sights known again, among {len(stored.ids)} subjects")


def _batches(sights: Sequence[Sight]) -> Iterator[Sequence[Sight]]:
    return (sights[start : start + BATCH] for start in range(0, len(sights), BATCH))


def _encoder(path: Path) -> tuple[SubjectEncoder, str]:
    encoder = load_encoder(path)
    if not isinstance(encoder, SubjectEncoder):
        raise ValueError(f"{path}: expected an encoder of customcontrast, found {type(encoder).__name__}")
    return encoder, encoder_key(path)


def _stored(path: Path, key: str) -> SubjectIndex:
    stored = SubjectIndex.load(path)
    if stored.encoder != key:
        raise ValueError(f"{path}: expected subjects of the encoder {key}, found those of {stored.encoder}")
    return stored


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    verbs = {verb.__name__.lower(): verb for verb in (Add, Find, Score)}
    command: Any = tyro.extras.subcommand_cli_from_dict(
        verbs, args=args, prog="python -m representation.memory.subjects"
    )
    try:
        command.run()
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
