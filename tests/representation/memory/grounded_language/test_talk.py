from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from representation.data.frames import Frames, write_frames
from representation.memory.grounded_language import Config, new
from representation.memory.grounded_language.drawings import line_drawing, rasterize_trajectory
from representation.memory.grounded_language.drawings import main as draw
from representation.memory.grounded_language.pretraining import moved
from representation.memory.grounded_language.talk import main, tsne_places


def squares(count=18, size=32):
    """Bright squares of three sizes."""
    images, labels = np.zeros((count, size, size, 3), np.uint8), np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        image[4 : 12 + 8 * label, 4 : 12 + 8 * label] = 200
    return Frames(images, np.arange(count), {"label": labels}, {"label": ("small", "medium", "very large")})


def test_messages_figures_and_maps_of_frames_are_written(tmp_path, capsys):
    frames = squares()
    write_frames(frames, tmp_path / "data")
    encoder = new(Config(pools=1, hidden=16, max_len=3), frames, seed=0).encoder.eval()
    encoder.save(tmp_path / "encoder")
    words = ["--encoder", str(tmp_path / "encoder"), "--data", str(tmp_path / "data")]
    main([*words, "--output", str(tmp_path / "m.json"), "--maps", str(tmp_path / "maps.png"), "--shown", "2"])
    main([*words, "--places", str(tmp_path / "new" / "places.png")])
    assert np.ptp(cv2.imread(str(tmp_path / "new" / "places.png"))) > 100
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("18 messages of 3 symbols out of 16")
    assert any(line.startswith("labels told by the forest") for line in lines)
    content = json.loads((tmp_path / "m.json").read_text())
    ids = encoder.message(frames.pixels(np.arange(18))).ids
    assert [one["message"] for one in content] == ["-".join(map(str, row)) for row in ids.tolist()]
    assert cv2.imread(str(tmp_path / "maps.png")).shape == (2 * 128, 4 * 128, 3)
    main([*words, "--pattern", f"{ids[0, 0]}-*-*"])
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("episode")]
    assert len(found) == int((ids[:, 0] == ids[0, 0]).sum())


def test_what_is_seen_alike_is_placed_near():
    rng, kinds = np.random.default_rng(0), np.arange(60) % 3
    places = tsne_places((8 * np.eye(5)[kinds] + rng.normal(size=(60, 5))).astype(np.float32))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(60)
    assert (kinds[distances.argmin(axis=1)] == kinds).mean() > 0.9


def test_games_of_pictures_and_of_classes_get_their_batches():
    frames, generator = squares(), torch.Generator().manual_seed(0)
    objective = new(Config(groups=2, classes=2), frames, 0)
    weights = objective.state_dict().values()
    assert len({weight.data_ptr() for weight in weights}) == len(weights)  # none is kept twice
    batch = objective.batch(frames, np.arange(9), generator)
    assert batch["sent"].shape == batch["candidates"].shape == (2, 2, 3, 32, 32)
    assert batch["noise"].shape == (4, 4, 16)
    mute = Frames(frames.images, frames.episode)
    batch = new(Config(game="pictures", shift=0.0, turn=0.0), mute, 0).batch(mute, np.arange(5), generator)
    torch.testing.assert_close(batch["sent"], batch["candidates"])
    torch.testing.assert_close(batch["sent"][0], mute.pixels(np.arange(5)), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"expected \['label'\]"):
        new(Config(), mute, 0)


def test_pictures_are_shifted_by_at_most_their_share():
    images = torch.zeros(50, 1, 20, 20)
    images[:, :, 10, 10] = 1.0
    found = moved(images, 0.1, 0.0, torch.Generator().manual_seed(0))
    places = found.flatten(1).argmax(dim=1)
    assert ((places // 20 - 10).abs() <= 2).all()
    assert len(places.unique()) > 5


def test_drawings_have_lines_where_pictures_have_edges(tmp_path):
    frames = squares(3)
    drawing = line_drawing(frames.images[1])
    assert drawing[:, :, 0].any()
    assert not drawing[10:14, 10:14].any()
    write_frames(frames, tmp_path / "data")
    draw(["--data", str(tmp_path / "data"), "--output", str(tmp_path / "drawn")])
    np.testing.assert_array_equal(np.load(tmp_path / "drawn" / "images.npy")[1], drawing)


def test_a_path_fills_the_picture_and_brightens():
    way = np.stack([np.linspace(5, 7, 20), np.zeros(20)], axis=1)[:, None]
    picture = rasterize_trajectory(way, 33)
    assert picture.shape == (33, 33)
    assert picture.dtype == np.float32
    rows, columns = np.nonzero(picture > 0.3)
    assert set(rows.tolist()) <= {15, 16, 17}
    assert columns.min() <= 4
    assert columns.max() >= 28
    assert picture[16, 28] > 1.5 * picture[16, 4]
    np.testing.assert_array_equal(rasterize_trajectory(3 * way + 100, 33), picture)
    with pytest.raises(ValueError, match="traj: expected finite"):
        rasterize_trajectory(np.full((3, 1, 2), np.nan), 16)
