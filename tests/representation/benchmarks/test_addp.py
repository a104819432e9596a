import numpy as np
import pytest
import torch

from representation.benchmarks import addp
from representation.benchmarks.claims import BenchOptions
from representation.data.frames import LABEL, Frames, write_frames


def squares(count, side):
    """Frames of a square of one of three colours on grey."""
    rng = np.random.default_rng(0)
    label, images = np.arange(count) % 3, np.full((count, side, side, 3), 60, np.uint8)
    for image, channel, (x, y) in zip(images, label, rng.integers(0, side // 2, (count, 2)), strict=True):
        image[y : y + side // 2, x : x + side // 2, channel] = 255
    return Frames(images, np.arange(count), {LABEL: label})


@pytest.fixture
def few(monkeypatch):
    sizes = {"TRAINED": 60, "TESTED": 12, "CASES": 2, "SAMPLES": 8, "COMPONENTS": 4, "LABELS": 2, "TRIES": 500}
    for name, value in sizes.items():
        monkeypatch.setattr(addp, name, value)


def test_renders_are_asked_for_by_their_command(tmp_path, few):
    options = BenchOptions(data=tmp_path / "renders")
    with pytest.raises(FileNotFoundError, match=r"python -m sim.renders --size 64 --output .*renders_64"):
        addp.renders(options)
    write_frames(squares(72, 32), tmp_path / addp.RENDERS)
    with pytest.raises(ValueError, match="expected 72 or more pictures of 64 pixels, found 72 of 32"):
        addp.renders(options)


def test_renders_are_parted_by_the_seed(tmp_path, few):
    write_frames(squares(80, 64), tmp_path / addp.RENDERS)
    frames = addp.renders(BenchOptions(data=tmp_path / "renders"))
    one, other = (addp.rendered(frames, seed) for seed in (0, 1))
    assert one.train.shape == (60, 3, 64, 64)
    assert one.test.shape == (12, 3, 64, 64)
    assert not torch.equal(one.train_labels, other.train_labels)
    for image, label in zip(one.test, one.test_labels, strict=True):
        assert int(image.sum((1, 2)).argmax()) == label


def test_colours_count_as_much_as_grey():
    grey = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.avg_pool2d(grey, 8).flatten(1).numpy()
    found = addp.means(grey.expand(-1, 3, -1, -1))
    for means in (plain, found):
        means -= means[:1]
    np.testing.assert_allclose((found**2).sum(1), (plain**2).sum(1), rtol=1e-4)


def test_a_wrong_patch_is_one_of_64_and_differs(few):
    images = squares(12, 64).pixels(np.arange(12))
    found, places = addp.with_wrong_patches(images, 0.2, torch.Generator().manual_seed(0))
    changed = torch.nn.functional.avg_pool2d((found - images).abs().mean(1), 8).flatten(1)
    assert changed.argmax(1).tolist() == places.tolist()
    assert ((changed > 0).sum(1) == 1).all()
    assert changed.amax(1).min() >= 0.2
    with pytest.raises(ValueError, match=r"expected patches that differ by 0\.9"):
        addp.with_wrong_patches(images[:1], 0.9, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("data", ["digits", "renders"])
def test_everything_is_measured_of_both_kinds_of_pictures(data, few):
    options = BenchOptions(scale=1e-3)
    torch.set_num_threads(1)
    if data == "renders":
        split = addp.rendered(squares(72, 64), 0)
    else:
        split = addp.Split(*(part[:60] for part in addp.split(0)))
    found = addp.measured(split, 0.2, options, 0)
    assert found.samples > 0
    assert found.by_place > 0
    assert all(0 <= share <= 1 for share in found[2:])
    claims = addp.claims([found, found], f"test {data}", "classes", "")
    assert [claim.least for claim in claims] == [0.0, 0.0, 0.1, 0.0, 0.0]
    assert claims[0].ours[0] == pytest.approx(1 - found.samples / found.by_place)


def test_claims_of_renders_stand_beside_those_of_digits(tmp_path, few, monkeypatch):
    write_frames(squares(72, 64), tmp_path / addp.RENDERS)
    monkeypatch.setattr(
        addp, "measured", lambda data, least, options, seed: addp.Measured(data.train.shape[-1], 128, 1, 0, 0, least)
    )
    claims = addp.run(BenchOptions(seeds=2, data=tmp_path / "renders"))
    assert len({claim.claim for claim in claims}) == len(claims) == 10
    assert [claims[k].ours for k in (0, 5)] == [(0.75, 0.75), (0.5, 0.5)]
    assert [claims[k].ours for k in (4, 9)] == [(addp.WRONG,) * 2, (addp.WRONG_RENDERED,) * 2]
