"""What drives gym-aloha; skipped by name where gym-aloha is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.execution.trajectory import JointTrajectory
from sim import evaluate
from sim.episode_id import EpisodeId
from sim.episode_worker import EpisodeWorker, WorkerConfig
from sim.gym_aloha.environment import find_python
from sim.gym_aloha.server import SUCCESS
from sim.gym_aloha.world import BASE_FROM_WORLD, GymAlohaWorld
from sim.protocol import EvaluationProtocol
from sim.worlds import world_settings

CUBE = EpisodeId("gym_aloha/transfer_cube", "nominal", 1, 0, 0)
PROTOCOL = EvaluationProtocol((CUBE.task,), **world_settings([CUBE.task]))


@pytest.fixture(scope="module")
def world() -> Iterator[GymAlohaWorld]:
    try:
        find_python()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    world = GymAlohaWorld(("top", "left_wrist"))
    yield world
    world.close()


def follow(world: GymAlohaWorld, target: np.ndarray, seconds: float) -> np.ndarray:
    """Go to a joint target in half a second; the joint positions after some seconds."""
    stamp = world.time if world.time > 0 else 1e-9
    world.accept(JointTrajectory(stamp, np.array([0.5]), target[None], np.zeros((1, len(target)))))
    world.advance(round(seconds * world.control_hz))
    return world.observe().joint_positions


def test_joints_and_grippers_follow_in_our_order_and_units(world: GymAlohaWorld) -> None:
    world.reset(CUBE)
    robot = world.robot
    start = world.observe().joint_positions
    np.testing.assert_allclose(start[[1, 2, 8, 9]], [-0.96, 1.16, -0.96, 1.16])
    target = start + 0.1 * np.linspace(-1, 1, len(start))
    target[robot.grippers] = robot.gripper_positions([0.9, 0.5])
    found = follow(world, target, 2.0)
    np.testing.assert_allclose(found[robot.arm_joints], target[robot.arm_joints], atol=0.02)  # its arms sag a little
    np.testing.assert_allclose(robot.gripper_openings(found), [0.9, 0.5], atol=0.05)
    assert world.status().steps == 50
    assert world.time == pytest.approx(2.0)


def test_an_episode_is_the_same_again_and_others_differ(world: GymAlohaWorld) -> None:
    def begun(episode: EpisodeId) -> tuple[np.ndarray, str]:
        world.reset(episode)
        return world.objects, world.instruction

    first, again, other = begun(CUBE), begun(CUBE), begun(replace(CUBE, index=1))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert np.abs(first[0][:2] - other[0][:2]).max() > 0.005
    assert "red cube" in first[1]


def test_the_camera_sees_the_cube_where_its_calibration_says(world: GymAlohaWorld) -> None:
    world.reset(CUBE)
    (view,) = world.observe().cameras.values()  # the wrist camera, which the environment lacks, is missing
    assert np.isnan(view.depth).all()
    cube = BASE_FROM_WORLD @ [*world.objects[:3], 1.0]
    x, y, z = (np.linalg.inv(view.base_from_camera) @ cube)[:3]
    column, row, _ = view.intrinsics @ [x / z, y / z, 1.0]
    red, green, blue = view.rgb[int(row), int(column)].astype(int)
    assert red > 2 * max(green, blue)
    rows, columns = np.nonzero((view.rgb[..., 0] > 150) & (view.rgb[..., 1] < 80))
    assert (rows.mean(), columns.mean()) == pytest.approx((row, column), abs=4.0)


def test_insertion_has_its_own_scene_and_words(world: GymAlohaWorld) -> None:
    world.reset(replace(CUBE, task="gym_aloha/insertion"))
    assert world.objects.shape == (14,)
    assert "peg" in world.instruction
    assert not world.advance(2).done


def test_what_it_cannot_do_is_refused(world: GymAlohaWorld) -> None:
    with pytest.raises(ValueError, match="expected nominal conditions"):
        world.reset(replace(CUBE, suite="lighting"))
    with pytest.raises(ValueError, match="expected nominal conditions"):
        world.reset(replace(CUBE, task="transfer_cube"))
    with pytest.raises(ValueError, match="expected 50 over a whole number, found 30"):
        GymAlohaWorld(control_hz=30.0)


def test_a_process_that_ends_is_named(world: GymAlohaWorld) -> None:
    broken = GymAlohaWorld(python=Path("/bin/false"))
    with pytest.raises(RuntimeError, match="its process ended with exit status"):
        broken.reset(CUBE)
    broken.close()


def test_the_expert_succeeds_at_both_rates_and_standing_still_does_not(world: GymAlohaWorld) -> None:
    for rate in (25.0, 50.0):
        result = EpisodeWorker(WorkerConfig("expert", replace(PROTOCOL, control_hz=rate))).run(CUBE)
        assert (result.success, result.progress, result.rejected) == (True, 1.0, 0)
        assert 5.0 < result.steps / rate < 7.0
    idle = EpisodeWorker(WorkerConfig("noop", PROTOCOL)).run(CUBE)
    assert (idle.success, idle.progress, idle.steps) == (False, 0.0, 200)
    assert SUCCESS == 4


def test_the_command_evaluates_it_like_any_task(
    world: GymAlohaWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--policy", "expert", "--task", CUBE.task, "--episodes", "1", "--videos", "0", "--output", str(tmp_path)]
    assert evaluate.main(given) == 0
    assert "1/1" in capsys.readouterr().out
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--task", "gym_aloha/transfer_cube,reach"], "expected some of one world, found ['reach']"),
        (["--task", "gym_aloha/transfer_cube", "--suite", "lighting"], "expected nominal conditions"),
        (["--task", "gym_aloha/transfer_cube", "--shuffle-instructions"], "expected a task with several targets"),
        (["--task", "gym_aloha/insertion"], "expected task gym_aloha/transfer_cube"),
    ],
)
def test_what_it_lacks_is_named_by_the_command(
    world: GymAlohaWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert evaluate.main(["--policy", "expert", "--episodes", "1", "--output", str(tmp_path), *more]) == 1
    assert words in capsys.readouterr().err
