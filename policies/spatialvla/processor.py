"""`SpatialVLAProcessor`: observations or dataset frames -> model inputs, and token ids -> physical actions.

One implementation serves training and inference. Training, from a batch of dataset frames:

    processor = fit_processor(actions, instructions, SpatialVLAConfig.small(), settings)    # once; fitting.py
    model = build_model(processor.config, seed=0)
    inputs = processor.collate(rgb, depth, intrinsics, base_from_camera, joint_positions, instructions,
                               actions=chunks, padding=is_past_the_end)
    loss = model(**inputs).loss

`images` does the costly part (crop, resize) and may be run once over a dataset: frames that already have the model's
size pass through `collate` unchanged. `base_from_tool` may be computed once as well and handed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer
from torch import Tensor

from policies.interface import Observation
from policies.robots.spec import RobotSpec
from policies.spatialvla.action_grid import ActionGrid, DecodeMode
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION, SpatialActionTokenizer
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.image_geometry import ImageFit, fit_box, resize_depth, resize_intrinsics, resize_rgb
from policies.spatialvla.needed_inputs import Calibration, NeededInputs, needed_inputs
from policies.spatialvla.normalizer import ActionNormalizer
from policies.spatialvla.state_encoder import tool_state

BaseFromTool = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ProcessorSettings:
    """What a processor must know beside the network's configuration.

    Attributes:
        robot: name of the `RobotSpec`.
        camera: name of the view that the policy reads.
        control_hz: rate of the rows of a chunk.
        chunk: number of actions in a chunk.
        image_fit: "crop" the centre square, or "squash" the whole image into the square as the released model does.
        decode: "centroid" or "midpoint" (released) of the bins.
        constrained: choose each token among those of its slot. False (released): among the whole vocabulary; what is
            not of the slot is then clipped into it.
        dataset_key: name of the statistics in `processor_config.json` that un-normalise; of those that the policy was
            trained with, the one of the data that its robot moves like.
        intrinsics: "true", those of the camera, or "unified": one calibration for every camera, that of
            `intrinsic_config`, as the released weights were trained with.
        depth_scale: factor on a depth camera's metres, see `adopt`; 1 for a model trained with such a camera.
        dead_band_m: shorter decoded translations become none: no bin holds still exactly. 0 leaves them.
        dead_band_rad: the same for rotations, by the largest of the three angles.
    """

    robot: str = "panda"
    camera: str = "front"
    control_hz: float = 10.0
    chunk: int = 4
    image_fit: ImageFit = "crop"
    decode: DecodeMode = "centroid"
    constrained: bool = True
    dataset_key: str = "default"
    intrinsics: Calibration = "true"
    depth_scale: float = 1.0
    dead_band_m: float = 0.0
    dead_band_rad: float = 0.0

    def __post_init__(self) -> None:
        if self.intrinsics not in ("true", "unified"):
            raise ValueError(f"intrinsics: expected 'true' or 'unified', found {self.intrinsics!r}")
        if not 0 < self.depth_scale < math.inf:
            raise ValueError(f"depth_scale: expected a finite number > 0, found {self.depth_scale}")
        for name in ("dead_band_m", "dead_band_rad"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a finite number >= 0, found {getattr(self, name)}")


@dataclass(frozen=True)
class SpatialVLAProcessor:
    """Turns frames into model inputs and decoded ids into actions.

    Attributes:
        config: the network's configuration, with the token ids of `tokenizer`.
        settings: see `ProcessorSettings`.
        tokenizer: text tokenizer that holds the action tokens too.
        grid: action bins.
        statistics: {dataset key: {"action": {...}}} as in `processor_config.json`.
        robot: joints of the robot; needed for the gripper opening.
        base_from_tool: forward kinematics, joint positions (n,) -> pose (4, 4) of the tool in the base frame.
        intrinsic_config: {dataset key: {"intrinsic", "height", "width"}}, a record of the training cameras; that of
            `settings.dataset_key`, or else of "default", is the unified calibration.
        carried: by file of the directory that it was read from, what only other libraries read.
        actions: actions <-> token ids, built from `grid`.
        normalizer: built from the statistics of `settings.dataset_key`.
    """

    config: SpatialVLAConfig
    settings: ProcessorSettings
    tokenizer: Tokenizer
    grid: ActionGrid
    statistics: dict[str, Any]
    robot: RobotSpec
    base_from_tool: BaseFromTool
    intrinsic_config: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    actions: SpatialActionTokenizer = field(init=False, repr=False)
    normalizer: ActionNormalizer = field(init=False, repr=False)
    _encode_text: Callable[[str], tuple[int, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.settings.robot != self.robot.name:
            raise ValueError(f"robot: expected {self.settings.robot!r}, found {self.robot.name!r}")
        if self.settings.dataset_key not in self.statistics:
            raise ValueError(
                f"dataset_key: expected one of {list(self.statistics)}, found {self.settings.dataset_key!r}"
            )
        if self.settings.intrinsics == "unified":
            self._unified_intrinsics()
        actions = SpatialActionTokenizer(self.grid, self.config.action_token_begin_idx)
        if actions.vocabulary_size != self.config.spatial_token_num:
            raise ValueError(f"grid: expected {self.config.spatial_token_num} tokens, found {actions.vocabulary_size}")
        object.__setattr__(self, "actions", actions)
        object.__setattr__(self, "normalizer", self.normalizer_of(self.settings.dataset_key))
        object.__setattr__(self, "_encode_text", lru_cache(maxsize=4096)(self._tokenize))

    def normalizer_of(self, key: str) -> ActionNormalizer:
        """That of an entry of the statistics."""
        return ActionNormalizer.from_statistics(self.statistics[key]["action"])

    def _tokenize(self, instruction: str) -> tuple[int, ...]:
        text = self.tokenizer.encode(instruction.strip().lower() + "\n", add_special_tokens=False).ids
        return (self.config.bos_token_id, *text)

    @property
    def needs(self) -> NeededInputs:
        """What it reads of a frame beside picture and instruction."""
        return needed_inputs(self.config, self.settings.intrinsics)

    def _unified_intrinsics(self) -> Tensor:
        """Calibration (3, 3) of the model image that stands for every camera."""
        key = self.settings.dataset_key
        record = self.intrinsic_config.get(key, self.intrinsic_config.get("default"))
        if record is None:
            raise ValueError(f"intrinsic_config: expected {key!r} or 'default', found {list(self.intrinsic_config)}")
        box = (0, 0, int(record["height"]), int(record["width"]))
        matrix = torch.as_tensor(record["intrinsic"], dtype=torch.float64)
        return resize_intrinsics(matrix[None], box, self.config.image_size)[0]

    def images(
        self, rgb: ArrayLike | Tensor, depth: ArrayLike | Tensor | None, intrinsics: ArrayLike | Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Crop and resize frames to the model's size.

        Args:
            rgb: (B, H, W, 3) uint8.
            depth: (B, H, W) metres, not finite or <= 0 where unknown; None where the model uses none.
            intrinsics: (B, 3, 3) pixels; None where `needs` has none.

        Returns:
            (B, S, S, 3) uint8; (B, S, S) float32 or None; (B, 3, 3) float32, or None without Ego3D.

        Raises:
            ValueError: an argument of the wrong shape, or without intrinsics when the model needs them.
        """
        rgb = torch.as_tensor(rgb)
        if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[-1] != 3:
            raise ValueError(f"rgb: expected uint8 of shape (B, H, W, 3), found {rgb.dtype} {tuple(rgb.shape)}")
        size, box = self.config.image_size, fit_box(rgb.shape[1], rgb.shape[2], self.settings.image_fit)
        calibration = None
        if self.config.use_ego3d and not self.needs.intrinsics:
            calibration = self._unified_intrinsics().float().expand(len(rgb), 3, 3)
        elif self.needs.intrinsics:
            if intrinsics is None:
                raise ValueError("intrinsics: expected (B, 3, 3) for a model with use_ego3d, found none")
            calibration = resize_intrinsics(torch.as_tensor(intrinsics, dtype=torch.float64), box, size).float()
        if depth is not None:
            depth = torch.as_tensor(depth)
            if depth.shape != rgb.shape[:3]:
                raise ValueError(f"depth: expected shape {tuple(rgb.shape[:3])}, found {tuple(depth.shape)}")
            depth = resize_depth(depth, box, size)
        return resize_rgb(rgb, box, size).permute(0, 2, 3, 1), depth, calibration

    def tool_poses(self, joint_positions: ArrayLike) -> NDArray[np.float64]:
        """Poses (B, 4, 4) of the tool in the base frame for joint positions (B, n)."""
        return np.stack([self.base_from_tool(q) for q in np.asarray(joint_positions, dtype=np.float64)])

    def collate(
        self,
        rgb: ArrayLike | Tensor,
        depth: ArrayLike | Tensor | None,
        intrinsics: ArrayLike | Tensor | None,
        base_from_camera: ArrayLike | None,
        joint_positions: ArrayLike | None,
        instructions: Sequence[str],
        actions: ArrayLike | None = None,
        padding: ArrayLike | None = None,
        base_from_tool: ArrayLike | None = None,
        dataset_keys: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """Build keyword arguments of `SpatialVLAModel.forward` from a batch of frames.

        What `needs` does not name may be None.

        Args:
            rgb: (B, H, W, 3) uint8.
            depth: (B, H, W) metres, not finite or <= 0 where unknown; unused by a model without Ego3D and by one with
                a depth network, which was trained on its estimates.
            intrinsics: (B, 3, 3) pixels.
            base_from_camera: (B, 4, 4) pose of the optical frame in the base frame.
            joint_positions: (B, n) in `RobotSpec.joint_names` order.
            instructions: B texts.
            actions: (B, T, 7) physical targets, `cartesian_delta`; adds the suffix and labels.
            padding: (B, T) bool, True for rows past the episode's end: no motion, the gripper as before.
            base_from_tool: (B, 4, 4), where known already; else computed from `joint_positions`.
            dataset_keys: B names of the statistics that normalise `actions`; None: those of the settings.

        Raises:
            ValueError: an argument of the wrong shape, or none where the model needs one.
        """
        inputs = self.text(instructions, None if actions is None else self._targets(actions, padding, dataset_keys))
        if not self.needs.depth:
            depth = None
        elif depth is None:
            raise ValueError("depth: expected (B, H, W) for a model with use_ego3d, found none")
        pixels, depth, calibration = self.images(rgb, depth, intrinsics)
        inputs["pixel_values"] = pixels.permute(0, 3, 1, 2).float() / 255.0
        if self.needs.joints:
            if joint_positions is None:
                raise ValueError("joint_positions: expected (B, n) for a model that reads the tool's pose, found none")
            joints = np.asarray(joint_positions, dtype=np.float64)
            poses = self.tool_poses(joints) if base_from_tool is None else np.asarray(base_from_tool, dtype=np.float64)
        if depth is not None:
            inputs["depth"] = depth * self.settings.depth_scale
        if calibration is not None:
            inputs["intrinsics"] = calibration
        if self.needs.camera_pose:
            if base_from_camera is None:
                raise ValueError("base_from_camera: expected (B, 4, 4) for points about the tool, found none")
            tool_from_camera = np.array(base_from_camera, dtype=np.float64)
            tool_from_camera[:, :3, 3] -= poses[:, :3, 3]
            inputs["frame_from_camera"] = torch.from_numpy(tool_from_camera.astype(np.float32))
        if self.config.state_dim:
            opening = self.robot.gripper_openings(joints)[:, 0]
            inputs["state"] = torch.from_numpy(tool_state(poses, opening))
        return inputs

    def observe(self, observations: Sequence[Observation]) -> dict[str, Tensor]:
        """Model inputs of a batch of observations.

        Raises:
            ValueError: an observation without the policy's camera, or with another number of joints.
        """
        needs = self.needs
        views = []
        for observation in observations:
            if self.settings.camera not in observation.cameras:
                raise ValueError(f"cameras: expected {self.settings.camera!r}, found {sorted(observation.cameras)}")
            if len(observation.joint_positions) != len(self.robot.joint_names):
                raise ValueError(
                    f"joint_positions: expected {len(self.robot.joint_names)} of {self.robot.name}, "
                    f"found {len(observation.joint_positions)}"
                )
            views.append(observation.cameras[self.settings.camera])
        sized = [
            self.images(view.rgb[None], view.depth[None] if needs.depth else None, np.asarray(view.intrinsics)[None])
            for view in views
        ]
        rgb, depth, intrinsics = zip(*sized, strict=True)
        return self.collate(
            torch.cat(rgb),
            torch.cat(depth) if needs.depth else None,
            torch.cat(intrinsics) if needs.intrinsics else None,
            np.stack([view.base_from_camera for view in views]),
            np.stack([observation.joint_positions for observation in observations]),
            [observation.instruction for observation in observations],
        )

    def text(self, instructions: Sequence[str], targets: NDArray[np.int64] | None = None) -> dict[str, Tensor]:
        """Token inputs of prompts, and of action ids `targets` (B, T * 3) when training."""
        head = [self.config.image_token_index] * self.config.image_tokens
        if self.config.state_dim:
            head.append(self.config.state_token_index)
        texts = [self._encode_text(instruction) for instruction in instructions]
        longest = max(len(text) for text in texts)
        pad = self.config.pad_token_id
        # Padding sits between image and text, so that every prompt ends right before its first action token.
        ids = np.array([head + [pad] * (longest - len(text)) + list(text) for text in texts], dtype=np.int64)
        mask = np.ones(ids.shape, dtype=bool)
        for row, text in enumerate(texts):
            mask[row, len(head) : len(head) + longest - len(text)] = False
        if targets is None:
            return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if len(targets) != len(ids):
            raise ValueError(f"actions: expected {len(ids)} chunks, one per instruction, found {len(targets)}")
        suffix = np.pad(targets, ((0, 0), (0, 1)), constant_values=self.config.eos_token_id)
        ids = np.concatenate([ids, suffix], axis=1)
        mask = np.concatenate([mask, np.ones(suffix.shape, dtype=bool)], axis=1)
        arrays = {"input_ids": ids, "attention_mask": mask, "labels": suffix}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _targets(
        self, actions: ArrayLike, padding: ArrayLike | None, dataset_keys: Sequence[str] | None
    ) -> NDArray[np.int64]:
        actions = np.asarray(actions, dtype=np.float64)
        if actions.ndim != 3 or actions.shape[1:] != (self.settings.chunk, 7):
            raise ValueError(f"actions: expected shape (B, {self.settings.chunk}, 7), found {actions.shape}")
        if padding is not None:
            actions = hold_after_end(actions, np.asarray(padding, dtype=bool))
        normalized = np.empty_like(actions)
        for normalizer, rows in self._normalizers(dataset_keys, len(actions)):
            normalized[rows] = normalizer.normalize(actions[rows])
        return self.actions.encode(normalized).reshape(len(actions), -1)

    def _normalizers(
        self, dataset_keys: Sequence[str] | None, count: int
    ) -> Iterator[tuple[ActionNormalizer, NDArray[np.bool_]]]:
        """Normalisers of a batch, each with the rows (B,) that are its own."""
        if dataset_keys is None:
            yield self.normalizer, np.ones(count, dtype=bool)
            return
        keys = np.asarray(dataset_keys)
        for key in dict.fromkeys(dataset_keys):
            yield self.normalizer_of(key), keys == key

    def decode(self, ids: ArrayLike, dataset_keys: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Physical actions (B, T, 7) of token ids (B, T * 3).

        Args:
            ids: the tokens.
            dataset_keys: B names of the statistics that un-normalise; None: those of the settings.
        """
        ids = np.asarray(ids).reshape(len(ids), -1, TOKENS_PER_ACTION)
        rows = self.actions.decode(ids, self.settings.decode)
        for normalizer, own in self._normalizers(dataset_keys, len(rows)):
            rows[own] = normalizer.unnormalize(rows[own])
        rows[..., :3][np.linalg.norm(rows[..., :3], axis=-1) < self.settings.dead_band_m] = 0.0
        rows[..., 3:6][np.abs(rows[..., 3:6]).max(axis=-1) < self.settings.dead_band_rad] = 0.0
        return rows


def hold_after_end(actions: NDArray[np.float64], padding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Replace the rows of chunks (B, T, 7) where `padding` (B, T) by physical zero motion and the last real gripper.

    The reference pads with normalised zeros, which un-normalise to a motion; physical zeros do not.
    """
    if padding.shape != actions.shape[:2] or padding[:, 0].any():
        raise ValueError(f"padding: expected shape {actions.shape[:2]} with real first rows, found {padding.shape}")
    held = actions.copy()
    held[..., :6][padding] = 0.0
    for step in range(1, actions.shape[1]):
        held[:, step, 6] = np.where(padding[:, step], held[:, step - 1, 6], held[:, step, 6])
    return held
