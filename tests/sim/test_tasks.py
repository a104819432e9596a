import numpy as np
import pytest

from sim.episode_id import EpisodeId
from sim.scene import BIN_HALF_WIDTH, OBJECT_SLOTS
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.suites import SUITES
from sim.tasks import TASKS, get_task


@pytest.fixture(scope="module")
def simulation():
    simulation = TabletopSimulation(SimulationConfig(cameras=()))
    yield simulation
    simulation.close()


def start(simulation, task, index=0, suite="nominal", severity=1):
    simulation.reset(EpisodeId(task, suite, severity, index, seed=7))
    return simulation.scene


def put(scene, slot, position):
    address = scene.model.joint(f"object{slot}").qposadr[0]
    scene.data.qpos[address : address + 3] = position
    dof = scene.model.joint(f"object{slot}").dofadr[0]
    scene.data.qvel[dof : dof + 6] = 0.0


@pytest.mark.parametrize("task", TASKS)
def test_no_task_is_achieved_at_its_start(simulation, task):
    for index in range(25):
        start(simulation, task, index)
        assert not simulation.status().success
        assert simulation.status().progress == 0.0
        assert not simulation._current.achieved()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("task", TASKS)
def test_every_suite_at_its_strongest_finds_a_layout_with_objects_apart(simulation, task, suite):
    for index in range(4):
        scene = start(simulation, task, index, suite, severity=3)
        places = np.array([item.xy for item in scene.layout.objects])
        assert 1 <= len(places) <= OBJECT_SLOTS
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(gaps, default=1.0) > 0.06


@pytest.mark.parametrize("task", TASKS)
def test_an_arm_that_rests_never_succeeds(simulation, task):
    start(simulation, task)
    status = simulation.advance(get_task(task).max_steps + 5)
    assert status.done
    assert not status.success
    assert status.steps == get_task(task).max_steps
    assert status.progress < 0.2


def test_the_same_episode_id_gives_the_same_scene_and_instruction(simulation):
    first = start(simulation, "place", 3).layout, simulation.instruction
    start(simulation, "place", 4)
    assert (simulation.scene.layout, simulation.instruction) != first
    assert (start(simulation, "place", 3).layout, simulation.instruction) == first


def test_the_instruction_names_the_first_object(simulation):
    for index in range(10):
        scene = start(simulation, "pick", index)
        target = scene.layout.objects[0]
        assert f"{target.colour} {target.shape}" in simulation.instruction
        assert all(item.colour != target.colour for item in scene.layout.objects[1:])


def test_distractor_suite_adds_objects_of_the_named_colour_and_another_shape(simulation):
    scene = start(simulation, "pick", 0, "distractors", severity=3)
    target, others = scene.layout.objects[0], scene.layout.objects[1:]
    confounders = [item for item in others if item.colour == target.colour]
    assert len(confounders) == 2
    assert all(item.shape != target.shape for item in confounders)


def test_place_counts_an_object_that_lies_released_in_the_bin_for_its_hold_time(simulation):
    scene = start(simulation, "place")
    x, y = scene.layout.bin_xy
    put(scene, 0, (x, y, scene.layout.objects[0].half_size + 0.007))
    assert not simulation.advance(2).success
    assert simulation.advance(8).success


def test_place_does_not_count_a_distractor_or_an_object_beside_the_bin(simulation):
    scene = start(simulation, "place")
    x, y = scene.layout.bin_xy
    put(scene, 1, (x, y, scene.layout.objects[1].half_size + 0.007))
    put(scene, 0, (x - BIN_HALF_WIDTH - 0.05, y, scene.layout.objects[0].half_size))
    assert not simulation.advance(15).success


def test_place_does_not_count_an_object_above_the_bin(simulation):
    scene = start(simulation, "place")
    for _ in range(10):
        put(scene, 0, (*scene.layout.bin_xy, 0.15))
        simulation.tick()
        assert not simulation._current.achieved()


def test_stack_counts_a_standing_object_but_not_one_beside_or_the_wrong_way_round(simulation):
    scene = start(simulation, "stack")
    top, base = scene.layout.objects[:2]
    put(scene, 1, (*top.xy, top.half_size * 2 + base.half_size))
    assert not simulation.advance(10).success
    scene = start(simulation, "stack")
    put(scene, 0, (*base.xy, base.half_size * 2 + top.half_size))
    assert simulation.advance(12).success


def test_push_counts_the_named_object_in_the_named_zone_only(simulation):
    scene = start(simulation, "push")
    half = scene.layout.objects[0].half_size
    put(scene, 0, (*scene.layout.zones[1].xy, half))
    assert not simulation.advance(6).success
    put(scene, 0, (*scene.layout.zones[0].xy, half))
    assert simulation.advance(6).success


def test_pick_does_not_count_an_object_that_floats_without_a_hand(simulation):
    scene = start(simulation, "pick")
    for _ in range(20):
        put(scene, 0, (*scene.layout.objects[0].xy, 0.2))
        simulation.tick()
    assert not simulation._current.achieved()


def test_drawer_counts_the_named_drawer_only(simulation):
    scene = start(simulation, "drawer")
    target = scene.layout.target_drawer
    for index, expected in ((1 - target, False), (target, True)):
        scene.data.qpos[scene.model.joint(f"drawer{index}").qposadr[0]] = 0.12
        assert simulation.advance(5).success is expected


def test_reach_counts_only_after_the_hold_time(simulation):
    scene = start(simulation, "reach")
    goal = scene.object_position(0)
    goal[2] += scene.layout.objects[0].half_size + 0.05
    pose = simulation.kinematics.forward(simulation.robot.home)
    pose[:3, 3] = goal
    joints = simulation.kinematics.inverse(pose, simulation.robot.home)
    simulation.reset(EpisodeId("reach", "nominal", 1, 0, seed=7), joint_positions=joints)
    assert [simulation.advance(1).success for _ in range(3)] == [False, False, True]


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match="juggle"):
        get_task("juggle")
