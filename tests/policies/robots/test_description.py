from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from policies.execution.kinematics import Kinematics
from policies.robots import get_drivers, get_named_robot, get_robot
from policies.robots.description import PRESETS

PANDA = PRESETS["panda"]


def written(folder: Path, text: str) -> str:
    path = folder / "my_robot.yaml"
    path.write_text(text)
    return str(path)


def own_copy(folder: Path, *changes: tuple[str, str]) -> str:
    """The panda's file and models in a folder of their own, with some text replaced."""
    for source in PANDA.parent.glob("*.xml"):
        shutil.copy(source, folder)
    text = PANDA.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return written(folder, text)


def test_a_file_of_ones_own_is_read_as_a_preset_is(tmp_path):
    own, preset = get_robot(own_copy(tmp_path)), get_robot("panda")
    assert own.joint_names == preset.joint_names
    assert own.model_path == tmp_path / "panda.xml"
    for name in ("lower", "upper", "max_velocity", "max_acceleration", "max_jerk", "max_torque", "home"):
        np.testing.assert_array_equal(getattr(own, name), getattr(preset, name))


def test_a_file_may_change_a_preset_in_few_lines(tmp_path):
    path = written(
        tmp_path,
        """
        based_on: panda
        joints: {joint1: {upper: 1.5}, finger_joint1: {upper: 0.03, home: 0.02}}
        arms: {arm: {workspace: {high: [0.6, 0.4, 0.5]}}}
        drivers:
          joint_states: /franka/joint_states
          joints: {joint1: {name: panda_joint1}, finger_joint1: {closed: 0, open: 0.08}}
        cameras:
          wrist:
            color: /hand_camera/image
            mount: {parent_frame: hand, position: [0, 0, 0.1], quaternion_xyzw: [0, 0, 0, 1]}
        """,
    )
    spec, drivers, panda = get_robot(path), get_drivers(path), get_robot("panda")
    assert (spec.name, spec.upper[0], spec.lower[0]) == ("panda", 1.5, panda.lower[0])
    np.testing.assert_array_equal(spec.arms[0].workspace_high, [0.6, 0.4, 0.5])
    np.testing.assert_array_equal(spec.arms[0].workspace_low, panda.arms[0].workspace_low)
    assert drivers.joint_states == "/franka/joint_states"
    assert drivers.joint_names[:2] == ("panda_joint1", "joint2")
    np.testing.assert_allclose(drivers.to_driver(spec.home, 0 * spec.home)[0][7], 0.04)
    wrist = drivers.camera("wrist")
    assert (wrist.color, wrist.depth) == ("/hand_camera/image", "camera/wrist/aligned_depth_to_color/image_raw")
    assert wrist.mount.parent_frame == "hand"
    assert drivers.camera("front").mount is None


def test_inverse_kinematics_keep_to_limits_that_are_narrower_than_the_model(tmp_path):
    spec = get_robot(written(tmp_path, "{based_on: panda, joints: {joint1: {upper: 0.2}}}"))
    kinematics = Kinematics(spec)
    pose = kinematics.forward(spec.home)
    pose[:3, 3] = [0.4, 0.3, 0.3]
    q = kinematics.inverse(pose, spec.home)
    assert q[0] <= 0.2
    # The other joints make up for it; without the limit the base would have turned further.
    np.testing.assert_allclose(kinematics.forward(q)[:3, 3], pose[:3, 3], atol=1e-3)
    assert Kinematics(get_robot("panda")).inverse(pose, spec.home)[0] > 0.25


URDF = """<?xml version="1.0"?>
<robot name="r">
  <joint name="joint1" type="revolute"><limit lower="-1.0" upper="9.0" velocity="1.25" effort="500"/></joint>
  <joint name="finger_joint1" type="revolute"><limit lower="0" upper="0.8" velocity="3.0" effort="1"/></joint>
  <joint name="fixed" type="fixed"/>
</robot>
"""


def test_limits_come_from_the_urdf_and_the_model_whichever_is_narrower(tmp_path):
    (tmp_path / "robot.urdf").write_text(URDF)
    path = own_copy(
        tmp_path,
        ("model: panda.xml", "model: panda.xml\nurdf: robot.urdf"),
        ("joint1: {velocity: 2.175, ", "joint1: {"),
        ("arms:", "drivers: {joints: {finger_joint1: {closed: 0.8, open: 0}}}\narms:"),
    )
    spec = get_robot(path)
    assert (spec.lower[0], spec.upper[0], spec.max_velocity[0], spec.max_torque[0]) == (-1.0, 2.8973, 1.25, 87.0)
    # The URDF counts the gripper in another unit.
    assert (spec.lower[7], spec.upper[7]) == (0.0, 0.04)


