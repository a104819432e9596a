from __future__ import annotations

import json

import pytest

from policies.loading import shipped_policies
from ros_nodes.graph_client import GraphError
from ros_nodes.latency_check import LatencyOptions, Recording, format_report, main, summarise


def recording(count: int = 100) -> Recording:
    """Each answer: 20 ms rendering, 100 ms inference and 9 ms of everything else, 5 ms of them waiting."""
    stamps = [index / 4 for index in range(count)]
    return Recording(
        published={stamp: stamp + 0.020 for stamp in stamps},
        answered={stamp: {"inference_s": 0.100, "waiting_s": 0.005} for stamp in stamps},
        commanded={stamp: stamp + 0.129 for stamp in stamps},
    )


def test_latency_is_taken_apart():
    report = summarise(recording(), 200, 3, 30.0)
    assert report.stamp_to_command_ms == pytest.approx([129.0] * 3)
    assert report.rendering_ms == pytest.approx([20.0] * 3)
    assert report.waiting_ms == pytest.approx([5.0] * 3)
    assert report.inference_ms == pytest.approx([100.0] * 3)
    assert report.overhead_ms == pytest.approx([9.0] * 3, abs=1e-3)
    assert (report.frames_sent, report.frames_lost, report.commands) == (200, 3, 100)


def test_only_commands_that_answer_an_observation_count():
    heard = recording(4)
    heard.commanded[99.0] = 99.1  # a hold of the gateway
    assert summarise(heard, 8, 0, 30.0).commands == 4


def test_no_answer_at_all_is_an_error():
    with pytest.raises(GraphError, match="found 0 commands"):
        summarise(Recording({}, {}, {}), 0, 0, 0.0)


def test_the_report_for_people_names_every_part():
    text = format_report(LatencyOptions("some_policy"), summarise(recording(), 200, 3, 29.9))
    assert "some_policy, 640x480" in text
    assert "frames lost: 3 of 200" in text
    assert [line.split()[0] for line in text.splitlines()[3:]] == [
        "stamp",
        "rendering",
        "inference",
        "overhead",
        "waiting",
    ]


@pytest.mark.skipif("spatialvla_small" not in shipped_policies(), reason="the trained checkpoint is not in this tree")
def test_the_graph_is_measured_on_the_wall_clock(capsys):
    options = ["--duration-s", "4", "--width", "64", "--height", "48", "--camera-rate-hz", "10", "--json"]
    assert main(options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames_sent"] > 2 * 10  # colour and depth
    assert report["commands"] > 1
    assert 0 < report["inference_ms"][0] < report["stamp_to_command_ms"][0]
