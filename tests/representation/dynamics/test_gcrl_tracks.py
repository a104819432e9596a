from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.dynamics.gcrl import tracks
from representation.dynamics.gcrl.tracks import Tracks, read_eth_ucy, read_tracks


def write(path, rows):
    path.write_text("".join(f"{frame}\t{person}\t{x}\t{y}\n" for frame, person, x, y in rows))
    return path


def test_scenes_come_back_with_those_who_are_not_there(tmp_path):
    scenes = torch.randn(4, 20, 3, 2)
    scenes[1, :, 2] = torch.nan
    written = Tracks(scenes, ("arm", "person", "person"), "hall", 0.4)
    written.save(tmp_path / "hall.npz")
    found = read_tracks(tmp_path / "hall.npz")
    assert (found.agents, found.environment, found.period_s) == (written.agents, "hall", 0.4)
    torch.testing.assert_close(found.scenes, scenes, equal_nan=True)


def test_text_is_cut_into_scenes_of_those_who_are_seen_throughout(tmp_path):
    rows = [(10 * step, 1, 0.1 * step, 0) for step in range(6)]
    rows += [(10 * step, 2, 5, 0.1 * step) for step in range(1, 5)]
    rows += [(10 * step, 3, 9, step) for step in (9, 10, 11)]  # after a pause of three frames
    found = read_eth_ucy(write(tmp_path / "eth.txt", reversed(rows)), steps=3)
    assert (found.environment, found.agents, found.period_s) == ("eth", ("person", "person"), 0.4)
    there = found.scenes.isfinite().all(dim=(1, 3)).sum(dim=1)
    assert there.tolist() == [1, 2, 2, 1, 1]
    torch.testing.assert_close(found.scenes[1, :, 0, 0], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(found.scenes[1, :, 1, 1], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(found.scenes[4, :, 0, 1], torch.tensor([9.0, 10.0, 11.0]))
    assert len(read_eth_ucy(tmp_path / "eth.txt", steps=3, stride=4).scenes) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1 2 3\n10 1 2\n", "line 2: expected frame, id, x and y, found '10 1 2"),
        ("0 1 2 here\n", "line 1: expected frame, id, x and y"),
        ("0 1 2 nan\n", "line 1: expected finite numbers"),
        ("0 1 2 3\n0 1 2 4\n", "line 2: expected a person once in a frame, found 1 again"),
        ("0 1 2 3\n10 1 2 4\n", "expected somebody who is seen for 20 steps, found nobody"),
        ("", "found nobody"),
    ],
)
def test_text_that_is_wrong_is_named(tmp_path, text, words):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}: (?!.*{path}).*{words}"):
        read_tracks(path)


def test_files_that_are_wrong_are_named(tmp_path, monkeypatch):
    broken = np.zeros((2, 20, 2, 2))
    broken[1, 3, 1] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    np.save(tmp_path / "flat.npy", np.zeros((2, 20)))
    np.save(tmp_path / "words.npy", np.array([[[["a", "b"]]]]))
    np.savez(tmp_path / "lacking.npz", tracks=broken)
    (tmp_path / "none.npz").write_text("none")
    crowd = [f"{frame} {person} 0 0" for frame in range(20) for person in range(201)]
    (tmp_path / "crowd.txt").write_text("\n".join(crowd))
    for name, words in (
        ("broken.npy", "each agent finite throughout, or NaN throughout.*scene 1"),
        ("flat.npy", r"expected \(scenes, steps, 0, 2\)"),
        ("words.npy", "expected numbers"),
        ("lacking.npz", "found no agents, environment, period_s"),
        ("none.npz", "expected an npz file of numbers"),
        ("crowd.txt", "expected at most 200 people in a scene, found 201"),
    ):
        with pytest.raises(ValueError, match=f"{name}: .*{words}"):
            read_tracks(tmp_path / name)
    monkeypatch.setattr(tracks, "MAX_BYTES", 100)
    (tmp_path / "long.txt").write_text("0 1 2 3\n" * 100)
    for name in ("broken.npy", "lacking.npz", "long.txt"):
        with pytest.raises(ValueError, match=f"{name}: .*expected at most 100 bytes"):
            read_tracks(tmp_path / name)
