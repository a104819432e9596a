from __future__ import annotations

import numpy as np
import pytest

from policies.baselines import NoopPolicy
from policies.execution.faulty_policy import JUMP, FaultyPolicy
from policies.interface import Observation
from policies.robots import get_robot

SPEC = get_robot("panda")
SEEN = Observation(1.0, {}, SPEC.home, np.zeros(8), "anything")


def answer(fault, sleep=lambda seconds: None):
    return FaultyPolicy(NoopPolicy(), lambda: fault, sleep).act(SEEN).rows


def test_without_a_fault_the_answer_is_that_of_the_policy():
    np.testing.assert_array_equal(answer("none"), NoopPolicy().act(SEEN).rows)
    policy = FaultyPolicy(NoopPolicy(), lambda: "none")
    assert (policy.robot, policy.control_hz, policy.chunk_length) == ("panda", 10.0, 4)


@pytest.mark.parametrize(("fault", "value"), [("nan", np.nan), ("inf", np.inf), ("huge", 1e6)])
def test_one_value_in_the_middle_is_spoiled(fault, value):
    rows, good = answer(fault), NoopPolicy().act(SEEN).rows
    np.testing.assert_equal(rows[2, 0], value)
    rows[2, 0] = good[2, 0]
    np.testing.assert_array_equal(rows, good)


def test_a_jump_moves_all_rows_aside():
    difference = answer("jump") - NoopPolicy().act(SEEN).rows
    np.testing.assert_allclose(difference[:, 0], JUMP)
    assert not difference[:, 1:].any()


def test_slow_is_slower_than_the_chunk_lasts():
    slept = []
    answer("slow", slept.append)
    assert slept[0] > 4 / 10.0


@pytest.mark.parametrize(("fault", "error"), [("raises", RuntimeError), ("out_of_memory", MemoryError)])
def test_errors_are_raised(fault, error):
    with pytest.raises(error):
        answer(fault)


def test_the_fault_may_change_at_any_time():
    faults = iter(["none", "nan", "none"])
    policy = FaultyPolicy(NoopPolicy(), lambda: next(faults))
    assert [np.isfinite(policy.act(SEEN).rows).all() for _ in range(3)] == [True, False, True]
