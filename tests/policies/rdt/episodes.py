"""Synthetic demonstrations of two arms for the tests of RDT's training."""

from __future__ import annotations

import numpy as np

from policies.rdt.hdf5_episodes import write_episode
from policies.rdt.instructions import InstructionVariants
from policies.robots import get_robot
from policies.training_data import DISTURBED_KEY
from representation.data.lerobot_writer import LeRobotWriter

SPEC = get_robot("aloha")
SIDE, LENGTH = 16, 12
COLORS = {"left": (220, 40, 40), "right": (40, 60, 220)}


def write_bimanual(root, rng, episodes=10, fps=25, disturbed=False):
    """LeRobot episodes in which colour and words tell which arm turns its waist; every step may be marked."""
    cameras = ("top", "right_wrist")
    features = {f"observation.images.{name}": {"dtype": "video", "shape": (SIDE, SIDE, 3)} for name in cameras}
    joints = {"dtype": "float32", "shape": (14,)}
    features |= {"observation.state": joints, "action": joints}
    if disturbed:
        features[DISTURBED_KEY] = {"dtype": "bool", "shape": (1,)}
    writer = LeRobotWriter(root, fps, features, "aloha")
    for episode in range(episodes):
        side = ("left", "right")[episode % 2]
        state = SPEC.home.copy()
        for _ in range(LENGTH):
            action = state.copy()
            action[0 if side == "left" else 7] += 0.1
            picture = np.full((SIDE, SIDE, 3), COLORS[side], np.uint8)
            frame = {f"observation.images.{name}": picture for name in cameras}
            noise = rng.normal(0, 0.003, 14)
            frame |= {"observation.state": (state + noise).astype(np.float32), "action": action.astype(np.float32)}
            if disturbed:
                frame[DISTURBED_KEY] = np.array([True])
            writer.add_frame(frame, task=f"turn the {side} arm.")
            state = action
        writer.save_episode()
    writer.finalize()


VARIANTS = InstructionVariants("Lift it.", ("Lift.",), ("Lift the cube.",))


def write_aloha(directory, lengths=(128, 256), moves_from=30):
    """ALOHA episodes; a picture's level is its step's number modulo 100. Only the first has a wrist camera."""
    directory.mkdir(exist_ok=True)
    VARIANTS.write(directory)
    for number, steps in enumerate(lengths):
        qpos = 0.001 * np.random.default_rng(steps).normal(size=(steps, 14))
        qpos[moves_from:] += 0.1 * np.arange(14)
        action = np.arange(steps)[:, None] / steps + np.zeros(14)
        pictures = np.zeros((steps, 4, 6, 3), np.uint8)
        pictures += (np.arange(steps) % 100).astype(np.uint8)[:, None, None, None]
        wrists = {"right_wrist": pictures} if number == 0 else {}
        write_episode(directory / f"episode_{number}.hdf5", qpos, action, {"exterior": pictures, **wrists})
