import json

import cv2
import numpy as np
import pytest
import torch

from representation.data.checksums import verify
from representation.data.frames import SEGMENTATION, Frames, open_frames, write_frames
from representation.data.lerobot_dataset import LeRobotDataset
from representation.data.lerobot_writer import LeRobotWriter
from representation.generative.mmist import MMIST, Look, MMISTConfig, StyleTransferNet, load_looks, save_looks
from representation.generative.mmist.texture_generator import TextureGenerator
from representation.pretraining.clip import Config as CLIPConfig
from representation.pretraining.clip import new as new_clip
from representation.restyle import Restyler, check_labels, colours_kept, main, parse_look

SIDE = 32
FRONT = "observation.images.front"
FEATURES = {
    FRONT: {"dtype": "video", "shape": (SIDE, SIDE, 3)},
    "observation.depth.front": {"dtype": "depth", "shape": (SIDE, SIDE)},
    "observation.state": {"dtype": "float32", "shape": (4,)},
    "keypoints": {"dtype": "float64", "shape": (3,)},
    "action": {"dtype": "float32", "shape": (2,)},
    "next.success": {"dtype": "bool", "shape": (1,)},
}


def scene(step):
    image = np.full((SIDE, SIDE, 3), 120, np.uint8)
    image[8 : 8 + 12, 4 + step : 16 + step] = (220, 40, 40)
    return image


