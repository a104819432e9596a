from __future__ import annotations

import pytest

from policies.benchmarks.bag_conversion import CAMERAS, ConversionSettings, format_markdown, format_text, run


@pytest.fixture(scope="module")
def result():
    return run(ConversionSettings(seconds=1.0, height=240, width=320))


def test_every_frame_of_the_recording_is_converted(result):
    assert (result["frames"], result["cameras"]) == (10, len(CAMERAS))
    assert result["dataset_mb"] < result["bag_mb"]
    assert result["times_real_time"] == pytest.approx(1.0 / result["took_s"])
    assert result["cpu_s"] > 0


@pytest.mark.parametrize(("times", "verdict"), [(5.0, "yes:"), (4.9, "NO:")])
def test_the_tables_tell_whether_it_is_as_fast_as_asked(result, times, verdict):
    for text in (
        format_text(result | {"times_real_time": times}),
        format_markdown(result | {"times_real_time": times}),
    ):
        assert f"{verdict} at least 5 times real time is asked for" in text


def test_the_tables_tell_speed_and_size_of_the_pictures(result):
    for text in (format_text(result), format_markdown(result)):
        assert "320 x 240 at 30 Hz" in text
        assert "times real time" in text
