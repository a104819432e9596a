"""Let a new robot in on what others have learned: `python -m policies.onboard --dataset DIR [DIR ...] --output DIR`.

Each dataset is of a robot (LeRobot, as `python -m sim.collect` writes or `python -m policies.data.convert` makes of
recordings). Its joint positions and velocities are the signals of a subject of `neural_cross_subject`; the targets mean
the same for all robots: where the tool of the first arm is, in the base frame, and the tokens that an encoder
(`--encoder`) gives of a camera's pictures. Without `--model` an adapter for each robot and the decoder that they share
are trained. With `--model` the one dataset is of a new robot: `--samples` of its frames train an adapter, and nothing
else is changed.

A fifth of each dataset's episodes is held out. On them the command tells how far the tool is from where it is read, and
how often the right picture is found among all; for a new robot also what as many samples alone would have given, from
scratch and by ridge regression.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from policies.execution.kinematics import Kinematics
from policies.rdt.encoder_tower import EncoderTower
from policies.robots import get_robot
from representation.data.frames import camera_of, expect_empty, square
from representation.data.lerobot_dataset import LeRobotDataset
from representation.transfer.neural_cross_subject import (
    CrossSubjectConfig,
    CrossSubjectModel,
    FitOptions,
    SubjectData,
    SubjectLoader,
    fit_joint,
    fit_new_subject,
    load,
    retrieval_top1,
)

POSE = "tool"
POSE_NUMBERS = 9  # position, m, and the first two columns of the rotation
MODEL, RESULT_FILE = "model", "onboard.json"
HELD_OUT = 0.2
NARROW = 32  # numbers of a token
RIDGE = 1e-3


@dataclass(frozen=True)
class OnboardOptions:
    """What is trained.

    Attributes:
        dataset: LeRobot datasets, each of another robot; only one, of a new robot, with a model.
        output: directory to write; must not hold files.
        model: what an earlier run wrote; a fresh one is trained if left out.
        encoder: directory of an encoder of pictures, or of the run that trained it; the same whenever robots are added.
        camera: whose pictures; the first one of each dataset if left out.
        image_size: side that pictures are brought to, pixels.
        every: only each so-many-th frame is taken.
        samples: of the new robot, that are trained with; 0 for all.
        steps: rounds of training, in which each robot has a batch.
        batch_size: samples of a batch.
        lr: peak learning rate.
        hidden: width of the common space.
        seed: of everything that is drawn.
        threads: of torch.
    """

    dataset: tuple[Path, ...]
    output: Path
    encoder: Path
    model: Path | None = None
    camera: str = ""
    image_size: int = 96
    every: int = 2
    samples: int = 0
    steps: int = 1200
    batch_size: int = 64
    lr: float = 3e-3
    hidden: int = 128
    seed: int = 0
    threads: int = 2


class Recording(NamedTuple):
    """Samples of a robot.

    Attributes:
        robot: its name.
        data: signals, tokens and the tool's pose.
        episode: (n,) of each sample.
    """

    robot: str
    data: SubjectData
    episode: NDArray[np.int64]


def tool_pose(kinematics: Kinematics, positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Position (m) and first two columns of the rotation of the first arm's tool, (n, 9), at joints (n, joints)."""
    poses = np.stack([kinematics.forward(q) for q in positions])
    return np.concatenate([poses[:, :3, 3], poses[:, :3, 0], poses[:, :3, 1]], axis=1).astype(np.float32)


@torch.inference_mode()
def scene_tokens(tower: EncoderTower, pictures: NDArray[np.uint8], batch_size: int = 64) -> Tensor:
    """Tokens (n, N, D) of pictures (n, S, S, 3): the mean of an encoder's as the class token, and these.

    An encoder of one vector makes one token, as do tokens that are so narrow that they tell little by themselves.
    """
    parts = []
    for start in range(0, len(pictures), batch_size):
        pixels = torch.from_numpy(pictures[start : start + batch_size]).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts.append(tower(pixels))
    tokens = torch.cat(parts).clone()
    if tokens.shape[1] == 1 or tokens.shape[2] < NARROW:
        return tokens.flatten(1)[:, None]
    return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


