"""Which embodiment each dataset of a training run has: its place, scale and rate in the unified space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from policies.rdt.aloha_demonstrations import AlohaDemonstrations
from policies.rdt.demonstrations import Cameras, Demonstrations
from policies.rdt.embodiment import ALOHA_AGILEX, Embodiment, get_embodiment
from policies.robots import get_named_robot
from policies.robots.spec import RobotSpec

MIN_HALF_RANGE = 1e-2  # rad (m); a joint that stands still must not be blown up
FITTED_CHUNKS = 20_000  # that a scale is measured on


def named_embodiments(names: Sequence[str], datasets: Sequence[Demonstrations]) -> list[Embodiment]:
    """The embodiments of some names or JSON files, one for each dataset, whose robots may differ.

    Raises:
        ValueError: another number of names, an unknown one, or one that does not fit its dataset in joints or rate.
    """
    if len(names) != len(datasets):
        raise ValueError(
            f"--rdt.embodiments: expected one for each of the {len(datasets)} datasets, found {len(names)}"
        )
    found = [get_embodiment(name) for name in names]
    for embodiment, data in zip(found, datasets, strict=True):
        count, arms = data.steps.states.shape[1], len(get_named_robot(data.robot).arms)
        if embodiment.kind == "eef" and arms != 1:
            raise ValueError(
                f"{data.path}: embodiment {embodiment.name!r}: expected a robot of one arm, found {data.robot}"
            )
        if embodiment.kind == "joint" and len(embodiment.names) != count:
            raise ValueError(
                f"{data.path}: embodiment {embodiment.name!r}: expected the {count} joints of {data.robot}, "
                f"found {len(embodiment.names)} numbers"
            )
        if not any(embodiment.cameras):
            raise ValueError(f"{data.path}: embodiment {embodiment.name!r}: expected a camera, found none")
        if data.control_hz not in (None, embodiment.control_hz):
            raise ValueError(
                f"{data.path}: embodiment {embodiment.name!r}: control_hz: expected the dataset's {data.control_hz:g}, "
                f"found {embodiment.control_hz:g}"
            )
    return found


def common_embodiments(
    datasets: Sequence[Demonstrations],
    training: Sequence[NDArray[np.int64]],
    cameras: Cameras,
    base: Embodiment | None,
    relative_rows: int = 0,
) -> list[Embodiment]:
    """One embodiment for all datasets, of one robot, but each at its own rate.

    Args:
        datasets: of one robot.
        training: numbers of the training steps of each.
        cameras: of a fitted embodiment.
        base: of the policy that the run goes on from; None for a fresh one, which gets the published embodiment for
            episodes of ALOHA, and one that is fitted to the steps for LeRobot datasets.
        relative_rows: of a fitted embodiment, see `fit_embodiment`.

    Raises:
        ValueError: the datasets are of several robots, or of both formats without a base.
    """
    for data in datasets:
        if data.robot != datasets[0].robot:
            raise ValueError(
                f"{data.path}: robot: expected {datasets[0].robot} as in {datasets[0].path}, found {data.robot}; for "
                "several robots name the --rdt.embodiments"
            )
    if base is None:
        are_aloha = [isinstance(data, AlohaDemonstrations) for data in datasets]
        if any(are_aloha) and not all(are_aloha):
            raise ValueError(
                "--rdt.embodiments: expected one for each dataset, as episodes of ALOHA and LeRobot datasets have "
                "grippers of other units, found none"
            )
        base = ALOHA_AGILEX if any(are_aloha) else fit_embodiment(datasets, training, cameras, relative_rows)
    return [base if data.control_hz is None else replace(base, control_hz=data.control_hz) for data in datasets]


def fit_embodiment(
    datasets: Sequence[Demonstrations],
    training: Sequence[NDArray[np.int64]],
    cameras: Cameras,
    relative_rows: int = 0,
) -> Embodiment:
    """A robot's joints in the unified space, scaled so that the training steps fill [-1, 1], and grippers [0, 1].

    A network of a few million weights needs such a scale; the released ones keep rad, so that a slot means the same on
    every robot.

    Args:
        datasets: of one robot.
        training: numbers of the training steps of each.
        cameras: by role.
        relative_rows: rows of a chunk, to count arm joints in it from the state, with a scale of two standard
            deviations of what the training steps' chunks then are; 0 for positions.
    """
    spec = get_named_robot(datasets[0].robot)
    numbers = (data.steps.states for data in datasets), (data.steps.actions for data in datasets)
    values = np.concatenate([one[steps] for kind in numbers for one, steps in zip(kind, training, strict=True)])
    low, high = values.min(axis=0), values.max(axis=0)
    offset, scale = (low + high) / 2, np.maximum((high - low) / 2, MIN_HALF_RANGE)
    grippers = spec.grippers
    offset[grippers], scale[grippers] = spec.lower[grippers], (spec.upper - spec.lower)[grippers]
    scaled = {"state_scale": tuple(scale.tolist()), "state_offset": tuple(offset.tolist())}
    body = Embodiment(spec.name, _slot_names(spec), datasets[0].control_hz, cameras=cameras, **scaled)
    if not relative_rows:
        return body
    ways = np.concatenate([_ways(data, steps, relative_rows) for data, steps in zip(datasets, training, strict=True)])
    action_offset, action_scale = np.zeros_like(offset), np.maximum(2 * ways.std(axis=(0, 1)), MIN_HALF_RANGE)
    action_offset[grippers], action_scale[grippers] = offset[grippers], scale[grippers]
    return replace(
        body, relative=True, action_scale=tuple(action_scale.tolist()), action_offset=tuple(action_offset.tolist())
    )


def _ways(data: Demonstrations, steps: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """Chunks (N, rows, k) of a dataset's steps, at most about `FITTED_CHUNKS` of them, less the state."""
    chosen = steps[:: max(1, len(steps) // FITTED_CHUNKS)]
    return data.steps.chunks(chosen, rows) - data.steps.states[chosen][:, None]


def _slot_names(spec: RobotSpec) -> tuple[str, ...]:
    names = []
    for arm in spec.arms:
        side = "" if len(spec.arms) == 1 else f"{arm.name.removesuffix('_arm')}_"
        names += [f"{side}arm_joint_{i}_pos" for i in range(len(arm.joints))] + [f"{side}gripper_open"]
    return tuple(names)
