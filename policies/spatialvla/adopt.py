r"""Tell a released checkpoint which robot it is to drive: `python -m policies.spatialvla.adopt`.

A released directory says nothing of robot, camera and rate, and holds the statistics of many datasets. This command
writes a directory that does, which nodes and evaluations then load by its name:

    python -m policies.spatialvla.adopt --policy IPEC-COMMUNITY/spatialvla-4b-224-sft-bridge --output DIR \
        --robot panda --camera front --control-hz 5 --dataset-key bridge_orig/1.0.0

With `--depth-source sensor` the depth network stays behind; `--align-depth-on` then measures, on the frames of a
dataset, by how much that network's metres differ from the camera's, because the weights know only the former.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from policies.json_file import read_json
from policies.loading import find_policy
from policies.parameters import Dtype
from policies.spatialvla.needed_inputs import Calibration
from policies.spatialvla.policy import DepthSource, SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings
from policies.spatialvla.processor_file import PROCESSOR_FILE
from policies.spatialvla.zoe_depth import depth_scale, estimate_depth
from representation.data.lerobot_dataset import LeRobotDataset


@dataclass(frozen=True)
class AdoptConfig:
    """Arguments.

    Attributes:
        policy: directory or hub id of a checkpoint in the released layout.
        output: directory to write.
        robot: name of the robot that it is to drive.
        camera: name of the view that it reads.
        control_hz: rate of the rows of its chunks.
        dataset_key: which of its statistics un-normalise.
        depth_source: its depth network, or a depth camera; as it comes if left out.
        intrinsics: the calibration that the weights know, or the camera's own.
        align_depth_on: dataset with colour and depth of the camera, to align its depth with the network's.
        align_frames: frames to align with.
        dtype: number format of the weights.
    """

    policy: str
    output: Path
    robot: str
    camera: str
    control_hz: float
    dataset_key: str
    depth_source: DepthSource | None = None
    intrinsics: Calibration = "unified"
    align_depth_on: Path | None = None
    align_frames: int = 16
    dtype: Dtype = "stored"


def adopt(config: AdoptConfig) -> SpatialVLAPolicy:
    """Load a released checkpoint for a robot.

    Raises:
        FileNotFoundError: no such checkpoint, or a file of it is missing.
        ValueError: a file is damaged, an argument does not fit it, or a frame has no depth.
    """
    content = read_json(find_policy(config.policy) / PROCESSOR_FILE)
    settings = ProcessorSettings(
        robot=config.robot,
        camera=config.camera,
        control_hz=config.control_hz,
        chunk=int(content.get("action_chunk_size", 4)),
        image_fit="squash",
        decode="midpoint",
        dataset_key=config.dataset_key,
        intrinsics=config.intrinsics,
    )
    if config.align_depth_on is not None:
        if config.depth_source != "sensor":
            raise ValueError(f"align_depth_on: expected depth_source 'sensor', found {config.depth_source!r}")
        settings = replace(settings, depth_scale=measure_depth_scale(config, settings))
    return SpatialVLAPolicy.from_pretrained(
        config.policy, dtype=config.dtype, settings=settings, depth_source=config.depth_source
    )


def measure_depth_scale(config: AdoptConfig, settings: ProcessorSettings) -> float:
    """Median over some frames of the network's metres over the camera's."""
    whole = SpatialVLAPolicy.from_pretrained(config.policy, settings=settings, depth_source="estimated")
    dataset = LeRobotDataset(config.align_depth_on)
    color, depth = f"observation.images.{config.camera}", f"observation.depth.{config.camera}"
    scales = []
    for index in np.linspace(0, dataset.num_episodes - 1, config.align_frames).astype(int):
        episode = dataset.episode(int(index), [color, depth])
        frame = len(episode[color]) // 2
        intrinsics = np.eye(3)[None]  # no matter: points are not asked for
        rgb, measured, _ = whole.processor.images(episode[color][frame][None], episode[depth][frame][None], intrinsics)
        pixels = rgb.permute(0, 3, 1, 2).float() / 255.0
        scales.append(depth_scale(estimate_depth(whole.model.vision_zoe_model, pixels), torch.as_tensor(measured)))
    return float(np.median(scales))


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = tyro.cli(AdoptConfig, args=args, prog="python -m policies.spatialvla.adopt")
    try:
        if config.output.exists() and any(config.output.iterdir()):
            raise ValueError(f"{config.output}: expected a new or empty directory, found files in it")
        policy = adopt(config)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    policy.save_pretrained(config.output)
    print(f"wrote {config.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
