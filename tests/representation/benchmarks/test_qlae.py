import numpy as np
import pytest

from representation.benchmarks import qlae
from representation.benchmarks.claims import BenchOptions
from representation.data.frames import Frames, write_frames


def block(count=40):
    """Frames of a square whose colour and place change, and a turn that is any."""
    rng = np.random.default_rng(0)
    position, turn = rng.uniform(0, 24, (count, 2)), rng.uniform(-np.pi, np.pi, count)
    color, images = rng.integers(3, size=count), np.zeros((count, 32, 32, 3), np.uint8)
    for image, (x, y), channel in zip(images, position.astype(int), color, strict=True):
        image[y : y + 8, x : x + 8, channel] = 255
    return Frames(images, np.arange(count), {"color": color, "position": position, "turn": turn})


def test_one_block_is_asked_for_by_its_command(tmp_path):
    options = BenchOptions(data=tmp_path / "renders")
    with pytest.raises(FileNotFoundError, match=r"python -m sim.renders --vary color position turn --count 334 --out"):
        qlae.one_block(options)
    write_frames(block(), tmp_path / "one_block")
    with pytest.raises(ValueError, match="expected at least 2000 renders, found 40"):
        qlae.one_block(options)


def test_turns_that_look_alike_are_one(tmp_path, monkeypatch):
    monkeypatch.setattr(qlae, "RENDERED", 40)
    frames = block()
    write_frames(frames, tmp_path / "one_block")
    found = qlae.one_block(BenchOptions(data=tmp_path / "renders")).columns["turn"]
    assert 0 <= found.min() <= found.max() < np.pi / 2
    np.testing.assert_allclose(np.cos(4 * found), np.cos(4 * frames.columns["turn"]))


def test_modularity_is_of_both_networks_by_seed():
    options = BenchOptions(seeds=2, scale=0.001)
    ours, plain = qlae.modularity(block(), qlae.BLOCK_FACTORS, options)
    assert len(ours) == len(plain) == 2
    assert all(0 <= value <= 1 for value in (*ours, *plain))
    assert ours != plain
