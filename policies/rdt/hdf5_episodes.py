"""Episodes of ALOHA in HDF5, the form in which RDT-1B (arXiv 2410.07864) is fine-tuned, one episode a file.

    observations/qpos                            (N, 14) left arm's 6 joints and gripper, then the right arm's
    action                                       (N, 14) commanded, in the same order
    observations/images/{cam_high, cam_right_wrist, cam_left_wrist}    N pictures as JPEG; a camera may be absent

Colours: recordings of ALOHA hand RGB pictures to OpenCV, which takes them for BGR, so that red and blue are exchanged
inside their JPEGs; OpenCV exchanges them again in reading, other decoders do not. The attribute `color_order` of a file
says what a standard decoder finds: "rgb", as `write_episode` writes, or "bgr". A file without it is taken for "bgr",
unless the caller says otherwise. Pictures in memory are always RGB.

The files may come from a stranger: sizes are checked before memory is spent, links and other ways out of the file are
refused, and whatever does not fit is a `ValueError` that names the file and the place in it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from policies.rdt.images import CameraRole, Picture

ColorOrder = Literal["rgb", "bgr"]
CAMERAS: dict[CameraRole, str] = {
    "exterior": "cam_high",
    "right_wrist": "cam_right_wrist",
    "left_wrist": "cam_left_wrist",
}
"""Name in the file of each role's camera."""
ARM_NUMBERS = 14
FIRST_MOTION = 1e-2
"""An episode begins where a number of `qpos` has moved this far, rad, from its first value."""
LARGEST_VALUE = 10.0
"""Larger numbers of joints are degrees or encoder ticks."""
GRIPPERS = (6, 13)
LARGEST_GRIPPER = 20.0
"""Likewise of grippers: commands of the published recordings go up to 14."""
MAX_STEPS = 100_000
MAX_FILE_BYTES = 16 * 2**30
MAX_JPEG_BYTES = 16 * 2**20
MAX_CHUNK_BYTES = 256 * 2**20
MAX_FILTERED_BYTES = 2**20
"""Of a chunk as stored: HDF5 inflates it to whatever comes out, a thousand times as much in the worst case."""
MAX_PICTURE_SIDE = 4096
# Filters that are part of HDF5 and h5py: deflate, shuffle, fletcher32, szip, lzf. Others load a library on demand.
_KNOWN_FILTERS = frozenset({1, 2, 3, 4, 32000})


