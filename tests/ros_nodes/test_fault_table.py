from __future__ import annotations

from itertools import pairwise

import pytest

from ros_nodes.fault_matrix import Arguments, in_order
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
        "recorder_sigkill",
        "recorder_sigstop",
        "dashboard_sigkill",
        "dashboard_sigstop",
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
        "recorder_sigkill",
        "recorder_sigstop",
        "dashboard_sigkill",
        "dashboard_sigstop",
    }
    assert {name for name, fault in FAULTS.items() if fault.outcome == "told"} == {"second_publisher"}


def test_in_idle_every_fault_of_what_the_policy_needs_happens_to_an_active_policy():
    unnamed = {name for name, fault in FAULTS.items() if not fault.wanted("idle") and not fault.never_idle}
    assert unnamed == {"joint_names_permuted", "dashboard_sigkill", "dashboard_sigstop"}
    assert [name for name, fault in FAULTS.items() if fault.never_idle] == ["camera_freeze"]
    assert {
        "deactivation_mid_chunk",
        "target_nan",
        "chunk_jump",
        "inference_slow",
        "out_of_memory",
        "camera_death",
        "server_sigkill",
    } <= {name for name, fault in FAULTS.items() if fault.shadow}


def test_in_idle_the_graph_is_changed_rarely_and_what_cannot_be_told_is_left_out():
    names = ["camera_freeze", "target_nan", "estop_and_reset", "server_sigkill", "clock_paused", "chunk_jump"]
    assert in_order(names, "idle") == ["estop_and_reset", "target_nan", "chunk_jump", "server_sigkill", "clock_paused"]
    assert in_order(names, "moving") == names


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
