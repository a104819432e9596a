from __future__ import annotations

import numpy as np
import pytest

from policies.benchmarks.sensor_bag import SensorBag
from policies.robots import get_robot
from representation.data.bag_messages import encode, make
from representation.data.bag_pictures import bag_pictures, bags_in
from representation.data.bag_writer import BagTopic, BagWriter
from representation.data.episode_marks import MARKS_TOPIC
from representation.data.frames import POINTS, TIME, open_frames
from representation.embed import main as embed_main
from representation.pretrain import main as pretrain_main
from representation.probe import main as probe_main

HEIGHT, WIDTH = 24, 32
COLOR = "/camera/front/color/image_raw"


def colour(value):
    return np.full((HEIGHT, WIDTH, 3), (value, 2 * value, 0), np.uint8)


def depth(value=1500):
    return np.full((HEIGHT, WIDTH), value, np.uint16)


class Recording:
    """A bag with pictures that count from 0, one every 0.1 s."""

    def __init__(self, folder):
        self.writer = BagWriter(folder)
        self.bag = SensorBag(self.writer, get_robot("panda"))
        self.count = 0

    def look(self, pictures, camera="front"):
        for _ in range(pictures):
            self.bag.picture(camera, colour(self.count), depth(), 0.1 * self.count)
            self.count += 1

    def mark(self, event, text="push the cube"):
        self.bag.mark(event, text, 0.1 * self.count)


@pytest.fixture
def recording(tmp_path):
    made = Recording(tmp_path / "bags" / "one")
    made.look(2)
    for number, event in enumerate(("success", "discard", "failure")):
        made.mark("start", f"task {number}")
        made.look(3)
        made.mark(event)
        made.look(1)
    made.writer.close()
    return tmp_path / "bags" / "one"


def test_marked_episodes_that_are_not_discarded_become_frames(recording):
    frames = open_frames(recording)
    assert frames.images[:, 0, 0, 0].tolist() == [2, 3, 4, 10, 11, 12]
    assert frames.images[0, 0, 0].tolist() == [2, 4, 0]
    assert frames.episode.tolist() == [0, 0, 0, 1, 1, 1]
    assert list(frames.texts) == ["task 0"] * 3 + ["task 2"] * 3
    np.testing.assert_allclose(frames.columns[TIME], [0, 0.1, 0.2] * 2, atol=1e-6)
    np.testing.assert_allclose(frames.columns["progress"], [0, 0.5, 1] * 2)
    assert open_frames(recording, "front", size=8).images.shape == (6, 8, 8, 3)