@dataclass(frozen=True)
class AlohaEpisode:
    """The numbers of an episode; its pictures stay in the file.

    Attributes:
        path: of the file.
        qpos: (N, 14) float32, measured; rad, grippers as the file has them.
        action: (N, 14) float32, commanded.
        cameras: roles that the file has pictures of.
        color_order: of the file's JPEGs.
    """

    path: Path
    qpos: NDArray[np.float32]
    action: NDArray[np.float32]
    cameras: tuple[CameraRole, ...]
    color_order: ColorOrder

    @classmethod
    def read(cls, path: str | Path, unmarked: ColorOrder = "bgr") -> AlohaEpisode:
        """Read an episode's numbers and check its layout.

        Args:
            path: of the file.
            unmarked: colour order of a file that does not tell.

        Raises:
            ValueError: no HDF5 file, or one that does not fit; names the file, the place, what was expected and found.
        """
        path = Path(path)
        with _opened(path) as file:
            qpos = _numbers(file, "observations/qpos")
            action = _numbers(file, "action")
            if len(action) != len(qpos):
                raise ValueError(f"{path}: action: expected {len(qpos)} rows as in qpos, found {len(action)}")
            cameras = []
            for role, name in CAMERAS.items():
                place = f"observations/images/{name}"
                if _exists(file, place):
                    pictures = _dataset(file, place)
                    if pictures.shape[0] != len(qpos):
                        raise ValueError(f"{path}: {place}: expected {len(qpos)} pictures, found {pictures.shape[0]}")
                    cameras.append(role)
            order = file.attrs.get("color_order", unmarked)
            if isinstance(order, bytes):  # as other languages write text
                order = order.decode("ascii", "replace")
            if not isinstance(order, str) or order not in get_args(ColorOrder):
                raise ValueError(f"{path}: color_order: expected 'rgb' or 'bgr', found {order!r}")
        return cls(path, qpos, action, tuple(cameras), order)

    def __len__(self) -> int:
        return len(self.qpos)

    def first_motion(self) -> int:
        """First step f at which a number of `qpos` is more than 1e-2 from its first value; f >= 1.

        Raises:
            ValueError: the arms never move.
        """
        moved = (np.abs(self.qpos - self.qpos[0]) > FIRST_MOTION).any(axis=1)
        if not moved.any():
            raise ValueError(f"{self.path}: qpos: expected motion of more than {FIRST_MOTION} rad, found none")
        return int(np.argmax(moved))

    def pictures(self, role: CameraRole, steps: Sequence[int]) -> NDArray[np.uint8]:
        """Pictures (len(steps), H, W, 3) RGB of a camera.

        Raises:
            ValueError: the camera is absent, or a picture cannot be decoded or has another size.
        """
        if role not in self.cameras:
            raise ValueError(f"{self.path}: expected one of the cameras {list(self.cameras)}, found {role!r}")
        place = f"observations/images/{CAMERAS[role]}"
        decoded: list[Picture] = []
        with _opened(self.path) as file:
            dataset = _dataset(file, place)
            for step in steps:
                picture = _decode_jpeg(bytes(dataset[step]), where := f"{self.path}: {place}[{step}]")
                if decoded and picture.shape != decoded[0].shape:
                    raise ValueError(f"{where}: expected shape {decoded[0].shape}, found {picture.shape}")
                decoded.append(picture)
        pictures = np.stack(decoded)
        return pictures if self.color_order == "rgb" else np.ascontiguousarray(pictures[..., ::-1])


def write_episode(
    path: str | Path,
    qpos: NDArray[np.floating],
    action: NDArray[np.floating],
    pictures: Mapping[CameraRole, NDArray[np.uint8]],
    quality: int = 95,
) -> None:
    """Write an episode in the layout above.

    Its JPEGs are ordinary ones (`color_order` "rgb"); programs that ignore the attribute and decode with OpenCV must
    exchange red and blue.

    Args:
        path: of the file, which is replaced.
        qpos: (N, 14) measured, rad.
        action: (N, 14) commanded.
        pictures: (N, H, W, 3) uint8 RGB by role; roles may be left out.
        quality: of the JPEGs, 1 to 100.

    Raises:
        ValueError: shapes that do not fit.
    """
    qpos, action = np.asarray(qpos, dtype=np.float32), np.asarray(action, dtype=np.float32)
    for name, values in (("qpos", qpos), ("action", action)):
        if values.shape != (len(qpos), ARM_NUMBERS):
            raise ValueError(f"{name}: expected shape ({len(qpos)}, {ARM_NUMBERS}), found {values.shape}")
    for role, frames in pictures.items():
        if role not in CAMERAS:
            raise ValueError(f"pictures: expected roles of {list(CAMERAS)}, found {role!r}")
        if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != len(qpos) or frames.shape[3] != 3:
            raise ValueError(f"{role}: expected uint8 ({len(qpos)}, H, W, 3), found {frames.dtype} {frames.shape}")
    with h5py.File(path, "w") as file:
        file.attrs["color_order"] = "rgb"
        file["observations/qpos"] = qpos
        file["action"] = action
        for role, frames in pictures.items():
            place = f"observations/images/{CAMERAS[role]}"
            dataset = file.create_dataset(place, (len(frames),), h5py.vlen_dtype(np.uint8))
            for step, frame in enumerate(frames):
                dataset[step] = np.frombuffer(_encode_jpeg(frame, quality), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise ValueError(f"{path}: expected an episode, found no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, found {path.stat().st_size}")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, LookupError, TypeError) as error:  # what h5py makes of damage
        raise ValueError(f"{path}: expected a readable HDF5 file, found: {error}") from error