def read_robot(path: Path, tower: EncoderTower, options: OnboardOptions) -> Recording:
    """Read a dataset of one robot.

    Raises:
        ValueError: damaged, of a robot that is not known, or without what is needed.
    """
    dataset = LeRobotDataset(path)
    if dataset.info.robot_type is None:
        raise ValueError(f"{path}: expected the name of its robot, found none")
    robot = get_robot(dataset.info.robot_type)
    key = f"observation.images.{camera_of(dataset, options.camera)}"
    columns = ("observation.state", "observation.velocity")
    missing = [name for name in columns if name not in dataset.info.features]
    if missing:
        raise ValueError(f"{path}: expected {missing}, found {sorted(dataset.info.features)}")
    signals, pictures, episodes = [], [], []
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index, [*columns, key])
        rows = slice(0, None, options.every)
        signals.append(np.concatenate([episode[name][rows] for name in columns], axis=1))
        pictures += [square(picture, options.image_size) for picture in episode[key][rows]]
        episodes.append(np.full(len(signals[-1]), index))
    joined = np.concatenate(signals).astype(np.float32)
    count = len(robot.joint_names)
    if joined.shape[1] != 2 * count:
        raise ValueError(f"{path}: expected {count} joints of {robot.name}, found {joined.shape[1]} numbers of a frame")
    values = {POSE: torch.from_numpy(tool_pose(Kinematics(robot), joined[:, :count].astype(np.float64)))}
    data = SubjectData(torch.from_numpy(joined), scene_tokens(tower, np.stack(pictures)), None, values)
    return Recording(robot.name, data, np.concatenate(episodes))


