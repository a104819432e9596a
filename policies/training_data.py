"""Demonstrations at hand: what a training step needs, decoded once, so that a step only gathers and tokenizes.

    datasets = open_datasets(paths)
    columns = read_columns(datasets, "front", needs, base_from_tool)    # numbers and sentences: quick
    decode_images(datasets, columns, processor, "front", directory)     # videos: minutes for 100,000 frames
    images = open_images(directory)
    inputs = TrainingData(columns, images, processor).batch(frame_numbers)

A frame takes 45 kB at 96 x 96 with depth (27 kB of colour, 18 kB of depth in 0.1 mm), so 150,000 frames take 7 GB of
disk, and of memory as long as nobody else needs it: all processes of a machine map the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from policies.spatialvla.needed_inputs import NeededInputs
from policies.spatialvla.processor import SpatialVLAProcessor
from representation.data.depth import decode_depth, encode_depth
from representation.data.lerobot_dataset import LeRobotDataset

DECODING_THREADS = 2
TASK_KEY = "collection.task"
DISTURBED_KEY = "collection.disturbed"
"""Feature that numbers the tasks of a dataset, where it has one; held-out errors are then reported by task."""


@dataclass(frozen=True)
class Columns:
    """Everything but the images of the frames of all datasets, one dataset and one episode after the other.

    What the policy does not read is None, see `NeededInputs`.

    Attributes:
        actions: (N, 7) labels, `cartesian_delta` and gripper.
        joint_positions: (N, n), or None.
        intrinsics: (N, 3, 3) pixels of the stored image, or None.
        base_from_camera: (N, 4, 4), or None.
        base_from_tool: (N, 4, 4), or None without joint positions.
        instructions: N sentences.
        last_frame: (N,) number of the last frame of the frame's episode.
        episode: (N,) number of the episode, counted over all datasets.
        dataset: (N,) number of the dataset.
        group: (N,) number of the group that the frame's errors are reported under.
        group_names: names of the groups: a dataset's directory and, where the dataset numbers its tasks, the task.
    """

    actions: NDArray[np.float32]
    joint_positions: NDArray[np.float64] | None
    intrinsics: NDArray[np.float64] | None
    base_from_camera: NDArray[np.float64] | None
    base_from_tool: NDArray[np.float64] | None
    instructions: list[str]
    last_frame: NDArray[np.int64]
    episode: NDArray[np.int64]
    dataset: NDArray[np.int64]
    group: NDArray[np.int64]
    group_names: tuple[str, ...]


@dataclass(frozen=True)
class Images:
    """Frames at the model's size, in files that are read as they are needed.

    Attributes:
        rgb: (N, S, S, 3) uint8.
        depth_codes: (N, S, S) uint16, see `representation.data.depth`; None for a model that uses no depth camera.
        intrinsics: (N, 3, 3) float32, pixels of the S x S image; None for a model that does not read the camera's.
    """

    rgb: NDArray[np.uint8]
    depth_codes: NDArray[np.uint16] | None
    intrinsics: NDArray[np.float32] | None


_IMAGE_FILES = {name: f"{name}.npy" for name in ("rgb", "depth_codes", "intrinsics")}


def open_datasets(paths: Sequence[Path]) -> list[LeRobotDataset]:
    """Open datasets that belong together.

    Raises:
        ValueError: one is damaged, or they differ in robot or rate.
    """
    datasets = [LeRobotDataset(path) for path in paths]
    for dataset in datasets:
        for name in ("robot_type", "fps"):
            expected, found = getattr(datasets[0].info, name), getattr(dataset.info, name)
            if found != expected:
                raise ValueError(f"{dataset.root}: {name}: expected {expected} as in {paths[0]}, found {found}")
    return datasets


def read_columns(
    datasets: Sequence[LeRobotDataset],
    camera: str,
    needs: NeededInputs,
    base_from_tool: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Columns:
    """Read the numbers and sentences of every episode.

    Args:
        datasets: see `open_datasets`.
        camera: name of the view.
        needs: what the policy reads; nothing else has to be there.
        base_from_tool: forward kinematics, joint positions (n,) to pose (4, 4).

    Raises:
        ValueError: a dataset lacks a feature, which is named with the way to do without, or is damaged.
    """
    keys = {"actions": "action"}
    if needs.joints:
        keys["joint_positions"] = "observation.state"
    if needs.intrinsics:
        keys["intrinsics"] = f"observation.camera.{camera}.intrinsics"
    if needs.camera_pose:
        keys["base_from_camera"] = f"observation.camera.{camera}.base_from_camera"
    parts: dict[str, list[NDArray]] = {name: [] for name in (*keys, "last_frame", "episode", "dataset", "group")}
    instructions: list[str] = []
    groups: dict[str, int] = {}
    episodes = 0
    for number, dataset in enumerate(datasets):
        _check_features(dataset, camera, needs)
        for index in range(dataset.num_episodes):
            marks = [TASK_KEY] if TASK_KEY in dataset.info.features else []
            episode = dataset.episode(index, [*keys.values(), *marks])
            length = len(episode["task"])
            for name, key in keys.items():
                parts[name].append(episode[key])
            parts["last_frame"].append(np.full(length, len(instructions) + length - 1))
            parts["episode"].append(np.full(length, episodes))
            parts["dataset"].append(np.full(length, number))
            name = "/".join([dataset.root.resolve().name, *(f"task{episode[mark][0]}" for mark in marks)])
            parts["group"].append(np.full(length, groups.setdefault(name, len(groups))))
            instructions += episode["task"]
            episodes += 1
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def optional(name: str, *shape: int) -> NDArray[np.float64] | None:
        return joined[name].reshape(-1, *shape).astype(np.float64) if name in joined else None

    joints = joined["joint_positions"].astype(np.float64) if needs.joints else None
    return Columns(
        actions=joined["actions"],
        joint_positions=joints,
        intrinsics=optional("intrinsics", 3, 3),
        base_from_camera=optional("base_from_camera", 4, 4),
        base_from_tool=None if joints is None else np.stack([base_from_tool(positions) for positions in joints]),
        instructions=instructions,
        last_frame=joined["last_frame"],
        episode=joined["episode"],
        dataset=joined["dataset"],
        group=joined["group"],
        group_names=tuple(groups),
    )


def _check_features(dataset: LeRobotDataset, camera: str, needs: NeededInputs) -> None:
    for key, reader, instead in _wanted_features(camera, needs):
        if key not in dataset.keys:
            raise ValueError(f"{dataset.root}: expected {key}, {reader}; found {dataset.keys}. {instead}".rstrip())


def _wanted_features(camera: str, needs: NeededInputs) -> Iterator[tuple[str, str, str]]:
    """Key, what it is, and how to train without it."""
    yield f"observation.images.{camera}", "the view that --camera names", ""
    yield "action", "the labels", ""
    flat = "Do without by --no-ego3d, or by --initial with a policy"
    if needs.joints:
        yield (
            "observation.state",
            "the joints that the state token or the points about the tool are made from",
            "Do without by --initial with a policy that has neither, such as a released one",
        )
    if needs.depth:
        estimated = "that estimates its depth (policies.spatialvla.adopt --depth-source estimated)"
        yield f"observation.depth.{camera}", "the depth camera that Ego3D reads", f"{flat} {estimated}"
    if needs.intrinsics:
        unified = "of one calibration for all cameras (policies.spatialvla.adopt --intrinsics unified)"
        yield f"observation.camera.{camera}.intrinsics", "the calibration that Ego3D reads", f"{flat} {unified}"
    if needs.camera_pose:
        yield (
            f"observation.camera.{camera}.base_from_camera",
            "the camera's pose, which Ego3D's points about the tool are made from",
            f"{flat} whose points are in the camera's frame, such as a released one",
        )


def decode_images(
    datasets: Sequence[LeRobotDataset],
    columns: Columns,
    processor: SpatialVLAProcessor,
    camera: str,
    directory: Path,
    progress: bool = False,
) -> None:
    """Decode the videos of every episode at the size of the model's image into files for `open_images`.

    Args:
        datasets: those of `columns`.
        columns: see `read_columns`.
        processor: knows the size, and whether the model uses depth.
        camera: name of the view.
        directory: for the files; made if it is not there.
        progress: show a progress bar.

    Raises:
        ValueError: a dataset lacks a feature, or is damaged.
    """
    count, size = len(columns.instructions), processor.config.image_size
    needs = processor.needs
    directory.mkdir(parents=True, exist_ok=True)
    for name in _IMAGE_FILES.values():
        (directory / name).unlink(missing_ok=True)

    def new_file(name: str, dtype: type, *shape: int) -> NDArray:
        return np.lib.format.open_memmap(directory / _IMAGE_FILES[name], "w+", dtype, (count, *shape))

    rgb = new_file("rgb", np.uint8, size, size, 3)
    codes = new_file("depth_codes", np.uint16, size, size) if needs.depth else None
    intrinsics = None if columns.intrinsics is None else new_file("intrinsics", np.float32, 3, 3)
    color_key, depth_key = f"observation.images.{camera}", f"observation.depth.{camera}"
    bar = tqdm(total=count, desc="decoding videos", unit="frame", disable=not progress)

    def decode(root: Path, episodes: range, start: int) -> None:
        dataset = LeRobotDataset(root)
        for index in episodes:
            episode = dataset.episode(index, [color_key, depth_key] if needs.depth else [color_key])
            stop = start + len(episode[color_key])
            depth = episode[depth_key] if needs.depth else None
            own = None if columns.intrinsics is None else columns.intrinsics[start:stop]
            sized, depth, calibration = processor.images(episode[color_key], depth, own)
            rgb[start:stop] = sized.numpy()
            if intrinsics is not None:
                intrinsics[start:stop] = calibration.numpy()
            if codes is not None:
                codes[start:stop] = encode_depth(depth.numpy())
            bar.update(stop - start)
            start = stop
        dataset.close()

    with bar:
        decode_in_threads(datasets, decode)


def decode_in_threads(datasets: Sequence[LeRobotDataset], decode: Callable[[Path, range, int], None]) -> None:
    """Share the episodes of some datasets among threads.

    Args:
        datasets: one after the other.
        decode: called with a dataset's directory, numbers of its episodes, and the number of their first frame, counted
            over all datasets.
    """
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        jobs, start = [], 0
        for dataset in datasets:
            for part in np.array_split(np.arange(dataset.num_episodes), DECODING_THREADS):
                if len(part):
                    jobs.append(pool.submit(decode, dataset.root, range(part[0], part[-1] + 1), start))
                    start += sum(dataset.entries[index].length for index in part)
        for job in jobs:
            job.result()


def open_images(directory: Path) -> Images:
    """Map the files of `decode_images`. They may be deleted then: the mapping keeps what they hold."""
    paths = {name: directory / file for name, file in _IMAGE_FILES.items()}
    mapped = {name: np.load(path, mmap_mode="r") if path.exists() else None for name, path in paths.items()}
    return Images(**mapped)


@dataclass(frozen=True)
class TrainingData:
    """Batches of model inputs.

    Attributes:
        columns: see `Columns`.
        images: see `Images`.
        processor: turns frames into model inputs.
        dataset_keys: of each dataset, the name of the statistics that normalise it; None: those of the processor's
            settings, for all.
    """

    columns: Columns
    images: Images
    processor: SpatialVLAProcessor
    dataset_keys: tuple[str, ...] | None = None

    def keys_of(self, frames: NDArray[np.int64]) -> list[str] | None:
        """Names of the statistics that normalise some frames; None: those of the processor's settings."""
        if self.dataset_keys is None:
            return None
        return [self.dataset_keys[number] for number in self.columns.dataset[frames]]

    def chunks(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Labels (B, T, 7) of the frames and whether a row lies past the episode's end (B, T)."""
        wanted = frames[:, None] + np.arange(self.processor.settings.chunk)
        last = self.columns.last_frame[frames][:, None]
        return self.columns.actions[np.minimum(wanted, last)], wanted > last

    def batch(self, frames: NDArray[np.int64], with_actions: bool = True) -> dict[str, Tensor]:
        """Model inputs of some frames, with labels unless `with_actions` is False."""
        columns, images = self.columns, self.images
        actions, padding = self.chunks(frames) if with_actions else (None, None)

        def chosen(values: NDArray | None) -> NDArray | None:
            return None if values is None else values[frames]

        return self.processor.collate(
            torch.from_numpy(images.rgb[frames]),
            None if images.depth_codes is None else decode_depth(images.depth_codes[frames]),
            chosen(images.intrinsics),
            chosen(columns.base_from_camera),
            chosen(columns.joint_positions),
            [columns.instructions[frame] for frame in frames],
            actions=actions,
            padding=padding,
            base_from_tool=chosen(columns.base_from_tool),
            dataset_keys=self.keys_of(frames),
        )
