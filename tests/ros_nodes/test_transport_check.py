from __future__ import annotations

import dataclasses
import json
import math

import pytest

from ros_nodes.transport_check import StreamResult, TransportOptions, main, percentiles, table


@pytest.fixture
def options() -> TransportOptions:
    return TransportOptions(width=64, height=48, rate_hz=20.0, duration_s=0.5)


def test_every_frame_arrives_through_shared_memory(ros_domain_id, capsys):
    arguments = ["--width", "320", "--height", "240", "--rate-hz", "20", "--duration-s", "0.5", "--json"]
    assert main([*arguments, "--profiles", "shared_memory", "--domain-id", str(ros_domain_id)]) == 0
    streams = json.loads(capsys.readouterr().out)
    assert {stream["stream"]: stream["received"] for stream in streams} == {"color": 10, "depth": 10}
    assert all(0 < stream["latency_ms"][0] < 1000 for stream in streams)


def test_the_table_shows_loss_and_latency_of_each_transport(options):
    results = [
        StreamResult("shared_memory", "color", 10, 10, 20.0, (1.0, 2.0, 3.0)),
        StreamResult("default", "color", 10, 1, 20.0, (4.0, 5.0, 6.0)),
    ]
    head, columns, shared, default = table(options, results).splitlines()
    assert "64x48" in head
    assert columns.split()[:3] == ["transport", "stream", "sent"]
    assert shared.split() == ["shared_memory", "color", "10", "0", "0.0%", "1.00", "2.00", "3.00", "20.0"]
    assert default.split()[3:5] == ["9", "90.0%"]


def test_latencies_of_nothing_are_unknown():
    assert all(math.isnan(value) for value in percentiles([]))


@pytest.mark.parametrize("name", ["width", "rate_hz", "duration_s"])
def test_sizes_rates_and_times_must_be_positive(options, name):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(options, **{name: 0})
