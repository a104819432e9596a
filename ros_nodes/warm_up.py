"""`warm_up`: the first inferences of a model are slow, so they are made before the arm waits for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.execution.policy_runner import PolicyRunner
from policies.interface import CameraView, Observation
from policies.robots.spec import RobotSpec

RUNS = 2
SIZE = 224
DISTANCE_M = 1.0


def warm_up(runner: PolicyRunner, cameras: Sequence[str], spec: RobotSpec) -> None:
    """Answer blank observations at the robot's home; the caller resets the runner afterwards.

    A policy that knows only some instructions has them in its attribute `instructions`.
    """
    instruction = next(iter(getattr(runner.policy, "instructions", ())), "warm up")
    intrinsics = np.array([[SIZE, 0, SIZE / 2], [0, SIZE, SIZE / 2], [0, 0, 1]], dtype=np.float64)
    view = CameraView(
        np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), DISTANCE_M, np.float32), intrinsics, np.eye(4)
    )
    for run in range(RUNS):
        observation = Observation(
            float(run), dict.fromkeys(cameras, view), spec.home, np.zeros(len(spec.joint_names)), instruction
        )
        runner.step(observation)
