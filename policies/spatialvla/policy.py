"""`SpatialVLAPolicy`: the model and its processor behind the `Policy` contract, and as a directory on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from policies.execution.kinematics import Kinematics
from policies.interface import ActionChunk, Observation
from policies.robots import get_robot
from policies.spatialvla.action_tokenizer import TOKENS_PER_ACTION
from policies.spatialvla.checkpoint import load_weights, save_weights
from policies.spatialvla.config import SpatialVLAConfig
from policies.spatialvla.decoding import decode_greedy
from policies.spatialvla.model import SpatialVLAModel
from policies.spatialvla.processor import SpatialVLAProcessor
from policies.spatialvla.processor_file import load_processor, read_json, read_settings, save_processor

CONFIG_FILE = "config.json"


class SpatialVLAPolicy:
    """Answers each observation with a `cartesian_delta` chunk and the probability of its tokens.

    The policy keeps no memory between observations and draws nothing at random.

    Args:
        model: the network; put into evaluation mode.
        processor: what fits it.
        device: where the network runs.

    Attributes:
        robot: name of the robot that it was trained for.
        cameras: the one view that it reads.
        control_hz: rate of the rows.
        chunk_length: rows of a chunk.
    """

    def __init__(self, model: SpatialVLAModel, processor: SpatialVLAProcessor, device: str = "cpu") -> None:
        settings = processor.settings
        self.robot: str = settings.robot
        self.cameras: tuple[str, ...] = (settings.camera,)
        self.control_hz: float = settings.control_hz
        self.chunk_length: int = settings.chunk
        self.processor = processor
        self.model = model.to(device).eval()
        self.device = torch.device(device)

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
        ids, log_probs = decode_greedy(self.model, inputs, self.processor.actions.slot_ranges(), self.chunk_length)
        rows = self.processor.decode(ids.cpu().numpy())
        log_probs = log_probs.cpu().numpy().reshape(len(rows), self.chunk_length, TOKENS_PER_ACTION)
        confidence = np.exp(log_probs.astype(np.float64).sum(-1))
        return [
            ActionChunk(observation.stamp, 1.0 / self.control_hz, "cartesian_delta", rows[i], confidence[i])
            for i, observation in enumerate(observations)
        ]

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json, model.safetensors, processor_config.json and tokenizer.json."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.model.config.to_dict(), indent=2) + "\n"
        (directory / CONFIG_FILE).write_text(content, encoding="utf-8")
        save_weights(self.model, directory)
        save_processor(self.processor, directory)

    @classmethod
    def from_pretrained(cls, directory: str | Path, device: str = "cpu") -> SpatialVLAPolicy:
        """Read what `save_pretrained` wrote.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged or does not fit the others; names file and field or key.
        """
        directory = Path(directory)
        content = read_json(directory / CONFIG_FILE)
        try:
            config = SpatialVLAConfig.from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{directory / CONFIG_FILE}: {error}") from error
        robot = get_robot(read_settings(directory).robot)
        processor = load_processor(directory, config, robot, Kinematics(robot).forward)
        model = SpatialVLAModel(config)
        load_weights(model, directory)
        return cls(model, processor, device)
