from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies.interface import Continuation
from policies.rdt.embodiment import Embodiment
from policies.rdt.running_chunk import RunningChunk
from policies.rdt.unified_space import SIZE

ROWS, STEP = 10, 0.15  # rad a row: faster than a deviation that counts
JOINT = Embodiment("joint", ("right_arm_joint_0_pos",), control_hz=10.0)


def ramp(start: float, step: float = STEP) -> torch.Tensor:
    """A chunk of one joint that goes on from `start`."""
    vectors = torch.zeros(ROWS, SIZE)
    vectors[:, 0] = start + step * torch.arange(1, ROWS + 1)
    return vectors


def remember(running: RunningChunk, stamp: float, vectors: torch.Tensor, state: float = 0.0) -> None:
    running.remember(stamp, [state], vectors)


def goes_on(running: RunningChunk, stamp: float, state: float, committed: int = 3) -> bool:
    return running.prefix(stamp, [state], Continuation(committed)) is not None


def test_what_is_left_of_the_chunk_is_gone_on_with():
    running = RunningChunk(JOINT)
    assert not goes_on(running, 0.0, 0.0)
    remember(running, 0.0, ramp(0.0))
    prefix = running.prefix(0.4, [4 * STEP], Continuation(3))
    assert (prefix.committed, prefix.overlap) == (3, 6)
    np.testing.assert_allclose(prefix.actions[:6, 0], STEP * np.arange(5, 11), rtol=1e-6)
    np.testing.assert_allclose(prefix.actions[6:, 0], 10 * STEP, rtol=1e-6)
    running.forget()
    assert not goes_on(running, 0.4, 4 * STEP)


def test_how_to_go_on_is_handed_on():
    running = RunningChunk(JOINT)
    remember(running, 0.0, ramp(0.0))
    how = {"beta": 2.0, "schedule": "linear", "jacobian": "identity"}
    prefix = running.prefix(0.4, [4 * STEP], Continuation(3, "guided", **how))
    assert {name: getattr(prefix, name) for name in how} == how


def test_relative_rows_are_counted_from_the_new_state():
    body = replace(JOINT, relative=True, action_scale=(0.5,))
    running, state, later = RunningChunk(body), 1.0, 1.0 + 4 * STEP
    way, _ = body.action_to_unified(state + STEP * np.arange(1, ROWS + 1)[:, None], [state])
    remember(running, 0.0, torch.from_numpy(way), state)
    prefix = running.prefix(0.4, [later], Continuation(3))
    commands = body.action_from_unified(prefix.actions.numpy(), [later])[:6, 0]
    np.testing.assert_allclose(commands, state + STEP * np.arange(5, 11), atol=1e-6)
    assert not goes_on(running, 0.4, 4 * STEP)


@pytest.mark.parametrize(("state", "expected"), [(4, True), (2, True), (1, True), (-1, False), (6, False)])
def test_an_arm_may_be_late_by_the_committed_rows_but_nowhere_else(state, expected):
    running = RunningChunk(JOINT)
    remember(running, 0.0, ramp(0.0))
    assert goes_on(running, 0.4, state * STEP) is expected


def test_an_arm_may_still_follow_the_chunk_before():
    running = RunningChunk(JOINT)
    remember(running, 0.0, ramp(0.0))
    remember(running, 0.2, ramp(0.3, -STEP))  # leads the other way, and comes at 0.4 s
    assert goes_on(running, 0.4, 4 * STEP)
    remember(running, 0.4, ramp(0.6))
    assert not goes_on(running, 0.6, 2.0)


def test_rows_that_lie_closer_than_commands_are_shifted_by_commands():
    running = RunningChunk(replace(JOINT, chunk_steps=4))  # three rows a command
    remember(running, 0.0, ramp(0.0, STEP / 3) + 2 / 3 * STEP)  # commands STEP, 2 STEP, 3 STEP, 4 STEP
    prefix = running.prefix(0.2, [2 * STEP], Continuation(1))
    assert (prefix.committed, prefix.overlap) == (1, 4)
    np.testing.assert_allclose(prefix.actions[:4, 0], STEP * np.array([3, 10 / 3, 11 / 3, 4]), rtol=1e-6)
    np.testing.assert_allclose(prefix.actions[4:, 0], 4 * STEP, rtol=1e-6)
    assert running.prefix(0.2, [2 * STEP], Continuation(2)).committed == 4
    assert not goes_on(running, 0.4, 4 * STEP)
    assert not goes_on(running, 0.2, 4 * STEP)


def test_a_chunk_that_was_discarded_is_not_what_the_arm_executes():
    running = RunningChunk(JOINT)
    remember(running, 0.0, ramp(0.0))
    for stamp in (0.1, 0.2):  # two in a row
        remember(running, stamp, ramp(1.0))
        prefix = running.prefix(stamp + 0.1, [(10 * stamp + 1) * STEP], Continuation(3, discarded=True))
        np.testing.assert_allclose(prefix.actions[0, 0], (10 * stamp + 2) * STEP, rtol=1e-6)
    running.forget()
    assert running.prefix(0.4, [0.0], Continuation(3, discarded=True)) is None
