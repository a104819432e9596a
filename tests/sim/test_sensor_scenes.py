from __future__ import annotations

import numpy as np
import pytest

from representation.data.depth import decode_depth
from representation.data.frames import DEPTH, LABEL, SEGMENTATION, open_frames
from sim.renders import SHAPES
from sim.sensor_scenes import APART, OBJECTS, main, sensor_scenes


def test_all_sensors_see_the_same_three_objects():
    frames = sensor_scenes(6, 48, seed=0)
    names, shown = frames.names[SEGMENTATION], frames.columns[SEGMENTATION]
    assert names == ("table", *SHAPES)
    for index in range(6):
        seen = {names[kind] for kind in np.unique(shown[index])} - {"table"}
        assert seen <= set(frames.names[LABEL][frames.columns[LABEL][index]].split(", "))
        places = frames.columns["position"][index].reshape(OBJECTS, 2)
        assert np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(OBJECTS, dtype=bool)].min() >= APART
        depth = decode_depth(frames.columns[DEPTH][index])
        edges = np.abs(np.diff(depth, axis=1)) > 0.02
        borders = np.diff(shown[index].astype(int), axis=1) != 0
        assert (borders & edges).sum() > 0.8 * edges.sum(), "depth jumps where another thing begins"
    np.testing.assert_array_equal(sensor_scenes(6, 48, seed=0).images, frames.images)


def test_the_command_writes_scenes(tmp_path):
    words = ["--output", str(tmp_path / "scenes"), "--count", "2", "--size", "32"]
    main(words)
    assert open_frames(tmp_path / "scenes").columns[DEPTH].dtype == np.uint16
    with pytest.raises(SystemExit, match="--output: expected a new or empty directory"):
        main(words)
