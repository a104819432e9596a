from __future__ import annotations

import pytest

from ros_nodes.diagnostics import Level
from ros_nodes.fault_probe import Naming, Told
from ros_nodes.fault_rows import Measured, Row, format_page, format_text, objections
from ros_nodes.fault_table import Fault
from sim.motion_trace import LimitUse

WANTED = Naming("policy_node: inputs", Level.ERROR, ("missing", "wrist"))
TOLD = Told(1.0, "policy_node: inputs", Level.ERROR, "missing: wrist/color last came 0.52 s ago")
WITHIN = LimitUse(-0.1, 0.4, 0.9, 0.5)


def fault(outcome="holds", named=(WANTED,), named_idle=(), shadow=False):
    return Fault(lambda bench: None, lambda bench: None, outcome, named, named_idle, shadow, limit_s=2.0)


def measured(rest_s=0.8, use=WITHIN, named=TOLD, failure=""):
    return Measured(rest_s, 0.2, use, named, failure)


def test_a_moving_arm_that_is_held_in_time_with_a_named_cause_passes():
    assert objections(fault(), "moving", measured()) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (measured(rest_s=None), "did not come to rest"),
        (measured(rest_s=2.5), "expected within 2 s, found after 2.50 s"),
        (measured(named=None), "no diagnostic named the cause"),
        (measured(use=None), "executed signal is not known"),
        (measured(use=LimitUse(0.002, 0.4, 0.9, 0.5)), r"position: 0.0020 rad \(m\) beyond"),
        (measured(use=LimitUse(-0.1, 1.2, 0.9, 0.5)), "velocity: 1.20 of the limit"),
        (measured(use=LimitUse(-0.1, 0.4, 3.0, 0.5)), "acceleration: 3.00 of the limit"),
        (measured(use=LimitUse(-0.1, 0.4, 0.9, 1.5)), "jerk: 1.50 of the limit"),
        (measured(failure="after it was mended: expected an arm that moves"), "expected an arm that moves"),
    ],
)
def test_each_thing_that_is_wrong_is_said(what, words):
    [said] = objections(fault(), "grasping", what)
    with pytest.raises(ValueError, match=words):
        raise ValueError(said)


def test_an_idle_arm_must_stay_and_the_cause_need_be_named_only_where_it_matters():
    assert objections(fault(), "idle", measured(rest_s=0.0, named=None)) == []
    assert objections(fault(named_idle=(WANTED,)), "idle", measured(rest_s=0.0, named=None)) != []
    assert objections(fault(), "idle", measured(rest_s=0.4)) == ["rest: expected within 0 s, found after 0.40 s"]


def test_in_shadow_the_cause_is_named_as_while_the_arm_moves():
    wanted = Naming("policy_node: life cycle", Level.WARN, ("inactive",))
    in_shadow = fault(named_idle=(wanted,), shadow=True)
    assert [in_shadow.wanted(phase) for phase in ("idle", "moving")] == [(WANTED,), (WANTED,)]
    assert fault(named_idle=(wanted,)).wanted("idle") == (wanted,)
    said = objections(in_shadow, "idle", measured(rest_s=0.0, named=None))
    assert said == ["no diagnostic named the cause"]


def test_an_arm_that_another_leads_may_start_and_stop_abruptly_but_not_be_flung_and_the_other_must_be_named():
    told = fault("told")
    abrupt, flung = LimitUse(0.1, 0.5, 9.0, 50.0), LimitUse(-0.1, 3.0, 1.0, 1.0)
    assert objections(told, "moving", measured(rest_s=None, use=abrupt)) == []
    assert objections(told, "idle", measured(rest_s=4.0, use=abrupt)) == []
    assert objections(told, "moving", measured(rest_s=None, use=flung)) == ["velocity: 3.00 of the limit"]
    assert objections(told, "moving", measured(named=None)) == ["no diagnostic named the cause"]


def test_an_arm_that_must_go_on_may_not_rest_but_in_idle():
    goes_on = fault("goes on", named=())
    assert objections(goes_on, "moving", measured(rest_s=None, named=None)) == []
    [said] = objections(goes_on, "moving", measured(rest_s=0.5, named=None))
    assert "goes on, found it at rest" in said
    assert objections(goes_on, "idle", measured(rest_s=0.0, named=None)) == []


@pytest.mark.parametrize(
    ("concern", "level", "text"),
    [
        ("policy_node: policy", Level.ERROR, TOLD.text),
        ("policy_node: inputs", Level.WARN, TOLD.text),
        ("policy_node: inputs", Level.ERROR, "missing: front/color never came"),
    ],
)
def test_a_diagnostic_matches_by_concern_level_and_all_words(concern, level, text):
    assert TOLD.matches(WANTED)
    assert not Told(1.0, concern, level, text).matches(WANTED)


def test_tables_show_every_row_and_why_it_fails():
    rows = [
        Row("camera_death", "moving", "holds", measured(), ()),
        Row("camera_late", "idle", "holds", measured(rest_s=None, use=None, named=None), ("it | moved",), shadow=True),
    ]
    text = format_text(rows)
    assert "1 of 2 rows pass" in text
    page = format_page(rows, {"cores": 2, "cpu": "a processor"}, {"python": "3.11"}, "python -m ros_nodes.fault_matrix")
    lines = [line for line in page.splitlines() if line.startswith("| camera")]
    assert lines[0].split(" | ")[3:8] == ["0.80", "0.200", "0.40", "0.90", "0.50"]
    assert lines[1].startswith("| camera_late | idle, shadow | holds |")
    assert lines[0].endswith(f"| policy_node: inputs ERROR: {TOLD.text} | pass |")
    assert lines[1].endswith("FAIL: it / moved |")
    assert {line.count("|") for line in lines} == {11}
    assert "Not tried in `idle`: `camera_freeze`" in page
    assert "1 of 2 rows pass" in page
    assert "on 2 cores of a processor" in page


def test_the_page_tells_no_folders_of_the_run():
    told = Told(1.0, "recorder_node: recording", Level.ERROR, "disk of /dev/shm/fault_matrix_ab/cd: expected 9 MB")
    assert (
        Row("disk_full", "moving", "goes on", measured(named=told), ())
        .cells()[8]
        .endswith("recording ERROR: disk of FOLDER: expected 9 MB")
    )


def test_the_answer_of_a_service_is_not_shown_as_a_diagnostic():
    answer = Told(1.0, "policy_node/set_parameters_atomically", None, "refused: fault")
    assert str(answer) == "answer of policy_node/set_parameters_atomically: refused: fault"
    assert answer.matches(Naming("policy_node/set_parameters_atomically", None, ("fault",)))
    assert not answer.matches(Naming("policy_node/set_parameters_atomically", Level.ERROR, ("fault",)))