def write_dataset(root, episodes=2, offset=0.0, side=None):
    """Episodes of a front camera, and of a side one if a function gives its picture at a step."""
    rng = np.random.default_rng(0)
    features = FEATURES if side is None else FEATURES | {"observation.images.side": FEATURES[FRONT]}
    writer = LeRobotWriter(root, 10, features, "panda")
    for episode in range(episodes):
        for step in range(3):
            depth = rng.uniform(0.5, 1.0, (SIDE, SIDE)).astype(np.float32)
            depth[0, 0] = np.nan
            frame = {
                "observation.images.front": scene(2 * step),
                "observation.depth.front": depth,
                "observation.state": rng.normal(size=4).astype(np.float32),
                "keypoints": rng.normal(size=3) + offset,
                "action": rng.normal(size=2).astype(np.float32),
                "next.success": np.array([step == 2]),
            }
            if side is not None:
                frame["observation.images.side"] = side(step)
            writer.add_frame(frame, f"push {episode}")
        writer.save_episode()
    writer.finalize()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model in a directory."""
    frames = Frames(np.zeros((4, SIDE, SIDE, 3), np.uint8), np.arange(4), texts=["brown wood", "red brick"] * 2)
    clip = new_clip(CLIPConfig(embed_dim=8, vision_width=4, text_width=8, text_heads=1, text_layers=1), frames, 0)
    config = MMISTConfig(
        (4, 4, 6, 8, 8), SIDE, SIDE, generator_width=8, w_dim=8, n_patches=2, crop=16, steps=1, n_candidates=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = StyleTransferNet(widths=config.widths)
    net.encoder.normalise(torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    directory = tmp_path_factory.mktemp("model")
    MMIST(config, clip.encoder, net, TextureGenerator(SIDE, 8, 8)).save(directory)
    return directory


def test_a_dataset_is_restyled_with_its_labels_and_where_it_came_from(model, tmp_path, capsys):
    write_dataset(tmp_path / "in")
    style = tmp_path / "style.png"
    cv2.imwrite(str(style), np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    words = ["--model", str(model), "--dataset", str(tmp_path / "in"), "--threads", "1", "--least-edges", "0"]
    look = f"0.7*brown wood; 0.3*@{style}"
    main([*words, "--output", str(tmp_path / "out"), "--look", look, "red brick", "--pictures", "2"])
    assert "2 episodes in 2 looks" in capsys.readouterr().out
    source, found = LeRobotDataset(tmp_path / "in"), LeRobotDataset(tmp_path / "out")
    for number in range(2):
        one, other = source.episode(number), found.episode(number)
        assert other["task"] == one["task"]
        for key in FEATURES:
            same = np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f")
            assert same == (key != "observation.images.front"), key
    assert verify(tmp_path / "out") > 0
    told = json.loads((tmp_path / "out" / "meta" / "restyle.json").read_text())
    assert told["looks"] == [look, "red brick"]
    assert told["model"].startswith("mmist_")
    assert [one["source_episode"] for one in told["episodes"]] == [0, 1]
    assert {"look", "token_seed", "edge_f1", "colours_kept", "flicker"} <= set(told["episodes"][0])
    looks = tmp_path / "out" / "meta" / "looks.safetensors"
    assert [len(one.images) for one in load_looks(looks)] == [2, 2]
    main([*words, "--output", str(tmp_path / "again"), "--looks", str(looks)])
    again = LeRobotDataset(tmp_path / "again").episode(0)["observation.images.front"]
    assert np.array_equal(again, found.episode(0)["observation.images.front"])


def test_labels_that_changed_are_an_error(tmp_path):
    write_dataset(tmp_path / "one")
    write_dataset(tmp_path / "other", offset=1e-9)
    check_labels(tmp_path / "one", tmp_path / "one", [0, 1], ())
    with pytest.raises(ValueError, match="keypoints: expected that of episode 0"):
        check_labels(tmp_path / "one", tmp_path / "other", [0, 1], ())
    with pytest.raises(ValueError, match="expected that of episode 1"):
        check_labels(tmp_path / "one", tmp_path / "one", [1, 0], ())
    with pytest.raises(ValueError, match="expected 1 episodes, found 2"):
        check_labels(tmp_path / "one", tmp_path / "one", [0], ())


def test_cameras_that_were_not_restyled_must_show_what_they_did(model, tmp_path):
    write_dataset(tmp_path / "in", side=scene)
    words = ["--model", str(model), "--dataset", str(tmp_path / "in"), "--threads", "1", "--least-edges", "0"]
    main([*words, "--output", str(tmp_path / "out"), "--look", "red brick", "--pictures", "1", "--cameras", "front"])
    source, found = LeRobotDataset(tmp_path / "in").episode(0), LeRobotDataset(tmp_path / "out").episode(0)
    change = {key: np.abs(found[key].astype(int) - source[key]).mean() for key in (FRONT, "observation.images.side")}
    assert change["observation.images.side"] < 3 < change[FRONT]
    check_labels(tmp_path / "in", tmp_path / "out", [0, 1], [FRONT])
    with pytest.raises(ValueError, match=r"images\.front: expected that of episode 0"):
        check_labels(tmp_path / "in", tmp_path / "out", [0, 1], ["observation.images.side"])
    write_dataset(tmp_path / "late", side=lambda step: scene(step + 4))
    with pytest.raises(ValueError, match=r"images\.side: expected that of episode 0"):
        check_labels(tmp_path / "in", tmp_path / "late", [0, 1], [FRONT])


class TwoLooks:
    """Keeps the pictures in the first look, and makes noise of them in the second."""

    def __init__(self):
        self.seeds = []

    def style(self, look, seed):
        return look.name, seed

    def restyle(self, frames, style, strength, seed):
        name, own = style
        assert own == seed
        self.seeds.append(seed)
        noise = torch.rand(frames.shape, generator=torch.Generator().manual_seed(1))
        return 1 - frames if name == "kept" else noise


def test_an_episode_tries_looks_until_its_edges_stay_and_is_refused_if_none_will_do():
    views = {"front": np.stack([scene(step) for step in range(3)])}
    looks = [Look(name, torch.rand(1, 3, 32, 32)) for name in ("kept", "noise")]
    fake = TwoLooks()
    for number in range(4):
        made, told = Restyler(fake, looks, seed=1).episode(number, views)
        assert told["look"] == "kept"
        assert told["edge_f1"] == 1
        assert told["colours_kept"] == 0  # red became cyan
        assert np.array_equal(made["front"], 255 - views["front"])
        assert len(set(fake.seeds)) == number + 1  # one choice of places an episode
    made, told = Restyler(fake, looks[1:], seed=1).episode(0, views)
    assert made is None
    assert told["edge_f1_by_look"]["noise"] < 0.5


def test_plain_frames_keep_their_segmentation_and_a_dataset_without_good_episodes_is_an_error(model, tmp_path):
    images = np.stack([scene(step) for step in range(4)])
    frames = Frames(images, np.array([0, 0, 1, 1]), {SEGMENTATION: (images[..., 0] > 200).astype(np.uint8)})
    write_frames(frames, tmp_path / "in")
    save_looks([Look("noise", torch.rand(1, 3, 32, 32))], tmp_path / "looks.safetensors")
    words = ["--model", str(model), "--dataset", str(tmp_path / "in"), "--looks", str(tmp_path / "looks.safetensors")]
    main([*words, "--output", str(tmp_path / "out"), "--least-edges", "0", "--threads", "1"])
    found = open_frames(tmp_path / "out")
    assert np.array_equal(found.columns[SEGMENTATION], frames.columns[SEGMENTATION])
    assert not np.array_equal(found.images, images)
    with pytest.raises(ValueError, match="expected episodes whose edges stay, found none"):
        main([*words, "--output", str(tmp_path / "none"), "--least-edges", "1", "--threads", "1"])


def test_looks_are_read_from_words_and_wrong_ones_are_refused(tmp_path):
    spec = parse_look("0.5*red brick; brown wood")
    assert dict(spec.texts) == {"red brick": 0.5, "brown wood": 1.0}
    for wrong, told in (("", "expected texts or images"), ("x*y", "expected a weight"), ("@none.png", "a picture")):
        with pytest.raises(ValueError, match=told):
            parse_look(wrong)
    red = np.full((1, 4, 4, 3), (200, 10, 10), np.uint8)
    assert colours_kept(red, red) == 1
    assert colours_kept(red, np.roll(red, 1, axis=3)) == 0
    assert colours_kept(np.full_like(red, 90), red) == 1  # nothing was vivid
