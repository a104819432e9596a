"""Measures how many control steps per second one simulation makes, and prints JSON.

Run as a file by the Python of the environment that the simulation is installed in, so it imports nothing of ours
unless it measures ours. Every system makes moving targets, steps, and renders its cameras at every control step;
resets are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

_WARM_UP_STEPS = 5
_LEAST_STEPS = 10


@dataclass
class RenderClock:
    """Adds up the time that a function takes, seconds, and how often it is called."""

    seconds: float = 0.0
    calls: int = 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its calls are counted here."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds += time.perf_counter() - start
            self.calls += 1
            return result

        return call


@dataclass
class System:
    """A simulation ready to be stepped.

    Attributes:
        step: makes one control step and takes its pictures; returns whether the episode is over.
        reset: begins another episode.
        control_hz: control steps per simulated second.
        physics_steps: physics steps per control step.
        clock: where the time for pictures is added up.
        packages: distributions whose versions matter, besides MuJoCo and NumPy.
    """

    step: Callable[[], bool]
    reset: Callable[[], object]
    control_hz: float
    physics_steps: int
    clock: RenderClock
    packages: tuple[str, ...] = ()


def measure(system: System, seconds: float) -> dict[str, Any]:
    """Step a system for at least `seconds` of wall-clock time, resets not counted.

    Returns:
        `steps`, `seconds` and `cpu_seconds` (of all threads) for them, `render_seconds` and `render_calls` within.
    """
    system.reset()
    for _ in range(_WARM_UP_STEPS):
        if system.step():
            system.reset()
    clock = system.clock
    clock.seconds, clock.calls = 0.0, 0
    steps, wall, cpu = 0, 0.0, 0.0
    while wall < seconds or steps < _LEAST_STEPS:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        over = system.step()
        cpu += time.process_time() - cpu_start
        wall += time.perf_counter() - wall_start
        steps += 1
        if over:
            rendered = clock.seconds, clock.calls
            system.reset()
            clock.seconds, clock.calls = rendered
    return {
        "steps": steps,
        "seconds": wall,
        "cpu_seconds": cpu,
        "render_seconds": clock.seconds,
        "render_calls": clock.calls,
    }


def polyarm(variant: str, size: int, seed: int) -> System:
    """Ours: a pick task, seen by the front camera in the profile that `variant` names."""
    from policies.execution.trajectory import JointTrajectory
    from sim.episode_id import EpisodeId
    from sim.simulation import SimulationConfig, TabletopSimulation

    config = SimulationConfig(profile=variant, cameras=("front",), width=size, height=size)
    simulation = TabletopSimulation(config)
    robot, period = simulation.robot, simulation.control_period
    rng = np.random.default_rng(seed)
    clock = RenderClock()
    observe = clock.timed(simulation.observe)
    episodes = iter(range(2**31))

    def reset() -> None:
        simulation.reset(EpisodeId("pick", "nominal", 1, next(episodes), seed))

    def step() -> bool:
        target = robot.home + rng.uniform(-0.1, 0.1, len(robot.home))
        target = np.clip(target, robot.lower, robot.upper)[None]
        simulation.accept(JointTrajectory(simulation.time, np.array([period]), target, np.zeros_like(target)))
        done = simulation.advance(1).done
        observe()
        return done

    physics_steps = round(period / simulation.scene.model.opt.timestep)
    return System(step, reset, 1 / period, physics_steps, clock)


def robosuite(variant: str, size: int, seed: int) -> System:
    """Robosuite's `Lift` with a Panda and its default controller and rendering; `variant` is its camera."""
    suite = import_module("robosuite")
    env = suite.make(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        camera_names=variant,
        camera_heights=size,
        camera_widths=size,
        camera_depths=True,
        ignore_done=True,
        seed=seed,
    )
    low, high = env.action_spec
    rng = np.random.default_rng(seed)
    clock = RenderClock()

    def reset() -> None:
        env.reset()
        env.sim.render = clock.timed(env.sim.render)  # a reset builds another `sim`

    def step() -> bool:
        observation, *_ = env.step(rng.uniform(low, high))
        _expect(observation[f"{variant}_image"], (size, size, 3))
        _expect(observation[f"{variant}_depth"], (size, size, 1))
        return False

    physics_steps = round(env.control_timestep / env.model_timestep)
    return System(step, reset, env.control_freq, physics_steps, clock, ("robosuite",))


def gym_aloha(variant: str, size: int, seed: int) -> System:
    """gym-aloha's cube transfer.

    With variant `matched` its observation is replaced by one camera's colour and depth at our size; with `shipped` it
    stays as it is: three cameras of 640 x 480, whatever size is asked for, and no depth.
    """
    aloha = import_module("gym_aloha.env")
    constants = import_module("gym_aloha.constants")
    env = aloha.AlohaEnv("transfer_cube", obs_type="pixels_agent_pos", observation_width=size, observation_height=size)
    inner = env._env
    physics, task = inner.physics, inner.task
    clock = RenderClock()
    physics.render = clock.timed(physics.render)
    if variant == "matched":

        def one_camera(physics: Any) -> dict[str, Any]:
            picture = {"height": size, "width": size, "camera_id": "top"}
            images = {"top": physics.render(**picture), "depth": physics.render(**picture, depth=True)}
            _expect(images["top"], (size, size, 3))
            _expect(images["depth"], (size, size))
            return {"qpos": task.get_qpos(physics), "qvel": task.get_qvel(physics), "images": images}

        task.get_observation = one_camera
    rng = np.random.default_rng(seed)
    home = np.array(constants.START_ARM_POSE)[[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]]

    def reset() -> None:
        env.reset(seed=seed)

    def step() -> bool:
        env.step(home + rng.uniform(-0.1, 0.1, len(home)))
        return False

    return System(step, reset, 1 / inner.control_timestep(), inner._n_sub_steps, clock, ("gym-aloha", "dm-control"))


SYSTEMS = {"polyarm": polyarm, "robosuite": robosuite, "gym_aloha": gym_aloha}


def _expect(picture: np.ndarray, shape: tuple[int, ...]) -> None:
    if picture.shape != shape:
        raise ValueError(f"picture: expected shape {shape}, found {picture.shape}")


def main() -> None:
    """Measure the system that the command line names; the last line of the output is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("variant")
    parser.add_argument("--size", type=int, required=True, help="width and height of the picture, pixels")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    system = SYSTEMS[given.system](given.variant, given.size, given.seed)
    result = measure(system, given.seconds) | {
        "control_hz": round(system.control_hz, 6),
        "physics_steps": int(system.physics_steps),
        "gl_backend": os.environ["MUJOCO_GL"],
        "versions": {name: version(name) for name in (*system.packages, "mujoco", "numpy")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
