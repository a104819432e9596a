"""One demonstration: the expert drives, noise disturbs it, and the arm gateway stands between them and the arm.

Frames of one arm are labelled with the step that the expert wants. Disturbing what is executed while labelling with the
undisturbed action is DART (Laskey et al., CoRL 2017): the recordings then cover the states that an imitating policy
will drift into, with the way back. Frames of several arms are labelled with the joint positions that the controller was
told one step later, noise included: chunks of them are motions that the arms can follow. `collection.disturbed` marks
the frames in which these are not what the expert wanted, so that no chunk that holds one need be learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.data.demonstration_frames import frame, records_joints
from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import ChunkScheduler
from sim.episode_id import EpisodeId
from sim.expert import MAX_STEP, PACE_PERIOD, Expert
from sim.leader import Leader
from sim.simulation import TabletopSimulation


@dataclass(frozen=True, slots=True)
class NoiseConfig:
    """How demonstrations are disturbed. Rates and lengths are for 0.1 s, whatever the control rate.

    Attributes:
        clean_share: share of episodes without any disturbance.
        step_std_m: standard deviation of the noise on the way of the tool, per axis, metres.
        turn_std_rad: standard deviation of the noise on its turn, per axis, radians.
        correlation: correlation of the noise with that 0.1 s later, in [0, 1).
        kick_rate: chance that a kick begins: a drift in a random direction that the expert must recover from.
        kick_step_m: way of the tool in a kick, metres.
        kick_turn_rad: turn of the tool in a kick, about a random axis, radians.
        kick_steps: least and greatest duration of a kick, in units of 0.1 s.
        slip_share: share of the kicks during which the grippers do the opposite of what the expert wants.
        scattered_start_share: share of episodes that start anywhere above the table instead of near home.
    """

    clean_share: float = 0.15
    step_std_m: float = 0.006
    turn_std_rad: float = 0.02
    correlation: float = 0.5
    kick_rate: float = 0.03
    kick_step_m: float = 0.025
    kick_turn_rad: float = 0.0
    kick_steps: tuple[int, int] = (2, 4)
    slip_share: float = 0.1
    scattered_start_share: float = 0.35


NO_NOISE = NoiseConfig(clean_share=1.0, scattered_start_share=0.0)
# Boxes that each arm's tool may start in, metres.
_START_BOXES = {
    "panda": (((0.34, -0.26, 0.06), (0.66, 0.26, 0.38)),),
    "aloha": (((0.40, 0.10, 0.08), (0.60, 0.26, 0.32)), ((0.40, -0.26, 0.08), (0.60, -0.10, 0.32))),
}


class Disturbance:
    """Correlated noise and kicks on the expert's steps.

    Args:
        config: how strong they are.
        rng: draws them.
        period: seconds per control step.
        arms: how many arms a row moves.
    """

    def __init__(self, config: NoiseConfig, rng: np.random.Generator, period: float, arms: int) -> None:
        self._config = config
        self._rng = rng
        self._pace = period / PACE_PERIOD
        self._correlation = config.correlation**self._pace
        self._noise = np.zeros((arms, 6))
        self._kick = np.zeros((arms, 6))
        self._kick_left = 0
        self._slips = False
        self._clean = rng.uniform() < config.clean_share

    def disturb(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (7 * arms,) action that is executed in place of the expert's."""
        if self._clean:
            return row
        config, rng, pace = self._config, self._rng, self._pace
        scale = pace * np.array([config.step_std_m] * 3 + [config.turn_std_rad] * 3)
        fresh = rng.normal(size=self._noise.shape) * scale * np.sqrt(1.0 - self._correlation**2)
        self._noise = self._correlation * self._noise + fresh
        if self._kick_left == 0 and rng.uniform() < pace * config.kick_rate:
            self._kick = np.zeros_like(self._kick)
            self._kick[:, :3] = pace * config.kick_step_m * self._directions()
            if config.kick_turn_rad:
                self._kick[:, 3:] = pace * config.kick_turn_rad * self._directions()
            self._kick_left = round(int(rng.integers(config.kick_steps[0], config.kick_steps[1] + 1)) / pace)
            self._slips = rng.uniform() < config.slip_share
        executed = row.reshape(-1, 7).copy()
        executed[:, :6] += self._noise
        if self._kick_left > 0:
            self._kick_left -= 1
            executed[:, :6] += self._kick
            if self._slips:
                executed[:, 6] = 1.0 - executed[:, 6]
        return executed.ravel()

    def _directions(self) -> NDArray[np.float64]:
        """A random unit vector for each arm, (arms, 3)."""
        ways = self._rng.normal(size=(len(self._kick), 3))
        return ways / np.linalg.norm(ways, axis=1, keepdims=True)