def _exists(file: h5py.File, place: str) -> bool:
    """Whether the file has an object there; looks at links before it follows them."""
    group: h5py.Group = file
    for name in place.split("/"):
        if not isinstance(group, h5py.Group) or not group.id.links.exists(name.encode()):
            return False
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{file.filename}: {place}: expected data in the file itself, found a link")
        group = group[name]
    return True


def _dataset(file: h5py.File, place: str) -> h5py.Dataset:
    """A dataset of at most `MAX_STEPS` rows that lies in the file itself and needs no foreign library."""
    where = f"{file.filename}: {place}"
    dataset = file[place] if _exists(file, place) else None
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{where}: expected a dataset, found {'none' if dataset is None else 'another object'}")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{where}: expected data in the file itself, found some of other files")
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if not filters <= _KNOWN_FILTERS:
        raise ValueError(f"{where}: expected filters among {sorted(_KNOWN_FILTERS)}, found {sorted(filters)}")
    if not dataset.shape or not 1 <= dataset.shape[0] <= MAX_STEPS:
        raise ValueError(f"{where}: expected 1 to {MAX_STEPS} rows, found shape {dataset.shape}")
    is_jpeg = place.startswith("observations/images/")
    if is_jpeg and not _holds_jpegs(dataset):
        raise ValueError(
            f"{where}: expected pictures as JPEG, strings or bytes (N,) or (N, longest), found {dataset.dtype} "
            f"{dataset.shape}"
        )
    row = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    chunk = dataset.dtype.itemsize * math.prod(dataset.chunks or ())
    if row > MAX_JPEG_BYTES or chunk > MAX_CHUNK_BYTES:
        raise ValueError(
            f"{where}: expected rows of at most {MAX_JPEG_BYTES} bytes in chunks of at most {MAX_CHUNK_BYTES}, "
            f"found {row} in {chunk}"
        )
    stored: list[int] = [0]
    if filters:
        dataset.id.chunk_iter(lambda info: stored.append(info.size))
    if max(stored) > MAX_FILTERED_BYTES:
        raise ValueError(f"{where}: expected filtered chunks of at most {MAX_FILTERED_BYTES}, found {max(stored)}")
    return dataset


def _holds_jpegs(dataset: h5py.Dataset) -> bool:
    """Whether rows are bytes: a variable or a fixed number of them, as strings or as numbers."""
    if dataset.ndim == 2:
        return dataset.dtype == np.uint8
    is_bytes = h5py.check_vlen_dtype(dataset.dtype) == np.uint8 or h5py.check_string_dtype(dataset.dtype) is not None
    return dataset.ndim == 1 and is_bytes


def _numbers(file: h5py.File, place: str) -> NDArray[np.float32]:
    dataset = _dataset(file, place)
    where = f"{file.filename}: {place}"
    if dataset.ndim != 2 or dataset.shape[1] != ARM_NUMBERS or dataset.dtype.kind != "f":
        raise ValueError(
            f"{where}: expected floating-point numbers (N, {ARM_NUMBERS}), found {dataset.dtype} {dataset.shape}"
        )
    values = dataset[:].astype(np.float32)
    largest = np.full(ARM_NUMBERS, LARGEST_VALUE)
    largest[list(GRIPPERS)] = LARGEST_GRIPPER
    wrong = ~(np.abs(values) <= largest)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{where}[{row}, {column}]: expected rad, at most {largest[column]:g}, found {values[row, column]:g}"
        )
    return values


def _decode_jpeg(content: bytes, where: str) -> Picture:
    if len(content) > MAX_JPEG_BYTES:
        raise ValueError(f"{where}: expected at most {MAX_JPEG_BYTES} bytes, found {len(content)}")
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if max(image.size) > MAX_PICTURE_SIDE or image.mode != "RGB":
                raise ValueError(
                    f"{where}: expected RGB of at most {MAX_PICTURE_SIDE} px a side, found {image.mode} {image.size}"
                )
            return np.array(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: expected a JPEG of {len(content)} bytes, found: {error}") from error


def _encode_jpeg(picture: Picture, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
