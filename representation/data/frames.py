"""`Frames`: pictures and what is known of each, out of renders, LeRobot datasets, recorded bags or folders of pictures.

The plain format of `write_frames` is a directory with `images.npy`, `columns.npz` and `frames.json` (texts, and the
names of numbered values). Nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from representation.data.array_files import read_arrays
from representation.data.back_projection import depth_to_points, random_points
from representation.data.bag_pictures import bag_pictures, bags_in
from representation.data.iebench import has_views, read_views
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_format import INDEX_FEATURES, Feature
from representation.data.untrusted_files import read_json

FRAMES_FILE, IMAGES_FILE, COLUMNS_FILE = "frames.json", "images.npy", "columns.npz"
PICTURE_NAMES = ("*.jpg", "*.jpeg", "*.png")
LABEL, POINTS, TIME, STEP = "label", "points", "time", "step"
SEGMENTATION, DEPTH, MASK = "segmentation", "depth", "mask"
"""Columns with a meaning of their own: classes; clouds (see `clouds`); seconds and numbers of steps (see `clips`); of
pixels (N, H, W) the classes, the depths (uint16 codes as in `depth`), and whether they show what the picture is of."""
_INFO = Path("meta", "info.json")
MAX_PICTURE_BYTES = 16 * 2**30  # of all pictures together, of a bag or a folder


def as_pixels(images: NDArray[np.uint8]) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] of pictures (B, H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Frames:
    """N pictures of one size.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        episode: (N,) number of what they belong to: episode, object, recording. Held out as a whole.
        columns: arrays (N, ...) of what else is known of each, by name.
        names: of the values of columns that number something: `names[column][value]`.
        texts: a text for each; empty if there are none.
    """

    images: NDArray[np.uint8]
    episode: NDArray[np.int64]
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    texts: Sequence[str] = ()

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.shape[3] != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images: expected (N, H, W, 3) uint8, found {self.images.shape} {self.images.dtype}")
        lengths = {"episode": len(self.episode), **{name: len(column) for name, column in self.columns.items()}}
        if self.texts:
            lengths["texts"] = len(self.texts)
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"{name}: expected {count} rows, found {length}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dataset(self) -> NDArray[np.int64]:
        """(N,) number of the dataset: there is one."""
        return np.zeros(len(self), np.int64)

    def pixels(self, rows: NDArray[np.int64]) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] of some rows."""
        return as_pixels(self.images[rows])

    def subset(self, rows: NDArray[np.int64]) -> Frames:
        """Some of the frames."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        texts = [self.texts[row] for row in rows] if self.texts else ()
        return Frames(self.images[rows], self.episode[rows], columns, self.names, texts)

    def need(self, columns: Sequence[str]) -> None:
        """Check that something is known.

        Raises:
            ValueError: a column, or "texts", is missing; names it.
        """
        known = {*self.columns, *(["texts"] if self.texts else [])}
        missing = [name for name in columns if name not in known]
        if missing:
            raise ValueError(f"frames: expected {missing}, found {sorted(known)}")


class Episodes(NamedTuple):
    """Episodes, one after the other.

    Attributes:
        total: how many there are.
        camera: whose pictures they have; empty where there is one only.
        frames: of each.
    """

    total: int
    camera: str
    frames: Iterator[Frames]


def expect_empty(output: Path) -> None:
    """End the command where its `--output` holds something already."""
    if output.exists() and any(output.iterdir()):
        raise SystemExit(f"--output: expected a new or empty directory, found files in {output}")


def write_frames(frames: Frames, directory: Path) -> None:
    """Write the plain format into a new or empty directory."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / IMAGES_FILE, frames.images)
    np.savez(directory / COLUMNS_FILE, episode=frames.episode, **frames.columns)
    content = {"names": {name: list(values) for name, values in frames.names.items()}, "texts": list(frames.texts)}
    (directory / FRAMES_FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")


def open_frames(path: Path, camera: str = "", size: int = 0, points: int = 0) -> Frames:
    """Open what a directory holds.

    That is frames in the plain format, a LeRobot dataset, bags, views of objects as in 3DIEBench, or a folder for each
    class.

    Args:
        path: the directory, or one MCAP file.
        camera: of a LeRobot dataset or a bag; the first one if empty.
        size: side in pixels that pictures are brought to, after a central square; 0 keeps them, where they are alike.
        points: of the clouds that are made of the depth of a LeRobot dataset or a bag; 0 makes none.

    Raises:
        FileNotFoundError: none of these.
        ValueError: damaged, or no such camera.
    """
    if (path / FRAMES_FILE).is_file():
        frames = _read_plain(path)
        return frames if size in (0, frames.images.shape[1]) else _resized(frames, size)
    if (path / _INFO).is_file():
        return _read_lerobot(LeRobotDataset(path), camera, size, points)
    if bags_in(path):
        return _read_bags(path, camera, size, points)
    if has_views(path):
        return _read_views(path, size)
    if path.is_dir() and any(_pictures(path)):
        return _read_folder(path, size)
    raise FileNotFoundError(
        f"{path}: expected {FRAMES_FILE}, {_INFO}, MCAP bags or folders of pictures, found none of them"
    )


def _read_plain(path: Path) -> Frames:
    try:
        content = read_json(path, FRAMES_FILE)
        images = np.load(path / IMAGES_FILE, mmap_mode="r", allow_pickle=False)
        columns = read_arrays(path / COLUMNS_FILE)
        names = {str(name): tuple(map(str, values)) for name, values in content["names"].items()}
        return Frames(images, columns.pop("episode").astype(np.int64), columns, names, list(map(str, content["texts"])))
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected frames in the plain format: {error}") from error


def _resized(frames: Frames, size: int) -> Frames:
    images = np.stack([square(image, size) for image in frames.images])
    return Frames(images, frames.episode, frames.columns, frames.names, frames.texts)


def open_episodes(path: Path, camera: str = "", size: int = 0, points: int = 0) -> Episodes:
    """The episodes of a directory, one after the other; a LeRobot dataset may be larger than the machine's memory.

    Arguments and errors as of `open_frames`.
    """
    if (path / _INFO).is_file() and not (path / FRAMES_FILE).is_file():
        dataset = LeRobotDataset(path)
        camera = camera_of(dataset, camera)
        return Episodes(dataset.num_episodes, camera, _lerobot_episodes(dataset, camera, size, points))
    frames = open_frames(path, camera, size, points)
    numbers = np.unique(frames.episode)
    parts = (frames.subset(np.flatnonzero(frames.episode == number)) for number in numbers)
    return Episodes(len(numbers), "", parts)


def camera_of(dataset: LeRobotDataset, camera: str) -> str:
    """The camera of that name, or the first one.

    Raises:
        ValueError: there is none.
    """
    prefix = "observation.images."
    cameras = [key.removeprefix(prefix) for key in dataset.info.features if key.startswith(prefix)]
    if not cameras or (camera and camera not in cameras):
        raise ValueError(f"{dataset.root}: camera: expected {camera or 'one'}, found {cameras}")
    return camera or cameras[0]


def _read_lerobot(dataset: LeRobotDataset, camera: str, size: int, points: int) -> Frames:
    parts = list(_lerobot_episodes(dataset, camera_of(dataset, camera), size, points))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    texts = [text for part in parts for text in part.texts]
    images, episodes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "episode"))
    return Frames(images, episodes, columns, {}, texts)


