"""Synthetic demonstrations for the tests of training."""

from __future__ import annotations

import numpy as np

from policies.robots import get_robot
from representation.data.lerobot_writer import LeRobotWriter

SIDE = 16
FEATURES = {
    "observation.images.front": {"dtype": "video", "shape": (SIDE, SIDE, 3)},
    "observation.depth.front": {"dtype": "depth", "shape": (SIDE, SIDE)},
    "observation.camera.front.intrinsics": {"dtype": "float32", "shape": (9,)},
    "observation.camera.front.base_from_camera": {"dtype": "float32", "shape": (16,)},
    "observation.state": {"dtype": "float32", "shape": (8,)},
    "action": {"dtype": "float32", "shape": (7,)},
}
COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220)}


def write_demonstrations(root, episodes, generator, number_tasks=False, robot_type="panda"):
    """Episodes in which the colour of the image tells the direction of the motion."""
    spec = get_robot("panda")
    features = FEATURES | ({"collection.task": {"dtype": "int64", "shape": (1,)}} if number_tasks else {})
    writer = LeRobotWriter(root, 10, features, robot_type)
    for episode in range(episodes):
        name, color = list(COLORS.items())[episode % 2]
        direction = 1.0 if name == "red" else -1.0
        for _ in range(6):
            image = np.full((SIDE, SIDE, 3), color, np.uint8)
            action = np.r_[direction * 0.02, generator.normal(0, 0.003, 5), float(name == "red")]
            mark = {"collection.task": np.array([episode % 2])} if number_tasks else {}
            writer.add_frame(
                mark
                | {
                    "observation.images.front": image,
                    "observation.depth.front": generator.uniform(0.5, 1.0, (SIDE, SIDE)).astype(np.float32),
                    "observation.camera.front.intrinsics": np.array([20.0, 0, 8, 0, 20, 8, 0, 0, 1], np.float32),
                    "observation.camera.front.base_from_camera": np.eye(4, dtype=np.float32).reshape(-1),
                    "observation.state": spec.home.astype(np.float32),
                    "action": action.astype(np.float32),
                },
                task=f"push the {name} cube",
            )
        writer.save_episode()
    writer.finalize()
