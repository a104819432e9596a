"""Motions that are known beforehand, as policies: going round about a pose, and carrying an object in the hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.execution.chunk_scheduler import ChunkScheduler
from policies.recorded_motion import MotionConfig, RecordedMotion
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.simulation import TabletopSimulation

AMPLITUDE_RAD = 0.25
PERIOD_S = 5.0
# The first and the last arm joint: they turn base and hand, and neither lowers the tool.
FIRST, LAST = 0, 6
STEP_M = 0.015  # of the tool in 0.1 s, half as fast as demonstrations are
MAX_STEPS = 400


def going_round(start: NDArray[np.float64], config: MotionConfig) -> RecordedMotion:
    """Turn base and hand to and fro, a quarter of a period apart, so that one of them always moves.

    Args:
        start: (n,) joint positions, rad (m), of the first row.
        config: robot, cameras and rate; the whole motion is the loop.
    """
    rows = _round(start, config.control_hz)
    return RecordedMotion(config, rows, rows)


def carrying(simulation: TabletopSimulation, episode: EpisodeId, cameras: tuple[str, ...]) -> RecordedMotion:
    """Grasp the object of an episode of the task `pick`, as the scripted expert does, and carry it round.

    Raises:
        RuntimeError: the expert does not succeed.
    """
    simulation.reset(episode)
    expert, scheduler = Expert(simulation, STEP_M), ChunkScheduler(simulation.robot)
    positions, targets = [], []
    while not simulation.status().success:
        if len(positions) == MAX_STEPS:
            raise RuntimeError(f"{episode}: expected the expert to succeed within {MAX_STEPS} steps, found it failing")
        measured = simulation.scene.joint_positions
        chunk = simulation.kinematics.to_joint_chunk(expert.act(), measured)
        positions.append(measured)
        targets.append(chunk.rows[0])
        simulation.accept(scheduler.plan(chunk, measured, simulation.time))
        simulation.advance(1)
    loop_start = len(positions)
    held = simulation.scene.joint_positions
    loop = _round(held, simulation.config.control_hz)
    loop_targets = loop.copy()
    grippers = simulation.robot.grippers
    loop_targets[:, grippers] = targets[-1][grippers]
    config = MotionConfig(simulation.robot.name, cameras, simulation.config.control_hz, loop_start)
    return RecordedMotion(config, np.vstack([positions, loop]), np.vstack([targets, loop_targets]))


def _round(start: NDArray[np.float64], control_hz: float) -> NDArray[np.float64]:
    phase = 2 * np.pi * np.arange(round(PERIOD_S * control_hz)) / round(PERIOD_S * control_hz)
    rows = np.tile(start, (len(phase), 1))
    rows[:, FIRST] += AMPLITUDE_RAD * np.sin(phase)
    rows[:, LAST] += AMPLITUDE_RAD * (np.cos(phase) - 1)
    return rows
