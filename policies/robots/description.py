"""A robot's YAML file, made into what the stack knows of it (`RobotSpec`) and what its drivers know (`RobotDrivers`).

The presets beside this file (`panda/panda.yaml`) show the format; `docs/real_arm.md` explains it. `based_on: panda`
takes a preset and changes what the file says otherwise: mappings are merged, everything else is replaced. Limits that
the file does not state come from the URDF that it names and from its MJCF model, the narrower of both; one that it
states may only be narrower still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from policies.robots.camera_mount import CameraMount
from policies.robots.drivers import CameraDriver, Controller, RobotDrivers, camera_driver
from policies.robots.limits import JointLimits, limits_of_model, limits_of_urdf
from policies.robots.spec import Arm, RobotSpec
from policies.robots.yaml_tree import Tree, read_yaml, shown

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*/*.yaml"))}
_OWN: dict[str, RobotDescription] = {}
"""Robots of files that were read, by their names."""
RANGE_TOLERANCE = 1e-9  # rad (m)
_KINDS = {"joint": mujoco.mjtObj.mjOBJ_JOINT, "site": mujoco.mjtObj.mjOBJ_SITE, "body": mujoco.mjtObj.mjOBJ_BODY}
_CAMERA_NAMES = ("color", "depth", "info", "extrinsics", "frame")


@dataclass(frozen=True, slots=True)
class RobotDescription:
    """All that a robot's file says.

    Attributes:
        spec: joints, limits, frames and model.
        drivers: names, topics and units.
    """

    spec: RobotSpec
    drivers: RobotDrivers


def describe_robot(name_or_path: str) -> RobotDescription:
    """Read the description of a preset, or a YAML file.

    Args:
        name_or_path: name of a preset, or path of a file that ends in `.yaml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: nothing of that name, or a file that is wrong; says where, what was expected and what was found.
    """
    if name_or_path in PRESETS:
        return _preset(name_or_path)
    if Path(name_or_path).suffix not in (".yaml", ".yml"):
        known = ", ".join(sorted(PRESETS))
        raise ValueError(f"robot: expected one of {known}, or a .yaml file, found {name_or_path!r}")
    description = _read(Path(name_or_path).expanduser())
    _OWN[description.spec.name] = description
    return description


def describe_named_robot(name: str) -> RobotDescription:
    """The robot of a preset, or of a file that this process has read: what a checkpoint or a dataset may name.

    Raises:
        ValueError: nothing of that name; no file is read for it.
    """
    if name in PRESETS:
        return _preset(name)
    if name not in _OWN:
        known = ", ".join(sorted({*PRESETS, *_OWN}))
        raise ValueError(
            f"robot: expected one of {known}, found {name!r}; a robot of your own is known once its file was read"
        )
    return _OWN[name]


@lru_cache
def _preset(name: str) -> RobotDescription:
    return _read(PRESETS[name])


def _read(path: Path) -> RobotDescription:
    tree = Tree(_merged(path), str(path))
    model_path = tree.get_path("model")
    model = _compile(model_path)
    arms, names = _arms(tree.subtree("arms"), model)
    driver = _driver_joints(tree, names)
    spec = _spec(tree, model_path, model, arms, names, driver)
    drivers = _drivers(tree, model, spec, driver)
    tree.done()
    return RobotDescription(spec, drivers)


def _merged(path: Path) -> dict[str, Any]:
    """Content of a file over that of the preset that it is based on; the files that it names become paths."""
    content = read_yaml(path)
    for key in ("model", "urdf"):
        if key in content:
            content[key] = _confined(path, key, content[key])
    base = content.pop("based_on", None)
    if base is None:
        return content
    if not isinstance(base, str) or base not in PRESETS:
        raise ValueError(f"{path}.based_on: expected one of {', '.join(PRESETS)}, found {shown(base)}")
    return _over(content, _merged(PRESETS[base]))


def _over(content: Any, base: Any) -> Any:
    if not (isinstance(content, dict) and isinstance(base, dict)):
        return content
    return base | {key: _over(value, base[key]) if key in base else value for key, value in content.items()}


def _confined(path: Path, key: str, name: Any) -> Path:
    """The file of that name, which must lie in the folder of the description, or below it."""
    folder = path.parent.resolve()
    found = (folder / name).resolve() if isinstance(name, str) else folder
    if not (found.is_file() and found.is_relative_to(folder)):
        raise ValueError(f"{path}.{key}: expected a file in {folder}, found {shown(name)}")
    return found


def _compile(path: Path) -> mujoco.MjModel:
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise ValueError(f"{path}: expected an MJCF model, found: {error}") from error


def _arms(tree: Tree, model: mujoco.MjModel) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """The arms, and the names of all joints in their order."""
    arms: list[Arm] = []
    names: list[str] = []
    for name in tree.keys:
        entry = tree.subtree(name)
        joints = entry.get_names("joints")
        first = len(names)
        names += [*joints, entry.get_text("gripper")]
        workspace = entry.subtree("workspace")
        second_finger = _in_model(entry, "second_finger", model, "joint") if "second_finger" in entry else None
        low, high = (np.array(workspace.get_numbers(key, 3)) for key in ("low", "high"))
        if not (low < high).all():
            raise workspace.wrong("low", f"below high, {high}", low)
        workspace.done()
        arms.append(
            Arm(
                name=name,
                joints=tuple(range(first, first + len(joints))),
                gripper=first + len(joints),
                tool_site=_in_model(entry, "tool_frame", model, "site"),
                hand_bodies=entry.get_names("hand_bodies"),
                second_finger=second_finger,
                workspace_low=low,
                workspace_high=high,
            )
        )
        for body in arms[-1].hand_bodies:
            if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body) < 0:
                raise entry.wrong("hand_bodies", "bodies of the model", body)
        entry.done()
    if not arms or len(set(names)) != len(names):
        raise ValueError(f"{tree.place}: expected at least one arm, and each joint once, found {names}")
    return tuple(arms), tuple(names)


def _in_model(tree: Tree, key: str, model: mujoco.MjModel, kind: str) -> str:
    """A name that the model must have."""
    name = tree.get_text(key)
    if mujoco.mj_name2id(model, _KINDS[kind], name) < 0:
        raise tree.wrong(key, f"a {kind} of the model", name)
    return name


def _spec(
    tree: Tree,
    model_path: Path,
    model: mujoco.MjModel,
    arms: tuple[Arm, ...],
    names: tuple[str, ...],
    driver: Mapping[str, DriverJoint],
) -> RobotSpec:
    joints = tree.subtree("joints")
    try:
        of_model = limits_of_model(model, names)
    except ValueError as error:
        raise ValueError(f"{model_path}: {error}") from error
    of_urdf = limits_of_urdf(tree.get_path("urdf")) if "urdf" in tree else {}
    columns: dict[str, list[float]] = {}
    for name in names:
        entry = joints.subtree(name)
        known = [of_model[name]]
        if driver[name].ends is None and driver[name].name in of_urdf:  # else the URDF counts in other units
            known.append(of_urdf[driver[name].name])
        for field in ("lower", "upper", "velocity", "effort"):
            columns.setdefault(field, []).append(_limit(entry, field, known))
        for field in ("acceleration", "jerk", "home"):
            columns.setdefault(field, []).append(entry.get_number(field))
        for field in ("velocity", "effort", "acceleration", "jerk"):
            if not columns[field][-1] > 0:
                raise entry.wrong(field, "> 0", columns[field][-1])
        entry.done()
    joints.done()
    name, control_hz = tree.get_text("name"), tree.get_number("control_hz")
    if not control_hz > 0:
        raise tree.wrong("control_hz", "> 0", control_hz)
    base_frame = _in_model(tree, "base_frame", model, "body")
    try:
        return RobotSpec(
            name=name,
            joint_names=names,
            arms=arms,
            lower=np.array(columns["lower"]),
            upper=np.array(columns["upper"]),
            max_velocity=np.array(columns["velocity"]),
            max_acceleration=np.array(columns["acceleration"]),
            max_jerk=np.array(columns["jerk"]),
            max_torque=np.array(columns["effort"]),
            home=np.array(columns["home"]),
            base_frame=base_frame,
            control_hz=control_hz,
            model_path=model_path,
        )
    except ValueError as error:
        raise ValueError(f"{tree.place}: {error}") from error


def _limit(entry: Tree, field: str, known: Sequence[JointLimits]) -> float:
    """What the file states, if it is no wider than what the models tell; else the narrowest of those."""
    told = [value for limits in known if (value := getattr(limits, field)) is not None]
    bound = (max if field == "lower" else min)(told, default=None)
    value = entry.get_number(field, bound)
    if bound is not None and (bound - value if field == "lower" else value - bound) > RANGE_TOLERANCE:
        raise entry.wrong(field, f"at {'least' if field == 'lower' else 'most'} {bound:g}, as the model has it", value)
    return value


@dataclass(frozen=True, slots=True)
class DriverJoint:
    """A joint as its driver has it.

    Attributes:
        name: in its messages.
        ends: its values where the gripper is closed and where it is open; None where its unit is ours.
    """

    name: str
    ends: tuple[float, float] | None = None


def _driver_joints(tree: Tree, names: tuple[str, ...]) -> dict[str, DriverJoint]:
    joints = tree.subtree("drivers", {}).subtree("joints", {})
    found = {}
    for name in names:
        entry = joints.subtree(name, {})
        ends = None
        if "closed" in entry or "open" in entry:
            ends = entry.get_number("closed"), entry.get_number("open")
            if ends[0] == ends[1]:
                raise entry.wrong("open", f"another value than closed, {ends[0]:g}", ends[1])
        found[name] = DriverJoint(entry.get_text("name", name), ends)
        entry.done()
    joints.done()
    return found


def _drivers(tree: Tree, model: mujoco.MjModel, spec: RobotSpec, driver: Mapping[str, DriverJoint]) -> RobotDrivers:
    entry = tree.subtree("drivers", {})
    entry.subtree("joints", {})  # read before, with the limits
    scale, offset = np.ones(len(spec.joint_names)), np.zeros(len(spec.joint_names))
    for place, name in enumerate(spec.joint_names):
        ends = driver[name].ends
        if ends is None:
            continue
        if place not in spec.grippers:
            raise ValueError(
                f"{entry.place}.joints.{name}: expected closed and open of a gripper only, found an arm joint"
            )
        # The model's ends, not the file's, which may be narrower.
        closed, opened = model.joint(name).range
        scale[place] = (ends[1] - ends[0]) / (opened - closed)
        offset[place] = ends[0] - scale[place] * closed
    cameras = tree.subtree("cameras", {})
    of_cameras = {name: _camera(cameras.subtree(name), name) for name in cameras.keys}
    names, controllers = tuple(driver[name].name for name in spec.joint_names), _controllers(entry, spec)
    topic = entry.get_text("joint_states", "joint_states")
    frames = entry.subtree("frames", {})
    ours = {frames.get_text(name): name for name in frames.keys}
    for name in frames.keys:
        if all(mujoco.mj_name2id(model, _KINDS[kind], name) < 0 for kind in ("site", "body")):
            raise ValueError(f"{frames.place}: expected names of the model's sites or bodies, found {name!r}")
    entry.done()
    try:
        return RobotDrivers(names, scale, offset, topic, controllers, of_cameras, ours)
    except ValueError as error:
        raise ValueError(f"{entry.place}: {error}") from error


def _controllers(entry: Tree, spec: RobotSpec) -> tuple[Controller, ...]:
    """Those of the file; else one for each arm with its gripper, `<arm>_controller`."""
    found = []
    for item in entry.subtrees("controllers", []):
        joints = item.get_names("joints")
        unknown = sorted(set(joints) - set(spec.joint_names))
        if unknown:
            raise item.wrong("joints", f"joints of {', '.join(spec.joint_names)}", unknown)
        found.append(Controller(item.get_text("topic"), tuple(spec.joint_names.index(name) for name in joints)))
        item.done()
    return tuple(found) or tuple(
        Controller(f"{arm.name}_controller/joint_trajectory", (*arm.joints, arm.gripper)) for arm in spec.arms
    )


def _camera(entry: Tree, name: str) -> CameraDriver:
    usual = camera_driver(name)
    fields = {field: entry.get_text(field, getattr(usual, field)) for field in _CAMERA_NAMES}
    mount = _mount(entry.subtree("mount")) if "mount" in entry else None
    entry.done()
    return CameraDriver(**fields, mount=mount)


def _mount(entry: Tree) -> CameraMount:
    parent = entry.get_text("parent_frame")
    position, quaternion = entry.get_numbers("position", 3), entry.get_numbers("quaternion_xyzw", 4)
    entry.done()
    try:
        return CameraMount(parent, np.array(position), np.array(quaternion))
    except ValueError as error:
        raise ValueError(f"{entry.place}.{error}") from error
