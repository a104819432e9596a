import mujoco
import numpy as np
import pytest

from sim.episode_id import EpisodeId
from sim.props import PEG_HALF_LENGTH, SOCKET_HALF_LENGTH
from sim.scene import BIN_HALF_WIDTH, OBJECT_SLOTS
from sim.simulation import SimulationConfig, TabletopSimulation
from sim.suites import SUITES
from sim.tasks import TASKS, get_task, robot_of
from sim.tasks.insertion import insertion_depth


@pytest.fixture(scope="module")
def simulations():
    return {robot: TabletopSimulation(SimulationConfig.of(robot, cameras=())) for robot in ("panda", "aloha")}


@pytest.fixture
def simulation(simulations):
    return simulations["panda"]


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def task_simulation(simulations, task):
    """A simulation of the robot that does the task."""
    return simulations[get_task(task).robot]


def start(simulation, task, index=0, suite="nominal", severity=1):
    simulation.reset(EpisodeId(task, suite, severity, index, seed=7))
    return simulation.scene


def put(scene, slot, position):
    address = scene.model.joint(f"object{slot}").qposadr[0]
    scene.data.qpos[address : address + 3] = position
    dof = scene.model.joint(f"object{slot}").dofadr[0]
    scene.data.qvel[dof : dof + 6] = 0.0


def test_no_task_is_achieved_at_its_start(task_simulation, task):
    for index in range(25):
        start(task_simulation, task, index)
        assert not task_simulation.status().success
        assert task_simulation.status().progress == 0.0
        assert not task_simulation._current.achieved()


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_at_its_strongest_finds_a_layout_with_objects_apart(task_simulation, task, suite):
    for index in range(4):
        scene = start(task_simulation, task, index, suite, severity=3)
        places = np.array([item.xy for item in scene.layout.objects])
        assert 1 <= len(places) <= OBJECT_SLOTS
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(gaps, default=1.0) > 0.06


def test_an_arm_that_rests_never_succeeds(task_simulation, task):
    start(task_simulation, task)
    status = task_simulation.advance(get_task(task).max_steps + 5)
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
    x, y = scene.layout.bins[0]
    put(scene, 0, (x, y, scene.layout.objects[0].half_size + 0.007))
    assert not simulation.advance(2).success
    assert simulation.advance(8).success


def test_place_does_not_count_a_distractor_or_an_object_beside_the_bin(simulation):
    scene = start(simulation, "place")
    x, y = scene.layout.bins[0]
    put(scene, 1, (x, y, scene.layout.objects[1].half_size + 0.007))
    put(scene, 0, (x - BIN_HALF_WIDTH - 0.05, y, scene.layout.objects[0].half_size))
    assert not simulation.advance(15).success


def test_place_does_not_count_an_object_above_the_bin(simulation):
    scene = start(simulation, "place")
    for _ in range(10):
        put(scene, 0, (*scene.layout.bins[0], 0.15))
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


def test_a_cube_counts_as_handed_over_only_in_the_left_hand_alone(simulations):
    simulation = simulations["aloha"]
    scene = start(simulation, "transfer_cube")
    assert scene.object_position(0)[1] < 0
    joints = scene.joint_positions
    for arm, expected in ((1, False), (0, True)):
        start(simulation, "transfer_cube")
        gripper = scene.robot.arms[arm].gripper
        held = joints.copy()
        held[gripper] = scene.layout.objects[0].half_size - 0.004
        simulation._controller.reset(held, simulation.time)
        for _ in range(600):
            put(scene, 0, scene.tool_position(arm))
            simulation.tick()
        assert simulation._current.achieved() is expected


def test_sort_counts_the_named_bin_only(simulations):
    simulation = simulations["aloha"]
    for index in range(4):
        scene = start(simulation, "sort", index)
        (x, y), (_, other_y) = scene.layout.bins
        side = "left" if y > other_y else "right"
        assert side in simulation.instruction
        half = scene.layout.objects[0].half_size
        put(scene, 0, (*scene.layout.bins[1], half + 0.007))
        assert not simulation.advance(20).success
        put(scene, 0, (x, y, half + 0.007))
        assert simulation.advance(20).success


def move_prop(scene, name, position):
    scene.data.joint(name).qpos[:3] = position
    scene.data.joint(name).qvel[:] = 0.0
    mujoco.mj_forward(scene.model, scene.data)


def test_a_tray_that_floats_without_hands_does_not_count(simulations):
    scene = start(simulations["aloha"], "lift_tray")
    move_prop(scene, "tray", (0.53, 0.0, 0.2))
    assert not simulations["aloha"]._current.achieved()


def test_a_peg_in_the_socket_counts_only_in_the_hands(simulations):
    scene = start(simulations["aloha"], "insertion")
    for name in ("peg", "socket"):
        scene.data.joint(name).qpos[3:] = (1, 0, 0, 0)
    move_prop(scene, "socket", (0.5, 0.0, 0.2))
    for depth in (-0.02, 0.05):
        move_prop(scene, "peg", (0.5 - SOCKET_HALF_LENGTH - PEG_HALF_LENGTH + depth, 0.002, 0.2))
        assert insertion_depth(scene) == pytest.approx(depth)
    assert not simulations["aloha"]._current.achieved()
    move_prop(scene, "peg", (0.5, 0.05, 0.2))
    assert insertion_depth(scene) < 0


def test_a_task_of_another_robot_is_refused(simulation):
    with pytest.raises(ValueError, match="expected one for robot 'panda', found 'aloha'"):
        start(simulation, "transfer_cube")
    with pytest.raises(ValueError, match="expected some of one robot"):
        robot_of(["pick", "transfer_cube"])


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match="juggle"):
        get_task("juggle")
