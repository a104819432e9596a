import re

import numpy as np
import pytest

from policies.robots import get_named_robot
from representation.data.frames import SEGMENTATION, open_frames
from sim.episode_id import EpisodeId
from sim.reported_scenes import held_by, main, relation, report
from sim.segmented_scenes import SegmentedTables

ROBOT = get_named_robot("panda")


@pytest.fixture(scope="module")
def tables():
    found = SegmentedTables("panda", 32)
    yield found
    found.close()


def test_places_are_told_as_the_robot_sees_them():
    here = np.zeros(3)
    assert relation(np.array([0.0, 0.1, 0.0]), here) == "left of"
    assert relation(np.array([0.05, -0.1, 0.0]), here) == "right of"
    assert relation(np.array([0.1, 0.05, 0.0]), here) == "behind"
    assert relation(np.array([-0.1, 0.05, 0.0]), here) == "in front of"


@pytest.mark.parametrize("index", range(4))
def test_a_report_is_true_of_its_table(tables, index):
    tables.draw(EpisodeId("place", "distractors", 2, index, 0), ROBOT.home, np.random.default_rng(index))
    scene = tables.scene
    places = {
        f"{item.colour} {item.shape}": scene.object_position(slot) for slot, item in enumerate(scene.layout.objects)
    }
    sentences = report(scene).removesuffix(" .").split(" . ")
    told = [
        re.fullmatch(r"the (\w+ \w+) is (left of|behind|in front of) the (\w+ \w+)", text) for text in sentences[:-1]
    ]
    assert len(told) == len(places) - 1
    for first, side, second in (match.groups() for match in told):
        x, y = (places[first] - places[second])[:2]
        assert y > 0
        assert {"left of": y >= abs(x), "behind": x > y, "in front of": -x > y}[side]
    assert sentences[-1] == "the gripper is open"


def test_a_held_object_is_told_and_lies_nowhere(tables):
    pose = ROBOT.home.copy()
    pose[ROBOT.grippers[0]] = ROBOT.lower[ROBOT.grippers[0]]
    texts = {}
    for index in range(8):
        tables.draw(EpisodeId("pick", "nominal", 1, index, 0), pose, np.random.default_rng(index))
        item = tables.scene.layout.objects[0]
        texts[held_by(tables.scene)] = (report(tables.scene), f"the {item.colour} {item.shape}")
    held, name = texts[0]
    assert held.endswith(f"the gripper holds {name} .")
    assert held.count(name) == 1
    assert texts[None][0].endswith("the gripper is closed .")


def test_the_command_writes_two_views_of_each_scene(tmp_path):
    main(["--output", str(tmp_path / "scenes"), "--count", "4", "--size", "32"])
    frames = open_frames(tmp_path / "scenes")
    assert frames.episode.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frames.names[SEGMENTATION] == ("everything else", "object", "gripper")
    assert set(np.unique(frames.columns[SEGMENTATION])) == {0, 1, 2}
    for number, text in enumerate(frames.texts):
        assert text == frames.texts[number - number % 2]
        words = {
            name for name, there in zip(frames.names["shown"], frames.columns["shown"][number], strict=True) if there
        }
        assert {word for word in frames.names["shown"] if word in text.split()} == words
        assert ("holds" in text) == bool(frames.columns["grasped"][number])
