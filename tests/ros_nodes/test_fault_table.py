from __future__ import annotations

from itertools import pairwise

import pytest

from ros_nodes.fault_matrix import Arguments
from ros_nodes.fault_table import FAULTS


def test_the_table_holds_every_fault_that_must_be_tried():
    assert {
        "camera_freeze",
        "camera_death",
        "camera_stamps_back",
        "camera_stamps_forward",
        "camera_late_300ms",
        "joint_states_stop",
        "joint_names_permuted",
        "target_nan",
        "target_inf",
        "target_huge",
        "chunk_jump",
        "inference_slow",
        "inference_raises",
        "out_of_memory",
        "policy_sigkill",
        "policy_sigstop",
        "gateway_sigkill",
        "gateway_sigstop",
        "clock_paused",
        "deactivation_mid_chunk",
        "parameter_out_of_range",
        "wrong_encoding",
        "wrong_step",
        "wrong_endianness",
        "second_publisher",
        "estop_and_reset",
        "disk_full_while_recording",
        "server_sigkill",
        "server_sigstop",
    } <= FAULTS.keys()


def test_a_fault_that_holds_the_arm_must_be_named():
    assert [name for name, fault in FAULTS.items() if fault.outcome == "holds" and not fault.named] == []


def test_only_what_must_not_hold_goes_on():
    assert {name for name, fault in FAULTS.items() if fault.outcome == "goes on"} == {
        "joint_names_permuted",
        "parameter_out_of_range",
        "disk_full_while_recording",
    }


def test_what_needs_another_graph_comes_last_so_that_the_graph_is_changed_rarely():
    needs = [(fault.sim_time, fault.served) for fault in FAULTS.values()]
    changes = sum(before != after for before, after in pairwise(needs))
    assert changes == 2


def test_faults_and_phases_are_chosen_by_name():
    arguments = Arguments(faults="camera_death, chunk_jump", phases="moving")
    assert arguments.chosen_faults() == ["camera_death", "chunk_jump"]
    assert arguments.chosen_phases() == ["moving"]
    assert Arguments().chosen_faults() == list(FAULTS)
    with pytest.raises(ValueError, match=r"faults: expected some of camera_freeze.*, found 'earthquake'"):
        Arguments(faults="earthquake").chosen_faults()
    with pytest.raises(ValueError, match="phases: expected some of idle, moving, grasping, found 'asleep'"):
        Arguments(phases="asleep").chosen_phases()
