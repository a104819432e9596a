"""`SpatialVLAPolicy`: the model and its processor behind the `Policy` contract, and as a directory on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from policies.interface import ActionChunk, Observation
from policies.json_file import write_json
from policies.loading import find_policy
from policies.parameters import Dtype
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION
from policies.spatialvla.checkpoint import (
    DEPTH_NETWORK,
    MAX_SHARD_BYTES,
    empty_model,
    load_weights,
    save_weights,
)
from policies.spatialvla.config import CONFIG_FILE, SpatialVLAConfig
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.model import SpatialVLAModel
from policies.spatialvla.processor import ProcessorSettings, SpatialVLAProcessor
from policies.spatialvla.processor_file import load_processor, save_processor
from policies.spatialvla.token_steps import CompiledSteps

DepthSource = Literal["estimated", "sensor"]
"""ZoeDepth's estimate from the image, as released, or a depth camera."""


class SpatialVLAPolicy:
    """Answers each observation with a `cartesian_delta` chunk and the probabilities of its tokens.

    The policy keeps no memory between observations and draws nothing at random.

    Args:
        model: the network; put into evaluation mode.
        processor: what fits it.
        device: where the network runs.
        compile: compile the steps of single tokens, see `CompiledSteps`.

    Attributes:
        robot: name of the robot that it was trained for.
        cameras: the one view that it reads.
        control_hz: rate of the rows.
        chunk_length: rows of a chunk.
    """

    def __init__(
        self, model: SpatialVLAModel, processor: SpatialVLAProcessor, device: str = "cpu", compile: bool = False
    ) -> None:
        settings = processor.settings
        self.robot: str = settings.robot
        self.cameras: tuple[str, ...] = (settings.camera,)
        self.control_hz: float = settings.control_hz
        self.chunk_length: int = settings.chunk
        self.processor = processor
        self.model = model.to(device).eval()
        self.device = torch.device(device)
        self._compiled = CompiledSteps(self.model) if compile else None

    @property
    def max_step(self) -> NDArray[np.float64]:
        """Largest translations (m) and rotations (rad), (6,), of a row that the statistics allow."""
        normalizer = self.processor.normalizer
        return np.maximum(np.abs(normalizer.q01), np.abs(normalizer.q99))[:6]

    def reset(self, seed: int | None = None) -> None:
        """Do nothing: an answer depends on its observation alone."""

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation.

        Raises:
            ValueError: the camera is missing, its depth image has no valid pixel, or the joints are not the robot's.
        """
        return self.act_batch([observation])[0]

    def act_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """Answer independent observations in one forward pass."""
        if not observations:
            return []
        inputs = {name: value.to(self.device) for name, value in self.processor.observe(observations).items()}
        ids, log_probs = decode_greedy(self.model, inputs, self._token_ranges(), self.chunk_length, self._compiled)
        rows = self.processor.decode(ids.cpu().numpy())
        log_probs = log_probs.cpu().numpy().reshape(len(rows), self.chunk_length, TOKENS_PER_ACTION).astype(np.float64)
        confidence = np.exp(log_probs.sum(-1))
        return [
            ActionChunk(
                observation.stamp, 1.0 / self.control_hz, "cartesian_delta", chosen, sure, token_log_probs=by_token
            )
            for observation, chosen, sure, by_token in zip(observations, rows, confidence, log_probs, strict=True)
        ]

    def _token_ranges(self) -> Sequence[tuple[int, int]]:
        slots = self.processor.actions.slot_ranges()
        return slots if self.processor.settings.constrained else [(0, self.model.config.vocabulary_size)] * len(slots)

    def save_pretrained(self, directory: str | Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Write a directory in the released layout, with our additions in the groups `polyarm`.

        Code that loads the released checkpoints by their `auto_map` needs their five Python files beside these.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        config = self.model.config.to_dict() | {"torch_dtype": str(self.dtype).removeprefix("torch.")}
        write_json(directory / CONFIG_FILE, config)
        save_weights(self.model, directory, max_shard_bytes)
        save_processor(self.processor, directory)

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the language model."""
        return self.model.language_model.lm_head.weight.dtype

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        device: str = "cpu",
        dtype: Dtype = "stored",
        settings: ProcessorSettings | None = None,
        depth_source: DepthSource | None = None,
        compile: bool = False,
    ) -> SpatialVLAPolicy:
        """Read a directory in the released layout, or download it from the hub.

        Args:
            directory: a directory, the name of a shipped policy, or a hub id.
            device: where the network runs.
            dtype: number format of the weights.
            settings: what a released checkpoint does not tell: robot, camera, rate, statistics. None: those in the
                group `polyarm` of `processor_config.json`.
            depth_source: "sensor" leaves a checkpoint's depth network out, "estimated" demands it; None: as it comes.
            compile: compile the steps of single tokens, see `CompiledSteps`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged or does not fit the others; names file and field or key.
        """
        directory = find_policy(str(directory))
        config = SpatialVLAConfig.read(directory)
        ignored: tuple[str, ...] = ()
        if depth_source == "estimated" and not config.use_vision_zoe:
            raise ValueError(f"{directory / CONFIG_FILE}: depth_source: expected a depth network, found none")
        if depth_source == "sensor" and config.use_vision_zoe:
            config, ignored = replace(config, use_vision_zoe=False, vision_zoe_config=None), (DEPTH_NETWORK,)
        processor = load_processor(directory, config, settings)
        model = empty_model(config)
        load_weights(model, directory, dtype, ignored)
        return cls(model, processor, device, compile)