@pytest.mark.parametrize(
    ("urdf", "words"),
    [
        (
            URDF.replace('velocity="1.25"', 'velocity="fast"'),
            "joint 'joint1': velocity: expected a finite number, found 'fast'",
        ),
        (URDF.replace('"1.25"', '"nan"'), "velocity: expected a finite number, found 'nan'"),
        ("<robot>", "expected a URDF without DTD, found: ParseError"),
        ("<sdf/>", "whose root is <robot>, found <sdf>"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot/>', "expected a URDF without DTD, found: DTDForbidden"),
    ],
)
def test_a_urdf_that_is_wrong_is_named(tmp_path, urdf, words):
    (tmp_path / "robot.urdf").write_text(urdf)
    with pytest.raises(ValueError, match=r"robot\.urdf") as caught:
        get_robot(own_copy(tmp_path, ("model: panda.xml", "model: panda.xml\nurdf: robot.urdf")))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("velocity: 2.175, acceleration: 15.0", "acceleration: 15.0"),
            ".joints.joint1.velocity: expected a number, found nothing",
        ),
        (
            ("velocity: 2.175, acceleration: 15.0", "velocity: quick, acceleration: 15.0"),
            ".joints.joint1.velocity: expected a finite number, found 'quick'",
        ),
        (
            ("velocity: 2.175, acceleration: 15.0", "velocity: .nan, acceleration: 15.0"),
            "velocity: expected a finite number, found nan",
        ),
        (
            ("velocity: 2.175, acceleration: 15.0", "velocity: -1, acceleration: 15.0"),
            "velocity: expected > 0, found -1.0",
        ),
        (
            ("acceleration: 15.0, jerk: 7500.0, home: 0.0", "acceleration: 15.0, jerk: 7500.0, home: true"),
            "joint1.home: expected a finite number, found True",
        ),
        (
            ("jerk: 7500.0, home: 0.0", "jerk: 7500.0, upper: 3.1, home: 0.0"),
            "joint1.upper: expected at most 2.8973, as the model has it, found 3.1",
        ),
        (("home: -0.311015", "home: -5"), "home: expected within the limits"),
        (("  joint7:", "  joint8:"), ".joints.joint7: expected a mapping, found nothing"),
        (("[joint1, joint2,", "[joint2, joint1,"), "expected actuator 0 to move 'joint2', found 'joint1'"),
        (
            ("second_finger: finger_joint2", "second_finger: thumb"),
            ".arms.arm.second_finger: expected a joint of the model, found 'thumb'",
        ),
        (("tool_frame: tcp", "tool_frame: tip"), ".arms.arm.tool_frame: expected a site of the model, found 'tip'"),
        (
            ("[hand, left_finger,", "[palm, left_finger,"),
            ".arms.arm.hand_bodies: expected bodies of the model, found 'palm'",
        ),
        (("low: [0.2, -0.5, 0.005]", "low: [0.9, -0.5, 0.005]"), ".arms.arm.workspace.low: expected below high"),
        (
            ("low: [0.2, -0.5, 0.005]", "low: [0.2, -0.5]"),
            ".workspace.low: expected 3 finite numbers, found [0.2, -0.5]",
        ),
        (("base_frame: link0", "base_frame: floor"), ".base_frame: expected a body of the model, found 'floor'"),
        (("control_hz: 10.0", "control_hz: 0"), ".control_hz: expected > 0, found 0.0"),
        (
            ("control_hz: 10.0", "control_hz: 10.0\ncolour: red"),
            "my_robot.yaml: expected some of arms, base_frame, cameras",
        ),
        (
            ("control_hz: 10.0", "control_hz: 10.0\ncontrol_hz: 20.0"),
            "line 9: expected each key once, found 'control_hz' again",
        ),
        (("model: panda.xml", "model: ../panda.xml"), ".model: expected a file in"),
        (("model: panda.xml", "model: /etc/hostname"), ".model: expected a file in"),
        (("model: panda.xml", "model: franka.xml"), "franka.xml: expected an MJCF model"),
        (("arms:\n  arm:", "arms:\n  - arm:"), ".arms: expected a mapping of names"),
        (("control_hz: 10.0", "control_hz: !!python/object/apply:os.getcwd []"), "expected valid YAML"),
        (
            ("arms:", "drivers: {controllers: [{topic: a, joints: [joint1]}]}\narms:"),
            ".drivers: controllers: expected the joints 0 to 7",
        ),
        (
            ("arms:", "drivers: {controllers: [{topic: a, joints: [elbow]}]}\narms:"),
            ".drivers.controllers[0].joints: expected joints of joint1",
        ),
        (
            ("arms:", "drivers: {joints: {joint1: {closed: 0, open: 1}}}\narms:"),
            ".drivers.joints.joint1: expected closed and open of a gripper only",
        ),
        (
            ("arms:", "drivers: {joints: {finger_joint1: {closed: 1, open: 1}}}\narms:"),
            "expected another value than closed",
        ),
        (("arms:", "drivers: {joints: {joint1: {name: joint2}}}\narms:"), "expected each driver's joint once"),
        (
            ("arms:", "drivers: {joints: {elbow: {name: b}}}\narms:"),
            ".drivers.joints: expected some of finger_joint1, joint1",
        ),
        (("arms:", "cameras: {front: {rgb: /a}}\narms:"), ".cameras.front: expected some of color, depth"),
        (
            (
                "arms:",
                "cameras: {a: {mount: {parent_frame: a, position: [0, 0, 0], quaternion_xyzw: [0, 0, 0, 2]}}}\narms:",
            ),
            ".cameras.a.mount.quaternion_xyzw: expected 4 values of norm 1",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, change, words):
    with pytest.raises(ValueError, match=r"\.(yaml|xml)") as caught:
        get_robot(own_copy(tmp_path, change))
    assert words in str(caught.value)


