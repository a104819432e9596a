"""What the tests of SpatialVLA share: reference numbers, a fake arm, a tiny policy and random frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.interface import CameraView, Observation
from policies.robots import get_robot
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.fitting import fit_processor
from policies.spatialvla.model import build_model
from policies.spatialvla.policy import SpatialVLAPolicy
from policies.spatialvla.processor import ProcessorSettings

TINY_BINS = {"theta": 4, "phi": 5, "r": 3, "roll": 3, "pitch": 2, "yaw": 3}
INSTRUCTIONS = ("pick up the red cube", "push the blue ball to the green zone", "reach the cube")


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Directory of numbers made with the reference implementation."""
    default = Path(__file__).parents[4] / "shared" / "goldens"
    directory = Path(os.environ.get("POLYARM_GOLDENS", default)) / "spatialvla"
    if not directory.is_dir():
        pytest.skip("reference numbers not found: set POLYARM_GOLDENS to their directory")
    return directory


def fake_base_from_tool(q):
    """A smooth pose of the joints, instead of forward kinematics."""
    pose = np.eye(4)
    angle = q[0]
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:3, 3] = 0.4 + 0.1 * q[1:4]
    return pose


def demonstration_actions(rng, count=2000):
    motion = rng.normal(0.002, 0.01, (count, 6))
    return np.concatenate([motion, rng.integers(0, 2, (count, 1))], axis=1)


def make_processor(config=None, seed=0):
    rng = np.random.default_rng(seed)
    return fit_processor(
        demonstration_actions(rng),
        INSTRUCTIONS,
        config or SpatialVLAConfig.tiny(),
        ProcessorSettings(),
        get_robot("panda"),
        fake_base_from_tool,
        num_bins=TINY_BINS,
    )


def make_policy(config=None, seed=0, sharpen=1.0):
    """A tiny policy; `sharpen` scales the output table, so that choices differ clearly."""
    processor = make_processor(config, seed)
    model = build_model(processor.config, seed)
    model.language_model.lm_head.weight.data *= sharpen
    return SpatialVLAPolicy(model, processor)


TINY_ZOE = {
    "backbone_config": {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "image_size": 384,
        "patch_size": 16,
        "use_relative_position_bias": True,
        "reshape_hidden_states": False,
        "out_indices": [1, 2, 3, 4],
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "neck_hidden_sizes": [4, 4, 8, 8],
    "fusion_hidden_size": 8,
    "bottleneck_features": 8,
    "bin_embedding_dim": 8,
    "num_relative_features": 4,
    "bin_configurations": [
        {"name": "nyu", "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0},
        {"name": "kitti", "n_bins": 16, "min_depth": 0.001, "max_depth": 80.0},
    ],
    "num_patch_transformer_layers": 4,
    "patch_transformer_hidden_size": 128,
    "patch_transformer_intermediate_size": 16,
    "patch_transformer_num_attention_heads": 4,
}
K = [[20.0, 0.0, 8.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]]


def make_released_kind(dtype=torch.bfloat16):
    """A tiny policy of the released kind: it estimates its depth, and has one calibration for all cameras."""
    config = SpatialVLAConfig(
        text_config=SpatialVLAConfig.tiny().text_config,
        vision_config=SpatialVLAConfig.tiny().vision_config,
        vision_zoe_config=TINY_ZOE,
        image_token_index=5,
        action_token_begin_idx=6,
        spatial_token_num=0,
        use_vision_zoe=True,
    )
    processor = fit_processor(
        demonstration_actions(np.random.default_rng(0)),
        INSTRUCTIONS,
        config,
        ProcessorSettings(image_fit="squash", decode="midpoint", intrinsics="unified"),
        get_robot("panda"),
        lambda _: np.eye(4),
        num_bins=TINY_BINS,
        intrinsic_config={"default": {"intrinsic": K, "height": 16, "width": 16}},
    )
    model = build_model(processor.config, 0).to(dtype)
    model.vision_zoe_model.float()
    return SpatialVLAPolicy(model, processor)


def make_frames(rng, batch, size=16):
    pose = np.tile(np.eye(4), (batch, 1, 1))
    pose[:, :3, 3] = rng.uniform(-0.5, 0.5, (batch, 3))
    spec = get_robot("panda")
    return {
        "rgb": rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8),
        "depth": rng.uniform(0.3, 1.5, (batch, size, size)).astype(np.float32),
        "intrinsics": np.tile([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1.0]], (batch, 1, 1)),
        "base_from_camera": pose,
        "joint_positions": spec.home + rng.uniform(-0.005, 0.005, (batch, len(spec.joint_names))),
        "instructions": [INSTRUCTIONS[i % len(INSTRUCTIONS)] for i in range(batch)],
    }


def make_observations(rng, batch, size=16, cameras=("front",)):
    frames = make_frames(rng, batch, size)
    views = [
        CameraView(frames["rgb"][i], frames["depth"][i], frames["intrinsics"][i], frames["base_from_camera"][i])
        for i in range(batch)
    ]
    return [
        Observation(
            0.1 * i,
            dict.fromkeys(cameras, view),
            frames["joint_positions"][i],
            np.zeros_like(frames["joint_positions"][i]),
            frames["instructions"][i],
        )
        for i, view in enumerate(views)
    ]
