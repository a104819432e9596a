from __future__ import annotations

import numpy as np
import pytest

from policies.robots import get_named_robot
from representation.data.depth import decode_depth
from representation.data.frames import DEPTH, SEGMENTATION, open_frames
from sim.collect import CollectConfig, collect
from sim.episode_id import EpisodeId
from sim.segmented_scenes import SegmentedTables, main

ROBOT = get_named_robot("aloha")


@pytest.fixture(scope="module")
def tables():
    found = SegmentedTables("aloha", 64)
    yield found
    found.close()


def middle(shown: np.ndarray) -> np.ndarray:
    return np.argwhere(shown).mean(axis=0)


def test_every_thing_of_a_table_is_told_where_it_shows(tables):
    pictures, shown = tables.draw(EpisodeId("sort", "nominal", 1, 0, 0), ROBOT.home, np.random.default_rng(0))
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 3
    found = {tables.names[kind] for kind in np.unique(shown[0])}
    scene = tables._scene
    wanted = {item.colour for item in scene.layout.objects}
    assert wanted | {"left bin", "right bin", "other"} <= found
    left, right = (middle(shown[0] == tables.names.index(name)) for name in ("left bin", "right bin"))
    assert left[1] < right[1], "the top camera looks away from the robot, so its left is on the left"
    colour = tables.names.index(scene.layout.objects[0].colour)
    rgb = pictures[0][shown[0] == colour].mean(axis=0)
    assert rgb.std() > 25, "objects are coloured"
    table, thing = (decode_depth(tables.depths[0])[shown[0] == kind] for kind in (0, colour))
    assert np.nanmedian(thing) < np.nanmax(table), "the top camera sees what lies on the table before it"


def test_the_handles_of_a_tray_are_told_apart(tables):
    _, shown = tables.draw(EpisodeId("lift_tray", "nominal", 1, 0, 0), ROBOT.home, np.random.default_rng(0))
    left, right = (middle(shown[0] == tables.names.index(f"{side} handle")) for side in ("left", "right"))
    assert left[1] < right[1]
    assert (shown[0] == tables.names.index("tray")).sum() > 20


def test_a_closed_hand_holds_the_named_object(tables):
    pose = ROBOT.home.copy()
    pose[ROBOT.grippers[1]] = ROBOT.lower[ROBOT.grippers[1]]
    for index in range(20):
        _, shown = tables.draw(EpisodeId("sort", "nominal", 1, index, 0), pose, np.random.default_rng(index))
        scene = tables._scene
        if np.allclose(scene.object_position(0), scene.tool_position(1)):
            held = shown[tables.cameras.index("right_wrist")] == tables.names.index(scene.layout.objects[0].colour)
            assert held.mean() > 0.02
            return
    raise AssertionError("expected one of 20 tables with the object in the hand")


def test_the_command_writes_frames_whose_arms_stand_as_in_demonstrations(tmp_path):
    dataset, output = tmp_path / "demonstrations", tmp_path / "tables"
    collect(CollectConfig(output=dataset, task="lift_tray", episodes=1, size=32, workers=1))
    words = ["--output", str(output), "--poses", str(dataset), "--tasks", "lift_tray", "sort", "--count", "3"]
    main([*words, "--size", "32"])
    frames = open_frames(output)
    assert len(frames) == 9
    assert frames.episode.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert frames.columns[SEGMENTATION].shape == (9, 32, 32)
    assert frames.columns[SEGMENTATION].max() < len(frames.names[SEGMENTATION])
    with pytest.raises(ValueError, match="demonstrations: robot: expected panda, found aloha"):
        main(["--output", str(tmp_path / "other"), "--poses", str(dataset), "--tasks", "reach"])
    with pytest.raises(SystemExit, match="--output: expected a new or empty directory"):
        main(words)


def test_arms_stand_anyhow_without_demonstrations(tmp_path):
    main(["--output", str(tmp_path / "tables"), "--tasks", "reach", "--count", "4", "--size", "32", "--depth"])
    frames = open_frames(tmp_path / "tables")
    assert len(frames) == 8
    assert frames.columns[DEPTH].shape == (8, 32, 32)
    assert frames.columns[DEPTH].dtype == np.uint16
    wrist = frames.images[1::2]
    assert len({picture.tobytes() for picture in wrist}) == 4
