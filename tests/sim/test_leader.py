from dataclasses import replace

import numpy as np
import pytest

from policies.baselines import NoopPolicy
from sim.demonstrations import NO_NOISE, demonstrate
from sim.episode_id import EpisodeId
from sim.leader import Leader, LeaderConfig
from sim.simulation import SimulationConfig, TabletopSimulation

EPISODE = EpisodeId("reach", "nominal", 1, 0, 13)


@pytest.fixture(scope="module")
def simulation():
    return TabletopSimulation(SimulationConfig(cameras=(), width=64, height=64))


def started(simulation, leader):
    frames = demonstrate(simulation, EPISODE, NO_NOISE, leader=leader)
    return frames[0]["observation.state"], frames


def test_the_expert_goes_on_from_where_the_policy_came_to(simulation):
    leader = Leader(LeaderConfig("random", steps=40, query_steps=2), simulation)
    home, _ = started(simulation, None)
    state, frames = started(simulation, leader)
    assert np.abs(state - home).max() > 0.01
    assert frames[-1]["next.success"]
    assert not any(frame["next.success"] for frame in frames[:-1])


def test_a_led_demonstration_is_the_same_each_time(simulation):
    leader = Leader(LeaderConfig("random", steps=40), simulation)
    first, second = (started(simulation, leader)[1] for _ in range(2))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["action"], other["action"])


def test_it_drives_for_as_long_as_was_drawn(simulation):
    class Drawn:
        def integers(self, end):
            assert end == 8
            return 7

    simulation.reset(EPISODE)
    Leader(LeaderConfig("noop", steps=7, query_steps=3), simulation).drive(EPISODE, Drawn())
    assert simulation.status().steps == 7


def test_a_leader_that_looks_back_sees_the_pictures_of_the_step_before(monkeypatch):
    class LookingBack(NoopPolicy):
        looks_back, cameras, seen = True, ("front",), []

        def act(self, observation):
            self.seen.append((observation.stamp, observation.earlier))
            return super().act(observation)

    class Drawn:
        def integers(self, end):
            return 5

    monkeypatch.setattr("sim.leader.load_policy", lambda *_, **__: LookingBack())
    looking = TabletopSimulation(SimulationConfig(cameras=("front",), width=32, height=24))
    looking.reset(EPISODE)
    Leader(LeaderConfig("looking_back", steps=5, query_steps=2), looking).drive(EPISODE, Drawn())
    looking.close()
    assert [stamp for stamp, _ in LookingBack.seen] == pytest.approx([0.0, 0.2, 0.4])
    assert [set(earlier) for _, earlier in LookingBack.seen] == [set(), {"front"}, {"front"}]


def test_a_task_that_is_done_leaves_nothing_to_show(simulation):
    class Done(Leader):
        def drive(self, episode, rng):
            while not self._simulation.advance(1).done:
                pass

    assert demonstrate(simulation, EPISODE, NO_NOISE, leader=Done(LeaderConfig("noop"), simulation)) is None


@pytest.mark.parametrize("name", ["steps", "query_steps"])
def test_no_steps_are_refused(name):
    with pytest.raises(ValueError, match=f"leader.{name}: expected at least 1, found 0"):
        replace(LeaderConfig("noop"), **{name: 0})


def test_a_policy_that_needs_a_camera_which_is_not_recorded_is_refused(simulation):
    with pytest.raises(ValueError, match=r"leader 'spatialvla_small': cameras: expected .*front.*found"):
        Leader(LeaderConfig("spatialvla_small"), simulation)
