"""Good and bad episodes of the tasks, driven through physics: success needs the goal, its time, and an open hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from policies.execution.arm_gateway import ArmGateway
from policies.execution.chunk_scheduler import ChunkScheduler
from policies.interface import ActionChunk
from sim.episode_id import EpisodeId
from sim.expert import Expert
from sim.motions import CLOSED, OPEN
from sim.scene import ZONE_RADIUS
from sim.simulation import SimulationConfig, TabletopSimulation, TaskStatus
from sim.tasks import TASKS, get_task
from sim.tasks.base import REST_SPEED
from sim.tasks.pick import held
from sim.tasks.place import in_bin
from sim.tasks.reach import HOVER, TOLERANCE, reach_goal
from sim.tasks.stack import stacked

Move = Callable[[], np.ndarray]
"""Gives the (7 * arms,) row of the next control step."""


class Episode:
    """An episode that moves as a test says; the arm gateway stands between it and the arm, as everywhere."""

    def __init__(self, simulation: TabletopSimulation, task: str, index: int = 0) -> None:
        simulation.reset(EpisodeId(task, "nominal", 1, index, seed=7))
        self.simulation, self.scene = simulation, simulation.scene
        self.goal_steps = 0  # control steps in a row, up to now, in which the goal state held
        self.succeeded = False  # at any time so far
        self._expert = Expert(simulation)
        self._scheduler, self._gateway = ChunkScheduler(simulation.robot), ArmGateway(simulation.robot)

    @property
    def achieved(self) -> bool:
        return self.simulation._current.achieved()

    def expert(self) -> np.ndarray:
        return self._expert.act().rows[0]

    def towards(self, goal: np.ndarray, gripper: float, most: float = 0.03) -> np.ndarray:
        """A step of the tool to a place (3,), metres; the hand keeps its heading."""
        move = goal - self.scene.tool_position()
        move *= min(1.0, most / max(float(np.linalg.norm(move)), 1e-9))
        return np.array((*move, 0.0, 0.0, 0.0, gripper))

    def step(self, row: np.ndarray) -> TaskStatus:
        simulation = self.simulation
        observation = simulation.observe()
        chunk = ActionChunk(simulation.time, simulation.control_period, "cartesian_delta", row[None])
        joint_chunk = simulation.kinematics.to_joint_chunk(chunk, observation.joint_positions)
        trajectory = self._scheduler.plan(joint_chunk, observation.joint_positions, simulation.time)
        simulation.accept(self._gateway.command(trajectory, observation).trajectory)
        status = simulation.advance(1)
        self.goal_steps = self.goal_steps + 1 if self.achieved else 0
        self.succeeded |= status.success
        assert 0.0 <= simulation._current.progress() <= 1.0
        return status

    def run(self, move: Move, until: Callable[[], bool], limit: int = 100) -> TaskStatus:
        """Move until something is so; fails if it never is."""
        for _ in range(limit):
            status = self.step(move())
            if until():
                return status
        raise AssertionError(f"{self.simulation.task_name}: not there after {limit} steps, {status}")

    def for_steps(self, move: Move, steps: int) -> list[TaskStatus]:
        return [self.step(move()) for _ in range(steps)]


def stay(gripper: float) -> Move:
    return lambda: np.array((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, gripper))


@pytest.fixture(scope="module")
def simulations():
    return {robot: TabletopSimulation(SimulationConfig.of(robot, cameras=())) for robot in ("panda", "aloha")}


@pytest.fixture
def panda(simulations):
    return simulations["panda"]


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_succeeds_as_soon_as_the_goal_has_held_for_its_steps_and_progress_stays_in_its_range(
    simulations, task
):
    episode = Episode(simulations[get_task(task).robot], task)
    last = 0.0
    while not (status := episode.step(episode.expert())).done:
        assert episode.goal_steps < get_task(task).hold_steps
        assert last <= status.progress <= 1.0
        last = status.progress
    assert status.success
    assert status.progress == 1.0
    assert episode.goal_steps == get_task(task).hold_steps


@pytest.mark.parametrize("task", TASKS)
def test_an_arm_that_moves_at_random_makes_no_more_progress_than_there_is(simulations, task):
    simulation = simulations[get_task(task).robot]
    rng = np.random.default_rng(3)
    episode, last = Episode(simulation, task), 0.0
    for _ in range(60):
        row = rng.normal(scale=0.03, size=(len(simulation.robot.arms), 7))
        row[:, 6] = rng.integers(2, size=len(row))
        status = episode.step(row.ravel())
        assert last <= status.progress <= 1.0
        last = status.progress
        if status.done:
            break


def test_pick_does_not_count_an_object_that_is_dropped_before_its_time(panda):
    episode = Episode(panda, "pick")
    episode.run(episode.expert, lambda: episode.goal_steps == 1)
    dropped = episode.for_steps(stay(OPEN), 10)
    assert not episode.achieved
    assert dropped[-1].progress == 1.0  # it was up there
    episode.run(episode.expert, lambda: episode.goal_steps == get_task("pick").hold_steps - 1)
    assert not episode.succeeded  # the time before the fall does not count


def test_pick_does_not_count_an_object_that_is_held_but_too_low(panda):
    episode = Episode(panda, "pick")
    episode.run(episode.expert, lambda: held(episode.scene, 0) and episode.scene.object_position(0)[2] > 0.05)
    episode.for_steps(stay(CLOSED), 10)
    assert not episode.succeeded
    assert held(episode.scene, 0)


def test_place_counts_only_once_the_hand_has_let_go(panda):
    episode = Episode(panda, "place")
    scene = episode.scene
    over = np.array((*scene.layout.bins[0], 0.10))
    episode.run(
        episode.expert,
        lambda: held(scene, 0) and np.linalg.norm(scene.tool_position()[:2] - over[:2]) < 0.03,
    )
    down = np.array((*scene.layout.bins[0], 0.045))
    episode.run(lambda: episode.towards(down, CLOSED), lambda: in_bin(scene, 0))
    episode.for_steps(lambda: episode.towards(down, CLOSED), 12)
    assert in_bin(scene, 0)
    assert held(scene, 0)
    assert scene.object_speed(0) < REST_SPEED
    assert not episode.succeeded
    released = episode.run(episode.expert, lambda: panda.status().done, limit=20)
    assert released.success


def test_stack_counts_only_once_the_hand_has_let_go(panda):
    episode = Episode(panda, "stack")
    scene = episode.scene
    half = scene.layout.objects[0].half_size + scene.layout.objects[1].half_size

    def above() -> bool:
        top, base = scene.object_position(0), scene.object_position(1)
        return bool(held(scene, 0) and np.linalg.norm(top[:2] - base[:2]) < 0.01 and top[2] - base[2] < half + 0.01)

    episode.run(episode.expert, above)
    lowered = np.array((0.0, 0.0, half - 0.006))
    place = scene.object_position(1) + lowered + scene.tool_position() - scene.object_position(0)
    episode.run(lambda: episode.towards(place, CLOSED), lambda: stacked(scene))
    episode.for_steps(lambda: episode.towards(place, CLOSED), 12)
    assert stacked(scene)
    assert held(scene, 0)
    assert not episode.succeeded
    assert episode.run(episode.expert, lambda: panda.status().done, limit=30).success


def test_push_does_not_count_an_object_that_passes_through_the_zone(panda):
    episode = Episode(panda, "push")
    scene = episode.scene
    zone = np.asarray(scene.layout.zones[0].xy)
    ahead = zone - scene.object_position(0)[:2]
    ahead /= np.linalg.norm(ahead)
    inside: list[float] = []

    def past() -> bool:
        way = scene.object_position(0)[:2] - zone
        if np.linalg.norm(way) < ZONE_RADIUS:
            inside.append(scene.object_speed(0))
        return bool(way @ ahead > ZONE_RADIUS)

    def on() -> np.ndarray:
        return np.array((*(0.03 * ahead), 0.022 - scene.tool_position()[2], 0.0, 0.0, 0.0, CLOSED))

    episode.run(episode.expert, lambda: np.linalg.norm(scene.object_position(0)[:2] - zone) < ZONE_RADIUS + 0.01)
    status = episode.run(on, past, limit=30)
    episode.for_steps(stay(CLOSED), 10)
    assert len(inside) >= get_task("push").hold_steps
    assert min(inside) > REST_SPEED
    assert status.progress == 1.0
    assert not episode.succeeded


def test_drawer_does_not_count_if_it_is_closed_again_before_its_time(panda):
    episode = Episode(panda, "drawer")
    scene, hold_steps = episode.scene, get_task("drawer").hold_steps
    address = scene.model.joint(f"drawer{scene.layout.target_drawer}").qposadr[0]
    for _ in range(2):
        scene.data.qpos[address] = 0.12
        episode.for_steps(stay(OPEN), hold_steps - 1)
        assert episode.goal_steps == hold_steps - 1
        scene.data.qpos[address] = 0.05
        episode.for_steps(stay(OPEN), hold_steps)
        assert not episode.succeeded
    scene.data.qpos[address] = 0.12
    assert [status.success for status in episode.for_steps(stay(OPEN), hold_steps)] == [False, False, True]


def test_reach_does_not_count_above_a_distractor(panda):
    for index in range(3):
        episode = Episode(panda, "reach", index)
        scene = episode.scene
        assert len(scene.layout.objects) > 1
        goal = scene.object_position(1)
        goal[2] += scene.layout.objects[1].half_size + HOVER
        statuses = episode.for_steps(lambda goal=goal, episode=episode: episode.towards(goal, OPEN), 40)
        assert np.linalg.norm(scene.tool_position() - goal) < TOLERANCE
        assert not episode.succeeded
        assert statuses[-1].progress < 1.0


def test_reach_does_not_count_a_hand_that_passes_through_its_goal(panda):
    episode = Episode(panda, "reach")
    way = reach_goal(episode.scene) - episode.scene.tool_position()
    beyond = reach_goal(episode.scene) + 0.2 * way / np.linalg.norm(way) + (0.0, 0.0, 0.05)
    held = []
    for _ in range(25):
        assert not episode.step(episode.towards(beyond, OPEN, 0.05)).success
        held.append(episode.goal_steps)
    assert 0 < max(held) < get_task("reach").hold_steps
    assert held[-1] == 0
