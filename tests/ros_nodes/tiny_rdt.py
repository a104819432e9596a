"""An RDT with drawn weights for tests of the nodes: the network answers truly, but the arm does as `TinyRDT` says."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from transformers import SiglipVisionConfig

from policies.interface import ActionChunk, Observation
from policies.rdt.config import RDTConfig
from policies.rdt.embodiment import PANDA
from policies.rdt.image_tower import SiglipTower
from policies.rdt.network import build_model
from policies.rdt.policy import RDTPolicy, RDTSettings
from policies.rdt.word_encoder import WordEncoder

BASE, HAND = 0, 6  # joints
SPEED = 0.3  # rad/s
TURN = 0.4  # rad
SLOW_S, LATE_S = 0.4, 1.2  # of a chunk that lasts 0.8 s
TOWER = {"hidden_size": 48, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


class TinyRDT(RDTPolicy):
    """Turns the base to and fro, or the hand when it is told to or the network sees the wrist camera as missing.

    It takes its time when the instruction says "slow" or "late".
    """

    def __init__(self, robot: str) -> None:
        torch.manual_seed(0)
        tower = SiglipTower(SiglipVisionConfig(**TOWER, image_size=28, patch_size=14))
        words = WordEncoder(("turn",), RDTConfig.tiny().lang_token_dim)
        super().__init__(build_model(RDTConfig.tiny(), 0), tower, words, RDTSettings(robot, PANDA))
        self._direction = 1.0

    def chunk(self, observation: Observation, vectors: Tensor) -> ActionChunk:
        assert torch.isfinite(vectors).all()
        instruction = observation.instruction
        time.sleep(LATE_S if "late" in instruction else SLOW_S if "slow" in instruction else 0.0)
        pictures = self.pictures(observation)  # of one step ago, then of now: front, right, left
        joint = HAND if "hand" in instruction or pictures[4] is None else BASE
        off = observation.joint_positions[joint] - self._spec.home[joint]
        if abs(off) > TURN:
            self._direction = -np.sign(off)
        rows = np.tile(observation.joint_positions, (self.chunk_length, 1))
        rows[:, joint] += self._direction * SPEED * np.arange(1, self.chunk_length + 1) / self.control_hz
        return ActionChunk(observation.stamp, 1 / self.control_hz, "joint", rows)