def test_a_base_that_does_not_exist_and_one_that_is_a_path_are_refused(tmp_path):
    for base in ("robby", "/tmp/other.yaml", "[panda]"):
        with pytest.raises(ValueError, match="based_on: expected one of aloha"):
            get_robot(written(tmp_path, f"based_on: {base}"))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "linked.xml").symlink_to(PANDA.with_suffix(".xml"))
    with pytest.raises(ValueError, match=r"model: expected a file in .*, found 'linked.xml'"):
        get_robot(written(tmp_path, "{based_on: panda, model: linked.xml}"))


def test_a_file_that_is_missing_large_deep_or_a_bomb_is_refused_quickly(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a YAML file"):
        get_robot(str(tmp_path / "lost.yaml"))
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    for text, words in (
        ("x" * 2**19, "expected at most 262144 bytes"),
        ("[" * 3000, "expected valid YAML"),
        ("- a", "expected a mapping"),
        (bomb + "based_on: panda\njoints: *a29\n", "expected a mapping of names"),
        (bomb + "based_on: panda\nname: *a29\n", "name: expected a text"),
    ):
        with pytest.raises(ValueError, match=r"my_robot\.yaml") as caught:
            get_robot(written(tmp_path, text))
        assert words in str(caught.value)
        assert len(str(caught.value)) < 5000


def example_of_the_guide(repository, number):
    guide = (repository / "docs" / "real_arm.md").read_text()
    return dedent(guide.split("```yaml\n")[number].split("```")[0])


def test_the_names_of_a_driver_in_the_guide_are_taken(tmp_path, repository):
    drivers = get_drivers(written(tmp_path, example_of_the_guide(repository, 1)))
    assert drivers.joint_names[0] == "fr3_joint1"
    assert [controller.topic.split("/")[0] for controller in drivers.controllers] == [
        "fr3_arm_controller",
        "fr3_gripper_controller",
    ]


@pytest.mark.parametrize(
    ("robot", "controllers"),
    [
        ("panda", ["arm_controller"]),
        ("fr3", ["arm_controller"]),
        ("so101", ["arm_controller"]),
        ("aloha", ["left_arm_controller", "right_arm_controller"]),
        ("ur5e", ["joint_trajectory_controller", "gripper_controller"]),
        ("xarm7", ["xarm7_traj_controller", "xarm_gripper_traj_controller"]),
    ],
)
def test_the_controllers_of_the_presets_are_those_of_the_guide(robot, controllers, repository):
    drivers = get_drivers(robot)
    assert [controller.topic for controller in drivers.controllers] == [
        f"{name}/joint_trajectory" for name in controllers
    ]
    guide = (repository / "docs" / "real_arm.md").read_text()
    line = next(line for line in guide.splitlines() if line.strip().startswith("| `") and f"`{robot}`" in line)
    names = [name.removeprefix("right_") for name in controllers]
    assert all(name in line for name in names)


def test_the_example_of_the_guide_is_a_robot(tmp_path, repository):
    example = example_of_the_guide(repository, 2)
    spec, drivers = get_robot(written(tmp_path, example)), get_drivers(written(tmp_path, example))
    assert (spec.lower[0], spec.max_velocity[0]) == (-1.0, 1.0)
    assert drivers.frame("panda_hand") == "hand"
    assert [len(controller.joints) for controller in drivers.controllers] == [7, 1]


def test_a_checkpoint_names_a_robot_and_opens_no_file(tmp_path):
    path = written(tmp_path, "{based_on: panda, name: arm_read_later}")
    for name in (path, "arm_read_later"):
        with pytest.raises(ValueError, match="a robot of your own is known once its file was read"):
            get_named_robot(name)
    assert get_named_robot("panda") is get_robot("panda")
    own = get_robot(path)
    assert get_named_robot("arm_read_later") is own
