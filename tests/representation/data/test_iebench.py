from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from representation.data.frames import open_frames
from representation.pretraining.sie import Config, new

OBJECTS = (("02691156", "aa"), ("02691156", "bb"), ("03001627", "aa"))
VIEWS = 11


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind, thing in OBJECTS:
        (tmp_path / kind / thing).mkdir(parents=True)
        for view in range(VIEWS):
            latents = np.concatenate([rng.uniform(-1.5, 1.5, 3), rng.uniform(0, 1, 4)])
            np.save(tmp_path / kind / thing / f"latent_{view}.npy", latents)
            grey = np.full((20, 20, 3), 10 * view, np.uint8)
            cv2.imwrite(str(tmp_path / kind / thing / f"image_{view}.jpg"), grey)
    return tmp_path


def test_views_come_in_the_order_of_their_numbers_with_what_they_were_drawn_of(folder):
    frames = open_frames(folder, size=16)
    assert frames.images.shape == (len(OBJECTS) * VIEWS, 16, 16, 3)
    assert frames.episode.tolist() == np.repeat([0, 1, 2], VIEWS).tolist()
    assert frames.names["label"] == ("02691156", "03001627")
    assert frames.columns["label"].tolist() == np.repeat([0, 0, 1], VIEWS).tolist()
    assert abs(frames.images[VIEWS + 10].astype(int) - 100).max() < 5
    latents = np.load(folder / "02691156" / "bb" / "latent_10.npy")
    row = {name: column[VIEWS + 10] for name, column in frames.columns.items()}
    expected = Rotation.from_euler("xyz", latents[:3])
    assert (Rotation.from_quat(row["rotation"]) * expected.inv()).magnitude() < 1e-6
    np.testing.assert_allclose([row["floor"], *row["light"]], latents[3:])


def test_the_system_that_needs_views_takes_them(folder):
    frames = open_frames(folder, size=16)
    batch = new(Config(resolution=16), frames, 0).batch(frames, np.arange(8), torch.Generator().manual_seed(0))
    assert batch["second"].shape == (8, 3, 16, 16)
    torch.testing.assert_close(batch["rotation"].norm(dim=1), torch.ones(8))


@pytest.mark.parametrize(
    ("latents", "found"),
    [
        (np.zeros(6), r"expected 7 finite numbers, found float64 \(6,\)"),
        (np.full(7, np.nan), "expected 7 finite numbers"),
        (np.array(list("abcdefg")), "expected 7 finite numbers, found <U1"),
        (np.array([{}] * 7, dtype=object), "expected numbers or text, found object"),
        (np.zeros(5000), "expected at most 4096 bytes, found 40128"),
    ],
)
def test_other_latents_are_refused(folder, latents, found):
    np.save(folder / "03001627" / "aa" / "latent_3.npy", latents, allow_pickle=True)
    with pytest.raises(ValueError, match=found) as caught:
        open_frames(folder)
    assert "latent_3.npy" in str(caught.value)


def test_a_header_that_promises_more_than_there_is_costs_no_memory(folder):
    file = folder / "03001627" / "aa" / "latent_3.npy"
    file.write_bytes(file.read_bytes().replace(b"(7,), }         ", b"(7000000000,), }"))
    with pytest.raises(ValueError, match="expected 56000000000 bytes"):
        open_frames(folder)
    for damaged in (file.read_bytes().replace(b"}", b" "), b"nothing"):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="expected an npy file of numbers"):
            open_frames(folder)


def test_views_without_pictures_or_numbers_are_named(folder, tmp_path):
    (folder / "03001627" / "aa" / "image_3.jpg").unlink()
    with pytest.raises(ValueError, match=r"03001627/aa/image_3\.jpg: expected a file"):
        open_frames(folder)
    (folder / "03001627" / "aa" / "latent_3.npy").rename(folder / "03001627" / "aa" / "latent_x.npy")
    with pytest.raises(ValueError, match=r"latent_x\.npy: expected latent_NUMBER\.npy"):
        open_frames(folder)
