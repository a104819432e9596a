from __future__ import annotations

import numpy as np

from policies.recorded_motion import MotionConfig
from policies.robots import get_robot
from sim.episode_id import EpisodeId
from sim.known_motions import carrying, going_round
from sim.simulation import SimulationConfig, TabletopSimulation

SPEC = get_robot("panda")


def test_going_round_never_rests_and_closes_its_loop():
    motion = going_round(SPEC.home, MotionConfig("panda", (), 10.0, 0))
    rows = motion.positions
    np.testing.assert_allclose(rows[0], SPEC.home)
    around = np.vstack([rows, rows[:1]])
    speeds = np.abs(np.diff(around, axis=0)).max(axis=1) * 10.0
    assert speeds.min() > 0.2
    assert speeds.max() < 0.35


def test_carrying_begins_with_an_object_between_the_fingers():
    simulation = TabletopSimulation(SimulationConfig.of("panda"))
    episode = EpisodeId("pick", "nominal", 1, 0, 0)
    motion = carrying(simulation, episode, ("front",))
    gripper = SPEC.grippers[0]
    held = motion.positions[-1, gripper]
    assert 0.005 < held < 0.035
    assert not motion.targets[-1, gripper]
    assert motion.cameras == ("front",)
    assert 0 < motion.config.loop_start < len(motion.positions)
