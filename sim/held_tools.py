"""Tools that swing in a gripper, as joint readings: `python -m sim.held_tools --output DIR`.

The panda holds a tool of unknown length, weight and head between its fingertips, where it turns freely. The wrist
shakes it for two seconds and then holds still; from then on the tool's joint is read, with noise, at 100 Hz. In a third
of the windows something stands in its way for a while, in another third the grip loosens and the tool slips by a
few millimetres or centimetres; in the rest nothing happens.

`windows.npz` has those windows, and passive pendulums and springs without noise to learn from before: see
`representation.benchmarks.held_tools`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from policies.robots import get_named_robot
from policies.robots.model import load_robot_spec
from representation.data.frames import expect_empty
from representation.dynamics.hamiltonian_meta.windows import EVENTS, FILE

STEP_S, READ_S = 0.001, 0.01
WIGGLE_S, REST_S = 2.0, 0.3
WIGGLE_RAD, WRIST, ARM_JOINTS = 0.12, 5, 7  # joint6 turns about the axis of the grip
OBSTACLE_S, OBSTACLE_RADIUS = 0.5, 0.015
GRIP_N_PER_M, GRIP_DAMPING = 5e4, 200.0  # how stiffly the grip holds the tool along its length
DECAY_S = 30.0  # in which friction takes the swing down
SLIP_S, SLIP_M = 0.2, (0.003, 0.02)
PASSIVE_POINTS = 200
_FAR_AWAY = (0.0, 2.0, 0.0)


@dataclass(frozen=True)
class HeldToolOptions:
    """What is simulated.

    Attributes:
        output: directory to write; must not hold files.
        count: windows of held tools, of the three kinds in turn.
        passive: pendulums, and as many springs.
        calm_s: seconds of each window before anything may happen.
        watched_s: seconds after those.
        position_noise: standard deviation of a reading, rad.
        velocity_noise: the same, rad/s.
        seed: of everything that is drawn.
    """

    output: Path
    count: int = 150
    passive: int = 60
    calm_s: float = 3.0
    watched_s: float = 4.0
    position_noise: float = 1e-3
    velocity_noise: float = 5e-3
    seed: int = 0


class HeldTool:
    """One tool in the gripper of the panda.

    Args:
        rng: draws the tool.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        robot = get_named_robot("panda")
        spec = load_robot_spec(robot)
        spec.option.timestep, spec.option.integrator = STEP_S, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self.length, rod, head = rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.3), rng.uniform(0.0, 0.3)
        self._add_tool(spec, rod, head)
        post = spec.worldbody.add_body(name="post", pos=_FAR_AWAY, mocap=True)
        size = (OBSTACLE_RADIUS, 0.05, 0.0)
        turned = (0.5**0.5, 0.5**0.5, 0.0, 0.0)  # along y
        post.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=size, quat=turned, contype=2, conaffinity=2)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        for number, joint in enumerate(robot.joint_names[:ARM_JOINTS]):
            self.data.joint(joint).qpos = robot.home[number]
            self.data.actuator(f"actuator{number + 1}").ctrl = robot.home[number]
        self.home = float(robot.home[WRIST])
        self.slide = self.model.joint("slide").qposadr[0]
        mujoco.mj_forward(self.model, self.data)

    def _add_tool(self, spec: mujoco.MjSpec, rod: float, head: float) -> None:
        inertia = (rod / 3 + head) * self.length**2
        grip = spec.body("hand").add_body(name="grip", pos=(0, 0, 0.1034))
        grip.add_joint(name="swing", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 1, 0))
        swing = grip.joints[0]
        swing.damping, swing.armature, swing.frictionloss = [inertia / DECAY_S, 0, 0], 0.0, 0.0
        grip.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.005, 0, 0), mass=0.01, contype=0, conaffinity=0)
        tool = grip.add_body(name="tool")
        tool.add_joint(name="slide", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(0, 0, 1))
        slide = tool.joints[0]
        slide.stiffness, slide.damping = [GRIP_N_PER_M, 0, 0], [GRIP_DAMPING, 0, 0]
        slide.armature, slide.frictionloss = 0.0, 0.0
        shape = {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "contype": 2, "conaffinity": 2}
        tool.add_geom(fromto=(0, 0, 0, 0, 0, self.length), size=(0.006, 0, 0), mass=rod, **shape)
        head_end = self.length - 0.01, self.length + 0.01
        tool.add_geom(fromto=(0, 0, head_end[0], 0, 0, head_end[1]), size=(0.01, 0, 0), mass=head + 1e-4, **shape)

    def _advance(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            mujoco.mj_step(self.model, self.data)

    def wiggle(self, rng: np.random.Generator) -> None:
        """Shake the tool near its own frequency, then hold still."""
        rate, wrist = rng.uniform(0.8, 1.0) * (9.81 / self.length) ** 0.5, self.data.actuator(f"actuator{WRIST + 1}")
        for step in range(round(WIGGLE_S / STEP_S)):
            wrist.ctrl = self.home + WIGGLE_RAD * np.sin(rate * step * STEP_S)
            mujoco.mj_step(self.model, self.data)
        wrist.ctrl = self.home
        self._advance(REST_S)

    def _obstruct(self) -> None:
        """Put the post beside the lowest point of the swing, on the side where the tool is not."""
        side = -np.sign(self.data.joint("swing").qpos[0])
        angle = side * 0.1
        hand = self.data.body("hand").xmat.reshape(3, 3)
        along = 0.7 * self.length * np.array([np.sin(angle), 0.0, np.cos(angle)])
        self.data.mocap_pos[0] = self.data.body("grip").xpos + hand @ along

    def read(self, seconds: float, event: str, at: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """(T, 2) angle and speed of the tool, rad and rad/s.

        Args:
            seconds: how long.
            event: one of EVENTS.
            at: when it begins, seconds.
            rng: draws how far it slips.
        """
        reach, begun = rng.uniform(*SLIP_M), self.data.time
        readings, started = [], False
        for _ in range(round(seconds / READ_S)):
            passed = self.data.time - begun
            if event == "slip":
                self.model.qpos_spring[self.slide] = reach * np.clip((passed - at) / SLIP_S, 0, 1)
            elif event == "collision" and passed >= at:
                if not started:
                    self._obstruct()
                    started = True
                elif passed >= at + OBSTACLE_S:
                    self.data.mocap_pos[0] = _FAR_AWAY
            swing = self.data.joint("swing")
            readings.append((swing.qpos[0], swing.qvel[0]))
            self._advance(READ_S)
        return np.array(readings)


def passive(kind: str, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and velocity, and their rates, of a free pendulum or a mass on a spring for two seconds.

    Returns:
        Two arrays (200, 2), in rad or m, and seconds.
    """
    spec = mujoco.MjSpec()
    spec.option.timestep = STEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_RK4
    body, mass = spec.worldbody.add_body(), rng.uniform(0.1, 1.0)
    if kind == "pendulum":
        body.add_joint(name="free", type=mujoco.mjtJoint.mjJNT_HINGE, axis=(0, 1, 0))
        tip, reach = (0, 0, -rng.uniform(0.1, 0.6)), rng.uniform(0.2, 1.2)
    else:
        stiffness = [mass * rng.uniform(4.0, 11.0) ** 2, 0, 0]
        body.add_joint(name="free", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=(1, 0, 0), stiffness=stiffness)
        tip, reach = (0, 0, -0.1), rng.uniform(0.1, 0.5)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(0, 0, 0, *tip), size=(0.005, 0, 0), mass=mass)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[0] = reach
    states, rates = [], []
    for _ in range(PASSIVE_POINTS):
        mujoco.mj_forward(model, data)
        states.append((data.qpos[0], data.qvel[0]))
        rates.append((data.qvel[0], data.qacc[0]))
        for _ in range(round(READ_S / STEP_S)):
            mujoco.mj_step(model, data)
    return np.array(states), np.array(rates)


def simulate(options: HeldToolOptions) -> dict[str, NDArray]:
    """All that `windows.npz` holds."""
    rng = np.random.default_rng(options.seed)
    noise = np.array([options.position_noise, options.velocity_noise])
    windows, times = [], []
    for number in tqdm(range(options.count), desc="tools", unit="window"):
        tool = HeldTool(rng)
        tool.wiggle(rng)
        at = options.calm_s + rng.uniform(0.5, 0.5 * options.watched_s)
        readings = tool.read(options.calm_s + options.watched_s, EVENTS[number % len(EVENTS)], at, rng)
        windows.append(readings + rng.normal(0, noise, readings.shape))
        times.append(at)
    learned = {kind: [passive(kind, rng) for _ in range(options.passive)] for kind in ("pendulum", "spring")}
    return {
        "dt": np.array(READ_S),
        "calm_s": np.array(options.calm_s),
        "readings": np.array(windows),
        "event": np.arange(options.count) % len(EVENTS),
        "event_s": np.array(times),
        **{f"{kind}_states": np.array([states for states, _ in found]) for kind, found in learned.items()},
        **{f"{kind}_rates": np.array([rates for _, rates in found]) for kind, found in learned.items()},
    }


def main() -> None:
    """Write them."""
    options = tyro.cli(HeldToolOptions, description=__doc__)
    expect_empty(options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    np.savez(options.output / FILE, **simulate(options))
    print(f"{options.output / FILE}: {options.count} windows of {', '.join(EVENTS)}")


if __name__ == "__main__":
    main()
