"""Joint limits as robot models tell them: an MJCF by MuJoCo's own loader, a URDF by an XML parser without entities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import mujoco
from defusedxml import DefusedXmlException

_URDF_SIZE_LIMIT = 2**24


@dataclass(frozen=True, slots=True)
class JointLimits:
    """What a model tells of one joint; None where it is silent.

    Attributes:
        lower: rad (m).
        upper: rad (m).
        velocity: rad/s (m/s).
        effort: N m (N).
    """

    lower: float | None = None
    upper: float | None = None
    velocity: float | None = None
    effort: float | None = None


def limits_of_model(model: mujoco.MjModel, joints: Sequence[str]) -> dict[str, JointLimits]:
    """Ranges of the joints, and of their actuators, which must come in the order of the joints.

    Raises:
        ValueError: the model lacks a joint, a range, or an actuator.
    """
    if model.nu != len(joints):
        raise ValueError(f"model: expected {len(joints)} actuators in the order of the joints, found {model.nu}")
    found = {}
    for place, name in enumerate(joints):
        joint = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
        if joint < 0:
            known = ", ".join(model.joint(index).name for index in range(model.njnt))
            raise ValueError(f"model: expected a joint {name!r}, found {known}")
        kind, moved = model.actuator_trntype[place], model.actuator_trnid[place, 0]
        if kind == mujoco.mjtTrn.mjTRN_JOINT and moved != joint:
            raise ValueError(f"model: expected actuator {place} to move {name!r}, found {model.joint(moved).name!r}")
        if not (model.jnt_limited[joint] and model.actuator_forcelimited[place]):
            raise ValueError(f"model: expected a range of joint {name!r} and a forcerange of its actuator, found none")
        lower, upper = (float(value) for value in model.jnt_range[joint])
        found[name] = JointLimits(lower, upper, None, float(model.actuator_forcerange[place, 1]))
    return found


def limits_of_urdf(path: Path) -> dict[str, JointLimits]:
    """Limits of all joints of a URDF that have some, by name.

    Raises:
        ValueError: not a URDF, too large, with entities, or a limit that is not a number.
    """
    if path.stat().st_size > _URDF_SIZE_LIMIT:
        raise ValueError(f"{path}: expected at most {_URDF_SIZE_LIMIT} bytes, found {path.stat().st_size}")
    try:
        root = defusedxml.ElementTree.parse(path, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise ValueError(f"{path}: expected a URDF without DTD, found: {error!r}") from error
    if root.tag != "robot":
        raise ValueError(f"{path}: expected a URDF, whose root is <robot>, found <{root.tag}>")
    found = {}
    for joint in root.iterfind("joint"):
        limit = joint.find("limit")
        if limit is None:
            continue
        name = joint.get("name", "")
        # A continuous joint has a velocity and an effort, but no ends.
        ends = () if joint.get("type") == "continuous" else ("lower", "upper")
        found[name] = JointLimits(
            **{
                field: _number(limit.attrib, field, f"{path}: joint {name!r}")
                for field in (*ends, "velocity", "effort")
            }
        )
    return found


def _number(attributes: Mapping[str, str], field: str, place: str) -> float | None:
    text = attributes.get(field)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{place}: {field}: expected a finite number, found {text!r}")
    return value