def split(recording: Recording, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train with, in random order, and rows of the held-out episodes.

    Raises:
        ValueError: fewer than two episodes.
    """
    rng, episodes = np.random.default_rng(seed), np.unique(recording.episode)
    if len(episodes) < 2:
        raise ValueError(f"{recording.robot}: expected at least 2 episodes, found {len(episodes)}")
    apart = rng.permutation(episodes)[: max(1, round(HELD_OUT * len(episodes)))]
    held = np.isin(recording.episode, apart)
    return torch.from_numpy(rng.permutation(np.flatnonzero(~held))), torch.from_numpy(np.flatnonzero(held))


class Score(NamedTuple):
    """How a robot's signals are understood.

    Attributes:
        tool_m: mean distance between the tool and where it is read, m.
        tilt_deg: median angle between the tool's axes and those that are read, degrees.
        retrieval: share of samples whose own picture fits best among all of them.
    """

    tool_m: float
    tilt_deg: float
    retrieval: float


@torch.no_grad()
def score(model: CrossSubjectModel, robot: str, data: SubjectData) -> Score:
    """Measure a model on samples of a robot."""
    backbone, projected = model(data.signals, robot)
    poses, targets = model.readouts[POSE](backbone), model.targets(data.tokens)
    return Score(*pose_errors(poses, data.values[POSE]), retrieval_top1(projected, targets))


def pose_errors(told: Tensor, true: Tensor) -> tuple[float, float]:
    """Mean distance of positions, m, and median angle of x axes, degrees, of poses (n, 9)."""
    axes = torch.nn.functional.cosine_similarity(told[:, 3:6], true[:, 3:6], dim=1).clamp(-1, 1)
    return float((told[:, :3] - true[:, :3]).norm(dim=1).mean()), float(axes.arccos().rad2deg().median())


def ridge_errors(train: SubjectData, test: SubjectData) -> tuple[float, float]:
    """`pose_errors` of a ridge regression of the same samples."""
    model = make_pipeline(StandardScaler(), Ridge(RIDGE * len(train))).fit(train.signals, train.values[POSE])
    return pose_errors(torch.from_numpy(model.predict(test.signals)).float(), test.values[POSE])


def fresh_model(data: SubjectData, dims: dict[str, int], hidden: int, seed: int) -> CrossSubjectModel:
    """An untrained model for targets like those of `data`, of a size for robots."""
    n_tokens, out_dim = data.tokens.shape[1:]
    config = CrossSubjectConfig(
        hidden=hidden,
        n_tokens=n_tokens,
        token_dim=32,
        out_dim=out_dim,
        heads=next(heads for heads in (8, 4, 2, 1) if out_dim % heads == 0),
        projector_dim=2 * hidden,
        first_dropout=0.0,
        dropout=0.0,
        readouts={POSE: POSE_NUMBERS},
        centred=True,
    )
    return CrossSubjectModel(dims, config, seed)


def fit_options(loaders: dict[str, SubjectLoader], steps: int, lr: float, seed: int) -> FitOptions:
    """So many rounds of training; temperatures are those for few tokens, and losses are not weighted at random."""
    epochs = max(1, round(steps / max(map(len, loaders.values()))))
    return FitOptions(
        epochs=epochs,
        lr=lr,
        warmup_epochs=max(1, epochs // 20),
        mix_temperature=0.05,
        temperatures=(0.05, 0.05),
        settle_epochs=0,
        random_weights=False,
        contrast_weight=0.1,
        mix_share=0.2,
        seed=seed,
    )


def train(recordings: Sequence[Recording], options: OnboardOptions) -> tuple[CrossSubjectModel, dict[str, Score]]:
    """Train adapters and decoder on several robots.

    Raises:
        ValueError: one robot twice.
    """
    names = [recording.robot for recording in recordings]
    if len(set(names)) != len(names):
        raise ValueError(f"dataset: expected each of another robot, found {names}")
    parts = {recording.robot: (recording.data, *split(recording, options.seed)) for recording in recordings}
    dims = {name: data.signals.shape[1] for name, (data, *_) in parts.items()}
    model = fresh_model(recordings[0].data, dims, options.hidden, options.seed)
    loaders = {
        name: SubjectLoader(data.subset(rows), options.batch_size, options.seed)
        for name, (data, rows, _) in parts.items()
    }
    fit_joint(model, loaders, fit_options(loaders, options.steps, options.lr, options.seed), progress=True)
    return model, {name: score(model, name, data.subset(held)) for name, (data, _, held) in parts.items()}


def add(model: CrossSubjectModel, recording: Recording, options: OnboardOptions) -> dict[str, Score]:
    """Give a model an adapter for a new robot; how well it and the alternatives do."""
    rows, held = split(recording, options.seed)
    if options.samples > len(rows):
        raise ValueError(f"samples: expected at most {len(rows)} of {recording.robot}, found {options.samples}")
    known = recording.data.subset(rows[: options.samples or None])
    test, name = recording.data.subset(held), recording.robot
    loader = SubjectLoader(known, options.batch_size, options.seed)
    settings = fit_options({name: loader}, max(1, options.steps // 3), options.lr, options.seed)
    fit_new_subject(model, loader, name, options=settings, progress=True)
    alone = CrossSubjectModel({name: model.dims[name]}, model.config, options.seed + 1)
    fit_joint(alone, {name: loader}, settings)
    return {
        "adapter only": score(model, name, test),
        "from scratch": score(alone, name, test),
        "ridge regression": Score(*ridge_errors(known, test), float("nan")),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Train or add, and tell how well it works."""
    options = tyro.cli(OnboardOptions, args=args, description=__doc__)
    torch.set_num_threads(options.threads)
    expect_empty(options.output)
    tower = EncoderTower.from_directory(options.encoder, options.image_size)
    recordings = [read_robot(path, tower, options) for path in options.dataset]
    if options.model is None:
        model, scores = train(recordings, options)
    else:
        if len(recordings) != 1:
            raise ValueError(f"dataset: expected one, of a new robot, with --model, found {len(recordings)}")
        model = load(options.model / MODEL)
        scores = add(model, recordings[0], options)
    model.save(options.output / MODEL)
    told = {name: found._asdict() for name, found in scores.items()}
    (options.output / RESULT_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for name, found in scores.items():
        print(
            f"{name}: tool {1e3 * found.tool_m:.1f} mm and {found.tilt_deg:.1f} degrees off on held-out episodes, "
            f"right picture found in {found.retrieval:.3f}"
        )


if __name__ == "__main__":
    main()