def _lerobot_episodes(dataset: LeRobotDataset, camera: str, size: int, points: int) -> Iterator[Frames]:
    key = f"observation.images.{camera}"
    views = [f"observation.depth.{camera}", f"observation.camera.{camera}.intrinsics"] if points else []
    missing = [name for name in views if name not in dataset.keys]
    if missing:
        raise ValueError(f"{dataset.root}: expected {missing} to make clouds of, found {dataset.keys}")
    features = dataset.info.features
    numbers = [name for name in ("observation.state", "action") if name in features]
    numbers += [name for name, one in features.items() if one.shape == (1,) and _numbers_something(one)]
    rng = np.random.default_rng(0)
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index, [key, *numbers, *views, "timestamp"])
        pictures = episode[key]
        columns: dict[str, NDArray] = {name: episode[name] for name in numbers}
        columns["progress"] = np.linspace(0.0, 1.0, len(pictures), dtype=np.float32)
        columns[TIME] = episode["timestamp"]
        if points:
            depths, lenses = (episode[name] for name in views)
            parts = [depth_to_points(depth, k.reshape(3, 3)) for depth, k in zip(depths, lenses, strict=True)]
            columns[POINTS] = np.stack([random_points(part, points, rng) for part in parts])
        images = pictures if size == 0 else np.stack([square(picture, size) for picture in pictures])
        yield Frames(images, np.full(len(pictures), index), columns, {}, episode["task"])


