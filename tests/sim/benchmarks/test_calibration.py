from __future__ import annotations

import pytest

from policies.calibration.pose_diversity import WANTED_POSES
from sim.benchmarks import calibration
from sim.benchmarks.calibration import CalibrationSettings
from sim.calibration_scene import CalibrationNoise


def test_each_number_of_poses_has_its_rows_and_lens_and_latency_are_near_the_truth(monkeypatch):
    monkeypatch.setattr(calibration, "LATENCY_RECORDING_S", 4.0)
    result = calibration.run(CalibrationSettings(poses=(6, 8), seeds=1, noise=CalibrationNoise(joint_deg=0.01)))
    found = [(row["setup"], row["poses"]) for row in result["rows"]]
    assert found == [("eye_in_hand", 6), ("eye_in_hand", 8), ("eye_to_hand", 6), ("eye_to_hand", 8)]
    assert all(row["errors"]["ours"]["mm"] < 2.0 for row in result["rows"])
    assert result["intrinsics"][0]["focal_percent"] < 1.0
    assert result["latency"][0]["error_ms"] < 5.0
    text = calibration.format_text(result)
    assert "ours within 2 mm and 0.2 degrees with 8 poses: 2 of 2" in text
    assert text in calibration.format_markdown(result)


def test_the_default_of_the_guide_is_measured():
    assert WANTED_POSES in CalibrationSettings().poses


@pytest.mark.parametrize("poses", [(), (5,), (40, 5)])
def test_too_few_poses_are_refused(poses):
    with pytest.raises(ValueError, match="poses, seeds: expected at least 6 and 1"):
        CalibrationSettings(poses=poses)
