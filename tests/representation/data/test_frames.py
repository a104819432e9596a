from __future__ import annotations

import cv2
import numpy as np
import pytest

from representation.data.frames import Frames, open_frames, square, write_frames
from tests.policies.demonstrations import write_demonstrations


def some(count=6, size=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    columns = {"color": np.arange(count) % 2, "place": rng.normal(size=(count, 2))}
    return Frames(
        images, np.arange(count) // 2, columns, {"color": ("red", "blue")}, [f"text {k}" for k in range(count)]
    )


def test_frames_come_back_from_the_plain_format(tmp_path):
    frames = some()
    write_frames(frames, tmp_path)
    found = open_frames(tmp_path)
    np.testing.assert_array_equal(found.images, frames.images)
    np.testing.assert_array_equal(found.columns["place"], frames.columns["place"])
    assert (list(found.texts), found.names) == (frames.texts, frames.names)
    assert open_frames(tmp_path, size=4).images.shape == (6, 4, 4, 3)


def test_damaged_frames_are_refused(tmp_path):
    write_frames(some(), tmp_path)
    np.savez(tmp_path / "columns.npz", episode=np.arange(5))
    with pytest.raises(ValueError, match="episode: expected 6 rows, found 5"):
        open_frames(tmp_path)
    np.save(tmp_path / "images.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected frames in the plain format"):
        open_frames(tmp_path)
    with pytest.raises(FileNotFoundError, match="found none of them"):
        open_frames(tmp_path / "nothing")


def test_a_lerobot_dataset_gives_pictures_sentences_and_progress(tmp_path):
    write_demonstrations(tmp_path / "push", 2, np.random.default_rng(0))
    frames = open_frames(tmp_path / "push", "front", size=16)
    assert frames.images.shape[1:] == (16, 16, 3)
    assert set(frames.episode) == {0, 1}
    first = frames.columns["progress"][frames.episode == 0]
    assert (first[0], first[-1]) == (0, 1)
    assert len(frames.texts) == len(frames) == len(frames.columns["action"])
    with pytest.raises(ValueError, match="camera: expected back, found"):
        open_frames(tmp_path / "push", "back")


def test_a_folder_per_class_gives_labels(tmp_path):
    for name, size in (("open_drawer", 12), ("closed_drawer", 20)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), np.full((size, size, 3), (255, 0, 0), np.uint8))
    frames = open_frames(tmp_path, size=8)
    assert frames.names["label"] == ("closed_drawer", "open_drawer")
    assert frames.columns["label"].tolist() == [0, 1]
    assert frames.images[0, 0, 0].tolist() == [0, 0, 255]
    assert frames.texts[1] == "a picture of a open drawer"
    with pytest.raises(ValueError, match="expected pictures of one size"):
        open_frames(tmp_path)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"expected \['label'\], found"):
        some().need(["texts", "label"])


def test_pictures_are_cut_to_their_central_square():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 200
    assert (square(image, 4) == 200).all()
    assert some().pixels(np.array([1])).shape == (1, 3, 8, 8)