def test_bags_without_marks_are_an_episode_each_with_the_sentence_that_was_published(tmp_path):
    for name, text in (("a", "lift it"), ("b", "drop it")):
        made = Recording(tmp_path / name)
        made.bag.text("/instruction", text, 0.0)
        made.look(2)
        made.writer.close()
    assert bags_in(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    frames = open_frames(tmp_path)
    assert frames.episode.tolist() == [0, 0, 1, 1]
    assert list(frames.texts) == ["lift it"] * 2 + ["drop it"] * 2
    (file,) = (tmp_path / "b").glob("*.mcap")
    assert list(open_frames(file).texts) == ["drop it"] * 2


def test_clouds_are_made_of_depth_of_the_same_stamp_alone(tmp_path):
    made = Recording(tmp_path / "bag")
    made.look(3)
    made.count = 9
    header = make("std_msgs/msg/Header", stamp=make("builtin_interfaces/msg/Time", sec=1, nanosec=0), frame_id="")
    alone = {"height": HEIGHT, "width": WIDTH, "encoding": "rgb8", "is_bigendian": 0, "step": 3 * WIDTH}
    made.bag.send(COLOR, "sensor_msgs/msg/Image", 5.0, header=header, data=colour(99).reshape(-1), **alone)
    made.writer.close()
    frames = open_frames(tmp_path / "bag", points=32)
    assert frames.columns[POINTS].shape == (3, 32, 3)
    np.testing.assert_allclose(frames.columns[POINTS][..., 2], 1.5, atol=1e-6)
    assert len(open_frames(tmp_path / "bag")) == 4


def test_the_camera_is_chosen_by_a_part_of_its_topic(tmp_path):
    made = Recording(tmp_path / "bag")
    made.look(2, "wrist")
    made.look(1, "front")
    made.writer.close()
    assert len(open_frames(tmp_path / "bag", "wrist")) == 2
    assert len(open_frames(tmp_path / "bag", COLOR)) == 1
    assert len(open_frames(tmp_path / "bag")) == 1
    with pytest.raises(ValueError, match="camera: expected a colour topic of back, found"):
        open_frames(tmp_path / "bag", "back")


def write_images(folder, *messages, topic=COLOR):
    writer = BagWriter(folder)
    writer.add_topic(BagTopic(topic, "sensor_msgs/msg/Image"))
    for number, data in enumerate(messages):
        writer.write(topic, data, number, number)
    writer.close()
    return folder


def image(value, height=HEIGHT, encoding="rgb8", rows=HEIGHT):
    stamp = make("builtin_interfaces/msg/Time", sec=value, nanosec=0)
    fields = {"height": height, "width": WIDTH, "encoding": encoding, "is_bigendian": 0, "step": 3 * WIDTH}
    data = np.zeros(rows * WIDTH * 3, np.uint8)
    header = make("std_msgs/msg/Header", stamp=stamp, frame_id="")
    message = make("sensor_msgs/msg/Image", header=header, data=data, **fields)
    return encode(message, "sensor_msgs/msg/Image")


def test_malformed_pictures_and_marks_are_refused_by_their_topic(tmp_path):
    for name, bad, reason in (
        ("height", image(1, height=2**31), "expected .* bytes"),
        ("encoding", image(1, encoding="yuv422"), "expected encoding rgb8"),
        ("bytes", image(1)[:40], "expected a serialised message"),
    ):
        bag = write_images(tmp_path / name, image(0), bad)
        with pytest.raises(ValueError, match=f"{name}: {COLOR}: .*{reason}"):
            open_frames(bag)
    made = Recording(tmp_path / "marks")
    made.look(1)
    made.bag.text(f"/{MARKS_TOPIC}", "{", 1.0)
    made.writer.close()
    with pytest.raises(ValueError, match="episode mark: expected JSON"):
        open_frames(tmp_path / "marks")


def test_pictures_of_several_sizes_or_of_too_many_bytes_are_refused(tmp_path, monkeypatch):
    bag = write_images(tmp_path / "bag", image(0), image(1, height=2 * HEIGHT, rows=2 * HEIGHT))
    with pytest.raises(ValueError, match="expected pictures of one size"):
        open_frames(bag)
    assert len(open_frames(bag, size=8)) == 2
    monkeypatch.setattr("representation.data.frames.MAX_PICTURE_BYTES", 300)
    with pytest.raises(ValueError, match="expected at most 300 bytes"):
        open_frames(bag, size=8)


def test_depth_without_calibration_and_bags_without_pictures_are_refused(tmp_path):
    bag = write_images(tmp_path / "bag", image(0))
    with pytest.raises(ValueError, match="expected depth and /camera/front/color/camera_info"):
        open_frames(bag, points=32)
    made = Recording(tmp_path / "outside")
    made.look(1)
    made.mark("start")
    made.mark("success")
    made.writer.close()
    with pytest.raises(ValueError, match="expected pictures of a camera in marked episodes"):
        open_frames(tmp_path / "outside")


def test_a_cut_bag_gives_what_stands_before_the_cut_and_says_so(tmp_path):
    made = Recording(tmp_path / "bag")
    noise = np.random.default_rng(0)
    for number in range(100):
        picture = noise.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        made.bag.picture("front", picture, depth(), 0.1 * number)
    made.writer.close()
    (file,) = (tmp_path / "bag").glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="ends in the middle of a record"):
        pictures = list(bag_pictures(tmp_path / "bag"))
    assert 0 < len(pictures) < 100


def test_a_bag_is_pretrained_on_probed_and_embedded(recording, tmp_path, capsys):
    data = ["--data", str(recording.parent), "--image-size", "32"]
    words = ["--system", "mochi", *data, "--output", str(tmp_path / "run"), "--steps", "2", "--batch-size", "2"]
    pretrain_main([*words, "--threads", "1", "--set", "queue_size=8"])
    probe_main(["--encoder", str(tmp_path / "run"), *data])
    assert "progress by ridge regression" in capsys.readouterr().out
    embed_main(["--encoder", str(tmp_path / "run"), *data, "--output", str(tmp_path / "vectors.npz")])
    with np.load(tmp_path / "vectors.npz") as file:
        assert file["vectors"].shape[0] == 6