def demonstrate(
    simulation: TabletopSimulation,
    episode: EpisodeId,
    noise: NoiseConfig,
    max_step: float = MAX_STEP,
    leader: Leader | None = None,
) -> list[dict[str, Any]] | None:
    """Record one episode.

    Args:
        simulation: its cameras are recorded.
        episode: which one; the noise is drawn from it as well.
        noise: how it is disturbed.
        max_step: longest way of a tool in 0.1 s, metres.
        leader: drives first; what it does is not recorded.

    Returns:
        One dictionary a control step, keys as `sim.collect.features`; None when the expert did not succeed, or had
        nothing left to do. Actions are Cartesian steps of a robot's only arm, or commanded joint positions where there
        are several arms.
    """
    rng = np.random.default_rng(episode.seed_sequence("noise"))
    simulation.reset(episode, _start(simulation, noise, rng))
    if leader is not None:
        leader.drive(episode, rng)
    expert = Expert(simulation, max_step)
    disturbance = Disturbance(noise, rng, simulation.control_period, len(simulation.robot.arms))
    scheduler, gateway = ChunkScheduler(simulation.robot), ArmGateway(simulation.robot)
    frames = []
    while not (status := simulation.status()).done:
        observation = simulation.observe()
        label = expert.act()
        row = disturbance.disturb(label.rows[0])
        executed = replace(label, rows=_above_table(simulation, row)[None])
        joint_chunk = simulation.kinematics.to_joint_chunk(executed, observation.joint_positions)
        trajectory = scheduler.plan(joint_chunk, observation.joint_positions, simulation.time)
        simulation.accept(gateway.command(trajectory, observation).trajectory)
        status = simulation.advance(1)
        if records_joints(simulation.robot):
            action = executed_row = simulation.commanded_positions
        else:
            action, executed_row = label.rows[0], executed.rows[0]
        frames.append(
            frame(observation, action, status.success)
            | {
                "action.executed": executed_row.astype(np.float32),
                "collection.disturbed": np.array([not np.array_equal(row, label.rows[0])]),
            }
        )
    return frames if frames and status.success else None


def _start(simulation: TabletopSimulation, noise: NoiseConfig, rng: np.random.Generator) -> NDArray[np.float64] | None:
    if rng.uniform() >= noise.scattered_start_share:
        return None
    start = simulation.robot.home
    for arm, (low, high) in enumerate(_START_BOXES[simulation.robot.name]):
        pose = simulation.kinematics.forward(start, arm)
        pose[:3, 3] = rng.uniform(low, high)
        start = simulation.kinematics.inverse(pose, start, arm)
    return start


def _above_table(simulation: TabletopSimulation, row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep a disturbed step from driving the fingertips into the table."""
    rows = row.reshape(-1, 7).copy()
    for arm, spec in enumerate(simulation.robot.arms):
        lowest = spec.workspace_low[2] + 0.004
        rows[arm, 2] = max(rows[arm, 2], lowest - simulation.scene.tool_position(arm)[2])
    return rows.ravel()
