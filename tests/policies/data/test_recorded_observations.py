import numpy as np
import pytest

from policies.data.recorded_observations import recorded_observations
from tests.policies.demonstrations import SIDE, write_demonstrations


def test_observations_are_those_of_the_recording(tmp_path):
    write_demonstrations(tmp_path / "push", 2, np.random.default_rng(0))
    first, second = recorded_observations(tmp_path / "push", ("front",), stride=2)
    assert len(first) == len(second) == 3
    assert [observation.stamp for observation in first] == pytest.approx([0.0, 0.2, 0.4])
    assert first[0].readings is None
    assert [observation.readings.stamps for observation in first[1:]] == [pytest.approx([0.1]), pytest.approx([0.3])]
    every = recorded_observations(tmp_path / "push", ("front",))[0]
    np.testing.assert_array_equal(first[1].readings.positions[0], every[1].joint_positions)
    assert all(observation.readings is None for observation in every)
    assert {observation.instruction for observation in first} == {"push the red cube"}
    assert {observation.instruction for observation in second} == {"push the blue cube"}
    assert all(observation.earlier == {} for observation in first)
    looking_back = recorded_observations(tmp_path / "push", ("front",), stride=2, looks_back_s=0.1)[0]
    assert looking_back[0].earlier == {}
    np.testing.assert_array_equal(looking_back[1].earlier["front"], every[1].cameras["front"].rgb)
    faster = recorded_observations(tmp_path / "push", ("front",), stride=2, looks_back_s=0.04)[0]
    assert all(observation.earlier == {} for observation in faster), "expected no frame so near"
    view = first[1].cameras["front"]
    assert view.rgb.shape == (SIDE, SIDE, 3)
    assert np.abs(view.rgb.mean(axis=(0, 1)) - [220, 40, 40]).max() < 12
    assert 0.5 <= np.nanmin(view.depth) <= np.nanmax(view.depth) <= 1.0
    assert (view.base_from_camera == np.eye(4)).all()
    assert not first[1].joint_velocities.any()  # the arm rests
    assert len(recorded_observations(tmp_path / "push", ("front",), most=1)) == 1
    with pytest.raises(ValueError, match=r"expected observation\.images\.wrist"):
        recorded_observations(tmp_path / "push", ("front", "wrist"))
    with pytest.raises(ValueError, match="stride: expected at least 1"):
        recorded_observations(tmp_path / "push", ("front",), stride=0)
