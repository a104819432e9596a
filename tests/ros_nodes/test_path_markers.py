from __future__ import annotations

import numpy as np
import pytest

from ros_nodes.path_markers import UNKNOWN_CONFIDENCE, confidence_color, forecast_markers, path_markers

POINTS = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])


def test_a_path_has_a_line_and_dots_in_the_given_frame():
    markers = path_markers(POINTS[None], [0.0, 1.0], "base", 1.5).markers
    assert [marker.id for marker in markers] == [0, 1]
    for marker in markers:
        stamp = marker.header.stamp
        assert (marker.header.frame_id, stamp.sec, stamp.nanosec) == (
            "base",
            1,
            500_000_000,
        )
        assert [(p.x, p.y, p.z) for p in marker.points] == [tuple(p) for p in POINTS]
        assert [(c.r, c.g) for c in marker.colors] == [(1.0, 0.0), (0.0, 1.0)]
        assert marker.lifetime.sec == 1


def test_each_arm_has_a_path_of_its_own():
    markers = path_markers(np.stack([POINTS, POINTS + 1]), [0.0, 1.0], "base", 1.5).markers
    assert len({(marker.ns, marker.id) for marker in markers}) == 4
    assert [marker.points[0].x for marker in markers] == pytest.approx([0.1, 0.1, 1.1, 1.1])
    assert all(len(marker.colors) == 2 for marker in markers)


def test_unknown_confidence_is_grey():
    assert path_markers(POINTS[None], None, "base", 0.0).markers[0].colors == [UNKNOWN_CONFIDENCE] * 2


@pytest.mark.parametrize("confidence", [-1.0, 2.0])
def test_confidence_outside_its_range_is_clipped(confidence):
    color = confidence_color(confidence)
    assert 0 <= color.r <= 1
    assert 0 <= color.g <= 1


def test_futures_are_lines_from_step_to_step_of_each_agent():
    samples = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    first, second = forecast_markers(samples, ("arm", "person"), 0.5, "base", 1.5).markers
    assert (first.ns, second.ns) == ("predicted_path/arm", "predicted_path/person")
    ends = [(p.x, p.y) for p in second.points]
    assert ends == [(2, 3), (6, 7), (6, 7), (10, 11), (14, 15), (18, 19), (18, 19), (22, 23)]
    assert {p.z for p in second.points} == {0.5}
    assert first.color != second.color
    assert (first.header.frame_id, first.lifetime.sec) == ("base", 1)
