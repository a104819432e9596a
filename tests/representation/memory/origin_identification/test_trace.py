from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from representation.data.frames import Frames, write_frames
from representation.memory.origin_identification import Config, new
from representation.memory.origin_identification.trace import frame_ids, main, rejection


def scenes(count, seed, size=32):
    """Pictures of smooth colours; three of them are an episode."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 4, 4)))
    images = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)
    return Frames(images.permute(0, 2, 3, 1).numpy().astype(np.uint8), np.arange(count) // 3)


def test_a_threshold_lets_the_share_pass_and_tells_who_else_would():
    found = rejection(np.arange(10.0), np.array([0.0, 1.0, 5.0, 9.0]), accept=0.9)
    assert found.threshold == 0
    assert rejection(np.arange(10.0), np.array([0.0, 1.0, 5.0, 9.0]), accept=0.5).unknown == 0.5
    with pytest.raises(ValueError, match="accept: expected a share"):
        rejection(np.ones(3), np.ones(3), accept=0.0)


def test_frames_of_the_gallery_are_traced_and_others_are_not(tmp_path, capsys):
    gallery, others = scenes(12, seed=0), scenes(3, seed=1)
    images = np.concatenate([gallery.images[[4, 11]], others.images])
    write_frames(gallery, tmp_path / "gallery")
    write_frames(Frames(images, np.array([0, 0, 1, 1, 1])), tmp_path / "queries")
    new(Config(resolution=32, channels=8, latent=4), gallery, seed=0).encoder.save(tmp_path / "encoder")
    places = {name: str(tmp_path / name) for name in ("encoder", "gallery", "queries")}
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    main([*words, "--threshold", "0.9999", "--output", str(tmp_path / "matches.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("episode 0 frame 0: episode 1 frame 1 (1.0000)")
    assert lines[2].startswith("episode 1 frame 0: unknown")
    assert lines[-1] == "2 of 5 frames come from the gallery"
    found = json.loads((tmp_path / "matches.json").read_text())
    assert [one["origin"] for one in found] == [[1, 1], [3, 2], None, None, None]
    assert len(found[2]["candidates"]) == 5
    main(words)
    assert "of edited frames of the gallery" in capsys.readouterr().out


def test_frames_are_counted_within_their_episodes():
    assert frame_ids(Frames(np.zeros((4, 8, 8, 3), np.uint8), np.array([7, 3, 7, 7]))) == [
        (7, 0),
        (3, 0),
        (7, 1),
        (7, 2),
    ]
