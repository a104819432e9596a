"""Do a policy, a robot and what the robot reports fit together? Wrong units look like wild motion: better not begin."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.interface import Policy
from policies.robots.spec import RobotSpec

POSITION_MARGIN = 0.1  # rad (m); encoders may stand a little outside the limits
DEPTH_RANGE = (0.02, 30.0)  # m, of the median of a picture


def policy_mismatch(policy: Policy, name: str, spec: RobotSpec) -> str:
    """What of a policy does not fit the robot, in words; empty if it fits.

    Compares the robot, and the fastest motion that the policy's statistics allow with the speed of the arm: statistics
    in millimetres, in degrees, or for another rate stand out by orders of magnitude.

    Args:
        policy: with an attribute `max_step`, (6,) largest translations (m) and rotations (rad) of a row, this is
            compared too.
        name: of the policy, for the words.
        spec: the robot.
    """
    if policy.robot != spec.name:
        return f"policy '{name}': expected one for robot '{spec.name}', found one for '{policy.robot}'"
    max_step: NDArray | None = getattr(policy, "max_step", None)
    if max_step is None:
        return ""
    arm = spec.arms[0]
    reach = float(np.linalg.norm(arm.workspace_high - arm.workspace_low))
    joint_speed = float(np.max(spec.max_velocity[list(arm.joints)]))
    speeds = np.asarray(max_step) * policy.control_hz
    limits = ((slice(0, 3), joint_speed * reach, "m/s"), (slice(3, 6), len(arm.joints) * joint_speed, "rad/s"))
    for axes, limit, unit in limits:
        fastest = float(np.max(np.abs(speeds[axes])))
        if fastest > limit:
            return (
                f"statistics of policy '{name}': expected motions of at most {limit:.1f} {unit} at "
                f"{policy.control_hz:g} Hz, found {fastest:.1f} {unit}; check their units and rate"
            )
    return ""


def joints_mismatch(positions: ArrayLike, spec: RobotSpec) -> str:
    """The first joint (n,) that stands outside its limits, in words; empty if none does."""
    positions = np.asarray(positions, dtype=np.float64)
    outside = (positions < spec.lower - POSITION_MARGIN) | (positions > spec.upper + POSITION_MARGIN)
    if not outside.any():
        return ""
    joint = int(np.argmax(outside))
    return (
        f"joint_states: {spec.joint_names[joint]}: expected within [{spec.lower[joint]:.3f}, {spec.upper[joint]:.3f}] "
        f"rad (m), found {positions[joint]:.3f}; check the units"
    )


def depth_mismatch(camera: str, depth: ArrayLike) -> str:
    """Whether a depth image (H, W) in metres has an unlikely scale, in words; empty if not, or if it is all unknown."""
    depth = np.asarray(depth)
    known = depth[np.isfinite(depth) & (depth > 0)]
    if known.size == 0:
        return ""
    middle = float(np.median(known))
    low, high = DEPTH_RANGE
    if low <= middle <= high:
        return ""
    return (
        f"camera '{camera}': depth: expected a median within [{low}, {high}] m, found {middle:.4g}; "
        "32FC1 images hold metres, 16UC1 images millimetres"
    )
