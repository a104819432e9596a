"""A robot as an `mujoco.MjSpec`, ready to be attached to a scene: our own MJCF or MuJoCo Menagerie's."""

from __future__ import annotations

from typing import Literal

import mujoco

from policies.robots.spec import RobotSpec

RobotModel = Literal["polyarm", "menagerie"]

MENAGERIE_ENTRIES = {"panda": ("franka_emika_panda", "panda")}


def load_robot_spec(robot: RobotSpec, robot_model: RobotModel = "polyarm") -> mujoco.MjSpec:
    """Return the bare robot, gravity compensated, with its tool sites and wrist cameras.

    Bodies, joints and actuators have the same names and control units in both models. A camera's name holds no slash
    (`left_wrist`, not `left/wrist`): topics and columns are named after it.

    Args:
        robot: which robot.
        robot_model: `polyarm` (primitive geometry, nothing to download) or `menagerie` (meshes, which the PyPI package
            `mujoco-menagerie` downloads on first use).

    Raises:
        ValueError: unknown model, or a robot that Menagerie's model does not stand for.
        RuntimeError: Menagerie's model cannot be had: the package is missing or the download failed.
    """
    own = mujoco.MjSpec.from_file(str(robot.model_path))
    for camera in own.cameras:
        camera.name = camera.name.replace("/", "_")
    if robot_model == "polyarm":
        return own
    if robot_model == "menagerie":
        if robot.name not in MENAGERIE_ENTRIES:
            known = ", ".join(MENAGERIE_ENTRIES)
            raise ValueError(f"robot_model: menagerie: expected one of {known}, found {robot.name!r}")
        return adapt_menagerie(_menagerie_spec(robot.name), own, robot.arms[0].tool_site)
    raise ValueError(f"robot_model: expected polyarm or menagerie, found {robot_model!r}")


def adapt_menagerie(spec: mujoco.MjSpec, own: mujoco.MjSpec, tool_site: str) -> mujoco.MjSpec:
    """Give Menagerie's model what ours has beside geometry: gravity compensation, the tool site, the cameras.

    Args:
        spec: Menagerie's model; changed in place and returned.
        own: our model of the same robot, whose site and cameras (posed by `quat`) are copied; bodies share their names.
        tool_site: name of the tool site in `own`.
    """
    spec.option.integrator = own.option.integrator
    for body in spec.bodies:
        if body.name != "world":
            body.gravcomp = 1.0
    site = own.site(tool_site)
    spec.body(site.parent.name).add_site(name=site.name, pos=site.pos, quat=site.quat, group=site.group)
    for camera in own.cameras:
        spec.body(camera.parent.name).add_camera(name=camera.name, pos=camera.pos, quat=camera.quat, fovy=camera.fovy)
    # Its keyframe and light would clash with the scene's.
    for element in (*spec.keys, *spec.lights):
        spec.delete(element)
    return spec


def _menagerie_spec(name: str) -> mujoco.MjSpec:
    try:
        import mujoco_menagerie
    except ImportError as error:
        raise RuntimeError(
            "robot_model: menagerie needs the package mujoco-menagerie (pip install mujoco-menagerie)"
        ) from error
    directory, entry = MENAGERIE_ENTRIES[name]
    try:
        return mujoco_menagerie.get(directory).spec(entry)
    except (mujoco_menagerie.MenagerieError, OSError) as error:
        raise RuntimeError(
            f"robot_model: menagerie's {directory} could not be downloaded ({error}); connect to the internet once, "
            "or set MENAGERIE_ROOT to a checkout"
        ) from error