def _numbers_something(feature: Feature) -> bool:
    """Whether a column is of whole numbers or of yes and no that its writer, and not the format, put there."""
    return feature.is_numeric and not feature.dtype.startswith("float") and feature.key not in INDEX_FEATURES


def _read_bags(path: Path, camera: str, size: int, points: int) -> Frames:
    rng, total = np.random.default_rng(0), 0
    images, episodes, stamps, texts, parts = [], [], [], [], []
    for picture in bag_pictures(path, camera, with_depth=points > 0):
        image = picture.rgb if size == 0 else square(picture.rgb, size)
        total += image.nbytes
        if total > MAX_PICTURE_BYTES:
            raise ValueError(f"{path}: expected at most {MAX_PICTURE_BYTES} bytes of pictures; bring them to a size")
        if images and image.shape != images[0].shape:
            found = [images[0].shape, image.shape]
            raise ValueError(f"{path}: expected pictures of one size, or a size to bring them to, found {found}")
        images.append(image)
        episodes.append(picture.episode)
        stamps.append(picture.stamp)
        texts.append(picture.text)
        if picture.depth is not None and picture.intrinsics is not None:
            parts.append(random_points(depth_to_points(picture.depth, picture.intrinsics), points, rng))
    if not images:
        raise ValueError(f"{path}: expected pictures of a camera in marked episodes, found none")
    episode, stamp = np.array(episodes), np.array(stamps)
    progress, time = np.zeros(len(images), np.float32), np.zeros(len(images))
    for number in np.unique(episode):
        rows = np.flatnonzero(episode == number)
        progress[rows] = np.linspace(0.0, 1.0, len(rows))
        time[rows] = stamp[rows] - stamp[rows[0]]
    columns = {"progress": progress, TIME: time}
    if parts:
        columns[POINTS] = np.stack(parts)
    return Frames(np.stack(images), episode, columns, {}, texts if all(texts) else ())


def _pictures(path: Path) -> list[Path]:
    return sorted(file for pattern in PICTURE_NAMES for file in path.glob(f"*/{pattern}"))


def _read_views(path: Path, size: int) -> Frames:
    """With the columns of `sim.posed_objects`: `label`, `rotation`, `floor` and `light`; `episode` is the object."""
    views = read_views(path)
    latents = np.stack([view.latents for view in views])
    rotation = Rotation.from_euler("xyz", latents[:, :3]).as_quat()
    names, labels = np.unique([view.kind for view in views], return_inverse=True)
    columns = {LABEL: labels, "rotation": rotation, "floor": latents[:, 3], "light": latents[:, 4:]}
    things = dict.fromkeys((view.kind, view.thing) for view in views)
    numbers = {thing: number for number, thing in enumerate(things)}
    episode = np.array([numbers[view.kind, view.thing] for view in views])
    images = _read_pictures([view.picture for view in views], path, size)
    return Frames(images, episode, columns, {LABEL: tuple(map(str, names))})


def _read_folder(path: Path, size: int) -> Frames:
    files = _pictures(path)
    classes = tuple(sorted({file.parent.name for file in files}))
    labels = np.array([classes.index(file.parent.name) for file in files])
    texts = [f"a picture of a {file.parent.name.replace('_', ' ')}" for file in files]
    images = _read_pictures(files, path, size)
    return Frames(images, np.arange(len(files)), {LABEL: labels}, {LABEL: classes}, texts)


def _read_pictures(files: Sequence[Path], path: Path, size: int) -> NDArray[np.uint8]:
    images: list[NDArray[np.uint8]] = []
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{file}: expected a picture, found something that OpenCV does not read")
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        images.append(rgb if size == 0 else square(rgb, size))
        if len(images) * images[0].nbytes > MAX_PICTURE_BYTES:
            raise ValueError(f"{path}: expected at most {MAX_PICTURE_BYTES} bytes of pictures; bring them to a size")
        if images[-1].shape != images[0].shape:
            found = [images[0].shape, images[-1].shape]
            raise ValueError(f"{path}: expected pictures of one size, or a size to bring them to, found {found}")
    return np.stack(images)


def square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The central square of a picture (H, W, 3), brought to (size, size, 3)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    part = image[top : top + side, left : left + side]
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_LINEAR)
