from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from policies.execution.chunk_scheduler import SchedulerConfig
from policies.execution.kinematics import Kinematics
from policies.execution.policy_runner import PolicyRunner, RunnerConfig
from policies.interface import ActionChunk, Observation
from policies.robots import get_robot

SPEC = get_robot("panda")


class Descend:
    """Goes 1 cm down in each of four rows; takes `seconds` of a hand-made clock."""

    robot = "panda"
    cameras = ()
    control_hz = 10.0
    chunk_length = 4

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.clock = 100.0
        self.seeds = []

    def reset(self, seed=None):
        self.seeds.append(seed)

    def act(self, observation):
        self.clock += self.seconds
        rows = np.zeros((4, 7))
        rows[:, 2] = -0.01
        rows[:, 6] = 1.0
        return ActionChunk(observation.stamp, 0.1, "cartesian_delta", rows)

    def act_batch(self, observations):
        return [self.act(observation) for observation in observations]


def runner(policy, config=None):
    return PolicyRunner(policy, SPEC, config, timer=lambda: policy.clock)


def observation(stamp, positions=SPEC.home):
    return Observation(stamp, {}, positions, np.zeros(8), "go down")


def test_trajectory_moves_the_tool_as_the_chunk_says():
    motion = runner(Descend()).step(observation(3.0))
    kinematics = Kinematics(SPEC)
    heights = [kinematics.forward(q)[2, 3] for q in motion.trajectory.positions[:4]]
    np.testing.assert_allclose(heights, kinematics.forward(SPEC.home)[2, 3] - 0.01 * np.arange(1, 5), atol=2e-5)
    assert motion.trajectory.stamp == motion.chunk.stamp == 3.0
    np.testing.assert_array_equal(motion.trajectory.velocities[-1], np.zeros(8))


def test_lockstep_drops_nothing_however_long_the_inference_takes():
    motion = runner(Descend(seconds=5.0)).step(observation(3.0))
    assert motion.inference_s == 5.0
    assert motion.trajectory.times[0] == pytest.approx(0.1)


def test_realtime_drops_rows_that_the_inference_has_overtaken():
    slow = runner(Descend(seconds=0.2))
    motion = slow.step(observation(3.0), now=3.05)  # ready at 3.25 s: the row due at 3.3 s is too near
    np.testing.assert_allclose(motion.trajectory.times[0], 0.4)
    assert slow.dropped_rows == 3


def test_reset_reaches_the_policy_and_the_scheduler():
    policy = Descend()
    ensembled = runner(policy, RunnerConfig(SchedulerConfig("temporal_ensembling")))
    first = ensembled.step(observation(0.0)).trajectory
    ensembled.step(observation(0.1, SPEC.home + 0.01))
    ensembled.reset(seed=7)
    np.testing.assert_array_equal(ensembled.step(observation(0.0)).trajectory.positions, first.positions)
    assert policy.seeds == [7]


def test_two_runners_plan_bit_equal_motions():
    one, other = runner(Descend()), runner(Descend())
    other.step(observation(0.0, SPEC.home + 0.02))
    other.reset()
    for stamp in (0.0, 0.1, 0.2):
        first, second = (r.step(observation(stamp)).trajectory for r in (one, other))
        np.testing.assert_array_equal(first.positions, second.positions)
        np.testing.assert_array_equal(first.velocities, second.velocities)


def test_policy_for_another_robot_is_refused():
    policy = Descend()
    policy.robot = "ur5"
    with pytest.raises(ValueError, match="expected one for robot 'panda', found one for 'ur5'"):
        PolicyRunner(policy, SPEC)


class GoesOn(Descend):
    """Notes how it is asked to go on."""

    def __init__(self, seconds=0.0):
        super().__init__(seconds)
        self.continuations = []

    def act_on(self, observation, continuation):
        self.continuations.append(continuation)
        return self.act(observation)


CONTINUING = RunnerConfig(
    SchedulerConfig("real_time_chunking", method="blend", beta=2.0, schedule="linear", jacobian="identity")
)


def test_rows_that_will_be_past_are_committed_as_far_as_the_scheduler_drops_them():
    policy = GoesOn(seconds=0.12)
    real_time = runner(policy, CONTINUING)
    for step in range(3):
        dropped = real_time.dropped_rows
        real_time.step(observation(3.0 + 0.3 * step), now=3.04 + 0.3 * step)
    # The answer comes 0.16 s after the stamp: the rows due at 0.1 and 0.2 s are past or too near.
    assert [c.committed for c in policy.continuations] == [1, 2, 2]
    assert real_time.dropped_rows - dropped == 2
    how = {(c.method, c.beta, c.schedule, c.jacobian) for c in policy.continuations}
    assert how == {("blend", 2.0, "linear", "identity")}


def test_in_lockstep_nothing_is_committed():
    policy = GoesOn(seconds=5.0)
    real_time = runner(policy, CONTINUING)
    real_time.step(observation(3.0))
    real_time.step(observation(3.1))
    assert [c.committed for c in policy.continuations] == [0, 0]


def test_a_policy_that_cannot_go_on_is_refused():
    with pytest.raises(ValueError, match=r"real_time_chunking.*found Descend"):
        runner(Descend(), CONTINUING)


class GivenClean(GoesOn):
    """Goes on with at most two clean rows, and begins afresh when there is nothing to go on with."""

    def act_on(self, observation, continuation):
        chunk = super().act_on(observation, continuation)
        return replace(chunk, committed=min(continuation.committed, 2) if len(self.continuations) > 1 else 0)


CLEAN = RunnerConfig(SchedulerConfig("real_time_chunking", method="clean"))


def test_an_answer_that_took_longer_than_its_clean_rows_is_discarded_and_asked_for_again():
    policy = GivenClean(seconds=0.15)
    real_time = runner(policy, CLEAN)
    assert real_time.step(observation(3.0), now=3.0).chunk.committed == 0  # however late, there was nothing before
    policy.seconds = 0.25  # three rows, of which two were given
    assert real_time.step(observation(3.3), now=3.3) is None
    policy.seconds = 0.15
    found = real_time.step(observation(3.6), now=3.6)
    assert found.trajectory.stamp == 3.6
    real_time.step(observation(3.9), now=3.9)
    assert real_time.discarded_chunks == 1
    assert [c.discarded for c in policy.continuations] == [False, False, True, False]
    assert [c.committed for c in policy.continuations] == [1, 2, 3, 3]


def test_rows_that_are_past_to_the_instant_are_not_too_many():
    policy = GivenClean(seconds=0.2)
    real_time = runner(policy, CLEAN)
    assert all(real_time.step(observation(3.0 + 0.3 * i), now=3.0 + 0.3 * i) is not None for i in range(5))


@pytest.mark.parametrize(("config", "now"), [(CONTINUING, 3.3), (CLEAN, None)])
def test_other_methods_and_lockstep_discard_nothing(config, now):
    policy = GivenClean(seconds=0.15)
    real_time = runner(policy, config)
    real_time.step(observation(3.0), now and 3.0)
    policy.seconds = 0.25
    assert real_time.step(observation(3.3), now) is not None


def test_a_reset_forgets_that_an_answer_was_discarded():
    policy = GivenClean(seconds=0.15)
    real_time = runner(policy, CLEAN)
    real_time.step(observation(3.0), now=3.0)
    policy.seconds = 0.25
    assert real_time.step(observation(3.3), now=3.3) is None
    real_time.reset()
    real_time.step(observation(3.6), now=3.6)
    assert not policy.continuations[-1].discarded
